"""Sweeps: only what is missing runs, kills lose nothing, failures stay their own, two sweeps share a folder."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from experiments import plan, store, sweep

ROOT = Path(__file__).resolve().parents[1]
SMALL = plan.RunConfig(model="gs", epochs=2, n_variables=3, n_categories=3, m=5, learning_rate=1e-3, monitor_every=0,
                       training_images=0)  # fmt: skip
SWEEP = """
import sys
from experiments import plan, store, sweep
if __name__ == "__main__":
    configs = [plan.from_dict(f) for f in store.read_json(sys.argv[1])]
    failed = sweep.execute(configs, sys.argv[2], sys.argv[3], lambda: sweep.local_executor(2))
    sys.exit(bool(failed))
"""


def inline():
    return concurrent.futures.ThreadPoolExecutor(1)


def metrics(results):
    """What must be the same, byte for byte, whatever happened on the way."""
    return {
        path.name: json.dumps([r["metrics"], r["parameters_sha256"], r["history"]], sort_keys=True)
        for path in sorted(Path(results).glob("*.json"))
        for r in [store.read_json(path)]
    }


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


def test_workers_killed_and_parent_killed_end_with_the_same_results(tmp_path):
    """Ten kills, of workers and of the whole sweep; the metrics of an unbroken sweep, byte for byte."""
    configs = [dataclasses.replace(SMALL, seed=s, epochs=30) for s in range(4)]
    sweep.execute(configs, tmp_path / "whole", tmp_path / "runs-whole", inline, say=lambda text: None)
    store.write_json(tmp_path / "configs.json", [c.as_dict() for c in configs])
    (tmp_path / "sweep_script.py").write_text(SWEEP)
    results = tmp_path / "results"
    command = [sys.executable, str(tmp_path / "sweep_script.py"), str(tmp_path / "configs.json"), str(results),
               str(tmp_path / "runs")]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    kills = 0
    for attempt in range(12):
        parent = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while parent.poll() is None and time.monotonic() < deadline:
            time.sleep(1.2 + 0.05 * attempt)
            if kills >= 10 or parent.poll() is not None:
                continue
            if attempt % 2:  # the whole sweep at once
                os.killpg(parent.pid, signal.SIGKILL)
                kills += 1
                break
            children = subprocess.run(
                ["pgrep", "-P", str(parent.pid), "-f", "spawn_main"], capture_output=True, text=True
            )
            if children.stdout.split():
                os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
                kills += 1
                if kills % 3 == 0:
                    os.killpg(parent.pid, signal.SIGKILL)
                    break
        parent.wait(timeout=120)
        if parent.returncode == 0:
            break
    assert parent.returncode == 0 and kills >= 1
    assert metrics(results) == metrics(tmp_path / "whole")


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
    store.write_json(path, {"id": "another"})
    with pytest.raises(store.StoreError, match="holds the result of another"):
        sweep.pending([SMALL], tmp_path)


def test_shards_cover_everything_once():
    configs = list(range(17))
    parts = [sweep.shard(configs, f"{i}/4") for i in range(1, 5)]
    assert sorted(sum(parts, [])) == configs
    for bad in ("0/4", "5/4", "x", "1/2/3"):
        with pytest.raises(ValueError, match="--shard"):
            sweep.shard(configs, bad)


def test_missing_executors_say_what_to_install():
    for make, package in (
        (lambda: sweep.dask_executor("tcp://127.0.0.1:1"), "distributed"),
        (sweep.mpi_executor, "mpi4py"),
    ):
        try:
            __import__(package)
        except ImportError:
            with pytest.raises(RuntimeError, match=package):
                make()
