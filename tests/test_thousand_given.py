"""y | b, its pullback and its pushforward: two oracles each on 1,000 configurations, see thousand_checks.

From its two equations on a dense rule, by autograd and by complex steps.
"""

from __future__ import annotations

import autograd.numpy as anp
import numpy
import scipy.special

from igr_ref import GumbelSoftmax, igr_i
from igr_ref.estimators._pairs import PairedNoise, paired
from igr_ref.recovery import conditional

from . import gradcheck
from .gradcheck import autograd_vjp, check_rows

STEP = 1e-100
HALF_LOG_2PI = 0.5 * numpy.log(2 * numpy.pi)
TAPE, PLAIN = (anp, gradcheck._namespace.special.log_ndtr), (numpy, scipy.special.log_ndtr)
BLOCKS = ((2, 300), (3, 300), (5, 300), (10, 100))  # (K, configurations)


def gaussian_laws(seed, of=BLOCKS):
    """(rng, K, mu, log_sigma (n, K-1))."""
    for k, n in of:
        rng = numpy.random.default_rng((95, seed, k))
        yield rng, k, 0.7 * rng.standard_normal((n, k - 1)), rng.uniform(-0.7, 0.7, (n, k - 1))


def rule(low, high, panels, order=16):
    """Nodes and weights (n, T) of equal Gauss-Legendre panels between low and high (n,)."""
    x, w = numpy.polynomial.legendre.leggauss(order)
    at = ((numpy.arange(panels)[:, None] + 0.5 * (x + 1)) / panels).ravel()
    span = (high - low)[:, None]
    return low[:, None] + span * at, span * numpy.tile(0.5 * w / panels, panels)


def log_w(kind, mu, sigma, own, t):
    """log of phi_k prod_{j != k} Phi_j (n, T) at t (n, T), own (n, K-1) marking k."""
    xp, log_ndtr = kind
    a = (t[:, None] - mu[..., None]) / sigma[..., None]
    density = -0.5 * a * a - xp.log(sigma[..., None]) - HALF_LOG_2PI
    return xp.sum(xp.where(own[..., None], density, log_ndtr(a)), axis=1)


# ---- y | b -----------------------------------------------------------------------------------------------------------


def given_equations(mu, sigma, b, v, y):
    """moved(kind, mu, sigma) (n, K-1): y at mu, sigma, and to first order what solves the equations beside them.

    Gamma(m) = v_k P_k moves m by minus its error over w(m); log Phi(q_j) = log v_j + log Phi(u_j) moves the others.
    """
    own, head = b[:, :-1] > 0, b[:, -1:] == 0
    m = numpy.sum(numpy.where(own, y, 0), axis=1)
    share = numpy.sum(numpy.where(own, v, 0), axis=1, keepdims=True)
    top = numpy.max(numpy.maximum(m[:, None], mu) + 10 * sigma, axis=1)
    (t_0, w_0), (t_1, w_1) = rule(0 * m, m, 12), rule(m, top, 40)
    t = numpy.concatenate([t_0, t_1, m[:, None]], axis=1)
    weight = numpy.where(head, numpy.concatenate([(1 - share) * w_0, -share * w_1], axis=1), 0)
    q = (y - mu) / sigma
    slope = numpy.exp(-0.5 * q * q - HALF_LOG_2PI - scipy.special.log_ndtr(q)) / sigma

    def moved(kind, mu, sigma):
        xp, log_ndtr = kind
        logs = log_w(kind, mu, sigma, own, t)
        missed = xp.sum(weight * xp.exp(logs[:, :-1] - logs[:, -1:]), axis=1)[:, None]
        winner = m[:, None] - missed + 0 * mu  # of full shape: autograd's `where` does not sum over broadcast axes
        excess = numpy.log(v) + log_ndtr((winner - mu) / sigma) - log_ndtr((y - mu) / sigma)
        return xp.where(own, winner, y + excess / slope)

    return moved


