"""Composition: eq. 18 (stick-breaking, then softmax++) and chains in general."""

from __future__ import annotations

import itertools

import autograd.numpy as anp
import mpmath
import numpy
import pytest

from igr_ref import Chain, SoftmaxPlusPlus, StickBreaking, igr_sb
from igr_ref.transforms import Identity, Softmax

from . import oracles, transform_checks
from .gradcheck import autograd_vjp, check, configurations, norm_relative

NAME = {"equation": "eq. 18", "function": "transforms.Chain"}


def _cases(n, seed, spread=(0.1, 1.0, 5.0), **options):
    """n seeded (rng, g, tau, delta, y)."""
    deltas = itertools.cycle((1.0, 0.1, 10.0))
    for i, (rng, lead, k, tau) in enumerate(configurations(n, seed, **options)):
        delta = next(deltas)
        y = spread[i % len(spread)] * rng.standard_normal((*lead, k - 1)) + rng.uniform(-3, 3)
        yield rng, Chain(StickBreaking(), SoftmaxPlusPlus(tau, delta)), tau, delta, y


def _forward(y, tau, delta):
    return oracles.softmax_pp(oracles.sticks(y)[..., :-1], tau, delta)


def _bar(y, z_bar, det_bar, tau, delta):
    """eq. 18's pullback from those of its two maps in longdouble; the remainder is not handed on."""
    w_bar = oracles.softmax_pp_bar(oracles.sticks(y)[..., :-1], tau, delta, z_bar, det_bar)
    return oracles.sticks_bar(y, numpy.concatenate([w_bar, 0 * w_bar[..., :1]], axis=-1), det_bar)


def test_pullbacks():
    for rng, g, tau, delta, y in _cases(1000, 1, categories=transform_checks.CATEGORIES):

        def textbook(y, z_bar, det_bar, tau=tau, delta=delta):
            return _bar(y, z_bar, det_bar, tau, delta)

        size = numpy.sqrt(y.size) / tau
        transform_checks.check_pullbacks(g, y, rng, textbook, tape=1e-4 * size, **NAME)


def test_pullbacks_with_ten_thousand_categories():
    for rng, g, _, _, y in _cases(6, 2, spread=(0.1, 1.0), categories=(10_000,), temperatures=(0.1, 10)):
        z, saved = g.run(y - 6)
        z_bar, det_bar = rng.standard_normal(z.shape), rng.standard_normal(y.shape[:-1])
        got, _ = g.pullback(saved, z_bar, det_bar)
        (want,) = autograd_vjp(
            lambda y, g=g, a=z_bar, b=det_bar: anp.sum(a * g.forward(y)) + anp.sum(b * g.log_det(y)), y - 6
        )
        check(got, want, equation="eq. 18", function="transforms.Chain.pullback", oracle="autograd")


def test_values():
    label = {"equation": "eq. 18", "function": "transforms.Chain.forward", "oracle": "composition, longdouble"}
    for _, g, tau, delta, y in _cases(1000, 3, categories=transform_checks.CATEGORIES):
        check(g.forward(y), _forward(y, tau, delta), **label)
        small = y.astype("f4")
        check(g.forward(small), _forward(small, tau, delta), dtype="float32", **label)
        assert numpy.all(numpy.isfinite(g.log_forward(y)))
        assert norm_relative(numpy.exp(g.log_forward(y)), g.forward(y)) < 1e-10


def test_jacobian():
    for _, g, tau, delta, y in _cases(1000, 4, categories=(2, 3, 10), temperatures=(0.03, 100)):

        def forward(y, tau=tau, delta=delta):
            return _forward(y, tau, delta)

        # longdouble differences of numbers near 1 are right to 1e-19/1e-3 only
        transform_checks.check_jacobian(g, y, forward, 1e-3 * min(1, tau), scale=1e-4 / min(1, tau), **NAME)


def test_log_det_against_the_jacobian():
    for _, g, _, _, y in _cases(1000, 5, spread=(0.1, 1.0), categories=(2, 3, 10), temperatures=(0.2, 100)):
        transform_checks.check_log_det(g, y, **NAME)


def test_log_det_at_extreme_points_against_the_jacobian():
    for _, g, tau, delta, y in _cases(200, 6, spread=(1.0, 30.0), categories=(2, 3, 5), temperatures=(3e-3, 100)):
        at = y[(0,) * (y.ndim - 1)]

        def jacobian(at=at, tau=tau, delta=delta):
            tau, delta = mpmath.mpf(tau), mpmath.mpf(delta)
            u = [1 / (1 + mpmath.exp(-mpmath.mpf(float(v)))) for v in at]
            n = len(u)
            w = [u[k] * mpmath.fprod(1 - u[i] for i in range(k)) for k in range(n)]
            inner = [[w[k] * ((1 - u[k]) if i == k else -u[i] if i < k else 0) for i in range(n)] for k in range(n)]
            e = [mpmath.exp(v / tau) for v in w]
            z = [v / (mpmath.fsum(e) + delta) for v in e]
            outer = [[z[k] * ((k == i) - z[i]) / tau for i in range(n)] for k in range(n)]
            return mpmath.matrix(outer) * mpmath.matrix(inner)

        transform_checks.check_log_det_extreme(g.log_det(at), jacobian, **NAME)


def test_round_trips():
    """Conditioning: w comes back right to tau ulp of log z, and a stick is a ratio of w's, the remainder among them."""
    label = {"equation": "eq. 18", "function": "transforms.Chain.inverse"}
    for _, g, tau, _, y in _cases(1000, 7, spread=(0.1, 1.0), categories=(2, 3, 10), temperatures=(0.01, 100)):
        w = oracles.sticks(y).astype(float)
        if w.min() < 2e3 * numpy.finfo(float).eps:
            continue  # the next test
        bound = (1 + tau * float(numpy.abs(g.log_forward(y)).max())) * w.shape[-1] / w.min()
        transform_checks.check_bound(g.inverse(g.forward(y)) - y, bound, **label)


