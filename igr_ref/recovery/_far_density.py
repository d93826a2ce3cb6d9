"""One category of a law of Prop. 2 whose scales lie far apart, where t - mu_j lost the digits that sigma_j needs.

f(t) = log phi_k(t) + sum_{j!=k} log Phi_j(t), t >= 0, is concave. Let its top be at t = A + B, A the double nearest to
it, B what is left of it; a_j = ((A - mu_j) + B)/sigma_j, r = phi/Phi. At a distance s from the top, d_j = s/sigma_j,
    g(s) = f - f(top) = c s - d_k^2/2 + sum_{j!=k} D(a_j, d_j),    D(a, d) = log Phi(a + d) - log Phi(a) - r(a) d,
with c = f'(0) where the top is t = 0; elsewhere c = 0 by definition, and the terms that cancel are not formed.
(1) a < -END: log Phi = -a^2/2 + l(a) and r = l'(a) - a, l = log erfcx(-a/sqrt 2) + const., so that
    D = -d^2/2 + l(a + d) - l(a) - l'(a) d,   r(a + d) - r(a) = -d + l'(a + d) - l'(a):  no large a is squared.
(2) As g is concave, the integral over [0, s] with g(s) = -DROP lies between s/DROP (1 - e^-DROP) and s: halving
    panels finds every scale in it. One law at a time: mu, sigma (n,), float64.
"""

from __future__ import annotations

import functools
import math

import numpy

from ..backend import namespace
from ..numerics import LOG_2PI, log_ndtr
from ._panels import DROP, gauss_legendre
from ._tails import l_change, l_slope, log_ndtr_and_grad

END = 16.0
SIDES = 12.0  # standard deviations: Phi(-12) = 2e-33 is nothing
NODES = 16
STEEP = 8.0  # largest |g'| times a panel's width
ACCURACY = 1e-13
CHUNK = 500_000


def remainders(a, d):
    """(D(a, d), r(a + d) - r(a)) for a (n, 1) and d (n, T)."""
    xp, _ = namespace(a)
    far = a < -END
    b = xp.where(far, -1.0, a)
    log_0, r_0 = log_ndtr_and_grad(b)
    log_1, r_1 = log_ndtr_and_grad(b + d)
    if not bool(xp.any(far)):
        return log_1 - log_0 - r_0 * d, r_1 - r_0
    b = xp.where(far, a, -1.0)
    end = xp.minimum(b + d, 0)  # beyond 0, d > END, and e^D is nothing
    slope = l_slope(b)
    value = -0.5 * d * d + l_change(b, end) - slope * d
    return xp.where(far, value, log_1 - log_0 - r_0 * d), xp.where(far, l_slope(end) - slope - d, r_1 - r_0)


def last_true(holds, high):
    """The largest double x in [0, high] with holds(x), which is true at 0 and decreasing: bisection of its bits."""
    if holds(high):
        return high
    low, high = 0, int(numpy.float64(high).view(numpy.int64))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(float(numpy.int64(middle).view(numpy.float64))) else (low, middle)
    return float(numpy.int64(low).view(numpy.float64))


@functools.cache
def _to_ends():
    """(NODES, 2): values at the nodes of a panel -> those at its two ends, of the polynomial through them."""
    x, weight = gauss_legendre(NODES)
    degrees = numpy.arange(NODES)
    coefficients = numpy.polynomial.legendre.legvander(2 * x - 1, NODES - 1) * weight[:, None] * (2 * degrees + 1)
    return coefficients @ numpy.stack([(-1.0) ** degrees, numpy.ones(NODES)], axis=1)


