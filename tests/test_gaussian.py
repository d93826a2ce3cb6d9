"""distributions/gaussian.py: sample (eq. 10), log density and KL (eq. 13), each with its pullback."""

from __future__ import annotations

import autograd.numpy as anp
import mpmath
import numpy
import pytest
import scipy.integrate
import scipy.stats

from igr_ref.distributions import gaussian

from . import density_checks, ledger, oracles
from .gradcheck import autograd_vjp, check, configurations
from .transform_checks import CATEGORIES

LONG = numpy.longdouble
mp = mpmath.mp.clone()
mp.dps = 50


def _cases(n, seed, categories=CATEGORIES):
    """n seeded (rng, mu, log_sigma, other mu, other log_sigma, eps, bar (...)): sigma from e^-12 to e^12."""
    for i, (rng, lead, k, _) in enumerate(configurations(n, seed, categories=categories)):
        spread = [0.3, 1.0, 4.0][i % 3]
        mu, mu_0, eps = rng.standard_normal((3, *lead, k - 1))
        mu, mu_0 = spread * mu, spread * mu_0
        log_sigma, log_sigma_0 = numpy.clip(spread * rng.standard_normal((2, *lead, k - 1)), -12, 12)
        yield rng, mu, log_sigma, mu_0, log_sigma_0, eps, rng.standard_normal(lead)


def _check_all(got, traced, book, equation, function, dtype=None):
    label = {"equation": equation, "function": f"distributions.gaussian.{function}", "dtype": dtype}
    for g, t, b in zip(got, traced, book, strict=True):
        if t is not None:
            check(g, t, oracle="autograd", **label)
        check(g, b, oracle="textbook, longdouble", **label)


def _check_float32(got, book, equation, function):
    _check_all(got, [None] * len(got), book, equation, function, "float32")


def test_sample_pullback():
    for rng, mu, log_sigma, *_, eps, _ in _cases(1000, 1):
        y = gaussian.sample(mu, log_sigma, eps)
        want = LONG(mu) + numpy.exp(LONG(log_sigma)) * LONG(eps)
        check(y, want, equation="eq. 10", function="distributions.gaussian.sample", oracle="longdouble")
        bar = rng.standard_normal(mu.shape)
        traced = autograd_vjp(lambda m, s, eps=eps, bar=bar: anp.sum(bar * gaussian.sample(m, s, eps)), mu, log_sigma)
        book = (bar, LONG(bar) * LONG(eps) * numpy.exp(LONG(log_sigma)))
        _check_all(gaussian.sample_vjp(log_sigma, eps, bar), traced, book, "eq. 10", "sample_vjp")
        small = [x.astype("f4") for x in (log_sigma, eps, bar)]
        _check_float32(gaussian.sample_vjp(*small), book, "eq. 10", "sample_vjp")


def _log_prob_bars(mu, log_sigma, y, bar):
    mu, sigma, y, bar = LONG(mu), numpy.exp(LONG(log_sigma)), LONG(y), LONG(bar)[..., None]
    by_y = -(y - mu) / sigma**2 * bar
    return -by_y, ((y - mu) ** 2 / sigma**2 - 1) * bar, by_y


def test_log_prob_pullback():
    for _, mu, log_sigma, _, _, eps, bar in _cases(1000, 2):
        args = mu, log_sigma, mu + numpy.exp(log_sigma) * eps
        traced = autograd_vjp(lambda *a, bar=bar: anp.sum(bar * gaussian.log_prob(*a)), *args)
        got = gaussian.log_prob_vjp(*args, bar)
        _check_all(got, traced, _log_prob_bars(*args, bar), "eq. 12", "log_prob_vjp")
        value, by_y = gaussian.log_prob_and_grad(*args)
        one = numpy.ones_like(bar)
        alone = autograd_vjp(lambda y, at=args[:2]: anp.sum(gaussian.log_prob(*at, y)), args[2])
        _check_all((by_y,), alone, _log_prob_bars(*args, one)[2:], "eq. 12", "log_prob_and_grad")
        standard = (LONG(args[2]) - args[0]) / numpy.exp(LONG(log_sigma))
        terms = -standard * standard / 2 - LONG(log_sigma) - numpy.log(2 * LONG(numpy.pi)) / 2
        scale = numpy.linalg.norm(numpy.sum(numpy.abs(terms), axis=-1).ravel()) / 100
        for got_value, name in (
            (value, "log_prob_and_grad"),
            (gaussian.standard_log_prob(standard.astype("f8"), log_sigma), "standard_log_prob"),
        ):
            want = numpy.sum(terms, axis=-1)
            about = {"equation": "eq. 12", "function": f"distributions.gaussian.{name}", "oracle": "longdouble"}
            check(got_value, want, scale=scale, **about)
        small = [numpy.asarray(x, "f4") for x in (*args, bar)]
        _check_float32(gaussian.log_prob_vjp(*small), _log_prob_bars(*small), "eq. 12", "log_prob_vjp")


