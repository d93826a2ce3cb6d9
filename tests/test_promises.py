"""Promises of docstrings that once were not kept: shapes, errors, many categories, and laws of very unequal scales."""

from __future__ import annotations

import numpy
import pytest

import igr_ref
from igr_ref import IGR, GumbelSoftmax, igr_i, igr_sb, models, noise, prior, recovery
from igr_ref.distributions import InfiniteIGR, igr_planar
from igr_ref.estimators.rebar import PairedNoise, rebar, rebar_params, variance_gradient
from igr_ref.estimators.relax import relax, relax_params
from igr_ref.models import Adam
from igr_ref.models.reconstruction import Reconstruction
from igr_ref.recovery import conditional_gumbel, gaussian_argmax
from igr_ref.recovery.drawn_single import drawn_single
from igr_ref.transforms import PlanarFlow
from igr_ref.transforms.base import check_temperature

ESTIMATORS = (igr_ref.reparameterization, igr_ref.sticking_the_landing)


def value_and_grad(z):
    weights = numpy.arange(z.shape[-1], dtype=z.dtype)
    return (z * weights).sum(axis=(-2, -1)), numpy.broadcast_to(weights, z.shape)


# ---- shapes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [lambda a, b: igr_i(a, b, 0.3), lambda a, b: igr_sb(a, b, 0.3), lambda a, b: InfiniteIGR(a, b, 0.3, 0.99)],
)
def test_category_axes_of_two_lengths_are_refused(make):
    for a, b in (((3, 1), (3, 4)), ((4,), (1,))):
        with pytest.raises(ValueError, match="category axes .* of one length"):
            make(numpy.zeros(a), numpy.zeros(b))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_prior_of_one_number_is_that_number_for_every_coordinate(estimator):
    rng = numpy.random.default_rng(0)
    flows = [PlanarFlow(*(0.3 * rng.standard_normal(s) for s in ((3, 4), (3, 4), (3,))))]
    q = igr_planar(rng.standard_normal((3, 4)), 0.3 * rng.standard_normal((3, 4)), flows, 0.5)
    draws, g = rng.standard_normal((2, 3, 4)), q.transform.links[-1]
    one, all_ = (IGR(numpy.full(n, -0.7), numpy.full(n, 0.3), g) for n in (1, 4))
    got, want = (estimator(q, draws, value_and_grad, p) for p in (one, all_))
    assert numpy.allclose(got.kl, want.kl, rtol=1e-14)
    assert all(numpy.allclose(got.grads[name], want.grads[name], rtol=1e-14) for name in want.grads)


def test_frequencies_of_parameters_that_broadcast():
    draws = numpy.random.default_rng(1).standard_normal((3, 4))
    mu, log_sigma = numpy.zeros(4), numpy.log(numpy.array([0.1, 1.0, 5.0]))[:, None] + numpy.zeros((3, 4))
    got = recovery.frequencies(igr_i(mu, log_sigma, 0.1), draws)
    want = recovery.frequencies(igr_i(mu + numpy.zeros((3, 4)), log_sigma, 0.1), draws)
    assert got.shape == (3, 5) and numpy.array_equal(got, want)


def test_shapes_may_be_lists_and_dtypes_are_those_of_the_parameters():
    rng = noise.generator(0, "lists")
    assert noise.normal(rng, [2, 3], numpy.float32).shape == (2, 3)
    log_alpha, b = numpy.zeros((2, 3), numpy.float32), numpy.eye(3, dtype=numpy.float32)[:2]
    zeta, saved = conditional_gumbel.sample(log_alpha, b, numpy.full((2, 3), 0.4))
    assert zeta.dtype == numpy.float32 and all(part.dtype == numpy.float32 for part in saved)


