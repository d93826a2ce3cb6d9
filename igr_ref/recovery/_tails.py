"""The two tails of Phi: log Phi with its derivative, the inverse of log Phi, and rounding below a bound."""

from __future__ import annotations

import numpy

from ..backend import namespace
from ..numerics import LOG_2, LOG_2PI, SQRT_2, SQRT_2_OVER_PI


def log_ndtr_and_grad(a):
    """(log Phi(a), phi(a)/Phi(a)) from one erfcx. With E = erfcx(|a|/sqrt 2):

    a < 0:  log(E/2) - a^2/2  and  sqrt(2/pi)/E;     a >= 0, with Q = E e^{-a^2/2}/2:  log1p(-Q)  and  phi(a)/(1 - Q).
    """
    xp, special = namespace(a)
    scaled = special.erfcx(xp.abs(a) / SQRT_2)
    square = -0.5 * (a * a)
    bell = xp.exp(square)
    upper = 0.5 * scaled * bell
    negative = a < 0
    value = xp.where(negative, xp.log(scaled) - LOG_2 + square, xp.log1p(-upper))
    return value, SQRT_2_OVER_PI * xp.where(negative, 1 / scaled, 0.5 * bell / (1 - upper))


def l_slope(a):
    """l'(a) = r(a) + a for a < 0, l(a) = log Phi(a) + a^2/2, r = phi/Phi: below -1e3 by its expansion in 1/a."""
    xp, _ = namespace(a)
    x = 1 / xp.maximum(-a, 1.0)
    series = x * (1 - x * x * (2 - 10 * x * x))
    near = a > -1e3
    return xp.where(near, log_ndtr_and_grad(xp.where(near, a, -1.0))[1] + xp.where(near, a, -1.0), series)


def l_change(a, b):
    """l(b) - l(a) for a, b <= 0."""
    xp, special = namespace(a, b)
    return xp.log(special.erfcx(-b / SQRT_2)) - xp.log(special.erfcx(-a / SQRT_2))


def ndtri_exp(log_p):
    """x with log Phi(x) = log_p < 0, in float64. Its derivative is Phi(x)/phi(x).

    Above -700 through Phi itself, from whichever tail is the smaller; below by three Newton steps on log Phi from its
    asymptotic form -x^2/2 - log(-x) - log(2 pi)/2.
    """
    xp, special = namespace(log_p)
    upper, far = log_p > -LOG_2, log_p < -700
    out = xp.where(
        upper,
        -special.ndtri(-xp.expm1(xp.where(upper, log_p, -LOG_2))),
        special.ndtri(xp.exp(xp.where(upper | far, -LOG_2, log_p))),
    )
    if not bool(xp.any(far)):
        return out
    square = -2 * xp.where(far, log_p, -700) - LOG_2PI
    x = -xp.sqrt(square - xp.log(square))
    for _ in range(3):
        value, grad = log_ndtr_and_grad(x)
        x = x - (value - xp.where(far, log_p, -700)) / grad
    return xp.where(far, x, out)


def below(x, bound):
    """x rounded to a number below `bound`: at most two units in the last place of the bound lower."""
    xp, _ = namespace(x, bound)
    about = numpy.finfo(x.dtype)
    return xp.minimum(x, bound - about.eps * xp.abs(bound) - about.tiny)