def _kl_bars(mu, log_sigma, mu_0, log_sigma_0, bar):
    mu, mu_0, bar = LONG(mu), LONG(mu_0), LONG(bar)[..., None]
    sigma, sigma_0 = numpy.exp(LONG(log_sigma)), numpy.exp(LONG(log_sigma_0))
    return (mu - mu_0) / sigma_0**2 * bar, (sigma**2 / sigma_0**2 - 1) * bar


def test_kl_pullback():
    for _, mu, log_sigma, mu_0, log_sigma_0, _, bar in _cases(1000, 3):
        args = mu, log_sigma, mu_0, log_sigma_0
        traced = autograd_vjp(lambda m, s, a=args, bar=bar: anp.sum(bar * gaussian.kl(m, s, *a[2:])), *args[:2])
        _check_all(gaussian.kl_vjp(*args, bar), traced, _kl_bars(*args, bar), "eq. 13", "kl_vjp")
        small = [numpy.asarray(x, "f4") for x in (*args, bar)]
        _check_float32(gaussian.kl_vjp(*small), _kl_bars(*small), "eq. 13", "kl_vjp")


def _mp_log_prob(m, s, y):
    sigma = mp.exp(s)
    return -((y - m) ** 2) / (2 * sigma**2) - mp.log(sigma * mp.sqrt(2 * mp.pi))


def _mp_kl(m, s, m_0, s_0):
    a, b = mp.exp(s), mp.exp(s_0)
    return mp.log(b / a) + (a**2 + (m - m_0) ** 2) / (2 * b**2) - mp.mpf(1) / 2


def test_values_to_50_digits():
    """1e-13 of the sum of the terms' sizes: where they cancel, the sum is what rounding of the inputs leaves."""
    worst = {"log_prob": 0.0, "kl": 0.0}
    for _, mu, log_sigma, mu_0, log_sigma_0, eps, _ in _cases(500, 4, categories=(2, 4)):
        y = mu + numpy.exp(log_sigma) * eps
        for name, got, f, args in (
            ("log_prob", gaussian.log_prob(mu, log_sigma, y), _mp_log_prob, (mu, log_sigma, y)),
            ("kl", gaussian.kl(mu, log_sigma, mu_0, log_sigma_0), _mp_kl, (mu, log_sigma, mu_0, log_sigma_0)),
        ):
            at = (0,) * (mu.ndim - 1)
            terms = [f(*(mp.mpf(float(v)) for v in values)) for values in zip(*(x[at] for x in args), strict=True)]
            size = mp.fsum(abs(t) for t in terms) + float(numpy.abs(log_sigma[at] - log_sigma_0[at]).max()) + 1
            worst[name] = max(worst[name], float(abs(float(numpy.asarray(got)[at]) - mp.fsum(terms)) / size))
    for name, error in worst.items():
        equation = "eq. 12" if name == "log_prob" else "eq. 13"
        ledger.record(equation, f"distributions.gaussian.{name}", "mpmath, 50 digits", error, "of the terms", 500)
        assert error <= 1e-13


def test_kl_of_nearly_equal_laws_keeps_its_digits():
    for r in (1e-3, 1e-6, -1e-8):
        got = gaussian.kl(numpy.zeros(1), numpy.array([r]), numpy.zeros(1), numpy.zeros(1))
        assert float(got) == pytest.approx(float(_mp_kl(0, mp.mpf(r), 0, mp.mpf(0))), rel=1e-13, abs=0)