# ---- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_pathwise_estimators_name_a_prior_of_another_kind(estimator):
    q, g = igr_i(numpy.zeros((2, 3)), numpy.zeros((2, 3)), 0.5), GumbelSoftmax(numpy.zeros((2, 4)), 0.5)
    for one, other, name, draws in ((q, g, "IGR", numpy.zeros((2, 3))), (g, q, "GumbelSoftmax", numpy.zeros((2, 4)))):
        with pytest.raises(TypeError, match=f"must be None or {name}, got {type(other).__name__}"):
            estimator(one, draws, value_and_grad, other)
        with pytest.raises(TypeError, match=f"must be None or {name}, got str"):
            estimator(one, draws, value_and_grad, "uniform")
        bare = estimator(one, draws, value_and_grad)
        z, saved = one.run(draws)
        want = one.pullback(saved, value_and_grad(z)[1])
        assert bare.kl == 0 and all(numpy.array_equal(bare.grads[name], want[name]) for name in want)


def test_errors_say_what_was_wanted():
    infinite = InfiniteIGR(numpy.zeros(9), numpy.zeros(9), 0.5, 0.9)
    with pytest.raises(TypeError, match="no formula for the discrete law of InfiniteIGR"):
        recovery.discrete_log_probs(infinite)
    for kept in (0, 10, 2.5):
        with pytest.raises(ValueError, match=r"kept must be integers in 1\.\.9"):
            infinite.run(numpy.zeros((2, 9)), kept)
    for temperature in ([0.5], None):
        with pytest.raises(TypeError, match="temperature must be a number or an array"):
            check_temperature(temperature)
    start, law = {"mu": numpy.zeros(3), "log_sigma": numpy.zeros(3)}, numpy.ones(1)
    with pytest.raises(ValueError, match="the relaxation's 4 categories"):
        prior.fit(lambda mu, log_sigma: igr_i(mu, log_sigma, 0.5), start, law, lambda step: numpy.zeros((5, 3)))


def test_adam_takes_no_other_state():
    adam = Adam({"x": numpy.zeros(5)}, 0.1)
    good = adam.state()
    for bad, error in (
        ({**good, "m.x": numpy.zeros(1)}, ValueError), ({**good, "v.x": numpy.float64(1)}, ValueError),
        ({**good, "m.y": numpy.zeros(5)}, KeyError), ({"t": 3, "m.x": numpy.zeros(5)}, KeyError),
    ):  # fmt: skip
        with pytest.raises(error):
            adam.load({**bad, "t": 7})
        assert adam.t == 0
    adam.load({"t": 2, "m.x": numpy.ones(5), "v.x": numpy.ones(5)})
    assert adam.t == 2 and adam.m["x"].sum() == 5


# ---- laws of many categories, and of unequal scales --------------------------------------------------------------


@pytest.mark.parametrize("k", [300, 1000, 3000, 10_000])
def test_equal_laws_of_many_categories(k):
    """P_k = (1 - P_K)/(K-1) where all mu and sigma are the same, to the promised 1e-12 and to 1e-9 of itself."""
    for mu in (-3.0, -1.5, 0.0, 1.0):
        log_p = gaussian_argmax.log_probs(numpy.full(k - 1, mu), numpy.ones(k - 1), accuracy="absolute")
        want = -numpy.expm1(log_p[-1]) / (k - 1)
        assert abs(numpy.exp(log_p[:-1]) - want).max() < min(1e-12, 1e-9 * want)


def test_scores_of_many_categories():
    """dP_1/dmu_1 and dP_1/dsigma_1 by differences of P at K = 2,000."""
    mu, sigma, h = numpy.zeros(1999), numpy.ones(1999), 1e-3
    p_bar = numpy.eye(2000)[0]
    for bar, slot in zip(gaussian_argmax.vjp(mu, sigma, p_bar), (0, 1), strict=True):
        ends = []
        for step in (-2, -1, 1, 2):
            args = [mu.copy(), sigma.copy()]
            args[slot][0] += step * h
            ends.append(numpy.exp(gaussian_argmax.log_probs(*args, accuracy="absolute")[0]))
        slope = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * h)
        assert bar[0] == pytest.approx(slope, rel=1e-7)


