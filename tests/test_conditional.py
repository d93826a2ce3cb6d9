"""Samples given their discrete value: values, derivatives in both directions, law, and h(y) = b without exception."""

from __future__ import annotations

import mpmath
import numpy
import pytest
import scipy.stats
from autograd import numpy as anp

from igr_ref.recovery import _drawn, _grid, _panels, _winner, conditional, conditional_gumbel, drawn, gaussian_argmax
from igr_ref.recovery._tails import below, log_ndtr_and_grad, ndtri_exp

from . import gradcheck, ledger
from . import oracles_conditional as oracle
from .strict_array import same_bits, strict

GUMBEL, GAUSSIAN = "zeta | b (appendix D)", "y | H = k (appendix D)"


def one_hot(k, n):
    return numpy.eye(n)[k]


def h(y):
    """eq. 20 as category numbers."""
    return numpy.where(y.max(axis=-1) > 0, y.argmax(axis=-1), y.shape[-1])


def uniforms(rng, shape):
    return numpy.maximum(rng.random(shape), 2.0**-54)


# ---- tails -------------------------------------------------------------------------------------------------------


def log_ndtr_exactly(a):
    a = mpmath.mpf(float(a))
    if a < 0:
        return mpmath.log(mpmath.erfc(-a / mpmath.sqrt(2)) / 2)
    return mpmath.log1p(-mpmath.erfc(a / mpmath.sqrt(2)) / 2)


def test_tails_against_mpmath():
    x = numpy.concatenate([-numpy.logspace(4, -8, 60), numpy.logspace(-8, numpy.log10(37), 40), [0.0]])
    value, grad = log_ndtr_and_grad(x)
    with mpmath.workdps(50):
        want = [log_ndtr_exactly(a) for a in x]
        ratio = [mpmath.npdf(mpmath.mpf(a)) / mpmath.exp(w) for a, w in zip(x, want, strict=True)]
        error = max(float(abs((g - w) / w)) for g, w in zip(value, want, strict=True))
        error_grad = max(float(abs((g - w) / w)) for g, w in zip(grad, ratio, strict=True))
    # phi(a) is e^{-a^2/2}: rounding a^2/2 = 684 costs up to 684 units
    ledger.record("log Phi", "recovery._tails.log_ndtr_and_grad", "mpmath, 50 digits", error, "relative", x.size)
    assert error < 2e-13 and error_grad < 2e-13


def test_inverse_of_log_ndtr_against_mpmath():
    x = numpy.concatenate([-numpy.logspace(4, -3, 60), numpy.logspace(-3, numpy.log10(8), 30)])
    with mpmath.workdps(50):
        log_p = numpy.array([float(log_ndtr_exactly(a)) for a in x])
        got = ndtri_exp(log_p)
        # back through Phi: what log Phi(got) misses, as an error of x
        worst = 0.0
        for g, w in zip(got, log_p, strict=True):
            g, w = mpmath.mpf(float(g)), mpmath.mpf(float(w))
            there = log_ndtr_exactly(g)
            slope = mpmath.npdf(g) / mpmath.exp(there)
            worst = max(worst, float(abs((there - w) / slope) / (abs(g) + 1)))
    ledger.record("Phi^-1(e^l)", "recovery._tails.ndtri_exp", "mpmath, 50 digits", worst, "of 1 + |x|", x.size)
    assert worst < 1e-15


@pytest.mark.parametrize("low", [-8.0, -30.0])  # the second in logarithms
def test_quantiles_below_a_maximum_against_mpmath(low):
    """q with Phi(q) = v Phi(u), as a residual in 60 digits, and r = v phi(u)/phi(q)."""
    rng = numpy.random.default_rng((35, int(-low)))
    u, v = (
        rng.uniform(low, 9, 300),
        numpy.concatenate([rng.random(200), 10.0 ** rng.uniform(-9, 0, 50), rng.random(50)]),
    )
    v[-50:] = 1 - 1e-9 * v[-50:]
    q, r = conditional._quantiles_below(u, v)
    worst, worst_r = 0.0, 0.0
    with mpmath.workdps(60):
        for at, share, got, slope in zip(u, v, q, r, strict=True):
            wanted = mpmath.mpf(float(share)) * mpmath.ncdf(mpmath.mpf(float(at)))
            got = mpmath.mpf(float(got))
            # the mass between got and the quantile, in units of what one rounding of q moves, and of 1 - v
            missed = abs(mpmath.ncdf(got) - wanted) / (mpmath.npdf(got) * max(1, abs(got)))
            worst = max(worst, float(missed))
            want = mpmath.mpf(float(share)) * mpmath.npdf(mpmath.mpf(float(at))) / mpmath.npdf(got)
            worst_r = max(worst_r, float(abs(slope / want - 1)))
    ledger.record(GAUSSIAN, "recovery.conditional._quantiles_below", "mpmath, 60 digits", worst, "relative", u.size)
    assert worst <= 1e-12 and worst_r <= 1e-11


