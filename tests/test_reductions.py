"""softmax, log_softmax and logsumexp of numerics.py, with their pullbacks, against 50-digit mpmath and autograd."""

from __future__ import annotations

import autograd.numpy as anp
import mpmath
import numpy
import pytest

from igr_ref import numerics

from . import ledger
from .gradcheck import autograd_vjp, check, norm_relative

mp = mpmath.mp.clone()
mp.dps = 50
REDUCTIONS = ("logsumexp", "log_softmax", "softmax")


def _rows(n, seed):
    """Logits (K,) with a spread from 1e-3 to 1e4 and an offset up to 1e4."""
    for i in range(n):
        rng = numpy.random.default_rng((seed, i))
        k = [1, 2, 3, 10, 30][i % 5]
        yield rng, 10.0 ** rng.uniform(-3, 4) * rng.standard_normal(k) + [0.0, 1e4, -1e4][i % 3]


def _textbook(x):
    """(logsumexp, log_softmax, softmax)."""
    x = [mp.mpf(float(v)) for v in x]
    e = [mp.exp(v) for v in x]
    total = mp.fsum(e)
    return mp.log(total), [v - mp.log(total) for v in x], [v / total for v in e]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values(dtype):
    """4 ulp of max(1, |x|) for logsumexp, of max(1, max x - min x) for log_softmax and so, relatively, for softmax."""
    info = numpy.finfo(dtype)
    errors = {name: [0.0] for name in REDUCTIONS}
    for _, x in _rows(1000, 8):
        x = x.astype(dtype)
        lse, log_z, z = _textbook(x)
        got = {name: getattr(numerics, name)(x) for name in REDUCTIONS}
        assert all(value.dtype == dtype and value.shape == x.shape[: value.ndim] for value in got.values())
        spread = max(1.0, float(numpy.ptp(x)))
        errors["logsumexp"].append(abs(float(got["logsumexp"]) - lse) / max(1.0, float(numpy.abs(x).max())))
        errors["log_softmax"] += [abs(float(a) - b) / spread for a, b in zip(got["log_softmax"], log_z, strict=True)]
        tiny = float(info.tiny)
        errors["softmax"] += [abs(float(a) - b) / max(b, tiny) / spread for a, b in zip(got["softmax"], z, strict=True)]
    kind = "" if dtype == "float64" else f" ({dtype})"
    for name, found in errors.items():
        worst = float(max(found))
        ledger.record("softmax", f"numerics.{name}", "mpmath, 50 digits" + kind, worst, "of the terms", 1000)
        assert worst <= 4 * info.eps, (name, worst)


@pytest.mark.parametrize("name", ["log_softmax", "logsumexp"])
def test_values_near_zero_keep_their_digits(name):
    """log(1 + e^-40), the log-probability of a near-certain category up to its sign, is 4e-18 and not 0."""
    got = getattr(numerics, name)(numpy.array([0.0, -40.0]))
    want = float(mp.log1p(mp.exp(-40)))
    assert abs(float(got[0] if name == "log_softmax" else got)) == pytest.approx(want, rel=1e-13, abs=0)


def test_log_softmax_gradient_near_a_vertex_keeps_its_digits():
    """d log z_1/dx_1 = 1 - z_1 = 4e-18: the pullback takes it from log z_1, so it is right where log z_1 is."""
    x = numpy.array([40.0, 0.0])
    got = numerics.log_softmax_vjp(numerics.log_softmax(x), numpy.array([1.0, 0.0]))
    rest = float(1 / (1 + mp.exp(40)))
    assert got[1] == pytest.approx(-rest, rel=1e-13, abs=0)
    assert got[0] == pytest.approx(rest, rel=1e-13, abs=0)


