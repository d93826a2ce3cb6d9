"""Dense layers and the multilayer perceptron, forward and pullback.

Shapes: inputs (..., B, in), weights (in, out), biases (out,). A replica axis may stand in front of everything:
inputs (R, B, in) with weights (R, in, out) and biases (R, out) train R networks as one program.

`out` and `work` are the hot path: the same numbers, written into arrays that are kept from step to step.
"""

from __future__ import annotations

import math

import numpy

from ..backend import namespace


def dense(x, weight, bias, out=None):
    """x W + b: (..., B, out)."""
    xp, _ = namespace(x, weight)
    if out is None:
        return xp.matmul(x, weight) + bias[..., None, :]
    xp.matmul(x, weight, out=out)
    return xp.add(out, bias[..., None, :], out=out)


def dense_vjp(x, weight, out_bar, input_bar=True, out=None):
    """(weight_bar, bias_bar, x_bar) = (x^T out_bar, sum_b out_bar, out_bar W^T); x_bar is None if not asked for."""
    xp, _ = namespace(x, weight)
    x_t, weight_t = xp.swapaxes(x, -1, -2), xp.swapaxes(weight, -1, -2)
    if out is None:
        return xp.matmul(x_t, out_bar), xp.sum(out_bar, axis=-2), xp.matmul(out_bar, weight_t) if input_bar else None
    xp.matmul(x_t, out_bar, out=out[0])
    xp.sum(out_bar, axis=-2, out=out[1])
    return out[0], out[1], xp.matmul(out_bar, weight_t, out=out[2]) if input_bar else None


def relu(x):
    """max(x, 0). Pullback from the output y: y_bar where y > 0, else 0."""
    xp, _ = namespace(x)
    return xp.maximum(x, 0)


def relu_vjp(y, y_bar):
    return y_bar * (y > 0)


def tanh(x):
    """tanh(x). Pullback from the output y: (1 - y^2) y_bar."""
    xp, _ = namespace(x)
    return xp.tanh(x)


def tanh_vjp(y, y_bar):
    return (1 - y) * (1 + y) * y_bar


ACTIVATIONS = {
    "linear": (lambda x: x, lambda y, y_bar: y_bar),
    "relu": (relu, relu_vjp),
    "tanh": (tanh, tanh_vjp),
}


