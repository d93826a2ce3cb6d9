"""softmax++ (eq. 15).   g_k = e^{y_k/tau} / D,  g_K = delta / D,  D = sum_{j<K} e^{y_j/tau} + delta.

Inverse                  y_k = tau (log g_k - log g_K + log delta).
Jacobian (eq. 25)        J = (diag(g) - g g^T) / tau over k, i < K.
Determinant (eq. 26)     log|det J| = -(K-1) log tau + sum_{k<=K} log g_k      (g_K = 1 - sum_{j<K} g_j).
Pullback of z_bar        y_bar_j = g_j (z_bar_j - sum_{k<=K} g_k z_bar_k) / tau.
Pullback of log_det_bar  y_bar_j = log_det_bar (1 - K g_j) / tau.
"""

from __future__ import annotations

import math

from ..backend import namespace
from ..numerics import log_softmax, softmax, softmax_vjp
from ..precision import in_double
from .base import Transform, add_term, check_temperature, like, log_temperature


@in_double
class SoftmaxPlusPlus(Transform):
    """eq. 15 with temperature tau and delta > 0 (default 1, see Prop. 1). Onto the simplex: (..., K-1) -> (..., K)."""

    onto_simplex = True

    def __init__(self, temperature, delta=1.0, precise=True):
        super().__init__(precise)
        self.temperature = check_temperature(temperature)
        if not (math.isfinite(delta) and delta > 0):
            raise ValueError(f"delta must be finite and greater than 0, got {delta!r}")
        self.delta = float(delta)

    def _logits(self, y):
        # log delta joins the logits as the K-th one *before* the maximum is taken, so D can neither overflow nor
        # vanish, whatever the sign of y.
        xp, _ = namespace(y)
        logits = y / like(self.temperature, y)
        return xp.concatenate([logits, xp.zeros_like(logits[..., :1]) + math.log(self.delta)], axis=-1)

    def run(self, y):
        z = softmax(self._logits(y))
        return z, z

    def log_forward(self, y):
        """log g(y), all K coordinates, from the logits: finite even where g underflows to 0."""
        return log_softmax(self._logits(y))

    def pullback(self, saved, z_bar=None, log_det_bar=None):
        z = saved
        tau = like(self.temperature, z)
        y_bar = None
        if z_bar is not None:
            # the softmax of (y/tau, log delta), whose K-th logit is a constant
            y_bar = softmax_vjp(z, z_bar)[..., :-1] / tau
        if log_det_bar is not None:
            # d/dy_j sum_k log g_k = sum_k (1[k=j] - g_j)/tau = (1 - K g_j)/tau   from eqs. 23 and 24
            y_bar = add_term(y_bar, log_det_bar[..., None] * (1 - z.shape[-1] * z[..., :-1]) / tau)
        return y_bar, {}

    def jacobian(self, y):
        xp, _ = namespace(y)
        z = self.forward(y)
        g = z[..., :-1]
        tau = like(self.temperature, y)
        tau = tau if isinstance(tau, float) else tau[..., None]
        eye = xp.eye(z.shape[-1], dtype=z.dtype)
        # off the diagonal -g_k g_i / tau (eq. 23); on it g_k (1 - g_k)/tau (eq. 24), 1 - g_k summed from the others
        others = xp.matmul(z, 1 - eye)[..., :-1]
        eye = eye[:-1, :-1]
        return (eye * (g * others)[..., None, :] - (1 - eye) * g[..., :, None] * g[..., None, :]) / tau

    def log_det(self, y):
        xp, _ = namespace(y)
        return xp.sum(self.log_forward(y), axis=-1) - y.shape[-1] * log_temperature(self.temperature, y)

    def inverse_log(self, log_z):
        """y from log z (..., K): exact at temperatures where z itself underflows."""
        return like(self.temperature, log_z) * (log_z[..., :-1] - log_z[..., -1:] + math.log(self.delta))

    def category(self, y):
        """Prop. 1 (eq. 20): the largest y_k if it is positive, and K (index K-1) if all are negative, for any delta.

        Ties and max y = 0 have probability zero under a density; here the first of tied categories wins.
        """
        xp, _ = namespace(y)
        return xp.where(xp.max(y, axis=-1) > 0, xp.argmax(y, axis=-1), y.shape[-1])


def h(y):
    """Prop. 1 (eq. 20): lim_{tau -> 0} softmax++(y/tau), as one-hot vectors (..., K); K-th vertex = the origin.

    ValueError for NaN, which has no vertex.
    """
    xp, _ = namespace(y)
    if bool(xp.any(xp.isnan(y))):
        raise ValueError("y holds NaN, which tends to no vertex")
    return SoftmaxPlusPlus(1.0).discretize(y)
