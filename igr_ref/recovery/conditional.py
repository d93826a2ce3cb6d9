"""Relaxed samples given their discrete value: zeta | b for the Gumbel-Softmax, y | h(y) = b for IGR (Prop. 2).

IGR, uniforms v (..., K-1); u_j = (m - mu_j)/sigma_j, m an upper bound of every other coordinate:
    H = K      m = 0.        H = k < K      y_k = m with Gamma(m) = v_k P_k (`_winner`).
    others     y_j = mu_j + sigma_j q_j,  q_j = Phi^-1(v_j Phi(u_j)),
               dy_j = r_j dm + (1 - r_j) dmu_j + (q_j - r_j u_j) dsigma_j,  r_j = v_j phi(u_j)/phi(q_j).
Gumbel, uniforms v (..., K), E = -log v, theta = softmax(log_alpha), b = e_i:
    zeta_i = -log E_i, dzeta_i = 0;  zeta_k = -log D_k,  D_k = E_k/theta_k + E_i,  dzeta_k = (1 - E_i/D_k) dlog theta_k.
v is held fixed in every derivative. v may also be the one at which the conditional sample is the unconditional one:
`coupled` and `gumbel_coupled`, which need only its value.

Rounding. m is rounded to a positive number, everything else to a number below m (for H = K: below 0), so h(y) and the
argmax of zeta are b for every v in (0, 1). A coordinate moves by no more than its own rounding error and two units
in the last place of m, so the derivatives stand.
"""

from __future__ import annotations

import math

import numpy

from ..backend import namespace
from ..numerics import log_softmax, log_softmax_vjp, sigmoid
from ._normal import DEGREE, END, phi_and_Phi
from ._tails import below, l_change, l_slope, log_ndtr_and_grad, ndtri_exp
from ._winner import maxima

HIGH = 12.0  # Phi is 1 there, and phi still a float32
SMALL = 1e10  # times the smallest normal number: v Phi(u) above it has kept its digits
FAR = 1e4  # a law whose -u stay below it keeps at least eight digits of q - r u


# ---- IGR ---------------------------------------------------------------------------------------------------------


def sample(mu, sigma, b, v):
    """(y (..., K-1), saved) with h(y) = b, from mu, sigma, v (..., K-1) and one-hot b (..., K); axes broadcast.

    Computed in float64, returned in the dtype of mu. ValueError unless sigma > 0, 0 < v < 1 and b is one-hot.
    v may be as small as 1e-300; the winner's takes tenths of a second below 1e-18, which no generator draws.
    """
    xp, mu64, sigma64, b = checked(mu, sigma, b)
    mu64, sigma64, v, law = rows(mu64, sigma64, b, checked_uniforms(v), "v")
    m, dm = _maximum(mu64, sigma64, b, law, v=v)
    return below_maximum(mu64, sigma64, b, v, m, dm, mu.dtype)


def coupled(mu, sigma, b, y):
    """`saved` of the conditional sample that equals y (..., K-1), a point with h(y) = b."""
    xp, mu64, sigma64, b = checked(mu, sigma, b)
    mu64, sigma64, y, law = rows(mu64, sigma64, b, y.astype(xp.float64), "y")
    m, dm = _maximum(mu64, sigma64, b, law, y=y)
    return coupled_below(mu64, sigma64, b, y, m, dm, mu.dtype)


def below_maximum(mu, sigma, b, v, m, dm, dtype, degree=DEGREE):
    """(y, saved) in dtype: all coordinates but the winner's, given m (..., 1) and dm; floating arrays of one shape.

    degree: of the polynomial for Mills' ratio.
    """
    xp, _ = namespace(mu)
    u = (m - mu) / sigma
    q, r = _quantiles_below(u, v, degree)
    square = 2 * (l_change(*(xp.minimum(a, -FAR) for a in (u, q))) - xp.log(v)) if _far(u) else None
    won = b[..., :-1] > 0
    top = xp.where(b[..., -1:] > 0, 0, xp.maximum(m.astype(dtype), numpy.finfo(dtype).tiny))
    y = xp.where(won, top, below((mu + sigma * q).astype(dtype), top))
    return y, _saved(dtype, won, u, q, r, dm, square)


def coupled_below(mu, sigma, b, y, m, dm, dtype, degree=None):
    """`saved` for given y; degree: of the polynomial for Mills' ratio, None for the ratio itself."""
    xp, _ = namespace(mu)
    if not bool(xp.all(y <= m)):
        raise ValueError("y must be a point with h(y) = b")
    u, q = (m - mu) / sigma, (y - mu) / sigma
    high = q.size > 0 and bool(q.max() > HIGH)
    near_u, near_q = (xp.where(q > HIGH, 0, at) if high else at for at in (u, q))
    if degree is None or bool(xp.any(q < -END)):  # q <= u
        r = log_ndtr_and_grad(near_u)[1] / log_ndtr_and_grad(near_q)[1]
    else:
        of_u, of_q = (phi_and_Phi(at, degree) for at in (near_u, near_q))
        r = of_u[0] / of_u[1] * (of_q[1] / of_q[0])
    if high:  # Phi(q) = Phi(u) = 1; phi(q) may have underflowed
        r = xp.where(q > HIGH, xp.exp(0.5 * xp.where(q > HIGH, (q - u) * (q + u), 0)), r)
    return _saved(dtype, b[..., :-1] > 0, u, q, r, dm, (y - m) / sigma * (q + u) if _far(u) else None)


