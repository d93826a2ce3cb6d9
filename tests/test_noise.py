"""Keyed generators, and draws that suit float32: never 0, never 1, never infinite."""

from __future__ import annotations

import itertools

import numpy
import pytest
import scipy.stats

from igr_ref import noise

from .density_checks import FALSE_ALARM

PINNED = {  # of generator(0, "train", 1)
    "uint64": [2054970970952145420, 7537915055872292518, 5038644228522416165],
    "normal": [0.5769341086156398, -0.6404054731063107, 0.4328680296021341],
    "normal float32": [-0.8029394745826721, 0.7107558250427246, -0.17356008291244507],
}


class Zeros:
    """A generator whose floats are all exactly 0, which float32 ones are a few times in 1e8."""

    def random(self, shape, dtype):
        return numpy.zeros(shape, dtype)

    standard_exponential = random


class LargestBelowOne(Zeros):
    def random(self, shape, dtype):
        return numpy.full(shape, numpy.nextafter(numpy.ones((), dtype), numpy.zeros((), dtype)))


def test_the_same_key_gives_the_same_draws():
    for key in ((0, "train"), (0, "train", 7), (2**40, "", 2**31)):
        first, again = noise.generator(*key), noise.generator(*key)
        assert numpy.array_equal(first.random(100), again.random(100))


def test_different_keys_give_different_draws():
    keys = list(itertools.product((0, 1, 2), ("train", "test", "train2", ""), (0, 1, 2)))
    first = {noise.generator(*key).random() for key in keys}
    assert len(first) == len(keys)
    # neighbouring keys are uncorrelated: 5 standard errors for each of the pairs
    draws = numpy.stack([noise.generator(*key).standard_normal(10_000) for key in keys])
    correlations = numpy.corrcoef(draws)[numpy.triu_indices(len(keys), 1)]
    assert numpy.abs(correlations).max() < 5.5 / numpy.sqrt(10_000)


def test_step_defaults_to_zero_and_numpy_integers_are_keys():
    want = noise.generator(3, "a", 5).random(4)
    assert numpy.array_equal(noise.generator(numpy.int64(3), "a", numpy.int32(5)).random(4), want)
    assert noise.generator(3, "a").random() == noise.generator(3, "a", 0).random()


def test_pinned_values():
    """The draws of a key are part of every stored result: this must not change."""
    rng = noise.generator(0, "train", 1)
    assert isinstance(rng.bit_generator, numpy.random.SFC64)
    assert PINNED["uint64"] == [int(v) for v in rng.integers(2**63, size=3)]
    assert noise.normal(noise.generator(0, "train", 1), 3).tolist() == PINNED["normal"]
    assert noise.normal(noise.generator(0, "train", 1), 3, numpy.float32).tolist() == PINNED["normal float32"]


def test_negative_keys_are_refused():
    for key in ((-1, "a"), (0, "a", -1)):
        with pytest.raises(ValueError):
            noise.generator(*key)


@pytest.mark.parametrize("dtype", [numpy.float64, numpy.float32])
def test_a_uniform_that_is_exactly_zero(dtype):
    """Trap: float32 uniforms are exactly 0 at times, and their logarithm is infinite."""
    u = noise.uniform(Zeros(), (3, 2), dtype)
    step = 2.0**-24 if dtype is numpy.float32 else 2.0**-53
    assert u.dtype == dtype and u.shape == (3, 2) and numpy.all(u == dtype(step / 2))
    assert numpy.all(numpy.isfinite(numpy.log(u))) and numpy.all(numpy.isfinite(numpy.log(-numpy.log(u))))


@pytest.mark.parametrize("dtype", [numpy.float64, numpy.float32])
def test_a_uniform_is_never_rounded_up_to_one(dtype):
    """Trap: adding half a step to every draw rounds the largest to exactly 1."""
    u = noise.uniform(LargestBelowOne(), 5, dtype)
    assert u.dtype == dtype and numpy.all(u < 1) and numpy.all(numpy.isfinite(numpy.log1p(-u)))


@pytest.mark.parametrize("dtype", [numpy.float64, numpy.float32])
def test_an_exponential_that_is_exactly_zero(dtype):
    """Trap: float32 exponentials are exactly 0 at times, so that Gumbel noise is infinite."""
    g = noise.gumbel(Zeros() if dtype is numpy.float64 else LargestBelowOne(), (3, 2), dtype)
    assert g.dtype == dtype and g.shape == (3, 2) and numpy.all(numpy.isfinite(g)) and numpy.all(g > 15)
    assert numpy.all(numpy.isfinite(noise.gumbel(Zeros(), 3, dtype)))


@pytest.mark.parametrize("dtype", [numpy.float64, numpy.float32])
@pytest.mark.parametrize(
    ("draw", "law"),
    [(noise.normal, scipy.stats.norm), (noise.uniform, scipy.stats.uniform), (noise.gumbel, scipy.stats.gumbel_r)],
)
def test_draws_follow_their_law(draw, law, dtype):
    x = draw(noise.generator(1, "law"), (50, 1000), dtype)
    assert x.dtype == dtype and x.shape == (50, 1000) and numpy.all(numpy.isfinite(x))
    result = scipy.stats.kstest(x.ravel().astype(float), law.cdf)
    assert result.pvalue > FALSE_ALARM, result


def test_float64_is_the_default():
    for draw in (noise.normal, noise.uniform, noise.gumbel):
        assert draw(noise.generator(0, "a"), 2).dtype == numpy.float64


def test_an_infinite_seed_is_no_integer():
    for value in (float("inf"), float("nan")):
        with pytest.raises(ValueError, match="must be an integer"):
            noise.generator(value, "a")
