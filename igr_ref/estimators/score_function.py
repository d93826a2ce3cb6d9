"""The score function estimator (REINFORCE) at exactly one-hot codes b ~ q, and the discrete law that it rests on.

    g_s = (f(b_s) - beta_s) s,   s = dlog q(b_s)/dtheta,   q(b) = prod_n P_{n,b_n}: the N variables' scores concatenate.
Leave-one-out baseline   beta_s = mean of f over the other S - 1 samples: independent of b_s, so E[beta_s s] = 0.
Gumbel-Softmax           P = softmax(log_alpha),  s = b - P.
IGR-I                    P and J = dP/d(mu, sigma) of Prop. 2,  s = J_b / P_b;  by log_sigma, times sigma.
KL to the uniform law    sum_k P_k log(K P_k), by log_alpha_k P_k (log P_k - sum_j P_j log P_j),
                         by mu and sigma sum_k J_k. (log P_k + log K)    (Prop. 1: the law of h(y), whatever delta is).
Laws are computed in float64 from parameters of any dtype; gradients come back in the dtype of the parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..backend import namespace
from ..distributions import IGR, GumbelSoftmax
from ..numerics import log_softmax
from ..recovery import gaussian_argmax
from ..recovery._grid import FINE, rule_for
from ..recovery.drawn import drawn
from ..recovery.drawn_single import drawn_single
from ..transforms import SoftmaxPlusPlus
from .base import Estimate, add_grads, check_variables, over_variables, value_of

UNIFORM = "uniform"


def score_function(q, noise, f, p=None, baseline="leave_one_out", sample_axis=0):
    """Gradient of E_q[f(b)] + KL(q || uniform) over discrete codes: signature and shapes in `base`, and

    q            GumbelSoftmax, or IGR-I (any delta). TypeError otherwise: no exact discrete law at hand.
    f            is called once, with all one-hot codes b; only its value is used, the gradient may be None.
    p            None (no KL term) or "uniform": the exact KL of the discrete law, with its exact gradient.
    baseline     "leave_one_out" (S >= 2 samples) or "none".
    sample_axis  the axis of f's value (S, ...) along which the S samples lie.
    """
    check_variables(q, noise)
    b = q.discretize(noise)
    codes = drawn_codes(q, b, p)
    value = value_of(f, b)
    weight = _centred(value, baseline, sample_axis)[..., None, None]
    grads = {name: (weight * s).astype(q.params[name].dtype) for name, s in codes.score.items()}
    kl, kl_grads = kl_term(q, p, value, codes.log_p, codes.kl_grads)
    return Estimate(value, kl, add_grads(grads, kl_grads))


def _centred(value, baseline, axis):
    """f(b_s) - beta_s. With the mean m of all S values, f_s - beta_s = S/(S-1) (f_s - m)."""
    if baseline == "none":
        return value
    if baseline != "leave_one_out":
        raise ValueError(f"baseline must be 'leave_one_out' or 'none', got {baseline!r}")
    xp, _ = namespace(value)
    if not -value.ndim <= axis < value.ndim or value.shape[axis] < 2:
        raise ValueError(
            f"baseline 'leave_one_out' needs 2 or more samples along axis {axis} of f's value, got shape {value.shape}"
        )
    n = value.shape[axis]
    return (value - xp.mean(value, axis=axis, keepdims=True)) * (n / (n - 1))


def is_igr_i(q):
    """Whether Prop. 2 gives the law of q.category: an IGR whose transform is softmax++."""
    return isinstance(q, IGR) and isinstance(q.transform, SoftmaxPlusPlus)


def log_probs(q, accuracy="relative", rule=FINE):
    """log P (..., N, K) of the codes that q.discretize draws, in float64; accuracy: see `gaussian_argmax.log_probs`."""
    if isinstance(q, GumbelSoftmax):
        xp, _ = namespace(q.log_alpha)
        return log_softmax(q.log_alpha.astype(xp.float64))
    if is_igr_i(q):
        return gaussian_argmax.log_probs(*_mu_sigma(q), rule, accuracy)
    raise _no_law(q)


def log_probs_pullback(q, log_p, bar, rule=FINE):
    """Gradients by q's parameters, in float64, of a cotangent (..., N, K) on log_probs(q) = log_p."""
    xp, _ = namespace(log_p)
    if isinstance(q, GumbelSoftmax):
        # bar_j - P_j sum_k bar_k = bar_j sum_{k!=j} P_k - P_j sum_{k!=j} bar_k. A sum over k != j is the total minus
        # entry j, except for an entry above 1/2, where it is added up from the others: no cancellation near a vertex.
        prob = xp.exp(log_p)
        top = prob > 0.5
        others_prob = xp.where(top, xp.sum(xp.where(top, 0, prob), axis=-1, keepdims=True), 1 - prob)
        others_bar = xp.sum(xp.where(top, 0, bar), axis=-1, keepdims=True)
        all_bar = xp.sum(bar, axis=-1, keepdims=True)
        return {"log_alpha": bar * others_prob - prob * xp.where(top, others_bar, all_bar - bar)}
    mu, sigma = _mu_sigma(q)
    mu_bar, sigma_bar = gaussian_argmax.vjp(mu, sigma, _over_p(bar, log_p), rule)
    return {"mu": mu_bar, "log_sigma": sigma_bar * sigma}


