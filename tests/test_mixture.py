"""The nonparametric mixture: quadrature of tiny models, autograd, finite differences, SL, IWAE, the published variant.

Most checks integrate over the noise instead of drawing it: a sample axis that runs over the nodes of a product rule,
sticks' noise times one component's noise. Every term is linear in functions of single z_k, so one node set suffices.
"""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy
import pytest
import scipy.special
from autograd.tracer import notrace_primitive

from igr_ref import noise
from igr_ref.distributions import Kumaraswamy
from igr_ref.models import Adam, Bernoulli, mixture_scoring
from igr_ref.models.losses import Gaussian
from igr_ref.models.mixture import MixtureVAE, prior_means
from igr_ref.models.mixture_as_published import log_likelihood_as_published, objective_as_published
from igr_ref.models.mixture_objective import (
    MixturePosterior,
    elbo,
    elbo_sl,
    importance_log_weights,
    log_likelihood,
)
from igr_ref.models.mixture_sticks import (
    STICK_LAWS,
    LogitNormal,
    log_mixing_weights,
    log_mixing_weights_vjp,
    mean_softplus_pair,
    mean_softplus_pair_grad,
)
from igr_ref.models.mlp import part

from . import gradcheck, ledger
from . import oracles_nonparametric as exact

KINDS = ("kumaraswamy", "logit_normal")
OBJECTIVE = "models.mixture_objective"
STICKS = "models.mixture_sticks"
PUBLISHED = "models.mixture_as_published.objective_as_published"
EQUATION = "mixture ELBO"

if not hasattr(gradcheck._namespace.special, "zeta"):
    # used in the pullback of the Kumaraswamy KL only, on which no loss depends: a constant for autograd
    gradcheck._namespace.special.zeta = notrace_primitive(scipy.special.zeta)


def rng_of(*key):
    return numpy.random.default_rng(key)


def outputs(rng, lead, k, d, spread=0.7):
    """(first, second, mu, log_var) of an encoder."""
    sticks = [rng.normal(0, spread, (*lead, k - 1)) for _ in range(2)]
    return (*sticks, rng.normal(0, 1, (*lead, k, d)), rng.normal(-0.5, spread, (*lead, k, d)))


def draws(kind, rng, lead, k, d, dtype=numpy.float64):
    draw = noise.uniform if kind == "kumaraswamy" else noise.normal
    own = noise.generator(int(rng.integers(2**31)), "mixture")
    return draw(own, (*lead, k - 1), dtype), noise.normal(own, (*lead, k, d), dtype)


def posterior(kind, o, means, **options):
    return MixturePosterior(STICK_LAWS[kind](o[0], o[1], validate=False), o[2], o[3], means, **options)


class Decoder:
    """log p(x|z) of 3 binary pixels with logits z W + b, and its pullback; counts what the objective asks of it."""

    def __init__(self, rng, d, pixels=3, weight=1.5):
        self.weight, self.bias = weight * rng.standard_normal((d, pixels)), rng.standard_normal(pixels)
        self.x = (rng.random(pixels) < 0.5).astype(float)
        self.calls = 0

    def value(self, z):
        logits = anp.matmul(z, self.weight) + self.bias
        return anp.sum(self.x * logits - anp.log(1 + anp.exp(logits)), axis=-1)

    def scalar(self, z):
        """The same for one number z (d = 1)."""
        return float(self.value(numpy.array([z])))

    def __call__(self, z):
        self.calls += 1
        logits = anp.matmul(z, self.weight) + self.bias
        slope = self.x - 1 / (1 + anp.exp(-logits))

        def pullback(log_p_bar):
            return anp.matmul(log_p_bar[..., None] * slope, self.weight.T)

        return self.value(z), pullback


def names(kind):
    return (*(f"sticks.{name}" for name in STICK_LAWS[kind].parameters), "mu", "log_var")


def nodes(kind, k, n_stick=72, n_z=48):
    """((S, 1, K-1), (S, 1, K, 1)) and weights (S,): an exact average over the noise for functions that are smooth."""
    if kind == "kumaraswamy":
        x = numpy.linspace(-3, 3, n_stick)  # tanh-sinh on (0, 1): endpoint powers u^(1/a) do it no harm
        stick = scipy.special.expit(numpy.pi * numpy.sinh(x))
        weight = numpy.pi * numpy.cosh(x) * stick * scipy.special.expit(-numpy.pi * numpy.sinh(x)) * (x[1] - x[0])
    else:
        stick, weight = numpy.polynomial.hermite_e.hermegauss(n_stick)
        weight = weight / numpy.sqrt(2 * numpy.pi)
    z, z_weight = numpy.polynomial.hermite_e.hermegauss(n_z)
    grid = numpy.meshgrid(*[stick] * (k - 1), z, indexing="ij")
    weights = numpy.meshgrid(*[weight] * (k - 1), z_weight / numpy.sqrt(2 * numpy.pi), indexing="ij")
    sticks = numpy.stack([axis.reshape(-1) for axis in grid[:-1]], axis=-1)[:, None, :]
    eps = numpy.repeat(grid[-1].reshape(-1, 1, 1, 1), k, axis=2)
    return (sticks, eps), numpy.prod(numpy.stack([w.reshape(-1) for w in weights]), axis=0)


# ---- sticks --------------------------------------------------------------------------------------------------------


def test_mean_softplus_pair_against_mpmath():
    """The stated 1e-14, sigma from 1e-3 to 1e3 and mu from 0 to beyond the reach of the rule."""
    worst = 0.0
    for log10_sigma in (-3, -0.5, 0, 0.5, 1, 3):
        for r in (0.0, 0.6, 4.0, 25.0, 60.0):
            sigma = 10.0**log10_sigma
            mu = r if log10_sigma < 1 else r * sigma / 8
            args = numpy.array([mu]), numpy.array([numpy.log(sigma)])
            want = exact.softplus_pair_mean(mu, float(numpy.exp(args[1][0])))
            got = mean_softplus_pair(*args)
            error = abs(float(want - float(got[0]))) / float(want)
            assert error < 1e-14, (mu, sigma)
            worst = max(worst, error)
            assert mean_softplus_pair(-args[0], args[1])[0] == pytest.approx(got[0], rel=1e-15)
    ledger.record("logit-normal, KL to Beta(1, c)", f"{STICKS}.mean_softplus_pair", "mpmath", worst, "relative", 30)


