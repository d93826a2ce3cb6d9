"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path


def add_device(sub):
    sub.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="gpu needs CuPy and an NVIDIA card")
    sub.add_argument("--quiet", action="store_true", help="no progress on the terminal (the run's log.txt has it)")


def add_runs(sub):
    sub.add_argument("--runs", type=Path, default=Path("runs"), help="folder of run directories (default %(default)s)")


def add_data_dir(sub):
    sub.add_argument(
        "--data-dir", help="where data files lie (default: $IGR_DATA_DIR, then the user cache, then download)"
    )
