"""What `drawn` gives, in float32 and for the training step of RELAX: laws of Prop. 2, and categories drawn from each.

Panels, integrals and symbols are those of `_grid`, `_factors` and `_drawn`. What is done otherwise:
(1) All arithmetic is float32, on panels for it (`RULE`); what is rare (`drawn.RARE`) is left to `_winner`.
(2) All integrals of a law that have a factor r_j or a_j r_j come from one matrix product: its columns are S R and S G
    for the KL's gradient, and for each draw w and the part of w on the panels before the winner's.
(3) G is made of the cotangents p_bar_k, not of p_bar_k - p_bar_K, which may be large: a common constant cancels.
Inside, categories come first and laws last, (n, L), with D draws of each law, (D, L), and T points, (n, L, T).
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

RULE = Rule(nodes=14, width=8.0, close=1e-5, degree=8, reach=5.8, inner=11)
SUM_TOLERANCE = 1e-5
BLOCK = 32_000  # elements of which phi and Phi are taken at a time


def drawn_single(mu, sigma, b, v=None, y=None, cotangent=None, work=None):
    """`drawn.Drawn`, all of it in float32, for laws mu, sigma (..., K-1) and one-hot b (..., K), whose leading axes may
    exceed the laws'. Of v, the uniforms (..., K-1), and y, the sample given b, one is given. work: Buffers or None.
    """
    xp, mu, sigma, b = conditional.checked(mu, sigma, b, "float32")
    given = conditional.checked_uniforms(v, "float32") if y is None else y.astype("float32")
    n, laws = mu.shape[-1], mu.shape[:-1]
    lead = numpy.broadcast_shapes(laws, b.shape[:-1], given.shape[:-1])
    axes = _Axes(laws, lead)
    mu, sigma = (axes.of_laws(array) for array in (mu, sigma))
    b, given = axes.inward(b), axes.inward(given)
    k = xp.argmax(b, axis=0)
    of_k = xp.take_along_axis(given, xp.minimum(k, n - 1)[None], axis=0)[0]
    log_p, bars, score, m, dm = _laws(mu, sigma, k, of_k, y is None, cotangent, work)
    args = [xp.moveaxis(array, 0, -1) for array in (mu[:, None], sigma[:, None], b, given)]
    args += [m[..., None], xp.moveaxis(dm, 0, -1), "float32", RULE.degree]
    if y is None:
        y, saved = conditional.below_maximum(*args)
        y = axes.outward(xp.moveaxis(y, -1, 0))
    else:
        saved = conditional.coupled_below(*args)
    bars = None if bars is None else tuple(axes.outward_laws(bar) for bar in bars)
    score = tuple(axes.outward(part) for part in (score[:n], score[n:]))
    saved = tuple(axes.outward(xp.moveaxis(part, -1, 0)) for part in saved)
    return Drawn(axes.outward_laws(log_p), bars, score, y, saved)


class _Axes:
    """Arrays (*lead, .) of draws, lead ending in the laws' axes or broadcast against them, as (., D, L), and back.

    The last of the laws' axes, the variables, comes before the others: a training step has the images last in memory.
    """

    def __init__(self, laws, lead):
        self.laws_out, self.lead = laws, lead
        while len(laws) > 1 and laws[0] == 1:
            laws = laws[1:]
        self.draws = lead[: len(lead) - len(laws)]
        if lead[len(self.draws) :] != laws:  # draws that do not lie in front of the laws: a law for each
            laws, self.draws, self.laws_out = lead, (), lead
        self.laws = laws

    def of_laws(self, x):
        xp, _ = namespace(x)
        return self._in(xp.broadcast_to(x, (*self.laws_out, x.shape[-1])), ())[:, 0]

    def inward(self, x):
        xp, _ = namespace(x)
        return self._in(xp.broadcast_to(x, (*self.lead, x.shape[-1])), self.draws)

    def outward(self, x):
        return self._out(x, self.draws, self.lead)

    def outward_laws(self, x):
        return self._out(x[:, None], (), self.laws_out)

    def _in(self, x, draws):
        xp, _ = namespace(x)
        x = xp.reshape(x, (math.prod(draws), math.prod(self.laws[:-1]), *self.laws[-1:], x.shape[-1]))
        return xp.reshape(
            xp.transpose(x, (x.ndim - 1, 0, *range(x.ndim - 2, 0, -1))), (x.shape[-1], x.shape[0], -1 if x.size else 0)
        )

    def _out(self, x, draws, lead):
        xp, _ = namespace(x)
        x = xp.reshape(x, (x.shape[0], x.shape[1], *self.laws[-1:], math.prod(self.laws[:-1])))
        x = xp.transpose(x, (1, *range(x.ndim - 1, 1, -1), 0))
        return xp.reshape(x, (*lead, x.shape[-1]))


def _laws(mu, sigma, k, given, uniform, cotangent, work):
    """(log_p (K, L), bars (n, L), score (2n, D, L), m (D, L), dm (2n, D, L)) for mu, sigma (n, L), k, given (D, L).

    given: the winner's uniforms, or the winners.
    """
    xp, _ = namespace(mu)
    n = mu.shape[0]
    rate = 1 / sigma
    log_last, hazard = _boundary(mu, rate)
    edges, panels = _grid.edges(mu.T, sigma.T, RULE, log_last.T)
    order = xp.argsort(panels, kind="stable")
    place, counts, edges = xp.argsort(order), panels[order], edges.T[:, order]
    arrays = (mu, sigma, rate, log_last, hazard, k, given)
    mu, sigma, rate, log_last, hazard, k, given = (xp.take(array, order, axis=1) for array in arrays)
    head, k = k < n, xp.minimum(k, n - 1)
    parts, start = [], 0
    while start < counts.size or not parts:
        number = max(1, int(counts[start])) if counts.size else 1
        stop = int(xp.searchsorted(counts, counts[start : start + 1], side="right")[0]) if counts.size else 0
        i = slice(start, stop)
        args = (mu[:, i], rate[:, i], log_last[:, i], edges[: number + 1, i], k[:, i], given[:, i], uniform)
        parts.append(_panels(*args, cotangent, work))
        start = stop
    log_p, bar, bars, located = (_joined(column) for column in zip(*parts, strict=True))
    if bars is not None:  # B_k = P_K r_k(0)
        at_zero = bar * xp.exp(log_last) * hazard * rate
        bars = (bars[0] + at_zero, bars[1] - mu * rate * at_zero)
        bars = tuple(xp.take(bar, place, axis=-1) for bar in bars)
    score = _scores(mu, sigma, k, head, located, hazard * rate)
    m, dm = _winners(mu, sigma, k, head, given, uniform, located, work)
    log_p, score, m, dm = (xp.take(array, place, axis=-1) for array in (log_p, score, m, dm))
    return log_p, bars, score, m, dm


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
    return xp.concatenate(parts, axis=-1)


def _boundary(mu, rate):
    """(log P_K (1, L), phi/Phi at -mu_j/sigma_j (n, L))."""
    xp, _ = namespace(mu)
    z = -mu * rate
    if bool(xp.any(z < -END)):
        log_Phi, hazard = log_ndtr_and_grad(z)
    else:
        phi, Phi = phi_and_Phi(z, RULE.degree)
        hazard, log_Phi = phi / Phi, xp.log(Phi)
    return xp.sum(log_Phi, axis=0, keepdims=True), hazard


# ---- integrals over the panels -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Located:
    """`_drawn.Located` for `_winners`: (D, L), but masses (nodes, D, L), scores and scores_before (2n, D, L)."""

    edge: Any
    span: Any
    masses: Any
    mass: Any
    scores: Any
    before: Any
    scores_before: Any


def _factors(mu, rate, t, work):
    """(a, [sigma_j r_j; a_j sigma_j r_j], S): (n, L, T), (2n, L, T), (L, T), at points t (L, T) of laws mu (n, L)."""
    xp, _ = namespace(t)
    n, size = mu.shape[0], mu.shape[0] * t.size
    array = _Scratch(work, t, 3 * size)
    a, both = array(n, *t.shape), array(2 * n, *t.shape)
    xp.subtract(t, mu[:, :, None], out=a)
    xp.multiply(a, rate[:, :, None], out=a)
    flat, ratio, Phi = xp.reshape(a, (size,)), *xp.reshape(both, (2, size))
    for start in range(0, size, BLOCK):
        i = slice(start, min(start + BLOCK, size))
        phi, at = phi_and_Phi(flat[i], RULE.degree, out=(ratio[i], Phi[i]))
        xp.divide(phi, at, out=ratio[i])
    S = xp.prod(both[n:], axis=0)
    xp.multiply(flat, ratio, out=Phi)
    return a, both, S


def _panels(mu, rate, log_last, edges, k, given, uniform, cotangent, work):
    """(log_p (K, L), bar, bars (n, L), Located) of laws with equal numbers P of panels; edges (P+1, L), k < n."""
    xp, _ = namespace(mu)
    (n, laws), draws, panels = mu.shape, k.shape[0], edges.shape[0] - 1
    rows, points = xp.arange(laws), panels * RULE.nodes
    x, x_weight = _nodes(RULE.nodes, mu)
    half = 0.5 * (edges[1:] - edges[:-1]).T[..., None]
    t = xp.reshape(0.5 * (edges[1:] + edges[:-1]).T[..., None] + half * x, (laws, points))
    a, both, S = _factors(mu, rate, t, work)
    S = S * xp.reshape(half * x_weight, (laws, points))
    ratio = xp.swapaxes(both[:n], 0, 1)
    head = xp.matmul(ratio, S[..., None])[..., 0].T * rate
    log_p = gaussian_argmax.logarithms(head.T, log_last.T, SUM_TOLERANCE).T
    columns = xp.empty((2 + 2 * draws, laws, points), dtype=mu.dtype)
    moments, places = [], []
    for d in range(draws):
        w, own_a = columns[2 + d], a[k[d], rows]
        xp.multiply(both[k[d], rows], S * rate[k[d], rows][:, None], out=w)
        places.append(_panel(w, edges, given[d], uniform))
        xp.multiply(w, xp.reshape(xp.repeat(places[d][2].T, RULE.nodes, axis=-1), w.shape), out=columns[2 + draws + d])
        moments.append(_moments(columns[2 + d :: draws], own_a))
    bar = bars = None
    if cotangent is None:
        columns = columns[2:]
    else:
        p_bar = cotangent(log_p.T).T.astype(mu.dtype)
        own, bar = p_bar[:-1], p_bar[:-1] - p_bar[-1:]
        R_and_G = xp.matmul(xp.moveaxis(xp.stack([rate, own * rate]), -1, 0), ratio)  # (L, 2, T)
        xp.multiply(xp.swapaxes(R_and_G, 0, 1), S, out=columns[:2])
    sums = xp.matmul(xp.swapaxes(both, 0, 1), xp.moveaxis(columns, 0, -1))  # (L, 2n, columns)
    sums = xp.ascontiguousarray(xp.moveaxis(sums, 0, -1))
    if cotangent is not None:
        bars = tuple((own * x[:, 0] - x[:, 1]) * rate for x in (sums[:n], sums[n:]))
    sums = xp.reshape(sums[:, -2 * draws :], (2 * n, 2, draws, laws))
    one, first, second = (xp.stack([m[i] for m in moments], axis=1) for i in range(3))  # (2, D, L)
    scores = _by_parameters(sums, one, first, second, k, rate[:, None, None])
    edge, span, masses = (xp.stack([p[i] for p in places], axis=-2) for i in (0, 1, 3))
    return log_p, bar, bars, Located(edge, span, masses, one[0], scores[:, 0], one[1], scores[:, 1])


def _panel(w, edges, given, uniform):
    """The panel of the winner, for one draw of each law: the edge from which it is counted (L,), the span from there,
    marks (P, L) of the panels between it and the end where counting begins, and w at its nodes (nodes, L)."""
    xp, _ = namespace(w)
    last, rows = edges.shape[0] - 2, xp.arange(w.shape[0])
    w = xp.reshape(w, (w.shape[0], last + 1, RULE.nodes))
    masses = xp.sum(w, axis=-1).T
    left = xp.cumsum(masses, axis=0)
    if uniform:
        lower, right = given <= 0.5, xp.cumsum(masses[::-1], axis=0)
        want = xp.where(lower, given, 1 - given) * left[-1]
        panel = xp.where(lower, xp.sum(left <= want, axis=0), last - xp.sum(right <= want, axis=0))
    else:
        panel = xp.sum(edges[1:] <= given, axis=0)
    panel = xp.minimum(xp.maximum(panel, 0), last)
    if not uniform:
        lower = left[panel, rows] <= 0.5 * left[-1]
    number = xp.arange(last + 1)[:, None]
    inside = ((number < panel) == lower) & (number != panel)
    low, high = edges[panel, rows], edges[panel + 1, rows]
    return xp.where(lower, low, high), xp.where(lower, high - low, low - high), inside, w[rows, panel].T


def _moments(w, a):
    """int w, int a_k w, int a_k^2 w over the last axis, for a_k (L, T) and several w (., L, T)."""
    xp, _ = namespace(w)
    ones, out = xp.ones(w.shape[-1:], dtype=w.dtype), []
    for _ in range(3):
        out.append(xp.reshape(xp.matmul(xp.reshape(w, (-1, *w.shape[-1:])), ones), w.shape[:-1]))
        w = w * a if len(out) < 3 else w
    return out


def _by_parameters(sums, one, first, second, k, rate):
    """int s w (2n, ...) from int sigma_j r_j w and int a_j sigma_j r_j w (2n, ...), and int w, int a_k w, int a_k^2 w.

    s_j = -r_j by mu_j, -a_j r_j by sigma_j; for j = k, a_k/sigma_k and (a_k^2 - 1)/sigma_k.
    """
    xp, _ = namespace(sums)
    n = rate.shape[0]
    own = k == xp.reshape(xp.arange(n), (n, *(1,) * (sums.ndim - 1)))
    by_mu = (own * (first + sums[:n]) - sums[:n]) * rate
    by_sigma = (own * (second - one + sums[n:]) - sums[n:]) * rate
    return xp.concatenate([by_mu, by_sigma], axis=0)


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
    """dlog P_k (2n, D, L); where H = K, -r_j and that times -mu_j/sigma_j, r at t = 0."""
    xp, _ = namespace(mu)
    rare = head & (located.mass < RARE)
    last = xp.concatenate([-r, mu / sigma * r], axis=0)[:, None]
    score = located.scores / xp.where(rare | ~head, 1, located.mass)
    score = score + ~head * (last - score)
    d, i = xp.nonzero(rare)
    if i.size:
        score[:, d, i] = _winner.scores(*_wide(mu[:, i].T, sigma[:, i].T), k[d, i]).astype(score.dtype).T
    return score


def _winners(mu, sigma, k, head, given, uniform, located, work):
    """(m (D, L), dm (2n, D, L)), zeros where H = K."""
    xp, _ = namespace(mu)
    m, dm = xp.zeros(k.shape, dtype=mu.dtype), xp.zeros((2 * mu.shape[0], *k.shape), dtype=mu.dtype)
    tail = xp.where(located.span > 0, given, 1 - given) if uniform else xp.ones_like(given)
    d, i = xp.nonzero(head & (located.mass * tail >= RARE))
    if i.size:
        part = Located(**{name: array[..., d, i] for name, array in vars(located).items()})
        x = _first(part, tail[d, i]) if uniform else (given[d, i] - part.edge) / part.span
        known = tail[d, i] if uniform else None
        m[d, i], dm[:, d, i], tail[d, i] = _solve(mu[:, i], 1 / sigma[:, i], k[d, i], part, x, known, work)
    d, i = xp.nonzero(head & ~(located.mass * tail >= RARE))
    if i.size:
        args, name = (*_wide(mu[:, i].T, sigma[:, i].T), xp.arange(i.size), k[d, i]), "v" if uniform else "m"
        m[d, i], found = (
            array.astype(mu.dtype) for array in _winner.maxima(*args, **{name: given[d, i].astype("float64")})
        )
        dm[:, d, i] = found.T
    return (m if uniform else xp.where(head, given, 0)), dm


def _wide(*arrays):
    return (array.astype("float64") for array in arrays)


@dataclass(frozen=True)
class _Rows:
    masses: Any
    span: Any


def _first(located, tail):
    return _start(_Rows(located.masses.T, located.span), tail * located.mass - located.before)


def _solve(mu, rate, k, located, x, tail, work):
    """(m (R,), dm (2n, R), tail (R,)) from a first guess of x = (m - edge)/span; with tail=None from m's own.

    A Newton step shorter than RULE.close is not taken: m and dm then belong together exactly, at a uniform that differs
    from the given one by 1e-6 in the median, about as much as float32 rounds.
    """
    xp, _ = namespace(mu)
    found, density, dm = _at(mu, rate, k, located, x, work)
    if tail is None:
        return located.edge + located.span * x, dm, found
    low, high, todo = xp.zeros_like(x), xp.ones_like(x), xp.arange(k.size)
    for _ in range(60):
        excess = (found - tail[todo]) * located.mass[todo]
        step = -excess / (density * xp.abs(located.span[todo]))
        far = xp.abs(step) > RULE.close
        todo, excess, step = todo[far], excess[far], step[far]
        if todo.size == 0:
            break
        old = x[todo]
        # a step that leaves the bracket becomes a bisection
        low[todo] = xp.where(excess <= 0, old, low[todo])
        high[todo] = xp.where(excess >= 0, old, high[todo])
        new = old + step
        x[todo] = xp.where((new >= low[todo]) & (new <= high[todo]), new, 0.5 * (low[todo] + high[todo]))
        part = Located(**{name: array[..., todo] for name, array in vars(located).items()})
        args = (array[..., todo] for array in (mu, rate, k))
        found, density, dm[:, todo] = _at(*args, part, x[todo], work)
    return located.edge + located.span * x, dm, tail


def _at(mu, rate, k, located, x, work):
    """(tail: v or 1 - v at which m = edge + x span is the quantile, w(m), dm (2n, R)): Gauss-Legendre up to m.

    dm = (v int s w - int_0^m s w)/w(m), or from the right, (int_m s w - (1 - v) int s w)/w(m).
    """
    xp, _ = namespace(mu)
    rows = xp.arange(k.size)
    nodes, weight = _nodes(RULE.inner, mu)
    points = xp.concatenate([0.5 * (nodes + 1), xp.ones_like(nodes[:1])])
    span = (located.span * x)[:, None]
    a, both, S = _factors(mu, rate, located.edge[:, None] + span * points, work)
    w = both[k, rows] * S * rate[k, rows][:, None]
    density = xp.maximum(w[:, -1], 1e-30)
    inside = w[:, :-1] * (0.5 * weight * xp.abs(span))
    sums = xp.matmul(xp.swapaxes(both, 0, 1)[..., :-1], inside[..., None])[..., 0].T
    mass, first, second = _moments(inside, a[k, rows][:, :-1])
    scores = located.scores_before + _by_parameters(sums, mass, first, second, k, rate)
    tail = (located.before + mass) / located.mass
    direction = xp.where(located.span > 0, 1.0, -1.0).astype(x.dtype)
    dm = (direction / density) * (tail * located.scores - scores)
    return tail, density, dm