def test_mean_softplus_pair_gradient():
    """Autograd through our own rule (its step included), and differences of mpmath quadratures."""
    for seed in range(200):
        rng = rng_of(51, seed)
        mu, log_sigma = rng.normal(0, 6, 5), rng.uniform(-4, 3, 5)
        got = mean_softplus_pair_grad(mu, log_sigma)
        wants = gradcheck.autograd_vjp(lambda m, s: anp.sum(mean_softplus_pair(m, s)), mu, log_sigma)
        for g, want in zip(got, wants, strict=True):
            gradcheck.check(
                g, want, equation="logit-normal, KL to Beta(1, c)", function=f"{STICKS}.mean_softplus_pair_grad",
                oracle="autograd",
            )  # fmt: skip
    for mu, sigma in ((0.3, 0.5), (2.0, 3.0), (-7.0, 1.5)):
        mp = exact.mp
        step = mp.mpf(10) ** -8
        got = mean_softplus_pair_grad(numpy.array([mu]), numpy.array([numpy.log(sigma)]))
        by_mu = (exact.softplus_pair_mean(mu + step, sigma) - exact.softplus_pair_mean(mu - step, sigma)) / (2 * step)
        up, down = (exact.softplus_pair_mean(mu, sigma * mp.exp(f * step)) for f in (1, -1))
        for g, want in zip(got, (by_mu, (up - down) / (2 * step)), strict=True):
            gradcheck.check(
                g, numpy.array([float(want)]), equation="logit-normal, KL to Beta(1, c)",
                function=f"{STICKS}.mean_softplus_pair_grad", oracle="mpmath differences",
            )  # fmt: skip


@pytest.mark.parametrize("concentration", [1.0, 0.4, 6.0])
def test_logit_normal_kl(concentration):
    """Against E[log q(v) - log p(v)] by quadrature in v, then its pullback; never negative."""
    for seed in range(12):
        rng = rng_of(52, seed)
        mu, log_sigma = rng.normal(0, 1.5, 1), rng.uniform(-1.5, 1, 1)
        want = exact.stick_kl("logit_normal", mu[0], log_sigma[0], concentration)
        got = LogitNormal(mu, log_sigma).kl(concentration)
        gradcheck.check(
            got, numpy.array([want]), 1e-9, equation="logit-normal, KL to Beta(1, c)",
            function=f"{STICKS}.LogitNormal.kl", oracle="quadrature",
        )  # fmt: skip
        assert got[0] > 0
    rng = rng_of(53)
    for _ in range(300):
        mu, log_sigma, bar = rng.normal(0, 2, (3, 4))
        bars = LogitNormal(mu, log_sigma).kl_vjp(concentration, bar)
        wants = gradcheck.autograd_vjp(
            lambda m, s, bar=bar: anp.sum(bar * LogitNormal(m, s, validate=False).kl(concentration)), mu, log_sigma
        )
        for name, want in zip(bars, wants, strict=True):
            gradcheck.check(
                bars[name], want, equation="logit-normal, KL to Beta(1, c)", function=f"{STICKS}.LogitNormal.kl_vjp",
                oracle="autograd",
            )  # fmt: skip
        d = rng.standard_normal((2, 4))
        got = numpy.sum(bars["mu"] * d[0] + bars["log_sigma"] * d[1])
        want = gradcheck.central_difference(
            lambda x, mu=mu, s=log_sigma, bar=bar: numpy.sum(bar * LogitNormal(mu + x[0], s + x[1]).kl(concentration)),
            numpy.zeros((2, 4)), d,
        )  # fmt: skip
        gradcheck.check(
            got, want, 1e-6, equation="logit-normal, KL to Beta(1, c)", function=f"{STICKS}.LogitNormal.kl_vjp",
            oracle="central differences", scale=1.0,
        )  # fmt: skip


def test_logit_normal_sample_density_and_pullbacks():
    """Values spelled out in v, pullbacks against autograd and complex steps: 500 configurations."""
    for seed in range(500):
        rng = rng_of(54, seed)
        mu, log_sigma, eps, bar_v, bar_rest = rng.normal(0, [[1.5], [0.5], [1], [1], [1]], (5, 3))
        q = LogitNormal(mu, log_sigma)
        y, saved = q.run(eps)
        log_v, log_rest = q.logs(y)
        v = exact.stick("logit_normal", mu, log_sigma, eps)
        assert numpy.allclose(numpy.exp(log_v), v, rtol=1e-12)
        assert numpy.allclose(log_rest, numpy.log1p(-v), rtol=1e-10, atol=1e-14)
        density = exact.stick_log_density("logit_normal", mu, log_sigma, v)
        assert numpy.allclose(q.log_prob_point(y), density, rtol=1e-9, atol=1e-9)
        bars, point_bar = q.log_prob_point_vjp(y, bar_v)
        path = q.pullback(saved, q.logs_vjp(y, bar_v, bar_rest))

        def value(m, s, x, bar=bar_v):
            return anp.sum(bar * LogitNormal(m, s, validate=False).log_prob_point(x))

        def sample(m, s, bar_v=bar_v, bar_rest=bar_rest, eps=eps):
            law = LogitNormal(m, s, validate=False)
            one, two = law.logs(law.run(eps)[0])
            return anp.sum(bar_v * one + bar_rest * two)

        def textbook(x, mu=mu, s=log_sigma, eps=eps, bar_v=bar_v, bar_rest=bar_rest):
            at = mu + x[0] + numpy.exp(s + x[1]) * eps
            return numpy.sum(-bar_v * numpy.log(1 + numpy.exp(-at)) - bar_rest * numpy.log(1 + numpy.exp(at)))

        wants = (*gradcheck.autograd_vjp(value, mu, log_sigma, y), *gradcheck.autograd_vjp(sample, mu, log_sigma))
        gots = (bars["mu"], bars["log_sigma"], point_bar, path["mu"], path["log_sigma"])
        for got, want, name in zip(gots, wants, ["log_prob_point_vjp"] * 3 + ["pullback"] * 2, strict=True):
            gradcheck.check(
                got, want, equation="logit-normal, sample and density", function=f"{STICKS}.LogitNormal.{name}",
                oracle="autograd", scale=1e-3,
            )  # fmt: skip
        d = rng.standard_normal((2, 3))
        gradcheck.check(
            numpy.sum(path["mu"] * d[0] + path["log_sigma"] * d[1]),
            gradcheck.complex_step(textbook, numpy.zeros((2, 3)), d),
            equation="logit-normal, sample and density", function=f"{STICKS}.LogitNormal.pullback",
            oracle="complex step", scale=1e-2,
        )  # fmt: skip