def test_float32_values():
    for _, mu, log_sigma, mu_0, log_sigma_0, eps, _ in _cases(200, 5):
        y = mu + numpy.exp(log_sigma) * eps
        small = [x.astype("f4") for x in (mu, log_sigma, y)]
        label = {"dtype": "float32", "oracle": "longdouble", "scale": mu.shape[-1]}
        got = numpy.asarray(gaussian.log_prob(*small))
        check(got, oracles.log_normal(*small), equation="eq. 12", function="distributions.gaussian.log_prob", **label)
        small = [x.astype("f4") for x in (mu, log_sigma, mu_0, log_sigma_0)]
        m, s, m_0, s_0 = (x.astype(LONG) for x in small)
        a, b = numpy.exp(2 * s), numpy.exp(2 * s_0)
        want = numpy.sum(s_0 - s + (a + (m - m_0) ** 2) / (2 * b) - LONG(0.5), axis=-1)
        got = numpy.asarray(gaussian.kl(*small))
        check(got, want, equation="eq. 13", function="distributions.gaussian.kl", **label)


@pytest.mark.parametrize("sigma", [0.05, 1.0, 7.0])
def test_density_and_kl_against_quadrature_and_monte_carlo(sigma):
    label = {"equation": "eq. 13", "function": "distributions.gaussian.kl"}
    q, p = (numpy.array([0.7]), numpy.log([sigma])), (numpy.array([-0.4]), numpy.array([0.3]))

    def density(y):
        return float(numpy.exp(gaussian.log_prob(*q, numpy.array([y]))))

    def integrand(y):
        y = numpy.array([y])
        return density(y[0]) * float(gaussian.log_prob(*q, y) - gaussian.log_prob(*p, y))

    limits = (0.7 - 12 * sigma, 0.7 + 12 * sigma)
    mass, _ = scipy.integrate.quad(density, *limits, points=[0.7], epsabs=1e-13, epsrel=1e-13)
    density_checks.check_integral(mass, 1.0, equation="eq. 12", function="distributions.gaussian.log_prob")
    by_quadrature, _ = scipy.integrate.quad(integrand, *limits, points=[0.7], epsabs=1e-12, epsrel=1e-12)
    density_checks.check_integral(by_quadrature, float(gaussian.kl(*q, *p)), **label)
    y = gaussian.sample(*q, numpy.random.default_rng(1).standard_normal((100_000, 1)))
    samples = gaussian.log_prob(*q, y) - gaussian.log_prob(*p, y)
    density_checks.check_mean(samples, float(gaussian.kl(*q, *p)), **label)


def test_kl_is_positive_and_zero_for_equal_laws():
    """Trap: KL sign, and its arguments' order."""
    for _, mu, log_sigma, mu_0, log_sigma_0, *_ in _cases(100, 6):
        assert numpy.all(gaussian.kl(mu, log_sigma, mu_0, log_sigma_0) > 0)
        assert numpy.all(gaussian.kl(mu, log_sigma, mu, log_sigma) == 0)
    wide, narrow = (numpy.zeros(1), numpy.log([3.0])), (numpy.zeros(1), numpy.zeros(1))
    assert gaussian.kl(*wide, *narrow) == pytest.approx(4 - numpy.log(3))  # (9 - 1)/2 - log 3, and not the reverse


def test_log_sigma_is_the_log_of_a_standard_deviation():
    """Trap: exp(log variance) used as a standard deviation, or the reverse (audit sd-or-variance)."""
    mu, log_sigma, eps = numpy.array([1.0]), numpy.log([4.0]), numpy.array([1.0])
    assert gaussian.sample(mu, log_sigma, eps)[0] == pytest.approx(5.0)
    want = scipy.stats.norm(loc=1, scale=4).logpdf(3.0)
    assert float(gaussian.log_prob(mu, log_sigma, numpy.array([3.0]))) == pytest.approx(want, rel=1e-14)
    draws = gaussian.sample(mu, log_sigma, numpy.random.default_rng(0).standard_normal((10_000, 1)))
    density_checks.check_mean((draws - 1) ** 2, 16.0, equation="eq. 10", function="distributions.gaussian.sample")
