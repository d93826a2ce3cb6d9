"""How finely the recursion of `stick_breaking` is to be resolved for the tolerance asked for, law by law."""

from __future__ import annotations

import math

import numpy

from ..backend import namespace
from . import _chebyshev, _decided
from ._stick_intervals import HIGHER, TOP

# (Chebyshev points of a function, points of an integral): a law moves on to the next pair until it is resolved.
LEVELS = ((36, 20), (60, 30), (84, 40), (100, 48), (126, 60), (190, 90), (290, 140), (420, 210))
SAFETY = 12.0  # for 1,400 laws at five levels each the error was at most 10 times `unresolved`
FLOOR = 8e-9  # the last coefficients may not fall below it: the cut at 6.5 sigma bends G by so much
# The level to start at is the first that resolves most laws of a trained encoder (K = 10) to the tolerance; one law
# then takes about 1.6, 2.0 and 2.0 ms of one core at tolerance 1e-4, 1e-5 and 1e-6.
STARTS = (1e-4, 1e-5)  # tolerances from these on start at the first and second level, smaller ones at the third
# A hard law has a sigma of WIDE or more, on whose range of y, 130 units at least, functions bend in a few (see
# `unresolved_if_wide`), or one below NARROW, which makes them steps on another stick's range of y (see `Stick`).
WIDE, NARROW = 10.0, 0.1
SLOW = 10.0  # pi times the number of terms in which coefficients may fall by e, if SAFETY is to cover the rest of them
LONGEST = 1.0  # cell of a table, whose functions bend at v = 0
CHUNK = 200_000  # points of all T_i over the laws that are computed together


def resolved(function, sure, mu, sigma, more, remainder, tolerance):
    """function over the leading axes, at the level that each law needs.

    Where one category surely wins, its value is sure(winner (L,), some), with `some` its value for the other laws.
    """
    if not isinstance(remainder, (bool, numpy.bool_)):
        raise TypeError(f"remainder must be True or False, got {remainder!r}")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be greater than 0, got {tolerance!r}")
    xp, _ = namespace(mu)
    rows = [xp.reshape(a, (-1, a.shape[-1])) for a in (*_decided.certain(mu, sigma), *more)]
    winner = _decided.winners(rows[0], rows[1], remainder)
    (known,) = xp.nonzero(winner >= 0)
    if known.size == 0:
        out = _at_levels(function, rows, remainder, tolerance)
    else:
        (rest,) = xp.nonzero(winner < 0)
        some = _at_levels(function, [a[rest] for a in rows], remainder, tolerance)
        out = xp.concatenate([sure(winner[known], some), some])[xp.argsort(xp.concatenate([known, rest]))]
    return xp.reshape(out, mu.shape[:-1] + out.shape[1:])


def _at_levels(function, rows, remainder, tolerance):
    """function of laws (L, n), in chunks, each law at the first level that resolves it to `tolerance`."""
    xp, _ = namespace(rows[0])
    # a function of s may gain e^-TOP times its density, 0.4/sigma, beyond TOP
    narrow = 0.4 * math.exp(-TOP) > tolerance * xp.min(rows[1], axis=-1, keepdims=True)
    rows = [*rows[:2], xp.where(narrow, HIGHER, TOP), *rows[2:]]
    start = sum(tolerance < limit for limit in STARTS)
    out, error = _in_chunks(function, rows, remainder, LEVELS[start])
    for level in LEVELS[start + 1 :]:
        (left,) = xp.nonzero(~(error <= tolerance))
        if left.size == 0:
            break
        # results of the finer level take the place of those that were not good enough
        place = xp.where(error <= tolerance, xp.arange(error.size), error.size - 1 + xp.cumsum(~(error <= tolerance)))
        finer, finer_error = _in_chunks(function, [a[left] for a in rows], remainder, level)
        out, error = xp.concatenate([out, finer])[place], xp.concatenate([error, finer_error])[place]
    worst = float(xp.max(error)) if error.size else 0.0
    if not worst <= tolerance:
        raise ArithmeticError(f"IGR-SB: a law is resolved to {worst:.1e} only, not to tolerance {tolerance:.1e}")
    return out


def _in_chunks(function, rows, remainder, level):
    xp, _ = namespace(rows[0])
    size = max(1, CHUNK // (level[0] * level[1] * rows[0].shape[1]))
    pieces = [
        function(*(a[i : i + size] for a in rows), remainder, level) for i in range(0, max(1, rows[0].shape[0]), size)
    ]
    out, unresolved = (xp.concatenate([piece[j] for piece in pieces]) for j in (0, 1))
    return out, SAFETY * unresolved


def unresolved_if_wide(G, low, high):
    """(L,): the error to expect of G (L, m) on a long interval [low, high] (L, 1).

    G bends at v = 0: softplus has its singularities at +-i pi, so that coefficients fall by e in sqrt(-low high)/pi
    terms, and oscillate, with nearly 0 for several of them. Points lie closer at the ends of an interval than in its
    middle, the table's cells do not: the table's own error is measured, where its cells are short enough to show it.
    """
    xp, _ = namespace(G)
    m = G.shape[1]
    last = xp.max(xp.abs(G @ xp.asarray(_chebyshev.coefficients(m)[-(m // 8) :].T)), axis=-1)
    rest = last * xp.sqrt(xp.maximum(-low * high, 0))[:, 0] / SLOW
    missed = xp.max(xp.abs(G @ xp.asarray(_chebyshev.table_error(m))), axis=-1)
    return xp.where((high - low)[:, 0] > LONGEST * _chebyshev.CELLS * m, xp.inf, xp.maximum(rest, missed))
