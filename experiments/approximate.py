"""Discrete laws approximated by relaxations (section 4.1 and appendix F): fit eq. 14, recover the law, measure it.

Reported beside the histograms, which hide them: total variation sum_k |P_k - p_k|/2 over the whole support (what a
finite K leaves out counts), mean and standard deviation of the recovered law, before and after the fit.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy
import scipy.stats

from igr_ref import GumbelSoftmax, igr_i, igr_sb, noise, prior
from igr_ref.backend import device_namespace, to_host
from igr_ref.distributions.infinite import InfiniteIGR
from igr_ref.recovery import discrete_log_probs, frequencies

from .state import require_same_run
from .store import provenance, read_result, write_result

BLOCK = 20_000  # draws of the recovered law at a time
WEIGHTS = numpy.array([10, 1, 5, 1, 10, 10, 1, 6, 1, 1.0])


def target_probs(name, n):
    """The target's first n probabilities (float64, not renormalised): support 0, 1, 2, ..."""
    k = numpy.arange(n)
    if name == "poisson":
        return scipy.stats.poisson.pmf(k, 50)
    if name == "binomial":
        return scipy.stats.binom.pmf(k, 12, 0.3)
    if name == "negative_binomial":  # C(k+49, k) .6^50 .4^k
        return scipy.stats.nbinom.pmf(k, 50, 0.6)
    return numpy.pad(WEIGHTS / WEIGHTS.sum(), (0, max(0, n - len(WEIGHTS))))[:n]


def start(config):
    """The parameters a fit starts from, float64."""
    k = config.n_categories
    if config.model == "gs":
        return {"log_alpha": numpy.full(k, -math.log(k))}
    if config.model == "igr_i":
        return {"mu": numpy.zeros(k - 1), "log_sigma": numpy.zeros(k - 1)}
    rng = noise.generator(config.seed, "approximation-start")
    return {"mu": numpy.full(k - 1, -math.log(k - 2)), "log_sigma": 0.541 + 0.01 * noise.normal(rng, k - 1)}


def relaxation(config, **params):
    """The model of the config at given parameters, in the config's own precision."""
    tau = config.temperature
    if config.model == "gs":
        return GumbelSoftmax(params["log_alpha"], tau, validate=False, precise=False)
    mu, log_sigma = params["mu"], params["log_sigma"]
    if config.model == "igr_sb_infinite":
        return InfiniteIGR(mu, log_sigma, tau, config.rho, config.percentile, validate=False, precise=False)
    return {"igr_i": igr_i, "igr_sb": igr_sb}[config.model](mu, log_sigma, tau, validate=False, precise=False)


def recovered(config, params, stream, xp):
    """The discrete law P (K,) behind the parameters: by formula, or frequencies of config.law_draws draws."""
    q = relaxation(config, **params)
    if config.model != "igr_sb_infinite":
        try:
            return numpy.exp(to_host(discrete_log_probs(q)))
        except TypeError:
            pass
    counts, done, block = 0.0, 0, 0
    while done < config.law_draws:
        size = min(BLOCK, config.law_draws - done)
        rng = noise.generator(config.seed, stream, block)
        draws = xp.asarray(noise.normal(rng, (size, config.n_categories - 1), config.dtype))
        counts = counts + to_host(frequencies(q, draws)).astype("float64") * size
        done, block = done + size, block + 1
    return counts / done


def measures(config, law):
    """Total variation to the target, mean and standard deviation."""
    wide = target_probs(config.target, 1000)
    law = numpy.pad(law, (0, max(0, len(wide) - len(law))))
    k = numpy.arange(len(law))
    mean = float((k * law).sum())
    sd = math.sqrt(max(0.0, float((k**2 * law).sum()) - mean**2))
    return {"total_variation": float(0.5 * numpy.abs(law - wide).sum()), "mean": mean, "sd": sd}


def run(config, folder, data_dir=None, device="cpu", quiet=False):
    """Fit and measure one config; the result is stored in `folder`/result.json. A run takes minutes: a killed one
    starts again, with the same noise."""
    folder = Path(folder)
    try:
        result = read_result(folder / "result.json")
    except FileNotFoundError:
        pass
    else:
        require_same_run(folder / "result.json", result["id"], config)
        return result
    xp = device_namespace(device)
    started = time.monotonic()
    first = {name: xp.asarray(value.astype(config.dtype)) for name, value in start(config).items()}
    wanted = target_probs(config.target, config.n_categories)
    p_0 = xp.asarray(wanted.astype(config.dtype))
    n = next(iter(first.values())).shape[-1]
    law = noise.gumbel if config.model == "gs" else noise.normal

    def draw(step):
        return xp.asarray(law(noise.generator(config.seed, "approximation", step), (config.samples, n), config.dtype))

    fitted, losses = prior.fit(
        lambda **params: relaxation(config, **params), first, p_0, draw, config.steps, config.learning_rate,
        config.objective,
    )  # fmt: skip
    laws = {"initial": recovered(config, first, "law-initial", xp), "final": recovered(config, fitted, "law-final", xp)}
    every = max(1, config.steps // 100)
    result = {
        "id": config.id,
        "config": config.as_dict(),
        "metrics": {when: measures(config, law) for when, law in laws.items()},
        "laws": {when: [round(float(p), 7) for p in law] for when, law in laws.items()},
        "history": [{"step": i, "loss": losses[i]} for i in range(0, config.steps, every)],
        "parameters": {name: [round(float(v), 6) for v in to_host(value)] for name, value in fitted.items()},
        "seconds": {"training": round(time.monotonic() - started, 3)},
        "provenance": provenance(device),
    }
    write_result(folder / "result.json", result)
    return result