def _quantiles_below(u, v, degree=DEGREE):
    """(q, r): q = Phi^-1(v Phi(u)) and r = v phi(u)/phi(q) = (phi/Phi)(u) / (phi/Phi)(q).

    With the smaller tail Phi(-|u|), neither v Phi(u) nor 1 - v Phi(u) = (1 - v) + v Phi(-u) is rounded near 0: q is the
    quantile of the smaller of the two, from its own side. Far out, and where v Phi(u) might underflow, in logarithms.
    """
    xp, special = namespace(u)
    if bool(xp.any(u < -END)):
        return _quantiles_by_logarithms(u, v)
    tail = v * phi_and_Phi(-xp.abs(u), degree)[1]
    upper = u > 0
    rest = xp.where(upper, (1 - v) + tail, 1 - tail)
    p = xp.where(upper, v - tail, tail)
    small = p < SMALL * numpy.finfo(u.dtype).tiny
    if bool(xp.any(small)):
        both = _quantiles_by_logarithms(u, v), _quantiles_below(u, xp.where(small, 0.5, v).astype(v.dtype), degree)
        return tuple(xp.where(small, far, near) for far, near in zip(*both, strict=True))
    high = p > rest
    q = special.ndtri(xp.minimum(p, rest)) * xp.subtract(1, 2 * high, dtype=u.dtype)
    return q, v * xp.exp(0.5 * (q - u) * (q + u))


def _quantiles_by_logarithms(u, v):
    xp, _ = namespace(u)
    log_Phi, ratio = log_ndtr_and_grad(u.astype("float64"))
    q = ndtri_exp(xp.log(v) + log_Phi)
    return q, ratio / log_ndtr_and_grad(q)[1]


def pullback(saved, y_bar):
    """(mu_bar, sigma_bar) (..., K-1) of a cotangent on y."""
    r, rest, by_sigma, dm_mu, dm_sigma = saved
    xp, _ = namespace(r)
    m_bar = xp.sum(r * y_bar, axis=-1, keepdims=True)
    return rest * y_bar + m_bar * dm_mu, by_sigma * y_bar + m_bar * dm_sigma


def pushforward(saved, mu_dot, sigma_dot):
    """The tangent y_dot (..., K-1) of y along (mu_dot, sigma_dot)."""
    r, rest, by_sigma, dm_mu, dm_sigma = saved
    xp, _ = namespace(r)
    m_dot = xp.sum(dm_mu * mu_dot + dm_sigma * sigma_dot, axis=-1, keepdims=True)
    return r * m_dot + rest * mu_dot + by_sigma * sigma_dot


def _far(u):
    return u.size > 0 and bool(-FAR > u.min())


def _saved(dtype, won, u, q, r, dm, square):
    """r, 1 - r and q - r u; the winner is m itself: r = 1 and no derivative of its own. square: q^2 - u^2, if `_far`.

    Where u is large and negative q - r u would be rounding error: r = (l'(u) - u)/(l'(q) - q), see `l_slope`, makes it
    (q l'(q) - u l'(u) - square)/(l'(q) - q), and 2 log v = 2 (l(q) - l(u)) - square.
    """
    xp, _ = namespace(u)
    r = xp.where(won, 1, r)
    n = u.shape[-1]
    by_sigma = q - r * u
    if square is not None:
        far = u < -FAR
        u_far, q_far = (xp.where(far, a, -FAR) for a in (u, q))
        slope = l_slope(q_far)
        exact = (q_far * slope - u_far * l_slope(u_far) - square) / (slope - q_far)
        by_sigma = xp.where(far, exact, by_sigma)
    parts = (r, 1 - r, xp.where(won, 0, by_sigma), dm[..., :n], dm[..., n:])
    return tuple(part.astype(dtype) for part in parts)


def checked(mu, sigma, b, dtype="float64"):
    """(xp, mu, sigma, b): mu and sigma in `dtype`, broadcast together. ValueError says what is wrong."""
    xp, _ = namespace(mu, sigma, b)
    mu64, sigma64 = xp.broadcast_arrays(mu.astype(dtype), sigma.astype(dtype))
    if not bool(xp.all(xp.isfinite(mu64))):
        raise ValueError("mu must be finite, got NaN or infinity")
    if not bool(xp.all(xp.isfinite(sigma64) & (sigma64 > 0))):
        raise ValueError("sigma must be finite and greater than 0 (it is a standard deviation)")
    if b.shape[-1] != mu64.shape[-1] + 1:
        raise ValueError(f"b must have one category more than mu, {mu64.shape[-1] + 1}; got shape {b.shape}")
    _check_one_hot(b, xp)
    return xp, mu64, sigma64, b