@pytest.mark.parametrize("remainder", [False, True])
@pytest.mark.parametrize("k", [10, 20, 30, 40, 60, 200])
def test_a_point_that_does_not_determine_its_sticks_is_refused(k, remainder):
    """Where log_prob_z answers, it is right to .01 nats; where little is left for the last sticks, it does not."""
    q = igr_sb(numpy.zeros(k - 1), numpy.zeros(k - 1), 0.5, remainder=remainder)
    answered = 0
    for y in numpy.random.default_rng(k).standard_normal((20, k - 1)):
        try:
            got = q.log_prob_z(q.transform.forward(y))
        except ValueError as error:
            assert "does not say what is left for the last sticks" in str(error) or "on its rim" in str(error)
        else:
            answered += 1
            assert abs(got - q.log_prob(y)) < 0.01
    assert answered == 20 if k <= 20 else k < 60 or answered == 0


def test_inverse_log_goes_where_z_underflows():
    y = numpy.random.default_rng(5).standard_normal((30, 3))
    for g in (Chain(StickBreaking(), SoftmaxPlusPlus(1e-3)), Chain(StickBreaking(), Softmax(1e-3))):
        assert g.forward(y).min() == 0
        with pytest.raises(ValueError, match="give log z"):
            g.inverse(g.forward(y))
        assert numpy.abs(g.inverse_log(g.log_forward(y)) - y).max() < 1e-9


def test_temperature_array_with_a_replica_axis():
    for rng, lead, k, _ in configurations(100, 8, categories=(2, 3, 10)):
        tau = numpy.exp(rng.uniform(-6, 4, (3,) + (1,) * (len(lead) + 1)))
        arrays = [rng.standard_normal(s) for s in ((3, *lead, k - 1), (3, *lead, k), (3, *lead))]
        g = Chain(StickBreaking(), SoftmaxPlusPlus(tau))
        got = [g.forward(arrays[0]), g.vjp(*arrays)[0], g.log_det(arrays[0]), g.jacobian(arrays[0])]
        for r in range(3):
            one, own = Chain(StickBreaking(), SoftmaxPlusPlus(float(tau[r].ravel()[0]))), [x[r] for x in arrays]
            want = [one.forward(own[0]), one.vjp(*own)[0], one.log_det(own[0]), one.jacobian(own[0])]
            for a, b in zip(got, want, strict=True):
                assert norm_relative(a[r], b) < 1e-14


def test_limit_is_the_largest_of_the_first_sticks_and_never_the_last_category():
    for _, g, _, delta, y in _cases(300, 9, categories=(2, 3, 10)):
        w = numpy.sort(oracles.sticks(y)[..., :-1], axis=-1)
        gap = float(numpy.min(numpy.append(w[..., -1] - w[..., -2], w[..., -1]) if y.shape[-1] > 1 else w[..., -1]))
        b = g.discretize(y)
        assert numpy.all(b[..., -1] == 0) and numpy.all(b.sum(-1) == 1) and b.dtype == y.dtype
        if gap > 1e-6:
            cold = Chain(StickBreaking(), SoftmaxPlusPlus(gap / (1000 + abs(numpy.log(delta))), delta))
            assert numpy.array_equal(cold.forward(y), b)


def test_chain_of_one_and_of_none():
    y = numpy.random.default_rng(0).standard_normal((4, 3))
    one, inside = Chain(SoftmaxPlusPlus(0.3)), SoftmaxPlusPlus(0.3)
    assert numpy.array_equal(one.forward(y), inside.forward(y)) and numpy.array_equal(one.log_det(y), inside.log_det(y))
    assert one.onto_simplex and numpy.array_equal(one.inverse(one.forward(y)), inside.inverse(inside.forward(y)))
    with pytest.raises(ValueError, match="at least one"):
        Chain()


def test_low_temperature_leaves_everything_finite():
    """Trap: NaN at the boundary or at low temperature, for a chain."""
    for dtype in ("f8", "f4"):
        g = Chain(StickBreaking(), SoftmaxPlusPlus(1e-6))
        y = numpy.array([[50.0, 1.0], [-200.0, 3.0], [0.0, 0.0]], dtype)
        for out in (g.forward(y), g.log_det(y), g.log_forward(y), g.vjp(y, g.forward(y), numpy.ones(3, dtype))[0]):
            assert out.dtype == dtype and numpy.all(numpy.isfinite(out))


def test_identity():
    """The composition of nothing, which stands for the prior's missing flow."""
    y, z_bar = numpy.random.default_rng(9).standard_normal((2, 4, 3))
    g = Identity()
    z, saved = g.run(y)
    y_bar, bars = g.pullback(saved, z_bar, numpy.ones(4))
    assert bars == {} and numpy.array_equal(z, y) and numpy.array_equal(g.inverse(z), y)
    assert numpy.array_equal(y_bar, z_bar) and numpy.array_equal(g.inverse_pullback(saved, z_bar), z_bar)
    assert numpy.array_equal(g.pullback(saved, None, numpy.ones(4))[0], numpy.zeros((4, 3)))  # log|det| is constant
    assert numpy.array_equal(g.jacobian(y), numpy.broadcast_to(numpy.eye(3), (4, 3, 3)))
    assert numpy.array_equal(g.log_det(y), numpy.zeros(4))
