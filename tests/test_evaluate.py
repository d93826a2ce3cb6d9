"""Scores of a model small enough to enumerate: 2 variables of 3 categories, 9 codes, 5 pixels."""

from __future__ import annotations

import dataclasses
import itertools
import math
import tracemalloc

import numpy
import pytest

from experiments import codes, evaluate, fitted_prior, plan
from igr_ref import Categorical, models, noise
from igr_ref.distributions import IGR
from igr_ref.numerics import logsumexp

CODES = list(itertools.product(range(3), repeat=2))
PRIORS = {"igr_i": {"mu": -0.3, "log_sigma": 0.1}, "igr_sb": {"mu": [-0.7, 0.1], "log_sigma": [0.2, 0.3]}, "gs": {}}


class Tiny:
    """A VAE with sharpened random weights, its images, and log p(x, b) and log P(b|x) of every code."""

    def __init__(self, kind, m, seed=0, sharpness=3.0, **options):
        self.config = plan.RunConfig(
            model=kind, n_variables=2, n_categories=3, m=m, temperature=0.5, dtype="float64", seed=seed, **options
        )
        rng = noise.generator(seed, "tiny")
        self.model = models.VAE(fitted_prior.family(self.config, PRIORS[kind]), models.Bernoulli(), 5)
        self.params = {k: sharpness * p for k, p in self.model.init(rng, "float64").items()}
        self.images = (rng.random((6, 5)) < 0.5).astype(numpy.uint8)
        x = self.images.astype(float)
        self.log_probs = evaluate.recovered_log_probs(self.config, self.model.posterior(self.params, x))
        self.log_joint = numpy.empty((6, 9))
        self.log_q = numpy.empty((6, 9))
        for c, code in enumerate(CODES):
            z = numpy.broadcast_to(numpy.eye(3)[list(code)], (6, 2, 3))
            logits = self.model.decode(self.params, z)
            self.log_joint[:, c] = (x * logits - numpy.logaddexp(0, logits)).sum(axis=-1) - 2 * math.log(3)
            self.log_q[:, c] = sum(self.log_probs[:, n, code[n]] for n in range(2))

    def scores(self):
        return evaluate.scores(self.config, self.model, self.params, self.images, lambda rows: rows.astype("float64"))


@pytest.mark.parametrize("kind", list(PRIORS))
def test_scores_against_full_enumeration(kind):
    tiny = Tiny(kind, m=40_000, sharpness=1.0)
    got = tiny.scores()
    q = numpy.exp(tiny.log_q)
    numpy.testing.assert_allclose(q.sum(axis=-1), 1, rtol=1e-7)
    log_w = numpy.where(q > 0, tiny.log_joint - tiny.log_q, 0)
    elbo = (q * log_w).sum(axis=-1)
    sd = numpy.sqrt((q * log_w**2).sum(axis=-1) - elbo**2)
    numpy.testing.assert_array_less(numpy.abs(got["discrete_elbo"] - elbo), 6 * sd / 200 + 1e-9)
    # the mean weight is p(x) where q reaches every code; for IGR-SB, p of the codes it reaches (audit last-category)
    weight = numpy.exp(log_w)
    mean = (q * weight).sum(axis=-1)
    spread = numpy.sqrt((q * weight**2).sum(axis=-1) - mean**2) / mean
    numpy.testing.assert_array_less(numpy.abs(got["loglik"] - numpy.log(mean)), 6 * spread / 200 + 1e-9)
    if kind != "igr_sb":
        numpy.testing.assert_allclose(numpy.log(mean), logsumexp(tiny.log_joint), rtol=1e-9)
    kl = (q * numpy.where(q > 0, tiny.log_q + 2 * math.log(3), 0)).sum(axis=-1)
    numpy.testing.assert_allclose(got["kl"], kl, rtol=1e-6)  # where the quadrature's sum is off by 1e-8
    ess = 40_000 * mean**2 / (q * weight**2).sum(axis=-1)
    numpy.testing.assert_allclose(got["ess"], ess, rtol=0.2)


