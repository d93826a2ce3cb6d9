"""The exact law of IGR-SB and its gradient against nested quadrature, the recursion in rho, identities and draws."""

from __future__ import annotations

import numpy
import pytest
from scipy import special

from igr_ref.recovery import _chebyshev, _stick_levels, stick_breaking
from igr_ref.recovery._stick_intervals import TOP

from . import gradcheck, ledger
from . import oracles_recovery as oracle

EQUATION = "eq. 16, law of the argmax"
GRADIENT = "eq. 16, law of the argmax, gradient"
MODULE = "recovery.stick_breaking"
BOTH = pytest.mark.parametrize("remainder", [False, True])


def wild(rng, shape):
    """mu uniform on [-6, 6], sigma log-uniform on [0.05, 5]."""
    return rng.uniform(-6, 6, shape), numpy.exp(rng.uniform(numpy.log(0.05), numpy.log(5), shape))


def typical(rng, shape):
    """As an encoder gives them, around the prior's mu = -2."""
    return rng.standard_normal(shape) - 1, numpy.exp(0.4 * rng.standard_normal(shape))


# ---- probabilities -------------------------------------------------------------------------------------------------


@BOTH
def test_two_sticks_against_quadpack(remainder):
    """K = 3: one stick in closed form, the other by QUADPACK; every scale."""
    rng = numpy.random.default_rng((1, remainder))
    mu, sigma = wild(rng, (500, 2))
    got = stick_breaking.probs(mu, sigma, remainder)
    want = numpy.array([oracle.two_sticks(m, s, remainder) for m, s in zip(mu, sigma, strict=True)])
    error = numpy.max(numpy.abs(got - want))
    ledger.record(EQUATION, f"{MODULE}.probs", "QUADPACK, K = 3", error, "absolute", len(mu))
    assert error <= 1e-7


def test_three_sticks_against_nested_quadpack():
    rng = numpy.random.default_rng(2)
    mu, sigma = rng.uniform(-4, 3, (8, 3)), numpy.exp(rng.uniform(numpy.log(0.1), numpy.log(3), (8, 3)))
    got = stick_breaking.probs(mu, sigma)[:, 0]
    want = [oracle.three_sticks_first(m, s) for m, s in zip(mu, sigma, strict=True)]
    error = numpy.max(numpy.abs(got - want))
    ledger.record(EQUATION, f"{MODULE}.probs", "nested QUADPACK, K = 4", error, "absolute", len(mu))
    assert error <= 1e-7


@BOTH
def test_one_stick_in_closed_form(remainder):
    """K = 2: stick 1 has no rival; with the remainder it wins iff u_1 > 1/2, that is y_1 > 0."""
    mu, sigma = wild(numpy.random.default_rng(3), (1000, 1))
    got = stick_breaking.probs(mu, sigma, remainder)
    first = special.ndtr(mu / sigma) if remainder else numpy.ones_like(mu)
    assert numpy.max(numpy.abs(got - numpy.concatenate([first, 1 - first], axis=-1))) <= 1e-13


@pytest.mark.slow
@BOTH
def test_the_recursion_in_rho(remainder):
    """The recursion in rho, by linear interpolation: its error falls from 7e-3 (80 nodes, 1,500 cells) to 2e-5 here."""
    rng = numpy.random.default_rng((4, remainder))
    for k in (4, 10):
        mu, sigma = typical(rng, k - 1)
        got = stick_breaking.probs(mu, sigma, remainder)
        want = oracle.sticks_law_by_rho(mu, sigma, remainder, cells=3000, nodes=800)
        error = numpy.max(numpy.abs(got - want))
        ledger.record(EQUATION, f"{MODULE}.probs", "recursion in rho, 3,000 cells", error, "absolute")
        assert error <= 5e-5


@BOTH
def test_a_stick_that_takes_nothing_changes_nothing(remainder):
    """Sticks with mu = -60 among those of a K = 3 law, whose probabilities QUADPACK gives: recursions of 11 sticks."""
    rng = numpy.random.default_rng((5, remainder))
    worst = 0.0
    for _ in range(12):
        mu, sigma = wild(rng, 2)
        places = numpy.sort(rng.choice(11, 2, replace=False))
        many, wide = numpy.full(11, -60.0), numpy.full(11, 0.3)
        many[places], wide[places] = mu, sigma
        got, want = stick_breaking.probs(many, wide, remainder), oracle.two_sticks(mu, sigma, remainder)
        worst = max(worst, numpy.max(numpy.abs(got[[*places, 11]] - want)), got.sum() - got[[*places, 11]].sum())
    ledger.record(EQUATION, f"{MODULE}.probs", "QUADPACK, K = 3 inside K = 12", worst, "absolute", 12)
    assert worst <= 1e-7


