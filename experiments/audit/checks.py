"""Statements of the paper that were checked and hold."""

from __future__ import annotations

import math

import numpy

from igr_ref import GumbelSoftmax, SoftmaxPlusPlus, h, igr_i, igr_sb, noise
from igr_ref.estimators.unordered_set import unordered_set
from igr_ref.recovery import conditional_gumbel, gaussian_argmax

from ..estimators import Problem
from .record import Measure, Outcome, finding

GROUP = "Checked and found right"


def eq_26(g, y):
    return g.log_det(y)


@finding(
    "jacobians",
    title="The Jacobians of softmax++ and of stick-breaking",
    where="eqs. 18, 22–26",
    says="|det J| of eq. 26, and its product with the triangular one for eq. 18",
    right="they agree with differences of the maps",
    why="Central differences of g give a matrix; the logarithm of its determinant is compared with the closed "
    "formulas, for random points and temperatures .2 to 2.",
    equation="log|det J| = −(K−1) log τ + Σ_{k≤K} log g_k",
    right_code="igr_ref.SoftmaxPlusPlus.log_det, igr_ref.Chain.log_det",
    wrong_code="",
    group=GROUP,
)
def jacobians(setting, log_det=eq_26):
    rng, worst = setting.rng("jacobians"), {}
    for name, make in (("eq. 26", igr_i), ("eq. 18", igr_sb)):
        worst[name] = 0.0
        for tau in (0.2, 0.5, 2.0):
            g = make(numpy.zeros(4), numpy.zeros(4), tau).transform
            for y in 0.7 * rng.standard_normal((20, 4)):
                step = 1e-5 * numpy.eye(4)
                j = (g.forward(y + step) - g.forward(y - step))[:, :-1].T / 2e-5
                worst[name] = max(worst[name], abs(float(numpy.linalg.slogdet(j)[1] - log_det(g, y))))
    return Outcome(
        max(worst.values()) < 1e-5,
        f"largest difference {max(worst.values()):.0e} (differences of step 1e-5)",
        tuple(Measure(f"largest difference of log|det J|, {name}", v) for name, v in worst.items()),
    )


@finding(
    "prop-1",
    title="Proposition 1",
    where="eqs. 20, 27, 28",
    says="softmax++(y, τ) → h(y) as τ → 0, for any δ > 0",
    right="it does",
    why="The largest distance from the vertex that h names, over random points and δ of .1, 1 and 10.",
    equation="lim softmax++(y, τ) = h(y)",
    right_code="igr_ref.h",
    wrong_code="",
    group=GROUP,
)
def prop_1(setting, limit=h):
    y = noise.normal(setting.rng("prop1"), (setting.count(2000), 9))
    # away from ties and from max y = 0, which have probability zero
    ordered = numpy.sort(numpy.concatenate([y, 0 * y[:, :1]], axis=-1), axis=-1)
    y = y[ordered[:, -1] - ordered[:, -2] > 0.05]
    far = {}
    for tau in (0.1, 0.01, 0.001):
        far[tau] = max(float(abs(SoftmaxPlusPlus(tau, d).forward(y) - limit(y)).max()) for d in (0.1, 1.0, 10.0))
    return Outcome(
        far[0.001] < 1e-12,
        f"largest distance {far[0.1]:.2f} at τ = .1, {far[0.01]:.2g} at .01, {far[0.001]:.0g} at .001",
        tuple(Measure(f"largest distance from the vertex, τ = {t:g}", v) for t, v in far.items()),
    )


@finding(
    "prop-2",
    title="Proposition 2",
    where="eq. 21",
    says="eq. 21 is the law of H",
    right="it agrees with frequencies, and sums to one",
    why="Random parameters of ten categories; the deviation of frequencies from eq. 21 is measured in standard "
    "errors, whose root mean square is 1 when the law is right.",
    equation="P(H=k) = ∫₀^∞ φ_k Π_{j≠k} Φ_j dt,  P(H=K) = Π_j Φ(−μ_j/σ_j)",
    right_code="igr_ref.recovery.gaussian_argmax.probs",
    wrong_code="",
    group=GROUP,
)
def prop_2(setting, law=gaussian_argmax.probs):
    rng, n = setting.rng("prop2"), setting.count(400_000)
    eps, z, off = noise.normal(rng, (n, 9)), [], 0.0
    for _ in range(5):
        mu, sigma = rng.standard_normal(9), numpy.exp(0.5 * rng.standard_normal(9))
        p = law(mu, sigma)
        found = numpy.bincount(igr_i(mu, numpy.log(sigma), 1.0).category(eps), minlength=10) / n
        z.append((found - p) / numpy.sqrt(p * (1 - p) / n))
        off = max(off, abs(float(p.sum()) - 1))
    rms = float(numpy.sqrt(numpy.mean(numpy.square(z))))
    return Outcome(
        rms < 2 and off < 1e-8,
        f"root mean square deviation {rms:.2f} standard errors; sums off by {off:.0e}",
        (Measure("root mean square deviation", rms, "standard errors"), Measure("largest |sum − 1|", off)),
    )


