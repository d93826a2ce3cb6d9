"""The scalar helpers of numerics.py against 50-digit mpmath over extreme ranges, and every derivative against autograd.

Tolerance: 1e-13 relative (16 ulp in float32), times the condition number |x f'(x)/f(x)| where that is larger than the
room it leaves: log Phi and phi/Phi in the upper tail, where it is x^2 and one rounding of x alone has that effect.
"""

from __future__ import annotations

import inspect

import autograd
import mpmath
import numpy
import pytest

from igr_ref import numerics

from . import ledger
from .gradcheck import check

mp = mpmath.mp.clone()
mp.dps = 50


def _sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def _log_ndtr(x):
    # the smaller tail first, so that 50 digits are enough
    return mp.log(mp.erfc(-x / mp.sqrt(2)) / 2) if x < 0 else mp.log1p(-mp.erfc(x / mp.sqrt(2)) / 2)


TEXTBOOK = {
    "softplus": lambda x: mp.log1p(mp.exp(x)),
    "sigmoid": _sigmoid,
    "log_sigmoid": lambda x: -mp.log1p(mp.exp(-x)),
    "log1mexp": lambda x: mp.log1p(-mp.exp(x)) if x < -1 else mp.log(-mp.expm1(x)),
    "log_normal_pdf": lambda x: -x * x / 2 - mp.log(2 * mp.pi) / 2,
    "log_ndtr": _log_ndtr,
}


def _grid(name, dtype):
    """1,000 points and more: magnitudes 1e-30..700, both signs where the function has both."""
    rng = numpy.random.default_rng(len(name))
    size = 10.0 ** rng.uniform(-30, 2.84, 500)
    edges = [-numpy.log(2), -0.6931, -0.6932, 1.0, 709.0, 37.5, 38.5, 88.0, 1e-300]
    x = numpy.concatenate([size, -size, rng.uniform(-40, 40, 300), edges, -numpy.abs(edges)]).astype(dtype)
    x = x[x != 0]
    if name == "log_ndtr":
        return x[x < 40]  # beyond, log Phi and its derivative underflow in float64
    return -numpy.abs(x) if name == "log1mexp" else x


def _derivative(f, x):
    """A difference quotient, with as many digits more as f(x + h) - f(x - h) may lose."""
    near_one = x > 0 and f is _log_ndtr
    with mp.workdps(80 + int(x * x / 4 if near_one else abs(x) / 2)):
        return mp.diff(f, x, relative=f is TEXTBOOK["log1mexp"])  # which is singular at 0


def _compare(got, f, x, name, oracle):
    """Assert got = f(x) entry by entry within the tolerance of the module's text; record the largest error."""
    info = numpy.finfo(x.dtype)
    assert type(got) is numpy.ndarray and got.dtype == x.dtype and got.shape == x.shape and not numpy.isnan(got).any()
    worst = 0.0
    room = 1e-13 if x.dtype == numpy.float64 else 16 * float(info.eps)
    for at, value in zip(x, got, strict=True):
        at = mp.mpf(float(at))
        want = f(at)
        # below the smallest normal number a result may be as far off as that number's last place or be zero
        difference = abs(mp.mpf(float(value)) - want)
        if abs(want) < float(info.tiny):
            assert difference <= float(info.tiny), f"{name}({at}): {value}, expected {mp.nstr(want, 20)}"
            continue
        error = float(difference / abs(want))
        if error > room:
            condition = abs(at * mp.diff(f, at) / want)
            error = float(error / max(1, condition))
            assert error <= 16 * info.eps, f"{name}({at}): {value}, expected {mp.nstr(want, 20)}, condition {condition}"
        worst = max(worst, error)
    kind = "" if x.dtype == numpy.float64 else f" ({x.dtype})"
    ledger.record("scalar helper", f"numerics.{name}", oracle + kind, worst, "relative", x.size)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", TEXTBOOK)
def test_values(name, dtype):
    x = _grid(name, dtype)
    _compare(getattr(numerics, name)(x), TEXTBOOK[name], x, name, "mpmath, 50 digits")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", TEXTBOOK)
def test_derivatives(name, dtype):
    x = _grid(name, dtype)
    x = x[numpy.abs(x) > 1e-12]  # closer to 0 a difference quotient is no oracle
    got = getattr(numerics, f"{name}_grad")(x)
    _compare(got, lambda at: _derivative(TEXTBOOK[name], at), x, f"{name}_grad", "mpmath.diff, 80 digits")


@pytest.mark.parametrize("name", TEXTBOOK)
def test_derivatives_against_autograd(name):
    function = getattr(numerics, name)
    for i in range(1000):
        rng = numpy.random.default_rng((7, i))
        x = [1e-3, 1.0, 10.0, 30.0][i % 4] * rng.standard_normal([(), (3,), (2, 3)][i % 3] + (4,))
        x = -numpy.abs(x) if name == "log1mexp" else x
        want = autograd.elementwise_grad(function)(x)
        got = getattr(numerics, f"{name}_grad")(x)
        options = {"equation": "scalar helper", "function": f"numerics.{name}_grad", "oracle": "autograd"}
        # autograd's rule for expit is s (1 - s), which rounds where s is near 1
        check(got, want, scale=1e-5 if "sigmoid" in name else 0, **options)


def test_second_derivative_of_sigmoid():
    x = _grid("sigmoid_grad", "float64")
    _compare(numerics.sigmoid_grad(x), lambda at: _sigmoid(at) * _sigmoid(-at), x, "sigmoid_grad", "mpmath, 50 digits")


def test_the_upper_tail_of_log_ndtr_underflows_to_zero():
    x = numpy.array([41.0, 100.0, 1e300])
    assert numpy.all(numerics.log_ndtr(x) == 0) and numpy.all(numerics.log_ndtr_grad(x) == 0)


def test_log1mexp_at_zero_is_minus_infinity():
    with numpy.errstate(divide="ignore"):
        assert numerics.log1mexp(numpy.zeros(1))[0] == -numpy.inf


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_select_is_where_bit_by_bit(dtype):
    rng = numpy.random.default_rng(0)
    a, b = (rng.standard_normal((200, 30)) * 10.0 ** rng.integers(-30, 30, (200, 30)) for _ in range(2))
    a, b, mask = a.astype(dtype), b.astype(dtype), rng.random((200, 30)) < 0.5
    got = numerics.select(mask, a, b)
    assert got.dtype == dtype and got.tobytes() == numpy.where(mask, a, b).tobytes()
    wide = numpy.where(mask, numpy.inf, b).astype(dtype)  # what is taken may be infinite
    numpy.testing.assert_array_equal(numerics.select(~mask, a, wide), numpy.where(~mask, a, wide))


def test_every_public_function_is_tested():
    functions = {name: f for name, f in vars(numerics).items() if inspect.isfunction(f) and name[0] != "_"}
    public = {name for name, f in functions.items() if f.__module__ == numerics.__name__}
    helpers = set(TEXTBOOK) | {f"{name}_grad" for name in TEXTBOOK} | {"select"}
    elsewhere = {"logsumexp", "log_softmax", "softmax", "logsumexp_grad", "log_softmax_vjp", "softmax_vjp"}
    elsewhere |= {"log_softmax_and_softmax"}
    assert public == helpers | elsewhere  # the latter in test_reductions.py
