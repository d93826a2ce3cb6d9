"""Derivatives that other files check on fewer configurations: two oracles each on 1,000, along the first axis.

The oracles: autograd on our own forward formula, and a complex step through the textbook's, or its derivative written
out in longdouble. A complex step moves all arguments of a configuration at once, in one random direction.
"""

from __future__ import annotations

import autograd.numpy as anp
import mpmath
import numpy
import pytest
import scipy.special

from igr_ref import IGR, GumbelSoftmax, SoftmaxPlusPlus, StickBreaking, igr_i, numerics
from igr_ref.distributions import InfiniteIGR, igr_planar
from igr_ref.distributions.kumaraswamy import Kumaraswamy
from igr_ref.estimators._pairs import PairedNoise, paired
from igr_ref.estimators.control_variates import bernoulli_decoder_hvp
from igr_ref.estimators.relax import bounded_parameters
from igr_ref.estimators.score_function import kl_uniform, log_probs, log_probs_pullback, score_function
from igr_ref.models import mixture_sticks, mlp
from igr_ref.transforms import Chain, PlanarFlow, Softmax, VertexInterpolation

from . import oracles
from . import oracles_transforms as more
from .gradcheck import autograd_vjp, check, check_rows

LONG, CLONG = numpy.longdouble, numpy.clongdouble
BLOCKS = ((2, 300), (3, 300), (10, 300), (100, 88), (1000, 10), (10_000, 2))  # (K, configurations)


def blocks(seed, of=BLOCKS):
    """(rng, K, n, temperatures (n, 1) in 1e-3..100) for each K."""
    for k, n in of:
        rng = numpy.random.default_rng((91, seed, k))
        yield rng, k, n, numpy.exp(rng.uniform(numpy.log(1e-3), numpy.log(1e2), (n, 1)))


def slope(function, args, directions, step=1e-300):
    """d function(*args)/d(directions) (n,), by a complex step in clongdouble; function returns (n,)."""
    moved = (CLONG(x) + 1j * LONG(step) * d for x, d in zip(args, directions, strict=True))
    return function(*moved).imag / LONG(step)


def check_slope(got, forward, args, rng, /, size=0.0, **label):
    """Gradients `got`, one for each of args, along one direction; differences count beside the terms of the sum."""
    directions = [rng.standard_normal(numpy.shape(x)) for x in args]
    terms = [(g * d).reshape(len(g), -1) for g, d in zip(got, directions, strict=True)]
    along, scale = sum(t.sum(axis=1) for t in terms), sum(abs(t).sum(axis=1) for t in terms)
    want = slope(forward, args, directions)
    check_rows(along, want, oracle="complex step", scale=numpy.maximum(scale, size), **label)


def check_tape(got, forward, args, /, scale=0.0, **label):
    """Against autograd on `forward`, which returns one number for all configurations."""
    for g, w in zip(got, autograd_vjp(forward, *args), strict=True):
        check_rows(g, w, oracle="autograd", scale=scale, **label)


# ---- divergences and densities ---------------------------------------------------------------------------------------


