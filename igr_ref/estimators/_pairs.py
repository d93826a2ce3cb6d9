"""The two relaxed samples of REBAR and RELAX, y and y | b, for either kind of relaxation.

Gumbel-Softmax  y = zeta = log theta + G, K coordinates, b = its argmax;  z = softmax(y/lambda).
IGR-I           y = mu + sigma eps, K-1 coordinates, b = h(y);            z = softmax++(y/lambda), the softmax of
                (y/lambda, log delta).
`codes` are the law, the score of b and the KL's gradient (`score_function.DrawnCodes`).
A pair says how its coordinates become logits, and takes cotangents from logits to parameters and tangents back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..backend import namespace
from ..distributions import GumbelSoftmax, gaussian
from ..numerics import log_softmax, log_softmax_vjp
from ..recovery import conditional, conditional_gumbel
from .score_function import drawn_codes, is_igr_i


@dataclass(frozen=True)
class PairedNoise:
    """path: the draws that q.run takes. uniforms: as many again, in (0, 1), for the sample given b.

    uniforms=None couples the two: those uniforms are used at which the sample given b equals the first one in value
    (their derivatives still differ). Given b they are uniform and independent of b, so the estimator stays unbiased.
    """

    path: Any
    uniforms: Any = None


def paired(q, noise, p=None, work=None):
    """The pair of q; TypeError unless q is GumbelSoftmax or IGR-I. p: the estimator's, for the KL's gradient."""
    if isinstance(q, GumbelSoftmax):
        return GumbelPair(q, noise, p)
    if is_igr_i(q):
        return GaussianPair(q, noise, p, work)
    raise TypeError(f"b | q and y | b are known for GumbelSoftmax and IGR-I (softmax++), got {type(q).__name__}")


class GumbelPair:
    """o = log_alpha."""

    def __init__(self, q, noise, p=None):
        self.b = q.discretize(noise.path)
        self.codes = drawn_codes(q, self.b, p)
        self.log_theta = log_softmax(q.log_alpha)
        self.y = self.log_theta + noise.path
        if noise.uniforms is None:
            self.y_given, self.saved = self.y, conditional_gumbel.coupled(q.log_alpha, self.b, self.y)
        else:
            self.y_given, self.saved = conditional_gumbel.sample(q.log_alpha, self.b, noise.uniforms)

    def both(self, free, given, axis):
        """What belongs to the two samples, (..., N, .), stacked along a new axis: that after the replicas."""
        xp, _ = namespace(free)
        return xp.stack([free, given], axis=axis)

    def laid_out(self, x, axis):
        """x (..., N, .) in memory as the samples are, with replicas on the axes before `axis`."""
        return x

    def logits(self, scaled):
        """All K logits from y/lambda."""
        return scaled

    def logits_tangent(self, scaled_dot):
        return scaled_dot

    def coordinates(self, logits_bar):
        """The part of a cotangent (or of anything per category) that belongs to coordinates of y."""
        return logits_bar

    def pullback(self, y_bar):
        """Gradients by q's parameters of a cotangent on y."""
        return {"log_alpha": log_softmax_vjp(self.log_theta, y_bar)}

    def pullback_given(self, y_bar):
        """The same for the sample given b."""
        return {"log_alpha": conditional_gumbel.pullback(self.saved, y_bar)}

    def pushforward(self, direction):
        """(y_dot, tangent of the sample given b) along a direction in q's parameters."""
        xp, _ = namespace(self.log_theta)
        dot = direction["log_alpha"]
        y_dot = dot - xp.sum(xp.exp(self.log_theta) * dot, axis=-1, keepdims=True)
        return y_dot, conditional_gumbel.pushforward(self.saved, dot)


class GaussianPair:
    """o = (mu, log_sigma)."""

    work = None

    def __init__(self, q, noise, p=None, work=None):
        xp, _ = namespace(q.mu)
        self.q, self.path, self.sigma, self.work = q, noise.path, xp.exp(q.log_sigma), work
        self.b = q.discretize(noise.path)
        self.y = gaussian.sample(q.mu, q.log_sigma, noise.path)
        sample = {"y": self.y} if noise.uniforms is None else {"v": noise.uniforms}
        self.codes = drawn_codes(q, self.b, p, work, **sample)
        y_given, self.saved = self.codes.given
        self.y_given = self.y if noise.uniforms is None else y_given

    def both(self, free, given, axis):
        xp, _ = namespace(free)
        return self.laid_out(xp.stack([free, given], axis=axis), axis)

    def laid_out(self, x, axis):
        """In a training step (`work`) the axes from `axis` to the batch are last in memory, behind N: see `vae`."""
        if self.work is None:
            return x
        xp, _ = namespace(x)
        return xp.moveaxis(xp.ascontiguousarray(xp.moveaxis(x, (-2, -1), (axis, axis + 1))), (axis, axis + 1), (-2, -1))

    def logits(self, scaled):
        return self._with_last(scaled, math.log(self.q.transform.delta))

    def logits_tangent(self, scaled_dot):
        return self._with_last(scaled_dot, 0.0)

    def _with_last(self, x, value):
        xp, _ = namespace(x)
        return xp.concatenate([x, xp.zeros_like(x[..., :1]) + value], axis=-1)

    def coordinates(self, logits_bar):
        return logits_bar[..., :-1]

    def pullback(self, y_bar):
        mu_bar, log_sigma_bar = gaussian.sample_vjp(self.q.log_sigma, self.path, y_bar)
        return {"mu": mu_bar, "log_sigma": log_sigma_bar}

    def pullback_given(self, y_bar):
        mu_bar, sigma_bar = conditional.pullback(self.saved, y_bar)
        return {"mu": mu_bar, "log_sigma": sigma_bar * self.sigma}

    def pushforward(self, direction):
        mu_dot, sigma_dot = direction["mu"], self.sigma * direction["log_sigma"]
        return mu_dot + sigma_dot * self.path, conditional.pushforward(self.saved, mu_dot, sigma_dot)
