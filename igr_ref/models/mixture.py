"""The nonparametric mixture VAE of section 4.4: DLDPMM (Kumaraswamy sticks) and IGR-SB-MM (logit-normal sticks).

    x --encoder--> stick parameters, mu, log_var --noise--> v, z_1..z_K --decoder--> log p(x|z_k), k = 1..K
The encoder is 784-200-200-200-heads, the decoder 50-200-200-784, with ReLU. The heads are one layer of
2 (K-1) + 2 K D outputs: the sticks' two parameters, then mu and log_var. The objectives are in `mixture_objective`.
"""

from __future__ import annotations

import copy
import math

import numpy

from ..backend import namespace
from .mixture_objective import MixturePosterior, elbo, importance_log_weights
from .mixture_scoring import block_decoder
from .mixture_sticks import STICK_LAWS
from .mlp import MLP, named, part

RHO, PERCENTILE = 0.9999, 70  # IGR-SB-MM's truncation while training (the code's values; the paper gives none)


def prior_means(rng, n_components, n_latent, dtype=numpy.float64, slots=None):
    """m (K, D): m_1 = 0, the others +-1/sqrt(D) with random signs, so of norm 1; drawn once and then fixed.

    slots=B draws anew for each of B images, (B, K, D), as the published code does (audit mixture-prior-slots).
    """
    lead = () if slots is None else (slots,)
    signs = 2.0 * rng.integers(0, 2, size=(*lead, n_components - 1, n_latent)) - 1
    means = numpy.concatenate([numpy.zeros((*lead, 1, n_latent)), signs / math.sqrt(n_latent)], axis=-2)
    return means.astype(dtype)


