"""Kumaraswamy: sample, density, KL and their pullbacks against mpmath, quadrature and autograd; both ends of (0, 1)."""

from __future__ import annotations

import autograd.numpy as anp
import mpmath
import numpy
import pytest

from igr_ref import noise
from igr_ref.distributions import Kumaraswamy

from . import gradcheck, ledger
from . import oracles_nonparametric as exact
from .oracles_nonparametric import mp

EQUATION = "Kumaraswamy"
NAME = "distributions.kumaraswamy.Kumaraswamy"
EPS = {numpy.float64: 2.0**-53, numpy.float32: 2.0**-24}


def laws(n, seed, spread=6.9, dtype=numpy.float64):
    """n laws log_a, log_b in [-6.9, 6.9] (a, b from 1e-3 to 1e3) and uniforms, a third each inside and at the ends."""
    rng = numpy.random.default_rng((seed, n))
    log_a, log_b = rng.uniform(-spread, spread, (2, n)).astype(dtype)
    small, large = 10.0 ** rng.uniform(-12, 0, n), 1 - 10.0 ** rng.uniform(-15, 0, n)
    u = numpy.where(numpy.arange(n) % 3 == 0, rng.random(n), numpy.where(numpy.arange(n) % 3 == 1, small, large))
    step = EPS[dtype]
    return rng, log_a, log_b, numpy.clip(u, step, 1 - step).astype(dtype)


def references(log_a, log_b, u):
    return [exact.kumaraswamy_logs(float(a), float(b), float(x)) for a, b, x in zip(log_a, log_b, u, strict=True)]


def to_float(values):
    return numpy.array([float(value) for value in values])


# ---- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [numpy.float64, numpy.float32])
def test_log_v_and_log_one_minus_v(dtype):
    """Relative errors within 8 ulp times the conditioning: t = log(1-U)/b enters as e^t, s = log(-log v) as e^s."""
    rng, log_a, log_b, u = laws(1500, 1, dtype=dtype)
    q = Kumaraswamy(log_a, log_b)
    s, (t, _) = q.run(u)
    log_v, log_rest = q.logs(s)
    assert s.dtype == log_v.dtype == log_rest.dtype == dtype and s.shape == log_a.shape
    assert numpy.all(numpy.isfinite(s)) and numpy.all(numpy.isfinite(log_rest))
    tiny, worst = (1e-290, 1e-32)[dtype is numpy.float32], 0.0
    for i, (want_v, want_rest, _, _) in enumerate(references(log_a, log_b, u)):
        condition = 1 + abs(float(t[i])) + abs(float(s[i])) + abs(float(log_a[i])) + abs(float(log_b[i]))
        for got, want, c in ((log_v[i], want_v, condition), (log_rest[i], want_rest, condition * (1 - float(want_v)))):
            if abs(want) > tiny:
                error = abs(float((exact.mp.mpf(float(got)) - want) / want)) / (EPS[dtype] * c)
                assert error < 8, (i, log_a[i], log_b[i], u[i], got, want)
                worst = max(worst, error)
    ledger.record(EQUATION + ", sample", f"{NAME}.logs", f"mpmath ({dtype.__name__})", worst, "ulp x condition", 1500)


@pytest.mark.parametrize("dtype", [numpy.float64, numpy.float32])
def test_trap_v_at_the_ends(dtype):
    """v rounds to 1 in three laws and underflows to 0 in the fourth; log(1-v) and log v are right all the same."""
    q = Kumaraswamy(numpy.array([-6.9, 6.9, 0.0, -6.0], dtype), numpy.array([-6.9, -6.9, -6.9, 6.9], dtype))
    u = numpy.array([0.5, 0.5, 0.2, 1e-7], dtype)
    log_v, log_rest = q.logs(q.run(u)[0])
    assert numpy.all(q.sample(u) == [1, 1, 1, 0])
    refs = references(q.log_a, q.log_b, u)
    assert numpy.allclose(log_rest[:3], to_float([r[1] for r in refs[:3]]), rtol=2000 * EPS[dtype], atol=0)
    assert numpy.allclose(log_v[3], float(refs[3][0]), rtol=2000 * EPS[dtype], atol=0)
    assert log_rest[0] < -600 and log_v[3] < -4000


