"""The minimal networks of the paper's experiments."""

from .adam import Adam
from .buffers import Buffers
from .families import (
    GumbelSoftmaxFamily,
    IGRFamily,
    PlanarFamily,
    igr_bounded_family,
    igr_i_family,
    igr_planar_family,
    igr_sb_family,
)
from .losses import Bernoulli, Gaussian
from .mixture import MixtureVAE, prior_means
from .mixture_objective import elbo as mixture_elbo
from .mixture_objective import elbo_sl as mixture_elbo_sl
from .mixture_objective import log_likelihood as mixture_log_likelihood
from .mlp import MLP
from .reconstruction import Reconstruction
from .structured_output import StructuredOutput
from .vae import VAE

__all__ = [
    "Adam",
    "Bernoulli",
    "Buffers",
    "Gaussian",
    "GumbelSoftmaxFamily",
    "IGRFamily",
    "MLP",
    "MixtureVAE",
    "Reconstruction",
    "StructuredOutput",
    "VAE",
    "PlanarFamily",
    "igr_planar_family",
    "igr_bounded_family",
    "igr_i_family",
    "igr_sb_family",
    "mixture_elbo",
    "mixture_elbo_sl",
    "mixture_log_likelihood",
    "prior_means",
]
