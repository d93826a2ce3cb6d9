"""The minimal networks of the paper's experiments."""

from .adam import Adam
from .buffers import Buffers
from .losses import Bernoulli, Gaussian
from .mlp import MLP
from .structured_output import StructuredOutput
from .vae import (
    VAE,
    GumbelSoftmaxFamily,
    IGRFamily,
    PlanarFamily,
    igr_bounded_family,
    igr_i_family,
    igr_planar_family,
    igr_sb_family,
)

__all__ = [
    "Adam",
    "Bernoulli",
    "Buffers",
    "Gaussian",
    "GumbelSoftmaxFamily",
    "IGRFamily",
    "MLP",
    "StructuredOutput",
    "VAE",
    "PlanarFamily",
    "igr_planar_family",
    "igr_bounded_family",
    "igr_i_family",
    "igr_sb_family",
]
