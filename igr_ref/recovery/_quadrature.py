"""Composite Gauss-Legendre rules for many integrals at once: each its own number of panels, in one rectangular array.

int f = sum_p sum_q half_p w_q f(middle_p + half_p x_q), with x, w the rule on [-1, 1]: exact for degrees below 2 nodes.
"""

from __future__ import annotations

import functools

import numpy

from ..backend import namespace


@functools.cache
def gauss_legendre(n):
    """Nodes and weights on [-1, 1]."""
    return numpy.polynomial.legendre.leggauss(n)


def subdivide(breaks, density):
    """Edges (..., P+1): each interval between neighbours of breaks (..., n+1) cut into ceil(width density) equal parts.

    density: (..., n). P is the largest number of parts among the integrals; shorter rows repeat their last edge.
    """
    xp, _ = namespace(breaks)
    width = breaks[..., 1:] - breaks[..., :-1]
    parts = xp.ceil(width * density)
    after = xp.cumsum(parts, axis=-1)
    total = max(1, int(xp.max(after))) if after.size else 1
    # edge number p is the start plus the part of each interval that lies below it, a ramp in p
    ramp = (xp.arange(total + 1.0) - (after - parts)[..., None]) / xp.maximum(parts, 1)[..., None]
    return breaks[..., :1] + xp.sum(width[..., None] * xp.clip(ramp, 0, 1), axis=-2)


def gauss_legendre_points(edges, nodes):
    """Points and weights, each (..., P nodes), of the panels between edges (..., P+1)."""
    xp, _ = namespace(edges)
    x, w = (xp.asarray(v) for v in gauss_legendre(nodes))
    half = 0.5 * (edges[..., 1:] - edges[..., :-1])[..., None]
    middle = 0.5 * (edges[..., 1:] + edges[..., :-1])[..., None]
    flat = edges.shape[:-1] + ((edges.shape[-1] - 1) * nodes,)
    return xp.reshape(middle + half * x, flat), xp.reshape(half * w, flat)
