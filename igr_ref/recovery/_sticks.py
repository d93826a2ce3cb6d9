"""One stick's operators T, D and r (see `stick_breaking`) on functions of s < 0 that are given at Chebyshev points.

The coordinate of s is v with s = log sigmoid(v): what the next stick's y must exceed to take the lead. Hence
    (T F)(v) = int_{y<=s} phi(y) F(theta) dy,  softplus(-theta) = softplus(-v) + softplus(y),
    (D F)(v) = int_{y<=s} phi(y) F(y) dy,      r F = int phi(y) F(y) dy.
Each is a sum over points p of a weight times F(p). `Stick` keeps weights and points, so its pullbacks are the exact
transposes; phi stands in the weights alone, so a derivative by mu or sigma is another factor in them.
Laws are rows: functions (L, n), parameters of the stick (L, 1), float64.
"""

from __future__ import annotations

import functools
import math

import numpy

from ..backend import namespace
from ..numerics import log_ndtr, log_ndtr_grad, log_normal_pdf, softplus
from . import _chebyshev
from ._quadrature import gauss_legendre

REACH = 6.5  # standard deviations of y that matter: Phi(-6.5) = 4e-11
TOP = 20.0  # largest v: s lies in (-e^-20, 0) with a probability of 2e-9 times its density
HIGHER = 34.0  # the same for laws whose density is too large for that
NEGLIGIBLE = 22.0  # a stick that takes e^-22 = 3e-10 of what is left changes nothing
WIDE = 15.0  # a sigma from here on: its stick's y ranges over some 200 units, where a function bends in a few
RESOLVED = 1e-10  # probability outside the interval on which a function is kept


def inverse_softplus(x):
    """y with softplus(y) = x > 0, log(e^x - 1)."""
    xp, _ = namespace(x)
    return x + xp.log(-xp.expm1(-x))


