"""One panel for each law of Prop. 2, in float32: its ends, its Gauss-Legendre nodes, and integrals up to points of it.

Points are t = low + width x, 0 < x < 1. Outside the panel, less than Phi(-LOW) + K Phi(-HIGH) is lost (`_grid`, (1)).
(1) An integrand at N nodes is the polynomial through its values, if the nodes are dense where it is sharp. Near x they
    are pi sqrt(x (1 - x))/N apart, the integrand's features sigma_j/width wide near mu_j + sigma_j/2, if that lies in
    the panel or not far below it: N is a step function (STEPS) of the largest sqrt(x (1 - x)) width/sigma_j, chosen
    so that integrals up to any x are right to 1e-6 for nearly all laws. Those over the whole panel are far better.
(2) Integrands f come as shares s_i = w_i f(x_i), w_i the weights on [0, 1]: int_0^1 f = sum_i s_i. With
    cos theta = 2x - 1,
        int_0^x f = sum_i c_i(x) s_i,   c_i(x) = sum_l cos(l theta) C_li,   l = 0..N,
    C the Chebyshev coefficients of the integral of the polynomial that is 1/w_i at x_i and 0 at the other nodes.
(3) The x at which int_0^x f is a given number: from a table of that integral and of f at the ends of CELLS N equal
    cells, by Hermite's cubic in the cell.
"""

from __future__ import annotations

import functools

import numpy
from numpy.polynomial import chebyshev

from ..backend import namespace
from ._grid import lowest
from ._quadrature import gauss_legendre

LEAST = -60.0  # log S(low): float32 ends at -87
LOW, HIGH = 5.2, 5.8  # Phi(-5.2) = 1e-7; the derivatives by sigma grow with the square of the distance
STEPS = ((8.0, 42), (11.0, 58), (16.0, 82), (25.0, 124))  # (sharpness up to which, nodes)
CELLS = 2


def panels(mu, sigma, rate, log_last):
    """(low (L,), width (L,), nodes (L,)) for laws mu, sigma (n, L), rate = 1/sigma, log P_K (L,).

    nodes: how many, of STEPS; 0 where none of them would do.
    """
    xp, _ = namespace(mu)
    low = xp.maximum(xp.max(mu - LOW * sigma, axis=0), 0)  # less than Phi(-LOW) lies below
    (i,) = xp.nonzero(log_last < LEAST)
    if i.size:
        low[i] = lowest(mu[:, i].T, sigma[:, i].T, LOW)[:, 0]
    width = xp.maximum(xp.max(mu + HIGH * sigma, axis=0) - low, 0.1)  # not 0 where all mu are far below 0
    x = (mu + 0.5 * sigma - low) / width
    x = xp.where(x * width > -LOW * sigma, xp.clip(x, 0.02, 0.98), 0)
    sharpness = width * xp.sqrt(xp.max(x * (1 - x) * (rate * rate), axis=0))
    nodes = xp.zeros(sharpness.shape, dtype=int)
    for most, number in STEPS[::-1]:
        nodes = xp.where(sharpness <= most, number, nodes)
    return low, width, nodes


class Rule:
    """N nodes: `points` (2, N) has rows 1 and x, `weights` (N,) are those on [0, 1]."""

    def __init__(self, nodes, like):
        xp, _ = namespace(like)
        self.nodes = nodes
        arrays = (xp.asarray(array) for array in _host(nodes))
        self.points, self.weights, self._orders, self._running, self._table = arrays

    def running(self, x):
        """c (..., N) of (2), for x (...) in [0, 1]."""
        xp, _ = namespace(x)
        theta = xp.arccos(2 * x - 1)
        return xp.matmul(xp.cos(theta[..., None] * self._orders), self._running)

    def quantile(self, shares, want):
        """x (...) of (3), for shares (..., N) of a positive f and want (...)."""
        xp, _ = namespace(shares)
        cells = CELLS * self.nodes
        table = xp.matmul(shares, self._table)
        integral = table[..., : cells + 1]  # then the density, times the cell's size
        cell = xp.argmax(integral[..., 1:] > want[..., None], axis=-1)  # 0 also where there is none
        cell = xp.where(want < integral[..., -1], cell, cells - 1)
        at = cell + table.shape[-1] * xp.reshape(xp.arange(cell.size), cell.shape)
        first, last, f_0, f_1 = (xp.take(xp.reshape(table, (-1,)), at + i) for i in (0, 1, cells + 1, cells + 2))
        rise, want = last - first, want - first
        c_2, c_3 = 3 * rise - 2 * f_0 - f_1, f_0 + f_1 - 2 * rise
        s = xp.clip(want / xp.maximum(rise, 1e-30), 0, 1)
        for _ in range(3):
            slope = f_0 + s * (2 * c_2 + 3 * c_3 * s)
            s = xp.clip(s - (s * (f_0 + s * (c_2 + c_3 * s)) - want) / xp.maximum(slope, 1e-30), 0, 1)
        return (cell.astype(s.dtype) + s) * (1 / cells)


@functools.cache
def _host(nodes):
    """(points, weights, orders 0..N, C (N+1, N), the matrix (N, 2 (cells + 1)) from shares to the table of (3))."""
    z, w = gauss_legendre(nodes)
    cells = CELLS * nodes
    polynomial = numpy.linalg.inv(chebyshev.chebvander(z, nodes - 1)) / (0.5 * w)
    integral = 0.5 * chebyshev.chebint(polynomial, lbnd=-1)
    at_ends = chebyshev.chebvander(numpy.linspace(-1, 1, cells + 1), nodes)
    table = numpy.concatenate([at_ends @ integral, at_ends[:, :-1] @ polynomial / cells]).T
    points = numpy.stack([numpy.ones(nodes), 0.5 * (z + 1)])
    arrays = (points, 0.5 * w, numpy.arange(nodes + 1), integral, table)
    return tuple(numpy.ascontiguousarray(array, dtype="float32") for array in arrays)
