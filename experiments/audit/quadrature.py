"""Prop. 2 by quadrature (appendix B): Gauss-Hermite against composite rules, and the box of eq. 37."""

from __future__ import annotations

import numpy

from igr_ref.estimators.relax import bounded_parameters
from igr_ref.numerics import log_ndtr, log_normal_pdf
from igr_ref.recovery import gaussian_argmax

from .laws import GROUP
from .record import Measure, Outcome, finding


def half_range_hermite(n=15):
    """Nodes and weights of int_0^inf e^{-x^2} f dx, n points, from Stieltjes' recurrence on a fine grid."""
    x, w = numpy.polynomial.legendre.leggauss(600)
    x, w = 6 * (x + 1), 6 * w
    w = w * numpy.exp(-x * x)
    a, b, last, p, norm = [], [], numpy.zeros_like(x), numpy.ones_like(x), w.sum()
    for _ in range(n):
        a.append((w * x * p * p).sum() / norm)
        last, p = p, (x - a[-1]) * p - (b[-1] if b else 0) * last
        new = (w * p * p).sum()
        b.append(new / norm)
        norm = new
    off = numpy.sqrt(b[:-1])
    nodes, vectors = numpy.linalg.eigh(numpy.diag(a) + numpy.diag(off, 1) + numpy.diag(off, -1))
    return nodes, w.sum() * vectors[0] ** 2


def fifteen_nodes(mu, sigma):
    """Prop. 2 by 15 half-range Gauss-Hermite nodes on the line of t, as appendix B's reference gives them."""
    nodes, weights = half_range_hermite()
    a = (nodes - mu[..., None]) / sigma[..., None]
    log_phi, log_Phi = log_normal_pdf(a) - numpy.log(sigma)[..., None], log_ndtr(a)
    whole = log_phi + log_Phi.sum(axis=-2, keepdims=True) - log_Phi + nodes**2
    head = (numpy.exp(whole) * weights).sum(axis=-1)
    last = numpy.exp(log_ndtr(-mu / sigma).sum(axis=-1, keepdims=True))
    return numpy.concatenate([head, last], axis=-1)


