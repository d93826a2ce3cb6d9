"""REBAR and RELAX: unbiased by quadrature and by simulation, the control variate's update against finite differences,
and what the published variant does instead."""

from __future__ import annotations

import numpy
import pytest
import scipy.special

from igr_ref.distributions import IGR, Categorical, GumbelSoftmax, igr_i, igr_sb
from igr_ref.estimators import _pairs, control_variates, relax_as_published
from igr_ref.estimators.rebar import PairedNoise, rebar, rebar_params, variance_gradient, variance_objective
from igr_ref.estimators.relax import bounded_parameters, relax, relax_params
from igr_ref.estimators.score_function import log_probs, score_function
from igr_ref.models import VAE, GumbelSoftmaxFamily, igr_i_family
from igr_ref.models.losses import Bernoulli
from igr_ref.models.mlp import MLP
from igr_ref.recovery import gaussian_argmax
from igr_ref.transforms import SoftmaxPlusPlus

from . import gradcheck, ledger
from . import oracles_conditional as oracle
from .strict_array import same_bits, strict

FAMILIES = ("gumbel", "igr")
KINDS = ("rebar", "relax")
ESTIMATORS = {"rebar": rebar, "relax": relax}
NAMES = {"rebar": "estimators.rebar.rebar", "relax": "estimators.relax.relax"}


def control_params(kind, rng, n, k, temperature=0.7):
    """Not at their starting values: different temperatures, biases that are not 0, eta other than 1."""
    if kind == "rebar":
        params = rebar_params(n, temperature, eta=0.8)
    else:
        params = relax_params(rng, n, k, temperature, hidden=11, learn_eta=True)
        params["eta"] = numpy.asarray(1.2)
        params["r.0.bias"] = 0.3 * rng.normal(size=11)
        params["r.1.bias"] = params["r.1.bias"] + 0.4
    params["log_lambda"] = params["log_lambda"] + 0.3 * rng.normal(size=n)
    return params


def law(family, rng, lead, n, k, dtype=float):
    if family == "gumbel":
        return GumbelSoftmax(rng.normal(size=(*lead, n, k)).astype(dtype), 1.0)
    mu, log_sigma = rng.normal(size=(*lead, n, k - 1)), 0.4 * rng.normal(size=(*lead, n, k - 1))
    return igr_i(mu.astype(dtype), log_sigma.astype(dtype), 1.0)


def draws(q, rng, samples=(), coupled=False, dtype=float):
    shape = (*samples, *next(iter(q.params.values())).shape)
    path = rng.gumbel(size=shape) if isinstance(q, GumbelSoftmax) else rng.normal(size=shape)
    uniforms = None if coupled else numpy.maximum(rng.random(shape), 2.0**-24).astype(dtype)
    return PairedNoise(path.astype(dtype), uniforms)


# ---- unbiased, by quadrature: one variable of two categories ------------------------------------------------------


REACH = 32.0  # the rule covers s = sigmoid(x), |x| < 32, all but 1e-14 of the unit interval


def unit_rule(breaks, panels=200, n=12):
    """(s, 1 - s, weight) on (0, 1): Gauss-Legendre in x = logit s, so that the ends are approached exponentially."""
    nodes, w = numpy.polynomial.legendre.leggauss(n)
    edges = numpy.unique(numpy.concatenate([numpy.linspace(-REACH, REACH, panels + 1), breaks]))
    half = 0.5 * numpy.diff(edges)[:, None]
    x = (0.5 * (edges[1:] + edges[:-1])[:, None] + half * nodes).ravel()
    s, rest = scipy.special.expit(x), scipy.special.expit(-x)
    return s, rest, (half * w).ravel() * s * rest


def noise_given(family, q, b, coupled, s, rest):
    """(noise whose discrete value is b, P_b), both draws made from the uniforms s, rest = 1 - s.

    g is a sum of a function of the path and one of the uniforms, so one rule serves both, node by node.
    """
    if family == "gumbel":
        theta = numpy.exp(q.log_probs())[0]
        # given b, the uniform of zeta_b - zeta_other = logit theta_b + logistic covers the last theta_b of (0, 1)
        logistic = numpy.log(theta[1 - b] + theta[b] * s) - numpy.log(theta[b] * rest)
        path = numpy.stack([logistic, numpy.zeros_like(s)][:: 1 - 2 * b], axis=-1)
        # the two exponentials of zeta | b enter through their ratio only, and E_1/(E_1 + E_2) is uniform
        uniforms = numpy.exp(-numpy.stack([s, rest], axis=-1))
        return PairedNoise(path[:, None], None if coupled else uniforms[:, None]), theta[b]
    mean = (q.mu * numpy.exp(-q.log_sigma)).item()
    prob = scipy.special.ndtr(-mean if b else mean)
    path = scipy.special.ndtri(prob * s) if b else -scipy.special.ndtri(prob * rest)
    return PairedNoise(path[:, None, None], None if coupled else s[:, None, None]), prob