def test_closed_kl():
    for rng, k, n, tau in blocks(1):
        g = SoftmaxPlusPlus(tau)
        mu, mu_0 = rng.standard_normal((2, n, k - 1))
        log_sigma, log_sigma_0 = rng.uniform(-1.5, 1.5, (2, n, k - 1))
        bar, kept = rng.standard_normal(n), rng.integers(1, k, n)
        sigma, sigma_0 = numpy.exp(LONG(log_sigma)), numpy.exp(LONG(log_sigma_0))
        book = {"mu": (LONG(mu) - mu_0) / sigma_0**2, "log_sigma": (sigma / sigma_0) ** 2 - 1}
        book = {name: bar[:, None] * each for name, each in book.items()}
        p = IGR(mu_0, log_sigma_0, g)
        label = {"equation": "eq. 13", "function": "distributions.IGR.kl_vjp"}
        got = IGR(mu, log_sigma, g).kl_vjp(p, bar)
        for name in got:
            check_rows(got[name], book[name], oracle="longdouble", **label)
        check_tape(
            got.values(), lambda m, s, p=p, bar=bar: anp.sum(bar * IGR(m, s, p.transform, validate=False).kl(p)),
            (mu, log_sigma), **label,
        )  # fmt: skip
        label["function"] = "distributions.infinite.InfiniteIGR.kl_vjp"
        prior = mu_0, log_sigma_0, kept
        got = InfiniteIGR(mu, log_sigma, 0.5, 0.9).kl_vjp(*prior, bar)
        inside = numpy.arange(k - 1) < kept[:, None]
        for name in got:
            check_rows(got[name], numpy.where(inside, book[name], 0), oracle="longdouble", **label)
        check_tape(
            got.values(),
            lambda m, s, prior=prior, bar=bar: anp.sum(
                bar * InfiniteIGR(m, s, 0.5, 0.9, validate=False).kl(*prior)
            ),
            (mu, log_sigma), **label,
        )  # fmt: skip


def textbook_planar_log_prob(tau):
    """log q(z) at z = softmax++(f(y)/tau), from y, mu, log_sigma and two flows."""

    def log_prob(y, mu, log_sigma, *flow):
        x, log_det = more.flows(y, [flow[:3], flow[3:]])
        logits = numpy.concatenate([x / LONG(tau), numpy.zeros_like(x[:, :1])], axis=-1)
        top = numpy.max(logits.real, axis=-1, keepdims=True)
        log_sum = top + numpy.log(numpy.sum(numpy.exp(logits - top), axis=-1, keepdims=True))
        log_det = log_det + numpy.sum(logits - log_sum, axis=-1) - x.shape[-1] * numpy.log(LONG(tau[:, 0]))
        return more.log_normal(mu, log_sigma, y) - log_det

    return log_prob


def test_density_of_igr_planar():
    for rng, k, n, tau in blocks(2, ((2, 350), (3, 350), (10, 270), (100, 30))):
        shapes = [(n, k - 1)] * 5 + [(n,)] + [(n, k - 1)] * 2 + [(n,)]
        args = [0.7 * rng.standard_normal(shape) for shape in shapes]
        for i in (3, 4, 6, 7):
            args[i] = args[i] / (k - 1) ** 0.25 + 0.2
        bar = rng.standard_normal(n)

        def ours(y, mu, log_sigma, *flow, tau=tau):
            flows = [PlanarFlow(*flow[:3], validate=False), PlanarFlow(*flow[3:], validate=False)]
            return igr_planar(mu, log_sigma, flows, tau, validate=False), y

        q, y = ours(*args)
        bars, y_bar = q.log_prob_vjp(y, bar)
        got = [y_bar, bars["mu"], bars["log_sigma"], *(bars[f"{i}.{name}"] for i in "01" for name in "wub")]
        label = {"equation": "eq. 12", "function": "distributions.igr_planar.log_prob_vjp"}

        def traced(*args, ours=ours, bar=bar):
            q, y = ours(*args)
            return anp.sum(bar * q.log_prob(y))

        check_slope([g / bar.reshape(n, *(1,) * (g.ndim - 1)) for g in got], textbook_planar_log_prob(tau), args, rng,
                    **label)  # fmt: skip
        check_tape(got, traced, args, scale=1e-5 * abs(bar) * numpy.sqrt(k) / tau[:, 0], **label)


# ---- sticks ----------------------------------------------------------------------------------------------------------


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


# ---- transforms ------------------------------------------------------------------------------------------------------


def planar_arguments(rng, n, k):
    y = 2 * rng.standard_normal((n, k - 1))
    w, u = 0.7 * rng.standard_normal((2, n, k - 1)) / (k - 1) ** 0.25
    return y, w + 0.2, u, rng.standard_normal(n)


