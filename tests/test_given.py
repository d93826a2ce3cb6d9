"""What a caller may give by mistake, or rightly: widths, integers, NaN, empty batches, single precision."""

from __future__ import annotations

import numpy
import pytest

import igr_ref
from igr_ref import noise, numerics, philox, prior, recovery
from igr_ref.distributions import Categorical, GrowingSticks, GumbelSoftmax, InfiniteIGR
from igr_ref.estimators.rebar import PairedNoise, rebar, rebar_params
from igr_ref.models import Adam
from igr_ref.transforms import Chain, PlanarFlow, Softmax, SoftmaxPlusPlus, StickBreaking, VertexInterpolation
from igr_ref.transforms.chain import Identity
from igr_ref.transforms.softmax_plus_plus import h

ZEROS = numpy.zeros(3)
IGR, GS = igr_ref.igr_i(ZEROS, ZEROS, 0.5), GumbelSoftmax(ZEROS, 0.5)
INFINITE = InfiniteIGR(ZEROS, ZEROS, 0.5, 0.9)


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize(
    "call",
    [IGR.sample, IGR.category, IGR.discretize, IGR.log_prob, lambda y: IGR.log_prob_vjp(y, numpy.ones(5)), GS.sample,
     GS.run_log, GS.category, GS.log_prob, GS.log_prob_and_grad, INFINITE.sample, INFINITE.sticks, INFINITE.kept,
     INFINITE.reached, INFINITE.category, INFINITE.decided, lambda y: recovery.frequencies(IGR, y)],
)  # fmt: skip
def test_noise_and_points_have_all_coordinates(call, width):
    """NumPy would broadcast one coordinate over all of them: a sample that is not random at all."""
    with pytest.raises(
        ValueError, match=rf"(noise|y) must have 3 coordinates along its last axis, got shape .*{width}"
    ):
        call(numpy.full((5, width), 0.3))


def test_uniforms_of_a_pair_have_all_categories():
    pair = PairedNoise(numpy.full((4, 1, 3), 0.2), numpy.full((4, 1, 1), 0.3))
    with pytest.raises(ValueError, match=r"v must have the 3 categories of log_alpha, got shape \(4, 1, 1\)"):
        rebar(
            GumbelSoftmax(numpy.zeros((1, 3)), 1.0), pair, lambda z: (z.sum((-1, -2)), z), params=rebar_params(1, 0.5)
        )


def test_a_fit_draws_samples():
    with pytest.raises(ValueError, match=r"draw must give \(M, categories\), got samples of shape \(4,\)"):
        prior.fit(lambda mu: igr_ref.igr_i(mu, ZEROS, 0.5), {"mu": ZEROS}, numpy.full(4, 0.25), lambda step: ZEROS)


@pytest.mark.parametrize("tau", [0.5, 1.5])
@pytest.mark.parametrize("make", [SoftmaxPlusPlus, Softmax])
def test_integers_leave_a_temperature_what_it_is(make, tau):
    y = numpy.array([[1, 2, -3], [0, 4, 1]])
    got, want = make(numpy.array([[tau]])), make(tau)
    numpy.testing.assert_array_equal(got.forward(y), want.forward(y.astype(float)))
    numpy.testing.assert_array_equal(got.log_det(y), want.log_det(y.astype(float)))


def test_integers_elsewhere():
    y = numpy.array([[1, 2, -3]])
    numpy.testing.assert_array_equal(
        VertexInterpolation(numpy.array([[0.5]])).forward(y), VertexInterpolation(0.5).forward(y.astype(float))
    )
    log_alpha = numpy.log([0.2, 0.8])
    numpy.testing.assert_array_equal(
        GumbelSoftmax(log_alpha, numpy.array([1.5])).log_prob(numpy.array([-1, -1])),
        GumbelSoftmax(log_alpha, 1.5).log_prob(numpy.array([-1.0, -1.0])),
    )
    q = igr_ref.igr_i(numpy.zeros(2), numpy.zeros(2), 0.5)
    numpy.testing.assert_allclose(recovery.frequencies(q, numpy.array([[1, 0], [-1, -1], [0, 2]])), 1 / 3, rtol=1e-15)


def test_a_temperature_for_each_replica_makes_replicas_of_one_point():
    taus, y = numpy.array([[0.5], [0.6]]), numpy.array([[0.3, -1.0, 2.0]])
    g = SoftmaxPlusPlus(taus)
    one = [SoftmaxPlusPlus(float(tau)) for tau in taus[:, 0]]
    for name in ("forward", "log_forward", "log_det", "jacobian"):
        want = numpy.concatenate([getattr(each, name)(y) for each in one])
        numpy.testing.assert_array_equal(getattr(g, name)(y), want)
    bar = numpy.arange(8.0).reshape(2, 4)
    want = [each.vjp(y, b[None], numpy.ones(1))[0] for each, b in zip(one, bar, strict=True)]
    numpy.testing.assert_array_equal(g.vjp(y, bar, numpy.ones(2))[0], numpy.concatenate(want))


def test_nan_has_no_category():
    for call in (h, lambda y: recovery.frequencies(igr_ref.igr_i(ZEROS[:2], ZEROS[:2], 0.5), y[None]),
                 Categorical(numpy.log([0.5, 0.5])).index):  # fmt: skip
        with pytest.raises(ValueError, match="NaN"):
            call(numpy.array([numpy.nan, 1.0]))


def test_ten_thousand_categories_in_single_precision_keep_their_shares():
    """A float32 sum of ten thousand probabilities ends at 1.00005: the last category would lose half of its share."""
    n = 10_000
    law = Categorical(numpy.full(n, -numpy.log(n), "float32"))
    counts = numpy.bincount(law.index((numpy.arange(20 * n) + 0.5) / (20 * n)), minlength=n)
    assert counts.min() >= 19 and counts.max() <= 21 and law.sample(numpy.full(1, 0.5)).dtype == "float32"


