"""Layer sizes and learning rates (appendix E)."""

from __future__ import annotations

import numpy

from igr_ref import models
from igr_ref.models.mlp import MLP

from .outputs import GROUP
from .record import Measure, Outcome, finding


@finding(
    "layer-sizes",
    title="The linear architecture's 200 units are the code, not the encoder",
    where="appendix E",
    says="Linear: 784 – 200 – 784, the same for all models",
    right="IGR's encoder puts out 2·20·9 = 360 numbers, the Gumbel-Softmax's 200",
    why="Both codes have 200 numbers, but IGR needs a mean and a deviation for nine coordinates of each variable. "
    "Its encoder has 1.8 times the weights.",
    equation="2 N (K−1) = 360,  N K = 200",
    right_code="igr_ref.models.VAE",
    wrong_code="",
    group=GROUP,
)
def layer_sizes(setting, families=None):
    families = families or {
        "IGR-I": models.igr_i_family(20, 10, 0.5, -0.75, 0.0), "GS": models.GumbelSoftmaxFamily(20, 10, 0.5)
    }  # fmt: skip
    sizes, weights = {}, {}
    for name, family in families.items():
        params = models.VAE(family, models.Bernoulli(), 784).init(setting.rng("layers"), "float32")
        sizes[name] = params["encoder.0.bias"].size
        weights[name] = sum(v.size for key, v in params.items() if key.startswith("encoder"))
    return Outcome(
        len(set(sizes.values())) == 1,
        ", ".join(f"{name}: {n} encoder outputs, {weights[name]:,} weights" for name, n in sizes.items()),
        (
            *(Measure(f"encoder outputs, {name}", n) for name, n in sizes.items()),
            *(Measure(f"encoder parameters, {name}", n) for name, n in weights.items()),
        ),
    )


def published_rate(t):
    """The learning rate that the published script calls weight decay, at iteration t."""
    return max(1e-4, 1e-3 / (1 + 1e-3 * t))


@finding(
    "weight-decay",
    title="Structured output prediction has a decaying learning rate and no weight decay",
    where="appendix E (structured output)",
    says="learning rate 1e−3, weight decay 1e−3",
    right="the script divides the learning rate by 1 + 1e−3 t and stops at 1e−4; weights do not decay",
    why="After 15 epochs the rate is a tenth of the printed one. Of 100 epochs of 600 iterations, the share "
    "is counted that runs at the floor.",
    equation="lr_t = max(1e−4, 1e−3/(1 + 1e−3 t))",
    right_code="",
    wrong_code="experiments.audit.architectures.published_rate",
    group=GROUP,
)
def weight_decay(setting, rate=published_rate):
    rates = numpy.array([rate(t) for t in range(60_000)])
    floor = int((rates > 1.0001e-4).sum())
    return Outcome(
        bool((rates == 1e-3).all()),
        f"{rates[599] / 1e-3:.0%} of the printed rate after one epoch, 10% for {1 - floor / 60_000:.0%} of the run",
        (
            Measure("learning rate after one epoch", float(rates[599])),
            Measure("iterations before the floor", floor),
            Measure("mean learning rate over 100 epochs", float(rates.mean())),
        ),
    )


@finding(
    "relax-networks",
    title="The RELAX runs have networks of their own",
    where="appendix D (Tables 5 and 6) and E",
    says="the nonlinear architecture 784 ∼ 512 ∼ 256 – 200 for every row",
    right="the published grid pairs RELAX with hidden layers as wide as the encoder's output",
    why="Weights of the encoders: appendix E's, and the ones that the published script gives to RELAX (two hidden "
    "layers of 200 for the Gumbel-Softmax, of 360 for IGR). Which of the two was printed is unknown.",
    equation="784–512–256–E against 784–E–E–E",
    right_code="igr_ref.models.VAE(architecture='nonlinear')",
    wrong_code="igr_ref.models.mlp.MLP((784, E, E, E))",
    group=GROUP,
)
def relax_networks(setting, widths=lambda e: (784, e, e, e)):
    def weights(sizes):
        return sum(v.size for v in MLP(sizes).init(setting.rng("relax-widths"), "float32").values())

    measures, same = [], True
    for name, outputs in (("GS", 200), ("IGR-I", 360)):
        paper, code = weights((784, 512, 256, outputs)), weights(widths(outputs))
        same &= paper == code
        measures += [Measure(f"{name}: encoder weights, appendix E", paper), Measure(f"{name}: in the script", code)]
    pairs = zip(("GS", "IGR-I"), measures[::2], measures[1::2], strict=True)
    pairs = zip(("GS", "IGR-I"), measures[::2], measures[1::2], strict=True)
    text = "; ".join(f"{name} {paper.value:,} → {code.value:,}" for name, paper, code in pairs)
    return Outcome(same, f"encoder weights {text}", tuple(measures))
