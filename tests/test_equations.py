"""The paper's statements that no single function owns: objectives, limits, and the steps of the two proofs."""

from __future__ import annotations

import math

import mpmath
import numpy
import pytest
import scipy.integrate
from scipy.stats import norm

from igr_ref import IGR, Categorical, GumbelSoftmax, SoftmaxPlusPlus, h, igr_i, reparameterization
from igr_ref.distributions import gaussian
from igr_ref.estimators.score_function import score_function
from igr_ref.recovery import gaussian_argmax

from . import equations, ledger, oracles
from .gradcheck import check, norm_relative

NODES, WEIGHTS = numpy.polynomial.hermite_e.hermegauss(180)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def smooth(z):
    """A test function of the simplex, f = sum_k a_k z_k^2 + b z_1 z_2, and its gradient; z (..., 1, K)."""
    a = numpy.arange(1.0, z.shape[-1] + 1)
    value = numpy.sum(a * z * z, axis=-1) + 0.7 * z[..., 0] * z[..., 1]
    z_bar = 2 * a * z
    cross = numpy.zeros_like(z)
    cross[..., 0], cross[..., 1] = 0.7 * z[..., 1], 0.7 * z[..., 0]
    return value[..., 0], z_bar + cross


def test_eq_1_gradient_of_the_discrete_objective():
    """E over all codes of the score-function estimate, against the derivative of sum_b P(b) f(b)."""
    for i in range(20):
        rng = numpy.random.default_rng((1, i))
        k = int(rng.integers(2, 6))
        log_alpha = rng.standard_normal((1, k))
        f = rng.standard_normal(k)

        def objective(a, f=f):
            p = numpy.exp(a - numpy.log(numpy.exp(a).sum()))
            return (p * f).sum()

        # noise whose argmax is each code in turn
        big = 1e3 * numpy.eye(k)[:, None, :]
        q = GumbelSoftmax(log_alpha, 1.0)
        estimate = score_function(q, big, lambda b, f=f: ((b[..., 0, :] * f).sum(-1), None), baseline="none")
        p = numpy.exp(q.log_probs())[0]
        got = (p[:, None, None] * estimate.grads["log_alpha"]).sum(axis=0)[0]
        step = 1e-30
        want = numpy.array([objective(log_alpha[0] + 1j * step * e).imag / step for e in numpy.eye(k)])
        check(got, want, equation="eq. 1", function="estimators.score_function", oracle="enumeration, complex step")


def test_eqs_2_3_4_the_trick_by_quadrature():
    """K = 2: E[f(g(eps, phi))] by nodes in eps equals the integral of f q~ over z; its gradient is eq. 3's mean."""
    for i in range(20):
        rng = numpy.random.default_rng((2, i))
        mu, log_sigma, tau = rng.standard_normal((1, 1)), 0.4 * rng.standard_normal((1, 1)), rng.uniform(0.7, 2.0)
        q = igr_i(mu, log_sigma, tau)
        estimate = reparameterization(q, NODES[:, None, None], smooth)
        by_noise = (WEIGHTS * estimate.value).sum()

        def integrand(z, q=q):
            y = q.transform.inverse(numpy.array([[z, 1 - z]]))
            return math.exp(q.log_prob(y)[0]) * smooth(numpy.array([[z, 1 - z]]))[0]

        by_density = scipy.integrate.quad(integrand, 0, 1, limit=400, epsabs=1e-12)[0]
        error = abs(by_noise - by_density) / abs(by_density)
        assert error < 1e-8
        ledger.record("eq. 2", "distributions.IGR.run", "quadrature over z with eq. 12", error, "relative")

        def mean(m, s, tau=tau):
            return (WEIGHTS * smooth(igr_i(m, s, tau).sample(NODES[:, None, None]))[0]).sum()

        for name, got in estimate.grads.items():
            point = {"m": mu, "s": log_sigma}
            key = "m" if name == "mu" else "s"
            sides = [mean(**{**point, key: point[key] + sign * 1e-5}) for sign in (1, -1)]
            want = (sides[0] - sides[1]) / 2e-5
            got = (WEIGHTS[:, None, None] * got).sum()
            error = abs(got - want) / max(abs(want), 1e-2)
            assert error < 1e-7
            ledger.record("eq. 3", "estimators.reparameterization", "differences of the quadrature", error, "relative")
            ledger.record("eq. 4", "estimators.reparameterization", "differences of the quadrature", error, "relative")


