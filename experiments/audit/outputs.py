"""Structured output prediction (section 4.3) and the layer sizes of appendix E."""

from __future__ import annotations

import numpy

from igr_ref import noise
from igr_ref.models.binary_units import IGRIUnit, IGRIUnitAsPublished, IGRSBUnit, IGRSBUnitAsPublished

from ..paper_numbers import TABLE_2
from .record import Measure, Missing, Outcome, finding

GROUP = "Structured output and architectures"


@finding(
    "output-temperature",
    title="Structured output prediction ignores IGR's temperature",
    where="section 4.3, Table 2",
    says="τ is selected for every model",
    right="the published IGR unit is sigmoid(μ + ε): no τ, no σ",
    why="With a temperature of .1 most relaxed units should be close to 0 or 1. The published unit does not know "
    "its temperature, so tuning it changes nothing.",
    equation="ψ = sigmoid(y/τ − log δ)   against   sigmoid(μ + ε)",
    right_code="igr_ref.models.binary_units.IGRIUnit",
    wrong_code="igr_ref.models.binary_units.IGRIUnitAsPublished",
    group=GROUP,
)
def output_temperature(setting, unit=None):
    rng = setting.rng("unit")
    n = setting.count(100_000)
    near = {}
    for name, u in (("tested", unit or IGRIUnitAsPublished()), ("right", IGRIUnit(0.1))):
        o = numpy.zeros((n, u.outputs))
        psi = u.run({}, o, noise.normal(rng, (n, 1)))[0]
        near[name] = float((numpy.minimum(psi, 1 - psi) < 0.05).mean())
    return Outcome(
        near["tested"] > 0.5,
        f"units within .05 of 0 or 1 at τ = .1: {near['tested']:.1%} as published, {near['right']:.0%} with τ",
        (
            Measure("share within .05 of 0 or 1, tested unit", 100 * near["tested"], "%"),
            Measure("share, sigmoid(y/.1)", 100 * near["right"], "%"),
        ),
    )


def best_constant(train, test):
    """Mean log-likelihood of test pixels (n, P) under one Bernoulli for each pixel, fitted to train: nats an image."""
    p = (train.sum(axis=0, dtype="float64") + 0.5) / (len(train) + 1)
    return float((test @ numpy.log(p) + (1 - test.astype("float64")) @ numpy.log1p(-p)).mean())


@finding(
    "output-constant",
    title="Structured output prediction with IGR-SB has a constant code",
    where="section 4.3, Table 2 (IGR-SB −45.12)",
    says="IGR-SB's discretised units are 0 or 1",
    right="sigmoid of a single stick lies in (.5, .731): always 1. The network cannot see its input",
    why="With two categories there is one stick and one class that is never reached. The published unit, rounded, "
    "is 1 whatever the input. The best such a network can do is one probability for every pixel; what that "
    "scores is computed from the data, and the printed value is far above it.",
    equation="ψ = sigmoid(sigmoid(y)) ∈ (.5, .731) ⇒ round(ψ) = 1",
    right_code="igr_ref.models.binary_units.IGRSBUnit (keeps the remainder)",
    wrong_code="igr_ref.models.binary_units.IGRSBUnitAsPublished",
    group=GROUP,
)
def output_constant(setting, unit=None):
    unit = unit or IGRSBUnitAsPublished()
    rng = setting.rng("constant")
    o = 4 * rng.standard_normal((setting.count(100_000), unit.outputs))
    eps = noise.normal(rng, (len(o), 1))
    share = float(unit.discretize({}, o, eps).mean())
    psi = IGRSBUnitAsPublished().run({}, o[:, :1], eps)[0]
    measures = [
        Measure("share of tested units that are 1, wild inputs", share, "", 4),
        Measure("smallest ψ of the published unit", float(psi.min())),
        Measure("largest ψ of the published unit", float(psi.max())),
        Measure(
            "the same share for the unit with a remainder",
            float(IGRSBUnit(0.5).discretize({}, numpy.repeat(o[:, :1], 2, 1) * [1, 0], eps).mean()),
        ),
    ]
    text = f"{share:.0%} of the units are 1 for any input"
    for name in ("digits", "mnist"):
        try:
            d = setting.images(name)
        except Missing:
            continue
        half = d.train.shape[1] // 2
        value = best_constant(d.train[:, half:], d.test[:, half:])
        measures.append(Measure(f"best constant pixel model, lower half of {name} test images", value, "nats", 4))
        if name == "mnist":
            printed = TABLE_2["igr_sb"][0]
            measures.append(Measure("printed for IGR-SB (Table 2)", printed, "nats", 4))
            text += f"; best constant model on MNIST {value:.1f} nats, printed {printed}"
    return Outcome(share < 1, text, tuple(measures))
