"""The unordered set estimator: exactly unbiased by enumeration, the beam search's law, ratios, the saturated case."""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy
import pytest
import scipy.special
import scipy.stats

from igr_ref import GumbelSoftmax, igr_i, igr_sb, noise
from igr_ref.estimators.score_function import log_probs
from igr_ref.estimators.unordered_set import (
    SATURATED,
    beam_search,
    code_set,
    conditioned,
    draw_set,
    from_set,
    leave_out_log_ratios,
    log_set_prob,
    unordered_set,
)

from . import gradcheck, ledger
from . import oracles_estimators as exact
from .test_score_function import model, refine_quadrature

LONG = numpy.longdouble
EQUATION = "USPGBL"
MODULE = "estimators.unordered_set"


@pytest.fixture(autouse=True)
def exact_laws(monkeypatch):
    refine_quadrature(monkeypatch)


def every_ordered_sample(q, p, n, k, s):
    """(CodeSet of all ordered samples of s of the K^N codes, their probabilities): the sets as draw_set makes them."""
    codes = exact.all_codes(n, k)
    q_b = exact.code_probs(p, codes)
    samples = exact.ordered_samples(len(codes), s)
    law = log_probs(q)
    psi = numpy.sum(numpy.stack([law[i, codes[:, i]] for i in range(n)], axis=-1), axis=-1)
    return code_set(codes[samples], psi[samples]), exact.ordered_probs(q_b, samples), q_b


CASES = [(1, 6, 4), (2, 3, 3), (1, 3, 2), (3, 2, 2), (2, 2, 3), (1, 6, 5), (2, 3, 4), (1, 4, 4)]


# ---- unbiased ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kool_direct", [False, True])
@pytest.mark.parametrize("kind", ["gumbel_softmax", "igr_i"])
@pytest.mark.parametrize(("n", "k", "s"), CASES)
def test_exactly_unbiased_by_enumeration(kind, n, k, s, kool_direct):
    """All (K^N)!/(K^N - S)! ordered samples, each weighed by its probability; value, KL, gradient, decoder weights.

    Covers audit unordered-set (6 categories, S = 4) and the case S = K^N, in which the set is the whole law.
    """
    rng = numpy.random.default_rng((41, n, k, s))
    q, p, jacobians, _ = model(kind, rng, n, k)
    codes = exact.all_codes(n, k)
    table = 10 + 3 * rng.standard_normal(len(codes))
    drawn, probability, _ = every_ordered_sample(q, p, n, k, s)
    assert abs(probability.sum() - 1) < 1e-12
    if s < k**n:  # no sample in which the estimator gives up exactness
        assert numpy.max(numpy.sum(numpy.exp(drawn.log_p), axis=-1)) < 1 - SATURATED
    estimate = from_set(q, drawn, exact.table_function(table, n, k), "uniform", kool_direct)
    want, want_grads = exact.expectation(p, table), exact.expectation_gradient(p, jacobians, table)
    kl, kl_grads = exact.kl_uniform(p, jacobians)
    probability = probability.astype(float)
    labels = dict(equation=f"{EQUATION}, expectation ({kind})", oracle="enumeration of all ordered samples")
    labels["function"] = f"{MODULE}.unordered_set" + (" (kool_direct)" if kool_direct else "")
    gradcheck.check(probability @ estimate.value, want, **labels)
    gradcheck.check(probability @ (estimate.value + estimate.kl), want + kl, **labels)
    for name, grads in estimate.grads.items():
        grads = numpy.broadcast_to(grads, (len(probability), *grads.shape[-2:]))
        got = numpy.tensordot(probability, grads, 1)
        gradcheck.check(got, want_grads[name] + kl_grads[name], **labels)
    # the decoder's gradient: any function of b, weighed by p_i R_i
    other = numpy.random.default_rng(42).standard_normal(len(codes))
    position = drawn.codes @ (k ** numpy.arange(n - 1, -1, -1))
    got = probability @ numpy.sum(drawn.weights * other[position], axis=-1)
    gradcheck.check(
        got, exact.expectation(p, other), scale=1.0, equation=EQUATION,
        function=f"{MODULE}.code_set (weights)", oracle="enumeration of all ordered samples",
    )  # fmt: skip
    assert abs(probability @ numpy.sum(drawn.weights, axis=-1) - 1) < 1e-12


