"""The score function estimator: exact expectation by enumeration, scores, the leave-one-out baseline, the exact KL."""

from __future__ import annotations

import functools
import inspect
import itertools
import math

import autograd.numpy as anp
import mpmath
import numpy
import pytest

from igr_ref import GumbelSoftmax, igr_i, igr_sb, noise
from igr_ref.distributions import Categorical
from igr_ref.estimators.score_function import (
    drawn_codes,
    is_igr_i,
    kl_uniform,
    log_probs,
    log_probs_pullback,
    score,
    score_function,
)
from igr_ref.recovery import gaussian_argmax
from igr_ref.transforms.base import one_hot

from . import gradcheck, ledger
from . import oracles_estimators as exact

LONG = numpy.longdouble
EQUATION = "score function"
MODULE = "estimators.score_function"


def refine_quadrature(monkeypatch):
    """Prop. 2 with 16 nodes a panel: exact to rounding for the laws used here, so that the estimators show at 1e-10."""
    for name in ("log_probs", "jacobian", "vjp"):
        function = getattr(gaussian_argmax, name)
        if "nodes" in inspect.signature(function).parameters:
            monkeypatch.setattr(gaussian_argmax, name, functools.partial(function, nodes=16))


@pytest.fixture(autouse=True)
def exact_laws(monkeypatch):
    refine_quadrature(monkeypatch)


def model(kind, rng, n, k):
    """(q, P, Jacobians, noise_for): a small law with its independent reference, and noise that selects given codes."""
    if kind == "gumbel_softmax":
        log_alpha = 1.5 * rng.standard_normal((n, k))
        q = GumbelSoftmax(log_alpha, 0.5)
        return q, *exact.softmax_law(log_alpha), lambda codes: exact.gumbel_for(codes, log_alpha)
    mu, log_sigma = rng.standard_normal((n, k - 1)), rng.uniform(-0.5, 0.5, (n, k - 1))
    q = igr_i(mu, log_sigma, 0.5, delta=float(rng.uniform(0.5, 2)))
    return q, *exact.prop2_law(mu, log_sigma), lambda codes: exact.normal_for(codes, mu, log_sigma)


# ---- the oracle itself ---------------------------------------------------------------------------------------------


def test_the_prop_2_oracle_agrees_with_quad_and_mpmath():
    """Complex steps through a dense rule, scipy.integrate.quad, and mpmath's quad of the differentiated integrand."""
    for seed in range(12):
        rng = numpy.random.default_rng((21, seed))
        m = int(rng.integers(1, 4))
        mu, log_sigma = rng.uniform(-5, 5, (1, m)) * (seed % 3) / 2, rng.uniform(-0.7, 0.9, (1, m))
        sigma = numpy.exp(log_sigma[0])
        p, jacobians = exact.prop2_law(mu, log_sigma)
        assert abs(p.sum() - 1) < 1e-14 and numpy.all(numpy.abs(jacobians["mu"].sum(axis=1)) < 1e-14)
        for k in range(m):
            assert abs(exact.prop2_quad(mu[0], sigma, k) - p[0, k]) < 1e-12
        if seed < 3:
            k, j = int(rng.integers(m)), int(rng.integers(m))
            value, by_mu, by_sigma = exact.prop2_mpmath(mu[0], sigma, k, j)
            assert abs(value - p[0, k]) < 1e-14
            assert abs(by_mu - jacobians["mu"][0, k, j]) < 1e-14
            assert abs(by_sigma * sigma[j] - jacobians["log_sigma"][0, k, j]) < 1e-14