@pytest.mark.parametrize("dtype, least", [(numpy.float64, -307), (numpy.float32, -37)])
def test_quantiles_below_a_maximum_where_v_Phi_underflows(dtype, least):
    rng = numpy.random.default_rng(36)
    u, v = rng.uniform(-8, 9, 40).astype(dtype), (10.0 ** rng.uniform(least, 0.6 * least, 40)).astype(dtype)
    u[0], v[0] = -8, 10.0**least
    q, r = conditional._quantiles_below(u, v)
    with mpmath.workdps(60):
        for at, share, got, slope in zip(u, v, q, r, strict=True):
            at, share, got = (mpmath.mpf(float(x)) for x in (at, share, got))
            missed = abs(mpmath.ncdf(got) - share * mpmath.ncdf(at)) / (mpmath.npdf(got) * abs(got))
            assert missed <= 4 * numpy.finfo(dtype).eps
            want = share * mpmath.npdf(at) / mpmath.npdf(got)
            assert abs(slope / want - 1) <= 2e3 * numpy.finfo(dtype).eps


# ---- Gumbel ------------------------------------------------------------------------------------------------------


def gumbel_case(rng, lead, k, spread=2.0):
    log_alpha = spread * rng.normal(size=(*lead, k))
    b = one_hot(rng.integers(k, size=lead), k)
    return log_alpha, b, uniforms(rng, (*lead, k))


def test_gumbel_given_b_against_textbook_and_autograd():
    for rng, lead, k, _ in gradcheck.configurations(1000, seed=1):
        log_alpha, b, v = gumbel_case(rng, lead, k)
        dot, zeta_bar = rng.normal(size=log_alpha.shape), rng.normal(size=log_alpha.shape)
        zeta, saved = conditional_gumbel.sample(log_alpha, b, v)
        zeta_dot = conditional_gumbel.pushforward(saved, dot)
        bar = conditional_gumbel.pullback(saved, zeta_bar)
        want, want_dot = numpy.empty_like(zeta), numpy.empty_like(zeta)
        for at in numpy.ndindex(*lead):
            z = oracle.gumbel_given(log_alpha[at] + 1e-200j * dot[at], int(b[at].argmax()), v[at])
            want[at], want_dot[at] = z.real, z.imag / 1e-200
        name = "recovery.conditional_gumbel."
        gradcheck.check(zeta, want, equation=GUMBEL, function=name + "sample", oracle="textbook")
        gradcheck.check(zeta_dot, want_dot, equation=GUMBEL, function=name + "pushforward", oracle="complex step")
        # the cancellation in log theta's derivative is an absolute rounding error of the size of zeta_bar
        scale = 1e-3 * numpy.linalg.norm(zeta_bar)

        def traced(a, b=b, v=v, zeta_bar=zeta_bar):
            return anp.sum(conditional_gumbel.sample(a, b, v)[0] * zeta_bar)

        (tape,) = gradcheck.autograd_vjp(traced, log_alpha)
        gradcheck.check(bar, tape, equation=GUMBEL, function=name + "pullback", oracle="autograd", scale=scale)
        gradcheck.check(
            numpy.sum(bar * dot),
            numpy.sum(zeta_bar * want_dot),
            equation=GUMBEL,
            function=name + "pullback",
            oracle="complex step",
            scale=numpy.linalg.norm(zeta_bar * want_dot),
        )


def test_gumbel_with_theta_down_to_1e_30_in_both_precisions():
    rng = numpy.random.default_rng(2)
    for dtype, tolerance in ((numpy.float64, 1e-12), (numpy.float32, 1e-5)):
        log_alpha = numpy.array([0.0, -69.0, -30.0, -5.0], dtype)
        for i in range(4):
            b, v = one_hot(i, 4).astype(dtype), rng.random((50, 4)).astype(dtype)
            zeta, saved = conditional_gumbel.sample(log_alpha, b, v)
            bar = conditional_gumbel.pullback(saved, numpy.ones_like(zeta))
            want = [oracle.gumbel_given(log_alpha.astype(float), i, row.astype(float)) for row in v]
            gradcheck.check(
                zeta,
                numpy.array(want),
                tolerance,
                equation=GUMBEL,
                function="recovery.conditional_gumbel.sample",
                oracle="theta = 1e-30",
                dtype=dtype,
            )
            assert bar.dtype == dtype and numpy.all(numpy.isfinite(bar))


