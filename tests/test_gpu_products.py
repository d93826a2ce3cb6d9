"""cuBLAS through ctypes, on a cuBLAS of our own that reads column-major matrices from the host's memory."""

from __future__ import annotations

import ctypes
import types

import numpy
import pytest

from experiments import gpu_products

STATUS = {"status": 0}


class Library:
    """The four functions as NVIDIA documents them: op(A) (m, k) times op(B) (k, n), all stored by columns."""

    asked = ()

    def cublasCreate_v2(self, handle):
        ctypes.c_void_p.from_address(handle).value = 7
        return STATUS["status"]

    def cublasDestroy_v2(self, handle):
        self.asked = (*self.asked, ("destroyed", handle.value))
        return 0

    def cublasSetStream_v2(self, handle, stream):
        self.asked = (*self.asked, ("stream", handle.value, stream))
        return 0

    def cublasSetWorkspace_v2(self, handle, address, size):
        self.asked = (*self.asked, ("workspace", size))
        return 0

    def cublasGemmStridedBatchedEx(
        self, handle, a_t, b_t, m, n, k, alpha, A, A_type, lda, step_a, B, B_type, ldb, step_b, beta, C, C_type, ldc,
        step_c, count, sums, algorithm,
    ):  # fmt: skip
        kind = {0: ctypes.c_float, 1: ctypes.c_double}[A_type]
        assert A_type == B_type == C_type and sums == {0: 68, 1: 70}[A_type] and algorithm == -1
        assert handle.value == 7 and kind.from_address(alpha).value == 1 and kind.from_address(beta).value == 0
        for i in range(count):
            a = _columns(A, i * step_a, kind, *((k, m) if a_t else (m, k)), lda)
            b = _columns(B, i * step_b, kind, *((n, k) if b_t else (k, n)), ldb)
            _columns(C, i * step_c, kind, m, n, ldc)[...] = (a.T if a_t else a) @ (b.T if b_t else b)
        return 0


def _columns(address, first, kind, rows, columns, leading):
    """A view of a column-major matrix; a leading dimension below its rows is an error to cuBLAS."""
    assert leading >= rows
    size = ctypes.sizeof(kind)
    memory = (kind * (leading * (columns - 1) + rows)).from_address(address + first * size)
    flat = numpy.frombuffer(memory, dtype=kind)
    return numpy.lib.stride_tricks.as_strided(flat, (rows, columns), (size, leading * size))


@pytest.fixture
def products(monkeypatch):
    monkeypatch.setattr(gpu_products, "address", lambda array: array.ctypes.data)
    monkeypatch.setitem(STATUS, "status", 0)
    return gpu_products.Products(types.SimpleNamespace(**vars(numpy)), types.SimpleNamespace(ptr=5), Library())


SHAPES = [
    ((3, 4), (4, 5)), ((4,), (4, 5)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)),
    ((3, 4), (2, 4, 5)), ((2, 1, 3, 4), (4,)), ((2, 1, 3, 4), (5, 4, 6)), ((2, 5, 3, 4), (2, 5, 4, 1)),
    ((1, 1, 3, 4), (2, 1, 4, 5)), ((1, 1), (1, 1)), ((1, 4), (4, 1)),
]  # fmt: skip


def _in_memory(x, how):
    """The same numbers: by rows, by columns, or with holes."""
    if how == "columns" and x.ndim > 1:
        return numpy.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2)
    return numpy.repeat(x, 2, axis=-1)[..., ::2] if how == "holes" else x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shapes", SHAPES)
def test_products_are_numpys(shapes, dtype, products):
    rng = numpy.random.default_rng(0)
    plain = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    want = numpy.matmul(*plain)
    near = {"rtol": 1e-5, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-13, "atol": 1e-13}
    for a in ("rows", "columns", "holes"):
        for b in ("rows", "columns", "holes"):
            pair = _in_memory(plain[0], a), _in_memory(plain[1], b)
            got = products.matmul(*pair)
            assert got.dtype == dtype and got.shape == want.shape
            numpy.testing.assert_allclose(got, want, **near)
            for out in (numpy.zeros_like(want), _in_memory(numpy.zeros_like(want), "holes")):
                if want.ndim:
                    assert products.matmul(*pair, out=out) is out
                    numpy.testing.assert_allclose(out, want, **near)


def test_a_transposed_matrix_is_not_copied(products, monkeypatch):
    """The weight gradients and the way back multiply by transposed matrices: they are read where they lie."""
    x = numpy.arange(24.0).reshape(2, 3, 4)
    asked, own = [], products.lib.cublasGemmStridedBatchedEx
    monkeypatch.setattr(products.lib, "cublasGemmStridedBatchedEx", lambda *a: asked.append(a) or own(*a))
    products.matmul(x.swapaxes(-1, -2), x)
    products.matmul(x, x.swapaxes(-1, -2))
    assert [(a[1], a[2], a[7], a[11]) for a in asked] == [
        (0, 1, x.ctypes.data, x.ctypes.data),
        (1, 0, x.ctypes.data, x.ctypes.data),
    ]


def test_they_stand_in_for_matmul_for_a_while(products):
    own = products.xp.matmul
    with pytest.raises(ZeroDivisionError), products.instead():
        assert products.xp.matmul == products.matmul
        raise ZeroDivisionError
    assert products.xp.matmul is own
    assert products.lib.asked == (("stream", 7, 5), ("workspace", gpu_products.WORKSPACE))


@pytest.mark.parametrize(
    "a, b, out, error",
    [
        (numpy.ones((2, 3), "float32"), numpy.ones((3, 2)), None, "two float32 or two float64 arrays, got float32 and"),
        (numpy.ones((2, 3), "int64"), numpy.ones((3, 2), "int64"), None, "got int64 and int64"),
        (numpy.ones((2, 3)), numpy.ones((2, 3)), None, r"\(2, 3\) and \(2, 3\) have no product"),
        (numpy.ones((2, 3)), numpy.ones((3, 2)), numpy.ones((2, 3)), r"wanted float64 \(2, 2\)"),
    ],
)
def test_what_has_no_product_is_named(a, b, out, error, products):
    with pytest.raises((TypeError, ValueError), match=error):
        products.matmul(a, b, out=out)


def test_a_handle_ends_with_its_products(products):
    lib = Library()
    gpu_products.Products(products.xp, products.stream, lib)
    assert lib.asked[-1] == ("destroyed", 7)


def test_a_refusal_of_cublas_is_reported(products, monkeypatch):
    monkeypatch.setitem(STATUS, "status", 3)
    with pytest.raises(RuntimeError, match="cublasCreate_v2 returned status 3"):
        gpu_products.Products(products.xp, products.stream, products.lib)
