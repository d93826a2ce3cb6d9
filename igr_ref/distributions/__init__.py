"""Relaxed and discrete distributions; `base` states what the relaxed ones share."""

from . import gaussian
from .categorical import Categorical
from .gumbel_softmax import GumbelSoftmax
from .igr import IGR, igr_i, igr_sb

__all__ = ["IGR", "Categorical", "GumbelSoftmax", "gaussian", "igr_i", "igr_sb"]
