"""A user's ordinary mistakes: each gave a plausible number, or an error from deep inside, and is now named."""

from __future__ import annotations

import numpy
import pytest

from igr_ref import Categorical, GumbelSoftmax, estimators, igr_i, prior, recovery, transforms
from igr_ref.backend import namespace
from igr_ref.distributions import IGR, InfiniteIGR, Kumaraswamy
from igr_ref.distributions.base import Relaxation
from igr_ref.estimators import PairedNoise, rebar, rebar_params, reparameterization, score_function, unordered_set
from igr_ref.precision import in_double

from .gradcheck import autograd_vjp, norm_relative

RNG = numpy.random.default_rng(1)
Z2 = numpy.zeros((2, 4))


def total(z):
    return z.sum((-1, -2)), 1 + 0 * z


def first(b):
    return b[..., 0].sum(-1), None


@pytest.mark.parametrize("estimator", [reparameterization, estimators.sticking_the_landing, score_function])
def test_a_law_without_an_axis_of_variables_is_refused(estimator):
    """Its samples were taken for variables: the score function's mean was 0, whatever the gradient."""
    with pytest.raises(ValueError, match="with N variables"):
        estimator(GumbelSoftmax(numpy.zeros(3), 0.5), RNG.gumbel(size=(30, 3)), total)
    with pytest.raises(ValueError, match="N = 1 variables"):  # the KL was that of one variable
        estimator(igr_i(numpy.ones((1, 4)), numpy.zeros((1, 4)), 0.5), numpy.zeros((2, 3, 4)), total)


def test_f_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"one number for each sample, \(...\) = \(3,\), got shape \(3, 2\)"):
        reparameterization(igr_i(Z2, Z2, 0.5), numpy.zeros((3, 2, 4)), lambda z: (z.sum(-1), z))


def test_whole_numbers_from_f_are_numbers():
    """Zeros and ones, or a Hamming distance: the KL, the estimate and REBAR's scores were cut to integers."""
    q = igr_i(RNG.standard_normal((2, 4)), Z2, 0.5)
    noise = PairedNoise(RNG.standard_normal((50, 2, 4)), RNG.uniform(size=(50, 2, 4)))

    def real(z):
        return numpy.rint(4 * z[..., 0].sum(-1)), 0 * z

    def whole(z):
        return real(z)[0].astype(int), 0 * z

    pairs = [
        [score_function(q, noise.path, f, "uniform") for f in (real, whole)],
        [rebar(q, noise, f, "uniform", params=rebar_params(2, 0.5)) for f in (real, whole)],
        [unordered_set(q, numpy.random.default_rng(0).gumbel(size=(2, 3, 5)), f, "uniform") for f in (real, whole)],
    ]
    for want, got in pairs:
        assert want.kl.dtype == got.kl.dtype == got.value.dtype == float and numpy.all(want.kl > 0.1)
        assert numpy.array_equal(want.value, got.value) and numpy.array_equal(want.kl, got.kl)
        for name in want.grads:
            assert numpy.array_equal(want.grads[name], got.grads[name]) and numpy.any(got.grads[name] != 0)


def test_two_categories_take_one_coordinate():
    q = igr_i(numpy.zeros((2, 1)), numpy.zeros((2, 1)), 0.5)
    for call in (q.sample, q.discretize, q.log_prob):
        with pytest.raises(ValueError, match="must have 1 coordinates"):
            call(numpy.zeros((2, 4)))


def test_a_tolerance_is_no_remainder():
    with pytest.raises(TypeError, match="remainder must be True or False, got 1e-09"):
        recovery.stick_breaking.probs(numpy.zeros(2), numpy.ones(2), 1e-9)
    with pytest.raises(TypeError, match="accuracy is a keyword"):
        recovery.gaussian_argmax.log_probs(numpy.zeros(2), numpy.ones(2), "absolute")


def test_the_door_to_prop_2_knows_both_accuracies():
    """mu_1 = -30: e^-450 or so, which absolute accuracy need not tell from 0."""
    q = igr_i(numpy.array([-30.0, 0.0]), numpy.zeros(2), 0.5)
    for accuracy in ("relative", "absolute"):
        want = recovery.gaussian_argmax.log_probs(q.mu, numpy.exp(q.log_sigma), accuracy=accuracy)
        assert numpy.array_equal(recovery.discrete_log_probs(q, accuracy), want)
    assert recovery.discrete_log_probs(q)[0] > -1000
    with pytest.raises(ValueError, match="accuracy must be"):
        recovery.discrete_log_probs(q, "exact")