# ---- unbiased ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gumbel_softmax", "igr_i"])
@pytest.mark.parametrize(
    ("n", "k", "s", "baseline"),
    [(1, 2, 2, "leave_one_out"), (1, 4, 3, "leave_one_out"), (2, 3, 2, "leave_one_out"), (2, 2, 3, "leave_one_out"),
     (3, 2, 2, "leave_one_out"), (1, 5, 1, "none"), (3, 3, 1, "none"), (2, 3, 2, "none")],
)  # fmt: skip
def test_expectation_is_the_exact_gradient_by_enumeration(kind, n, k, s, baseline):
    """Every ordered S-tuple of the K^N codes, weighed by its probability: the S gradients' mean is dE f/dtheta."""
    for seed in range(3):
        rng = numpy.random.default_rng((22, seed, n, k, s))
        q, p, jacobians, noise_for = model(kind, rng, n, k)
        codes = exact.all_codes(n, k)
        table = 10 + 3 * rng.standard_normal(len(codes))
        tuples = numpy.array(list(itertools.product(range(len(codes)), repeat=s))).T  # (S, tuples)
        probability = numpy.prod(exact.code_probs(p, codes)[tuples], axis=0)
        f = exact.table_function(table, n, k)
        estimate = score_function(q, noise_for(codes[tuples]), f, "uniform", baseline)
        assert numpy.array_equal(estimate.value, table[tuples])
        kl, kl_grads = exact.kl_uniform(p, jacobians)
        want = exact.expectation_gradient(p, jacobians, table)
        for name, grads in estimate.grads.items():
            got = numpy.sum(probability[:, None, None] * numpy.mean(grads, axis=0), axis=0).astype(float)
            gradcheck.check(
                got,
                want[name] + kl_grads[name],
                1e-10,
                equation=f"{EQUATION}, expectation ({kind})",
                function=f"{MODULE}.score_function",
                oracle="enumeration of all codes",
                scale=float(numpy.linalg.norm(want[name])),
            )
        loss = numpy.sum(probability * numpy.mean(estimate.loss, axis=0))
        assert abs(loss - (exact.expectation(p, table) + kl)) < 1e-10


def test_trap_baseline_that_contains_its_own_sample():
    """The mean of all S values as a baseline shrinks the expectation by (S-1)/S: the enumeration above would see it."""
    rng = numpy.random.default_rng(23)
    q, p, jacobians, noise_for = model("gumbel_softmax", rng, 1, 3)
    codes, table = exact.all_codes(1, 3), rng.standard_normal(3)
    pairs = numpy.array(list(itertools.product(range(3), repeat=2))).T
    probability = numpy.prod(exact.code_probs(p, codes)[pairs], axis=0)
    f = exact.table_function(table, 1, 3)
    grads = score_function(q, noise_for(codes[pairs]), f).grads["log_alpha"]
    s = score(q, one_hot(codes[pairs], 3, numpy, float), log_probs(q))["log_alpha"]
    values = table[pairs]
    wrong = (values - values.mean(axis=0))[..., None, None] * s
    want = exact.expectation_gradient(p, jacobians, table)["log_alpha"]
    assert numpy.allclose(numpy.tensordot(probability, grads.mean(axis=0), 1).astype(float), want.astype(float))
    assert numpy.allclose(numpy.tensordot(probability, wrong.mean(axis=0), 1).astype(float), want.astype(float) / 2)


@pytest.mark.parametrize("s", [2, 3, 7])
def test_leave_one_out_baseline_sample_by_sample(s):
    """g_s = (f_s - mean of the others) s_s, the others written out."""
    rng = numpy.random.default_rng((24, s))
    log_alpha, c = rng.standard_normal((4, 3, 5)), rng.standard_normal((3, 5))
    q = GumbelSoftmax(log_alpha, 1.0)
    draws = noise.gumbel(rng, (s, 4, 3, 5))

    def f(b):
        return numpy.sum(c * b, axis=(-1, -2)) ** 2, None

    estimate = score_function(q, draws, f)
    b = q.discretize(draws)
    value, theta = f(b)[0], numpy.exp(log_alpha) / numpy.exp(log_alpha).sum(-1, keepdims=True)
    for i in range(s):
        others = numpy.mean([value[j] for j in range(s) if j != i], axis=0)
        want = (value[i] - others)[:, None, None] * (b[i] - theta)
        gradcheck.check(
            estimate.grads["log_alpha"][i],
            want,
            equation=f"{EQUATION}, leave-one-out",
            function=f"{MODULE}.score_function",
            oracle="direct loop",
        )