def test_trap_float32_uniforms_of_exactly_zero():
    """The house's uniforms are never 0 or 1 (noise.uniform), so no sample is infinite."""
    for dtype, low, high in ((numpy.float32, 2.0**-25, 1 - 2.0**-24), (numpy.float64, 2.0**-54, 1 - 2.0**-53)):
        u = numpy.array([low, high], dtype)
        for log_b in (-6.9, 0.0, 6.9):
            for log_a in (-6.9, 0.0, 6.9):
                q = Kumaraswamy(numpy.full(2, log_a, dtype), numpy.full(2, log_b, dtype))
                s, saved = q.run(u)
                bars = q.pullback(saved, numpy.ones(2, dtype))
                assert all(numpy.all(numpy.isfinite(x)) for x in (s, *q.logs(s), *bars.values()))
    assert numpy.all(noise.uniform(noise.generator(0, "u"), 10_000, numpy.float32) > 0)


def test_density_against_mpmath():
    """log_prob_point at samples of the law and away from them; rounding is that of the terms of the sum."""
    rng, log_a, log_b, u = laws(1500, 2)
    q = Kumaraswamy(log_a, log_b)
    s = q.run(u)[0]
    s = numpy.where(numpy.arange(1500) % 2 == 0, s, rng.uniform(-20, 6, 1500))
    got, worst = q.log_prob_point(s), 0.0
    for i in range(1500):
        log_v = -mp.exp(mp.mpf(float(s[i])))
        want = exact.kumaraswamy_log_density(float(log_a[i]), float(log_b[i]), log_v)[0]
        a, b, c = numpy.exp(log_a[i]), numpy.exp(log_b[i]), s[i] + log_a[i]
        tail = float(exact._log1m_exp(mp.exp(mp.mpf(float(log_a[i]))) * log_v))
        slope = 1 if c < -30 else numpy.exp(c) / numpy.expm1(min(numpy.exp(c), 700))
        # errors of the exponentials: e^s has |s| ulp, a and b have |log| ulp, s + log_a one
        scale = 1 + abs(log_a[i]) + abs(log_b[i]) + abs(a - 1) * numpy.exp(s[i]) * (1 + abs(s[i]) + abs(log_a[i]))
        scale += abs(b - 1) * (abs(tail) * (1 + abs(log_b[i])) + slope * (1 + abs(s[i]) + abs(log_a[i])))
        error = abs(float(mp.mpf(float(got[i])) - want)) / (EPS[numpy.float64] * scale)
        assert error < 8, (i, log_a[i], log_b[i], s[i])
        worst = max(worst, error)
    ledger.record(EQUATION + ", log density", f"{NAME}.log_prob_point", "mpmath", worst, "ulp of the terms", 1500)


def test_density_integrates_to_one_and_has_the_stated_means():
    """int q = 1, E log v = -H(b)/a, E log(1 - v^a) = -1/b, by adaptive quadrature in s."""
    from scipy import integrate, special

    for log_a, log_b in ((0.0, 0.0), (-1.0, 1.0), (1.5, -1.0), (-2.0, -2.0), (2.0, 2.0)):
        q = Kumaraswamy(numpy.array([log_a]), numpy.array([log_b]))
        a, b = numpy.exp(log_a), numpy.exp(log_b)

        def density(s, q=q):  # q(v) |dv/ds|, dv/ds = -e^s v
            return float(numpy.exp(q.log_prob_point(numpy.array([s]))[0] + s - numpy.exp(s)))

        def mean(g, density=density):
            grid = (-500, -100, -20, -5, 0, 3, 9)
            parts = zip(grid[:-1], grid[1:], strict=True)
            return sum(integrate.quad(lambda s: density(s) * g(s), *part, epsabs=1e-12)[0] for part in parts)

        assert abs(mean(lambda s: 1.0) - 1) < 1e-9
        assert abs(mean(lambda s: -numpy.exp(s)) + (special.digamma(b + 1) + numpy.euler_gamma) / a) < 1e-7
        log_tail = mean(lambda s, a=a: numpy.log(-numpy.expm1(-a * numpy.exp(s))))  # log(1 - v^a)
        assert abs(log_tail + 1 / b) < 1e-7 / b


