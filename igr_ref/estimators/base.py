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
from ..precision import InDouble, narrowed, widened


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


def value_of(f, z):
    """f(z) where its gradient is not needed."""
    return f.without_gradient(z) if hasattr(f, "without_gradient") else f(z)[0]


def over_variables(x):
    """Sum (..., N) over the variables."""
    xp, _ = namespace(x)
    return xp.sum(x, axis=-1)


def add_grads(first, second):
    """Sum of two gradient dicts; a name may be missing from the second."""
    return {name: first[name] + second[name] if name in second else first[name] for name in first}
