"""What a structured output prediction run computes, with the interface of `programs`.

    one_sample  log p(lower | b), b the binary units at one draw: the discretised training objective
    loglik      log (1/m) sum_s p(lower | b_s): Table 2's bound on log p(lower | upper)
Both are per image, in nats. The upper half is the first floor(height/2) rows of the image.
"""

from __future__ import annotations

import numpy

from igr_ref import models, noise
from igr_ref.backend import to_host
from igr_ref.models import binary_units

from .evaluate import summary
from .plan_sop import AS_PUBLISHED

UNITS = {
    "gs": binary_units.GumbelSoftmaxUnit, "igr_i": binary_units.IGRIUnit, "igr_planar": binary_units.IGRPlanarUnit,
    "igr_sb": binary_units.IGRSBUnit, "igr_i_as_published": binary_units.IGRIUnitAsPublished,
    "igr_sb_as_published": binary_units.IGRSBUnitAsPublished,
}  # fmt: skip
BLOCK = 200  # images scored between two signs of progress


def unit(config):
    """The binary unit of the config, in the config's own precision."""
    if config.model in AS_PUBLISHED:
        return UNITS[config.model](precise=False)
    more = {"delta": config.delta} if config.model == "igr_i" else {}
    return UNITS[config.model](config.temperature, **more, precise=False)


class SOPProgram:
    """Every model of Table 2. The units' noise is normal, or logistic for Gumbel-Softmax."""

    monitored = "relaxed_one_sample"

    def __init__(self, config, dataset, xp, facts=None):
        self.config, self.xp, self.facts = config, xp, {}
        if dataset.decoder != "bernoulli":
            raise ValueError(f"structured output prediction needs binary pixels; data set {dataset.name} is grey")
        height, width = dataset.image_shape
        if height < 2:
            raise ValueError(f"images must have two rows or more to be halved, got {height} x {width} ({dataset.name})")
        self.cut = height // 2 * width
        n_out = height * width - self.cut
        self.model = models.StructuredOutput(unit(config), self.cut, n_out, config.n_units, config.architecture)
        fresh = self.model.init(noise.generator(config.seed, "init"), config.dtype)
        self.params = {name: xp.asarray(array) for name, array in fresh.items()}

    def learning_rate(self, step):
        c = self.config
        return max(c.least_learning_rate, c.learning_rate / (1 + c.decay * step))

    def draw(self, rng, shape):
        """The units' noise of the given shape."""
        if self.model.unit.noise == "logistic":
            return self.xp.asarray(binary_units.logistic(noise.uniform(rng, shape, self.config.dtype)))
        return self.xp.asarray(noise.normal(rng, shape, self.config.dtype))

    def halves(self, x):
        return x[..., : self.cut], x[..., self.cut :]

    def grads(self, x, rng):
        draws = self.draw(rng, self.model.noise_shape(x.shape[-2], self.config.n_samples))
        loss, grads = self.model.loss_and_grads(self.params, *self.halves(x), draws)
        parts = {"-log p(lower|upper, units)": loss} | {f"gradient of {name}": g for name, g in grads.items()}
        return float(self.xp.mean(loss)), parts, grads

    def monitor(self, x, rng):
        """log p(lower | psi) at one relaxed sample: what is trained."""
        draws = self.draw(rng, self.model.noise_shape(len(x)))
        return -to_host(self.model.loss(self.params, *self.halves(x), draws)).astype("float64")

    def scores(self, images, floats, progress=lambda done, total: None):
        """{"loglik": (n,), "one_sample": (n,)} of uint8 images (n, P).

        The draws are keyed by an image's row and the first sample of a block: an image's scores depend on its row
        alone, and m = 2000 has the draws of m = 1000 among its own.
        """
        out = {name: numpy.empty(len(images)) for name in ("loglik", "one_sample")}
        for start in range(0, len(images), BLOCK):
            upper, lower = self.halves(self.xp.asarray(floats(images[start : start + BLOCK])))

            def draw(image, first, stop, row=start):
                rng = noise.generator(self.config.seed, f"units {first}", row + image)
                return self.draw(rng, (stop - first, 2, self.config.n_units))

            for name, m in (("loglik", self.config.m), ("one_sample", 1)):
                bound = self.model.log_likelihood_bound(self.params, upper, lower, draw, m)
                out[name][start : start + BLOCK] = to_host(bound)
            progress(min(start + BLOCK, len(images)), len(images))
        return out

    def score(self, images, floats, device, progress):
        return {"all": summary(self.scores(images, floats, progress))}