# ---- pullbacks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [numpy.float64, numpy.float32])
def test_sample_pullback(dtype):
    """Cotangents on log v and log(1-v), element by element against mpmath, then as a whole against autograd."""
    rng, log_a, log_b, u = laws(1200, 3, dtype=dtype)
    q = Kumaraswamy(log_a, log_b)
    s, saved = q.run(u)
    bar_v, bar_rest = rng.standard_normal((2, 1200)).astype(dtype)
    bars = q.pullback(saved, q.logs_vjp(s, bar_v, bar_rest))
    refs = references(log_a, log_b, u)
    t = to_float([mp.log1p(-mp.mpf(float(x))) / mp.exp(mp.mpf(float(b))) for x, b in zip(u, log_b, strict=True)])
    for j, name in enumerate(("log_a", "log_b")):
        parts = [(float(r[2][j]) * float(bar_v[i]), float(r[3][j]) * float(bar_rest[i])) for i, r in enumerate(refs)]
        for i, (one, two) in enumerate(parts):
            tolerance = EPS[dtype] * 40 * (1 + abs(t[i]) + abs(float(s[i])))  # t's and s's rounding, as for the values
            gradcheck.check(
                bars[name][i : i + 1],
                numpy.array([one + two]),
                max(tolerance, 1e-10 if dtype is numpy.float64 else 1e-4),
                equation=EQUATION + ", sample",
                function=f"{NAME}.pullback",
                oracle="mpmath",
                scale=max(abs(one), abs(two), 1e-30),
                dtype=dtype,
            )

    if dtype is numpy.float64:
        for i in range(0, 1200, 10):
            piece = slice(i, i + 10)

            def traced(a, b, piece=piece):
                q = Kumaraswamy(a, b, validate=False)
                log_v, log_rest = q.logs(q.run(u[piece])[0])
                return anp.sum(bar_v[piece] * log_v) + anp.sum(bar_rest[piece] * log_rest)

            for name, want in zip(bars, gradcheck.autograd_vjp(traced, log_a[piece], log_b[piece]), strict=True):
                gradcheck.check(
                    bars[name][piece], want, equation=EQUATION + ", sample", function=f"{NAME}.pullback",
                    oracle="autograd",
                )  # fmt: skip


def test_sample_vjp_of_v_itself():
    """v's own pullback, v formed: mpmath's derivative dv = v dlog v, and autograd."""
    rng, log_a, log_b, u = laws(600, 4, spread=4.0)
    q = Kumaraswamy(log_a, log_b)
    bar = rng.standard_normal(600)
    bars = q.sample_vjp(u, bar)
    refs = references(log_a, log_b, u)
    assert numpy.allclose(q.sample(u), to_float([mp.exp(r[0]) for r in refs]), rtol=1e-12)
    wants = gradcheck.autograd_vjp(
        lambda a, b: anp.sum(bar * Kumaraswamy(a, b, validate=False).sample(u)), log_a, log_b
    )
    for j, name in enumerate(("log_a", "log_b")):
        textbook = bar * to_float([mp.exp(r[0]) * r[2][j] for r in refs])
        for want, oracle in ((textbook, "mpmath"), (wants[j], "autograd")):
            gradcheck.check(
                bars[name], want, equation=EQUATION + ", sample", function=f"{NAME}.sample_vjp", oracle=oracle
            )


@pytest.mark.parametrize("dtype", [numpy.float64, numpy.float32])
def test_density_pullback(dtype):
    rng, log_a, log_b, u = laws(1200, 5, spread=6.9 if dtype is numpy.float64 else 3.0, dtype=dtype)
    v = rng.uniform(0.001, 0.999, 1200).astype(dtype)
    q = Kumaraswamy(log_a, log_b)
    bar = rng.standard_normal(1200).astype(dtype)
    bars, v_bar = q.log_prob_vjp(v, bar)
    refs = [
        exact.kumaraswamy_log_density(float(a), float(b), mp.log(mp.mpf(float(x))))
        for a, b, x in zip(log_a, log_b, v, strict=True)
    ]
    a, b = numpy.exp(log_a.astype(float)), numpy.exp(log_b.astype(float))
    # the terms of each derivative, whose rounding is the smallest error that can be asked for
    scales = {
        "log_a": 1 + a * numpy.abs(numpy.log(v)) + numpy.abs(b - 1),
        "log_b": 1 + numpy.abs(to_float([r[2] for r in refs])),
        "v": numpy.abs(to_float([r[3] for r in refs])) + 1,
    }
    for i, r in enumerate(refs):
        for name, got, want in (("log_a", bars["log_a"], r[1]), ("log_b", bars["log_b"], r[2]), ("v", v_bar, r[3])):
            gradcheck.check(
                got[i : i + 1],
                numpy.array([float(want) * float(bar[i])]),
                equation=EQUATION + ", log density",
                function=f"{NAME}.log_prob_vjp",
                oracle="mpmath",
                scale=float(scales[name][i] * abs(bar[i])) + 1e-20,
                dtype=dtype,
            )
    if dtype is numpy.float64:
        for i in range(0, 1200, 10):
            p = slice(i, i + 10)
            wants = gradcheck.autograd_vjp(
                lambda a, b, x, p=p: anp.sum(bar[p] * Kumaraswamy(a, b, validate=False).log_prob(x)),
                log_a[p], log_b[p], v[p],
            )  # fmt: skip
            for name, got, want in zip(scales, (bars["log_a"], bars["log_b"], v_bar), wants, strict=True):
                gradcheck.check(
                    got[p], want, equation=EQUATION + ", log density", function=f"{NAME}.log_prob_vjp",
                    oracle="autograd", scale=float(numpy.linalg.norm(scales[name][p])),
                )  # fmt: skip


