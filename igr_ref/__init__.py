"""igr_ref: the Invertible Gaussian Reparameterization and the Gumbel-Softmax, every gradient written by hand.

Reference implementation of "Invertible Gaussian Reparameterization: Revisiting the Gumbel-Softmax" (Potapczynski,
Loaiza-Ganem and Cunningham, NeurIPS 2020) on NumPy or CuPy arrays. Start at `transforms.base` and `estimators.base`,
which state the contracts, and read the rest beside the paper.
"""

from . import distributions, estimators, models, noise, numerics, prior, recovery, transforms
from .distributions import IGR, Categorical, GumbelSoftmax, igr_i, igr_sb
from .estimators import reparameterization, sticking_the_landing
from .transforms import Chain, SoftmaxPlusPlus, StickBreaking, h

__version__ = "0.1.0"

__all__ = [
    "IGR",
    "Categorical",
    "Chain",
    "GumbelSoftmax",
    "SoftmaxPlusPlus",
    "StickBreaking",
    "distributions",
    "estimators",
    "h",
    "igr_i",
    "igr_sb",
    "models",
    "noise",
    "numerics",
    "prior",
    "recovery",
    "reparameterization",
    "sticking_the_landing",
    "transforms",
]