def kinks(family, q, b, coupled, params):
    """The x = logit s at which z or z | b meets a kink of r, by bisection: dr/dz jumps there."""
    if "r.0.weight" not in params:
        return numpy.zeros(0)
    w, bias = params["r.0.weight"], params["r.0.bias"]
    at = -bias / (2 * (w[0] - w[1]))  # z_1 - 1/2 where h = (2 z_1 - 1) w_0 + (2 z_2 - 1) w_1 + b_1 = 0, z_2 = 1 - z_1
    at = at[numpy.abs(at) < 0.5] + 0.5
    level = numpy.exp(params["log_lambda"]) * scipy.special.logit(at)
    found = []
    for which in ("y", "y_given"):

        def excess(x, which=which):
            noise, _ = noise_given(family, q, b, coupled, scipy.special.expit(x), scipy.special.expit(-x))
            y = getattr(_pairs.paired(q, noise), which)[:, 0]
            return (y[:, 0] - y[:, 1] if family == "gumbel" else y[:, 0]) - level

        low, high = numpy.full(level.shape, -REACH), numpy.full(level.shape, REACH)
        sign = numpy.sign(excess(high))
        for _ in range(60):
            middle = 0.5 * (low + high)
            above = excess(middle) * sign > 0
            low, high = numpy.where(above, low, middle), numpy.where(above, middle, high)
        found.append(high)
    return numpy.concatenate(found)


def mean_by_quadrature(family, q, estimator, coupled, params):
    total = {}
    for b in (0, 1):
        s, rest, weight = unit_rule(kinks(family, q, b, coupled, params))
        noise, prob = noise_given(family, q, b, coupled, s, rest)
        for name, g in estimator(noise).grads.items():
            total[name] = total.get(name, 0) + prob * numpy.tensordot(weight, g, axes=(0, 0))
    return total


def two_category_truth(family, q, f):
    f_0, f_1 = (f(b[None])[0].item() for b in numpy.eye(2))
    if family == "gumbel":
        theta = numpy.exp(q.log_probs())[0]
        step = theta[0] * theta[1] * (f_0 - f_1)
        return {"log_alpha": numpy.array([[step, -step]])}
    mu, sigma = q.mu, numpy.exp(q.log_sigma)
    density = numpy.exp(-0.5 * (mu / sigma) ** 2) / numpy.sqrt(2 * numpy.pi)
    return {"mu": density / sigma * (f_0 - f_1), "log_sigma": -mu / sigma * density * (f_0 - f_1)}


def two_categories(family, kind, seed=0):
    rng = numpy.random.default_rng((1, seed))
    q, f, params = law(family, rng, (), 1, 2), oracle.Wave(rng, 2), control_params(kind, rng, 1, 2)
    return q, f, params, lambda noise: ESTIMATORS[kind](q, noise, f, params=params)


def check_mean(got, want, tolerance, kind, coupled, what):
    """Every parameter's mean gradient by quadrature against the truth."""
    equation = f"{kind.upper()}, {'coupled' if coupled else 'independent'} noise"
    label = {"equation": equation, "function": NAMES[kind], "oracle": f"quadrature, K = 2, {what}"}
    for name in want:
        gradcheck.check(got[name], want[name], tolerance, **label)


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_unbiased_by_quadrature(family, kind, coupled):
    for seed in range(4):
        q, f, params, estimator = two_categories(family, kind, seed)
        got, want = mean_by_quadrature(family, q, estimator, coupled, params), two_category_truth(family, q, f)
        check_mean(got, want, 1e-7, kind, coupled, family)


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_unbiased_in_float32_up_to_its_rounding(family, kind, coupled):
    """The same mean over 2400 nodes, each estimate as in training, in float32: what is left is rounding, not a bias."""
    for seed in range(4):
        q, f, params, _ = two_categories(family, kind, seed)
        small = [p.astype("f4") for p in q.params.values()]
        if family == "gumbel":
            low = GumbelSoftmax(*small, 1.0, precise=False)
        else:
            low = IGR(*small, SoftmaxPlusPlus(1.0, precise=False))
        single = {name: p.astype("f4") for name, p in params.items()}

        def estimator(noise, low=low, f=f, single=single):
            uniforms = None
            if noise.uniforms is not None:
                uniforms = numpy.clip(noise.uniforms, 2.0**-25, 1 - 2.0**-24).astype("f4")
            return ESTIMATORS[kind](low, PairedNoise(noise.path.astype("f4"), uniforms), f, params=single)

        got = mean_by_quadrature(family, q, estimator, coupled, params)
        rounded = type(q)(*(p.astype("f8") for p in low.params.values()), *_constants(q))
        want = two_category_truth(family, rounded, f)
        check_mean(got, want, 6e-6, kind, coupled, f"{family} (float32)")


@pytest.mark.parametrize("family", FAMILIES)
def test_trap_a_missing_derivative_of_the_conditional_sample_is_seen(family, monkeypatch):
    pair = {"gumbel": _pairs.GumbelPair, "igr": _pairs.GaussianPair}[family]
    whole = pair.pullback_given
    for planted in (0.0, 0.999):  # left out altogether, and wrong by a thousandth

        def wrong(self, y_bar, planted=planted):
            return {name: planted * bar for name, bar in whole(self, y_bar).items()}

        monkeypatch.setattr(pair, "pullback_given", wrong)
        q, f, params, estimator = two_categories(family, "rebar")
        got, want = mean_by_quadrature(family, q, estimator, False, params), two_category_truth(family, q, f)
        error = max(gradcheck.norm_relative(got[name], want[name]) for name in want)
        assert error > (1e-2 if planted == 0 else 1e-5)


# ---- unbiased, by simulation: two variables of four categories ----------------------------------------------------


