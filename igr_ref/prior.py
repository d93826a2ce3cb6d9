"""Fitting a relaxation to a given discrete law (eq. 14), by matching moments.

    minimise ||z_mean - p_0||^2,  z_mean = (1/M) sum_m z_m;    the cotangent of each sample is 2 (z_mean - p_0)/M.

eq. 14 as printed, E||z - p_0||^2 = tr Var(z) + ||E z - p_0||^2, is minimised by a constant z = p_0 (sigma -> 0), which
is no relaxation of anything: "moment matching", as the text says and the code does, is the first form. Two
others are kept for comparison: "as_printed", and "kl_as_published", KL(z_mean || p_0), which the official code uses for
the Gumbel-Softmax of Figure 1 (audit figure-1-steps), with the cotangent (log(z_mean/p_0) + 1)/M.
"""

from __future__ import annotations

import math

import numpy

from . import noise
from .backend import namespace
from .distributions import igr_i, igr_sb
from .models.adam import Adam


def fit(build, params, p_0, draw, steps=1000, learning_rate=0.01, objective="moments"):
    """(params, losses): Adam on the relaxation build(**params), from the start `params` (arrays (K or K-1,)).

    draw(step) gives that step's noise (M, K or K-1). p_0 (K,) must sum to 1, or be the head of a longer law
    and sum to less. Raises ValueError for another p_0, objective or shape of noise, FloatingPointError if the
    loss stops being finite.
    """
    xp, _ = namespace(p_0)
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}; got {objective!r}")
    if p_0.ndim != 1:
        raise ValueError(f"p_0 must be one law, (K,), got shape {p_0.shape}")
    if not bool(xp.all(p_0 >= 0)) or not 0 < float(p_0.sum()) <= 1 + 1e-6:
        raise ValueError(f"p_0 must be probabilities that sum to 1 (or to less, if truncated); sum {float(p_0.sum())}")
    params = {name: value.copy() for name, value in params.items()}
    adam = Adam(params, learning_rate)
    losses = []
    for step in range(steps):
        q = build(**params)
        z, saved = q.run(draw(step))
        if z.ndim != 2:
            raise ValueError(f"draw must give (M, categories), got samples of shape {z.shape}")
        if z.shape[-1] != p_0.shape[-1]:
            raise ValueError(f"p_0 must have the relaxation's {z.shape[-1]} categories, got shape {p_0.shape}")
        loss, z_bar = OBJECTIVES[objective](z, p_0)
        losses.append(float(loss))
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"eq. 14: the loss became {losses[-1]} at step {step}")
        bars = q.pullback(saved, xp.broadcast_to(z_bar, z.shape))
        adam.step(params, {name: xp.sum(bars[name], axis=0) for name in params})
    return params, losses


def _moments(z, p_0):
    """(||z_mean - p_0||^2, its gradient by each z (1, K))."""
    xp, _ = namespace(z)
    error = xp.mean(z, axis=0, keepdims=True) - p_0
    return xp.sum(error * error), 2 * error / z.shape[0]


def _as_printed(z, p_0):
    """(mean ||z - p_0||^2, its gradient (M, K))."""
    xp, _ = namespace(z)
    error = z - p_0
    return xp.sum(error * error) / z.shape[0], 2 * error / z.shape[0]


def _kl_as_published(z, p_0):
    """(KL(z_mean || p_0), its gradient by each z (1, K)); p_0 must be positive."""
    xp, _ = namespace(z)
    mean = xp.mean(z, axis=0, keepdims=True)
    log_ratio = xp.log(mean / p_0)
    return xp.sum(mean * log_ratio), (log_ratio + 1) / z.shape[0]


OBJECTIVES = {"moments": _moments, "as_printed": _as_printed, "kl_as_published": _kl_as_published}


def igr_i_prior(n_categories, temperature=0.01, n_samples=10_000, steps=1000, seed=0):
    """(mu_0, log_sigma_0), two numbers: eq. 14 for the uniform law, start mu = log_sigma = 0, averaged over k.

    As tau -> 0 only mu_0/sigma_0 is identified (-.7530 at K = 10, audit one-fit).
    """
    start = {"mu": numpy.zeros(n_categories - 1), "log_sigma": numpy.zeros(n_categories - 1)}
    params = _fit_uniform(igr_i, start, n_categories, temperature, n_samples, steps, seed)
    return float(params["mu"].mean()), float(params["log_sigma"].mean())


def igr_sb_prior(n_categories, temperature=0.01, n_samples=10_000, steps=1000, seed=0):
    """(mu_0, log_sigma_0), arrays (K-1,): eq. 14 for the uniform law with K-1 sticks.

    Start: mu = logit(1/(K-1)), log_sigma ~ N(.541, .01^2). The K-th category cannot be reached (audit last-category).
    """
    n = n_categories - 1
    mu = numpy.full(n, -math.log(n - 1) if n > 1 else 0.0)  # logit(1/n) = -log(n - 1)
    log_sigma = 0.541 + 0.01 * noise.normal(noise.generator(seed, "prior-start"), n)
    start = {"mu": mu, "log_sigma": log_sigma}
    params = _fit_uniform(igr_sb, start, n_categories, temperature, n_samples, steps, seed)
    return params["mu"], params["log_sigma"]


def _fit_uniform(build, start, n_categories, temperature, n_samples, steps, seed):
    p_0 = numpy.full(n_categories, 1 / n_categories)

    def draw(step):
        return noise.normal(noise.generator(seed, "prior", step), (n_samples, n_categories - 1))

    return fit(lambda mu, log_sigma: build(mu, log_sigma, temperature), start, p_0, draw, steps)[0]
