"""The variational autoencoder with discrete relaxations: 20 variables of 10 categories in the paper.

Per image, L = E_q[-log p(x|z)] + KL(q(z|x) || p(z)); the decoder sees the N K numbers of z, last category included.

    x --encoder--> o --relaxation--> q(z|x) --noise--> z --decoder--> -log p(x|z)
    forward above; the pullback runs the same arrows backwards, with an estimator between z and o.

The hot path (`work`) differs in memory, not in shape: o, the noise, z and their cotangents, (S, B, N, K) in every
formula, lie as (N, K, S, B). A sum or a maximum over the categories then runs over whole rows of images, several times
sooner than over ten neighbours, and neither the relaxations nor the estimators know of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..backend import namespace
from .buffers import Buffers
from .families import (
    BoundedFamily,
    Family,
    GumbelSoftmaxFamily,
    IGRFamily,
    PlanarFamily,
    igr_bounded_family,
    igr_i_family,
    igr_planar_family,
    igr_sb_family,
    replica_temperature,
)
from .mlp import MLP, named, part

__all__ = [  # the families' names are kept here too
    "VAE", "BoundedFamily", "DecoderGradients", "Family", "GumbelSoftmaxFamily", "IGRFamily", "PlanarFamily",
    "batch_last", "igr_bounded_family", "igr_i_family", "igr_planar_family", "igr_sb_family", "replica_temperature",
]  # fmt: skip


class DecoderGradients(Mapping):
    """The decoder's gradients of the last call of f, computed when they are asked for: REBAR calls f three times, and
    needs them once. `calls` holds (z, layer inputs, outputs, layer cotangents) of every call, rows being S B images."""

    def __init__(self, decoder, params):
        self.decoder, self.params, self.calls, self._grads = decoder, params, [], (None, None)

    def at(self, z):
        """(layer inputs, outputs) of the call with this very array z, None if there was none."""
        return next((call[1:3] for call in self.calls if call[0] is z), None)

    def _last(self):
        last = self.calls[-1]
        if self._grads[0] is not last:
            self._grads = (last, self.decoder.gradients(self.params, last[1], last[3]))
        return self._grads[1]

    def __getitem__(self, name):
        return self._last()[name]

    def __iter__(self):
        return iter(self._last())

    def __len__(self):
        return len(self._last())


class VAE:
    """Encoder and decoder MLPs around a relaxation family and a pixel likelihood.

    architecture "linear": P -> E and N K -> P; "nonlinear": hidden layers 512, 256 and, mirrored, 256, 512, with ReLU.
    Parameters: one dict, names "encoder.0.weight" ... "decoder.0.bias" ..., arrays with or without a replica axis.
    """

    HIDDEN = {"linear": (), "nonlinear": (512, 256)}

    def __init__(self, family, likelihood, n_pixels, architecture="linear"):
        if architecture not in self.HIDDEN:
            raise ValueError(f"architecture must be one of {sorted(self.HIDDEN)}, got {architecture!r}")
        hidden = self.HIDDEN[architecture]
        code = family.n * family.k
        self.family, self.likelihood, self.n_pixels = family, likelihood, n_pixels
        self.encoder = MLP((n_pixels, *hidden, family.outputs))
        self.decoder = MLP((code, *hidden[::-1], n_pixels * likelihood.outputs_per_pixel))

    def init(self, rng, dtype):
        """Fresh parameters (no replica axis) as NumPy arrays."""
        encoder, decoder = self.encoder.init(rng, dtype), self.decoder.init(rng, dtype)
        own = self.family.init(rng, dtype)
        return {**named("encoder", encoder), **named("decoder", decoder), **named("flow", own)}

    def noise_shape(self, n_images, n_samples=1):
        """(S, B, N, K or K-1): the noise of one step, without a replica axis."""
        return (n_samples, n_images, self.family.n, self.family.noise_size // self.family.n)

    def posterior(self, params, x):
        """q(z|x) for images x (..., B, P), parameters (..., B, N, .)."""
        return self.family.posterior(self.encoder.run(part(params, "encoder"), x)[0], part(params, "flow"))

    def decode(self, params, z):
        """Decoder outputs (..., B, P or 2P) of codes z (..., B, N, K)."""
        return self.decoder.run(part(params, "decoder"), z.reshape(*z.shape[:-2], -1))[0]

    def code_decoder(self, params, work=None):
        """A function (x (P,), indicators (N (K-1) + 1, m)) -> log p(x|b) (m,), for m codes b of one image.

        A code is given by its indicators 1[b_n > k], k = 1..K-1, as inverse-cdf sampling makes them (u >= cdf_k), codes
        last, and then a row of ones. With the decoder's first weights differenced over k,
        z W = W_1 + sum_k 1[b > k] (W_{k+1} - W_k): no one-hots. A bias is the weights of a row of ones.
        """
        work = Buffers() if work is None else work
        decoder, last = part(params, "decoder"), len(self.decoder.widths) - 2
        xp, _ = namespace(decoder["0.weight"])
        weight = decoder["0.weight"].reshape(self.family.n, self.family.k, -1)
        decoder["0.bias"] = decoder["0.bias"] + weight[:, 0].sum(axis=0)
        decoder["0.weight"] = (weight[:, 1:] - weight[:, :-1]).reshape(-1, weight.shape[-1])
        layers = [
            xp.concatenate([decoder[f"{i}.weight"], decoder[f"{i}.bias"][None, :]], axis=0).T for i in range(last)
        ]
        score = self.likelihood.scorer(decoder[f"{last}.weight"], decoder[f"{last}.bias"], work.part("pixels"))

        def log_prob(x, hidden):
            for i, weight in enumerate(layers):
                out = work.empty(f"{i}", (len(weight) + 1, hidden.shape[1]), hidden)
                out[-1] = 1
                xp.matmul(weight, hidden, out=out[:-1])
                xp.maximum(out, work.zeros(out.shape, out), out=out)  # ReLU
                hidden = out
            return score(x, hidden)

        return log_prob

    def loss(self, params, x, noise, estimator):
        """The estimate of L per sample and image, without gradients: see `loss_and_grads`."""
        q = self.family.posterior(self.encode(params, x)[0], part(params, "flow"))
        return estimator(q, noise, self.reconstruction(params, x)[0], self.family.prior(q))

    def loss_and_grads(self, params, x, noise, estimator, work=None):
        """(estimate, grads) for images x ([R,] B, P) and noise ([R,] S, B, N, .).

        estimate.value, .kl and .loss are ([R,] S, B); grads are those of the mean over samples and images. With `work`
        (Buffers) they are its arrays until its next use; the estimator must then call f once.
        """
        o, saved = self.encode(params, x, work)
        q = self.family.posterior(o, part(params, "flow"))
        f, decoder_grads = self.reconstruction(params, x, work=work)
        estimate = estimator(q, noise if work is None else batch_last(noise), f, self.family.prior(q))
        return estimate, self.gradients(params, o, saved, estimate.grads, decoder_grads, work)

    def encode(self, params, x, work=None):
        """The encoder's outputs ([R,] 1, B, E), with an axis for samples before the batch, and what it saved."""
        work = None if work is None else work.part("encoder")
        o, saved = self.encoder.run(part(params, "encoder"), x, work, batch_last=True)
        return o[..., None, :, :], saved

    def gradients(self, params, o, saved, q_grads, decoder_grads, work=None, chained=False):
        """Gradients by all parameters, of the mean over S and B, from per-sample ones ([R,] S, B, N, .) by q's."""
        bar = self.family.output_bar(q_grads, o, chained)
        xp, _ = namespace(bar)
        size = bar.shape[-3] * bar.shape[-2]
        over_samples = bar[..., 0, :, :] if bar.shape[-3] == 1 else xp.sum(bar, axis=-3)
        encoder_grads, _ = self.encoder.pullback(
            part(params, "encoder"), saved, over_samples / size, False, None if work is None else work.part("encoder")
        )
        grads = {**named("encoder", encoder_grads), **named("decoder", decoder_grads)}
        own = {name: own_bar / size for name, own_bar in self.family.own_bars(q_grads).items()}
        return grads | named("flow", own)

    def reconstruction(self, params, x, weights=None, work=None):
        """(f, decoder_grads): f(z ([R,] S, B, N, K)) = (-log p(x|z) ([R,] S, B), its gradient by z), for an estimator.

        Each call leaves in `decoder_grads` the decoder's gradients of the sum of `weights` f(z), weights ([R,] S, B)
        with 1/(S B) for None: those of the last call stand. So do, with `work`, the arrays it returned. Without, they
        are computed when they are asked for: DecoderGradients.
        """
        decoder_params = part(params, "decoder")
        layers, pixels = (None, None) if work is None else (work.part("decoder"), work.part("pixels"))
        decoder_grads = DecoderGradients(self.decoder, decoder_params) if work is None else {}

        def f(z):
            lead = z.shape[:-2]  # ([R,] S, B)
            replicas = x.shape[:-2]
            rows = z.reshape(*replicas, -1, z.shape[-2] * z.shape[-1])  # the decoder sees S B rows
            outputs, saved = self.decoder.run(decoder_params, rows, layers)
            outputs = outputs.reshape(*lead, -1)
            images = x.reshape(*replicas, *(1,) * (len(lead) - len(replicas) - 1), *x.shape[-2:])
            log_p, bar = self.likelihood.log_prob_and_grad(images, outputs, pixels)
            bar = bar.reshape(*rows.shape[:-1], -1)
            share = 1.0 / (lead[-2] * lead[-1]) if weights is None else weights.reshape(*rows.shape[:-1], 1)
            xp, _ = namespace(bar)
            if work is None:
                out_bars, z_bar = self.decoder.backward(decoder_params, saved, bar * -share, weights is None)
                decoder_grads.calls.append((z, saved, outputs.reshape(bar.shape), out_bars))
            else:
                weighted = xp.multiply(bar, -share, out=bar)
                grads, z_bar = self.decoder.pullback(decoder_params, saved, weighted, weights is None, layers, True)
                decoder_grads.update(grads)
            # undo the share, so that each sample's own gradient is left; with weights nobody asks for it
            return -log_p, None if z_bar is None else z_bar.reshape(z.shape) * (lead[-2] * lead[-1])

        return f, decoder_grads


def batch_last(noise):
    """The same draws ([R,] S, B, N, .), laid in memory as ([R,] N, ., S, B)."""
    xp, _ = namespace(noise)
    return _pairs_exchanged(xp.ascontiguousarray(_pairs_exchanged(noise)))


def _pairs_exchanged(x):
    """([R,] S, B, N, .) seen as ([R,] N, ., S, B), and the other way round."""
    lead = x.ndim - 4
    return x.transpose(*range(lead), lead + 2, lead + 3, lead, lead + 1)