def test_density_pullback_by_the_point():
    """The path's cotangent, against autograd of log_prob_point where v itself has rounded to 1."""
    rng, log_a, log_b, u = laws(500, 6)
    q = Kumaraswamy(log_a, log_b)
    s, bar = q.run(u)[0], rng.standard_normal(500)
    bars, point_bar = q.log_prob_point_vjp(s, bar)
    for i in range(500):
        p = slice(i, i + 1)
        wants = gradcheck.autograd_vjp(
            lambda a, b, x, p=p: anp.sum(bar[p] * Kumaraswamy(a, b, validate=False).log_prob_point(x)),
            log_a[p], log_b[p], s[p],
        )  # fmt: skip
        terms = float(abs(bar[i]) * (1 + numpy.exp(log_a[i] + s[i]) + numpy.exp(s[i]) + numpy.exp(log_b[i])))
        for got, want in zip((bars["log_a"], bars["log_b"], point_bar), wants, strict=True):
            gradcheck.check(
                got[p], want, equation=EQUATION + ", log density", function=f"{NAME}.log_prob_point_vjp",
                oracle="autograd", scale=terms,
            )  # fmt: skip


# ---- the divergence ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("concentration", [1.0, 0.3, 5.0])
def test_kl_against_integration(concentration):
    """E log q/p over U in mpmath, 24 laws of a, b in [1e-3, 1e3]."""
    rng = numpy.random.default_rng((7, int(10 * concentration)))
    log_a, log_b = rng.uniform(-6.9, 6.9, (2, 8))
    q = Kumaraswamy(log_a, log_b)
    got, series = q.kl(concentration), q.mean_log_rest()
    a, b = numpy.exp(-log_a), numpy.exp(-log_b)
    for i in range(8):
        want = float(exact.kumaraswamy_kl(float(log_a[i]), float(log_b[i]), concentration))
        terms = 10 + a[i] * 10 + b[i] + abs((concentration - 1) * series[i])
        gradcheck.check(
            got[i : i + 1],
            numpy.array([want]),
            1e-13,
            equation=EQUATION + ", KL to Beta(1, c)",
            function=f"{NAME}.kl",
            oracle="mpmath integration",
            scale=float(terms),
        )


def test_mean_log_rest_of_a_very_small_a():
    """b = 1: psi(1) - psi(1 + a), down to a = e^-60; the error is absolute, as the integrand grows steep."""
    log_a = numpy.linspace(-60, -8, 105)
    with mpmath.workdps(60):
        want = [float(mpmath.digamma(1) - mpmath.digamma(1 + mpmath.exp(mpmath.mpf(float(x))))) for x in log_a]
    assert numpy.max(abs(Kumaraswamy(log_a, 0 * log_a).mean_log_rest() - want)) <= 1e-12


def test_mean_log_rest_where_it_is_closed_and_against_the_series():
    """a = 1: E log(1-v) = -1/b; b = 1: -H(a); elsewhere the series, whose terms fall off like m^{-b-1}."""
    from scipy import special

    grid = numpy.linspace(-6.9, 6.9, 60)
    zero = numpy.zeros(60)
    for q, want in (
        (Kumaraswamy(zero, grid), -numpy.exp(-grid)),
        (Kumaraswamy(grid, zero), -(special.digamma(numpy.exp(grid) + 1) + numpy.euler_gamma)),
    ):
        got = q.mean_log_rest()
        for i in range(60):
            gradcheck.check(
                got[i : i + 1], want[i : i + 1], 2e-13, equation=EQUATION + ", KL to Beta(1, c)",
                function=f"{NAME}.mean_log_rest", oracle="closed forms at a = 1, b = 1", scale=1e-2,
            )  # fmt: skip
    for log_a, log_b in ((-1.0, 1.5), (0.5, 1.2), (1.0, 2.0), (-2.0, 0.8), (0.0, 0.5)):
        got = Kumaraswamy(numpy.array([log_a]), numpy.array([log_b])).mean_log_rest()
        want = -float(exact.kumaraswamy_series(log_a, log_b, 2000))
        gradcheck.check(
            got, numpy.array([want]), 1e-6, equation=EQUATION + ", KL to Beta(1, c)",
            function=f"{NAME}.mean_log_rest", oracle="series with its tail",
        )  # fmt: skip