def test_weights_of_every_set_sum_to_one():
    """P_0(T) = sum_i p_i P_{p_i}(T - i) gives sum_i p_i R_i = 1, and P_{p_i}(T - i) likewise sum_j p_j R_ij = 1.

    So a constant added to f moves the value by that constant and no gradient, set by set; and Kool's way with the KL
    is the same estimate, not a noisier one.
    """
    for n, k, s in CASES:
        rng = numpy.random.default_rng((43, n, k, s))
        q, p, _, _ = model("gumbel_softmax", rng, n, k)
        drawn, _, _ = every_ordered_sample(q, p, n, k, s)
        assert numpy.max(numpy.abs(numpy.sum(drawn.weights, axis=-1) - 1)) < 1e-12
        assert numpy.max(numpy.abs(numpy.sum(drawn.baseline_weights, axis=-1) - 1)) < 1e-12
        table = rng.standard_normal(k**n)
        first = from_set(q, drawn, exact.table_function(table, n, k), "uniform")
        second = from_set(q, drawn, exact.table_function(table, n, k), "uniform", kool_direct=True)
        shifted = from_set(q, drawn, exact.table_function(table + 3, n, k), "uniform")
        assert numpy.allclose(first.value + 3, shifted.value, rtol=0, atol=1e-12)
        for other in (second, shifted):
            assert numpy.allclose(first.kl, other.kl, rtol=1e-12, atol=0)
            assert numpy.allclose(first.grads["log_alpha"], other.grads["log_alpha"], rtol=0, atol=1e-12)


def test_trap_baseline_without_the_own_term_is_biased():
    """R_ii = 1 belongs into beta_i: without p_i f_i the enumeration above would fail, so it can."""
    rng = numpy.random.default_rng(44)
    q, p, jacobians, _ = model("gumbel_softmax", rng, 1, 6)
    table = 5 + rng.standard_normal(6)
    drawn, probability, _ = every_ordered_sample(q, p, 1, 6, 4)
    f = exact.table_function(table, 1, 6)
    want = exact.expectation_gradient(p, jacobians, table)["log_alpha"].astype(float)
    eye = numpy.eye(4)
    broken = type(drawn)(drawn.codes, drawn.log_p, drawn.weights, drawn.baseline_weights * (1 - eye))
    for one, biased in ((drawn, False), (broken, True)):
        mean = numpy.tensordot(probability.astype(float), from_set(q, one, f).grads["log_alpha"], 1)
        assert (numpy.linalg.norm(mean - want) > 1e-2 * numpy.linalg.norm(want)) == biased


def test_smaller_variance_than_independent_samples():
    """Exact variances by enumeration, N = 1, K = 6, S = 4: below that of the leave-one-out score function."""
    rng = numpy.random.default_rng(45)
    q, p, _, _ = model("gumbel_softmax", rng, 1, 6)
    table = rng.standard_normal(6)
    drawn, probability, _ = every_ordered_sample(q, p, 1, 6, 4)
    grads = from_set(q, drawn, exact.table_function(table, 1, 6)).grads["log_alpha"][:, 0]
    mean = probability.astype(float) @ grads
    ours = float(probability @ numpy.sum((grads - mean) ** 2, axis=-1))
    tuples = numpy.array(list(itertools.product(range(6), repeat=4)))
    weight = numpy.prod(p[0][tuples], axis=-1).astype(float)
    value = table[tuples]
    advantage = (value - value.mean(axis=-1, keepdims=True)) * 4 / 3
    score = numpy.eye(6)[tuples] - p[0].astype(float)
    theirs = numpy.mean(advantage[..., None] * score, axis=1)
    variance = float(weight @ numpy.sum((theirs - weight @ theirs) ** 2, axis=-1))
    assert numpy.allclose(weight @ theirs, mean) and ours < variance


# ---- ratios --------------------------------------------------------------------------------------------------------


def random_probabilities(rng, s):
    """s probabilities that leave something over: flat, uneven, or with entries of 1e-30 and below."""
    spread = [0.3, 2.0, 30.0][rng.integers(3)]
    logs = spread * rng.standard_normal(s + 2)
    p = numpy.exp(LONG(logs) - LONG(logs).max())
    return (p / p.sum())[:s]


