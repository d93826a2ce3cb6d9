"""Slow, obvious versions of the nonparametric formulas, written from the paper or a textbook; no code of igr_ref.

Kumaraswamy in mpmath; eq. 19 by loops in longdouble; the mixture in plain autograd.numpy, sticks and densities spelled
out, so that the same text serves as a value and, differentiated by autograd, as a gradient.
"""

from __future__ import annotations

import autograd.numpy as anp
import mpmath
import numpy
import scipy.integrate

LONG = numpy.longdouble
mp = mpmath.mp.clone()
mp.dps = 60

# ---- Kumaraswamy -------------------------------------------------------------------------------------------------


def _log1m_exp(x):
    """log(1 - e^x), by whichever form loses no digits."""
    return mp.log1p(-mp.exp(x)) if x < -1 else mp.log(-mp.expm1(x))


def kumaraswamy_logs(log_a, log_b, u):
    """(log v, log(1-v)) of v = (1 - (1-u)^{1/b})^{1/a}, and their derivatives by log a and by log b.

    dv/da = -v log v/a and dv/db = (v/(a X)) (1-u)^{1/b} log(1-u)/b^2; logarithms by dlog v = dv/v, -dv/(1-v).
    """
    return _kumaraswamy_logs(log_a, log_b, mp.log1p(-mp.mpf(u)))


def _kumaraswamy_logs(log_a, log_b, log_rest_u):
    a, b = mp.exp(mp.mpf(log_a)), mp.exp(mp.mpf(log_b))
    t = log_rest_u / b
    log_v = _log1m_exp(t) / a
    log_rest = _log1m_exp(log_v)
    x = mp.exp(a * log_v)
    by_a, by_b = -log_v, mp.exp(t) * t / (a * x)
    odds = mp.exp(log_v - log_rest)
    return log_v, log_rest, (by_a, by_b), (-odds * by_a, -odds * by_b)


def kumaraswamy_log_density(log_a, log_b, log_v):
    """log q(v) and its derivatives by log a, log b and v, from log v."""
    a, b, log_v = mp.exp(mp.mpf(log_a)), mp.exp(mp.mpf(log_b)), mp.mpf(log_v)
    log_tail = _log1m_exp(a * log_v)
    value = mp.log(a) + mp.log(b) + (a - 1) * log_v + (b - 1) * log_tail
    ratio = mp.exp(a * log_v - log_tail)  # v^a/(1 - v^a)
    by_a = 1 / a + log_v - (b - 1) * ratio * log_v
    by_b = 1 / b + log_tail
    by_v = ((a - 1) - (b - 1) * a * ratio) / mp.exp(log_v)
    return value, a * by_a, b * by_b, by_v


def kumaraswamy_kl(log_a, log_b, concentration):
    """E log q - log p by integration over u, E of log(1-v) included; p = Beta(1, concentration)."""

    def integrand(y):  # w = e^y = -log(1-u) standard exponential
        w = mp.exp(y)
        log_v, log_rest, _, _ = _kumaraswamy_logs(log_a, log_b, -w)
        log_q = kumaraswamy_log_density(log_a, log_b, log_v)[0]
        log_p = mp.log(concentration) + (concentration - 1) * log_rest
        return mp.exp(y - w) * (log_q - log_p)

    # the trapezoidal rule, here for all of log q - log p; halving the step changes nothing in 20 digits
    step = mp.mpf(1) / 24
    with mp.workdps(32):
        return step * mp.fsum(integrand(-48 + step * k) for k in range(53 * 24))


def kumaraswamy_series(log_a, log_b, terms):
    """b sum_m B(m/a, b)/(m + a b) up to `terms`, with the tail of its asymptotic form."""
    a, b = mp.exp(mp.mpf(log_a)), mp.exp(mp.mpf(log_b))
    total = mp.fsum(b * mp.beta(m / a, b) / (m + a * b) for m in range(1, terms + 1))
    # b B(m/a, b)/(m + ab) -> Gamma(b+1) a^b m^{-b-1}
    return total + mp.gamma(b + 1) * a**b * mp.zeta(b + 1, terms + 1)


# ---- eq. 19 ------------------------------------------------------------------------------------------------------