def test_rare_categories_among_many():
    """100 categories: between steps of equal length as at every mu_j, to 1e-10 of P."""
    rng = numpy.random.default_rng(2)
    mu, sigma = 2 * rng.standard_normal(99), numpy.exp(0.3 * rng.standard_normal(99))
    got = gaussian_argmax.log_probs(mu, sigma)
    from igr_ref.recovery import _rare

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rare, "BREAKS", 1000)
        want = gaussian_argmax.log_probs(mu, sigma)
    assert (want < numpy.log(1e-6)).sum() > 20 and want.min() < -100
    assert not numpy.array_equal(got, want) and abs(got - want).max() < 1e-10


def test_single_precision_falls_back_where_its_sum_is_off():
    f, params = value_and_grad, rebar_params(1, 0.5, dtype="float32")
    draws = numpy.array([[0.1, 0.2]], "float32"), numpy.array([[0.3, 0.6]], "float32")
    mu, log_sigma = numpy.array([[-0.138, 0.117]]), numpy.log(numpy.array([[0.0397, 4.98]]))
    want = rebar(igr_i(mu, log_sigma, 0.5), PairedNoise(*(d.astype(float) for d in draws)), f, "uniform",
                 params=rebar_params(1, 0.5))  # fmt: skip
    single = igr_i(mu.astype("float32"), log_sigma.astype("float32"), 0.5, precise=False)
    got = rebar(single, PairedNoise(*draws), f, "uniform", params=params)
    for name in want.grads:
        assert numpy.allclose(got.grads[name], want.grads[name], rtol=1e-4, atol=1e-5)
    for k in (3, 1500):  # one narrow law beside a wide one; more categories than float32 can add to 1
        mu, sigma = numpy.zeros(k - 1), numpy.ones(k - 1)
        if k == 3:
            mu, sigma = numpy.array([0.0834, -0.0210]), numpy.array([0.852, 0.00518])
        b, v = numpy.eye(k)[1:2], numpy.full((1, k - 1), 0.5)
        found = drawn_single(*(a[None].astype("float32") for a in (mu, sigma)), b.astype("float32"), v=v)
        exact = gaussian_argmax.jacobian(mu, sigma)
        p = gaussian_argmax.probs(mu, sigma)
        for part, of_all in zip(found.score, exact, strict=True):
            assert numpy.abs(part[0] * p[1] - of_all[1]).max() * sigma.min() < 1e-6


# ---- f that keeps something on the side --------------------------------------------------------------------------


@pytest.mark.parametrize("coupled", [False, True])
def test_estimators_in_double_call_f_as_those_in_single_do(coupled):
    rng = numpy.random.default_rng(3)
    vae = models.VAE(models.igr_i_family(3, 4, 0.5, -0.6, -0.1), models.Bernoulli(), 6)
    params = vae.init(rng, "float32")
    x = (rng.random((5, 6)) < 0.4).astype("float32")
    mu, log_sigma = (rng.standard_normal((5, 3, 3)).astype("float32") for _ in range(2))
    path = rng.standard_normal((1, 5, 3, 3)).astype("float32")
    uniforms = None if coupled else rng.uniform(0.01, 0.99, path.shape).astype("float32")
    control = relax_params(rng, 3, 4, 0.5, dtype="float32")
    found = []
    for precise in (True, False):
        f = Reconstruction(vae, params, x)
        estimate = relax(igr_i(mu, log_sigma, 0.5, precise=precise), PairedNoise(path, uniforms), f, "uniform",
                         params=control)  # fmt: skip
        found.append((f.decoder_gradients(), variance_gradient(estimate, f.hvp)))
    for one, other in zip(*found, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert numpy.allclose(one[name], other[name], rtol=2e-3, atol=1e-5), name
