"""What the estimators are made of: two oracles on 1,000 configurations, see thousand_checks."""

from __future__ import annotations

import autograd.numpy as anp
import numpy
import scipy.special

from igr_ref import GumbelSoftmax, igr_i
from igr_ref.estimators._pairs import PairedNoise, paired
from igr_ref.estimators.control_variates import bernoulli_decoder_hvp
from igr_ref.estimators.relax import bounded_parameters
from igr_ref.estimators.score_function import kl_uniform, log_probs, log_probs_pullback, score_function

from .gradcheck import check, check_rows
from .thousand_checks import LONG, blocks, check_slope, check_tape


def test_pairs_of_rebar():
    """The first sample of each pair, y = log theta + G and y = mu + sigma eps: its pullback and its pushforward."""
    rng, n = numpy.random.default_rng((93, 3)), 1000
    uniforms = 0.02 + 0.96 * rng.random((n, 2, 4))
    log_alpha, gumbel = rng.standard_normal((n, 2, 4)), rng.gumbel(size=(n, 2, 4))
    mu, log_sigma, eps = 0.5 * rng.standard_normal((3, n, 2, 3))

    def log_theta(a):
        return a - anp.log(anp.sum(anp.exp(a), axis=-1, keepdims=True))

    laws = {
        "GumbelPair": (GumbelSoftmax(log_alpha, 1.0), gumbel, lambda a: log_theta(a) + gumbel),
        "GaussianPair": (igr_i(mu, log_sigma, 1.0), eps, lambda m, s: m + anp.exp(s) * eps),
    }
    for name, (q, path, y) in laws.items():
        pair = paired(q, PairedNoise(path, uniforms[..., : path.shape[-1]]))
        y_bar, args = rng.standard_normal(path.shape), list(q.params.values())
        label = {"equation": "REBAR and RELAX", "function": f"estimators._pairs.{name}"}
        check_tape(pair.pullback(y_bar).values(), lambda *a, y=y, bar=y_bar: anp.sum(bar * y(*a)), args, **label)
        directions = {key: rng.standard_normal(x.shape) for key, x in q.params.items()}
        moved = [x + 1e-200j * d for x, d in zip(args, directions.values(), strict=True)]
        forward, _ = pair.pushforward(directions)
        check_rows(forward, y(*moved).imag / 1e-200, oracle="complex step", **label)


def test_box_of_eq_37():
    rng, n = numpy.random.default_rng((93, 1)), 1000
    raw = 2 * rng.standard_normal((2, n, 3))
    bars = dict(zip(("mu", "log_sigma"), rng.standard_normal((2, n, 3)), strict=True))
    got = bounded_parameters(*raw)[2].pullback(bars)
    label = {"equation": "eq. 37", "function": "estimators.relax.bounded_parameters"}

    def traced(m, s):
        mu, log_sigma, _ = bounded_parameters(m, s)
        return anp.sum(bars["mu"] * mu) + anp.sum(bars["log_sigma"] * log_sigma)

    def book(m, s):
        sigma = 0.5 + 2 / (1 + numpy.exp(-s))
        return numpy.sum(-5 * bars["mu"] * numpy.tanh(m) + bars["log_sigma"] * numpy.log(sigma), axis=-1)

    check_tape(got.values(), traced, raw, scale=1e-4, **label)  # the tape forms 1 - tanh^2
    check_slope(list(got.values()), book, raw, rng, **label)


