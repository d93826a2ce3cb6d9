"""Interpolation to the nearest vertex (eq. 17).   w = SB(sigmoid(y)),  g = tau w + (1 - tau) e^{(m)},  m = argmax w.

P_S(w) = e^{(m)} is the vertex of the largest of all K coordinates, remainder included, so that every category can be
reached; g jumps where two coordinates tie for the largest, and all derivatives hold everywhere else.
Inverse                  m = argmax g,  w_j = g_j/tau for j != m,  w_m = 1 - sum_{j!=m} w_j,  y = SB^{-1}(w).
Jacobian                 J = tau dw/dy: triangular;   log|det J| = (K-1) log tau + log|det dw/dy|.
Pullback                 that of stick-breaking for the cotangents tau z_bar and log_det_bar.
"""

from __future__ import annotations

from ..backend import namespace
from ..precision import given_eps, in_double
from .base import Transform, check_simplex, check_temperature, like, log_temperature, one_hot
from .stick_breaking import StickBreaking


@in_double
class VertexInterpolation(Transform):
    """eq. 17 with temperature tau in (0, 1]. Onto the simplex: (..., K-1) -> (..., K); one to one, not onto.

    Why tau <= 1: g_m - g_j = tau (w_m - w_j) + 1 - tau is then never negative, so that m = argmax g and w follow from
    g, and the image is the part of the simplex with g_m - g_j >= 1 - tau for all j. Above 1, g_m = 1 - tau (1 - w_m)
    falls below 0 where w_m < 1 - 1/tau, and m can no longer be read from g.
    """

    onto_simplex = True

    def __init__(self, temperature, precise=True):
        super().__init__(precise)
        self.temperature = check_temperature(temperature)
        xp, _ = namespace(temperature)
        if not bool(xp.all(xp.asarray(temperature) <= 1)):
            raise ValueError(f"temperature must be in (0, 1] for eq. 17 to stay on the simplex, got {temperature!r}")
        self.sticks = StickBreaking(precise)

    def run(self, y):
        xp, _ = namespace(y)
        tau = like(self.temperature, y)
        w, saved = self.sticks.run(y)
        return tau * w + (1 - tau) * one_hot(xp.argmax(w, axis=-1), w.shape[-1], xp, w.dtype), saved

    def log_forward(self, y):
        """log g, all K coordinates: log tau + log w_j, and log(1 - tau sum_{j!=m} w_j) for the m-th."""
        xp, _ = namespace(y)
        log_w = self.sticks.log_forward(y)
        top = one_hot(self.category(y), log_w.shape[-1], xp, y.dtype)
        tau = like(self.temperature, y)
        # the sum leaves out w_m, which is at least 1/K: it is at most 1 - 1/K
        others = xp.sum((1 - top) * xp.exp(log_w), axis=-1, keepdims=True)
        log_tau = xp.log(tau * xp.ones_like(others))
        return xp.where(top > 0, xp.log1p(-tau * others), log_tau + log_w)

    def pullback(self, saved, z_bar=None, log_det_bar=None):
        if z_bar is not None:
            z_bar = like(self.temperature, z_bar) * z_bar
        return self.sticks.pullback(saved, z_bar, log_det_bar)

    def jacobian(self, y):
        tau = like(self.temperature, y)
        return (tau if isinstance(tau, float) else tau[..., None]) * self.sticks.jacobian(y)

    def log_det(self, y):
        return y.shape[-1] * log_temperature(self.temperature, y) + self.sticks.log_det(y)

    def inverse(self, z):
        """y from z (..., K). ValueError where z is no point of the simplex, or no image at this temperature."""
        xp, _ = namespace(z)
        check_simplex(z)
        k = z.shape[-1]
        top = one_hot(xp.argmax(z, axis=-1), k, xp, z.dtype)
        others = (1 - top) * z / like(self.temperature, z)
        # w_m is what the others leave, although g_m - (1 - tau) over tau is the same number: the others carry a
        # relative error of one rounding each, while the difference would magnify that of g_m by 1/tau.
        largest = 1 - xp.sum(others, axis=-1, keepdims=True)
        slack = 1 + 8 * k * given_eps(z)
        if not bool(xp.all(largest * slack >= xp.max(others, axis=-1, keepdims=True))):
            raise ValueError("z must have max z - z_j >= 1 - temperature for every other j")
        return self.sticks.inverse(others + top * largest)

    def category(self, y):
        """argmax of all K coordinates of w; the largest is at least 1/K, so it never underflows."""
        xp, _ = namespace(y)
        return xp.argmax(self.sticks.forward(y), axis=-1)
