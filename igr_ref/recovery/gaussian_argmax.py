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

from ..backend import namespace
from ..numerics import log_ndtr, log_normal_pdf
from ._checks import double, with_cotangent
from ._quadrature import gauss_legendre_points, subdivide
from ._rare import log_integrals

REACH = 8.0  # standard deviations on either side of mu_j that matter: Phi(-8) = 6e-16
NODES = 16  # Gauss-Legendre nodes in each panel
WIDTH = 6.0  # width of a panel in units of the local scale; with 16 nodes a Gaussian factor is integrated to 1e-13
SMALL = 1e-6  # probabilities below it are integrated one by one for relative accuracy
SUM_TOLERANCE = 1e-8
CHUNK = 250_000  # elements of the largest temporary array: a few of them fit a processor's cache


def grid(mu, sigma, nodes=NODES):
    """(t, weight, edges) on [0, inf) for laws mu, sigma (..., K-1), one grid for all k: float64 arrays

    t, weight (..., T) and edges (..., T/nodes + 1), non-decreasing. Panel p holds the `nodes` Gauss-Legendre points
    t[..., p nodes : (p+1) nodes] of [edges[..., p], edges[..., p+1]]; a law that needs fewer panels than the others has
    empty ones at the end, of weight 0. int f = sum(weight f) for every f made of phi_j and Phi_j that contains each j.

    (1) max_j y_j lies below low = max_j (mu_j - 8 sigma_j) with probability < 1e-15, and above mu_j + 8 sigma_j no
        Phi_j differs from 1 any more: the panels cover [low, max_j (mu_j + 8 sigma_j)].
    (2) Phi_j and phi_j have -(log)'' <= 1/sigma_j^2. On low <= t <= mu_j + 8 sigma_j the integrands thus vary like a
        Gaussian of standard deviation s(t) = (sum over the j with t < mu_j + 8 sigma_j of 1/sigma_j^2)^{-1/2} or wider.
        s is constant between two ends mu_j + 8 sigma_j; there the panels are at most WIDTH s wide.
    """
    xp, _ = namespace(mu)
    mu, sigma = mu.astype(xp.float64), sigma.astype(xp.float64)
    low = xp.maximum(xp.max(mu - REACH * sigma, axis=-1, keepdims=True), 0)
    ends = xp.maximum(mu + REACH * sigma, low)
    order = xp.sort(ends, axis=-1)
    # 1/s^2 of the piece that ends at order_i: those j that are still rising there
    rate = xp.sum(xp.where(ends[..., None, :] >= order[..., :, None], (sigma**-2)[..., None, :], 0), axis=-1)
    edges = subdivide(xp.concatenate([low, order], axis=-1), xp.sqrt(rate) / WIDTH)
    return *gauss_legendre_points(edges, nodes), edges


def _log_factors(t, mu, sigma):
    """a = (t - mu_k)/sigma_k, log phi_k(t) and log Phi_k(t), (..., K-1, T), for t (..., T)."""
    xp, _ = namespace(mu)
    a = (t[..., None, :] - mu[..., None]) / sigma[..., None]
    return a, log_normal_pdf(a) - xp.log(sigma)[..., None], log_ndtr(a)


# ---- probabilities -----------------------------------------------------------------------------------------------


def integrate(mu, sigma, t, weight):
    """P_k, k < K (..., K-1), with the points and weights of `grid`."""
    xp, _ = namespace(mu)
    _, log_phi, log_Phi = _log_factors(t, mu, sigma)
    integrand = xp.exp(log_phi + xp.sum(log_Phi, axis=-2, keepdims=True) - log_Phi)
    return xp.sum(integrand * weight[..., None, :], axis=-1)


def _log_probs(mu, sigma, nodes, accuracy):
    xp, _ = namespace(mu)
    t, weight, _ = grid(mu, sigma, nodes)
    head = integrate(mu, sigma, t, weight)
    positive = head > 0
    log_head = xp.where(positive, xp.log(xp.where(positive, head, 1)), -xp.inf)
    if accuracy == "relative":
        log_head = log_integrals(mu, sigma, head < SMALL, log_head)
    last = xp.sum(log_ndtr(-mu / sigma), axis=-1, keepdims=True)
    return xp.concatenate([log_head, last], axis=-1)


def log_probs(mu, sigma, nodes=NODES, accuracy="relative"):
    """log P (..., K) from mu, sigma (..., K-1). Computed in float64, returned in the dtype of mu.

    accuracy "relative": every P_k to 1e-7 of itself, however small (its logarithm is right below 1e-308 too).
    "absolute": P to 1e-12; the logarithm of P_k < 1e-12 then means nothing and may be -inf. About a third of the time
    where most categories are rare; enough for a law whose categories are only weighted by, or drawn with, P.
    P_K is exact in both.

    Raises ValueError for sigma <= 0 or input that is not finite, ArithmeticError where the quadrature's
    probabilities do not sum to 1 within 1e-8: nothing is renormalised.
    """
    if accuracy not in ("relative", "absolute"):
        raise ValueError(f"accuracy must be 'relative' or 'absolute', got {accuracy!r}")
    xp, mu64, sigma64 = double(mu, sigma)
    out = _in_chunks(lambda m, s: _log_probs(m, s, nodes, accuracy), mu64, sigma64, nodes)
    off = xp.abs(xp.sum(xp.exp(out), axis=-1) - 1)
    worst = float(xp.max(off)) if off.size else 0.0
    if not worst <= SUM_TOLERANCE:
        raise ArithmeticError(f"Prop. 2: the quadrature's probabilities sum to 1 only within {worst:.2e}")
    return out.astype(mu.dtype)


