"""Gradient estimators, one signature: noise in, per-sample gradients out (`base`)."""

from .base import Estimate
from .rebar import PairedNoise, rebar, rebar_params, variance_gradient
from .relax import bounded_parameters, relax, relax_params
from .reparameterization import reparameterization
from .score_function import score_function
from .sticking_the_landing import sticking_the_landing
from .straight_through import straight_through
from .unordered_set import unordered_set

__all__ = [
    "Estimate",
    "PairedNoise",
    "bounded_parameters",
    "rebar",
    "rebar_params",
    "relax",
    "relax_params",
    "reparameterization",
    "score_function",
    "sticking_the_landing",
    "straight_through",
    "unordered_set",
    "variance_gradient",
]
