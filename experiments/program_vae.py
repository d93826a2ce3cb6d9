"""VAEs by the pathwise estimators: what `programs` asks of a run, and what the discrete programs build on."""

from __future__ import annotations

import igr_ref
from igr_ref import models, noise
from igr_ref.backend import to_host

from .evaluate import evaluate, training_elbo
from .fitted_prior import family, fitted_prior

PATHWISE = {"plain": igr_ref.reparameterization, "sl": igr_ref.sticking_the_landing}
LIKELIHOODS = {"bernoulli": models.Bernoulli, "gaussian": models.Gaussian}
DRAW = {"normal": noise.normal, "gumbel": noise.gumbel, "uniform": noise.uniform}


def drawn(law, rng, shape, dtype, xp):
    """Noise on the device: from one generator, or from `replicas.Generators`, with an axis of replicas in front."""
    if hasattr(rng, "draw"):
        return rng.draw(law, shape, dtype, xp)
    return xp.asarray(DRAW[law](rng, shape, dtype))


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
