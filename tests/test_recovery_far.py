"""Prop. 2 where the scales of a law lie far apart (`_far`): mpmath, closed forms, symmetries, and the shared grid."""

from __future__ import annotations

import mpmath
import numpy
import pytest
from scipy import special

from igr_ref.recovery import _far_law, _winner, conditional, drawn, gaussian_argmax
from igr_ref.recovery._far import Category, scaled

from . import ledger
from . import oracles_recovery as oracle

EQUATION, GAUSSIAN = "eq. 21", "y | H = k (appendix D)"
MODULE = "recovery._far"
EVERY_SCALE = 30  # powers of ten either way


def law(rng, n, kind):
    """mu, sigma (n,): scales from 1e-30 to 1e30; ties, neighbours and single scales among them."""
    sigma = 10.0 ** rng.uniform(-EVERY_SCALE, EVERY_SCALE, n if kind % 2 else 1) * numpy.ones(n)
    mu = rng.standard_normal(n) * 10.0 ** rng.uniform(-EVERY_SCALE, EVERY_SCALE, n)
    if kind == 2:
        mu = numpy.full(n, abs(mu[0]))
    if kind == 3:
        mu = abs(mu).max() + rng.standard_normal(n) * sigma
    if kind in (4, 5):
        mu = rng.standard_normal(n) * rng.permutation(sigma)
    return mu, sigma


def exact_log_probs(mu, sigma, width=14):
    """log P_k, k < K, by mpmath.quad with breaks around every mean; digits enough for t - mu_j."""
    with mpmath.workdps(90):
        m, s = ([mpmath.mpf(float(x)) for x in array] for array in (mu, sigma))
        steps = [-width, -6, -3, -1, 0, 1, 3, 6, width]
        breaks = sorted({max(m[j] + c * s[j], mpmath.mpf(0)) for j in range(len(m)) for c in steps})
        out = []
        for k in range(len(m)):

            def density(t, k=k):
                value = mpmath.npdf((t - m[k]) / s[k]) / s[k]
                for j in range(len(m)):
                    if j != k:
                        value *= mpmath.erfc(-(t - m[j]) / s[j] / mpmath.sqrt(2)) / 2
                return value

            parts = [mpmath.quad(density, pair, maxdegree=7) for pair in zip(breaks[:-1], breaks[1:], strict=True)]
            out.append(mpmath.fsum(parts))
        return out


# ---- values ----------------------------------------------------------------------------------------------------------


def test_far_and_shared_panels_agree_on_ordinary_laws():
    """K = 2..10, sigma in 0.08..7: log P, fluxes, scores, quantiles and their derivatives, which share no integrals."""
    worst = numpy.zeros(5)
    for i in range(12):
        rng = numpy.random.default_rng((1, i))
        n = int(rng.integers(1, 10))
        mu, sigma = rng.uniform(-5, 5, n), numpy.exp(rng.uniform(-2.5, 2, n))
        row = mu[None], sigma[None]
        log_p = gaussian_argmax.log_probs(mu, sigma)[:-1]
        worst[0] = max(worst[0], numpy.max(abs(numpy.expm1(_far_law.log_head(*row, True)[0] - log_p))))
        for got, want in zip(_far_law.fluxes(*row), gaussian_argmax.fluxes(mu, sigma)[:2], strict=True):
            worst[1] = max(worst[1], numpy.max(abs(got[0] - want) * (1 - numpy.eye(n)) * sigma))
        k, v = rng.integers(0, n, 3), rng.random(3)
        rows = numpy.tile(mu, (3, 1)), numpy.tile(sigma, (3, 1))
        got, want = (f(*rows, k) for f in (_far_law.scores, _winner.scores))
        worst[2] = max(worst[2], numpy.max(abs(got - want)) / numpy.max(abs(want)))
        (m, dm), (m_want, dm_want) = (f(*rows, numpy.zeros(3, int), k, v=v) for f in (_far_law.maxima, _winner.maxima))
        worst[3] = max(worst[3], numpy.max(abs(m - m_want) / sigma[k]))
        again = _far_law.maxima(*rows, numpy.zeros(3, int), k, m=m)[1]
        worst[4] = max(worst[4], *(numpy.max(abs(x - dm_want)) / numpy.max(abs(dm_want)) for x in (dm, again)))
    for name, error, limit in zip(
        ("log_p", "means", "score", "quantile", "given"), worst, (1e-10, 1e-14, 1e-11, 1e-12, 1e-10), strict=True
    ):
        ledger.record(EQUATION, f"{MODULE}.Category.{name}", "the panels of ordinary laws", error, "relative", 12)
        assert error <= limit, name


