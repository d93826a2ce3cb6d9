"""What is timed: one VAE on synthetic images, our own trainer and scorer for it, and its matrix products alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy

from igr_ref import models, noise, reparameterization
from igr_ref.models import Adam
from igr_ref.numerics import logsumexp

from .. import plan, programs
from ..codes import CodeDecoder
from ..data import Dataset
from ..train import AHEAD, gather

PRIORS = {
    "igr_i": (-0.6, -0.1), "igr_sb": (numpy.linspace(-2, 0.2, 9), numpy.full(9, 0.5)), "igr_planar": (-0.6, -0.1),
    "gs": None,
}  # fmt: skip
TEMPERATURES = {"igr_i": 0.15, "igr_sb": 0.07, "igr_planar": 0.15, "gs": 0.67}


@dataclass(frozen=True)
class Task:
    """A model, its start and its data: the paper's sizes, on binary images that are 1 with probability .2."""

    model: str
    architecture: str
    dataset: Any
    params: dict
    batch_size: int = 100
    m: int = 1000
    n_variables: int = 20
    n_categories: int = 10
    prior_temperature: float = 0.5
    learning_rate: float = 1e-4

    @property
    def temperature(self):
        return TEMPERATURES[self.model]

    @property
    def prior(self):
        return PRIORS[self.model]

    @property
    def images(self):
        return self.dataset.train

    def config(self):
        return plan.RunConfig(
            dataset="mnist", model=self.model, architecture=self.architecture, temperature=self.temperature,
            prior_temperature=self.prior_temperature if self.model == "gs" else None, m=self.m,
            learning_rate=self.learning_rate, batch_size=self.batch_size,
        )  # fmt: skip

    def rows(self, step):
        """The image numbers of a step: consecutive pieces of one permutation."""
        batches = len(self.images) // self.batch_size
        at = step % batches * self.batch_size
        return self._order()[at : at + self.batch_size]

    def _order(self):
        if "order" not in self.__dict__:
            object.__setattr__(self, "order", noise.generator(0, "order").permutation(len(self.images)))
        return self.order

    def noise(self, name, n_images):
        """Noise for `check`, (B, N, K or K-1)."""
        size = (n_images, self.n_variables, self.n_categories - (self.model != "gs"))
        draw = noise.gumbel if self.model == "gs" else noise.normal
        return draw(noise.generator(0, name), size, "float32")


def synthetic(n=20_000, n_pixels=784):
    pixels = (noise.generator(0, "synthetic").random((n, n_pixels)) < 0.2).astype(numpy.uint8)
    return Dataset("synthetic", pixels, pixels[:100], True, (1, n_pixels), 0, "1 with probability .2")


def task(model, architecture, dataset, **options):
    """A Task at fresh parameters."""
    bare = Task(model, architecture, dataset, {}, **options)
    return Task(model, architecture, dataset, dict(Trainer(bare).program.params), **options)


class Trainer:
    """Our step as `experiments.train` makes it, of the task's config or another of the same model and data."""

    def __init__(self, task, config=None):
        self.task, self.t, self.rngs = task, 0, {}
        config = config or task.config()
        keys = ("mu", "log_sigma")
        facts = {"prior": dict(zip(keys, task.prior, strict=True)) if task.prior else {}}
        self.program = programs.program(config)(config, task.dataset, numpy, facts)
        self.adam = Adam(self.program.params, config.learning_rate)
        self.batch = gather(task.dataset, task.images, task.batch_size, config.dtype)

    def run(self, steps):
        for _ in range(steps):
            if self.t not in self.rngs:
                self.rngs = {t: noise.generator(1, "train", t) for t in range(self.t, self.t + AHEAD)}
            loss, _, grads = self.program.grads(self.batch(self.task.rows(self.t)), self.rngs.pop(self.t))
            self.adam.step(self.program.params, grads)
            self.t += 1
        return loss

    def check(self, x, noise):
        model = self.program.model
        estimate, grads = model.loss_and_grads(self.task.params, x, noise[None], reparameterization, models.Buffers())
        return float(estimate.loss.mean()), grads


class Scorer:
    """Our log-likelihood bound from given laws: the part of `experiments.evaluate` that draws and decodes codes."""

    def __init__(self, task):
        self.task, config = task, task.config()
        self.model = Trainer(task).program.model
        self.decoder = CodeDecoder(config, self.model, task.params)

    def run(self, x, log_probs):
        k, n = self.task.n_categories, self.task.n_variables
        (both,) = self.decoder.blocks(x, log_probs, 0)
        return logsumexp(both[0] - both[1]) - n * numpy.log(k) - numpy.log(self.task.m)

    def check(self, x, indicators):
        ones = numpy.ones((1, len(indicators)), indicators.dtype)
        return self.decoder.log_prob(x, numpy.concatenate([indicators.T, ones])).astype("float64")


class Products:
    """The matrix products of a step, and nothing else: what no library that multiplies with this BLAS can pass."""

    def __init__(self, task):
        self.layers = []
        rng = numpy.random.default_rng(0)
        for name in (n for n in task.params if n.endswith("weight")):
            n_in, n_out = task.params[name].shape
            shapes = ((task.batch_size, n_in), (n_in, n_out), (task.batch_size, n_out))
            x, w, y = (rng.standard_normal(shape, dtype=numpy.float32) for shape in shapes)
            self.layers.append((x, w, y, numpy.empty_like(w), None if name == "encoder.0.weight" else x.copy()))

    def run(self, steps):
        for _ in range(steps):
            for x, w, y, w_bar, x_bar in self.layers:
                numpy.matmul(x, w, out=y)
                numpy.matmul(x.T, y, out=w_bar)
                if x_bar is not None:
                    numpy.matmul(y, w.T, out=x_bar)
        return 0.0
