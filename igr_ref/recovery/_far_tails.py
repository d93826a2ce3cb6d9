"""Prop. 2: winners so far out in a tail that the panels about the density's top hold no mass beyond them.

About the winner itself, g_m(t) = log w(t) - log w(m) (`_far_density`), nothing is small. From below, Gamma(m) = v P_k:
    rho = Gamma(m)/w(m) = int_0^m e^{g_m},   dlog Gamma/dm = 1/rho,   dm/domega = rho (dlog P_k - E[S | t < m]),
and from above, with rho = int_m^inf e^{g_m}, dm/domega = rho (E[S | t > m] - dlog P_k). As in `_far`, expectations are
of S - S_m, and S_m - S_top and E[S] - S_top are taken about the top. One draw takes some tenths of a second.
"""

from __future__ import annotations

import math

from ..backend import namespace
from ._far import Category
from ._far_density import last_true

TINY = 1e-18  # quantiles of a smaller v are for this file (uniforms are 2^-54 or more); of given winners, those with
DEEP = 45.0  # log w(m) further than this below its top: v, or 1 - v, is then below e^-DEEP, as w is log-concave


def given(mu, sigma, k, m):
    """dm (2n,) at the winner m of mu, sigma (n,)."""
    own = Category(mu, sigma, k, every=True)
    side = -1 if m < own.A + own.B else 1
    s, _, beyond = _beyond(own, m, 0.0, side)
    return _derivatives(own, s, beyond, side)


def quantile(mu, sigma, k, v):
    """(m, dm (2n,)) with Gamma(m) = v P_k, v < TINY, by Newton's method on log Gamma.

    It starts at a t with Gamma(t) <= t max_{t' <= t} w(t') <= v P_k; log Gamma is concave, so no step passes m.
    """
    xp, _ = namespace(mu)
    own = Category(mu, sigma, k, every=True)
    top, want = own.A + own.B, math.log(v) + math.log(own.total)

    def below(t):
        g = float(own.g(xp.asarray([(t - own.A) - own.B]))[0]) if t < top else 0.0
        return t == 0 or math.log(t) + g <= want

    A, B, close = last_true(below, max(top, own.total)), 0.0, False
    for _ in range(100):
        s, g, beyond = _beyond(own, A, B, -1)
        if close:
            break
        missing = want - g - math.log(beyond.total)
        step = B + missing * beyond.total
        A, B = A + step, (A - (A + step)) + step
        close = abs(missing) < 1e-6  # what is left is about its square
    return A + B, _derivatives(own, s, beyond, -1)


def _beyond(own, A, B, side):
    """(s, g(s), the density on one side of A + B = top + s)."""
    xp, _ = namespace(own.mu)
    s = (A - own.A) + (B - own.B)
    g, slope = (float(part[0]) for part in own.g(xp.asarray([s]), slope=True))
    return s, g, Category(own.mu, own.sigma, int(xp.argmax(own.own)), every=True, end=(A, B, slope, side))


def _derivatives(own, s, beyond, side):
    """dm (2n,) at m = top + s."""
    xp, _ = namespace(own.mu)
    here = own.score_integral(xp.asarray([s]), xp.ones(1))
    mean, mean_beyond = (
        law.score_integral(xp.reshape(law.s, (-1,)), xp.reshape(law.mass, (-1,)) / law.total) for law in (own, beyond)
    )
    return side * beyond.total * (here + mean_beyond - mean)
