"""One category k < K drawn from each law: the score of P_k, and the winner m = y_k given H = k, on panels for all k.

With w = S r_k the density of the winner up to P_k (`_factors`), and s the derivatives of log w (`_panels`):
    dlog P_k = int s w / P_k;    int_0^m w = v P_k;    dm = (v int s w - int_0^m s w)/w(m)  at fixed v.
(1) The panel that holds m is read off the panels' masses. Where v > 1/2 everything is counted from the right.
(2) There w is, to begin with, the polynomial through its values at the nodes: m is known to 1e-6 of the panel.
(3) Newton's steps for int w, by Gauss-Legendre between the panel's edge and m, do the rest. The last of them, from m'
    to m = m' + d, is so short that int_{m'}^m s w is d s(m') w(m').
Laws are rows mu, sigma (L, n); integrals of s w are (L, 2n), by mu and then by sigma.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.polynomial import legendre

from ..backend import namespace
from ._factors import Factors
from ._grid import CHUNK
from ._quadrature import gauss_legendre

CELLS = 32  # cells of the table that inverts the integral of a polynomial over a panel


@dataclass(frozen=True)
class Located:
    """What step (3) needs: where the panel is, and integrals over all panels and those before it (from the left or
    right end). `masses` (L, nodes): the panel's own integral of w, node by node."""

    edge: Any  # (L,) the edge from which m is counted
    span: Any  # (L,) from there to the other edge, negative if counted from the right
    masses: Any
    mass: Any  # (L,) P_k
    scores: Any  # (L, 2n)
    before: Any  # (L,)
    scores_before: Any  # (L, 2n)


