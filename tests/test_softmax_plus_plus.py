"""softmax++ (eq. 15, 20, 22-26, Prop. 1): pullbacks, Jacobian, determinant, inverse, limit, and the known traps."""

from __future__ import annotations

import itertools

import autograd.numpy as anp
import mpmath
import numpy
import pytest

from igr_ref import SoftmaxPlusPlus, h

from . import oracles, transform_checks
from .gradcheck import autograd_vjp, check, configurations, norm_relative, points

NAME = {"equation": "eq. 15", "function": "transforms.SoftmaxPlusPlus"}
DET = {"equation": "eq. 26", "function": "transforms.SoftmaxPlusPlus"}
DELTAS = (1.0, 0.1, 10.0)


def _cases(n, seed, **options):
    """n seeded (rng, g, y), delta in turn."""
    deltas = itertools.cycle(DELTAS)
    for rng, lead, k, tau in configurations(n, seed, **options):
        yield rng, SoftmaxPlusPlus(tau, next(deltas)), points(rng, (*lead, k - 1), tau)


def test_pullbacks():
    for rng, g, y in _cases(1000, 1, categories=transform_checks.CATEGORIES):
        tau = g.temperature

        def textbook(y, z_bar, det_bar, g=g):
            return oracles.softmax_pp_bar(y, g.temperature, g.delta, z_bar, det_bar)

        size = numpy.sqrt(y.size) / tau  # of a cotangent over tau
        largest = float(numpy.abs(y).max()) / tau
        transform_checks.check_pullbacks(g, y, rng, textbook, tape=1e-4 * size, condition=largest, **NAME)


def test_pullbacks_with_ten_thousand_categories():
    for rng, g, y in _cases(6, 2, categories=(10_000,), temperatures=(0.1, 10)):
        z, saved = g.run(y)
        z_bar, det_bar = rng.standard_normal(z.shape), rng.standard_normal(y.shape[:-1])
        got, _ = g.pullback(saved, z_bar, det_bar)
        (want,) = autograd_vjp(
            lambda y, g=g, a=z_bar, b=det_bar: anp.sum(a * g.forward(y)) + anp.sum(b * g.log_det(y)), y
        )
        check(got, want, equation="eq. 15", function="transforms.SoftmaxPlusPlus.pullback", oracle="autograd")


def test_values():
    for _, g, y in _cases(1000, 3, categories=transform_checks.CATEGORIES):
        want = oracles.softmax_pp(y, g.temperature, g.delta)
        label = {"equation": "eq. 15", "function": "transforms.SoftmaxPlusPlus.forward", "oracle": "longdouble"}
        check(g.forward(y), want, **label)
        small = y.astype("f4")
        tolerance = 1e-4 + 4 * transform_checks.EPS32 * float(numpy.abs(y).max()) / g.temperature
        check(g.forward(small), oracles.softmax_pp(small, g.temperature, g.delta), tolerance, dtype="float32", **label)
        assert g.log_forward(small).dtype == "f4" and numpy.all(numpy.isfinite(g.log_forward(small)))
        log_z = g.log_forward(y)
        assert norm_relative(numpy.exp(log_z), want) < 1e-10 and numpy.all(numpy.isfinite(log_z))


def test_jacobian():
    for _, g, y in _cases(300, 4, categories=(2, 3, 10)):

        def forward(y, g=g):
            return oracles.softmax_pp(y, g.temperature, g.delta)

        # longdouble differences of numbers near 1 are right to 1e-19/1e-3 only
        scale = 1e-4 / g.temperature
        transform_checks.check_jacobian(g, y, forward, 1e-3 * g.temperature, scale=scale, **NAME)


def test_log_det_against_the_jacobian():
    for rng, g, y in _cases(1000, 5, categories=(2, 3, 10, 30)):
        transform_checks.check_log_det(g, g.temperature * rng.standard_normal(y.shape), **DET)


