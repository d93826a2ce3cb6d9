"""Prop. 2 (eq. 21) and its gradient against quadrature that shares no code with ours, closed cases and identities."""

from __future__ import annotations

import functools

import mpmath
import numpy
import pytest
from autograd import numpy as anp
from scipy import special

from igr_ref.numerics import log_ndtr
from igr_ref.recovery import _grid, _normal, _rare, gaussian_argmax

from . import gradcheck, ledger
from . import oracles_recovery as oracle
from .strict_array import same_bits, strict

EQUATION = "eq. 21"
GRADIENT = "eq. 21, gradient"
MODULE = "recovery.gaussian_argmax"


def wild(rng, shape, span=10.0):
    """mu uniform on [-span, span], sigma log-uniform on [0.05, 20]: every mixture of scales."""
    sigma = numpy.exp(rng.uniform(numpy.log(0.05), numpy.log(20), shape))
    return rng.uniform(-span, span, shape), sigma


def laws(n, seed, categories=(2, 3, 5, 10, 20, 50)):
    """Half wild, half as an encoder gives them."""
    for i in range(n):
        rng = numpy.random.default_rng((seed, i))
        k = categories[i % len(categories)]
        if rng.random() < 0.5:
            yield rng, *wild(rng, k - 1)
        else:
            yield rng, 2 * rng.standard_normal(k - 1), numpy.exp(0.5 * rng.standard_normal(k - 1))


# ---- probabilities -------------------------------------------------------------------------------------------------


def test_probabilities_against_quadpack():
    """Absolute error, one category of each of 600 laws, K = 2..50."""
    worst, n = 0.0, 0
    for rng, mu, sigma in laws(600, seed=1):
        p = gaussian_argmax.probs(mu, sigma)
        k = int(rng.choice(len(mu) + 1, p=0.5 / len(p) + 0.5 * p / p.sum()))
        worst, n = max(worst, abs(p[k] - numpy.exp(oracle.prop2_log_prob(mu, sigma, k)))), n + 1
    ledger.record(EQUATION, f"{MODULE}.probs", "QUADPACK, K = 2..50, sigma = 0.05..20", worst, "absolute", n)
    assert worst <= 1e-12


def test_all_probabilities_of_many_scales_against_a_dense_rule():
    worst = 0.0
    for _, mu, sigma in laws(60, seed=2, categories=(3, 10, 30)):
        p = gaussian_argmax.probs(mu, sigma)
        worst = max(worst, numpy.max(numpy.abs(p - oracle.dense_prop2(mu, sigma))))
    ledger.record(EQUATION, f"{MODULE}.probs", "dense Gauss-Legendre rule, all K", worst, "absolute", 60)
    assert worst <= 1e-12


def test_small_probabilities_have_relative_accuracy():
    """QUADPACK, scaled by the integrand's top: probabilities from 1e-6 down to far below 1e-308."""
    worst, least, n = 0.0, 0.0, 0
    for _, mu, sigma in laws(240, seed=3):
        log_p = gaussian_argmax.log_probs(mu, sigma)
        k = int(numpy.argmin(log_p[:-1]))
        assert numpy.all(numpy.isfinite(log_p))
        worst = max(worst, abs(numpy.expm1(log_p[k] - oracle.prop2_log_prob(mu, sigma, k))))
        least, n = min(least, log_p[k]), n + 1
    assert least < -7000  # 1e-3000
    ledger.record(EQUATION, f"{MODULE}.log_probs", "QUADPACK, the least probability of each law", worst, "relative", n)
    assert worst <= 1e-8


def test_log_probs_against_mpmath():
    """30 digits, the least and a random probability of hard laws."""
    worst = 0.0
    for rng, mu, sigma in laws(30, seed=4, categories=(2, 3, 6)):
        log_p = gaussian_argmax.log_probs(mu, sigma)
        for k in {int(numpy.argmin(log_p[:-1])), int(rng.integers(len(mu)))}:
            exact = oracle.prop2_log_prob_mpmath(mu, sigma, k)
            worst = max(worst, abs(float(mpmath.expm1(mpmath.mpf(float(log_p[k])) - exact))))
    ledger.record(EQUATION, f"{MODULE}.log_probs", "mpmath, 30 digits", worst, "relative", 30)
    assert worst <= 1e-8


