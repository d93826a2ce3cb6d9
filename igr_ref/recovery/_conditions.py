"""What conditional samples accept: a law, one-hot b (..., K), and uniforms v or a point y."""

from __future__ import annotations

import math

import numpy

from ..backend import namespace
from ..transforms.base import check_one_hot


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
    check_one_hot(b)
    return xp, mu64, sigma64, b


def checked_uniforms(v, dtype="float64"):
    xp, _ = namespace(v)
    if not bool(xp.all((v > 0) & (v < 1))):
        raise ValueError("v must lie strictly between 0 and 1")
    return v.astype(dtype)


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
