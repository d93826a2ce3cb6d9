"""Quantiles of the winner m = max_j y_j given H = k < K (Prop. 2), and their derivatives by mu and sigma.

With w, S and their panels as in `_panels`, Gamma(m) = int_0^m w dt and P_k = Gamma(inf):
Quantile        Gamma(m) = v P_k, or from the right, int_m^inf w dt = (1 - v) P_k, where v > 1/2.
Derivative      at fixed v, dm/domega = -(dGamma(m) - v dP_k)/w(m) = -[(1 - v) int_0^m S w - v int_m^inf S w]/w(m),
                in which a constant may be taken from S. The terms B_k and d of an integration by parts do not appear.
Draws are rows (R,) with the number `law` of their law; mu, sigma, own (R, n) are their laws' rows.
"""

from __future__ import annotations

import math

from ..backend import namespace
from . import _far_law, _far_tails, _panels


def maxima(mu, sigma, law, k, v=None, m=None):
    """(m (R,), dm (R, 2n) by mu and then by sigma) for draws with laws mu, sigma (R, n), numbered by `law` (R,).

    Given v (R,) in (0, 1), m is the quantile; given m (R,), v is the one at which m is the quantile. The panels are
    made once for each pair (law, k) that occurs.
    """
    xp, _ = namespace(mu)

    def near(mu, sigma, law, k, given):
        return _maxima(mu, sigma, law, k, **{name: given})

    def far(mu, sigma, law, k, given):
        return _far_law.maxima(mu, sigma, law, k, **{name: given})

    def near_but_tails(*rows):
        return _far_law.by_row(rows[-1] < _far_tails.TINY, near, far, *rows)

    name, given = ("m", m) if v is None else ("v", v)
    return _far_law.by_reach(near if v is None else near_but_tails, far, mu, sigma, law, k, given)