def test_slopes_of_a_small_integral_s_logarithm():
    """f, f' and -f'' of `_rare` at 40 digits, from mu_j - 30 sigma_j, where Phi_j is tiny, to mu_j + 8 sigma_j."""
    worst = numpy.zeros(3)
    with mpmath.workdps(40):
        for rng, mu, sigma in laws(40, seed=12, categories=(2, 3, 6)):
            k = int(rng.integers(len(mu)))
            own, j = numpy.arange(len(mu)) == k, int(rng.integers(len(mu)))
            t = float(mu[j] + sigma[j] * rng.uniform(-30, 8))

            def f(x, mu=mu, sigma=sigma, k=k):
                a = [(x - mpmath.mpf(float(m))) / mpmath.mpf(float(s)) for m, s in zip(mu, sigma, strict=True)]
                log_Phi = [mpmath.log(mpmath.erfc(-v / mpmath.sqrt(2)) / 2) for i, v in enumerate(a) if i != k]
                return -(a[k] ** 2) / 2 - mpmath.log(2 * mpmath.pi) / 2 + mpmath.fsum(log_Phi)

            got = _rare._f(mu[None], sigma[None], own[None], numpy.array([[t]]))
            want = f(mpmath.mpf(t)), mpmath.diff(f, t), -mpmath.diff(f, t, 2)
            # r = e^{log phi - log Phi} carries a^2 roundings, and r (r + a) loses as many again: in Newton steps only
            a = numpy.where(own, 0, (t - mu) / sigma)
            sizes = abs(want[0]), numpy.sum((1 + abs(a) ** 3) / sigma), numpy.sum((1 + a**4) / sigma**2)
            errors = [abs(float(g[0, 0] - w)) / float(size) for g, w, size in zip(got, want, sizes, strict=True)]
            worst = numpy.maximum(worst, errors)
    ledger.record(EQUATION, "recovery._rare._f", "mpmath, 40 digits", max(worst), "relative to the largest term", 40)
    assert max(worst) <= 1e-13


def test_the_right_end_of_a_small_integral_lies_right_of_its_top():
    """A law whose search for the right end once leapt over the top, which halved P = 1e-308."""
    mu = numpy.array([8.43236037724758, -3.26882075308919, 5.2863954263532005, 5.274509166354688, 1.0255796154255492])
    mu = numpy.append(mu, [-6.52422562545018, -2.275914086794499, -4.182997635215466, 9.33757238530169])
    sigma = numpy.array([2.3785720952347664, 11.596875372472953, 0.29484617081550174, 0.6532776035826319])
    sigma = numpy.append(sigma, [1.4972931344724254, 0.41878779679593, 0.770565250651252, 1.8130213585811168])
    sigma = numpy.append(sigma, 0.05923410167980021)
    assert abs(gaussian_argmax.log_probs(mu, sigma)[5] - -708.4186445807042) <= 1e-8  # mpmath


def test_every_probability_above_the_threshold_is_relatively_accurate_too():
    """Just above SMALL the shared grid is used: 1e-13 absolute is 1e-7 relative."""
    worst, found = 0.0, 0
    for _, mu, sigma in laws(300, seed=5, categories=(5, 10)):
        log_p = gaussian_argmax.log_probs(mu, sigma)
        (near,) = numpy.nonzero((log_p[:-1] > -13.8) & (log_p[:-1] < -6))
        for k in near[:1]:
            worst = max(worst, abs(numpy.expm1(log_p[k] - oracle.prop2_log_prob(mu, sigma, k))))
            found += 1
    assert found > 100
    ledger.record(EQUATION, f"{MODULE}.log_probs", "QUADPACK, P in [1e-6, 2e-3]", worst, "relative", found)
    assert worst <= 1e-6


def test_two_categories_in_closed_form():
    """K = 2: P_1 = Phi(mu/sigma)."""
    rng = numpy.random.default_rng(6)
    mu, sigma = wild(rng, (1000, 1))
    log_p = gaussian_argmax.log_probs(mu, sigma)
    want = special.log_ndtr(numpy.concatenate([mu / sigma, -mu / sigma], axis=-1))
    error = numpy.max(numpy.abs(numpy.expm1(log_p - want)))
    ledger.record(EQUATION, f"{MODULE}.log_probs", "Phi(mu/sigma), K = 2", error, "relative", 1000)
    assert error <= 1e-7
    far = gaussian_argmax.log_probs(numpy.array([-1e4]), numpy.array([1.0]))  # log P = -5e7
    assert abs(far[0] / special.log_ndtr(-1e4) - 1) <= 1e-9


