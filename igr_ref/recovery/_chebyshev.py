"""Functions on intervals by their values at n Chebyshev points, one interval a row, and the transposes of what is done.

    p(x) = sum_k c_k T_k(x),   c = C f,   f_j = p(x_j),   x_j = -cos(pi (j + 1/2)/n):   `nodes`, `coefficients`.
Many evaluations of one p are cheaper through a table: p is written as a cubic on each of CELLS n equal cells, which
matches p and p' at the ends of the cell. Both steps are linear in f, so that the pullback is their exact transpose.
"""

from __future__ import annotations

import functools

import numpy
from numpy.polynomial import chebyshev

from ..backend import namespace

CELLS = 8  # cells of the table for each Chebyshev point


@functools.cache
def nodes(n):
    """The n points on [-1, 1], ascending."""
    return -numpy.cos(numpy.pi * (numpy.arange(n) + 0.5) / n)


@functools.cache
def coefficients(n):
    """C (n, n): Chebyshev coefficients from values, by the points' discrete orthogonality."""
    return (chebyshev.chebvander(nodes(n), n - 1) * numpy.where(numpy.arange(n) == 0, 1, 2) / n).T


@functools.cache
def table(n):
    """(n, 4 CELLS n): values at the points -> coefficients of 1, t, t^2, t^3 in each cell, t in [0, 1]."""
    cells = CELLS * n
    ends = numpy.linspace(-1, 1, cells + 1)
    at_ends = chebyshev.chebvander(ends, n - 1)
    derivative = numpy.stack([chebyshev.chebder(row) for row in numpy.eye(n)], axis=-1)  # of coefficients, (n-1, n)
    value = at_ends @ coefficients(n)
    slope = at_ends[:, :-1] @ (derivative @ coefficients(n)) * (2 / cells)  # by t
    f, g, df, dg = value[:-1], value[1:], slope[:-1], slope[1:]
    cubic = numpy.stack([f, df, 3 * (g - f) - 2 * df - dg, 2 * (f - g) + df + dg], axis=1)
    return numpy.ascontiguousarray(numpy.reshape(cubic, (4 * cells, n)).T)


@functools.cache
def table_error(n):
    """(n, CELLS n): values at the points -> p less its cubic in the middle of each cell."""
    middles = (numpy.arange(CELLS * n) + 0.5) * (2 / (CELLS * n)) - 1
    cubics = numpy.reshape(table(n), (n, -1, 4)) @ numpy.array([1, 1 / 2, 1 / 4, 1 / 8])
    return (chebyshev.chebvander(middles, n - 1) @ coefficients(n)).T - cubics


@functools.cache
def antiderivative(n):
    """(n+1, n): values of p -> values of int_{-1}^x p at the n+1 points."""
    columns = [chebyshev.chebint(row, lbnd=-1) for row in numpy.eye(n)]
    return chebyshev.chebvander(nodes(n + 1), n) @ numpy.stack(columns, axis=-1) @ coefficients(n)


class Stencil:
    """Where points (L, T) lie in the tables of functions on [low, high] (L, 1) with n Chebyshev points.

    A point outside takes the function's value at the nearer end.
    """

    def __init__(self, low, high, n, points):
        xp, _ = namespace(points)
        self.n, self.rows = n, points.shape[0]
        position = xp.clip((points - low) * (CELLS * n / (high - low)), 0, CELLS * n)
        cell = xp.minimum(position.astype(xp.int64), CELLS * n - 1)
        self.t = position - cell
        self.cell = cell + CELLS * n * xp.arange(self.rows)[:, None]

    def gather(self, values):
        """The functions (L, n) at the points: (L, T)."""
        xp, _ = namespace(values)
        c = xp.take(xp.reshape(xp.matmul(values, xp.asarray(table(self.n))), (-1, 4)), self.cell, axis=0)
        t = self.t
        return ((c[..., 3] * t + c[..., 2]) * t + c[..., 1]) * t + c[..., 0]

    def scatter(self, bars):
        """The transpose of gather: cotangents (L, T) on the functions at the points -> on their values (L, n)."""
        xp, _ = namespace(bars)
        cell, size = xp.reshape(self.cell, (-1,)), self.rows * CELLS * self.n
        powers = []
        for _ in range(4):
            powers.append(xp.bincount(cell, weights=xp.reshape(bars, (-1,)), minlength=size))
            bars = bars * self.t
        cubic_bars = xp.reshape(xp.stack(powers, axis=-1), (self.rows, 4 * CELLS * self.n))
        return xp.matmul(cubic_bars, xp.asarray(table(self.n)).T)
