"""The Gumbel-Softmax's continuous KL (eq. 9), its prior's temperature, and the notation of Gaussians."""

from __future__ import annotations

import math

import numpy

from igr_ref import GumbelSoftmax, noise

from ..store import read_result
from .record import Measure, Outcome, finding

GROUP = "Objectives and temperatures"


@finding(
    "prior-temperature",
    title="The Gumbel-Softmax's prior has a temperature of its own",
    where="eq. 9 and section 4",
    says="the KL of eq. 9 compares q with a GS prior of the same kind; one τ is tuned",
    right="the published code fixes the prior's temperature at .5: two uniform laws then differ",
    why="IGR uses one g with one temperature for q and its prior. The published Gumbel-Softmax does not: its prior "
    "stays at .5 whatever τ is. At low τ even the uniform q then pays hundreds of nats, so low temperatures "
    "cannot win the selection; above .5 the mismatch acts as a regulariser and improves the recovered model.",
    equation="KL(GS(uniform, τ) ‖ GS(uniform, ½)) ≠ 0 for τ ≠ ½, times 20 variables",
    right_code="igr_ref.models.GumbelSoftmaxFamily(prior_temperature=None)",
    wrong_code="igr_ref.models.GumbelSoftmaxFamily(prior_temperature=0.5)",
    group=GROUP,
)
def prior_temperature(setting, prior=0.5):
    kl = {}
    for step, tau in enumerate((0.1, 0.25, 0.4, 0.5, 0.67, 0.85, 1.0)):
        q = GumbelSoftmax(numpy.zeros(10), tau)
        y = q.run_log(noise.gumbel(setting.rng("prior-tau", step), (setting.count(100_000), 10)))
        other = GumbelSoftmax(numpy.zeros(10), tau if prior is None else prior)
        kl[tau] = 20 * float((q.log_prob(y) - other.log_prob(y)).mean())
    measures = [
        Measure(f"KL of the uniform q at τ = {tau:g} to the prior at .5, 20 variables", v, "nats")
        for tau, v in kl.items()
    ]
    elbo = {}
    for path in sorted(setting.probes.glob("*gs*.json")):
        result = read_result(path)
        config = result["config"]
        if config["temperature"] in (0.67, 1.0):
            elbo[config["temperature"], config["prior_temperature"]] = result["metrics"]["all"]["discrete_elbo"]["mean"]
    for tau in (0.67, 1.0):
        if (tau, 0.5) in elbo and (tau, tau) in elbo:
            gain = elbo[tau, 0.5] - elbo[tau, tau]
            measures.append(
                Measure(f"MNIST, τ = {tau:g}: discrete ELBO with prior .5 minus with prior {tau:g}", gain, "nats")
            )
    return Outcome(
        max(abs(v) for v in kl.values()) < 0.5,
        f"uniform q: {kl[0.1]:.0f} nats at τ = .1, {kl[0.25]:.0f} at .25, {abs(kl[0.5]):.0f} at .5, {kl[1.0]:.0f} at 1",
        tuple(measures),
        {"temperature": list(kl), "kl": [round(v, 3) for v in kl.values()]},
    )


def log_ratio(q, p, y):
    return q.log_prob(y) - p.log_prob(y)


@finding(
    "discrete-kl-for-relaxed",
    title="The discrete KL is no bound for the relaxed Gumbel-Softmax",
    where="eqs. 8 and 9",
    says="KL(ᾱ ‖ p₀) does not take into account how close the GS is to ᾱ",
    right="so it is: the continuous KL of eq. 9 is never smaller, and often far larger",
    why="The data processing inequality puts the KL of the relaxed laws above that of their arg max. With prior and "
    "posterior at one temperature the difference is measured, in nats for 20 variables.",
    equation="KL(q̃_{α,τ} ‖ q̃_{α₀,τ}) ≥ KL(ᾱ ‖ ᾱ₀)",
    right_code="igr_ref.GumbelSoftmax.log_prob (sampled KL)",
    wrong_code="igr_ref.Categorical.kl_uniform put in its place",
    group=GROUP,
)
def discrete_kl(setting, log_ratio=log_ratio):
    log_alpha = numpy.array([2.0] + [0.0] * 9)
    q, p = GumbelSoftmax(log_alpha, 0.5), GumbelSoftmax(numpy.zeros(10), 0.5)
    y = q.run_log(noise.gumbel(setting.rng("eq8"), (setting.count(400_000), 10)))
    ratio, factor = log_ratio(q, p, y), 20
    law = numpy.exp(q.log_probs())
    discrete = float((law * numpy.log(10 * law)).sum())
    continuous, se = float(ratio.mean()), float(ratio.std() / math.sqrt(len(ratio)))
    return Outcome(
        continuous > discrete + 5 * se,
        f"20 variables, α = (e², 1, …, 1): continuous {factor * continuous:.1f}, discrete {factor * discrete:.1f} nats",
        (
            Measure("continuous KL (eq. 9), 20 variables", factor * continuous, "nats"),
            Measure("discrete KL (eq. 8), 20 variables", factor * discrete, "nats"),
            Measure("standard error of the first", factor * se, "nats"),
        ),
    )
