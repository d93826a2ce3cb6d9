"""Diagonal Gaussian.   y = mu + sigma eps (eq. 10), sigma = e^log_sigma a standard deviation (audit sd-or-variance).

Density                  log N(y) = sum_k [log phi((y_k - mu_k)/sigma_k) - log_sigma_k].
KL (the right side of eq. 13), coordinate by coordinate:
                         KL = [(sigma/sigma_0)^2 + ((mu - mu_0)/sigma_0)^2 - 1]/2 - log_sigma + log_sigma_0.
Sums run over the last axis; leading axes broadcast.
"""

from __future__ import annotations

import math

from ..backend import namespace
from ..numerics import LOG_2PI, log_normal_pdf, select


def sample(mu, log_sigma, eps):
    """eq. 10: (..., K-1). Gradients: dy/dmu = 1, dy/dlog_sigma = sigma eps."""
    xp, _ = namespace(mu, eps)
    return mu + xp.exp(log_sigma) * eps


def sample_vjp(log_sigma, eps, y_bar):
    """(mu_bar, log_sigma_bar) of a cotangent on the sample."""
    xp, _ = namespace(log_sigma, eps)
    return y_bar, y_bar * eps * xp.exp(log_sigma)


def log_prob(mu, log_sigma, y):
    """log N(y | mu, sigma^2), summed over the last axis."""
    xp, _ = namespace(mu, y)
    return xp.sum(log_normal_pdf((y - mu) * xp.exp(-log_sigma)) - log_sigma, axis=-1)


def log_prob_vjp(mu, log_sigma, y, bar):
    """(mu_bar, log_sigma_bar, y_bar) of a cotangent (...) on log_prob."""
    xp, _ = namespace(mu, y)
    standard = (y - mu) * xp.exp(-log_sigma)
    mu_bar = bar[..., None] * standard * xp.exp(-log_sigma)
    return mu_bar, bar[..., None] * (standard * standard - 1), -mu_bar


def log_prob_and_grad(mu, log_sigma, y):
    """(log_prob, its gradient by y, -(y - mu)/sigma^2), at once."""
    xp, _ = namespace(mu, y)
    inverse = xp.exp(-log_sigma)
    standard = (y - mu) * inverse
    return standard_log_prob(standard, log_sigma), -inverse * standard


def standard_log_prob(standard, log_sigma):
    """log_prob at y = mu + sigma standard: along the path of eq. 10, from the noise itself."""
    xp, _ = namespace(standard, log_sigma)
    if log_sigma.shape[-1] != standard.shape[-1]:  # one number for all coordinates
        log_sigma = xp.broadcast_to(log_sigma, (*log_sigma.shape[:-1], standard.shape[-1]))
    constant = xp.sum(log_sigma, axis=-1) + 0.5 * LOG_2PI * standard.shape[-1]
    return -0.5 * xp.sum(standard * standard, axis=-1) - constant


def kl(mu, log_sigma, mu_0, log_sigma_0):
    """KL(N(mu, sigma^2) || N(mu_0, sigma_0^2)), summed over the last axis."""
    return kl_and_grads(mu, log_sigma, mu_0, log_sigma_0)[0]


def kl_vjp(mu, log_sigma, mu_0, log_sigma_0, bar):
    """(mu_bar, log_sigma_bar) of a cotangent (...) on kl."""
    _, by_mu, by_log_sigma = kl_and_grads(mu, log_sigma, mu_0, log_sigma_0)
    return bar[..., None] * by_mu, bar[..., None] * by_log_sigma


def kl_and_grads(mu, log_sigma, mu_0, log_sigma_0):
    """(kl, its gradient by mu, by log_sigma): the gradients are (mu - mu_0)/sigma_0^2 and (sigma/sigma_0)^2 - 1."""
    xp, _ = namespace(mu, mu_0)
    offset, twice = mu - mu_0, 2 * (log_sigma - log_sigma_0)
    standard, by_log_sigma = offset * xp.exp(-log_sigma_0), xp.expm1(twice)
    # (e^{2r} - 1)/2 - r is r^2 near r = 0, which the difference of its terms would lose
    kl = xp.sum(0.5 * (_expm1_minus(twice, by_log_sigma) + standard * standard), axis=-1)
    return kl, offset * xp.exp(-2 * log_sigma_0), by_log_sigma


def _expm1_minus(x, expm1_x):
    """e^x - 1 - x, by its series near 0, where the terms x^2/2 + x^3/6 + ... are all that is left.

    The first term left out is below eps x^2/2: (1/4)^5 2/7! for float32, (1/2)^14 2/16! for float64.
    """
    xp, _ = namespace(x)
    last, reach = (6, 0.25) if x.dtype == xp.float32 else (15, 0.5)
    small = xp.clip(x, -reach, reach)  # x itself where the series is used
    series = 1 / math.factorial(last)
    for n in range(last - 1, 1, -1):
        series = series * small + 1 / math.factorial(n)
    return select(xp.abs(x) < reach, small * small * series, expm1_x - x)
