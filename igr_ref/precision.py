"""float32 in, float32 out, and float64 in between.

The logits y/tau magnify the rounding of y = mu + sigma eps: in float32, y = 2 at tau = 1e-3 is a logit of 2,000 with an
error of up to 1.2e-4, which is a relative error of z and of every gradient. Classes marked `in_double` therefore
compute in float64 what they are given in float32, and round the results. An object made with precise=False, as the
training loop's are, stays in single precision: faster, and less accurate at low temperature.
"""

from __future__ import annotations

import contextvars
import dataclasses
import functools
import inspect
from typing import Any

import numpy

_GIVEN_SINGLE = contextvars.ContextVar("given_single", default=False)  # inside a call that widened its arguments


class InDouble:
    """What `in_double` asks of an object; here for those whose parameters, if any, are kept in float64."""

    precise = True
    params: dict = {}

    def is_single(self, args):
        """Whether results are to be rounded to float32: where nothing given is of another floating-point type."""
        return set(_kinds((self.params, args))) == {"float32"}

    def wide(self):
        """The object with its parameters in float64."""
        return self

    def handed_out(self, saved):
        """What `run` hands out for the pullback."""
        return Kept(saved)


@dataclasses.dataclass(frozen=True)
class Kept:
    """What the run of a float32 point keeps for the pullback, in float64."""

    saved: Any


def in_double(cls):
    """Class decorator: every public method computes in float64 when its arguments and the object are float32."""
    for name, function in list(vars(cls).items()):
        if inspect.isfunction(function) and not name.startswith("_"):
            setattr(cls, name, _in_double(function))
    return cls


def _in_double(method):
    @functools.wraps(method)
    def call(self, *args, **kwargs):
        if any(_is_list_of_numbers(arg) for arg in (*args, *kwargs.values())):
            raise TypeError(
                f"{type(self).__name__}.{method.__name__} takes arrays, got a list (numpy.asarray makes one)"
            )
        if not (self.precise and self.is_single((args, kwargs))):
            return method(self, *map(_unwrapped, args), **{name: _unwrapped(arg) for name, arg in kwargs.items()})
        outer = _GIVEN_SINGLE.set(True)
        try:
            kwargs = {name: _unwrapped(arg) for name, arg in widened(kwargs).items()}
            result = method(self.wide(), *map(_unwrapped, widened(args)), **kwargs)
        finally:
            _GIVEN_SINGLE.reset(outer)
        if method.__name__ == "run":
            return narrowed(result[0]), self.handed_out(result[1])
        return narrowed(result)

    return call


def _is_list_of_numbers(x):
    return type(x) is list and len(x) > 0 and type(x[0]) in (int, float, list)


def _unwrapped(x):
    """What `Kept` keeps; a float as NumPy's, which can be indexed: the cotangent of a single number, say."""
    if type(x) is float:
        return numpy.float64(x)
    return x.saved if isinstance(x, Kept) else x


def given_eps(x):
    """The relative rounding of an array as the caller gave it: that of float32, if it was widened on the way here."""
    return float(numpy.finfo("float32" if _GIVEN_SINGLE.get() else x.dtype).eps)


def widened(x):
    """x, or the tuple, list, dict or record x, with float64 arrays in place of float32 ones."""
    return _converted(x, "float32", "float64")


def narrowed(x):
    """The same with float32 in place of float64."""
    return _converted(x, "float64", "float32")


def _converted(x, old, new):
    if isinstance(x, dict):
        return {name: _converted(item, old, new) for name, item in x.items()}
    if isinstance(x, (tuple, list)):
        return type(x)(_converted(item, old, new) for item in x)
    if isinstance(x, Kept):
        return x.saved
    if isinstance(x, InDouble):
        return x.wide() if new == "float64" else x
    if dataclasses.is_dataclass(x):
        fields = {field.name: getattr(x, field.name) for field in dataclasses.fields(x)}
        return dataclasses.replace(x, **_converted(fields, old, new))
    return x.astype(new) if _kind(x) == old else x


def _kind(x):
    """The name of an array's floating-point type, None for anything else."""
    dtype = getattr(x, "dtype", None)
    return str(dtype) if getattr(dtype, "kind", "") in ("f", "c") else None


def _kinds(x):
    """Those of all arrays in a tree."""
    if isinstance(x, dict):
        x = list(x.values())
    if isinstance(x, (tuple, list)):
        for item in x:
            yield from _kinds(item)
    elif isinstance(x, Kept):
        yield "float32"
    elif _kind(x):
        yield _kind(x)
