"""How many draws stand behind a score: importance samples (section 4.2), and the draws of a simulated law's KL."""

from __future__ import annotations

import math

import numpy
import scipy.stats

from igr_ref import Categorical
from igr_ref.recovery import stick_breaking

from .. import evaluate, plan
from .record import Measure, Missing, Outcome, finding
from .scores import GROUP, trained_vae


@finding(
    "importance-samples",
    title="The number of importance samples is part of the number",
    where="section 4.2 (m = 1000)",
    says="m = 1000 for every score; the code's script for trained models uses 100",
    right="a score needs its m beside it: far fewer codes give far lower numbers",
    why="The importance weights of a model with 20 variables are so uneven that neither 100 nor 1,000 codes are "
    "enough: the bound still rises. Measured with a linear VAE of 20 variables of 10 categories, trained for "
    "two epochs, on MNIST if it is at hand and else on the embedded digits.",
    equation="L_m = log (1/m) Σ_{s≤m} p(x|b_s) p(b_s)/q(b_s|x),  E L_m rises with m",
    right_code="experiments.evaluate.scores with config.m = 1000",
    wrong_code="the same with config.m = 100",
    group=GROUP,
)
def importance_samples(setting, m_code=None):
    try:
        dataset, steps, m_few = setting.images("mnist"), setting.count(1200, 150), 100
    except Missing:  # images of 64 pixels say less about their code: a tenth shows the same
        dataset, steps, m_few = setting.images("digits"), setting.count(1000, 150), 10
    m_code = m_code or m_few
    config, model, params = trained_vae(setting, dataset, 20, 10, steps)
    images, got = dataset.test[: setting.count(60, 30)], {}
    for m in sorted({10, m_code, 1000}):
        few = plan.from_dict({**config.as_dict(), "m": m})
        got[m] = evaluate.scores(few, model, params, images, lambda x: dataset.floats(x, "float64"))
    change = got[1000]["loglik"] - got[m_code]["loglik"]
    ess = float(numpy.median(got[1000]["ess"]))
    return Outcome(
        bool(change.mean() < 0.05),
        f"{dataset.name}: bound at m = 1,000 is {change.mean():.2f} nats above m = {m_code}; "
        f"median effective sample size {ess:.1f} of 1,000",
        (
            *(
                Measure(f"{dataset.name}: bound at m = {m}", float(v["loglik"].mean()), "nats", 4)
                for m, v in got.items()
            ),
            Measure("median effective sample size of 1,000 weights", ess),
            Measure("images", len(images)),
        ),
    )


def plug_in_kl(p, draws):
    """E of sum_k f_k log(K f_k), f the frequencies of `draws` draws: exact, by the binomial law of each count."""
    c = numpy.arange(1, draws + 1)
    terms = c / draws * numpy.log(c / draws)
    return math.log(p.shape[-1]) + (scipy.stats.binom.pmf(c, draws, p[..., None]) @ terms).sum(axis=-1)


def exact_kl(p, draws):
    return Categorical(numpy.log(p)).kl_uniform()


@finding(
    "plug-in-kl",
    title="The KL of IGR-SB is estimated with a bias",
    where="section 3.3 (Monte Carlo recovery), Tables 1 and 4",
    says="the recovered law may be replaced by frequencies of its draws",
    right="the law of IGR-SB can be computed; frequencies overstate the KL by about N(K−1)/(2M)",
    why="The code takes the KL of empirical frequencies of M draws. The entropy of frequencies is too small on "
    "average, so the KL is too large. The expectation here is exact, from the binomial law of each count.",
    equation="E Σ_k f_k log(K f_k) − KL ≈ (K−1)/(2M) for each variable, f = frequencies of M draws",
    right_code="igr_ref.recovery.stick_breaking.probs and igr_ref.Categorical.kl_uniform",
    wrong_code="igr_ref.recovery.frequencies put into the same formula",
    group=GROUP,
)
def plug_in(setting, estimate=plug_in_kl):
    rng = setting.rng("plug-in")
    mu, sigma = rng.normal(-1, 1, (20, 9)), numpy.exp(0.3 * rng.standard_normal((20, 9)))
    p = numpy.maximum(stick_breaking.probs(mu, sigma, remainder=True), 1e-12)
    p = p / p.sum(axis=-1, keepdims=True)
    bias = {m: float((estimate(p, m) - exact_kl(p, m)).sum()) for m in (100, 1000)}
    return Outcome(
        abs(bias[1000]) < 0.01,
        f"20 variables, K = 10: {bias[1000]:+.3f} nats with 1,000 draws, {bias[100]:+.2f} with 100",
        (
            Measure("bias of the summed KL, 1,000 draws", bias[1000], "nats"),
            Measure("bias, 100 draws", bias[100], "nats"),
            Measure("N(K−1)/(2M) at M = 1,000", 20 * 9 / 2000, "nats"),
        ),
    )
