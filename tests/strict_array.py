"""A stand-in for a GPU array: the same numbers as NumPy, but as unwilling to become a NumPy array as CuPy's are.

`__array__` raises, operators accept Python and NumPy scalars and other StrictArrays only, reductions return 0-d arrays
and never NumPy scalars, and the namespace offers only what CuPy offers (cupy_names.txt). What runs here bit for bit as
under NumPy has no hidden round trip through the host.
"""

from __future__ import annotations

import operator
import pathlib
import types

import numpy
import scipy.special

CUPY_NAMES = frozenset(
    line for line in pathlib.Path(__file__).with_name("cupy_names.txt").read_text().split("\n") if line[:4] == "cupy"
)
_FROM_HOST = ("asarray", "array")  # the two doors through which host data may enter, as in CuPy


class StrictArray:
    __array_ufunc__ = None  # an ndarray on the left of an operator gives way, and our operator then refuses it

    def __init__(self, host):
        self._host = numpy.asarray(host)

    shape = property(lambda self: self._host.shape)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    dtype = property(lambda self: self._host.dtype)
    T = property(lambda self: StrictArray(self._host.T))

    def __array__(self, *args, **kwargs):
        raise TypeError("a StrictArray does not become a NumPy array: something converted it silently")

    def __array_namespace__(self, api_version=None):
        return NAMESPACE

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __len__(self):
        return len(self._host)

    def __getitem__(self, index):
        return StrictArray(self._host[_unwrapped(index)])

    def __setitem__(self, index, value):
        self._host[_unwrapped(index)] = _unwrapped(value)

    def __bool__(self):
        return bool(self._host)

    def __float__(self):
        return float(self._host)

    def __int__(self):
        return int(self._host)

    def __index__(self):
        return operator.index(self._host)

    def __repr__(self):
        return f"StrictArray({self._host!r})"

    def get(self):
        """The way to the host, on purpose."""
        return self._host.copy()


def _unwrapped(x):
    if isinstance(x, StrictArray):
        return x._host
    if isinstance(x, numpy.ndarray):
        raise TypeError("a NumPy array was mixed with StrictArrays")
    if isinstance(x, (tuple, list)):
        return type(x)(_unwrapped(item) for item in x)
    return x


def _wrapped(x):
    if isinstance(x, (numpy.ndarray, numpy.number, numpy.bool_)):
        return StrictArray(x)
    if isinstance(x, (tuple, list)) and any(isinstance(item, numpy.ndarray) for item in x):
        return tuple(_wrapped(item) for item in x)
    return x


def _strict(function, unwrap=_unwrapped):
    def call(*args, **kwargs):
        out = kwargs.get("out")
        result = function(*(unwrap(a) for a in args), **{name: unwrap(value) for name, value in kwargs.items()})
        return _wrapped(result) if out is None else out

    return call


def _operator(name):
    function = getattr(operator, name)

    def forward(self, other):
        return _wrapped(function(self._host, _unwrapped(other)))

    def reflected(self, other):
        return _wrapped(function(_unwrapped(other), self._host))

    return forward, reflected


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "rshift"):
    for _prefix, _method in zip(("", "r"), _operator(_name), strict=True):
        setattr(StrictArray, f"__{_prefix}{_name.strip('_')}__", _method)
StrictArray.__hash__ = None
for _name in ("lt", "le", "eq", "ne", "gt", "ge"):
    setattr(StrictArray, f"__{_name}__", _operator(_name)[0])
for _name in ("neg", "abs", "invert"):
    setattr(StrictArray, f"__{_name}__", lambda self, _name=_name: _wrapped(getattr(operator, _name)(self._host)))
for _name in ("astype", "reshape", "sum", "mean", "min", "max", "copy", "ravel", "transpose", "any", "all", "cumsum"):
    setattr(
        StrictArray,
        _name,
        lambda self, *args, _name=_name, **kwargs: _strict(getattr(self._host, _name))(*args, **kwargs),
    )


class _Special:
    def __getattr__(self, name):
        if f"cupyx.scipy.special.{name}" not in CUPY_NAMES:
            raise AttributeError(f"cupyx.scipy.special has no {name}")
        return _strict(getattr(scipy.special, name))


class _Namespace(types.ModuleType):
    special = _Special()

    def __getattr__(self, name):
        if f"cupy.{name}" not in CUPY_NAMES:
            raise AttributeError(f"cupy has no {name}")
        value = getattr(numpy, name)
        if isinstance(value, type) or not callable(value):
            return value
        return _strict(value, _host_data if name in _FROM_HOST else _unwrapped)


def _host_data(x):
    return x if isinstance(x, numpy.ndarray) else _unwrapped(x)


NAMESPACE = _Namespace("strict")


def strict(tree):
    """The same tree (dicts, tuples) with every NumPy array replaced by a StrictArray."""
    if isinstance(tree, dict):
        return {name: strict(value) for name, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(strict(value) for value in tree)
    return StrictArray(tree) if isinstance(tree, numpy.ndarray) else tree


def same_bits(got, want, where="result"):
    """Assert that a tree of StrictArrays equals a tree of NumPy results in type, dtype, shape and every bit."""
    if isinstance(want, dict):
        assert sorted(got) == sorted(want), where
        for name in want:
            same_bits(got[name], want[name], f"{where}[{name!r}]")
    elif isinstance(want, (tuple, list)):
        assert len(got) == len(want), where
        for i, (g, w) in enumerate(zip(got, want, strict=True)):
            same_bits(g, w, f"{where}[{i}]")
    elif isinstance(want, (numpy.ndarray, numpy.generic)):
        assert type(got) is StrictArray, f"{where}: expected a StrictArray, got {type(got).__name__}"
        assert got.dtype == want.dtype and got.shape == want.shape, f"{where}: {got.dtype} {got.shape}"
        assert got.get().tobytes() == numpy.asarray(want).tobytes(), f"{where}: other bits than NumPy"
    else:
        assert got == want, where
