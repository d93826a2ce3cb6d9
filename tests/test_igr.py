"""IGR-I and IGR-SB (eqs. 10-13): pullbacks of sample, log density and KL. The densities: test_igr_density.py."""

from __future__ import annotations

import autograd.numpy as anp
import numpy
import pytest

from igr_ref import IGR, GumbelSoftmax, SoftmaxPlusPlus, igr_i, igr_sb
from igr_ref.distributions.igr import log_sigma_of

from . import oracles
from .gradcheck import autograd_vjp, check, configurations
from .transform_checks import CATEGORIES

LONG = numpy.longdouble
BUILD = {"IGR-I": igr_i, "IGR-SB": igr_sb}
DELTAS = (1.0, 0.1, 10.0)


def _textbook_bar(kind, y, temperature, delta, z_bar, det_bar):
    """The transform's pullback in longdouble."""
    if kind == "IGR-I":
        return oracles.softmax_pp_bar(y, temperature, delta, z_bar, det_bar)
    w_bar = oracles.softmax_pp_bar(oracles.sticks(y)[..., :-1], temperature, delta, z_bar, det_bar)
    return oracles.sticks_bar(y, numpy.concatenate([w_bar, 0 * w_bar[..., :1]], axis=-1), det_bar)


def _cases(n, seed, categories=CATEGORIES):
    """n seeded (rng, mu, log_sigma, eps, temperature, delta)."""
    for i, (rng, lead, k, temperature) in enumerate(configurations(n, seed, categories=categories)):
        mu, log_sigma, eps = rng.standard_normal((3, *lead, k - 1))
        spread = [min(1.0, temperature), 1.0, 4.0][i % 3]  # logits of order 1, and extreme ones
        yield rng, spread * mu, log_sigma + numpy.log(spread), eps, temperature, DELTAS[i % 3]


@pytest.mark.parametrize("kind", BUILD)
def test_sample_pullback(kind):
    label = {"equation": "eq. 11", "function": f"distributions.{kind.lower().replace('-', '_')}.sample_vjp"}
    for rng, mu, log_sigma, eps, temperature, delta in _cases(1000, 1):
        q = BUILD[kind](mu, log_sigma, temperature, delta)
        z_bar = rng.standard_normal(q.sample(eps).shape)
        got = q.sample_vjp(eps, z_bar)

        def traced(m, s, a=z_bar, eps=eps, temperature=temperature, delta=delta):
            return anp.sum(a * BUILD[kind](m, s, temperature, delta, validate=False).sample(eps))

        tape = 1e-4 * numpy.sqrt(mu.size) / temperature * numpy.exp(log_sigma.max())  # autograd rounds near a vertex
        long = [LONG(x) for x in (mu, log_sigma, eps)]
        y = long[0] + numpy.exp(long[1]) * long[2]
        y_bar = _textbook_bar(kind, y, temperature, delta, z_bar, numpy.zeros(mu.shape[:-1]))
        book = {"mu": y_bar, "log_sigma": y_bar * numpy.exp(long[1]) * long[2]}
        for name, by_tape in zip(("mu", "log_sigma"), autograd_vjp(traced, mu, log_sigma), strict=True):
            check(got[name], by_tape, oracle="autograd", scale=tape, **label)
            check(got[name], book[name], oracle="textbook, longdouble", **label)


@pytest.mark.parametrize("kind", BUILD)
def test_sample_pullback_in_float32(kind):
    label = {"equation": "eq. 11", "function": f"distributions.{kind.lower().replace('-', '_')}.sample_vjp"}
    for rng, *arrays, temperature, delta in _cases(1000, 2, categories=(2, 3, 10, 100)):
        mu, log_sigma, eps = (x.astype("f4") for x in arrays)
        q = BUILD[kind](mu, log_sigma, temperature, delta)
        z, saved = q.run(eps)
        z_bar = rng.standard_normal(z.shape).astype("f4")
        got = q.pullback(saved, z_bar)
        y = LONG(mu) + numpy.exp(LONG(log_sigma)) * eps
        y_bar = _textbook_bar(kind, y, temperature, delta, z_bar, numpy.zeros(mu.shape[:-1]))
        want = {"mu": y_bar, "log_sigma": y_bar * numpy.exp(LONG(log_sigma)) * eps}
        for name in want:  # float32 underflows at 1e-38
            check(got[name], want[name], dtype="float32", oracle="textbook, longdouble", scale=1e-30, **label)
        assert z.dtype == "f4" and z.shape == (*mu.shape[:-1], mu.shape[-1] + 1)