def test_as_published_is_not_a_bound():
    """With a posterior that finds the codes the decoder likes, the published metric passes log p(x)."""
    tiny = Tiny("gs", m=5000, sharpness=4.0)
    tiny.model.posterior = lambda params, x: exact  # the exact factor-wise best proposal is enough to show it
    joint = tiny.log_joint - logsumexp(tiny.log_joint, keepdims=True)
    marginals = numpy.stack([
        numpy.stack([numpy.exp(joint[:, [c for c, code in enumerate(CODES) if code[n] == k]]).sum(axis=-1)
                     for k in range(3)], axis=-1) for n in range(2)], axis=1)  # fmt: skip
    from igr_ref import GumbelSoftmax

    exact = GumbelSoftmax(numpy.log(marginals), 0.5)
    got = tiny.scores()
    truth = logsumexp(tiny.log_joint)
    assert (got["loglik"] <= truth + 0.1).all()
    assert (got["as_published"] > truth).mean() > 0.8


def test_iwae_tightens_with_m_and_stays_below_the_truth_on_average():
    bounds = []
    for m in (1, 10, 300):
        tiny = Tiny("igr_i", m=m)
        many = [dataclasses.replace(tiny.config, seed=s) for s in range(40)]
        values = []
        for config in many:
            tiny.config = config
            values.append(tiny.scores()["loglik"].mean())
        bounds.append(numpy.mean(values))
    truth = logsumexp(tiny.log_joint).mean()
    assert bounds[0] < bounds[1] < bounds[2] < truth + 0.02


def test_an_image_s_codes_do_not_depend_on_the_others():
    tiny = Tiny("gs", m=30)
    whole = tiny.scores()
    tiny.images = tiny.images[:2]
    part = tiny.scores()
    for name in ("discrete_elbo", "loglik", "as_published", "ess"):
        numpy.testing.assert_array_equal(part[name], whole[name][:2])


def test_blocks_do_not_change_the_scores(monkeypatch):
    tiny = Tiny("igr_i", m=50)
    whole = tiny.scores()
    for rows, block in ((7, 4000), (50, 13), (3, 7), (1_000_000, 50)):
        monkeypatch.setattr(codes, "ROWS", rows)
        monkeypatch.setattr(codes, "BLOCK", block)
        for name, value in tiny.scores().items():
            numpy.testing.assert_allclose(value, whole[name], rtol=1e-10)


def test_continuous_elbos_are_kept_in_order():
    tiny = Tiny("gs", m=5)
    args = (tiny.config, tiny.model, tiny.params, tiny.images, lambda rows: rows.astype("float64"))
    got = evaluate.scores(*args, continuous=lambda x, rng: x.sum(axis=-1))
    numpy.testing.assert_array_equal(got["continuous_elbo"], tiny.images.sum(axis=-1))
    assert "continuous_elbo" not in evaluate.summary(evaluate.scores(*args))


def test_summary_has_standard_errors_over_images():
    scores = {
        name: numpy.arange(4.0) for name in ("continuous_elbo", "discrete_elbo", "loglik", "as_published", "kl", "ess")
    }
    out = evaluate.summary(scores)
    assert out["loglik"] == {"mean": 1.5, "se": pytest.approx(numpy.std(range(4), ddof=1) / 2)}
    assert out["ess"] == {"mean": 1.5, "median": 1.5, "min": 0.0}


def test_recovered_law_of_gs_is_its_softmax():
    tiny = Tiny("gs", m=5)
    law = Categorical(tiny.log_probs)
    assert law.probs.shape == (6, 2, 3)


def test_a_category_of_probability_zero_is_never_drawn():
    """Not even by a u of 1 - 2^-24 against a cdf that rounding left below 1."""
    probs = numpy.array([[0.1, 0.2, 0.3, 0.4 - 1e-9, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0], [0.3, 0.0, 0.0, 0.7, 0.0]])
    with numpy.errstate(divide="ignore"):
        log_probs = numpy.log(probs)
    grid = numpy.concatenate([numpy.linspace(1e-7, 1 - 1e-7, 1001), [2.0**-25, 1 - 2.0**-24]]).astype("f4")
    u = numpy.stack([grid] * 3, axis=-1)
    code = (u[..., None] >= codes.thresholds(log_probs)).sum(axis=-1)
    assert numpy.isfinite(log_probs[numpy.arange(3), code]).all()
    numpy.testing.assert_array_equal(code, Categorical(numpy.log(numpy.maximum(probs, 1e-300)), 1e-6).index(u))


