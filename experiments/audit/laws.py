"""The recovered discrete law (section 3.3, Prop. 2): its formula as printed, its quadrature, and h."""

from __future__ import annotations

import numpy

from igr_ref import SoftmaxPlusPlus, igr_i, noise
from igr_ref.recovery import gaussian_argmax

from .record import Measure, Outcome, finding

GROUP = "The recovered discrete law"


def printed_eq_29(mu, sigma):
    """P (..., K) with phi((t - mu_k)/sigma_k), not divided by sigma_k, under the integral."""
    p = gaussian_argmax.probs(mu, sigma)
    return numpy.concatenate([sigma * p[..., :-1], p[..., -1:]], axis=-1)


@finding(
    "eq-29",
    title="Equation 29 lacks a factor",
    where="appendix B, eq. 29",
    says="the P(H = k) of eq. 29 are the law of H",
    right="φ((t−μ_k)/σ_k)/σ_k under the integral, as in eqs. 21 and 33",
    why="The appendix restates Prop. 2 without the 1/σ_k of the main text. Without it the numbers do not sum to one "
    "unless every σ is 1.",
    equation="P(H=k) = ∫₀^∞ (1/σ_k) φ((t−μ_k)/σ_k) Π_{j≠k} Φ((t−μ_j)/σ_j) dt",
    right_code="igr_ref.recovery.gaussian_argmax.probs",
    wrong_code="experiments.audit.laws.printed_eq_29",
    group=GROUP,
)
def eq_29(setting, law=printed_eq_29):
    mu, sigma = numpy.array([0.2, -0.4, 0.1]), numpy.array([0.5, 2.0, 1.3])
    draws = noise.normal(setting.rng("eq29"), (setting.count(1_000_000), 3))
    counts = numpy.bincount(igr_i(mu, numpy.log(sigma), 1.0).category(draws), minlength=4) / len(draws)
    p = law(mu, sigma)
    return Outcome(
        bool(abs(p.sum() - 1) < 1e-6 and abs(p - counts).max() < 5 / len(draws) ** 0.5),
        f"at σ = (0.5, 2, 1.3) the printed numbers sum to {printed_eq_29(mu, sigma).sum():.3f}",
        (
            Measure("sum of eq. 29 as printed", float(printed_eq_29(mu, sigma).sum()), "", 4),
            Measure("sum of eq. 21", float(gaussian_argmax.probs(mu, sigma).sum()), "", 6),
            Measure("largest |tested formula − frequency|", float(abs(p - counts).max())),
            Measure("draws behind the frequencies", len(draws)),
        ),
    )


def h_of_sample(q, eps):
    """Category numbers of h(z), z the relaxed sample itself (first K-1 coordinates)."""
    return SoftmaxPlusPlus(1.0).category(q.sample(eps)[..., :-1])


@finding(
    "h-of-z",
    title="h has to be applied to y, not to the relaxed sample",
    where="section 3.3, after Prop. 1",
    says="the discrete probabilities are E[h(z̃)]",
    right="E[h(y)], y the Gaussian point: all coordinates of z̃ are positive",
    why="h gives the last category only where every coordinate is negative. The coordinates of a point of the "
    "simplex never are, so E[h(z̃)] has no last category at all.",
    equation="h(y) = e_argmax if max y > 0, else 0;   z̃_k > 0 always",
    right_code="igr_ref.recovery.gaussian_argmax.probs, igr_ref.IGR.category",
    wrong_code="experiments.audit.laws.h_of_sample",
    group=GROUP,
)
def h_of_z(setting, category=h_of_sample):
    q = igr_i(numpy.full(9, -0.753), numpy.zeros(9), 0.5)
    eps = noise.normal(setting.rng("h-of-z"), (setting.count(200_000), 9))
    found = numpy.bincount(category(q, eps), minlength=10) / len(eps)
    exact = gaussian_argmax.probs(q.mu, numpy.exp(q.log_sigma))
    return Outcome(
        bool(abs(found - exact).max() < 5 / len(eps) ** 0.5),
        f"uniform law on 10 categories: the last gets {found[-1]:.3f} instead of {exact[-1]:.3f}",
        (
            Measure("frequency of category K under the tested reading", float(found[-1])),
            Measure("P(H = K) by Prop. 2", float(exact[-1])),
            Measure("draws", len(eps)),
        ),
    )


@finding(
    "delta",
    title="The largest coordinate agrees with h only for δ = 1",
    where="eq. 15 and Prop. 1",
    says="any δ > 0 will do: argmax of softmax++ is h(y)",
    right="true in the limit τ → 0; at τ > 0 the last category wins where max y < τ log δ",
    why="Prop. 1 is right for any δ, as a limit. At a positive temperature the discrete sample that a user reads "
    "off the relaxed one, the largest of all K coordinates, is h(y) only if δ = 1. Earlier code had δ = .1.",
    equation="argmax_k softmax++(y, τ)_k = K  ⇔  max y < τ log δ",
    right_code="igr_ref.SoftmaxPlusPlus(delta=1)",
    wrong_code="igr_ref.SoftmaxPlusPlus(delta=0.1)",
    group=GROUP,
)
def delta(setting, value=0.1):
    y = -0.753 + noise.normal(setting.rng("delta"), (setting.count(200_000), 9))
    g = SoftmaxPlusPlus(0.5, value)
    share = {
        t: float((SoftmaxPlusPlus(t, value).forward(y).argmax(axis=-1) != g.category(y)).mean()) for t in (0.5, 0.01)
    }
    return Outcome(
        share[0.5] == 0,
        f"δ = {value:g}, τ = .5: {share[0.5]:.1%} of the samples disagree with h(y); at τ = .01, {share[0.01]:.2%}",
        (
            Measure(f"share that disagrees, δ = {value:g}, τ = .5", 100 * share[0.5], "%"),
            Measure(f"share that disagrees, δ = {value:g}, τ = .01", 100 * share[0.01], "%"),
            Measure("draws", len(y)),
        ),
    )
