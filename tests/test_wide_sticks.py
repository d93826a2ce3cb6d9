"""IGR-SB's law and pullback with sigmas from 10 to a million, or below .1: within the tolerance, or an error.

Their functions bend in a few units of an interval of hundreds or more, which points spread over it may not notice, or
are steps on the range of another stick's y.
"""

from __future__ import annotations

import numpy
import pytest
from scipy import special

from igr_ref.recovery import _chebyshev, stick_breaking

BOTH = pytest.mark.parametrize("remainder", [False, True])


def two_sticks(mu, sigma, p_bar, remainder):
    """P (3,) of K = 3 and the derivatives of p_bar P by mu and sigma, from integrals over y_2.

    Stick 2 wins iff y_1 < log sigmoid(y_2) and, with the remainder, y_2 > 0; the remainder iff y_1 < log sigmoid(-y_2)
    and y_2 < 0. Panels: sigma_2, the bend at 0, and wherever the bound of y_1 is mu_1 + c sigma_1.
    """
    bounds = mu[0] + sigma[0] * numpy.linspace(-9, 9, 19)
    bounds = bounds[bounds < 0]
    at = bounds - numpy.log(-numpy.expm1(bounds))
    edges = numpy.concatenate([mu[1] + sigma[1] * numpy.linspace(-9, 9, 19), numpy.linspace(-40, 40, 81), at, -at])
    edges = numpy.unique(numpy.clip(edges, mu[1] - 9 * sigma[1], mu[1] + 9 * sigma[1]))
    x, w = numpy.polynomial.legendre.leggauss(24)
    half = 0.5 * numpy.diff(edges)[:, None]
    y, weight = (edges[:-1, None] + half * (x + 1)).ravel(), (half * w).ravel()
    bound = -numpy.logaddexp(0, -abs(y) if remainder else -y)
    z_1, z_2 = (bound - mu[0]) / sigma[0], (y - mu[1]) / sigma[1]
    density = weight * numpy.exp(-0.5 * z_2 * z_2) / (numpy.sqrt(2 * numpy.pi) * sigma[1])
    second = (y > 0) | (not remainder)
    p = numpy.array([numpy.sum(density * special.ndtr(z_1) * where) for where in (second, ~second)])
    pay = density * (numpy.where(second, p_bar[1], p_bar[2]) - p_bar[0])
    phi = numpy.exp(-0.5 * z_1 * z_1) / numpy.sqrt(2 * numpy.pi)
    by_mu = -numpy.sum(pay * phi) / sigma[0], numpy.sum(pay * special.ndtr(z_1) * z_2) / sigma[1]
    by_sigma = (
        -numpy.sum(pay * phi * z_1) / sigma[0],
        numpy.sum(pay * special.ndtr(z_1) * (z_2 * z_2 - 1)) / sigma[1],
    )
    return numpy.array([1 - p.sum(), *p]), numpy.array([by_mu, by_sigma])


@pytest.mark.parametrize(
    "mu, sigma, remainder, tolerance",
    [  # each was returned with 2 to 250 times the tolerance, and no error
        ((0.31137753855719963, -0.11613704378148954), (0.37428708502031915, 92.46964896189313), False, 1e-8),
        ((-5.87378, 1.947376), (0.0449398, 31.39411), True, 1e-7),
        ((0.62, 2.05), (13.919, 79.788), True, 1e-6),
        ((22.64089227047373, -0.5045161807388483), (62.22421797352874, 0.29250927932355114), True, 1e-7),
        ((1.0, 1.0), (0.3, 1e6), False, 1e-8),
        ((-0.5919622291551083, 11.112939222194106), (0.019053847503119333, 6.641427933808403), False, 1e-5),
        ((-0.7023508823886009, 0.46425351544974536), (0.008518549297317211, 7.082996690808767), False, 1e-5),
        ((-0.7196249616847328, -3.711254310280328), (0.009934058796876123, 13.940482293925388), True, 1e-7),
        ((-1.0790604591369424, -2.968362990556842), (0.11299812998464932, 5.269714984540987), True, 1e-5),
    ],
)
def test_laws_that_were_wrong(mu, sigma, remainder, tolerance):
    mu, sigma, p_bar = numpy.array(mu), numpy.array(sigma), numpy.array([1.0, -1.0, 0.0])
    want, gradient = two_sticks(mu, sigma, p_bar, remainder)
    assert numpy.max(abs(stick_breaking.probs(mu, sigma, remainder, tolerance) - want)) <= tolerance
    # the cut at 6.5 sigma leaves 3e-9/sigma
    got = numpy.stack(stick_breaking.vjp(mu, sigma, p_bar, remainder, tolerance))
    assert numpy.max(abs(got - gradient)) <= 3 * tolerance + 3e-9 / numpy.min(sigma)


