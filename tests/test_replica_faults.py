"""Groups of replicas that are stopped or killed, and replicas that fail: the others stay the same runs."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import time

import numpy
import pytest

from experiments import replica_group, replica_program, replica_training, replicas, store, sweep

from .replica_cases import QUIET, run_group, same_runs, seeds, seeds_and_temperatures
from .run_cases import SMALL, again_and_again, killed_at_random, quick_priors, stopping_after
from .sweep_cases import Sweep, end_all, inline, metrics, tiny_images, wait_for


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    yield
    end_all()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    quick_priors(monkeypatch, tmp_path)


def test_interrupted_again_and_again_is_bit_identical(tmp_path, monkeypatch):
    configs = seeds_and_temperatures(model="gs")
    whole, failed = run_group(configs, tmp_path / "whole")
    assert failed == {} and len(whole) == 4
    monkeypatch.setattr(replica_training, "StopRequests", stopping_after(9))
    (broken, _), stops = again_and_again(lambda: run_group(configs, tmp_path / "broken"))
    assert stops >= 2
    same_runs(broken, whole)


WORKER = """
import sys
from experiments import plan, replica_training, store
configs = [plan.from_dict(fields) for fields in store.read_json(sys.argv[1])]
keep = lambda result: store.write_result(f"{sys.argv[2]}/{result['id']}.json", result)
replica_training.run(configs, sys.argv[3], keep, checkpoint_seconds=0.02)
"""


def test_sigkill_at_random_moments_is_bit_identical(tmp_path, monkeypatch):
    monkeypatch.setattr(replica_training, "SAVING", 1.0)
    configs = seeds(3, model="gs", epochs=25, monitor_every=0)
    whole, _ = run_group(configs, tmp_path / "whole")
    store.write_json(tmp_path / "configs.json", [config.as_dict() for config in configs])
    results, folder = tmp_path / "results", tmp_path / "killed"
    arguments = (tmp_path / "configs.json", results, folder)
    killed = killed_at_random(WORKER, arguments, folder / "checkpoint.npz", kills=3, starts=20)
    assert killed >= 2, "the group ended before it could be killed often enough to test anything"
    same_runs(store.load_results(results), whole)


def test_killed_while_scoring_keeps_what_is_stored(tmp_path, monkeypatch):
    configs, scored = seeds(3, model="gs"), []
    results, runs = tmp_path / "results", tmp_path / "runs"
    want = sweep.execute(configs, tmp_path / "want", tmp_path / "runs-want", inline, replicas=3, **QUIET)
    (unit,) = replicas.units(configs, 3, runs)
    real = replica_training.scored

    def killed(config, *rest):
        if len(scored) == 1:
            raise KeyboardInterrupt
        scored.append(config.id)
        return real(config, *rest)

    monkeypatch.setattr(replica_training, "scored", killed)
    fields = [config.as_dict() for config in configs]
    with pytest.raises(KeyboardInterrupt):
        sweep.work_group(fields, unit.group, results, runs)
    assert [path.stem for path in results.glob("*.json")] == scored == [configs[0].id]
    first = (results / f"{configs[0].id}.json").stat().st_mtime_ns

    # the two that are left are still the group that was begun, whatever its size may be now; nothing trains again
    left = sweep.pending(configs, results)
    (again,) = replicas.units(left, 1, runs)
    assert again.group == unit.group
    monkeypatch.setattr(replica_training, "scored", real)
    monkeypatch.setattr(replica_program.Together, "grads", None, raising=False)
    monkeypatch.setattr(replica_group.Group, "grads", None)
    assert sweep.execute(configs, results, runs, inline, **QUIET) == {} == want
    assert (results / f"{configs[0].id}.json").stat().st_mtime_ns == first
    same = {name: store.read_result(results / name) for name in metrics(results)}
    same_runs(same, {name: store.read_result(tmp_path / "want" / name) for name in same})


@pytest.mark.parametrize("window", [1, 5])
def test_a_replica_that_diverges_is_reported_and_leaves_the_others_alone(window, tmp_path, monkeypatch):
    """Parameters of one replica become NaN before step 7; looks at the losses come every 1 or, as on a GPU, 5 steps."""
    configs = seeds(3, model="igr_i", dtype="float64")
    whole, _ = run_group(configs, tmp_path / "whole")
    monkeypatch.setattr(replica_training, "steps_between_looks", lambda xp: window)
    real, calls = replica_group.Group.grads, []

    def poisoned(self):
        calls.append(len(self.configs))
        if self.step == 7 and len(self.configs) == 3:
            self.together.params["decoder.0.weight"][1] = numpy.nan
        with numpy.errstate(invalid="ignore"):
            return real(self)

    monkeypatch.setattr(replica_group.Group, "grads", poisoned)
    got, failed = run_group(configs, tmp_path / "group")
    assert list(failed) == [configs[1].id] and f"{configs[1].id} stopped at step 7" in failed[configs[1].id]
    assert calls[-1] == 2 and calls.count(3) == (8 if window == 1 else 10)
    if window == 1:
        assert "NaN or infinity in: reconstruction term" in failed[configs[1].id]
    assert got.keys() == {configs[0].id, configs[2].id}
    for name in got:
        for own, alone in zip(got[name]["history"], whole[name]["history"], strict=True):
            assert own == pytest.approx(alone, abs=1e-9)
        want = whole[name]["metrics"]["all"]["loglik"]["mean"]
        assert got[name]["metrics"]["all"]["loglik"]["mean"] == pytest.approx(want, abs=1e-6)
    # asked again, the checkpoint knows: nothing trains, and the error is the same
    monkeypatch.setattr(replica_group.Group, "grads", None)
    assert run_group([configs[1]], tmp_path / "group") == ({}, failed)


def test_a_replica_whose_step_raises_is_dropped(tmp_path, monkeypatch):
    """RELAX refuses laws that are not finite, for all replicas at once; only the one at fault is reported."""
    configs = seeds(3, model="igr_i", estimator="relax", epochs=1)
    real = replica_group.Group.grads

    def poisoned(self):
        if self.step == 2 and len(self.configs) == 3:
            self.together.params["encoder.0.bias"][2] = numpy.nan
        with numpy.errstate(invalid="ignore"):
            return real(self)

    monkeypatch.setattr(replica_group.Group, "grads", poisoned)
    with numpy.errstate(invalid="ignore"):
        got, failed = run_group(configs, tmp_path / "group")
    assert list(failed) == [configs[2].id] and "stopped at step 2" in failed[configs[2].id]
    assert got.keys() == {configs[0].id, configs[1].id}


def test_an_error_of_all_is_not_blamed_on_one(tmp_path, monkeypatch):
    monkeypatch.setattr(replica_group.Group, "minibatch", lambda self: 1 / 0 if self.step == 1 else real(self))
    real = lambda self: numpy.zeros((len(self.configs), 100, 64), "float32")  # noqa: E731
    with pytest.raises(ZeroDivisionError):
        run_group(seeds(2, model="gs"), tmp_path / "group")


def test_every_replica_may_diverge(tmp_path):
    configs, results, runs = seeds(2, learning_rate=1e5), tmp_path / "results", tmp_path / "runs"
    fields = [config.as_dict() for config in configs]
    with numpy.errstate(all="ignore"):
        failed, busy = sweep.work_group(fields, "group-1", results, runs)
    assert failed.keys() == {config.id for config in configs} and not busy
    assert all("stopped at step 1: mean loss" in text for text in failed.values())
    # the same command again: the group that was begun says why, without training, and stops nothing else
    (config,) = seeds(1, model="gs", epochs=1)
    assert sweep.execute([*configs, config], results, runs, inline, replicas=2, **QUIET) == failed
    assert [path.stem for path in results.glob("*.json")] == [config.id]


@pytest.mark.slow
def test_a_sweep_of_groups_survives_kills(tmp_path):
    """Workers and whole sweeps are killed ten times; the results of an unbroken sweep, byte for byte."""
    base = dataclasses.replace(SMALL, model="gs", dataset=tiny_images(tmp_path), epochs=400, monitor_every=0)
    configs = [dataclasses.replace(base, seed=s, temperature=t) for s in range(5) for t in (0.3, 0.6)]
    options = {"replicas": 3, **QUIET}
    assert sweep.execute(configs, tmp_path / "whole", tmp_path / "runs-whole", inline, **options) == {}
    broken = Sweep(configs, tmp_path)
    script = (tmp_path / "script.py").read_text()
    script = script.replace("sys.argv[3], make)", "sys.argv[3], make, replicas=3)").replace("train.run.", "run.")
    script = "from experiments.replica_training import run\n" + script
    assert "replicas=3" in script and "run.__defaults__ = (*run" in script
    (tmp_path / "script.py").write_text(script)
    rng, kills = random.Random(1), 0
    parent = broken.start()
    while kills < 10 and not (kills and parent.poll() == 0):
        seen = broken.progress()
        assert wait_for(lambda seen=seen, parent=parent: broken.progress() > seen or parent.poll() is not None)
        time.sleep(rng.uniform(0, 0.1))
        workers = broken.workers()
        if kills % 3 == 2 and parent.poll() is None:
            os.killpg(parent.pid, signal.SIGKILL)
            parent.wait()
            kills += 1
        elif workers and parent.poll() is None:
            os.kill(rng.choice(workers), signal.SIGKILL)
            kills += 1
        if parent.poll() is not None:
            parent = broken.start()
    assert parent.wait(120) == 0 or broken.start().wait(120) == 0
    assert kills >= 5
    assert metrics(broken.results) == metrics(tmp_path / "whole")
    assert not [path for path in broken.runs.glob("group-*")]
