"""Laws of IGR-SB that need no integral: sigma so small beside mu, or beside 1, that only one category can win.

    log w_k = log sigmoid(y_k) - sum_{i<k} softplus(y_i),   log of the remainder = -sum_i softplus(y_i),
and y_i lies within SIDES sigma_i of mu_i: a category whose lower bound exceeds all others' upper bounds has P = 1. The
recursion over sticks (`stick_breaking`) does not resolve such laws: its doubles cannot tell mu from mu + sigma.
"""

from __future__ import annotations

from ..backend import namespace
from ..numerics import log_sigmoid, softplus

SIDES = 10.0  # Phi(-10) = 8e-24
NARROW = 1e-6  # of max(|mu|, 1): only a law with a smaller sigma is looked at
LEAST = 1e-12  # of max(|mu|, 1): with a smaller sigma the recursion may be wrong and not know it
CERTAIN = 1e6  # a mu above it takes the whole rest of the stick: 1 - u < e^-40, whatever mu is


def certain(mu, sigma):
    """(mu, sigma) with sticks that surely take everything moved to where a double says so."""
    xp, _ = namespace(mu)
    whole = (mu > CERTAIN) & (mu - SIDES * sigma > 0.5 * CERTAIN)
    return xp.where(whole, 100.0, mu), xp.where(whole, 1.0, sigma)


def winners(mu, sigma, remainder):
    """For laws mu, sigma (L, n): the number (L,) of the category that surely wins, -1 where that is to be integrated.

    ArithmeticError for a law that can be neither decided nor integrated in doubles.
    """
    xp, _ = namespace(mu)
    ratio = xp.min(sigma / xp.maximum(xp.abs(mu), 1), axis=-1)
    out = xp.full(mu.shape[:1], -1)
    (rows,) = xp.nonzero(ratio < NARROW)
    if rows.size == 0:
        return out
    low, high = ((mu + side * SIDES * sigma)[rows] for side in (-1, 1))
    least, most = (_log_sticks(y, rest, remainder) for y, rest in ((low, high), (high, low)))
    best = xp.argmax(least, axis=-1)
    first = xp.max(least, axis=-1, keepdims=True)
    others = xp.where(best[:, None] == xp.arange(most.shape[-1]), -xp.inf, most)
    second = xp.max(others, axis=-1, keepdims=True)
    sure = (first - second > 1e-13 * xp.maximum(xp.abs(first), 1))[:, 0]
    if bool(xp.any(~sure & (ratio[rows] < LEAST))):
        raise ArithmeticError(
            f"IGR-SB: a sigma below {LEAST:.0e} of its |mu|, or of 1, is resolved only where one category surely wins"
        )
    out[rows] = xp.where(sure, best, -1)
    return out


def _log_sticks(y, before, remainder):
    """log w (L, K) with the sticks `before` it at those y; the remainder last, -inf if there is none."""
    xp, _ = namespace(y)
    taken = xp.cumsum(softplus(before), axis=-1)
    heads = log_sigmoid(y) - xp.concatenate([xp.zeros_like(taken[:, :1]), taken[:, :-1]], axis=-1)
    last = -taken[:, -1:]
    return xp.concatenate([heads, last if remainder else xp.full_like(last, -xp.inf)], axis=-1)
