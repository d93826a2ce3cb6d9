"""eq. 14: moment matching, and the degeneracy of the form in which it is printed."""

from __future__ import annotations

import math

import autograd.numpy as anp
import numpy
import pytest
import scipy.integrate
import scipy.stats

from igr_ref import GumbelSoftmax, igr_i, igr_sb, noise, prior

from .gradcheck import autograd_vjp, central_difference, check


def test_gradient_of_the_moment_objective():
    """One step's gradient, read off Adam's first moment, against autograd of ||mean z - p_0||^2 written out."""
    for i in range(200):
        rng = numpy.random.default_rng((1, i))
        k, m, tau = int(rng.integers(2, 8)), int(rng.integers(1, 9)), float(numpy.exp(rng.uniform(-3, 2)))
        p_0 = rng.dirichlet(numpy.ones(k))
        mu, log_sigma, eps = rng.standard_normal(k - 1), rng.standard_normal(k - 1), rng.standard_normal((m, k - 1))
        seen = {}
        real = igr_i(mu, log_sigma, tau)

        def build(mu, log_sigma, real=real, seen=seen):
            class Spy:
                def run(self, draws):
                    return real.run(draws)

                def pullback(self, saved, z_bar):
                    seen.update({name: bar.sum(axis=0) for name, bar in real.pullback(saved, z_bar).items()})
                    return real.pullback(saved, z_bar)

            return Spy()

        prior.fit(build, {"mu": mu, "log_sigma": log_sigma}, p_0, lambda step, eps=eps: eps, steps=1)

        def objective(mu, log_sigma, eps=eps, tau=tau, p_0=p_0):
            y = mu + anp.exp(log_sigma) * eps
            logits = anp.concatenate([y / tau, anp.zeros((eps.shape[0], 1))], axis=-1)
            e = anp.exp(logits - anp.max(logits, axis=-1, keepdims=True))
            return anp.sum((anp.mean(e / anp.sum(e, axis=-1, keepdims=True), axis=0) - p_0) ** 2)

        want = autograd_vjp(objective, mu, log_sigma)
        for name, bar in zip(("mu", "log_sigma"), want, strict=True):
            check(seen[name], bar, equation="eq. 14", function="prior.fit", oracle="autograd", scale=1e-6 / tau)


def _kl(mean, p_0):
    return anp.sum(mean * (anp.log(mean) - anp.log(p_0)))


WRITTEN_OUT = {
    "moments": lambda z, p_0: anp.sum((anp.sum(z, axis=0) / len(z) - p_0) ** 2),
    "as_printed": lambda z, p_0: sum(anp.sum((row - p_0) ** 2) for row in z) / len(z),
    "kl_as_published": lambda z, p_0: _kl(anp.sum(z, axis=0) / len(z), p_0),
}


@pytest.mark.parametrize("objective", WRITTEN_OUT)
def test_objectives_and_their_cotangents(objective):
    """Value, and the gradient by every sample, against the formula written out, autograd and central differences."""
    about = {"equation": "eq. 14", "function": f"prior.{objective}"}
    for i in range(1000):
        rng = numpy.random.default_rng((4, i))
        k, m = int(rng.integers(2, 8)), int(rng.integers(1, 9))
        z, p_0 = rng.dirichlet(numpy.ones(k), m), rng.dirichlet(numpy.ones(k))

        def formula(z, p_0=p_0):
            return WRITTEN_OUT[objective](z, p_0)

        value, z_bar = prior.OBJECTIVES[objective](z, p_0)
        check(value, formula(z), oracle="written out", **about)
        z_bar = numpy.broadcast_to(z_bar, z.shape)
        check(numpy.array(z_bar), autograd_vjp(formula, z)[0], oracle="autograd", **about)
        direction = z * rng.standard_normal(z.shape)  # relative steps, as the logarithm's need
        slope = central_difference(formula, z, direction)
        size = numpy.sum(numpy.abs(direction * z_bar))
        check(numpy.sum(direction * z_bar), slope, 1e-7, oracle="central difference", scale=size, **about)


def test_igr_i_prior_is_the_uniform_law():
    """As tau -> 0 the K = 10 prior needs mu_0/sigma_0 = -.7530, found here as the root of a 1-d integral."""

    def p_last(ratio, k=10):
        return scipy.stats.norm.cdf(-ratio) ** (k - 1)

    root = scipy.optimize.brentq(lambda r: p_last(r) - 0.1, -3, 3)
    assert abs(root + 0.7530) < 5e-4
    mu, log_sigma = prior.igr_i_prior(10, steps=600)
    assert abs(mu / math.exp(log_sigma) - root) < 0.03


def test_igr_sb_prior_leaves_the_last_category_empty():
    """audit last-category: with eq. 18 the loss against the uniform law stays above 1/90, from category K alone."""
    p_0 = numpy.full(10, 0.1)
    mu, log_sigma = prior.igr_sb_prior(10, n_samples=2000, steps=400)
    q = igr_sb(mu, log_sigma, 0.01)
    eps = noise.normal(noise.generator(1, "test"), (20_000, 9))
    assert (q.category(eps) < 9).all()
    z = q.sample(eps)
    assert z[:, -1].mean() < 1e-4
    loss = ((z.mean(axis=0) - p_0) ** 2).sum()
    assert 1 / 90 - 1e-4 < loss < 0.0135


def test_eq_14_as_printed_collapses():
    """audit eq-14: E||z - p_0||^2 is minimised by a point mass at p_0."""
    draws = noise.normal(noise.generator(2, "test"), (500, 9))
    start = {"mu": numpy.zeros(9), "log_sigma": numpy.zeros(9)}
    options = {"steps": 1500, "learning_rate": 0.01}
    p_0 = numpy.full(10, 0.1)
    build = lambda mu, log_sigma: igr_i(mu, log_sigma, 0.1)  # noqa: E731
    printed, losses = prior.fit(build, start, p_0, lambda step: draws, objective="as_printed", **options)
    assert losses[-1] < 0.01 * losses[0] and numpy.exp(printed["log_sigma"]).max() < 0.05
    matched, _ = prior.fit(build, start, p_0, lambda step: draws, **options)
    assert numpy.exp(matched["log_sigma"]).min() > 0.3


def test_gumbel_softmax_fits_a_binomial():
    p_0 = scipy.stats.binom.pmf(numpy.arange(13), 12, 0.3)

    def draw(step):
        return noise.gumbel(noise.generator(3, "fit", step), (2000, 13))

    start = {"log_alpha": numpy.full(13, -math.log(13))}
    params, _ = prior.fit(lambda log_alpha: GumbelSoftmax(log_alpha, 0.1), start, p_0, draw, learning_rate=0.02)
    law = numpy.exp(GumbelSoftmax(params["log_alpha"], 0.1).log_probs())
    assert 0.5 * numpy.abs(law - p_0).sum() < 0.03


@pytest.mark.parametrize("p_0", [numpy.array([0.5, 0.6]), numpy.array([-0.1, 1.1]), numpy.array([0.0, 0.0])])
def test_bad_targets_are_named(p_0):
    with pytest.raises(ValueError, match="p_0 must be probabilities"):
        prior.fit(None, {}, p_0, None)
    with pytest.raises(ValueError, match="objective must be"):
        prior.fit(None, {}, numpy.array([0.5, 0.5]), None, objective="kl")