def test_gumbel_coupled_is_the_sample_that_was_drawn():
    # with v_i = e^{-e^{-zeta_i}} and -log v_k = theta_k (e^{-zeta_k} - e^{-zeta_i}) the sampler returns zeta itself
    rng = numpy.random.default_rng(3)
    log_alpha = rng.normal(size=(500, 5))
    log_theta = log_alpha - numpy.log(numpy.exp(log_alpha).sum(-1, keepdims=True))
    zeta = log_theta + rng.gumbel(size=log_alpha.shape)
    b = one_hot(zeta.argmax(-1), 5)
    top = numpy.exp(-zeta.max(-1, keepdims=True))
    minus_log_v = numpy.where(b > 0, top, numpy.exp(log_theta) * (numpy.exp(-zeta) - top))
    again, saved = conditional_gumbel.sample(log_alpha, b, numpy.exp(-minus_log_v))
    coupled = conditional_gumbel.coupled(log_alpha, b, zeta)
    numpy.testing.assert_allclose(again, zeta, atol=1e-9)
    numpy.testing.assert_allclose(coupled[1], saved[1], atol=1e-9)
    zeta_bar, direction = rng.normal(size=zeta.shape), rng.normal(size=zeta.shape)
    zeta_dot, bar = conditional_gumbel.pushforward(coupled, direction), conditional_gumbel.pullback(coupled, zeta_bar)
    for row in range(50):  # the textbook sampler at that v, which stays fixed
        moved = log_alpha[row] + 1e-30j * direction[row]
        want = oracle.gumbel_given(moved, int(b[row].argmax()), numpy.exp(-minus_log_v[row])).imag / 1e-30
        numpy.testing.assert_allclose(zeta_dot[row], want, atol=1e-9)
        numpy.testing.assert_allclose(bar[row] @ direction[row], zeta_bar[row] @ want, atol=1e-8)


# ---- IGR: values and derivatives ---------------------------------------------------------------------------------


def log_w_exactly(mu, sigma, k, t):
    """log [phi_k(t) prod_{j!=k} Phi_j(t)]."""
    u = [(t - m) / s for m, s in zip(mu, sigma, strict=True)]
    out = -(u[k] ** 2) / 2 - mpmath.log(2 * mpmath.pi) / 2 - mpmath.log(sigma[k])
    return out + mpmath.fsum(mpmath.log(mpmath.erfc(-v / mpmath.sqrt(2)) / 2) for j, v in enumerate(u) if j != k)


def test_the_winner_s_density_its_scores_and_their_integrals():
    """`_panels` alone: quantiles divide by P_k and take a constant from S, so they cannot tell what log w lacks."""
    worst = numpy.zeros(4)
    with mpmath.workdps(30):
        for i in range(8):
            rng = numpy.random.default_rng((31, i))
            n = int(rng.integers(1, 4))
            k, mu, sigma = int(rng.integers(n)), rng.normal(size=n), numpy.exp(0.5 * rng.normal(size=n))
            low = float(max(0.0, mu[k])) + 0.3 * rng.random()
            high = low + 0.8 * float(sigma.min())
            exact = [[mpmath.mpf(float(v)) for v in a] for a in (mu, sigma)]

            def log_w(t, exact=exact, k=k):
                return log_w_exactly(*exact, k, t)

            def score(which, j, t, exact=exact, k=k):
                def moved(x):
                    arrays = [list(a) for a in exact]
                    arrays[which][j] = x
                    return log_w_exactly(*arrays, k, t)

                return mpmath.diff(moved, exact[which][j])

            top = mpmath.mpf(float(log_w(mpmath.mpf(low))))
            scores_top = rng.normal(size=2 * n)
            row, own = (mu[None], sigma[None]), (numpy.arange(n) == k)[None]
            value, scores = _panels.log_w(*row, own, numpy.array([[low, high]]), scores=True)
            mass, by = _panels.integrals(
                *row, own, numpy.array([[float(top)]]), scores_top[None], numpy.array([low]), numpy.array([high])
            )
            assert numpy.array_equal(value, _panels.log_w(*row, own, numpy.array([[low, high]])))
            ends, interval = (mpmath.mpf(low), mpmath.mpf(high)), [mpmath.mpf(low), mpmath.mpf(high)]
            scale = mpmath.quad(lambda t: mpmath.exp(log_w(t) - top), interval)  # noqa: B023
            worst[2] = max(worst[2], abs(float(mass[0] / scale - 1)))
            worst[0] = max(worst[0], *(abs(float(value[0, e] - log_w(t))) for e, t in enumerate(ends)))
            for c in range(2 * n):
                which, j = divmod(c, n)
                for e, t in enumerate(ends):
                    worst[1] = max(worst[1], abs(float(scores[0, c, e] - score(which, j, t))))
                want = mpmath.quad(
                    lambda t: (score(which, j, t) - scores_top[c]) * mpmath.exp(log_w(t) - top),  # noqa: B023
                    interval,
                    maxdegree=4,
                )
                worst[3] = max(worst[3], abs(float((by[0, c] - want) / scale)))
    for name, error in zip(("log_w", "log_w, scores", "integrals", "integrals, scores"), worst, strict=True):
        ledger.record(GAUSSIAN, f"recovery._panels.{name}", "mpmath, 30 digits", error, "absolute", 8)
    assert worst.max() <= 1e-12


def gaussian_case(rng, k, spread=0.7):
    """One law with a draw of any category: (mu, sigma, category, v)."""
    n = k - 1
    mu, sigma = 2 * rng.normal(size=n), numpy.exp(spread * rng.normal(size=n))
    category = int(rng.integers(k)) if rng.random() < 0.3 else int(h(mu + sigma * rng.normal(size=n)))
    return mu, sigma, category, uniforms(rng, n)


