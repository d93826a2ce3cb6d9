"""Gradients of IGR-Planar's sampled KL: reparameterization, sticking the landing, and its published variant."""

from __future__ import annotations

import math

import autograd
import autograd.numpy as anp
import numpy
import pytest

from igr_ref.distributions import IGR, GumbelSoftmax, gaussian, igr_i, igr_planar, igr_sb
from igr_ref.estimators import reparameterization, sticking_the_landing
from igr_ref.transforms import Chain, PlanarFlow, SoftmaxPlusPlus

from . import gradcheck, ledger
from . import oracles_models as models
from . import oracles_transforms as oracles
from .strict_array import same_bits, strict

LONG = numpy.longdouble
EQUATION = "IGR-Planar KL"
FLOW_NAMES = ("0.w", "0.u", "0.b", "1.w", "1.u", "1.b")
N = 2


def published(q, noise, f, p):
    return sticking_the_landing(q, noise, f, p, stop_flow=False)


ESTIMATORS = {
    "reparameterization": reparameterization,
    "sticking_the_landing": sticking_the_landing,
    "sticking_the_landing (published)": published,
}


def draw(rng, lead, k, dtype=numpy.float64):
    """Parameters of q (lead + (N, K-1)) with two flows (N, K-1), of p (N, K-1), noise, and f's coefficients."""
    size = [0.05, 0.5, 1.2][rng.integers(3)] / (k - 1) ** 0.25
    params = {"mu": rng.standard_normal((*lead, N, k - 1)), "log_sigma": rng.uniform(-1, 0.5, (*lead, N, k - 1))}
    for name in FLOW_NAMES:
        shape = (N,) if name.endswith("b") else (N, k - 1)
        params[name] = (1.0 if name.endswith("b") else size) * rng.standard_normal(shape)
    prior = {"mu": -0.6 + 0.1 * rng.standard_normal((N, k - 1)), "log_sigma": 0.2 * rng.standard_normal((N, k - 1))}
    eps = rng.standard_normal((*lead, N, k - 1))
    c, d = rng.standard_normal((2, *lead, N, k))
    cast = {n: a.astype(dtype) for n, a in params.items()}, {n: a.astype(dtype) for n, a in prior.items()}
    return *cast, eps.astype(dtype), c.astype(dtype), d.astype(dtype)


def flows_of(params, **options):
    return [PlanarFlow(*(params[f"{i}.{n}"] for n in "wub"), **options) for i in (0, 1)]


def build(params, prior, temperature):
    q = igr_planar(params["mu"], params["log_sigma"], flows_of(params), temperature)
    return q, IGR(prior["mu"], prior["log_sigma"], q.transform.links[-1])


def quadratic(c, d):
    return lambda z: (numpy.sum(c * z + d * z * z / 2, axis=(-1, -2)), c + d * z)


def traced(params, prior, temperature, eps, c, d):
    """Pieces of the objective from our own forward formulas, for autograd: f(z), x, y, log|det|, log p."""
    y = gaussian.sample(params["mu"], params["log_sigma"], eps)
    flow = Chain(*flows_of(params, validate=False))
    x = flow.forward(y)
    z = SoftmaxPlusPlus(temperature).forward(x)
    return anp.sum(c * z + d * z * z / 2), x, y, flow.log_det(y), gaussian.log_prob(prior["mu"], prior["log_sigma"], x)