def test_sample_axis_behind_a_replica_axis():
    """f's value ([R,] S, B): sample_axis=-2 and one axis fewer give the same numbers."""
    rng = numpy.random.default_rng(25)
    log_alpha, c = rng.standard_normal((2, 1, 4, 3, 5)), rng.standard_normal((3, 5))  # (R, 1, B, N, K)
    draws = noise.gumbel(rng, (2, 6, 4, 3, 5))

    def f(b):
        return numpy.exp(numpy.sum(c * b, axis=(-1, -2))), None

    whole = score_function(GumbelSoftmax(log_alpha, 1.0), draws, f, "uniform", sample_axis=-2)
    assert whole.value.shape == (2, 6, 4) and whole.kl.shape == (2, 1, 4) and whole.loss.shape == (2, 6, 4)
    for r in range(2):
        one = score_function(GumbelSoftmax(log_alpha[r, 0], 1.0), draws[r], f, "uniform")
        assert numpy.allclose(whole.grads["log_alpha"][r], one.grads["log_alpha"], rtol=1e-14, atol=1e-14)


# ---- scores --------------------------------------------------------------------------------------------------------


def test_gumbel_softmax_scores_and_their_pullback():
    """b - theta against longdouble and autograd, for laws from flat to one that leaves 1e-300 outside its vertex."""
    for rng, lead, k, _ in gradcheck.configurations(1000, seed=26, categories=(2, 3, 10, 100, 1000)):
        spread = [0.1, 1.0, 10.0, 100.0][rng.integers(4)]
        log_alpha = spread * rng.standard_normal((*lead, 2, k))
        q = GumbelSoftmax(log_alpha, 1.0)
        index = rng.integers(k, size=(*lead, 2))
        if rng.random() < 0.5:  # the likely category: s = 1 - theta, which cancels when theta is close to 1
            index = numpy.argmax(log_alpha, axis=-1)
        b = one_hot(index, k, numpy, float)
        s = score(q, b, log_probs(q))["log_alpha"]
        theta = numpy.exp(LONG(log_alpha) - LONG(log_alpha).max(axis=-1, keepdims=True))
        theta = theta / theta.sum(axis=-1, keepdims=True)
        others = numpy.sum(numpy.where(b > 0, 0, theta), axis=-1, keepdims=True)  # 1 - theta_b
        labels = dict(equation=EQUATION, function=f"{MODULE}.score")
        # theta_k has relative error eps |log theta_k|: 1e-13 at the most
        gradcheck.check(s, numpy.where(b > 0, others, -theta), 1e-12, oracle="longdouble", **labels)
        if k <= 100:

            def log_q(a, b=b):
                return anp.sum(b * log_probs(GumbelSoftmax(a, 1.0, validate=False)))

            traced = gradcheck.autograd_vjp(log_q, log_alpha)[0]
            gradcheck.check(s, traced, oracle="autograd", scale=1e-4, **labels)  # its tape rounds 1 - theta at eps


def test_pullback_of_log_probs_for_any_cotangent():
    """Not only one-hot: bar_j - theta_j sum bar, in longdouble, for vertices too."""
    for rng, lead, k, _ in gradcheck.configurations(300, seed=27, categories=(2, 3, 10, 100)):
        log_alpha = [1.0, 10.0, 100.0][rng.integers(3)] * rng.standard_normal((*lead, 2, k))
        bar = rng.standard_normal((*lead, 2, k)) ** 2  # of one sign: a sum of signed ones is ill-conditioned by itself
        q = GumbelSoftmax(log_alpha, 1.0)
        got = log_probs_pullback(q, log_probs(q), bar)["log_alpha"]
        theta = numpy.exp(LONG(log_alpha) - LONG(log_alpha).max(axis=-1, keepdims=True))
        theta = theta / theta.sum(axis=-1, keepdims=True)
        want = numpy.zeros_like(theta)
        for j in range(k):
            pairs = LONG(bar[..., j, None]) * theta - LONG(bar) * theta[..., j, None]
            pairs[..., j] = 0
            want[..., j] = pairs.sum(axis=-1)
        gradcheck.check(
            got, want, 1e-12, equation=EQUATION, function=f"{MODULE}.log_probs_pullback", oracle="longdouble pairs"
        )