class MixtureVAE:
    """sticks: "kumaraswamy" or "logit_normal"; likelihood as for VAE; means: prior_means (K, D), a constant.

    rho=None keeps all K components while training (DLDPMM); IGR-SB-MM has K = 20, rho = .9999, percentile 70.
    Parameters: one dict, "encoder.0.weight" ... "decoder.0.bias" ..., arrays with or without a replica axis.
    """

    def __init__(
        self, sticks, likelihood, n_pixels, means, width=200, rho=None, percentile=PERCENTILE, concentration=1.0
    ):
        if sticks not in STICK_LAWS:
            raise ValueError(f"sticks must be one of {sorted(STICK_LAWS)}, got {sticks!r}")
        if means.ndim < 2 or means.shape[-2] < 2:
            raise ValueError(f"means must be (K, D) with K of 2 or more, got shape {means.shape}")
        self.law, self.likelihood, self.n_pixels, self.means = STICK_LAWS[sticks], likelihood, n_pixels, means
        self.k, self.n_latent = means.shape[-2:]
        self.trained = None
        self.options = {"concentration": concentration, "rho": rho, "percentile": percentile}
        self.heads = (self.k - 1, self.k - 1, self.k * self.n_latent, self.k * self.n_latent)
        self.encoder = MLP((n_pixels, width, width, width, sum(self.heads)))
        self.decoder = MLP((self.n_latent, width, width, n_pixels * likelihood.outputs_per_pixel))

    def init(self, rng, dtype):
        """Fresh parameters as NumPy arrays. Every head has the Glorot limit of its own width, as a layer of its own."""
        encoder, decoder = self.encoder.init(rng, dtype), self.decoder.init(rng, dtype)
        last = f"{len(self.encoder.widths) - 2}.weight"
        n_in = encoder[last].shape[0]
        limits = numpy.concatenate([numpy.full(n, math.sqrt(6 / (n_in + n))) for n in self.heads])
        encoder[last] = (rng.uniform(-1, 1, (n_in, limits.size)) * limits).astype(dtype)
        return {**named("encoder", encoder), **named("decoder", decoder)}

    def noise_shapes(self, n_images, n_samples=1):
        """((S, B, K-1), (S, B, K, D)): the sticks' noise (`law.noise`: "uniform" or "normal"), and standard normal."""
        return (n_samples, n_images, self.k - 1), (n_samples, n_images, self.k, self.n_latent)

    def posterior(self, params, x):
        """q(. | x) for images x (..., B, P)."""
        return self._posterior(self.encoder.run(part(params, "encoder"), x)[0])

    def for_scoring(self, trained=None):
        """This model with all K components kept, and with the prior's law, as near as the family has it, for the sticks
        that a cut to `trained` components leaves without a KL.

        Training gives those sticks no gradient, so the encoder's outputs for them are arbitrary, and their KL, nats in
        all, would be charged to the bound. The model p is the same either way, and every q gives a bound.
        """
        model = copy.copy(self)
        model.options, model.trained = {**self.options, "rho": None}, trained
        return model

    def loss_and_grads(self, params, x, noise, objective=elbo):
        """(estimate, grads) for images x ([R,] B, P) and noise as in `noise_shapes`, each with R in front if x has it.

        objective: `elbo`, `elbo_sl` or `objective_as_published`. estimate.value, .kl and .loss are ([R,] S, B); grads
        are those of the mean loss over samples and images.
        """
        xp, _ = namespace(x, noise[0])
        decoder_grads = {}
        o, encoder_saved = self.encoder.run(part(params, "encoder"), x)
        estimate = objective(self._posterior(o[..., None, :, :]), noise, self._decode(params, x, decoder_grads))
        # mean over S and B: the objective's gradients are per sample
        parts = [estimate.grads[f"sticks.{name}"] for name in self.law.parameters]
        parts += [estimate.grads[name].reshape(*parts[0].shape[:-1], -1) for name in ("mu", "log_var")]
        o_bar = xp.concatenate(parts, axis=-1)
        o_bar = xp.sum(o_bar, axis=-3) / (o_bar.shape[-3] * o_bar.shape[-2])
        encoder_grads, _ = self.encoder.pullback(part(params, "encoder"), encoder_saved, o_bar, input_bar=False)
        return estimate, {**named("encoder", encoder_grads), **named("decoder", decoder_grads)}

    def loss(self, params, x, noise, objective=elbo):
        """The estimate alone, per sample and image."""
        q = self._posterior(self.encoder.run(part(params, "encoder"), x)[0][..., None, :, :])
        return objective(q, noise, self._decode(params, x, {}))

    def log_weights(self, params, x, noise):
        """log w ([R,] S, B), all components kept; `mixture_objective.log_likelihood` averages them over S."""
        q = self._posterior(self.encoder.run(part(params, "encoder"), x)[0][..., None, :, :])
        replicas = x.ndim > 2 or noise[1].ndim > 4
        if replicas:
            decode = self._decode(params, x, None)
        else:
            decode = block_decoder(self.decoder, part(params, "decoder"), self.likelihood, x)
        return importance_log_weights(q, noise, decode)

    def _posterior(self, o):
        cuts = [sum(self.heads[:i]) for i in range(5)]
        first, second, mu, log_var = (o[..., i:j] for i, j in zip(cuts[:-1], cuts[1:], strict=True))
        shape = (*o.shape[:-1], self.k, self.n_latent)
        xp, _ = namespace(o)
        if self.trained is not None:
            own = xp.arange(self.k - 1) < self.trained - 1
            fixed = (xp.asarray(value, dtype=o.dtype) for value in self.law.nearest_to_uniform)
            first, second = (xp.where(own, a, b) for a, b in zip((first, second), fixed, strict=True))
        sticks = self.law(first, second, validate=False)
        means = xp.asarray(self.means, dtype=o.dtype)
        return MixturePosterior(sticks, mu.reshape(shape), log_var.reshape(shape), means, **self.options)

    def _decode(self, params, x, grads):
        """decode(z) of `mixture_objective.elbo`. Its pullback leaves the decoder's gradients, of the mean over S and B,
        in the dict `grads`; with grads=None there is no pullback."""
        decoder_params = part(params, "decoder")
        x = x[..., None, :, None, :]  # a sample axis before the batch, a component axis after it

        def decode(z):
            lead = z.shape[:-1]  # ([R,] S, B, K)
            n = lead[-3] * lead[-2]
            rows = z.reshape(*lead[:-3], n * lead[-1], -1)  # the decoder sees S B K rows
            outputs, saved = self.decoder.run(decoder_params, rows)
            outputs = outputs.reshape(*lead, -1)
            if grads is None:
                return self.likelihood.log_prob(x, outputs), None
            log_p, bar = self.likelihood.log_prob_and_grad(x, outputs)

            def pullback(log_p_bar):
                rows_bar = (log_p_bar[..., None] * bar).reshape(*rows.shape[:-1], -1)
                decoder_grads, z_bar = self.decoder.pullback(decoder_params, saved, rows_bar)
                grads.update({name: array / n for name, array in decoder_grads.items()})
                return z_bar.reshape(z.shape)

            return log_p, pullback

        return decode