def test_log_det_at_extreme_points_against_the_jacobian():
    for rng, g, y in _cases(200, 6, categories=(2, 3, 5)):
        at = numpy.clip(y[(0,) * (y.ndim - 1)] / g.temperature, -300, 300) * rng.uniform(0.5, 1) * g.temperature

        def jacobian(at=at, g=g):
            tau, delta = mpmath.mpf(g.temperature), mpmath.mpf(g.delta)
            e = [mpmath.exp(mpmath.mpf(float(v)) / tau) for v in at]
            z = [v / (mpmath.fsum(e) + delta) for v in e]
            return [[z[k] * ((k == i) - z[i]) / tau for i in range(len(z))] for k in range(len(z))]

        transform_checks.check_log_det_extreme(g.log_det(at), jacobian, **DET)


def test_round_trips():
    label = {"equation": "eq. 15", "function": "transforms.SoftmaxPlusPlus.inverse"}
    for rng, g, y in _cases(1000, 7):
        tau = g.temperature
        # log z is right to 1 ulp of the largest logit, which the temperature multiplies again
        log_z = g.log_forward(y)
        transform_checks.check_bound(g.inverse_log(log_z) - y, tau * (1 + numpy.abs(log_z).max()), **label)
        near = numpy.clip(y, -300 * tau, 300 * tau)
        transform_checks.check_bound(g.inverse(g.forward(near)) - near, tau * 600, **label)
        z = rng.dirichlet(numpy.ones(y.shape[-1] + 1), size=y.shape[:-1])
        z = numpy.maximum(z, 1e-12)
        z = z / z.sum(axis=-1, keepdims=True)
        transform_checks.check_bound(g.forward(g.inverse(z)) - z, 30 * z, **label)


def test_inverse_refuses_a_point_of_the_boundary():
    for z in ([0.0, 1.0], [1.0, 0.0], [-0.1, 1.1], [numpy.nan, 1.0]):
        with pytest.raises(ValueError, match="positive"):
            SoftmaxPlusPlus(1.0).inverse(numpy.array(z))


def test_temperature_array_with_a_replica_axis():
    for rng, lead, k, _ in configurations(100, 8):
        tau = numpy.exp(rng.uniform(-6, 4, (3,) + (1,) * (len(lead) + 1)))
        y = rng.standard_normal((3, *lead, k - 1))
        z_bar, det_bar = rng.standard_normal((3, *lead, k)), rng.standard_normal((3, *lead))
        for dtype in ("f8", "f4"):
            g, arrays = SoftmaxPlusPlus(tau), [x.astype(dtype) for x in (y, z_bar, det_bar)]
            got = [g.forward(arrays[0]), *(x for x in g.vjp(*arrays)[:1]), g.log_det(arrays[0])]
            if k <= 10:
                got.append(g.jacobian(arrays[0]))
            for r in range(3):
                one, own = SoftmaxPlusPlus(float(tau[r].ravel()[0])), [x[r] for x in arrays]
                want = [one.forward(own[0]), one.vjp(*own)[0], one.log_det(own[0]), one.jacobian(own[0])]
                for a, b in zip(got, want, strict=False):
                    assert a.dtype == dtype and norm_relative(a[r], b) < 4 * numpy.finfo(dtype).eps


# ---- Prop. 1 ------------------------------------------------------------------------------------------------------


def _h(y):
    """eq. 20 in words: the winner's unit vector if it is positive, else the K-th."""
    out = numpy.zeros(y.shape[:-1] + (y.shape[-1] + 1,))
    for at in numpy.ndindex(*y.shape[:-1]):
        best = max(range(y.shape[-1]), key=lambda i: y[at][i])
        out[at][best if y[at][best] > 0 else -1] = 1
    return out


def test_h_is_the_limit_for_every_delta():
    for rng, lead, k, _ in configurations(1000, 9, categories=(2, 3, 10, 100)):
        y = rng.standard_normal((*lead, k - 1)) - rng.uniform(0, 2)
        want = _h(y)
        ordered = numpy.sort(numpy.concatenate([y, numpy.zeros((*lead, 1))], axis=-1), axis=-1)
        margin = float(numpy.min(ordered[..., -1] - ordered[..., -2]))
        for delta in (1.0, 0.1, 10.0, 1e-6):
            # every other logit is 800 below the winner's, and e^-800 = 0
            g = SoftmaxPlusPlus(margin / (800 + abs(numpy.log(delta))), delta)
            assert numpy.array_equal(g.forward(y), want)
            assert numpy.array_equal(g.discretize(y), want) and numpy.array_equal(h(y), want)
        assert numpy.array_equal(numpy.argmax(want, axis=-1), g.category(y))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_h_is_exactly_one_hot_and_keeps_the_dtype(dtype):
    b = h(numpy.random.default_rng(0).standard_normal((50, 4)).astype(dtype))
    assert b.dtype == dtype and b.shape == (50, 5) and set(numpy.unique(b)) == {0, 1} and numpy.all(b.sum(-1) == 1)
    assert numpy.array_equal(h(numpy.zeros(3)), [0, 0, 0, 1]) and numpy.array_equal(h(numpy.ones(2)), [1, 0, 0])


