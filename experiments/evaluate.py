"""Scores on the recovered discrete model (EXPERIMENTS 4). All are per image, in nats; higher is better.

    continuous ELBO       log p(x|z) - KL at one relaxed sample z: what was trained.
    discrete ELBO         mean_s log p(x|b_s) - KL(P || uniform),  b_s ~ P(b|x) the recovered law, s = 1..m.
    log-likelihood bound  log (1/m) sum_s p(x|b_s) p(b_s)/P(b_s|x)      (importance weighted, Burda et al. 2016)
    as published          log (1/m) sum_s p(x|b_s) - KL(P || uniform)   (bounds nothing: AUDIT 1)

The importance-weighted bound holds for whatever proposal P the codes are drawn from. Where P is simulated (IGR-Planar),
it is the law of the frequencies themselves that is sampled and scored, so the bound stays a bound.
"""

from __future__ import annotations

import dataclasses
import math

import numpy

from igr_ref import Categorical, noise
from igr_ref.backend import device_namespace, namespace, to_host
from igr_ref.numerics import logsumexp
from igr_ref.recovery import discrete_log_probs, frequencies

ROWS = 1000  # codes decoded at once: large enough for the matrix product, small enough for the cache
SCORES = ("continuous_elbo", "discrete_elbo", "loglik", "as_published", "kl", "ess")


def recovered_log_probs(config, q):
    """log P (..., N, K) of the discrete law behind q, float64: by its formula, or simulated where there is none."""
    try:
        if config.law == "simulated" and config.model == "igr_sb":
            raise TypeError("simulated on request")
        return discrete_log_probs(q)
    except (TypeError, ArithmeticError):  # IGR-Planar; or a law of sticks too wild for its quadrature
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
    log_prob_of = model.code_decoder(params)
    for start in range(0, n, 200):
        x = xp.asarray(floats(images[start : start + 200]))
        stop = start + len(x)
        if continuous is not None:
            rng = noise.generator(config.seed, "continuous-elbo", start)
            out["continuous_elbo"][start:stop] = continuous(x, rng)
        q = model.posterior(params, x)
        law = Categorical(to_host(recovered_log_probs(config, q)))
        out["kl"][start:stop] = law.kl_uniform().sum(axis=-1)
        for i in range(len(x)):
            log_p, log_q = _log_joint(config, log_prob_of, x[i], law.log_probs[i], start + i, xp)
            log_w = log_p - config.n_variables * math.log(config.n_categories) - log_q
            at = start + i
            out["discrete_elbo"][at] = log_p.mean() - out["kl"][at]
            out["loglik"][at] = logsumexp(log_w) - math.log(m)
            out["as_published"][at] = logsumexp(log_p) - math.log(m) - out["kl"][at]
            out["ess"][at] = numpy.exp(2 * logsumexp(log_w) - logsumexp(2 * log_w))
        progress(stop, n)
    return out


def _log_joint(config, log_prob_of, x, log_probs, row, xp):
    """log p(x|b_s) and log P(b_s|x), each (m,) float64, for m codes drawn from P (N, K) for one image x (P,)."""
    m, n, k = config.m, config.n_variables, config.n_categories
    u = noise.uniform(noise.generator(config.seed, "codes", row), (m, n), "float32")
    above = indicators(log_probs, u)
    code = above.sum(axis=-1)
    log_q = log_probs[numpy.arange(n), code].sum(axis=-1)
    log_p = numpy.empty(m)
    for s in range(0, m, ROWS):
        part = xp.asarray(above[s : s + ROWS].reshape(-1, n * (k - 1)), dtype=config.dtype)
        log_p[s : s + ROWS] = to_host(log_prob_of(x, part))
    return log_p, log_q


def indicators(log_probs, u):
    """1[b > k], k = 1..K-1, of inverse-cdf samples b: (m, N, K-1) booleans from log P (N, K) and uniforms (m, N).

    Rounding may leave the last cdf values a little below 1; a category of probability 0 must not be drawn for it, so
    thresholds from the last possible category on are put out of reach.
    """
    probs = numpy.exp(log_probs)
    cdf = numpy.cumsum(probs, axis=-1)[:, :-1].astype(u.dtype)
    last = probs.shape[-1] - 1 - numpy.argmax(probs[:, ::-1] > 0, axis=-1)
    cdf = numpy.where(numpy.arange(cdf.shape[-1]) >= last[:, None], 2, cdf)
    return u[..., None] >= cdf


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
    few = dataclasses.replace(config, m=samples)
    log_prob_of = model.code_decoder(params)
    for start in range(0, len(images), 200):
        x = xp.asarray(floats(images[start : start + 200]))
        law = Categorical(to_host(recovered_log_probs(config, model.posterior(params, x))))
        kl = law.kl_uniform().sum(axis=-1)
        for i in range(len(x)):
            log_p, _ = _log_joint(few, log_prob_of, x[i], law.log_probs[i], start + i, xp)
            values[start + i] = log_p.mean() - kl[i]
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
