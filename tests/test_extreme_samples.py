"""No NaN, no infinity: float32 samples, their log densities and their gradients, from every sampler, far out.

Ten million samples for each sampler and temperature, a quarter of them at each of four settings of the parameters:
moderate, one category certain, wide, narrow. One tenth of them in the default run.
"""

from __future__ import annotations

import numpy
import pytest

from igr_ref import GumbelSoftmax, igr_i, igr_sb, noise

SAMPLES = 10_000_000
CHUNK = 125_000
CATEGORIES = (2, 3, 5, 10)
TEMPERATURES = (1e-3, 0.1, 1.0, 100.0)
F4 = numpy.float32

# (centre, spread): mu and log sigma for IGR, log alpha for the Gumbel-Softmax
SETTINGS = {"moderate": (0.0, 0.0), "certain": (50.0, 0.0), "wide": (0.0, 5.0), "narrow": (1.0, -10.0)}


def _relaxation(kind, setting, k, temperature):
    centre, log_sigma = SETTINGS[setting]
    if kind == "GS":
        log_alpha = {"wide": 1000.0, "narrow": 1e-6}.get(setting, centre) * numpy.cos(numpy.arange(k))
        return GumbelSoftmax(log_alpha.astype(F4), temperature)
    mu = (centre * numpy.cos(numpy.arange(k - 1))).astype(F4)
    return {"IGR-I": igr_i, "IGR-SB": igr_sb}[kind](mu, numpy.full(k - 1, log_sigma, F4), temperature)


def _draw(kind, rng, n, k):
    return noise.gumbel(rng, (n, k), F4) if kind == "GS" else noise.normal(rng, (n, k - 1), F4)


def _finite(x, shape):
    assert x.dtype == F4 and x.shape == shape
    return bool(numpy.isfinite(numpy.sum(x))) or bool(numpy.all(numpy.isfinite(x)))  # a finite sum has finite terms


def _check(kind, temperature, total):
    settings = list(SETTINGS)
    for i in range(total // CHUNK):
        setting, k = settings[i % 4], CATEGORIES[(i // 4 + i) % 4]  # every pair in 16 chunks
        q = _relaxation(kind, setting, k, temperature)
        draws = _draw(kind, noise.generator(9, kind, i), CHUNK, k)
        z, saved = q.run(draws)
        at = f"{kind}, {setting}, K = {k}, temperature {temperature}, chunk {i}"
        assert _finite(z, (CHUNK, k)), f"sample: {at}"
        assert numpy.all((z >= 0) & (z <= 1)) and numpy.abs(z.sum(axis=-1) - 1).max() < 1e-5, f"off the simplex: {at}"
        assert _finite(q.log_prob(saved[1]), (CHUNK,)), f"log density: {at}"
        if i % 8 == 0:  # gradients of a part: they cost as much again
            part = slice(0, CHUNK // 8)
            at = f"gradient: {at}"
            for name, bar in q.sample_vjp(draws[part], z[part]).items():
                assert _finite(bar, (*z[part].shape[:-1], q.params[name].shape[-1])), at
            bars, y_bar = q.log_prob_vjp(saved[1][part], z[part][:, 0])
            assert all(_finite(bar, bar.shape) for bar in (*bars.values(), y_bar)), at


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("kind", ["IGR-I", "IGR-SB", "GS"])
def test_no_nan_and_no_infinity(kind, temperature):
    _check(kind, temperature, SAMPLES // 10)


@pytest.mark.slow
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("kind", ["IGR-I", "IGR-SB", "GS"])
def test_no_nan_and_no_infinity_in_ten_million_samples(kind, temperature):
    _check(kind, temperature, SAMPLES)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("kind", ["IGR-I", "IGR-SB", "GS"])
def test_the_furthest_draws_that_float32_can_give(kind, temperature):
    """Normal draws of +-6, Gumbel draws at both ends of what `noise` can return, in every combination."""
    ends = (-4.6, 17.33) if kind == "GS" else (-6.0, 6.0)
    for setting in SETTINGS:
        for k in (2, 3, 10):
            n = k if kind == "GS" else k - 1
            draws = numpy.array([[ends[(i >> j) & 1] for j in range(n)] for i in range(2**n)], F4)
            q = _relaxation(kind, setting, k, temperature)
            z, saved = q.run(draws)
            bars, y_bar = q.log_prob_vjp(saved[1], z[:, 0])
            for x in (z, q.log_prob(saved[1]), *q.pullback(saved, z).values(), *bars.values(), y_bar):
                assert _finite(x, x.shape), (setting, k)