def test_eqs_7_and_8_discrete_kl():
    mpmath.mp.dps = 40
    for i in range(40):
        rng = numpy.random.default_rng((3, i))
        k = int(rng.integers(2, 12))
        log_alpha = rng.standard_normal(k) * 10.0 ** rng.integers(-1, 2)
        got = Categorical(GumbelSoftmax(log_alpha, 1.0).log_probs()).kl_uniform()
        alpha = [mpmath.exp(mpmath.mpf(float(a))) for a in log_alpha]
        bar = [a / sum(alpha) for a in alpha]
        want = float(sum(a * mpmath.log(a * k) for a in bar))
        for equation in ("eq. 7", "eq. 8"):
            check(
                numpy.float64(got), numpy.float64(want), 1e-13, equation=equation, oracle="50-digit sum",
                function="distributions.Categorical.kl_uniform", scale=1e-2,
            )  # fmt: skip


def test_eq_9_relaxed_kl_by_quadrature():
    """K = 2: the mean over noise of the KL term equals the integral of q~ log(q~/p~) over z."""
    softmax_pp = SoftmaxPlusPlus(0.8)
    q = IGR(numpy.array([[0.4]]), numpy.array([[-0.3]]), softmax_pp)
    p = IGR(numpy.array([[-0.2]]), numpy.array([[0.2]]), softmax_pp)

    def over_z(log_q, log_p):
        def integrand(z):
            return math.exp(log_q(z)) * (log_q(z) - log_p(z))

        return sum(scipy.integrate.quad(integrand, *ends, limit=400, epsabs=1e-13)[0] for ends in ((0, 0.5), (0.5, 1)))

    def igr_log(d):
        return lambda z: d.log_prob(softmax_pp.inverse(numpy.array([[z, 1 - z]])))[0]

    kl = reparameterization(q, NODES[:, None, None], smooth, p).kl
    errors = {"IGR": abs(numpy.mean(kl) - over_z(igr_log(q), igr_log(p)))}
    gs, gs_0 = GumbelSoftmax(numpy.array([[0.5, -0.4]]), 0.9), GumbelSoftmax(numpy.zeros((1, 2)), 0.6)

    def gs_log(d):
        return lambda z: d.log_prob_z(numpy.array([[z, 1 - z]]))[0]

    # only the difference of the two Gumbels matters: a logistic, by its inverse cdf on Gauss-Legendre nodes
    t, w = numpy.polynomial.legendre.leggauss(400)
    s = 30 * t  # the logistic on [-30, 30]
    density = numpy.exp(-s - 2 * numpy.log1p(numpy.exp(-s))) * 30 * w
    noise = numpy.stack([s, numpy.zeros_like(s)], axis=-1)[:, None, :]
    values = reparameterization(gs, noise, smooth, gs_0).kl
    errors["GS"] = abs((density * values).sum() - over_z(gs_log(gs), gs_log(gs_0)))
    for name, error in errors.items():
        assert error < 1e-8
        ledger.record("eq. 9", "estimators.reparameterization", f"quadrature over z ({name})", error, "absolute")


def test_eqs_10_and_11_sample():
    for i in range(100):
        rng = numpy.random.default_rng((4, i))
        mu, log_sigma, eps = rng.standard_normal((3, 5)), rng.standard_normal((3, 5)), rng.standard_normal((3, 5))
        tau = float(numpy.exp(rng.uniform(-3, 3)))
        y = oracles.LONG(mu) + numpy.exp(oracles.LONG(log_sigma)) * oracles.LONG(eps)
        options = {"oracle": "longdouble"}
        got = gaussian.sample(mu, log_sigma, eps)
        check(got, y, 1e-15, equation="eq. 10", function="distributions.gaussian.sample", **options)
        z = igr_i(mu, log_sigma, tau).sample(eps)
        want = oracles.softmax_pp(y, tau)
        check(z, want, 1e-12, equation="eq. 11", function="distributions.IGR.run", **options)


