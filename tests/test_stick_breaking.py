"""Stick-breaking (eq. 16): values, pullbacks, Jacobian, determinant, inverse and limit."""

from __future__ import annotations

import autograd.numpy as anp
import mpmath
import numpy
import pytest

from igr_ref import StickBreaking

from . import oracles, transform_checks
from .gradcheck import autograd_vjp, check, configurations, norm_relative

NAME = {"equation": "eq. 16", "function": "transforms.StickBreaking"}
G = StickBreaking()


def _cases(n, seed, spread=(0.1, 1.0, 5.0, 100.0), **options):
    """n seeded (rng, y): sticks of moderate and of extreme length."""
    for i, (rng, lead, k, _) in enumerate(configurations(n, seed, **options)):
        yield rng, spread[i % len(spread)] * rng.standard_normal((*lead, k - 1)) + rng.uniform(-3, 3)


def test_pullbacks():
    for rng, y in _cases(1000, 1, categories=transform_checks.CATEGORIES):
        size = numpy.sqrt(y.size)
        transform_checks.check_pullbacks(G, y, rng, oracles.sticks_bar, tape=1e-4 * size, **NAME)


def test_pullbacks_with_ten_thousand_categories():
    for rng, y in _cases(6, 2, spread=(0.1, 1.0), categories=(10_000,)):
        z, saved = G.run(y - 6)  # sticks short enough for the last ones to matter
        z_bar, det_bar = rng.standard_normal(z.shape), rng.standard_normal(y.shape[:-1])
        got, _ = G.pullback(saved, z_bar, det_bar)
        (want,) = autograd_vjp(
            lambda y, a=z_bar, b=det_bar: anp.sum(a * G.forward(y)) + anp.sum(b * G.log_det(y)), y - 6
        )
        check(got, want, equation="eq. 16", function="transforms.StickBreaking.pullback", oracle="autograd")


def test_values():
    label = {"equation": "eq. 16", "function": "transforms.StickBreaking.forward", "oracle": "product, longdouble"}
    for _, y in _cases(1000, 3, categories=transform_checks.CATEGORIES):
        want = oracles.sticks(y)
        check(G.forward(y), want, **label)
        check(G.forward(y.astype("f4")), oracles.sticks(y.astype("f4")), dtype="float32", **label)
        assert norm_relative(numpy.sum(G.forward(y), axis=-1), numpy.ones(y.shape[:-1])) < 1e-12
        assert numpy.all(numpy.isfinite(G.log_forward(y)))


def test_jacobian():
    for _, y in _cases(1000, 4, spread=(0.1, 1.0, 5.0), categories=(2, 3, 10)):
        # longdouble differences are right to 1e-19/1e-3 of the sticks
        transform_checks.check_jacobian(G, y, oracles.sticks, 1e-3, scale=1e-4, **NAME)
        want = oracles.sticks_jacobian(y)[..., :-1, :]
        check(
            G.jacobian(y), want, oracle="product rule", equation="eq. 16", function="transforms.StickBreaking.jacobian"
        )


def test_log_det_against_the_jacobian():
    for _, y in _cases(1000, 5, spread=(0.1, 1.0, 3.0), categories=(2, 3, 10, 30)):
        transform_checks.check_log_det(G, y, **NAME)


def test_log_det_at_extreme_points_against_the_jacobian():
    for _, y in _cases(200, 6, spread=(1.0, 30.0, 100.0), categories=(2, 3, 5)):
        at = y[(0,) * (y.ndim - 1)]

        def jacobian(at=at):
            u = [1 / (1 + mpmath.exp(-mpmath.mpf(float(v)))) for v in at]
            n = len(u)
            w = [u[k] * mpmath.fprod(1 - u[i] for i in range(k)) for k in range(n)]
            return [[w[k] * ((1 - u[k]) if i == k else -u[i] if i < k else 0) for i in range(n)] for k in range(n)]

        transform_checks.check_log_det_extreme(G.log_det(at), jacobian, **NAME)


def test_round_trips():
    label = {"equation": "eq. 16", "function": "transforms.StickBreaking.inverse"}
    for rng, y in _cases(1000, 7, spread=(0.1, 1.0, 5.0), categories=(2, 3, 10, 50)):
        # y_k is a difference of two logarithms of size log w, each right to its last place; w must not underflow
        y = numpy.clip(y, -15, 13)
        w = G.forward(y)
        transform_checks.check_bound(G.inverse(w) - y, 1 + float(numpy.abs(G.log_forward(y)).max()), **label)
        z = numpy.maximum(rng.dirichlet(numpy.ones(y.shape[-1] + 1), size=y.shape[:-1]), 1e-12)
        z = z / z.sum(axis=-1, keepdims=True)
        transform_checks.check_bound(G.forward(G.inverse(z)) - z, 30 * z, **label)


def test_inverse_refuses_a_point_of_the_boundary():
    for w in ([0.0, 1.0], [1.0, 0.0], [numpy.nan, 1.0]):
        with pytest.raises(ValueError, match="z must be positive"):
            G.inverse(numpy.array(w))


def test_remainder_is_not_one_minus_a_sum():
    """Trap: 1 - sum_k w_k has no digit left where the remainder is below 1e-16."""
    y = numpy.array([30.0, 20.0, 35.0])
    w, want = G.forward(y), oracles.sticks(y)
    assert want[3] < 1e-30 and numpy.all(numpy.abs(w - want) <= 1e-13 * want)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_long_sticks_and_short_sticks_leave_everything_finite(dtype):
    """Trap: log(1 - u) where u rounds to 1, log u where it underflows."""
    for y in ([1e4, 2.0, -1e4], [-1e4] * 3, [800.0, -800.0, 0.0], [-1e30, 1e30, 1.0]):
        y = numpy.array(y, dtype)
        w = G.forward(y)
        bars, _ = G.vjp(y, w, numpy.ones((), dtype))
        assert w.dtype == dtype and bars.dtype == dtype
        for out in (w, bars, G.log_det(y), G.log_forward(y)):
            assert numpy.all(numpy.isfinite(out))
        assert abs(float(w.sum()) - 1) < 1e-6


def test_discretize_is_the_largest_of_the_first_sticks():
    """All w_k are positive, so softmax++ of w never tends to the K-th vertex. Also where w underflows."""
    for _, y in _cases(200, 8, categories=(2, 3, 10)):
        b = G.discretize(y)
        assert b.dtype == y.dtype and b.shape == (*y.shape[:-1], y.shape[-1] + 1) and numpy.all(b.sum(-1) == 1)
        assert numpy.array_equal(numpy.argmax(b, axis=-1), numpy.argmax(oracles.sticks(y)[..., :-1], axis=-1))
    assert G.category(numpy.array([-900.0, -1000.0, -800.0])) == 2
