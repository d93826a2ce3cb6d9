"""Which kernels the loaded OpenBLAS uses. On most CPUs with AVX-512 those for AVX2 are about half as fast.

OpenBLAS picks its kernels when NumPy is imported, by the CPU, or by OPENBLAS_CORETYPE if set. We leave the choice
to the user, since other kernels round differently and a run resumed under others is not the same to the bit, but say
in logs and provenance what was used.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

import numpy  # noqa: F401  its import loads OpenBLAS

AVX2_KERNELS = ("Haswell", "Zen")
AVX_512 = {"avx512f", "avx512dq", "avx512bw", "avx512vl"}


@functools.cache
def kernels():
    """OpenBLAS's own name for its kernels, such as "SkylakeX"; None where it cannot be asked."""
    try:
        paths = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "openblas" in line}
    except OSError:
        return None
    for path in sorted(paths):
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        for name in ("scipy_openblas_get_corename64_", "openblas_get_corename64_", "openblas_get_corename"):
            function = getattr(library, name, None)
            if function is not None:
                function.restype = ctypes.c_char_p
                return function().decode()
    return None


def choices():
    """Kernels that OPENBLAS_CORETYPE can choose among where the CPU has AVX-512; () elsewhere and without OpenBLAS."""
    return ("Haswell", "SkylakeX") if kernels() and AVX_512 <= set(cpu()["flags"]) else ()


def advice(used, machine):
    """A sentence for the log where other kernels would be faster on this machine, as `cpu` tells it; None otherwise."""
    if not AVX_512 <= set(machine["flags"]):
        return None
    if used in AVX2_KERNELS and not machine["halves"]:
        return (
            f"OpenBLAS uses its {used} kernels on a CPU with AVX-512: set OPENBLAS_CORETYPE=SkylakeX before starting "
            "for matrix products up to twice as fast (results then differ by rounding)"
        )
    if used and used not in AVX2_KERNELS and machine["halves"]:
        return (
            f"OpenBLAS uses its {used} kernels on a CPU that does AVX-512 by halves: set OPENBLAS_CORETYPE=Haswell "
            "before starting for matrix products about a tenth faster (results then differ by rounding)"
        )
    return None


def cpu():
    """{"flags": instruction sets as Linux names them, "halves": whether 512-bit arithmetic takes two 256-bit halves}.

    That is so on AMD's Zen 4 (family 25). Empty and False where /proc/cpuinfo cannot be read.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    first = {}
    for name, value in (line.split(":", 1) for line in lines if ":" in line):
        first.setdefault(name.strip(), value.strip())
    halves = (first.get("vendor_id"), first.get("cpu family")) == ("AuthenticAMD", "25")
    return {"flags": tuple(first.get("flags", "").split()), "halves": halves}