def test_leave_out_ratios_against_the_sum_over_orders():
    count = 0
    for seed in range(400):
        rng = numpy.random.default_rng((46, seed))
        s = int(rng.integers(2, 6))
        p = random_probabilities(rng, s)
        left = 1 - p.sum()
        if left < 2 * SATURATED:
            continue
        psi = numpy.log(p).astype(float)
        p = numpy.exp(LONG(psi))  # the oracle sees what the function is given
        log_r, log_r_pair = leave_out_log_ratios(psi)
        want, want_pair = exact.leave_out_ratios(p)
        # inputs alone determine it: 1 - sum p has relative error eps/(1 - sum p), in up to S - 1 factors
        tolerance = 1e-13 + 10 * numpy.finfo(float).eps / float(left)
        # a ratio R is known to the absolute error of its logarithm
        labels = dict(equation=f"{EQUATION}, ratios", oracle="longdouble sum over all orders", scale=1.0)
        gradcheck.check(log_r, numpy.log(want), tolerance, function=f"{MODULE}.leave_out_log_ratios", **labels)
        gradcheck.check(
            log_r_pair, numpy.log(want_pair), tolerance, function=f"{MODULE}.leave_out_log_ratios", **labels
        )
        excluded = float(rng.uniform(0, 0.9)) * float(left)
        got = log_set_prob(psi, numpy.log(excluded))
        want = numpy.log(exact.set_prob(p, LONG(excluded)))
        gradcheck.check(got, want, tolerance * 10, function=f"{MODULE}.log_set_prob", **labels)
        drawn = code_set(numpy.zeros((s, 1), int), psi)
        assert numpy.array_equal(numpy.diag(drawn.baseline_weights), numpy.exp(psi))  # R_ii = 1
        count += 1
    assert count > 250


def test_set_probability_is_that_of_drawing_without_replacement():
    """sum over sets of P_0(T) = 1, and P_0 of all is 1 as the order no longer matters."""
    p = numpy.array([0.4, 0.3, 0.2, 0.06, 0.04])
    for s in (1, 2, 3, 4):
        total = sum(math.exp(log_set_prob(numpy.log(p[list(t)]))) for t in itertools.combinations(range(5), s))
        assert abs(total - 1) < 1e-13


def test_weights_where_the_probabilities_underflow():
    """p_i = e^-2000: p_i R_i is still 1/S for equal codes, though p_i is 0 and R_i infinite in floating point."""
    drawn = code_set(numpy.zeros((4, 1), int), numpy.full(4, -2000.0))
    assert numpy.allclose(drawn.weights, 0.25, rtol=1e-12)
    off = drawn.baseline_weights[~numpy.eye(4, dtype=bool)]
    assert numpy.allclose(off, 1 / 3, rtol=1e-12) and numpy.all(numpy.diag(drawn.baseline_weights) == 0)


def test_ratios_are_1_where_the_set_is_nearly_everything():
    """sum p > 1 - 1e-5: the value is sum p f, and no logarithm of zero or of a negative number is taken."""
    for p in ([0.6, 0.3, 0.1], [1.0, 0.0, 0.0], [1 - 1e-6, 5e-7, 1e-30], [0.5, 0.5 - 0.9e-5, 0.0]):
        with numpy.errstate(divide="ignore"):
            psi = numpy.log(numpy.array(p))
        log_r, log_r_pair = leave_out_log_ratios(psi)
        assert numpy.all(log_r == 0) and numpy.all(log_r_pair == 0)
    log_r, _ = leave_out_log_ratios(numpy.log([0.5, 0.3, 0.2 - 2e-5]))
    assert numpy.all(log_r != 0)
    # beside others in a batch
    both = leave_out_log_ratios(numpy.log([[0.5, 0.3, 0.2], [0.5, 0.3, 0.1]]))
    assert numpy.all(both[0][0] == 0) and numpy.array_equal(
        both[0][1], leave_out_log_ratios(numpy.log([0.5, 0.3, 0.1]))[0]
    )