def checked_uniforms(v, dtype="float64"):
    xp, _ = namespace(v)
    if not bool(xp.all((v > 0) & (v < 1))):
        raise ValueError("v must lie strictly between 0 and 1")
    return v.astype(dtype)


def _check_one_hot(b, xp):
    if not bool(xp.all((b == 0) | (b == 1)) & xp.all(xp.sum(b, axis=-1) == 1)):
        raise ValueError("b must be one-hot over its last axis")


def rows(mu, sigma, b, noise, name):
    """mu, sigma, noise broadcast to one shape, and for every draw the number of its law (shared laws are solved once).

    b keeps its shape: what it lacks in leading axes, `where` adds.
    """
    xp, _ = namespace(mu)
    if noise.shape[-1] != mu.shape[-1]:
        raise ValueError(f"{name} must have the {mu.shape[-1]} coordinates of mu, got shape {noise.shape}")
    lead = numpy.broadcast_shapes(mu.shape[:-1], b.shape[:-1], noise.shape[:-1])
    law = xp.broadcast_to(xp.reshape(xp.arange(math.prod(mu.shape[:-1])), mu.shape[:-1]), lead)
    shape = (*lead, mu.shape[-1])
    return *(xp.broadcast_to(array, shape) for array in (mu, sigma, noise)), law


def _maximum(mu, sigma, b, law, v=None, y=None):
    """(m (..., 1), dm (..., 2(K-1)) by mu and sigma): zeros where H = K."""
    xp, _ = namespace(mu)
    lead, n = mu.shape[:-1], mu.shape[-1]
    k = xp.reshape(xp.broadcast_to(xp.argmax(b, axis=-1), lead), (-1,))
    mu, sigma, noise = (xp.reshape(array, (-1, n)) for array in (mu, sigma, y if v is None else v))
    draws = xp.nonzero(k < n)[0]
    given = noise[draws, k[draws]]
    kwargs = {"m": given} if v is None else {"v": given}
    m, dm = xp.zeros(k.shape), xp.zeros((k.size, 2 * n))
    m[draws], dm[draws] = maxima(mu[draws], sigma[draws], xp.reshape(law, (-1,))[draws], k[draws], **kwargs)
    return xp.reshape(m, (*lead, 1)), xp.reshape(dm, (*lead, 2 * n))


# ---- Gumbel ------------------------------------------------------------------------------------------------------


def gumbel_sample(log_alpha, b, v):
    """(zeta (..., K), saved) with argmax zeta = b; log_alpha is normalised inside. In the dtype of log_alpha.

    Right for theta as small as log_alpha can express: no theta, and no E/theta, is formed.
    ValueError unless b (..., K) is one-hot and v (..., K) lies in (0, 1).
    """
    xp, _ = namespace(log_alpha, v)
    for name, array in (("b", b), ("v", v)):
        if array.ndim == 0 or array.shape[-1] != log_alpha.shape[-1]:
            k = log_alpha.shape[-1]
            raise ValueError(f"{name} must have the {k} categories of log_alpha, got shape {array.shape}")
    _check_one_hot(b, xp)
    checked_uniforms(v)
    log_theta = log_softmax(log_alpha)
    log_e = xp.log(-xp.log(v))
    log_e_i = xp.sum(xp.where(b > 0, log_e, 0), axis=-1, keepdims=True)
    scaled = log_e - log_theta
    zeta = xp.where(b > 0, -log_e, below(-xp.logaddexp(scaled, log_e_i), -log_e_i))
    slope = xp.where(b > 0, 0, sigmoid(scaled - log_e_i))
    return zeta.astype(log_alpha.dtype), (log_theta, slope.astype(log_alpha.dtype))


def gumbel_coupled(log_alpha, b, zeta):
    """`saved` of the conditional sample that equals zeta = log theta + G, a point with argmax zeta = b.

    1 - E_i/D_k = 1 - e^{zeta_k - zeta_i}.
    """
    xp, _ = namespace(log_alpha, zeta)
    top = xp.sum(xp.where(b > 0, zeta, 0), axis=-1, keepdims=True)
    return log_softmax(log_alpha), -xp.expm1(zeta - top)


def gumbel_pullback(saved, zeta_bar):
    """log_alpha_bar (..., K) of a cotangent on zeta."""
    log_theta, slope = saved
    return log_softmax_vjp(log_theta, slope * zeta_bar)


def gumbel_pushforward(saved, log_alpha_dot):
    """The tangent of zeta along log_alpha_dot."""
    xp, _ = namespace(log_alpha_dot)
    log_theta, slope = saved
    return slope * (log_alpha_dot - xp.sum(xp.exp(log_theta) * log_alpha_dot, axis=-1, keepdims=True))
