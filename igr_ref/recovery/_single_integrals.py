"""Prop. 2, its pullback, and a category and a winner drawn from each law: all integrals from one set of nodes, float32.

Integrals and symbols are those of `_factors` and `_drawn`; nodes and c(x) those of `_single_rule`. For laws mu, sigma
(n, L) with equal numbers N of nodes, and D draws k (D, L) of each:
(1) a_j = alpha_j + beta_j x is one matrix product for all laws, categories and nodes.
(2) All integrals of a law that have a factor r_j or a_j r_j are one matrix product, too. Its columns are S R and S G,
    for the KL's gradient, and for each draw w = S r_k and c(x_m) w, for the integrals of s w over (0, inf) and (0, m).
(3) G is made of the cotangents p_bar_k, not of p_bar_k - p_bar_K, which may be large: a common constant cancels.
(4) m is a quantile up to 1e-6; the derivatives are those of the quantile that it is exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..backend import namespace
from . import gaussian_argmax
from ._normal import ROOT
from ._normal_single import bell_and_inverse

SUM_TOLERANCE = 1e-5
BLOCK = 200_000  # elements (n, points) taken at a time: fewer lose more to calls, more to memory


@dataclass(frozen=True)
class Integrals:
    """log_p (K, L); bar = p_bar_k - p_bar_K (n, L) and the pullback without its boundary terms (n, L), or None.

    For the draws, mass = P_k (D, L), scores = int s w (2n, D, L), m (D, L), dm (2n, D, L), and tail (D, L): v, or v - 1
    where that is nearer to 0.
    """

    log_p: Any
    bar: Any
    mu_bar: Any
    sigma_bar: Any
    mass: Any
    scores: Any
    m: Any
    dm: Any
    tail: Any


def integrals(mu, rate, low, width, log_last, k, given, uniform, cotangent, rule, work):
    """Integrals of laws mu, rate = 1/sigma (n, L), log P_K (L,), on panels low, width (L,) with the nodes of `rule`.

    k (D, L): categories < K. given (D, L): the winners' uniforms v, or, not `uniform`, the winners m.
    cotangent(log_p (L, K)): as in `drawn`.
    """
    xp, _ = namespace(mu)
    n, laws = mu.shape
    scale = rate * (1 / ROOT)  # of phi, which comes without its 1/sqrt(2 pi)
    a, both, S = _nodes(mu, rate, low, width, rule, work)
    by_law = xp.swapaxes(both, 0, 1)  # (L, 2n, N)
    head = xp.matmul(by_law[:, :n], S[..., None])[..., 0].T * scale
    log_p = gaussian_argmax.logarithms(head.T, log_last[:, None], SUM_TOLERANCE).T
    place = k * laws + xp.arange(laws)
    rows = (xp.reshape(x, (x.shape[0] * laws, rule.nodes)) for x in (a, both))
    own_a, own_ratio = (xp.take(x, place, axis=0) for x in rows)  # (D, L, N)
    own_scale = xp.take(xp.reshape(scale, (-1,)), place)
    columns = xp.empty((2 * k.shape[0] + 2 * (cotangent is not None), laws, rule.nodes), dtype=mu.dtype)
    draws = xp.reshape(columns[: 2 * k.shape[0]], (k.shape[0], 2, laws, rule.nodes))
    w = xp.multiply(own_ratio * S, own_scale[..., None], out=draws[:, 0])
    mass = _sum(w)
    x = rule.quantile(w, given * mass) if uniform else xp.clip((given - low) / width, 0, 1)
    m = low + width * x
    c = rule.running(x)
    right = _sum(w * c) > 0.5 * mass
    xp.multiply(w, c - right[..., None], out=draws[:, 1])
    bar = mu_bar = sigma_bar = None
    if cotangent is not None:
        p_bar = cotangent(log_p.T).T.astype(mu.dtype)
        own, bar = p_bar[:-1], p_bar[:-1] - p_bar[-1:]
        R_and_G = xp.matmul(xp.moveaxis(xp.stack([scale, own * scale]), -1, 0), by_law[:, :n])  # (L, 2, N)
        xp.multiply(xp.swapaxes(R_and_G, 0, 1), S, out=columns[-2:])
    sums = xp.matmul(by_law, xp.moveaxis(columns, 0, -1))  # (L, 2n, columns)
    sums = xp.ascontiguousarray(xp.moveaxis(sums, 0, -1)) * xp.concatenate([scale, scale])[:, None]
    if cotangent is not None:
        mu_bar, sigma_bar = (own * sum_[:, -2] - sum_[:, -1] for sum_ in (sums[:n], sums[n:]))
    one, scores = _by_parameters(sums[:, : 2 * k.shape[0]], draws, own_a[:, None], k[:, None], rate)
    tail = one[:, 1] / mass
    dm = (tail * scores[:, :, 0] - scores[:, :, 1]) / _density(mu, rate, m, k, own_scale)
    return Integrals(log_p, bar, mu_bar, sigma_bar, mass, scores[:, :, 0], m if uniform else given, dm, tail)


def _nodes(mu, rate, low, width, rule, work):
    """(a (n, L, N), [sqrt(2 pi) sigma_j r_j; a_j times that] (2n, L, N), S's shares (L, N)). A block at a time."""
    xp, _ = namespace(mu)
    n, laws = mu.shape
    points = laws * rule.nodes
    a, both = (xp.reshape(x, (x.size // max(points, 1), points)) for x in _memory(work, mu, n * points, 2 * n * points))
    line = xp.stack([(low - mu) * rate, width * rate], axis=-1)
    xp.matmul(xp.reshape(line, (n * laws, 2)), rule.points, out=xp.reshape(a, (n * laws, rule.nodes)))
    S = xp.reshape(width[:, None] * rule.weights, (points,))
    step = BLOCK // n // 64 * 64 or 64
    for start in range(0, points, step):
        i = slice(start, start + step)
        ratio, other = bell_and_inverse(a[:, i], (both[:n, i], both[n:, i]))
        xp.divide(S[i], xp.prod(other, axis=0), out=S[i])
        xp.multiply(ratio, other, out=ratio)
        xp.multiply(a[:, i], ratio, out=other)
    shape = (laws, rule.nodes)
    return xp.reshape(a, (n, *shape)), xp.reshape(both, (2 * n, *shape)), xp.reshape(S, shape)


def _memory(work, like, *sizes):
    """Arrays (size,), which `work` keeps from step to step."""
    xp, _ = namespace(like)
    total = -(-sum(sizes) // 1_000_000) * 1_000_000  # of few sizes
    whole = xp.empty(total, dtype=like.dtype) if work is None else work.empty("laws", (total,), like)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [whole[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def _by_parameters(sums, draws, a, k, rate):
    """(int f w (D, 2, L), int s f w (2n, D, 2, L)) for f = 1, c, from int r_j f w, int a_j r_j f w (2n, 2D, L).

    draws: shares of f w (D, 2, L, N); a = a_k. s_j = -r_j by mu_j, -a_j r_j by sigma_j; for j = k, a_k/sigma_k and
    (a_k^2 - 1)/sigma_k.
    """
    xp, _ = namespace(sums)
    n = rate.shape[0]
    scaled = draws * a
    one, first, second = (_sum(x) for x in (draws, scaled, scaled * a))
    own = k == xp.reshape(xp.arange(n), (n, 1, 1, 1))
    rate, sums = rate[:, None, None], xp.reshape(sums, (2 * n, *one.shape))
    by_mu = xp.where(own, first * rate, -sums[:n])
    by_sigma = xp.where(own, (second - one) * rate, -sums[n:])
    return one, xp.concatenate([by_mu, by_sigma])


def _density(mu, rate, m, k, own_scale):
    """w(m) (D, L)."""
    xp, _ = namespace(mu)
    u = (m - mu[:, None]) * rate[:, None]
    bell, inverse = bell_and_inverse(u)
    ratio = xp.take_along_axis(bell * inverse, k[None], axis=0)[0]
    return xp.maximum(ratio * own_scale / xp.prod(inverse, axis=0), 1e-30)


def _sum(shares):
    """Over the last axis, which is quickest as a product with ones."""
    xp, _ = namespace(shares)
    flat = xp.reshape(shares, (math.prod(shares.shape[:-1]), shares.shape[-1]))
    return xp.reshape(xp.matmul(flat, xp.ones(flat.shape[-1:], dtype=shares.dtype)), shares.shape[:-1])
