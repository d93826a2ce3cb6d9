"""Folders of runs in progress: who is at one, what a killed process leaves in it, and whose it is to remove.

A run's folder holds its checkpoints and log, and a lock that the system lets go of when its process dies, however it
dies. A sweep removes the folders that it made once their results are stored; those of `train` stay, as `evaluate` reads
them.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from pathlib import Path

from .plan import from_dict
from .store import load_meta

MARK = "sweep"  # an empty file in the folders that a sweep may remove
OF_TRAIN = ("config.json", "checkpoint.npz", "result.json")  # what a folder holds that somebody began before


class Busy(Exception):
    """Another process is at this run."""


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


def is_held(folder):
    """Whether another process is at the run in `folder` at this moment."""
    if not folder.exists():
        return False
    try:
        with lock(folder):
            return False
    except Busy:
        return True


def claim(folder):
    """Mark a folder, whose lock is ours, as a sweep's, unless `train` began it."""
    if not any((folder / name).exists() for name in OF_TRAIN):
        (folder / MARK).touch()


def keep(folder):
    """Make a folder, whose lock is ours, one that no sweep removes."""
    (folder / MARK).unlink(missing_ok=True)


def remove(folder):
    """Remove a folder if a sweep made it."""
    if (folder / MARK).exists():
        shutil.rmtree(folder, ignore_errors=True)


def remove_done(runs, names):
    """Remove what a sweep left when it was killed between storing and removing: the folders of these finished runs, and
    of groups that had no others in them."""
    for mark in Path(runs).glob(f"*/{MARK}"):
        folder, members = mark.parent, {mark.parent.name}
        if folder.name.startswith("group-"):
            try:
                members = {fields.id for fields in map(from_dict, load_meta(folder / "checkpoint.npz")["configs"])}
            except (FileNotFoundError, ValueError):
                continue
        if members <= names and not is_held(folder):
            remove(folder)


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