def test_igr_scores_are_rows_of_prop_2_over_their_probability():
    for seed in range(40):
        rng = numpy.random.default_rng((28, seed))
        n, k = int(rng.integers(1, 4)), int(rng.integers(2, 6))
        q, p, jacobians, noise_for = model("igr_i", rng, n, k)
        codes = exact.all_codes(n, k)[rng.integers(k**n, size=7)]
        b = q.discretize(noise_for(codes))
        assert numpy.array_equal(numpy.argmax(b, axis=-1), codes)
        s, want = score(q, b, log_probs(q)), exact.code_scores(p, jacobians, codes)
        for name in ("mu", "log_sigma"):
            gradcheck.check(
                s[name],
                want[name],
                1e-10,
                equation=f"{EQUATION}, eq. 21",
                function=f"{MODULE}.score",
                oracle="complex step through a dense rule",
            )


def test_the_score_has_mean_zero():
    """sum_b q(b) s(b) = 0: Prop. 2's columns sum to zero exactly, whatever the quadrature's error."""
    for kind in ("gumbel_softmax", "igr_i"):
        q, _, _, noise_for = model(kind, numpy.random.default_rng(29), 2, 4)
        law = log_probs(q)
        codes = exact.all_codes(2, 4)
        weights = exact.code_probs(numpy.exp(law), codes)
        for s in score(q, q.discretize(noise_for(codes)), law).values():
            assert numpy.max(numpy.abs(numpy.tensordot(weights, s, 1))) < 1e-14 * numpy.max(numpy.abs(s))


def test_estimator_equals_the_cotangent_form():
    """The sum of the S gradients = one pullback of the law with cotangent sum_s (f - beta)_s b_s."""
    for kind in ("gumbel_softmax", "igr_i"):
        rng = numpy.random.default_rng(30)
        q, _, _, _ = model(kind, rng, 3, 4)
        draws = noise.gumbel(rng, (5, 3, 4)) if kind == "gumbel_softmax" else rng.standard_normal((5, 3, 3))
        table = rng.standard_normal(64)
        f = exact.table_function(table, 3, 4)
        estimate, b = score_function(q, draws, f), q.discretize(draws)
        value = f(b)[0]
        weight = value - (value.sum() - value) / 4
        bars = log_probs_pullback(q, log_probs(q), numpy.tensordot(weight, b, 1))
        for name, bar in bars.items():
            gradcheck.check(
                estimate.grads[name].sum(axis=0),
                bar,
                equation=EQUATION,
                function=f"{MODULE}.score_function",
                oracle="one pullback of the law",
                scale=float(numpy.linalg.norm(estimate.grads[name])),
            )


def test_probabilities_of_1e_30_and_far_below():
    """A code of probability 1e-30 or e^-2000, forced by its noise: scores stay exact, nothing divides by theta."""
    for gap in (math.log(1e30), 2000.0):
        log_alpha = numpy.array([[0.0, -gap, -1.0], [0.5, 0.0, -gap]])
        q = GumbelSoftmax(log_alpha, 1e-3)
        draws = exact.gumbel_for(numpy.array([[1, 2], [0, 0], [1, 0]]), log_alpha)
        p, _ = exact.softmax_law(log_alpha)
        estimate = score_function(q, draws, lambda b: (numpy.sum(b[..., 0], axis=-1), None), "uniform")
        b = q.discretize(draws)
        want = numpy.where(b > 0, LONG(1) - p, -p)
        got = score(q, b, log_probs(q))["log_alpha"]
        assert numpy.allclose(got, want.astype(float), rtol=1e-12, atol=0)
        assert numpy.all(numpy.isfinite(estimate.grads["log_alpha"])) and numpy.all(numpy.isfinite(estimate.kl))