@pytest.mark.parametrize("n_laws, categories", [(1000, (2, 3, 5, 10)), (16, (100,)), (2, (1000,))])
def test_gaussian_given_h_against_complex_steps(n_laws, categories):
    name = "recovery.conditional."
    for i in range(n_laws):
        rng = numpy.random.default_rng((4, i))
        k = categories[i % len(categories)]
        mu, sigma, category, v = gaussian_case(rng, k, spread=0.7 if k <= 10 else 0.2)
        y, saved = conditional.sample(mu, sigma, one_hot(category, k), v)
        assert h(y) == category
        mu_dot, sigma_dot, y_bar = rng.normal(size=(3, k - 1))
        want = oracle.conditional_tangent(mu, sigma, category, v, y, mu_dot, sigma_dot)
        got = conditional.pushforward(saved, mu_dot, sigma_dot)
        kwargs = {"equation": GAUSSIAN, "oracle": "complex step"}
        gradcheck.check(got, want, function=name + "pushforward", **kwargs)
        mu_bar, sigma_bar = conditional.pullback(saved, y_bar)
        scale = numpy.linalg.norm(y_bar * want)
        both = numpy.sum(mu_bar * mu_dot + sigma_bar * sigma_dot)
        gradcheck.check(both, numpy.sum(y_bar * want), function=name + "pullback", scale=scale, **kwargs)
        if category < k - 1:
            m = float(y[category])
            error = oracle.quantile_excess(mu, sigma, category, m, v[category])
            gradcheck.check(
                numpy.float64(m),
                m - error,
                equation=GAUSSIAN,
                function=name + "sample",
                oracle="Gamma(m) = v P_k by composite quadrature",
            )


EXTREME = [
    ([-5.0, 4.0, 3.0], [0.5, 0.5, 0.7], 0, 0.3),  # a category of probability e^-45
    ([-5.0, 5.0, 5.0], [0.5, 0.5, 0.5], 0, 1 - 1e-12),
    ([1.0, -8.0, 3.0], [1e-3, 2.0, 1e-2], 1, 0.7),
    ([2.0, 2.0, 2.0], [1.0, 1e-4, 3.0], 0, 1e-10),  # Phi_1 is a step
    ([-20.0], [1.0], 0, 0.99),
    ([-20.0, 3.0], [1.0, 0.1], 0, 1e-15),
    ([30.0, 10.0], [1.0, 5.0], 1, 0.4),
    ([0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], 2, 1 - 2.0**-53),
    ([0.5, -0.5, 1.0], [0.8, 2.0, 1.2], 2, 0.6),
    # v that no generator draws: w(m) is e^-55 of its top and less
    ([30.0], [1.0], 0, 1e-30),
    ([30.0], [1.0], 0, 1e-100),
    ([25.0, 15.0], [1.0, 2.0], 0, 1e-60),
    ([20.0, 24.0, 21.0], [1.5, 0.7, 0.1], 1, 1e-24),
]


@pytest.mark.parametrize("mu, sigma, k, v", EXTREME)
def test_winner_against_the_formulas_by_parts_in_30_digits(mu, sigma, k, v):
    mu, sigma, n = numpy.array(mu), numpy.array(sigma), len(mu)
    uniform = numpy.full(n, 0.5)
    uniform[k] = v
    y, saved = conditional.sample(mu, sigma, one_hot(k, n + 1), uniform)
    m = y[k]
    points = (mu[:, None] + numpy.arange(-12, 12.1, 2) * sigma[:, None]).ravel()
    around = m * numpy.logspace(-2, 2, 7)
    edges = numpy.concatenate([[0.0, m], points[points > 0], around, numpy.linspace(0, m + 4 * sigma[k], 25)])
    error, by_mu, by_sigma = oracle.by_parts(mu, sigma, k, m, v, numpy.unique(edges))
    oracle_name = "mpmath, 30 digits: A_jk, A'_jk, B_k, d"
    assert abs(error) < 1e-12 * m
    ledger.record(GAUSSIAN, "recovery.conditional.sample", oracle_name, abs(error) / m, "relative")
    # a unit cotangent on the winner gives dm
    for each in (saved, conditional.coupled(mu, sigma, one_hot(k, n + 1), y)):
        bars = conditional.pullback(each, one_hot(k, n))
        for got, want in zip(bars, (by_mu, by_sigma), strict=True):
            gradcheck.check(got, want, equation=GAUSSIAN, function="recovery.conditional.pullback", oracle=oracle_name)


