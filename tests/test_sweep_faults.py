"""Kills, Ctrl-C and company: whatever happens to a sweep, its results are those of an unbroken one, byte for byte."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import signal
import sys
import threading
import time

import pytest

from experiments import store, sweep
from experiments.stopping import Interrupted

from .sweep_cases import FIT, SMALL, Sweep, end_all, forty, inline, metrics, tiny_images, unbroken, wait_for

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and flock")


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    yield
    end_all()


def killed_sweep(configs, folder, kills, seed, longest):
    """(the sweep, the kills): `configs` through SIGKILLs, of one worker or of the parent, for as long as there is work.

    Each falls at a random moment up to `longest` seconds after some run got further, so no kill meets a sweep at rest.
    """
    job, moments = Sweep(configs, folder), random.Random(seed)
    order = ["worker"] * (kills - kills // 3) + ["parent"] * (kills // 3)
    moments.shuffle(order)
    parent, done = job.start(), []

    def further(than):
        return (job.workers() and job.progress() > than) or parent.poll() is not None

    for what in order:
        seen = job.progress()
        assert wait_for(lambda seen=seen: further(seen)), job.said.read_text()
        time.sleep(moments.uniform(0, longest))
        workers = job.workers()
        if parent.poll() is not None:
            break
        if what == "parent":
            parent.kill()
            parent.wait()
            parent = job.start()
        elif workers:
            with contextlib.suppress(ProcessLookupError):  # the one killed last, still on the list
                os.kill(moments.choice(workers), signal.SIGKILL)
        done.append(what)
    assert parent.wait(120) == 0, job.said.read_text()
    assert job.orphans() == []
    return job, done


def test_forty_runs_survive_ten_kills(tmp_path):
    """SIGKILL of workers and of the whole sweep's parent, in random order."""
    configs = forty(tmp_path)
    job, done = killed_sweep(configs, tmp_path, kills=10, seed=0, longest=0.05)
    assert len(done) >= 5 and len(set(done)) == 2, f"the sweep was over after {done}"  # ten, but for a stalled machine
    assert metrics(job.results) == unbroken(configs, tmp_path / "unbroken")
    assert "was killed by SIGKILL" in job.said.read_text()
    assert len(list(job.results.iterdir())) == 40  # and nothing else: no half-written file


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_forty_longer_runs_survive_ten_kills(tmp_path, seed):
    configs = forty(tmp_path, long=24, epochs=600)
    job, done = killed_sweep(configs, tmp_path, kills=10, seed=seed, longest=1.0)
    assert len(done) == 10
    assert metrics(job.results) == unbroken(configs, tmp_path / "unbroken")


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL],
    ids=lambda n: n.name,
)
def test_a_stopped_sweep_leaves_no_orphans(tmp_path, number):
    """The parent alone gets the signal. Its workers end by themselves, and save first what was trained so far."""
    job = Sweep([dataclasses.replace(SMALL, seed=s, epochs=100_000) for s in range(2)], tmp_path, 1000)
    parent = job.start()
    assert wait_for(lambda: len(list(job.runs.glob("*/log.txt"))) == 2), job.said.read_text()
    time.sleep(0.2)
    parent.send_signal(number)
    assert parent.wait(30) == (130 if number == signal.SIGINT else -number)
    assert job.orphans() == []
    checkpoints = list(job.runs.glob("*/checkpoint.npz"))
    assert len(checkpoints) == 2 and all(store.load_checkpoint(path)[1]["step"] > 0 for path in checkpoints)
    if number == signal.SIGINT:
        assert "2 of 2 runs are left" in job.said.read_text()


def test_a_lost_worker_costs_only_its_own_run(tmp_path):
    """Of two workers one is killed: the other's run goes on, and is not counted as lost."""
    base = dataclasses.replace(SMALL, dataset=tiny_images(tmp_path), epochs=400)
    job = Sweep([dataclasses.replace(base, seed=s) for s in range(2)], tmp_path, 1000)
    parent = job.start()
    assert wait_for(lambda: len(list(job.runs.glob("*/log.txt"))) == 2)
    os.kill(job.workers()[0], signal.SIGKILL)
    assert parent.wait(60) == 0
    assert job.said.read_text().count("lost its worker") == 1


def _die(*_):
    os._exit(9)


def test_a_run_that_always_loses_its_worker_is_given_up(tmp_path, monkeypatch):
    """A run too large for the machine's memory, say: RETRIES more times, then it is reported, and the others run."""
    monkeypatch.setattr(sweep, "work", _die)
    monkeypatch.setattr(sweep, "RETRIES", 1)
    said = []
    failed = sweep.execute([SMALL], tmp_path, tmp_path, lambda: sweep.local_executor(1), say=said.append)
    assert failed == {SMALL.id: failed[SMALL.id]} and "was lost 2 times" in failed[SMALL.id]
    assert "ended with code 9" in failed[SMALL.id]
    assert sum("is taken up again" in line for line in said) == 1


def test_losses_are_forgiven_while_a_run_gets_further(tmp_path, monkeypatch):
    """Ten preemptions of one run that is further on each time are not a failure."""
    left = iter(range(10))

    def preempted(fields, results, runs, *rest):
        folder = tmp_path / SMALL.id
        folder.mkdir(exist_ok=True)
        n = next(left, None)
        if n is None:
            return None
        (folder / "checkpoint.npz").touch()
        os.utime(folder / "checkpoint.npz", ns=(n, n))
        raise Interrupted(folder)

    monkeypatch.setattr(sweep, "work", preempted)
    assert sweep.execute([SMALL], tmp_path / "results", tmp_path, inline, say=lambda text: None) == {}


