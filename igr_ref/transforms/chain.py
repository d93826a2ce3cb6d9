"""Composition.   Chain(f, g)(y) = g(f(y)): transforms are given in the order in which they act.

Inverse                  f^{-1}(g^{-1}(z)).
Jacobian                 J_g(f(y)) J_f(y).
Determinant              log|det J_g(f(y))| + log|det J_f(y)|.
Pullback                 each link's pullback in reverse order; log_det_bar enters at every link.
eq. 18 is Chain(StickBreaking(), SoftmaxPlusPlus(tau)): the inner map's first K-1 coordinates, a point of the paper's
S^{K-1} inside R^{K-1}, are the outer map's input.
"""

from __future__ import annotations

from ..backend import namespace
from .base import Transform
from .softmax_plus_plus import SoftmaxPlusPlus


class Chain(Transform):
    """eq. 18 and every other composition. Onto the simplex when its last link is."""

    def __init__(self, *links):
        if not links:
            raise ValueError("Chain needs at least one transform")
        self.links = links
        self.onto_simplex = links[-1].onto_simplex

    def run(self, y):
        saved = []
        for position, link in enumerate(self.links):
            z, kept = link.run(y)
            saved.append(kept)
            y = self._handed_on(position, z)
        return z, saved

    def _handed_on(self, position, z):
        return z[..., :-1] if self.links[position].onto_simplex else z

    def pullback(self, saved, z_bar=None, log_det_bar=None):
        bars = {}
        for position in range(len(self.links) - 1, -1, -1):
            link = self.links[position]
            if z_bar is not None and link.onto_simplex and position + 1 < len(self.links):
                # the K-th coordinate was not handed on: its cotangent is 0
                xp, _ = namespace(z_bar)
                z_bar = xp.concatenate([z_bar, xp.zeros_like(z_bar[..., :1])], axis=-1)
            z_bar, param_bars = link.pullback(saved[position], z_bar, log_det_bar)
            bars.update({f"{position}.{name}": bar for name, bar in param_bars.items()})
        return z_bar, bars

    def _inputs(self, y):
        """The input of every link."""
        inputs = []
        for position, link in enumerate(self.links):
            inputs.append(y)
            if position + 1 < len(self.links):
                y = self._handed_on(position, link.forward(y))
        return inputs

    def log_forward(self, y):
        """log g(y) when the last link offers it."""
        return self.links[-1].log_forward(self._inputs(y)[-1])

    def jacobian(self, y):
        xp, _ = namespace(y)
        total = None
        for link, at in zip(self.links, self._inputs(y), strict=True):
            own = link.jacobian(at)
            total = own if total is None else xp.matmul(own, total)
        return total

    def log_det(self, y):
        return sum(link.log_det(at) for link, at in zip(self.links, self._inputs(y), strict=True))

    def inverse(self, z):
        for position in range(len(self.links) - 1, -1, -1):
            z = self.links[position].inverse(z)
            if position > 0 and self.links[position - 1].onto_simplex:
                # The outer map was given K-1 coordinates only, so here, and only here, the K-th is what is left.
                xp, _ = namespace(z)
                z = xp.concatenate([z, 1 - xp.sum(z, axis=-1, keepdims=True)], axis=-1)
        return z

    def category(self, y):
        """The last link's limit; softmax++ of a point of the simplex keeps that point's own order."""
        at = self._inputs(y)
        if len(self.links) > 1 and self.links[-2].onto_simplex and isinstance(self.links[-1], SoftmaxPlusPlus):
            return self.links[-2].category(at[-2])
        return self.links[-1].category(at[-1])