class Density:
    """f about its top, and panels that integrate e^g to a relative accuracy of about ACCURACY.

    `log_p`: log P_k. `edges` (P+1,) in s; `s`, `mass` (P, NODES): points and their parts of int e^g ds.
    """

    def __init__(self, mu, sigma, k, every=False, end=None):
        """every: leave no category out. end: (A, B, f'(A + B), -1 or 1), for the one side of t = A + B alone, about it
        instead of the top."""
        xp, _ = namespace(mu)
        # categories with Phi_j = 1 wherever the density of k is not nothing
        self.active = (mu + SIDES * sigma >= 0) & ((mu - mu[k]) + SIDES * (sigma + sigma[k]) >= 0)
        self.active = self.active | (xp.arange(mu.size) == k) | every
        self.n, self.mu, self.sigma = mu.size, mu[self.active], sigma[self.active]
        self.own = (xp.arange(mu.size) == k)[self.active]
        self.mu_k, self.sigma_k = float(mu[k]), float(sigma[k])
        if end is None:
            self._find_top()
        else:
            self.A, self.B, self.c, _ = end
            self.a = self._arguments(self.A, self.B)
        a_k, others = self.a[self.own][0], self.a[~self.own]
        self.log_top = float(xp.sum(log_ndtr(others)) - 0.5 * a_k * a_k) - 0.5 * LOG_2PI - math.log(self.sigma_k)
        self._make_panels((-1, 1) if end is None else end[3:])
        self.total = float(xp.sum(self.mass))
        self.log_p = self.log_top + math.log(self.total)

    # ---- the top -------------------------------------------------------------------------------------------------

    def _arguments(self, A, B):
        return ((A - self.mu) + B) / self.sigma

    def _slope(self, A, B=0.0):
        xp, _ = namespace(self.mu)
        a = self._arguments(A, B)
        return float(xp.sum(xp.where(self.own, -a, log_ndtr_and_grad(a)[1]) / self.sigma))

    def _find_top(self):
        xp, _ = namespace(self.mu)
        self.A, self.B = 0.0, 0.0
        self.c = min(self._slope(0.0), 0.0)
        if self.c == 0:
            # f' <= 0 where every Phi_j is 1
            end = max(self.mu_k, float(xp.max(self.mu + 40 * self.sigma)), 0.0)
            A = last_true(lambda t: self._slope(t) > 0, end)
            gap = math.nextafter(A, math.inf) - A
            if self._slope(A, gap / 2) > 0:
                self.A = A + gap
                self.B = -last_true(lambda b: self._slope(self.A, -b) <= 0, gap / 2)
            else:
                self.A, self.B = A, last_true(lambda b: self._slope(A, b) > 0, gap / 2)
        self.a = self._arguments(self.A, self.B)

    # ---- the density ---------------------------------------------------------------------------------------------

    def g(self, s, slope=False):
        """g (T,) at s (T,); with `slope` also g'."""
        xp, _ = namespace(s)
        value, change = self.c * s, self.c - s / self.sigma_k**2
        step = max(1, CHUNK // s.size)
        for start in range(0, self.a.size, step):
            i = slice(start, start + step)
            d = s / self.sigma[i, None]
            D, dr = remainders(self.a[i, None], d)
            value = value + xp.sum(xp.where(self.own[i, None], -0.5 * d * d, D), axis=0)
            change = change + xp.sum(xp.where(self.own[i, None], 0, dr) / self.sigma[i, None], axis=0)
        return (value, change) if slope else value

    def _end(self, side, limit):
        """The s in the direction `side` at which g = -DROP, or `limit`."""
        xp, _ = namespace(self.mu)
        return side * last_true(lambda s: float(self.g(xp.asarray([side * s]))[0]) >= -DROP, limit)

    def _make_panels(self, sides):
        xp, _ = namespace(self.mu)
        x, weight = (xp.asarray(v) for v in gauss_legendre(NODES))
        left = self._end(-1, min(self.A + self.B, SIDES * self.sigma_k)) if -1 in sides else 0.0
        right = self._end(1, SIDES * self.sigma_k) if 1 in sides else 0.0
        scale, to_ends = (right - left) / DROP, xp.asarray(_to_ends())
        found = []

        def evaluate(inner, outer):
            span = outer - inner
            s = inner[:, None] + span[:, None] * x
            value, slope = self.g(xp.concatenate([xp.reshape(s, (-1,)), inner, outer]), slope=True)
            inside, ends = xp.reshape(value[: s.size], s.shape), xp.reshape(value[s.size :], (2, -1)).T
            mass = xp.exp(inside) * xp.abs(span)[:, None] * weight
            # (3) what changes between the last node and an end shows in g at the end alone
            off = xp.max(xp.abs(inside @ to_ends - ends), axis=-1)
            return s, mass, xp.exp(ends[:, 0]) * xp.abs(span), off, xp.abs(slope[s.size + inner.size :] * span)

        inner, outer = xp.zeros(2), xp.asarray([left, right])
        inner, outer = inner[outer != 0], outer[outer != 0]
        whole = xp.sum(evaluate(inner, outer)[1], axis=-1)
        while inner.size:
            middle = 0.5 * (inner + outer)
            ends = xp.concatenate([inner, middle]), xp.concatenate([middle, outer])
            s, mass, bound, off, steep = evaluate(*ends)
            both = xp.sum(mass[: inner.size] + mass[inner.size :], axis=-1)
            # what g's rounding leaves is proportional to the panel's own mass
            exact = xp.abs(whole - both) <= ACCURACY * scale + 1e-11 * both
            exact = xp.concatenate([exact, exact]) & ((off <= 1e-9) | (off * bound <= 1e-11 * scale))
            # (4) a step within neighbouring doubles has no width
            narrow = xp.abs(ends[1] - ends[0]) <= 4e-16 * xp.abs(ends[1])
            good = (exact & (steep <= STEEP)) | (bound <= 1e-17 * scale) | narrow
            found.append((*(end[good] for end in ends), s[good], mass[good]))
            inner, outer, whole = ends[0][~good], ends[1][~good], xp.sum(mass, axis=-1)[~good]
        inner, outer, s, mass = (xp.concatenate(parts) for parts in zip(*found, strict=True))
        order = xp.argsort(xp.minimum(inner, outer))
        self.s, self.mass = s[order], mass[order]
        self.edges = xp.concatenate([xp.minimum(inner, outer)[order], xp.asarray([max(right, left)])])