@pytest.mark.parametrize("mu, sigma", [(30.0, 1.0), (1.0, 1.0), (-3.0, 0.5)])
def test_one_coordinate_at_every_v_in_closed_form(mu, sigma):
    """K = 2: Phi(u) - Phi(u_0) = v Phi(-u_0), u_0 = -mu/sigma; dm = 1 - c, u - u_0 c, c = (1 - v) phi(u_0)/phi(u).

    As residuals in 700 digits; far out in both tails, and where 0 cuts the tail off and m is about v.
    """
    v = numpy.array([1e-300, 1e-100, 1e-30, 1e-24, 1e-18, 1e-9, 0.5, 1 - 2.0**-53])
    row = numpy.array([mu]), numpy.array([sigma]), numpy.array([1.0, 0.0])
    y, saved = conditional.sample(*row, v[:, None])
    bars = [conditional.pullback(each, numpy.ones(1)) for each in (saved, conditional.coupled(*row, y))]
    with mpmath.workdps(700):
        u_0, uniform = -mpmath.mpf(mu) / mpmath.mpf(sigma), [mpmath.mpf(float(x)) for x in v]
        for i, share in enumerate(uniform):
            m = mpmath.mpf(float(y[i, 0]))
            u = u_0 + m / mpmath.mpf(sigma)
            missed = mpmath.ncdf(u) - mpmath.ncdf(u_0) - share * mpmath.ncdf(-u_0)
            assert abs(missed) <= 1e-12 * m / sigma * mpmath.npdf(u)
            c = (1 - share) * mpmath.npdf(u_0) / mpmath.npdf(u)
            for by_mu, by_sigma in bars:
                assert abs(by_mu[i, 0] / (1 - c) - 1) <= 1e-9
                assert abs(by_sigma[i, 0] - (u - u_0 * c)) <= 1e-9 * abs(u - u_0 * c) + 1e-10 * (1 - c)


@pytest.mark.parametrize("other", [1.0, 1e-8])  # the second with scales far apart
def test_winners_given_far_out_in_both_tails(other):
    """Far above 0 and the other coordinate, m = mu + sigma q: dm = (1, q)."""
    mu, sigma, b = numpy.array([70.0, -30.0]), numpy.array([1.0, other]), numpy.array([1.0, 0.0, 0.0])
    q = numpy.array([-60.0, -37.0, -20.0, -12.0, -10.0, -9.0, -1.0, 1.0, 8.0, 9.0, 10.0, 12.0, 20.0, 50.0])
    y = numpy.stack([70 + q, numpy.full(q.shape, -30.0)], axis=-1)
    by_mu, by_sigma = conditional.pullback(conditional.coupled(mu, sigma, b, y), numpy.array([1.0, 0.0]))
    numpy.testing.assert_allclose(by_mu[:, 0], 1, rtol=1e-9)
    numpy.testing.assert_allclose(by_sigma[:, 0], q, rtol=1e-9)


def test_the_sample_itself_moves_as_its_derivative_says():
    # finite differences at fixed v, through every branch of the sampler, leads and shared laws included
    rng = numpy.random.default_rng(5)
    for n in (1, 3, 9):
        mu, sigma = rng.normal(size=(6, n)), numpy.exp(0.5 * rng.normal(size=(6, n)))
        b, v = one_hot(rng.integers(n + 1, size=(5, 6)), n + 1), uniforms(rng, (5, 6, n))
        mu_dot, sigma_dot = rng.normal(size=(2, 6, n))

        def at(step, mu=mu, sigma=sigma, b=b, v=v, mu_dot=mu_dot, sigma_dot=sigma_dot):
            return conditional.sample(mu + step * mu_dot, sigma + step * sigma_dot, b, v)[0]

        coarse, fine = ((at(s) - at(-s)) / (2 * s) for s in (2e-4, 1e-4))
        got = conditional.pushforward(conditional.sample(mu, sigma, b, v)[1], mu_dot, sigma_dot)
        gradcheck.check(
            got,
            (4 * fine - coarse) / 3,
            1e-9,  # the differences' own error
            equation=GAUSSIAN,
            function="recovery.conditional.pushforward",
            oracle="finite differences of the sample",
        )


def test_gaussian_coupled_is_the_sample_that_was_drawn():
    rng = numpy.random.default_rng(6)
    for n in (1, 2, 9):
        mu, sigma = 2 * rng.normal(size=(40, n)), numpy.exp(0.7 * rng.normal(size=(40, n)))
        b, v = one_hot(rng.integers(n + 1, size=40), n + 1), uniforms(rng, (40, n))
        y, saved = conditional.sample(mu, sigma, b, v)
        again = conditional.coupled(mu, sigma, b, y)
        for got, want in zip(again, saved, strict=True):
            gradcheck.check(
                got,
                want,
                1e-9,
                equation=GAUSSIAN,
                function="recovery.conditional.coupled",
                oracle="sample at the same v",
            )


