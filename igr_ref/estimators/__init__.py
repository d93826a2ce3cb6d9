"""Gradient estimators, one signature: noise in, per-sample gradients out (`base`)."""

from .base import Estimate
from .reparameterization import reparameterization
from .sticking_the_landing import sticking_the_landing

__all__ = ["Estimate", "reparameterization", "sticking_the_landing"]
