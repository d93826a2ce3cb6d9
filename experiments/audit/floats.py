"""Floating point: four formulas that are right on paper and wrong in float32 (section 3.1, eqs. 5, 12, 15)."""

from __future__ import annotations

import numpy

from igr_ref import GumbelSoftmax, SoftmaxPlusPlus, igr_i, noise
from igr_ref.estimators import straight_through

from .record import Measure, Outcome, finding

GROUP = "Floating point"


def last_by_difference(y, temperature):
    g = SoftmaxPlusPlus(temperature, precise=False).forward(y)
    return 1 - g[..., :-1].sum(axis=-1)


def last_directly(y, temperature):
    return SoftmaxPlusPlus(temperature, precise=False).forward(y)[..., -1]


@finding(
    "one-minus-sum",
    title="The last coordinate as one minus a sum loses its digits",
    where="section 3.1, eq. 15",
    says="z_K can be had as 1 − Σ_{k<K} z_k (in float32)",
    right="δ/D directly: the difference cancels, and is 0 or negative at low temperatures",
    why="The relative error of the last coordinate is measured in float32 against float64, at temperatures of the "
    "paper's grid. Its logarithm enters the density, so a coordinate that comes out as 0 or below is an "
    "infinite or NaN density.",
    equation="g_K = δ/D = 1 − Σ_{k<K} g_k in exact arithmetic only",
    right_code="igr_ref.SoftmaxPlusPlus.forward (all K coordinates)",
    wrong_code="experiments.audit.floats.last_by_difference",
    group=GROUP,
)
def one_minus_sum(setting, last=last_by_difference):
    y = noise.normal(setting.rng("one-minus"), (setting.count(200_000), 9))
    y32, measures, high, lost = y.astype("float32"), [], {}, {}
    for tau in (0.5, 0.1, 0.03):
        exact = last_directly(y32.astype("float64"), tau)
        got = last(y32, tau).astype("float64")
        normal = exact > 1e-37
        error = abs(got - exact)[normal] / exact[normal]
        lost[tau] = float((got <= 0)[normal].mean())
        high[tau] = float(numpy.quantile(error, 0.99))
        measures.append(Measure(f"median relative error, τ = {tau:g}", float(numpy.median(error))))
        measures.append(Measure(f"99th percentile of it, τ = {tau:g}", high[tau]))
        measures.append(Measure(f"share that is 0 or negative, τ = {tau:g}", 100 * lost[tau], "%"))
    return Outcome(
        max(high.values()) < 1e-4,
        f"float32: {lost[0.1]:.0%} of the last coordinates come out 0 or negative at τ = .1, {lost[0.03]:.0%} at .03",
        tuple(measures),
    )


def plain_uniform(rng, n):
    return rng.random(n, dtype=numpy.float32)


def safe_uniform(rng, n):
    return noise.uniform(rng, n, numpy.float32)