def test_density_s_pullback_reaches_the_flows():
    """log q(z) by y, mu, log_sigma and every flow's w, u, b: the formula written out, its tape, its differences."""
    for i in range(60):
        rng = numpy.random.default_rng((41, i))
        k, temperature = int(rng.integers(2, 5)), float(numpy.exp(rng.uniform(-1, 1)))
        params, _, eps, _, _ = draw(rng, (3,), k)
        names, arrays = zip(*params.items(), strict=True)
        y, bar = params["mu"] + numpy.exp(params["log_sigma"]) * eps, rng.standard_normal((3, N))

        def formula(y, *arrays, names=names, bar=bar, k=k, temperature=temperature):
            at = dict(zip(names, arrays, strict=True))
            x, log_det = models.planar({f"flow.{name}": at[name] for name in FLOW_NAMES}, y)
            logits = anp.concatenate([x / temperature, anp.zeros((*x.shape[:-1], 1))], axis=-1)
            shifted = logits - anp.max(logits, axis=-1, keepdims=True)
            log_z = shifted - anp.log(anp.sum(anp.exp(shifted), axis=-1, keepdims=True))
            log_det = log_det + anp.sum(log_z, axis=-1) - (k - 1) * anp.log(temperature)
            return anp.sum(bar * (anp.sum(models.log_normal(y, at["mu"], at["log_sigma"]), axis=-1) - log_det))

        q = igr_planar(params["mu"], params["log_sigma"], flows_of(params), temperature)
        about = {"equation": "eq. 12", "function": "distributions.igr_planar.log_prob_vjp"}
        gradcheck.check(numpy.sum(bar * q.log_prob(y)), formula(y, *arrays), oracle="written out", scale=1.0, **about)
        bars, y_bar = q.log_prob_vjp(y, bar)
        assert set(bars) == set(names)
        got = (y_bar, *(bars[name] for name in names))
        got = [g if g.shape == a.shape else g.sum(axis=0) for g, a in zip(got, (y, *arrays), strict=True)]
        want = gradcheck.autograd_vjp(formula, y, *arrays)
        for name, g, w in zip(("y", *names), got, want, strict=True):
            gradcheck.check(g, w, oracle=f"autograd, {name}", scale=1.0 / temperature, **about)
        directions = [a * rng.standard_normal(a.shape) for a in (y, *arrays)]  # u~ grows as w shrinks

        def along(step, directions=directions, at=(y, *arrays), formula=formula):
            return formula(*(a + step * d for a, d in zip(at, directions, strict=True)))

        slope = sum(numpy.sum(g * d) for g, d in zip(got, directions, strict=True))
        size = sum(numpy.sum(abs(g * d)) for g, d in zip(got, directions, strict=True))
        fine, coarse = ((along(s) - along(-s)) / (2 * s) for s in (1e-5, 2e-5))
        gradcheck.check(slope, (4 * fine - coarse) / 3, 1e-6, oracle="differences", scale=size, **about)


def autograd_gradient(kind, params, prior, temperature, eps, c, d):
    """The gradient an automatic tape gives, with the estimator's stopped parameters entered as constants."""
    fixed = {n: a.copy() for n, a in params.items()}
    _, x_0, y_0, _, _ = traced(fixed, prior, temperature, eps, c, d)
    flow = Chain(*flows_of(fixed))

    def loss(params):
        value, x, y, log_det, log_p = traced(params, prior, temperature, eps, c, d)
        if kind == "reparameterization":
            return value + anp.sum(gaussian.log_prob(params["mu"], params["log_sigma"], y) - log_det - log_p)
        if kind == "sticking_the_landing (published)":
            return value + anp.sum(gaussian.log_prob(fixed["mu"], fixed["log_sigma"], y) - log_det - log_p)
        # J_f^{-T} [-(y - mu)/sigma^2 - d log|det|/dy] as a constant cotangent on x: a linear solve with the explicit J
        by_y = -(y_0 - fixed["mu"]) / numpy.exp(2 * fixed["log_sigma"])
        by_y = by_y - autograd.grad(lambda y: anp.sum(flow.log_det(y)))(y_0)
        transposed = numpy.swapaxes(flow.jacobian(y_0), -1, -2)
        x_bar = numpy.linalg.solve(transposed, by_y[..., None])[..., 0]
        return value + anp.sum(x_bar * x) - anp.sum(log_p)

    return autograd.grad(loss)(params)


def textbook_slope(kind, params, prior, temperature, eps, c, d, name, direction):
    """Derivative along one parameter's direction: that of the sampled objective, minus the score that is dropped.

    Everything by complex steps in longdouble. For sticking the landing the score is that of log q(x) at a fixed x,
    through the inverse flow; for the published variant that of log N(y) at a fixed y.
    """
    moved = dict(params)
    moved[name] = LONG(params[name]) + 1j * LONG(oracles.STEP) * direction
    triples = [tuple(moved[f"{i}.{n}"] for n in "wub") for i in (0, 1)]
    y = oracles.long(moved["mu"]) + numpy.exp(oracles.long(moved["log_sigma"])) * LONG(eps)
    x, log_det = oracles.flows(y, triples)
    logits = numpy.concatenate([x / LONG(temperature), numpy.zeros_like(x[..., :1])], axis=-1)
    z = oracles.softmax(logits, 1.0)
    total = numpy.sum(c * z + d * z * z / 2)
    log_q = oracles.log_normal(moved["mu"], moved["log_sigma"], y) - log_det
    total = total + numpy.sum(log_q - oracles.log_normal(prior["mu"], prior["log_sigma"], x))
    if kind == "sticking_the_landing":
        total = total - numpy.sum(oracles.log_flow_density(x.real, moved["mu"], moved["log_sigma"], triples))
    elif kind == "sticking_the_landing (published)":
        total = total - numpy.sum(oracles.log_normal(moved["mu"], moved["log_sigma"], y.real))
    return total.imag / LONG(oracles.STEP)


