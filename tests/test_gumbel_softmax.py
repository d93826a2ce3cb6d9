"""The Gumbel-Softmax in log scale (eqs. 5 and 6): pullbacks of the sample and of the ExpConcrete density."""

from __future__ import annotations

import autograd.numpy as anp
import numpy
import pytest

from igr_ref import GumbelSoftmax

from . import oracles
from .gradcheck import autograd_vjp, check, configurations
from .transform_checks import CATEGORIES

LONG = numpy.longdouble
NAME = "distributions.GumbelSoftmax"


def cases(n, seed, categories=CATEGORIES):
    """n seeded (rng, log_alpha, gumbel, temperature): log_alpha of order 1, and extreme."""
    for i, (rng, lead, k, temperature) in enumerate(configurations(n, seed, categories=categories)):
        log_alpha = [1.0, 1.0, 10.0][i % 3] * rng.standard_normal((*lead, k)) + [0.0, 30.0][i % 2]
        yield rng, log_alpha, rng.gumbel(size=(*lead, k)), temperature


def _long_log_z(log_alpha, gumbel, temperature):
    logits = (LONG(log_alpha) + LONG(gumbel)) / LONG(temperature)
    return logits - numpy.logaddexp.reduce(logits, axis=-1, keepdims=True)


def _without_largest(log_z, y_bar):
    """y_bar_j - z_j sum_k y_bar_k, the pullback of y = log z by its logits, with 1 - z summed from the others."""
    z = numpy.exp(LONG(log_z))
    rest = numpy.sum(z[..., None, :] * (1 - numpy.eye(z.shape[-1])), axis=-1)
    total = numpy.sum(LONG(y_bar), axis=-1, keepdims=True)
    return rest * y_bar - z * (total - y_bar)


def test_sample_pullbacks():
    label = {"equation": "eq. 5"}
    for rng, log_alpha, gumbel, temperature in cases(1000, 1):
        q = GumbelSoftmax(log_alpha, temperature)
        (z, saved), z_bar = q.run(gumbel), rng.standard_normal(log_alpha.shape)
        check(
            z,
            oracles.gumbel_softmax_z(log_alpha, gumbel, temperature),
            function=f"{NAME}.run",
            oracle="longdouble",
            **label,
        )
        tape = 1e-4 * numpy.sqrt(z.size) / temperature  # autograd rounds near a vertex
        long_log_z = _long_log_z(log_alpha, gumbel, temperature)
        books = {
            "pullback": oracles.softmax_bar(numpy.exp(long_log_z), z_bar) / LONG(temperature),
            "pullback_y": _without_largest(long_log_z, z_bar) / LONG(temperature),
        }
        for name, book in books.items():
            got = getattr(q, name)(saved, z_bar)["log_alpha"]

            def traced(a, sample=name == "pullback", q=q, gumbel=gumbel, z_bar=z_bar):
                relaxed = GumbelSoftmax(a, q.temperature, validate=False)
                return anp.sum(z_bar * (relaxed.sample(gumbel) if sample else relaxed.run_log(gumbel)))

            (want,) = autograd_vjp(traced, log_alpha)
            check(got, want, scale=tape, function=f"{NAME}.{name}", oracle="autograd", **label)
            # y_bar_j - z_j sum y_bar is a difference of numbers of order y_bar where one category has nearly all
            scale = 0 if name == "pullback" else tape
            check(got, book, scale=scale, function=f"{NAME}.{name}", oracle="textbook, longdouble", **label)


def test_sample_pullback_in_float32():
    for rng, log_alpha, gumbel, temperature in cases(1000, 2, categories=(2, 3, 10, 100)):
        log_alpha, gumbel, z_bar = (x.astype("f4") for x in (log_alpha, gumbel, rng.standard_normal(gumbel.shape)))
        q = GumbelSoftmax(log_alpha, temperature)
        z, saved = q.run(gumbel)
        want = oracles.softmax_bar(oracles.gumbel_softmax_z(log_alpha, gumbel, temperature), z_bar) / temperature
        label = {"equation": "eq. 5", "function": f"{NAME}.pullback", "oracle": "textbook, longdouble"}
        check(q.pullback(saved, z_bar)["log_alpha"], want, dtype="float32", scale=1e-30, **label)
        assert z.dtype == "f4" and q.run_log(gumbel).dtype == "f4"


