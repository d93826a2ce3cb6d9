"""Stick-breaking (eq. 16).   u = sigmoid(y),  w_k = u_k prod_{i<k} (1 - u_i) for k < K,  w_K = prod_{i<K} (1 - u_i).

Inverse                  y_k = log w_k - log sum_{j>k} w_j         (as 1 - u_k = sum_{j>k} w_j / sum_{j>=k} w_j).
Jacobian                 dw_k/dy_k = w_k (1 - u_k),  dw_k/dy_i = -w_k u_i for k > i,  0 for k < i: triangular.
Determinant              log|det J| = sum_{k<K} [log u_k + (K - k) log(1 - u_k)].
Pullback of w_bar        y_bar_i = w_bar_i w_i (1 - u_i) - u_i sum_{k>i} w_bar_k w_k.
Pullback of log_det_bar  y_bar_i = log_det_bar [(1 - u_i) - (K - i) u_i].
"""

from __future__ import annotations

from ..backend import namespace
from ..numerics import log_sigmoid, sigmoid
from ..precision import in_double
from .base import Transform, add_term, check_simplex


@in_double
class StickBreaking(Transform):
    """eq. 16 after the logistic function, as it enters eqs. 17 and 18. Onto the simplex: (..., K-1) -> (..., K)."""

    onto_simplex = True

    def log_forward(self, y):
        """log w, all K coordinates, from log u = log sigmoid(y) and log(1 - u) = log sigmoid(-y)."""
        xp, _ = namespace(y)
        log_rest = xp.cumsum(log_sigmoid(-y), axis=-1)  # log prod_{i<=k} (1 - u_i)
        before = xp.concatenate([xp.zeros_like(y[..., :1]), log_rest[..., :-1]], axis=-1)
        return xp.concatenate([log_sigmoid(y) + before, log_rest[..., -1:]], axis=-1)

    def run(self, y):
        xp, _ = namespace(y)
        w = xp.exp(self.log_forward(y))
        return w, (y, w)

    def pullback(self, saved, z_bar=None, log_det_bar=None):
        y, w = saved
        xp, _ = namespace(w)
        u, rest = sigmoid(y), sigmoid(-y)
        y_bar = None
        if z_bar is not None:
            aw = z_bar * w
            after = _sum_after(aw, xp)  # sum_{k>i} w_bar_k w_k, for i < K
            y_bar = aw[..., :-1] * rest - u * after
        if log_det_bar is not None:
            y_bar = add_term(y_bar, log_det_bar[..., None] * (rest - _sticks_left(y, xp) * u))
        return y_bar, {}

    def jacobian(self, y):
        xp, _ = namespace(y)
        w = self.forward(y)[..., :-1]
        k = xp.arange(y.shape[-1])
        below = (k[:, None] > k[None, :]).astype(y.dtype)
        diagonal = xp.eye(y.shape[-1], dtype=y.dtype) * (w * sigmoid(-y))[..., None, :]
        return diagonal - below * w[..., :, None] * sigmoid(y)[..., None, :]

    def log_det(self, y):
        xp, _ = namespace(y)
        return xp.sum(log_sigmoid(y) + _sticks_left(y, xp) * log_sigmoid(-y), axis=-1)

    def inverse(self, z):
        """y from w (..., K), the remainder last. ValueError unless its entries are positive and sum to 1."""
        xp, _ = namespace(z)
        check_simplex(z)
        return xp.log(z[..., :-1]) - xp.log(_sum_after(z, xp))

    def category(self, y):
        """argmax of w_1..w_{K-1}: the vertex that softmax++ of w (eq. 18) tends to.

        All w_k are positive, so Prop. 1's h never gives the K-th vertex. The order is taken from log w.
        """
        xp, _ = namespace(y)
        return xp.argmax(self.log_forward(y)[..., :-1], axis=-1)


def _sum_after(x, xp):
    """sum_{k>i} x_k for every i but the last: (..., K) -> (..., K-1), added from the small end."""
    return xp.flip(xp.cumsum(xp.flip(x[..., 1:], axis=-1), axis=-1), axis=-1)


def _sticks_left(y, xp):
    """K - i for i = 1..K-1."""
    return xp.arange(y.shape[-1], 0, -1).astype(y.dtype)
