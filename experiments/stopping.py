"""Ctrl-C and SIGTERM: a run that is asked to stop does so at a checkpoint, and says where that is."""

from __future__ import annotations

import signal
import threading


class Interrupted(Exception):
    """Stopped by Ctrl-C or SIGTERM after a checkpoint was saved; `.path` is the run directory."""

    def __init__(self, path):
        super().__init__(path)  # what pickling hands to the copy's __init__
        self.path = path

    def __str__(self):
        return f"stopped; a checkpoint was saved in {self.path}"


class StopRequests:
    """While open, SIGINT and SIGTERM set `requested` instead of breaking into a step; a second SIGINT does break in.

    Outside the main thread, where Python allows no handlers, it stays passive.
    """

    def __init__(self):
        self.requested = False
        self._old = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number, frame):
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, *_):
        for number, handler in self._old.items():
            signal.signal(number, handler)