def test_law_and_score_of_the_gumbel_softmax():
    """The pullback of log P, the KL's gradient and the estimator with its baseline, S = 4 samples of two variables."""

    def law(x):
        return log_probs(GumbelSoftmax(x, 1.0, validate=False))

    for rng, k, n, _ in blocks(7):
        log_alpha = rng.standard_normal((n, 2, k)) * numpy.exp(rng.uniform(-1, 2, (n, 1, 1)))
        q, bar = GumbelSoftmax(log_alpha, 1.0), rng.standard_normal((n, 2, k)) ** 2
        a = LONG(log_alpha)
        theta = numpy.exp(a - a.max(axis=-1, keepdims=True))
        theta = theta / theta.sum(axis=-1, keepdims=True)
        name = "estimators.score_function."
        pulled = log_probs_pullback(q, log_probs(q), bar)["log_alpha"]
        label = {"equation": "score function", "function": f"{name}log_probs_pullback"}
        want = bar - theta * bar.sum(axis=-1, keepdims=True)
        check_rows(pulled, want, oracle="longdouble", **label)
        check_tape([pulled], lambda x, bar=bar: anp.sum(bar * law(x)), [log_alpha], scale=1e-4, **label)
        log_theta = numpy.log(theta)
        want = theta * (log_theta - numpy.sum(theta * log_theta, axis=-1, keepdims=True))
        label = {"equation": "KL(P || uniform)", "function": f"{name}kl_uniform (gradient)"}
        got = kl_uniform(q, log_probs(q))[1]["log_alpha"]
        check_rows(got, want, oracle="longdouble", scale=1e-6, **label)
        check_tape([got], lambda x: anp.sum(anp.exp(law(x)) * law(x)), [log_alpha], scale=1e-4, **label)
        c = rng.standard_normal((2, k))
        f = lambda b, c=c: (numpy.sum(c * b, axis=(-1, -2)) ** 2, None)  # noqa: E731
        gumbel = rng.gumbel(size=(4, n, 2, k))
        found = score_function(q, gumbel, f).grads["log_alpha"]
        label = {"equation": "score function", "function": f"{name}score_function"}
        b = q.discretize(gumbel)
        value = LONG(f(b)[0])
        weight = [value[s] - (value.sum(axis=0) - value[s]) / 3 for s in range(4)]
        want = numpy.stack([weight[s][:, None, None] * (b[s] - theta) for s in range(4)], axis=1)
        size = numpy.sqrt(numpy.sum(numpy.float64(weight) ** 2, axis=0))
        got = numpy.moveaxis(found, 0, 1).copy()
        check_rows(got, want, oracle="longdouble, written out", scale=size, **label)
        weight = numpy.float64(weight)

        def surrogate(x, weight=weight, b=b):
            return anp.sum(weight[..., None, None] * b * law(x))

        check_tape([found.sum(axis=0)], surrogate, [log_alpha], scale=size, **label)


def test_second_derivative_of_the_decoder():
    """1,000 decoders of one hidden layer: J^T diag(p (1 - p)) J t written out, and a complex step of the gradient."""
    label = {"equation": "(d^2f/dz^2) t", "function": "estimators.control_variates.bernoulli_decoder_hvp"}
    for i in range(1000):
        rng = numpy.random.default_rng((93, 2, i))
        n, k, hidden, pixels = (int(x) for x in rng.integers(1, 6, 4))
        decoder = {
            "0.weight": rng.standard_normal((n * k, hidden)), "0.bias": rng.standard_normal(hidden),
            "1.weight": rng.standard_normal((hidden, pixels)), "1.bias": rng.standard_normal(pixels),
        }  # fmt: skip
        z, t = rng.random((2, 3, n, k))
        got = bernoulli_decoder_hvp(decoder, z, t)
        w_0, w_1 = decoder["0.weight"], decoder["1.weight"]
        pre = z.reshape(3, -1) @ w_0 + decoder["0.bias"]
        active = (pre > 0).astype(float)
        jacobian = numpy.einsum("ih,rh,hp->rpi", w_0, active, w_1)
        p = scipy.special.expit((active * pre) @ w_1 + decoder["1.bias"])
        want = numpy.einsum("rpi,rp,rpj,rj->ri", jacobian, p * (1 - p), jacobian, t.reshape(3, -1))
        check(got, want.reshape(got.shape), oracle="Jacobian written out", scale=1e-6, **label)

        def gradient(z, w_0=w_0, w_1=w_1, decoder=decoder, active=active):
            l = (active * (z @ w_0 + decoder["0.bias"])) @ w_1 + decoder["1.bias"]
            return ((0.5 * (1 + numpy.tanh(0.5 * l))) @ w_1.T * active) @ w_0.T

        step = gradient(z.reshape(3, -1) + 1e-200j * t.reshape(3, -1)).imag / 1e-200
        check(got, step.reshape(got.shape), oracle="complex step of the gradient", scale=1e-6, **label)
