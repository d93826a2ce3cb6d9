"""What a run computes at each step, and how it is scored: one program for each kind of config, one interface.

    program.params            every array that training changes, by name
    program.facts             what else a checkpoint and a result must hold (the fitted prior)
    program.grads(x, rng)     (mean loss, {quantity: array} to diagnose it with, gradients by the names of `params`);
                              they may be written over at the next call
    program.learning_rate(t)  at step t = 0, 1, ...
    program.monitor(x, rng)   ELBOs (B,) of the images x, for the learning curve
    program.score(...)        the metrics of the trained model
`train` drives them all alike.
"""

from __future__ import annotations

import contextlib

import numpy

import igr_ref
from igr_ref import models, noise, prior
from igr_ref.backend import to_host
from igr_ref.estimators.rebar import PairedNoise, variance_gradient
from igr_ref.estimators.relax import relax, relax_params
from igr_ref.estimators.unordered_set import draw_set, from_set
from igr_ref.recovery import discrete_log_probs

from .data import cache_folder
from .evaluate import evaluate, training_elbo
from .program_mixture import MixtureProgram
from .program_sop import SOPProgram
from .store import StoreError, read_result, write_result

PATHWISE = {"plain": igr_ref.reparameterization, "sl": igr_ref.sticking_the_landing}
LIKELIHOODS = {"bernoulli": models.Bernoulli, "gaussian": models.Gaussian}
DRAW = {"normal": noise.normal, "gumbel": noise.gumbel, "uniform": noise.uniform}


def drawn(law, rng, shape, dtype, xp):
    """Noise on the device: from one generator, or from `replicas.Generators`, with an axis of replicas in front."""
    if hasattr(rng, "draw"):
        return rng.draw(law, shape, dtype, xp)
    return xp.asarray(DRAW[law](rng, shape, dtype))


def fitted_prior(config):
    """{"mu": ..., "log_sigma": ...} of eq. 14 for IGR models (numbers or lists), {} for Gumbel-Softmax.

    The fit takes seconds and depends on K alone, so it is kept in the user's cache; a run stores what it used.
    """
    fits = {"igr_i": prior.igr_i_prior, "igr_planar": prior.igr_i_prior, "igr_sb": prior.igr_sb_prior}
    if config.model not in fits:
        return {}
    name = f"{fits[config.model].__name__}-K{config.n_categories}-numpy{numpy.__version__}-v2"
    path = None
    try:
        path = cache_folder() / "priors" / f"{name}.json"
        cached = read_result(path)
        if cached["id"] == name:
            return {"mu": cached["mu"], "log_sigma": cached["log_sigma"]}
    except (OSError, RuntimeError, StoreError, KeyError):  # no home, no permission, nothing there, damaged
        pass
    mu, log_sigma = (numpy.asarray(value).tolist() for value in fits[config.model](config.n_categories))
    value = {"mu": mu, "log_sigma": log_sigma}
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        if path is not None:
            write_result(path, {"id": name, **value})
    return value


def family(config, prior_params, temperatures=None):
    """The relaxation family of the config, with the prior that `fitted_prior` gave.

    temperatures: (temperature, prior_temperature) in place of the config's own, as arrays with one for each replica.
    """
    size = (config.n_variables, config.n_categories)
    temperature, prior_temperature = temperatures or (config.temperature, config.prior_temperature)
    if config.model == "gs":
        return models.GumbelSoftmaxFamily(*size, temperature, prior_temperature)
    mu, log_sigma = (numpy.asarray(prior_params[name]) for name in ("mu", "log_sigma"))
    make = {
        "igr_i": models.igr_i_family,
        "igr_planar": models.igr_planar_family,
        "igr_sb": models.igr_sb_family,
    }[config.model]
    if config.estimator == "relax":  # eq. 37, on the same softmax++
        make = models.igr_bounded_family
    return make(*size, temperature, mu, log_sigma, delta=config.delta)


class VAEProgram:
    """IGR-I, IGR-Planar, IGR-SB and Gumbel-Softmax by the reparameterization or by sticking the landing."""

    replicas = 0  # R where `params`, x and the noise have a replica axis in front: see replica_program.Together

    def __init__(self, config, dataset, xp, facts=None):
        self.config, self.xp = config, xp
        self.facts = {"prior": fitted_prior(config)} if facts is None else facts
        self.build(dataset)
        fresh = self.init(noise.generator(config.seed, "init"))
        self.params = {name: xp.asarray(array) for name, array in fresh.items()}
        self.work = models.Buffers()

    def build(self, dataset, temperatures=None):
        likelihood = LIKELIHOODS[dataset.decoder]()
        pixels = dataset.train.shape[1]
        relaxed = family(self.config, self.facts["prior"], temperatures)
        self.model = models.VAE(relaxed, likelihood, pixels, self.config.architecture)

    def init(self, rng):
        return self.model.init(rng, self.config.dtype)

    def learning_rate(self, step):
        return self.config.learning_rate

    def draw(self, rng, n_images, n_samples=1):
        """The relaxation's noise (S, B, N, K-1 or K)."""
        *lead, n, k = self.model.noise_shape(n_images, n_samples)
        # categories first, as a training step lays them in memory: see `models.vae`
        draws = drawn(self.model.family.noise, rng, (n, k, *lead), self.config.dtype, self.xp)
        first = -2 - len(lead)
        return self.xp.moveaxis(draws, (first, first + 1), (-2, -1))

    def grads(self, x, rng):
        draws = self.draw(rng, x.shape[-2], self.config.n_samples)
        pathwise = PATHWISE[self.config.estimator]
        estimate, grads = self.model.loss_and_grads(self.params, x, draws, pathwise, self.work)
        return self._report(estimate, grads)

    def _report(self, estimate, grads):
        parts = {"reconstruction term -log p(x|z)": estimate.value, "KL term": estimate.kl}
        if self.replicas:  # (R,), left on the device
            return self.xp.mean(estimate.loss.reshape(self.replicas, -1), axis=-1), parts, grads
        return float(self.xp.mean(estimate.loss)), parts, grads

    def monitor(self, x, rng):
        """The continuous ELBO at one relaxed sample."""
        draws = self.draw(rng, len(x))
        return -to_host(self.model.loss(self.params, x, draws, PATHWISE["plain"]).loss[0]).astype("float64")

    monitored = "continuous_elbo"

    def score(self, images, floats, device, progress):
        return evaluate(self.config, self.model, self.params, images, floats, device, progress, self.monitor)

    def score_training(self, images, floats):
        return training_elbo(self.config, self.model, self.params, images, floats)


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


def program(config):
    """The class that runs `config`."""
    if config.kind != "vae":
        return {"sop": SOPProgram, "mixture": MixtureProgram}[config.kind]
    return {"relax": RelaxProgram, "uspgbl": UnorderedSetProgram}.get(config.estimator, VAEProgram)