class Winner:
    """w at the points of `factors` (of laws with equal numbers of panels) for the categories k (L,), 0..n-1."""

    def __init__(self, factors: Factors, k):
        xp, _ = namespace(factors.a)
        rows = xp.arange(k.size)
        self.factors, self.k = factors, k
        self.a = factors.a[k, rows]
        self.w = factors.ratio[k, rows] * factors.weight * factors.rate[rows, k][:, None]

    def integrals(self, *weights):
        """(int w (L,), int s w (L, 2n)) with each of the further weights (L, T)."""
        xp, _ = namespace(self.w)
        rate = self.factors.rate
        own = self.k[:, None] == xp.arange(rate.shape[1])
        columns = xp.stack([self.w * weight for weight in weights], axis=-1)
        plain, scaled = self.factors.sums(columns)
        moments = xp.matmul(xp.stack([xp.ones_like(self.a), self.a, self.a * self.a], axis=1), columns)
        out = []
        for i in range(len(weights)):
            one, first, second = (moments[:, j, i : i + 1] for j in (0, 1, 2))
            by_mu = xp.where(own, first * rate, -plain[..., i])
            by_sigma = xp.where(own, (second - one) * rate, -scaled[..., i])
            out.append((one[:, 0], xp.concatenate([by_mu, by_sigma], axis=-1)))
        return out

    def locate(self, edges, v=None, m=None):
        """Located for quantiles v (L,), or for given winners m (L,), on the panels between edges (L, P+1)."""
        xp, _ = namespace(self.w)
        shape = (self.k.size, edges.shape[1] - 1, self.w.shape[1] // (edges.shape[1] - 1))
        panel_masses = xp.sum(xp.reshape(self.w, shape), axis=-1)
        from_left, from_right = xp.cumsum(panel_masses, axis=-1), xp.cumsum(panel_masses[:, ::-1], axis=-1)
        mass, last = from_left[:, -1], shape[1] - 1
        if m is None:
            lower = v <= 0.5
            want = (xp.where(lower, v, 1 - v) * mass)[:, None]
            panel = xp.where(lower, xp.sum(from_left <= want, axis=-1), last - xp.sum(from_right <= want, axis=-1))
        else:
            panel = xp.sum(edges[:, 1:] <= m[:, None], axis=-1)
        panel = xp.minimum(xp.maximum(panel, 0), last)
        if m is not None:
            lower = xp.take_along_axis(from_left, panel[:, None], axis=-1)[:, 0] <= 0.5 * mass
        number = xp.arange(shape[1])
        inside = (number < panel[:, None]) == lower[:, None]
        inside = inside & (number != panel[:, None])
        everywhere, before = self.integrals(
            xp.ones_like(self.w), xp.repeat(inside, self.w.shape[1] // shape[1], axis=-1)
        )
        rows = xp.arange(self.k.size)
        low, high = edges[rows, panel], edges[rows, panel + 1]
        edge, span = xp.where(lower, low, high), xp.where(lower, high - low, low - high)
        return Located(edge, span, xp.reshape(self.w, shape)[rows, panel], *everywhere, *before)


# ---- the winner in its panel -------------------------------------------------------------------------------------


@functools.cache
def _tables(nodes):
    """(nodes, 2 (CELLS+1)): node by node masses -> int_{-1}^x and density at the ends of equal cells of [-1, 1]."""
    ends = numpy.linspace(-1, 1, CELLS + 1)
    coefficients = (legendre.legvander(gauss_legendre(nodes)[0], nodes - 1) * (numpy.arange(nodes) + 0.5)).T
    primitive = numpy.stack([legendre.legint(row, lbnd=-1) for row in numpy.eye(nodes)], axis=-1)
    at_ends = legendre.legvander(ends, nodes)
    return numpy.ascontiguousarray(
        numpy.concatenate([at_ends @ primitive @ coefficients, at_ends[:, :nodes] @ coefficients]).T
    )


def _start(located, want):
    """x (L,) in [0, 1], m = edge + x span, by the polynomial: its integral is a cubic in each cell of the table."""
    xp, _ = namespace(want)
    table = xp.matmul(located.masses, xp.asarray(_tables(located.masses.shape[1])).astype(want.dtype))
    integral, density = table[:, : CELLS + 1], table[:, CELLS + 1 :] * (2 / CELLS)
    lower = located.span > 0
    want = xp.where(lower, want, xp.sum(located.masses, axis=-1) - want)
    rows = xp.arange(want.size)
    cell = xp.minimum(xp.maximum(xp.sum(integral <= want[:, None], axis=-1) - 1, 0), CELLS - 1)
    first, f, g = integral[rows, cell], density[rows, cell], density[rows, cell + 1]
    rise = integral[rows, cell + 1] - first
    c_2, c_3 = 3 * rise - 2 * f - g, f + g - 2 * rise
    s = xp.clip((want - first) / xp.maximum(rise, 1e-30), 0, 1)
    for _ in range(3):
        slope = f + s * (2 * c_2 + 3 * c_3 * s)
        s = xp.clip(s - (first + s * (f + s * (c_2 + c_3 * s)) - want) / xp.maximum(slope, 1e-30), 0, 1)
    x = (cell + s) / CELLS
    return xp.where(lower, x, 1 - x)


def solve(mu, sigma, k, located, rule, v=None, m=None):
    """(m (L,), dm (L, 2n), tail (L,): v or 1 - v) for quantiles v (L,), or for given winners m."""
    xp, _ = namespace(mu)
    if m is None:
        tail = xp.where(located.span > 0, v, 1 - v)
        x = _start(located, tail * located.mass - located.before)
    else:
        tail, x = xp.zeros(k.shape), (m - located.edge) / located.span
    low, high, dm = xp.zeros_like(x), xp.ones_like(x), xp.zeros((k.size, 2 * mu.shape[1]))
    todo, size = xp.arange(k.size), max(1, CHUNK // (mu.shape[1] * (rule.inner + 1)))
    for _ in range(60):
        wide = []
        for start in range(0, todo.size, size):
            i = todo[start : start + size]
            part = Located(**{name: array[i] for name, array in vars(located).items()})
            args = (mu[i], sigma[i], k[i], part, rule, x[i])
            excess, step, dm[i], tail[i] = _newton(*args, tail[i] if m is None else None)
            # a step that leaves the bracket becomes a bisection
            low[i], high[i] = xp.where(excess <= 0, x[i], low[i]), xp.where(excess >= 0, x[i], high[i])
            new = x[i] + step
            new = xp.where((new >= low[i]) & (new <= high[i]), new, 0.5 * (low[i] + high[i]))
            wide.append(i[xp.abs(new - x[i]) > rule.close])
            x[i] = new
        todo = xp.concatenate(wide) if wide else todo[:0]
        if m is not None or todo.size == 0:
            break
    return (located.edge + located.span * x if m is None else m), dm, tail


def _newton(mu, sigma, k, located, rule, x, tail):
    """(excess of int w at x, Newton's step in x, dm after that step (L, 2n), tail); tail=None: x is the winner's."""
    xp, _ = namespace(mu)
    nodes_x, weight = (xp.asarray(array) for array in gauss_legendre(rule.inner))
    points = xp.concatenate([0.5 * (nodes_x + 1), xp.ones(1)])
    span = located.span[:, None] * x[:, None]
    # columns: the integral between the edge and m, and the value at m
    inside = xp.concatenate([0.5 * weight, xp.zeros(1)]) * xp.abs(span)
    at_end = xp.concatenate([xp.zeros(rule.inner), xp.ones(1)]) + 0 * span
    t = located.edge[:, None] + span * points
    winner = Winner(Factors(mu, sigma, t, xp.ones_like(t), rule.degree), k)
    (mass, scores), (density, scores_end) = winner.integrals(inside, at_end)
    reached, scores = located.before + mass, located.scores_before + scores
    direction = xp.where(located.span > 0, 1.0, -1.0)
    if tail is None:
        excess, tail = xp.zeros_like(x), reached / located.mass
    else:
        excess = reached - tail * located.mass
    safe = xp.maximum(density, 1e-300)
    # after the step: scores change by -excess s(m'), log w by its slope -sum_j s_mu_j times the step
    scores = scores - (excess / safe)[:, None] * scores_end
    slope = -xp.sum(scores_end[:, : mu.shape[1]], axis=-1) / safe
    density = safe * xp.exp(xp.clip(-direction * slope * excess / safe, -1, 1))
    dm = (direction / density)[:, None] * (tail[:, None] * located.scores - scores)
    return excess, -excess / (safe * xp.abs(located.span)), dm, tail
