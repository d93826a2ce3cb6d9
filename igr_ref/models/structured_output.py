"""Structured output prediction (section 4.3, appendix E): the lower half of an image from the upper, in binary steps.

    x_upper --first--> o --unit--> psi;   2 psi - 1 --second--> o --unit--> psi;   2 psi - 1 --decoder--> logits
Loss       -log (1/S) sum_s p(x_lower | logits_s), per image. Its gradient by log p_s is -softmax_s(log p).
Score      log (1/m) sum_s p(x_lower | logits_s) of the binary network, every psi replaced by b = 1[psi > 1/2].
"""

from __future__ import annotations

import math

from ..backend import namespace
from ..numerics import logsumexp, softmax
from .buffers import Buffers
from .losses import Bernoulli
from .mlp import MLP, named, part

ROWS = 1000  # samples scored at once: large enough for the matrix product, small enough for the cache


class StructuredOutput:
    """Three networks around two layers of n_units binary units; pixels are binary.

    architecture "nonlinear": `first` and `second` have a hidden tanh layer of n_units; "double_linear": they have none,
    which is what the published script runs. Parameters: one dict, "first.0.weight", "second.0.weight", ...,
    "decoder.0.bias", and what a unit has of its own as "first.flow.0.w", ..., with or without a replica axis.
    """

    HIDDEN = {"nonlinear": 1, "double_linear": 0}

    def __init__(self, unit, n_in=392, n_out=392, n_units=240, architecture="nonlinear"):
        if architecture not in self.HIDDEN:
            raise ValueError(f"architecture must be one of {sorted(self.HIDDEN)}, got {architecture!r}")
        tail = (n_units,) * self.HIDDEN[architecture] + (n_units * unit.outputs,)
        self.unit, self.n_units, self.likelihood = unit, n_units, Bernoulli()
        self.first, self.second = MLP((n_in, *tail), "tanh"), MLP((n_units, *tail), "tanh")
        self.decoder = MLP((n_units, n_out))

    def init(self, rng, dtype):
        """Fresh parameters (no replica axis) as NumPy arrays."""
        params = {}
        for name in ("first", "second", "decoder"):
            params |= named(name, getattr(self, name).init(rng, dtype))
        for name in ("first", "second"):
            params |= named(name, self.unit.init(rng, self.n_units, dtype))
        return params

    def noise_shape(self, n_images, n_samples=1):
        """(S, B, 2, N): the noise of both layers of units, without a replica axis; `unit.noise` names its law."""
        return (n_samples, n_images, 2, self.n_units)

    def loss(self, params, x_upper, x_lower, noise):
        """The loss ([R,] B) alone: see `loss_and_grads`."""
        logits, _ = self._run(params, x_upper, noise, self.unit.run)
        return _minus_log_mean(self.likelihood.log_prob(x_lower[..., None, :, :], logits))

    def loss_and_grads(self, params, x_upper, x_lower, noise):
        """(loss ([R,] B), gradients of its mean over images) for images ([R,] B, P) and noise ([R,] S, B, 2, N)."""
        xp, _ = namespace(x_upper, noise)
        logits, (saved, units) = self._run(params, x_upper, noise, self.unit.run)
        log_p, bar = self.likelihood.log_prob_and_grad(x_lower[..., None, :, :], logits)
        bar = bar * (softmax(log_p, axis=-2) / -log_p.shape[-1])[..., None]  # mean over B
        grads = {}

        def back(name, out_bar, input_bar=True):
            own, in_bar = getattr(self, name).pullback(part(params, name), saved[name], out_bar, input_bar)
            grads.update(named(name, own))
            return in_bar

        def back_unit(name, h_bar):
            psi_bar = 2 * h_bar.reshape(*log_p.shape, self.n_units)  # h = 2 psi - 1
            o_bar, own = self.unit.pullback(part(params, name), units[name], psi_bar)
            grads.update(named(name, own))
            return o_bar

        o_bar = back_unit("second", back("decoder", _rows(bar)))
        o_bar = back_unit("first", back("second", _rows(o_bar)))
        back("first", xp.sum(o_bar, axis=-3), input_bar=False)  # o_1 is one for all samples
        return _minus_log_mean(log_p), grads

    def predict(self, params, x_upper, noise, discrete=True):
        """E[x_lower | units] ([R,] S, B, P): one picture for each sample of the binary (or relaxed) units."""
        unit = self._binary if discrete else self.unit.run
        return self.likelihood.mean(self._run(params, x_upper, noise, unit)[0])

    def log_likelihood_bound(self, params, x_upper, x_lower, noise, m=1000):
        """log (1/m) sum_s p(x_lower | b_s) of the binary network, for each image: (B,). No replica axis.

        Its mean over the noise is below log p(x_lower | x_upper). noise: (m, B, 2, N), or a function of (image, start,
        stop) that returns the draws (stop - start, 2, N) of that image's samples; it is called image by image, for at
        most ROWS samples in a row, so that memory does not grow with m.
        """
        xp, _ = namespace(x_upper)
        draw = noise
        if not callable(noise):
            self._check(x_upper, noise)
            if noise.shape[0] != m:
                raise ValueError(f"noise must have m={m} samples, got shape {noise.shape}")

            def draw(image, start, stop):
                return noise[start:stop, image]

        first, second = part(params, "first"), part(params, "second")
        o = self.first.run(first, x_upper)[0]
        # all images share the thresholds: IGR-Planar's take an inversion
        cuts = self.unit.threshold(first, o), self.unit.threshold(second, o)
        score = self.likelihood.scorer(params["decoder.0.weight"], params["decoder.0.bias"], Buffers())
        bounds = []
        for image in range(x_upper.shape[0]):
            parts = []
            for start in range(0, m, ROWS):
                eps = draw(image, start, min(start + ROWS, m))
                h = _signs(self.unit.point(o[image], eps[:, 0]) > cuts[0], o)
                h = _signs(self.unit.point(self.second.run(second, h)[0], eps[:, 1]) > cuts[1], o)
                h = xp.concatenate([h.T, xp.ones_like(h[:, 0])[None, :]], axis=0)
                parts.append(logsumexp(score(x_lower[image], h)))
            bounds.append(logsumexp(xp.stack(parts)))
        return xp.stack(bounds) - math.log(m)

    def _run(self, params, x_upper, noise, unit):
        """(logits ([R,] S, B, P), (what the three networks saved, what the two layers of units saved))."""
        self._check(x_upper, noise)
        saved, units = {}, {}
        o, saved["first"] = self.first.run(part(params, "first"), x_upper)
        psi, units["first"] = unit(part(params, "first"), o[..., None, :, :], noise[..., 0, :])
        lead = psi.shape[:-1]  # ([R,] S, B); the networks behind see S B rows
        o, saved["second"] = self.second.run(part(params, "second"), _rows(2 * psi - 1))
        psi, units["second"] = unit(part(params, "second"), o.reshape(*lead, -1), noise[..., 1, :])
        logits, saved["decoder"] = self.decoder.run(part(params, "decoder"), _rows(2 * psi - 1))
        return logits.reshape(*lead, -1), (saved, units)

    def _binary(self, params, o, noise):
        return self.unit.discretize(params, o, noise), None

    def _check(self, x_upper, noise):
        n_in = self.first.widths[0]
        if x_upper.ndim < 2 or x_upper.shape[-1] != n_in:
            raise ValueError(f"x_upper must have shape (..., images, {n_in}), got {x_upper.shape}")
        want = (x_upper.shape[-2], 2, self.n_units)
        if noise.ndim < 4 or noise.shape[-3:] != want:
            raise ValueError(f"noise must have shape (..., samples, {', '.join(map(str, want))}), got {noise.shape}")


def _minus_log_mean(log_p):
    """-log (1/S) sum_s p_s: ([R,] S, B) -> ([R,] B)."""
    return math.log(log_p.shape[-2]) - logsumexp(log_p, axis=-2)


def _rows(x):
    """([R,] S, B, n) -> ([R,] S B, n)."""
    return x.reshape(*x.shape[:-3], x.shape[-3] * x.shape[-2], x.shape[-1])


def _signs(b, o):
    """2 b - 1 for booleans b."""
    return 2 * b.astype(o.dtype) - 1
