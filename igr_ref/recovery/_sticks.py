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

import numpy

from ..backend import namespace
from ..numerics import log_ndtr, log_ndtr_grad, log_normal_pdf, softplus
from . import _chebyshev
from ._beyond import Beyond
from ._quadrature import gauss_legendre

REACH = 6.5  # standard deviations of y that matter: Phi(-6.5) = 4e-11
NEGLIGIBLE = 22.0  # a stick that takes e^-22 = 3e-10 of what is left changes nothing


def inverse_softplus(x):
    """y with softplus(y) = x > 0, log(e^x - 1)."""
    xp, _ = namespace(x)
    return x + xp.log(-xp.expm1(-x))


class Stick:
    """T and D with values at v (L, M), and r, on functions at n Chebyshev points of [low, high] (L, 1)."""

    def __init__(self, mu, sigma, low, high, n, v, s, quadrature, hard=None):
        """hard (L, 1): the laws in which integrals end where F becomes constant, at v = high; None if there are none.

        There F may be all but a step on the whole range of y. What y has beyond its end is one more point, as below.
        """
        xp, _ = namespace(mu)
        x, w = (xp.asarray(p) for p in gauss_legendre(quadrature))
        x, w = 0.5 * (x + 1), 0.5 * w
        first, last = mu - REACH * sigma, mu + REACH * sigma

        # T: F is 0 where theta < low. Sticks below `start` leave s as it is, and theta = v: they are one more point.
        start = xp.minimum(xp.maximum(first, -NEGLIGIBLE - softplus(v)), s)
        if hard is not None:
            room = softplus(-high) + s
            constant = inverse_softplus(xp.where(room > 0, room, 1))  # theta > high below it
            start = xp.where(hard & (room > 0), xp.maximum(start, xp.minimum(constant, s)), start)
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
        self.beyond = None
        if hard is not None:
            end = xp.maximum(high, a)
            b, last = xp.where(hard, xp.minimum(b, end), b), xp.where(hard, xp.minimum(last, end), last)
            self.beyond = Beyond(mu, sigma, end, s, hard)
        y_d = a + (b - a) * 0.5 * (xp.asarray(_chebyshev.nodes(quadrature)) + 1)
        z_d = (y_d - mu) / sigma
        self.density = xp.exp(log_normal_pdf(z_d)) * (0.5 * (b - a) / sigma)
        self.integral = xp.asarray(_chebyshev.antiderivative(quadrature).T)
        self.up_to = _chebyshev.Stencil(a, xp.where(b > a, b, a + 1), quadrature + 1, s)

        # r, over the whole range of y: twice as many points
        x_r, w_r = (xp.asarray(p) for p in gauss_legendre(2 * quadrature))
        half = 0.5 * xp.maximum(last - a, 0)
        y_r = a + half * (x_r + 1)
        z_r = (y_r - mu) / sigma
        self.total = xp.exp(log_normal_pdf(z_r)) * (half / sigma * w_r)

        self._flat = (mu.shape[0], v.shape[1] * quadrature)

        def points(of_t, *rest):
            return xp.concatenate([xp.reshape(of_t, self._flat), *rest], axis=-1)

        extra = [] if self.beyond is None else [self.beyond.points]
        self.stencil = _chebyshev.Stencil(low, high, n, points(theta, v, y_d, y_r, *extra))
        # d(weight)/weight: z/sigma and (z^2 - 1)/sigma for phi; -phi/Phi/sigma and -z phi/Phi/sigma for Phi(z_start)
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
        theta, v, y_d, y_r, *constant = self._split(at_points)
        kept = xp.sum(self.transfer * theta, axis=-1) + self.below * v
        lost = self.up_to.gather(xp.matmul(self.density * y_d, self.integral))
        total = xp.sum(self.total * y_r, axis=-1, keepdims=True)
        if self.beyond is not None:
            more, rest = self.beyond.apply(constant[0])
            lost, total = lost + more, total + rest
        return kept, lost, total

    def pull(self, t_bar, d_bar, r_bar):
        """Cotangents of F at the points, from those of T F (L, M), D F (L, M) and r F (L, 1)."""
        xp, _ = namespace(t_bar)
        by_theta = xp.reshape(self.transfer * t_bar[..., None], self._flat)
        by_d = self.density * xp.matmul(self.up_to.scatter(d_bar), self.integral.T)
        constant = [] if self.beyond is None else [self.beyond.pull(d_bar, r_bar)]
        return xp.concatenate([by_theta, self.below * t_bar, by_d, self.total * r_bar, *constant], axis=-1)

    def parameter_bars(self, terms):
        """(mu_bar, sigma_bar) (L, 1) from the terms (L, T) of a sum over the points: weight times F times cotangent."""
        xp, _ = namespace(terms)
        one, two, end = *self._ends[:2], self._z.shape[1]
        z, below = self._z, terms[:, one:two] * self._ratio
        smooth = xp.concatenate([terms[:, :one], xp.zeros_like(below), terms[:, two:end]], axis=-1)
        mu_bar = xp.sum(smooth * z, axis=-1) - xp.sum(below, axis=-1)
        sigma_bar = xp.sum(smooth * (z * z - 1), axis=-1) - xp.sum(below * z[:, one:two], axis=-1)
        mu_bar, sigma_bar = mu_bar[:, None], sigma_bar[:, None]
        if self.beyond is not None:
            mu_more, sigma_more = self.beyond.parameter_bars(terms[:, end:])
            mu_bar, sigma_bar = mu_bar + mu_more, sigma_bar + sigma_more
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
