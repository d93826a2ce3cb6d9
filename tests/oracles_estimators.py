"""Exact references for the discrete estimators, by enumeration of the K^N codes, sharing no code with igr_ref.

Laws come with their Jacobians: `softmax_law` in longdouble, `prop2_law` by a dense composite Gauss-Legendre rule whose
derivatives are complex steps (no formula of Prop. 2's gradient enters); `prop2_quad` and `prop2_mpmath` check it.
"""

from __future__ import annotations

import functools
import itertools

import mpmath
import numpy
import scipy.integrate
import scipy.special

LONG = numpy.longdouble


# ---- laws: P (N, K) and dP/dparameter (N, K, parameters) ------------------------------------------------------------


def softmax_law(log_alpha):
    """(P, {"log_alpha": dP_k/dlog_alpha_j}) for log_alpha (N, K): P_k (delta_jk - P_j), 1 - P_k added from the rest."""
    a = LONG(log_alpha)
    e = numpy.exp(a - a.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    n, k = p.shape
    jacobian = -p[:, :, None] * p[:, None, :]
    for i in range(k):
        jacobian[:, i, i] = p[:, i] * numpy.delete(p, i, axis=-1).sum(axis=-1)
    return p, {"log_alpha": jacobian}


@functools.cache
def _legendre(n):
    return numpy.polynomial.legendre.leggauss(n)


def _ndtr(x):
    """Phi of a complex argument."""
    return 0.5 * scipy.special.erfc(-x / numpy.sqrt(2))


def _prop2(mu, sigma, t, weight):
    """Prop. 2 for mu, sigma (..., K-1), perhaps complex, on fixed nodes t: (..., K)."""
    a = (t - mu[..., None]) / sigma[..., None]
    phi = numpy.exp(-0.5 * a * a) / (sigma[..., None] * numpy.sqrt(2 * numpy.pi))
    cdf = _ndtr(a)
    out = []
    for k in range(mu.shape[-1]):
        others = numpy.prod(numpy.delete(cdf, k, axis=-2), axis=-2)
        out.append(numpy.sum(weight * phi[..., k, :] * others, axis=-1))
    return numpy.stack([*out, numpy.prod(_ndtr(-mu / sigma), axis=-1)], axis=-1)


def _nodes(mu, sigma, width=0.25, order=12):
    """Panels of `width` times the smallest sigma from 0 to 13 sigma above everything."""
    upper = float(numpy.max(numpy.maximum(mu, 0) + 13 * sigma))
    edges = numpy.linspace(0, upper, 2 + int(upper / (width * float(numpy.min(sigma)))))
    x, w = _legendre(order)
    half, middle = numpy.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    return (middle[:, None] + half[:, None] * x).ravel(), (half[:, None] * w).ravel()


def prop2_law(mu, log_sigma):
    """(P (N, K), {"mu": dP/dmu, "log_sigma": dP/dlog_sigma}) (N, K, K-1) of IGR-I for mu, log_sigma (N, K-1)."""
    mu, log_sigma = numpy.float64(mu), numpy.float64(log_sigma)
    n, m = mu.shape
    p, by_mu, by_log_sigma = [], [], []
    step = 1e-100
    for i in range(n):
        t, weight = _nodes(mu[i], numpy.exp(log_sigma[i]))
        p.append(_prop2(mu[i], numpy.exp(log_sigma[i]), t, weight))
        move = 1j * step * numpy.eye(m)
        at_mu = _prop2(mu[i] + move, numpy.exp(log_sigma[i]) + 0 * move, t, weight)
        at_sigma = _prop2(mu[i] + 0 * move, numpy.exp(log_sigma[i] + move), t, weight)
        by_mu.append(at_mu.imag.T / step)
        by_log_sigma.append(at_sigma.imag.T / step)
    return numpy.stack(p), {"mu": numpy.stack(by_mu), "log_sigma": numpy.stack(by_log_sigma)}


def prop2_quad(mu, sigma, k):
    """P_k (k counted from 0, k < K-1) of one law by scipy.integrate.quad."""

    def integrand(t):
        a = (t - mu) / sigma
        cdf = scipy.special.ndtr(numpy.delete(a, k))
        return numpy.exp(-0.5 * a[k] ** 2) / (sigma[k] * numpy.sqrt(2 * numpy.pi)) * numpy.prod(cdf)

    upper = max(mu[k], 0) + 12 * sigma[k]
    points = sorted(x for x in {*(mu - 2 * sigma), *mu, *(mu + 2 * sigma)} if 0 < x < upper)
    return scipy.integrate.quad(integrand, 0, upper, points=points or None, limit=500, epsabs=1e-15, epsrel=1e-13)[0]


def prop2_mpmath(mu, sigma, k, j, digits=30):
    """(P_k, dP_k/dmu_j, dP_k/dsigma_j) of one law: mpmath.quad of the integrand and of its derivatives."""
    with mpmath.workdps(digits):
        mu, sigma = [mpmath.mpf(float(x)) for x in mu], [mpmath.mpf(float(x)) for x in sigma]
        n = len(mu)

        def value(t, which, by):
            a = [(t - m) / s for m, s in zip(mu, sigma, strict=True)]
            # factor k is a density, the others are distribution functions; factor j is differentiated
            out = mpmath.mpf(1)
            for i in range(n):
                density = mpmath.npdf(a[i])
                if i == k and i == which:
                    out *= density / sigma[i] ** 2 * (a[i] if by == "mu" else a[i] ** 2 - 1)
                elif i == k:
                    out *= density / sigma[i]
                elif i == which:
                    out *= -density / sigma[i] * (1 if by == "mu" else a[i])
                else:
                    out *= mpmath.ncdf(a[i])
            return out

        upper = max(max(m, 0) + 14 * s for m, s in zip(mu, sigma, strict=True))
        edges = [upper * i / 40 for i in range(41)]
        triple = ((None, None), (j, "mu"), (j, "sigma"))
        return tuple(float(mpmath.quad(lambda t, w=w, by=by: value(t, w, by), edges)) for w, by in triple)


# ---- expectations over all codes -------------------------------------------------------------------------------------


def all_codes(n, k):
    """(K^N, N) category numbers, every code once."""
    return numpy.array(list(itertools.product(range(k), repeat=n)))


def code_probs(p, codes):
    """q(b) (...) of codes (..., N) from P (N, K)."""
    return numpy.prod(numpy.stack([p[i, codes[..., i]] for i in range(p.shape[0])], axis=-1), axis=-1)


def code_scores(p, jacobians, codes):
    """{name: dlog q(b)/dparameter (..., N, parameters)}: row b_n of the Jacobian over P."""
    n = p.shape[0]
    rows = {name: [j[i, codes[..., i]] / p[i, codes[..., i], None] for i in range(n)] for name, j in jacobians.items()}
    return {name: numpy.stack(row, axis=-2) for name, row in rows.items()}


def expectation(p, table):
    """E_q[f(b)] for f given as a table over all_codes."""
    return numpy.sum(code_probs(p, all_codes(*p.shape)) * table)


def expectation_gradient(p, jacobians, table):
    """dE_q[f(b)]/dparameter: for each variable, sum_b f(b) [prod of the other variables' P] dP_{n,b_n}, no division."""
    n, k = p.shape
    codes = all_codes(n, k)
    out = {name: numpy.zeros(j.shape[:1] + j.shape[2:], j.dtype) for name, j in jacobians.items()}
    for i in range(n):
        others = numpy.ones(len(codes), p.dtype)
        for m in range(n):
            others = others * (p[m, codes[:, m]] if m != i else 1)
        for name, j in jacobians.items():
            out[name][i] = numpy.sum((table * others)[:, None] * j[i, codes[:, i]], axis=0)
    return out


def kl_uniform(p, jacobians):
    """KL(q || uniform) by enumeration of all codes, and its gradient as that of E[log q(b) + N log K]."""
    codes = all_codes(*p.shape)
    table = numpy.log(code_probs(p, codes)) + len(p) * numpy.log(p.dtype.type(p.shape[1]))
    return expectation(p, table), expectation_gradient(p, jacobians, table)


def table_function(table, n, k):
    """f(b) for one-hot b (..., N, K), looked up in a table over all_codes; the gradient is not defined."""

    def f(b):
        assert numpy.all((b == 0) | (b == 1)) and numpy.all(b.sum(axis=-1) == 1), "codes must be exactly one-hot"
        position = numpy.argmax(b, axis=-1) @ (k ** numpy.arange(n - 1, -1, -1))
        return table[position].astype(b.dtype), None

    return f


# ---- sets without replacement ----------------------------------------------------------------------------------------


def ordered_samples(m, s):
    """All m!/(m-s)! ordered samples of s distinct items: (..., s)."""
    return numpy.array(list(itertools.permutations(range(m), s)))


def ordered_probs(p, samples):
    """prod_t p_t / (1 - earlier) for samples (..., s), each draw from what the earlier ones have left."""
    out = numpy.ones(samples.shape[:-1], p.dtype)
    for t in range(samples.shape[-1]):
        left = p.sum() - p[samples[..., :t]].sum(axis=-1)
        out = out * p[samples[..., t]] / left
    return out


def set_prob(p, excluded=0):
    """P_e(T) of one set with probabilities p (m,): the sum over all m! orders."""
    total = LONG(0)
    for order in itertools.permutations([LONG(x) for x in p]):
        term, gone = LONG(1), LONG(excluded)
        for x in order:
            term, gone = term * x / (1 - gone), gone + x
        total += term
    return total


def leave_out_ratios(p):
    """(R_i (S,), R_ij (S, S)) of one set, from their definition."""
    s = len(p)
    whole = set_prob(p)
    alone = [set_prob(numpy.delete(p, i), p[i]) for i in range(s)]
    pair = numpy.ones((s, s), LONG)
    for i, j in itertools.permutations(range(s), 2):
        pair[i, j] = set_prob(numpy.delete(p, [i, j]), LONG(p[i]) + LONG(p[j])) / alone[i]
    return numpy.array(alone) / whole, pair


# ---- noise that selects a given code ---------------------------------------------------------------------------------


def gumbel_for(codes, log_alpha):
    """Gumbel draws (..., N, K) under which each variable's argmax is the given category."""
    k = log_alpha.shape[-1]
    chosen = codes[..., None] == numpy.arange(k)
    return numpy.where(chosen, 1.0, -1.0) - log_alpha


def normal_for(codes, mu, log_sigma):
    """Standard normal draws (..., N, K-1) with y = 1 in the given category and -1 elsewhere (all -1 for the last)."""
    chosen = codes[..., None] == numpy.arange(mu.shape[-1])
    return (numpy.where(chosen, 1.0, -1.0) - mu) / numpy.exp(log_sigma)


# ---- quadrature over noise -------------------------------------------------------------------------------------------


def panels(centres, scale, low, high, order=16):
    """Gauss-Legendre nodes and weights on [low, high], panels growing geometrically away from each centre."""
    steps = scale * numpy.concatenate([numpy.arange(0, 8, 0.5), 8 * 1.25 ** numpy.arange(1, 90)])
    edges = numpy.concatenate(
        [[low, high], *([c - steps, c + steps] for c in centres), numpy.linspace(low, high, 65)], None
    )
    edges = numpy.unique(numpy.clip(edges, low, high))
    x, w = numpy.polynomial.legendre.leggauss(order)
    half, middle = numpy.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    return (middle[:, None] + half[:, None] * x).ravel(), (half[:, None] * w).ravel()
