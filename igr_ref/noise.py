"""Where randomness comes from: one generator for each (seed, stream, step), and draws that suit float32.

A generator is a pure function of its key, so a run can be resumed, sharded over machines or trained beside other
replicas and still meet the same noise. Functions that compute take noise as an argument; only this file and `philox`
draw it; fresh parameters are drawn by those who make them (`init`).
"""

from __future__ import annotations

import math
import zlib

import numpy


def generator(seed, stream, step=0):
    """numpy.random.Generator keyed by an integer seed, the name of a stream and an integer step (both >= 0).

    ValueError for a seed or step that is negative or no integer.
    """
    for name, value in (("seed", seed), ("step", step)):
        if not math.isfinite(value) or int(value) != value:
            raise ValueError(f"{name} must be an integer, got {value!r}")
    key = (zlib.crc32(stream.encode()), int(step))
    return numpy.random.Generator(numpy.random.SFC64(numpy.random.SeedSequence(int(seed), spawn_key=key)))


def normal(rng, shape, dtype=numpy.float64):
    """Standard normal draws: NumPy's for float64; for float32 by Box and Muller, which takes half the time.

    r = sqrt(-2 log u), a = 2 pi u': (r cos a, r sin a). As u is 2^-25 or more, r is at most 5.9, the radius that a pair
    of normals exceeds with probability 3e-8.
    """
    if numpy.dtype(dtype) != numpy.float32:
        return rng.standard_normal(shape, dtype=dtype)
    size = math.prod(shape) if isinstance(shape, (tuple, list)) else int(shape)
    u = rng.random((2, (size + 1) // 2), dtype=numpy.float32)
    r = numpy.sqrt(-2 * numpy.log(numpy.maximum(u[0], half_step(dtype))))
    a = u[1] * numpy.float32(2 * math.pi)
    return numpy.concatenate([r * numpy.cos(a), r * numpy.sin(a)])[:size].reshape(shape)


def uniform(rng, shape, dtype=numpy.float64):
    """Draws in the open interval (0, 1).

    NumPy's floats are multiples of 2^-24 (float32) or 2^-53 (float64) in [0, 1), and exactly 0 a few times in 1e8
    for float32. Zero becomes half a step, by maximum: adding a constant instead would round values near 1 up to 1.
    """
    return numpy.maximum(rng.random(shape, dtype=dtype), half_step(dtype))


def gumbel(rng, shape, dtype=numpy.float64):
    """Gumbel(0, 1) draws, -log E with E a standard exponential, which float32 also rounds to exactly 0 at times.

    For float32 E = -log u, u <= 1 - 2^-24, again twice as fast: no draw exceeds 16.7, which one in 2e7 would.
    """
    if numpy.dtype(dtype) == numpy.float32:
        return -numpy.log(-numpy.log(uniform(rng, shape, dtype)))
    return -numpy.log(numpy.maximum(rng.standard_exponential(shape, dtype=dtype), half_step(dtype)))


def half_step(dtype):
    """What stands for a uniform draw of 0: half of the smallest other, a scalar of the dtype."""
    return numpy.dtype(dtype).type(2.0**-25 if numpy.dtype(dtype) == numpy.float32 else 2.0**-54)
