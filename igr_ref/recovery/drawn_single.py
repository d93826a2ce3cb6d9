"""What `drawn` gives, in float32 and for the training step of RELAX: laws of Prop. 2, and categories drawn from each.

Panels, integrals and symbols are those of `_grid`, `_factors` and `_drawn`. What is done otherwise:
(1) All arithmetic is float32, on panels for it (`RULE`); what is rare (`drawn.RARE`) is left to `_winner`.
(2) All integrals of a law that have a factor r_j or a_j r_j come from one matrix product: its columns are S R and S G
    for the KL's gradient, and for each draw w and the part of w on the panels before the winner's.
(3) G is made of the cotangents p_bar_k, not of p_bar_k - p_bar_K, which may be large: a common constant cancels.
Rows are laws (L), sorted by their number of panels, with D draws each; memory has the laws last.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy

from ..backend import namespace
from . import _grid, _winner, conditional, gaussian_argmax
from ._drawn import _start
from ._grid import Rule
from ._normal import END, phi_and_Phi
from ._quadrature import gauss_legendre
from ._tails import log_ndtr_and_grad
from .drawn import RARE, Drawn

RULE = Rule(nodes=14, width=8.0, close=1e-4, degree=8, reach=5.8, inner=11)
SUM_TOLERANCE = 1e-5
BLOCK = 32_000  # elements of which phi and Phi are taken at a time


def drawn_single(mu, sigma, b, v=None, y=None, cotangent=None, work=None):
    """`drawn.Drawn`, all of it in float32, for laws mu, sigma (..., K-1) and one-hot b (..., K), whose leading axes may
    exceed the laws'. Of v, the uniforms (..., K-1), and y, the sample given b, one is given. work: Buffers or None.
    """
    xp, mu, sigma, b = conditional.checked(mu, sigma, b, "float32")
    given = conditional.checked_uniforms(v, "float32") if y is None else y.astype("float32")
    n, shape = mu.shape[-1], numpy.broadcast_shapes(mu.shape, (*b.shape[:-1], mu.shape[-1]), given.shape)
    if shape[len(shape) - mu.ndim :] != mu.shape:  # draws that do not lie in front of the laws: a law for each
        mu, sigma = (xp.broadcast_to(array, shape) for array in (mu, sigma))
    laws = math.prod(mu.shape[:-1])
    draws_each = math.prod(shape[:-1]) // laws if laws else 1
    k = xp.reshape(xp.broadcast_to(xp.argmax(b, axis=-1), shape[:-1]), (draws_each, laws))
    every = xp.reshape(xp.broadcast_to(given, shape), (draws_each, laws, n))
    of_k = xp.take_along_axis(every, xp.minimum(k, n - 1)[..., None], axis=-1)[..., 0]
    flat = (xp.reshape(array, (laws, n)) for array in (mu, sigma))
    log_p, bars, score, m, dm = _laws(*flat, k.T, of_k.T, y is None, cotangent, work)

    def draws(x):  # (L, D, .) -> (..., .)
        return xp.reshape(xp.swapaxes(x, 0, 1), (*shape[:-1], x.shape[-1]))

    bars = None if bars is None else tuple(xp.reshape(bar, mu.shape) for bar in bars)
    args = (
        xp.broadcast_to(mu, shape),
        xp.broadcast_to(sigma, shape),
        b,
        given,
        draws(m[..., None]),
        draws(dm),
        "float32",
    )
    if y is None:
        y, saved = conditional.below_maximum(*args, RULE.degree)
    else:
        saved = conditional.coupled_below(*args)
    score = draws(score)
    return Drawn(xp.reshape(log_p, (*mu.shape[:-1], n + 1)), bars, (score[..., :n], score[..., n:]), y, saved)


def _laws(mu, sigma, k, given, uniform, cotangent, work):
    """(log_p (L, K), bars, score (L, D, 2n), m (L, D), dm (L, D, 2n)) for mu, sigma (L, n), k, given (L, D).

    given: the winner's uniforms, or the winners.
    """
    xp, _ = namespace(mu)
    n = mu.shape[1]
    mu, sigma = (xp.ascontiguousarray(array.T).T for array in (mu, sigma))
    edges, panels = _grid.edges(mu, sigma, RULE)
    order = xp.argsort(panels, kind="stable")
    place = xp.argsort(order)
    mu, sigma = (xp.take(array.T, order, axis=1).T for array in (mu, sigma))
    k, given, edges, panels = (array[order] for array in (k, given, edges, panels))
    rate, head = 1 / sigma, k < n
    k = xp.minimum(k, n - 1)
    log_last, hazard = _boundary(mu, rate)
    parts, start = [], 0
    while start < panels.size or not parts:
        number = max(1, int(panels[start])) if panels.size else 1
        stop = int(xp.searchsorted(panels, panels[start : start + 1], side="right")[0]) if panels.size else 0
        i = slice(start, stop)
        args = (mu[i], rate[i], log_last[i], edges[i, : number + 1], k[i], given[i], uniform)
        parts.append(_panels(*args, cotangent, work))
        start = stop
    log_p, bar, bars, located = (_joined(column) for column in zip(*parts, strict=True))
    if bars is not None:  # B_k = P_K r_k(0)
        at_zero = bar * xp.exp(log_last) * hazard * rate
        bars = (bars[0] + at_zero, bars[1] - mu * rate * at_zero)
        bars = tuple(bar[place] for bar in bars)
    score = _scores(mu, sigma, k, head, located, hazard * rate)
    m, dm = _winners(mu, sigma, k, head, given, uniform, located, work)
    return log_p[place], bars, score[place], m[place], dm[place]


def _joined(parts):
    """Pieces, or tuples or records of pieces, joined along the laws."""
    first = parts[0]
    if isinstance(first, tuple):
        return tuple(_joined(column) for column in zip(*parts, strict=True))
    if isinstance(first, Located):
        return Located(**{name: _joined([vars(part)[name] for part in parts]) for name in vars(first)})
    if first is None or len(parts) == 1:
        return first
    xp, _ = namespace(first)
    return xp.concatenate(parts, axis=0)


def _boundary(mu, rate):
    """(log P_K (L, 1), phi/Phi at -mu_j/sigma_j (L, n))."""
    xp, _ = namespace(mu)
    z = -mu * rate
    if bool(xp.any(z < -END)):
        log_Phi, hazard = log_ndtr_and_grad(z)
    else:
        phi, Phi = phi_and_Phi(z, RULE.degree)
        hazard, log_Phi = phi / Phi, xp.log(Phi)
    return xp.sum(log_Phi, axis=-1, keepdims=True), hazard


# ---- integrals over the panels -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Located:
    """`_drawn.Located` with the axes (L, D), for `_winners`."""

    edge: Any
    span: Any
    masses: Any
    mass: Any
    scores: Any
    before: Any
    scores_before: Any


def _factors(mu, rate, t, work):
    """(a, [sigma_j r_j; a_j sigma_j r_j], S): (n, L, T), (2n, L, T), (L, T), at points t (L, T) of laws mu (L, n)."""
    xp, _ = namespace(t)
    n, size = mu.shape[1], mu.shape[1] * t.size
    array = _Scratch(work, t, 3 * size + BLOCK)
    a, both, rest = array(n, *t.shape), array(2 * n, *t.shape), array(BLOCK)
    xp.subtract(t, mu.T[:, :, None], out=a)
    xp.multiply(a, rate.T[:, :, None], out=a)
    flat, ratio, Phi = xp.reshape(a, (size,)), *xp.reshape(both, (2, size))
    for start in range(0, size, BLOCK):
        i = slice(start, min(start + BLOCK, size))
        phi, at = phi_and_Phi(flat[i], RULE.degree, out=(ratio[i], Phi[i]), work=rest[: i.stop - start])
        xp.divide(phi, at, out=ratio[i])
    S = xp.prod(both[n:], axis=0)
    xp.multiply(flat, ratio, out=Phi)
    return a, both, S


def _panels(mu, rate, log_last, edges, k, given, uniform, cotangent, work):
    """(log_p, bar, bars, Located) of laws with equal numbers of panels; k (L, D) < n."""
    xp, _ = namespace(mu)
    (laws, n), draws, panels = mu.shape, k.shape[1], edges.shape[1] - 1
    rows, points = xp.arange(laws), panels * RULE.nodes
    x, x_weight = _nodes(RULE.nodes, mu)
    half = 0.5 * (edges[:, 1:] - edges[:, :-1])[..., None]
    t = xp.reshape(0.5 * (edges[:, 1:] + edges[:, :-1])[..., None] + half * x, (laws, points))
    a, both, S = _factors(mu, rate, t, work)
    S = S * xp.reshape(half * x_weight, (laws, points))
    ratio = xp.swapaxes(both[:n], 0, 1)
    columns = xp.empty((laws, 2 + 2 * draws, points), dtype=mu.dtype)
    w, before = columns[:, 2 : 2 + draws], columns[:, 2 + draws :]
    for d in range(draws):
        xp.multiply(both[k[:, d], rows], S * rate[rows, k[:, d]][:, None], out=w[:, d])
    lower, panel, inside, masses = _panel(w, edges, given, uniform)
    xp.multiply(w, xp.repeat(inside, RULE.nodes, axis=-1), out=before)

    head = xp.matmul(ratio, S[..., None])[..., 0] * rate
    log_p = gaussian_argmax.logarithms(head, log_last, SUM_TOLERANCE)
    bar = bars = None
    if cotangent is None:
        columns = columns[:, 2:]
    else:
        p_bar = cotangent(log_p).astype(mu.dtype)
        xp.matmul(xp.stack([rate, p_bar[:, :-1] * rate], axis=1), ratio, out=columns[:, :2])
        xp.multiply(columns[:, :2], S[:, None], out=columns[:, :2])
    sums = xp.matmul(xp.swapaxes(both, 0, 1), xp.swapaxes(columns, -1, -2))  # (L, 2n, columns)
    if cotangent is not None:
        own, bar = p_bar[:, :-1], p_bar[:, :-1] - p_bar[:, -1:]
        bars = tuple((own * x[..., 0] - x[..., 1]) * rate for x in (sums[:, :n], sums[:, n:]))
    own_a = xp.stack([a[k[:, d], rows] for d in range(draws)], axis=1)
    all_w = xp.reshape(columns[:, -2 * draws :], (laws, 2, draws, points))
    sums = xp.reshape(xp.swapaxes(sums[..., -2 * draws :], -1, -2), (laws, 2, draws, 2 * n))
    one, scores = _by_parameters(sums, all_w, own_a[:, None], k[:, None], rate[:, None, None])
    low, high = (xp.take_along_axis(side, panel, axis=1) for side in (edges[:, :-1], edges[:, 1:]))
    at = panel[..., None, None]
    located = Located(
        xp.where(lower, low, high), xp.where(lower, high - low, low - high),
        xp.take_along_axis(masses, at, axis=2)[:, :, 0],
        one[:, 0], scores[:, 0], one[:, 1], scores[:, 1],
    )  # fmt: skip
    return log_p, bar, bars, located


def _panel(w, edges, given, uniform):
    """(whether the winner is counted from the left, its panel (L, D), marks of the panels (L, D, P) between it and the
    end where counting begins, w node by node (L, D, P, nodes))."""
    xp, _ = namespace(w)
    last = edges.shape[1] - 2
    w = xp.reshape(w, (*w.shape[:-1], last + 1, RULE.nodes))
    masses = xp.sum(w, axis=-1)
    left = xp.cumsum(masses, axis=-1)
    if uniform:
        lower, right = given <= 0.5, xp.cumsum(masses[..., ::-1], axis=-1)
        want = (xp.where(lower, given, 1 - given) * left[..., -1])[..., None]
        panel = xp.where(lower, xp.sum(left <= want, axis=-1), last - xp.sum(right <= want, axis=-1))
    else:
        panel = xp.sum(edges[:, None, 1:] <= given[..., None], axis=-1)
    panel = xp.minimum(xp.maximum(panel, 0), last)
    number, at = xp.arange(last + 1), panel[..., None]
    if not uniform:
        lower = xp.take_along_axis(left, at, axis=-1)[..., 0] <= 0.5 * left[..., -1]
    return lower, panel, ((number < at) == lower[..., None]) & (number != at), w


def _by_parameters(sums, w, own_a, k, rate):
    """(int w (...), int s w (..., 2n)) from w (..., T) and sums (..., 2n): int sigma_j r_j w, int a_j sigma_j r_j w.

    s_j = -r_j by mu_j, -a_j r_j by sigma_j; for j = k, a_k/sigma_k and (a_k^2 - 1)/sigma_k: own_a is a_k (..., T).
    """
    xp, _ = namespace(sums)
    n, ones = rate.shape[-1], xp.ones(w.shape[-1:], dtype=w.dtype)
    weighted = own_a * w
    flat = (xp.reshape(x, (-1, w.shape[-1])) for x in (w, weighted, own_a * weighted))
    one, first, second = (xp.reshape(xp.matmul(x, ones), (*w.shape[:-1], 1)) for x in flat)  # a sum, in one product
    own = k[..., None] == xp.arange(n)
    by_mu = (own * (first + sums[..., :n]) - sums[..., :n]) * rate
    by_sigma = (own * (second - one + sums[..., n:]) - sums[..., n:]) * rate
    return one[..., 0], xp.concatenate([by_mu, by_sigma], axis=-1)


class _Scratch:
    """Pieces of one array, which `work` keeps from step to step."""

    def __init__(self, work, like, size):
        xp, _ = namespace(like)
        size = -(-size // 1_000_000) * 1_000_000  # of few sizes
        self.left = xp.empty(size, dtype=like.dtype) if work is None else work.empty("laws", (size,), like)

    def __call__(self, *shape):
        xp, _ = namespace(self.left)
        size = math.prod(shape)
        piece, self.left = self.left[:size], self.left[size:]
        return xp.reshape(piece, shape)


@functools.cache
def _host_nodes(nodes):
    return tuple(array.astype("float32") for array in gauss_legendre(nodes))


def _nodes(nodes, like):
    xp, _ = namespace(like)
    return tuple(xp.asarray(array) for array in _host_nodes(nodes))


# ---- the winner and the score ------------------------------------------------------------------------------------


def _scores(mu, sigma, k, head, located, r):
    """dlog P_k (L, D, 2n); where H = K, -r_j and that times -mu_j/sigma_j, r at t = 0."""
    xp, _ = namespace(mu)
    rare = head & (located.mass < RARE)
    last = xp.concatenate([-r, mu / sigma * r], axis=-1)[:, None]
    score = xp.where(head[..., None], located.scores / xp.where(rare, 1, located.mass)[..., None], last)
    i, d = xp.nonzero(rare)
    if i.size:
        score[i, d] = _winner.scores(*_wide(mu[i], sigma[i]), k[i, d]).astype(score.dtype)
    return score


def _winners(mu, sigma, k, head, given, uniform, located, work):
    """(m (L, D), dm (L, D, 2n)), zeros where H = K."""
    xp, _ = namespace(mu)
    m, dm = xp.zeros(k.shape, dtype=mu.dtype), xp.zeros((*k.shape, 2 * mu.shape[1]), dtype=mu.dtype)
    tail = xp.where(located.span > 0, given, 1 - given) if uniform else xp.ones_like(given)
    i = xp.nonzero(head & (located.mass * tail >= RARE))
    if i[0].size:
        part = Located(**{name: array[i] for name, array in vars(located).items()})
        x = _start(part, tail[i] * part.mass - part.before) if uniform else (given[i] - part.edge) / part.span
        m[i], dm[i], tail[i] = _solve(mu[i[0]], 1 / sigma[i[0]], k[i], part, x, tail[i] if uniform else None, work)
    i = xp.nonzero(head & ~(located.mass * tail >= RARE))
    if i[0].size:
        args, name = (*_wide(mu[i[0]], sigma[i[0]]), xp.arange(i[0].size), k[i]), "v" if uniform else "m"
        found = _winner.maxima(*args, **{name: given[i].astype("float64")})
        m[i], dm[i] = (array.astype(mu.dtype) for array in found)
    return (m if uniform else xp.where(head, given, 0)), dm


def _wide(*arrays):
    return (array.astype("float64") for array in arrays)


def _solve(mu, rate, k, located, x, tail, work):
    """(m (R,), dm (R, 2n), tail (R,)) from a first guess of x = (m - edge)/span; with tail=None from m's own."""
    xp, _ = namespace(mu)
    excess, step, dm, found = _newton(mu, rate, k, located, x, tail, work)
    if tail is None:
        return located.edge + located.span * x, dm, found
    low, high, todo = xp.zeros_like(x), xp.ones_like(x), xp.arange(k.size)
    for _ in range(60):
        old = x[todo]
        # a step that leaves the bracket becomes a bisection
        low[todo] = xp.where(excess <= 0, old, low[todo])
        high[todo] = xp.where(excess >= 0, old, high[todo])
        new = old + step
        new = xp.where((new >= low[todo]) & (new <= high[todo]), new, 0.5 * (low[todo] + high[todo]))
        x[todo] = new
        todo = todo[xp.abs(new - old) > RULE.close]
        if todo.size == 0:
            break
        part = Located(**{name: array[todo] for name, array in vars(located).items()})
        args = (array[todo] for array in (mu, rate, k))
        excess, step, dm[todo], _ = _newton(*args, part, x[todo], tail[todo], work)
    return located.edge + located.span * x, dm, tail


