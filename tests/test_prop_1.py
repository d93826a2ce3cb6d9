"""softmax++ at its limits: Prop. 1 (eq. 20), the boundary of the simplex, temperatures that are none; known traps."""

from __future__ import annotations

import numpy
import pytest

from igr_ref import SoftmaxPlusPlus, h

from . import oracles
from .gradcheck import check, configurations

DELTAS = (1.0, 0.1, 10.0)

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
            label = {"equation": "eq. 20", "oracle": "in words", "tolerance": 0.0}
            check(g.forward(y), want, function="transforms.SoftmaxPlusPlus.forward (limit)", **label)
            check(g.discretize(y), want, function="transforms.SoftmaxPlusPlus.discretize", **label)
        check(h(y), want, function="transforms.h", **label)
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
        assert g.forward(-y)[1] == 1 and g.category(-y) == 1
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
        # the value too, and not the logarithm of a floor such as 1e-20
        logits = numpy.concatenate([y, numpy.zeros_like(y[:, :1])], axis=-1).astype("f8") / tau
        want = logits - numpy.logaddexp.reduce(logits, axis=-1, keepdims=True)
        assert numpy.allclose(g.log_forward(y), want, rtol=1e-5)
        assert numpy.allclose(g.log_det(y), want.sum(axis=-1) - 2 * numpy.log(tau), rtol=1e-5)
        assert g.log_det(y).dtype == g.log_forward(y).dtype == dtype


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
