"""Matrix products that a CUDA graph can hold.

CuPy refuses its own while a stream is captured, since it sets the stream of its cuBLAS handle before each of them.
cuBLAS records into a graph whatever a handle is asked whose stream and workspace were set before, so this one has both
from the beginning. It is called through ctypes, in the library that CuPy has loaded. A row-major matrix is its
transpose to cuBLAS, which counts by columns: C = A B is asked for as C' = B' A'.
"""

from __future__ import annotations

import contextlib
import ctypes
import math

import numpy

WORKSPACE = 32 << 20  # bytes, what cuBLAS recommends for Hopper; without one it would allocate within the graph
POINTER, INT, LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
MATRIX = (POINTER, INT, INT, LONG)  # address, type, leading dimension, elements from one matrix to the next
SIGNATURES = {
    "cublasCreate_v2": (POINTER,),
    "cublasDestroy_v2": (POINTER,),
    "cublasSetStream_v2": (POINTER, POINTER),
    "cublasSetWorkspace_v2": (POINTER, POINTER, ctypes.c_size_t),
    # handle; transpositions; m, n, k; alpha; A; B; beta; C; number of matrices; type of the sums; algorithm
    "cublasGemmStridedBatchedEx": (
        POINTER, INT, INT, INT, INT, INT, POINTER, *MATRIX, *MATRIX, POINTER, *MATRIX, INT, INT, INT,
    ),
}  # fmt: skip
TYPES = {  # cudaDataType, cublasComputeType (of float32 without TF32), the scalars' type
    "float32": (0, 68, ctypes.c_float),
    "float64": (1, 70, ctypes.c_double),
}
DEFAULT_ALGORITHM = -1


def library(xp):
    """cuBLAS as CuPy loads it. OSError where there is none."""
    xp.cuda.device.get_cublas_handle()  # loads it, from wherever CuPy was told to look
    lib = ctypes.CDLL(f"libcublas.so.{xp.cuda.runtime.runtimeGetVersion() // 1000}")
    for name, types in SIGNATURES.items():
        getattr(lib, name).argtypes = types
    return lib


def address(array):
    """Where its first element lies on the device."""
    return array.data.ptr


class Products:
    """`matmul(a, b, out=None)` on a stream, of two float32 or two float64 arrays, as numpy.matmul."""

    def __init__(self, xp, stream, lib=None):
        """Raises OSError without cuBLAS, RuntimeError where it refuses."""
        self.xp, self.lib, self.handle = xp, lib or library(xp), POINTER()
        self.stream, self.workspace = stream, xp.empty(WORKSPACE, dtype="uint8")  # the handle keeps neither
        self._ask("cublasCreate_v2", ctypes.addressof(self.handle))
        self._ask("cublasSetStream_v2", self.handle, stream.ptr)
        self._ask("cublasSetWorkspace_v2", self.handle, address(self.workspace), WORKSPACE)

    def __del__(self):
        if getattr(self, "handle", None):
            self.lib.cublasDestroy_v2(self.handle)

    def _ask(self, name, *arguments):
        status = getattr(self.lib, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} returned status {status}")

    @contextlib.contextmanager
    def instead(self):
        """In the place of `xp.matmul`, for the whole process."""
        own = self.xp.matmul
        self.xp.matmul = self.matmul
        try:
            yield
        finally:
            self.xp.matmul = own

    def matmul(self, a, b, out=None):
        """numpy.matmul's product of a (..., m, k) and b (..., k, n), or vectors (k,); leading axes broadcast.

        Raises TypeError for other dtypes, ValueError for shapes without a product or another `out`, RuntimeError where
        cuBLAS refuses.
        """
        xp = self.xp
        if a.dtype != b.dtype or str(a.dtype) not in TYPES:
            raise TypeError(f"expected two float32 or two float64 arrays, got {a.dtype} and {b.dtype}")
        rows, columns = a.shape[-2:-1] if a.ndim > 1 else (), b.shape[-1:] if b.ndim > 1 else ()  # of vectors, none
        a, b = (a[None] if a.ndim == 1 else a), (b[:, None] if b.ndim == 1 else b)
        (m, k), n = a.shape[-2:], b.shape[-1]
        if b.shape[-2] != k:
            raise ValueError(f"matrices of shapes {a.shape[-2:]} and {b.shape[-2:]} have no product")
        lead = numpy.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        shape = (*lead, *rows, *columns)
        a, *of_a = self._operand(a, lead)
        b, *of_b = self._operand(b, lead)
        c = out if out is not None and out.flags.c_contiguous else xp.empty(shape, dtype=a.dtype)
        if c.shape != shape or c.dtype != a.dtype:
            raise ValueError(f"out is {c.dtype} {c.shape}, wanted {a.dtype} {shape}")
        kind, sums, scalar = TYPES[str(a.dtype)]
        one, zero = scalar(1), scalar(0)
        (a_t, *a_steps), (b_t, *b_steps) = of_a, of_b
        self._ask(
            "cublasGemmStridedBatchedEx", self.handle, b_t, a_t, n, m, k, ctypes.addressof(one),
            address(b), kind, *b_steps, address(a), kind, *a_steps,
            ctypes.addressof(zero), address(c), kind, n, m * n, math.prod(lead), sums, DEFAULT_ALGORITHM,
        )  # fmt: skip
        if out is not None and c is not out:
            out[...] = c
            return out
        return c

    def _operand(self, x, lead):
        """(x in memory that cuBLAS can read, whether it lies there transposed, elements in a row, in a matrix)."""
        xp = self.xp
        if math.prod(x.shape[:-2]) == 1 and math.prod(lead) > 1:  # one matrix for all
            step, x = 0, xp.reshape(x, x.shape[-2:])
        else:
            step, x = x.shape[-1] * x.shape[-2], xp.broadcast_to(x, (*lead, *x.shape[-2:]))
        turned = xp.swapaxes(x, -1, -2)
        if turned.flags.c_contiguous and not x.flags.c_contiguous:
            return turned, 1, turned.shape[-1], step
        return xp.ascontiguousarray(x), 0, x.shape[-1], step