def truth_by_enumeration(q, f, k):
    """Gradient of E f(b) over all K^2 codes, by complex steps on the codes' probabilities."""
    out = {}
    for name in q.params:
        out[name] = numpy.empty_like(q.params[name])
        for at in numpy.ndindex(*q.params[name].shape):
            moved = {key: value.astype(complex) for key, value in q.params.items()}
            moved[name][at] += 1e-30j
            if "log_alpha" in moved:
                e = numpy.exp(moved["log_alpha"])
                probs = e / e.sum(-1, keepdims=True)
            else:
                sigma = numpy.exp(moved["log_sigma"])
                probs = numpy.stack([oracle.gaussian_probs(m, s) for m, s in zip(moved["mu"], sigma, strict=True)])
            out[name][at] = numpy.imag(oracle.expectation(probs, f)) / 1e-30
    return out


def worst_deviation(grads, want):
    """Largest |mean - truth| in standard errors, over all parameters."""
    worst = 0.0
    for name in want:
        g = grads[name]
        error = g.std(axis=0) / numpy.sqrt(g.shape[0])
        worst = max(worst, float(numpy.max(numpy.abs(g.mean(axis=0) - want[name]) / error)))
    return worst


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family, m", [("gumbel", 200_000), ("igr", 20_000)])
def test_unbiased_by_simulation(family, m, kind, coupled):
    # 8 tests of at most 12 means: 5.5 standard errors is a false alarm in 3e5 seeds
    rng = numpy.random.default_rng(3)
    n, k = 2, 4
    q, f, params = law(family, rng, (), n, k), oracle.Wave(rng, n * k), control_params(kind, rng, n, k)
    estimate = ESTIMATORS[kind](q, draws(q, rng, (m,), coupled), f, params=params)
    deviation = worst_deviation(estimate.grads, truth_by_enumeration(q, f, k))
    ledger.record(kind.upper(), NAMES[kind], f"enumeration, K = 4, N = 2, {family}", deviation, "standard errors", m)
    assert deviation < 5.5


# ---- exact identities ---------------------------------------------------------------------------------------------


def score_function_term(q, f, b):
    """[f(b)] s, from the categorical law or from Prop. 2."""
    weight = f(b)[0][..., None, None]
    if isinstance(q, GumbelSoftmax):
        theta = numpy.exp(q.log_probs())
        return {"log_alpha": weight * (b - theta)}
    sigma = numpy.exp(q.log_sigma)
    by_mu, by_sigma = gaussian_argmax.jacobian(q.mu, sigma)
    inverse = numpy.exp(-numpy.sum(b * gaussian_argmax.log_probs(q.mu, sigma), axis=-1, keepdims=True))
    by_mu, by_sigma = ((b[..., None, :] @ j)[..., 0, :] for j in (by_mu, by_sigma))
    return {"mu": weight * (inverse * by_mu), "log_sigma": weight * (inverse * by_sigma * sigma)}


