"""Replicas: runs trained as one program are the same runs, whatever happens to the group or to one of them."""

from __future__ import annotations

import dataclasses
import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy
import pytest

from experiments import __main__ as cli
from experiments import data, plan, programs, replica_program, replica_training, replicas, store, sweep, train
from igr_ref import models, noise

from .strict_array import NAMESPACE, StrictArray, same_bits
from .sweep_cases import Sweep, end_all, inline, metrics, tiny_images, wait_for

ROOT = Path(__file__).resolve().parents[1]
SMALL = plan.RunConfig(epochs=2, n_variables=4, n_categories=3, m=20, law="simulated", law_draws=50,
                       learning_rate=1e-3, training_images=50)  # fmt: skip
# Rounding may make a gradient that is nearly 0 differ by more than Adam's epsilon, and a step is at most about the
# learning rate: float32 parameters after 28 steps may be a few steps apart at the very worst.
TOLERANCE = {"float32": 4e-3, "float64": 1e-9}
QUIET = {"say": lambda text: None}


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    yield
    end_all()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fits = {"igr_i_prior": (-0.6, -0.1), "igr_sb_prior": (numpy.array([-1.0, -0.5]), numpy.array([0.1, 0.2]))}
    for name, value in fits.items():
        monkeypatch.setattr(programs.prior, name, lambda k, value=value: value)


def seeds(n, **fields):
    return [dataclasses.replace(SMALL, seed=seed, **fields) for seed in range(n)]


def seeds_and_temperatures(**fields):
    """R = 4; for Gumbel-Softmax one of them has a prior temperature of its own."""
    group = [dataclasses.replace(SMALL, seed=s, temperature=t, **fields) for s in (3, 4) for t in (0.2, 0.67)]
    if fields.get("model") == "gs":
        group[1] = dataclasses.replace(group[1], prior_temperature=0.5)
    return group


def run_group(configs, folder, **options):
    """({id: result}, {id: error})."""
    results = {}
    failed = replica_training.run(configs, folder, lambda r: results.__setitem__(r["id"], r), **options)
    return results, failed


def trained_group(configs, folder):
    """The Group after its last epoch."""
    folder.mkdir(parents=True)
    group = replica_training.Group(configs, data.load("digits"), numpy)
    replica_training.train(group, folder, io.StringIO(), quiet=True)
    return group


def trained_alone(config, folder):
    folder.mkdir(parents=True)
    return train.train(config, data.load("digits"), folder, numpy, io.StringIO(), quiet=True)


def cases():
    for model in plan.MODELS:
        yield seeds(3, model=model, estimator="plain", dtype="float64")
        yield seeds_and_temperatures(model=model, estimator="sl", dtype="float64")
        yield seeds_and_temperatures(model=model, estimator="plain")
    for estimator, model in (("relax", "igr_i"), ("relax", "gs"), ("uspgbl", "igr_i"), ("uspgbl", "gs")):
        yield seeds(3, model=model, estimator=estimator, n_samples=2, dtype="float64", epochs=1)


@pytest.mark.parametrize("configs", list(cases()), ids=lambda g: f"{g[0].model}-{g[0].estimator}-{g[0].dtype}-{len(g)}")
def test_replicas_are_their_own_runs(configs, tmp_path):
    group = trained_group(configs, tmp_path / "group")
    assert group.failed == {}
    tolerance = TOLERANCE[configs[0].dtype]
    for r, config in enumerate(configs):
        alone = trained_alone(config, tmp_path / config.id)
        assert sorted(alone.params) == sorted(group.together.params)
        for name, p in alone.params.items():
            got = group.together.params[name][r]
            assert got.dtype == p.dtype and numpy.abs(got - p).max() <= tolerance, name
            assert numpy.abs(group.together.each[r].params[name] - got).max() == 0
        for own, shared in zip(alone.history, group.histories[config.id], strict=True):
            assert own.keys() == shared.keys()
            for key in own:
                assert shared[key] == pytest.approx(own[key], abs=20 * tolerance)


