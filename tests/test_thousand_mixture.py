"""The mixture's gradients and the Kumaraswamy KL to Beta(1, c), c != 1: two oracles on 1,000 configurations each.

An image is a configuration: see thousand_checks. E log(1 - v) by the tanh-sinh rule in u, its derivatives written out
in longdouble; the sampled part of the ELBO by a complex step; all of it by autograd on our own forward formula.
"""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy
import pytest
import scipy.special

from igr_ref.distributions.kumaraswamy import Kumaraswamy
from igr_ref.models.mixture import prior_means
from igr_ref.models.mixture_objective import elbo, elbo_sl
from igr_ref.models.mixture_sticks import STICK_LAWS

from . import oracles_nonparametric as exact
from .gradcheck import autograd_vjp, check_rows
from .test_mixture import KINDS, Decoder, draws, names, outputs, posterior
from .thousand_checks import check_tape

LONG = numpy.longdouble
STEP = 1e-100
BLOCKS = ((2, 1, 300), (3, 2, 300), (7, 2, 250), (10, 3, 150))  # (K, D, images)
OBJECTIVE = "models.mixture_objective."


def mean_log_rest_slopes(log_a, log_b):
    """dE log(1 - v) by log a and by log b: log R = log(1 - u)/b, log v = log(1 - R)/a, tanh-sinh nodes u."""
    x = numpy.linspace(LONG(-4), LONG(4), 321)
    t = numpy.pi * numpy.sinh(x)
    log_rest_u = -numpy.logaddexp(0, t)
    weight = numpy.pi * numpy.cosh(x) * numpy.exp(log_rest_u - numpy.logaddexp(0, -t)) * (x[1] - x[0])
    a, b = (numpy.exp(LONG(log))[..., None] for log in (log_a, log_b))
    log_r = log_rest_u / b
    rest = -numpy.expm1(log_r)  # v^a
    log_v = numpy.where(log_r < -1, numpy.log1p(-numpy.exp(numpy.minimum(log_r, -1))), numpy.log(rest)) / a
    odds = numpy.exp(log_v) / -numpy.expm1(log_v)
    by_a = odds * log_v  # dlog v/dlog a = -log v
    by_b = -odds * numpy.exp(log_r) * log_r / (a * rest)
    return [numpy.sum(weight * by, axis=-1) for by in (by_a, by_b)]


def kumaraswamy_kl_slopes(log_a, log_b, c):
    a, b = numpy.exp(log_a), numpy.exp(log_b)
    closed = 1 - (scipy.special.digamma(b + 1) + numpy.euler_gamma) / a
    closed = closed, 1 + (1 / a - 1) * b * scipy.special.polygamma(1, b + 1) - 1 / b
    return [one - (c - 1) * more for one, more in zip(closed, mean_log_rest_slopes(log_a, log_b), strict=True)]


def logit_normal_kl_slopes(mu, log_sigma, c):
    """E[c softplus(y) + softplus(-y)] has slopes s(y) = c/(1 + e^-y) - 1/(1 + e^y); the trapezoidal rule."""
    t = numpy.arange(-12, 12.01, 0.05)
    weight = 0.05 * numpy.exp(-t * t / 2) / numpy.sqrt(2 * numpy.pi)
    y = mu[..., None] + numpy.exp(log_sigma)[..., None] * t
    slope = c / (1 + numpy.exp(-y)) - 1 / (1 + numpy.exp(y))
    return slope @ weight, numpy.exp(log_sigma) * (slope @ (t * weight)) - 1


KL_SLOPES = {"kumaraswamy": kumaraswamy_kl_slopes, "logit_normal": logit_normal_kl_slopes}


def test_kumaraswamy_kl_to_beta_1_c():
    rng, n = numpy.random.default_rng((97, 1)), 1000
    log_a, log_b = rng.uniform(-1.5, 1.5, (2, n, 1))
    bar, name = rng.standard_normal((n, 1)), "distributions.kumaraswamy.Kumaraswamy."
    label = {"equation": "Kumaraswamy, KL to Beta(1, c), c != 1"}
    make = lambda a, b: Kumaraswamy(a, b, validate=False)  # noqa: E731
    wants = {
        "mean_log_rest_vjp": (lambda q: q.mean_log_rest(), mean_log_rest_slopes(log_a, log_b)),
        "kl_vjp": (lambda q: q.kl(2.5), kumaraswamy_kl_slopes(log_a, log_b, 2.5)),
    }
    for function, (forward, slopes) in wants.items():
        q = make(log_a, log_b)
        got = q.kl_vjp(2.5, bar) if function == "kl_vjp" else q.mean_log_rest_vjp(bar)
        label["function"] = name + function
        for g, slope in zip(got.values(), slopes, strict=True):
            check_rows(g, bar * slope, oracle="tanh-sinh rule, longdouble", scale=1e-3, **label)
        check_tape(got.values(), lambda a, b, f=forward: anp.sum(bar * f(make(a, b))), (log_a, log_b), scale=1e-3,
                   **label)  # fmt: skip


