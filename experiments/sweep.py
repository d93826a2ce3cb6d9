"""Many runs: whatever a plan names and no result exists for, on any concurrent.futures.Executor.

Done means that <id>.json exists in results, or in a folder below it where somebody filed it. A run in progress lives in
runs/<id>/ (checkpoints, log) and holds a lock there that the system lets go of when its process dies, however it dies;
so two sweeps may share both folders, a killed worker is no obstacle to the next, and nothing finished is computed again
or lost. The executors are in executors.py.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import shutil
import sys
import time
import traceback
from pathlib import Path

from . import plan
from .executors import dask_executor, local_executor, mpi_executor, worker_losses
from .progress import clock
from .replicas import units
from .stopping import Interrupted
from .store import StoreError, read_result, write_result

__all__ = [
    "Busy", "dask_executor", "execute", "local_executor", "lock", "mpi_executor", "pending", "shard", "units", "work",
]  # fmt: skip

RETRIES = 3  # of a run that lost its worker, and got no further before it lost the next
POLL = 2.0  # seconds between looks at a run that another sweep is at


class Busy(Exception):
    """Another process is at this run."""


class RunError(Exception):
    """Why a run failed, in words: unlike the error itself, sure to survive the way back from any worker."""


@contextlib.contextmanager
def lock(folder):
    """Exclusive use of a run's folder; Busy if another process, or thread, has it. It ends with the process."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = open(folder / "lock", "a")
            break
        except FileNotFoundError:  # whoever was at this run has finished it and removed the folder, this very moment
            pass
    with file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # no flock on this system: two sweeps on one folder would then repeat work, not damage it
            pass
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                raise Busy(str(folder)) from error
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):  # nor on this file system: the same
                raise
        yield


def is_done(config, results, path=None):
    """Whether the result of `config` is there, at `path` or by its id, and its own; StoreError if it is damaged."""
    path = path or Path(results) / f"{config.id}.json"
    try:
        found = read_result(path)["id"]
    except FileNotFoundError:
        return False
    if found != config.id:
        raise StoreError(f"{path} holds the result of {found}; move it away and run again")
    return True


def pending(configs, results):
    """The configs without a result in the folder or below it, each once, in the order given."""
    unique = {config.id: config for config in configs}
    filed = {path.stem: path for path in Path(results).rglob("*.json")}
    return [config for config in unique.values() if not is_done(config, results, filed.get(config.id))]


@contextlib.contextmanager
def _in_words(folder):
    """Errors become RunErrors, with the traceback in the folder's error.txt; Busy and Interrupted stay as they are."""
    try:
        yield
    except (Busy, Interrupted):
        raise
    except Exception as error:
        with contextlib.suppress(OSError), open(folder / "error.txt", "w") as file:
            traceback.print_exc(file=file)
        raise RunError(f"{type(error).__name__}: {error}") from None


def _sweep_up(folder, results, config):
    """Remove what a process that was killed while writing left behind; the run's lock is ours."""
    for leftover in (*folder.glob(".*.tmp"), *results.glob(f".{config.id}.json.*.tmp")):
        leftover.unlink(missing_ok=True)


def work(fields, results, runs, data_dir=None, device="cpu", keep=False):
    """Run one config (a dict) to its result file; what an executor's worker calls. Returns (id, seconds).

    Raises Busy where another process is at it, Interrupted if asked to stop, RunError for anything else that went
    wrong. The run's folder goes once the result is stored, unless `keep`.
    """
    from .runners import run

    config = plan.from_dict(fields)
    started = time.monotonic()
    folder, results = Path(runs) / config.id, Path(results)
    with _in_words(folder), lock(folder):
        if not is_done(config, results):
            _sweep_up(folder, results, config)
            result = run(config, folder, data_dir, device, quiet=True)
            write_result(results / f"{config.id}.json", result)
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    return config.id, time.monotonic() - started


def work_group(members, name, results, runs, data_dir=None, device="cpu", keep=False, noise="host"):
    """Train a group of configs (dicts) as one program, in the folder `name`, each to its own result file.

    Returns ({id: error} of those that failed, ids that another process is at). Raises Busy where one is at the group.
    Results are stored one by one; those that are there already are left alone.
    """
    from .replica_training import run

    configs, mine, busy = [plan.from_dict(fields) for fields in members], [], []
    folder, results = Path(runs) / name, Path(results)
    with _in_words(folder), contextlib.ExitStack() as locks:
        locks.enter_context(lock(folder))
        for config in configs:
            try:
                locks.enter_context(lock(Path(runs) / config.id))
            except Busy:
                busy.append(config.id)
                continue
            if not is_done(config, results):
                mine.append(config)
                _sweep_up(folder, results, config)

        def store(result):
            write_result(results / f"{result['id']}.json", result)

        failed = run(mine, folder, store, data_dir, device, noise=noise) if mine else {}
    if not keep:
        for config in configs:
            if config.id not in busy and config.id not in failed:
                shutil.rmtree(Path(runs) / config.id, ignore_errors=True)
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)
    return failed, busy


