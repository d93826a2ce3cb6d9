"""Objectives of the nonparametric mixture (section 4.4), per image, with gradients by q's parameters.

Model       v_k ~ Beta(1, c),  pi = SB(v),  k ~ Cat(pi),  z | k ~ N(m_k, I),  x | z from the decoder.
Posterior   q(v | x) prod_k N(z_k; mu_k, sigma_k^2),  sigma_k = e^{log_var_k/2};  q(k|v) = p(k|v) = pi.
ELBO        E_v sum_k pi_k [E log p(x|z_k) - KL(N(mu_k, sigma_k^2) || N(m_k, I))] - sum_k KL(q(v_k) || Beta(1, c)).
`elbo`      both KLs in closed form (the logit-normal's by quadrature), differentiated exactly.
`elbo_sl`   both KLs as log q - log p at the sample, q's parameters held fixed inside log q (sticking the landing); pi
            stays on the path. Cotangents of the loss, r_k = log p(x|z_k) + log p(z_k) - log q(z_k):
            z_k: pi_k [-dlog p(x|z_k) + (z_k - m_k) - eps/sigma_k];  pi_k: -r_k;  point of v: d(log q - log p).
Weight      log w = sum_k log [p(v_k)/q(v_k)] + log sum_k pi_k p(x|z_k) p(z_k|k)/q(z_k|k),  E w = p(x), k summed out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..backend import namespace
from ..distributions import gaussian
from ..distributions.infinite import k_rho, percentile
from ..estimators.base import Estimate
from ..numerics import logsumexp
from .mixture_sticks import log_mixing_weights, log_mixing_weights_vjp


@dataclass(frozen=True)
class MixturePosterior:
    """q for images (..., B): sticks, a law over (..., B, K-1); mu, log_var (..., B, K, D); prior_means m (K, D).

    rho=None: K components, K-1 sticks (DLDPMM). Otherwise eq. 19: K_rho, the percentile over the batch, components are
    kept and v_{K_rho} = 1 without a KL, so that pi sums to 1; sticks that do not reach rho keep all K.
    """

    sticks: Any
    mu: Any
    log_var: Any
    prior_means: Any
    concentration: float = 1.0
    rho: float | None = None
    percentile: float = 70

    def kept(self, log_rest):
        """The number of components kept, integers that broadcast against (..., S, B), or None for all."""
        if self.rho is None:
            return None
        return percentile(k_rho(log_rest, self.rho), self.percentile, replicas=max(0, log_rest.ndim - 3))

    def log_stick_prior(self, log_rest):
        """log p(v) = log c + (c - 1) log(1 - v), elementwise."""
        return math.log(self.concentration) + (self.concentration - 1) * log_rest


class Draw:
    """One sample of everything, cut to the components that are kept; `noise` = (sticks', components')."""

    def __init__(self, q, noise, decode, truncate=True):
        xp, _ = namespace(q.mu, noise[1])
        self.q, self.xp = q, xp
        self.point, self.stick_saved = q.sticks.run(noise[0])
        log_v, log_rest = q.sticks.logs(self.point)
        self.log_rest = log_rest
        self.kept = q.kept(log_rest) if truncate else None
        self.n_all = q.mu.shape[-2]
        # decode no more components than any replica keeps; two at least, so that no axis is empty
        self.top = self.n_all if self.kept is None else max(2, int(xp.max(self.kept)))
        # sticks with a KL: all but the one set to 1
        self.active = None if self.kept is None else xp.arange(self.n_all - 1) < self.kept[..., None] - 1
        self.mu, self.log_sigma = q.mu[..., : self.top, :], 0.5 * q.log_var[..., : self.top, :]
        self.m, self.eps = q.prior_means[..., : self.top, :], noise[1][..., : self.top, :]
        self.log_pi = log_mixing_weights(log_v[..., : self.top - 1], log_rest[..., : self.top - 1], self.kept)
        self.z = gaussian.sample(self.mu, self.log_sigma, self.eps)
        self.log_p, self.decode_pullback = decode(self.z)

    def over_sticks(self, x):
        """Sum over the sticks that have a KL."""
        return self.xp.sum(x if self.active is None else self.xp.where(self.active, x, 0), axis=-1)

    def stick_weight(self):
        """1 for the sticks that have a KL, else 0: (..., K-1)."""
        return self.xp.ones_like(self.point) if self.active is None else self.active + 0 * self.point

    def log_q_z(self):
        return gaussian.log_prob(self.mu, self.log_sigma, self.z)

    def log_p_z(self):
        return gaussian.log_prob(self.m, self.xp.zeros_like(self.m), self.z)

    def log_stick_ratio(self):
        """log q(v_k) - log p(v_k) at the sample, elementwise."""
        return self.q.sticks.log_prob_point(self.point) - self.q.log_stick_prior(self.log_rest)

    def pull(self, a, z_bar, point_bar, stick_bars, mu_bar, log_sigma_bar):
        """Gradients by q's parameters from cotangents: a on log pi, z_bar and point_bar on the samples, and whatever
        reaches the parameters directly (None: nothing)."""
        xp, q = self.xp, self.q
        log_v_bar, log_rest_bar = log_mixing_weights_vjp(a, self.kept)
        through_pi = q.sticks.logs_vjp(self.point[..., : self.top - 1], log_v_bar, log_rest_bar)
        through_pi = _pad(through_pi, self.n_all - 1, -1, xp)
        point_bar = through_pi if point_bar is None else through_pi + point_bar
        grads = q.sticks.pullback(self.stick_saved, point_bar)
        if stick_bars is not None:
            grads = {name: grads[name] + stick_bars[name] for name in grads}
        path_mu, path_log_sigma = gaussian.sample_vjp(self.log_sigma, self.eps, z_bar)
        mu_bar = path_mu if mu_bar is None else path_mu + mu_bar
        log_sigma_bar = path_log_sigma if log_sigma_bar is None else path_log_sigma + log_sigma_bar
        named = {f"sticks.{name}": bar for name, bar in grads.items()}
        return {
            **named,
            "mu": _pad(mu_bar, self.n_all, -2, xp),
            "log_var": _pad(0.5 * log_sigma_bar, self.n_all, -2, xp),  # log_sigma = log_var/2
        }


def elbo(q, noise, decode):
    """Estimate of the loss -ELBO, (..., S, B), from noise ((..., S, B, K-1), (..., S, B, K, D)); gradients per sample.

    decode(z) for z (..., S, B, K', D) returns (log p(x|z) (..., S, B, K'), pullback); it is called once, and its
    pullback, also once, with the cotangent -pi on log p: it returns z_bar and sees to the decoder's own gradients.
    grads: "sticks.<parameter>" (..., S, B, K-1), "mu" and "log_var" (..., S, B, K, D), zero beyond the kept components.
    """
    d = Draw(q, noise, decode)
    xp, pi = d.xp, d.xp.exp(d.log_pi)
    unit = xp.zeros_like(d.m)
    kl_z = gaussian.kl(d.mu, d.log_sigma, d.m, unit)
    value = -xp.sum(pi * d.log_p, axis=-1)
    kl = xp.sum(pi * kl_z, axis=-1) + d.over_sticks(q.sticks.kl(q.concentration) + 0 * d.point)
    stick_bars = q.sticks.kl_vjp(q.concentration, d.stick_weight())
    mu_bar, log_sigma_bar = gaussian.kl_vjp(d.mu, d.log_sigma, d.m, unit, pi)
    grads = d.pull(pi * (kl_z - d.log_p), d.decode_pullback(-pi), None, stick_bars, mu_bar, log_sigma_bar)
    return Estimate(value, kl, grads)


def elbo_sl(q, noise, decode):
    """The same with both KLs sampled and q's parameters held fixed in log q; unbiased for the gradient of `elbo`."""
    d = Draw(q, noise, decode)
    xp, pi = d.xp, d.xp.exp(d.log_pi)
    kl_z = d.log_q_z() - d.log_p_z()
    value = -xp.sum(pi * d.log_p, axis=-1)
    kl = xp.sum(pi * kl_z, axis=-1) + d.over_sticks(d.log_stick_ratio())
    _, _, from_q = gaussian.log_prob_vjp(d.mu, d.log_sigma, d.z, pi)
    _, _, from_p = gaussian.log_prob_vjp(d.m, xp.zeros_like(d.m), d.z, -pi)
    weight = d.stick_weight()
    _, point_bar = q.sticks.log_prob_point_vjp(d.point, weight)
    point_bar = point_bar + q.sticks.logs_vjp(d.point, 0 * weight, -(q.concentration - 1) * weight)
    z_bar = d.decode_pullback(-pi) + from_q + from_p
    return Estimate(value, kl, d.pull(pi * (kl_z - d.log_p), z_bar, point_bar, None, None, None))


def importance_log_weights(q, noise, decode):
    """log w (..., S, B) of each sample, on all K components: one fixed model, whatever rho; decode as in `elbo`."""
    d = Draw(q, noise, decode, truncate=False)
    components = logsumexp(d.log_pi + d.log_p + d.log_p_z() - d.log_q_z())
    return components - d.xp.sum(d.log_stick_ratio(), axis=-1)


def log_likelihood(log_w):
    """log (1/S) sum_s w_s, (..., S, B) -> (..., B): below log p(x) on average, and closer as S grows."""
    return logsumexp(log_w, axis=-2) - math.log(log_w.shape[-2])


def _pad(x, n, axis, xp):
    """Zeros behind `axis` up to the length n."""
    more = n - x.shape[axis]
    if more == 0:
        return x
    shape = list(x.shape)
    shape[axis] = more
    return xp.concatenate([x, xp.zeros(tuple(shape), dtype=x.dtype)], axis=axis)