@pytest.mark.parametrize("kept", [None, 1, 2, 4, 6])
def test_mixing_weights(kept):
    """pi by its product, summing to 1 whatever is kept, and the pullback against autograd and the product rule."""
    for seed in range(200):
        rng = rng_of(55, seed, kept or 0)
        y, pi_bar = rng.normal(0, 2, (2, 3, 5)), rng.standard_normal((2, 3, 6))
        law = LogitNormal(y, numpy.zeros_like(y))
        log_v, log_rest = law.logs(y)
        whole = None if kept is None else numpy.full((1, 1), kept)
        pi = numpy.exp(log_mixing_weights(log_v, log_rest, whole))
        want = exact.mixing_weights(1 / (1 + numpy.exp(-y)), kept)
        assert numpy.allclose(pi[..., : want.shape[-1]], want, rtol=1e-12) and numpy.all(pi[..., want.shape[-1] :] == 0)
        assert numpy.allclose(pi.sum(axis=-1), 1, rtol=0, atol=1e-14)  # trap: weights that no longer sum to 1
        y_bar = law.logs_vjp(y, *log_mixing_weights_vjp(pi_bar * pi, whole))

        def value(y, kept=kept, bar=pi_bar):
            pi = exact.mixing_weights(1 / (1 + anp.exp(-y)), kept)
            return anp.sum(pi * bar[..., : pi.shape[-1]])

        def ours(y, whole=whole, bar=pi_bar, kept=kept):
            pi = anp.exp(log_mixing_weights(*LogitNormal.logs(y), whole))[..., :kept]
            return anp.sum(pi * bar[..., :kept])

        if kept == 1:  # pi = (1, 0, ..., 0), whatever y
            assert numpy.all(y_bar == 0)
            continue
        for function, oracle in ((ours, "autograd"), (value, "autograd of the textbook form")):
            gradcheck.check(
                y_bar, autograd.grad(function)(y), equation="eq. 16", function=f"{STICKS}.log_mixing_weights_vjp",
                oracle=oracle, scale=1e-6,
            )  # fmt: skip


# ---- the ELBO ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concentration", [1.0, 2.5])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("objective", [elbo, elbo_sl])
def test_mean_over_the_noise_is_the_elbo(objective, kind, k, concentration):
    """D = 1, 3 pixels: our loss averaged over the noise exactly, and the ELBO from its definition by quadrature."""
    for seed in range(2):
        rng = rng_of(61, seed, k)
        o, decoder, means = outputs(rng, (1,), k, 1, 0.3), Decoder(rng, 1, weight=1.0), prior_means(rng, k, 1)
        grid, weight = nodes(kind, k)
        estimate = objective(posterior(kind, o, means, concentration=concentration), grid, decoder)
        want = -exact.exact_elbo(
            kind, *(part[0] for part in o[:2]), *(part[0, :, 0] for part in o[2:]), means[:, 0], decoder.scalar,
            concentration,
        )  # fmt: skip
        gradcheck.check(
            numpy.sum(weight * estimate.loss[:, 0]), numpy.float64(want), 1e-8, equation=EQUATION,
            function=f"{OBJECTIVE}.{objective.__name__}", oracle="quadrature of the definition",
        )  # fmt: skip
        assert decoder.calls == 1


@pytest.mark.parametrize("kind", KINDS)
def test_elbo_gradients_against_autograd_and_finite_differences(kind):
    """1,000 configurations of S, B, K, D: every encoder output of `elbo`, its own forward traced, and a direction."""
    for seed in range(500):
        rng = rng_of(62, seed)
        k, d = int(rng.choice([2, 3, 7])), int(rng.choice([1, 2, 5]))
        s, b = int(rng.integers(1, 3)), int(rng.integers(1, 4))
        o, decoder, means = outputs(rng, (b,), k, d), Decoder(rng, d), prior_means(rng, k, d)
        eps = draws(kind, rng, (s, b), k, d)
        c = 1.0 if seed % 3 else 0.6
        grads = elbo(posterior(kind, o, means, concentration=c), eps, decoder).grads
        assert all(grads[name].shape[:2] == (s, b) for name in names(kind))

        def value(*o, eps=eps, decoder=decoder, means=means, c=c):
            return anp.sum(elbo(posterior(kind, o, means, concentration=c), eps, decoder).loss)

        common = {"equation": EQUATION, "function": f"{OBJECTIVE}.elbo"}
        if seed % 5 == 0:
            for name, want in zip(names(kind), gradcheck.autograd_vjp(value, *o), strict=True):
                gradcheck.check(grads[name].sum(axis=0), want, oracle="autograd", scale=1e-3, **common)
        direction = [rng.standard_normal(part.shape) for part in o]
        pairs = [(grads[name].sum(axis=0), part) for name, part in zip(names(kind), direction, strict=True)]
        got = sum(numpy.sum(gradient * part) for gradient, part in pairs)
        flat = numpy.concatenate([part.ravel() for part in direction])
        cuts = numpy.cumsum([part.size for part in o])[:-1]

        def at(x, o=o, cuts=cuts, value=value):
            moved = (p + m.reshape(p.shape) for p, m in zip(o, numpy.split(x, cuts), strict=True))
            return value(*moved)

        want = gradcheck.central_difference(at, numpy.zeros(flat.size), flat)
        # one number out of terms that may cancel: its error is that of their sizes
        size = sum(numpy.linalg.norm(gradient) * numpy.linalg.norm(part) for gradient, part in pairs)
        gradcheck.check(got, want, 1e-6, oracle="central differences", scale=float(size), **common)


def sampled(kind, o, frozen, eps, means, decoder, kept=None, concentration=1.0):
    return exact.mixture_loss(kind, o, frozen, eps, means, decoder.value, concentration, kept)