def test_planar_jacobians_and_cotangents_moved_to_the_output():
    for rng, k, n, _ in blocks(4, ((2, 350), (3, 350), (10, 300))):
        y, w, u, b = planar_arguments(rng, n, k)
        f = PlanarFlow(w, u, b)
        unit = numpy.eye(k - 1)
        exact = numpy.stack([slope_vector(lambda y: more.planar(y, w, u, b)[0], y, e) for e in unit], axis=-1)  # noqa: B023
        _, saved = f.run(y)
        rows = [f.pullback(saved, numpy.broadcast_to(e, y.shape))[0] for e in unit]
        jacobian, inverse, y_bar = f.jacobian(y), f.inverse_jacobian(y), rng.standard_normal(y.shape)
        label = {"equation": "planar flow", "function": "transforms.PlanarFlow.jacobian"}
        check_rows(jacobian, exact, oracle="complex step", **label)
        check_rows(jacobian, numpy.stack(rows, axis=-2), oracle="pullback of unit vectors", **label)
        # J^-1 and J^-T by elimination; its error is the condition number's
        cond = numpy.linalg.cond(exact.astype(float))
        assert numpy.max(cond) < 1e5
        solved = numpy.linalg.inv(exact.astype(float))
        moved = f.inverse_pullback(saved, y_bar)
        inverse_label = {"equation": "planar flow", "function": "transforms.PlanarFlow.inverse_jacobian"}
        check_rows(inverse, solved, oracle="linear solve", **inverse_label)
        z, back = f.forward(y), []
        for e in unit:  # f^-1 by bisection and Newton, at z
            back.append(slope_vector(lambda z: more.planar_inverse(z, w, u, b), z, e))  # noqa: B023
        back = numpy.stack(back, axis=-1)
        near = numpy.linalg.norm(back.astype(float), axis=(1, 2)) * 1e-2 * cond
        check_rows(inverse, back, oracle="complex step through the inverse", scale=near, **inverse_label)
        label["function"] = "transforms.PlanarFlow.inverse_pullback"
        check_rows(moved, numpy.einsum("nki,nk->ni", solved, y_bar), oracle="linear solve", **label)
        check_rows(moved, numpy.einsum("nki,nk->ni", back, y_bar), oracle="complex step through the inverse",
                   scale=near * numpy.linalg.norm(y_bar, axis=1), **label)  # fmt: skip
        chain = Chain(f, PlanarFlow(u + 0.3, w, b))
        _, saved = chain.run(y)
        second = numpy.stack(
            [slope_vector(lambda x: more.planar(x, u + 0.3, w, b)[0], z, e) for e in unit], axis=-1  # noqa: B023
        )  # fmt: skip
        both = numpy.einsum("nki,nij->nkj", second, exact)
        label["function"] = "transforms.Chain.inverse_pullback"
        moved = chain.inverse_pullback(saved, y_bar)
        solved = numpy.linalg.solve(numpy.swapaxes(both.astype(float), 1, 2), y_bar[..., None])[..., 0]
        check_rows(moved, solved, oracle="linear solve", **label)
        pulled = numpy.einsum("nki,nk->ni", both, moved)
        size = numpy.linalg.norm(moved, axis=1) * numpy.linalg.norm(both.astype(float), axis=(1, 2))
        check_rows(pulled.astype(float), y_bar, oracle="J^T J^-T = I", scale=size, **label)


def slope_vector(function, x, direction, step=1e-300):
    return function(CLONG(x) + 1j * LONG(step) * direction).imag / LONG(step)


