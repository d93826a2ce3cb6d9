"""Gumbel-Softmax samples given their discrete value: zeta = log alpha + G given argmax zeta = b (appendix D).

Uniforms v (..., K), E = -log v, theta = softmax(log_alpha), b = e_i:
    zeta_i = -log E_i, dzeta_i = 0;  zeta_k = -log D_k,  D_k = E_k/theta_k + E_i,  dzeta_k = (1 - E_i/D_k) dlog theta_k.
v is held fixed in every derivative. v may also be the one at which the conditional sample is the unconditional one:
`coupled`, which needs only its value. zeta_k, k != i, is rounded to a number below zeta_i, so argmax zeta is b for
every v in (0, 1).
"""

from __future__ import annotations

from ..backend import namespace
from ..numerics import log_softmax, log_softmax_vjp, sigmoid
from ..transforms.base import check_one_hot
from ._conditions import checked_uniforms
from ._tails import below


def sample(log_alpha, b, v):
    """(zeta (..., K), saved) with argmax zeta = b; log_alpha is normalised inside. In the dtype of log_alpha.

    Right for theta as small as log_alpha can express: no theta, and no E/theta, is formed.
    ValueError unless b (..., K) is one-hot and v (..., K) lies in (0, 1).
    """
    xp, _ = namespace(log_alpha, v)
    for name, array in (("b", b), ("v", v)):
        if array.ndim == 0 or array.shape[-1] != log_alpha.shape[-1]:
            k = log_alpha.shape[-1]
            raise ValueError(f"{name} must have the {k} categories of log_alpha, got shape {array.shape}")
    check_one_hot(b)
    checked_uniforms(v)
    log_theta = log_softmax(log_alpha)
    log_e = xp.log(-xp.log(v))
    log_e_i = xp.sum(xp.where(b > 0, log_e, 0), axis=-1, keepdims=True)
    scaled = log_e - log_theta
    zeta = xp.where(b > 0, -log_e, below(-xp.logaddexp(scaled, log_e_i), -log_e_i))
    slope = xp.where(b > 0, 0, sigmoid(scaled - log_e_i))
    return zeta.astype(log_alpha.dtype), (log_theta, slope.astype(log_alpha.dtype))


def coupled(log_alpha, b, zeta):
    """`saved` of the conditional sample that equals zeta = log theta + G, a point with argmax zeta = b.

    1 - E_i/D_k = 1 - e^{zeta_k - zeta_i}. Whether argmax zeta is b is not looked at.
    """
    xp, _ = namespace(log_alpha, zeta)
    top = xp.sum(xp.where(b > 0, zeta, 0), axis=-1, keepdims=True)
    return log_softmax(log_alpha), -xp.expm1(zeta - top)


def pullback(saved, zeta_bar):
    """log_alpha_bar (..., K) of a cotangent on zeta."""
    log_theta, slope = saved
    return log_softmax_vjp(log_theta, slope * zeta_bar)


def pushforward(saved, log_alpha_dot):
    """The tangent of zeta along log_alpha_dot."""
    xp, _ = namespace(log_alpha_dot)
    log_theta, slope = saved
    return slope * (log_alpha_dot - xp.sum(xp.exp(log_theta) * log_alpha_dot, axis=-1, keepdims=True))
