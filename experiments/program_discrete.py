"""RELAX and USPGBL: VAEs that train the discrete model."""

from __future__ import annotations

import igr_ref
from igr_ref import models, noise
from igr_ref.backend import to_host
from igr_ref.estimators.rebar import PairedNoise, variance_gradient
from igr_ref.estimators.relax import relax, relax_params
from igr_ref.estimators.unordered_set import draw_set, from_set
from igr_ref.recovery import discrete_log_probs

from .evaluate import evaluate
from .program_vae import VAEProgram, drawn


class DiscreteProgram(VAEProgram):
    """What RELAX and USPGBL share: they train the discrete model, so its one-sample ELBO is the learning curve."""

    monitored = "discrete_elbo_one_sample"

    def monitor(self, x, rng):
        q = self.model.posterior(self.params, x)
        log_p = discrete_log_probs(q)
        law = igr_ref.Categorical(log_p)
        u = self.xp.asarray(noise.uniform(rng, log_p.shape[:-1]))
        f, _ = self.model.reconstruction(self.params, x)
        value, _ = f(law.sample(u).astype(self.config.dtype)[None])
        return to_host(-value[0] - law.kl_uniform().sum(axis=-1)).astype("float64")

    def score(self, images, floats, device, progress):
        return evaluate(self.config, self.model, self.params, images, floats, device, progress)


class RelaxProgram(DiscreteProgram):
    """RELAX with true conditional sampling; the control variate learns beside the model, at the same rate."""

    def init(self, rng):
        start = self.config.relax_temperature or (5.0 if self.config.model == "gs" else 0.15)
        size = (self.config.n_variables, self.config.n_categories)
        control = relax_params(rng, *size, start, dtype=self.config.dtype)
        return {**super().init(rng), **{f"control.{name}": array for name, array in control.items()}}

    def grads(self, x, rng):
        model, family = self.model, self.model.family
        control = {name[8:]: p for name, p in self.params.items() if name.startswith("control.")}
        o, saved = model.encode(self.params, x, self.work)
        q, chain = family.bounded(o) if hasattr(family, "bounded") else (family.posterior(o, {}), None)
        path = self.draw(rng, x.shape[-2], self.config.n_samples)
        uniforms = (
            None if self.config.relax_coupled else drawn("uniform", rng, path.shape[-4:], self.config.dtype, self.xp)
        )
        # IGR-I's samples have the batch last in memory
        f = models.Reconstruction(model, self.params, x, self.work.part("reconstruction"), batch_last=chain is not None)
        estimate = relax(q, PairedNoise(path, uniforms), f, "uniform", params=control, work=self.work)
        by_control = variance_gradient(estimate, f.hvp if f.smooth else None, chain)
        by_o = estimate.grads if chain is None else chain.pullback(estimate.grads)
        grads = model.gradients(self.params, o, saved, by_o, f.decoder_gradients(), self.work, chained=True)
        for name, p in control.items():  # without a second-order product the temperatures stay where they are
            grads[f"control.{name}"] = by_control.get(name, self.xp.zeros_like(p)).astype(p.dtype)
        return self._report(estimate, grads)


class UnorderedSetProgram(DiscreteProgram):
    """USPGBL: S distinct codes for each image, by stochastic beam search."""

    def grads(self, x, rng):
        model, c = self.model, self.config
        o, saved = model.encode(self.params, x)
        q = model.family.posterior(o[..., 0, :, :], {})
        shape = (x.shape[-2], c.n_variables, c.n_samples, c.n_categories)
        codes = draw_set(q, drawn("gumbel", rng, shape, c.dtype, self.xp))
        weights = self.xp.moveaxis(codes.weights, -1, -2).astype(c.dtype) / x.shape[-2]  # (S, B), for the mean over B
        f, decoder_grads = model.reconstruction(self.params, x, weights)
        estimate = from_set(q, codes, f, "uniform", sample_axis=-2)
        per_image = {name: g[..., None, :, :, :] for name, g in estimate.grads.items()}  # one set an image: S = 1
        grads = model.gradients(self.params, o, saved, per_image, decoder_grads)
        return self._report(estimate, grads)
