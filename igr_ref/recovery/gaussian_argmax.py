"""Prop. 2 (eq. 21): the discrete law of H = h(y), y_k ~ N(mu_k, sigma_k^2), by composite quadrature, and its gradient.

    P_k = int_0^inf phi_k(t) prod_{j!=k} Phi_j(t) dt,   phi_k(t) = phi((t-mu_k)/sigma_k)/sigma_k,  k < K,
    P_K = prod_j Phi(-mu_j/sigma_j).                    (eq. 29 as printed lacks the 1/sigma_k: AUDIT 47)
Gradient, with the fluxes A_jk = int_0^inf phi_j phi_k prod_{i!=j,k} Phi_i dt = A_kj,  A'_jk the same with a factor
(t-mu_j)/sigma_j,  and  B_k = phi_k(0) prod_{j!=k} Phi_j(0):
    dP_k/dmu_j    = -A_jk,   dP_k/dmu_k    = B_k + sum_{j!=k} A_jk,                      dP_K/dmu_k    = -B_k,
    dP_k/dsigma_j = -A'_jk,  dP_k/dsigma_k = -(mu_k/sigma_k) B_k + sum_{j!=k} A'_kj,
                                                                                dP_K/dsigma_k = (mu_k/sigma_k) B_k.
What category k wins when mu_j moves, category j loses: every column of the Jacobian sums to zero, exactly.
"""

from __future__ import annotations

import functools

import numpy

from ..backend import namespace
from ..numerics import log_ndtr, log_ndtr_grad, log_normal_pdf, logsumexp

BREAKS = (-8.0, -3.0, 0.0, 3.0, 8.0)  # in standard deviations around every mu_j; mass beyond 8 sigma is below 1e-15
NODES = 8  # Gauss-Legendre nodes in each panel
SUM_TOLERANCE = 1e-6
CHUNK = 4_000_000  # elements of the largest temporary array


@functools.cache
def _gauss_legendre(n):
    return numpy.polynomial.legendre.leggauss(n)


def _grid(mu, sigma, nodes, xp):
    """Nodes t and weights (..., T) on [0, inf), one grid for all k: panels between 0 and the points mu_j + c sigma_j.

    Points below 0 are moved to 0, which makes their panels empty.
    """
    breaks = xp.asarray(BREAKS, dtype=mu.dtype)
    points = mu[..., None] + breaks * sigma[..., None]
    points = xp.reshape(xp.maximum(points, 0), mu.shape[:-1] + (-1,))
    edges = xp.concatenate([xp.zeros_like(points[..., :1]), xp.sort(points, axis=-1)], axis=-1)
    x, w = (xp.asarray(v, dtype=mu.dtype) for v in _gauss_legendre(nodes))
    half = 0.5 * (edges[..., 1:] - edges[..., :-1])
    middle = 0.5 * (edges[..., 1:] + edges[..., :-1])
    t = middle[..., None] + half[..., None] * x
    weight = half[..., None] * w
    flat = mu.shape[:-1] + (-1,)
    return xp.reshape(t, flat), xp.reshape(weight, flat)


def _log_factors(t, mu, sigma):
    """log phi_k(t) and log Phi_k(t), (..., K-1, T), for t (..., T)."""
    xp, _ = namespace(mu)
    a = (t[..., None, :] - mu[..., None]) / sigma[..., None]
    return log_normal_pdf(a) - xp.log(sigma)[..., None], log_ndtr(a)


def _log(weight, xp):
    """log of quadrature weights; an empty panel's 0 becomes -inf without a warning."""
    return xp.where(weight > 0, xp.log(xp.where(weight > 0, weight, 1)), -xp.inf)


def _log_probs(mu, sigma, nodes):
    xp, _ = namespace(mu)
    t, weight = _grid(mu, sigma, nodes, xp)
    log_phi, log_Phi = _log_factors(t, mu, sigma)
    total = xp.sum(log_Phi, axis=-2, keepdims=True)
    head = logsumexp(_log(weight, xp)[..., None, :] + log_phi + (total - log_Phi))
    last = xp.sum(log_ndtr(-mu / sigma), axis=-1, keepdims=True)
    return xp.concatenate([head, last], axis=-1)


def log_probs(mu, sigma, nodes=NODES):
    """log P (..., K) from mu, sigma (..., K-1). Computed in float64, returned in the dtype of mu.

    Raises ValueError for sigma <= 0 or input that is not finite, ArithmeticError where the quadrature's
    probabilities do not sum to 1 within 1e-6: nothing is renormalised.
    """
    xp, mu64, sigma64 = _double(mu, sigma)
    out = _in_chunks(lambda m, s: _log_probs(m, s, nodes), mu64, sigma64, nodes)
    off = xp.abs(xp.sum(xp.exp(out), axis=-1) - 1)
    worst = float(xp.max(off)) if off.size else 0.0
    if not worst <= SUM_TOLERANCE:
        raise ArithmeticError(f"Prop. 2: the quadrature's probabilities sum to 1 only within {worst:.2e}")
    return out.astype(mu.dtype)


