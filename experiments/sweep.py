"""Many runs: whatever a plan names and no result exists for, on any concurrent.futures.Executor.

Done means that results/<id>.json exists. A run in progress lives in runs/<id>/ (checkpoints, log) and holds a lock
there that the system lets go of when its process dies, however it dies; so two sweeps may share both folders, a killed
worker is no obstacle to the next, and nothing finished is computed again or lost.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import shutil
import sys
import time
from pathlib import Path

from . import plan
from .progress import clock
from .replicas import units
from .store import THREAD_VARIABLES, StoreError, read_json, write_json

RETRIES = 3  # of runs whose worker was lost
POLL = 2.0  # seconds between looks at a run that another sweep is at


class Busy(Exception):
    """Another process is at this run."""


@contextlib.contextmanager
def lock(folder):
    """Exclusive use of a run's folder among processes; Busy if another has it. The system drops it with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # no flock on this system: two sweeps on one folder would then repeat work, not damage it
            pass
        except OSError as error:
            raise Busy(str(folder)) from error
        yield


def is_done(config, results):
    """Whether the result of `config` is there and is its own; StoreError if the file is damaged."""
    path = Path(results) / f"{config.id}.json"
    try:
        found = read_json(path)["id"]
    except FileNotFoundError:
        return False
    if found != config.id:
        raise StoreError(f"{path} holds the result of {found}; move it away and run again")
    return True


def pending(configs, results):
    """The configs without a result, each once, in the order given."""
    unique = {config.id: config for config in configs}
    return [config for config in unique.values() if not is_done(config, results)]


def work(fields, results, runs, data_dir=None, device="cpu", keep=False):
    """Run one config (a dict) to its result file; what an executor's worker calls. Returns (id, seconds).

    Raises Busy where another process is at it. The run's folder goes once the result is stored, unless `keep`.
    """
    from .runners import run

    config = plan.from_dict(fields)
    started = time.monotonic()
    folder = Path(runs) / config.id
    with lock(folder):
        if not is_done(config, results):
            result = run(config, folder, data_dir, device, quiet=True)
            write_json(Path(results) / f"{config.id}.json", result)
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    return config.id, time.monotonic() - started


def work_group(members, name, results, runs, data_dir=None, device="cpu", keep=False):
    """Train a group of configs (dicts) as one program, in the folder `name`, each to its own result file.

    Returns ({id: error} of those that failed, ids that another process is at). Raises Busy where one is at the group.
    Results are stored one by one; those that are there already are left alone.
    """
    from .replica_training import run

    configs, mine, busy = [plan.from_dict(fields) for fields in members], [], []
    folder = Path(runs) / name
    with contextlib.ExitStack() as locks:
        locks.enter_context(lock(folder))
        for config in configs:
            try:
                locks.enter_context(lock(Path(runs) / config.id))
            except Busy:
                busy.append(config.id)
                continue
            if not is_done(config, results):
                mine.append(config)

        def store(result):
            write_json(Path(results) / f"{result['id']}.json", result)

        failed = run(mine, folder, store, data_dir, device) if mine else {}
    if not keep:
        for config in configs:
            if config.id not in busy and config.id not in failed:
                shutil.rmtree(Path(runs) / config.id, ignore_errors=True)
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)
    return failed, busy


def local_executor(workers=None):
    """One spawned process a core, one BLAS thread each: for small networks faster than one process of many threads."""
    for name in THREAD_VARIABLES[:3]:
        os.environ.setdefault(name, "1")  # read by BLAS when a worker imports NumPy
    workers = workers or os.cpu_count()
    return concurrent.futures.ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def dask_executor(address):
    """The workers of a Dask cluster; RuntimeError without dask.distributed."""
    try:
        from distributed import Client
    except ImportError as error:
        raise RuntimeError("--executor dask needs dask.distributed: pip install 'igr-ref[dask]'") from error
    return Client(address).get_executor(pure=False, retries=RETRIES)


def mpi_executor():
    """The ranks of an MPI job started with `mpiexec -n N python -m mpi4py.futures -m experiments ...`."""
    try:
        from mpi4py.futures import MPIPoolExecutor
    except ImportError as error:
        raise RuntimeError("--executor mpi needs mpi4py: pip install mpi4py") from error
    return MPIPoolExecutor()


def execute(
    configs, results, runs, make_executor=local_executor, data_dir=None, device="cpu", keep=False, say=None, replicas=1
):
    """Run what is missing. Returns {id: error text} of the runs that failed; the others have their result files.

    A failed run is reported and does not stop the rest. When workers are lost (killed, out of memory) their runs are
    taken up again, from their checkpoints, up to RETRIES times. Runs that another sweep holds are waited for.
    replicas: the largest group of runs that are trained as one program, as in `units`.
    """
    say = say or (lambda text: print(text, file=sys.stderr, flush=True))
    left = {config.id: config for config in pending(configs, results)}
    total, failed, losses = len(left), {}, dict.fromkeys(left, 0)
    started = time.monotonic()
    while left:
        lost, busy = [], []
        with make_executor() as executor:
            arguments = (str(results), str(runs), data_dir, device, keep)
            futures = {}
            for unit in units(left.values(), replicas, runs):
                fields = [config.as_dict() for config in unit.configs]
                if unit.group is None:
                    future = executor.submit(work, fields[0], *arguments)
                else:
                    future = executor.submit(work_group, fields, unit.group, *arguments)
                futures[future] = unit
            for future in concurrent.futures.as_completed(futures):
                unit = futures[future]
                names = [config.id for config in unit.configs if config.id in left]
                errors, held = {}, []
                try:
                    outcome = future.result()
                    if unit.group is not None:
                        errors, held = outcome
                except Busy:
                    held = names
                except (concurrent.futures.BrokenExecutor, concurrent.futures.CancelledError):
                    lost += names
                    continue
                except Exception as error:  # one unit's trouble, whatever it is, is not the sweep's
                    errors = dict.fromkeys(names, f"{type(error).__name__}: {error}")
                for name in names:
                    if name in held:
                        busy.append(name)
                        continue
                    if name in errors:
                        failed[name] = errors[name]
                        say(f"FAILED {name}: {failed[name]}")
                    del left[name]
                    done = total - len(left)
                    if name not in failed:
                        rest = (time.monotonic() - started) / done * len(left)
                        say(f"[{done}/{total}] {name}{f', about {clock(rest)} left' if left else ''}")
        for name in lost:
            losses[name] += 1
            if losses[name] > RETRIES:
                failed[name] = f"its worker was lost {losses[name]} times"
                say(f"FAILED {name}: {failed[name]}")
                del left[name]
        if lost:
            say(f"a worker was lost; {len(left)} runs are taken up again")
        elif busy:
            time.sleep(POLL)
        for name in [name for name in left if is_done(left[name], results)]:
            del left[name]  # another sweep has finished it
    return failed


def shard(configs, text):
    """The part i/n of the configs, 1 <= i <= n, for job arrays. ValueError for anything else."""
    try:
        i, n = map(int, text.split("/"))
    except ValueError as error:
        raise ValueError(f"--shard must look like 2/8, got {text!r}") from error
    if not 1 <= i <= n:
        raise ValueError(f"--shard i/n needs 1 <= i <= n, got {text!r}")
    return configs[i - 1 :: n]
