"""What the official code optimises and reports for Table 3, apart from the objective proper.

    loss = log sum_k pi_k q_k(z_k) + sum_k log q(v_k) - sum_k pi_k [log p(x|z_k) + log p(z_k|k)],
and -loss with one sample is what it calls the test log-likelihood. By Jensen's inequality log sum_k pi_k q_k is not
smaller than sum_k pi_k log q_k, so -loss is a looser bound than the structured ELBO, by about 4.5 nats at K = 20,
D = 50 (audit mixture-score). pi is clipped to [1e-4, .9999] and no longer sums to 1. IGR-SB-MM keeps K_rho - 1 sticks,
drops what they leave, and stops no gradient; DLDPMM stops q's parameters inside log q. m_k is redrawn for every image
of a batch: give prior_means of shape (B, K, D). Prior of the sticks: Beta(1, 1), whose log density is 0.
"""

from __future__ import annotations

import math

from ..distributions import gaussian
from ..distributions.kumaraswamy import Kumaraswamy
from ..estimators.base import Estimate
from ..numerics import logsumexp, softmax
from .mixture_objective import Draw

CLIP = (1e-4, 0.9999)


class _PublishedDraw(Draw):
    """As Draw, with one component fewer: K_rho - 1 sticks, and no stick set to 1."""

    def __init__(self, q, noise, decode):
        super().__init__(q, noise, decode)
        self.components = None
        if self.kept is not None:
            if not bool(self.xp.all(self.kept > 1)):
                raise ArithmeticError("the published rule keeps no stick: the first one exceeds rho")
            # K_rho - 1 sticks with a density, as in Draw; the component of v = 1 is the one that is dropped
            self.components = self.xp.arange(self.top) < self.kept[..., None] - 1

    def where_kept(self, x, other):
        return x if self.components is None else self.xp.where(self.components, x, other)


def objective_as_published(q, noise, decode, stop=None):
    """The loss above as an Estimate (value = -sum_k pi_k log p(x|z_k), kl = the rest), arguments as in `elbo`.

    stop: whether q's parameters are held fixed inside log q. None does as the code does: for Kumaraswamy sticks only.
    """
    stop = isinstance(q.sticks, Kumaraswamy) if stop is None else stop
    d = _PublishedDraw(q, noise, decode)
    xp = d.xp
    raw = xp.exp(d.log_pi)
    inside = d.where_kept((raw > CLIP[0]) & (raw < CLIP[1]), False)
    pi = d.where_kept(xp.clip(raw, *CLIP), 0)
    log_q, log_p_z = d.log_q_z(), d.log_p_z()
    joint = d.where_kept(xp.log(xp.clip(raw, *CLIP)) + log_q, -math.inf)
    value = -xp.sum(pi * d.log_p, axis=-1)
    sticks = d.over_sticks(q.sticks.log_prob_point(d.point))
    kl = logsumexp(joint) + sticks - xp.sum(pi * log_p_z, axis=-1)

    # d log sum_k pi_k q_k = sum_k r_k (dpi_k/pi_k + dlog q_k), r = softmax; where pi is clipped its gradient is 0
    r = softmax(joint)
    a = xp.where(inside, r - pi * (d.log_p + log_p_z), 0)
    mu_bar, log_sigma_bar, from_q = gaussian.log_prob_vjp(d.mu, d.log_sigma, d.z, r)
    _, _, from_p = gaussian.log_prob_vjp(d.m, xp.zeros_like(d.m), d.z, -pi)
    stick_bars, point_bar = q.sticks.log_prob_point_vjp(d.point, d.stick_weight())
    if stop:
        stick_bars = mu_bar = log_sigma_bar = None
    z_bar = d.decode_pullback(-pi) + from_q + from_p
    return Estimate(value, kl, d.pull(a, z_bar, point_bar, stick_bars, mu_bar, log_sigma_bar))


def log_likelihood_as_published(q, noise, decode):
    """-loss of each sample, (..., S, B): Table 3's "test log-likelihood", in fact a one-sample bound."""
    return -objective_as_published(q, noise, decode).loss
