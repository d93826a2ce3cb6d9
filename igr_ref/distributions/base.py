"""What every relaxed distribution offers, said once.

A distribution holds its parameters, arrays (..., K or K-1) with the category axis last, in the dict `params`; noise
is an argument and has the shape of the parameters (leading axes broadcast: noise (S, B, N, .) gives S samples of each).

    z, saved = q.run(noise)                a relaxed sample (..., K) on the simplex, and what its pullback needs
    bars     = q.pullback(saved, z_bar)    gradients of <z_bar, z(noise)>, a dict with the names of `params`
    z        = q.sample(noise)
    log q    = q.log_prob(...)             the density; each class says of which variable, under which measure
    b        = q.discretize(noise)         one-hot sample (..., K) of the discrete law, selected by the same noise;
               q.category(noise)           the same as category numbers

ValueError for noise, or a point, that has not all coordinates: one of them would broadcast over the others. Made with
validate=False, a relaxation looks at shapes only, not at numbers: the training loop's, which must not wait for a GPU.
float32 in, float32 out; in between, float64 unless q was made with precise=False (`precision`).
"""

from __future__ import annotations

import copy

from ..backend import namespace
from ..precision import InDouble, widened
from ..transforms.base import one_hot


class Relaxation(InDouble):
    params: dict
    n_categories: int
    validate = True

    def is_single(self, args):
        """Whether the parameters are float32: results then are, too, whatever `run` has kept."""
        return super().is_single(())

    def wide(self):
        twin = copy.copy(self)
        twin.params = widened(self.params)
        vars(twin).update(twin.params)
        return twin

    def handed_out(self, saved):
        return saved

    def run(self, noise):
        raise NotImplementedError

    def pullback(self, saved, z_bar):
        raise NotImplementedError

    def sample(self, noise):
        """A relaxed sample z (..., K)."""
        return self.run(noise)[0]

    def category(self, noise):
        raise NotImplementedError

    def discretize(self, noise):
        """Exactly one-hot samples (..., K) of the discrete law that the relaxation relaxes."""
        xp, _ = namespace(noise)
        dtype = next(iter(self.params.values())).dtype  # as the relaxed sample's
        return one_hot(self.category(noise), self.n_categories, xp, dtype)

    def sample_vjp(self, noise, z_bar):
        """Gradients of <z_bar, sample(noise)> by the parameters."""
        return self.pullback(self.run(noise)[1], z_bar)


def check_no_nan(name, array):
    """ValueError for NaN: argmax would give it a category."""
    xp, _ = namespace(array)
    if bool(xp.any(xp.isnan(array))):
        raise ValueError(f"{name} must not hold NaN")


def check_parameters(elementwise=False, **arrays):
    """ValueError unless all arrays are finite, floating, of one dtype, broadcast together, and have one number of
    categories (`elementwise`: their last axes may broadcast too).
    """
    xp, _ = namespace(*(array for array in arrays.values() if hasattr(array, "dtype")))
    names = ", ".join(arrays)
    for name, array in arrays.items():
        if not hasattr(array, "dtype") or not xp.issubdtype(array.dtype, xp.floating):
            got = getattr(array, "dtype", type(array).__name__)
            raise ValueError(f"{name} must be a floating-point array, got {got}")
        if array.ndim == 0 or array.shape[-1] == 0:
            raise ValueError(f"{name} needs a category axis of length 1 or more, got shape {array.shape}")
        if not bool(xp.all(xp.isfinite(array))):
            raise ValueError(f"{name} must be finite, got NaN or infinity")
    dtypes = {str(array.dtype) for array in arrays.values()}
    if len(dtypes) > 1:
        raise ValueError(f"{names} must share one dtype, got {sorted(dtypes)}")
    shapes = {name: array.shape for name, array in arrays.items()}
    if not elementwise and len({shape[-1] for shape in shapes.values()}) > 1:
        raise ValueError(f"{names} must have category axes (the last ones) of one length, got {shapes}")
    try:
        xp.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError as error:
        raise ValueError(f"{names} do not broadcast together: {shapes}") from error
