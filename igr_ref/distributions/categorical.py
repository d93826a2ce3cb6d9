"""The categorical law over K categories, by its log probabilities (..., K).

Entropy                  H = -sum_k P_k log P_k.
KL to the uniform law    KL = sum_k P_k log(K P_k) = log K - H;   dKL/dP_k = log P_k + log K + 1.
By free logits o with P = softmax(o):   dKL/do_k = P_k (log P_k - sum_j P_j log P_j).
Inverse-cdf sampling     b = the first k with cdf_k > u.
"""

from __future__ import annotations

import math

from ..backend import namespace
from ..transforms.base import check_coordinates, check_one_hot, one_hot


class Categorical:
    """log_probs (..., K) must be normalised: ValueError where the probabilities sum to anything but 1.

    `tolerance` is the largest accepted |sum - 1|; nothing is renormalised silently. -inf: a category that never occurs.
    """

    def __init__(self, log_probs, tolerance=1e-5):
        xp, _ = namespace(log_probs)
        self.log_probs = log_probs
        self.probs = xp.exp(log_probs)
        worst = float(xp.max(xp.abs(xp.sum(self.probs, axis=-1) - 1))) if log_probs.size else 0.0
        if not worst <= tolerance:
            raise ValueError(f"probabilities must sum to 1 over the last axis, one sum is off by {worst:.3g}")

    def entropy(self):
        """(...)."""
        return -self._mean_log()

    def kl_uniform(self):
        """KL(P || uniform) over the last axis: (...)."""
        return math.log(self.probs.shape[-1]) + self._mean_log()

    def kl_uniform_vjp_logits(self, bar):
        """Gradient by logits o, P = softmax(o), of a cotangent (...) on kl_uniform."""
        return bar[..., None] * (self._p_log_p() - self.probs * self._mean_log()[..., None])

    def kl_uniform_vjp_probs(self, bar):
        """Gradient by the probabilities, taken as free: log P_k + log K + 1 (for chaining through Prop. 2).

        It is -inf at P_k = 0, and NaN there for a cotangent of 0.
        """
        return bar[..., None] * (self.log_probs + (math.log(self.probs.shape[-1]) + 1))

    def _p_log_p(self):
        xp, _ = namespace(self.probs)
        # 0 log 0 = 0: the logarithm is replaced by 0 where P is 0, before the product
        return self.probs * xp.where(self.probs > 0, self.log_probs, 0)

    def _mean_log(self):
        xp, _ = namespace(self.probs)
        return xp.sum(self._p_log_p(), axis=-1)

    def index(self, u):
        """Category numbers (...) of uniforms u (...) in [0, 1), leading axes broadcasting: the first k with cdf_k > u.

        Rounding may leave the last cdf value below 1; a u above it takes the last category of positive probability.
        ValueError for u outside [0, 1), NaN among them.
        """
        xp, _ = namespace(self.probs, u)
        if not bool(xp.all((u >= 0) & (u < 1))):
            raise ValueError("u must lie in [0, 1), got a number outside it, or NaN")
        cdf = xp.cumsum(self.probs.astype("float64"), axis=-1)  # ten thousand roundings of float32 would show
        k = xp.sum(u[..., None] >= cdf, axis=-1)
        positive = (self.probs > 0) * xp.arange(self.probs.shape[-1])
        return xp.minimum(k, xp.max(positive, axis=-1))

    def sample(self, u):
        """One-hot samples (..., K)."""
        xp, _ = namespace(self.probs, u)
        return one_hot(self.index(u), self.probs.shape[-1], xp, self.probs.dtype)

    def log_prob(self, b):
        """log P(b) (...) of one-hot b (..., K). ValueError for b of another length, or not one-hot."""
        xp, _ = namespace(self.probs, b)
        check_coordinates("b", xp.asarray(b), self.probs.shape[-1])
        check_one_hot(b)
        return xp.sum(xp.where(b > 0, self.log_probs, 0), axis=-1)