@pytest.mark.parametrize("model", ["gs", "igr_sb"])
def test_images_and_noise_are_those_of_the_runs_bit_for_bit(model, tmp_path, monkeypatch):
    seen = []
    real = models.VAE.loss_and_grads

    def recorded(self, params, x, draws, *rest):
        seen.append((x.copy(), draws.copy()))
        return real(self, params, x, draws, *rest)

    monkeypatch.setattr(models.VAE, "loss_and_grads", recorded)
    configs = seeds_and_temperatures(model=model)
    trained_group(configs, tmp_path / "group")
    together = list(seen)
    for r, config in enumerate(configs):
        seen.clear()
        trained_alone(config, tmp_path / config.id)
        assert len(seen) == len(together) == 2 * (1437 // 100)
        for (x, draws), (all_x, all_draws) in zip(seen, together, strict=True):
            assert x.tobytes() == all_x[r].tobytes() and draws.tobytes() == all_draws[r].tobytes()
    assert together[0][1][0].tobytes() != together[0][1][2].tobytes()  # seeds differ
    assert together[0][0].tobytes() != together[1][0].tobytes()


def test_the_results_of_a_sweep_have_the_same_ids_and_metrics(tmp_path):
    configs = seeds_and_temperatures(model="igr_i") + seeds(1, model="gs") + seeds(2, model="gs", estimator="sl")
    for name, size in (("alone", 1), ("together", 4)):
        folders = (tmp_path / name / "results", tmp_path / name / "runs")
        assert sweep.execute(configs, *folders, inline, replicas=size, **QUIET) == {}
        assert not [path for path in folders[1].iterdir() if path.is_dir()]
    alone, together = (store.load_results(tmp_path / name / "results") for name in ("alone", "together"))
    assert alone.keys() == together.keys() == {config.id for config in configs}
    for name, want in alone.items():
        got = together[name]
        assert got["config"] == want["config"] and got["dataset"] == want["dataset"] and got["prior"] == want["prior"]
        for part in want["metrics"]:
            for key, value in want["metrics"][part].items():
                if isinstance(value, dict) and "mean" in value:
                    assert got["metrics"][part][key]["mean"] == pytest.approx(value["mean"], abs=0.2), (part, key)
        count = {"igr_i": 4, "gs": 2 if got["config"]["estimator"] == "sl" else None}[got["config"]["model"]]
        note = got["provenance"].get("replicas")
        assert note is None if count is None else note["trained_together"] == count and note["position"] < count
        assert "replicas" not in want["provenance"]


def test_interrupted_again_and_again_is_bit_identical(tmp_path, monkeypatch):
    configs = seeds_and_temperatures(model="gs")
    whole, failed = run_group(configs, tmp_path / "whole")
    assert failed == {} and len(whole) == 4

    class StopSoon(train.StopRequests):
        def __enter__(self):
            self.left = 9
            return self

        @property
        def requested(self):
            self.left -= 1
            return self.left <= 0

        @requested.setter
        def requested(self, value):
            pass

    monkeypatch.setattr(replica_training, "StopRequests", StopSoon)
    stops = 0
    while True:
        try:
            broken, _ = run_group(configs, tmp_path / "broken")
            break
        except train.Interrupted:
            stops += 1
    assert stops >= 2
    same_runs(broken, whole)


def same_runs(got, want):
    assert got.keys() == want.keys()
    for name in want:
        for key in ("parameters_sha256", "metrics", "history", "config"):
            assert got[name][key] == want[name][key], (name, key)


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
    folders = tmp_path / "results", tmp_path / "killed"
    command = [sys.executable, "-c", WORKER, str(tmp_path / "configs.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    checkpoint, moments, kills = folders[1] / "checkpoint.npz", random.Random(0), 0
    for _ in range(20):
        child = subprocess.Popen([*command, *map(str, folders)], cwd=ROOT, env=environment)
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else None
        while child.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
            time.sleep(0.002)
        if kills < 3:
            time.sleep(moments.uniform(0, 0.05))
            child.send_signal(signal.SIGKILL)
        if child.wait() == 0:
            break
        kills += 1
    assert kills >= 2, "the group ended before it could be killed often enough to test anything"
    same_runs(store.load_results(folders[0]), whole)


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
    monkeypatch.setattr(replica_training.Group, "grads", None)
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
    real, calls = replica_training.Group.grads, []

    def poisoned(self):
        calls.append(len(self.configs))
        if self.step == 7 and len(self.configs) == 3:
            self.together.params["decoder.0.weight"][1] = numpy.nan
        with numpy.errstate(invalid="ignore"):
            return real(self)

    monkeypatch.setattr(replica_training.Group, "grads", poisoned)
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
    monkeypatch.setattr(replica_training.Group, "grads", None)
    assert run_group([configs[1]], tmp_path / "group") == ({}, failed)


def test_a_replica_whose_step_raises_is_dropped(tmp_path, monkeypatch):
    """RELAX refuses laws that are not finite, for all replicas at once; only the one at fault is reported."""
    configs = seeds(3, model="igr_i", estimator="relax", epochs=1)
    real = replica_training.Group.grads

    def poisoned(self):
        if self.step == 2 and len(self.configs) == 3:
            self.together.params["encoder.0.bias"][2] = numpy.nan
        with numpy.errstate(invalid="ignore"):
            return real(self)

    monkeypatch.setattr(replica_training.Group, "grads", poisoned)
    with numpy.errstate(invalid="ignore"):
        got, failed = run_group(configs, tmp_path / "group")
    assert list(failed) == [configs[2].id] and "stopped at step 2" in failed[configs[2].id]
    assert got.keys() == {configs[0].id, configs[1].id}


def test_an_error_of_all_is_not_blamed_on_one(tmp_path, monkeypatch):
    monkeypatch.setattr(replica_training.Group, "minibatch", lambda self: 1 / 0 if self.step == 1 else real(self))
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


def test_what_goes_together(tmp_path):
    base = [dataclasses.replace(SMALL, model="gs", seed=s, temperature=t, prior_temperature=p)
            for s in (1, 2, 3) for t, p in ((0.5, None), (1, 0.5))]  # fmt: skip
    changes = {"learning_rate": 0.1, "estimator": "sl", "validation": True, "epochs": 9, "dtype": "float64"}
    others = [dataclasses.replace(SMALL, model="gs", **{name: value}) for name, value in changes.items()]
    fit = plan.ApproximationConfig()
    configs = [base[0], others[0], *base[1:], *others[1:], fit]
    sizes = {6: [6], 50: [6], 5: [3, 3], 4: [3, 3], 2: [2, 2, 2], 1: [1] * 6}
    for size, want in sizes.items():
        units = replicas.units(configs, size, tmp_path)
        assert sorted(c.id for u in units for c in u.configs) == sorted(c.id for c in configs)
        assert [len(u.configs) for u in units if u.configs[0] in base] == want
        assert all((u.group is None) == (len(u.configs) == 1) for u in units)
    by_function = replicas.units(configs, lambda config: 2 if config == base[0] else 1, tmp_path)
    assert max(len(u.configs) for u in by_function) == 2
    # the name of a group does not depend on the order in which its members are asked for
    names = [{u.group for u in replicas.units(order, 9, tmp_path)} for order in (configs, configs[::-1])]
    assert names[0] == names[1]
    # a run that was begun by itself goes on by itself
    store.save_checkpoint(tmp_path / base[2].id / "checkpoint.npz", {}, {})
    assert [len(u.configs) for u in replicas.units(base, 9, tmp_path)] == [5, 1]
    # a damaged checkpoint of a group counts for nothing here, and is named by whoever opens it
    (tmp_path / "group-x").mkdir()
    (tmp_path / "group-x" / "checkpoint.npz").write_bytes(b"damaged")
    assert [len(u.configs) for u in replicas.units(base, 9, tmp_path)] == [5, 1]
    parts = [sweep.shard(replicas.units(configs, 2, tmp_path), f"{i}/3") for i in (1, 2, 3)]
    assert sorted(c.id for part in parts for u in part for c in u.configs) == sorted(c.id for c in configs)


def test_a_run_that_another_process_is_at_is_left_to_it(tmp_path):
    configs, results, runs = seeds(3, model="gs", epochs=1), tmp_path / "results", tmp_path / "runs"
    with sweep.lock(runs / configs[1].id):
        failed, busy = sweep.work_group([c.as_dict() for c in configs], "group-1", results, runs)
    assert failed == {} and busy == [configs[1].id]
    assert {path.stem for path in results.glob("*.json")} == {configs[0].id, configs[2].id}
    notes = [store.read_result(path)["provenance"]["replicas"]["trained_together"] for path in results.glob("*.json")]
    assert notes == [2, 2]


def test_a_group_that_was_begun_is_finished_whole_when_some_of_it_is_asked_for(tmp_path):
    configs, results, runs = seeds(3, model="gs"), tmp_path / "results", tmp_path / "runs"
    (unit,) = replicas.units(configs, 3, runs)
    group = replica_training.Group(configs, data.load("digits"), numpy)
    group.save(runs / unit.group / "checkpoint.npz")
    assert sweep.execute(configs[1:2], results, runs, inline, **QUIET) == {}
    assert {path.stem for path in results.glob("*.json")} == {config.id for config in configs}


@pytest.mark.parametrize(
    "model, estimator", [("gs", "sl"), ("igr_planar", "plain"), ("igr_sb", "plain"), ("gs", "relax")]
)
def test_steps_on_an_array_that_is_no_numpy_array(model, estimator):
    """The same bits; what enters from the host in a step is its noise, and nothing goes back.

    But for RELAX, which looks at its draws to check them.
    """
    configs = seeds_and_temperatures(model=model, estimator=estimator)
    groups = {xp: replica_training.Group(configs, data.load("digits"), xp) for xp in (numpy, NAMESPACE)}
    entered = []
    for step in range(16):  # into the second epoch
        out = {}
        for xp, group in groups.items():
            with no_way_back(entered, estimator != "relax") if xp is NAMESPACE else numpy.errstate():
                loss, parts, grads = group.grads()
                group.adam.step(group.together.params, grads, group.together.learning_rate(step))
            group.step += 1
            out[xp] = [loss, parts, grads, group.together.params]
        same_bits(out[NAMESPACE], out[numpy], f"step {step}")
    draws = 1 if estimator != "relax" else 2
    # two seeds share four replicas: twice S B N K numbers of noise; the order of the images at the start of an epoch
    sizes = [size for size in entered if size > 4]
    orders = [size for size in sizes if size == 2 * 1437]
    k = 3 if model == "gs" else 2
    assert len(orders) == 2 and len(sizes) == 2 + 16 * draws
    assert set(sizes) == {2 * 1437, 2 * 100 * 4 * k}


class no_way_back:
    """While open, a StrictArray has no way to the host; what comes from the host is noted by its size."""

    def __init__(self, entered, closed):
        self.entered, self.closed = entered, closed

    def __enter__(self):
        self.patch = pytest.MonkeyPatch()
        for name in ("get", "__float__", "__bool__", "__int__", "__index__", "__iter__") * self.closed:
            self.patch.setattr(StrictArray, name, self.refuse)
        real = NAMESPACE.asarray

        def asarray(x, *args, **kwargs):
            if isinstance(x, numpy.ndarray):
                self.entered.append(x.size)
            return real(x, *args, **kwargs)

        self.patch.setattr(NAMESPACE, "asarray", asarray, raising=False)

    @staticmethod
    def refuse(self, *args):
        raise AssertionError("a step took something back to the host")

    def __exit__(self, *_):
        self.patch.undo()


def test_temperatures_have_one_axis_of_replicas():
    with pytest.raises(ValueError, match="temperature must be a number or an array"):
        models.GumbelSoftmaxFamily(4, 3, numpy.full((4, 1), 0.5))
    with pytest.raises(ValueError, match="temperature must be a number or an array"):
        models.GumbelSoftmaxFamily(4, 3, 0.5, numpy.full((2, 1, 1), 0.5))
    for make in (models.igr_i_family, models.igr_planar_family, models.igr_sb_family):
        with pytest.raises(ValueError, match="got shape"):
            make(4, 3, numpy.full((2, 1, 4, 1), 0.5), 0.0, 0.0)
    same = seeds(3, temperature=0.3)
    assert replica_program.temperatures(same, numpy) == (0.3, 0.3)  # a number where all agree
    own, prior = replica_program.temperatures(seeds_and_temperatures(model="gs"), numpy)
    assert own.ravel().tolist() == [0.2, 0.67, 0.2, 0.67] and own.shape == (4, 1, 1, 1, 1)
    assert prior.ravel().tolist() == [0.2, 0.5, 0.2, 0.67]


def test_how_many_fit():
    linear, deep = SMALL, dataclasses.replace(SMALL, architecture="nonlinear")
    assert replicas.largest_group("auto", "cpu") == 1 and replicas.largest_group(7, "cpu") == 7
    assert replicas.fitting(linear, 80e9) == replicas.LARGEST and replicas.fitting(deep, 1e6) == 1
    assert 1 < replicas.fitting(deep, 5e8) < replicas.fitting(linear, 5e8)
    for config in (linear, deep, dataclasses.replace(SMALL, model="gs", n_samples=4)):  # an upper bound, not a guess
        group = replica_training.Group([config], data.load("digits"), numpy)
        held = [*group.together.params.values(), *group.adam.state().values()]
        held += [*group.grads()[1].values()]
        assert sum(getattr(a, "nbytes", 0) for a in held) < replicas.replica_bytes(config, pixels=64)


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "local_executor", lambda workers: inline())
    folders = ["--results", str(tmp_path / "results"), "--runs", str(tmp_path / "runs")]
    options = ["--models", "gs", "--estimators", "plain", "--temperatures", "0.3", "--seeds", "1", "2", "3",
               "--epochs", "1", "--m", "5", "--replicas", "2"]  # fmt: skip
    assert cli.main(["table1", *options, *folders]) == 0
    assert "3/3" in capsys.readouterr().out
    notes = [r["provenance"].get("replicas", {}) for r in store.load_results(tmp_path / "results").values()]
    assert sorted(note.get("trained_together", 1) for note in notes) == [1, 2, 2]
    for bad in ("0", "many", "-1", "1.5"):
        with pytest.raises(SystemExit) as stop:
            cli.main(["table1", "--replicas", bad])
        assert stop.value.code == 2
        assert "wanted auto or a whole number of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("ahead", [False, True])
def test_draws_made_ahead_are_the_draws(ahead):
    """Also where a step asks for something else than the one before, or steps do not follow one another."""
    streams = replica_program.Streams([5, 7, 5], numpy, ahead)
    first, second, third = ("normal", (2, 3), "float32"), ("uniform", (4,), "float64"), ("gumbel", (2, 3), "float32")
    asked = [[first], [first], [first, second], [first, second], [first, third], [first], [], [second], [second]]
    for step, requests in zip((0, 1, 2, 3, 4, 5, 6, 7, 9), asked, strict=True):
        got = streams.at("train", step)
        singles = [noise.generator(seed, "train", step) for seed in (5, 7, 5)]
        for law, shape, dtype in requests:
            want = numpy.stack([programs.DRAW[law](rng, shape, dtype) for rng in singles])
            out = got.draw(law, shape, dtype, numpy)
            assert out.dtype == want.dtype and out.tobytes() == want.tobytes()
        if ahead and step in (2, 8):
            assert streams.next[0] == ("train", step + 1)
    assert (streams.pool is not None) == ahead


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