def test_two_sweeps_at_once_run_everything_once(tmp_path):
    """Two processes with a worker each, on the same folders: both end well, no run is trained twice."""
    base = dataclasses.replace(SMALL, dataset=tiny_images(tmp_path), epochs=20)
    configs = [dataclasses.replace(base, seed=s) for s in range(12)] + [FIT]
    job = Sweep(configs, tmp_path)
    script = (tmp_path / "script.py").read_text().replace("sys.argv[3], make)", "sys.argv[3], make, keep=True)")
    script = script.replace("local_executor(2)", "local_executor(1)")
    (tmp_path / "script.py").write_text(script)
    assert [parent.wait(120) for parent in (job.start(), job.start())] == [0, 0], job.said.read_text()
    assert metrics(job.results) == unbroken(configs, tmp_path / "alone")
    for config in configs[:-1]:
        log = (job.runs / config.id / "log.txt").read_text()
        assert log.count(f"trained {config.id}") == 1 and "resumed" not in log


def test_a_folder_that_goes_away_while_its_lock_is_taken(tmp_path, monkeypatch):
    """The other sweep finished that run and removed its folder between our mkdir and our open."""
    folder, real = tmp_path / "run", type(tmp_path).mkdir
    calls = []

    def mkdir(self, *args, **kwargs):
        real(self, *args, **kwargs)
        calls.append(self)
        if len(calls) == 1:
            self.rmdir()

    monkeypatch.setattr(type(tmp_path), "mkdir", mkdir)
    with sweep.lock(folder):
        assert (folder / "lock").exists() and len(calls) == 2


def test_locks_hold_among_the_threads_of_one_process(tmp_path):
    """As in a Dask worker of several threads."""
    outcomes = []

    def other():
        try:
            with sweep.lock(tmp_path / "run"):
                outcomes.append("held")
        except sweep.Busy:
            outcomes.append("busy")

    with sweep.lock(tmp_path / "run"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    other()
    assert outcomes == ["busy", "held"]


def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    import errno

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert len(unbroken([SMALL], tmp_path)) == 1


def test_a_run_held_by_another_is_waited_for(tmp_path, monkeypatch):
    """While another holds a run, no worker is asked for it again and again."""
    monkeypatch.setattr(sweep, "POLL", 0.05)
    real, tries = sweep.work, []
    monkeypatch.setattr(sweep, "work", lambda *args: (tries.append(1), real(*args))[1])
    outcome = []
    with sweep.lock(tmp_path / "runs" / SMALL.id):
        arguments = ([SMALL], tmp_path / "results", tmp_path / "runs", inline)
        thread = threading.Thread(target=lambda: outcome.append(sweep.execute(*arguments, say=lambda text: None)))
        thread.start()
        time.sleep(0.5)
        assert len(tries) == 1
    thread.join(30)
    assert outcome == [{}] and len(tries) == 2


def test_leftovers_of_a_killed_write_are_removed(tmp_path):
    leftovers = [tmp_path / "runs" / SMALL.id / ".checkpoint.npz.abc.tmp", tmp_path / f".{SMALL.id}.json.abc.tmp"]
    for path in leftovers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    other = tmp_path / ".another-run.json.abc.tmp"
    other.write_bytes(b"another worker is writing this")
    sweep.work(SMALL.as_dict(), tmp_path, tmp_path / "runs", keep=True)
    assert not any(path.exists() for path in leftovers) and other.exists()


def test_every_error_survives_the_way_back_from_a_worker(tmp_path, monkeypatch):
    """An exception that does not unpickle would look like a lost worker, or take the pool down."""

    class Odd(Exception):
        def __init__(self, first, second):
            super().__init__(f"{first} and {second}")

    def fail(*_, **__):
        raise Odd("this", "that")

    from experiments import runners

    monkeypatch.setattr(runners, "run", fail)
    with pytest.raises(sweep.RunError, match="Odd: this and that"):
        sweep.work(SMALL.as_dict(), tmp_path / "results", tmp_path / "runs")
    assert "raise Odd" in (tmp_path / "runs" / SMALL.id / "error.txt").read_text()
    import pickle

    again = pickle.loads(pickle.dumps(Interrupted(tmp_path)))
    assert again.path == tmp_path and str(again) == f"stopped; a checkpoint was saved in {tmp_path}"


def test_a_killed_group_goes_on_as_a_group(tmp_path):
    """Runs that are trained as one program lose one worker together, and end with the results of single runs."""
    base = dataclasses.replace(SMALL, dataset=tiny_images(tmp_path), epochs=300)
    configs = [dataclasses.replace(base, seed=s) for s in range(4)]
    job = Sweep(configs, tmp_path)
    script = (tmp_path / "script.py").read_text().replace("sys.argv[3], make)", "sys.argv[3], make, replicas=4)")
    script = script.replace("local_executor(2)", "local_executor(1)")
    often = "from experiments import replica_training as r\nr.run.__defaults__ = (*r.run.__defaults__[:-1], 0.05)\n"
    (tmp_path / "script.py").write_text(
        script.replace("train.run.__defaults__ =", often + "train.run.__defaults__ =", 1)
    )
    parent = job.start()
    assert wait_for(lambda: list(job.runs.glob("group-*/checkpoint.npz"))), job.said.read_text()
    os.kill(job.workers()[0], signal.SIGKILL)
    assert parent.wait(60) == 0, job.said.read_text()
    assert "lost its worker" in job.said.read_text()
    got, wanted = (
        {name: json.loads(text)["parameters_sha256"] for name, text in found.items()}
        for found in (metrics(job.results), unbroken(configs, tmp_path / "unbroken"))
    )
    assert got == wanted and len(got) == 4