# ---- known traps ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("delta", DELTAS)
def test_all_logits_very_negative_neither_overflow_nor_vanish(delta, dtype):
    """Trap: 0/0 or overflow where only the constant is left; g_K must tend to 1."""
    for size in (1e2, 1e5, 1e30):
        g = SoftmaxPlusPlus(0.1, delta)
        y = -size * numpy.array([1.0, 2.0, 1.5]).astype(dtype)
        z = g.forward(y)
        assert z.dtype == dtype and z[3] == 1 and numpy.all(z[:3] < 1e-38) and numpy.all(z >= 0)
        assert numpy.array_equal(g.forward(-y), [0, 1, 0, 0])
        assert numpy.isfinite(g.log_det(y)) and numpy.all(numpy.isfinite(g.vjp(y, z, numpy.ones((), dtype))[0]))


def test_last_category_is_not_one_minus_a_sum():
    """Trap: 1 - sum_k z_k has no digit left where z_K < 1e-16."""
    y = numpy.array([40.0, 70.0, 69.0])
    z, want = SoftmaxPlusPlus(1.0).forward(y), oracles.softmax_pp(y, 1.0)
    assert want[3] < 1e-30 and abs(z[3] - want[3]) <= 1e-14 * want[3]


def test_gradient_near_a_vertex():
    """Trap: the pullback loses every digit where 1 - z_k < 1e-16. Each entry is compared on its own."""
    for y in ([90.0, 3.0, -2.0], [-90.0, -80.0, -100.0], [600.0, 0.0, 20.0]):
        g, a = SoftmaxPlusPlus(1.0), numpy.array([0.3, -1.0, 2.0, 0.7])
        y = numpy.array(y)
        want = oracles.softmax_pp_bar(y, 1.0, 1.0, a, numpy.zeros(()))
        assert numpy.all(numpy.abs(g.vjp(y, a)[0] - want) <= 1e-12 * numpy.abs(want)) and numpy.all(want != 0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_log_determinant_at_the_boundary_and_at_low_temperature_is_finite(dtype):
    """Trap: log z where z has underflowed to 0."""
    for tau in (1e-3, 1e-6):
        g = SoftmaxPlusPlus(tau)
        y = numpy.array([[5.0, -3.0], [-4.0, -9.0], [0.0, 0.0]], dtype)
        assert numpy.any(g.forward(y) == 0)
        assert numpy.all(numpy.isfinite(g.log_det(y))) and numpy.all(numpy.isfinite(g.log_forward(y)))
        assert g.log_det(y).dtype == dtype


@pytest.mark.parametrize("bad", [0, 0.0, -1.0, numpy.nan, numpy.inf, -numpy.inf, numpy.float32(0)])
def test_temperature_that_is_not_positive(bad):
    with pytest.raises(ValueError, match="temperature must be finite and greater than 0.*discretize"):
        SoftmaxPlusPlus(bad)
    with pytest.raises(ValueError, match="temperature must be finite"):
        SoftmaxPlusPlus(numpy.array([[1.0], [bad]]))


def test_temperature_array_of_the_wrong_shape_and_delta_out_of_range():
    for shape in ((), (3,), (2, 3)):
        with pytest.raises(ValueError, match="last axis of length 1"):
            SoftmaxPlusPlus(numpy.ones(shape))
    for delta in (0.0, -1.0, numpy.nan, numpy.inf):
        with pytest.raises(ValueError, match="delta must be finite and greater than 0"):
            SoftmaxPlusPlus(1.0, delta)
