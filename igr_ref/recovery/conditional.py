"""Relaxed samples of IGR given their discrete value, y | h(y) = b (Prop. 2); `conditional_gumbel` has zeta | b.

Uniforms v (..., K-1); u_j = (m - mu_j)/sigma_j, m an upper bound of every other coordinate:
    H = K      m = 0.        H = k < K      y_k = m with Gamma(m) = v_k P_k (`_winner`).
    others     y_j = mu_j + sigma_j q_j,  q_j = Phi^-1(v_j Phi(u_j)),
               dy_j = r_j dm + (1 - r_j) dmu_j + (q_j - r_j u_j) dsigma_j,  r_j = v_j phi(u_j)/phi(q_j).
v is held fixed in every derivative. v may also be the one at which the conditional sample is the unconditional one:
`coupled`, which needs only its value.

Rounding. m is rounded to a positive number, everything else to a number below m (for H = K: below 0), so h(y) is b for
every v in (0, 1). A coordinate moves by no more than its own rounding error and two units in the last place of m, so
the derivatives stand.
"""

from __future__ import annotations

import numpy

from ..backend import namespace
from ._conditions import checked, checked_uniforms, rows
from ._normal import DEGREE, END, phi_and_Phi
from ._tails import below, l_change, l_slope, log_ndtr_and_grad, ndtri_exp
from ._winner import maxima

HIGH = 12.0  # Phi is 1 there, and phi still a float32
SMALL = 1e10  # times the smallest normal number: v Phi(u) above it has kept its digits
FAR = 1e4  # a law whose -u stay below it keeps at least eight digits of q - r u


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
