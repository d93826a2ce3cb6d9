"""The common signature of the gradient estimators, said once.

The objective, for parameters theta of q over N variables of K categories, is

    L(theta) = E_q[f(z)] + KL(q || p)          (p=None: no KL term).

    estimate = estimator(q, noise, f, p)

q, p   relaxations whose parameters are (..., N, K or K-1); p broadcasts against q.
noise  the draws that q.run takes, (..., N, .); leading axes beyond q's own are samples.
f      a function of the relaxed sample z (..., N, K) that returns (value (...), z_bar (..., N, K)), z_bar = df/dz. It
       is called once for each z the estimator needs.

Nothing is averaged: `Estimate.grads` holds one gradient for each entry of the leading axes of the sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..backend import namespace


@dataclass(frozen=True)
class Estimate:
    """loss = value + kl, each (...): f at the sample, and the KL term (closed or sampled; 0 without p).

    grads: parameter name -> an unbiased estimate of dL/dparameter for the relaxed objective, per sample.
    """

    value: Any
    kl: Any
    grads: dict

    @property
    def loss(self):
        return self.value + self.kl


def over_variables(x):
    """Sum (..., N) over the variables."""
    xp, _ = namespace(x)
    return xp.sum(x, axis=-1)


def add_grads(first, second):
    """Sum of two gradient dicts; a name may be missing from the second."""
    return {name: first[name] + second[name] if name in second else first[name] for name in first}
