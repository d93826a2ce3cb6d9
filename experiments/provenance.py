"""Where a result comes from: what goes with it in its file."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy
import scipy

import igr_ref

from .blas import kernels

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE")


def provenance(device="cpu"):
    """Versions, commit, BLAS and machine: everything that could explain a difference between two results."""
    blas = numpy.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    threads = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    return {
        "igr_ref": igr_ref.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "blas_kernels": kernels(),
        "blas_environment": threads,
        "platform": f"{sys.platform} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "device": device,
    }


def commit():
    """The commit the code was run from, "+changes" if the tree differs from it, or "unknown" outside a checkout."""
    top = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=top, capture_output=True, text=True, timeout=10)
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", "../igr_ref", "."],
            cwd=top, capture_output=True, text=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    if head.returncode != 0:
        return "unknown"
    code = [line for line in changes.stdout.splitlines() if "experiments/results/" not in line]
    return head.stdout.strip() + ("+changes" if code else "")


def _cpu():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