def _maxima(mu, sigma, law, k, v=None, m=None):
    xp, _ = namespace(mu)
    n = mu.shape[-1]
    given = m if v is None else v
    m, dm, density = xp.zeros(k.shape), xp.zeros((k.size, 2 * n)), xp.zeros(k.shape)
    pair, which = xp.unique(law * n + k, return_inverse=True)
    order = xp.argsort(which)
    which = which[order]
    pairs_at_once = max(1, _panels.CHUNK // (50 * n))
    draws_at_once = max(1, _panels.CHUNK // (2 * n * _panels.NODES))
    for first in range(0, pair.size, pairs_at_once):
        numbers = xp.arange(first, min(first + pairs_at_once, pair.size))
        one_each = order[xp.searchsorted(which, numbers)]  # any draw of a pair stands for its law
        own = k[one_each][:, None] == xp.arange(n)
        grid = _panels.panels(mu[one_each], sigma[one_each], own)
        start, stop = (int(xp.searchsorted(which, xp.asarray(i))) for i in (first, first + pairs_at_once))
        for at in range(start, stop, draws_at_once):
            i = order[at : min(at + draws_at_once, stop)]
            local = which[at : at + i.size] - first
            args = (grid, mu[i], sigma[i], own[local], local)
            if v is None:
                m[i] = given[i]
                dm[i], density[i] = _derivatives(*args, given[i], _locate(grid, local, given[i]))
            else:
                m[i], panel = _solve(*args, given[i])
                dm[i], density[i] = _derivatives(*args, m[i], panel, given[i])
    (deep,) = xp.nonzero(density < math.exp(-_far_tails.DEEP))  # winners given, beyond all panels
    if deep.size:
        dm[deep] = _far_law.maxima(mu[deep], sigma[deep], law[deep], k[deep], m=m[deep])[1]
    return m, dm


def scores(mu, sigma, k):
    """dlog P_k (R, 2n), by mu and then by sigma, for k (R,) < n: to relative precision, however small P_k is."""
    return _far_law.by_reach(lambda *rows: (_scores(*rows),), lambda *rows: (_far_law.scores(*rows),), mu, sigma, k)[0]


def _scores(mu, sigma, k):
    xp, _ = namespace(mu)
    size, out = max(1, _panels.CHUNK // (50 * mu.shape[-1])), [xp.zeros((0, 2 * mu.shape[-1]))]
    for start in range(0, k.size, size):
        i = slice(start, start + size)
        grid = _panels.panels(mu[i], sigma[i], k[i][:, None] == xp.arange(mu.shape[-1]))
        out.append(grid.scores_top + grid.right_scores[:, 0] / grid.right[:, :1])
    return xp.concatenate(out)


def _locate(grid, law, m):
    """The panel (R,) that holds m (R,)."""
    xp, _ = namespace(m)
    return xp.minimum(xp.sum(grid.edges[law, 1:] <= m[:, None], axis=-1), grid.edges.shape[1] - 2)


def _solve(grid, mu, sigma, own, law, v):
    """(m (R,), its panel (R,)): the panel from the running masses, then safeguarded Newton inside it."""
    xp, _ = namespace(mu)
    draws = xp.arange(law.size)
    # (1) the smaller tail is counted, from its own end, so that it keeps its relative precision
    lower = v <= 0.5
    left, right = grid.left[law], grid.right[law]
    want = xp.where(lower, v, 1 - v) * left[:, -1]
    from_left = xp.sum(left[:, 1:] <= want[:, None], axis=-1)
    from_right = xp.sum(right[:, :-1] > want[:, None], axis=-1) - 1
    panel = xp.where(lower, from_left, from_right)
    start, end = panel + ~lower, panel + lower  # the edge to count from, and the other one
    before = xp.where(lower, left[draws, start], right[draws, start])
    mass = xp.where(lower, left[draws, end], right[draws, end]) - before
    want = want - before
    edge, top = grid.edges[law, start], grid.top[law]
    span = grid.edges[law, end] - edge  # signed
    # (2) start at x in [0, 1], with w taken as e^{s x} between the edges
    s = grid.log_w[law, end] - grid.log_w[law, start]
    s = xp.where(xp.abs(s) < 1e-3, 1e-3, s)
    x = xp.clip(xp.log1p(want / mass * xp.expm1(s)) / s, 0, 1)
    # (3) the root of F(x) = int_0^x w - want, increasing: a Newton step that leaves the bracket becomes a bisection
    nodes, weight = (xp.asarray(a) for a in _panels.gauss_legendre(_panels.NODES))
    nodes = xp.concatenate([nodes, xp.ones(1)])
    low, high = xp.zeros_like(x), xp.ones_like(x)
    todo = draws
    for _ in range(100):
        at = x[todo]
        t = edge[todo][:, None] + (span[todo] * at)[:, None] * nodes
        w = xp.exp(_panels.log_w(mu[todo], sigma[todo], own[todo], t) - top[todo]) * xp.abs(span[todo])[:, None]
        excess = at * xp.sum(w[:, :-1] * weight, axis=-1) - want[todo]
        low[todo] = xp.where(excess <= 0, at, low[todo])
        high[todo] = xp.where(excess >= 0, at, high[todo])
        new = at - excess / w[:, -1]
        new = xp.where((new >= low[todo]) & (new <= high[todo]), new, 0.5 * (low[todo] + high[todo]))
        x[todo] = new
        todo = todo[xp.abs(new - at) > 1e-9 * new]  # the error left is about the square of the last step
        if todo.size == 0:
            break
    return edge + span * x, panel


def _derivatives(grid, mu, sigma, own, law, m, panel, v=None):
    """(dm (R, 2n), w(m) (R,) as part of w's top). The panel of m is cut in two; v=None: v = Gamma(m)/P_k."""
    xp, _ = namespace(mu)
    args = (mu, sigma, own, grid.top[law], grid.scores_top[law])
    mass_left, left = _panels.integrals(*args, grid.edges[law, panel], m)
    mass_right, right = _panels.integrals(*args, m, grid.edges[law, panel + 1])
    left = left + grid.left_scores[law, panel]
    right = right + grid.right_scores[law, panel + 1]
    if v is None:
        mass_left, mass_right = mass_left + grid.left[law, panel], mass_right + grid.right[law, panel + 1]
        v, rest = mass_left / (mass_left + mass_right), mass_right / (mass_left + mass_right)
    else:
        rest = 1 - v
    density = xp.maximum(xp.exp(_panels.log_w(mu, sigma, own, m[:, None]) - grid.top[law]), 1e-300)
    return (v[:, None] * right - rest[:, None] * left) / density, density[:, 0]
