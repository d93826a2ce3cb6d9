"""phi_j and Phi_j at all points of the panels of laws, and the integrals of Prop. 2 and of its gradient over them.

With hazards r_j = phi_j/Phi_j (phi_j with its 1/sigma_j) and S = prod_j Phi_j, for k, j < K:
    P_k = int S r_k,   A_jk = int S r_j r_k,   A'_jk = int a_j S r_j r_k,   a_j = (t - mu_j)/sigma_j.
Pullback of p_bar on P_1..P_{K-1}, R = sum_k r_k, G = sum_k p_bar_k r_k (the term k = j cancels):
    sum_{k!=j} (p_bar_j - p_bar_k) A_jk = p_bar_j int S r_j R - int S r_j G,   with a factor a_j for A'.
Inside the panels Phi_j >= S > 1e-18, so nothing here needs a logarithm.
"""

from __future__ import annotations

from ..backend import namespace
from ._normal import DEGREE, phi_and_Phi


class Factors:
    """Laws mu, sigma (L, n) at points t (L, T) with weights (L, T): arrays (n, L, T), and S times the weights."""

    def __init__(self, mu, sigma, t, weight, degree=DEGREE):
        xp, _ = namespace(t)
        self.mu, self.sigma, self.rate = mu, sigma, 1 / sigma
        self.a = t - mu.T[:, :, None]
        self.a *= self.rate.T[:, :, None]
        self.ratio, Phi = phi_and_Phi(self.a, degree)
        self.ratio /= Phi  # sigma_j r_j
        self.weight = xp.prod(Phi, axis=0) * weight

    def sums(self, columns):
        """Integrals of r_j and of a_j r_j times columns (L, T, V): each (L, n, V)."""
        xp, _ = namespace(columns)
        rate = self.rate[..., None]
        plain = xp.matmul(xp.swapaxes(self.ratio, 0, 1), columns)
        return plain * rate, xp.matmul(xp.swapaxes(self.a * self.ratio, 0, 1), columns) * rate

    def probs(self):
        """P_k, k < K: (L, n)."""
        xp, _ = namespace(self.weight)
        return xp.matmul(xp.swapaxes(self.ratio, 0, 1), self.weight[..., None])[..., 0] * self.rate

    def fluxes(self):
        """(A, A') (L, n, n), diagonals included."""
        xp, _ = namespace(self.weight)
        r = xp.swapaxes(xp.swapaxes(self.ratio, 0, 1) * self.rate[..., None], -1, -2)
        return self.sums(r * self.weight[..., None])

    def pullback(self, p_bar):
        """(mu_bar, sigma_bar) (L, n) of a cotangent (L, n) on P_k, k < K, without the boundary terms."""
        xp, _ = namespace(p_bar)
        both = xp.stack([self.rate, p_bar * self.rate], axis=1)  # (L, 2, n)
        columns = xp.matmul(both, xp.swapaxes(self.ratio, 0, 1)) * self.weight[:, None, :]
        return tuple(p_bar * x[..., 0] - x[..., 1] for x in self.sums(xp.swapaxes(columns, -1, -2)))
