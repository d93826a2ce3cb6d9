"""Fitting relaxations to given laws (eq. 14, Figure 1): the objective, its temperature, and the number of steps."""

from __future__ import annotations

import math

import numpy
import scipy.optimize
import scipy.stats

from igr_ref import igr_i, noise, prior
from igr_ref.recovery import gaussian_argmax

from .record import Measure, Outcome, finding
from .scores import uniform_ratio

GROUP = "Fitting given laws"


def fit_uniform(setting, objective, k=10, temperature=0.1):
    start = {"mu": numpy.zeros(k - 1), "log_sigma": numpy.zeros(k - 1)}

    def draw(step):
        return noise.normal(setting.rng("eq14", step), (setting.count(500, 100), k - 1))

    p_0 = numpy.full(k, 1 / k)
    fitted, losses = prior.fit(lambda **p: igr_i(**p, temperature=temperature), start, p_0, draw, 1000, 0.01, objective)
    eps = noise.normal(setting.rng("eq14-test"), (20_000, k - 1))
    return fitted, losses, igr_i(**fitted, temperature=temperature).sample(eps)


@finding(
    "eq-14",
    title="Equation 14 as printed is solved by a constant",
    where="section 3, eq. 14",
    says="arg min E‖z̃ − p₀‖² gives a relaxation of p₀ by moment matching",
    right="minimise ‖E z̃ − p₀‖²; the printed objective drives σ to 0",
    why="The expected square splits into a variance and a squared bias. Both vanish when z̃ is the constant p₀, "
    "which relaxes nothing. What the text calls moment matching, and what the code does, is the square of the "
    "expected error. Both are fitted here to the uniform law, K = 10, τ = .1, from the same start, 1,000 steps.",
    equation="E‖z̃ − p₀‖² = tr Var(z̃) + ‖E z̃ − p₀‖²",
    right_code="igr_ref.prior.fit(objective='moments')",
    wrong_code="igr_ref.prior.fit(objective='as_printed')",
    group=GROUP,
)
def eq_14(setting, objective="as_printed"):
    params, losses, z = fit_uniform(setting, objective)
    _, _, z_moments = fit_uniform(setting, "moments")
    top = float(z.max(axis=-1).mean())
    p_0 = 0.1
    printed = {name: float(((s - p_0) ** 2).sum(axis=-1).mean()) for name, s in (("it", z), ("moments", z_moments))}
    sigma = float(numpy.exp(params["log_sigma"]).mean())
    series = {"z": numpy.sort(z[:2000].max(axis=-1)).round(4)[::10].tolist(),
              "moments": numpy.sort(z_moments[:2000].max(axis=-1)).round(4)[::10].tolist()}  # fmt: skip
    return Outcome(
        top > 0.5,
        f"σ falls to {sigma:.3f}; the largest of ten coordinates is {top:.2f} on average, not near 1",
        (
            Measure("mean σ after 1,000 steps of the tested objective", sigma),
            Measure("mean of max_k z̃_k (1 at a vertex)", top),
            Measure("the same after moment matching", float(z_moments.max(axis=-1).mean())),
            Measure("printed objective at its own solution", printed["it"]),
            Measure("printed objective at the moment-matching solution", printed["moments"]),
        ),
        series,
    )


@finding(
    "one-fit",
    title="A prior fitted at one temperature is not uniform at another",
    where="section 3, after eq. 14",
    says="the problem has to be solved only once for a given p₀",
    right="once for each temperature: E z̃ depends on τ, and at τ → 0 only μ₀/σ₀ is determined",
    why="The code fits once at τ = .01 and uses the result at every temperature. As τ tends to 0 the mean of z̃ "
    "tends to the recovered law, which depends on μ₀/σ₀ alone, so any σ₀ is as good as another there; at larger "
    "τ it is not.",
    equation="τ → 0: E z̃_K → Φ(−μ₀/σ₀)^{K−1} = 1/K",
    right_code="igr_ref.prior.fit at the temperature of use",
    wrong_code="igr_ref.prior.igr_i_prior (τ = .01) at other temperatures",
    group=GROUP,
)
def one_fit(setting, refit=False):
    ratio, eps = uniform_ratio(10), noise.normal(setting.rng("one-fit"), (setting.count(200_000, 50_000), 9))
    last, identical = {}, []
    for sigma in (0.5, 1.0, 2.0):
        identical.append(gaussian_argmax.probs(numpy.full(9, ratio * sigma), numpy.full(9, sigma)))
    for tau in (0.01, 0.1, 0.5, 1.0):

        def mean_last(shift, tau=tau):
            return igr_i(numpy.full(9, ratio + shift), numpy.zeros(9), tau).sample(eps)[:, -1].mean() - 0.1

        shift = scipy.optimize.brentq(mean_last, -2, 2, xtol=1e-4) if refit else 0.0
        last[tau] = float(mean_last(shift) + 0.1)
    spread = float(numpy.ptp(identical, axis=0).max())
    return Outcome(
        max(abs(v - 0.1) for v in last.values()) < 0.01,
        f"mean of z̃₁₀: {last[0.01]:.3f} at τ = .01, {last[0.5]:.3f} at .5, {last[1.0]:.3f} at 1; uniform: 0.1",
        (
            *(Measure(f"mean of the last of ten coordinates at τ = {t:g}", v) for t, v in last.items()),
            Measure("μ₀/σ₀ of the uniform law, K = 10", float(ratio), "", 4),
            Measure("change of the recovered law when σ₀ goes from .5 to 2", spread),
        ),
    )


@finding(
    "sigma-start",
    title="The start of ξ mixes two parametrisations",
    where="appendix F, Figures 1, 3–8",
    says="the sticks start at σ = 1",
    right="ξ = softplus⁻¹(1) is used as log σ: σ starts at 1.72",
    why="The script inverts a softplus to start σ at 1, while the model takes σ = exp(ξ).",
    equation="ξ = log(e − 1);   exp(ξ) = e − 1",
    right_code="experiments.approximate.start",
    wrong_code="the same (it keeps the published start)",
    group=GROUP,
)
def sigma_start(setting, link=math.exp):
    xi = math.log(math.e - 1)
    return Outcome(
        abs(link(xi) - 1) < 1e-3,
        f"ξ = {xi:.3f}: exp(ξ) = {math.exp(xi):.3f}, softplus(ξ) = {math.log1p(math.exp(xi)):.3f}",
        (Measure("exp(ξ)", math.exp(xi)), Measure("softplus(ξ)", math.log1p(math.exp(xi)))),
    )