def test_the_remainder_is_a_stick_that_takes_everything():
    """A last stick with u = 1 has w equal to the remainder: two ways through the code that must agree, K = 10."""
    mu, sigma = typical(numpy.random.default_rng(6), (40, 9))
    with_remainder = stick_breaking.probs(mu, sigma, remainder=True)
    everything = numpy.full((40, 1), 40.0)
    as_stick = stick_breaking.probs(
        numpy.concatenate([mu, everything], axis=-1), numpy.concatenate([sigma, 0 * everything + 0.1], axis=-1)
    )
    error = numpy.max(numpy.abs(as_stick[:, :-1] - with_remainder))
    ledger.record(EQUATION, f"{MODULE}.probs", "remainder as a last stick", error, "absolute", 40)
    assert error <= 1e-7


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("k", [3, 6, 12])
def test_finer_levels_agree(remainder, k, monkeypatch):
    """Every mixture of scales at the default tolerance, against the next finer levels alone."""
    rng = numpy.random.default_rng((7, remainder, k))
    mu, sigma = (
        numpy.concatenate(pair) for pair in zip(wild(rng, (10, k - 1)), typical(rng, (10, k - 1)), strict=True)
    )
    got, coarse = (stick_breaking.probs(mu, sigma, remainder, tolerance) for tolerance in (1e-7, 1e-4))
    monkeypatch.setattr(_stick_levels, "LEVELS", ((1, 1), (230, 160), (330, 230)))
    want = stick_breaking.probs(mu, sigma, remainder, 2e-8)
    error = numpy.max(numpy.abs(got - want))
    ledger.record(EQUATION, f"{MODULE}.probs", "230 points and more", error, "absolute", len(mu))
    assert error <= 1e-7
    assert numpy.max(numpy.abs(coarse - want)) <= 1e-4
    assert numpy.max(numpy.abs(got.sum(axis=-1) - 1)) <= 1e-7


@BOTH
def test_monte_carlo(remainder):
    """3e5 draws of eq. 16, 5 sigma for each of 4 x 10 frequencies: a false alarm once in 4e4 runs."""
    _monte_carlo(remainder, 300_000, 4)


@pytest.mark.slow
@BOTH
def test_monte_carlo_of_three_million_draws(remainder):
    _monte_carlo(remainder, 3_000_000, 6)


def _monte_carlo(remainder, m, n_laws):
    rng = numpy.random.default_rng((8, remainder))
    eps = rng.standard_normal((m, 9))
    for i in range(n_laws):
        mu, sigma = (wild if i % 2 else typical)(rng, 9)
        p = stick_breaking.probs(mu, sigma, remainder)
        frequency = oracle.sticks_frequencies(mu, sigma, eps, remainder)
        in_sigmas = numpy.max(numpy.abs(frequency - p) / (numpy.sqrt(p * (1 - p) / m) + 1 / m))
        ledger.record(EQUATION, f"{MODULE}.probs", f"{m:.0e} draws", in_sigmas, "standard errors")
        assert in_sigmas <= 5


# ---- traps ---------------------------------------------------------------------------------------------------------


def test_the_last_category_is_unreachable_without_the_remainder():
    """audit last-category: w_k > 0 for every k < K, so the argmax of eq. 18 is never K, exactly."""
    mu, sigma = wild(numpy.random.default_rng(9), (20, 5))
    assert numpy.all(stick_breaking.probs(mu, sigma)[:, -1] == 0)
    assert numpy.all(stick_breaking.log_probs(mu, sigma)[:, -1] == -numpy.inf)
    assert stick_breaking.probs(numpy.full(5, -3.0), numpy.ones(5), remainder=True)[-1] > 0.9


def test_nothing_is_renormalised():
    """The sum is 1 by the structure of the recursions, which a wrong transpose would break."""
    mu, sigma = typical(numpy.random.default_rng(10), (5, 9))
    for remainder in (False, True):
        P, unresolved = stick_breaking._law(mu, sigma, numpy.full((len(mu), 1), TOP), remainder, (24, 16))
        assert numpy.max(numpy.abs(P.sum(axis=-1) - 1)) <= 1e-13
        assert numpy.all(unresolved > 1e-6)  # far too few points, and known to be


