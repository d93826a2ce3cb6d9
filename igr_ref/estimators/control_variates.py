"""The control variate of REBAR and RELAX, c(z) = eta f(z) + r(z) at z = softmax(u), u = y/lambda, and its derivatives.

r(z) = w_2 . max(0, h) + b_2,  h = (2z - 1) W_1 + b_1  over all N K numbers of z;  M = 1[h > 0],  dr/dz = 2 W_1 (M w_2).
Slope along a tangent of y     D = <dc/dy, y_dot> = <dc/dz, t>,  t = S(y_dot/lambda),  S(q) = z (q - z.q).
By the parameters theta of c, with g = dc/dz and g_dot = (d^2c/dz^2) t  (z.q is a sum over one variable's categories):
    log lambda_n   dc = -<dc/dy_n, y_n>,
                   dD = -<dc/dy_n, y_dot_n> - <q_dot_n, u_n>,   q_dot = t (g - z.g) + z (g_dot - z.g_dot - t.g);
    eta            dc = f(z),  dD = <df/dz, t>;
    W_1, w_2       dc = (2z - 1)^T (M w_2),  max(0, h);   dD = 2 t^T (M w_2),  2 M (t W_1);
    b_1, b_2       dc = M w_2,  1;                        dD = 0.
Parameters are a dict that the caller owns, each with replica axes in front or none: "log_lambda" (N,), "eta" ()
(absent: 1), "r.0.weight" (N K, H), "r.0.bias" (H,), "r.1.weight" (H, 1), "r.1.bias" (1,) (all four absent: r = 0).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..backend import namespace
from ..numerics import softmax, softmax_vjp
from .base import value_and_grad

NETWORK = ("r.0.weight", "r.0.bias", "r.1.weight", "r.1.bias")


@dataclass(frozen=True)
class Evaluated:
    """c at one sample y (..., N, .): `value` (...) and `y_bar` = dc/dy (..., N, .), with the parts that made them."""

    y: Any
    z: Any
    value: Any
    z_bar: Any
    y_bar: Any
    f_value: Any
    f_bar: Any
    hidden: Any  # max(0, h) (*replicas, rows, H), None without a network

    def entry(self, i, params):
        """The i-th of the samples that lie along the first axis after the replicas."""
        r = len(_replicas(params))
        at = (slice(None),) * r + (i,)
        parts = {name: array[at] for name, array in vars(self).items() if name != "hidden" and array is not None}
        hidden = self.hidden
        if hidden is not None:
            hidden = hidden.reshape(*hidden.shape[:r], self.y.shape[r], -1, hidden.shape[-1])[at]
        return Evaluated(**parts, hidden=hidden)


def network_params(rng, n_variables, n_categories, hidden=50, dtype=float):
    """Glorot uniform weights and zero biases of r, as NumPy arrays."""

    def glorot(n_in, n_out):
        limit = math.sqrt(6 / (n_in + n_out))
        return rng.uniform(-limit, limit, (n_in, n_out)).astype(dtype)

    first, last = glorot(n_variables * n_categories, hidden), glorot(hidden, 1)
    return dict(zip(NETWORK, (first, 0 * first[0], last, 0 * last[0]), strict=True))


def evaluate(params, pair, y, f):
    """Evaluated: calls f(z) -> (value (...), z_bar (..., N, K)) once."""
    xp, _ = namespace(y)
    z = softmax(pair.logits(y / _temperature(params, y)))
    f_value, f_bar = value_and_grad(f, z)
    value, z_bar, hidden = f_value, f_bar, None
    if "eta" in params:
        eta = _over_samples(params["eta"], params, f_value)
        value, z_bar = eta * f_value, eta[..., None, None] * f_bar
    if NETWORK[0] in params:
        w_1, b_1, w_2, b_2 = (params[name] for name in NETWORK)
        hidden = xp.maximum(xp.matmul(2 * _rows(z, params) - 1, w_1) + b_1[..., None, :], 0)
        value = value + xp.reshape(xp.matmul(hidden, w_2) + b_2[..., None, :], value.shape)
        r_bar = xp.reshape(2 * xp.matmul(_active(hidden, w_2), xp.swapaxes(w_1, -1, -2)), z.shape)
        z_bar = z_bar + pair.laid_out(r_bar, len(_replicas(params)))
    y_bar = pair.coordinates(softmax_vjp(z, z_bar)) / _temperature(params, y)
    return Evaluated(y, z, value, z_bar, y_bar, f_value, f_bar, hidden)


def parameter_gradients(params, pair, at, y_dot, c_bar, f_hvp=None):
    """Gradients by `params` of the sum over samples of c_bar c(z) + D, c_bar (...) and y_dot held fixed.

    f_hvp(z, t) -> (d^2f/dz^2) t (..., N, K) enters the gradient of log_lambda only, which is left out without it.
    """
    xp, _ = namespace(at.y)
    temperature = _temperature(params, at.y)
    t = softmax_vjp(at.z, pair.logits_tangent(y_dot / temperature))  # S is symmetric: tangent and pullback are one map
    grads = {}
    if "eta" in params:
        per_sample = c_bar * at.f_value + xp.sum(at.f_bar * t, axis=(-2, -1))
        grads["eta"] = _sum_samples(per_sample, params, 0)
    if at.hidden is not None:
        w_1, _, w_2, _ = (params[name] for name in NETWORK)
        bar = xp.reshape(c_bar, (*at.hidden.shape[:-1], 1))
        x, flat_t = 2 * _rows(at.z, params) - 1, _rows(t, params)
        active = _active(at.hidden, w_2)
        grads["r.0.weight"] = xp.matmul(xp.swapaxes(bar * x + 2 * flat_t, -1, -2), active)
        grads["r.0.bias"] = xp.sum(bar * active, axis=-2)
        by_w_2 = bar * at.hidden + 2 * (at.hidden > 0) * xp.matmul(flat_t, w_1)
        grads["r.1.weight"] = xp.sum(by_w_2, axis=-2)[..., None]
        grads["r.1.bias"] = xp.sum(bar, axis=-2)
    if f_hvp is not None:
        g, z = at.z_bar, at.z
        g_dot = f_hvp(z, t)
        if "eta" in params:
            g_dot = _over_samples(params["eta"], params, at.f_value)[..., None, None] * g_dot
        q_dot = t * (g - _dot(z, g)) + z * (g_dot - _dot(z, g_dot) - _dot(t, g))
        dc = -xp.sum(at.y_bar * at.y, axis=-1)
        slope = -xp.sum(at.y_bar * y_dot + pair.coordinates(q_dot) * at.y / temperature, axis=-1)
        grads["log_lambda"] = _sum_samples(c_bar[..., None] * dc + slope, params, 1)
    return grads


def bernoulli_decoder_hvp(decoder, z, t, forward=None):
    """(d^2f/dz^2) t of f(z) = -log p(x|z), a Bernoulli decoder of ReLU layers: the same for every image x.

    forward: (layer inputs, outputs) of the decoder at z, if they are at hand.

    decoder: "0.weight" (N K, .), "0.bias", "1.weight", ...: the names and shapes of models.mlp.MLP.
    With J = dl/dz (the layers' masks are constant almost everywhere) it is J^T diag(sigmoid(l) sigmoid(-l)) J t.
    """
    xp, _ = namespace(z)
    weights = [decoder[f"{i}.weight"] for i in range(len(decoder) // 2)]
    lead = weights[0].shape[:-2]
    x, x_dot = (xp.reshape(v, (*lead, -1, weights[0].shape[-2])) for v in (z, t))
    inputs, x = _forward(decoder, weights, x) if forward is None else forward
    masks = [layer > 0 for layer in inputs[1:]]
    for i, weight in enumerate(weights):
        x_dot = xp.matmul(x_dot, weight)
        x_dot = x_dot * masks[i] if i < len(masks) else x_dot
    e = xp.exp(-xp.abs(x))
    bar = e / ((1 + e) * (1 + e)) * x_dot  # sigmoid(x) sigmoid(-x)
    for weight in reversed(weights):
        bar = xp.matmul(bar, xp.swapaxes(weight, -1, -2))
        bar = bar * masks.pop() if masks else bar
    return xp.reshape(bar, z.shape)


def _forward(decoder, weights, x):
    """(layer inputs, outputs) of ReLU layers."""
    xp, _ = namespace(x)
    inputs = [x]
    for i, weight in enumerate(weights):
        x = xp.matmul(inputs[-1], weight) + decoder[f"{i}.bias"][..., None, :]
        inputs.append(xp.maximum(x, 0))
    return inputs[:-1], x


def _dot(a, b):
    xp, _ = namespace(a)
    return xp.sum(a * b, axis=-1, keepdims=True)


def _active(hidden, w_2):
    """M w_2 (*replicas, rows, H)."""
    return (hidden > 0) * w_2[..., None, :, 0]


def _replicas(params):
    return params["log_lambda"].shape[:-1]


def _temperature(params, y):
    """lambda (..., N, 1), to broadcast against y (..., N, .)."""
    xp, _ = namespace(y)
    rep, n = _replicas(params), params["log_lambda"].shape[-1]
    return xp.reshape(xp.exp(params["log_lambda"]), rep + (1,) * (y.ndim - 2 - len(rep)) + (n, 1))


def _over_samples(x, params, value):
    """A parameter (*replicas) to broadcast against values (...)."""
    xp, _ = namespace(value)
    return xp.reshape(x, _replicas(params) + (1,) * (value.ndim - len(_replicas(params))))


def _rows(z, params):
    """z (..., N, K) as (*replicas, rows, N K)."""
    xp, _ = namespace(z)
    return xp.reshape(z, (*_replicas(params), -1, z.shape[-2] * z.shape[-1]))


def _sum_samples(x, params, keep):
    """Sum over every axis but the replicas and the last `keep`."""
    xp, _ = namespace(x)
    return xp.sum(x, axis=tuple(range(len(_replicas(params)), x.ndim - keep)))
