"""Maps of R^{K-1}, most of them onto the simplex; `base` states the contract they share."""

from .base import Transform
from .chain import Chain
from .softmax_plus_plus import SoftmaxPlusPlus, h
from .stick_breaking import StickBreaking

__all__ = ["Chain", "SoftmaxPlusPlus", "StickBreaking", "Transform", "h"]
