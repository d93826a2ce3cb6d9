"""Draws and their laws, as `drawn_single` lays them in memory: categories first, laws last."""

from __future__ import annotations

import math

from ..backend import namespace


class Axes:
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