def cases(kind, seed, spread):
    for k, d, n in BLOCKS:
        rng = numpy.random.default_rng((97, seed, k, kind == "kumaraswamy"))
        o, means = outputs(rng, (n,), k, d, spread), prior_means(rng, k, d)
        eps, decoder = draws(kind, rng, (1, n), k, d), Decoder(rng, d)
        if kind == "kumaraswamy":
            eps = 0.02 + 0.96 * eps[0], eps[1]  # the textbook's 1 - v loses digits at the ends
        yield rng, o, means, eps, decoder, [rng.standard_normal(part.shape) for part in o]


def dot(grads, directions):
    """One number for each image, and the size of its terms."""
    terms = [(g * d).reshape(len(g), -1) for g, d in zip(grads, directions, strict=True)]
    return sum(t.sum(axis=1) for t in terms), sum(abs(t).sum(axis=1) for t in terms)


def moved(o, directions):
    return [x + 1j * STEP * d for x, d in zip(o, directions, strict=True)]


@pytest.mark.parametrize("c, rho", [(1.0, None), (0.6, None), (1.0, 0.8)])
@pytest.mark.parametrize("kind", KINDS)
def test_elbo(kind, c, rho):
    """Whole, and cut to the components that rho keeps of a batch; the others have no gradient."""
    label = {"equation": f"mixture ELBO, {kind}{', cut' if rho else ''}", "function": f"{OBJECTIVE}elbo (gradient)"}
    options, all_kept = {"concentration": c, "rho": rho}, []
    for _, o, means, eps, decoder, directions in cases(kind, 2, 0.7):
        q = posterior(kind, o, means, **options)
        found = elbo(q, eps, decoder).grads
        got = [found[name][0] for name in names(kind)]
        kept = means.shape[0] if rho is None else int(q.kept(q.sticks.logs(q.sticks.run(eps[0])[0])[1]).max())
        all_kept.append(kept / means.shape[0])

        def own(o, eps=eps, means=means, decoder=decoder):
            return anp.sum(elbo(posterior(kind, o, means, **options), eps, decoder).loss)

        first, second, mu, log_var = moved(o, directions)
        pi = exact.mixing_weights(exact.stick(kind, first, second, eps[0][0]), kept)
        kl_z = 0.5 * numpy.sum(numpy.exp(log_var) - log_var - 1 + (mu - means) ** 2, axis=-1)
        log_p = decoder.value(mu + numpy.exp(log_var / 2) * eps[1][0])
        loss = numpy.sum(pi * (kl_z - log_p)[:, :kept], axis=-1)
        sticks, _ = dot([slope[:, : kept - 1] for slope in KL_SLOPES[kind](*o[:2], c)],
                        [d[:, : kept - 1] for d in directions[:2]])  # fmt: skip
        size = numpy.linalg.norm(got[2].reshape(len(got[2]), -1), axis=1)
        along, terms = dot(got, directions)
        check_rows(along, loss.imag / STEP + sticks, oracle="complex step, sticks' KL by quadrature", scale=terms,
                   **label)  # fmt: skip
        for g, want in zip(got, autograd.grad(own)(tuple(o)), strict=True):  # all of o on one tape: a cut needs it
            check_rows(g, want, oracle="autograd", scale=1e-2 * size, **label)
    assert (min(all_kept) < 1) == (rho is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_elbo_sticking_the_landing(kind):
    """Parameters inside log q held fixed: frozen in a complex step, or their score taken off the full gradient."""
    label = {"equation": f"sticking the landing, mixture, {kind}", "function": f"{OBJECTIVE}elbo_sl (gradient)"}
    c = 2.5
    for _, o, means, eps, decoder, directions in cases(kind, 3, 0.35):
        found = elbo_sl(posterior(kind, o, means, concentration=c), eps, decoder).grads
        got = [found[name][0] for name in names(kind)]
        args = tuple(e[0] for e in eps), means, decoder.value, c
        loss = exact.mixture_loss(kind, moved(o, directions), o, *args)
        along, size = dot(got, directions)
        check_rows(along, loss.imag / STEP, oracle="complex step, frozen copy", scale=size, **label)
        point = STICK_LAWS[kind](*o[:2]).run(eps[0])[0]
        z, pi = o[2] + numpy.exp(o[3] / 2) * eps[1], exact.mixing_weights(exact.stick(kind, *o[:2], eps[0]))

        def full(*free, eps=eps, means=means, decoder=decoder):
            return anp.sum(elbo_sl(posterior(kind, free, means, concentration=c), eps, decoder).loss)

        def score(*free, z=z, pi=pi, point=point):
            log_q = anp.sum(pi * exact.log_normal(z, free[2], anp.exp(free[3])))
            return log_q + anp.sum(STICK_LAWS[kind](free[0], free[1], validate=False).log_prob_point(point))

        for g, whole, less in zip(got, autograd_vjp(full, *o), autograd_vjp(score, *o), strict=True):
            terms = numpy.linalg.norm(less.reshape(len(less), -1), axis=1)
            check_rows(g, whole - less, oracle="autograd less score", scale=terms, **label)