def k_rho(w, rho):
    """eq. 19 for one sample w (K_max,): the first K with sum_{k<=K} w_k > rho, K_max + 1 if there is none."""
    total = LONG(0)
    for k, stick in enumerate(w, start=1):
        total = total + LONG(stick)
        if total > rho:
            return k
    return len(w) + 1


def inverted_cdf_percentile(values, q):
    """The smallest value that at least q % do not exceed, by counting."""
    values = sorted(values)
    for value in values:
        if 100 * sum(other <= value for other in values) >= q * len(values):
            return value
    raise AssertionError("unreachable")


# ---- the mixture -------------------------------------------------------------------------------------------------


def softplus_pair_mean(mu, sigma):
    """E[softplus(y) + softplus(-y)] = E 2 log(2 cosh(y/2)), y ~ N(mu, sigma^2), by adaptive quadrature."""
    mu, sigma = mp.mpf(mu), mp.mpf(sigma)
    special = [(c - mu) / sigma for c in (-40, -10, -3, 0, 3, 10, 40)]
    points = sorted({min(max(p, mp.mpf(-12)), mp.mpf(12)) for p in special} | {mp.mpf(i) for i in range(-12, 13, 2)})
    with mp.workdps(25):
        return mp.quad(lambda e: 2 * mp.log(2 * mp.cosh((mu + sigma * e) / 2)) * mp.npdf(e), points)


def stick(kind, first, second, noise):
    """v of one law, straight from its formula."""
    if kind == "kumaraswamy":
        a, b = anp.exp(first), anp.exp(second)
        return (1 - (1 - noise) ** (1 / b)) ** (1 / a)
    return 1 / (1 + anp.exp(-(first + anp.exp(second) * noise)))


def stick_log_density(kind, first, second, v):
    if kind == "kumaraswamy":
        a, b = anp.exp(first), anp.exp(second)
        return anp.log(a * b) + (a - 1) * anp.log(v) + (b - 1) * anp.log(1 - v**a)
    y, sigma = anp.log(v / (1 - v)), anp.exp(second)
    return -0.5 * ((y - first) / sigma) ** 2 - anp.log(sigma * anp.sqrt(2 * anp.pi)) - anp.log(v * (1 - v))


def log_normal(z, mean, variance):
    """Summed over the last axis."""
    return anp.sum(-0.5 * (z - mean) ** 2 / variance - 0.5 * anp.log(2 * anp.pi * variance), axis=-1)


def mixing_weights(v, kept=None):
    """pi_1..pi_K by its product; with kept, v_kept = 1 and only the first `kept` are returned."""
    k = v.shape[-1] + 1 if kept is None else kept
    out, left = [], anp.ones_like(v[..., 0])
    for i in range(k - 1):
        out.append(v[..., i] * left)
        left = left * (1 - v[..., i])
    return anp.stack([*out, left], axis=-1)


def mixture_loss(kind, free, frozen, noise, means, log_likelihood, concentration=1.0, kept=None):
    """-ELBO with both KLs sampled. free, frozen: (first, second, mu, log_var), used in the samples and inside log q;
    equal to each other for the value, and for the full gradient."""
    first, second, mu, log_var = free
    v = stick(kind, first, second, noise[0])
    k = v.shape[-1] + 1 if kept is None else kept
    pi = mixing_weights(v, kept)
    z = (mu + anp.exp(log_var / 2) * noise[1])[..., :k, :]
    log_p = log_likelihood(z)
    ratio = log_normal(z, frozen[2][..., :k, :], anp.exp(frozen[3][..., :k, :]))
    ratio = ratio - log_normal(z, means[..., :k, :], anp.ones_like(means[..., :k, :]))
    prior = anp.log(concentration) + (concentration - 1) * anp.log(1 - v)
    sticks = (stick_log_density(kind, frozen[0], frozen[1], v) - prior)[..., : k - 1]
    return anp.sum(pi * (ratio - log_p), axis=-1) + anp.sum(sticks, axis=-1)