def test_one_pass_over_the_panels_agrees_with_the_separate_ways():
    """`recovery.drawn` against the quantile's own panels (`_winner`), rows of the Jacobian, and `vjp`; K = 2..10."""
    worst = dict.fromkeys(("log_p", "bars", "score", "y", "saved", "saved, coupled"), 0.0)
    for i in range(40):
        rng = numpy.random.default_rng((32, i))
        n = int(rng.integers(1, 10))
        mu, sigma = rng.normal(size=(6, n)), numpy.exp(0.5 * rng.normal(size=(6, n)))
        k, v = h(mu + sigma * rng.normal(size=(6, n))), rng.uniform(1e-4, 1 - 1e-4, (6, n))
        b = one_hot(k, n + 1)

        def cotangent(log_p):  # laws come in any order: a function of the law alone
            return numpy.cos(30 * numpy.exp(log_p) + numpy.arange(log_p.shape[-1]))

        got = drawn.drawn(mu, sigma, b, v=v, cotangent=cotangent)
        y, saved = conditional.sample(mu, sigma, b, v)
        again = drawn.drawn(mu, sigma, b, y=y)
        p = gaussian_argmax.probs(mu, sigma)
        rows = [(b[:, None] @ J)[:, 0] / p[numpy.arange(6), k][:, None] for J in gaussian_argmax.jacobian(mu, sigma)]
        pairs = {
            "log_p": ([numpy.exp(got.log_p)], [p]),
            "bars": (got.bars, gaussian_argmax.vjp(mu, sigma, cotangent(numpy.log(p)))),
            "score": (got.score, rows),
            "y": ([got.y], [y]),
            "saved": (got.saved, saved),
            "saved, coupled": (again.saved, conditional.coupled(mu, sigma, b, y)),
        }
        assert again.y is y
        for name, (ours, separate) in pairs.items():
            for a, want in zip(ours, separate, strict=True):
                assert a.shape == want.shape
                worst[name] = max(worst[name], float(numpy.max(abs(a - want) / (1 + abs(want)))))
    for name, error in worst.items():
        ledger.record(GAUSSIAN, "recovery.drawn.drawn", f"the separate ways, {name}", error, "relative to 1 + size", 40)
    assert max(worst.values()) <= 1e-11, worst


def test_scores_of_a_category_on_panels_of_its_own():
    """`_winner.scores`: rows of the Jacobian where P_k is not small, and K = 2, where dlog P_1 is phi/Phi, far out."""
    worst = 0.0
    for i in range(20):
        rng = numpy.random.default_rng((34, i))
        n = int(rng.integers(1, 7))
        mu, sigma = rng.normal(size=(5, n)), numpy.exp(0.5 * rng.normal(size=(5, n)))
        p = gaussian_argmax.probs(mu, sigma)
        k = numpy.argmax(p[:, :-1], axis=-1)
        rows = [J[numpy.arange(5), k] / p[numpy.arange(5), k][:, None] for J in gaussian_argmax.jacobian(mu, sigma)]
        want = numpy.concatenate(rows, axis=-1)
        worst = max(worst, float(numpy.max(abs(_winner.scores(mu, sigma, k) - want) / (1 + abs(want)))))
        mu, sigma = rng.uniform(-60, 3, (5, 1)), rng.uniform(0.5, 2, (5, 1))
        ratio = log_ndtr_and_grad(mu / sigma)[1] / sigma
        want = numpy.concatenate([ratio, -mu / sigma * ratio], axis=-1)
        asked = drawn.drawn(mu, sigma, one_hot(numpy.zeros(5, dtype=int), 2)).score
        for got in (_winner.scores(mu, sigma, numpy.zeros(5, dtype=int)), numpy.concatenate(asked, axis=-1)):
            worst = max(worst, float(numpy.max(abs(got / want - 1))))
    ledger.record(GAUSSIAN, "recovery._winner.scores", "Jacobian; phi/Phi", worst, "relative", 20)
    assert worst <= 1e-9


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_newton_step_to_the_winner(n):
    """From 2e-6 of a panel beside m: the mass in between, the step back, and dm to second order in it."""
    rng = numpy.random.default_rng((33, n))
    mu, sigma = rng.normal(size=(40, n)), numpy.exp(0.5 * rng.normal(size=(40, n)))
    k, v = rng.integers(n, size=40), rng.uniform(0.01, 0.99, 40)

    def piece(factors, edges, k, v):
        return tuple(vars(_drawn.Winner(factors, k).locate(edges, v=v)).values())

    located = _drawn.Located(*_grid.over_laws(piece, mu, sigma, k, v, rule=_grid.FINE))
    m, dm, tail = _drawn.solve(mu, sigma, k, located, _grid.FINE, v=v)
    d = 2e-6 * rng.choice([-1, 1], 40)
    x = (m - located.edge) / located.span + d
    excess, step, near, same = _drawn._newton(mu, sigma, k, located, _grid.FINE, x, tail)
    w = numpy.exp(_panels.log_w(mu, sigma, k[:, None] == numpy.arange(n), m[:, None]))[:, 0]
    assert numpy.array_equal(same, numpy.where(located.span > 0, v, 1 - v))
    numpy.testing.assert_allclose(excess / (d * abs(located.span) * w), 1, atol=2e-4)
    numpy.testing.assert_allclose(step / -d, 1, atol=2e-4)
    numpy.testing.assert_allclose(near, dm, rtol=2e-9, atol=2e-9)


