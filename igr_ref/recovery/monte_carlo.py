"""The recovered discrete law by simulation: frequencies of q.category(noise).

Valid for every relaxation (section 3.3: E[h(y)], and not E[h(z)], audit h-of-z). The standard error of a frequency P is
sqrt(P (1 - P)/M). Noise is shared by all the leading axes of the parameters, which leaves each law's error as it is
and makes differences between laws smoother.
"""

from __future__ import annotations

import numpy

from ..backend import namespace


def frequencies(q, noise, chunk=4_000_000):
    """Frequencies (..., K) of the M draws noise (M, K-1) (or (M, K) for Gumbel-Softmax), shared by every law of q.

    They sum to 1 up to rounding; a category that was never drawn has frequency 0. Of the noise's dtype; float64 if that
    holds integers. ValueError for noise of another shape, or not finite.
    """
    xp, _ = namespace(noise)
    lead = numpy.broadcast_shapes(*(p.shape[:-1] for p in q.params.values()))
    m = noise.shape[0]
    if noise.ndim != 2 or m < 1:
        raise ValueError(f"noise must be (M, categories) with M >= 1, got shape {noise.shape}")
    if not bool(xp.all(xp.isfinite(noise))):
        raise ValueError("noise must be finite, got NaN or infinity")
    dtype = noise.dtype if noise.dtype.kind == "f" else "float64"
    laws = 1
    for n in lead:
        laws *= n
    step = max(1, chunk // max(1, laws * noise.shape[1]))
    counts = xp.zeros((q.n_categories, *lead), dtype=xp.int64)
    for start in range(0, m, step):
        draws = noise[start : start + step]
        category = q.category(xp.reshape(draws, (draws.shape[0],) + (1,) * len(lead) + (-1,)))
        for k in range(q.n_categories):
            counts[k] += xp.sum(category == k, axis=0)
    return (xp.moveaxis(counts, 0, -1) / m).astype(dtype)
