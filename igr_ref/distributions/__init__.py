"""Relaxed and discrete distributions; `base` states what the relaxed ones share."""

from . import gaussian
from .categorical import Categorical
from .growing_sticks import GrowingSticks
from .gumbel_softmax import GumbelSoftmax
from .igr import IGR, igr_i, igr_planar, igr_sb
from .infinite import InfiniteIGR
from .kumaraswamy import Kumaraswamy

__all__ = [
    "IGR",
    "Categorical",
    "GrowingSticks",
    "GumbelSoftmax",
    "InfiniteIGR",
    "Kumaraswamy",
    "gaussian",
    "igr_i",
    "igr_planar",
    "igr_sb",
]
