"""Scores on the recovered discrete model. All are per image, in nats; higher is better.

    continuous ELBO       log p(x|z) - KL at one relaxed sample z: what was trained.
    discrete ELBO         mean_s log p(x|b_s) - KL(P || uniform),  b_s ~ P(b|x) the recovered law, s = 1..m.
    log-likelihood bound  log (1/m) sum_s p(x|b_s) p(b_s)/P(b_s|x)      (importance weighted, Burda et al. 2016)
    as published          log (1/m) sum_s p(x|b_s) - KL(P || uniform)   (bounds nothing: audit not-a-bound)

The importance-weighted bound holds for whatever proposal P the codes are drawn from. Where P is simulated (IGR-Planar),
it is the law of the frequencies themselves that is sampled and scored, so the bound stays a bound. Uniforms are
float32: a category below some 1e-5 is drawn with a probability rounded to a multiple of 2^-24, and scored with its own.
"""

from __future__ import annotations

import dataclasses
import math
import warnings

import numpy

from igr_ref import Categorical, noise
from igr_ref.backend import device_namespace, namespace, to_host
from igr_ref.recovery import discrete_log_probs, frequencies

from .codes import CodeDecoder

SCORES = ("continuous_elbo", "discrete_elbo", "loglik", "as_published", "kl", "ess")


def recovered_log_probs(config, q):
    """log P (..., N, K) of the discrete law behind q, float64: by its formula, or simulated where there is none.

    A batch of IGR-SB in which a law is too wild for its quadrature is simulated, with a warning.
    """
    try:
        if config.law == "simulated" and config.model == "igr_sb":
            raise TypeError("simulated on request")
        return discrete_log_probs(q)
    except (TypeError, ArithmeticError) as error:  # IGR-Planar; or a law of sticks too wild for its quadrature
        if isinstance(error, ArithmeticError):
            warnings.warn(f"the laws of {len(q.mu)} images are simulated, not exact: {error}", stacklevel=2)
        xp, _ = namespace(q.mu)
        rng = noise.generator(config.seed, "law")
        draws = xp.asarray(noise.normal(rng, (config.law_draws, config.n_categories - 1), config.dtype))
        with numpy.errstate(divide="ignore"):  # log 0 = -inf: never drawn, hence never sampled
            return xp.log(frequencies(q, draws).astype("float64"))


def scores(config, model, params, images, floats, device="cpu", progress=lambda done, total: None, continuous=None):
    """Per-image scores (n,) of uint8 images (n, P): a dict of float64 arrays.

    `floats` turns uint8 rows into the network's input; `continuous(x, rng)` gives continuous ELBOs, where the model was
    trained on any. An image's codes depend on its row alone, so scoring the first 100 images of a set gives the first
    100 scores of the whole set.
    """
    xp = device_namespace(device)
    n, m = len(images), config.m
    out = {name: numpy.empty(n) for name in SCORES if name != "continuous_elbo" or continuous is not None}
    log_prior = -config.n_variables * math.log(config.n_categories)
    decoder = CodeDecoder(config, model, params)
    for start in range(0, n, 200):
        x = xp.asarray(floats(images[start : start + 200]))
        stop = start + len(x)
        if continuous is not None:
            rng = noise.generator(config.seed, "continuous-elbo", start)
            out["continuous_elbo"][start:stop] = continuous(x, rng)
        law = Categorical(to_host(recovered_log_probs(config, model.posterior(params, x))))
        kl = out["kl"][start:stop] = law.kl_uniform().sum(axis=-1)
        weights, joint, total = LogSum(len(x)), LogSum(len(x)), 0.0
        for log_p, log_q in decoder.blocks(x, law.log_probs, start):
            total = total + log_p.sum(axis=-1)
            joint.add(log_p)
            weights.add(log_p + log_prior - log_q)
        out["discrete_elbo"][start:stop] = total / m - kl
        out["loglik"][start:stop] = weights.log_mean(m)
        out["as_published"][start:stop] = joint.log_mean(m) - kl
        out["ess"][start:stop] = weights.sum**2 / weights.sum_of_squares
        progress(stop, n)
    return out


class LogSum:
    """log sum_s e^{a_s} of n rows, block after block: sums of e^{a - top} and its square, top the largest so far."""

    def __init__(self, n):
        self.top, self.sum, self.sum_of_squares = numpy.full(n, -numpy.inf), numpy.zeros(n), numpy.zeros(n)

    def add(self, a):
        """Take in a block (n, S) of finite numbers."""
        top = numpy.maximum(self.top, a.max(axis=-1))
        old = numpy.exp(self.top - top)
        e = numpy.exp(a - top[:, None])
        self.sum = self.sum * old + e.sum(axis=-1)
        self.sum_of_squares = self.sum_of_squares * old**2 + numpy.einsum("ns,ns->n", e, e)
        self.top = top

    def log_mean(self, m):
        """log (1/m) sum_s e^{a_s}: (n,)."""
        return self.top + numpy.log(self.sum / m)


def summary(scores):
    """Mean and standard error over images of every score, and the effective sample size's mean, median and least."""
    n = len(scores["loglik"])
    out = {"images": n}
    for name in [name for name in scores if name != "ess"]:
        values = scores[name]
        se = float(values.std(ddof=1) / math.sqrt(n)) if n > 1 else 0.0
        out[name] = {"mean": float(values.mean()), "se": se}
    if "ess" in scores:
        ess = scores["ess"]
        out["ess"] = {"mean": float(ess.mean()), "median": float(numpy.median(ess)), "min": float(ess.min())}
    return out


def training_elbo(config, model, params, images, floats, samples=10):
    """Table 4's metric on training images: the discretised ELBO with a few codes an image, mean and standard error."""
    xp, _ = namespace(next(iter(params.values())))
    values = numpy.empty(len(images))
    decoder = CodeDecoder(dataclasses.replace(config, m=samples), model, params)
    for start in range(0, len(images), 200):
        x = xp.asarray(floats(images[start : start + 200]))
        law = Categorical(to_host(recovered_log_probs(config, model.posterior(params, x))))
        ((log_p, _),) = decoder.blocks(x, law.log_probs, start)
        values[start : start + len(x)] = log_p.mean(axis=-1) - law.kl_uniform().sum(axis=-1)
    se = float(values.std(ddof=1) / math.sqrt(len(values)))
    return {"images": len(values), "samples": samples, "discrete_elbo": {"mean": float(values.mean()), "se": se}}


def evaluate(config, model, params, images, floats, device="cpu", progress=lambda done, total: None, continuous=None):
    """Summary over all images, and over the first 100 and 200 where there are more (the reference's probes)."""
    values = scores(config, model, params, images, floats, device, progress, continuous)
    out = {"all": summary(values)}
    for first in (100, 200):
        if first < len(images):
            out[f"first_{first}"] = summary({name: value[:first] for name, value in values.items()})
    return out
