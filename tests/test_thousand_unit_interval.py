"""Densities of sticks and the weights that they give: two oracles on 1,000 configurations, see thousand_checks."""

from __future__ import annotations

import autograd.numpy as anp
import mpmath
import numpy

from igr_ref.distributions.kumaraswamy import Kumaraswamy
from igr_ref.models import mixture_sticks

from .gradcheck import check_rows
from .thousand_checks import LONG, blocks, check_slope, check_tape


def kumaraswamy_log_prob(log_a, log_b, v):
    a, b = numpy.exp(log_a), numpy.exp(log_b)
    return (log_a + log_b + (a - 1) * numpy.log(v) + (b - 1) * numpy.log1p(-numpy.exp(a * numpy.log(v))))[:, 0]


def kumaraswamy_sample(u):
    def sample(log_a, log_b):
        rest = numpy.log1p(-LONG(u)) * numpy.exp(-log_b)  # log (1 - u)^{1/b}
        return numpy.exp(numpy.log(-numpy.expm1(rest)) * numpy.exp(-log_a))[:, 0]

    return sample


def test_kumaraswamy():
    rng, n = numpy.random.default_rng((92, 1)), 1000
    log_a, log_b = rng.uniform(-1.5, 1.5, (2, n, 1))
    u, bar = rng.uniform(0.02, 0.98, (n, 1)), rng.standard_normal((n, 1))
    make = lambda a, b: Kumaraswamy(a, b, validate=False)  # noqa: E731
    q, name = make(log_a, log_b), "distributions.kumaraswamy.Kumaraswamy."
    args = log_a, log_b
    sample = {"equation": "Kumaraswamy, sample", "function": f"{name}sample_vjp"}
    check_tape(q.sample_vjp(u, bar).values(), lambda a, b: anp.sum(bar * make(a, b).sample(u)), args, **sample)
    check_slope(list(q.sample_vjp(u, numpy.ones((n, 1))).values()), kumaraswamy_sample(u), args, rng, **sample)
    point, saved = q.run(u)
    pulled = q.pullback(saved, bar)
    label = {"equation": "Kumaraswamy, sample", "function": f"{name}pullback"}
    check_tape(pulled.values(), lambda a, b: anp.sum(bar * make(a, b).run(u)[0]), args, **label)
    v, one = numpy.exp(-numpy.exp(point)), numpy.ones((n, 1))
    for kind, at in (("log_prob_vjp", v), ("log_prob_point_vjp", point)):
        label = {"equation": "Kumaraswamy, log density", "function": name + kind}
        forward = kind[:-4]
        bars, at_bar = getattr(q, kind)(at, bar)
        check_tape(
            (*bars.values(), at_bar), lambda a, b, at, forward=forward: anp.sum(bar * getattr(make(a, b), forward)(at)),
            (*args, at), scale=1e-6, **label,
        )  # fmt: skip
        bars, at_bar = getattr(q, kind)(at, one)

        def book(a, b, at, kind=kind):
            return kumaraswamy_log_prob(a, b, at if kind == "log_prob_vjp" else numpy.exp(-numpy.exp(at)))

        check_slope([*bars.values(), at_bar], book, (*args, at), rng, **label)
    label = {"equation": "Kumaraswamy, KL to Beta(1, c)", "function": f"{name}kl_vjp"}
    got = q.kl_vjp(1.0, bar)
    check_tape(got.values(), lambda a, b: anp.sum(bar * make(a, b).kl()), args, scale=1e-6, **label)
    with mpmath.workdps(30):
        euler = mpmath.euler
        a, b = ([mpmath.exp(mpmath.mpf(x)) for x in log.ravel().tolist()] for log in args)
        by_a = [1 - (mpmath.digamma(y + 1) + euler) / x for x, y in zip(a, b, strict=True)]
        by_b = [1 + (1 / x - 1) * y * mpmath.polygamma(1, y + 1) - 1 / y for x, y in zip(a, b, strict=True)]
    for g, w in zip(got.values(), (by_a, by_b), strict=True):
        want = bar * numpy.array([float(x) for x in w])[:, None]
        check_rows(g, want, oracle="mpmath, written out", scale=1e-3, **label)