@pytest.mark.parametrize("delta", [1.0, 0.1, 30.0])
def test_eqs_20_27_28_limit_and_shift(delta):
    """Prop. 1: softmax++(y/tau) -> h(y) for any delta; eq. 28 is softmax++ with y* taken out, as the proof uses it."""
    for i in range(100):
        rng = numpy.random.default_rng((5, i))
        y = rng.standard_normal((4, int(rng.integers(1, 9)))) - rng.integers(0, 2)
        limit = oracles.softmax_pp(y, 1e-7 * min(1, numpy.abs(y).min()), delta)
        error = norm_relative(h(y), limit)
        assert error == 0 or error < 1e-12
        for equation in ("eq. 20", "eq. 27"):
            ledger.record(equation, "transforms.h", "softmax++ in longdouble at tau = 1e-7", error)
        tau = float(numpy.exp(rng.uniform(-2, 2)))
        top = oracles.LONG(y).max(axis=-1, keepdims=True)
        e = numpy.exp((y - top) / tau)
        want = e / (e.sum(axis=-1, keepdims=True) + delta * numpy.exp(-top / tau))
        got = SoftmaxPlusPlus(tau, delta).forward(y)[..., :-1]
        check(got, want, 1e-13, equation="eq. 28", function="transforms.SoftmaxPlusPlus.run", oracle="longdouble")


def test_eq_29_as_printed_does_not_sum_to_one():
    """audit eq-29: without 1/sigma_k the probabilities of sigma = (.5, 2, 1.3) sum to 1.196."""
    sigma = numpy.array([0.5, 2.0, 1.3])
    mu = numpy.zeros(3)

    def printed(k):
        others = [j for j in range(3) if j != k]
        return scipy.integrate.quad(
            lambda t: norm.pdf((t - mu[k]) / sigma[k]) * norm.cdf((t - mu[others]) / sigma[others]).prod(), 0, 40
        )[0]

    last = norm.cdf(-mu / sigma).prod()
    ours = gaussian_argmax.probs(mu, sigma)
    without = sum(printed(k) for k in range(3)) + last
    assert abs(ours.sum() - 1) < 1e-9
    assert abs(without - 1) > 0.1
    per_k = numpy.array([printed(k) / sigma[k] for k in range(3)])
    check(
        ours[:3],
        per_k,
        1e-8,
        equation="eq. 29 (with 1/sigma_k)",
        function="recovery.gaussian_argmax.probs",
        oracle="quad",
    )


def test_eqs_30_to_36_steps_of_the_proof():
    """K = 3: the law of H as integrals over regions of the plane, inner integrals by quad or by Phi."""
    for i in range(4):
        rng = numpy.random.default_rng((6, i))
        mu, sigma = rng.standard_normal(2), numpy.exp(0.5 * rng.standard_normal(2))
        p = gaussian_argmax.probs(mu, sigma)

        def density(y, k, mu=mu, sigma=sigma):
            return norm.pdf(y, mu[k], sigma[k])

        low, high = (mu - 12 * sigma).min(), (mu + 12 * sigma).max()
        for k in (0, 1):
            j = 1 - k
            region = scipy.integrate.dblquad(
                lambda a, b, k=k, j=j: density(a, j) * density(b, k), 0, high, low, lambda b: b, epsabs=1e-11
            )[0]
            inner = scipy.integrate.quad(
                lambda b, k=k, j=j, mu=mu, sigma=sigma: density(b, k) * norm.cdf((b - mu[j]) / sigma[j]),
                0,
                high,
                limit=200,
            )[0]
            for equation, want in (("eqs. 30-31", region), ("eqs. 32-33", inner)):
                error = abs(p[k] - want)
                assert error < 1e-8
                ledger.record(equation, "recovery.gaussian_argmax.probs", "scipy quadrature", error, "absolute")
        rest = scipy.integrate.dblquad(lambda a, b: density(a, 0) * density(b, 1), low, 0, low, 0, epsabs=1e-12)[0]
        for equation, want in (("eqs. 34-35", rest), ("eq. 36", norm.cdf(-mu / sigma).prod())):
            error = abs(p[2] - want)
            assert error < 1e-8
            ledger.record(equation, "recovery.gaussian_argmax.probs", "scipy quadrature", error, "absolute")