def test_a_law_off_the_simplex_has_no_pathwise_gradient():
    """Kumaraswamy's run gives log(-log v), at which f was differentiated."""
    for estimator in (reparameterization, score_function, estimators.straight_through):
        with pytest.raises(TypeError, match="q must be a relaxation"):
            estimator(Kumaraswamy(Z2, Z2), RNG.uniform(size=(3, 2, 4)), total)


def test_a_law_without_a_formula_keeps_its_error():
    class Own(Relaxation):
        params = {"mu": Z2}

    for q in (InfiniteIGR(Z2, Z2, 0.5, 0.9), Own()):
        with pytest.raises(TypeError, match="the exact discrete law is known for"):
            unordered_set(q, numpy.zeros((2, 3, 5)), first)


def test_nan_has_no_category():
    nan = numpy.full((3, 2, 4), numpy.nan)
    with pytest.raises(ValueError, match="must not hold NaN"):
        igr_i(Z2, Z2, 0.5).discretize(nan)
    with pytest.raises(ValueError, match="must not hold NaN"):
        GumbelSoftmax(Z2, 0.5).category(nan)
    with pytest.raises(ValueError, match="must not hold NaN"):
        InfiniteIGR(Z2, Z2, 0.5, 0.9).category(nan)
    with pytest.raises(ValueError, match="must not hold NaN"):
        unordered_set(GumbelSoftmax(numpy.zeros((2, 5)), 0.5), numpy.full((2, 3, 5), numpy.nan), first)


def test_igr_wants_a_map_onto_the_simplex():
    flow = transforms.PlanarFlow(numpy.ones((2, 4)), numpy.ones((2, 4)), numpy.zeros(2))
    for g in (transforms.Softmax(0.5), flow, transforms.SoftmaxPlusPlus, 0.5):
        with pytest.raises(ValueError, match="transform must"):
            IGR(Z2, Z2, g)
    with pytest.raises(ValueError, match="at least one transform"):
        transforms.Chain(1, 2)

    class Shift(transforms.Transform):
        onto_simplex = True
        params = {"mu": numpy.ones(2)}

    with pytest.raises(ValueError, match=r"must not be named \['mu'\]"):  # it took the place of q's own gradient
        IGR(Z2, Z2, Shift())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_points_off_the_simplex_are_refused(dtype):
    bad, good = numpy.full(5, 0.9, dtype), numpy.full(5, 0.2, dtype)
    zero = numpy.zeros(4, dtype)
    q, gs = igr_i(zero, zero, 0.5), GumbelSoftmax(numpy.zeros(5, dtype), 0.5)
    for call in (
        q.log_prob_z,
        gs.log_prob_z,
        transforms.StickBreaking().inverse,
        transforms.VertexInterpolation(1).inverse,
    ):
        with pytest.raises(ValueError, match="z must sum to 1"):
            call(bad)
        assert numpy.all(numpy.isfinite(call(good)))
    with pytest.raises(ValueError, match="z must be positive"):
        gs.log_prob_z(numpy.array([0, 0.25, 0.25, 0.25, 0.25], dtype))
    many = numpy.random.default_rng(0).standard_normal(9999).astype(dtype)
    wide = igr_i(many, 0 * many, 1.0)
    assert numpy.isfinite(wide.log_prob_z(wide.sample(many)))


def test_codes_are_one_hot():
    law = Categorical(numpy.log(numpy.full(3, 1 / 3)))
    for b in (numpy.array([0, 1, 2]), numpy.zeros(3)):
        with pytest.raises(ValueError, match="one-hot"):
            law.log_prob(b)
    with pytest.raises(ValueError, match="3 coordinates"):
        law.log_prob(numpy.asarray(2))


def test_control_variates_are_checked():
    with pytest.raises(ValueError, match="temperature must be finite"):
        rebar_params(2, 0.0)
    noise = PairedNoise(numpy.zeros((5, 2, 4)), numpy.full((5, 1, 4), 0.3))
    with pytest.raises(ValueError, match="noise.uniforms must have the shape"):
        rebar(igr_i(Z2, Z2, 0.5), noise, total, params=rebar_params(2, 0.5))
    with pytest.raises(ValueError, match="0 < low < high"):
        estimators.bounded_parameters(Z2, Z2, low=2.0, high=1.0)


