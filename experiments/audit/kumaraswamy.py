"""Kumaraswamy sticks (DLDPMM, section 4.4): gradients in float32, and the closed KL."""

from __future__ import annotations

import numpy

from igr_ref import noise
from igr_ref.distributions.kumaraswamy import Kumaraswamy

from .mixtures import GROUP
from .record import Measure, Outcome, finding


def textbook_score(a, b, u):
    """Derivative of log q by v at a Kumaraswamy sample, as printed formulas give it, in the dtype of the input."""
    with numpy.errstate(all="ignore"):
        v = (1 - (1 - u) ** (1 / b)) ** (1 / a)
        return (a - 1) / v - (b - 1) * a * v ** (a - 1) / (1 - v**a)


def stable_score(a, b, u):
    """The same information by the point log(-log v), which is finite."""
    q = Kumaraswamy(numpy.log(a), numpy.log(b))
    point, _ = q.run(u)
    return q.log_prob_point_vjp(point, numpy.ones_like(point))[1]


@finding(
    "kumaraswamy-nan",
    title="Textbook Kumaraswamy gradients are not finite in float32",
    where="section 4.4 (DLDPMM); the code zeroes NaN gradients",
    says="the sticks can be differentiated by the textbook formulas",
    right="in float32 v rounds to 0 or 1; the published code sets the NaN it meets to 0",
    why="Samples are drawn in float32 with log a and log b normal of deviation 1.5, and d log q/dv is taken by the "
    "usual formula. Where v rounds to an end of (0, 1) the result is NaN or infinite. Working with log(−log v) "
    "avoids all of them.",
    equation="d log q/dv = (a−1)/v − (b−1) a v^{a−1}/(1 − v^a)",
    right_code="igr_ref.distributions.kumaraswamy.Kumaraswamy.log_prob_point_vjp",
    wrong_code="experiments.audit.kumaraswamy.textbook_score",
    group=GROUP,
)
def kumaraswamy_nan(setting, score=textbook_score):
    rng = setting.rng("kumaraswamy-nan")
    n = setting.count(1_000_000, 100_000)
    a, b = numpy.exp(1.5 * rng.standard_normal((2, n))).astype("float32")
    u = noise.uniform(rng, n, "float32")
    bad = {f: int((~numpy.isfinite(f(a, b, u))).sum()) for f in (textbook_score, stable_score, score)}
    return Outcome(
        bad[score] == 0,
        f"{bad[textbook_score]:,} of {n:,} float32 gradients are not finite ({bad[stable_score]} by the stable form)",
        (
            Measure("gradients that are not finite, textbook", bad[textbook_score]),
            Measure("gradients that are not finite, stable form", bad[stable_score]),
            Measure("draws", n),
        ),
    )


def kumaraswamy_kl_check(log_a, log_b):
    """KL to Beta(1, 1) as E log q by a fine quadrature over U, with the textbook density."""
    x, w = numpy.polynomial.legendre.leggauss(600)
    t = 36 * x  # u = sigmoid(t)
    u, weight = 1 / (1 + numpy.exp(-t)), 36 * w / (2 + 2 * numpy.cosh(t))
    q = Kumaraswamy(log_a[..., None], log_b[..., None])
    return (weight * q.log_prob_point(q.run(u * numpy.ones_like(log_a[..., None]))[0])).sum(axis=-1)


@finding(
    "kumaraswamy-kl",
    title="The closed KL of a Kumaraswamy stick to Beta(1, 1) is right",
    where="section 4.4 (DLDPMM)",
    says="KL = log ab + (1/a − 1)(ψ(b+1) + γ) + 1/b − 1",
    right="it agrees with quadrature (the published code has it, unused in its loss)",
    why="The closed formula is compared with the expectation of log q by quadrature, for random a and b.",
    equation="KL(Kumaraswamy(a, b) ‖ Beta(1, 1))",
    right_code="igr_ref.distributions.kumaraswamy.Kumaraswamy.kl",
    wrong_code="",
    group=GROUP,
)
def kumaraswamy_kl(setting, kl=lambda q: q.kl()):
    log_a, log_b = 0.5 * setting.rng("kumaraswamy-kl").standard_normal((2, 50))
    q = Kumaraswamy(log_a, log_b)
    error = float(abs(kl(q) - kumaraswamy_kl_check(log_a, log_b)).max())
    return Outcome(
        error < 1e-9, f"largest difference from quadrature {error:.0e}", (Measure("largest difference", error, "nats"),)
    )