def test_float32_agrees_with_float64():
    rng = numpy.random.default_rng(7)
    mu, sigma = rng.normal(size=(200, 4)), numpy.exp(0.5 * rng.normal(size=(200, 4)))
    b, v, y_bar = one_hot(rng.integers(5, size=200), 5), uniforms(rng, (200, 4)), rng.normal(size=(200, 4))
    single = [x.astype(numpy.float32) for x in (mu, sigma, b, v, y_bar)]
    y, saved = conditional.sample(*single[:4])
    wide = [x.astype(float) for x in single]
    want, want_saved = conditional.sample(*wide[:4])
    kwargs = {"equation": GAUSSIAN, "oracle": "float64", "dtype": numpy.float32}
    gradcheck.check(y, want, function="recovery.conditional.sample", **kwargs)
    for got, expected in zip(
        conditional.pullback(saved, single[4]), conditional.pullback(want_saved, wide[4]), strict=True
    ):
        gradcheck.check(got, expected, function="recovery.conditional.pullback", **kwargs)


# ---- IGR and Gumbel: the law -------------------------------------------------------------------------------------

P_VALUE = 1e-6  # of each Kolmogorov-Smirnov test, of which there are fewer than 100: one false alarm in 1e4 seeds


def two_samples_agree(first, second):
    """Every coordinate, their largest, and their product: the joint law and not only its margins."""
    for a, b in zip(
        [*first.T, first.max(-1), first.prod(-1)], [*second.T, second.max(-1), second.prod(-1)], strict=True
    ):
        p = scipy.stats.ks_2samp(a, b).pvalue
        assert p > P_VALUE, f"two-sample test: p = {p:.1e}"


@pytest.mark.parametrize(
    "mu, sigma", [((0.5, -0.3, 0.8), (0.7, 1.5, 0.3)), ((-1.5,), (1.0,)), ((2.0, -1.0), (0.5, 3.0))]
)
def test_gaussian_law_against_rejection(mu, sigma):
    rng = numpy.random.default_rng(8)
    mu, sigma = numpy.array(mu), numpy.array(sigma)
    n, draws = mu.size, 60_000
    free = mu + sigma * rng.normal(size=(draws, n))
    category = h(free)
    given, _ = conditional.sample(mu, sigma, one_hot(category, n + 1), uniforms(rng, (draws, n)))
    for k in range(n + 1):
        two_samples_agree(free[category == k], given[category == k])


def test_gumbel_law_against_rejection():
    rng = numpy.random.default_rng(9)
    log_theta = numpy.log([0.5, 0.3, 0.15, 0.05])
    free = log_theta + rng.gumbel(size=(100_000, 4))
    category = free.argmax(-1)
    given, _ = conditional_gumbel.sample(log_theta + 1.7, one_hot(category, 4), uniforms(rng, (100_000, 4)))
    for k in range(4):
        two_samples_agree(free[category == k], given[category == k])


# ---- h(y) = b, argmax zeta = b -----------------------------------------------------------------------------------


