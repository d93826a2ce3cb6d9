"""Prop. 2 (eq. 21): the discrete law of H = h(y), y_k ~ N(mu_k, sigma_k^2), by composite quadrature, and its gradient.

    P_k = int_0^inf phi_k(t) prod_{j!=k} Phi_j(t) dt,   phi_k(t) = phi((t-mu_k)/sigma_k)/sigma_k,  k < K,
    P_K = prod_j Phi(-mu_j/sigma_j).                    (eq. 29 as printed lacks the 1/sigma_k: audit eq-29)
Gradient, with the fluxes A_jk = int_0^inf phi_j phi_k prod_{i!=j,k} Phi_i dt = A_kj,  A'_jk the same with a factor
(t-mu_j)/sigma_j,  and  B_k = phi_k(0) prod_{j!=k} Phi_j(0):
    dP_k/dmu_j    = -A_jk,   dP_k/dmu_k    = B_k + sum_{j!=k} A_jk,                      dP_K/dmu_k    = -B_k,
    dP_k/dsigma_j = -A'_jk,  dP_k/dsigma_k = -(mu_k/sigma_k) B_k + sum_{j!=k} A'_kj,
                                                                                dP_K/dsigma_k = (mu_k/sigma_k) B_k.
What category k wins when mu_j moves, category j loses: every column of the Jacobian sums to zero, exactly.
"""

from __future__ import annotations

import numpy

from ..backend import namespace
from ..numerics import log_ndtr, log_normal_pdf
from . import _far_law, _grid
from ._checks import double, with_cotangent
from ._grid import FINE, over_laws
from ._quadrature import gauss_legendre_points
from ._rare import log_integrals

SMALL = 1e-6  # probabilities below it are integrated one by one for relative accuracy
SUM_TOLERANCE = 1e-8


def grid(mu, sigma, rule=FINE):
    """(t, weight, edges) on [0, inf) for laws mu, sigma (..., K-1), one grid for all k: float64 arrays

    t, weight (..., T) and edges (..., T/nodes + 1), non-decreasing. Panel p holds the nodes Gauss-Legendre points
    t[..., p nodes : (p+1) nodes] of [edges[..., p], edges[..., p+1]]; a law that needs fewer panels than the others has
    empty ones at the end, of weight 0. int f = sum(weight f) for every f made of phi_j and Phi_j that contains each j.
    """
    xp, mu, sigma = double(mu, sigma)
    rows, _ = _grid.edges(*(xp.reshape(array, (-1, mu.shape[-1])) for array in (mu, sigma)), rule)
    edges = xp.reshape(rows, mu.shape[:-1] + rows.shape[1:])
    return *gauss_legendre_points(edges, rule.nodes), edges


# ---- probabilities -----------------------------------------------------------------------------------------------


def boundary(mu, sigma):
    """(log P_K (L, 1), B_k (L, K-1)): what happens at t = 0."""
    xp, _ = namespace(mu)
    z = -mu / sigma
    log_Phi = log_ndtr(z)
    log_last = xp.sum(log_Phi, axis=-1, keepdims=True)
    return log_last, xp.exp(log_last - log_Phi + log_normal_pdf(z) - xp.log(sigma))


def log_probs(mu, sigma, rule=FINE, accuracy="relative"):
    """log P (..., K) from mu, sigma (..., K-1). Computed in float64, returned in the dtype of mu.

    accuracy "relative": every P_k to 1e-7 of itself, however small (its logarithm is right below 1e-308 too).
    "absolute": P to 1e-12; the logarithm of P_k < 1e-12 then means nothing and may be -inf. Enough for a law whose
    categories are only weighted by, or drawn with, P, and sooner done: rare categories are otherwise integrated one by
    one, which for a law of K = 1000 with sigma = 1 takes seconds instead of milliseconds.
    P_K is exact in both. Where |log P_k| is large, it is right to a few units in its last place and no more.

    Raises ValueError for sigma <= 0, input that is not finite or spreads further than a logarithm can say (sigma below
    1e-150 times the largest sigma or |mu| of its law), ArithmeticError where the quadrature's
    probabilities do not sum to 1 within 1e-8: nothing is renormalised.
    """
    if accuracy not in ("relative", "absolute"):
        raise ValueError(f"accuracy must be 'relative' or 'absolute', got {accuracy!r}")
    if isinstance(rule, str):
        raise TypeError(f"rule must be a quadrature rule, got {rule!r}: accuracy is a keyword")
    xp, mu64, sigma64 = double(mu, sigma)
    relative = accuracy == "relative"

    def near(m, s):
        (head,) = over_laws(lambda factors, edges: (factors.probs(),), m, s, rule=rule)
        out = logarithms(head, boundary(m, s)[0])
        return (xp.concatenate([log_integrals(m, s, head < SMALL, out[:, :-1]), out[:, -1:]], -1) if relative else out,)

    def far(m, s):
        log_head, log_last = _far_law.log_head(m, s, relative), boundary(m, s)[0]
        logarithms(xp.exp(log_head), log_last)
        return (xp.concatenate([log_head, log_last], axis=-1),)

    (out,) = _far_law.by_reach(near, far, *_rows(mu64, sigma64))
    # what single precision has no number for is the logarithm of 0
    out = xp.where(out < numpy.finfo(mu.dtype).min, -xp.inf, out)
    return xp.reshape(out, mu64.shape[:-1] + out.shape[1:]).astype(mu.dtype)


