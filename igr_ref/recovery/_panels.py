"""Panels for the law of the winner m = max_j y_j given H = k < K (Prop. 2), and the integrals over them.

Density on t > 0, up to P_k:  w(t) = phi_k(t) prod_{j!=k} Phi_j(t), log-concave as all its factors are.
Scores S = dlog w/domega, with u_j = (t - mu_j)/sigma_j and r = phi/Phi:
    by mu_k  u_k/sigma_k,  by sigma_k  (u_k^2 - 1)/sigma_k;  by mu_j  -r(u_j)/sigma_j,  by sigma_j  -u_j r(u_j)/sigma_j.
Everything is float64; laws are rows (L, n) with n = K-1, `own` (L, n) marks the winner k.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy

from ..backend import namespace
from ..numerics import log_normal_pdf
from ._mode import newton
from ._tails import log_ndtr_and_grad

NODES = 16  # Gauss-Legendre nodes of a panel
DROP = 70.0  # the panels reach to where w has fallen by e^-70
VARIATION = 10.0  # largest change of log w over a panel
WIDTH = 5.0  # largest width of a panel in units of sigma_k, and of sigma_j wherever Phi_j is still rising:
RISING = (-9.0, 8.5)  # in standard deviations; further left Phi_j is Gaussian, and VARIATION decides
CHUNK = 60_000  # elements of the largest temporary array: a few of them fit a processor's cache


@dataclass(frozen=True)
class Panels:
    """Edges of each law's P panels, and integrals up to them, scaled by e^-top."""

    edges: Any  # (L, P+1), the last one repeated where a law has fewer panels
    log_w: Any  # (L, P+1): log w - top at the edges
    top: Any  # (L, 1): log w near its mode
    scores_top: Any  # (L, 2n): S there, by mu and then by sigma
    left: Any  # (L, P+1): int_0^edge w
    right: Any  # (L, P+1): int_edge^inf w
    left_scores: Any  # (L, P+1, 2n): int_0^edge (S - S_top) w
    right_scores: Any  # (L, P+1, 2n): int_edge^inf (S - S_top) w


@functools.cache
def gauss_legendre(n):
    """Nodes and weights on [0, 1]."""
    x, w = numpy.polynomial.legendre.leggauss(n)
    return 0.5 * (x + 1), 0.5 * w


def log_w(mu, sigma, own, t, scores=False):
    """log w (L, T) at t (L, T); with `scores` also S (L, 2n, T)."""
    xp, _ = namespace(mu)
    u = (t[:, None, :] - mu[:, :, None]) / sigma[:, :, None]
    own = own[:, :, None]
    log_Phi, ratio = log_ndtr_and_grad(u)
    out = xp.sum(xp.where(own, log_normal_pdf(u) - xp.log(sigma)[:, :, None], log_Phi), axis=1)
    if not scores:
        return out
    by_mu = xp.where(own, u, -ratio)
    return out, xp.concatenate([by_mu, u * by_mu - own], axis=1) / xp.concatenate([sigma, sigma], axis=1)[:, :, None]


def integrals(mu, sigma, own, top, scores_top, low, high):
    """(int w (L,), int (S - S_top) w (L, 2n)) over [low, high] (L,), scaled by e^-top."""
    xp, _ = namespace(mu)
    x, weight = (xp.asarray(a) for a in gauss_legendre(NODES))
    span = (high - low)[:, None]
    log_density, scores = log_w(mu, sigma, own, low[:, None] + span * x, scores=True)
    w = xp.exp(log_density - top) * (weight * span)
    return xp.sum(w, axis=-1), xp.sum((scores - scores_top[:, :, None]) * w[:, None, :], axis=-1)


