"""The estimators over discrete codes, two oracles each on 1,000 configurations: see thousand_checks.

Prop. 2 by a dense rule, its derivatives by autograd and by complex steps. Ratios of the unordered set by all orders in
longdouble, and by P_e(T) = int_0^inf r e^{-r x} prod_i (1 - e^{-p_i x}) dx, r = 1 - e - P(T).
"""

from __future__ import annotations

import itertools

import autograd.numpy as anp
import numpy

from igr_ref import GumbelSoftmax, igr_i
from igr_ref.estimators.score_function import score_function
from igr_ref.estimators.unordered_set import draw_set, from_set

from .gradcheck import autograd_vjp, check_rows
from .test_thousand_given import PLAIN, STEP, TAPE, gaussian_laws, log_w, rule
from .thousand_checks import check_tape

LONG = numpy.longdouble


# ---- the score function for IGR-I ------------------------------------------------------------------------------------


def prop2_log_probs(mu, sigma):
    """law(kind, mu, sigma): log P (n, K), every category by the same rule."""
    top = numpy.max(numpy.maximum(mu, 0) + 12 * sigma, axis=1)
    t, weight = rule(0 * top, top, 40)

    def law(kind, mu, sigma):
        xp, log_ndtr = kind
        own = numpy.eye(mu.shape[1], dtype=bool)
        head = [xp.sum(weight * xp.exp(log_w(kind, mu, sigma, e[None], t)), axis=1) for e in own]
        return xp.stack([*(xp.log(p) for p in head), xp.sum(log_ndtr(-mu / sigma), axis=1)], axis=1)

    return law


def test_score_function_of_igr_i():
    """S = 4 samples, leave-one-out baseline, and the KL: its terms' weights held fixed, a derivative of log P each."""
    label = {"equation": "score function", "function": "estimators.score_function.score_function (IGR-I)"}
    for rng, k, mu, log_sigma in gaussian_laws(3):
        n = len(mu)
        q, noise = igr_i(mu[:, None], log_sigma[:, None], 1.0), rng.standard_normal((4, n, 1, k - 1))
        c = rng.standard_normal(k)
        found = score_function(q, noise, lambda b, c=c: (numpy.sum(c * b, axis=(-1, -2)) ** 2, None), "uniform")
        b = q.discretize(noise)[:, :, 0]
        value = numpy.sum(c * b, axis=-1) ** 2
        weight = numpy.sum((value - (value.sum(axis=0) - value) / 3)[..., None] * b, axis=0)
        law = prop2_log_probs(mu, numpy.exp(log_sigma))
        log_p = law(PLAIN, mu, numpy.exp(log_sigma))
        weight = weight + 4 * numpy.exp(log_p) * (log_p + numpy.log(k))  # the estimate of each sample holds the KL once
        size = numpy.linalg.norm(weight, axis=1)
        grads = {name: g.sum(axis=0)[:, 0] for name, g in found.grads.items()}

        def objective(kind, m, s, law=law, weight=weight):
            return kind[0].sum(weight * law(kind, m, kind[0].exp(s)), axis=1)

        check_tape(grads.values(), lambda m, s, f=objective: anp.sum(f(TAPE, m, s)), (mu, log_sigma),
                   scale=1e-2 * size, **label)  # fmt: skip
        directions = rng.standard_normal((2, *mu.shape))
        want = objective(PLAIN, mu + 1j * STEP * directions[0], log_sigma + 1j * STEP * directions[1]).imag / STEP
        along = sum(numpy.sum(g * d, axis=1) for g, d in zip(grads.values(), directions, strict=True))
        check_rows(along, want, oracle="complex step through a dense rule", scale=1e-2 * size, **label)


# ---- the unordered set -----------------------------------------------------------------------------------------------


def weights_by_orders(p):
    """(p_i R_i (n, S), p_j R_ij (n, S, S)) in longdouble, from the sums over all orders."""
    p, s = LONG(p), p.shape[1]

    def prob(members, gone):
        total = 0
        for order in itertools.permutations(members):
            term, mass = 1, gone
            for i in order:
                term, mass = term * p[:, i] / (1 - mass), mass + p[:, i]
            total = total + term
        return total

    rest = lambda *out: [i for i in range(s) if i not in out]  # noqa: E731
    alone = [prob(rest(i), p[:, i]) for i in range(s)]
    pair = [[1 if i == j else prob(rest(i, j), p[:, i] + p[:, j]) / alone[i] for j in range(s)] for i in range(s)]
    own = numpy.stack([p[:, i] * alone[i] for i in range(s)], axis=1) / prob(range(s), LONG(0))[:, None]
    return own, numpy.stack([numpy.stack([p[:, j] * row[j] for j in range(s)], axis=1) for row in pair], axis=1)


