"""The sticks of the nonparametric mixtures: the logit-normal law, and from sticks to weights.

Logit-normal             y = mu + sigma eps (eq. 10),  v = sigmoid(y),  log q(v) = log N(y | mu, sigma^2) - log v(1-v).
KL to Beta(1, beta)      -log(2 pi e)/2 - log_sigma - log beta + E[beta softplus(y) + softplus(-y)].
Weights (eq. 16)         pi_k = v_k prod_{i<k} (1 - v_i) for k < K,  pi_K = prod_{i<K} (1 - v_i), i.e. v_K = 1.
Pullback of pi_bar       with a_k = pi_bar_k pi_k:  bar of log v_k: a_k;  bar of log(1-v_i): sum_{k>i} a_k.
The other law of the sticks is distributions.kumaraswamy; both offer the methods that its class lists.
"""

from __future__ import annotations

import math

import numpy

from ..backend import namespace
from ..distributions import gaussian
from ..distributions.base import check_parameters
from ..distributions.kumaraswamy import Kumaraswamy, check_concentration
from ..numerics import LOG_2PI, log_sigmoid, sigmoid, softplus

S2 = math.pi**2 / 3  # the variance of the logistic law
NODES, REACH, WIDTH = 160, 40.0, 9.0  # of `mean_softplus_pair`


class LogitNormal:
    """Elementwise: parameters mu, log_sigma (..., T), noise eps (..., T); the point of a sample is y = logit v."""

    noise = "normal"
    parameters = ("mu", "log_sigma")
    nearest_to_uniform = (0.0, 0.5589302612682389)  # the least KL to Beta(1, 1): .0095 nats

    def __init__(self, mu, log_sigma, validate=True):
        if validate:
            check_parameters(elementwise=True, mu=mu, log_sigma=log_sigma)
        self.mu, self.log_sigma = mu, log_sigma
        self.params = {"mu": mu, "log_sigma": log_sigma}

    def run(self, noise):
        return gaussian.sample(self.mu, self.log_sigma, noise), noise

    def pullback(self, saved, point_bar):
        mu_bar, log_sigma_bar = gaussian.sample_vjp(self.log_sigma, saved, point_bar)
        return {"mu": mu_bar, "log_sigma": log_sigma_bar}

    @staticmethod
    def logs(point):
        """(log v, log(1 - v))."""
        return log_sigmoid(point), log_sigmoid(-point)

    @staticmethod
    def logs_vjp(point, log_v_bar, log_rest_bar):
        return sigmoid(-point) * log_v_bar - sigmoid(point) * log_rest_bar

    def log_prob_point(self, point):
        """log q(v) at v = sigmoid(y), under Lebesgue measure of v; -log v(1-v) = softplus(y) + softplus(-y)."""
        # the Gaussian's functions sum over a last axis, here of length 1
        log_normal = gaussian.log_prob(*(array[..., None] for array in (self.mu, self.log_sigma, point)))
        return log_normal + softplus(point) + softplus(-point)

    def log_prob_point_vjp(self, point, bar):
        """(param_bars, point_bar) of a cotangent on log_prob_point: point_bar has -(y - mu)/sigma^2 - (1 - 2v)."""
        arrays = (array[..., None] for array in (self.mu, self.log_sigma, point))
        mu_bar, log_sigma_bar, point_bar = (array[..., 0] for array in gaussian.log_prob_vjp(*arrays, bar))
        point_bar = point_bar + bar * (sigmoid(point) - sigmoid(-point))
        return {"mu": mu_bar, "log_sigma": log_sigma_bar}, point_bar

    def kl(self, concentration=1.0):
        """KL(q || Beta(1, concentration)), elementwise, to 1e-14 of its largest term."""
        beta = check_concentration(concentration)
        both = mean_softplus_pair(self.mu, self.log_sigma)
        # with s(y) = softplus(y) + softplus(-y) and softplus(y) - softplus(-y) = y:  softplus(+-y) = (s(y) +- y)/2
        mean = 0.5 * ((beta + 1) * both + (beta - 1) * self.mu)
        return mean - self.log_sigma - (0.5 * (LOG_2PI + 1) + math.log(beta))

    def kl_vjp(self, concentration, bar):
        """Gradients by mu and log_sigma of a cotangent on kl(concentration)."""
        beta = check_concentration(concentration)
        by_mu, by_log_sigma = mean_softplus_pair_grad(self.mu, self.log_sigma)
        half = 0.5 * (beta + 1)
        return {"mu": bar * (half * by_mu + 0.5 * (beta - 1)), "log_sigma": bar * (half * by_log_sigma - 1)}


STICK_LAWS = {"kumaraswamy": Kumaraswamy, "logit_normal": LogitNormal}


