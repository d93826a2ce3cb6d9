"""The unordered set estimator with built-in baseline (Kool, van Hoof and Welling 2020), at S distinct codes.

Probability of a set T of codes drawn without replacement, once a mass e has been taken out:
    P_e(T) = sum over the orders of T of prod_i p_i / (1 - e - mass before i).
Leave-out ratios      R_i = P_{p_i}(T - i) / P_0(T),    R_ij = P_{p_i + p_j}(T - {i, j}) / P_{p_i}(T - i),    R_ii = 1.
Value and baseline    sum_i p_i R_i f_i,    beta_i = sum_j p_j R_ij f_j    (R_ii = 1 needs S >= 2: audit unordered-set).
Gradient              sum_i p_i R_i (f_i - beta_i) dlog q(b_i)/dtheta, ratios and weights held constant: unbiased.
Weights               sum_i p_i R_i = 1 and sum_j p_j R_ij = 1 for every set, as P_0(T) = sum_i p_i P_{p_i}(T - i).
Laws, search and ratios are computed in float64, whatever the dtype of the parameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ..backend import namespace
from ..distributions.base import check_no_nan
from ..numerics import log1mexp, logsumexp, softplus
from ..recovery._grid import rule_for
from ..transforms.base import one_hot
from .base import Estimate, value_of, variables
from .score_function import log_probs, log_probs_pullback, uniform_kl

SATURATED = 1e-5  # with less mass than this outside the set, all ratios are 1: the set stands for the whole law


@dataclass(frozen=True)
class CodeSet:
    """codes (..., S, N): category numbers; log_p (..., S): psi_i = log p_i; weights (..., S): p_i R_i, the decoder's
    too (sum_i p_i R_i df_i/d(decoder)); baseline_weights (..., S, S): p_j R_ij; law (..., N, K): log P, if at hand."""

    codes: Any
    log_p: Any
    weights: Any
    baseline_weights: Any
    law: Any = None


def unordered_set(q, noise, f, p=None, kool_direct=False, sample_axis=0):
    """Gradient of E_q[f(b)] + KL(q || uniform): signature and shapes in `base`, and

    q            GumbelSoftmax or IGR-I, with parameters (..., N, .).
    noise        Gumbel(0, 1) draws (..., N, S, K) for either kind of q: sets of S >= 2 codes, at most K^N.
    f            is called once, with one-hot codes b (S, ..., N, K); only its value (S, ...) is used.
    p            None or "uniform": the exact KL, added to the value and the gradient.
    kool_direct  Kool's own treatment of that KL: part of f, plus sum_i p_i R_i dKL/dtheta. As the weights sum to 1,
                 this is the same estimate; only where nearly all mass is in the set (SATURATED) do the two differ.
    sample_axis  the axis of f's value along which the S codes lie.
    One estimate for each set: value, kl (...), grads (..., N, .).
    """
    return from_set(q, draw_set(q, noise), f, p, kool_direct, sample_axis)


def draw_set(q, noise):
    """CodeSet drawn by stochastic beam search."""
    variables(q)
    if q.validate:
        check_no_nan("noise", noise)
    law = log_probs(q, "absolute", rule_for(_any(q)))
    return code_set(*beam_search(law, noise), law)


def from_set(q, drawn, f, p=None, kool_direct=False, sample_axis=0):
    """The estimate at a set already drawn (a caller that trains a decoder needs its weights); see `unordered_set`."""
    xp, _ = namespace(drawn.log_p)
    rule, dtype = rule_for(_any(q)), _any(q).dtype
    law = log_probs(q, "absolute", rule) if drawn.law is None else drawn.law
    b = one_hot(drawn.codes, law.shape[-1], xp, law.dtype)  # (..., S, N, K)
    value = value_of(f, xp.moveaxis(b, -3, sample_axis if sample_axis >= 0 else sample_axis - 2).astype(dtype))
    values, weights = xp.moveaxis(value, sample_axis, -1), drawn.weights  # (..., S)
    mean = xp.sum(weights * values, axis=-1).astype(value.dtype)
    kl, kl_bar = uniform_kl(p, mean, law)
    if kool_direct:
        values, total = values + kl[..., None], xp.sum(weights, axis=-1)
        kl, kl_bar = (total * kl).astype(value.dtype), total[..., None, None] * kl_bar
    beta = xp.sum(drawn.baseline_weights * values[..., None, :], axis=-1)
    # sum_i c_i dlog q(b_i) = sum_{n,k} [sum_i c_i b_ink] dlog P_nk: one pullback for the set and the KL
    c = weights * (values - beta)
    bars = log_probs_pullback(q, law, xp.sum(c[..., None, None] * b, axis=-3) + kl_bar, rule)
    return Estimate(mean, kl, {name: bar.astype(dtype) for name, bar in bars.items()})


def _any(q):
    """One of q's parameters."""
    return next(iter(q.params.values()))