def probs(mu, sigma, nodes=NODES):
    """P (..., K)."""
    xp, _ = namespace(mu)
    return xp.exp(log_probs(mu, sigma, nodes))


def fluxes(mu, sigma, nodes=NODES):
    """(A, A', B): A (..., K-1, K-1) symmetric, A'[j, k] with the factor (t - mu_j)/sigma_j, B (..., K-1).

    The diagonals of A and A' carry no meaning. Float64 arithmetic, one grid point at a time summed as a matrix product.
    """
    xp, mu, sigma = _double(mu, sigma)
    t, weight = _grid(mu, sigma, nodes, xp)
    log_phi, log_Phi = _log_factors(t, mu, sigma)
    # phi_j phi_k prod_{i!=j,k} Phi_i = e^S r_j r_k with r = phi/Phi and S = sum_i log Phi_i; the root of e^S goes to
    # either factor so that neither overflows where Phi is tiny
    root = 0.5 * xp.sum(log_Phi, axis=-2, keepdims=True)
    left = xp.exp(root + log_phi - log_Phi)
    a = (t[..., None, :] - mu[..., None]) / sigma[..., None]
    right = xp.swapaxes(left * weight[..., None, :], -1, -2)
    z = -mu / sigma
    log_b = xp.sum(log_ndtr(z), axis=-1, keepdims=True) + xp.log(log_ndtr_grad(z) / sigma)
    return xp.matmul(left, right), xp.matmul(left * a, right), xp.exp(log_b)


def jacobian(mu, sigma, nodes=NODES):
    """(dP/dmu, dP/dsigma), each (..., K, K-1): rows are categories, columns parameters."""
    xp, _ = namespace(mu)
    A, A_scaled, B = fluxes(mu, sigma, nodes)
    eye = xp.eye(mu.shape[-1], dtype=A.dtype)
    z = -mu / sigma

    def assemble(flux, boundary):  # flux[j, k] is lost by k and won by j when parameter j grows
        flux = flux * (1 - eye)
        head = eye * (xp.sum(flux, axis=-1) + boundary)[..., None, :] - xp.swapaxes(flux, -1, -2)
        return xp.concatenate([head, -boundary[..., None, :]], axis=-2).astype(mu.dtype)

    return assemble(A, B), assemble(A_scaled, z * B)


def vjp(mu, sigma, p_bar, nodes=NODES):
    """(mu_bar, sigma_bar) of a cotangent (..., K) on P. Differences of cotangents are taken before the sum:

    mu_bar_j = sum_{k!=j} (p_bar_j - p_bar_k) A_jk + (p_bar_j - p_bar_K) B_j;  sigma_bar_j with A', (-mu_j/sigma_j) B_j.
    """
    xp, mu64, sigma64 = _double(mu, sigma)

    def piece(m, s, bar):
        A, A_scaled, B = fluxes(m, s, nodes)
        difference = bar[..., :-1, None] - bar[..., None, :-1]
        boundary = (bar[..., :-1] - bar[..., -1:]) * B
        mu_bar = xp.sum(difference * A, axis=-1) + boundary
        sigma_bar = xp.sum(difference * A_scaled, axis=-1) - m / s * boundary
        return xp.stack([mu_bar, sigma_bar], axis=-2)

    both = _in_chunks(piece, mu64, sigma64, nodes, p_bar.astype(mu64.dtype))
    return both[..., 0, :].astype(mu.dtype), both[..., 1, :].astype(mu.dtype)


def _double(mu, sigma):
    xp, _ = namespace(mu, sigma)
    mu64, sigma64 = mu.astype(xp.float64), sigma.astype(xp.float64)
    if not bool(xp.all(xp.isfinite(mu64))):
        raise ValueError("mu must be finite, got NaN or infinity")
    if not bool(xp.all(xp.isfinite(sigma64) & (sigma64 > 0))):
        raise ValueError("sigma must be finite and greater than 0 (it is a standard deviation)")
    mu64, sigma64 = xp.broadcast_arrays(mu64, sigma64)
    return xp, mu64, sigma64


def _in_chunks(function, mu, sigma, nodes, *more):
    """function over the leading axes in pieces, so that temporaries (K-1, T) a law stay bounded."""
    xp, _ = namespace(mu)
    lead, k = mu.shape[:-1], mu.shape[-1]
    size = max(1, CHUNK // (k * len(BREAKS) * k * nodes))
    flat = [xp.reshape(array, (-1, array.shape[-1])) for array in (mu, sigma, *more)]
    if flat[0].shape[0] <= size:
        out = function(*flat)
    else:
        steps = range(0, flat[0].shape[0], size)
        out = xp.concatenate([function(*(array[i : i + size] for array in flat)) for i in steps], axis=0)
    return xp.reshape(out, lead + out.shape[1:])