def test_bias_of_the_saturated_case_is_bounded_by_what_it_leaves_out():
    """A law with 1e-6 outside the likeliest S codes: the enumerated mean is within 1e-6 of the exact gradient."""
    log_alpha = numpy.log(numpy.array([[0.5, 0.3, 0.2, 5e-7, 5e-7]]))
    q, (p, jacobians) = GumbelSoftmax(log_alpha, 1.0), exact.softmax_law(log_alpha)
    table = numpy.array([1.0, -2.0, 0.5, 1.5, -1.0])
    drawn, probability, _ = every_ordered_sample(q, p, 1, 5, 3)
    estimate = from_set(q, drawn, exact.table_function(table, 1, 5))
    got = numpy.tensordot(probability.astype(float), estimate.grads["log_alpha"], 1)
    want = exact.expectation_gradient(p, jacobians, table)["log_alpha"].astype(float)
    error = numpy.max(numpy.abs(got - want))
    assert 0 < error < 1e-5


# ---- the sampler ---------------------------------------------------------------------------------------------------


def test_conditioned_gumbels_against_mpmath():
    """-log(e^-G - e^-Z + e^-g) at 50 digits; the largest becomes G exactly, and everything else is below it."""
    worst = 0.0
    for seed in range(300):
        rng = numpy.random.default_rng((47, seed))
        k = int(rng.integers(2, 12))
        g = [1.0, 10.0, 300.0][rng.integers(3)] * rng.standard_normal(k) - rng.exponential(5)
        if seed % 5 == 0:
            g[-1] = numpy.nextafter(g[:-1].max(), -numpy.inf)  # a near tie for the maximum
        top = numpy.array([[1.0, 50.0][rng.integers(2)] * rng.standard_normal()])
        got = conditioned(g, top)
        assert got[numpy.argmax(g)] == top[0] and numpy.all(got <= top[0])
        with mpmath.workdps(400):
            big_z, big_g = mpmath.mpf(float(g.max())), mpmath.mpf(float(top[0]))
            for i in range(k):
                want = -mpmath.log(mpmath.exp(-big_g) - mpmath.exp(-big_z) + mpmath.exp(-mpmath.mpf(float(g[i]))))
                # differences of the inputs are known to eps times their size
                size = max(abs(float(want)), abs(g[i]), abs(g.max()), abs(top[0]), 1)
                worst = max(worst, abs(float(want - mpmath.mpf(float(got[i])))) / size)
    ledger.record(f"{EQUATION}, conditioned Gumbels", f"{MODULE}.conditioned", "mpmath", worst, "relative", 300)
    assert worst < 1e-14


def test_one_variable_is_plain_gumbel_top_s():
    """For N = 1 conditioning keeps the order: the set is the top S of log P + Gumbel, draw by draw, in order."""
    rng = numpy.random.default_rng(48)
    for k, s in ((6, 4), (10, 5), (1000, 4), (4, 4)):
        log_p = log_probs(GumbelSoftmax(3 * rng.standard_normal((1, k)), 1.0))
        draws = noise.gumbel(rng, (500, 1, s, k))
        codes, psi = beam_search(log_p, draws)
        want = numpy.argsort(-(log_p[0] + draws[:, 0, 0]), axis=-1)[:, :s]
        assert numpy.array_equal(codes[..., 0], want)
        assert numpy.array_equal(psi, log_p[0][want])


def test_codes_are_distinct_and_psi_is_their_log_probability():
    rng = numpy.random.default_rng(49)
    for n, k, s in ((1, 4, 4), (2, 2, 4), (3, 2, 5), (20, 10, 4), (5, 3, 7)):
        log_p = log_probs(GumbelSoftmax(2 * rng.standard_normal((50, n, k)), 1.0))
        codes, psi = beam_search(log_p, noise.gumbel(rng, (50, n, s, k)))
        assert codes.shape == (50, s, n) and psi.shape == (50, s)
        for row in codes:
            assert len({tuple(code) for code in row}) == s
        want = numpy.take_along_axis(log_p[:, None], codes[..., None], axis=-1)[..., 0].sum(axis=-1)
        assert numpy.allclose(psi, want, rtol=1e-13, atol=1e-13)


DRAWS = 200_000
# 5 sigma two-sided is 6e-7 for each cell; the three comparisons below have 81 + 504 + 504 cells, so that together they
# raise a false alarm with probability below 7e-4 for a random seed. The seeds are fixed.
SIGMAS = 5.0