def test_a_law_that_is_not_resolved_is_an_error(monkeypatch):
    monkeypatch.setattr(_stick_levels, "LEVELS", ((8, 8), (8, 8), (12, 8)))
    with pytest.raises(ArithmeticError, match="resolved to"):
        stick_breaking.probs(*typical(numpy.random.default_rng(11), 9))


def test_no_nan_at_the_ends():
    """Sticks that take everything, nothing, or are all but certain, and a K of 50."""
    cases = (
        ([30.0, -30.0, 30.0], [1.0, 1.0, 1.0]),
        ([0.0, 0.0, 0.0], [1e-3, 1e-3, 5.0]),
        ([-40.0, -41.0, -40.0], [1.0, 2.0, 3.0]),
        ([-3.0, -3.0, -3.0], [1e-4, 1e-4, 1e-4]),
        ([500.0, 0.0, -500.0], [1.0, 1.0, 1.0]),
        ([-3.0] * 49, [1.0] * 49),
    )
    for mu, sigma in cases:
        mu, sigma = numpy.array(mu), numpy.array(sigma)
        for remainder in (False, True):
            p = stick_breaking.probs(mu, sigma, remainder)
            bars = stick_breaking.vjp(mu, sigma, numpy.arange(len(mu) + 1.0), remainder)
            assert numpy.all(p >= 0) and abs(p.sum() - 1) <= 1e-7
            assert all(numpy.all(numpy.isfinite(bar)) for bar in bars)


def test_a_remainder_and_a_first_stick_that_share_all_with_a_small_sigma():
    """w_1 = u, the remainder 1 - u, y_1 ~ N(0, sigma^2): P = 1/2, 0, 1/2. Beyond the largest v once lay 8e-10/sigma."""
    for sigma in (1e-8, 1e-4, 1e-3, 1e-2):
        p = stick_breaking.probs(numpy.array([0.0, -60.0]), numpy.array([sigma, 1.0]), remainder=True)
        assert numpy.max(numpy.abs(p - [0.5, 0, 0.5])) <= 1e-7


def test_laws_that_doubles_cannot_integrate():
    """Decided where one category surely wins, whatever the scales; an error, and no wrong number, where none does."""
    one = numpy.ones(2)
    for mu, sigma, remainder, want in (
        ([1e30, 1e30], one, False, [1, 0, 0]),
        ([1.0, 2.0], 1e-30 * one, True, [1, 0, 0]),
        ([-1.0, -0.5], 1e-17 * one, False, [0, 1, 0]),
        ([-1e30, -1e29], one, True, [0, 0, 1]),
        ([-1e12, -2e12], 1e-6 * one, False, [1, 0, 0]),
    ):
        mu, sigma = numpy.array(mu), numpy.asarray(sigma)
        assert numpy.array_equal(stick_breaking.probs(mu, sigma, remainder), want)
        both = numpy.array([mu, [0.1, 0.2]]), numpy.array([sigma, one])
        together = stick_breaking.probs(*both, remainder)
        assert numpy.array_equal(together[0], want)
        alone = stick_breaking.probs(both[0][1], both[1][1], remainder)
        assert numpy.allclose(together[1], alone, rtol=0, atol=1e-12)
        for bar in stick_breaking.vjp(*both, numpy.arange(3.0), remainder):
            assert numpy.all(bar[0] == 0) and numpy.all(bar[1] != 0)
    with pytest.raises(ArithmeticError, match="only where one category surely wins"):
        stick_breaking.probs(numpy.full(2, -1e30), one)
    # a stick that takes all the rest decides nothing about those before it: as with mu = 100
    got, want = (stick_breaking.probs(numpy.array([0.3, mu]), one) for mu in (1e30, 100.0))
    assert numpy.array_equal(got, want) and abs(got[0] - special.ndtr(0.3)) <= 1e-7


def test_bad_input():
    good = numpy.ones(3)
    for mu, sigma, message in (
        (numpy.array([1.0, numpy.nan, 0.0]), good, "mu must be finite"),
        (good, numpy.array([1.0, 0.0, 1.0]), "sigma must be finite and greater than 0"),
        (good, numpy.ones(2), "do not broadcast together"),
        (numpy.ones(3, int), good, "mu must be a floating-point array, got int64"),
        ([1.0, 2.0, 3.0], good, "mu must be a floating-point array, got list"),
    ):
        with pytest.raises(ValueError, match=message):
            stick_breaking.probs(mu, sigma)
    with pytest.raises(ValueError, match="p_bar must be"):
        stick_breaking.vjp(good, good, numpy.ones(3))
    with pytest.raises(ValueError, match="tolerance must be"):
        stick_breaking.probs(good, good, tolerance=0.0)


