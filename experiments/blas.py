"""Which kernels the loaded OpenBLAS uses. On CPUs with AVX-512 those for AVX2 are about half as fast.

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


def advice(used, flags):
    """A sentence for the log where faster kernels would run on this CPU; None otherwise. `flags`: the CPU's."""
    if used in AVX2_KERNELS and {"avx512f", "avx512dq", "avx512bw", "avx512vl"} <= set(flags):
        return (
            f"OpenBLAS uses its {used} kernels on a CPU with AVX-512: set OPENBLAS_CORETYPE=SkylakeX before starting "
            "for matrix products up to twice as fast (results then differ by rounding)"
        )
    return None


def cpu_flags():
    """The instruction sets of this CPU, as Linux names them; () elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ()
    return tuple(next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), ()))