def published_loss(kind, free, frozen, noise, means, log_likelihood, n=None):
    """The mixture's variant; n sticks, remainder dropped, or with n=None all sticks and the remainder."""
    first, second, mu, log_var = free
    v = stick(kind, first, second, noise[0])
    pi = mixing_weights(v) if n is None else mixing_weights(v, n + 1)[..., :-1]
    k = pi.shape[-1]
    pi = anp.clip(pi, 1e-4, 0.9999)
    z = (mu + anp.exp(log_var / 2) * noise[1])[..., :k, :]
    log_q = log_normal(z, frozen[2][..., :k, :], anp.exp(frozen[3][..., :k, :]))
    log_p_z = log_normal(z, means[..., :k, :], anp.ones_like(means[..., :k, :]))
    sticks = stick_log_density(kind, frozen[0], frozen[1], v)[..., : v.shape[-1] if n is None else n]
    joint = anp.log(anp.sum(pi * anp.exp(log_q), axis=-1)) + anp.sum(sticks, axis=-1)
    return joint - anp.sum(pi * (log_likelihood(z) + log_p_z), axis=-1)


def exact_elbo(kind, first, second, mu, log_var, means, log_likelihood, concentration=1.0):
    """The structured ELBO of one image with D = 1 by adaptive quadrature in v and in z, from its definition.

    log_likelihood(z) for scalar z. Sticks are independent, so E pi_k is a product of E v and E(1 - v).
    """
    mean_v, kl_v = [], 0.0
    for one, two in zip(first, second, strict=True):
        mean_v.append(expect_v(kind, one, two, lambda v, rest, log_q: v))
        kl_v += stick_kl(kind, one, two, concentration)
    total, left = 0.0, 1.0
    for k in range(len(mu)):
        pi = left * (mean_v[k] if k < len(mean_v) else 1.0)
        left = left * (1 - mean_v[k]) if k < len(mean_v) else 0.0
        sd = numpy.exp(log_var[k] / 2)

        def bracket(e, k=k, sd=sd):
            z = mu[k] + sd * e
            log_ratio = -0.5 * e * e - log_var[k] / 2 + 0.5 * (z - means[k]) ** 2
            return (log_likelihood(z) - log_ratio) * numpy.exp(-0.5 * e * e) / numpy.sqrt(2 * numpy.pi)

        total += pi * scipy.integrate.quad(bracket, -10, 10, epsabs=1e-13, epsrel=1e-12, limit=200)[0]
    return total - kl_v


def stick_kl(kind, first, second, concentration):
    """E[log q(v) - log p(v)], p = Beta(1, concentration)."""
    log_c = numpy.log(concentration)
    return expect_v(kind, first, second, lambda v, rest, log_q: log_q - log_c - (concentration - 1) * numpy.log(rest))


def expect_v(kind, first, second, g):
    """E g(v, 1 - v, log q(v)) = int q(v) g dv over (0, 1), in x = logit v so that both ends are far away."""

    def integrand(x):
        v, rest = 1 / (1 + numpy.exp(-x)), 1 / (1 + numpy.exp(x))
        if kind == "kumaraswamy":
            a, b = numpy.exp(first), numpy.exp(second)
            log_v = -numpy.log1p(numpy.exp(-x))
            log_q = numpy.log(a * b) + (a - 1) * log_v + (b - 1) * numpy.log(-numpy.expm1(a * log_v))
        else:
            sigma = numpy.exp(second)
            log_q = -0.5 * ((x - first) / sigma) ** 2 - numpy.log(sigma * numpy.sqrt(2 * numpy.pi) * v * rest)
        return numpy.exp(log_q) * v * rest * g(v, rest, log_q)

    grid = (-120, -40, -10, -4, 0, 4, 10, 40, 120)
    parts = zip(grid[:-1], grid[1:], strict=True)
    return sum(scipy.integrate.quad(integrand, *part, epsabs=1e-13, epsrel=1e-11, limit=200)[0] for part in parts)


def exact_log_likelihood(means, log_likelihood, concentration=1.0):
    """log p(x) = log sum_k E[pi_k] int p(x|z) N(z; m_k, 1) dz, with E v = 1/(1 + c) under Beta(1, c)."""
    mean, total, left = 1 / (1 + concentration), 0.0, 1.0
    for k, m in enumerate(means):
        weight = left * mean if k < len(means) - 1 else left
        left *= 1 - mean

        def density(z, m=m):
            return numpy.exp(log_likelihood(z) - 0.5 * (z - m) ** 2) / numpy.sqrt(2 * numpy.pi)

        total += weight * scipy.integrate.quad(density, m - 10, m + 10, epsabs=1e-14, epsrel=1e-12, limit=200)[0]
    return float(numpy.log(total))