# ---- shapes and dtypes ----------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("lead", [(), (7,), (2, 3), (0,)])
def test_leading_axes_and_chunks(lead, remainder, monkeypatch):
    rng = numpy.random.default_rng(12)
    mu, sigma = wild(rng, (*lead, 4))
    p_bar = rng.standard_normal((*lead, 5))

    def all_three():
        return [
            stick_breaking.probs(mu, sigma, remainder, 1e-6),
            *stick_breaking.vjp(mu, sigma, p_bar, remainder, 1e-6),
        ]

    whole = all_three()
    assert [a.shape for a in whole] == [(*lead, 5), (*lead, 4), (*lead, 4)]
    monkeypatch.setattr(_stick_levels, "CHUNK", 1)
    for a, b in zip(whole, all_three(), strict=True):
        numpy.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_float32():
    rng = numpy.random.default_rng(13)
    mu, sigma = (a.astype(numpy.float32) for a in typical(rng, (20, 5)))
    p_bar = rng.standard_normal((20, 6)).astype(numpy.float32)
    got = [stick_breaking.probs(mu, sigma), *stick_breaking.vjp(mu, sigma, p_bar)]
    double = [a.astype(numpy.float64) for a in (mu, sigma, p_bar)]
    want = [stick_breaking.probs(*double[:2]), *stick_breaking.vjp(*double)]
    for name, a, b in zip(("probs", "vjp", "vjp"), got, want, strict=True):
        gradcheck.check(a, b, equation=EQUATION, function=f"{MODULE}.{name}", oracle="float64", dtype=numpy.float32)


# ---- the gradient ---------------------------------------------------------------------------------------------------


@BOTH
def test_vjp_against_differences_of_quadpack(remainder):
    """K = 3, five-point differences of the nested quadrature: error about 1e-9 from its rounding and h^4."""
    rng = numpy.random.default_rng((14, remainder))
    mu, sigma = rng.uniform(-3, 3, (60, 2)), numpy.exp(rng.uniform(numpy.log(0.2), numpy.log(5), (60, 2)))
    p_bar = rng.standard_normal((60, 3))
    got = numpy.concatenate(stick_breaking.vjp(mu, sigma, p_bar, remainder), axis=-1)
    want = numpy.empty_like(got)
    for i in range(len(mu)):
        point = numpy.concatenate([mu[i], sigma[i]])

        def value(x, i=i):
            return p_bar[i] @ oracle.two_sticks(x[:2], x[2:], remainder)

        for j in range(4):
            e = 2e-3 * sigma[i][j % 2] * numpy.eye(4)[j]
            near, far = value(point + e) - value(point - e), value(point + 2 * e) - value(point - 2 * e)
            want[i, j] = (8 * near - far) / (12 * e[j])
    error = numpy.max(numpy.abs(got - want))
    ledger.record(GRADIENT, f"{MODULE}.vjp", "differences of QUADPACK, K = 3", error, "absolute", got.size)
    assert error <= 1e-6


@BOTH
def test_vjp_of_sticks_that_often_take_nothing(remainder):
    """y below -22 with a probability of some 10 %: there the stick is one point of weight Phi, not an integral."""
    rng = numpy.random.default_rng((16, remainder))
    mu, sigma = rng.uniform(-16, 0, (6, 3)), rng.uniform(5, 10, (6, 3))
    p_bar = rng.standard_normal((6, 4))
    got = numpy.stack(stick_breaking.vjp(mu, sigma, p_bar, remainder, tolerance=1e-8))
    want = numpy.empty_like(got)
    for which, j in numpy.ndindex(2, 3):
        e = numpy.zeros((2, 1, 3))
        e[which, 0, j] = 0.1

        def value(step, e=e):
            return numpy.sum(p_bar * stick_breaking.probs(mu + step * e[0], sigma + step * e[1], remainder, 1e-9), -1)

        want[which, :, j] = (8 * (value(1) - value(-1)) - (value(2) - value(-2))) / 1.2
    error = numpy.max(numpy.abs(got - want))
    ledger.record(GRADIENT, f"{MODULE}.vjp", "differences of the law, wide sticks", error, "absolute", got.size)
    assert error <= 1e-7


