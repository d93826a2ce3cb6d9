"""Composition.   Chain(f, g)(y) = g(f(y)): transforms are given in the order in which they act.

Inverse                  f^{-1}(g^{-1}(z)).
Jacobian                 J_g(f(y)) J_f(y).
Determinant              log|det J_g(f(y))| + log|det J_f(y)|.
Pullback                 each link's pullback in reverse order; log_det_bar enters at every link.
eq. 18 is Chain(StickBreaking(), SoftmaxPlusPlus(tau)): the inner map's first K-1 coordinates, a point of the paper's
S^{K-1} inside R^{K-1}, are the outer map's input. An outer map that takes the simplex gets all K coordinates instead:
Chain(StickBreaking(), Softmax(tau)) is eq. 18 with the remainder (audit last-category).
"""

from __future__ import annotations

from ..backend import namespace
from ..precision import given_eps, in_double
from .base import Transform
from .softmax import Softmax
from .softmax_plus_plus import SoftmaxPlusPlus
from .stick_breaking import StickBreaking

ROUNDING = 1e3  # a w found from z is wrong by some units of the last place of 1: by less than 1 % of this many


@in_double
class Chain(Transform):
    """eq. 18 and every other composition. Onto the simplex when its last link is, and precise when all of them are."""

    def __init__(self, *links):
        if not links or not all(isinstance(link, Transform) for link in links):
            raise ValueError(f"Chain needs at least one transform, and nothing else, got {links!r}")
        for inner, outer in zip(links, links[1:], strict=False):
            if outer.takes_simplex and not inner.onto_simplex:
                raise ValueError(
                    f"{type(outer).__name__} takes points of the simplex, so the link before it must map onto the "
                    f"simplex; got {type(inner).__name__}"
                )
        super().__init__(precise=all(link.precise for link in links))
        self.links = links
        self.params = {f"{i}.{name}": p for i, link in enumerate(links) for name, p in link.params.items()}
        self.onto_simplex = links[-1].onto_simplex
        self.takes_simplex = links[0].takes_simplex

    def run(self, y):
        """saved: for every link, what it saved and what it handed on."""
        saved = []
        for position, link in enumerate(self.links):
            z, kept = link.run(y)
            y = self._handed_on(position, z)
            saved.append((kept, y))
        return z, saved

    def _cut(self, position):
        """Whether the link after `position` is given the first K-1 of the K coordinates of a point of the simplex."""
        inside = position + 1 < len(self.links)
        return inside and self.links[position].onto_simplex and not self.links[position + 1].takes_simplex

    def _handed_on(self, position, z):
        return z[..., :-1] if self._cut(position) else z

    def pullback(self, saved, z_bar=None, log_det_bar=None, first=0):
        """With first > 0 only the links from that one on are gone back through: y_bar belongs to its input."""
        bars = {}
        for position in range(len(self.links) - 1, first - 1, -1):
            if z_bar is not None and self._cut(position):
                # the K-th coordinate was not handed on: its cotangent is 0
                xp, _ = namespace(z_bar)
                z_bar = xp.concatenate([z_bar, xp.zeros_like(z_bar[..., :1])], axis=-1)
            z_bar, param_bars = self.links[position].pullback(saved[position][0], z_bar, log_det_bar)
            bars.update({f"{position}.{name}": bar for name, bar in param_bars.items()})
        return z_bar, bars

    def inverse_pullback(self, saved, y_bar):
        """J^{-T} = J_g^{-T} J_f^{-T}: the links in the order in which they act."""
        for link, (kept, _) in zip(self.links, saved, strict=True):
            y_bar = link.inverse_pullback(kept, y_bar)
        return y_bar

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

    def saved_log_det(self, saved):
        return sum(link.saved_log_det(kept) for link, (kept, _) in zip(self.links, saved, strict=True))

    def inverse(self, z):
        """y from z. ValueError where z is no image, or where what is left for some stick is within rounding of 0."""
        return self._before(len(self.links) - 1, self.links[-1].inverse(z))

    def inverse_log(self, log_z):
        """y from log z (..., K), where the last link offers it; ValueError as in `inverse`."""
        return self._before(len(self.links) - 1, self.links[-1].inverse_log(log_z))

    def _before(self, position, z):
        """y, the chain's input, from the input z of the link at `position`."""
        for before in range(position - 1, -1, -1):
            link = self.links[before]
            if self._cut(before):
                # The outer map was given K-1 coordinates only, so here, and only here, the K-th is what is left.
                xp, _ = namespace(z)
                z = xp.concatenate([z, 1 - xp.sum(z, axis=-1, keepdims=True)], axis=-1)
            if _last(link) is StickBreaking:
                _require_sticks(z)
            z = link.inverse(z)
        return z

    def category(self, y):
        """The limit in the last link's temperature. A point w of the simplex decides it by the order of log w:

        by its largest coordinate where all K are handed on, and by the largest of the first K-1 where softmax++ is
        given those, as they are all positive and Prop. 1's h then never gives the K-th vertex (audit last-category).
        """
        xp, _ = namespace(y)
        at, last = self._inputs(y), self.links[-1]
        if len(self.links) > 1 and self.links[-2].onto_simplex and isinstance(last, (Softmax, SoftmaxPlusPlus)):
            log_w = self.links[-2].log_forward(at[-2])
            return xp.argmax(log_w if last.takes_simplex else log_w[..., :-1], axis=-1)
        return last.category(at[-1])


def _last(link):
    """The type of the last link, of a chain within a chain too."""
    return _last(link.links[-1]) if isinstance(link, Chain) else type(link)


def _require_sticks(w):
    """ValueError unless every w, known from z to some units of the last place of 1, has a relative error below 1 %."""
    xp, _ = namespace(w)
    least = ROUNDING * given_eps(w)
    if not bool(xp.all(w > least)):
        raise ValueError(
            f"z does not say what is left for the last sticks: it gives w_k = {float(xp.min(w)):.3g}, and its rounding "
            f"allows no w_k below {least:.3g}. Where the Gaussian point y is at hand, log_prob takes that."
        )


class Identity(Transform):
    """The composition of nothing: y itself, and determinant 1."""

    def run(self, y):
        return y, y

    def pullback(self, saved, z_bar=None, log_det_bar=None):
        xp, _ = namespace(saved)
        return xp.zeros_like(saved) if z_bar is None else z_bar, {}

    def inverse_pullback(self, saved, y_bar):
        return y_bar

    def jacobian(self, y):
        xp, _ = namespace(y)
        return xp.zeros_like(y)[..., None] + xp.eye(y.shape[-1], dtype=y.dtype)

    def log_det(self, y):
        xp, _ = namespace(y)
        return xp.zeros_like(y[..., 0])

    def saved_log_det(self, saved):
        return self.log_det(saved)

    def inverse(self, z):
        return z
