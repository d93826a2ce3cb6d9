"""Prop. 2 for one category of a law whose scales lie far apart: its density's (`_far_density`) scores and quantiles.

With S the scores of f by mu and sigma (`_panels`), int w over t = top + s with weight w = e^g ds / int e^g ds:
    E[r_j], E[a_j r_j], E[a_k r_j]  for the fluxes,    dlog P_k = S_top + E[S - S_top],
    dm/domega = -[(1 - v) int_0^m (S - S_top) w - v int_m^inf (S - S_top) w]/w(m)  (`_winner`),
all from differences r(a_j + d_j) - r(a_j) and so on, in which no large a_j is left.
"""

from __future__ import annotations

import math

from ..backend import namespace
from ._far_density import CHUNK, NODES, Density, last_true, remainders
from ._panels import gauss_legendre
from ._tails import log_ndtr_and_grad

FAR = 1e4  # a law with max(|mu_j|, sigma_j) above FAR min sigma_j is left to this file
UNITS = 1e25  # and one whose numbers are no such size
LARGEST = 1e150  # of that ratio: its square is about the largest -log P


def is_far(mu, sigma, limit=FAR):
    """(L,): which laws mu, sigma (L, n) are for this file. ValueError where -log P might exceed the largest double."""
    xp, _ = namespace(mu)
    if mu.shape[0] == 0:
        return xp.zeros(0, dtype=bool)
    least, most = xp.min(sigma, axis=-1), xp.maximum(xp.max(sigma, axis=-1), xp.max(xp.abs(mu), axis=-1))
    if not bool(xp.all(most / LARGEST <= least)):
        raise ValueError(f"mu and sigma must not exceed {LARGEST:.0e} times the smallest sigma of their law")
    return (most > limit * least) | (least < 1 / UNITS) | (most > UNITS)


def scaled(mu, sigma):
    """(mu, sigma, power of two) (n,), divided by that power, so that the largest of them is about 1."""
    xp, _ = namespace(mu)
    power = 2.0 ** math.frexp(max(float(xp.max(xp.abs(mu))), float(xp.max(sigma))))[1]
    return mu / power, sigma / power, power


class Category(Density):
    """What is asked of one category k < K of mu, sigma (n,)."""

    # ---- its derivatives -----------------------------------------------------------------------------------------

    def _spread(self, values):
        """Values (active, ...) as (n, ...), 0 for the categories left out."""
        xp, _ = namespace(values)
        out = xp.zeros((self.n, *values.shape[1:]))
        out[self.active] = values
        return out

    def changes(self, s, weight):
        """(int w of a_j - a_j(0), of r_j - r_j(0) and of a_j r_j - a_j(0) r_j(0)) (3, active) at s (T,), w = weight."""
        xp, _ = namespace(s)
        out, step = [], max(1, CHUNK // s.size)
        for start in range(0, self.a.size, step):
            i = slice(start, start + step)
            a, d = self.a[i, None], s / self.sigma[i, None]
            dr = remainders(a, d)[1]
            r = log_ndtr_and_grad(a)[1]
            out.append(xp.stack([d @ weight, dr @ weight, (a * dr + d * (r + dr)) @ weight]))
        return xp.concatenate(out, axis=1)

    def means(self):
        """E[r_j], E[a_j r_j], E[a_k r_j] (n,) over the density of y_k given H = k."""
        xp, _ = namespace(self.mu)
        s, weight = xp.reshape(self.s, (-1,)), xp.reshape(self.mass, (-1,)) / self.total
        r_0 = log_ndtr_and_grad(self.a)[1]
        _, r, a_r = self.changes(s, weight)
        r, a_r = r_0 + r, self.a * r_0 + a_r
        # a_k r_j = a_k(0) r_j + d_k r_j
        product, step = [], max(1, CHUNK // s.size)
        for start in range(0, self.a.size, step):
            i = slice(start, start + step)
            dr = remainders(self.a[i, None], s / self.sigma[i, None])[1]
            product.append((r_0[i, None] + dr) @ (weight * s / self.sigma_k))
        a_k = self.a[self.own][0]
        return tuple(self._spread(v) for v in (r, a_r, a_k * r + xp.concatenate(product)))

    def scores_top(self):
        """The scores (2n,) of f at its top: by mu and then by sigma."""
        xp, _ = namespace(self.mu)
        r = log_ndtr_and_grad(self.a)[1]
        by_mu = xp.where(self.own, self.a, -r) / self.sigma
        by_sigma = (xp.where(self.own, self.a, -r) * self.a - self.own) / self.sigma
        return xp.concatenate([self._spread(by_mu), self._spread(by_sigma)])

    def score_integral(self, s, weight):
        """int w (S - S_top) (2n,)."""
        xp, _ = namespace(s)
        d, r, a_r = self.changes(s, weight)
        square = 2 * self.a * d + ((s / self.sigma_k) ** 2) @ weight  # of a_k
        by = xp.where(self.own, d, -r) / self.sigma, xp.where(self.own, square, -a_r) / self.sigma
        return xp.concatenate([self._spread(part) for part in by])

    def score(self):
        """dlog P_k (2n,)."""
        xp, _ = namespace(self.mu)
        weight = xp.reshape(self.mass, (-1,)) / self.total
        return self.scores_top() + self.score_integral(xp.reshape(self.s, (-1,)), weight)

    # ---- its quantiles -------------------------------------------------------------------------------------------

    def quantile(self, v):
        """s with Gamma(s) = v P_k, counted from the nearer end."""
        xp, _ = namespace(self.mu)
        lower = v <= 0.5
        want = (v if lower else 1 - v) * self.total
        masses = xp.sum(self.mass, axis=-1)
        before = xp.cumsum(masses if lower else masses[::-1])
        at = min(int(xp.sum(before <= want)), masses.size - 1)
        rest = want - (float(before[at - 1]) if at else 0.0)
        low, high = (
            float(e) for e in ((self.edges[at], self.edges[at + 1]) if lower else self.edges[::-1][at : at + 2])
        )
        x, weight = (xp.asarray(p) for p in gauss_legendre(NODES))

        def reached(part):
            span = part * (high - low)
            return float(xp.exp(self.g(low + span * x)) @ weight) * abs(span) <= rest

        return low + last_true(reached, 1.0) * (high - low)

    def given(self, s, v=None):
        """dm (2n,) at m = top + s, for v fixed; v = Gamma(m)/P_k if it is not given (see `_winner`)."""
        xp, _ = namespace(self.mu)
        s = min(max(s, float(self.edges[0])), float(self.edges[-1]))
        x, weight = (xp.asarray(p) for p in gauss_legendre(NODES))
        at = min(int(xp.sum(self.edges[1:] <= s)), self.mass.shape[0] - 1)
        points, masses = [], []
        for low, high, whole in (
            (float(self.edges[at]), s, slice(0, at)),
            (s, float(self.edges[at + 1]), slice(at + 1, None)),
        ):
            inner = low + (high - low) * x
            points.append(xp.concatenate([inner, xp.reshape(self.s[whole], (-1,))]))
            part = xp.exp(self.g(inner)) * weight * (high - low)
            masses.append(xp.concatenate([part, xp.reshape(self.mass[whole], (-1,))]))
        left, right = (float(xp.sum(mass)) for mass in masses)
        v, rest = (left / (left + right), right / (left + right)) if v is None else (v, 1 - v)
        signed = xp.concatenate([-rest * masses[0], v * masses[1]])
        density = float(xp.exp(self.g(xp.asarray([s])))[0])
        return self.score_integral(xp.concatenate(points), signed) / density
