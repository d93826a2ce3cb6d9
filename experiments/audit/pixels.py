"""The data and the pixel likelihoods (section 4.2): what FMNIST's decoder can reach, and Omniglot's grey pixels."""

from __future__ import annotations

import numpy

from igr_ref.models import losses

from .record import Measure, Outcome, finding

GROUP = "Data and decoders"


def with_elu(x):
    """The published decoder's log p at outputs that reconstruct x (n, P) as well as its ELU allows: (n,)."""
    mean = numpy.clip(x, losses.GAUSSIAN_MEAN_FLOOR, 1 - 1e-9)
    logit = numpy.log(mean) - numpy.log1p(-mean)
    a_m = numpy.where(logit > 0, logit, numpy.log1p(numpy.maximum(numpy.minimum(logit, 0), -1 + 1e-12)))
    return losses.Gaussian().log_prob(x, numpy.concatenate([a_m, numpy.full_like(a_m, -40.0)], axis=-1))


def without_elu(x, sd=1e-6):
    """A Gaussian decoder whose means reach x and whose deviation is down to softplus(.) + 1e-6."""
    return numpy.full(len(x), x.shape[1] * (-0.5 * numpy.log(2 * numpy.pi) - numpy.log(sd)))


@finding(
    "fmnist-ceiling",
    title="FMNIST's likelihood is capped by an activation on the output layer",
    where="section 4.2, Table 1 (FMNIST)",
    says="a Gaussian decoder: its mean and deviation are free",
    right="the code's ELU on both heads keeps means above .269 and deviations above .313",
    why="About half of FMNIST's pixels are 0, which such a decoder cannot reconstruct. The log-likelihood of a "
    "perfect reconstruction within these limits is the ceiling of every FMNIST number; without the limits the "
    "likelihood grows without bound, so the printed numbers exist only because of an activation that the paper "
    "does not mention.",
    equation="m = sigmoid(ELU(·)) ≥ 1/(1+e),  v = softplus(ELU(·)) + 1e−6 ≥ .3133",
    right_code="igr_ref.models.losses.Gaussian (the published decoder, its floors named)",
    wrong_code="the reading without them",
    group=GROUP,
)
def fmnist_ceiling(setting, decoder=with_elu):
    d = setting.images("fmnist")
    x = d.floats(d.test[: setting.count(10_000)], "float64")
    ceiling = float(decoder(x).mean())
    return Outcome(
        ceiling > 5000,
        f"perfect reconstruction scores {ceiling:+.1f} nats an image; {float((x == 0).mean()):.0%} of the pixels are 0",
        (
            Measure("smallest mean", losses.GAUSSIAN_MEAN_FLOOR, "", 4),
            Measure("smallest standard deviation", losses.GAUSSIAN_SD_FLOOR, "", 4),
            Measure("log-likelihood of a perfect reconstruction, FMNIST test", ceiling, "nats"),
            Measure("the same without the ELU, at the floor 1e−6", float(without_elu(x).mean()), "nats", 5),
            Measure("pixels that are 0", 100 * float((x == 0).mean()), "%"),
        ),
    )


@finding(
    "omniglot-grey",
    title="Omniglot as published is not binary",
    where="section 4.2",
    says="a fixed binarisation of MNIST and Omniglot",
    right="thresholded first and resized afterwards: grey pixels, which a Bernoulli cannot fit",
    why="A pixel of value x costs at least its binary entropy under a Bernoulli decoder, whatever is predicted. The "
    "sum over an image's grey pixels is a floor below zero. Measured on the authors' reduced drawings, 105 × "
    "105 resized to 28 × 28.",
    equation="max_p [x log p + (1−x) log(1−p)] = −H(x)",
    right_code="experiments.data.load('omniglot') (thresholded again at .5)",
    wrong_code="experiments.data.load('omniglot', grey=True)",
    group=GROUP,
)
def omniglot_grey(setting, grey=True):
    d = setting.images("omniglot_small", grey=grey)
    x = d.floats(d.test, "float64")
    inside = (x > 0) & (x < 1)
    safe = numpy.where(inside, x, 0.5)
    entropy = numpy.where(inside, -safe * numpy.log(safe) - (1 - safe) * numpy.log1p(-safe), 0)
    best = -float(entropy.sum(axis=-1).mean())
    return Outcome(
        not inside.any(),
        f"{float(inside.mean()):.1%} grey pixels; no model can score above {best:.1f} nats",
        (
            Measure("pixels strictly between 0 and 1", 100 * float(inside.mean()), "%"),
            Measure("largest possible Bernoulli log-likelihood, mean over images", best, "nats"),
            Measure("images", len(x)),
        ),
    )
