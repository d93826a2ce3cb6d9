"""REBAR (Tucker et al. 2017), for the Gumbel-Softmax and, through Prop. 2, for IGR-I (eqs. 38 and 39).

    g = [f(b) - c(z~)] s + dc(z)/do - dc(z~)/do,   s = dlog q(b)/do,   c = eta f,
    b the discrete value of y,  z the relaxation of y,  z~ that of y | b: each image has its own residual f(b) - c(z~).
Unbiased: E[c(z~) s] + E[dc(z~)/do] = dE[c(z~)]/do, the derivative of y | b being part of the second term, and z~ has
the law of z, so that the terms with c have mean zero together, for every c.
Control variate: the gradient of V = mean ||g||^2 by its parameters (E g does not depend on them). As dV = 2 <g, dg>,
with y_dot and y~_dot the tangents of y and y | b along g, and D the slope of `control_variates`:
    dV = 2 mean { -<g, s> dc(z~) + dD(z, y_dot) - dD(z~, y~_dot) },   derivatives by the parameters of c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy

from ..backend import namespace
from ..transforms.base import check_temperature
from ._pairs import PairedNoise, paired
from .base import Estimate, add_grads, check_variables, estimated_in_double, given_single, value_of, variables
from .control_variates import NETWORK, evaluate, parameter_gradients
from .score_function import kl_term


@dataclass(frozen=True)
class ControlledEstimate(Estimate):
    """An Estimate (value: f(b), exact kl) with what `variance_gradient` needs."""

    control: Any = None


@dataclass(frozen=True)
class Control:
    """The gradients g without the KL term, the scores s (dicts by parameter), and c at z and z~.

    at: c at z and z~, stacked along an axis after the replicas; with coupled noise, where z~ = z, at z.
    """

    params: dict
    pair: Any
    g: dict
    s: dict
    at: Any
    coupled: bool

    @property
    def free(self):
        return self.at if self.coupled else self.at.entry(0, self.params)

    @property
    def given(self):
        return self.at if self.coupled else self.at.entry(1, self.params)


def rebar_params(n_variables, temperature, eta=1.0, dtype=float):
    """{"log_lambda": (N,), "eta": ()}: one learned temperature for each variable, as NumPy arrays.

    The published code starts RELAX at 5 (Gumbel-Softmax) or .15 (IGR), the original one at .5.
    ValueError for a temperature that is not positive.
    """
    check_temperature(temperature)
    return {"log_lambda": numpy.full(n_variables, numpy.log(temperature), dtype), "eta": numpy.asarray(eta, dtype)}


def rebar(q, noise: PairedNoise, f, p=None, *, params):
    """Gradient of E_q[f(b)] + KL(q || uniform) over discrete codes: signature and shapes in `base`, and

    q        GumbelSoftmax or IGR-I. Its own temperature is not used: z has the temperatures lambda of `params`.
    noise    PairedNoise(path, uniforms).
    f        is called at z and z~, stacked along a new axis after the replicas' (with coupled noise at z alone), and,
             last, at b: an f that keeps its parameters' gradients on the side (models.vae) is left with those of f(b),
             which is all that its parameters must see.
    p        None or "uniform": the exact KL of the discrete law, with its exact gradient.
    params   the control variate's, {"log_lambda", "eta"}: see `control_variates`.
    Returns ControlledEstimate.
    """
    if set(params) != {"log_lambda", "eta"}:
        raise ValueError(f"REBAR's params are log_lambda and eta, got {sorted(params)}")
    return controlled(q, noise, f, p, params=params)


@estimated_in_double
def controlled(q, noise, f, p, params, work=None):
    """The estimator for any control variate of `control_variates`. work: Buffers, or None."""
    check_params(q, params)
    check_noise(q, noise)
    pair = paired(q, noise, p, work)
    coupled = noise.uniforms is None
    y = pair.y if coupled else pair.both(pair.y, pair.y_given, params["log_lambda"].ndim - 1)
    at = evaluate(params, pair, y, f)
    free, given = (at, at) if coupled else (at.entry(i, params) for i in (0, 1))
    value = value_of(f, pair.b)
    s = {name: x.astype(value.dtype) for name, x in pair.codes.score.items()}
    residual = (value - given.value)[..., None, None]
    path, path_given = pair.pullback(free.y_bar), pair.pullback_given(given.y_bar)
    g = {name: residual * s[name] + (path[name] - path_given[name]) for name in s}
    kl, kl_grads = kl_term(q, p, value, pair.codes.log_p, pair.codes.kl_grads)
    return ControlledEstimate(value, kl, add_grads(g, kl_grads), Control(params, pair, g, s, at, coupled))


def check_noise(q, noise):
    """TypeError unless it is PairedNoise, ValueError unless its parts have q's variables and one shape but for the last
    axis, which the conditional samples look at."""
    if not isinstance(noise, PairedNoise):
        raise TypeError(f"noise must be PairedNoise(path, uniforms), got {type(noise).__name__}")
    check_variables(q, noise.path)
    if noise.uniforms is not None and noise.uniforms.shape[:-1] != noise.path.shape[:-1]:
        raise ValueError(
            f"noise.uniforms must have the shape of noise.path, {noise.path.shape}, got {noise.uniforms.shape}"
        )


def check_params(q, params):
    n = variables(q)
    if "log_lambda" not in params or params["log_lambda"].shape[-1] != n:
        raise ValueError(f"params must hold log_lambda for q's {n} variables, got {sorted(params)}")
    if 0 < sum(name in params for name in NETWORK) < len(NETWORK):
        raise ValueError(f"params must hold all of {NETWORK} or none, got {sorted(params)}")


def variance_objective(estimate, chain=None):
    """V = mean ||g||^2 over samples and images, summed over the parameters of q; one number for each replica."""
    control = estimate.control
    rows = control.g if chain is None else chain.pullback(control.g)
    return _mean(_square_sum(rows, rows), control.params).astype(estimate.value.dtype)


def variance_gradient(estimate, f_hvp=None, chain=None):
    """The gradient of `variance_objective` by the control variate's parameters, a dict with the names of `params`.

    f_hvp(z, t) -> (d^2f/dz^2) t: two more products with f, for log_lambda, whose gradient is left out without it.
    chain: q's parameters as functions of others (`relax.bounded_parameters`): V is then the square of C g, C = the
    chain's pullback, dV = 2 <C g, C dg>, and the direction is C^T C g.
    """
    control, dtype = estimate.control, estimate.value.dtype
    if f_hvp is not None and control.at.z.dtype != dtype:  # `control` is in float64
        f_hvp = given_single(f_hvp)
    direction = control.g if chain is None else chain.pushforward(chain.pullback(control.g))
    y_dot, given_dot = control.pair.pushforward(direction)
    g_s = _square_sum(direction, control.s)
    xp, _ = namespace(g_s)
    c_bar, dot = -g_s, y_dot - given_dot  # D is linear in the tangent
    if not control.coupled:
        axis = control.params["log_lambda"].ndim - 1
        c_bar, dot = xp.stack([xp.zeros_like(g_s), -g_s], axis=axis), control.pair.both(y_dot, -given_dot, axis)
    grads = parameter_gradients(control.params, control.pair, control.at, dot, c_bar, f_hvp)
    scale = 2 / _count(g_s, control.params)
    return {name: (scale * grad).astype(dtype) for name, grad in grads.items()}


def _square_sum(first, second):
    """<first, second> over the variables and categories of all parameters: (...)."""
    xp, _ = namespace(*first.values())
    return sum(xp.sum(first[name] * second[name], axis=(-2, -1)) for name in first)


def _count(x, params):
    n = 1
    for size in x.shape[params["log_lambda"].ndim - 1 :]:
        n *= size
    return n


def _mean(x, params):
    xp, _ = namespace(x)
    return xp.mean(x, axis=tuple(range(params["log_lambda"].ndim - 1, x.ndim)))
