"""The Gumbel-Softmax in log scale (ExpConcrete).   l = (log_alpha + G)/tau,  y = l - lse(l),  z = e^y (eq. 5).

Density (eq. 6, ExpConcrete of Maddison et al. 2017), with lse = log-sum-exp over k:
    log q(y) = log (K-1)! + (K-1) log tau + sum_k (log_alpha_k - tau y_k) - K lse(log_alpha - tau y).
Its gradients, p = softmax(log_alpha - tau y):   by y_k  tau (K p_k - 1),   by log_alpha_k  1 - K p_k.
Sample's pullback, for a cotangent on z:         log_alpha_bar_j = z_j sum_k z_k (z_bar_j - z_bar_k) / tau.
"""

from __future__ import annotations

import math

from ..backend import namespace
from ..numerics import log_softmax, log_softmax_and_softmax, log_softmax_vjp, softmax, softmax_vjp
from ..precision import in_double
from ..transforms.base import check_coordinates, check_simplex, check_temperature, like, log_temperature
from .base import Relaxation, check_no_nan, check_parameters


@in_double
class GumbelSoftmax(Relaxation):
    """Parameter log_alpha: (..., K), unnormalised; noise: Gumbel(0, 1) draws (..., K).

    log_prob is the density of y = log z under the measure prod_{k<=K} z_k^{-1} dz_1..dz_{K-1}, which treats all K
    categories alike; log_prob_z and log_prob_log_z are eq. 6, under Lebesgue measure dz_1..dz_{K-1} like every IGR
    density. The difference, -sum_k y_k, does not depend on parameters and cancels in log q - log p.
    """

    def __init__(self, log_alpha, temperature, validate=True, precise=True):
        if validate:
            check_parameters(log_alpha=log_alpha)
            if log_alpha.shape[-1] < 2:
                raise ValueError(f"log_alpha needs at least 2 categories, got shape {log_alpha.shape}")
            check_temperature(temperature)
        self.log_alpha, self.temperature, self.precise = log_alpha, temperature, precise
        self.validate = validate
        self.params = {"log_alpha": log_alpha}
        self.n_categories = log_alpha.shape[-1]

    def run_log(self, noise):
        """y = log z (..., K): finite at every temperature."""
        check_coordinates("noise", noise, self.n_categories)
        return log_softmax((self.log_alpha + noise) / like(self.temperature, noise))

    def run(self, noise):
        xp, _ = namespace(noise)
        y = self.run_log(noise)
        z = xp.exp(y)
        return z, (noise, y, z)

    def pullback(self, saved, z_bar):
        z = saved[2]
        return {"log_alpha": softmax_vjp(z, z_bar) / like(self.temperature, z)}

    def pullback_y(self, saved, y_bar):
        """Gradients of a cotangent on y = log z: dy_i/dlog_alpha_j = (delta_ij - z_j)/tau."""
        _, y, z = saved
        return {"log_alpha": log_softmax_vjp(y, y_bar, z) / like(self.temperature, y)}

    def _tilted(self, y):
        """log_alpha - tau y, whose softmax is the p of the gradients."""
        check_coordinates("y", y, self.n_categories)
        return self.log_alpha - like(self.temperature, y) * y

    def log_prob(self, y):
        """log q(y) of y = log z (..., K), summed over categories: (...)."""
        return self._from_log_p(y, log_softmax(self._tilted(y)))

    def _from_log_p(self, y, log_p):
        """log (K-1)! + (K-1) log tau + sum_k [t_k - lse(t)] from log p = t - lse(t), t = log_alpha - tau y."""
        xp, _ = namespace(y)
        k = y.shape[-1]
        return log_temperature(self.temperature, y, k - 1, math.lgamma(k)) + xp.sum(log_p, axis=-1)

    def log_prob_and_grad(self, y):
        """(log_prob(y), its gradient by y (..., K)) at once."""
        log_p, p = log_softmax_and_softmax(self._tilted(y))
        return self._from_log_p(y, log_p), like(self.temperature, y) * (y.shape[-1] * p - 1)

    def log_prob_vjp(self, y, bar):
        """(param_bars, y_bar) of a cotangent (...) on log_prob(y), log_alpha and y taken as independent."""
        p = softmax(self._tilted(y))
        log_alpha_bar = bar[..., None] * (1 - y.shape[-1] * p)
        return {"log_alpha": log_alpha_bar}, -like(self.temperature, y) * log_alpha_bar

    def log_prob_z(self, z):
        """eq. 6: log density under Lebesgue measure of z_1..z_{K-1} of a point z (..., K) of the simplex.

        ValueError unless its entries are positive and sum to 1.
        """
        xp, _ = namespace(z)
        check_simplex(z)
        return self.log_prob_log_z(xp.log(z))

    def log_prob_log_z(self, y):
        """The same density, of z, given y = log z (..., K), which reaches points whose z underflows."""
        xp, _ = namespace(y)
        return self.log_prob(y) - xp.sum(y, axis=-1)

    def log_probs(self):
        """log softmax(log_alpha): the discrete law that the relaxation relaxes, (..., K)."""
        return log_softmax(self.log_alpha)

    def category(self, noise):
        """argmax of log_alpha + G (the Gumbel-max trick)."""
        xp, _ = namespace(noise)
        check_coordinates("noise", noise, self.n_categories)
        if self.validate:
            check_no_nan("noise", noise)
        return xp.argmax(self.log_alpha + noise, axis=-1)
