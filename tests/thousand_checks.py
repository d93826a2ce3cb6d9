"""For test_thousand_*: derivatives checked on 1,000 configurations along the first axis, by two oracles each.

The oracles: autograd on our own forward formula, and a complex step through the textbook's, or its derivative written
out in longdouble. A complex step moves all arguments of a configuration at once, in one random direction.
"""

from __future__ import annotations

import numpy

from .gradcheck import autograd_vjp, check_rows

LONG, CLONG = numpy.longdouble, numpy.clongdouble
BLOCKS = ((2, 300), (3, 300), (10, 300), (100, 88), (1000, 10), (10_000, 2))  # (K, configurations)


def blocks(seed, of=BLOCKS):
    """(rng, K, n, temperatures (n, 1) in 1e-3..100) for each K."""
    for k, n in of:
        rng = numpy.random.default_rng((91, seed, k))
        yield rng, k, n, numpy.exp(rng.uniform(numpy.log(1e-3), numpy.log(1e2), (n, 1)))


def slope(function, args, directions, step=1e-300):
    """d function(*args)/d(directions) (n,), by a complex step in clongdouble; function returns (n,)."""
    moved = (CLONG(x) + 1j * LONG(step) * d for x, d in zip(args, directions, strict=True))
    return function(*moved).imag / LONG(step)


def check_slope(got, forward, args, rng, /, size=0.0, **label):
    """Gradients `got`, one for each of args, along one direction; differences count beside the terms of the sum."""
    directions = [rng.standard_normal(numpy.shape(x)) for x in args]
    terms = [(g * d).reshape(len(g), -1) for g, d in zip(got, directions, strict=True)]
    along, scale = sum(t.sum(axis=1) for t in terms), sum(abs(t).sum(axis=1) for t in terms)
    want = slope(forward, args, directions)
    check_rows(along, want, oracle="complex step", scale=numpy.maximum(scale, size), **label)


def check_tape(got, forward, args, /, scale=0.0, **label):
    """Against autograd on `forward`, which returns one number for all configurations."""
    for g, w in zip(got, autograd_vjp(forward, *args), strict=True):
        check_rows(g, w, oracle="autograd", scale=scale, **label)