def panels(mu, sigma, own):
    """Panels of laws (L, n)."""
    xp, _ = namespace(mu)
    edges, log_density, top, mode = _edges(mu, sigma, own)
    scores_top = log_w(mu, sigma, own, mode, scores=True)[1][:, :, 0]
    mass = xp.zeros(edges[:, 1:].shape)
    by = xp.zeros((*mass.shape, 2 * mu.shape[-1]))
    counts = (edges[:, 1:] > edges[:, :-1]) & (xp.maximum(log_density[:, :-1], log_density[:, 1:]) > -DROP)
    row, panel = xp.nonzero(counts)
    size = max(1, CHUNK // (2 * mu.shape[-1] * NODES))
    for start in range(0, row.size, size):
        i, j = row[start : start + size], panel[start : start + size]
        args = (mu[i], sigma[i], own[i], top[i], scores_top[i], edges[i, j], edges[i, j + 1])
        mass[i, j], by[i, j] = integrals(*args)
    left, left_scores = (_running(x, xp) for x in (mass, by))
    right, right_scores = (xp.flip(_running(xp.flip(x, axis=1), xp), axis=1) for x in (mass, by))
    return Panels(edges, log_density, top, scores_top, left, right, left_scores, right_scores)


def _running(x, xp):
    return xp.concatenate([xp.zeros_like(x[:, :1]), xp.cumsum(x, axis=1)], axis=1)


def _mode(mu, sigma, own):
    """The t >= 0 (L, 1) where w is largest, nearly. dr/du = -r (r + u) lies in (-1, 0); far below -1e5 it is -1, and
    the formula is rounding error."""
    xp, _ = namespace(mu)

    def derivatives(t):
        u = (t - mu) / sigma
        _, ratio = log_ndtr_and_grad(u)
        fall = xp.where(u < -1e5, 1, xp.clip(ratio * (ratio + u), 0, 1))
        slope = xp.sum(xp.where(own, -u, ratio) / sigma, axis=-1, keepdims=True)
        return None, slope, xp.sum(xp.where(own, 1, fall) / (sigma * sigma), axis=-1, keepdims=True)

    return newton(mu, own, derivatives)[1]


def _edges(mu, sigma, own):
    """(edges, log w - top there (L, P+1), top, mode (L, 1)): [mode - c, mode, mode + c], panels halved until narrow.

    (1) log w has second derivative <= -1/sigma_k^2, so it is DROP below its top at a distance c = sigma_k sqrt(2 DROP).
    (2) Laws need different numbers of panels: edges at infinity fill up the row, and become the last edge in the end.
    """
    xp, _ = namespace(mu)
    mode = _mode(mu, sigma, own)
    reach = math.sqrt(2 * DROP) * xp.sum(xp.where(own, sigma, 0), axis=-1, keepdims=True)
    edges = xp.concatenate([xp.maximum(mode - reach, 0), mode, mode + reach], axis=-1)
    density = log_w(mu, sigma, own, edges)
    top, last, density_last = density[:, 1:2], edges[:, 2:], density[:, 2:] - density[:, 1:2]
    density = density - top
    for _ in range(200):
        row, panel = xp.nonzero(_wide(mu, sigma, own, edges, density))
        if row.size == 0:
            break
        middle, density_middle = xp.full(edges[:, 1:].shape, xp.inf), xp.zeros(edges[:, 1:].shape)
        t = 0.5 * (edges[row, panel] + edges[row, panel + 1])
        middle[row, panel] = t
        density_middle[row, panel] = log_w(mu[row], sigma[row], own[row], t[:, None])[:, 0] - top[row, 0]
        edges = xp.concatenate([edges, middle], axis=-1)
        density = xp.concatenate([density, density_middle], axis=-1)
        order = xp.argsort(edges, axis=-1)[:, : int(xp.max(xp.sum(edges < xp.inf, axis=-1)))]
        edges, density = xp.take_along_axis(edges, order, axis=-1), xp.take_along_axis(density, order, axis=-1)
    inside = edges < xp.inf
    return xp.where(inside, edges, last), xp.where(inside, density, density_last), top, mode


def _wide(mu, sigma, own, edges, density):
    """Which panels (L, P) of any weight are to be halved."""
    xp, _ = namespace(mu)
    edges = xp.where(edges < xp.inf, edges, 0)  # panels that only fill up the row get a width of 0 or less
    low, high = edges[:, :-1], edges[:, 1:]
    wide = xp.abs(density[:, 1:] - density[:, :-1]) > VARIATION
    for j in range(mu.shape[-1]):  # one category at a time: no (L, n, P) array
        m, s = mu[:, j : j + 1], sigma[:, j : j + 1]
        rising = (high > m + RISING[0] * s) & (low < m + RISING[1] * s)
        wide = wide | ((high - low > WIDTH * s) & (rising | own[:, j : j + 1]))
    weighty = xp.maximum(density[:, :-1], density[:, 1:]) > -DROP
    return wide & weighty & (high - low > 1e-14 * high)
