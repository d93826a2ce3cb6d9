"""Frequencies of a relaxation's discrete limit, against the exact laws of GS, IGR-I and IGR-SB."""

from __future__ import annotations

import numpy
import pytest

from igr_ref import GumbelSoftmax, igr_i, igr_sb, noise
from igr_ref.recovery import frequencies, gaussian_argmax, stick_breaking

from . import ledger

FUNCTION = "recovery.monte_carlo.frequencies"
K = 6


def relaxation(kind, lead, dtype=numpy.float64):
    """(q, noise width, exact P (*lead, K)) with parameters that differ from law to law."""
    rng = numpy.random.default_rng((21, len(lead)))
    if kind == "gumbel_softmax":
        log_alpha = rng.standard_normal((*lead, K)).astype(dtype)
        q = GumbelSoftmax(log_alpha, 0.5)
        return q, K, numpy.exp(q.log_probs())
    mu, log_sigma = (rng.standard_normal((*lead, K - 1)).astype(dtype) for _ in range(2))
    if kind == "igr_i":
        return igr_i(mu, log_sigma, 0.5), K - 1, gaussian_argmax.probs(mu, numpy.exp(log_sigma))
    remainder = kind == "igr_sb_remainder"
    q = igr_sb(mu, log_sigma, 0.5, remainder=remainder)
    return q, K - 1, stick_breaking.probs(mu, numpy.exp(log_sigma), remainder)


def draws(kind, m, width, dtype=numpy.float64):
    draw = noise.gumbel if kind == "gumbel_softmax" else noise.normal
    return draw(noise.generator(5, "frequencies"), (m, width), dtype)


KINDS = ("gumbel_softmax", "igr_i", "igr_sb", "igr_sb_remainder")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lead", [(), (3,), (2, 4)])
def test_frequencies_agree_with_the_exact_law(kind, lead):
    """5 sigma for each of at most 8 x 6 frequencies: a false alarm once in 3e4 runs of one case."""
    q, width, exact = relaxation(kind, lead)
    m = 200_000
    got = frequencies(q, draws(kind, m, width))
    assert type(got) is numpy.ndarray and got.shape == (*lead, K) and got.dtype == numpy.float64
    numpy.testing.assert_allclose(got.sum(axis=-1), 1, rtol=0, atol=1e-12)
    in_sigmas = numpy.abs(got - exact) / (numpy.sqrt(exact * (1 - exact) / m) + 1 / m)
    ledger.record(kind, FUNCTION, "exact law, 2e5 draws", numpy.max(in_sigmas), "standard errors", got.size)
    assert numpy.max(in_sigmas) <= 5


@pytest.mark.parametrize("kind", KINDS)
def test_frequencies_do_not_depend_on_the_chunks(kind):
    q, width, _ = relaxation(kind, (3,))
    z = draws(kind, 1001, width)
    whole = frequencies(q, z)
    for chunk in (1, 100, 3 * width * 250, 10**9):
        assert numpy.array_equal(frequencies(q, z, chunk=chunk), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_frequencies_are_those_of_discretize(kind):
    """The mean of the one-hot samples that the same noise selects: E[h(y)] (audit h-of-z)."""
    q, width, _ = relaxation(kind, ())
    z = draws(kind, 500, width)
    numpy.testing.assert_allclose(frequencies(q, z), q.discretize(z).mean(axis=0), rtol=1e-14)


def test_the_limit_is_taken_of_y_and_not_of_z():
    """audit h-of-z: z_k > 0 for every k, so h(z) never gives category K; h(y) does."""
    q, width, exact = relaxation("igr_i", (2, 4))
    z = draws("igr_i", 20_000, width)[:, None, None]
    frequent = frequencies(q, z[:, 0, 0])[..., -1].max()
    assert frequent > 0.5 * exact[..., -1].max() > 0.01
    assert numpy.all(q.sample(z)[..., :-1].max(axis=-1) > 0)


def test_igr_sb_never_draws_the_last_category():
    """audit last-category."""
    q, width, exact = relaxation("igr_sb", (2, 4))
    got = frequencies(q, draws("igr_sb", 10_000, width))
    assert numpy.all(got[..., -1] == 0) and numpy.all(exact[..., -1] == 0)


def test_float32():
    q, width, exact = relaxation("igr_i", (3,), numpy.float32)
    got = frequencies(q, draws("igr_i", 100_000, width, numpy.float32))
    assert got.dtype == numpy.float32
    assert numpy.all(numpy.abs(got - exact) <= 5 * numpy.sqrt(exact * (1 - exact) / 1e5) + 1e-5)


def test_bad_noise():
    q, width, _ = relaxation("igr_i", ())
    for z in (numpy.zeros(width), numpy.zeros((0, width)), numpy.zeros((2, 3, width))):
        with pytest.raises(ValueError, match="noise must be"):
            frequencies(q, z)