@pytest.mark.parametrize("kind", KINDS)
def test_sl_gradients_are_the_path_alone(kind):
    """Autograd of the textbook sampled loss with a second, frozen copy of the parameters inside log q; and the full
    gradient of our own forward less the score terms, each by autograd: 300 configurations."""
    for seed in range(300):
        rng = rng_of(63, seed)
        k, d = int(rng.choice([2, 3, 6])), int(rng.choice([1, 3]))
        s, b = int(rng.integers(1, 3)), int(rng.integers(1, 4))
        o, decoder, means = outputs(rng, (b,), k, d, 0.35), Decoder(rng, d), prior_means(rng, k, d)
        eps = draws(kind, rng, (s, b), k, d)
        if kind == "kumaraswamy":  # the textbook's 1 - v loses digits at the ends, hence these and the tolerances below
            eps = (0.02 + 0.96 * eps[0], eps[1])
        c = (1.0, 2.5)[seed % 2]
        estimate = elbo_sl(posterior(kind, o, means, concentration=c), eps, decoder)
        gradcheck.check(
            estimate.loss, sampled(kind, o, o, eps, means, decoder, concentration=c), 1e-10, equation=EQUATION,
            function=f"{OBJECTIVE}.elbo_sl", oracle="textbook form", scale=1.0,
        )  # fmt: skip

        def path(*free, o=o, eps=eps, means=means, decoder=decoder, c=c):
            return anp.sum(sampled(kind, free, o, eps, means, decoder, concentration=c))

        wants = gradcheck.autograd_vjp(path, *o)
        common = {"equation": "sticking the landing, mixture", "function": f"{OBJECTIVE}.elbo_sl"}
        for name, want in zip(names(kind), wants, strict=True):
            got = estimate.grads[name].sum(axis=0)
            gradcheck.check(got, want, 1e-9, oracle="autograd, frozen copy", scale=1.0, **common)
        if seed % 10 == 0:
            point = STICK_LAWS[kind](o[0], o[1]).run(eps[0])[0]
            z = o[2] + numpy.exp(o[3] / 2) * eps[1]
            pi = exact.mixing_weights(exact.stick(kind, o[0], o[1], eps[0]))

            def full(*free, eps=eps, means=means, decoder=decoder, c=c):
                return anp.sum(elbo_sl(posterior(kind, free, means, concentration=c), eps, decoder).loss)

            def score(*free, z=z, pi=pi, point=point):
                log_q = anp.sum(pi * exact.log_normal(z, free[2], anp.exp(free[3])))
                return log_q + anp.sum(STICK_LAWS[kind](free[0], free[1], validate=False).log_prob_point(point))

            parts = zip(names(kind), gradcheck.autograd_vjp(full, *o), gradcheck.autograd_vjp(score, *o), strict=True)
            for name, all_of_it, score_part in parts:
                got = estimate.grads[name].sum(axis=0)
                gradcheck.check(got, all_of_it - score_part, 1e-9, oracle="autograd less score", scale=1.0, **common)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_sl_is_unbiased(kind, k):
    """Averaged over the noise exactly, the path gradient equals the gradient of the ELBO itself."""
    for seed in range(3):
        rng = rng_of(64, seed, k)
        o, decoder, means = outputs(rng, (1,), k, 1, 0.3), Decoder(rng, 1), prior_means(rng, k, 1)
        grid, weight = nodes(kind, k)
        q = posterior(kind, o, means, concentration=(1.0, 3.0)[seed % 2])
        plain, path = (objective(q, grid, decoder).grads for objective in (elbo, elbo_sl))
        for name in names(kind):
            mean = [numpy.tensordot(weight, grads[name], 1) for grads in (plain, path)]
            gradcheck.check(
                mean[1], mean[0], 1e-7, equation="sticking the landing, mixture", function=f"{OBJECTIVE}.elbo_sl",
                oracle="quadrature over the noise", scale=1e-2,
            )  # fmt: skip
            if name in ("mu", "log_var"):
                for grads, m in zip((plain, path), mean, strict=True):
                    assert numpy.tensordot(weight, (grads[name] - m) ** 2, 1).sum() > 1e-8  # both vary with the noise


def test_sl_has_no_variance_where_q_is_the_posterior():
    """(1) x independent of z: Kumaraswamy(1, 1) sticks and N(m_k, I) are the posterior; every sample's gradient is 0.
    (2) Gaussian log p(x|z) in z and q(z|k) = p(z|x, k): the components' gradients are 0 at every sample."""
    rng = rng_of(65)
    k, d, s, b = 4, 3, 50, 2
    means = prior_means(rng, k, d)
    zero = numpy.zeros((b, k - 1))
    prior = (zero, zero, numpy.broadcast_to(means, (b, k, d)), numpy.zeros((b, k, d)))
    eps = draws("kumaraswamy", rng, (s, b), k, d)
    estimate = elbo_sl(posterior("kumaraswamy", prior, means), eps, lambda z: (0 * z[..., 0] - 7, lambda bar: 0 * z))
    assert numpy.allclose(estimate.loss, 7, rtol=0, atol=1e-12)
    assert all(numpy.max(numpy.abs(g)) < 1e-12 for g in estimate.grads.values())
    plain = elbo(posterior("kumaraswamy", prior, means), eps, lambda z: (0 * z[..., 0] - 7, lambda bar: 0 * z))
    assert numpy.allclose(plain.loss, 7, rtol=0, atol=1e-12)

    # log p(x|z) = -|x - z|^2/(2 s2): precision 1 + 1/s2, mean (m + x/s2)/(1 + 1/s2)
    x, s2 = rng.standard_normal(d), 0.3
    mean, variance = (means + x / s2) / (1 + 1 / s2), 1 / (1 + 1 / s2)
    for kind in KINDS:
        o = (zero + 0.4, zero - 0.2, numpy.broadcast_to(mean, (b, k, d)), numpy.full((b, k, d), numpy.log(variance)))

        def decode(z):
            return -0.5 * numpy.sum((x - z) ** 2, axis=-1) / s2, lambda bar: bar[..., None] * (x - z) / s2

        eps = draws(kind, rng, (s, b), k, d)
        path, plain = (objective(posterior(kind, o, means), eps, decode).grads for objective in (elbo_sl, elbo))
        assert max(numpy.max(numpy.abs(path[name])) for name in ("mu", "log_var")) < 1e-12
        assert min(numpy.max(numpy.abs(plain[name])) for name in ("mu", "log_var")) > 0.1