@pytest.mark.parametrize("remainder", [False, True])
def test_a_single_precision_point_says_what_it_determines(remainder):
    """log_prob_z of float32 z through sticks: right, or the error that the docstring promises."""
    rng, found = noise.generator(1, "given"), {"right": 0, "refused": 0}
    for k in (3, 6, 20):
        for _ in range(40):
            q = igr_ref.igr_sb(*numpy.zeros((2, k - 1), "float32"), 0.5, remainder=remainder)
            e = rng.standard_normal(k - 1).astype("float32")
            try:
                got = q.log_prob_z(q.sample(e))
            except ValueError as error:
                assert "does not say what is left for the last sticks" in str(error) or "within rounding" in str(error)
                found["refused"] += 1
                continue
            assert abs(got - q.log_prob(e)) < 0.1 and got.dtype == "float32"
            found["right"] += 1
    assert found["right"] > 30 and found["refused"] > 30


def test_a_chain_within_a_chain_says_it_too():
    y = noise.generator(113, "given").standard_normal(35)
    g = Chain(Chain(Identity(), StickBreaking()), SoftmaxPlusPlus(0.5))
    with pytest.raises(ValueError, match="does not say what is left"):
        g.inverse(g.forward(y))
    few = y[:5]
    numpy.testing.assert_allclose(g.inverse(g.forward(few)), few, rtol=1e-9)


def test_inverses_of_single_precision_points():
    y = numpy.array([80, 1e-3, 5e-6])
    z = SoftmaxPlusPlus(1.0).forward(y).astype("float32")
    numpy.testing.assert_allclose(
        SoftmaxPlusPlus(1.0).inverse(z), SoftmaxPlusPlus(1.0).inverse(z.astype(float)), rtol=1e-6
    )
    g, tie = VertexInterpolation(0.01), StickBreaking().inverse(numpy.array([0.3, 0.3, 0.2, 0.2])).astype("float32")
    numpy.testing.assert_allclose(g.inverse(g.forward(tie)), tie, atol=1e-4)


def test_what_a_run_kept_may_be_named():
    g, y = SoftmaxPlusPlus(0.5), numpy.array([0.3, -1.0], "float32")
    z, saved = g.run(y)
    bar = numpy.ones(3) * [1.0, 2.0, 3.0]
    numpy.testing.assert_array_equal(g.pullback(saved=saved, z_bar=bar)[0], g.pullback(saved, bar)[0])


def test_codes_have_the_samples_type():
    for single, double in (("float32", "float64"), ("float64", "float32")):
        q = igr_ref.igr_i(ZEROS.astype(single), ZEROS.astype(single), 0.5)
        draws = numpy.ones(3, double)
        assert q.sample(draws).dtype == q.discretize(draws).dtype == single


@pytest.mark.parametrize("percentile", [None, 70])
def test_countably_many_categories_of_nobody(percentile):
    q = InfiniteIGR(*numpy.zeros((2, 0, 40)), 0.5, 0.9, percentile)
    z, saved = q.run(numpy.zeros((0, 40)))
    assert z.shape == (0, 41) and q.pullback(saved, z)["mu"].shape == (0, 40)
    for wrong in ({"percentile": 0}, {"percentile": 101}, {"replicas": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            InfiniteIGR(ZEROS, ZEROS, 0.5, 0.9, **wrong)
    with pytest.raises(ValueError, match="kept must be integers in 1..3"):
        INFINITE.kl(0.0, 0.0, 2.7)


def test_sticks_that_cannot_grow_stay_as_they_are():
    sticks = GrowingSticks(0.0, lambda first, last: numpy.full(last - first, numpy.nan if last > 2 else 0.0), size=2)
    for _ in range(2):
        with pytest.raises(ValueError, match="log_sigma_start must be finite"):
            sticks.grow(5)
    assert sticks.size == sticks.params["log_sigma"].shape[-1] == 2


def test_log_sums_of_infinities():
    x = numpy.array([[-numpy.inf, -numpy.inf], [numpy.inf, 1], [-numpy.inf, 2], [0, 0]])
    numpy.testing.assert_array_equal(numerics.logsumexp(x), [-numpy.inf, numpy.inf, 2, numpy.log(2)])


@pytest.mark.parametrize("size, message", [(1e-170, "the least is 0"), (1e200, "must have a finite")])
def test_a_planar_flow_whose_norm_leaves_the_numbers(size, message):
    with pytest.raises(ValueError, match=message), numpy.errstate(over="ignore"):
        PlanarFlow(numpy.array([size, size]), numpy.ones(2), numpy.zeros(()))


def test_numbers_that_are_none():
    for call in (lambda: noise.generator(1.9, "s"), lambda: noise.generator(1, "s", 0.5),
                 lambda: philox.draw("normal", [1], "s", 1.5, 0, (2,), "float64", numpy),
                 lambda: philox.draw("normal", [1.5], "s", 1, 0, (2,), "float64", numpy)):  # fmt: skip
        with pytest.raises(ValueError, match="must be (an integer|integers)"):
            call()
    adam, params = Adam({"a": ZEROS}, 0.1), {"a": ZEROS.copy()}
    with pytest.raises(ValueError, match=r"the gradient of a has shape \(1,\), wanted \(3,\)"):
        adam.step(params, {"a": ZEROS[:1]})
    with pytest.raises(ValueError, match=r"beta_1 must lie in \[0, 1\), got 1"):
        Adam({"a": ZEROS}, 0.1, beta_1=1)