def summed(bar, shape):
    return numpy.sum(bar, axis=tuple(range(bar.ndim - len(shape))))


# ---- each sample's gradient ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_gradient(kind):
    """Every parameter, against autograd with stopped constants and against complex steps of objective minus score."""
    for rng, lead, k, temperature in gradcheck.configurations(
        340, seed=1, categories=(2, 3, 10), temperatures=(0.1, 10)
    ):
        params, prior, eps, c, d = draw(rng, lead, k)
        q, p = build(params, prior, temperature)
        estimate = ESTIMATORS[kind](q, eps, quadratic(c, d), p)
        auto = autograd_gradient(kind, params, prior, temperature, eps, c, d)
        about = {"equation": EQUATION, "function": f"estimators.{kind}"}
        size = math.sqrt(sum(float(numpy.sum(numpy.square(bar))) for bar in auto.values()))
        assert set(estimate.grads) == set(params)
        for name, at in params.items():
            got = estimate.grads[name]
            assert got.shape == lead + at.shape[at.ndim - (1 if name.endswith("b") else 2) :]  # one value a sample
            got = summed(got, at.shape)
            gradcheck.check(got, auto[name], scale=1e-2 * size, oracle="autograd", **about)
            direction = rng.standard_normal(at.shape)
            slope = textbook_slope(kind, params, prior, temperature, eps, c, d, name, direction)
            scale = 1e-2 * size * numpy.linalg.norm(direction.ravel())
            gradcheck.check(
                numpy.float64(numpy.sum(got * direction)), slope, scale=scale, oracle="complex step", **about
            )


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_gradient_in_float32(kind):
    for rng, lead, k, temperature in gradcheck.configurations(340, seed=2, categories=(2, 3, 10)):
        params, prior, eps, c, d = draw(rng, lead, k, numpy.float32)
        double = [{n: a.astype(float) for n, a in x.items()} for x in (params, prior)]
        q, p = build(params, prior, temperature)
        q64, p64 = build(*double, temperature)
        want = ESTIMATORS[kind](q64, eps.astype(float), quadratic(c.astype(float), d.astype(float)), p64)
        got = ESTIMATORS[kind](q, eps, quadratic(c, d), p)
        about = {"equation": EQUATION, "function": f"estimators.{kind}", "oracle": "float64", "dtype": numpy.float32}
        for name in params:
            gradcheck.check(got.grads[name], want.grads[name], **about)
        assert got.loss.dtype == got.kl.dtype == numpy.float32
        assert numpy.allclose(got.kl, want.kl, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_value_is_the_sampled_kl(kind):
    """log N(y) - sum log|det| - log N(x | mu_0, sigma_0^2), summed over the variables, in longdouble."""
    for rng, lead, k, temperature in gradcheck.configurations(100, seed=3, categories=(2, 3, 10, 100)):
        params, prior, eps, c, d = draw(rng, lead, k)
        q, p = build(params, prior, temperature)
        estimate = ESTIMATORS[kind](q, eps, quadratic(c, d), p)
        y = LONG(params["mu"]) + numpy.exp(LONG(params["log_sigma"])) * LONG(eps)
        x, log_det = oracles.flows(y, [tuple(params[f"{i}.{n}"] for n in "wub") for i in (0, 1)])
        log_q = oracles.log_normal(params["mu"], params["log_sigma"], y) - log_det
        want = numpy.sum(log_q - oracles.log_normal(prior["mu"], prior["log_sigma"], x), axis=-1)
        gradcheck.check(
            estimate.kl, want, 1e-13, scale=float(k), equation=EQUATION, function=f"estimators.{kind}",
            oracle="longdouble value",
        )  # fmt: skip
        # q and p of z itself: softmax++'s determinant cancels
        direct = numpy.sum(q.log_prob(q.run(eps)[1][1]) - p.log_prob(x.astype(float)), axis=-1)
        rounding = k * (1 + float(numpy.max(abs(x))) / temperature) + numpy.max(abs(direct))
        assert numpy.max(abs(estimate.kl - direct)) < 1e-14 * rounding


# ---- unbiased: exact means by quadrature, K = 2 ----------------------------------------------------------------------


def exact_kl_slope(params, prior, name):
    """(KL, dKL/dtheta), KL = int q(x) [log q(x) - log p(x)] dx on a fixed grid, q through the inverse flow."""
    x = numpy.linspace(-40, 40, 16_001)[:, None, None]  # trapezoid rule: exact to rounding for smooth decaying q
    moved = {n: oracles.long(a) for n, a in params.items()}
    moved[name] = LONG(params[name]) + 1j * LONG(oracles.STEP)
    triples = [tuple(moved[f"{i}.{n}"] for n in "wub") for i in (0, 1)]
    log_q = oracles.log_flow_density(LONG(x), moved["mu"], moved["log_sigma"], triples)
    log_p = oracles.log_normal(prior["mu"], prior["log_sigma"], x)
    total = numpy.sum(numpy.exp(log_q) * (log_q - log_p)) * LONG(80) / 16_000
    return total.real, total.imag / LONG(oracles.STEP)


@pytest.mark.parametrize("seed", range(4))
def test_means_by_quadrature(seed):
    """K = 2: the three estimators have one mean, the derivative of the KL as an integral over x (no noise in it)."""
    rng = numpy.random.default_rng((4, seed))
    params = {"mu": rng.standard_normal((1, 1)), "log_sigma": rng.uniform(-0.7, 0.3, (1, 1))}
    for name in FLOW_NAMES:
        params[name] = rng.uniform(0.4, 1.0, (1,) if name.endswith("b") else (1, 1)) * rng.choice([-1, 1])
    prior = {"mu": numpy.full((1, 1), -0.7), "log_sigma": numpy.full((1, 1), 0.1)}
    q, p = build(params, prior, 1.0)
    eps = numpy.linspace(-12, 12, 6001)[:, None, None]
    weight = numpy.exp(-0.5 * eps[:, 0, 0] ** 2) / math.sqrt(2 * math.pi) * 24 / 6000
    f = quadratic(numpy.zeros(2), numpy.zeros(2))
    exact = {name: exact_kl_slope(params, prior, name) for name in params}
    for kind, estimator in ESTIMATORS.items():
        estimate = estimator(q, eps, f, p)
        for name, (_, slope) in exact.items():
            mean = numpy.sum(weight * estimate.grads[name].reshape(6001))
            error = float(abs(mean - slope) / max(1.0, abs(slope)))
            ledger.record(EQUATION, f"estimators.{kind}", "mean by quadrature", error)
            assert error < 1e-10, (kind, name)
        kl = exact["mu"][0]
        assert kl > 0 and abs(numpy.sum(weight * estimate.kl) - kl) < 1e-11 * max(1, kl)


def test_trap_kl_sign():
    """KL(q || p), not KL(p || q) nor its negative: with the flow at identity the mean is eq. 13's closed form."""
    w = numpy.array([[0.8]])
    identity = PlanarFlow(w, math.log(math.e - 1) / w, numpy.array([0.2]))
    q = igr_planar(numpy.array([[0.7]]), numpy.array([[-0.9]]), [identity], 1.0)
    p = IGR(numpy.array([[-0.3]]), numpy.array([[0.4]]), q.transform.links[-1])
    eps = numpy.linspace(-12, 12, 6001)[:, None, None]
    weight = numpy.exp(-0.5 * eps[:, 0, 0] ** 2) / math.sqrt(2 * math.pi) * 24 / 6000
    want = gaussian.kl(q.mu, q.log_sigma, p.mu, p.log_sigma)[0]
    mu_bar, log_sigma_bar = gaussian.kl_vjp(q.mu, q.log_sigma, p.mu, p.log_sigma, numpy.ones(1))
    for estimator in ESTIMATORS.values():
        estimate = estimator(q, eps, quadratic(numpy.zeros(2), numpy.zeros(2)), p)
        assert abs(numpy.sum(weight * estimate.kl) - want) < 1e-12
        assert abs(numpy.sum(weight * estimate.grads["mu"][:, 0, 0]) - mu_bar[0, 0]) < 1e-12
        assert abs(numpy.sum(weight * estimate.grads["log_sigma"][:, 0, 0]) - log_sigma_bar[0, 0]) < 1e-12


def test_means_agree_in_more_dimensions():
    """K = 4, three variables: paired differences of 20,000 draws against reparameterization, 5 standard errors each.

    Of 2 x 90 comparisons a true equality fails one with probability 1e-4 in all.
    """
    rng = numpy.random.default_rng(5)
    params = {"mu": rng.standard_normal((3, 3)), "log_sigma": rng.uniform(-0.7, 0.3, (3, 3))}
    for name in FLOW_NAMES:
        params[name] = 0.6 * rng.standard_normal((3,) if name.endswith("b") else (3, 3))
    prior = {"mu": numpy.full((3, 3), -0.6), "log_sigma": numpy.full((3, 3), -0.1)}
    q, p = build(params, prior, 0.5)
    eps = rng.standard_normal((20_000, 3, 3))
    c, d = rng.standard_normal((2, 3, 4))
    base = reparameterization(q, eps, quadratic(c, d), p).grads
    for kind in ("sticking_the_landing", "sticking_the_landing (published)"):
        other = ESTIMATORS[kind](q, eps, quadratic(c, d), p).grads
        for name in params:
            difference = other[name] - base[name]
            error = numpy.std(difference, axis=0) / math.sqrt(20_000)
            z = abs(numpy.mean(difference, axis=0)) / numpy.maximum(error, 1e-15)
            assert numpy.all(z < 5), (kind, name)


# ---- zero variance at the target -----------------------------------------------------------------------------------


def test_zero_variance_with_the_flow_at_identity():
    """psi = 0 and u along w: u~ = 0, and mu = mu_0, sigma = sigma_0: every sample's gradient vanishes."""
    rng = numpy.random.default_rng(6)
    mu, log_sigma = rng.standard_normal((2, N, 4))
    flows = []
    for _ in range(2):
        w = rng.standard_normal((N, 4))
        u = w * (math.log(math.e - 1) / numpy.sum(w * w, axis=-1))[:, None]
        flows.append(PlanarFlow(w, u, rng.standard_normal(N)))
    q = igr_planar(mu, log_sigma, flows, 0.7)
    p = IGR(mu, log_sigma, q.transform.links[-1])
    expect_zero_variance(q, p, rng)


def test_zero_variance_with_the_target_behind_the_same_flow():
    """p = N(mu, sigma^2) through a frozen copy of q's flows: q = p as laws of z, with parameters of its own."""
    for seed in range(20):
        rng = numpy.random.default_rng((7, seed))
        params, _, _, _, _ = draw(rng, (), [2, 3, 10][seed % 3])
        q = igr_planar(params["mu"], params["log_sigma"], flows_of(params), 0.7)
        p = IGR(params["mu"].copy(), params["log_sigma"].copy(), Chain(*flows_of(params), q.transform.links[-1]))
        assert not q.same_transform(p)
        expect_zero_variance(q, p, rng)


def expect_zero_variance(q, p, rng):
    eps = rng.standard_normal((500, *q.mu.shape))
    zero = quadratic(numpy.zeros(q.n_categories), numpy.zeros(q.n_categories))
    landed = sticking_the_landing(q, eps, zero, p)
    other, variant = reparameterization(q, eps, zero, p), published(q, eps, zero, p)
    assert numpy.max(abs(landed.kl)) < 1e-11
    size = max(float(numpy.max(abs(bar))) for bar in other.grads.values())
    worst = max(float(numpy.max(abs(bar))) for bar in landed.grads.values()) / size
    ledger.record(EQUATION, "estimators.sticking_the_landing", "zero at q = p", worst, "relative to the plain gradient")
    assert worst < 1e-11
    # the others vary there: it is the stopped parameters that do it
    assert numpy.max(numpy.std(other.grads["mu"], axis=0)) > 1e-2
    assert max(numpy.max(numpy.std(variant.grads[name], axis=0)) for name in FLOW_NAMES) > 1e-4


def test_target_with_a_flow_of_its_own():
    """q without a flow, p with one, and both with different ones: the mean by quadrature, K = 2."""
    rng = numpy.random.default_rng(8)
    params = {n: rng.uniform(0.4, 0.9, (1,) if n.endswith("b") else (1, 1)) for n in FLOW_NAMES}
    first, second = flows_of(params)
    outer = SoftmaxPlusPlus(1.0)
    mu, log_sigma = numpy.array([[0.3]]), numpy.array([[-0.2]])
    target = {"mu": numpy.array([[-0.5]]), "log_sigma": numpy.array([[0.1]])}
    eps = numpy.linspace(-12, 12, 6001)[:, None, None]
    weight = numpy.exp(-0.5 * eps[:, 0, 0] ** 2) / math.sqrt(2 * math.pi) * 24 / 6000
    zero = quadratic(numpy.zeros(2), numpy.zeros(2))
    triple = {0: tuple(params[f"0.{n}"] for n in "wub"), 1: tuple(params[f"1.{n}"] for n in "wub")}
    for own, other in (((), (1,)), ((0,), (1,)), ((0,), (0, 1)), ((0, 1), (1,))):
        flows = {0: first, 1: PlanarFlow(*triple[1])}
        q = IGR(mu, log_sigma, Chain(*(flows[i] for i in own), outer) if own else outer)
        # a copy of each flow: the target's are constants
        p = IGR(target["mu"], target["log_sigma"], Chain(*(PlanarFlow(*triple[i]) for i in other), outer))
        slope = {}
        for name in ("mu", "log_sigma"):
            moved = {"mu": oracles.long(mu), "log_sigma": oracles.long(log_sigma)}
            moved[name] = moved[name] + 1j * LONG(oracles.STEP)
            x = LONG(numpy.linspace(-40, 40, 16_001)[:, None, None])
            log_q = oracles.log_flow_density(x, moved["mu"], moved["log_sigma"], [triple[i] for i in own])
            log_p = oracles.log_flow_density(x, target["mu"], target["log_sigma"], [triple[i] for i in other])
            slope[name] = numpy.sum(numpy.exp(log_q) * (log_q - log_p)).imag / LONG(oracles.STEP) * LONG(80) / 16_000
        for kind, estimator in ESTIMATORS.items():
            grads = estimator(q, eps, zero, p).grads
            for name in slope:
                assert abs(numpy.sum(weight * grads[name][:, 0, 0]) - slope[name]) < 1e-10, (kind, name, own, other)
    assert second.psi.shape == (1,)


# ---- which branch, shapes, errors ----------------------------------------------------------------------------------


def test_shared_transform_keeps_the_closed_form():
    """IGR-I, IGR-SB, and a p with q's own flow objects: eq. 13, for one object or chains of the same links."""
    rng = numpy.random.default_rng(9)
    mu, log_sigma, eps = rng.standard_normal((3, 5, N, 3))
    zero = quadratic(numpy.zeros(4), numpy.zeros(4))
    flow = PlanarFlow(*rng.standard_normal((2, N, 3)), rng.standard_normal(N))
    for q in (igr_i(mu, log_sigma, 0.5), igr_sb(mu, log_sigma, 0.5), igr_planar(mu, log_sigma, [flow], 0.5)):
        again = q.transform
        for transform in (again, Chain(*again.links) if isinstance(again, Chain) else Chain(again)):
            p = IGR(0 * mu[0], 0 * log_sigma[0], transform)
            estimate = reparameterization(q, eps, zero, p)
            want = numpy.sum(gaussian.kl(mu, log_sigma, p.mu, p.log_sigma), axis=-1)
            assert numpy.array_equal(estimate.kl, want)
            mu_bar, log_sigma_bar = gaussian.kl_vjp(mu, log_sigma, p.mu, p.log_sigma, numpy.ones((5, N)))
            assert numpy.array_equal(estimate.grads["mu"], mu_bar + 0.0 * mu_bar)
            assert numpy.array_equal(estimate.grads["log_sigma"], log_sigma_bar)
            landed = sticking_the_landing(q, eps, zero, p)
            y = mu + numpy.exp(log_sigma) * eps
            plain = gaussian.log_prob(mu, log_sigma, y) - gaussian.log_prob(p.mu, p.log_sigma, y)
            assert numpy.array_equal(landed.kl, numpy.sum(plain, axis=-1))


def test_replica_axis():
    """(R, 1, 1, N, K-1) flows and (R, 1, B, N, K-1) parameters do for each replica what its own model does."""
    rng = numpy.random.default_rng(10)
    R, S, B, K = 3, 2, 4, 5
    mu, log_sigma = rng.standard_normal((2, R, 1, B, N, K - 1))
    w, u = rng.standard_normal((2, 2, R, 1, 1, N, K - 1))
    b = rng.standard_normal((2, R, 1, 1, N))
    eps = rng.standard_normal((R, S, B, N, K - 1))
    c, d = rng.standard_normal((2, N, K))
    q = igr_planar(mu, log_sigma, [PlanarFlow(w[i], u[i], b[i]) for i in (0, 1)], 0.5)
    p = IGR(numpy.zeros((N, K - 1)), numpy.zeros((N, K - 1)), q.transform.links[-1])
    for kind, estimator in ESTIMATORS.items():
        whole = estimator(q, eps, quadratic(c, d), p)
        assert whole.loss.shape == (R, S, B)
        for r in range(R):
            own = igr_planar(
                mu[r], log_sigma[r], [PlanarFlow(w[i, r, 0, 0], u[i, r, 0, 0], b[i, r, 0, 0]) for i in (0, 1)], 0.5
            )
            alone = IGR(p.mu, p.log_sigma, own.transform.links[-1])
            part = estimator(own, eps[r], quadratic(c, d), alone)
            assert numpy.allclose(whole.kl[r], part.kl, rtol=1e-13, atol=1e-13), kind
            for name in part.grads:
                assert whole.grads[name].shape[1:] == part.grads[name].shape
                assert numpy.allclose(whole.grads[name][r], part.grads[name], rtol=1e-12, atol=1e-12), (kind, name)


def test_no_prior_no_kl():
    params, _, eps, c, d = draw(numpy.random.default_rng(11), (3,), 4)
    q = igr_planar(params["mu"], params["log_sigma"], flows_of(params), 0.5)
    estimate = reparameterization(q, eps, quadratic(c, d))
    assert not estimate.kl.any() and set(estimate.grads) == set(params)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_laws_that_share_no_map_onto_the_simplex_are_refused(kind):
    """Two softmax++ of equal settings are still two objects; a simplex map in front of the shared tail is no flow."""
    params, prior, eps, c, d = draw(numpy.random.default_rng(12), (), 4)
    q, _ = build(params, prior, 0.5)
    estimator = ESTIMATORS[kind]
    with pytest.raises(ValueError, match="share their map onto the simplex"):
        estimator(q, eps, quadratic(c, d), igr_i(prior["mu"], prior["log_sigma"], 0.5))
    sticks = igr_sb(params["mu"], params["log_sigma"], 0.5)
    with pytest.raises(ValueError, match="share their map onto the simplex"):
        estimator(sticks, eps, quadratic(c, d), IGR(prior["mu"], prior["log_sigma"], sticks.transform.links[-1]))
    with pytest.raises(ValueError, match="same transform"):
        q.kl(IGR(prior["mu"], prior["log_sigma"], q.transform.links[-1]))  # eq. 13 does not hold (audit kl-needs-one-g)


def test_stop_flow_does_not_concern_the_gumbel_softmax():
    rng = numpy.random.default_rng(13)
    q, p = GumbelSoftmax(rng.standard_normal((N, 4)), 0.5), GumbelSoftmax(numpy.zeros((N, 4)), 0.5)
    noise = rng.gumbel(size=(3, N, 4))
    c, d = rng.standard_normal((2, N, 4))
    first, second = (sticking_the_landing(q, noise, quadratic(c, d), p, stop_flow=s) for s in (True, False))
    assert numpy.array_equal(first.grads["log_alpha"], second.grads["log_alpha"])


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_same_bits_on_an_array_that_refuses_numpy(kind):
    def everything(params, prior, eps, weights):
        q, p = build(params, prior, 0.5)
        estimate = ESTIMATORS[kind](q, eps, lambda z: ((z * weights).sum(axis=(-1, -2)), z * 0 + weights), p)
        return [estimate.value, estimate.kl, estimate.grads]

    for dtype in (numpy.float64, numpy.float32):
        params, prior, eps, weights, _ = draw(numpy.random.default_rng(14), (3,), 4, dtype)
        same_bits(everything(*strict((params, prior, eps, weights))), everything(params, prior, eps, weights))
