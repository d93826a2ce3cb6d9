"""One unit of a sweep's work: a run, or a group of runs, from its config to its result file."""

from __future__ import annotations

import contextlib
import time
import traceback
from pathlib import Path

from . import plan
from .run_folders import Busy, claim, lock, remove, sweep_up
from .stopping import Interrupted
from .store import StoreError, read_result, write_result


class RunError(Exception):
    """Why a run failed, in words: unlike the error itself, sure to survive the way back from any worker."""


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


def work(fields, results, runs, data_dir=None, device="cpu", keep=False):
    """Run one config (a dict) to its result file; what an executor's worker calls. Returns (id, seconds).

    Raises Busy where another process is at it, Interrupted if asked to stop, RunError for anything else that went
    wrong. The run's folder goes once the result is stored, unless `keep`, or unless `train` made it.
    """
    from .runners import run

    config = plan.from_dict(fields)
    started = time.monotonic()
    folder, results = Path(runs) / config.id, Path(results)
    with _in_words(folder), lock(folder):
        if not keep:
            claim(folder, results)
        if not is_done(config, results):
            sweep_up(folder)
            sweep_up(results, f"{config.id}.json")
            result = run(config, folder, data_dir, device, quiet=True)
            write_result(results / f"{config.id}.json", result)
        if not keep:
            remove(folder, results)
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
        if not keep:
            claim(folder, results)
        sweep_up(folder)
        for config in configs:
            try:
                locks.enter_context(lock(Path(runs) / config.id))
            except Busy:
                busy.append(config.id)
                continue
            if not keep:
                claim(Path(runs) / config.id, results)
            if not is_done(config, results):
                mine.append(config)
                sweep_up(results, f"{config.id}.json")

        def store(result):
            write_result(results / f"{result['id']}.json", result)

        failed = run(mine, folder, store, data_dir, device, noise=noise) if mine else {}
        if not keep:
            for config in configs:
                if config.id not in busy and config.id not in failed:
                    remove(Path(runs) / config.id, results)
            if not failed:
                remove(folder, results)
    return failed, busy
