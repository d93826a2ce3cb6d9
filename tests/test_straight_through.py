"""Straight-through: exactly one-hot codes, the relaxed sample's pullback, and a mean that is known exactly."""

from __future__ import annotations

import itertools
import math

import autograd.numpy as anp
import numpy
import pytest
import scipy.integrate
import scipy.special

from igr_ref import GumbelSoftmax, igr_i, igr_sb, noise
from igr_ref.estimators import reparameterization
from igr_ref.estimators.straight_through import pullback, run, straight_through

from . import gradcheck, ledger, oracles
from . import oracles_estimators as exact

LONG = numpy.longdouble
EQUATION = "straight-through"
MODELS = ("gumbel_softmax", "igr_i", "igr_sb")
CONFIGS = 340  # for each of the three models: 1,020 in all


def make(model, params, temperature, **options):
    if model == "gumbel_softmax":
        return GumbelSoftmax(params["log_alpha"], temperature, **options)
    return (igr_i if model == "igr_i" else igr_sb)(params["mu"], params["log_sigma"], temperature, **options)


def draw(model, rng, lead, k, temperature, dtype=numpy.float64):
    """Parameters (*lead, 2, .) of two variables and a noise draw for them."""
    if model == "gumbel_softmax":
        spread = [3 * temperature, 1.0, 10.0][rng.integers(3)]
        params = {"log_alpha": spread * rng.standard_normal((*lead, 2, k))}
        return {n: a.astype(dtype) for n, a in params.items()}, noise.gumbel(rng, (*lead, 2, k)).astype(dtype)
    params = {
        "mu": gradcheck.points(rng, (*lead, 2, k - 1), temperature),
        "log_sigma": rng.uniform(-1.5, 1.0, (*lead, 2, k - 1)),
    }
    return {n: a.astype(dtype) for n, a in params.items()}, rng.standard_normal((*lead, 2, k - 1)).astype(dtype)


def quadratic(rng, shape, dtype=numpy.float64):
    """f(z) = sum c z + d z^2/2 over the last two axes, with its gradient."""
    c, d = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(dtype)

    def f(z):
        return numpy.sum(c * z + d * z * z / 2, axis=(-1, -2)), c + d * z

    return f


def textbook(model, params, draws, temperature, z_bar):
    """Pullback of z_bar through the relaxed sample in longdouble, from tests/oracles.py; and the size of the logits."""
    if model == "gumbel_softmax":
        z = oracles.gumbel_softmax_z(params["log_alpha"], draws, temperature)
        size = numpy.max(numpy.abs(params["log_alpha"] + draws)) / temperature
        return {"log_alpha": oracles.softmax_bar(z, z_bar) / LONG(temperature)}, float(size)
    sigma = numpy.exp(LONG(params["log_sigma"]))
    y = LONG(params["mu"]) + sigma * LONG(draws)
    zero = numpy.zeros(y.shape[:-1], LONG)
    if model == "igr_i":
        y_bar = oracles.softmax_pp_bar(y, temperature, 1.0, z_bar, zero)
        size = numpy.max(numpy.abs(y)) / temperature
    else:
        w = oracles.sticks(y)[..., :-1]
        w_bar = oracles.softmax_pp_bar(w, temperature, 1.0, z_bar, zero)
        w_bar = numpy.concatenate([w_bar, zero[..., None]], axis=-1)
        y_bar = oracles.sticks_bar(y, w_bar, zero)
        size = max(1 / temperature, numpy.max(numpy.abs(y)))
    return {"mu": y_bar, "log_sigma": y_bar * sigma * LONG(draws)}, float(size)


# ---- trap: straight-through output that is not exactly one-hot -----------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", [numpy.float64, numpy.float32])
def test_straight_through_output_is_exactly_one_hot(model, dtype):
    """f must see entries that are exactly 0.0 and 1.0 (z + (b - z) in floating point is neither)."""
    for rng, lead, k, temperature in gradcheck.configurations(60, seed=11):
        params, draws = draw(model, rng, lead, k, temperature, dtype)
        q = make(model, params, temperature)
        seen = []

        def f(b, seen=seen):
            seen.append(b)
            return numpy.sum(b, axis=(-1, -2)), numpy.ones_like(b)

        estimate = straight_through(q, draws, f)
        (b,) = seen  # called once
        assert b.dtype == dtype and b.shape == (*lead, 2, k)
        assert numpy.all((b == 0) | (b == 1)) and numpy.all(numpy.sum(b, axis=-1) == 1)
        assert numpy.array_equal(numpy.argmax(b, axis=-1), q.category(draws))
        assert numpy.all(estimate.value == 2) and numpy.all(estimate.kl == 0)


