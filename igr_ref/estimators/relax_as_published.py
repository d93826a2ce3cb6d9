"""INVALID: RELAX as the paper's published code computes it, kept to measure what it does. Nothing else imports it.

IGR (audit kl-sign, relax-bias, relax-update), z' an independent relaxed sample in place of y | b:
    g = [f(b) - c(z')] s + dc(z')/do + s,   loss = f(b) - KL,   V = mean ||g's mu block||^2.
    Its mean is dE[f]/do + dE[c]/do, about twice the gradient, and the KL term is maximised: no estimator of anything.
Gumbel-Softmax (audit shared-residual), over a batch of B images:
    g_i = B (R + 1) s_i + dc(z_i)/do - dc(z~_i)/do,   R = mean_i [f(b_i) - c(z~_i)],
    z = softmax(zeta/lambda + log alpha). Unbiased, as E[s_i] = 0 and images are independent, but with 10^2 to 10^3
    times the variance that each image's own residual gives; the added log alpha is harmless.
"""

from __future__ import annotations

from ..backend import namespace
from ..distributions import gaussian
from ._pairs import GaussianPair, GumbelPair
from .base import Estimate, add_grads
from .control_variates import _temperature, evaluate, parameter_gradients
from .rebar import Control, ControlledEstimate, _count, _square_sum, check_params
from .score_function import drawn_codes, kl_term


class _IndependentPair(GaussianPair):
    """`uniforms` holds a second set of normal draws eps', and z' is made from them, whatever b is."""

    def __init__(self, q, noise):
        xp, _ = namespace(q.mu)
        self.q, self.path, self.sigma = q, noise.uniforms, xp.exp(q.log_sigma)
        self.b = q.discretize(noise.path)
        self.y = gaussian.sample(q.mu, q.log_sigma, noise.uniforms)


class _ShiftedPair(GumbelPair):
    """Adds log alpha to the logits after their division by lambda, in z and in z~."""

    def __init__(self, q, noise):
        super().__init__(q, noise)
        self.shift = q.log_alpha

    def logits(self, scaled):
        return scaled + self.shift


def relax_igr_as_published_invalid(q, noise, f, p=None, *, params):
    """Biased. noise: PairedNoise(eps, eps') of two independent sets of normal draws; the rest as `relax.relax`."""
    check_params(q, params)
    pair = _IndependentPair(q, noise)
    free = evaluate(params, pair, pair.y, f)
    value, _ = f(pair.b)
    codes = drawn_codes(q, pair.b, p)
    s = {name: x.astype(value.dtype) for name, x in codes.score.items()}
    residual = (value - free.value)[..., None, None]
    path = pair.pullback(free.y_bar)
    g = {name: residual * s[name] + path[name] + s[name] for name in s}
    kl, kl_grads = kl_term(q, p, value, codes.log_p, codes.kl_grads)
    wrong_sign = {name: -bar for name, bar in kl_grads.items()}
    return ControlledEstimate(value, -kl, add_grads(g, wrong_sign), Control(params, pair, g, s, free, True))


def mu_block_variance_gradient_invalid(estimate, f_hvp=None):
    """The control variate's update that goes with it: the gradient of mean ||g's mu block||^2, log_sigma left out."""
    control = estimate.control
    xp, _ = namespace(control.g["mu"])
    direction = {"mu": control.g["mu"], "log_sigma": xp.zeros_like(control.g["log_sigma"])}
    y_dot = direction["mu"]  # dy = dmu
    g_s = _square_sum(direction, control.s)
    grads = parameter_gradients(control.params, control.pair, control.free, y_dot, -g_s, f_hvp)
    return {name: 2 / _count(g_s, control.params) * grad for name, grad in grads.items()}


def relax_gumbel_as_published_invalid(q, noise, f, p=None, *, params, batch_axis=-1, shift=True):
    """One residual for the whole batch, which lies along `batch_axis` of f's value; shift: log alpha in the logits."""
    check_params(q, params)
    pair = (_ShiftedPair if shift else GumbelPair)(q, noise)
    free = evaluate(params, pair, pair.y, f)
    given = evaluate(params, pair, pair.y_given, f)
    value, _ = f(pair.b)
    xp, _ = namespace(value)
    s = {"log_alpha": pair.codes.score["log_alpha"].astype(value.dtype)}
    shared = xp.mean(value - given.value, axis=batch_axis, keepdims=True)
    batch = value.shape[batch_axis]
    path = pair.pullback(free.y_bar)["log_alpha"] - pair.pullback_given(given.y_bar)["log_alpha"]
    if shift:
        # the logits hold log alpha itself too, with logits_bar = lambda y_bar
        path = path + _temperature(params, pair.y) * (free.y_bar - given.y_bar)
    g = {"log_alpha": batch * (shared[..., None, None] + 1) * s["log_alpha"] + path}
    kl, kl_grads = kl_term(q, p, value, pair.codes.log_p)
    return Estimate(value, kl, add_grads(g, kl_grads))
