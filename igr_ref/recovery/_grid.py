"""Panels for Prop. 2: one set for all categories of a law, laws with equal numbers of panels computed together.

The integrands are S = prod_j Phi_j with one factor Phi_k replaced by phi_k (or two of them).
(1) Below `low` the largest y lies with probability S(low) < Phi(-reach), above `high` = max_j (mu_j + reach sigma_j)
    with less than K Phi(-reach). log S is concave and increasing: Newton's steps from the left stay on the left.
(2) Phi(a + ib), b up to 3, exceeds Phi(a) by a factor of at most e^{c(a) b^2/2}, c(a) = clip((C_0 - a)/C_1, 0, 1), and
    phi by e^{b^2/2}: in the complex plane, integrands at t grow like a Gaussian of precision
        rate^2 = sum_j c(a_j)/sigma_j^2 + max_k (1 - c(a_k))/sigma_k^2,  a_j = (t - mu_j)/sigma_j, k with a_k < reach,
    or less; c decreases, so that the rate at a panel's left end serves it all. Panels are width/rate wide.
    Above C_0 a factor still exceeds by about e^{-a^2/2}: of n > FEW factors, as much as FEW do at C_0 where
    a^2 = C_0^2 + 2 log(n/FEW), which takes the place of C_0^2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..backend import namespace
from ._factors import Factors
from ._normal import DEGREE, END, hazard_and_log
from ._quadrature import gauss_legendre_points

C_0, C_1 = 3.2, 4.0
FEW = 50
CHUNK = 64_000  # elements of an array (K-1, laws, points): a few of them fit a processor's cache


@dataclass(frozen=True)
class Rule:
    """nodes: of a panel; width, reach: above; degree: of the polynomial for Mills' ratio. For the winner (`_drawn`),
    inner: nodes between the edge of its panel and m; close: the last Newton step's size, as a part of the panel."""

    nodes: int = 16
    width: float = 5.0
    close: float = 1e-7
    degree: int = DEGREE
    reach: float = END  # phi(8.5) < 1e-16
    inner: int = 16


FINE = Rule()  # P to 2e-14, P_k times its score to 3e-13, for sigma from .05 to 20
# P to 4e-10 and P_k times its score to 5e-8; the latter to 2e-8 in the range of eq. 37: for float32
SINGLE = Rule(width=8.0, close=1e-5, degree=11, reach=7.0, inner=14)


def edges(mu, sigma, rule, log_at_zero=None):
    """(edges (L, P+1), non-decreasing; number of panels (L,)) for laws mu, sigma (L, n).

    P is the largest number of panels; rows with fewer repeat their last edge. log_at_zero: log S(0) (L, 1), if known.
    """
    xp, _ = namespace(mu)
    if log_at_zero is None:
        low = lowest(mu, sigma, rule.reach)
    else:
        low = xp.zeros_like(log_at_zero)
        (i,) = xp.nonzero(log_at_zero[:, 0] < _log_tail(rule.reach))
        if i.size:
            low[i] = lowest(mu[i], sigma[i], rule.reach)
    high = xp.maximum(xp.max(mu + rule.reach * sigma, axis=-1, keepdims=True), low)
    precision = sigma**-2
    end, found = low, [low]
    first = math.sqrt(C_0**2 + 2 * math.log(max(mu.shape[-1] / FEW, 1)))
    while bool(xp.any(end < high)):
        a = (end - mu) / sigma
        c = xp.clip((first - a) / C_1, 0, 1)
        own = xp.max((a < rule.reach) * (1 - c) * precision, axis=-1, keepdims=True)
        rate = xp.sqrt(xp.sum(c * precision, axis=-1, keepdims=True) + own)
        # the last rate may be 0: no Phi_j moves any more
        step = rule.width / xp.maximum(rate, 1e-30)
        if bool(xp.any((end < high) & (end + step == end))):
            raise ArithmeticError(
                "Prop. 2: the scales of a law lie too far apart for one grid of doubles: a panel of its smallest sigma"
                f" ends where it began, at {float(xp.max(end)):.3g}"
            )
        end = xp.where(step < high - end, end + step, high)
        found.append(end)
    all_edges = xp.concatenate(found if len(found) > 1 else [low, low], axis=-1)
    return all_edges, xp.sum(all_edges[:, 1:] > all_edges[:, :-1], axis=-1)


def lowest(mu, sigma, reach):
    """(L, 1): 0, or a t > 0 with log S(t) a little below log Phi(-reach)."""
    xp, _ = namespace(mu)
    t = xp.maximum(xp.max(mu - reach * sigma, axis=-1, keepdims=True), 0)
    target = _log_tail(reach)
    for _ in range(100):
        ratio, log_Phi = hazard_and_log((t - mu) / sigma, 8)
        missing = target - xp.sum(log_Phi, axis=-1, keepdims=True)
        if not bool(xp.any(missing > 1)):
            break
        slope = xp.sum(ratio / sigma, axis=-1, keepdims=True)
        t = t + xp.maximum(missing, 0) / xp.maximum(slope, 1e-30)  # 0 where log S is
    return t


def _log_tail(reach):
    """log Phi(-reach)."""
    return math.log(0.5 * math.erfc(reach / math.sqrt(2)))


def over_laws(function, mu, sigma, *more, rule=FINE):
    """Arrays of the laws (L, ...) from function(factors, edges, *more) on rows with equal numbers of panels.

    function returns a tuple of arrays; so does this.
    """
    xp, _ = namespace(mu)
    all_edges, panels = edges(mu, sigma, rule)
    order = xp.argsort(panels, kind="stable")
    counts = xp.take(panels, order)
    pieces, start = [], 0
    while start < counts.size or not pieces:
        number = max(1, int(counts[start])) if counts.size else 1
        stop = min(
            start + max(1, CHUNK // (number * mu.shape[-1] * rule.nodes)),
            int(xp.searchsorted(counts, counts[start : start + 1], side="right")[0]) if counts.size else 0,
        )
        rows = order[start:stop]
        row_edges = all_edges[rows][:, : number + 1]
        factors = Factors(mu[rows], sigma[rows], *gauss_legendre_points(row_edges, rule.nodes), rule.degree)
        pieces.append(function(factors, row_edges, *(array[rows] for array in more)))
        start = stop
    place = xp.argsort(order)
    return tuple(xp.take(xp.concatenate(parts, axis=0), place, axis=0) for parts in zip(*pieces, strict=True))


def rule_for(array):
    """The rule whose error is below what the array's dtype resolves."""
    return SINGLE if array.dtype == "float32" else FINE