# ---- the pullback --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_gradient_is_f_at_the_code_through_the_relaxed_pullback(model):
    """Against autograd on <const, z(params)> and against the longdouble pullbacks, temperatures 1e-3..100."""
    for rng, lead, k, temperature in gradcheck.configurations(CONFIGS, seed=12):
        params, draws = draw(model, rng, lead, k, temperature)
        f = quadratic(rng, (*lead, 2, k))
        q = make(model, params, temperature)
        estimate = straight_through(q, draws, f)
        value, b_bar = f(q.discretize(draws))
        assert numpy.array_equal(estimate.value, value)
        want, size = textbook(model, params, draws, temperature, b_bar)
        names = list(params)

        def surrogate(*arrays, names=names, model=model, temperature=temperature, draws=draws, b_bar=b_bar):
            traced = make(model, dict(zip(names, arrays, strict=True)), temperature, validate=False)
            return anp.sum(b_bar * traced.sample(draws))

        traced = gradcheck.autograd_vjp(surrogate, *params.values()) if k <= 100 or rng.random() < 0.3 else None
        # the tape forms z_bar - sum z z_bar, and rounds it at eps |z_bar| z / tau; times sigma eps for log_sigma
        z = q.sample(draws)
        tape = 1e-4 * float(numpy.linalg.norm(b_bar * z)) / temperature
        for i, name in enumerate(names):
            labels = dict(equation=EQUATION, function="estimators.straight_through.straight_through")
            # z has relative error eps |logits|: at most 1e-10 for logits up to 1e5
            gradcheck.check(
                estimate.grads[name], want[name], 1e-10 * max(1, size / 1e5), oracle="longdouble pullback", **labels
            )
            if traced is not None:
                by = 1.0 if name != "log_sigma" else float(numpy.max(numpy.abs(draws) * numpy.exp(params["log_sigma"])))
                gradcheck.check(estimate.grads[name], traced[i], oracle="autograd", scale=tape * by, **labels)


@pytest.mark.parametrize("model", MODELS)
def test_float32(model):
    for rng, lead, k, temperature in gradcheck.configurations(CONFIGS, seed=13, categories=(2, 3, 10, 100)):
        params, draws = draw(model, rng, lead, k, temperature, numpy.float32)
        f = quadratic(rng, (*lead, 2, k), numpy.float32)
        q = make(model, params, temperature)
        estimate = straight_through(q, draws, f)
        assert estimate.value.dtype == numpy.float32 and estimate.kl.dtype == numpy.float32
        want, _ = textbook(model, params, draws, temperature, f(q.discretize(draws))[1])
        for name in params:
            gradcheck.check(
                estimate.grads[name],
                want[name],
                equation=EQUATION,
                function="estimators.straight_through.straight_through",
                oracle="longdouble pullback",
                dtype=numpy.float32,
                scale=1e-37,
            )


@pytest.mark.parametrize("model", MODELS)
def test_run_and_pullback_are_the_parts_of_the_estimator(model):
    rng = numpy.random.default_rng(14)
    params, _ = draw(model, rng, (3,), 4, 0.5)
    draws = rng.standard_normal((5, 3, 2, 4 if model == "gumbel_softmax" else 3))
    q = make(model, params, 0.5)
    f = quadratic(rng, (2, 4))
    b, saved = run(q, draws)
    bars = pullback(q, saved, f(b)[1])
    estimate = straight_through(q, draws, f)
    assert b.shape == (5, 3, 2, 4) and estimate.value.shape == (5, 3)
    for name in params:
        assert numpy.array_equal(bars[name], estimate.grads[name])
        assert bars[name].shape == (5, *params[name].shape)


# ---- the mean ------------------------------------------------------------------------------------------------------


def test_linear_f_gives_the_gradient_of_the_relaxed_objective():
    """With f linear the gradient does not depend on where it is taken: equal to reparameterization, draw by draw."""
    for model in MODELS:
        rng = numpy.random.default_rng(15)
        params, draws = draw(model, rng, (50,), 5, 0.7)
        q, c = make(model, params, 0.7), rng.standard_normal((2, 5))

        def f(z, c=c):
            return numpy.sum(c * z, axis=(-1, -2)), numpy.broadcast_to(c, z.shape)

        through, relaxed = straight_through(q, draws, f), reparameterization(q, draws, f)
        for name in params:
            assert numpy.array_equal(through.grads[name], relaxed.grads[name])


