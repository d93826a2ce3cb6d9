"""What a nonparametric mixture run computes, with the interface of `programs`. Scores, per image, nats:

    elbo          the structured ELBO, KLs in closed form, mean of ELBO_SAMPLES draws of the sticks and components
    loglik        log (1/m) sum_s w_s, the importance weighted bound on log p(x)
    as_published  minus the published loss at one draw: Table 3's "test log-likelihood", a looser bound
                  but for the components that its rules drop
The first two are of one fixed model: all K components, whatever was cut while training. Sticks that the cut leaves
untrained have the prior's law in q (`kept`, `MixtureVAE.for_scoring`); "untrained_kl" says how much lower the ELBO is
with what the encoder happens to put out for them. The third keeps the published rules, which look at a whole batch:
K_rho - 1 sticks for IGR-SB-MM, and nothing where that rule leaves no stick.
"""

from __future__ import annotations

import copy
import math

import numpy

from igr_ref import models, noise
from igr_ref.backend import to_host
from igr_ref.models.mixture_as_published import objective_as_published as mixture_loss_as_published
from igr_ref.numerics import logsumexp

from .evaluate import summary
from .plan_mixture import STICKS

OBJECTIVES = {
    "plain": models.mixture_elbo, "sl": models.mixture_elbo_sl, "as_published": mixture_loss_as_published,
}  # fmt: skip
LIKELIHOODS = {"bernoulli": models.Bernoulli, "gaussian": models.Gaussian}
DRAW = {"normal": noise.normal, "uniform": noise.uniform}
ELBO_SAMPLES = 10
CUT_IMAGES = 1000  # training images that say how many components training keeps
ROWS = 1000  # samples of one image scored at once


class MixtureProgram:
    """IGR-SB-MM and DLDPMM. The component means are drawn from the seed and fixed."""

    monitored = "elbo_one_sample"

    def __init__(self, config, dataset, xp, facts=None):
        self.config, self.xp, self.facts = config, xp, {}
        slots = config.batch_size if config.estimator == "as_published" else None
        rng = noise.generator(config.seed, "prior-means")
        means = models.prior_means(rng, config.n_components, config.n_latent, config.dtype, slots)
        self.model = models.MixtureVAE(
            STICKS[config.model], LIKELIHOODS[dataset.decoder](), dataset.train.shape[1], xp.asarray(means),
            config.width, rho=config.rho if config.model == "igr_sb_mm" else None, percentile=config.percentile,
        )  # fmt: skip
        self.some = xp.asarray(dataset.floats(dataset.train[:CUT_IMAGES], config.dtype))
        fresh = self.model.init(noise.generator(config.seed, "init"), config.dtype)
        self.params = {name: xp.asarray(array) for name, array in fresh.items()}

    def learning_rate(self, step):
        return self.config.learning_rate

    def draw(self, rng, n_images, n_samples=1, second=None):
        """(the sticks' noise, the components' noise), the latter from the generator `second` if there is one."""
        sticks, components = self.model.noise_shapes(n_images, n_samples)
        law, dtype = DRAW[self.model.law.noise], self.config.dtype
        of_sticks = law(rng, sticks, dtype)
        of_components = noise.normal(rng if second is None else second, components, dtype)
        return self.xp.asarray(of_sticks), self.xp.asarray(of_components)

    def view(self, first, stop, model=None):
        """The model for places first to stop of a batch."""
        model = copy.copy(model or self.model)
        if model.means.ndim > 2:
            model.means = model.means[first:stop]
        return model

    def kept(self):
        """K_rho (eq. 19) of the first training images: how many components training keeps; None where it cuts none."""
        if self.model.options["rho"] is None:
            return None
        q = self.model.posterior(self.params, self.some)
        shape = (len(self.some), self.config.n_components - 1)
        eps = noise.normal(noise.generator(self.config.seed, "kept"), shape, self.config.dtype)
        return int(q.kept(q.sticks.logs(q.sticks.run(self.xp.asarray(eps))[0])[1]).max())

    def grads(self, x, rng):
        draws = self.draw(rng, x.shape[-2], self.config.n_samples)
        estimate, grads = self.model.loss_and_grads(self.params, x, draws, OBJECTIVES[self.config.estimator])
        parts = {"reconstruction term -sum pi log p(x|z)": estimate.value, "KL term": estimate.kl}
        parts |= {f"gradient of {name}": g for name, g in grads.items()}
        return float(self.xp.mean(estimate.loss)), parts, grads

    def monitor(self, x, rng, n_samples=1, scored=None):
        """The structured ELBO of the fixed model, mean of n_samples draws."""
        scored, out = scored or self.model.for_scoring(self.kept()), []
        for start in range(0, len(x), self.config.batch_size):
            some = x[start : start + self.config.batch_size]
            model = self.view(0, len(some), scored)
            loss = model.loss(self.params, some, self.draw(rng, len(some), n_samples), models.mixture_elbo).loss
            out.append(-to_host(loss).astype("float64").mean(axis=0))
        return numpy.concatenate(out)

    def scores(self, images, floats, progress=lambda done, total: None):
        """Scores (n,) of uint8 images (n, P) by name. The importance weights of an image depend on its row alone."""
        n, batch, seed = len(images), self.config.batch_size, self.config.seed
        kept = self.kept()
        scored = self.model.for_scoring(kept)
        names = ("elbo", "loglik", "as_published", "ess") + (("untrained_kl",) if kept else ())
        out = {name: numpy.empty(n) for name in names}
        for start in range(0, n, batch):
            x = self.xp.asarray(floats(images[start : start + batch]))
            stop = start + len(x)
            out["elbo"][start:stop] = self.monitor(x, noise.generator(seed, "elbo", start), ELBO_SAMPLES, scored)
            if kept:
                both = (m.posterior(self.params, x).sticks.kl(1.0).sum(axis=-1) for m in (self.model, scored))
                out["untrained_kl"][start:stop] = to_host(next(both) - next(both))
            out["as_published"][start:stop] = self.published(x, noise.generator(seed, "published", start))
            for i in range(len(x)):
                log_w = self.log_weights(x, i, start + i, scored)
                out["loglik"][start + i] = logsumexp(log_w) - math.log(len(log_w))
                out["ess"][start + i] = numpy.exp(2 * logsumexp(log_w) - logsumexp(2 * log_w))
            progress(stop, n)
        if not numpy.isfinite(out["as_published"]).all():
            del out["as_published"]
        return out

    def log_weights(self, x, place, row, scored):
        """log w (m,) of image x[place], whose row among the scored images keys the draws: nested in blocks of ROWS."""
        model, m, parts = self.view(place, place + 1, scored), self.config.m, []
        for first in range(0, m, ROWS):
            rng = noise.generator(self.config.seed, f"weights: sticks {first}", row)
            second = noise.generator(self.config.seed, f"weights: components {first}", row)
            draws = self.draw(rng, 1, min(ROWS, m - first), second)
            parts.append(to_host(model.log_weights(self.params, x[place : place + 1], draws))[:, 0])
        return numpy.concatenate(parts).astype("float64")

    def published(self, x, rng):
        """Minus the published loss of each image at one draw; NaN where its rule keeps no stick."""
        draws = self.draw(rng, len(x))
        try:
            estimate = self.view(0, len(x)).loss(self.params, x, draws, mixture_loss_as_published)
        except ArithmeticError:
            return numpy.full(len(x), numpy.nan)
        return -to_host(estimate.loss[0]).astype("float64")

    def score(self, images, floats, device, progress):
        return {"all": summary(self.scores(images, floats, progress))}
