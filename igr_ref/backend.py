"""Which array library an array belongs to, found from the array itself: nothing global, nothing to switch.

`xp, special = namespace(x)` opens every computing function of this package. `xp` is the array namespace (numpy,
cupy, ...) and `special` its special functions (scipy.special, cupyx.scipy.special). Any array type but NumPy's and
CuPy's names its own namespace through the array-API method `__array_namespace__()`, whose attribute `special` is then
used; the tests run our formulas under autograd and under a stand-in that refuses to become a NumPy array in this way.
"""

from __future__ import annotations

import numpy
import scipy.special


def namespace(*arrays):
    """Array namespace and special functions shared by `arrays`.

    Python and NumPy scalars, and None, fit any namespace. Returns (xp, special).
    Raises TypeError for a list or anything else that is no array, and when arrays of two libraries are mixed: move one
    of them on purpose instead.
    """
    found = None
    for array in arrays:
        if array is None or isinstance(array, (numpy.generic, int, float, bool)):
            continue
        if type(array) is numpy.ndarray:
            xp = numpy
        elif type(array).__module__.partition(".")[0] == "cupy":  # its arrays have no __array_namespace__
            import cupy as xp
        elif hasattr(array, "__array_namespace__"):
            xp = array.__array_namespace__()
        else:
            raise TypeError(f"expected an array, got {type(array).__name__} (numpy.asarray makes one)")
        if found is not None and xp is not found:
            # A constant made by NumPy may meet traced arrays (autograd); two real devices may not be mixed.
            if numpy not in (xp, found) or "cupy" in (xp.__name__, found.__name__):
                raise TypeError(f"arrays of two libraries were mixed: {found.__name__} and {xp.__name__}")
            xp = found if xp is numpy else xp
        found = xp
    if found is None or found is numpy:
        return numpy, scipy.special
    if found.__name__ == "cupy":
        import cupyx.scipy.special

        return found, cupyx.scipy.special
    return found, found.special


def to_host(array):
    """The same values as a NumPy array (a copy from the device for CuPy; the array itself for NumPy)."""
    return array.get() if hasattr(array, "get") else numpy.asarray(array)


def device_namespace(device):
    """`numpy` for "cpu", `cupy` for "gpu". RuntimeError says what is missing when there is no CuPy or no GPU."""
    if device == "cpu":
        return numpy
    if device != "gpu":
        raise ValueError(f"device must be 'cpu' or 'gpu', got {device!r}")
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(
            "device 'gpu' needs CuPy: pip install 'cupy-cuda12x[ctk]' (or the build for your CUDA)"
        ) from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"device 'gpu': CuPy is installed but finds no usable GPU ({error})") from error
    if count == 0:
        raise RuntimeError("device 'gpu': CuPy is installed but finds no GPU")
    try:
        cupy.cuda.device.get_cublas_handle()
    except Exception as error:  # ImportError, RuntimeError or OSError, as the part that is missing has it
        raise RuntimeError(
            f"device 'gpu': CuPy finds no cuBLAS ({error}): pip install 'cupy-cuda12x[ctk]' brings it"
        ) from error
    return cupy