def test_jacobian_of_the_softmax_of_the_simplex():
    for rng, k, n, tau in blocks(5, ((2, 350), (3, 350), (10, 300))):
        w = rng.dirichlet(numpy.ones(k), n)
        g = Softmax(tau)
        _, saved = g.run(w)
        rows = []
        for e in numpy.eye(k)[: k - 1]:
            bar = g.pullback(saved, numpy.broadcast_to(e, w.shape))[0]
            rows.append(bar[:, :-1] - bar[:, -1:])  # w_K = 1 - sum w_i
        label = {"equation": "eq. 18 (remainder)", "function": "transforms.Softmax.jacobian"}
        # the difference of two columns is taken of numbers of size g/tau
        size = 1e-5 * numpy.max(abs(numpy.stack(rows, axis=-2)), axis=(1, 2))
        check_rows(g.jacobian(w), numpy.stack(rows, axis=-2), oracle="pullback of unit vectors", scale=size, **label)
        z_bar, det_bar = rng.standard_normal((n, k)), rng.standard_normal(n)
        label["function"] = "transforms.Softmax.pullback"
        for bars in ((z_bar, None), (z_bar, det_bar)):
            z, d = bars[0], 0 * det_bar if bars[1] is None else det_bar
            want = numpy.stack([more.softmax_bar(w[i], tau[i, 0], z[i], d[i]) for i in range(n)])
            check_rows(g.pullback(saved, *bars)[0], want, oracle="longdouble", **label)


def test_log_determinants():
    """Their formulas in longdouble."""
    for rng, k, n, tau in blocks(6, BLOCKS[:5]):
        y = rng.standard_normal((n, k - 1)) * numpy.exp(rng.uniform(-3, 2, (n, 1)))
        log_u, log_rest = (-numpy.log1p(numpy.exp(s * LONG(y))) for s in (-1, 1))
        sticks = numpy.sum(log_u + numpy.arange(k - 1, 0, -1) * log_rest, axis=-1)
        low = numpy.minimum(tau, 1.0)
        log_tau = (k - 1) * numpy.log(LONG(tau[:, 0]))
        logits = numpy.concatenate([LONG(y) / tau, numpy.zeros((n, 1))], axis=-1)
        simplex = numpy.exp(logits - logits.max(axis=-1, keepdims=True))
        simplex = numpy.float64(simplex / simplex.sum(axis=-1, keepdims=True))
        inner = LONG(simplex) / tau
        wants = {
            "StickBreaking": ("eq. 16", StickBreaking(), y, sticks),
            "SoftmaxPlusPlus": ("eq. 26", SoftmaxPlusPlus(tau), y, log_sums(logits) - log_tau),
            "VertexInterpolation": (
                "eq. 17",
                VertexInterpolation(low),
                y,
                sticks + (k - 1) * numpy.log(LONG(low[:, 0])),
            ),
            "Softmax": ("eq. 18 (remainder)", Softmax(tau), simplex, numpy.log(LONG(k)) - log_tau + log_sums(inner)),
        }
        for name, (equation, g, at, want) in wants.items():
            check_rows(g.log_det(at), want, 1e-13, equation=equation, function=f"transforms.{name}.log_det",
                       oracle="longdouble", scale=float(k))  # fmt: skip


def test_log_determinant_of_planar_flows():
    for rng, k, n, _ in blocks(9, BLOCKS[:4]):
        point = planar_arguments(rng, n, k)
        got, want = PlanarFlow(*point[1:]).log_det(point[0]), more.planar(*point)[1]
        check_rows(got, want, equation="planar flow", function="transforms.PlanarFlow.log_det", oracle="longdouble",
                   scale=1e-3)  # fmt: skip