# ---- truncation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", [elbo, elbo_sl])
def test_truncated_mixture(objective):
    """v_{K_rho} = 1 without a KL: the loss on fewer components with one stick less, gradients zero beyond."""
    for seed in range(100):
        rng = rng_of(66, seed)
        k, d, s, b = 9, 2, 2, 5
        o, decoder, means = list(outputs(rng, (b,), k, d)), Decoder(rng, d), prior_means(rng, k, d)
        eps = draws("logit_normal", rng, (s, b), k, d)
        q = posterior("logit_normal", o, means, rho=0.9, percentile=70)
        estimate = objective(q, eps, decoder)
        y = o[0] + numpy.exp(o[1]) * eps[0]
        w = exact.mixing_weights(1 / (1 + numpy.exp(-y)))[..., :-1].reshape(-1, k - 1)
        kept = exact.inverted_cdf_percentile([exact.k_rho(sticks, 0.9) for sticks in w], 70)
        assert 1 < kept <= k
        cut = (o[0][:, : kept - 1], o[1][:, : kept - 1], o[2][:, :kept], o[3][:, :kept])
        small = objective(
            posterior("logit_normal", cut, means[:kept]), (eps[0][..., : kept - 1], eps[1][:, :, :kept]), decoder
        )
        common = {"equation": "eq. 19, mixture", "function": f"{OBJECTIVE}.{objective.__name__}"}
        gradcheck.check(estimate.loss, small.loss, 1e-12, oracle="a model of K_rho components", **common)
        for name in names("logit_normal"):
            n = kept - 1 if name.startswith("sticks") else kept
            got = numpy.moveaxis(estimate.grads[name], 2, 0)
            want = numpy.moveaxis(small.grads[name], 2, 0)
            gradcheck.check(got[:n], want, 1e-12, oracle="a model of K_rho components", **common)
            assert numpy.all(got[n:] == 0)
        if objective is elbo_sl and seed % 5 == 0:
            frozen = [part.copy() for part in o]
            wants = gradcheck.autograd_vjp(
                lambda *free, f=frozen, e=eps, m=means, dec=decoder, n=kept: anp.sum(
                    sampled("logit_normal", free, f, e, m, dec, kept=n)
                ),
                *o,
            )
            for name, want in zip(names("logit_normal"), wants, strict=True):
                got = estimate.grads[name].sum(axis=0)
                gradcheck.check(got, want, 1e-9, oracle="autograd, frozen copy", scale=1.0, **common)


def test_one_component_kept_and_all_kept():
    """A first stick above rho leaves one component of weight 1; sticks that never reach rho leave all K."""
    rng = rng_of(67)
    o, decoder, means = list(outputs(rng, (2,), 5, 1)), Decoder(rng, 1), prior_means(rng, 5, 1)
    eps = draws("logit_normal", rng, (1, 2), 5, 1)
    o[0] = numpy.full((2, 4), 30.0)
    for objective in (elbo, elbo_sl):
        estimate = objective(posterior("logit_normal", o, means, rho=0.99), eps, decoder)
        z = o[2][:, 0] + numpy.exp(o[3][:, 0] / 2) * eps[1][0, :, 0]
        assert numpy.allclose(estimate.value, -decoder.value(z), rtol=1e-12)
        assert all(numpy.all(estimate.grads[name] == 0) for name in names("logit_normal")[:2])
        assert numpy.all(estimate.grads["mu"][:, :, 1:] == 0) and numpy.all(estimate.grads["mu"][:, :, 0] != 0)
    o[0] = numpy.full((2, 4), -30.0)
    for objective in (elbo, elbo_sl):
        few, every = (objective(posterior("logit_normal", o, means, rho=r), eps, decoder) for r in (0.99, None))
        assert numpy.array_equal(few.loss, every.loss) and numpy.all(few.grads["mu"] == every.grads["mu"])


