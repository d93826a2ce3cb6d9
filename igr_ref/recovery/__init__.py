"""From a relaxation back to its discrete law (section 3.3)."""

from . import conditional, conditional_gumbel, gaussian_argmax, stick_breaking
from .law import discrete_log_probs
from .monte_carlo import frequencies

__all__ = [
    "conditional",
    "conditional_gumbel",
    "discrete_log_probs",
    "frequencies",
    "gaussian_argmax",
    "stick_breaking",
]