def check_both_ways(forward, backward, moved, args, directions, bar, labels):
    """A tangent `forward` (n, .) along directions and the pullback `backward` of bar, each by both oracles."""
    step = moved(PLAIN, *(x + 1j * STEP * d for x, d in zip(args, directions, strict=True))).imag / STEP
    tape = autograd_vjp(lambda *a: anp.sum(bar * moved(TAPE, *a)), *args)
    size = 1e-3 * numpy.linalg.norm(bar, axis=-1)

    def along(grads):
        return sum(numpy.sum(g * d, axis=-1) for g, d in zip(grads, directions, strict=True))

    terms = sum(numpy.sum(abs(g * d), axis=-1) for g, d in zip(backward, directions, strict=True))
    check_rows(forward, step, oracle="complex step on the equations", scale=1e-3, **labels[0])
    check_rows(numpy.sum(bar * forward, axis=-1), along(tape), oracle="autograd on the equations, along bar",
               scale=numpy.sum(abs(bar * forward), axis=-1), **labels[0])  # fmt: skip
    for got, want in zip(backward, tape, strict=True):
        check_rows(got, want, oracle="autograd on the equations", scale=size, **labels[1])
    check_rows(along(backward), numpy.sum(bar * step, axis=-1), oracle="complex step on the equations",
               scale=terms, **labels[1])  # fmt: skip


def test_gaussian_given_its_category():
    label = {"equation": "y | H = k (appendix D)"}
    labels = [{**label, "function": f"recovery.conditional.{name}"} for name in ("pushforward", "pullback")]
    for rng, _, mu, log_sigma in gaussian_laws(1):
        sigma, shape = numpy.exp(log_sigma), mu.shape
        b = igr_i(mu, log_sigma, 1.0).discretize(rng.standard_normal(shape))
        v, bar, *directions = 0.02 + 0.96 * rng.random(shape), *rng.standard_normal((3, *shape))
        y, saved = conditional.sample(mu, sigma, b, v)
        forward, backward = conditional.pushforward(saved, *directions), conditional.pullback(saved, bar)
        check_both_ways(forward, backward, given_equations(mu, sigma, b, v, y), (mu, sigma), directions, bar, labels)


def test_second_sample_of_the_pairs():
    """y | b by q's own parameters: for the Gaussian pair from the equations, for the Gumbel's from zeta | b itself."""
    for rng, k, mu, log_sigma in gaussian_laws(2):
        n = len(mu)
        for name in ("GaussianPair", "GumbelPair"):
            if name == "GaussianPair":
                q, path = igr_i(mu[:, None], log_sigma[:, None], 1.0), rng.standard_normal((n, 1, k - 1))
            else:
                q, path = GumbelSoftmax(2 * rng.standard_normal((n, 1, k)), 1.0), rng.gumbel(size=(n, 1, k))
            v = 0.02 + 0.96 * rng.random(path.shape)
            pair = paired(q, PairedNoise(path, v))
            names, b = list(q.params), pair.b[:, 0]
            directions = {key: rng.standard_normal(x.shape) for key, x in q.params.items()}
            bar = rng.standard_normal(path.shape)
            pulled, (_, dot) = pair.pullback_given(bar), pair.pushforward(directions)
            if name == "GaussianPair":
                equations = given_equations(mu, numpy.exp(log_sigma), b, v[:, 0], pair.y_given[:, 0])
                moved = lambda kind, m, s, f=equations: f(kind, m, kind[0].exp(s))  # noqa: E731
            else:
                moved = zeta_given(b, v[:, 0])
            labels = [
                {"equation": "REBAR and RELAX", "function": f"estimators._pairs.{name}.{way}"}
                for way in ("pushforward (y | b)", "pullback_given")
            ]
            args, along = ([d[key][:, 0] for key in names] for d in (q.params, directions))
            check_both_ways(dot[:, 0], [pulled[key][:, 0] for key in names], moved, args, along, bar[:, 0], labels)


def zeta_given(b, v):
    """zeta (n, K) given b, with theta formed and divided by."""
    e = -numpy.log(v)
    e_i = numpy.sum(b * e, axis=1, keepdims=True)

    def moved(kind, log_alpha):
        xp, _ = kind
        theta = xp.exp(log_alpha) / xp.sum(xp.exp(log_alpha), axis=1, keepdims=True)
        return -xp.log(xp.where(b > 0, e, e / theta + e_i))

    return moved