def test_igr_scores_weighed_by_their_probability():
    """P_b (s - exact s) is below 1e-13 for every category of wild laws, down to P_b = 1e-45 and sigma from .2 to 4."""
    worst = 0.0
    for seed in range(60):
        rng = numpy.random.default_rng((36, seed))
        m = int(rng.integers(1, 5))
        mu, log_sigma = rng.uniform(-12, 12, (1, m)), rng.uniform(-1.6, 1.4, (1, m))
        if seed == 0:
            mu, log_sigma = numpy.array([[0.0, 20.0]]), numpy.zeros((1, 2))
        q = igr_i(mu, log_sigma, 0.1)
        p, jacobians = exact.prop2_law(mu, log_sigma)
        codes = exact.all_codes(1, mu.shape[1] + 1)
        codes = codes[p[0, codes[:, 0]] > 1e-250]
        b = q.discretize(exact.normal_for(codes, mu, log_sigma))
        s = score(q, b, log_probs(q))
        for name, jacobian in jacobians.items():
            difference = p[0, codes[:, 0], None] * s[name][:, 0] - jacobian[0, codes[:, 0]]
            worst = max(worst, float(numpy.max(numpy.abs(difference))))
    ledger.record(f"{EQUATION}, eq. 21", f"{MODULE}.score", "complex step, times P_b", worst, "absolute", 60)
    assert worst < 1e-13


def test_igr_scores_of_a_category_of_probability_1e_30():
    """Both J_b and P_b are of that size; their ratio is not (means of the others within 8 sigma of 0)."""
    for mu in ([-11.0, 2.0], [-11.5, 3.0, 0.5], [1.0, -11.0]):
        mu, log_sigma = numpy.array([mu]), numpy.zeros((1, len(mu)))
        q = igr_i(mu, log_sigma, 0.1)
        p, jacobians = exact.prop2_law(mu, log_sigma)
        codes = numpy.array([numpy.argmin(p, axis=-1)])
        assert 1e-34 < p.min() < 1e-28
        b = q.discretize(exact.normal_for(codes, mu, log_sigma))
        s, want = score(q, b, log_probs(q)), exact.code_scores(p, jacobians, codes)
        for name in ("mu", "log_sigma"):
            gradcheck.check(
                s[name],
                want[name],
                equation=f"{EQUATION}, eq. 21",
                function=f"{MODULE}.score",
                oracle="complex step through a dense rule, P = 1e-30",
            )


def test_near_a_vertex_the_score_keeps_relative_precision():
    """theta_1 = 1 - 1e-20: s_1 = 1e-20 and not 0 (one minus a rounded theta)."""
    log_alpha = numpy.array([[0.0, math.log(1e-20)]])
    q = GumbelSoftmax(log_alpha, 1.0)
    s = score(q, numpy.array([[1.0, 0.0]]), log_probs(q))["log_alpha"]
    assert numpy.allclose(s, [[1e-20, -1e-20]], rtol=1e-13, atol=0)


# ---- the law and the KL --------------------------------------------------------------------------------------------


def test_log_probs_of_large_logits_against_mpmath():
    """A common offset of 1e6 takes nothing from log theta (log_alpha minus a rounded log-sum-exp would lose 1e-10)."""
    worst = 0.0
    for rng, _, k, _ in gradcheck.configurations(200, seed=31, categories=(2, 3, 10)):
        spread, offset = [1.0, 30.0][rng.integers(2)], [0.0, 1e6][rng.integers(2)]
        log_alpha = spread * rng.standard_normal((1, k)) + offset
        got = log_probs(GumbelSoftmax(log_alpha, 1.0))[0]
        with mpmath.workdps(50):
            total = mpmath.log(sum(mpmath.exp(mpmath.mpf(float(a))) for a in log_alpha[0]))
            for i in range(k):
                want = mpmath.mpf(float(log_alpha[0, i])) - total
                # -log theta of a likely category is the log of a sum close to 1: absolute there
                worst = max(worst, float(abs(mpmath.mpf(float(got[i])) - want) / max(abs(want), 1)))
    ledger.record("log softmax", f"{MODULE}.log_probs", "mpmath, 50 digits", worst, "relative", 200)
    assert worst < 1e-14