def weights_by_integrals(p):
    """The same by the trapezoidal rule in log(r x): r is the same for the set and for all that it loses a code."""
    r = 1 - p.sum(axis=1)
    y = numpy.arange(-45, 4.5, 0.04)
    base = numpy.exp(y - numpy.exp(y))
    hit = -numpy.expm1(-(p / r[:, None])[..., None] * numpy.exp(y))  # (n, S, T)
    s = p.shape[1]
    prob = lambda *out: (numpy.prod(numpy.delete(hit, out, axis=1), axis=1) @ base)[:, None]  # noqa: E731
    alone = [prob(i) for i in range(s)]
    own = p * numpy.concatenate(alone, axis=1) / prob()
    pair = [[p[:, j, None] * (1 if i == j else prob(i, j) / alone[i]) for j in range(s)] for i in range(s)]
    return own, numpy.stack([numpy.concatenate(row, axis=1) for row in pair], axis=1)


def test_unordered_set():
    """Two variables, sets of 2 to 4 codes drawn by the beam search; the KL is added once."""
    label = {"equation": "USPGBL", "function": "estimators.unordered_set.unordered_set (gradient)"}
    seen = 0
    for k, s, n in ((2, 2, 250), (3, 3, 350), (10, 4, 400), (100, 4, 150), (1000, 3, 10)):
        rng = numpy.random.default_rng((95, 4, k))
        log_alpha = rng.standard_normal((n, 2, k)) * numpy.exp(rng.uniform(-2, 0.7, (n, 1, 1)))
        noise, c = rng.gumbel(size=(n, 2, s, k)), rng.standard_normal((2, k))
        drawn = draw_set(GumbelSoftmax(log_alpha, 1.0), noise)
        kept = numpy.sum(numpy.exp(drawn.log_p), axis=1) < 0.999  # 1 - P(T) has an error of eps/(1 - P(T))
        log_alpha, noise, seen = log_alpha[kept], noise[kept], seen + int(kept.sum())
        q = GumbelSoftmax(log_alpha, 1.0)
        drawn = draw_set(q, noise)
        got = from_set(q, drawn, lambda b, c=c: (numpy.sum(c * b, axis=(-1, -2)) ** 2, None), "uniform")
        b = numpy.eye(k)[drawn.codes]  # (n, S, 2, K)
        values = numpy.sum(c * b, axis=(-1, -2)) ** 2
        a = numpy.exp(LONG(log_alpha) - LONG(log_alpha).max(axis=-1, keepdims=True))
        theta = a / a.sum(axis=-1, keepdims=True)
        p = numpy.prod(numpy.sum(theta[:, None] * b, axis=-1), axis=-1)

        def cotangent(own, pair, values=values, b=b):
            """sum_i p_i R_i (f_i - beta_i) b_i (n, 2, K), and its size."""
            weight = own * (values - numpy.sum(pair * values[:, None], axis=-1))
            return numpy.sum(weight[..., None, None] * b, axis=1), numpy.sum(abs(own * values), axis=1)

        bar, size = cotangent(*weights_by_orders(p))
        log_theta = numpy.log(theta)
        kl = theta * (log_theta - numpy.sum(theta * log_theta, axis=-1, keepdims=True))
        want = bar - theta * bar.sum(axis=-1, keepdims=True) + kl
        check_rows(got.grads["log_alpha"], want, oracle="all orders, longdouble", scale=numpy.float64(size), **label)
        bar, size = cotangent(*weights_by_integrals(numpy.float64(p)))

        def surrogate(x, bar=bar):
            log_p = x - anp.log(anp.sum(anp.exp(x), axis=-1, keepdims=True))
            return anp.sum(bar * log_p) + anp.sum(anp.exp(log_p) * log_p)

        check_rows(got.grads["log_alpha"], autograd_vjp(surrogate, log_alpha)[0],
                   oracle="integral over the threshold, autograd", scale=size, **label)  # fmt: skip
    assert seen >= 1000