@pytest.mark.parametrize("k", [2, 3, 10, 50, 200])
def test_equal_parameters_give_equal_probabilities(k):
    """All mu, sigma the same: P_k = (1 - P_K)/(K-1), and P_K = Phi(-mu/sigma)^(K-1)."""
    worst = 0.0
    for mu, sigma in ((0.0, 1.0), (-3.0, 0.5), (4.0, 20.0), (7.0, 0.05), (-30.0, 5.0)):
        log_p = gaussian_argmax.log_probs(numpy.full(k - 1, mu), numpy.full(k - 1, sigma))
        last = (k - 1) * special.log_ndtr(-mu / sigma)
        want = numpy.log(-numpy.expm1(last)) - numpy.log(k - 1)
        worst = max(worst, numpy.max(numpy.abs(numpy.expm1(log_p[:-1] - want))))
    ledger.record(EQUATION, f"{MODULE}.log_probs", "equal mu and sigma", worst, "relative", 5)
    assert worst <= 1e-8


def test_identities():
    """Permuting the categories permutes P; scaling mu and sigma together changes nothing; the sum is 1."""
    worst = 0.0
    for rng, mu, sigma in laws(200, seed=7):
        p = gaussian_argmax.probs(mu, sigma)
        order = rng.permutation(len(mu))
        permuted = gaussian_argmax.probs(mu[order], sigma[order])
        scaled = gaussian_argmax.probs(1e3 * mu, 1e3 * sigma)
        worst = max(worst, numpy.max(numpy.abs(permuted[:-1] - p[order])), numpy.max(numpy.abs(scaled - p)))
        worst = max(worst, abs(p.sum() - 1))
    ledger.record(EQUATION, f"{MODULE}.probs", "permutation, scaling, sum", worst, "absolute", 200)
    assert worst <= 1e-12


def test_monte_carlo():
    """The law of h(y) itself, 2e5 draws, 5 sigma for each of 6 x 10 frequencies: a false alarm once in 3e4 runs."""
    rng = numpy.random.default_rng(8)
    eps = rng.standard_normal((200_000, 9))
    for i in range(6):
        mu, sigma = wild(rng, 9, span=3.0) if i % 2 else (rng.standard_normal(9), numpy.full(9, 1.0))
        y = mu + sigma * eps
        category = numpy.where(y.max(-1) > 0, y.argmax(-1), 9)
        frequency = numpy.bincount(category, minlength=10) / len(eps)
        p = gaussian_argmax.probs(mu, sigma)
        error = numpy.sqrt(p * (1 - p) / len(eps)) + 1 / len(eps)
        assert numpy.all(numpy.abs(frequency - p) <= 5 * error)


# ---- traps ---------------------------------------------------------------------------------------------------------


def test_half_range_gauss_hermite_fails_and_ours_does_not():
    """audit quadrature: the published 15-node rule over eq. 37's range |mu| <= 5, 0.5 <= sigma <= 2.5."""
    mu, sigma = numpy.full(9, -5.0), numpy.full(9, 0.5)
    mu[0] = 5.0
    assert abs(oracle.hermite_prop2(mu, sigma)[0] - 0.037) < 0.001
    assert abs(gaussian_argmax.probs(mu, sigma)[0] - 1) < 1e-13
    worst_published = worst = 0.0
    for i in range(100):
        rng = numpy.random.default_rng((9, i))
        mu, sigma = -5 * numpy.tanh(2 * rng.standard_normal(9)), 0.5 + 2 * special.expit(2 * rng.standard_normal(9))
        exact, p = oracle.dense_prop2(mu, sigma), gaussian_argmax.probs(mu, sigma)
        worst_published = max(worst_published, numpy.max(numpy.abs(oracle.hermite_prop2(mu, sigma) - exact)))
        worst = max(worst, numpy.max(numpy.abs(p - exact)))
    assert worst_published > 0.3
    assert worst <= 1e-12


def test_eq_29_without_one_over_sigma_does_not_sum_to_one():
    """audit eq-29: eq. 29 as printed has phi((t-mu_k)/sigma_k) where eq. 21 has it divided by sigma_k."""
    sigma = numpy.array([0.5, 2.0, 1.3])
    for mu in (numpy.zeros(3), numpy.array([0.3, -0.4, 0.8])):
        t, weight, _ = gaussian_argmax.grid(mu, sigma)
        head = oracle.prop2_at_points(mu, sigma, t, weight)
        last = numpy.prod(special.ndtr(-mu / sigma))
        assert abs(head.sum() + last - 1) < 1e-12
        assert (sigma * head).sum() + last > 1.19  # eq. 29 as printed