def test_log_prob_and_its_pullback():
    for rng, log_alpha, gumbel, temperature in cases(1000, 3):
        q = GumbelSoftmax(log_alpha, temperature)
        y, bar = q.run_log(gumbel), rng.standard_normal(log_alpha.shape[:-1])
        want = oracles.exp_concrete(log_alpha, temperature, y)
        label = {"equation": "eq. 6", "oracle": "textbook, longdouble", "scale": log_alpha.shape[-1]}
        check(numpy.asarray(q.log_prob(y)), want, function=f"{NAME}.log_prob", **label)
        by_z = numpy.asarray(q.log_prob_log_z(y))
        scale = float(numpy.abs(y).sum())
        check(by_z, want - y.sum(axis=-1), **{**label, "function": f"{NAME}.log_prob_log_z", "scale": scale})
        bars, y_bar = q.log_prob_vjp(y, bar)
        k = y.shape[-1]
        p = oracles.exp_concrete_p(log_alpha, temperature, y)
        books = (LONG(bar)[..., None] * (1 - k * p), LONG(bar)[..., None] * LONG(temperature) * (k * p - 1))

        def traced(a, y, bar=bar, temperature=temperature):
            return anp.sum(bar * GumbelSoftmax(a, temperature, validate=False).log_prob(y))

        together, grad = q.log_prob_and_grad(y)  # the same numbers at once
        assert numpy.array_equal(together, q.log_prob(y))
        assert numpy.array_equal(grad, q.log_prob_vjp(y, numpy.ones(bar.shape))[1])
        for i, (got, tape) in enumerate(
            zip((bars["log_alpha"], y_bar), autograd_vjp(traced, log_alpha, y), strict=True)
        ):
            label = {"equation": "eq. 6", "function": f"{NAME}.log_prob_vjp"}
            check(got, tape, oracle="autograd", **label)
            check(got, books[i], oracle="textbook, longdouble", **label)
        small = GumbelSoftmax(log_alpha.astype("f4"), temperature)
        at, small_bar = y.astype("f4"), numpy.asarray(bar, "f4")
        p = oracles.exp_concrete_p(small.log_alpha, temperature, at)
        label = {"equation": "eq. 6", "function": f"{NAME}.log_prob_vjp", "oracle": "textbook, longdouble"}
        want = small_bar[..., None] * (1 - k * p)
        check(small.log_prob_vjp(at, small_bar)[0]["log_alpha"], want, dtype="float32", **label)


def test_temperature_array_with_a_replica_axis():
    rng = numpy.random.default_rng(7)
    tau = numpy.array([0.01, 0.5, 20.0])[:, None, None]
    log_alpha, gumbel, bar = rng.standard_normal((3, 3, 4, 5))
    q = GumbelSoftmax(log_alpha, tau)
    y, z_bar = q.run_log(gumbel), rng.standard_normal((3, 4, 5))
    for r in range(3):
        one = GumbelSoftmax(log_alpha[r], float(tau[r, 0, 0]))
        assert numpy.array_equal(y[r], one.run_log(gumbel[r]))
        assert numpy.allclose(q.log_prob(y)[r], one.log_prob(y[r]), rtol=1e-14)
        assert numpy.array_equal(
            q.sample_vjp(gumbel, z_bar)["log_alpha"][r], one.sample_vjp(gumbel[r], z_bar[r])["log_alpha"]
        )
        got, want = q.log_prob_vjp(y, bar[..., 0])[1], one.log_prob_vjp(y[r], bar[r, :, 0])[1]
        assert numpy.array_equal(got[r], want)
        assert numpy.array_equal(q.log_prob_and_grad(y)[1][r], one.log_prob_and_grad(y[r])[1])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_low_temperature_leaves_the_density_finite(dtype):
    """Trap: log(z + 1e-20), or log z of an underflowed z, at the boundary."""
    gumbel = numpy.random.default_rng(8).gumbel(size=(50, 4)).astype(dtype)
    for temperature in (1e-3, 1e-6):
        q = GumbelSoftmax(numpy.zeros((50, 4), dtype), temperature)
        (z, saved), y = q.run(gumbel), q.run_log(gumbel)
        assert numpy.any(z == 0) and z.dtype == y.dtype == dtype
        for out in (
            y,
            q.log_prob(y),
            q.log_prob_log_z(y),
            q.pullback(saved, z)["log_alpha"],
            q.log_prob_vjp(y, y[:, 0])[1],
            *q.log_prob_and_grad(y),
        ):
            assert out.dtype == dtype and numpy.all(numpy.isfinite(out))


@pytest.mark.parametrize("bad", [0.0, -1.0, numpy.nan, numpy.inf])
def test_bad_temperature(bad):
    with pytest.raises(ValueError, match="temperature must be finite and greater than 0"):
        GumbelSoftmax(numpy.zeros(3), bad)