def test_planar_flows_take_their_own_width():
    flow = transforms.PlanarFlow(numpy.ones((2, 4)), numpy.ones((2, 4)), numpy.zeros(2))
    for call in (flow.forward, flow.inverse):
        with pytest.raises(ValueError, match="must have 4 coordinates"):
            call(numpy.ones((2, 1)))


def test_lists_are_named_and_a_float_is_a_number():
    q = igr_i(Z2, Z2, 0.5)
    for call in (lambda: q.sample([0.0] * 4), lambda: transforms.SoftmaxPlusPlus(0.5).forward([1.0, 2.0])):
        with pytest.raises(TypeError, match="takes arrays, got a list"):
            call()
    with pytest.raises(TypeError, match="expected an array, got list"):
        Categorical([-0.7, -0.7])
    one = igr_i(numpy.zeros(4), numpy.zeros(4), 0.5)
    want = one.log_prob_vjp(numpy.ones(4), numpy.asarray(1.0))
    assert numpy.array_equal(one.log_prob_vjp(numpy.ones(4), 1.0)[1], want[1])
    single = igr_i(numpy.zeros(4, "f4"), numpy.zeros(4, "f4"), 0.5)
    for got in (single.log_prob_vjp(numpy.ones(4, "f4"), 1.0)[1], single.log_prob_vjp(numpy.ones(4, "f4"), bar=1.0)[1]):
        assert got.dtype == "float32" and numpy.allclose(got, want[1], rtol=1e-6)
    with pytest.raises(ValueError, match="p must be IGR"):
        q.kl(GumbelSoftmax(numpy.zeros((2, 5)), 0.5))


def test_the_prior_is_fitted_to_one_law():
    with pytest.raises(ValueError, match="p_0 must be one law"):
        prior.fit(lambda mu: None, {}, numpy.full((2, 5), 0.1), None)


def test_a_transform_of_your_own():
    """What transforms/base.py says is enough: run, pullback, category and log_det, checked by autograd."""

    @in_double
    class Scaled(transforms.Transform):
        """softmax++ of twice y."""

        onto_simplex = True

        def __init__(self):
            super().__init__()
            self.inner = transforms.SoftmaxPlusPlus(0.7)

        def run(self, y):
            return self.inner.run(2 * y)

        def pullback(self, saved, z_bar=None, log_det_bar=None):
            y_bar, bars = self.inner.pullback(saved, z_bar, log_det_bar)
            return 2 * y_bar, bars

        def log_det(self, y):
            return self.inner.log_det(2 * y) + y.shape[-1] * numpy.log(2)

        def category(self, y):
            return self.inner.category(2 * y)

    g = Scaled()
    mu, log_sigma, eps = RNG.standard_normal((3, 2, 4))
    weights = RNG.standard_normal((2, 5))

    def f(z):
        return (z * weights).sum((-1, -2)), weights + 0 * z

    got = reparameterization(IGR(mu, log_sigma, g), eps, f, IGR(0 * mu, 0 * mu, g))

    def loss(mu, log_sigma):
        xp, _ = namespace(mu)
        q = IGR(mu, log_sigma, g, validate=False)
        return xp.sum(q.sample(eps) * weights) + xp.sum(q.kl(IGR(0 * mu, 0 * mu, g, validate=False)))

    for name, want in zip(("mu", "log_sigma"), autograd_vjp(loss, mu, log_sigma), strict=True):
        assert norm_relative(got.grads[name], want) < 1e-12
    single = IGR(mu.astype("float32"), log_sigma.astype("float32"), g)
    assert single.sample(eps.astype("float32")).dtype == "float32"
    y = single.mu.astype(float)
    assert numpy.allclose(
        IGR(mu, log_sigma, g).log_prob(y), igr_i(2 * mu, log_sigma + numpy.log(2), 0.7).log_prob(2 * y)
    )
    with pytest.raises(NotImplementedError, match="log_forward"):
        transforms.Chain(g, transforms.Softmax(0.5)).category(mu)


def test_lists_as_parameters_are_named():
    ones = numpy.ones(2)
    for call in (
        lambda: igr_i([0.0, 0.0], ones, 0.5),
        lambda: recovery.stick_breaking.probs([0.0, 0.0], ones),
        lambda: transforms.PlanarFlow([1.0, 1.0], ones, numpy.zeros(())),
    ):
        with pytest.raises(ValueError, match="(mu|w) must be a floating-point array, got list"):
            call()