def smooth_f(c, d):
    """f(z) = sum_k c_k z_k^4 + d_k e^{z_k} for one variable: neither linear nor quadratic."""

    def f(z):
        value = numpy.sum(c * z**4 + d * numpy.exp(z), axis=(-1, -2))
        return value, 4 * c * z**3 + d * numpy.exp(z)

    return f


@pytest.mark.parametrize("temperature", [1e-3, 0.03, 0.5, 5.0, 100.0])
@pytest.mark.parametrize("seed", range(4))
def test_mean_for_two_categories_igr(temperature, seed):
    """E[g] = sum_k E[1{b = e_k} dz_1/dtheta] (f_1 - f_2)'(e_k): our estimator on a quadrature grid of eps, against
    scipy.integrate.quad of the written-out integrand z (1 - z)/tau phi(eps)."""
    rng = numpy.random.default_rng((16, seed))
    mu, log_sigma = rng.normal(), rng.uniform(-0.7, 0.7)
    sigma = math.exp(log_sigma)
    c, d = rng.standard_normal((2, 2))
    f = smooth_f(c, d)
    q = igr_i(numpy.full((1, 1), mu), numpy.full((1, 1), log_sigma), temperature)
    eps, weight = exact.panels([-mu / sigma], temperature / sigma, -12.0, 12.0)
    grads = straight_through(q, eps[:, None, None], f).grads
    density = weight * numpy.exp(-(eps**2) / 2) / math.sqrt(2 * math.pi)

    def mean(side, factor):
        def integrand(x):  # x = y/tau, which is where the width is 1; side +1: b = e_1
            e = (x * temperature - mu) / sigma
            z = 1 / (1 + math.exp(-x)) if x > -700 else 0.0
            return z / (1 + math.exp(min(x, 700))) * factor(e) * math.exp(-e * e / 2) / math.sqrt(2 * math.pi) / sigma

        ends = sorted(side * t for t in (0, 1, 4, 12, 36, 700) if t * temperature < abs(mu) + 12 * sigma)
        ends = sorted({*ends, side * min(700, (abs(mu) + 12 * sigma) / temperature)})
        return sum(
            scipy.integrate.quad(integrand, a, b, epsabs=0, epsrel=1e-12, limit=200)[0]
            for a, b in itertools.pairwise(ends)
        )

    at = [numpy.subtract(*f(numpy.eye(2)[None, k])[1][0]) for k in (0, 1)]  # (df/dz_1 - df/dz_2) at e_1, e_2
    for name, factor in (("mu", lambda e: 1.0), ("log_sigma", lambda e: sigma * e)):
        want = mean(1, factor) * at[0] + mean(-1, factor) * at[1]
        got = numpy.sum(density * grads[name][:, 0, 0])
        size = abs(mean(1, lambda e: 1.0) * at[0]) + abs(mean(-1, lambda e: 1.0) * at[1])
        gradcheck.check(
            got,
            want,
            equation=f"{EQUATION}, mean",
            function="estimators.straight_through.straight_through",
            oracle="scipy.integrate.quad",
            scale=size,
        )


@pytest.mark.parametrize("temperature", [1e-3, 0.03, 0.5, 5.0, 100.0])
@pytest.mark.parametrize("seed", range(4))
def test_mean_for_two_categories_gumbel_softmax(temperature, seed):
    """The same with L = G_1 - G_2 logistic: z_1 = s((a + L)/tau), b = e_1 where a + L > 0."""
    rng = numpy.random.default_rng((17, seed))
    log_alpha = rng.normal(size=(1, 2))
    a = log_alpha[0, 0] - log_alpha[0, 1]
    c, d = rng.standard_normal((2, 2))
    f = smooth_f(c, d)
    logistic, weight = exact.panels([-a, 0.0], temperature, -60.0, 60.0)
    draws = numpy.stack([logistic, numpy.zeros_like(logistic)], axis=-1)[:, None, :]  # only the difference acts
    grads = straight_through(GumbelSoftmax(log_alpha, temperature), draws, f).grads["log_alpha"]
    density = weight * numpy.exp(-numpy.abs(logistic)) / (1 + numpy.exp(-numpy.abs(logistic))) ** 2

    def mean(side):
        def integrand(x):  # x = (a + L)/tau
            location = abs(x * temperature - a)
            z = 1 / (1 + math.exp(-abs(x)))
            return z * math.exp(-abs(x)) * z * math.exp(-location) / (1 + math.exp(-location)) ** 2

        far = min(700, (60 + abs(a)) / temperature)
        ends = sorted({side * min(t, far) for t in (0, 1, 4, 12, 36, 700, abs(a) / temperature)})
        return sum(
            scipy.integrate.quad(integrand, low, high, epsabs=0, epsrel=1e-12, limit=200)[0]
            for low, high in itertools.pairwise(ends)
        )

    at = [numpy.subtract(*f(numpy.eye(2)[None, k])[1][0]) for k in (0, 1)]
    want = mean(1) * at[0] + mean(-1) * at[1]
    got = numpy.sum(density[:, None] * grads[:, 0], axis=0)
    gradcheck.check(
        got,
        numpy.array([want, -want]),
        equation=f"{EQUATION}, mean",
        function="estimators.straight_through.straight_through",
        oracle="scipy.integrate.quad",
        scale=abs(mean(1) * at[0]) + abs(mean(-1) * at[1]),
    )