@pytest.mark.parametrize("family", FAMILIES)
def test_without_a_control_variate_it_is_the_score_function_estimator(family):
    rng = numpy.random.default_rng(4)
    q, f = law(family, rng, (5,), 3, 4), oracle.Wave(rng, 12)
    noise = draws(q, rng, (2,))
    estimate = rebar(q, noise, f, params=rebar_params(3, 0.5, eta=0.0))
    b = q.discretize(noise.path)
    for name, want in score_function_term(q, f, b).items():
        got = estimate.grads[name]
        gradcheck.check(
            got, want, 1e-13, equation="REBAR, c = 0", function=NAMES["rebar"], oracle=f"score function, {family}"
        )
    # and the package's own score function estimator bit for bit, KL included
    for p in (None, "uniform"):
        estimate = rebar(q, noise, f, p, params=rebar_params(3, 0.5, eta=0.0))
        plain = score_function(q, noise.path, f, p, baseline="none")
        assert numpy.array_equal(estimate.value, plain.value) and numpy.array_equal(estimate.kl, plain.kl)
        for name in q.params:
            assert numpy.array_equal(estimate.grads[name], plain.grads[name])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_kl_term_is_exact_and_added_once(family):
    rng = numpy.random.default_rng(5)
    q, f, params = law(family, rng, (4,), 2, 3), oracle.Wave(rng, 6), control_params("relax", rng, 2, 3)
    noise = draws(q, rng)
    with_kl, without = (relax(q, noise, f, p, params=params) for p in ("uniform", None))
    if family == "gumbel":
        log_probs = q.log_probs()
    else:
        log_probs = gaussian_argmax.log_probs(q.mu, numpy.exp(q.log_sigma))
    want = Categorical(log_probs).kl_uniform().sum(-1)
    gradcheck.check(
        with_kl.kl, want, 1e-12, equation="KL(q || uniform)", function=NAMES["relax"], oracle="categorical KL"
    )
    assert numpy.array_equal(with_kl.loss, with_kl.value + with_kl.kl)
    for name, value in q.params.items():
        direction = rng.normal(size=value.shape)

        def kl(step, name=name, direction=direction):
            moved = {**q.params, name: q.params[name] + step * direction}
            other = GumbelSoftmax(**moved, temperature=1.0) if family == "gumbel" else igr_i(**moved, temperature=1.0)
            return relax(other, noise, lambda z: (0 * z[..., 0, 0], 0 * z), "uniform", params=params).kl.sum()

        got = numpy.sum((with_kl.grads[name] - without.grads[name]) * direction)
        fd = (4 * (kl(1e-4) - kl(-1e-4)) / 2e-4 - (kl(2e-4) - kl(-2e-4)) / 4e-4) / 3
        gradcheck.check(
            got, fd, 1e-8, equation="KL(q || uniform)", function=NAMES["relax"], oracle=f"finite differences, {family}"
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_image_has_its_own_residual(family, kind):
    # an image's gradient is the same alone and in a batch
    rng = numpy.random.default_rng(6)
    q, f, params = law(family, rng, (3,), 2, 4), oracle.Wave(rng, 8), control_params(kind, rng, 2, 4)
    noise = draws(q, rng, (2,))
    together = ESTIMATORS[kind](q, noise, f, params=params)
    build = GumbelSoftmax if family == "gumbel" else igr_i
    alone = build(**{name: x[1:2] for name, x in q.params.items()}, temperature=1.0)
    one = ESTIMATORS[kind](alone, PairedNoise(noise.path[:, 1:2], noise.uniforms[:, 1:2]), f, params=params)
    for name in one.grads:
        numpy.testing.assert_allclose(together.grads[name][:, 1:2], one.grads[name], rtol=1e-9, atol=1e-11)


def test_coupled_noise_gives_one_relaxed_sample():
    rng = numpy.random.default_rng(7)
    for family in FAMILIES:
        q, f, params = law(family, rng, (3,), 2, 4), oracle.Wave(rng, 8), control_params("relax", rng, 2, 4)
        control = relax(q, draws(q, rng, coupled=True), f, params=params).control
        assert numpy.array_equal(control.free.z, control.given.z)
        assert not numpy.array_equal(*(control.pair.pushforward(control.g)))


# ---- traps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_trap_a_control_variate_gradient_leaking_into_the_model(family):
    """The decoder sees f(b) only, the parameters of q nothing of f's gradient at b, and r none of the estimate."""
    rng = numpy.random.default_rng(8)
    n, k = 3, 4
    made = GumbelSoftmaxFamily(n, k, 1.0) if family == "gumbel" else igr_i_family(n, k, 1.0, 0.0, 0.0)
    vae = VAE(made, Bernoulli(), 6, "nonlinear")
    theta, x = vae.init(rng, float), (rng.random((5, 6)) > 0.5).astype(float)
    noise_shape = vae.noise_shape(5, 2)
    path = rng.gumbel(size=noise_shape) if family == "gumbel" else rng.normal(size=noise_shape)
    noise = PairedNoise(path, rng.random(noise_shape))
    params = control_params("relax", rng, n, k)
    kept = []

    def estimator(q, noise, f, p):
        kept.append(relax(q, noise, f, "uniform", params=params))
        return kept[-1]

    estimate, grads = vae.loss_and_grads(theta, x, noise, estimator)
    decoder = {name[8:]: value for name, value in theta.items() if name.startswith("decoder.")}
    b = vae.posterior(theta, x).discretize(path).reshape(10, n * k)
    outputs, saved = vae.decoder.run(decoder, b)
    _, bar = Bernoulli().log_prob_and_grad(numpy.tile(x, (2, 1)), outputs)
    want, _ = vae.decoder.pullback(decoder, saved, -bar / 10)
    for name in want:
        numpy.testing.assert_allclose(grads[f"decoder.{name}"], want[name], rtol=1e-12, atol=1e-14)
    assert set(estimate.grads) == set(vae.posterior(theta, x).params)

    # f's gradient at one-hot codes is not used, whatever it is
    q, f = law(family, rng, (4,), n, k), oracle.Wave(rng, n * k)
    noise = draws(q, rng)

    def blind(z):
        value, bar = f(z)
        one_hot = numpy.all((z == 0) | (z == 1), axis=(-2, -1))
        return value, numpy.where(one_hot[..., None, None], numpy.nan, bar)

    first, second = (relax(q, noise, g, params=params) for g in (f, blind))
    for name in first.grads:
        assert numpy.array_equal(first.grads[name], second.grads[name])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_constant_added_to_f_and_c_changes_no_gradient(family):
    rng = numpy.random.default_rng(9)
    q, f, params = law(family, rng, (4,), 2, 3), oracle.Wave(rng, 6), control_params("relax", rng, 2, 3)
    params["eta"] = numpy.asarray(1.0)
    noise = draws(q, rng)
    first = relax(q, noise, f, params=params)
    second = relax(q, noise, lambda z: (f(z)[0] + 1000.0, f(z)[1]), params=params)
    for name in first.grads:
        numpy.testing.assert_allclose(first.grads[name], second.grads[name], rtol=1e-8, atol=1e-10)


# ---- the control variate's update ---------------------------------------------------------------------------------


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family, chained", [("gumbel", False), ("igr", False), ("igr", True)])
def test_variance_gradient_against_finite_differences(family, chained, kind, coupled):
    rng = numpy.random.default_rng(10)
    n, k = 2, 4
    chain, q, f = None, law(family, rng, (3,), n, k), oracle.Wave(rng, n * k)
    if chained:
        mu, log_sigma, chain = bounded_parameters(*rng.normal(size=(2, 3, n, k - 1)))
        q = igr_i(mu, log_sigma, 1.0, delta=0.5)
    noise, params = draws(q, rng, (2,), coupled), control_params(kind, rng, n, k)

    def objective(moved):
        return variance_objective(ESTIMATORS[kind](q, noise, f, "uniform", params=moved), chain)

    estimate = ESTIMATORS[kind](q, noise, f, "uniform", params=params)
    got = variance_gradient(estimate, f.hvp, chain)
    assert set(got) == set(params)
    for name, value in params.items():
        for _ in range(3):
            direction = rng.normal(size=value.shape)

            def moved(step, name=name, value=value, direction=direction):
                return objective({**params, name: value + step * direction})

            coarse, fine = ((moved(s) - moved(-s)) / (2 * s) for s in (2e-4, 1e-4))
            gradcheck.check(
                numpy.sum(got[name] * direction),
                (4 * fine - coarse) / 3,
                1e-8,
                equation=f"dV/d({name.split('.')[0]})",
                function="estimators.rebar.variance_gradient",
                oracle="finite differences of V at fixed noise",
                scale=1e-2 * objective(params),  # V's own rounding, divided by the step
            )
        assert got[name].shape == value.shape
    assert "log_lambda" not in variance_gradient(estimate)


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_pushforward_and_pullback_of_both_samples(family, coupled):
    """Each pushforward by differences at fixed noise, each pullback as its transpose; log_alpha enters normalised.

    A common shift of log_alpha's tangent would go unseen further on: the softmax of y ignores it.
    """
    rng = numpy.random.default_rng(22)
    for _ in range(50):
        q = law(family, rng, (3,), 2, int(rng.integers(2, 6)))
        noise = draws(q, rng, (2,), coupled)
        pair = _pairs.paired(q, noise)
        direction = {name: rng.normal(size=p.shape) for name, p in q.params.items()}
        dots = [numpy.broadcast_to(dot, pair.y.shape).copy() for dot in pair.pushforward(direction)]
        about = {"equation": "REBAR and RELAX", "function": f"estimators._pairs.{type(pair).__name__}"}

        def moved(step, q=q, noise=noise, direction=direction):
            there = type(q)(*(p + step * direction[name] for name, p in q.params.items()), *_constants(q))
            return _pairs.paired(there, noise)

        up, down = moved(1e-6), moved(-1e-6)
        assert (up.b == pair.b).all() and (down.b == pair.b).all()
        difference = (up.y - down.y) / 2e-6
        gradcheck.check(dots[0], difference, 1e-8, oracle="differences of y", **about)
        if not coupled:  # coupled noise moves with the parameters
            difference = (up.y_given - down.y_given) / 2e-6
            gradcheck.check(dots[1], difference, 1e-6, oracle="differences of y given b", **about)
        for y_dot, pullback in zip(dots, (pair.pullback, pair.pullback_given), strict=True):
            y_bar = rng.normal(size=y_dot.shape)
            bars = pullback(y_bar)
            forward, size = numpy.sum(y_bar * y_dot), numpy.sum(abs(y_bar * y_dot))
            backward = sum(numpy.sum(bars[name] * direction[name]) for name in direction)
            gradcheck.check(backward, forward, 1e-12, oracle="transpose of the pushforward", scale=size, **about)


def _constants(q):
    return (q.temperature,) if isinstance(q, GumbelSoftmax) else (q.transform,)


def test_bernoulli_decoder_hvp_against_differences_of_its_gradient():
    rng = numpy.random.default_rng(11)
    n, k, pixels = 2, 3, 7
    for widths in ((n * k, pixels), (n * k, 9, pixels), (n * k, 8, 9, pixels)):
        mlp = MLP(widths)
        decoder = {name: value + 0.1 * rng.normal(size=value.shape) for name, value in mlp.init(rng).items()}
        x, z, t = (rng.random(pixels) > 0.5) * 1.0, rng.random((4, n, k)), rng.normal(size=(4, n, k))

        def gradient(z, mlp=mlp, decoder=decoder, x=x):
            outputs, saved = mlp.run(decoder, z.reshape(4, n * k))
            _, bar = Bernoulli().log_prob_and_grad(x, outputs)
            return mlp.pullback(decoder, saved, -bar)[1].reshape(z.shape)

        want = (gradient(z + 1e-5 * t) - gradient(z - 1e-5 * t)) / 2e-5
        got = control_variates.bernoulli_decoder_hvp(decoder, z, t)
        gradcheck.check(
            got,
            want,
            1e-8,
            equation="(d^2f/dz^2) t",
            function="estimators.control_variates.bernoulli_decoder_hvp",
            oracle="finite differences of the gradient",
        )
        # a replica axis in front of everything
        twice = {name: numpy.stack([value, 2 * value]) for name, value in decoder.items()}
        both = control_variates.bernoulli_decoder_hvp(twice, numpy.stack([z, z]), numpy.stack([t, t]))
        numpy.testing.assert_allclose(both[0], got, rtol=1e-12)
        # logits far out: sigmoid' underflows there, and nothing overflows on the way
        far = {name: 1e5 * value for name, value in decoder.items()}
        assert numpy.all(numpy.isfinite(control_variates.bernoulli_decoder_hvp(far, z, t)))


@pytest.mark.parametrize("family", FAMILIES)
def test_replicas_in_front_are_separate_runs(family):
    rng = numpy.random.default_rng(12)
    n, k = 2, 3
    q, f = law(family, rng, (2, 1, 4), n, k), oracle.Wave(rng, n * k)
    params = [control_params("relax", rng, n, k) for _ in range(2)]
    stacked = {name: numpy.stack([p[name] for p in params]) for name in params[0]}
    shape = (2, 3, 4, *next(iter(q.params.values())).shape[-2:])
    path = rng.gumbel(size=shape) if family == "gumbel" else rng.normal(size=shape)
    noise = PairedNoise(path, rng.random(shape))
    both = relax(q, noise, f, params=stacked)
    both_update = variance_gradient(both, f.hvp)
    build = GumbelSoftmax if family == "gumbel" else igr_i
    for r in range(2):
        one = build(**{name: x[r] for name, x in q.params.items()}, temperature=1.0)
        single = relax(one, PairedNoise(path[r], noise.uniforms[r]), f, params=params[r])
        for name in single.grads:
            numpy.testing.assert_allclose(both.grads[name][r], single.grads[name], rtol=1e-9, atol=1e-11)
        numpy.testing.assert_allclose(variance_objective(both)[r], variance_objective(single))
        for name, want in variance_gradient(single, f.hvp).items():
            numpy.testing.assert_allclose(both_update[name][r], want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_descending_the_variance_gradient_lowers_the_variance(family):
    rng = numpy.random.default_rng(13)
    n, k = 2, 3
    q, f, params = law(family, rng, (), n, k), oracle.Wave(rng, n * k), control_params("rebar", rng, n, k)
    params["eta"] = numpy.asarray(0.0)
    values = []
    for step in range(40):
        estimate = rebar(q, draws(q, numpy.random.default_rng((13, step)), (400,)), f, params=params)
        values.append(float(variance_objective(estimate)))
        update = variance_gradient(estimate, f.hvp)
        size = max(1.0, numpy.abs(update["eta"]), numpy.abs(update["log_lambda"]).max())
        params = {name: value - 0.1 * update[name] / size for name, value in params.items()}
    assert numpy.mean(values[-10:]) < 0.8 * numpy.mean(values[:3])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_float32_agrees_with_float64(family, kind):
    """Temperatures 1e-3..100, also of the control variate's update; f itself works in the type that it is given."""
    build = GumbelSoftmax if family == "gumbel" else igr_i
    for rng, lead, k, temperature in gradcheck.configurations(60, 14, categories=(2, 4)):
        q, params = law(family, rng, lead, 2, k, numpy.float32), control_params(kind, rng, 2, k, temperature)
        f, noise = oracle.Wave(rng, 2 * k), draws(q, rng, (3,), dtype=numpy.float32)
        single = {name: value.astype(numpy.float32) for name, value in params.items()}
        wide = build(**{name: x.astype(float) for name, x in q.params.items()}, temperature=1.0)
        double = PairedNoise(noise.path.astype(float), noise.uniforms.astype(float))
        seen = set()

        def f_hvp(z, t, f=f, seen=seen):
            seen.update((z.dtype, t.dtype))
            return f.hvp(z, t).astype(z.dtype)

        low = ESTIMATORS[kind](q, noise, f, "uniform", params=single)
        exact = {name: value.astype(float) for name, value in single.items()}
        high = ESTIMATORS[kind](wide, double, f, "uniform", params=exact)
        update, want = variance_gradient(low, f_hvp), variance_gradient(high, f.hvp)
        assert low.value.dtype == low.kl.dtype == variance_objective(low).dtype == numpy.float32
        assert seen == {numpy.dtype(numpy.float32)}
        about = {"equation": kind.upper(), "oracle": f"float64, {family}", "dtype": numpy.float32}
        for name in high.grads:
            gradcheck.check(low.grads[name], high.grads[name], function=NAMES[kind], **about)
        # where z is a vertex but for 1e-7, so is f(b) - c(z~) nothing but the rounding of f: beside V's own size
        scale = 1e-2 * float(variance_objective(high).sum())
        for name in want:
            gradcheck.check(
                update[name], want[name], function="estimators.rebar.variance_gradient", scale=scale, **about
            )


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_runs_on_arrays_that_never_become_numpys(family, coupled):
    rng = numpy.random.default_rng(16)
    n, k = 2, 3
    q, params = law(family, rng, (4,), n, k), control_params("relax", rng, n, k)
    noise = draws(q, rng, (2,), coupled)
    weight = rng.normal(size=(n, k))
    build = GumbelSoftmax if family == "gumbel" else igr_i
    on_device = build(**strict(q.params), temperature=1.0)
    noise_there = PairedNoise(strict(noise.path), None if coupled else strict(noise.uniforms))
    results = []
    for args, w, p in (((q, noise), weight, params), ((on_device, noise_there), strict(weight), strict(params))):

        def f(z, w=w):  # a bilinear function of z and its cube, and its gradient
            return (w * z * z * z).sum(axis=-1).sum(axis=-1), 3 * w * z * z

        estimate = relax(*args, f, "uniform", params=p)
        update = variance_gradient(estimate, lambda z, t, w=w: 6 * w * z * t)
        results.append((estimate.value, estimate.kl, estimate.grads, update, variance_objective(estimate)))
    same_bits(results[1], results[0])


# ---- eq. 37 -------------------------------------------------------------------------------------------------------


def test_bounded_parameters():
    rng = numpy.random.default_rng(15)
    raw = 3 * rng.normal(size=(2, 1000))
    mu, log_sigma, chain = bounded_parameters(*raw)
    kwargs = {"equation": "eq. 37", "function": "estimators.relax.bounded_parameters"}
    gradcheck.check(mu, -5 * numpy.tanh(raw[0]), oracle="textbook", **kwargs)
    gradcheck.check(numpy.exp(log_sigma), 0.5 + 2 / (1 + numpy.exp(-raw[1])), oracle="textbook", **kwargs)
    got = chain.pullback({"mu": numpy.ones(1000), "log_sigma": numpy.ones(1000)})
    by_mu = numpy.imag(-5 * numpy.tanh(raw[0] + 1e-200j)) / 1e-200
    by_sigma = numpy.imag(numpy.log(0.5 + 2 / (1 + numpy.exp(-raw[1] - 1e-200j)))) / 1e-200
    gradcheck.check(got["mu"], by_mu, oracle="complex step", **kwargs)
    gradcheck.check(got["log_sigma"], by_sigma, oracle="complex step", **kwargs)
    for i in range(2):
        traced = lambda x, i=i: bounded_parameters(*(x if j == i else raw[j] for j in range(2)))[i].sum()  # noqa: E731
        (tape,) = gradcheck.autograd_vjp(traced, raw[i])
        gradcheck.check(got[("mu", "log_sigma")[i]], tape, oracle="autograd", **kwargs)
    edge, _, slopes = bounded_parameters(numpy.array([-400.0, 400.0, 20.0]), numpy.array([-800.0, 800.0, 40.0]))
    assert numpy.array_equal(edge, [5.0, -5.0, -5.0])
    assert all(numpy.all(numpy.isfinite(s)) for s in slopes.slopes.values()) and slopes.slopes["mu"][2] != 0


# ---- as published: what the invalid variants do -----------------------------------------------


def as_published_toy():
    """K = 4, one variable, c = f: the case of audit relax-bias, with an f of our own."""
    rng = numpy.random.default_rng(20)
    q = igr_i(numpy.array([[0.3, 0.5, -0.4]]), numpy.log(numpy.array([[0.8, 1.0, 1.3]])), 1.0)
    weights = numpy.array([1.0, -2.0, 0.5, 1.5])

    def f(z):
        return (z @ weights)[..., 0] + 1.0, numpy.broadcast_to(weights, z.shape)

    return q, f, rng, {"log_lambda": numpy.log([0.5]), "eta": numpy.asarray(1.0)}


def test_as_published_igr_is_biased_by_about_the_gradient_itself():
    q, f, rng, params = as_published_toy()
    want = truth_by_enumeration(q, f, 4)
    m = 400_000
    noise = PairedNoise(rng.normal(size=(m, 1, 3)), rng.normal(size=(m, 1, 3)))
    g = relax_as_published.relax_igr_as_published_invalid(q, noise, f, params=params).grads
    # its mean is dE[f(b)] + dE[c(z')], the second by differentiating along the path
    relaxed = igr_i(q.mu, q.log_sigma, 0.5)
    z, saved = relaxed.run(rng.normal(size=(m, 1, 3)))
    along = relaxed.pullback(saved, f(z)[1])
    twice = {name: want[name] + along[name].mean(axis=0) for name in want}
    sd = {name: numpy.sqrt((g[name].var(axis=0) + along[name].var(axis=0)) / m) for name in want}
    for name in want:
        assert numpy.all(numpy.abs(g[name].mean(axis=0) - twice[name]) < 5 * sd[name])
    truth, published = want["mu"][0, 1], g["mu"].mean(axis=0)[0, 1]
    exact = rebar(q, draws(q, rng, (40_000,)), f, params=params).grads
    assert worst_deviation(exact, want) < 5
    assert 1.6 < published / truth < 2.4 and abs(published - truth) > 50 * sd["mu"][0, 1]
    # and noisier than plain REINFORCE, which for this f is noisier than the exact estimator
    plain = rebar(q, draws(q, rng, (40_000,)), f, params={**params, "eta": numpy.asarray(0.0)}).grads
    total = [sum(x.var(axis=0).sum() for x in grads.values()) for grads in (exact, plain, g)]
    assert total[0] < total[1] < total[2]
    ledger.record(
        "RELAX as published (invalid)",
        "estimators.relax_as_published.relax_igr_as_published_invalid",
        "bias of d/dmu_2, truth 1",
        published / truth,
        "times the truth",
        m,
    )


def test_as_published_igr_has_the_kl_sign_wrong_and_trains_on_the_mu_block():
    q, f, rng, params = as_published_toy()
    noise = PairedNoise(rng.normal(size=(50, 1, 3)), rng.normal(size=(50, 1, 3)))
    invalid = relax_as_published.relax_igr_as_published_invalid
    with_kl, without = (invalid(q, noise, f, p, params=params) for p in ("uniform", None))
    right = [rebar(q, draws(q, numpy.random.default_rng(0)), f, p, params=params) for p in ("uniform", None)]
    assert numpy.all(with_kl.kl < 0) and numpy.allclose(with_kl.kl, -right[0].kl)
    for name in q.params:
        added = with_kl.grads[name] - without.grads[name]
        numpy.testing.assert_allclose(added, (-(right[0].grads[name] - right[1].grads[name]) + 0 * added), atol=1e-12)

    def mu_variance(moved):
        return numpy.mean(numpy.sum(invalid(q, noise, f, params=moved).grads["mu"] ** 2, axis=(-2, -1)))

    hvp = lambda z, t: 0 * t  # noqa: E731  (f is linear)
    got = relax_as_published.mu_block_variance_gradient_invalid(without, hvp)
    for name, value in params.items():
        fd = (mu_variance({**params, name: value + 1e-5}) - mu_variance({**params, name: value - 1e-5})) / 2e-5
        numpy.testing.assert_allclose(numpy.sum(got[name]), fd, rtol=1e-7)


def test_as_published_gumbel_is_unbiased_but_far_noisier():
    rng = numpy.random.default_rng(21)
    n, k, batch, m = 2, 3, 20, 4000
    one, f, params = law("gumbel", rng, (), n, k), oracle.Wave(rng, n * k), control_params("relax", rng, n, k)
    q = GumbelSoftmax(numpy.broadcast_to(one.log_alpha, (batch, n, k)).copy(), 1.0)
    want = truth_by_enumeration(one, f, k)
    noise = draws(q, rng, (m,))
    published = relax_as_published.relax_gumbel_as_published_invalid
    summed = {}
    for shift in (False, True):
        g = published(q, noise, f, params=params, shift=shift).grads["log_alpha"].mean(axis=1)
        assert worst_deviation({"log_alpha": g}, want) < 5
        summed[shift] = g.var(axis=0).sum()
    own = relax(q, noise, f, params=params).grads["log_alpha"].mean(axis=1).var(axis=0).sum()
    assert summed[False] > 5 * own and summed[True] > 5 * own


@pytest.mark.parametrize("shift", [None, False, True], ids=["igr", "gumbel", "gumbel, shifted"])
def test_as_published_gradients_term_by_term(shift):
    """The formulas that open the module, every derivative in them by differences, along a direction in parameters."""
    rng = numpy.random.default_rng(23)
    n, k, batch = 2, 4, 5
    q = law("igr" if shift is None else "gumbel", rng, (batch,), n, k)
    f, params, noise = oracle.Wave(rng, n * k), control_params("relax", rng, n, k), draws(q, rng, (40,))
    if shift is None:
        noise, make = PairedNoise(noise.path, rng.normal(size=noise.path.shape)), relax_as_published._IndependentPair
        published, kl_sign = relax_as_published.relax_igr_as_published_invalid, -1
    else:
        make = relax_as_published._ShiftedPair if shift else _pairs.GumbelPair
        published, kl_sign = relax_as_published.relax_gumbel_as_published_invalid, 1
    options = {"params": params} if shift is None else {"params": params, "shift": shift}
    got, with_kl = (published(q, noise, f, p, **options) for p in (None, "uniform"))
    b = q.discretize(noise.path)
    direction = {name: rng.normal(size=p.shape) for name, p in q.params.items()}

    def terms(step):
        """log q(b), c(z) and c(z~) at fixed noise, KL to the uniform law."""
        there = type(q)(*(p + step * direction[name] for name, p in q.params.items()), *_constants(q))
        pair = make(there, noise)
        samples = (pair.y, pair.y if shift is None else pair.y_given)
        c = [control_variates.evaluate(params, pair, y, f).value for y in samples]
        log_p = log_probs(there)
        kl = numpy.sum(Categorical(log_p).kl_uniform(), axis=-1)
        return numpy.array([numpy.sum(b * log_p, axis=(-2, -1)), *c, numpy.broadcast_to(kl, c[0].shape)])

    score, free, given, kl = (terms(1e-6) - terms(-1e-6)) / 2e-6
    value, residual = f(b)[0], f(b)[0] - terms(0.0)[2]
    if shift is None:
        want = residual * score + free + score
    else:
        want = batch * (residual.mean(axis=-1, keepdims=True) + 1) * score + free - given
    along, along_kl = (
        sum(numpy.sum(at.grads[name] * direction[name], axis=(-2, -1)) for name in direction) for at in (got, with_kl)
    )
    about = {"equation": "RELAX as published (invalid)", "function": "estimators.relax_as_published"}
    gradcheck.check(along, want, 1e-7, oracle="differences of each term", **about)
    gradcheck.check(along_kl, want + kl_sign * kl, 1e-7, oracle="differences of each term, KL included", **about)
    gradcheck.check(got.value, value, oracle="f(b)", **about)


def test_nothing_imports_the_invalid_variants():
    import pathlib

    import igr_ref

    for path in pathlib.Path(igr_ref.__file__).parent.rglob("*.py"):
        assert path.name == "relax_as_published.py" or "relax_as_published import" not in path.read_text()
        assert path.name == "relax_as_published.py" or "import relax_as_published" not in path.read_text()


# ---- errors -------------------------------------------------------------------------------------------------------


def test_bad_input():
    rng = numpy.random.default_rng(22)
    q, f = law("igr", rng, (), 2, 3), oracle.Wave(rng, 6)
    noise, params = draws(q, rng), rebar_params(2, 0.5)
    with pytest.raises(ValueError, match="REBAR's params"):
        rebar(q, noise, f, params={"log_lambda": params["log_lambda"]})
    with pytest.raises(ValueError, match="RELAX's params"):
        relax(q, noise, f, params=params)
    with pytest.raises(ValueError, match="2 variables"):
        rebar(q, noise, f, params=rebar_params(3, 0.5))
    with pytest.raises(TypeError, match="PairedNoise"):
        rebar(q, noise.path, f, params=params)
    with pytest.raises(TypeError, match="IGR-I"):
        rebar(igr_sb(q.mu, q.log_sigma, 1.0), noise, f, params=params)
    with pytest.raises(ValueError, match="uniform"):
        rebar(q, noise, f, q, params=params)