@finding(
    "eq-6",
    title="The Gumbel-Softmax density",
    where="eq. 6",
    says="eq. 6 is a density on S^{K−1}",
    right="it integrates to one, and has the sampler's moments",
    why="For K = 3 the density is integrated over the triangle in the coordinates of the logits, together with the "
    "first two moments, and compared with samples of eq. 5.",
    equation="∫ q̃ dz₁dz₂ = 1",
    right_code="igr_ref.GumbelSoftmax.log_prob_log_z",
    wrong_code="",
    group=GROUP,
)
def eq_6(setting, extra=0.0):
    q = GumbelSoftmax(numpy.array([0.5, -0.3, 0.2]), 0.7)
    x = numpy.linspace(-32, 32, 801)
    a, b = numpy.meshgrid(x, x, indexing="ij")
    logits = numpy.stack([a, b, 0 * a], axis=-1)
    y = logits - numpy.logaddexp(numpy.logaddexp(a, b), 0)[..., None]
    # dz_1 dz_2 = z_1 z_2 z_3 da db
    density = numpy.exp(q.log_prob_log_z(y) + y.sum(axis=-1) + extra) * (x[1] - x[0]) ** 2
    total = float(density.sum())
    z = q.sample(noise.gumbel(setting.rng("eq6"), (setting.count(400_000), 3)))
    mean = (density[..., None] * numpy.exp(y)).sum(axis=(0, 1))
    deviations = (z.mean(axis=0) - mean) / (z.std(axis=0) / len(z) ** 0.5)
    return Outcome(
        abs(total - 1) < 1e-6 and float(abs(deviations).max()) < 5,
        f"integral {total:.8f}; means agree with samples within {float(abs(deviations).max()):.1f} standard errors",
        (
            Measure("integral of eq. 6, K = 3", total, "", 9),
            Measure("largest deviation of the means from samples", float(abs(deviations).max()), "standard errors"),
        ),
    )


@finding(
    "conditional-gumbel",
    title="The conditional Gumbel sampler of RELAX",
    where="appendix D (GS + RELAX)",
    says="z̃ given its arg max can be sampled directly",
    right="its law is that of samples selected by their arg max",
    why="The means of all coordinates, and of their squares, given each category, against rejection; in standard "
    "errors.",
    equation="ζ̃_i = −log(−log v_i), ζ̃_k = −log(−log v_k/θ_k − log v_i)",
    right_code="igr_ref.recovery.conditional_gumbel.sample",
    wrong_code="",
    group=GROUP,
)
def conditional_gumbel(setting, sampler=conditional_gumbel.sample):
    rng, n = setting.rng("conditional"), setting.count(200_000)
    log_theta = numpy.log([0.5, 0.3, 0.2])
    zeta = log_theta + noise.gumbel(rng, (n, 3))
    z = []
    for i in range(3):
        chosen = zeta[zeta.argmax(axis=-1) == i]
        b = numpy.broadcast_to(numpy.eye(3)[i], (n, 3))
        drawn = sampler(log_theta, b, noise.uniform(rng, (n, 3)))[0]
        for power in (1, 2):
            gap = (chosen**power).mean(axis=0) - (drawn**power).mean(axis=0)
            z.append(gap / numpy.sqrt((chosen**power).var(axis=0) / len(chosen) + (drawn**power).var(axis=0) / n))
    rms = float(numpy.sqrt(numpy.mean(numpy.square(z))))
    return Outcome(
        rms < 2,
        f"root mean square deviation {rms:.2f} standard errors over {numpy.size(z)} moments",
        (Measure("root mean square deviation", rms, "standard errors"), Measure("draws", n)),
    )


@finding(
    "unordered-set",
    title="USPGBL of Kool et al. is unbiased",
    where="appendix D, Table 6",
    says="an unbiased estimator from S = 4 samples without replacement",
    right="its mean is the exact gradient",
    why="On a problem of three variables of three categories whose gradient is a sum over 27 codes; deviation in "
    "standard errors of the mean.",
    equation="E Σ_i p_i R_i (f_i − β_i) ∇log q(b_i) = ∇E f",
    right_code="igr_ref.estimators.unordered_set",
    wrong_code="",
    group=GROUP,
)
def unordered(setting, scale=1.0):
    problem, n = Problem(), setting.count(20_000, 3000)
    alpha = problem.params["gs"]["log_alpha"]
    q = GumbelSoftmax(numpy.broadcast_to(alpha, (n, 3, 3)), 1.0)
    g = scale * unordered_set(q, noise.gumbel(setting.rng("unordered"), (n, 3, 4, 3)), problem.f).grads["log_alpha"]
    z = (g.mean(axis=0) - problem.exact["gs"]["log_alpha"]) / (g.std(axis=0, ddof=1) / math.sqrt(n))
    rms = float(numpy.sqrt((z**2).mean()))
    return Outcome(
        rms < 2,
        f"root mean square deviation {rms:.2f} standard errors over {z.size} parameters, {n:,} sets",
        (Measure("root mean square deviation", rms, "standard errors"), Measure("sets of four codes", n)),
    )