def test_eq_18_with_the_remainder():
    """Every entry of the sticks' Jacobian formed, K up to 100."""
    for rng, k, n, tau in blocks(10, ((2, 350), (3, 350), (10, 250), (100, 50))):
        y = rng.standard_normal((n, k - 1)) * numpy.exp(rng.uniform(-3, 1, (n, 1)))
        g, z_bar, det_bar = Chain(StickBreaking(), Softmax(tau)), rng.standard_normal((n, k)), rng.standard_normal(n)
        w = oracles.sticks(y)
        inner = numpy.stack([more.softmax_bar(w[i], tau[i, 0], z_bar[i], det_bar[i]) for i in range(n)])
        want = oracles.sticks_bar(y, inner, det_bar)
        got, _ = g.pullback(g.run(y)[1], z_bar, det_bar)
        # in the sum over k > i what is left of large terms may be small
        size = 1e-3 * numpy.linalg.norm(numpy.float64(inner * w), axis=-1)
        check_rows(got, want, equation="eq. 18 (remainder)", function="transforms.Chain.pullback", oracle="longdouble",
                   scale=size)  # fmt: skip


def log_sums(logits):
    """sum_k log g_k."""
    top = logits.max(axis=-1, keepdims=True)
    return numpy.sum(logits - top - numpy.log(numpy.sum(numpy.exp(logits - top), axis=-1, keepdims=True)), axis=-1)


# ---- estimators ------------------------------------------------------------------------------------------------------


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


# ---- helpers ---------------------------------------------------------------------------------------------------------


def _tail(x):
    """phi/Phi by the continued fraction of the upper tail for x < -3, else from erfc."""
    low = LONG(numpy.minimum(x, -3.0))
    fraction = -low
    for i in range(200, 0, -1):
        fraction = -low + i / fraction
    high = numpy.maximum(x, -3.0)
    cdf = 0.5 * scipy.special.erfc(-numpy.float64(high) / numpy.sqrt(2))
    ratio = numpy.exp(-(high**2) / 2) / numpy.sqrt(2 * LONG(numpy.pi)) / cdf
    return numpy.where(x < -3, fraction, ratio)


FORMULAS = {
    "softplus_grad": lambda x: 1 / (1 + numpy.exp(-x)),
    "sigmoid_grad": lambda x: 1 / ((1 + numpy.exp(-x)) * (1 + numpy.exp(x))),
    "log_sigmoid_grad": lambda x: 1 / (1 + numpy.exp(x)),
    "log1mexp_grad": lambda x: -1 / numpy.expm1(-x),
    "log_normal_pdf_grad": lambda x: -x,
    "log_ndtr_grad": _tail,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_scalar_helpers(name):
    rng = numpy.random.default_rng((94, len(name)))
    x = rng.standard_normal(1000) * numpy.exp(rng.uniform(-3, 3, 1000))
    x = -abs(x) if name == "log1mexp_grad" else numpy.clip(x, -30, 30) if name == "log_ndtr_grad" else x
    want = FORMULAS[name](LONG(x))
    check_rows(getattr(numerics, name)(x), want, 1e-12, equation="scalar helper", function=f"numerics.{name}",
               oracle="written out, longdouble")  # fmt: skip


def test_logsumexp_and_tanh():
    label = {"equation": "softmax", "function": "numerics.logsumexp_grad"}
    for rng, k, n, _ in blocks(8):
        x = rng.standard_normal((n, k)) * numpy.exp(rng.uniform(-2, 3, (n, 1)))
        got = numerics.logsumexp_grad(x)
        check_tape([got], lambda x: anp.sum(numerics.logsumexp(x)), [x], **label)
        check_tape(
            [got], lambda x: anp.sum(numerics.logsumexp(x)), [x], **{**label, "equation": "softmax, own forward"}
        )
    label = {"equation": "MLP, tanh", "function": "models.mlp.tanh_vjp"}
    rng = numpy.random.default_rng((94, 99))
    x, bar = 2 * rng.standard_normal((2, 1000, 5))
    got = mlp.tanh_vjp(numpy.tanh(x), bar)
    check_tape([got], lambda x: anp.sum(bar * mlp.tanh(x)), [x], **label)
    check_rows(got, bar / numpy.cosh(LONG(x)) ** 2, oracle="1/cosh^2", scale=1e-2, **label)
