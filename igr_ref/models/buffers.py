"""Arrays that a training loop writes into again and again, so that a step allocates nothing but small temporaries.

Only the hot path uses them: the layers, the pixel losses and the VAE's step take `work`, a `Buffers`, and then return
arrays that are theirs until the next call with the same `work`. Without `work` every array is fresh, and the code is
the plain formula that the fast one is tested against.
"""

from __future__ import annotations

from ..backend import namespace


class Buffers:
    """`empty(name, shape, like)` is the same memory whenever name, shape and dtype are the same."""

    def __init__(self):
        self._arrays, self._parts = {}, {}

    def part(self, name):
        """Buffers of their own for one part of a model, whose names then meet no other part's."""
        if name not in self._parts:
            self._parts[name] = Buffers()
        return self._parts[name]

    def empty(self, name, shape, like):
        """An array of this shape with the dtype and namespace of `like`; it holds whatever was written into it last."""
        return self._kept(name, shape, like, "empty")

    def zeros(self, shape, like):
        """Zeros, to be read only: a ufunc takes an array sooner than a number on some processors (`mlp.relu`)."""
        return self._kept("zeros", shape, like, "zeros")

    def ones(self, shape, like):
        """Ones, to be read only: a sum over the last axis is fastest as a product with them."""
        return self._kept("ones", shape, like, "ones")

    def batch_last(self, name, shape, like):
        """As `empty`, with the axes (..., B, E) in memory as (..., E, B): see `vae`."""
        xp, _ = namespace(like)
        return xp.swapaxes(self._kept(name, (*shape[:-2], shape[-1], shape[-2]), like, "empty"), -1, -2)

    def _kept(self, name, shape, like, make):
        key = (name, shape, like.dtype)
        if key not in self._arrays:
            xp, _ = namespace(like)
            self._arrays[key] = getattr(xp, make)(shape, dtype=like.dtype)
        return self._arrays[key]