# ---- E[softplus(y) + softplus(-y)] -------------------------------------------------------------------------------


def mean_softplus_pair(mu, log_sigma):
    """E s(y), s(y) = softplus(y) + softplus(-y), y ~ N(mu, sigma^2): relative error below 1e-14 for sigma <= 1000.

    Gauss-Hermite rules converge slowly for large sigma (s has poles at +-i pi). Instead,
    (1) let x be N(0, S2): E|y + x| is closed, and D(y) = s(y) - E_x|y + x| is smooth and falls off like 2 e^-|y|;
    (2) s'' has the Fourier transform 2 pi w/sinh(pi w), |y|'' has 2, so D has 2 (e^{-S2 w^2/2} - pi w/sinh(pi w))/w^2;
        S2 = pi^2/3 makes it O(w^2) at 0;
    (3) Parseval: E D(y) = (1/pi) int_0^inf D^(w) cos(w mu) e^{-sigma^2 w^2/2} dw. The trapezoidal rule of step h sums
        over the copies of mu at distance 2 pi/h, all outside the reach 40 + 9 sigma of D when h = pi/(40 + 9 sigma).
    """
    xp, special = namespace(mu, log_sigma)
    _, w, weight, inside = _spectrum(mu, log_sigma)
    total = xp.sqrt(xp.exp(2 * log_sigma) + S2)
    r = mu / (total * math.sqrt(2))
    head = mu * special.erf(r) + math.sqrt(2 / math.pi) * total * xp.exp(-r * r)
    return head + (inside * xp.sum(weight * xp.cos(w * mu[..., None]), axis=-1)).astype(mu.dtype)


def mean_softplus_pair_grad(mu, log_sigma):
    """(by mu, by log_sigma), each like mu. The step h is held fixed: the rule's value does not depend on it."""
    xp, special = namespace(mu, log_sigma)
    sigma, w, weight, inside = _spectrum(mu, log_sigma)
    variance = xp.exp(2 * log_sigma)
    total = xp.sqrt(variance + S2)
    r = mu / (total * math.sqrt(2))
    phase = w * mu[..., None]
    by_mu = inside * xp.sum(weight * w * xp.sin(phase), axis=-1)
    by_log_sigma = inside * xp.sum(weight * (sigma[..., None] * w) ** 2 * xp.cos(phase), axis=-1)
    head = math.sqrt(2 / math.pi) * variance / total * xp.exp(-r * r)
    return special.erf(r) - by_mu.astype(mu.dtype), head - by_log_sigma.astype(mu.dtype)


def _spectrum(mu, log_sigma):
    """sigma, nodes w and weights h/pi D^(w) e^{-sigma^2 w^2/2} (..., 160) in float64; whether mu is in reach."""
    xp, _ = namespace(mu, log_sigma)
    sigma = xp.exp(log_sigma.astype(numpy.float64))
    h = math.pi / (REACH + WIDTH * sigma)
    w = h[..., None] * xp.arange(1, NODES + 1)
    transform = 2 * (xp.exp(-0.5 * S2 * w * w) - math.pi * w / xp.sinh(math.pi * w)) / (w * w)
    weight = h[..., None] / math.pi * transform * xp.exp(-0.5 * (sigma[..., None] * w) ** 2)
    return sigma, w, weight, xp.abs(mu) < REACH + WIDTH * sigma


# ---- from sticks to weights --------------------------------------------------------------------------------------


def log_mixing_weights(log_v, log_rest, kept=None):
    """log pi (..., K) of K-1 sticks. `kept`, integers that broadcast against (...): v_kept = 1, and log pi is -inf
    beyond, so that the first `kept` weights sum to 1; default K."""
    xp, _ = namespace(log_v)
    zero = xp.zeros_like(log_v[..., :1])
    before = xp.concatenate([zero, xp.cumsum(log_rest, axis=-1)], axis=-1)
    own = xp.concatenate([log_v, zero], axis=-1)
    if kept is None:
        return own + before
    k, last = xp.arange(before.shape[-1]), xp.asarray(kept)[..., None] - 1
    return xp.where(k < last, own + before, xp.where(k == last, before, -math.inf))


def log_mixing_weights_vjp(a, kept=None):
    """(log_v_bar, log_rest_bar), each (..., K-1), of a cotangent a (..., K) on log pi, 0 where log pi is -inf."""
    xp, _ = namespace(a)
    after = xp.cumsum(a[..., ::-1], axis=-1)[..., ::-1][..., 1:]
    own = a[..., :-1]
    if kept is not None:
        own = xp.where(xp.arange(own.shape[-1]) < xp.asarray(kept)[..., None] - 1, own, 0)
    return own, after
