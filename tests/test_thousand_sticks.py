"""The pullback of IGR-SB's law: two oracles on 1,000 configurations each; see thousand_checks.

Two sticks (K = 3): stick 1 is overtaken by y_2 > l(y_1) = logit(e^{y_1}), so that P is one integral over y_1 < 0, here
under a complex step. Two to four sticks: differences of our own P, of sixth order.
The law is computed to an absolute error, and so are these: below TOLERANCE of the norm of the cotangent.
"""

from __future__ import annotations

import numpy
import pytest
import scipy.special

from igr_ref.recovery import stick_breaking

from .gradcheck import check_rows

STEP = 1e-100
EQUATION = "eq. 16, law of the argmax, gradient"
TOLERANCE = 1e-7


def laws(seed, n, k):
    """rng and mu, sigma (n, K-1), cotangent (n, K), a direction in mu and in sigma."""
    rng = numpy.random.default_rng((98, seed, k))
    mu, sigma = rng.standard_normal((n, k - 1)), numpy.exp(rng.uniform(-0.9, 0.4, (n, k - 1)))
    p_bar = rng.standard_normal((n, k))
    directions = rng.standard_normal((2, n, k - 1))
    return mu, sigma, p_bar, directions / numpy.linalg.norm(directions, axis=(0, 2), keepdims=True)[..., :1]


def cdf(x):
    return numpy.exp(scipy.special.log_ndtr(x))


def two_sticks(mu, sigma, remainder):
    """P (n, 3) by the trapezoidal rule in x = log(-y) (no remainder), in panels beside the kink at y_1 = -log 2 (with).

    With remainder, stick 2 must also pass the remainder (y_2 > 0), which passes stick 1 by 1 - u_2 > e^{y_1}.
    """
    x, w = numpy.polynomial.legendre.leggauss(16)
    edges = numpy.linspace(-36, 3.6, 100)
    edges = numpy.sort(numpy.append(edges, numpy.log(numpy.log(2))))
    half = numpy.diff(edges)[:, None] / 2
    at = (edges[:-1, None] + half * (x + 1)).ravel()
    y, weight = -numpy.exp(at), (half * w).ravel() * numpy.exp(at)
    level = y - numpy.log(-numpy.expm1(y))
    (mu_1, mu_2), (sigma_1, sigma_2) = (part.T[..., None] for part in (mu, sigma))
    density = numpy.exp(-(((y - mu_1) / sigma_1) ** 2) / 2) / (sigma_1 * numpy.sqrt(2 * numpy.pi))

    def above(bound):  # P(y_2 > bound)
        return cdf((mu_2 - bound) / sigma_2)

    second = numpy.sum(weight * density * above(numpy.maximum(level, 0) if remainder else level), axis=1)
    third = 0 * second
    if remainder:
        third = numpy.sum(weight * density * (1 - above(numpy.minimum(-level, 0))), axis=1)
    return numpy.stack([1 - second - third, second, third], axis=1)


def along(bars, directions):
    return sum(numpy.sum(g * d, axis=1) for g, d in zip(bars, directions, strict=True))


@pytest.mark.parametrize("remainder", [False, True])
def test_two_sticks_by_a_complex_step(remainder):
    mu, sigma, p_bar, directions = laws(int(remainder), 1000, 3)
    moved = (x + 1j * STEP * d for x, d in zip((mu, sigma), directions, strict=True))
    want = numpy.sum(p_bar * two_sticks(*moved, remainder), axis=1).imag / STEP
    got = along(stick_breaking.vjp(mu, sigma, p_bar, remainder), directions)
    check_rows(
        got, want, TOLERANCE, equation=EQUATION, function="recovery.stick_breaking.vjp",
        oracle="complex step of one integral, K = 3", scale=numpy.linalg.norm(p_bar, axis=1),
    )  # fmt: skip


@pytest.mark.parametrize("remainder", [False, True])
def test_differences_of_the_law(remainder):
    """{45 [P(h) - P(-h)] - 9 [P(2h) - P(-2h)] + [P(3h) - P(-3h)]}/60h: h^6/140 seventh derivatives, 2/h errors of P."""
    h = 0.01
    for k, n in ((3, 400), (4, 400), (5, 200)):
        mu, sigma, p_bar, (by_mu, by_sigma) = laws(2 + remainder, n, k)

        def p(step, mu=mu, sigma=sigma, by_mu=by_mu, by_sigma=by_sigma):
            return stick_breaking.probs(mu + step * by_mu, sigma + step * by_sigma, remainder, 1e-9)

        slope = sum(c * (p(i * h) - p(-i * h)) for i, c in ((1, 45), (2, -9), (3, 1))) / (60 * h)
        got = along(stick_breaking.vjp(mu, sigma, p_bar, remainder), (by_mu, by_sigma))
        check_rows(
            got, numpy.sum(p_bar * slope, axis=1), TOLERANCE, equation=EQUATION,
            function="recovery.stick_breaking.vjp", oracle="sixth-order differences of P, K = 3, 4, 5",
            scale=numpy.linalg.norm(p_bar, axis=1),
        )  # fmt: skip