def test_log_probabilities_of_codes_from_their_indicators():
    rng = numpy.random.default_rng(8)
    probs = rng.dirichlet(0.1 * numpy.ones(5), (4, 3))
    probs[0, 0] = 0.5, 0, 0, 0.5, 0
    with numpy.errstate(divide="ignore"):
        log_probs = numpy.log(probs)
    u = noise.uniform(rng, (4, 200, 3), "float32")
    above = u[..., None] >= codes.thresholds(log_probs)[:, None]
    want = numpy.take_along_axis(log_probs[:, None], above.sum(axis=-1)[..., None], axis=-1)[..., 0].sum(axis=-1)
    d, start = codes.differences(log_probs, "float64")
    got = start[:, None] + numpy.einsum("nd,nsd->ns", d[:, :-1], above.reshape(4, 200, -1))
    numpy.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_log_sums_of_blocks():
    rng = numpy.random.default_rng(9)
    a = 40 * rng.standard_normal((5, 300)) + 1000 * rng.standard_normal((5, 1))
    total = evaluate.LogSum(5)
    for block in numpy.split(a, [1, 7, 250], axis=-1):
        total.add(block)
    numpy.testing.assert_allclose(total.log_mean(300), logsumexp(a) - math.log(300), rtol=1e-13)
    want = numpy.exp(2 * logsumexp(a) - logsumexp(2 * a))
    numpy.testing.assert_allclose(total.sum**2 / total.sum_of_squares, want, rtol=1e-10)


@pytest.mark.parametrize("architecture", ["linear", "nonlinear"])
def test_scores_in_float32_are_within_a_thousandth_of_a_nat(architecture):
    """At full size, with logits as large as a trained decoder's, against the same codes scored in float64."""
    config = plan.RunConfig(model="gs", architecture=architecture, m=200, temperature=0.5)
    rng = noise.generator(4, "scores")
    model = models.VAE(fitted_prior.family(config, {}), models.Bernoulli(), 784, architecture)
    params = {name: (2.5 if "decoder" in name else 1.0) * p for name, p in model.init(rng, "float64").items()}
    params["decoder.0.bias"] = params["decoder.0.bias"] - 4.0
    images = (rng.random((4, 784)) < 0.2).astype(numpy.uint8)
    got = {}
    for dtype in ("float32", "float64"):
        cast = {name: p.astype("float32").astype(dtype) for name, p in params.items()}
        exact = model.posterior({k: p.astype("float32") for k, p in params.items()}, images.astype("float32"))
        model.posterior = lambda params, x, exact=exact: exact
        got[dtype] = evaluate.scores(
            dataclasses.replace(config, dtype=dtype), model, cast, images, lambda rows, dtype=dtype: rows.astype(dtype)
        )
    for name in ("discrete_elbo", "loglik", "as_published"):
        assert numpy.abs(got["float32"][name] - got["float64"][name]).max() < 1e-3, name


def test_scoring_needs_memory_for_a_block_not_for_all_codes():
    tiny = Tiny("gs", m=20_000)
    peaks = []
    for m in (20_000, 200_000):
        tiny.config = dataclasses.replace(tiny.config, m=m)
        tracemalloc.start()
        tiny.scores()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0], peaks


def test_laws_too_wild_for_their_quadrature_are_simulated_and_said_to_be():
    tiny = Tiny("igr_sb", 10, law_draws=500)
    q = tiny.model.posterior(tiny.params, tiny.images.astype(float))
    wild = IGR(q.mu, q.log_sigma + math.log(1e5), q.transform)
    with pytest.warns(UserWarning, match="the laws of 6 images are simulated, not exact: IGR-SB: a law is resolved"):
        got = evaluate.recovered_log_probs(tiny.config, wild)
    counts = 500 * numpy.exp(got)
    assert numpy.allclose(counts, numpy.round(counts)) and not numpy.allclose(500 * numpy.exp(tiny.log_probs) % 1, 0)
