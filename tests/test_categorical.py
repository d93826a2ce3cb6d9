"""The categorical law: entropy and KL with their pullbacks, inverse-cdf sampling and its edge cases."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import mpmath
import numpy
import pytest
import scipy.special
import scipy.stats

from igr_ref import Categorical

from . import density_checks, ledger
from .gradcheck import autograd_vjp, check, configurations

LONG = numpy.longdouble
NAME = "distributions.Categorical"


def _cases(n, seed, categories=(2, 3, 10, 100, 10, 1000)):
    """n seeded (rng, logits): nearly uniform, moderate and nearly one-hot laws."""
    for i, (rng, lead, k, _) in enumerate(configurations(n, seed, categories=categories)):
        yield rng, [0.1, 1.0, 6.0][i % 3] * rng.standard_normal((*lead, k))


def _law(logits):
    return Categorical(scipy.special.log_softmax(logits, axis=-1))


def test_kl_and_its_gradients():
    label = {"equation": "KL to uniform"}
    for rng, logits in _cases(1000, 1):
        k, bar = logits.shape[-1], rng.standard_normal(logits.shape[:-1])
        law = _law(logits)
        p = numpy.exp(LONG(logits))
        p = p / p.sum(axis=-1, keepdims=True)
        kl = numpy.sum(p * numpy.log(p * k), axis=-1)
        # log K - H cancels for a law that is nearly uniform: scale 1
        check(numpy.asarray(law.kl_uniform()), kl, function=f"{NAME}.kl_uniform", oracle="longdouble", scale=1, **label)
        check(
            numpy.asarray(law.entropy()),
            numpy.log(LONG(k)) - kl,
            function=f"{NAME}.entropy",
            oracle="longdouble",
            **label,
        )
        got = law.kl_uniform_vjp_logits(bar)
        book = LONG(bar)[..., None] * p * (numpy.log(p * k) - kl[..., None])

        def by_logits(o, k=k, bar=bar):
            e = anp.exp(o)
            p = e / anp.sum(e, axis=-1, keepdims=True)
            return anp.sum(bar * anp.sum(p * anp.log(p * k), axis=-1))

        function = f"{NAME}.kl_uniform_vjp_logits"
        # log P_k - sum_j P_j log P_j is small for a nearly uniform law, of terms of order log K
        check(got, book, function=function, oracle="textbook, longdouble", scale=1e-4, **label)
        check(got, autograd_vjp(by_logits, logits)[0], function=function, oracle="autograd", scale=1e-4, **label)
        got = law.kl_uniform_vjp_probs(bar)
        want = autograd.grad(lambda p, k=k, bar=bar: anp.sum(bar * anp.sum(p * anp.log(p * k), axis=-1)))(law.probs)
        check(got, want, function=f"{NAME}.kl_uniform_vjp_probs", oracle="autograd", **label)
        check(
            got,
            LONG(bar)[..., None] * (numpy.log(p * k) + 1),
            function=f"{NAME}.kl_uniform_vjp_probs",
            oracle="longdouble",
            **label,
        )
        small = Categorical(law.log_probs.astype("f4"), tolerance=1e-3)
        got = small.kl_uniform_vjp_logits(numpy.asarray(bar, "f4"))
        check(got, book, dtype="float32", function=function, oracle="textbook, longdouble", scale=1e-1, **label)


def test_entropy_to_50_digits():
    worst = 0.0
    for _, logits in _cases(300, 2, categories=(2, 5)):
        log_p = scipy.special.log_softmax(logits.reshape(-1, logits.shape[-1])[0])
        with mpmath.workdps(50):
            # the law as given: its log-probabilities, rounded as they are
            want = -mpmath.fsum(mpmath.exp(mpmath.mpf(float(v))) * mpmath.mpf(float(v)) for v in log_p)
            worst = max(worst, float(abs(float(Categorical(log_p).entropy()) - want) / want))
    ledger.record("entropy", f"{NAME}.entropy", "mpmath, 50 digits", worst, "relative", 300)
    assert worst <= 1e-13


def test_zero_probabilities_have_no_entropy_and_no_gradient():
    """Trap: 0 log 0 = NaN."""
    law = Categorical(numpy.array([-numpy.inf, numpy.log(0.25), numpy.log(0.75)]))
    want = scipy.stats.entropy([0.25, 0.75])
    assert float(law.entropy()) == pytest.approx(want, rel=1e-15)
    assert float(law.kl_uniform()) == pytest.approx(numpy.log(3) - want, rel=1e-15)
    gradient = law.kl_uniform_vjp_logits(numpy.ones(()))
    assert gradient[0] == 0 and gradient[1] == pytest.approx(-gradient[2]) and gradient[2] > 0
    certain = Categorical(numpy.array([0.0, -numpy.inf]))
    assert certain.entropy() == 0 and numpy.all(certain.kl_uniform_vjp_logits(numpy.ones(())) == 0)


def test_kl_sign():
    """Trap: KL sign. Zero for the uniform law, log K for a certain one."""
    assert float(Categorical(numpy.full(8, -numpy.log(8.0))).kl_uniform()) == pytest.approx(0, abs=1e-15)
    assert float(Categorical(numpy.array([0.0, -numpy.inf])).kl_uniform()) == pytest.approx(numpy.log(2))


# ---- inverse-cdf sampling -------------------------------------------------------------------------------------------


def _index(p, u):
    """The first k with cdf_k > u, added up one by one."""
    total = 0.0
    for k, value in enumerate(p):
        total += value
        if total > u:
            return k
    return max(k for k, value in enumerate(p) if value > 0)


def test_index_is_the_first_cdf_above_u():
    for rng, logits in _cases(300, 3, categories=(2, 3, 10)):
        law, u = _law(logits), rng.random((5, *logits.shape[:-1]))
        got = law.index(u)
        assert got.shape == u.shape and numpy.issubdtype(got.dtype, numpy.integer)
        for at in numpy.ndindex(*u.shape):
            assert got[at] == _index(law.probs[at[1:]], u[at])
        b = law.sample(u)
        assert b.dtype == law.probs.dtype and set(numpy.unique(b)) <= {0, 1} and numpy.all(b.sum(axis=-1) == 1)
        assert numpy.array_equal(numpy.argmax(b, axis=-1), got)
        want = numpy.take_along_axis(law.log_probs + 0 * b, got[..., None], axis=-1)[..., 0]
        assert numpy.array_equal(law.log_prob(b), want)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_index_at_the_ends_of_the_interval(dtype):
    """u as near to 1 as it gets, where the last cdf value may be below u, takes the last category that can occur."""
    one = numpy.nextafter(numpy.ones((), dtype), numpy.zeros((), dtype))
    tiny = numpy.finfo(dtype).tiny
    for k in (2, 3, 7, 10, 49, 1000):
        law = Categorical(numpy.full(k, -numpy.log(k), dtype))
        assert law.index(numpy.array(one)) == k - 1 and law.index(numpy.array(tiny, dtype)) == 0
    short = Categorical(numpy.log(numpy.array([0.5, 0.499996], dtype)))  # within the tolerance
    assert short.probs.sum() < one and short.index(numpy.array(one)) == 1
    short = Categorical(numpy.append(short.log_probs, [-numpy.inf, -numpy.inf]).astype(dtype))
    assert short.index(numpy.array(one)) == 1 and short.log_prob(short.sample(numpy.array(one))) > -numpy.inf
    with numpy.errstate(divide="ignore"):
        law = Categorical(numpy.log(numpy.array([0.0, 0.5, 0.0, 0.5, 0.0], dtype)))
    got = law.index(numpy.array([tiny, 0.25, 0.5, 0.75, one], dtype))
    assert numpy.array_equal(got, [1, 1, 3, 3, 3]) and law.sample(got * 0 + numpy.array(one)).dtype == dtype


def test_categories_of_probability_zero_never_occur():
    p = numpy.array([0.0, 0.2, 0.0, 0.5, 0.3, 0.0])
    with numpy.errstate(divide="ignore"):
        law = Categorical(numpy.log(p))
    u = numpy.random.default_rng(4).random(100_000)
    label = {"equation": "inverse cdf", "function": f"{NAME}.index", "oracle": "probabilities"}
    density_checks.check_frequencies(law.index(u), p, **label)


def test_log_prob_of_a_category_that_cannot_occur_is_minus_infinity():
    law = Categorical(numpy.array([0.0, -numpy.inf]))
    assert law.log_prob(numpy.array([1.0, 0.0])) == 0 and law.log_prob(numpy.array([0.0, 1.0])) == -numpy.inf


@pytest.mark.parametrize(
    "probabilities",
    [[0.5, 0.4], [0.6, 0.5], [[0.5, 0.5], [0.5, 0.50002]], [0.0, 0.0], [numpy.nan, 1.0], [1.0, 1.0], [0.5, 0.49998]],
)
def test_probabilities_that_do_not_sum_to_one(probabilities):
    with numpy.errstate(divide="ignore"), pytest.raises(ValueError, match="must sum to 1.*off by"):
        Categorical(numpy.log(numpy.array(probabilities)))


def test_rounding_of_the_sum_is_accepted_and_nothing_is_renormalised():
    log_p = numpy.log(numpy.array([0.5, 0.500004]))
    assert numpy.array_equal(Categorical(log_p).log_probs, log_p)
    with pytest.raises(ValueError, match="off by"):
        Categorical(log_p, tolerance=1e-9)
