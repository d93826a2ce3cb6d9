"""Noise that any array library draws for itself, where it is needed: Philox 4x32-10 (Salmon et al., Parallel random
numbers: as easy as 1, 2, 3, 2011).

Four words of 32 bits are a function of a counter of four words and a key of two, ten rounds of

    (c_0, c_1, c_2, c_3)  <-  (hi(M_1 c_2) xor c_1 xor k_0,  lo(M_1 c_2),  hi(M_0 c_0) xor c_3 xor k_1,  lo(M_0 c_0)),
    (k_0, k_1)  <-  (k_0 + W_0, k_1 + W_1)

with hi and lo the halves of a product of 64 bits. Nothing is carried from draw to draw. Here the key is a seed, and the
counter (block, draw, step, stream), so that the noise of a step is a function of its key, as `noise.generator`'s is.
The draws are others than those of `noise`, of the same laws.
"""

from __future__ import annotations

import functools
import math
import zlib

import numpy

from .noise import half_step

M_0, M_1 = 0xD2511F53, 0xCD9E8D57
W_0, W_1 = 0x9E3779B9, 0xBB67AE85
WORD = 0xFFFFFFFF
ROUNDS = 10
LAWS = ("normal", "gumbel", "uniform")


def philox(c_0, c_1, c_2, c_3, k_0, k_1):
    """The four words, uint64 arrays below 2^32 as all arguments are; shapes broadcast."""
    for _ in range(ROUNDS):
        first, second = c_0 * M_0, c_2 * M_1  # below 2^64
        c_0, c_1, c_2, c_3 = (second >> 32) ^ c_1 ^ k_0, second & WORD, (first >> 32) ^ c_3 ^ k_1, first & WORD
        k_0, k_1 = (k_0 + W_0) & WORD, (k_1 + W_1) & WORD
    return c_0, c_1, c_2, c_3


def _uniform(words, dtype, xp):
    """Uniforms in (0, 1) as `noise.uniform` has them: four of 24 bits, or two of 53 for float64."""
    if dtype == "float32":
        grid = [(w >> 8).astype(numpy.float32) * numpy.float32(2.0**-24) for w in words]
    else:
        grid = [((words[i] >> 5) * 2**26 + (words[i + 1] >> 6)).astype(numpy.float64) * 2.0**-53 for i in (0, 2)]
    return [xp.maximum(u, half_step(dtype)) for u in grid]


def _law(law, dtype, xp, *counter_and_key):
    """Draws of a block: as many as it has uniforms. Normals come in pairs (Box and Muller), see `noise.normal`."""
    u = _uniform(philox(*counter_and_key), dtype, xp)
    if law == "uniform":
        return tuple(u)
    if law == "gumbel":
        return tuple(-xp.log(-xp.log(v)) for v in u)
    out = []
    for i in range(0, len(u), 2):
        r, a = xp.sqrt(-2 * xp.log(u[i])), u[i + 1] * numpy.dtype(dtype).type(2 * math.pi)
        out += [r * xp.cos(a), r * xp.sin(a)]
    return tuple(out)


@functools.cache
def _block(law, dtype, xp):
    """`_law` of arrays alone; on CuPy as one kernel, which the plain formula is made into."""

    def block(c_0, c_1, c_2, c_3, k_0, k_1):
        return _law(law, dtype, xp, c_0, c_1, c_2, c_3, k_0, k_1)

    return xp.fuse(block) if hasattr(xp, "fuse") else block


def draw(law, seeds, stream, step, number, shape, dtype, xp):
    """(len(seeds), *shape) draws of a law in xp's arrays, made on the device.

    law      "normal", "gumbel" or "uniform" (the open interval)
    seeds    integers, 0 <= seed < 2^64
    stream   a name; step, number: which step, and which draw of it, both from 0 and below 2^32
    dtype    "float32" or "float64"

    Raises ValueError for another law or dtype, and for integers that don't fit.
    """
    dtype = numpy.dtype(dtype).name
    if law not in LAWS or dtype not in ("float32", "float64"):
        raise ValueError(f"expected a law of {', '.join(LAWS)} in float32 or float64, got {law!r} in {dtype}")
    if any(not math.isfinite(value) or int(value) != value for value in (*seeds, step, number)):
        raise ValueError(f"seeds, step and number must be integers, got {seeds}, {step}, {number}")
    seeds = [int(seed) for seed in seeds]
    if not seeds or not all(0 <= seed < 2**64 for seed in seeds) or not (0 <= step < 2**32 and 0 <= number < 2**32):
        raise ValueError(f"expected 0 <= seed < 2^64 and 0 <= step, number < 2^32, got {seeds}, {step}, {number}")
    n = math.prod(shape)
    blocks = -(-n // (4 if dtype == "float32" else 2))
    keys = xp.asarray(numpy.array([[s & WORD for s in seeds], [s >> 32 for s in seeds]], numpy.uint64)[..., None])
    rest = xp.asarray(numpy.array([[number], [step], [zlib.crc32(stream.encode())]], numpy.uint64))
    made = _block(law, dtype, xp)(xp.arange(blocks, dtype=numpy.uint64), *rest, *keys)
    return xp.reshape(xp.reshape(xp.stack(made, axis=-1), (len(seeds), -1))[:, :n], (len(seeds), *shape))
