"""Which runs are trained together, what a sweep does with groups, and --replicas."""

from __future__ import annotations

import dataclasses

import numpy
import pytest

from experiments import __main__ as cli
from experiments import data, plan, replica_group, replicas, store, sweep

from .replica_cases import QUIET, seeds
from .run_cases import SMALL, quick_priors
from .sweep_cases import inline


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    quick_priors(monkeypatch, tmp_path)


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
    group = replica_group.Group(configs, data.load("digits"), numpy)
    group.save(runs / unit.group / "checkpoint.npz")
    assert sweep.execute(configs[1:2], results, runs, inline, **QUIET) == {}
    assert {path.stem for path in results.glob("*.json")} == {config.id for config in configs}


def test_how_many_fit():
    linear, deep = SMALL, dataclasses.replace(SMALL, architecture="nonlinear")
    assert replicas.largest_group("auto", "cpu") == 1 and replicas.largest_group(7, "cpu") == 7
    assert replicas.fitting(linear, 80e9) == replicas.LARGEST and replicas.fitting(deep, 1e6) == 1
    assert 1 < replicas.fitting(deep, 5e8) < replicas.fitting(linear, 5e8)
    for config in (linear, deep, dataclasses.replace(SMALL, model="gs", n_samples=4)):  # an upper bound, not a guess
        group = replica_group.Group([config], data.load("digits"), numpy)
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