def beam_search(log_p, noise):
    """(codes (..., S, N), psi (..., S)): S codes without replacement from prod_n P_n, in the order drawn.

    log_p (..., N, K), Gumbel noise (..., N, S, K). They are the S largest of psi_b + Gumbel_b over all K^N codes b: the
    maximum below every prefix is sampled from the top down, given its parent's (Kool et al. 2019).
    """
    xp, _ = namespace(log_p, noise)
    n, s, k = noise.shape[-3:] if noise.ndim >= 3 else (0, 0, 0)
    if (n, k) != log_p.shape[-2:]:
        raise ValueError(f"noise must be (..., N, S, K) with N, K = {log_p.shape[-2:]}, got shape {noise.shape}")
    if s < 1 or n * math.log(k) < math.log(s) - 1e-9:
        raise ValueError(f"noise: S = {s} distinct codes were asked for, there are K^N = {k}^{n}")
    lead = xp.broadcast_shapes(log_p.shape[:-2], noise.shape[:-3])
    # one root with psi = G = 0; the other slots are empty (psi = G = -inf) until there are S prefixes
    psi = xp.broadcast_to(xp.where(xp.arange(s) == 0, 0.0, -xp.inf).astype(log_p.dtype), (*lead, s))
    top, codes = psi, xp.zeros((*lead, s, 0), dtype=int)
    for i in range(n):
        child_psi = psi[..., None] + log_p[..., i, None, :]  # (..., S, K)
        child_top = conditioned(child_psi + noise[..., i, :, :], top[..., None])
        child_psi, child_top = (xp.reshape(x, (*lead, s * k)) for x in (child_psi, child_top))
        keep = xp.argsort(-child_top, axis=-1)[..., :s]
        psi, top = (xp.take_along_axis(x, keep, axis=-1) for x in (child_psi, child_top))
        prefixes = xp.take_along_axis(codes, (keep // k)[..., None], axis=-2)
        codes = xp.concatenate([prefixes, (keep % k)[..., None]], axis=-1)
    return codes, psi


def conditioned(g, top):
    """Independent Gumbels g (..., K) given that their maximum is `top` (..., 1): -log(e^-top - e^-Z + e^-g), Z = max g.

    nu = top - g + log(1 - e^{g - Z}),  result top - softplus(nu); the largest becomes `top` itself, -inf stays -inf.
    """
    xp, _ = namespace(g, top)
    largest = xp.max(g, axis=-1, keepdims=True)
    beaten = (top > -xp.inf) & (g < largest)

    def there(x, otherwise):  # elsewhere the formulas see a harmless stand-in, so that nothing warns
        return xp.where(beaten, x, otherwise)

    nu = there(top, 0) - there(g, 0) + log1mexp(there(g, -1) - there(largest, 0))
    return xp.where(beaten, there(top, 0) - softplus(nu), top)


def code_set(codes, psi, law=None):
    """CodeSet of given codes (..., S, N), S >= 2, with log-probabilities psi (..., S)."""
    xp, _ = namespace(psi)
    log_r, log_r_pair = leave_out_log_ratios(psi)
    # p_i R_i and p_j R_ij are of order 1/S where p alone may underflow: one exponential
    return CodeSet(codes, psi, xp.exp(psi + log_r), xp.exp(psi[..., None, :] + log_r_pair), law)


def leave_out_log_ratios(psi):
    """(log R_i (..., S), log R_ij (..., S, S)) from psi = log p (..., S); all 0 where sum p > 1 - 1e-5."""
    xp, _ = namespace(psi)
    s = psi.shape[-1]
    if s < 2:
        raise ValueError("the built-in baseline needs sets of S >= 2 codes (score_function takes single samples)")
    saturated = (xp.sum(xp.exp(psi), axis=-1) > 1 - SATURATED)[..., None]
    psi = xp.where(saturated, -math.log(2 * s), psi)  # a stand-in
    whole = log_set_prob(psi)

    def others(*left_out):
        return xp.take(psi, xp.asarray(_rest(range(s), *left_out), dtype=int), axis=-1)

    alone = [log_set_prob(others(i), psi[..., i]) for i in range(s)]
    pair = [[xp.zeros_like(whole)] * s for _ in range(s)]
    for i, j in combinations(range(s), 2):
        out = log_set_prob(others(i, j), xp.logaddexp(psi[..., i], psi[..., j]))
        pair[i][j], pair[j][i] = out - alone[i], out - alone[j]
    log_r = xp.stack(alone, axis=-1) - whole[..., None]
    log_r_pair = xp.stack([xp.stack(row, axis=-1) for row in pair], axis=-2)
    return xp.where(saturated, 0, log_r), xp.where(saturated[..., None], 0, log_r_pair)


def log_set_prob(psi, log_e=-math.inf):
    """log P_e(T) (...) from T's log-probabilities psi (..., m) and the log of the mass e taken out.

    The sum over m! orders, a subset A at a time:  F(A) = sum_{i in A} p_i F(A - i) / (1 - e - mass(A - i)),  F({}) = 1.
    """
    xp, _ = namespace(psi)
    m = psi.shape[-1]
    log_e = xp.zeros(psi.shape[:-1], dtype=psi.dtype) + log_e
    log_f = xp.zeros_like(log_e)
    step = {(): log_f - log1mexp(log_e)}  # log F(A) - log(1 - e - mass(A))
    for size in range(1, m + 1):
        for subset in combinations(range(m), size):
            log_f = logsumexp(xp.stack([step[tuple(_rest(subset, i))] + psi[..., i] for i in subset], axis=-1))
            if size < m:
                mass = logsumexp(xp.stack([log_e, *(psi[..., i] for i in subset)], axis=-1))
                step[subset] = log_f - log1mexp(mass)
    return log_f


def _rest(items, *left_out):
    return [i for i in items if i not in left_out]
