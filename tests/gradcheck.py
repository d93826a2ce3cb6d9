"""Comparison of hand-written derivatives and values with independent oracles; itself tested in test_gradcheck.py."""

from __future__ import annotations

import types

import autograd
import autograd.numpy as anp
import autograd.scipy.special as aspecial
import numpy
import scipy.special
from autograd.extend import defvjp, primitive
from autograd.numpy.numpy_boxes import ArrayBox

from . import ledger

FLOAT64_TOLERANCE = 1e-10
FLOAT32_TOLERANCE = 1e-4

# ---- running our formulas under autograd ------------------------------------------------------------------------

_log_ndtr = primitive(scipy.special.log_ndtr)
defvjp(_log_ndtr, lambda ans, x: lambda g: g * anp.exp(-0.5 * x * x - ans) / numpy.sqrt(2 * numpy.pi))
_ndtr = primitive(scipy.special.ndtr)
defvjp(_ndtr, lambda ans, x: lambda g: g * anp.exp(-0.5 * x * x) / numpy.sqrt(2 * numpy.pi))


class _AutogradNamespace(types.ModuleType):
    """autograd.numpy, plus the special functions our formulas use."""

    def __getattr__(self, name):
        return getattr(anp, name)


_namespace = _AutogradNamespace("autograd.numpy")
_namespace.special = types.SimpleNamespace(
    expit=aspecial.expit,
    log_ndtr=_log_ndtr,
    ndtr=_ndtr,
    gammaln=aspecial.gammaln,
    digamma=aspecial.digamma,
    logit=aspecial.logit,
    erf=aspecial.erf,
    erfc=aspecial.erfc,
    betaln=aspecial.betaln,
)
ArrayBox.__array_namespace__ = lambda self, api_version=None: _namespace


def autograd_vjp(function, *args):
    """Gradients by each of `args` of a scalar function, by tracing `function` itself with autograd."""
    return tuple(autograd.grad(function, argnum=i)(*args) for i in range(len(args)))


# ---- other oracles -----------------------------------------------------------------------------------------------


def central_difference(function, x, direction, step=1e-6):
    """Directional derivative (f(x + h d) - f(x - h d)) / 2h of a scalar function: error O(h^2) + eps/h."""
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step)


def complex_step(function, x, direction, step=1e-200):
    """Directional derivative Im f(x + i h d) / h: no cancellation, exact to rounding for an analytic f."""
    return numpy.imag(function(x + 1j * step * direction)) / step


# ---- comparing ---------------------------------------------------------------------------------------------------


def norm_relative(got, want, scale=0.0):
    """||got - want|| / max(||want||, scale): 0 when both vanish."""
    got, want = numpy.asarray(got, numpy.longdouble), numpy.asarray(want, numpy.longdouble)
    size = max(float(numpy.sqrt(numpy.sum(want * want))), float(scale))
    difference = float(numpy.sqrt(numpy.sum((got - want) ** 2)))
    return 0.0 if difference == 0 else difference / max(size, 1e-290)


def check(got, want, tolerance=None, *, equation, function, oracle, scale=0.0, dtype=None):
    """Assert that `got` is a finite NumPy array of want's shape (and `dtype`) within the tolerance; record the error.

    `scale` is the size below which differences count as absolute: the oracle's own rounding, where it has any.
    """
    assert type(got) is numpy.ndarray or isinstance(got, numpy.floating), f"{function}: got a {type(got).__name__}"
    assert numpy.shape(got) == numpy.shape(want), f"{function}: shape {numpy.shape(got)}, expected {numpy.shape(want)}"
    expected = numpy.dtype(dtype or numpy.float64)
    assert got.dtype == expected, f"{function}: dtype {got.dtype}, expected {expected}"
    assert numpy.all(numpy.isfinite(got)), f"{function}: NaN or infinity"
    error = norm_relative(got, want, scale)
    if tolerance is None:
        tolerance = FLOAT64_TOLERANCE if expected == numpy.float64 else FLOAT32_TOLERANCE
    kind = "" if expected == numpy.float64 else f" ({expected})"
    ledger.record(equation, function, oracle + kind, error)
    assert error <= tolerance, f"{function} against {oracle}: error {error:.2e} > {tolerance:.0e} ({equation})"


def check_rows(got, want, tolerance=None, *, equation, function, oracle, scale=0.0):
    """`check` of n configurations at once, one to an entry of the first axis; `scale` is a number or one for each."""
    assert type(got) is numpy.ndarray and got.shape == numpy.shape(want), (
        f"{function}: {got.shape}, {numpy.shape(want)}"
    )
    assert got.dtype == numpy.float64 and numpy.all(numpy.isfinite(got)), f"{function}: {got.dtype}, or not finite"
    n = len(got)
    got, want = (numpy.asarray(x, numpy.longdouble).reshape(n, -1) for x in (got, want))
    size = numpy.maximum(numpy.sqrt(numpy.sum(want * want, axis=1)), numpy.maximum(scale, 1e-290))
    error = float(numpy.max(numpy.sqrt(numpy.sum((got - want) ** 2, axis=1)) / size))
    ledger.record(equation, function, oracle, error, configurations=n)
    tolerance = FLOAT64_TOLERANCE if tolerance is None else tolerance
    assert error <= tolerance, f"{function} against {oracle}: error {error:.2e} > {tolerance:.0e} ({equation})"


def configurations(n, seed=0, categories=(2, 3, 10, 100, 1000), temperatures=(1e-3, 1e2)):
    """n seeded draws of (rng, lead, K, temperature): leading axes (), (B,) or (S, B), temperature log-uniform."""
    for i in range(n):
        rng = numpy.random.default_rng((seed, i))
        k = int(categories[i % len(categories)])
        lead = [(), (3,), (2, 3)][rng.integers(3)] if k <= 100 else [(), (2,)][rng.integers(2)]
        low, high = numpy.log(temperatures)
        temperature = float(numpy.exp(rng.uniform(low, high)))
        yield rng, lead, k, temperature


def points(rng, shape, temperature):
    """Inputs y whose logits y/temperature are moderate, extreme or in between, a third of the time each."""
    spread = [3 * temperature, 1.0, 10.0][rng.integers(3)]
    return spread * rng.standard_normal(shape)