class Stick:
    """T and D with values at v (L, M), and r, on functions at n Chebyshev points of [low, high] (L, 1)."""

    def __init__(self, mu, sigma, low, high, n, v, s, quadrature, any_wide=False):
        """any_wide: whether a sigma is WIDE or more."""
        xp, _ = namespace(mu)
        x, w = (xp.asarray(p) for p in gauss_legendre(quadrature))
        x, w = 0.5 * (x + 1), 0.5 * w
        first, last = mu - REACH * sigma, mu + REACH * sigma

        # T: F is 0 where theta < low. Sticks below `start` leave s as it is, and theta = v: they are one more point.
        start = xp.minimum(xp.maximum(first, -NEGLIGIBLE - softplus(v)), s)
        room = softplus(-low) + s
        stop = xp.where(room > 0, inverse_softplus(xp.where(room > 0, room, 1)), start)
        width = xp.maximum(xp.minimum(xp.minimum(s, last), stop) - start, 0)[..., None]
        y = start[..., None] + width * x
        theta = -inverse_softplus(xp.log1p(xp.exp(y)) - s[..., None])
        z = (y - mu[..., None]) / sigma[..., None]
        self.transfer = xp.exp(log_normal_pdf(z)) * (width / sigma[..., None] * w)
        z_start = (start - mu) / sigma
        log_below = log_ndtr(z_start)
        self.below = xp.exp(log_below)

        # D: the integrand at Chebyshev points of [a, b], integrated from a to s as a polynomial
        a = xp.maximum(low, first)
        b = xp.maximum(xp.minimum(last, 0), a)
        y_d = a + (b - a) * 0.5 * (xp.asarray(_chebyshev.nodes(quadrature)) + 1)
        z_d = (y_d - mu) / sigma
        self.density = xp.exp(log_normal_pdf(z_d)) * (0.5 * (b - a) / sigma)
        self.integral = xp.asarray(_chebyshev.antiderivative(quadrature).T)
        self.up_to = _chebyshev.Stencil(a, xp.where(b > a, b, a + 1), quadrature + 1, s)

        # r, over the whole range of y: twice as many points. Above `end` F is constant, and what a wide stick has there
        # is one more point: on its whole range F is all but a step, for which the square in `unresolved` is no bound
        x_r, w_r = (xp.asarray(p) for p in gauss_legendre(2 * quadrature))
        self.above, extra = None, []
        if any_wide:
            wide, end = sigma >= WIDE, xp.maximum(high, a)
            self._z_above = (mu - end) / sigma
            self.above, extra = xp.where(wide, xp.exp(log_ndtr(self._z_above)), 0), [end]
            last = xp.where(wide, xp.minimum(last, end), last)
        half = 0.5 * xp.maximum(last - a, 0)
        y_r = a + half * (x_r + 1)
        z_r = (y_r - mu) / sigma
        self.total = xp.exp(log_normal_pdf(z_r)) * (half / sigma * w_r)

        self._flat = (mu.shape[0], v.shape[1] * quadrature)

        def points(of_t, *rest):
            return xp.concatenate([xp.reshape(of_t, self._flat), *rest], axis=-1)

        self.stencil = _chebyshev.Stencil(low, high, n, points(theta, v, y_d, y_r, *extra))
        # d(weight)/weight: z/sigma and (z^2 - 1)/sigma for phi; -phi/Phi/sigma and -z phi/Phi/sigma for Phi(z_start),
        # and the same with + and - for Phi(z_above)
        self._z = points(z, z_start, z_d, z_r)
        self._ratio, self._sigma = log_ndtr_grad(z_start), sigma
        self._ends = [self._flat[1], self._flat[1] + v.shape[1], self._flat[1] + v.shape[1] + quadrature]
        self._ends += [self._z.shape[1]] * len(extra)

    def _split(self, points):
        xp, _ = namespace(points)
        theta, *rest = xp.split(points, self._ends, axis=-1)
        return xp.reshape(theta, self.transfer.shape), *rest

    def apply(self, at_points):
        """(T F (L, M), D F (L, M), r F (L, 1)) from F at the points, stencil.gather(F)."""
        xp, _ = namespace(at_points)
        theta, v, y_d, y_r, *end = self._split(at_points)
        kept = xp.sum(self.transfer * theta, axis=-1) + self.below * v
        lost = self.up_to.gather(xp.matmul(self.density * y_d, self.integral))
        total = xp.sum(self.total * y_r, axis=-1, keepdims=True)
        return kept, lost, total + self.above * end[0] if end else total

    def pull(self, t_bar, d_bar, r_bar):
        """Cotangents of F at the points, from those of T F (L, M), D F (L, M) and r F (L, 1)."""
        xp, _ = namespace(t_bar)
        by_theta = xp.reshape(self.transfer * t_bar[..., None], self._flat)
        by_d = self.density * xp.matmul(self.up_to.scatter(d_bar), self.integral.T)
        by_end = [] if self.above is None else [self.above * r_bar]
        return xp.concatenate([by_theta, self.below * t_bar, by_d, self.total * r_bar, *by_end], axis=-1)

    def parameter_bars(self, terms):
        """(mu_bar, sigma_bar) (L, 1) from the terms (L, T) of a sum over the points: weight times F times cotangent."""
        xp, _ = namespace(terms)
        one, two, end = *self._ends[:2], self._z.shape[1]
        z, below = self._z, terms[:, one:two] * self._ratio
        smooth = xp.concatenate([terms[:, :one], xp.zeros_like(below), terms[:, two:end]], axis=-1)
        mu_bar = xp.sum(smooth * z, axis=-1) - xp.sum(below, axis=-1)
        sigma_bar = xp.sum(smooth * (z * z - 1), axis=-1) - xp.sum(below * z[:, one:two], axis=-1)
        mu_bar, sigma_bar = mu_bar[:, None], sigma_bar[:, None]
        if self.above is not None:
            above = terms[:, end:] * log_ndtr_grad(self._z_above)
            mu_bar, sigma_bar = mu_bar + above, sigma_bar - above * self._z_above
        return mu_bar / self._sigma, sigma_bar / self._sigma

    def unresolved(self, at_points):
        """(L,): the error to expect of T, D and r for want of points, from the last coefficients of their integrands.

        A tenth of them for T and D; the square for r, as its Gauss rule is exact up to twice the degree.
        """
        xp, _ = namespace(at_points)
        theta, _, y_d, y_r, *_ = self._split(at_points)
        last = xp.asarray(_chebyshev.coefficients(y_d.shape[1])[-2:].T)
        t_last, r_last = (xp.asarray(_last_legendre(a.shape[-1])) for a in (theta, y_r))
        found = [0.1 * xp.abs((self.density * y_d) @ last), ((self.total * y_r) @ r_last) ** 2]
        if theta.size:
            found.append(0.1 * xp.max(xp.abs((self.transfer * theta) @ t_last), axis=1))
        return xp.max(xp.concatenate(found, axis=-1), axis=-1)


@functools.cache
def _last_legendre(n):
    """(n, 2): integrand times weight at n Gauss-Legendre points -> its last two Legendre coefficients, times length."""
    return numpy.polynomial.legendre.legvander(gauss_legendre(n)[0], n - 1)[:, -2:] * (2 * n - numpy.array([3, 1]))


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