def execute(
    configs, results, runs, make_executor=local_executor, data_dir=None, device="cpu", keep=False, say=None, replicas=1,
    noise="host",
):  # fmt: skip
    """Run what is missing. Returns {id: error text} of the runs that failed; the others have their result files.

    A failed run is reported and does not stop the rest. A run whose worker is lost (killed, out of memory) is taken up
    again from its checkpoint, until it has lost RETRIES more without getting any further. Runs that another sweep holds
    are waited for. Ctrl-C drops what has not begun, asks the runs in progress to stop at a checkpoint, and goes on up.
    replicas: the largest group of runs that are trained as one program, as in `units`; noise: where groups draw theirs.
    """
    say = say or (lambda text: print(text, file=sys.stderr, flush=True))
    left = {config.id: config for config in pending(configs, results)}
    total, failed, losses = len(left), {}, {}
    started = time.monotonic()

    def settle(name, error=None):
        del left[name]
        done = total - len(left)
        if error is not None:
            failed[name] = error
            say(f"FAILED {name}: {error}")
        else:
            rest = (time.monotonic() - started) / done * len(left)
            say(f"[{done}/{total}] {name}{f', about {clock(rest)} left' if left else ''}")

    def submit(executor, unit):
        fields, arguments = [c.as_dict() for c in unit.configs], (str(results), str(runs), data_dir, device, keep)
        if unit.group is None:
            return executor.submit(work, fields[0], *arguments)
        return executor.submit(work_group, fields, unit.group, *arguments, noise)

    def take(unit, future):
        """Settle the runs of a finished future. Returns (whether the unit is to be tried again, configs held)."""
        names, errors, held = [c.id for c in unit.configs if c.id in left], {}, []
        try:
            outcome = future.result()
            if unit.group is not None:
                errors, held = outcome
        except Busy:
            held = names
        except worker_losses() as error:
            why, reached = str(error) or type(error).__name__, _checkpoint_time(_folder(unit, runs))
            before, count = losses.get(unit, (None, 0))
            losses[unit] = (reached, count + 1 if reached == before else 1)
            if losses[unit][1] <= RETRIES:
                say(f"{unit.group or names[0]} lost its worker ({why}) and is taken up again")
                return True, []
            errors = dict.fromkeys(names, f"its worker was lost {losses[unit][1]} times ({why})")
        except Exception as error:  # one unit's trouble, whatever it is, is not the sweep's
            text = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
            # of a group, some may have been stored before
            errors = dict.fromkeys((n for n in names if unit.group is None or not is_done(left[n], results)), text)
        for name in names:
            if name not in held:
                settle(name, errors.get(name))
        return False, [left[name] for name in names if name in held]

    while left:
        executor = make_executor()
        try:
            now, later, futures = units(left.values(), replicas, runs), [], {}
            while now or later or futures:
                futures |= {submit(executor, unit): unit for unit in now}
                now = []
                if futures:
                    wait = concurrent.futures.wait(futures, POLL if later else None, concurrent.futures.FIRST_COMPLETED)
                    for future in wait.done:
                        unit = futures.pop(future)
                        again, held = take(unit, future)
                        now += [unit] if again else []
                        later += [(unit, config) for config in held]
                else:
                    time.sleep(POLL)
                free = [c for unit, c in later if not (_is_held(_folder(unit, runs)) or _is_held(Path(runs) / c.id))]
                later = [(unit, config) for unit, config in later if config not in free]
                now += units(free, replicas, runs) if free else []
        except concurrent.futures.BrokenExecutor:
            say("the pool of workers broke; a new one is made")  # the next round takes up what is left
        except BaseException:
            say(f"stopping: {len(left)} of {total} runs are left; the same command goes on from their checkpoints")
            executor.shutdown(wait=True, cancel_futures=True)
            raise
        executor.shutdown(wait=True, cancel_futures=True)
    return failed


def _folder(unit, runs):
    return Path(runs) / (unit.group or unit.configs[0].id)


def _checkpoint_time(folder):
    """When the run last got further, in the clock of the disk; None if it has no checkpoint."""
    try:
        return (folder / "checkpoint.npz").stat().st_mtime_ns
    except OSError:
        return None


def _is_held(folder):
    """Whether another process is at the run in `folder` at this moment."""
    if not folder.exists():
        return False
    try:
        with lock(folder):
            return False
    except Busy:
        return True


def shard(configs, text):
    """The part i/n of the configs, 1 <= i <= n, for job arrays. ValueError for anything else."""
    try:
        i, n = map(int, text.split("/"))
    except ValueError as error:
        raise ValueError(f"--shard must look like 2/8, got {text!r}") from error
    if not 1 <= i <= n:
        raise ValueError(f"--shard i/n needs 1 <= i <= n, got {text!r}")
    return configs[i - 1 :: n]
