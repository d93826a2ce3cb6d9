"""From a relaxation back to its discrete law (section 3.3)."""

from . import gaussian_argmax
from .monte_carlo import frequencies

__all__ = ["frequencies", "gaussian_argmax"]
