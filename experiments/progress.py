"""A bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time


class Progress:
    """`update(done, note)` as often as you like; on a terminal it draws a tqdm bar, else a line every `seconds`."""

    def __init__(self, total, label, unit="step", seconds=10.0, file=None, done=0):
        self.file = sys.stderr if file is None else file
        self.total, self.label, self.unit, self.seconds = total, label, unit, seconds
        self.started, self.first = time.monotonic(), done
        self.last_line = self.started
        self.bar = None
        if self.file is not None and self.file.isatty():
            import tqdm

            self.bar = tqdm.tqdm(total=total, initial=done, desc=label, unit=unit, file=self.file, dynamic_ncols=True)

    def update(self, done, note=""):
        if self.bar is not None:
            if note:
                self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(done - self.bar.n)
            return
        now = time.monotonic()
        if now - self.last_line >= self.seconds or done == self.total:
            self.last_line = now
            self.line(done, note)

    def line(self, done, note=""):
        """One plain line: position, note, rate and remaining time."""
        elapsed = time.monotonic() - self.started
        rate = (done - self.first) / elapsed if elapsed > 0 else 0.0
        left = (self.total - done) / rate if rate > 0 else float("inf")
        remaining = f", {clock(left)} left" if done < self.total and rate > 0 else ""
        print(f"{self.label}: {self.unit} {done}/{self.total}{', ' if note else ''}{note}{remaining}", file=self.file)
        self.file.flush()

    def close(self):
        if self.bar is not None:
            self.bar.close()


def clock(seconds):
    """12 s, 3 min 20 s, 2 h 5 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