@pytest.mark.parametrize("laws", [5, pytest.param(15, marks=pytest.mark.slow)])
def test_two_coordinates_of_any_scale_against_mpmath(laws):
    """K = 3, sigma and mu from 1e-30 to 1e30, for P above 1e-30; the sum of all is 1."""
    worst, n = 0.0, 0
    for i in range(laws):
        mu, sigma = law(numpy.random.default_rng((2, i)), 2, 1 + i % 5)
        log_p = gaussian_argmax.log_probs(mu, sigma)
        assert numpy.all(numpy.isfinite(log_p)) and abs(numpy.exp(log_p).sum() - 1) <= 1e-12
        for got, want in zip(log_p, exact_log_probs(mu, sigma), strict=False):
            if want > 1e-30:
                worst, n = max(worst, abs(float(mpmath.exp(mpmath.mpf(float(got))) / want - 1))), n + 1
    ledger.record(EQUATION, f"{MODULE}.Category.log_p", "mpmath, 90 digits, scales 1e-30..1e30", worst, "relative", n)
    assert n >= laws and worst <= 1e-11


@pytest.mark.parametrize("size", [1e5, 1e8, 1e16, 1e30])
def test_closed_forms(size):
    """K = 2: Phi(mu/sigma). K = 3 far above 0, K-1 = 2: Phi((mu_1 - mu_2)/sqrt(sigma_1^2 + sigma_2^2))."""
    for mu, sigma in ((size, 1.0), (-size, 1.0), (size, size), (-1 / size, 1 / size), (3.0, size)):
        got = gaussian_argmax.log_probs(numpy.array([mu]), numpy.array([sigma]))
        want = special.log_ndtr(numpy.array([mu / sigma, -mu / sigma]))
        assert numpy.allclose(got, want, rtol=1e-13, atol=1e-12)
    for gap, sigma in (
        (0.0, (1.0, 1.0)),
        (0.3, (1.0, 2.0)),
        (1.7, (0.5, 1e-3)),
        (1.0, (1e-30, 1.0)),
        (0.9, (2.0, 0.1)),
    ):
        ulp = numpy.spacing(size)
        unit = max(ulp, 1.0)  # a difference that doubles of this size can have
        mu, s = numpy.array([size, size - numpy.round(gap * 16) / 16 * 16 * unit]), numpy.array(sigma) * unit
        z = (mu[0] - mu[1]) / numpy.hypot(*s)
        got = gaussian_argmax.log_probs(mu, s)
        assert numpy.allclose(got[:2], special.log_ndtr([z, -z]), rtol=1e-12, atol=1e-12)
    apart = gaussian_argmax.log_probs(numpy.array([size, 0.0]), numpy.ones(2))
    assert numpy.allclose(apart / size**2, [0, -0.25, -0.5], rtol=1e-5, atol=1e-12)  # log P_2 at t = size/2


def test_permutation_scale_and_batch_at_every_scale():
    for i in range(20):
        rng = numpy.random.default_rng((3, i))
        mu, sigma = law(rng, int(rng.integers(2, 8)), i % 6)
        log_p, order = gaussian_argmax.log_probs(mu, sigma), rng.permutation(len(mu))
        assert numpy.allclose(gaussian_argmax.log_probs(mu[order], sigma[order])[:-1], log_p[:-1][order], 1e-12, 1e-10)
        power = 2.0 ** rng.integers(-99, 99)
        assert numpy.allclose(gaussian_argmax.log_probs(mu * power, sigma * power), log_p, 1e-11, 1e-9)
        near = rng.standard_normal(len(mu)), numpy.ones(len(mu))
        both = gaussian_argmax.log_probs(numpy.stack([near[0], mu]), numpy.stack([near[1], sigma]))
        assert numpy.array_equal(both[1], log_p) and numpy.array_equal(both[0], gaussian_argmax.log_probs(*near))


