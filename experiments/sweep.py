"""Many runs: whatever a plan names and no result exists for, on any concurrent.futures.Executor.

Done means that <id>.json exists in results, or in a folder below it where somebody filed it. A run in progress lives in
runs/<id>/ (checkpoints, log) and holds a lock there that the system lets go of when its process dies, however it dies;
so two sweeps may share both folders, a killed worker is no obstacle to the next, and nothing finished is computed again
or lost. What a worker does is in sweep_work.py, the folders are run_folders.py's, the executors executors.py's.
"""

from __future__ import annotations

import concurrent.futures
import sys
import time
from pathlib import Path

from .executors import dask_executor, local_executor, mpi_executor, worker_losses
from .progress import clock
from .replicas import units
from .run_folders import Busy, checkpoint_time, is_held, lock
from .sweep_work import RunError, is_done, pending, work, work_group

__all__ = [
    "Busy", "RunError", "dask_executor", "execute", "is_held", "local_executor", "lock", "mpi_executor", "pending",
    "shard_numbers", "units", "work", "work_group",
]  # fmt: skip

RETRIES = 3  # of a run that lost its worker, and got no further before it lost the next
POLL = 2.0  # seconds between looks at a run that another sweep is at


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
            why, reached = str(error) or type(error).__name__, checkpoint_time(_folder(unit, runs))
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
                free = [c for unit, c in later if not (is_held(_folder(unit, runs)) or is_held(Path(runs) / c.id))]
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


def shard_numbers(text):
    """(i, n) of i/n, 1 <= i <= n, for job arrays. ValueError for anything else."""
    try:
        i, n = map(int, text.split("/"))
    except ValueError as error:
        raise ValueError(f"--shard must look like 2/8, got {text!r}") from error
    if not 1 <= i <= n:
        raise ValueError(f"--shard i/n needs 1 <= i <= n, got {text!r}")
    return i, n
