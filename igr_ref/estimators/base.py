"""The common signature of the gradient estimators, said once.

The objective, for parameters theta of q over N variables of K categories, is

    L(theta) = E_q[f(z)] + KL(q || p)          (p=None: no KL term).

    estimate = estimator(q, noise, f, p)

q, p   relaxations whose parameters are (..., N, K or K-1); p broadcasts against q.
noise  the draws that q.run takes, (..., N, .); leading axes beyond q's own are samples.
f      a function of the relaxed sample z (..., N, K) that returns (value (...), z_bar (..., N, K)), z_bar = df/dz. It
       is called once for each z the estimator needs. It may have a method without_gradient(z) -> value.

Nothing is averaged: `Estimate.grads` holds one gradient for each entry of the leading axes of the sample.

float32 in, float32 out, for f too; in between, float64 unless q was made with precise=False (`precision`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

from ..backend import namespace
from ..distributions.base import Relaxation
from ..precision import InDouble, narrowed, widened

OWN = ("mu", "log_sigma", "log_alpha")  # what has N variables: a flow's parameters may be shared by them


@dataclass(frozen=True)
class Estimate:
    """loss = value + kl: f at the sample (...), and the KL term (0 without p): sampled (...), or in closed form, which
    has only q's own leading axes and broadcasts.

    grads: parameter name -> an unbiased estimate of dL/dparameter for the relaxed objective, per sample.
    """

    value: Any
    kl: Any
    grads: dict

    @property
    def loss(self):
        return self.value + self.kl


def estimated_in_double(estimator):
    """The estimator, computing in float64 for a float32 q that is not made with precise=False."""

    @functools.wraps(estimator)
    def call(q, noise, f, p=None, *args, **kwargs):
        if not (isinstance(q, InDouble) and q.precise and q.is_single(())):
            return estimator(q, noise, f, p, *args, **kwargs)
        found = estimator(*widened((q, noise)), given_single(f), widened(p), *args, **widened(kwargs))
        return replace(found, **narrowed({"value": found.value, "kl": found.kl, "grads": found.grads}))

    return call


def given_single(f):
    """f, and its method without_gradient, for callers in float64: given float32 arrays, its values taken as float64."""

    def single(*args):
        return widened(f(*narrowed(args)))

    if hasattr(f, "without_gradient"):
        single.without_gradient = given_single(f.without_gradient)
    return single


def check_prior(q, p, kinds):
    """TypeError unless p is None, whatever relaxation q is, or q and p are of one of these `kinds`."""
    if p is None:
        return
    kind = next((kind for kind in kinds if isinstance(q, kind)), None)
    names = " and ".join(kind.__name__ for kind in kinds)
    if kind is None:
        raise TypeError(f"the KL of a pathwise estimator is known for {names}, got q = {type(q).__name__}")
    if not isinstance(p, kind):
        raise TypeError(f"with q = {type(q).__name__}, p must be None or {kind.__name__}, got {type(p).__name__}")


def check_variables(q, noise):
    """ValueError unless q's parameters (see `variables`) and the noise have an axis of variables of one length.

    A law without one would have its samples taken for variables; noise would broadcast over the variables.
    """
    n = variables(q)
    if noise.ndim < 2 or noise.shape[-2] != n:
        raise ValueError(f"noise must be (..., N, .) with q's N = {n} variables, got shape {noise.shape}")


def variables(q):
    """N. TypeError unless q is a relaxation, whose samples lie on the simplex, ValueError unless its parameters are
    (..., N, .)."""
    if not isinstance(q, Relaxation):
        raise TypeError(f"q must be a relaxation, with samples on the simplex, got {type(q).__name__}")
    shapes = {name: array.shape for name, array in q.params.items() if name in OWN}
    if any(len(shape) < 2 for shape in shapes.values()):
        raise ValueError(f"q's parameters must be (..., N, K or K-1) with N variables (1 of them, say), got {shapes}")
    return max(shape[-2] for shape in shapes.values())


def value_and_grad(f, z):
    """f(z) = (value, z_bar), its value checked by `as_value`."""
    value, z_bar = f(z)
    return as_value(value, z), z_bar


def value_of(f, z):
    """f(z) where its gradient is not needed."""
    return as_value(f.without_gradient(z) if hasattr(f, "without_gradient") else f(z)[0], z)


def as_value(value, z):
    """f's value (...) at z (..., N, K), in z's dtype if it holds integers: ValueError for another shape."""
    xp, _ = namespace(z)
    value = value if hasattr(value, "dtype") else xp.asarray(value)
    if value.shape != z.shape[:-2]:
        raise ValueError(f"f must return one number for each sample, (...) = {z.shape[:-2]}, got shape {value.shape}")
    return value if value.dtype.kind in "fc" else value.astype(z.dtype)


def over_variables(x):
    """Sum (..., N) over the variables."""
    xp, _ = namespace(x)
    return xp.sum(x, axis=-1)


def add_grads(first, second):
    """Sum of two gradient dicts; a name may be missing from the second."""
    return {name: first[name] + second[name] if name in second else first[name] for name in first}