def test_kl_to_the_uniform_law_and_its_gradient():
    for rng, _, k, _ in gradcheck.configurations(300, seed=32, categories=(2, 3, 4)):
        n = int(rng.integers(1, 4))
        kind = "igr_i" if rng.random() < 0.1 else "gumbel_softmax"
        q, p, jacobians, _ = model(kind, rng, n, k)
        if kind == "gumbel_softmax" and rng.random() < 0.5:
            q = GumbelSoftmax(20 * rng.standard_normal((n, k)), 1.0)
            p, jacobians = exact.softmax_law(q.log_alpha)
        kl, grads = kl_uniform(q, log_probs(q))
        want, want_grads = exact.kl_uniform(p, jacobians)
        labels = dict(equation=f"KL(P || uniform) ({kind})", oracle="enumeration of all codes")
        gradcheck.check(kl.sum(), want, scale=1e-2, function=f"{MODULE}.kl_uniform", **labels)
        for name, bar in grads.items():
            gradcheck.check(bar, want_grads[name], scale=1e-2, function=f"{MODULE}.kl_uniform (gradient)", **labels)


def test_kl_gradient_of_the_gumbel_softmax_against_its_formula_and_autograd():
    """theta_k (log theta_k - sum theta log theta), K up to 1000."""
    for rng, lead, k, _ in gradcheck.configurations(200, seed=33):
        log_alpha = [1.0, 10.0][rng.integers(2)] * rng.standard_normal((*lead, 2, k))
        q = GumbelSoftmax(log_alpha, 1.0)
        kl, grads = kl_uniform(q, log_probs(q))
        a = LONG(log_alpha) - LONG(log_alpha).max(axis=-1, keepdims=True)
        log_theta = a - numpy.log(numpy.exp(a).sum(axis=-1, keepdims=True))
        theta = numpy.exp(log_theta)
        entropy = -numpy.sum(theta * log_theta, axis=-1, keepdims=True)
        labels = dict(equation="KL(P || uniform)", function=f"{MODULE}.kl_uniform (gradient)")
        gradcheck.check(grads["log_alpha"], theta * (log_theta + entropy), oracle="longdouble", scale=1e-14, **labels)
        gradcheck.check(
            kl, (numpy.log(LONG(k)) - entropy)[..., 0], 1e-10, scale=1e-3, oracle="longdouble",
            equation="KL(P || uniform)", function=f"{MODULE}.kl_uniform",
        )  # fmt: skip
        if k <= 100:

            def traced_kl(x, k=k):
                l = x - anp.max(x, axis=-1, keepdims=True)
                l = l - anp.log(anp.sum(anp.exp(l), axis=-1, keepdims=True))
                return anp.sum(anp.exp(l) * (l + math.log(k)))

            traced = gradcheck.autograd_vjp(traced_kl, log_alpha)[0]
            gradcheck.check(grads["log_alpha"], traced, oracle="autograd", scale=1e-4, **labels)
        categorical = Categorical(log_probs(q))
        other = categorical.kl_uniform_vjp_logits(numpy.ones((*lead, 2)))
        gradcheck.check(grads["log_alpha"], other, oracle="distributions.categorical", scale=1e-4, **labels)