def test_nothing_is_renormalised():
    """With too few nodes the sum is off, which is an error and not corrected."""
    mu, sigma = numpy.array([0.3, -0.4, 0.8]), numpy.array([0.5, 2.0, 1.3])
    with pytest.raises(ArithmeticError, match="sum to 1 only within"):
        gaussian_argmax.log_probs(mu, sigma, rule=_grid.Rule(nodes=4))


def test_no_nan_at_the_ends():
    """Laws far outside the target range: -inf is not needed, NaN never."""
    mu = numpy.array([[-1e5, 3.0, 1e-9], [40.0, -40.0, 0.0], [-8e3, -9e3, -7e3], [50.0, 50.0, 50.0]])
    sigma = numpy.array([[1e-2, 1.0, 1e3], [1e-1, 1.0, 1e2], [1.0, 2.0, 3.0], [0.1, 0.1, 0.1]])
    log_p = gaussian_argmax.log_probs(mu, sigma)
    assert numpy.all(numpy.isfinite(log_p)) and numpy.all(log_p <= 1e-12)
    absolute = gaussian_argmax.log_probs(mu, sigma, accuracy="absolute")
    assert not numpy.any(numpy.isnan(absolute))
    for part in (*gaussian_argmax.jacobian(mu, sigma), *gaussian_argmax.vjp(mu, sigma, numpy.ones((4, 4)))):
        assert numpy.all(numpy.isfinite(part))


def test_bad_input():
    good = numpy.ones(3)
    for mu, sigma, message in (
        (numpy.array([1.0, numpy.nan, 0.0]), good, "mu must be finite"),
        (good, numpy.array([1.0, 0.0, 1.0]), "sigma must be finite and greater than 0"),
        (good, -good, "sigma must be finite and greater than 0"),
        (good, numpy.ones(2), "do not broadcast together"),
        (numpy.ones((2, 0)), numpy.ones((2, 0)), "category axis"),
    ):
        with pytest.raises(ValueError, match=message):
            gaussian_argmax.log_probs(mu, sigma)
    with pytest.raises(ValueError, match="accuracy must be"):
        gaussian_argmax.log_probs(good, good, accuracy="high")
    with pytest.raises(ValueError, match="p_bar must be"):
        gaussian_argmax.vjp(good, good, numpy.ones(3))


# ---- shapes, dtypes, the grid ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("lead", [(), (7,), (2, 3), (0,)])
def test_leading_axes_and_chunks(lead, monkeypatch):
    rng = numpy.random.default_rng(10)
    mu, sigma = wild(rng, (*lead, 4))
    p_bar = rng.standard_normal((*lead, 5))
    whole = [gaussian_argmax.log_probs(mu, sigma), *gaussian_argmax.vjp(mu, sigma, p_bar)]
    whole += gaussian_argmax.jacobian(mu, sigma)
    assert [a.shape for a in whole] == [(*lead, 5), (*lead, 4), (*lead, 4), (*lead, 5, 4), (*lead, 5, 4)]
    monkeypatch.setattr(_grid, "CHUNK", 1)  # one law at a time, each on a grid of its own length
    single = [gaussian_argmax.log_probs(mu, sigma), *gaussian_argmax.vjp(mu, sigma, p_bar)]
    single += gaussian_argmax.jacobian(mu, sigma)
    for a, b in zip(whole, single, strict=True):
        numpy.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_mu_sigma_and_the_cotangent_broadcast():
    rng = numpy.random.default_rng(11)
    mu, sigma, p_bar = rng.standard_normal((3, 1, 4)), numpy.array([0.5, 1.0, 2.0, 4.0]), rng.standard_normal((2, 5))
    mu_bar, _ = gaussian_argmax.vjp(mu, sigma, p_bar)
    assert mu_bar.shape == (3, 2, 4)
    want = gaussian_argmax.vjp(mu[1, 0], sigma, p_bar[1])[0]
    numpy.testing.assert_allclose(mu_bar[1, 1], want, rtol=1e-12)