@finding(
    "infinite-gumbel",
    title="Float32 uniforms are exactly zero now and then",
    where="eq. 5",
    says="Gumbel noise is −log(−log u), u uniform (in float32)",
    right="a float32 u is 0 once in 2²⁴ draws; the noise is then −∞ and the log density NaN",
    why="A run of the paper draws 60,000 × 200 numbers an epoch, so this happens about once every one or two epochs.",
    equation="P(u = 0) = 2^{−24}",
    right_code="igr_ref.noise.uniform, igr_ref.noise.gumbel",
    wrong_code="Generator.random(dtype=float32)",
    group=GROUP,
)
def infinite_gumbel(setting, uniform=plain_uniform):
    n = setting.count(100_000_000, 60_000_000)
    zeros = ours = 0
    rng, safe_rng = setting.rng("zeros"), setting.rng("zeros-safe")
    for _ in range(n // 5_000_000):
        zeros += int((uniform(rng, 5_000_000) == 0).sum())
    for _ in range(2):
        ours += int((safe_uniform(safe_rng, 5_000_000) == 0).sum())
    with numpy.errstate(divide="ignore", invalid="ignore"):
        eps = -numpy.log(-numpy.log(numpy.array([0, 0.5, 0.9], "float32")))
        q = GumbelSoftmax(numpy.zeros(3, "float32"), 0.5, precise=False)
        log_q = q.log_prob(q.run_log(eps))
    return Outcome(
        zeros == 0,
        f"{zeros} zeros in {n:,} float32 uniforms ({n / 2**24:.1f} expected); igr_ref.noise: {ours} in 10,000,000",
        (
            Measure("zeros found", zeros),
            Measure("zeros expected", n / 2**24),
            Measure("draws", n),
            Measure("log density of a sample with one such draw is a number", bool(numpy.isfinite(log_q))),
            Measure("zeros from igr_ref.noise.uniform, 10,000,000 draws", ours),
        ),
    )


def left_to_right(q, eps):
    """z + b - z, from the left."""
    z = q.sample(eps)
    return (z + q.discretize(eps)) - z


def difference_first(q, eps):
    """(b - z) + z, the order of most libraries: exact, as 1 - z is off by less than half a step of numbers near 1."""
    z = q.sample(eps)
    return (q.discretize(eps) - z) + z


def exact_code(q, eps):
    """The b that the estimator hands to f."""
    seen = []

    def f(b):
        seen.append(b)
        return numpy.zeros(b.shape[:-2], b.dtype), numpy.zeros_like(b)

    straight_through(q, eps, f)
    return seen[0]


@finding(
    "not-one-hot",
    title="A straight-through sample is one-hot only if it is added up in the right order",
    where="section 3.3 (straight-through)",
    says="z + b − stop(z) is the discretised sample (in float32)",
    right="(b − z) + z is b exactly; (z + b) − z is not: 1 + z is rounded at 1.2e−7",
    why="Automatic differentiation needs a sum whose value is b and whose derivative is that of z. Counted over "
    "float32 samples of a Gumbel-Softmax at τ = .5, coordinates that are neither 0 nor 1, in both orders.",
    equation="fl(fl(z + 1) − z) ≠ 1;   fl(fl(1 − z) + z) = 1",
    right_code="igr_ref.estimators.straight_through (f sees b itself)",
    wrong_code="experiments.audit.floats.left_to_right",
    group=GROUP,
)
def not_one_hot(setting, sample=left_to_right):
    q = GumbelSoftmax(numpy.zeros((1, 10), "float32"), 0.5, precise=False)
    eps = noise.gumbel(setting.rng("one-hot"), (setting.count(200_000), 1, 10), "float32")
    wrong, off = {}, {}
    for rule in (left_to_right, difference_first, exact_code, sample):
        b = rule(q, eps)
        wrong[rule] = float(((b != 0) & (b != 1)).any(axis=-1).mean())
        off[rule] = float(abs(b - q.discretize(eps)).max())
    return Outcome(
        wrong[sample] == 0,
        f"{wrong[left_to_right]:.0%} of the samples (z + b) − z have an entry that is neither 0 nor 1; "
        f"{wrong[difference_first]:.0%} of (b − z) + z",
        (
            Measure("samples (z + b) − z that are not one-hot", 100 * wrong[left_to_right], "%"),
            Measure("largest deviation", off[left_to_right]),
            Measure("samples (b − z) + z that are not one-hot", 100 * wrong[difference_first], "%"),
            Measure("samples handed to f by the estimator that are not one-hot", 100 * wrong[exact_code], "%"),
            Measure("samples", len(b)),
        ),
    )


def density_from_z(q, y):
    """log q(z) by inverting a float32 z, with the usual log(z + 1e-20)."""
    z = q.transform.forward(y)
    log_z = numpy.log(z + numpy.float32(1e-20))
    return q.log_prob(q.transform.inverse_log(log_z))


def density_from_y(q, y):
    return q.log_prob(y)


@finding(
    "density-near-vertex",
    title="Densities computed from z are lost at low temperatures",
    where="eq. 12",
    says="the density of z̃ can be computed from z̃ in closed form (in float32)",
    right="on paper; in float32 z underflows and log(z + 1e−20) gives another number",
    why="The error of log q(z̃) when y is recovered from a float32 sample, against the value computed from y "
    "itself, K = 10, over temperatures of the paper's grid.",
    equation="log q(z̃) = log N(y|μ,σ²) − log|det J|,  y = g⁻¹(z̃)",
    right_code="igr_ref.IGR.log_prob(y)",
    wrong_code="experiments.audit.floats.density_from_z",
    group=GROUP,
)
def density_near_vertex(setting, density=density_from_z):
    y = noise.normal(setting.rng("vertex-density"), (setting.count(20_000), 9), "float32")
    measures, worst, at = [], 0.0, {}
    for tau in (0.5, 0.1, 0.03):
        q = igr_i(numpy.zeros(9, "float32"), numpy.zeros(9, "float32"), tau, precise=False)
        exact = igr_i(numpy.zeros(9), numpy.zeros(9), tau).log_prob(y.astype("float64"))
        error = abs(density(q, y) - exact)
        at[tau] = float((error > 0.1).mean())
        worst = max(worst, at[tau])
        measures.append(
            Measure(f"samples whose log density is off by more than .1 nats, τ = {tau:g}", 100 * at[tau], "%")
        )
        measures.append(Measure(f"largest error, τ = {tau:g}", float(error.max()), "nats"))
    return Outcome(
        worst == 0,
        f"off by more than .1 nats: {at[0.5]:.0%} of samples at τ = .5, {at[0.1]:.0%} at .1, {at[0.03]:.0%} at .03",
        tuple(measures),
    )