def _over_p(bar, log_p):
    """The cotangent on P of one on log P, bar/P, for P down to e^-700; below, P's own derivative is lost anyway.

    Finite everywhere: an infinite one would meet a derivative of 0. Where bar is 0, so is this.
    """
    xp, _ = namespace(bar)
    return bar * xp.exp(xp.minimum(-log_p, 700.0))


def score(q, b, log_p):
    """s = dlog P(b)/dparameter of one-hot codes b (..., N, K), in float64; b's leading axes broadcast against q's.

    To relative precision for codes of any probability. log_p = log_probs(q) is used for the Gumbel-Softmax only.
    """
    if isinstance(q, GumbelSoftmax):
        return log_probs_pullback(q, log_p, b.astype(log_p.dtype))
    mu, sigma = _mu_sigma(q)
    by_mu, by_sigma = drawn(mu, sigma, b).score
    return {"mu": by_mu, "log_sigma": by_sigma * sigma}


@dataclass(frozen=True)
class DrawnCodes:
    """log_p (..., N, K); score, kl_grads (None without a KL term): dicts by parameter; float64 unless asked otherwise.

    given: (y, saved) of the sample given b, if it was asked for (`recovery.conditional`; IGR only)."""

    log_p: Any
    score: dict
    kl_grads: dict | None
    given: Any = None


def drawn_codes(q, b, p=None, work=None, **sample):
    """DrawnCodes for codes b: for IGR-I everything from one pass over its panels, log_p to absolute accuracy.

    sample: v=uniforms or y=the sample, of the sample given b (`recovery.drawn`). With it and for float32, everything is
    float32 (`recovery.drawn_single`).
    """
    if isinstance(q, GumbelSoftmax):
        log_p = log_probs(q)
        return DrawnCodes(log_p, score(q, b, log_p), kl_uniform(q, log_p)[1] if p == UNIFORM else None)
    if not is_igr_i(q):
        raise _no_law(q)
    xp, _ = namespace(q.mu)
    cotangent = _uniform_cotangent if p == UNIFORM else None
    if sample and q.mu.dtype == "float32":
        sigma = xp.exp(q.log_sigma)
        found = drawn_single(q.mu, sigma, b, cotangent=cotangent, work=work, **sample)
    else:
        mu, sigma = _mu_sigma(q)
        found = drawn(mu, sigma, b, cotangent=cotangent, dtype=q.mu.dtype, rule=rule_for(q.mu), **sample)
    bars = None if found.bars is None else {"mu": found.bars[0], "log_sigma": found.bars[1] * sigma}
    by_mu, by_sigma = found.score
    given = None if found.saved is None else (found.y, found.saved)
    return DrawnCodes(found.log_p, {"mu": by_mu, "log_sigma": by_sigma * sigma}, bars, given)


def uniform_term(log_p):
    """P log(K P) (..., K), with 0 log 0 = 0: the terms of the KL, and a cotangent on log P for its gradient.

    The derivative by log P is P log(K P) + P, and the second term has no effect, as the probabilities sum to 1.
    """
    xp, _ = namespace(log_p)
    prob = xp.exp(log_p)
    return prob * (xp.where(prob > 0, log_p, 0) + math.log(log_p.shape[-1]))


def _uniform_cotangent(log_p):
    """log(K P) (..., K), with 0 for P = 0: the cotangent on P, not on log P, that belongs to `uniform_term`."""
    xp, _ = namespace(log_p)
    return xp.where(xp.exp(log_p) > 0, log_p, 0) + math.log(log_p.shape[-1])


def kl_uniform(q, log_p):
    """(KL(P || uniform) (..., N), its gradients by q's parameters), from log_p = log_probs(q), in float64."""
    xp, _ = namespace(log_p)
    term = uniform_term(log_p)
    return xp.sum(term, axis=-1), log_probs_pullback(q, log_p, term)


def kl_term(q, p, value, log_p=None, grads=None):
    """(kl, grads) for an estimator's argument p, in the dtype of the parameters: zeros and {} if p is None.

    grads: the KL's gradients, if they are at hand.
    """
    if p is not None and log_p is None:
        check_p(p)
        log_p = log_probs(q)
    kl, bar = uniform_kl(p, value, log_p)
    if p is None:
        return kl, {}
    grads = log_probs_pullback(q, log_p, bar) if grads is None else grads
    return kl, {name: bar.astype(q.params[name].dtype) for name, bar in grads.items()}


def check_p(p):
    if not (isinstance(p, str) and p == UNIFORM):
        raise ValueError(f"p must be None or 'uniform' (the exact KL of the discrete law), got {p!r}")


def uniform_kl(p, value, log_p):
    """(kl (...) in value's dtype, the cotangent on log_p for its gradient (..., N, K)): zeros if p is None.

    ValueError for any other p than None and "uniform".
    """
    xp, _ = namespace(value)
    if p is None:
        return xp.zeros_like(value), 0.0
    check_p(p)
    term = uniform_term(log_p)
    return over_variables(xp.sum(term, axis=-1)).astype(value.dtype), term


def _mu_sigma(q):
    xp, _ = namespace(q.mu)
    return q.mu.astype(xp.float64), xp.exp(q.log_sigma.astype(xp.float64))


def _no_law(q):
    of = f" with {type(q.transform).__name__}" if isinstance(q, IGR) else ""
    return TypeError(f"the exact discrete law is known for GumbelSoftmax and IGR-I, got {type(q).__name__}{of}")