# ---- importance weights --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_importance_weights_average_to_the_likelihood(kind, k):
    """E w = p(x), by exact average over the noise; rho does not enter: the scored model has all components."""
    for seed in range(3):
        rng = rng_of(68, seed, k)
        o, decoder, means = list(outputs(rng, (1,), k, 1, 0.25)), Decoder(rng, 1), prior_means(rng, k, 1)
        if kind == "logit_normal":  # as wide as the prior, or p/q grows in the tails and the rule converges slowly
            o[1] = o[1] + 0.6
        grid, weight = nodes(kind, k)
        for concentration in (1.0, 2.0):
            q = posterior(kind, o, means, concentration=concentration, rho=0.3, percentile=1)
            assert q.kept(q.sticks.logs(q.sticks.run(grid[0])[0])[1]).max() == 1
            log_w = importance_log_weights(q, grid, decoder)
            want = exact.exact_log_likelihood(means[:, 0], decoder.scalar, concentration)
            gradcheck.check(
                numpy.log(numpy.sum(weight * numpy.exp(log_w[:, 0]))), numpy.float64(want), 2e-5,
                equation="mixture, importance weights", function=f"{OBJECTIVE}.importance_log_weights",
                oracle="quadrature over the noise",
            )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_iwae_approaches_the_log_likelihood(kind):
    """m = 200,000 draws: within 5 standard errors (delta method) of log p(x), and nearer it than the ELBO is."""
    rng = rng_of(69)
    k, m = 3, 200_000
    decoder, means = Decoder(rng, 1), prior_means(rng, k, 1)
    # q a little wider than the prior, so that the weights are bounded
    second = numpy.full((1, k - 1), 0.0 if kind == "kumaraswamy" else 0.9)
    o = (numpy.zeros((1, k - 1)), second, means[None] + 0.2, numpy.full((1, k, 1), 0.3))
    eps = draws(kind, rng, (m, 1), k, 1)
    log_w = importance_log_weights(posterior(kind, o, means), eps, decoder)
    want = exact.exact_log_likelihood(means[:, 0], decoder.scalar)
    w = numpy.exp(log_w[:, 0] - want)
    got, error = log_likelihood(log_w)[0], w.std() / numpy.sqrt(m)
    assert abs(got - want) < 5 * error and error < 0.01
    bound = numpy.mean(log_likelihood(log_w.reshape(m // 5, 5, 1)))  # 40,000 estimates with S = 5
    single = float(numpy.mean(log_w))
    one_sample = -float(numpy.mean(elbo_sl(posterior(kind, o, means), eps, decoder).loss))
    assert one_sample < single < bound < want + 5 * error  # log of the sum over k beats the sum of logs (Jensen)
    ledger.record(
        "mixture, importance weights", f"{OBJECTIVE}.log_likelihood", "exact likelihood, 2e5 draws",
        abs(got - want) / error, "standard errors",
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_nearest_to_uniform_is_a_minimum_of_the_kl(kind):
    law = STICK_LAWS[kind]
    at = [numpy.array([value]) for value in law.nearest_to_uniform]
    grads = law(*at).kl_vjp(1.0, numpy.ones(1))
    assert all(abs(float(g[0])) < 1e-13 for g in grads.values())
    least = float(law(*at).kl(1.0)[0])
    assert least == pytest.approx(0.0 if kind == "kumaraswamy" else 0.0095116, abs=1e-7)
    for step in (-0.3, 0.3):
        for i in range(2):
            moved = [a + step * (j == i) for j, a in enumerate(at)]
            assert float(law(*moved).kl(1.0)[0]) > least


@pytest.mark.parametrize("likelihood", [Bernoulli(), Gaussian()])
def test_scoring_in_blocks_gives_the_same_weights(likelihood, monkeypatch):
    """Image by image, in blocks of any size, against one product for all rows (the path of replicas)."""
    rng = rng_of(70)
    net = MixtureVAE("logit_normal", likelihood, 6, prior_means(rng, 4, 3), width=5)
    params = net.init(rng, numpy.float64)
    x = (rng.random((3, 6)) < 0.5).astype(float)
    eps = draws("logit_normal", rng, (11, 3), 4, 3)
    lifted = {name: p[None] for name, p in params.items()}
    want = net.log_weights(lifted, x[None], tuple(e[None] for e in eps))[0]
    for rows in (1000, 7, 1):
        monkeypatch.setattr(mixture_scoring, "ROWS", rows)
        got = net.log_weights(params, x, eps)
        assert got.shape == (11, 3)
        gradcheck.check(
            got, want, 1e-12, equation="mixture, importance weights", function="models.MixtureVAE.log_weights",
            oracle="all rows at once",
        )  # fmt: skip


# ---- as published --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [False, True, None])
@pytest.mark.parametrize("kind", KINDS)
def test_published_objective_and_its_gradients(kind, stop):
    """Value spelled out with clipped weights; gradients against autograd of that text and finite differences."""
    clipped = 0
    for seed in range(100):
        rng = rng_of(71, seed)
        k, d, s, b = 6, 2, 2, 3
        o, decoder = list(outputs(rng, (b,), k, d, 0.4)), Decoder(rng, d)
        o[0] = o[0] + 1.5 * (seed % 2)  # some weights below the clip
        means = prior_means(rng, k, d, slots=b)  # drawn anew for each image (audit mixture-prior-slots)
        rho = (0.9, 0.9999)[seed % 2] if kind == "logit_normal" else None
        eps = draws(kind, rng, (s, b), k, d)
        if kind == "kumaraswamy":
            eps = (0.02 + 0.96 * eps[0], eps[1])
        q = posterior(kind, o, means, rho=rho)
        v = exact.stick(kind, o[0], o[1], eps[0])
        n = None
        if rho is not None:
            w = exact.mixing_weights(v)[..., :-1].reshape(-1, k - 1)
            n = exact.inverted_cdf_percentile([exact.k_rho(sticks, rho) for sticks in w], 70) - 1
            if n == 0:
                continue
        raw = exact.mixing_weights(v) if n is None else exact.mixing_weights(v, n + 1)[..., :-1]
        clipped += int(numpy.sum((raw < 1e-4) | (raw > 0.9999)))
        estimate = objective_as_published(q, eps, decoder, stop)
        want = exact.published_loss(kind, o, o, eps, means, decoder.value, n)
        common = {"equation": "Table 3, as published", "function": PUBLISHED}
        gradcheck.check(estimate.loss, want, 1e-10, oracle="textbook form", scale=1.0, **common)
        assert numpy.array_equal(log_likelihood_as_published(q, eps, decoder), -estimate.loss)
        stopped = (kind == "kumaraswamy") if stop is None else stop

        def value(*free, o=o, eps=eps, means=means, decoder=decoder, n=n, stopped=stopped):
            return anp.sum(exact.published_loss(kind, free, o if stopped else free, eps, means, decoder.value, n))

        for name, one in zip(names(kind), gradcheck.autograd_vjp(value, *o), strict=True):
            got = estimate.grads[name].sum(axis=0)
            gradcheck.check(got, one, 1e-9, oracle="autograd, textbook form", scale=1.0, **common)
        if seed % 5 == 0:
            direction = [rng.standard_normal(part.shape) for part in o]
            got = sum(numpy.sum(estimate.grads[x].sum(axis=0) * y) for x, y in zip(names(kind), direction, strict=True))
            move = lambda t, o=o, y=direction: [a + t * c for a, c in zip(o, y, strict=True)]  # noqa: E731
            want = (value(*move(1e-6)) - value(*move(-1e-6))) / 2e-6
            gradcheck.check(numpy.float64(got), want, 1e-5, oracle="central differences", scale=10.0, **common)
    assert clipped > 0  # the clip was met: clamped values have gradient 0


def test_trap_clamped_forward_with_unclamped_gradient():
    """A component whose weight is clipped at 1e-4 gets no gradient through its weight: moving the stick changes nothing
    but the other weights."""
    means = numpy.zeros((3, 1))
    eps = (numpy.array([[[0.0, 0.0]]]), numpy.zeros((1, 1, 3, 1)))
    o = (numpy.array([[-12.0, 0.3]]), numpy.zeros((1, 2)), numpy.zeros((1, 3, 1)), numpy.zeros((1, 3, 1)))

    def decode(z):
        return 0 * z[..., 0] + numpy.array([50.0, 0.0, 0.0]), lambda bar: 0 * z

    with_slope = objective_as_published(posterior("logit_normal", o, means), eps, decode).grads["sticks.mu"][0, 0, 0]
    # what is left is the density's own -(1 - 2v) and the other weights' share, far below 50 pi_1 = 3e-4
    step = 1e-5
    value = [
        objective_as_published(
            posterior("logit_normal", (o[0] + numpy.array([[f * step, 0.0]]), *o[1:]), means), eps, decode
        ).loss[0, 0]
        for f in (1, -1)
    ]
    assert abs(with_slope - (value[0] - value[1]) / (2 * step)) < 1e-6


def test_published_bound_is_looser_sample_by_sample():
    """log sum pi q >= sum pi log q: -loss never exceeds the structured bound on the same draws."""
    rng = rng_of(72)
    k, d = 5, 3
    o, decoder, means = outputs(rng, (4,), k, d, 0.3), Decoder(rng, d), prior_means(rng, k, d)
    eps = draws("kumaraswamy", rng, (300, 4), k, d)
    q = posterior("kumaraswamy", o, means)
    structured, published = elbo_sl(q, eps, decoder).loss, objective_as_published(q, eps, decoder).loss
    pi = exact.mixing_weights(exact.stick("kumaraswamy", o[0], o[1], eps[0]))
    inside = numpy.all((pi > 1e-4) & (pi < 0.9999), axis=-1)
    assert inside.mean() > 0.5
    assert numpy.all(published[inside] >= structured[inside] - 1e-12)
    assert numpy.mean(published[inside] - structured[inside]) > 0.1


def test_published_rule_without_a_stick():
    o = (numpy.full((2, 3), 9.0), numpy.zeros((2, 3)), numpy.zeros((2, 4, 1)), numpy.zeros((2, 4, 1)))
    eps = (numpy.zeros((1, 2, 3)), numpy.zeros((1, 2, 4, 1)))
    q = posterior("logit_normal", o, numpy.zeros((4, 1)), rho=0.9)
    with pytest.raises(ArithmeticError, match="keeps no stick"):
        objective_as_published(q, eps, lambda z: (z[..., 0], lambda bar: bar[..., None] + 0 * z))


# ---- the network ---------------------------------------------------------------------------------------------------


def tiny(kind, seed=0, dtype=numpy.float64, likelihood=None, **options):
    rng = rng_of(80, seed)
    means = prior_means(rng, 4, 2, dtype)
    vae = MixtureVAE(kind, likelihood or Bernoulli(), 6, means, width=5, **options)
    params = vae.init(rng, dtype)
    # away from relu's kinks and from all-zero outputs
    params = {name: array + (0.1 * rng.standard_normal(array.shape)).astype(dtype) for name, array in params.items()}
    x = (rng.random((3, 6)) < 0.5).astype(dtype)
    return vae, params, x, draws(kind, rng, (2, 3), 4, 2, dtype), rng


SETTINGS = [("kumaraswamy", {}), ("logit_normal", {}), ("logit_normal", {"rho": 0.8}), ("kumaraswamy", {"rho": 0.9})]


@pytest.mark.parametrize("objective", [elbo, elbo_sl, objective_as_published])
@pytest.mark.parametrize(("kind", "options"), SETTINGS)
def test_network_gradients(kind, options, objective):
    """All encoder and decoder parameters: autograd of the mean loss where nothing is stopped, else of the decoder's;
    finite differences along random directions of what the objective differentiates."""
    for seed in range(6):
        likelihood = Gaussian() if seed == 5 else None
        vae, params, x, eps, rng = tiny(kind, seed, likelihood=likelihood, **options)
        estimate, grads = vae.loss_and_grads(params, x, eps, objective)
        assert set(grads) == set(params) and estimate.loss.shape == (2, 3)
        assert numpy.array_equal(vae.loss(params, x, eps, objective).loss, estimate.loss)
        stopped = objective is elbo_sl or (objective is objective_as_published and kind == "kumaraswamy")

        def value(free, vae=vae, x=x, eps=eps):
            return anp.mean(vae.loss(free, x, eps, objective).loss)

        checked = [name for name in params if name.startswith("decoder") or not stopped]
        wants = autograd.grad(lambda part, params=params, value=value: value({**params, **part}))(
            {name: params[name] for name in checked}
        )
        common = {"equation": EQUATION, "function": "models.mixture.MixtureVAE.loss_and_grads"}
        for name in checked:
            gradcheck.check(grads[name], wants[name], 1e-9, oracle="autograd", scale=1e-3, **common)
        direction = {name: rng.standard_normal(params[name].shape) for name in checked}
        moved = [value({**params, **{n: params[n] + f * 1e-6 * direction[n] for n in checked}}) for f in (1, -1)]
        got = numpy.float64(sum(numpy.sum(grads[n] * direction[n]) for n in checked))
        gradcheck.check(got, (moved[0] - moved[1]) / 2e-6, 1e-6, oracle="central differences", scale=1.0, **common)


@pytest.mark.parametrize("kind", KINDS)
def test_sl_through_the_network(kind):
    """The encoder's gradients under SL: the outputs' own (checked above), pushed back by autograd."""
    vae, params, x, eps, _ = tiny(kind, 3)
    _, grads = vae.loss_and_grads(params, x, eps, elbo_sl)
    q = vae.posterior(params, x)
    law = q.sticks
    o = (*(law.params[name] for name in law.parameters), q.mu, q.log_var)

    def decode(z):
        logits = vae.decoder.run({n[8:]: a for n, a in params.items() if n.startswith("decoder")}, z)[0]
        return anp.sum(x[:, None] * logits - anp.log(1 + anp.exp(logits)), axis=-1)

    def path(*free):
        return anp.mean(exact.mixture_loss(kind, free, o, eps, vae.means, decode))

    bars = gradcheck.autograd_vjp(path, *o)

    def through(encoder):
        q = vae.posterior({**params, **encoder}, x)
        outs = (*(q.sticks.params[name] for name in law.parameters), q.mu, q.log_var)
        return sum(anp.sum(bar * out) for bar, out in zip(bars, outs, strict=True))

    wants = autograd.grad(through)({name: a for name, a in params.items() if name.startswith("encoder")})
    for name, want in wants.items():
        gradcheck.check(
            grads[name], want, 1e-9, equation="sticking the landing, mixture",
            function="models.mixture.MixtureVAE.loss_and_grads", oracle="autograd, frozen copy", scale=1e-3,
        )  # fmt: skip


@pytest.mark.parametrize(("kind", "options"), SETTINGS[:3])
def test_replicas_and_float32(kind, options):
    """Two networks as one program give what each gives alone (its own K_rho too); float32 stays float32."""
    for objective in (elbo, elbo_sl):
        runs = [tiny(kind, seed, **options) for seed in (0, 1)]
        vae = runs[0][0]
        params = {name: numpy.stack([run[1][name] for run in runs]) for name in runs[0][1]}
        x, eps = numpy.stack([run[2] for run in runs]), [numpy.stack([run[3][i] for run in runs]) for i in range(2)]
        estimate, grads = vae.loss_and_grads(params, x, eps, objective)
        assert estimate.loss.shape == (2, 2, 3)
        for r, run in enumerate(runs):
            vae.means = runs[0][0].means
            alone, own = vae.loss_and_grads(run[1], run[2], run[3], objective)
            assert numpy.allclose(alone.loss, estimate.loss[r], rtol=1e-12)
            assert all(numpy.allclose(own[name], grads[name][r], rtol=1e-9, atol=1e-12) for name in own)
        log_w = vae.log_weights(params, x, eps)
        assert log_w.shape == (2, 2, 3) and log_likelihood(log_w).shape == (2, 3)
        vae.means, own, images = runs[0][0].means, runs[0][1], runs[0][2]

        def plain(z, own=own, images=images):
            for i in range(3):
                z = numpy.maximum(z, 0) if i else z
                z = z @ own[f"decoder.{i}.weight"] + own[f"decoder.{i}.bias"]
            return numpy.sum(images[:, None, :] * z - numpy.logaddexp(0, z), axis=-1), None

        o = vae.encoder.run(part(own, "encoder"), images)[0]
        want = importance_log_weights(vae._posterior(o[None]), runs[0][3], plain)
        numpy.testing.assert_allclose(log_w[0], want, rtol=1e-12)

        small = {name: array.astype(numpy.float32) for name, array in runs[0][1].items()}
        eps32 = [part.astype(numpy.float32) for part in runs[0][3]]
        got, got_grads = vae.loss_and_grads(small, runs[0][2].astype(numpy.float32), eps32, objective)
        want, want_grads = vae.loss_and_grads(*runs[0][1:4], objective)
        common = {"equation": EQUATION, "function": "models.mixture.MixtureVAE.loss_and_grads", "dtype": numpy.float32}
        gradcheck.check(got.loss, want.loss, oracle="float64", **common)
        for name in got_grads:
            gradcheck.check(got_grads[name], want_grads[name], 1e-3, oracle="float64", scale=1e-2, **common)


def test_initial_parameters_shapes_and_means():
    """The paper's sizes; each head by its own Glorot limit; m_1 = 0, the others +-1/sqrt(50), |m_k| = 1, fixed."""
    means = prior_means(noise.generator(0, "means"), 20, 50, numpy.float32)
    assert numpy.all(means[0] == 0) and means.dtype == numpy.float32
    assert numpy.allclose(numpy.abs(means[1:]), 1 / numpy.sqrt(50)) and numpy.allclose((means[1:] ** 2).sum(-1), 1)
    assert numpy.array_equal(means, prior_means(noise.generator(0, "means"), 20, 50, numpy.float32))
    slots = prior_means(noise.generator(0, "means"), 20, 50, slots=7)
    assert slots.shape == (7, 20, 50) and numpy.all(slots[:, 0] == 0) and not numpy.array_equal(slots[0], slots[1])
    vae = MixtureVAE("logit_normal", Bernoulli(), 784, means, rho=0.9999)
    assert vae.encoder.widths == (784, 200, 200, 200, 2 * 19 + 2 * 20 * 50)
    assert vae.decoder.widths == (50, 200, 200, 784)
    assert vae.noise_shapes(100) == ((1, 100, 19), (1, 100, 20, 50))
    params = vae.init(noise.generator(0, "init"), numpy.float32)
    head = params["encoder.3.weight"]
    for first, last, width in ((0, 19, 19), (19, 38, 19), (38, 1038, 1000), (1038, 2038, 1000)):
        limit = numpy.sqrt(6 / (200 + width))
        assert 0.97 * limit < numpy.abs(head[:, first:last]).max() <= limit * (1 + 1e-6)
    assert all(array.dtype == numpy.float32 for array in params.values())


@pytest.mark.parametrize(("kind", "rho"), [("kumaraswamy", None), ("logit_normal", 0.9999)])
def test_the_full_network_trains(kind, rho):
    """Ten float32 steps at the paper's sizes on 20 images lower the loss; nothing warns or overflows."""
    rng = rng_of(90)
    x = (rng.random((20, 784)) < numpy.linspace(0.05, 0.6, 784)).astype(numpy.float32)
    means = prior_means(rng, 20, 50, numpy.float32)
    vae = MixtureVAE(kind, Bernoulli(), 784, means, rho=rho)
    params = vae.init(rng, numpy.float32)
    adam, losses = Adam(params, 1e-3), []
    for _ in range(10):
        eps = draws(kind, rng, (1, 20), 20, 50, numpy.float32)
        estimate, grads = vae.loss_and_grads(params, x, eps, elbo_sl)
        assert all(g.dtype == numpy.float32 and numpy.all(numpy.isfinite(g)) for g in grads.values())
        adam.step(params, grads)
        losses.append(float(estimate.loss.mean()))
    assert losses[-1] < losses[0] - 20


def test_trap_log_variance_used_as_a_standard_deviation():
    """sigma = e^{log_var/2}: the spread of z and the KL of a component with log_var = log 4."""
    o = (numpy.zeros((1, 1)), numpy.zeros((1, 1)), numpy.zeros((1, 2, 1)), numpy.full((1, 2, 1), numpy.log(4)))
    seen = []

    def decode(z):
        seen.append(z)
        return 0 * z[..., 0], lambda bar: 0 * z

    eps = (numpy.zeros((1, 1, 1)), numpy.ones((1, 1, 2, 1)))
    kl = elbo(posterior("logit_normal", o, numpy.zeros((2, 1))), eps, decode).kl[0, 0]
    assert numpy.allclose(seen[0], 2)
    assert kl - LogitNormal(o[0], o[1]).kl()[0, 0] == pytest.approx(0.5 * (4 - 1) - numpy.log(2), rel=1e-12)


def test_trap_kl_sign():
    """More of either KL is more loss: the loss less its value is the KL, and it is positive."""
    rng = rng_of(91)
    for kind in KINDS:
        o, decoder, means = outputs(rng, (5,), 4, 3), Decoder(rng, 3), prior_means(rng, 4, 3)
        estimate = elbo(posterior(kind, o, means), draws(kind, rng, (20, 5), 4, 3), decoder)
        assert numpy.all(estimate.kl > 0) and numpy.allclose(estimate.loss, estimate.value + estimate.kl)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MixtureVAE("beta", Bernoulli(), 6, numpy.zeros((3, 2))), "sticks must be one of"),
        (lambda: MixtureVAE("kumaraswamy", Bernoulli(), 6, numpy.zeros((1, 2))), "means must be"),
        (lambda: LogitNormal(numpy.array([numpy.inf]), numpy.zeros(1)), "mu must be finite"),
        (lambda: LogitNormal(numpy.zeros(1), numpy.zeros(1)).kl(-1.0), "concentration must be"),
        (lambda: Kumaraswamy(numpy.zeros(1), numpy.zeros(1)).kl(0), "concentration must be"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