def logarithms(head, log_last, tolerance=SUM_TOLERANCE):
    """log P (L, K) from P_k, k < K, and log P_K, after a check of the sum: ArithmeticError, nothing is renormalised."""
    xp, _ = namespace(head)
    positive = head > 0
    log_head = xp.where(positive, xp.log(xp.where(positive, head, 1)), -xp.inf)
    off = xp.abs(xp.sum(head, axis=-1) + xp.exp(log_last[:, 0]) - 1)
    worst = float(xp.max(off)) if off.size else 0.0
    if not worst <= tolerance:
        raise ArithmeticError(f"Prop. 2: the quadrature's probabilities sum to 1 only within {worst:.2e}")
    return xp.concatenate([log_head, log_last], axis=-1)


def probs(mu, sigma, rule=FINE):
    """P (..., K), with absolute accuracy."""
    xp, _ = namespace(mu)
    return xp.exp(log_probs(mu, sigma, rule, accuracy="absolute"))


# ---- derivatives -------------------------------------------------------------------------------------------------


def fluxes(mu, sigma, rule=FINE):
    """(A, A', B): A (..., K-1, K-1) symmetric, A'[j, k] with the factor (t - mu_j)/sigma_j, B (..., K-1), in float64.

    The diagonals of A and A' carry no meaning.
    """
    xp, mu, sigma = double(mu, sigma)
    m, s = _rows(mu, sigma)
    both = _far_law.by_reach(
        lambda m, s: over_laws(lambda factors, edges: factors.fluxes(), m, s, rule=rule), _far_law.fluxes, m, s
    )
    return tuple(xp.reshape(x, mu.shape[:-1] + x.shape[1:]) for x in (*both, boundary(m, s)[1]))


def jacobian(mu, sigma, rule=FINE):
    """(dP/dmu, dP/dsigma), each (..., K, K-1): rows are categories, columns parameters. Absolute error below 1e-10."""
    xp, mu64, sigma64 = double(mu, sigma)
    A, A_scaled, B = fluxes(mu64, sigma64, rule)
    eye = xp.eye(A.shape[-1], dtype=A.dtype)

    def assemble(flux, boundary):  # flux[j, k] is lost by k and won by j when parameter j grows
        flux = flux * (1 - eye)
        head = eye * (xp.sum(flux, axis=-1) + boundary)[..., None, :] - xp.swapaxes(flux, -1, -2)
        return xp.concatenate([head, -boundary[..., None, :]], axis=-2).astype(mu.dtype)

    return assemble(A, B), assemble(A_scaled, -mu64 / sigma64 * B)


def vjp(mu, sigma, p_bar, rule=FINE):
    """(mu_bar, sigma_bar) of a cotangent (..., K) on P. Only differences of cotangents enter:

    mu_bar_j = sum_{k!=j} (p_bar_j - p_bar_k) A_jk + (p_bar_j - p_bar_K) B_j;  sigma_bar_j with A', (-mu_j/sigma_j) B_j.
    """
    xp, mu64, sigma64 = double(mu, sigma)
    p_bar, mu64, sigma64 = with_cotangent(p_bar, mu64, sigma64)
    bar = p_bar[..., :-1] - p_bar[..., -1:]
    m, s, bar = _rows(mu64, sigma64, bar)
    bars = _far_law.by_reach(
        lambda *rows: over_laws(lambda factors, edges, b: factors.pullback(b), *rows, rule=rule),
        _far_law.pullback,
        *(m, s, bar),
    )
    bars = with_boundary(bars, bar * boundary(m, s)[1], m, s)
    return tuple(xp.reshape(x, mu64.shape).astype(mu.dtype) for x in bars)


def with_boundary(bars, at_zero, mu, sigma):
    """The pullback's sums over the panels, and the terms with B."""
    return bars[0] + at_zero, bars[1] - mu / sigma * at_zero


def _rows(*arrays):
    """Arrays (..., n) as rows (L, n)."""
    xp, _ = namespace(*arrays)
    return [xp.reshape(array, (-1, array.shape[-1])) for array in arrays]