def test_a_law_whose_small_probability_was_infinite():
    """9,000 standard deviations apart the search for the integral's ends once lost itself in rounding; mpmath."""
    mu = numpy.array([9029.96779681, -2088.57685799, 3067.92035562, -4886.1102954])
    want = oracle.prop2_log_prob_mpmath(mu, numpy.ones(4), 2)
    assert abs(gaussian_argmax.log_probs(mu, numpy.ones(4))[2] - float(want)) <= 1e-8


# ---- derivatives -----------------------------------------------------------------------------------------------------


def test_jacobian_by_differences_and_vjp():
    """Central differences in units of each sigma; a row of the Jacobian by vjp; every column sums to 0."""
    for i in range(12):
        rng = numpy.random.default_rng((4, i))
        n = int(rng.integers(2, 5))
        mu, sigma = law(rng, n, 4 + i % 2)
        by = gaussian_argmax.jacobian(mu, sigma)
        for which in (0, 1):
            assert numpy.max(abs(by[which].sum(axis=0) * sigma)) <= 1e-14
            for j in range(n):
                ends = []
                for sign in (1, -1):
                    at = [mu.copy(), sigma.copy()]
                    at[which][j] += sign * 1e-5 * sigma[j]
                    ends.append((gaussian_argmax.probs(*at), at[which][j]))
                if abs(mu[j]) < 1e8 * sigma[j]:  # else mu_j does not move by what it is told to
                    slope = (ends[0][0] - ends[1][0]) / ((ends[0][1] - ends[1][1]) / sigma[j])
                    assert numpy.max(abs(slope - by[which][:, j] * sigma[j])) <= 1e-8
        p_bar = rng.standard_normal(n + 1)
        for got, jacobian in zip(gaussian_argmax.vjp(mu, sigma, p_bar), by, strict=True):
            assert numpy.max(abs(got - p_bar @ jacobian) * sigma) <= 1e-14


def test_conditional_samples_at_every_scale():
    """h(y) = b, y against Gamma(m) = v P_k at 90 digits, finite derivatives, and `drawn` by the same road."""
    worst, n = 0.0, 0
    for i in range(12):
        rng = numpy.random.default_rng((5, i))
        mu, sigma = law(rng, 2, i % 6)
        for k in range(3):
            b, v = numpy.eye(3)[k], rng.random(2)
            y, saved = conditional.sample(mu, sigma, b, v)
            assert (int(y.argmax()) if y.max() > 0 else 2) == k
            again = conditional.coupled(mu, sigma, b, y)
            for part in (*saved, *again, *conditional.pullback(saved, numpy.ones(2))):
                assert numpy.all(numpy.isfinite(part))
            got = drawn.drawn(mu, sigma, b, v=v, cotangent=numpy.exp)
            for part in (*got.score, *got.bars):
                assert numpy.all(numpy.isfinite(part))
            assert numpy.allclose(got.y, y, rtol=1e-9, atol=0)
    for i in range(8):
        rng = numpy.random.default_rng((6, i))
        mu, sigma = law(rng, 2, 4 + i % 2)
        mu = abs(mu)
        m, s, power = scaled(mu, sigma)
        own, v = Category(m, s, 0), float(rng.random())
        if own.log_p < -20:
            continue
        top, end = mpmath.mpf(own.A) + mpmath.mpf(own.B), mpmath.mpf(own.quantile(v))
        with mpmath.workdps(90):

            def density(t, m=m, s=s):
                u = [(t - mpmath.mpf(m[j])) / mpmath.mpf(s[j]) for j in (0, 1)]
                return mpmath.npdf(u[0]) / mpmath.mpf(s[0]) * mpmath.erfc(-u[1] / mpmath.sqrt(2)) / 2

            steps = [mpmath.mpf(m[j]) + c * mpmath.mpf(s[j]) for j in (0, 1) for c in (-14, -6, -3, -1, 0, 1, 3, 6, 14)]
            breaks = sorted({min(max(t, mpmath.mpf(0)), top + end) for t in (*steps, mpmath.mpf(0), top + end)})
            mass = mpmath.fsum(mpmath.quad(density, pair) for pair in zip(breaks[:-1], breaks[1:], strict=True))
            worst, n = max(worst, abs(float(mass / mpmath.exp(own.log_p) - mpmath.mpf(v)))), n + 1
    ledger.record(GAUSSIAN, f"{MODULE}.Category.quantile", "mpmath, 90 digits", worst, "of 1", n)
    assert n >= 4 and worst <= 1e-11