def numbers(codes, k):
    """Codes (..., S, N) as numbers of the flattened law."""
    return codes @ (k ** numpy.arange(codes.shape[-1] - 1, -1, -1))


def law_of_two_variables():
    rng = numpy.random.default_rng(50)
    log_alpha = 0.4 * rng.standard_normal((2, 3))
    return log_probs(GumbelSoftmax(log_alpha, 1.0)), exact.code_probs(
        exact.softmax_law(log_alpha)[0], exact.all_codes(2, 3)
    )


def frequencies(sets, m):
    """Counts of ordered samples (draws, S) of m items, one cell for each ordered sample."""
    cells = numbers(sets, m)
    table = numpy.bincount(cells, minlength=m ** sets.shape[-1])
    return table[numbers(exact.ordered_samples(m, sets.shape[-1]), m)]


def test_law_of_the_ordered_samples_against_exact_enumeration():
    """N = 2, K = 3, S = 3: all 504 ordered samples of 9 codes, cell by cell and by chi-square."""
    log_p, q_b = law_of_two_variables()
    codes, _ = beam_search(log_p, noise.gumbel(numpy.random.default_rng(51), (DRAWS, 2, 3, 3)))
    counts = frequencies(numbers(codes, 3), 9)
    want = exact.ordered_probs(q_b, exact.ordered_samples(9, 3)).astype(float) * DRAWS
    assert counts.sum() == DRAWS and want.min() > 20
    deviation = numpy.max(numpy.abs(counts - want) / numpy.sqrt(want))
    statistic = float(numpy.sum((counts - want) ** 2 / want))
    ledger.record(
        f"{EQUATION}, ordered samples", f"{MODULE}.beam_search", "exact law, 200,000 draws", deviation, "sigma", 504
    )
    assert deviation < SIGMAS
    assert 1e-4 < scipy.stats.chi2.sf(statistic, 503) < 1 - 1e-4


def test_inclusion_probabilities_against_exact_enumeration():
    """The probability that a code is in the set at all: summed over the ordered samples that hold it."""
    log_p, q_b = law_of_two_variables()
    samples = exact.ordered_samples(9, 3)
    ordered = exact.ordered_probs(q_b, samples).astype(float)
    for seed in range(9):
        codes, _ = beam_search(log_p, noise.gumbel(numpy.random.default_rng((52, seed)), (20_000, 2, 3, 3)))
        flat = numbers(codes, 3)
        for b in range(9):
            want = ordered[numpy.any(samples == b, axis=-1)].sum()
            got = numpy.mean(numpy.any(flat == b, axis=-1))
            assert abs(got - want) < SIGMAS * math.sqrt(want * (1 - want) / 20_000)


def test_law_of_the_ordered_samples_against_plain_gumbel_top_s():
    """The flattened law over K^N = 9 codes, one Gumbel a code, the S largest: two samples of the same law."""
    log_p, q_b = law_of_two_variables()
    codes, _ = beam_search(log_p, noise.gumbel(numpy.random.default_rng(53), (DRAWS, 2, 3, 3)))
    ours = frequencies(numbers(codes, 3), 9)
    perturbed = numpy.log(q_b).astype(float) + noise.gumbel(numpy.random.default_rng(54), (DRAWS, 9))
    plain = frequencies(numpy.argsort(-perturbed, axis=-1)[:, :3], 9)
    deviation = numpy.max(numpy.abs(ours - plain) / numpy.sqrt(numpy.maximum(ours + plain, 1)))
    ledger.record(
        f"{EQUATION}, ordered samples",
        f"{MODULE}.beam_search",
        "plain Gumbel top-S, 200,000 draws",
        deviation,
        "sigma",
        504,
    )
    assert deviation < SIGMAS
    statistic = float(numpy.sum((ours - plain) ** 2 / numpy.maximum(ours + plain, 1)))
    assert 1e-4 < scipy.stats.chi2.sf(statistic, 503) < 1 - 1e-4