@pytest.mark.parametrize("concentration", [1.0, 0.3, 5.0])
def test_kl_pullback(concentration):
    """Against autograd through our own forward, and against central differences of mpmath's integral."""
    rng = numpy.random.default_rng((8, int(10 * concentration)))
    n = 1000 if concentration == 1 else 200
    log_a, log_b, bar = rng.uniform(-6.9, 6.9, (3, n))
    q = Kumaraswamy(log_a, log_b)
    bars = q.kl_vjp(concentration, bar)
    for i in range(0, n, 10):
        p = slice(i, i + 10)
        wants = gradcheck.autograd_vjp(
            lambda a, b, p=p: anp.sum(bar[p] * Kumaraswamy(a, b, validate=False).kl(concentration)), log_a[p], log_b[p]
        )
        for name, want in zip(bars, wants, strict=True):
            gradcheck.check(
                bars[name][p], want, equation=EQUATION + ", KL to Beta(1, c)", function=f"{NAME}.kl_vjp",
                oracle="autograd",
            )  # fmt: skip
    step = mp.mpf(10) ** -12
    for i in range(2):
        a, b = mp.mpf(float(log_a[i])), mp.mpf(float(log_b[i]))
        for name, (da, db) in (("log_a", (step, 0)), ("log_b", (0, step))):
            ahead, behind = (exact.kumaraswamy_kl(a + f * da, b + f * db, concentration) for f in (1, -1))
            want = numpy.array([float((ahead - behind) / (2 * step)) * bar[i]])
            gradcheck.check(
                bars[name][i : i + 1], want, equation=EQUATION + ", KL to Beta(1, c)", function=f"{NAME}.kl_vjp",
                oracle="mpmath differences", scale=1e-3,
            )  # fmt: skip


def test_trap_kl_sign():
    """KL is 0 where q is its own prior, Kumaraswamy(1, c) = Beta(1, c), and positive elsewhere."""
    for c in (1.0, 0.2, 3.0, 40.0):
        same = Kumaraswamy(numpy.zeros(1), numpy.array([numpy.log(c)]))
        assert abs(same.kl(c)[0]) < 1e-13
        assert all(abs(bar[0]) < 1e-12 for bar in same.kl_vjp(c, numpy.ones(1)).values())
        rng = numpy.random.default_rng(9)
        log_a, log_b = rng.uniform(-3, 3, (2, 500))
        assert numpy.all(Kumaraswamy(log_a, log_b).kl(c) > 0)


def test_float32_kl_and_shapes():
    rng = numpy.random.default_rng(10)
    log_a, log_b = rng.uniform(-2, 2, (2, 4, 3)).astype(numpy.float32)
    q = Kumaraswamy(log_a, log_b)
    wide = Kumaraswamy(log_a.astype(float), log_b.astype(float))
    bar = rng.standard_normal((4, 3)).astype(numpy.float32)
    for c in (1.0, 2.5):
        gradcheck.check(
            q.kl(c), wide.kl(c), equation=EQUATION + ", KL to Beta(1, c)", function=f"{NAME}.kl", oracle="float64",
            dtype=numpy.float32,
        )  # fmt: skip
        for name, want in wide.kl_vjp(c, bar.astype(float)).items():
            gradcheck.check(
                q.kl_vjp(c, bar)[name], want, equation=EQUATION + ", KL to Beta(1, c)", function=f"{NAME}.kl_vjp",
                oracle="float64", dtype=numpy.float32,
            )  # fmt: skip
    u = noise.uniform(noise.generator(0, "u"), (5, 4, 3), numpy.float32)
    assert q.sample(u).shape == (5, 4, 3) and q.sample(u).dtype == numpy.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda q: Kumaraswamy(numpy.array([numpy.nan]), numpy.zeros(1)), "log_a must be finite"),
        (lambda q: Kumaraswamy(numpy.zeros(1), numpy.zeros(1, numpy.float32)), "share one dtype"),
        (lambda q: Kumaraswamy(numpy.zeros(3), numpy.zeros(2)), "broadcast"),
        (lambda q: q.log_prob(numpy.array([1.0])), "v must lie"),
        (lambda q: q.log_prob(numpy.array([0.0])), "v must lie"),
        (lambda q: q.kl(0.0), "concentration must be"),
        (lambda q: q.kl_vjp(numpy.nan, numpy.ones(1)), "concentration must be"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(Kumaraswamy(numpy.zeros(1), numpy.zeros(1)))