def probs(mu, sigma, nodes=NODES):
    """P (..., K), with absolute accuracy."""
    xp, _ = namespace(mu)
    return xp.exp(log_probs(mu, sigma, nodes, accuracy="absolute"))


# ---- derivatives -------------------------------------------------------------------------------------------------


def fluxes(mu, sigma, nodes=NODES):
    """(A, A', B): A (..., K-1, K-1) symmetric, A'[j, k] with the factor (t - mu_j)/sigma_j, B (..., K-1), in float64.

    The diagonals of A and A' carry no meaning. All grid points of a law are summed as one matrix product.
    """
    xp, mu, sigma = double(mu, sigma)
    n = mu.shape[-1]

    def piece(m, s):
        A, A_scaled, B = _fluxes(m, s, nodes)
        return xp.concatenate([A, A_scaled, B[..., None, :]], axis=-2)

    both = _in_chunks(piece, mu, sigma, nodes)
    return both[..., :n, :], both[..., n : 2 * n, :], both[..., 2 * n, :]


def _fluxes(mu, sigma, nodes):
    xp, _ = namespace(mu)
    t, weight, _ = grid(mu, sigma, nodes)
    a, log_phi, log_Phi = _log_factors(t, mu, sigma)
    # phi_j phi_k prod_{i!=j,k} Phi_i = e^S r_j r_k with r = phi/Phi and S = sum_i log Phi_i; the root of e^S goes to
    # either factor so that neither overflows where Phi is tiny
    root = 0.5 * xp.sum(log_Phi, axis=-2, keepdims=True)
    left = xp.exp(root + log_phi - log_Phi)
    right = xp.swapaxes(left * weight[..., None, :], -1, -2)
    z = -mu / sigma
    log_last = log_ndtr(z)
    log_b = xp.sum(log_last, axis=-1, keepdims=True) - log_last + log_normal_pdf(z) - xp.log(sigma)
    return xp.matmul(left, right), xp.matmul(left * a, right), xp.exp(log_b)


def jacobian(mu, sigma, nodes=NODES):
    """(dP/dmu, dP/dsigma), each (..., K, K-1): rows are categories, columns parameters. Absolute error below 1e-10."""
    xp, mu64, sigma64 = double(mu, sigma)
    A, A_scaled, B = fluxes(mu64, sigma64, nodes)
    eye = xp.eye(A.shape[-1], dtype=A.dtype)

    def assemble(flux, boundary):  # flux[j, k] is lost by k and won by j when parameter j grows
        flux = flux * (1 - eye)
        head = eye * (xp.sum(flux, axis=-1) + boundary)[..., None, :] - xp.swapaxes(flux, -1, -2)
        return xp.concatenate([head, -boundary[..., None, :]], axis=-2).astype(mu.dtype)

    return assemble(A, B), assemble(A_scaled, -mu64 / sigma64 * B)


def vjp(mu, sigma, p_bar, nodes=NODES):
    """(mu_bar, sigma_bar) of a cotangent (..., K) on P. Differences of cotangents are taken before the sum:

    mu_bar_j = sum_{k!=j} (p_bar_j - p_bar_k) A_jk + (p_bar_j - p_bar_K) B_j;  sigma_bar_j with A', (-mu_j/sigma_j) B_j.
    """
    xp, mu64, sigma64 = double(mu, sigma)
    p_bar, mu64, sigma64 = with_cotangent(p_bar, mu64, sigma64)

    def piece(m, s, bar):
        A, A_scaled, B = _fluxes(m, s, nodes)
        difference = bar[..., :-1, None] - bar[..., None, :-1]
        boundary = (bar[..., :-1] - bar[..., -1:]) * B
        mu_bar = xp.sum(difference * A, axis=-1) + boundary
        sigma_bar = xp.sum(difference * A_scaled, axis=-1) - m / s * boundary
        return xp.stack([mu_bar, sigma_bar], axis=-2)

    both = _in_chunks(piece, mu64, sigma64, nodes, p_bar)
    return both[..., 0, :].astype(mu.dtype), both[..., 1, :].astype(mu.dtype)


# ---- shapes ------------------------------------------------------------------------------------------------------


def _in_chunks(function, mu, sigma, nodes, *more):
    """function over the leading axes in pieces, so that temporaries (K-1, T) a law stay bounded."""
    xp, _ = namespace(mu)
    lead, k = mu.shape[:-1], mu.shape[-1]
    size = max(1, int(CHUNK / (k * 4 * (k + 1) ** 0.5 * nodes)))  # about 4 sqrt(K) panels a law
    flat = [xp.reshape(array, (-1, array.shape[-1])) for array in (mu, sigma, *more)]
    if flat[0].shape[0] <= size:
        out = function(*flat)
    else:
        steps = range(0, flat[0].shape[0], size)
        out = xp.concatenate([function(*(array[i : i + size] for array in flat)) for i in steps], axis=0)
    return xp.reshape(out, lead + out.shape[1:])