# ---- the bias ------------------------------------------------------------------------------------------------------


def mean_for_three_categories(mu, log_sigma, temperature, f):
    """E[g] by mu (2,) for IGR-I with K = 3: panels close to y_1 = 0, y_2 = 0 and y_1 = y_2."""
    sigma = numpy.exp(log_sigma)
    q = igr_i(mu[None], log_sigma[None], temperature)
    y_1, weight_1 = exact.panels([0.0], temperature, mu[0] - 8 * sigma[0], mu[0] + 8 * sigma[0], order=8)
    total = numpy.zeros(2)
    for y, w in zip(y_1, weight_1, strict=True):
        y_2, weight_2 = exact.panels([0.0, y], temperature, mu[1] - 8 * sigma[1], mu[1] + 8 * sigma[1], order=5)
        points = numpy.stack([numpy.full_like(y_2, y), y_2], axis=-1)
        eps = (points - mu) / sigma
        density = numpy.exp(-0.5 * numpy.sum(eps**2, axis=-1)) / (2 * math.pi * sigma[0] * sigma[1])
        total += w * ((weight_2 * density) @ straight_through(q, eps[:, None, :], f).grads["mu"][:, 0])
    return total


def test_bias_vanishes_with_the_temperature_for_quadratic_f_and_only_for_it():
    """As tau -> 0 the mean weighs each tie by the trapezoidal rule, exact for quadratics: the bias falls like tau.

    For f = sum c z^4 the rule gives 2 (c_i - c_j) where the truth is c_i - c_j: twice the gradient, at any K.
    """
    rng = numpy.random.default_rng(18)
    mu, log_sigma = numpy.array([0.3, -0.2]), numpy.array([0.1, -0.2])
    p, jacobians = exact.prop2_law(mu[None], log_sigma[None])
    c, d = rng.standard_normal((2, 3))

    def quadratic(z):
        return numpy.sum(c * z + d * z * z, axis=(-1, -2)), c + 2 * d * z

    def quartic(z):
        return numpy.sum(c * z**4, axis=(-1, -2)), 4 * c * z**3

    for name, f, table, factor in (("quadratic", quadratic, c + d, 1), ("quartic", quartic, c, 2)):
        truth = exact.expectation_gradient(p, jacobians, table)["mu"][0]
        size = numpy.linalg.norm(truth)
        means = [mean_for_three_categories(mu, log_sigma, t, f) for t in (0.08, 0.04, 0.02)]
        errors = [numpy.linalg.norm(mean - factor * truth) / size for mean in means]
        assert errors[0] < 0.3 and 1.7 < errors[0] / errors[1] < 2.4 and 1.8 < errors[1] / errors[2] < 2.2, (
            name,
            errors,
        )
        limit = (8 * means[2] - 6 * means[1] + means[0]) / 3  # tau and tau^2 taken out
        error = numpy.linalg.norm(limit - factor * truth) / size
        ledger.record(
            f"{EQUATION}, mean as tau -> 0 ({name} f)",
            "estimators.straight_through.straight_through",
            "Prop. 2's exact gradient, extrapolation in tau",
            error,
        )
        assert error < 2e-3, (name, error)


def test_the_estimator_is_biased_at_positive_temperature():
    """E[g] - dE[f(b)]/dmu at K = 2, mu = 0, sigma = 1, f = z_1^2, tau = 1, both sides by hand.

    f' = 2 at e_1 and 0 at e_2, so E[g] = 2 int_0^inf s(y) s(-y) phi(y) dy; the truth is phi(0).
    """
    half = scipy.integrate.quad(
        lambda y: math.exp(-y) / (1 + math.exp(-y)) ** 2 * math.exp(-y * y / 2) / math.sqrt(2 * math.pi), 0, 40
    )[0]
    q = igr_i(numpy.zeros((1, 1)), numpy.zeros((1, 1)), 1.0)
    eps, weight = exact.panels([0.0], 1.0, -12.0, 12.0)

    def f(z):
        first = numpy.array([1.0, 0.0])
        return numpy.sum(first * z * z, axis=(-1, -2)), 2 * first * z

    grads = straight_through(q, eps[:, None, None], f).grads["mu"][:, 0, 0]
    mean = numpy.sum(weight * numpy.exp(-(eps**2) / 2) / math.sqrt(2 * math.pi) * grads)
    assert abs(mean - 2 * half) < 1e-12
    assert abs(mean - 1 / math.sqrt(2 * math.pi)) > 0.1


