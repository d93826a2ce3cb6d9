"""softmax++ (eqs. 15, 22-26): values, pullbacks, Jacobian, determinant and inverse. Traps and limit: test_prop_1.py."""

from __future__ import annotations

import itertools

import autograd.numpy as anp
import mpmath
import numpy
import pytest

from igr_ref import SoftmaxPlusPlus

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
        transform_checks.check_pullbacks(g, y, rng, textbook, tape=1e-4 * size, **NAME)


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
        check(g.forward(small), oracles.softmax_pp(small, g.temperature, g.delta), dtype="float32", **label)
        assert g.log_forward(small).dtype == "f4" and numpy.all(numpy.isfinite(g.log_forward(small)))
        log_z = g.log_forward(y)
        assert norm_relative(numpy.exp(log_z), want) < 1e-10 and numpy.all(numpy.isfinite(log_z))


def test_jacobian():
    for _, g, y in _cases(1000, 4, categories=(2, 3, 10)):

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