@pytest.mark.parametrize("kind", BUILD)
def test_log_prob_pullback(kind):
    label = {"equation": "eq. 12", "function": f"distributions.{kind.lower().replace('-', '_')}.log_prob_vjp"}
    for rng, mu, log_sigma, eps, temperature, delta in _cases(1000, 3):
        q = BUILD[kind](mu, log_sigma, temperature, delta)
        y, bar = mu + numpy.exp(log_sigma) * eps, rng.standard_normal(mu.shape[:-1])
        got, y_got = q.log_prob_vjp(y, bar)

        def traced(m, s, y, bar=bar, temperature=temperature, delta=delta):
            return anp.sum(bar * BUILD[kind](m, s, temperature, delta, validate=False).log_prob(y))

        m, sigma, x, b = LONG(mu), numpy.exp(LONG(log_sigma)), LONG(y), LONG(bar)[..., None]
        standard = (x - m) / sigma
        det_bar = _textbook_bar(kind, y, temperature, delta, numpy.zeros((*mu.shape[:-1], mu.shape[-1] + 1)), bar)
        book = (b * standard / sigma, b * (standard**2 - 1), -b * standard / sigma - det_bar)
        tape = 1e-4 * numpy.sqrt(mu.size) / temperature
        for i, (g, by_tape) in enumerate(
            zip((got["mu"], got["log_sigma"], y_got), autograd_vjp(traced, mu, log_sigma, y), strict=True)
        ):
            check(g, by_tape, oracle="autograd", scale=tape if i == 2 else 0, **label)
            check(g, book[i], oracle="textbook, longdouble", **label)
        small = BUILD[kind](mu.astype("f4"), log_sigma.astype("f4"), temperature, delta)
        at = y.astype("f4"), numpy.asarray(bar, "f4")
        exact = BUILD[kind](*(small.params[n].astype("f8") for n in ("mu", "log_sigma")), temperature, delta)
        (got, y_got), (want, y_want) = small.log_prob_vjp(*at), exact.log_prob_vjp(*(x.astype("f8") for x in at))
        for g, w in ((got["mu"], want["mu"]), (got["log_sigma"], want["log_sigma"]), (y_got, y_want)):
            check(g, w, dtype="float32", oracle="float64", **label)


@pytest.mark.parametrize("kind", BUILD)
def test_kl_pullback(kind):
    for rng, mu, log_sigma, _, temperature, delta in _cases(300, 4):
        q = BUILD[kind](mu, log_sigma, temperature, delta)
        mu_0, log_sigma_0 = rng.standard_normal((2, *mu.shape))
        p = IGR(mu_0, log_sigma_0, q.transform)
        bar = rng.standard_normal(mu.shape[:-1])

        def traced(m, s, p=p, bar=bar):
            return anp.sum(bar * IGR(m, s, p.transform, validate=False).kl(p))

        got = q.kl_vjp(p, bar)
        for name, want in zip(("mu", "log_sigma"), autograd_vjp(traced, mu, log_sigma), strict=True):
            check(got[name], want, equation="eq. 13", function="distributions.IGR.kl_vjp", oracle="autograd")


def test_kl_needs_one_transform():
    """Trap: the log-determinants cancel only where q and p share g, tau and delta (audit kl-needs-one-g)."""
    arrays = numpy.zeros(3), numpy.zeros(3)
    q = igr_i(*arrays, 0.5)
    for p in (igr_i(*arrays, 0.6), igr_i(*arrays, 0.5, delta=2.0), igr_sb(*arrays, 0.5)):
        for call in (lambda p=p: q.kl(p), lambda p=p: q.kl_vjp(p, numpy.ones(()))):
            with pytest.raises(ValueError, match="same transform"):
                call()
    assert q.kl(IGR(*arrays, q.transform)) == 0


@pytest.mark.parametrize("kind", BUILD)
def test_discretize_looks_at_y_and_not_at_z(kind):
    """Trap: z_k > 0 always, so h(z) would never give the K-th category (audit h-of-z)."""
    rng = numpy.random.default_rng(5)
    q = BUILD[kind](rng.standard_normal((2, 3)), rng.standard_normal((2, 3)), 0.3)
    eps = rng.standard_normal((500, 2, 3))
    b, y = q.discretize(eps), q.mu + numpy.exp(q.log_sigma) * eps
    score = numpy.concatenate([y, 0 * y[..., :1]], axis=-1) if kind == "IGR-I" else oracles.sticks(y)[..., :-1]
    assert b.shape == (500, 2, 4) and b.dtype == "f8" and set(numpy.unique(b)) == {0, 1}
    assert numpy.array_equal(numpy.argmax(b, axis=-1), numpy.argmax(score, axis=-1))
    assert numpy.array_equal(q.category(eps), numpy.argmax(b, axis=-1)) and b[..., -1].any() == (kind == "IGR-I")


@pytest.mark.parametrize(
    ("mu", "log_sigma", "message"),
    [
        (numpy.zeros(2), numpy.array([0, numpy.nan]), "log_sigma must be finite"),
        (numpy.array([numpy.inf, 0]), numpy.zeros(2), "mu must be finite"),
        (numpy.zeros(2, int), numpy.zeros(2), "mu must be a floating-point array, got int64"),
        (numpy.zeros(2), numpy.zeros(2, "f4"), "one dtype"),
        (numpy.zeros(2), numpy.zeros(3), "category axes"),
        (numpy.zeros((2, 3)), numpy.zeros((4, 3)), "do not broadcast"),
        (numpy.zeros(()), numpy.zeros(()), "category axis"),
        (numpy.zeros((2, 0)), numpy.zeros((2, 0)), "category axis"),
    ],
)
def test_bad_parameters(mu, log_sigma, message):
    with pytest.raises(ValueError, match=message):
        IGR(mu, log_sigma, SoftmaxPlusPlus(1.0))


def test_bad_log_alpha_and_sigma():
    for log_alpha, message in ((numpy.array([0.0, numpy.inf]), "finite"), (numpy.zeros(1), "at least 2 categories")):
        with pytest.raises(ValueError, match=message):
            GumbelSoftmax(log_alpha, 1.0)
    for sigma in (0.0, -1.0, numpy.nan):
        with pytest.raises(ValueError, match="sigma must be greater than 0"):
            log_sigma_of(numpy.array([1.0, sigma]))
    assert numpy.array_equal(log_sigma_of(numpy.array([1.0, numpy.e])), [0, 1])