def test_pullbacks():
    for rng, x in _rows(1000, 9):
        x = x / max(1.0, float(numpy.ptp(x)) / 600)  # nothing underflows
        bar = rng.standard_normal(x.shape)
        z = numpy.array([numpy.longdouble(mp.nstr(v, 25)) for v in _textbook(x)[2]])
        by_pairs = z * numpy.sum(z * (bar[:, None] - bar), axis=-1)
        by_log = bar - z * numpy.sum(bar)
        # where z_k is near 1, or a gradient a small difference of cotangents, differences count as absolute
        cases = {
            "softmax": (numerics.softmax_vjp, by_pairs, 0),
            "log_softmax": (numerics.log_softmax_vjp, by_log, 1e-4),
        }
        for name, (pullback, want, scale) in cases.items():
            function = getattr(numerics, name)
            got = pullback(function(x), bar)
            options = {"equation": "softmax", "function": f"numerics.{name}_vjp"}
            check(got, want, scale=scale, oracle="probabilities from mpmath", **options)
            (traced,) = autograd_vjp(lambda x, function=function, bar=bar: anp.sum(bar * function(x)), x)
            check(got, traced, scale=1e-4, oracle="autograd", **options)  # its tape rounds near a vertex
        check(numerics.logsumexp_grad(x), z, equation="softmax", function="numerics.logsumexp_grad", oracle="mpmath")


def test_pullbacks_in_float32():
    """From saved outputs in float32, against longdouble arithmetic on the same numbers."""
    for rng, x in _rows(1000, 10):
        x = (x / max(1.0, float(numpy.ptp(x)) / 60)).astype("f4")
        bar = rng.standard_normal(x.shape).astype("f4")
        z, log_z = numerics.softmax(x), numerics.log_softmax(x)
        long_z, long_log, long_bar = (a.astype(numpy.longdouble) for a in (z, log_z, bar))
        options = {"equation": "softmax", "dtype": "float32", "oracle": "longdouble"}
        by_pairs = long_z * numpy.sum(long_z * (long_bar[:, None] - long_bar), axis=-1)
        check(numerics.softmax_vjp(z, bar), by_pairs, function="numerics.softmax_vjp", scale=1e-30, **options)
        by_log = long_bar - numpy.exp(long_log) * numpy.sum(long_bar)
        # scale: what one ulp of a sum of cotangents is to the result, where that is a small difference of them
        got = numerics.log_softmax_vjp(log_z, bar)
        check(got, by_log, function="numerics.log_softmax_vjp", scale=1e-2 * x.size, **options)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_log_softmax_and_softmax_at_once(dtype):
    """The same numbers as apart, ties included, and the pullback with and without the exponential it is spared."""
    for rng, x in _rows(200, 12):
        x = numpy.stack([x, numpy.round(x)]).astype(dtype)
        log_z, z = numerics.log_softmax_and_softmax(x)
        assert numpy.array_equal(log_z, numerics.log_softmax(x)) and numpy.array_equal(z, numerics.softmax(x))
        bar = rng.standard_normal(x.shape).astype(dtype)
        spared = numerics.log_softmax_vjp(log_z, bar, numpy.exp(log_z))
        assert spared.dtype == dtype and numpy.array_equal(spared, numerics.log_softmax_vjp(log_z, bar))


def test_an_axis_may_be_given():
    x = numpy.random.default_rng(0).standard_normal((3, 4, 5))
    for axis in (0, 1, 2, -1):
        moved = numpy.moveaxis(x, axis, -1)
        assert norm_relative(numerics.logsumexp(x, axis=axis), numerics.logsumexp(moved)) < 1e-14
        kept = numerics.logsumexp(x, axis=axis, keepdims=True)
        assert kept.shape == tuple(1 if i == axis % 3 else n for i, n in enumerate(x.shape))
        for f in (numerics.softmax, numerics.log_softmax, numerics.logsumexp_grad):
            assert norm_relative(f(x, axis=axis), numpy.moveaxis(f(moved), -1, axis)) < 1e-14


def test_softmax_gradient_near_a_vertex_keeps_every_digit():
    """Trap: z_j (z_bar_j - sum_k z_k z_bar_k) is rounding error as soon as 1 - z_j < 1e-16."""
    x, bar = numpy.array([200.0, 0.0, -3.0]), numpy.array([0.3, 1.7, -2.0])
    got = numerics.softmax_vjp(numerics.softmax(x), bar)
    p, a = _textbook(x)[2], [mp.mpf(v) for v in bar]
    for j in range(3):
        want = p[j] * mp.fsum(p[k] * (a[j] - a[k]) for k in range(3))
        assert abs(got[j] - want) <= 1e-13 * abs(want)