def test_logit_normal():
    rng, n = numpy.random.default_rng((92, 2)), 1000
    mu, log_sigma, eps, bar = 2 * rng.standard_normal((n, 1)), *rng.uniform(-1, 1, (2, n, 1)), rng.normal(size=(n, 1))
    make = lambda m, s: mixture_sticks.LogitNormal(m, s, validate=False)  # noqa: E731
    q, one, name = make(mu, log_sigma), numpy.ones((n, 1)), "models.mixture_sticks."
    label = {"equation": "logit-normal, sample and density", "function": f"{name}LogitNormal.pullback"}
    check_slope(list(q.pullback(eps, one).values()), lambda m, s: (m + numpy.exp(s) * eps)[:, 0], (mu, log_sigma), rng,
                **label)  # fmt: skip
    check_tape(q.pullback(eps, bar).values(), lambda m, s: anp.sum(bar * make(m, s).run(eps)[0]), (mu, log_sigma),
               **label)  # fmt: skip
    y, _ = q.run(eps)

    def log_prob(m, s, y):
        rest = numpy.log(1 + numpy.exp(y)) + numpy.log(1 + numpy.exp(-y))
        return (-(((y - m) / numpy.exp(s)) ** 2) / 2 - s + rest)[:, 0]

    label["function"] = f"{name}LogitNormal.log_prob_point_vjp"
    bars, y_bar = q.log_prob_point_vjp(y, one)
    check_slope([*bars.values(), y_bar], log_prob, (mu, log_sigma, y), rng, **label)
    bars, y_bar = q.log_prob_point_vjp(y, bar)
    check_tape(
        (*bars.values(), y_bar), lambda m, s, y: anp.sum(bar * make(m, s).log_prob_point(y)), (mu, log_sigma, y),
        scale=1e-6, **label,
    )  # fmt: skip
    # E s'(y) with s' = tanh(y/2), and sigma E[eps s'(y)], by the trapezoidal rule
    t = numpy.arange(-12, 12.01, 0.05)
    weight = 0.05 * numpy.exp(-t * t / 2) / numpy.sqrt(2 * numpy.pi)
    inner = numpy.tanh(0.5 * (mu + numpy.exp(log_sigma) * t))
    by = (inner @ weight)[:, None], numpy.exp(log_sigma) * (inner @ (t * weight))[:, None]
    got = mixture_sticks.mean_softplus_pair_grad(mu, log_sigma)
    kl_got = q.kl_vjp(2.5, bar)
    kl_want = bar * (1.75 * by[0] + 0.75), bar * (1.75 * by[1] - 1)
    for g, w, k_g, k_w in zip(got, by, kl_got.values(), kl_want, strict=True):
        check_rows(g, w, equation="logit-normal, KL to Beta(1, c)", function=f"{name}mean_softplus_pair_grad",
                   oracle="trapezoidal rule", scale=1e-3)  # fmt: skip
        check_rows(k_g, k_w, equation="logit-normal, KL to Beta(1, c)", function=f"{name}LogitNormal.kl_vjp",
                   oracle="trapezoidal rule", scale=1e-3)  # fmt: skip
    check_tape(
        got, lambda m, s: anp.sum(mixture_sticks.mean_softplus_pair(m, s)), (mu, log_sigma), scale=1e-3,
        equation="logit-normal, KL to Beta(1, c)", function=f"{name}mean_softplus_pair_grad",
    )  # fmt: skip


def test_mixing_weights():
    """log pi_k = log v_k + sum_{i<k} log(1 - v_i), entry by entry, and our own forward traced."""
    for rng, k, n, _ in blocks(3, ((2, 300), (3, 300), (20, 400))):
        log_v, log_rest = -rng.exponential(size=(2, n, k - 1))
        kept = rng.integers(1, k + 1, n)
        a = rng.standard_normal((n, k)) * (numpy.arange(k) < kept[:, None])
        got = mixture_sticks.log_mixing_weights_vjp(a, kept)
        book = numpy.zeros((2, n, k - 1), LONG)
        for row, last in enumerate(kept):
            for j in range(last):
                book[1, row, :j] += a[row, j]
                if j < last - 1:
                    book[0, row, j] += a[row, j]
        label = {"equation": "eq. 16", "function": "models.mixture_sticks.log_mixing_weights_vjp"}

        def traced(v, rest, kept=kept, a=a):
            log_pi = mixture_sticks.log_mixing_weights(v, rest, kept)
            return anp.sum(a * anp.where(a == 0, 0.0, log_pi))

        for g, w in zip(got, book, strict=True):
            check_rows(g, w, oracle="sums entry by entry", scale=1.0, **label)
        check_tape(got, traced, (log_v, log_rest), scale=1.0, **label)
