"""What a stick's D and r (see `_sticks`) have from y = end on, where F is constant: F(end) times a probability.

D F(s): Phi(z_s) - Phi(z_end) for s > end,   r F: Phi(-z_end),   z = (y - mu)/sigma.
"""

from __future__ import annotations

from ..backend import namespace
from ..numerics import log_ndtr, log_ndtr_grad, log_normal_pdf


class Beyond:
    """The weights of F(end), end (L, 1), in D F(s), s (L, M), and in r F; 0 but in the `hard` laws (L, 1)."""

    def __init__(self, mu, sigma, end, s, hard):
        xp, _ = namespace(mu)
        z_end, z_s = (end - mu) / sigma, (s - mu) / sigma
        reached = hard & (s > end)
        self.lost = xp.where(reached, xp.exp(log_ndtr(z_s)) - xp.exp(log_ndtr(z_end)), 0)
        self.total = xp.where(hard, xp.exp(log_ndtr(-z_end)), 0)
        self.points = xp.concatenate([xp.broadcast_to(end, s.shape), end], axis=-1)
        # by mu and by sigma, times sigma and divided by the weight
        phi_end, phi_s = xp.exp(log_normal_pdf(z_end)), xp.exp(log_normal_pdf(z_s))
        lost = xp.where(self.lost > 0, self.lost, xp.inf)
        ratio = log_ndtr_grad(-z_end)
        self._by_mu = xp.concatenate([(phi_end - phi_s) / lost, ratio], axis=-1)
        self._by_sigma = xp.concatenate([(z_end * phi_end - z_s * phi_s) / lost, z_end * ratio], axis=-1)

    def apply(self, at_points):
        return self.lost * at_points[:, :-1], self.total * at_points[:, -1:]

    def pull(self, d_bar, r_bar):
        xp, _ = namespace(r_bar)
        return xp.concatenate([self.lost * d_bar, self.total * r_bar], axis=-1)

    def parameter_bars(self, terms):
        """(mu_bar, sigma_bar) (L, 1), times sigma; terms as in `Stick`."""
        xp, _ = namespace(terms)
        return tuple(xp.sum(terms * by, axis=-1, keepdims=True) for by in (self._by_mu, self._by_sigma))