def strict_gaussian(seed, draws, dtype):
    """Wild laws, categories that their laws would hardly ever draw, and uniforms at the very ends."""
    rng = numpy.random.default_rng((10, seed))
    n, laws = 2 + seed % 2, 40
    mu, sigma = 3 * rng.normal(size=(laws, n)), numpy.exp(1.5 * rng.normal(size=(laws, n)))
    v = uniforms(rng, (draws // laws, laws, n)).astype(dtype)
    step = float(numpy.finfo(dtype).eps) / 2
    ends = numpy.array([2.0**-54, step, 1 - step, 0.5], dtype)
    v = numpy.where(rng.random(v.shape) < 0.02, ends[rng.integers(4, size=v.shape)], v)
    v = numpy.clip(v, dtype(2.0**-54), dtype(1 - step))  # rounding to float32 may have given 1
    category = rng.integers(n + 1, size=v.shape[:-1])
    y, _ = conditional.sample(mu.astype(dtype), sigma.astype(dtype), one_hot(category, n + 1), v)
    assert y.dtype == dtype and numpy.all(numpy.isfinite(y))
    won = one_hot(category, n + 1)[..., :-1] > 0
    assert numpy.all(h(y) == category)
    # no ties either: the winner is positive and above all others; with H = K all are negative
    top = numpy.where(category < n, numpy.max(numpy.where(won, y, -numpy.inf), axis=-1), 0)
    assert numpy.all((top > 0) == (category < n))
    assert numpy.all(won | (y < top[..., None]))


def strict_gumbel(seed, draws, dtype):
    rng = numpy.random.default_rng((11, seed))
    laws, k = 50, 4
    log_alpha = (10 * rng.normal(size=(laws, k))).astype(dtype)
    step = float(numpy.finfo(dtype).eps) / 2
    v = numpy.clip(uniforms(rng, (draws // laws, laws, k)).astype(dtype), dtype(2.0**-54), dtype(1 - step))
    category = rng.integers(k, size=v.shape[:-1])
    b = one_hot(category, k)
    zeta, _ = conditional_gumbel.sample(log_alpha, b, v)
    top = numpy.max(numpy.where(b > 0, zeta, -numpy.inf), axis=-1, keepdims=True)
    assert zeta.dtype == dtype and numpy.all(numpy.isfinite(zeta)) and numpy.all((b > 0) | (zeta < top))


def test_discrete_value_is_b_in_a_million_draws():
    strict_gaussian(0, 500_000, numpy.float64)
    strict_gaussian(1, 500_000, numpy.float32)
    for seed in range(2):
        strict_gumbel(seed, 500_000, (numpy.float64, numpy.float32)[seed])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_discrete_value_is_b_in_ten_million_draws(seed):
    strict_gaussian(100 + seed, 1_000_000, (numpy.float64, numpy.float32)[seed // 2 % 2])
    strict_gumbel(100 + seed, 1_000_000, (numpy.float64, numpy.float32)[seed % 2])


def test_directed_rounding_moves_a_number_by_two_units_at_most():
    for dtype in (numpy.float32, numpy.float64):
        bound = numpy.array([1.0, 1.5, 1e-30, -2.0, 0.0, 1e30, numpy.finfo(dtype).tiny], dtype)
        moved = below(bound, bound)
        assert numpy.all(moved < bound)
        assert numpy.all(bound - moved <= 2 * numpy.spacing(numpy.abs(bound)) + 2 * numpy.finfo(dtype).tiny)
        assert numpy.array_equal(below(bound - numpy.abs(bound) - 1, bound), bound - numpy.abs(bound) - 1)


# ---- shapes and errors -------------------------------------------------------------------------------------------


def test_leading_axes_broadcast():
    rng = numpy.random.default_rng(12)
    mu, sigma = rng.normal(size=(3, 1, 2)), numpy.ones(2)
    b, v = one_hot(rng.integers(3, size=(5, 1, 4)), 3), uniforms(rng, (3, 4, 2))
    y, saved = conditional.sample(mu, sigma, b, v)
    assert y.shape == (5, 3, 4, 2)
    one, _ = conditional.sample(mu[1, 0], sigma, b[2, 0, 3], v[1, 3])
    numpy.testing.assert_allclose(y[2, 1, 3], one, rtol=1e-13)
    assert conditional.pullback(saved, y)[0].shape == y.shape


def test_runs_on_arrays_that_never_become_numpys():
    rng = numpy.random.default_rng(13)
    mu, sigma = rng.normal(size=(30, 3)), numpy.exp(rng.normal(size=(30, 3)))
    b, v = one_hot(rng.integers(4, size=(2, 30)), 4), uniforms(rng, (2, 30, 3))
    y, saved = conditional.sample(mu, sigma, b, v)
    got, got_saved = conditional.sample(*strict((mu, sigma, b, v)))
    same_bits((got, got_saved), (y, saved))
    same_bits(conditional.coupled(*strict((mu, sigma, b, y))), conditional.coupled(mu, sigma, b, y))
    same_bits(conditional.pullback(got_saved, got), conditional.pullback(saved, y))
    same_bits(conditional.pushforward(got_saved, got, got), conditional.pushforward(saved, y, y))
    log_alpha, v = rng.normal(size=(30, 4)), uniforms(rng, (2, 30, 4))
    zeta, saved = conditional_gumbel.sample(log_alpha, b, v)
    got, got_saved = conditional_gumbel.sample(*strict((log_alpha, b, v)))
    same_bits((got, got_saved), (zeta, saved))
    same_bits(conditional_gumbel.pullback(got_saved, got), conditional_gumbel.pullback(saved, zeta))
    same_bits(ndtri_exp(strict(-numpy.logspace(-10, 5, 50))), ndtri_exp(-numpy.logspace(-10, 5, 50)))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"sigma": numpy.array([1.0, 0.0])}, "sigma must be finite and greater than 0"),
        ({"mu": numpy.array([numpy.nan, 0.0])}, "mu must be finite"),
        ({"v": numpy.array([0.5, 1.0])}, "v must lie strictly between"),
        ({"b": numpy.array([1.0, 1.0, 0.0])}, "b must be one-hot"),
        ({"b": numpy.array([1.0, 0.0])}, "one category more"),
        ({"v": numpy.array([0.5, 0.5, 0.5])}, "v must have the 2 coordinates"),
    ],
)
def test_bad_input(change, message):
    good = {"mu": numpy.zeros(2), "sigma": numpy.ones(2), "b": numpy.array([0.0, 1.0, 0.0]), "v": numpy.full(2, 0.5)}
    with pytest.raises(ValueError, match=message):
        conditional.sample(**{**good, **change})


def test_bad_input_gumbel():
    with pytest.raises(ValueError, match="v must lie strictly between"):
        conditional_gumbel.sample(numpy.zeros(2), numpy.array([0.0, 1.0]), numpy.array([0.0, 0.5]))
    with pytest.raises(ValueError, match="one-hot"):
        conditional_gumbel.sample(numpy.zeros(2), numpy.array([0.5, 0.5]), numpy.array([0.1, 0.5]))
    with pytest.raises(ValueError, match="h\\(y\\) = b"):
        conditional.coupled(numpy.zeros(2), numpy.ones(2), numpy.array([1.0, 0.0, 0.0]), numpy.array([1.0, 2.0]))
