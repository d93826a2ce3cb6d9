"""Folders of runs in progress: who is at one, what a killed process leaves in it, and whose it is to remove.

A run's folder holds its checkpoints and log, and a lock that the system lets go of when its process dies, however it
dies. A sweep marks the folders that it makes with the folder of results that it works for, and removes them, under
their locks, once the results are stored there. Those of `train` stay, as `evaluate` reads them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from pathlib import Path

from .plan import from_dict
from .store import load_meta

MARK = "sweep"  # a file in the folders that a sweep may remove: the resolved path of its results
OF_TRAIN = ("config.json", "checkpoint.npz", "result.json")  # what a folder holds that somebody began before
GONE = ".removed-"  # begins the name of a folder that is being removed
TRIES, PAUSE = 5, 0.02  # at a lock, seconds apart: `is_held` holds it for a moment


class Busy(RuntimeError):
    """Another process is at this run."""


@contextlib.contextmanager
def lock(folder):
    """Exclusive use of a run's folder; Busy if another process, or thread, has it. It ends with the process."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = open(folder / "lock", "a")
        except FileNotFoundError:  # whoever was at this run has finished it and removed the folder, this very moment
            continue
        with file:
            if not _taken(file):
                raise Busy(f"another process is at {folder}; wait until it is done, or stop it first")
            if not _is_at(file, folder / "lock"):  # it was removed between the opening and the taking
                continue
            yield
            return


def _taken(file):
    """Whether we have the lock now. Without locks on this system or disk, two sweeps repeat work, but damage none."""
    try:
        import fcntl
    except ImportError:
        return True
    for left in reversed(range(TRIES)):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                return True
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                raise
        if left:
            time.sleep(PAUSE)
    return False


def _is_at(file, path):
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def is_held(folder):
    """Whether another process is at the run in `folder` at this moment."""
    try:
        file = open(folder / "lock", "r+")
    except FileNotFoundError:
        return False
    with file:
        return not _taken(file)


def claim(folder, results):
    """Mark a folder, whose lock is ours, as one of a sweep into `results`, unless `train` began it."""
    mark = folder / MARK
    if mark.exists() or not any((folder / name).exists() for name in OF_TRAIN):
        mark.write_text(_text(results))


def keep(folder):
    """Make a folder, whose lock is ours, one that no sweep removes."""
    (folder / MARK).unlink(missing_ok=True)


def remove(folder, results):
    """Remove a folder, whose lock is ours, if a sweep into `results` made it."""
    if not _is_ours(folder, results):
        return
    away = folder.with_name(f"{GONE}{folder.name}-{os.getpid()}-{time.monotonic_ns()}")
    try:
        folder.rename(away)  # at once: nobody finds half of it
    except OSError:
        away = folder
    shutil.rmtree(away, ignore_errors=True)


def remove_done(runs, names, results):
    """Remove what sweeps into `results` left when they were killed between storing and removing: the folders of the
    runs `names`, which are done, and of groups that had no others in them."""
    for rest in Path(runs).glob(f"{GONE}*"):
        shutil.rmtree(rest, ignore_errors=True)
    for mark in Path(runs).glob(f"*/{MARK}"):
        folder = mark.parent
        with contextlib.suppress(Busy, OSError), lock(folder):
            if folder.name in names or (folder.name.startswith("group-") and _is_over(folder, names)):
                remove(folder, results)


def _is_over(group, names):
    """Whether a group's folder tells nothing more: all its runs are done, or it has neither checkpoint nor error."""
    try:
        meta = load_meta(group / "checkpoint.npz")
        return not meta["failed"] and {from_dict(fields).id for fields in meta["configs"]} <= names
    except FileNotFoundError:
        return not (group / "error.txt").exists()
    except (KeyError, ValueError):  # damaged: for whoever opens it
        return False


def _is_ours(folder, results):
    try:
        return (folder / MARK).read_text() == _text(results)
    except FileNotFoundError:
        return False


def _text(results):
    return str(Path(results).resolve())


def sweep_up(folder, name="*"):
    """Remove what a process that was killed while writing left behind; the lock is ours. name: of the files written."""
    for leftover in folder.glob(f".{name}.*.tmp"):
        leftover.unlink(missing_ok=True)


def checkpoint_time(folder):
    """When the run last got further, in the clock of the disk; None if it has no checkpoint."""
    try:
        return (folder / "checkpoint.npz").stat().st_mtime_ns
    except OSError:
        return None