def test_derivatives_of_a_conditional_sample_by_differences():
    """Scales up to 1e8 apart, which differences still see; the other coordinates' own digits are 1e-16 of m."""
    checked = 0
    for i in range(12):
        rng = numpy.random.default_rng((7, i))
        n = int(rng.integers(2, 5))
        sigma = numpy.exp(rng.uniform(0, 6, n))
        sigma[0] = 3e4 * sigma.max()
        mu = rng.standard_normal(n) * rng.permutation(sigma)
        p = gaussian_argmax.probs(mu, sigma)
        k, v, y_bar = int(p[:-1].argmax()), rng.random(n), rng.standard_normal(n)
        if p[k] < 1e-3:
            continue
        b = numpy.eye(n + 1)[k]
        bars = conditional.pullback(conditional.sample(mu, sigma, b, v)[1], y_bar)
        for which in (0, 1):
            for j in range(n):
                ends = []
                for sign in (1, -1):
                    at = [mu.copy(), sigma.copy()]
                    at[which][j] += sign * 1e-5 * sigma[j]
                    ends.append(conditional.sample(*at, b, v)[0] @ y_bar)
                slope = (ends[0] - ends[1]) / (2e-5 * sigma[j])
                assert abs(slope - bars[which][j]) <= 1e-6 * numpy.max(abs(y_bar)) * (1 + sigma.max() / sigma[j])
                checked += 1
    assert checked >= 40


# ---- limits ----------------------------------------------------------------------------------------------------------


def test_what_no_double_can_say():
    """Beyond 1e150 of the least sigma -log P overflows: said so. float32 has no such logarithm either: log 0."""
    with pytest.raises(ValueError, match="must not exceed 1e\\+150 times the smallest sigma"):
        gaussian_argmax.log_probs(numpy.array([1e200, 0.0]), numpy.ones(2))
    tiny = gaussian_argmax.log_probs(numpy.array([1e-200, 0.0]), numpy.full(2, 1e-200))
    assert numpy.allclose(tiny, gaussian_argmax.log_probs(numpy.array([1.0, 0.0]), numpy.ones(2)), rtol=1e-12)
    single = gaussian_argmax.log_probs(numpy.array([1e20, 0.0], "f4"), numpy.ones(2, "f4"))
    assert single.dtype == "f4" and abs(single[0]) <= 1e-12 and single[1] == single[2] == -numpy.inf
    with pytest.raises(ArithmeticError, match="too far apart for one grid"):
        gaussian_argmax.grid(numpy.array([1.0, 0.5]), numpy.array([1e-30, 1.0]))


def test_many_categories_of_every_scale():
    """K = 10,000 with one scale, where few can win, and K = 60 with scales 1e-30..1e30."""
    rng = numpy.random.default_rng(8)
    mu = 1e5 * rng.standard_normal(9999)
    p = gaussian_argmax.probs(mu, numpy.ones(9999))
    assert abs(p.sum() - 1) <= 1e-12 and int(p.argmax()) == int(mu.argmax())
    mu, sigma = law(rng, 59, 5)
    assert abs(gaussian_argmax.probs(mu, sigma).sum() - 1) <= 1e-12