def test_float32():
    """float32 in, float32 out, and the law of the rounded parameters to float32 accuracy."""
    rng = numpy.random.default_rng(12)
    mu, sigma = (a.astype(numpy.float32) for a in wild(rng, (50, 9)))
    p_bar = rng.standard_normal((50, 10)).astype(numpy.float32)
    got = [gaussian_argmax.probs(mu, sigma), *gaussian_argmax.vjp(mu, sigma, p_bar)]
    double = [a.astype(numpy.float64) for a in (mu, sigma, p_bar)]
    want = [gaussian_argmax.probs(*double[:2]), *gaussian_argmax.vjp(*double)]
    for name, a, b in zip(("probs", "vjp", "vjp"), got, want, strict=True):
        gradcheck.check(a, b, equation=EQUATION, function=f"{MODULE}.{name}", oracle="float64", dtype=numpy.float32)


def test_grid():
    """Points lie in their panels; weights and edges are as documented; monomials times a factor are integrated."""
    rng = numpy.random.default_rng(13)
    mu, sigma = wild(rng, (5, 3, 6))
    t, weight, edges = gaussian_argmax.grid(mu, sigma, rule=_grid.Rule(nodes=10))
    panels = edges.shape[-1] - 1
    assert t.shape == weight.shape == (5, 3, 10 * panels) and edges.shape == (5, 3, panels + 1)
    assert numpy.all(numpy.diff(edges) >= 0) and numpy.all(edges[..., 0] >= 0) and numpy.all(weight >= 0)
    inside = t.reshape(5, 3, panels, 10)
    assert numpy.all(inside >= edges[..., :-1, None]) and numpy.all(inside <= edges[..., 1:, None])
    numpy.testing.assert_allclose(
        weight.reshape(5, 3, panels, 10).sum(-1), numpy.diff(edges), rtol=1e-12, atol=1e-12 * edges.max()
    )
    one_by_one = gaussian_argmax.grid(mu[1, 2], sigma[1, 2], rule=_grid.Rule(nodes=10))[2]
    numpy.testing.assert_allclose(edges[1, 2, : len(one_by_one)], one_by_one, rtol=1e-13)
    assert numpy.all(edges[1, 2, len(one_by_one) :] == edges[1, 2, -1])


# ---- the gradient ---------------------------------------------------------------------------------------------------


def test_jacobian_against_the_complex_step():
    worst, n = 0.0, 0
    for _, mu, sigma in laws(90, seed=14, categories=(2, 4, 9)):
        got = gaussian_argmax.jacobian(mu, sigma)
        want = oracle.complex_step_jacobian(functools.partial(oracle.dense_prop2, points=24), mu, sigma)
        worst = max(worst, *(numpy.max(numpy.abs(a - b)) for a, b in zip(got, want, strict=True)))
        n += got[0].size * 2
    ledger.record(GRADIENT, f"{MODULE}.jacobian", "complex step through a dense rule", worst, "absolute", n)
    assert worst <= 1e-9


def test_jacobian_against_quadpack():
    """Differentiated under the integral sign, where no boundary term arises: one entry for each of 500 laws."""
    worst = 0.0
    for rng, mu, sigma in laws(500, seed=15, categories=(2, 3, 10)):
        k, j = (int(i) for i in rng.integers(len(mu), size=2))
        for by, matrix in zip(("mu", "sigma"), gaussian_argmax.jacobian(mu, sigma), strict=True):
            worst = max(worst, abs(matrix[k, j] - oracle.prop2_derivative(mu, sigma, k, j, by)))
    ledger.record(GRADIENT, f"{MODULE}.jacobian", "QUADPACK under the integral sign", worst, "absolute", 1000)
    assert worst <= 1e-9


def test_vjp_against_autograd():
    """autograd through our integral on the grid held fixed, plus the closed P_K."""
    for i, (rng, mu, sigma) in enumerate(laws(500, seed=16, categories=(2, 3, 6, 10))):
        lead = [(), (2,)][i % 2]
        mu, sigma = mu + 0.1 * rng.standard_normal((*lead, len(mu))), numpy.broadcast_to(sigma, (*lead, len(sigma)))
        p_bar = rng.standard_normal((*lead, mu.shape[-1] + 1))
        t, weight, _ = gaussian_argmax.grid(
            mu, sigma, rule=_grid.Rule(nodes=24)
        )  # finer than ours: differentiating costs it digits

        def value(m, s, p_bar=p_bar, t=t, weight=weight):
            head = oracle.prop2_at_points(m, s, t, weight)
            last = anp.exp(anp.sum(log_ndtr(-m / s), axis=-1))
            return anp.sum(p_bar[..., :-1] * head) + anp.sum(p_bar[..., -1] * last)

        want = gradcheck.autograd_vjp(value, mu, sigma)
        got = gaussian_argmax.vjp(mu, sigma, p_bar)
        for a, b in zip(got, want, strict=True):
            # scale: autograd keeps the rule's own error, however small the gradient is
            gradcheck.check(a, b, equation=GRADIENT, function=f"{MODULE}.vjp", oracle="autograd", scale=0.1)


