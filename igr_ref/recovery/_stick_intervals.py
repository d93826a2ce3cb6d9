"""The interval on which each function of `stick_breaking` is kept: of v, with s = log sigmoid(v)."""

from __future__ import annotations

import math

from ..backend import namespace
from ..numerics import softplus
from ._sticks import REACH, inverse_softplus

TOP = 20.0  # largest v: s lies in (-e^-20, 0) with a probability of 2e-9 times its density
HIGHER = 34.0  # the same for laws whose density is too large for that
RESOLVED = 1e-10  # probability outside the interval on which a function is kept


class Intervals:
    """The interval of v for each stick in turn: what s_i can reach, up to what later sticks can exceed."""

    def __init__(self, mu, sigma, top, remainder):
        xp, _ = namespace(mu)
        self.end = xp.where(top > TOP, math.exp(-HIGHER), math.exp(-TOP))
        self.first, self.last = mu - REACH * sigma, mu + REACH * sigma
        # later[i]: the largest y after stick i; with a remainder also the largest theta = -y that v = inf leads back to
        end = self.last[:, -1:]
        later = [xp.minimum(xp.maximum(end, -self.first[:, -1:]) if remainder else end, top)]
        for i in range(mu.shape[1] - 2, 0, -1):
            later.append(xp.minimum(xp.maximum(later[-1], self.last[:, i : i + 1]), top))
        self.later = later[::-1]
        self.s_low = self.s_high = None

    def after(self, i):
        """(low, high) (L, 1) for functions of s_i, stick number i = 0..n-2."""
        xp, _ = namespace(self.first)
        first, last = self.first[:, i : i + 1], self.last[:, i : i + 1]
        if i == 0:
            self.s_low, self.s_high = first, last
        else:
            self.s_low = xp.maximum(self.s_low + softplus(first), first)
            self.s_high = xp.maximum(self.s_high + softplus(last), last)
        high = xp.minimum(self.later[i], -inverse_softplus(xp.maximum(-self.s_high, self.end)))
        low = -inverse_softplus(xp.maximum(-self.s_low, self.end))
        # no later stick can exceed what s_i already is: any interval will do
        return xp.where(low < high, low, high - xp.maximum(1, 1e-9 * xp.abs(high))), high

    def tighten(self, v, G):
        """Take out the parts of the interval where G at the ascending v (L, n) is 0 or 1: s_{i+1} > s_i > them."""
        xp, _ = namespace(v)
        s = -softplus(-v)
        zero = xp.cumsum(G >= RESOLVED, axis=-1) == 0
        one = xp.flip(xp.cumsum(xp.flip(G <= 1 - RESOLVED, axis=-1), axis=-1), axis=-1) == 0
        self.s_low = xp.maximum(self.s_low, xp.max(xp.where(zero, s, -xp.inf), axis=-1, keepdims=True))
        self.s_high = xp.minimum(self.s_high, xp.min(xp.where(one, s, xp.inf), axis=-1, keepdims=True))