def _newton(mu, rate, k, located, x, tail, work):
    """(excess of int w at x, Newton's step in x, dm after that step (R, 2n), tail): `_drawn._newton`."""
    xp, _ = namespace(mu)
    n, rows = mu.shape[1], xp.arange(k.size)
    nodes, weight = _nodes(RULE.inner, mu)
    points = xp.concatenate([0.5 * (nodes + 1), xp.ones_like(nodes[:1])])
    span = (located.span * x)[:, None]
    a, both, S = _factors(mu, rate, located.edge[:, None] + span * points, work)
    w = both[k, rows] * S * rate[rows, k][:, None]
    own_a, density = a[k, rows], xp.maximum(w[:, -1], 1e-30)
    inside = w[:, :-1] * (0.5 * weight * xp.abs(span))
    sums = xp.matmul(xp.swapaxes(both, 0, 1)[..., :-1], inside[..., None])[..., 0]
    mass, scores = _by_parameters(sums, inside, own_a[:, :-1], k, rate)
    _, scores_end = _by_parameters(both[..., -1].T, xp.ones_like(w[:, -1:]), own_a[:, -1:], k, rate)
    reached = located.before + mass
    excess = xp.zeros_like(x) if tail is None else reached - tail * located.mass
    tail = reached / located.mass if tail is None else tail
    # after the step: scores change by -excess s(m'), log w by its slope -sum_j s_mu_j times the step
    scores = located.scores_before + scores - excess[:, None] * scores_end
    direction = xp.where(located.span > 0, 1.0, -1.0).astype(x.dtype)
    slope = -xp.sum(scores_end[:, :n], axis=-1)
    density_after = density * xp.exp(xp.clip(-direction * slope * excess / density, -1, 1))
    dm = (direction / density_after)[:, None] * (tail[:, None] * located.scores - scores)
    return excess, -excess / (density * xp.abs(located.span)), dm, tail
