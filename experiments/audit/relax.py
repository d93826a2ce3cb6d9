"""RELAX with IGR (appendix D) as the published code has it, against the exact estimator: bias, sign, variance."""

from __future__ import annotations

import numpy
from scipy.special import ndtr

from igr_ref import igr_i
from igr_ref.estimators.rebar import PairedNoise
from igr_ref.estimators.relax import relax, relax_params
from igr_ref.estimators.relax_as_published import relax_igr_as_published_invalid
from igr_ref.recovery import gaussian_argmax

from .record import Measure, Outcome, finding

GROUP = "RELAX (appendix D)"
MU, LOG_SIGMA = numpy.array([[0.3]]), numpy.array([[-0.2]])  # one variable of two categories


def bowl(z):
    """f(z) = sum (z - t)^2 weighted, and its gradient: smooth, and different at the two vertices."""
    weight, t = numpy.array([3.0, 1.0]), numpy.array([0.2, 0.9])
    return (weight * (z - t) ** 2).sum(axis=(-2, -1)), 2 * weight * (z - t)


def normal_rule(cut=0.0, panels=12, nodes=12):
    """Points and weights of E f(eps), eps ~ N(0, 1), for f smooth on either side of `cut`."""
    x, w = numpy.polynomial.legendre.leggauss(nodes)
    edges = numpy.concatenate([numpy.linspace(-8.2, cut, panels + 1), numpy.linspace(cut, 8.2, panels + 1)[1:]])
    half = 0.5 * numpy.diff(edges)[:, None]
    points = (0.5 * (edges[:-1] + edges[1:])[:, None] + half * x).ravel()
    return points, (half * w).ravel() * numpy.exp(-0.5 * points**2) / numpy.sqrt(2 * numpy.pi)


def moments(estimator, params, uniforms):
    """(mean, variance) of the gradients by mu and log_sigma, by a product rule over both noises; no draws."""
    first, first_w = normal_rule(cut=float(-MU[0, 0] / numpy.exp(LOG_SIGMA[0, 0])))
    second, second_w = normal_rule()
    a, b = (grid.ravel()[:, None, None] for grid in numpy.meshgrid(first, second, indexing="ij"))
    weight = numpy.outer(first_w, second_w).ravel()
    q = igr_i(MU, LOG_SIGMA, 1.0)
    grads = estimator(q, PairedNoise(a, ndtr(b) if uniforms else b), bowl, params=params).grads
    g = numpy.stack([grads[name][:, 0, 0] for name in ("mu", "log_sigma")], axis=-1)
    mean = weight @ g
    return mean, float((weight @ g**2 - mean**2).sum())


def exact_gradient():
    by_mu, by_sigma = gaussian_argmax.jacobian(MU, numpy.exp(LOG_SIGMA))
    values = numpy.array([bowl(numpy.eye(2)[k][None])[0] for k in range(2)])
    sigma = float(numpy.exp(LOG_SIGMA)[0, 0])
    return numpy.array([values @ by_mu[0, :, 0], sigma * (values @ by_sigma[0, :, 0])])


@finding(
    "relax-bias",
    title="RELAX for IGR, as published, is biased",
    where="appendix D, eq. 39",
    says="an unbiased estimator of the discrete gradient (RELAX)",
    right="the control variate needs z̃ given H; the code draws it independently of H",
    why="RELAX subtracts the relaxed value at a sample that is conditioned on the discrete one. The published code "
    "draws a second, unconditional sample instead, and its mean becomes ∇E f + ∇E c, about twice the gradient. "
    "All means and variances here are integrals over both noises, for one variable of two categories: nothing "
    "is sampled.",
    equation="E[(f(b) − c(z′)) s + ∇c(z′) + s] = ∇E f(b) + ∇E c(z′),  s = ∇log P(b)",
    right_code="igr_ref.estimators.relax.relax with igr_ref.recovery.conditional.sample",
    wrong_code="igr_ref.estimators.relax_as_published.relax_igr_as_published_invalid",
    group=GROUP,
)
def relax_bias(setting, estimator=relax_igr_as_published_invalid):
    params = relax_params(setting.rng("relax-net"), 1, 2, 0.5, hidden=10)
    exact = exact_gradient()
    published, published_var = moments(relax_igr_as_published_invalid, params, uniforms=False)
    right, right_var = moments(relax, params, uniforms=True)
    tested = published if estimator is relax_igr_as_published_invalid else moments(estimator, params, uniforms=True)[0]
    error = float(numpy.linalg.norm(tested - exact) / numpy.linalg.norm(exact))
    return Outcome(
        error < 1e-4,
        f"d/dμ: exact {exact[0]:.4f}, published estimator {published[0]:.4f}, exact RELAX {right[0]:.4f}".replace(
            "-", "−"
        ),
        (
            Measure("exact gradient by μ", float(exact[0]), "", 5),
            Measure("mean of the published estimator", float(published[0]), "", 5),
            Measure("mean of RELAX with the conditional sample", float(right[0]), "", 5),
            Measure(
                "relative error of the published mean, μ and log σ",
                float(numpy.linalg.norm(published - exact) / numpy.linalg.norm(exact)),
            ),
            Measure("the same for exact RELAX", float(numpy.linalg.norm(right - exact) / numpy.linalg.norm(exact))),
            Measure("summed variance, published", published_var),
            Measure("summed variance, exact RELAX", right_var),
        ),
    )