@BOTH
def test_vjp_against_differences_of_the_law(remainder, monkeypatch):
    """K = 10 and 12, every mu and sigma: central differences of P at a level of its own."""
    rng = numpy.random.default_rng((15, remainder))
    for k, make in ((10, typical), (12, wild)):
        mu, sigma = make(rng, (3, k - 1))
        p_bar = rng.standard_normal((3, k))
        got = numpy.concatenate(stick_breaking.vjp(mu, sigma, p_bar, remainder), axis=-1)
        step = 1e-4 * numpy.concatenate([sigma, sigma], axis=-1)
        both = numpy.concatenate([mu, sigma], axis=-1)
        moves = numpy.eye(2 * k - 2)[:, None, :] * step
        points = numpy.stack([both + moves, both - moves])
        values = numpy.empty((2, 2 * k - 2, 3))
        for law in range(3):
            at = points[:, :, law].reshape(-1, 2 * k - 2)
            top = numpy.full((len(at), 1), TOP)
            P, _ = stick_breaking._law(at[:, : k - 1], at[:, k - 1 :], top, remainder, (160, 110))
            values[:, :, law] = (P @ p_bar[law]).reshape(2, -1)
        want = ((values[0] - values[1]) / 2).T / step
        error = numpy.max(numpy.abs(got - want))
        ledger.record(GRADIENT, f"{MODULE}.vjp", "central differences of P, 160 points", error, "absolute", got.size)
        assert error <= 1e-6


@BOTH
def test_vjp_against_the_score(remainder):
    """E[p_bar(winner) dlog N/dmu] over 4e5 draws: 5 standard errors for each of 18 entries."""
    rng = numpy.random.default_rng((16, remainder))
    mu, sigma = typical(rng, 9)
    p_bar = rng.standard_normal(10)
    eps = rng.standard_normal((400_000, 9))
    y = mu + sigma * eps
    log_rest = numpy.cumsum(-numpy.logaddexp(0, y), axis=-1)
    log_w = numpy.concatenate([y + log_rest, log_rest[:, -1:]], axis=-1)
    pay = p_bar[numpy.argmax(log_w if remainder else log_w[:, :-1], axis=-1)]
    pay = (pay - pay.mean())[:, None]
    for got, score in zip(
        stick_breaking.vjp(mu, sigma, p_bar, remainder), (eps / sigma, (eps * eps - 1) / sigma), strict=True
    ):
        terms = pay * score
        in_sigmas = numpy.max(numpy.abs(terms.mean(0) - got) / (terms.std(0) / numpy.sqrt(len(eps))))
        ledger.record(GRADIENT, f"{MODULE}.vjp", "score function, 4e5 draws", in_sigmas, "standard errors", 9)
        assert in_sigmas <= 5


def test_a_constant_cotangent_has_no_gradient():
    mu, sigma = typical(numpy.random.default_rng(17), (10, 9))
    for remainder in (False, True):
        for bar in stick_breaking.vjp(mu, sigma, numpy.ones(10), remainder):
            assert numpy.max(numpy.abs(bar)) <= 1e-6


def test_scatter_is_the_transpose_of_gather():
    rng = numpy.random.default_rng(18)
    low, high = rng.uniform(-3, -1, (4, 1)), rng.uniform(1, 3, (4, 1))
    stencil = _chebyshev.Stencil(low, high, 12, rng.uniform(-4, 4, (4, 50)))
    values, bars = rng.standard_normal((4, 12)), rng.standard_normal((4, 50))
    left, right = numpy.sum(stencil.gather(values) * bars), numpy.sum(values * stencil.scatter(bars))
    assert abs(left - right) <= 1e-12 * abs(left)


def test_gather_interpolates():
    """A smooth function at 40 points: its table is right to 1e-8 inside, and constant outside."""
    low, high = numpy.array([[-2.0]]), numpy.array([[3.0]])
    v = low + (high - low) * 0.5 * (_chebyshev.nodes(40) + 1)
    x = numpy.linspace(-3, 4, 701)[None]
    got = _chebyshev.Stencil(low, high, 40, x).gather(special.ndtr(2 * v))
    assert numpy.max(numpy.abs(got - special.ndtr(2 * numpy.clip(x, -2, 3)))) <= 1e-8