def test_the_checks_of_the_law_can_fail():
    """A search without the conditioning step (children perturbed afresh) is far outside 5 sigma."""
    log_p, q_b = law_of_two_variables()
    rng = numpy.random.default_rng(55)
    first = log_p[0] + noise.gumbel(rng, (DRAWS, 3))
    children = (log_p[0][:, None] + log_p[1]) + noise.gumbel(rng, (DRAWS, 3, 3)) + 0.3 * first[..., None]
    flat = numpy.argsort(-children.reshape(DRAWS, 9), axis=-1)[:, :3]
    counts, want = frequencies(flat, 9), exact.ordered_probs(q_b, exact.ordered_samples(9, 3)).astype(float) * DRAWS
    assert numpy.max(numpy.abs(counts - want) / numpy.sqrt(want)) > 2 * SIGMAS


def test_mean_of_the_whole_estimator_from_its_own_draws():
    """Noise in, gradient out: the mean of 40,000 sets within 5 standard errors of the exact gradient, each entry."""
    for kind in ("gumbel_softmax", "igr_i"):
        rng = numpy.random.default_rng(56)
        q, p, jacobians, _ = model(kind, rng, 2, 3)
        table = rng.standard_normal(9)
        estimate = unordered_set(q, noise.gumbel(rng, (40_000, 2, 3, 3)), exact.table_function(table, 2, 3), "uniform")
        _, kl_grads = exact.kl_uniform(p, jacobians)
        want = exact.expectation_gradient(p, jacobians, table)
        for name, grads in estimate.grads.items():
            error = numpy.std(grads, axis=0) / 200 + 1e-12
            assert numpy.all(numpy.abs(grads.mean(axis=0) - want[name] - kl_grads[name]) < SIGMAS * error)


# ---- extremes, dtypes, shapes, errors ------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [math.log(1e30), 400.0, 2000.0])
def test_probabilities_of_1e_30_and_far_below(gap):
    """Sets must be filled up with codes of probability 1e-30, or of probability 0 in floating point: all finite."""
    log_alpha = numpy.array([[0.0, -gap, -2 * gap], [0.3, 0.0, -gap]])
    q, (p, jacobians) = GumbelSoftmax(log_alpha, 1.0), exact.softmax_law(log_alpha)
    table = numpy.arange(9.0)
    draws = noise.gumbel(numpy.random.default_rng(57), (50, 2, 4, 3))
    estimate = unordered_set(q, draws, exact.table_function(table, 2, 3), "uniform")
    want = exact.expectation_gradient(p, jacobians, table)["log_alpha"]
    kl, kl_grads = exact.kl_uniform(p, jacobians)
    # the two likely codes leave 1e-30 or less outside: every set gives the exact answer
    assert numpy.allclose(estimate.value, float(exact.expectation(p, table)), rtol=1e-14)
    assert numpy.allclose(estimate.grads["log_alpha"], (want + kl_grads["log_alpha"]).astype(float), rtol=0, atol=1e-14)
    assert numpy.allclose(estimate.kl, float(kl))


def test_categories_that_never_occur_leave_empty_slots():
    """log P = -inf: fewer than S codes are possible, the rest of the set carries weight 0."""
    log_p = numpy.array([[0.0, -numpy.inf, -numpy.inf], [math.log(0.25), math.log(0.75), -numpy.inf]])
    codes, psi = beam_search(log_p, noise.gumbel(numpy.random.default_rng(58), (20, 2, 4, 3)))
    drawn = code_set(codes, psi)
    assert numpy.all(numpy.sum(psi > -numpy.inf, axis=-1) == 2)
    assert numpy.allclose(numpy.sort(drawn.weights, axis=-1), [0, 0, 0.25, 0.75])
    assert numpy.all(numpy.isfinite(drawn.baseline_weights))


@pytest.mark.parametrize("kind", ["gumbel_softmax", "igr_i"])
def test_float32_in_float32_out(kind):
    rng = numpy.random.default_rng(59)
    for _ in range(20):
        n, k = int(rng.integers(1, 4)), int(rng.integers(4, 8))
        q, _, _, _ = model(kind, rng, n, k)
        low = {name: value.astype(numpy.float32) for name, value in q.params.items()}
        high = {name: value.astype(numpy.float64) for name, value in low.items()}
        build = GumbelSoftmax if kind == "gumbel_softmax" else igr_i
        draws = noise.gumbel(rng, (5, n, 4, k), numpy.float32)
        table = rng.standard_normal(k**n).astype(numpy.float32)
        f = exact.table_function(table, n, k)
        for direct in (False, True):
            got = unordered_set(build(*low.values(), 0.5), draws, f, "uniform", direct)
            want = unordered_set(build(*high.values(), 0.5), draws.astype(float), f, "uniform", direct)
            assert got.value.dtype == got.kl.dtype == numpy.float32
            labels = dict(equation=EQUATION, function=f"{MODULE}.unordered_set", oracle="float64", dtype=numpy.float32)
            gradcheck.check(got.value, want.value, scale=0.1, **labels)
            for name, bar in got.grads.items():
                gradcheck.check(bar, want.grads[name], scale=0.1, **labels)


