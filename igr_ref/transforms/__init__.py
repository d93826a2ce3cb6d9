"""Maps of R^{K-1}, most of them onto the simplex; `base` states the contract they share."""

from .base import Transform
from .chain import Chain, Identity
from .planar_flow import PlanarFlow
from .softmax import Softmax
from .softmax_plus_plus import SoftmaxPlusPlus, h
from .stick_breaking import StickBreaking
from .vertex_interpolation import VertexInterpolation

__all__ = [
    "Chain",
    "Identity",
    "PlanarFlow",
    "Softmax",
    "SoftmaxPlusPlus",
    "StickBreaking",
    "Transform",
    "VertexInterpolation",
    "h",
]