class MLP:
    """Dense layers of the given widths, an activation between them and none after the last.

    `work` (Buffers) may be given to `run` and `pullback`: what they return is then theirs until its next use.
    `batch_last` says that the network's output (`run`) or the cotangent on its input (`pullback`, `backward`) has the
    batch last in memory.

    Parameters live in a dict {"0.weight": (in, out), "0.bias": (out,), "1.weight": ...} that the caller owns.
    """

    def __init__(self, widths, activation="relu"):
        if len(widths) < 2 or any(int(width) != width or width < 1 for width in widths):
            raise ValueError(f"widths needs two or more positive integers, got {widths!r}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
        self.widths = tuple(int(width) for width in widths)
        self.activation = activation

    def init(self, rng, dtype=numpy.float64):
        """Glorot uniform weights, U(-l, l) with l = sqrt(6/(in + out)), and zero biases, as NumPy arrays."""
        params = {}
        for i, (n_in, n_out) in enumerate(zip(self.widths[:-1], self.widths[1:], strict=True)):
            limit = math.sqrt(6 / (n_in + n_out))
            params[f"{i}.weight"] = rng.uniform(-limit, limit, (n_in, n_out)).astype(dtype)
            params[f"{i}.bias"] = numpy.zeros(n_out, dtype)
        return params

    def run(self, params, x, work=None, batch_last=False):
        """(output (..., B, out), saved): `saved` holds every layer's input."""
        act, _ = ACTIVATIONS[self.activation]
        last = len(self.widths) - 2
        inputs = []
        for i in range(last + 1):
            inputs.append(x)
            out = None
            if work is not None:
                make = work.batch_last if batch_last and i == last else work.empty
                out = make(f"{i}.out", (*x.shape[:-1], self.widths[i + 1]), x)
            x = dense(x, params[f"{i}.weight"], params[f"{i}.bias"], out)
            if i < last:
                x = act(x) if work is None else self._act_in_place(x, work)
        return x, inputs

    def _act_in_place(self, x, work):
        xp, _ = namespace(x)
        if self.activation == "relu":
            xp.maximum(x, work.zeros(x.shape, x), out=x)  # NumPy compares with an array far sooner than with 0
        elif self.activation == "tanh":
            xp.tanh(x, out=x)
        return x

    def hidden(self, params, x):
        """The last layer's input (..., B, H); x itself if there is one layer only."""
        act, _ = ACTIVATIONS[self.activation]
        for i in range(len(self.widths) - 2):
            x = act(dense(x, params[f"{i}.weight"], params[f"{i}.bias"]))
        return x

    def pullback(self, params, saved, out_bar, input_bar=True, work=None, batch_last=False):
        """(gradients with the names of `params`, x_bar); x_bar is None unless input_bar."""
        _, act_vjp = ACTIVATIONS[self.activation]
        grads = {}
        for i in range(len(saved) - 1, -1, -1):
            weight, bias = params[f"{i}.weight"], params[f"{i}.bias"]
            out = None
            if work is not None:
                make = work.batch_last if batch_last and i == 0 else work.empty
                x_bar = make(f"{i}.x_bar", saved[i].shape, saved[i]) if input_bar or i > 0 else None
                kept = (work.empty(f"{i}.{name}", p.shape, p) for name, p in (("weight", weight), ("bias", bias)))
                out = (*kept, x_bar)
            weight_bar, bias_bar, x_bar = dense_vjp(saved[i], weight, out_bar, input_bar or i > 0, out)
            grads[f"{i}.weight"], grads[f"{i}.bias"] = weight_bar, bias_bar
            # a layer's input is the activation's output, which is all that its pullback needs
            if i > 0 and work is not None and self.activation == "relu":
                xp, _ = namespace(x_bar)
                out_bar = xp.multiply(x_bar, saved[i] > 0, out=x_bar)
            else:
                out_bar = act_vjp(saved[i], x_bar) if i > 0 else x_bar
        return grads, out_bar

    def backward(self, params, saved, out_bar, input_bar=True, work=None, batch_last=False):
        """(every layer's out_bar, x_bar): the pullback but for the parameters' gradients, which `gradients` adds."""
        xp, _ = namespace(out_bar)
        _, act_vjp = ACTIVATIONS[self.activation]
        out_bars = [out_bar]
        for i in range(len(saved) - 1, -1 if input_bar else 0, -1):
            out = None
            if work is not None:
                make = work.batch_last if batch_last and i == 0 else work.empty
                out = make(f"{i}.x_bar", saved[i].shape, saved[i])
            x_bar = xp.matmul(out_bars[0], xp.swapaxes(params[f"{i}.weight"], -1, -2), out=out)
            if i > 0 and work is not None and self.activation == "relu":
                out_bars.insert(0, xp.multiply(x_bar, saved[i] > 0, out=x_bar))
            else:
                out_bars.insert(0, act_vjp(saved[i], x_bar) if i > 0 else x_bar)
        return (out_bars[1:], out_bars[0]) if input_bar else (out_bars, None)

    def gradients(self, params, saved, out_bars):
        """Gradients with the names of `params`, from what `run` and `backward` left."""
        grads = {}
        for i, (x, out_bar) in enumerate(zip(saved, out_bars, strict=True)):
            grads[f"{i}.weight"], grads[f"{i}.bias"], _ = dense_vjp(x, params[f"{i}.weight"], out_bar, False)
        return grads


def named(prefix, params):
    """The parameters under "prefix.name", as a model of several parts keeps them in one dict."""
    return {f"{prefix}.{name}": array for name, array in params.items()}


def part(params, prefix):
    """The parameters of one part, under their own names again: the inverse of `named`."""
    cut = len(prefix) + 1
    return {name[cut:]: array for name, array in params.items() if name.startswith(prefix + ".")}