# ---- the KL term ---------------------------------------------------------------------------------------------------


def test_uniform_kl_is_that_of_the_discrete_law_gumbel_softmax():
    for seed in range(40):
        rng = numpy.random.default_rng((19, seed))
        n, k = int(rng.integers(1, 4)), int(rng.integers(2, 5))
        log_alpha = 3 * rng.standard_normal((n, k))
        p, jacobians = exact.softmax_law(log_alpha)
        kl, grads = exact.kl_uniform(p, jacobians)
        c = rng.standard_normal((n, k))
        draws = noise.gumbel(rng, (6, n, k))
        q = GumbelSoftmax(log_alpha, 0.5)
        estimate = straight_through(q, draws, lambda b, c=c: (numpy.sum(c * b, axis=(-1, -2)), c + 0 * b), "uniform")
        without = straight_through(q, draws, lambda b, c=c: (numpy.sum(c * b, axis=(-1, -2)), c + 0 * b))
        labels = dict(equation="KL(P || uniform)", oracle="enumeration of all codes, longdouble")
        gradcheck.check(estimate.kl, kl, function="estimators.score_function.kl_uniform", **labels)
        gradcheck.check(
            estimate.grads["log_alpha"] - without.grads["log_alpha"],
            numpy.broadcast_to(grads["log_alpha"], (6, n, k)),
            function="estimators.straight_through.straight_through",
            scale=float(numpy.linalg.norm(without.grads["log_alpha"])),  # the subtraction's rounding
            **labels,
        )
        assert numpy.allclose(estimate.loss, estimate.value + float(kl), rtol=1e-12)


def test_a_category_of_probability_1e_30_is_no_special_case():
    """Forced by its noise; the KL's gradient keeps relative precision for it."""
    log_alpha = numpy.array([[0.0, -math.log(1e30), -0.5]])
    p, jacobians = exact.softmax_law(log_alpha)
    assert 1e-31 < p[0, 1] < 1e-29
    kl, grads = exact.kl_uniform(p, jacobians)
    draws = exact.gumbel_for(numpy.array([1]), log_alpha)
    estimate = straight_through(
        GumbelSoftmax(log_alpha, 1e-3), draws, lambda b: (numpy.sum(b, (-1, -2)), 0 * b), "uniform"
    )
    assert numpy.allclose(estimate.grads["log_alpha"], grads["log_alpha"].astype(float), rtol=1e-12, atol=0)
    assert numpy.allclose(estimate.kl, float(kl), rtol=1e-14)


def test_bad_input_is_named():
    q = igr_sb(numpy.zeros((1, 3)), numpy.zeros((1, 3)), 0.5)

    def f(b):
        return numpy.sum(b, axis=(-1, -2)), numpy.ones_like(b)

    with pytest.raises(TypeError, match="IGR-I"):
        straight_through(q, numpy.zeros((1, 3)), f, "uniform")
    with pytest.raises(ValueError, match="p must be None or 'uniform'.*'normal'"):
        straight_through(q, numpy.zeros((1, 3)), f, "normal")
    with pytest.raises(ValueError, match="p must be None or 'uniform'"):
        straight_through(q, numpy.zeros((1, 3)), f, q)


@pytest.mark.parametrize("delta", [0.1, 1.0, 5.0])
def test_a_tie_with_the_last_category_is_weighed_by_delta(delta):
    """f = b_1^2, whose edge has slopes 2 and 0: 2 delta/(1 + delta) of the exact gradient as tau -> 0, K = 2."""
    eps = scipy.special.ndtri((numpy.arange(200_000) + 0.5) / 2e5)[:, None, None]
    q = igr_i(numpy.full((1, 1), 0.3), numpy.zeros((1, 1)), 1e-2, delta=delta)

    def f(b):
        return b[..., 0, 0] ** 2, numpy.concatenate([2 * b[..., :1], 0 * b[..., 1:]], axis=-1)

    exact = numpy.exp(-0.5 * 0.3**2) / numpy.sqrt(2 * numpy.pi)
    got = numpy.mean(straight_through(q, eps, f).grads["mu"]) / exact
    assert abs(got - 2 * delta / (1 + delta)) < 0.02
