"""The probabilities of Prop. 2 that are too small for a grid shared by all categories, each on a grid of its own.

    log P_k = log int_0^inf e^{f(t)} dt,   f = log phi_k + sum_{j!=k} log Phi_j:  concave, with f'' <= -1/sigma_k^2.
    f' = -(t-mu_k)/sigma_k^2 + sum_{j!=k} r(a_j)/sigma_j,  a_j = (t-mu_j)/sigma_j,  r = phi/Phi,  r'(a) = -r (r + a).
The panels run from where f has fallen by DROP below its top on the left to where it has on the right, the top being one
of their edges, so that the relative error does not depend on the size of P_k.
"""

from __future__ import annotations

import math

from ..backend import namespace
from ..numerics import log_ndtr, log_normal_pdf
from ._far import Category, is_far, scaled
from ._mode import newton
from ._quadrature import gauss_legendre_points, subdivide

DROP = 24.0  # e^-24 = 4e-11
NODES = 16
WIDTH = 8.0  # largest width of a panel in units of the local scale
RISEN = 6.0  # standard deviations above mu_j, where Phi_j is 1 to 1e-9
BREAKS = 64  # at most
CHUNK = 60_000
SPREAD = 2e3  # of mu in units of the least sigma: beyond, f ~ SPREAD^2 and its rounding hides where it has fallen


def log_integrals(mu, sigma, wanted, otherwise):
    """(L, K-1): log P_k, to 1e-7 of P_k, where `wanted`; elsewhere `otherwise`. Laws mu, sigma are rows (L, K-1)."""
    xp, _ = namespace(mu)
    apart = wanted & is_far(mu, sigma, SPREAD)[:, None]
    if bool(xp.any(apart)):
        exact = xp.zeros_like(otherwise)
        for row, k in zip(*xp.nonzero(apart), strict=True):
            exact[row, k] = Category(*scaled(mu[row], sigma[row])[:2], int(k)).log_p
        otherwise, wanted = xp.where(apart, exact, otherwise), wanted & ~apart
    law, k = xp.nonzero(wanted)
    if law.size == 0:
        return otherwise
    n = mu.shape[-1]
    size = max(1, CHUNK // (max(4 * NODES, min(n, BREAKS)) * n))
    out = []
    for start in range(0, law.size, size):
        rows, own = law[start : start + size], k[start : start + size, None] == xp.arange(n)
        out.append(_log_integral(mu[rows], sigma[rows], own))
    # each wanted entry's number among the wanted
    number = xp.reshape(xp.maximum(xp.cumsum(xp.reshape(wanted, (-1,))) - 1, 0), wanted.shape)
    return xp.where(wanted, xp.concatenate(out)[number], otherwise)


def _log_integral(mu, sigma, own):
    """log int_0^inf e^f (L,), k marked by `own` (L, K-1)."""
    xp, _ = namespace(mu)
    mode, _, top = newton(mu, own, lambda t: _f(mu, sigma, own, t))
    reach = math.sqrt(2 * DROP) * xp.sum(xp.where(own, sigma, 0), axis=-1, keepdims=True)
    low = xp.maximum(_fallen(mu, sigma, own, mode - reach, mode, top), 0)
    high = _fallen(mu, sigma, own, mode + reach, mode, top)
    # as in gaussian_argmax.grid: the local scale s changes at mu_j + RISEN sigma_j, and 1/s^2 = 1/sigma_k^2 + the sum
    # over the j that are still rising; two panels at least on either side of the top
    ends = xp.where(own, high, xp.clip(mu + RISEN * sigma, low, high))
    if mu.shape[-1] <= BREAKS:
        breaks = xp.sort(xp.concatenate([low, mode, ends], axis=-1), axis=-1)
        rising = own[:, None, :] | (ends[:, None, :] >= breaks[:, 1:, None])
    else:  # not at every mu_j, which would take n^2 numbers: between equal steps, those count that rise at the left one
        part = xp.arange(BREAKS // 2 + 1.0) / (BREAKS // 2)
        breaks = xp.concatenate([low + (mode - low) * part, mode + (high - mode) * part[1:]], axis=-1)
        rising = own[:, None, :] | (ends[:, None, :] > breaks[:, :-1, None])
    rate = xp.sqrt(xp.sum(xp.where(rising, (sigma**-2)[:, None, :], 0), axis=-1)) / WIDTH
    side = xp.where(breaks[:, 1:] <= mode, mode - low, high - mode)
    t, weight = gauss_legendre_points(subdivide(breaks, xp.maximum(rate, 1.5 / xp.maximum(side, 1e-300))), NODES)
    u = (t[:, None, :] - mu[:, :, None]) / sigma[:, :, None]
    f = xp.sum(xp.where(own[:, :, None], log_normal_pdf(u), log_ndtr(u)), axis=1)
    return top[:, 0] + xp.log(xp.sum(weight * xp.exp(f - top), axis=-1)) - xp.log(xp.sum(xp.where(own, sigma, 0), -1))


def _f(mu, sigma, own, t):
    """f + log sigma_k, f' and -f'' (L, 1) at t (L, 1)."""
    xp, _ = namespace(mu)
    a = (t - mu) / sigma
    log_phi, log_Phi = log_normal_pdf(a), log_ndtr(a)
    ratio = xp.exp(log_phi - log_Phi)
    # -r' lies in (0, 1); far below -1e4 it is 1 and r (r + a) rounding error
    fall = xp.where(a < -1e4, 1, xp.clip(ratio * (ratio + a), 0, 1))
    value = xp.sum(xp.where(own, log_phi, log_Phi), axis=-1, keepdims=True)
    slope = xp.sum(xp.where(own, -a, ratio) / sigma, axis=-1, keepdims=True)
    return value, slope, xp.sum(xp.where(own, 1, fall) / (sigma * sigma), axis=-1, keepdims=True)


def _fallen(mu, sigma, own, t, mode, top):
    """t (L, 1), given where f <= top - DROP, moved towards the mode until f > top - 1.5 DROP but never f > top - DROP.

    Newton's step for the fall top - f = DROP of a concave f, taken from outside, stays outside. The step for the root
    of the fall, which is linear for a Gaussian, is much longer: it is taken where it stays outside too.
    """
    xp, _ = namespace(mu)
    for _ in range(200):
        value, slope, _ = _f(mu, sigma, own, t)
        fall = top - value
        far = fall > 1.5 * DROP
        if not bool(xp.any(far)):
            break
        slope, fall = xp.where(far, slope, 1), xp.where(far, fall, DROP)
        leap = t + xp.where(far, 2 * xp.sqrt(fall) * (xp.sqrt(fall) - math.sqrt(1.2 * DROP)) / slope, 0)
        outside = (top - _f(mu, sigma, own, leap)[0] >= DROP) & ((leap - mode) * (t - mode) > 0)
        t = xp.where(outside, leap, t + (fall - DROP) / slope)
    return t