def test_vjp_against_the_complex_step():
    """One direction in mu and sigma for each of 1,000 laws."""
    for rng, mu, sigma in laws(1000, seed=19, categories=(2, 4, 9)):
        p_bar, d_mu, d_sigma = rng.standard_normal(len(mu) + 1), *rng.standard_normal((2, len(mu)))
        mu_bar, sigma_bar = gaussian_argmax.vjp(mu, sigma, p_bar)
        moved = oracle.dense_prop2(mu + 1e-100j * d_mu, sigma + 1e-100j * d_sigma, points=24)
        gradcheck.check(
            numpy.sum(mu_bar * d_mu) + numpy.sum(sigma_bar * d_sigma), numpy.sum(p_bar * moved.imag) / 1e-100, 1e-9,
            equation=GRADIENT, function=f"{MODULE}.vjp", oracle="complex step through a dense rule", scale=1.0,
        )  # fmt: skip


def test_vjp_is_the_jacobian_transposed_and_columns_sum_to_zero():
    worst_sum = 0.0
    for rng, mu, sigma in laws(200, seed=17):
        by_mu, by_sigma = gaussian_argmax.jacobian(mu, sigma)
        p_bar = rng.standard_normal(len(mu) + 1)
        for got, matrix in zip(gaussian_argmax.vjp(mu, sigma, p_bar), (by_mu, by_sigma), strict=True):
            numpy.testing.assert_allclose(got, p_bar @ matrix, rtol=1e-10, atol=1e-13 / sigma.min())
            worst_sum = max(worst_sum, numpy.max(numpy.abs(matrix.sum(axis=0))) * sigma.min())
        # a constant cotangent has no gradient at all: only differences enter
        assert all(numpy.all(bar == 0) for bar in gaussian_argmax.vjp(mu, sigma, numpy.full(len(mu) + 1, 3.7)))
    ledger.record(GRADIENT, f"{MODULE}.jacobian", "column sums are 0", worst_sum, "absolute", 200)
    assert worst_sum <= 1e-14


def test_jacobian_knows_that_scaling_changes_nothing():
    """P(c mu, c sigma) = P(mu, sigma): sum_j mu_j dP/dmu_j + sigma_j dP/dsigma_j = 0, at all sizes of K."""
    worst = 0.0
    for _, mu, sigma in laws(200, seed=18):
        by_mu, by_sigma = gaussian_argmax.jacobian(mu, sigma)
        worst = max(worst, numpy.max(numpy.abs(by_mu @ mu + by_sigma @ sigma)))
    ledger.record(GRADIENT, f"{MODULE}.jacobian", "invariance under scaling", worst, "absolute", 200)
    assert worst <= 1e-10


# ---- phi and Phi ----------------------------------------------------------------------------------------------------


def test_fast_Phi_against_mpmath_and_scipy():
    """-8.5 to far beyond the end of the polynomial's range, both zeros included."""
    a = numpy.concatenate([numpy.linspace(-_normal.END, 12, 400), [0.0, -0.0, 40.0, 1e3, 1e100]])
    phi, Phi = _normal.phi_and_Phi(a)
    with mpmath.workdps(40):
        error = max(float(abs(mpmath.mpf(float(p)) / mpmath.ncdf(x) - 1)) for p, x in zip(Phi, a, strict=True))
    ledger.record("Phi", "recovery._normal.phi_and_Phi", "mpmath, 40 digits", error, "relative", a.size)
    assert error < 1e-14
    numpy.testing.assert_allclose(phi, numpy.exp(-0.5 * a**2) / numpy.sqrt(2 * numpy.pi), rtol=1e-15)
    dense = numpy.linspace(-_normal.END, 9, 200_001)
    assert numpy.max(numpy.abs(_normal.phi_and_Phi(dense)[1] / special.ndtr(dense) - 1)) < 3e-14  # scipy's rounding
    same_bits(_normal.phi_and_Phi(strict(a[:-1])), _normal.phi_and_Phi(a[:-1]))
