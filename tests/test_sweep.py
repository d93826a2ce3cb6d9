"""Sweeps: only what is missing runs, kills lose nothing, failures stay their own, two sweeps share a folder."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from experiments import grid, published, reproduce, store, sweep
from experiments.report import RESULTS
from experiments.store import load_results, write_result

from .sweep_cases import ROOT, SMALL, inline, metrics


def test_only_what_is_missing_runs(tmp_path, monkeypatch):
    configs = [dataclasses.replace(SMALL, seed=s) for s in range(3)]
    assert sweep.execute(configs[:2], tmp_path / "results", tmp_path / "runs", inline, say=lambda text: None) == {}
    ran = []
    real = sweep.work
    monkeypatch.setattr(sweep, "work", lambda fields, *args: (ran.append(fields["seed"]), real(fields, *args))[1])
    assert (
        sweep.execute(configs + configs, tmp_path / "results", tmp_path / "runs", inline, say=lambda text: None) == {}
    )
    assert ran == [2]
    assert len(metrics(tmp_path / "results")) == 3 and not list((tmp_path / "runs").iterdir())


def test_a_failed_run_is_reported_and_does_not_stop_the_others(tmp_path):
    configs = [SMALL, dataclasses.replace(SMALL, batch_size=5000), dataclasses.replace(SMALL, seed=1)]
    said = []
    failed = sweep.execute(configs, tmp_path / "results", tmp_path / "runs", inline, say=said.append)
    assert list(failed) == [configs[1].id]
    assert "batch_size 5000 is larger" in failed[configs[1].id]
    assert any(line.startswith("FAILED") for line in said)
    assert len(metrics(tmp_path / "results")) == 2


def test_two_sweeps_share_a_folder(tmp_path, monkeypatch):
    configs = [dataclasses.replace(SMALL, seed=s) for s in range(5)]
    monkeypatch.setattr(sweep, "POLL", 0.05)
    outcomes = []

    def one():
        quiet = {"say": lambda text: None}
        outcomes.append(sweep.execute(configs, tmp_path / "results", tmp_path / "runs", inline, keep=True, **quiet))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert outcomes == [{}, {}]
    assert len(metrics(tmp_path / "results")) == 5


def test_a_lock_is_dropped_with_its_process(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom experiments import sweep\n"
        "with sweep.lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    with pytest.raises(sweep.Busy), sweep.lock(tmp_path / "run"):
        pass
    child.kill()
    child.wait()
    with sweep.lock(tmp_path / "run"):
        pass


def test_damaged_and_misplaced_results_are_named(tmp_path):
    path = tmp_path / f"{SMALL.id}.json"
    path.write_text("{")
    with pytest.raises(store.StoreError, match="is damaged"):
        sweep.pending([SMALL], tmp_path)
    store.write_json(path, {"id": SMALL.id})
    with pytest.raises(store.StoreError, match='lacks "id" or "checksum"'):
        sweep.pending([SMALL], tmp_path)
    store.write_result(path, {"id": "another"})
    with pytest.raises(store.StoreError, match="holds the result of another"):
        sweep.pending([SMALL], tmp_path)


def test_a_result_filed_in_a_folder_below_is_done(tmp_path):
    assert sweep.pending([SMALL], tmp_path) == [SMALL]
    path = tmp_path / "table1" / f"{SMALL.id}.json"
    path.parent.mkdir()
    store.write_result(path, {"id": SMALL.id})
    assert sweep.pending([SMALL], tmp_path) == []
    path.write_text("{")
    with pytest.raises(store.StoreError, match="is damaged"):
        sweep.pending([SMALL], tmp_path)


def test_nothing_that_is_published_would_run_again():
    """`published` on this checkout finds every result where it was filed."""
    results = load_results(RESULTS)
    for name, sheet in published.SHEETS.items():
        configs = [c for options in sheet.options for c in reproduce.planned(sheet.command, options, results)]
        assert configs and all(c.id in results for c in configs), name
        assert sweep.pending(configs, RESULTS) == [], name


@pytest.mark.parametrize("replicas", [1, 5])
def test_shards_share_out_the_whole_plan(replicas, tmp_path, monkeypatch):
    """Whenever each of them begins: the second after the first is done, the third at the very end, and so on round."""
    ran, said = [], []

    def execute(todo, results, runs, **_):  # a run that chooses by its temperature
        for config in todo:
            ran.append(config.id)
            metrics = {"all": {"discrete_elbo": {"mean": -config.temperature}}}
            write_result(Path(results) / f"{config.id}.json", {"id": config.id, "metrics": metrics})
        return {}

    monkeypatch.setattr(sweep, "execute", execute)
    changes = {"models": ("gs", "igr_i"), "seeds": (1, 2, 3), "temperatures": (0.2, 0.5, 1.0)}
    options = dataclasses.replace(grid.PRESETS["smoke"], **changes)
    arguments = ("table1",), options, tmp_path / "results", tmp_path / "runs", said.append
    wanted = len(grid.cell_upper_bound(grid.table_1(options), options))
    before = -1
    while len(ran) > before:
        before = len(ran)
        for part in ("1/3", "2/3", "3/3"):
            assert reproduce.run(*arguments, part=part, replicas=replicas) == {}
    assert len(ran) == len(set(ran)) == wanted == 4 * 6
    assert any("runs of other shards are missing" in text for text in said)
    said.clear()
    assert reproduce.run(*arguments, part="2/3") == {} and said == []


def test_the_share_of_a_shard_does_not_move():
    """Four runs, two shards, one after the other: the second finds its own two, as it would have at first."""
    options = dataclasses.replace(grid.PRESETS["smoke"], models=("gs",), seeds=(1, 2, 3, 4), temperatures=(0.5,))
    one = [reproduce.places(("table1", "table4"), options, results) for results in ({}, {"x": 1})]
    assert one[0] == one[1] and sorted(one[0].values()) == list(range(8))
    together = reproduce.places(("table1",), options, {}, together=True)
    assert sorted(together.values()) == [0] * 4 + [1] * 4
    metrics = {"metrics": {"all": {"discrete_elbo": {"mean": 0.0}}}}
    options = dataclasses.replace(options, temperatures=(0.2, 0.5))  # with a choice to make
    chosen = {c.id: metrics for c in grid.cell_upper_bound(grid.table_1(options), options) if c.validation}
    for together in (False, True):
        one = [reproduce.places(("table1", "table4"), options, results, together) for results in ({}, chosen)]
        assert list(one[0].values()) == list(one[1].values()) and one[0].keys() != one[1].keys()


@pytest.mark.parametrize("replicas, shards", [(1, 15), (1, 7), (1, 2), (50, 2), (50, 4)])
def test_every_shard_has_choosing_and_final_runs(replicas, shards):
    """As final runs wait for those that choose, a shard of final runs alone would wait for all the others."""
    options = grid.PRESETS["paper"]
    numbers = reproduce.places(("table1",), options, {}, together=replicas > 1)
    held_out = {c.id: c.validation for c in grid.cell_upper_bound(grid.table_1(options), options)}
    for kind, whole in ((True, 480), (False, 240)):
        counts = [sum(n % shards == i and held_out[c] is kind for c, n in numbers.items()) for i in range(shards)]
        assert sum(counts) == whole and max(counts) - min(counts) <= (1 if replicas == 1 else 0), counts
    for bad in ("0/4", "5/4", "x", "1/2/3"):
        with pytest.raises(ValueError, match="--shard"):
            sweep.shard_numbers(bad)


@pytest.mark.parametrize("package", ["distributed", "mpi4py"])
def test_missing_executors_say_what_to_install(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    make = {"distributed": lambda: sweep.dask_executor("tcp://127.0.0.1:1"), "mpi4py": sweep.mpi_executor}[package]
    with pytest.raises(RuntimeError, match=f"needs .*{package}.*pip install"):
        make()