@BOTH
def test_random_laws_are_right_or_refused(remainder):
    rng = numpy.random.default_rng((1, remainder))
    refused = 0
    for i in range(24):
        largest = 100 if i % 4 else 1e6
        sigma = numpy.exp(rng.uniform(numpy.log(0.1), numpy.log(100), 2))
        sigma[rng.integers(2)] = numpy.exp(rng.uniform(numpy.log(15), numpy.log(largest)))
        mu, p_bar = rng.standard_normal(2) * numpy.where(rng.random(2) < 0.5, 1, sigma), rng.standard_normal(3)
        tolerance = (1e-5, 1e-6, 1e-7)[i % 3]
        want, gradient = two_sticks(mu, sigma, p_bar, remainder)
        try:
            got = stick_breaking.probs(mu, sigma, remainder, tolerance)
            bars = numpy.stack(stick_breaking.vjp(mu, sigma, p_bar, remainder, tolerance))
        except ArithmeticError:
            refused += 1
            continue
        assert numpy.max(abs(got - want)) <= tolerance, (mu, sigma)
        assert numpy.max(abs(bars - gradient)) <= 5 * tolerance + 1e-8 / numpy.min(sigma), (mu, sigma)
    assert refused <= 8


@BOTH
def test_random_narrow_sticks_beside_others(remainder):
    rng = numpy.random.default_rng((3, remainder))
    for i in range(24):
        sigma = numpy.exp([rng.uniform(numpy.log(1e-3), numpy.log(0.2)), rng.uniform(0, numpy.log(15))])
        sigma = sigma[:: 1 - 2 * (i % 2)]
        mu, p_bar = rng.standard_normal(2) * numpy.maximum(sigma, 1), rng.standard_normal(3)
        tolerance = (1e-5, 1e-6, 1e-7)[i % 3]
        want, gradient = two_sticks(mu, sigma, p_bar, remainder)
        got = stick_breaking.probs(mu, sigma, remainder, tolerance)
        bars = numpy.stack(stick_breaking.vjp(mu, sigma, p_bar, remainder, tolerance))
        assert numpy.max(abs(got - want)) <= tolerance, (mu, sigma)
        assert numpy.max(abs(bars - gradient)) <= 5 * tolerance + 1e-8 / numpy.min(sigma), (mu, sigma)


@BOTH
def test_wide_sticks_among_many(remainder):
    """Sticks with mu = -60 take nothing: the law of K = 3 in recursions of 11 sticks."""
    rng = numpy.random.default_rng((2, remainder))
    for _ in range(4):
        mu, sigma = rng.standard_normal(2), numpy.array([rng.uniform(0.01, 2), rng.uniform(10, 100)])
        places = numpy.sort(rng.choice(11, 2, replace=False))
        many, wide = numpy.full(11, -60.0), numpy.full(11, 0.3)
        many[places], wide[places] = mu, sigma
        got, want = stick_breaking.probs(many, wide, remainder), two_sticks(mu, sigma, numpy.ones(3), remainder)[0]
        assert numpy.max(abs(got[[*places, 11]] - want)) <= 1e-7


def test_what_a_table_misses():
    """sin(20 x): the cubic of a cell of length h misses h^4/384 of the fourth derivative in its middle."""
    n = 60
    x = _chebyshev.nodes(n)
    middles = (numpy.arange(_chebyshev.CELLS * n) + 0.5) * (2 / (_chebyshev.CELLS * n)) - 1
    want = (2 / (_chebyshev.CELLS * n)) ** 4 / 384 * 20**4 * numpy.sin(20 * middles)
    assert numpy.max(abs(numpy.sin(20 * x) @ _chebyshev.table_error(n) - want)) <= 2e-3 * numpy.max(want)