def test_eqs_38_and_39_relaxed_gradient_tends_to_the_discrete_one():
    """K = 2, f quadratic: the mean relaxed gradient nears that of E f(b) as tau falls; what is left is recorded."""
    f = lambda z: (3 * z[..., 0, 0] ** 2 - z[..., 0, 1], numpy.stack([6 * z[..., 0], -numpy.ones_like(z[..., 0])], -1))  # noqa: E731
    t, w = numpy.polynomial.legendre.leggauss(4000)
    mu, log_sigma = numpy.array([[0.3]]), numpy.array([[0.1]])
    exact = norm.pdf(0.3 / math.exp(0.1)) / math.exp(0.1) * (3 - -1)  # dP_1/dmu (f(e_1) - f(e_2))
    eps, weight = 9 * t, 9 * w * norm.pdf(9 * t)
    gaps = []
    for tau in (1.0, 0.5, 0.02):
        grads = reparameterization(igr_i(mu, log_sigma, tau), eps[:, None, None], f).grads["mu"][:, 0, 0]
        gaps.append(abs((weight * grads).sum() - exact) / abs(exact))
    assert all(b < a for a, b in zip(gaps, gaps[1:], strict=False)) and gaps[-1] < 6e-3
    ledger.record("eq. 39", "estimators.reparameterization", "exact discrete gradient, tau = .02", gaps[-1], "bias")
    log_alpha = numpy.array([[0.4, 0.0]])
    p = 1 / (1 + math.exp(-0.4))
    exact = p * (1 - p) * 4
    s = 30 * t
    weight = numpy.exp(-s - 2 * numpy.log1p(numpy.exp(-s))) * 30 * w
    noise = numpy.stack([s, numpy.zeros_like(s)], axis=-1)[:, None, :]
    gaps = []
    for tau in (1.0, 0.5, 0.05):
        grads = reparameterization(GumbelSoftmax(log_alpha, tau), noise, f).grads["log_alpha"][:, 0, 0]
        gaps.append(abs((weight * grads).sum() - exact) / abs(exact))
    assert all(b < a for a, b in zip(gaps, gaps[1:], strict=False)) and gaps[-1] < 6e-3
    ledger.record("eq. 38", "estimators.reparameterization", "exact discrete gradient, tau = .05", gaps[-1], "bias")


def test_labels_are_read_as_they_are_meant():
    assert equations.numbers("eq. 12 (eq. 17)") == {12, 17}
    assert equations.numbers("eqs. 22-26, Prop. 1") == {20, 22, 23, 24, 25, 26, 27}
    assert equations.numbers("sticking the landing") == set()


def test_eqs_22_to_25_softmax_pp_and_its_jacobian():
    """eq. 22 in longdouble; eqs. 23 and 24 entry by entry, and eq. 25 as a matrix, against complex steps of eq. 22."""
    step = 1e-100
    for i in range(200):
        rng = numpy.random.default_rng((7, i))
        k = int(rng.integers(2, 9))
        tau, delta = float(numpy.exp(rng.uniform(-2, 3))), float(numpy.exp(rng.uniform(-2, 2)))
        y = tau * 2 * rng.standard_normal(k - 1)
        g = SoftmaxPlusPlus(tau, delta)
        options = {"function": "transforms.SoftmaxPlusPlus.run", "oracle": "longdouble"}
        check(g.forward(y), oracles.softmax_pp(y, tau, delta), 1e-14, equation="eq. 22", **options)

        def textbook(y, tau=tau, delta=delta):
            e = numpy.exp(y / tau)
            return e / (e.sum() + delta)

        want = numpy.stack([textbook(y + 1j * step * e).imag / step for e in numpy.eye(k - 1)], axis=-1)
        got = g.jacobian(y)
        options = {"function": "transforms.SoftmaxPlusPlus.jacobian", "oracle": "complex step"}
        check(got, want, 1e-12, equation="eq. 25", **options)
        check(numpy.diag(got).copy(), numpy.diag(want), 1e-12, equation="eq. 24", **options)
        off = ~numpy.eye(k - 1, dtype=bool)
        if off.any():
            check(got[off], want[off], 1e-12, equation="eq. 23", **options)
