"""namespace(), to_host(), device_namespace(), and CuPy's names: all that igr_ref asks of a namespace is there."""

from __future__ import annotations

import ast
import pathlib
import sys
import types

import numpy
import pytest
import scipy.special

import igr_ref
from igr_ref.backend import device_namespace, namespace, to_host

from .gradcheck import autograd_vjp
from .strict_array import CUPY_NAMES, NAMESPACE, StrictArray

# ---- which namespace ---------------------------------------------------------------------------------------------


def test_namespace_of_numpy_scalars_and_none():
    assert namespace(numpy.ones(2)) == (numpy, scipy.special)
    assert namespace(numpy.float32(1), 2.0, 3, True, None) == (numpy, scipy.special)
    with pytest.raises(TypeError, match="expected an array, got list"):
        namespace([1.0])
    assert namespace() == (numpy, scipy.special)


def test_namespace_comes_from_the_array():
    x = StrictArray(numpy.ones(2))
    assert namespace(x) == (NAMESPACE, NAMESPACE.special)
    assert namespace(None, 1.0, x, numpy.float64(2)) == (NAMESPACE, NAMESPACE.special)


def test_namespace_of_traced_arrays_wins_over_numpy_constants():
    seen = []

    def f(x):
        seen.extend([namespace(x, numpy.ones(2)), namespace(numpy.ones(2), x)])
        return x[0]

    autograd_vjp(f, numpy.ones(2))
    assert seen[0] == seen[1] and seen[0][0].__name__ == "autograd.numpy"


def _array_of(name):
    module = types.ModuleType(name)
    module.special = object()
    return type("Array", (), {"__array_namespace__": lambda self: module})()


def test_cupy_arrays_name_no_namespace_of_their_own(monkeypatch):
    """CuPy 14's ndarray has no __array_namespace__: what is known of it is the module that its type is from."""
    cupy, special = types.ModuleType("cupy"), types.ModuleType("cupyx.scipy.special")
    x = type("ndarray", (), {"__module__": "cupy"})()
    scipy_ = types.ModuleType("cupyx.scipy")
    scipy_.special, cupyx = special, types.ModuleType("cupyx")
    cupyx.scipy = scipy_
    for module in (cupy, cupyx, scipy_, special):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    assert not hasattr(x, "__array_namespace__") and namespace(x, 1.0) == (cupy, special)
    with pytest.raises(TypeError, match="two libraries were mixed"):
        namespace(x, numpy.ones(2))


def test_two_libraries_do_not_mix():
    for pair in ([_array_of("cupy"), numpy.ones(2)], [_array_of("one"), _array_of("other")]):
        for arrays in (pair, pair[::-1]):
            with pytest.raises(TypeError, match="two libraries were mixed"):
                namespace(*arrays)


@pytest.mark.parametrize("thing", ["text", {"a": 1}, object()])
def test_namespace_refuses_what_is_no_array(thing):
    with pytest.raises(TypeError, match=type(thing).__name__):
        namespace(thing)


def test_subclasses_of_ndarray_are_numpy():
    class Labelled(numpy.ndarray):
        pass

    assert namespace(numpy.ones(2).view(Labelled)) == (numpy, scipy.special)


def test_to_host():
    x = numpy.arange(3.0)
    assert to_host(x) is x
    back = to_host(StrictArray(x))
    assert type(back) is numpy.ndarray and numpy.array_equal(back, x)


# ---- which device ------------------------------------------------------------------------------------------------


def test_device_cpu_and_unknown():
    assert device_namespace("cpu") is numpy
    with pytest.raises(ValueError, match="'cpu' or 'gpu', got 'tpu'"):
        device_namespace("tpu")


def test_device_gpu_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match="needs CuPy: pip install"):
        device_namespace("gpu")


def _fake_cupy(count):
    class CUDARuntimeError(RuntimeError):
        pass

    def get_device_count():
        if count is None:
            raise CUDARuntimeError("no driver")
        return count

    cupy = types.ModuleType("cupy")
    cupy.cuda = types.SimpleNamespace(
        runtime=types.SimpleNamespace(getDeviceCount=get_device_count, CUDARuntimeError=CUDARuntimeError),
        device=types.SimpleNamespace(get_cublas_handle=lambda: 1),
    )
    return cupy


@pytest.mark.parametrize(("count", "message"), [(None, r"no usable GPU \(no driver\)"), (0, "finds no GPU")])
def test_device_gpu_without_a_gpu(monkeypatch, count, message):
    monkeypatch.setitem(sys.modules, "cupy", _fake_cupy(count))
    with pytest.raises(RuntimeError, match=message):
        device_namespace("gpu")


def test_device_gpu(monkeypatch):
    cupy = _fake_cupy(1)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert device_namespace("gpu") is cupy

    def missing():
        raise ImportError("libcublas.so.12: cannot open shared object file")

    cupy.cuda.device.get_cublas_handle = missing
    with pytest.raises(
        RuntimeError, match=r"finds no cuBLAS \(libcublas.so.12: cannot open.*pip install 'cupy-cuda12x"
    ):
        device_namespace("gpu")


# ---- every name that our formulas ask of a namespace exists in CuPy ------------------------------------------------


def _names_used():
    """{"cupy.exp": {files}, ...} of every xp.<name> and special.<name> in our code, found in the syntax trees."""
    modules = {"xp": "cupy", "special": "cupyx.scipy.special"}
    package = pathlib.Path(igr_ref.__file__).parents[1]
    used = {}
    for path in [*(package / "igr_ref").rglob("*.py"), *(package / "experiments").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            dotted = []
            while isinstance(node, ast.Attribute):
                dotted.append(node.attr)
                node = node.value
            if dotted and isinstance(node, ast.Name) and node.id in modules and not dotted[-1].startswith("__"):
                for end in range(1, len(dotted) + 1):  # xp.linalg.solve: both "linalg" and "linalg.solve"
                    name = ".".join([modules[node.id], *dotted[::-1][:end]])
                    used.setdefault(name, set()).add(str(path.relative_to(package)))
    return used


def test_every_name_used_exists_in_cupy():
    used = _names_used()
    assert {"cupy.exp", "cupy.sum", "cupyx.scipy.special.log_ndtr"} <= set(used)
    assert "cupy.longdouble_that_cupy_lacks" not in CUPY_NAMES and "cupyx.scipy.special.erfcx" in CUPY_NAMES
    missing = {name: sorted(files) for name, files in used.items() if name not in CUPY_NAMES}
    assert not missing, f"not in CuPy: {missing}"