@finding(
    "quadrature",
    title="Gauss–Hermite quadrature fails inside the range that the paper allows",
    where="appendix B, eq. 37",
    says="with μ and σ limited by eq. 37 the integrals are accurate by quadrature",
    right="15 half-range nodes end at 5.46; composite panels go as far as the mass does",
    why="Appendix B cites half-range Gauss–Hermite rules and limits μ to ±5 and σ to .5–2.5 against instabilities. "
    "The last of 15 such nodes is at 5.46, while a winner with μ = 5 and σ = 2.5 often lies beyond it: what is "
    "out there is lost, and the probabilities no longer sum to one. Panels placed by μ and σ lose nothing.",
    equation="P(H=k) = ∫₀^∞ f_k(t) dt ≈ Σ_{i≤15} w_i e^{x_i²} f_k(x_i),  x₁₅ = 5.46",
    right_code="igr_ref.recovery.gaussian_argmax.probs",
    wrong_code="experiments.audit.quadrature.fifteen_nodes",
    group=GROUP,
)
def quadrature(setting, rule=fifteen_nodes):
    rng = setting.rng("quadrature")
    n = setting.count(2000)
    errors = {}
    for name, limit, high in (("paper", 5.0, 2.5), ("code", 1.0, 1.0)):
        mu, sigma = rng.uniform(-limit, limit, (n, 9)), rng.uniform(0.5, high, (n, 9))
        errors[name] = abs(rule(mu, sigma) - gaussian_argmax.probs(mu, sigma)).max(axis=-1)
        if name == "paper":
            off = abs(gaussian_argmax.probs(mu, sigma).sum(axis=-1) - 1).max()
    sweep = numpy.linspace(-5, 5, 41)
    wide = numpy.full((41, 9), 2.5)
    same = numpy.broadcast_to(sweep[:, None], (41, 9))
    totals = {f: f(same, wide).sum(axis=-1) for f in (rule, gaussian_argmax.probs)}
    series = {
        "mu": sweep.tolist(),
        "exact": totals[gaussian_argmax.probs].round(6).tolist(),
        "fifteen": totals[rule].round(6).tolist(),
        "errors": {name: numpy.sort(e)[:: max(1, n // 200)].tolist() for name, e in errors.items()},
    }
    return Outcome(
        bool(errors["paper"].max() < 1e-4 and abs(totals[rule][-1] - 1) < 1e-4),
        f"all μ = 5, σ = 2.5: probabilities sum to {totals[rule][-1]:.3f}; "
        f"errors to {errors['paper'].max():.2f} inside eq. 37, "
        f"{errors['code'].max():.0e} inside the code's smaller box",
        (
            Measure("sum of ten probabilities at all μ = 5, σ = 2.5, 15 nodes", float(totals[rule][-1])),
            Measure("the same by composite quadrature", float(totals[gaussian_argmax.probs][-1]), "", 6),
            Measure("largest node", float(half_range_hermite()[0][-1])),
            Measure("largest error over random parameters within eq. 37", float(errors["paper"].max())),
            Measure("median error there", float(numpy.median(errors["paper"]))),
            Measure("largest error within |μ| < 1, .5 < σ < 1", float(errors["code"].max())),
            Measure("composite rule, largest |sum − 1| there", float(off)),
            Measure("random parameter sets", n),
        ),
        series,
    )


@finding(
    "eq-37-range",
    title="The published code's box for μ and σ is smaller than equation 37's",
    where="appendix B, eq. 37",
    says="μ = −5 tanh μ′ and σ = .5 + 2 sigmoid σ′ were used",
    right="the published code keeps |μ| < 1 and .5 < σ < 1; the minus sign has no effect",
    why="The box limits how certain a recovered category can be. The table gives the largest probability of one "
    "category of ten that either box allows, and the KL to the uniform law of 20 such variables.",
    equation="max P(H=k) over the box; KL = 20 (log 10 − entropy)",
    right_code="igr_ref.estimators.relax.bounded_parameters",
    wrong_code="the same function with limit=1, high=1",
    group=GROUP,
)
def eq_37_range(setting, box=(1.0, 1.0)):
    def best(limit, high):
        ends = numpy.array([-40.0, 40.0])
        mu, log_sigma, _ = bounded_parameters(ends, ends, limit=limit, high=high)
        lowest, highest, narrow, wide = mu.min(), mu.max(), *numpy.exp(log_sigma)
        laws = []
        for first, own, others in ((highest, narrow, narrow), (highest, wide, narrow), (highest, wide, wide),
                                   (lowest, narrow, narrow)):  # fmt: skip
            chosen = numpy.arange(9) == 0
            laws.append(gaussian_argmax.probs(numpy.where(chosen, first, lowest), numpy.where(chosen, own, others)))
        p = max(laws, key=lambda law: law.max())
        return p.max(), 20 * (numpy.log(10) + (p * numpy.log(numpy.maximum(p, 1e-300))).sum())

    (p_paper, kl_paper), (p_code, kl_code) = best(5.0, 2.5), best(*box)
    return Outcome(
        bool(abs(p_paper - p_code) < 1e-3),
        f"most certain category: {p_paper:.4f} in eq. 37's box, {p_code:.4f} in the code's",
        (
            Measure("largest probability, eq. 37's box", float(p_paper), "", 4),
            Measure("largest probability, the code's box", float(p_code), "", 4),
            Measure("KL of 20 such variables, eq. 37's box", float(kl_paper), "nats"),
            Measure("KL of 20 such variables, the code's box", float(kl_code), "nats"),
            Measure("20 log 10", float(20 * numpy.log(10)), "nats"),
        ),
    )
