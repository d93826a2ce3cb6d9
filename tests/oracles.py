"""Slow, obvious versions of our formulas, written from the paper or a textbook and sharing no code with igr_ref.

Arithmetic in numpy.longdouble (64-bit mantissa, range 1e-4932..1e4932 on x86) wherever rounding would matter.
"""

from __future__ import annotations

import numpy

LONG = numpy.longdouble


def softmax_pp(y, temperature, delta=1.0):
    """eq. 15, all K coordinates, maximum taken out."""
    y, t = LONG(y), LONG(temperature)
    logits = numpy.concatenate([y / t, numpy.full(y.shape[:-1] + (1,), numpy.log(LONG(delta)))], axis=-1)
    e = numpy.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_bar(z, z_bar):
    """x_bar_j = z_j sum_k z_k (z_bar_j - z_bar_k), every pair formed."""
    z, a = LONG(z), LONG(z_bar)
    return z * numpy.sum(z[..., None, :] * (a[..., :, None] - a[..., None, :]), axis=-1)


def softmax_pp_bar(y, temperature, delta, z_bar, log_det_bar):
    """Pullback of eq. 15 and of the logarithm of eq. 26, from eqs. 23 and 24 entry by entry."""
    z = softmax_pp(y, temperature, delta)
    k = z.shape[-1]
    out = softmax_bar(z, z_bar)[..., :-1]
    out = out + LONG(log_det_bar)[..., None] * (1 - k * z[..., :-1])
    return out / LONG(temperature)


def sticks(y):
    """eq. 16 by its product, one coordinate at a time, remainder last."""
    u = 1 / (1 + numpy.exp(-LONG(y)))
    rest = 1 / (1 + numpy.exp(LONG(y)))
    out, left = [], numpy.ones_like(u[..., 0])
    for i in range(u.shape[-1]):
        out.append(u[..., i] * left)
        left = left * rest[..., i]
    return numpy.stack([*out, left], axis=-1)


def sticks_jacobian(y):
    """dw_k/dy_i for k = 1..K (the remainder too), i < K, by the product rule."""
    y = LONG(y)
    u, rest = 1 / (1 + numpy.exp(-y)), 1 / (1 + numpy.exp(y))
    w = sticks(y)
    n = y.shape[-1]
    out = numpy.zeros(y.shape[:-1] + (n + 1, n), LONG)
    for i in range(n):
        out[..., i, i] = w[..., i] * rest[..., i]
        out[..., i + 1 :, i] = -w[..., i + 1 :] * u[..., i, None]
    return out


def sticks_bar(y, w_bar, log_det_bar):
    """Pullback of eq. 16 through the explicit Jacobian, and of its log-determinant."""
    y = LONG(y)
    u = 1 / (1 + numpy.exp(-y))
    left = numpy.arange(y.shape[-1], 0, -1)
    bar = numpy.einsum("...ki,...k->...i", sticks_jacobian(y), LONG(w_bar))
    return bar + LONG(log_det_bar)[..., None] * (1 - (left + 1) * u)


def log_normal(mu, log_sigma, y):
    """sum_k log N(y_k | mu_k, sigma_k^2) with sigma formed and squared."""
    mu, sigma, y = LONG(mu), numpy.exp(LONG(log_sigma)), LONG(y)
    return numpy.sum(-((y - mu) ** 2) / (2 * sigma**2) - numpy.log(sigma * numpy.sqrt(2 * LONG(numpy.pi))), axis=-1)


def gumbel_softmax_z(log_alpha, gumbel, temperature):
    """eq. 5."""
    logits = (LONG(log_alpha) + LONG(gumbel)) / LONG(temperature)
    e = numpy.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def exp_concrete(log_alpha, temperature, y):
    """log of eq. 6 times prod_k z_k (the ExpConcrete density), term by term."""
    a, t, y = LONG(log_alpha), LONG(temperature), LONG(y)
    k = y.shape[-1]
    factorial = numpy.sum(numpy.log(numpy.arange(1, k, dtype=LONG)))
    tilted = a - t * y
    top = tilted.max(axis=-1)
    lse = top + numpy.log(numpy.sum(numpy.exp(tilted - top[..., None]), axis=-1))
    return factorial + (k - 1) * numpy.log(t) + tilted.sum(axis=-1) - k * lse


def exp_concrete_p(log_alpha, temperature, y):
    """softmax(log_alpha - tau y)."""
    tilted = LONG(log_alpha) - LONG(temperature) * LONG(y)
    e = numpy.exp(tilted - tilted.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
