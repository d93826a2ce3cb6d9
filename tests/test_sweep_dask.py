"""Sweeps on a Dask cluster of two worker processes on this machine: the results of a local sweep, whatever dies."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import threading
import time

import pytest

from experiments import __main__ as cli
from experiments import executors, sweep, train

from .sweep_cases import FIT, ROOT, SMALL, forty, metrics, tiny_images, unbroken, wait_for

pytest.importorskip("distributed", reason="dask.distributed is not installed (pip install distributed)")
pytestmark = pytest.mark.filterwarnings("ignore")  # asyncio's, as the sockets of killed workers close


@contextlib.contextmanager
def cluster():
    """Two workers under nannies, which replace them when they die, as those of `dask worker` do."""
    import distributed

    old = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as made:
            yield made
    finally:
        os.environ.pop("PYTHONPATH") if old is None else os.environ.update(PYTHONPATH=old)


def checkpoint_often(dask_worker):
    """For `Client.register_worker_callbacks`: also in the workers that replace killed ones."""
    train.run.__defaults__ = (*train.run.__defaults__[:-1], 0.05)


def workers(made):
    return [nanny.pid for nanny in made.workers.values() if nanny.pid]


def kill_some(made, runs, results, kills, seed, done):
    """SIGKILL a random worker at `kills` random moments, each after some run got further."""
    moments = random.Random(seed)

    def progress():
        return {*runs.glob("*/checkpoint.npz"), *results.glob("*.json")}

    for _ in range(kills):
        seen = progress()
        if not wait_for(lambda seen=seen: progress() - seen, 30):
            return
        time.sleep(moments.uniform(0, 0.3))
        if found := workers(made):
            with contextlib.suppress(ProcessLookupError):
                os.kill(moments.choice(found), signal.SIGKILL)
                done.append(time.monotonic())


def test_a_cluster_of_two_processes(tmp_path, monkeypatch, capsys):
    """Equal results, a worker killed and its run taken up again, a failed run reported, and all by the command."""
    base = dataclasses.replace(SMALL, dataset=tiny_images(tmp_path))
    configs = [dataclasses.replace(base, seed=s, epochs=2 if s < 6 else 200) for s in range(8)] + [FIT]
    bad = dataclasses.replace(base, batch_size=5000)
    results, runs, said, done = tmp_path / "results", tmp_path / "runs", [], []
    with cluster() as made:
        killer = threading.Thread(target=kill_some, args=(made, runs, results, 1, 0, done))
        killer.start()
        failed = sweep.execute(
            [bad, *configs], results, runs, lambda: sweep.dask_executor(made.scheduler_address), say=said.append
        )
        killer.join()
        assert list(failed) == [bad.id] and "batch_size 5000 is larger" in failed[bad.id]
        assert sum(line.startswith("FAILED") for line in said) == 1 and len(done) == 1
        assert metrics(results) == unbroken(configs, tmp_path / "unbroken")

        monkeypatch.chdir(tmp_path)
        options = ["--models", "gs", "--estimators", "plain", "--temperatures", "0.5", "--epochs", "1", "--m", "5"]
        for name, where in (("dask", ["--scheduler", made.scheduler_address]), ("local", ["--workers", "1"])):
            folders = ["--results", f"{name}-results", "--runs", f"{name}-runs"]
            assert cli.main(["table1", *options, *folders, "--executor", name, *where]) == 0
        assert metrics(tmp_path / "dask-results") == metrics(tmp_path / "local-results") != {}
    assert "missing" not in capsys.readouterr().out


def test_bad_addresses_are_errors_of_input(tmp_path, monkeypatch, capsys):
    import dask

    monkeypatch.chdir(tmp_path)
    options = ["figure4", "--steps", "1", "--executor", "dask"]
    assert cli.main(options) == 2
    assert "needs the address" in capsys.readouterr().err
    with dask.config.set({"distributed.comm.timeouts.connect": "200ms"}):
        assert cli.main([*options, "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_a_run_that_dask_gives_up_counts_as_a_lost_worker():
    from distributed import KilledWorker

    assert KilledWorker in executors.worker_losses()


@pytest.mark.slow
def test_forty_runs_survive_ten_kills_on_dask(tmp_path):
    from distributed import Client

    configs = forty(tmp_path, long=24, epochs=500)
    results, runs, done = tmp_path / "results", tmp_path / "runs", []
    with cluster() as made:
        with Client(made) as client:
            client.register_worker_callbacks(checkpoint_often)
        killer = threading.Thread(target=kill_some, args=(made, runs, results, 10, 0, done))
        killer.start()
        failed = sweep.execute(configs, results, runs, lambda: sweep.dask_executor(made.scheduler_address))
        killer.join()
    assert failed == {} and len(done) == 10
    assert metrics(results) == unbroken(configs, tmp_path / "unbroken")


@pytest.mark.slow
def test_a_run_whose_workers_always_die_is_given_up_on_dask(tmp_path, monkeypatch):
    """Dask raises KilledWorker after a death or more; we ask again, a few times, and then report the run."""
    import dask

    monkeypatch.setattr(sweep, "RETRIES", 1)
    monkeypatch.setattr(sweep, "work", lambda *_: os._exit(9))
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), cluster() as made:
        failed = sweep.execute([SMALL], tmp_path, tmp_path, lambda: sweep.dask_executor(made.scheduler_address))
    assert "was lost 2 times" in failed[SMALL.id]
