"""Slow, obvious versions of the planar flow, eq. 17 and the remainder option; they share no code with igr_ref.

Everything is analytic in its real arguments and takes complex ones too, for complex steps; arithmetic in
numpy.longdouble or numpy.clongdouble.
"""

from __future__ import annotations

import numpy

from . import oracles

LONG, CLONG = numpy.longdouble, numpy.clongdouble
STEP = 1e-300  # h of a complex step: h^2 is below longdouble's smallest number beside anything we meet


def long(x):
    return numpy.asarray(x, CLONG if numpy.iscomplexobj(x) else LONG)


def dot(a, b):
    return numpy.sum(a * b, axis=-1)


# ---- planar flow ---------------------------------------------------------------------------------------------------


def softplus(c):
    return numpy.where(numpy.real(c) > 0, c, 0) + numpy.log1p(numpy.exp(numpy.where(numpy.real(c) > 0, -c, c)))


def planar(y, w, u, b):
    """(f(y), log|det J|), the latter from (sinh^2 s + softplus)/cosh^2 s up to |s| = 1: no cancellation at psi = -1."""
    y, w, u, b = long(y), long(w), long(u), long(b)
    c, s = dot(w, u), dot(w, y) + b
    u_tilde = u + ((softplus(c) - 1 - c) / dot(w, w))[..., None] * w
    z = y + u_tilde * numpy.tanh(s)[..., None]
    near = abs(numpy.real(s)) < 1
    at = numpy.where(near, s, 0)
    inner = numpy.log(numpy.sinh(at) ** 2 + softplus(c)) - 2 * numpy.log(numpy.cosh(at))
    return z, numpy.where(near, inner, numpy.log1p((softplus(c) - 1) * (1 / numpy.cosh(numpy.where(near, 1, s))) ** 2))


def planar_bars(y, w, u, b, z_bar, log_det_bar):
    """Pullback to y, w, u, b through every partial derivative, (..., K-1, K-1) matrices by the product rule."""
    y, w, u, b, z_bar, log_det_bar = (LONG(x) for x in (y, w, u, b, z_bar, log_det_bar))
    eye = numpy.eye(y.shape[-1], dtype=LONG)
    c, n, s = dot(w, u)[..., None], dot(w, w)[..., None], (dot(w, y) + b)[..., None]
    psi, dpsi, h = softplus(c) - 1, 1 / (1 + numpy.exp(-c)), numpy.tanh(s)
    slope, curve = 1 / numpy.cosh(s) ** 2, -2 * h / numpy.cosh(s) ** 2
    det = (numpy.sinh(s) ** 2 + softplus(c)) / numpy.cosh(s) ** 2
    u_tilde = u + (psi - c) * w / n

    def outer(a, b):
        return a[..., :, None] * b[..., None, :]

    du_dw = outer((dpsi - 1) * w / n, u) + ((psi - c) / n)[..., None] * (eye - 2 * outer(w, w) / n[..., None])
    du_du = eye + outer((dpsi - 1) * w / n, w)
    dz = {
        "y": eye + outer(slope * u_tilde, w),
        "w": h[..., None] * du_dw + outer(slope * u_tilde, y),
        "u": h[..., None] * du_du,
        "b": (slope * u_tilde)[..., None],
    }
    dlog = {
        "y": curve * psi * w / det,
        "w": (curve * psi * y + slope * dpsi * u) / det,
        "u": slope * dpsi * w / det,
        "b": curve * psi / det,
    }
    bars = {
        name: numpy.einsum("...ki,...k->...i", numpy.broadcast_to(dz[name], y.shape + dz[name].shape[-1:]), z_bar)
        + dlog[name] * log_det_bar[..., None]
        for name in dz
    }
    bars["b"] = bars["b"][..., 0]
    return bars


def planar_inverse(z, w, u, b):
    """y with f(y) = z: bisection for the real root s, then Newton, which also brings in any imaginary parts."""
    z, w, u, b = long(z), long(w), long(u), long(b)
    c, r = dot(w, u), dot(w, z) + b
    psi = softplus(c) - 1
    real_r, real_psi = numpy.broadcast_arrays(LONG(numpy.real(r)), LONG(numpy.real(psi)))
    low, high = real_r - abs(real_psi) - 1, real_r + abs(real_psi) + 1
    for _ in range(90):
        middle = (low + high) / 2
        above = middle + real_psi * numpy.tanh(middle) > real_r
        low, high = numpy.where(above, low, middle), numpy.where(above, middle, high)
    s = long((low + high) / 2 + 0 * r)
    for _ in range(3):
        s = s - (s + psi * numpy.tanh(s) - r) / (1 + psi / numpy.cosh(s) ** 2)
    u_tilde = u + ((psi - c) / dot(w, w))[..., None] * w
    return z - u_tilde * numpy.tanh(s)[..., None]


def log_normal(mu, log_sigma, y):
    mu, sigma, y = long(mu), numpy.exp(long(log_sigma)), long(y)
    return numpy.sum(-((y - mu) ** 2) / (2 * sigma**2) - numpy.log(sigma) - numpy.log(2 * LONG(numpy.pi)) / 2, axis=-1)


def flows(y, flow_params):
    """(x, sum of log-determinants) of planar flows, a list of (w, u, b)."""
    total = 0
    for w, u, b in flow_params:
        y, log_det = planar(y, w, u, b)
        total = total + log_det
    return y, total


def log_flow_density(x, mu, log_sigma, flow_params):
    """log density at x of flows(N(mu, sigma^2)), through the inverse."""
    y = x
    for w, u, b in reversed(flow_params):
        y = planar_inverse(y, w, u, b)
    return log_normal(mu, log_sigma, y) - flows(y, flow_params)[1]


# ---- simplex ---------------------------------------------------------------------------------------------------------


def sticks(y):
    """eq. 16 by its product, remainder last; complex arguments too."""
    y = long(y)
    u, rest = 1 / (1 + numpy.exp(-y)), 1 / (1 + numpy.exp(y))
    out, left = [], numpy.ones_like(u[..., 0])
    for i in range(u.shape[-1]):
        out.append(u[..., i] * left)
        left = left * rest[..., i]
    return numpy.stack([*out, left], axis=-1)


def vertex_interpolation(y, temperature):
    """eq. 17 with the argmax of all K coordinates, by a loop over points."""
    w = sticks(y)
    flat = (LONG(temperature) * w).reshape(-1, w.shape[-1])
    for row, point in zip(flat, w.reshape(flat.shape), strict=True):
        row[numpy.argmax(point.real)] += 1 - LONG(temperature)
    return flat.reshape(w.shape)


def softmax(w, temperature):
    logits = long(w) / LONG(temperature)
    e = numpy.exp(logits - numpy.max(logits.real, axis=-1, keepdims=True))
    return e / numpy.sum(e, axis=-1, keepdims=True)


def softmax_bar(w, temperature, z_bar, log_det_bar):
    """Pullback to all K coordinates of w, every pair formed, of softmax(w/tau) and of sum_k log g_k."""
    z = softmax(w, temperature)
    bar = oracles.softmax_bar(z, z_bar) + LONG(log_det_bar)[..., None] * (1 - z.shape[-1] * z)
    return bar / LONG(temperature)