def test_shapes_and_the_axis_of_the_codes():
    """f sees (S, ..., N, K), or the codes where sample_axis says; broadcast laws; every image on its own."""
    rng = numpy.random.default_rng(60)
    log_alpha, c = rng.standard_normal((2, 5, 3, 4)), rng.standard_normal((3, 4))  # (R, B, N, K)
    draws = noise.gumbel(rng, (2, 5, 3, 4, 4))
    seen = []

    def f(b):
        seen.append(b.shape)
        return numpy.exp(numpy.sum(c * b, axis=(-1, -2))), None

    first = unordered_set(GumbelSoftmax(log_alpha, 1.0), draws, f, "uniform")
    second = unordered_set(GumbelSoftmax(log_alpha, 1.0), draws, f, "uniform", sample_axis=-2)
    third = unordered_set(GumbelSoftmax(log_alpha, 1.0), draws, f, "uniform", sample_axis=1)
    assert seen == [(4, 2, 5, 3, 4), (2, 4, 5, 3, 4), (2, 4, 5, 3, 4)]
    for one in (second, third):
        assert numpy.array_equal(first.value, one.value) and numpy.array_equal(first.kl, one.kl)
        assert numpy.array_equal(first.grads["log_alpha"], one.grads["log_alpha"])
    assert first.value.shape == first.kl.shape == (2, 5) and first.grads["log_alpha"].shape == (2, 5, 3, 4)
    alone = unordered_set(GumbelSoftmax(log_alpha[1, 2], 1.0), draws[1, 2], f, "uniform")
    assert numpy.allclose(alone.grads["log_alpha"], first.grads["log_alpha"][1, 2], rtol=1e-13, atol=1e-14)
    assert numpy.allclose(alone.value, first.value[1, 2], rtol=1e-13)
    # one law, several sets
    several = unordered_set(GumbelSoftmax(log_alpha[0, 0], 1.0), draws, f, "uniform", kool_direct=True)
    assert several.value.shape == (2, 5) and several.grads["log_alpha"].shape == (2, 5, 3, 4)
    # the caller's way to the decoder's weights
    drawn = draw_set(GumbelSoftmax(log_alpha, 1.0), draws)
    assert numpy.array_equal(from_set(GumbelSoftmax(log_alpha, 1.0), drawn, f, "uniform").value, first.value)
    assert drawn.weights.shape == (2, 5, 4) and drawn.codes.shape == (2, 5, 4, 3)


def test_bad_input_is_named():
    rng = numpy.random.default_rng(61)
    q = GumbelSoftmax(rng.standard_normal((2, 3)), 1.0)

    def f(b):
        return numpy.sum(b[..., 0], axis=-1), None

    with pytest.raises(ValueError, match="noise must be .*N, S, K.*got shape \\(3, 2, 3\\)"):
        unordered_set(q, noise.gumbel(rng, (3, 2, 3)), f)
    with pytest.raises(ValueError, match="S = 10 distinct codes were asked for, there are K\\^N = 3\\^2"):
        unordered_set(q, noise.gumbel(rng, (2, 10, 3)), f)
    with pytest.raises(ValueError, match="S >= 2"):
        unordered_set(q, noise.gumbel(rng, (2, 1, 3)), f)
    with pytest.raises(ValueError, match="p must be None or 'uniform'"):
        unordered_set(q, noise.gumbel(rng, (2, 4, 3)), f, p=1.0)
    sticks = igr_sb(rng.standard_normal((2, 2)), rng.standard_normal((2, 2)), 1.0)
    with pytest.raises(TypeError, match="IGR-I"):
        unordered_set(sticks, noise.gumbel(rng, (2, 4, 3)), f)