# ---- dtypes and errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gumbel_softmax", "igr_i"])
def test_float32_in_float32_out(kind):
    """The law is computed in float64 from the float32 parameters: gradients agree to float32 rounding."""
    rng = numpy.random.default_rng(34)
    for _ in range(20):
        n, k = 2, int(rng.integers(2, 6))
        q, _, _, _ = model(kind, rng, n, k)
        params = {name: value.astype(numpy.float32) for name, value in q.params.items()}
        shape = (6, n, k) if kind == "gumbel_softmax" else (6, n, k - 1)
        draws = (noise.gumbel(rng, shape) if kind == "gumbel_softmax" else rng.standard_normal(shape)).astype("f4")
        build = GumbelSoftmax if kind == "gumbel_softmax" else igr_i
        low = build(*params.values(), 0.5)
        high = build(*(value.astype(numpy.float64) for value in params.values()), 0.5)
        c = rng.standard_normal((n, k)).astype(numpy.float32)

        def f(b, c=c):
            return numpy.sum(c.astype(b.dtype) * b, axis=(-1, -2)), None

        got = score_function(low, draws, f, "uniform")
        want = score_function(high, draws.astype(numpy.float64), f, "uniform")
        assert got.value.dtype == got.kl.dtype == got.loss.dtype == numpy.float32
        gradcheck.check(
            got.kl, want.kl, equation="KL(P || uniform)", function=f"{MODULE}.kl_uniform", oracle="float64",
            dtype=numpy.float32,
        )  # fmt: skip
        for name, bar in got.grads.items():
            gradcheck.check(
                bar, want.grads[name], equation=EQUATION, function=f"{MODULE}.score_function", oracle="float64",
                dtype=numpy.float32,
            )  # fmt: skip


def test_bad_input_is_named():
    rng = numpy.random.default_rng(35)
    q = GumbelSoftmax(rng.standard_normal((2, 3)), 1.0)

    def f(b):
        return numpy.sum(b[..., 0], axis=-1), None

    with pytest.raises(ValueError, match="leave_one_out.*2 or more samples.*shape \\(1,\\)"):
        score_function(q, noise.gumbel(rng, (1, 2, 3)), f)
    with pytest.raises(ValueError, match="leave_one_out.*2 or more samples"):
        score_function(q, noise.gumbel(rng, (2, 3)), f)
    with pytest.raises(ValueError, match="baseline must be"):
        score_function(q, noise.gumbel(rng, (4, 2, 3)), f, baseline="mean")
    with pytest.raises(ValueError, match="p must be None or 'uniform'"):
        score_function(q, noise.gumbel(rng, (4, 2, 3)), f, p="standard")
    sticks = igr_sb(rng.standard_normal((2, 3)), rng.standard_normal((2, 3)), 1.0)
    assert not is_igr_i(sticks)
    with pytest.raises(TypeError, match="GumbelSoftmax and IGR-I, got IGR with Chain"):
        score_function(sticks, rng.standard_normal((4, 2, 3)), f)
    # one sample without a baseline needs no sample axis
    assert score_function(q, noise.gumbel(rng, (2, 3)), f, baseline="none").grads["log_alpha"].shape == (2, 3)


@pytest.mark.parametrize("log_scale", [0.0, -1.0, -1.417, -1.43, -1.5, -3.0])
def test_gradients_stay_finite_where_a_probability_underflows(log_scale):
    """log P_K passes -709.8, where e^{-log P} overflows, and -745, where P is 0; nothing warns."""
    mu, log_sigma = numpy.full((1, 9), 3.0), numpy.full((1, 9), log_scale)
    q = igr_i(mu, log_sigma, 0.5)
    log_p = gaussian_argmax.log_probs(mu, numpy.exp(log_sigma))
    with numpy.errstate(all="raise", under="ignore"):
        kl, grads = kl_uniform(q, log_p)
        found = drawn_codes(q, numpy.eye(10)[[0]], "uniform")
    assert abs(kl[0] - numpy.log(10) + numpy.log(9)) < 0.01  # nine equal categories, or nearly so
    for one in (grads, found.kl_grads):
        assert all(numpy.all(numpy.isfinite(value)) for value in one.values())
    assert numpy.allclose(grads["mu"], found.kl_grads["mu"], atol=1e-12)
