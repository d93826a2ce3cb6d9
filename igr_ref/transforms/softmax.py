"""Softmax of a point w of the simplex: the outer map of eq. 18 when stick-breaking's remainder is kept.

    g_k = e^{w_k/tau} / sum_{j<=K} e^{w_j/tau},  k <= K,   where w_K = 1 - sum_{i<K} w_i is given, not computed here.
Inverse                  w_k = 1/K + tau (log g_k - (1/K) sum_j log g_j).
Jacobian                 J_ki = g_k (1[k=i] - g_i + g_K) / tau over k, i < K: S^{K-1} -> S^{K-1}.
Determinant              log|det J| = log K - (K-1) log tau + sum_{k<=K} log g_k.
Pullback (j <= K)        w_bar_j = g_j (z_bar_j - sum_k g_k z_bar_k) / tau + log_det_bar (1 - K g_j) / tau.
"""

from __future__ import annotations

import math

from ..backend import namespace
from ..numerics import log_softmax, softmax, softmax_vjp
from ..precision import in_double
from .base import Transform, add_term, check_temperature, like, log_temperature


@in_double
class Softmax(Transform):
    """(..., K) -> (..., K), from the simplex into the simplex. Its input and its cotangents have all K coordinates.

    Its image is the part of the simplex with log g_k > (1/K) sum_j log g_j - 1/(K tau) for all k (w_k > 0, inverted).
    """

    onto_simplex = True
    takes_simplex = True

    def __init__(self, temperature, precise=True):
        super().__init__(precise)
        self.temperature = check_temperature(temperature)

    def run(self, w):
        z = softmax(w / like(self.temperature, w))
        return z, z

    def log_forward(self, w):
        """log g(w), all K coordinates: finite even where g underflows to 0."""
        return log_softmax(w / like(self.temperature, w))

    def pullback(self, saved, z_bar=None, log_det_bar=None):
        z = saved
        tau = like(self.temperature, z)
        w_bar = None if z_bar is None else softmax_vjp(z, z_bar) / tau
        if log_det_bar is not None:
            w_bar = add_term(w_bar, log_det_bar[..., None] * (1 - z.shape[-1] * z) / tau)
        return w_bar, {}

    def jacobian(self, w):
        xp, _ = namespace(w)
        z = self.forward(w)
        g, last = z[..., :-1], z[..., -1:]
        tau = like(self.temperature, w)
        tau = tau if isinstance(tau, float) else tau[..., None]
        eye = xp.eye(z.shape[-1], dtype=z.dtype)
        # on the diagonal 1 - g_k + g_K, with 1 - g_k summed from the other coordinates
        others = xp.matmul(z, 1 - eye)[..., :-1]
        eye = eye[:-1, :-1]
        return g[..., :, None] * (eye * others[..., None, :] + last[..., None] - (1 - eye) * g[..., None, :]) / tau

    def log_det(self, w):
        # J = diag(g) (I - 1 (g - g_K 1)^T) / tau over k < K. By the matrix determinant lemma
        # tau^{K-1} det J = prod_{k<K} g_k [1 - sum_{i<K} (g_i - g_K)] = prod_{k<K} g_k [1 - (1 - g_K) + (K-1) g_K].
        xp, _ = namespace(w)
        k = w.shape[-1]
        return math.log(k) - (k - 1) * log_temperature(self.temperature, w) + xp.sum(self.log_forward(w), axis=-1)

    def inverse_log(self, log_z):
        """w from log z (..., K). ValueError where no point of the simplex maps to z at this temperature."""
        xp, _ = namespace(log_z)
        w = 1 / log_z.shape[-1] + like(self.temperature, log_z) * (log_z - xp.mean(log_z, axis=-1, keepdims=True))
        if not bool(xp.all(w > 0)):
            raise ValueError(
                "z lies outside the image of the simplex at this temperature, or on its rim within rounding: "
                f"it would need w_k = {float(xp.min(w)):.3g}, wanted w_k > 0"
            )
        return w

    def category(self, w):
        """argmax over all K coordinates."""
        xp, _ = namespace(w)
        return xp.argmax(w, axis=-1)
