"""The checker is checked: every fault planted in a derivative must be found, and its oracles must be right."""

from __future__ import annotations

import autograd.numpy as anp
import numpy
import pytest

import igr_ref
from igr_ref import numerics

from . import ledger
from .gradcheck import (
    autograd_vjp,
    central_difference,
    check,
    check_rows,
    complex_step,
    configurations,
    norm_relative,
    points,
)

LABELS = {"equation": "planted", "function": "planted", "oracle": "planted"}


@pytest.fixture(autouse=True)
def _scratch_ledger(monkeypatch):
    """Faults planted here stay out of the ledger that is printed."""
    monkeypatch.setattr(ledger, "ENTRIES", {})


def _right(dtype="float64"):
    return numpy.random.default_rng(0).standard_normal((2, 5)).astype(dtype)


def _swap(want, value, at=(1, 2)):
    got = want.copy()
    got[at] = value
    return got


FAULTS = {
    "0.1 % too large": lambda g: g * 1.001,
    "0.1 % in the largest entry": lambda g: g + 1e-3 * g * (numpy.abs(g) == numpy.abs(g).max()),
    "sign": lambda g: -g,
    "sign of one entry": lambda g: _swap(g, -g[1, 2]),
    "dropped term": lambda g: g - 0.3,
    "dropped entry": lambda g: _swap(g, 0),
    "all zero": lambda g: 0 * g,
    "transposed rows": lambda g: g[::-1],
    "factor 2": lambda g: 2 * g,
    "NaN": lambda g: _swap(g, numpy.nan),
    "infinity": lambda g: _swap(g, numpy.inf),
    "wrong shape": lambda g: g[:1],
    "missing axis": lambda g: g.sum(axis=0),
    "extra axis": lambda g: g[None],
    "a list": lambda g: g.tolist(),
    "float16": lambda g: g.astype("float16"),
    "longdouble": lambda g: g.astype(numpy.longdouble),
    "integer": lambda g: g.astype(int),
    "subclass": lambda g: g.view(type("Labelled", (numpy.ndarray,), {})),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_fails(fault, dtype):
    right = _right(dtype)
    check(right, right.astype(numpy.longdouble), dtype=dtype, **LABELS)
    with pytest.raises(AssertionError, match="planted"):
        check(FAULTS[fault](right), right, dtype=dtype, **LABELS)


def test_the_dtype_must_be_the_one_expected():
    for got, expected in (("float32", "float64"), ("float64", "float32")):
        with pytest.raises(AssertionError, match="dtype"):
            check(_right(got), _right(got), dtype=expected, **LABELS)


def test_rows_are_compared_one_by_one():
    """A fault in one configuration among many counts as much as it would alone."""
    right = numpy.random.default_rng(1).standard_normal((1000, 4)) * numpy.exp(numpy.arange(1000.0) / 50)[:, None]
    check_rows(right, right.astype(numpy.longdouble), **LABELS)
    assert ledger.ENTRIES["planted", "planted", "planted"].configurations == 1000
    for fault in (
        _swap(right, 1.001 * right[0, 2], (0, 2)),
        -right,
        right[:, :3],
        right.astype("f4"),
        right * numpy.nan,
    ):
        with pytest.raises(AssertionError, match="planted"):
            check_rows(fault, right, **LABELS)
    beside = numpy.where(numpy.arange(1000) == 0, 1e8, 0)  # a scale for the first configuration only
    check_rows(_swap(right, right[0, 2] * 1.001, (0, 2)), right, scale=beside, **LABELS)
    with pytest.raises(AssertionError, match="planted"):
        check_rows(_swap(right, right[1, 2] * 1.001, (1, 2)), right, scale=beside, **LABELS)


def test_zero_where_something_was_expected_and_the_reverse():
    check(numpy.zeros(3), numpy.zeros(3), **LABELS)
    for got, want in ((0.0, 1e-200), (1e-200, 0.0)):
        with pytest.raises(AssertionError, match="error"):
            check(numpy.full(3, got), numpy.full(3, want), **LABELS)


def test_tolerance_and_scale_are_applied():
    want = numpy.ones(4)
    check(want * (1 + 0.9e-10), want, **LABELS)
    check(want.astype("f4") * numpy.float32(1 + 9e-5), want, dtype="float32", **LABELS)
    for got, dtype in ((want * (1 + 1.2e-10), "float64"), ((want * (1 + 1.2e-4)).astype("f4"), "float32")):
        with pytest.raises(AssertionError, match="error"):
            check(got, want, dtype=dtype, **LABELS)
    # below the scale, differences count as absolute; above it, the scale must make no difference
    assert norm_relative(numpy.array([2e-20]), numpy.array([1e-20])) == 1
    found = norm_relative(numpy.array([2e-20]), numpy.array([1e-20]), scale=1e-5)
    assert found == pytest.approx(1e-15, rel=1e-12, abs=0)
    assert norm_relative(numpy.array([1.001]), numpy.array([1.0]), scale=1e-5) == pytest.approx(1e-3)
    with pytest.raises(AssertionError, match="error"):
        check(want * 1.001, want, scale=1e-5, **LABELS)


def test_every_comparison_is_recorded_even_a_failed_one():
    check(numpy.ones(2), numpy.ones(2), **LABELS)
    with pytest.raises(AssertionError):
        check(1.001 * numpy.ones(2), numpy.ones(2), **LABELS)
    (entry,) = ledger.ENTRIES.values()
    assert entry.configurations == 2 and entry.largest == pytest.approx(1e-3)
    assert any("planted" in line and "1.0e-03" in line for line in ledger.table())


@pytest.mark.parametrize(
    "fault",
    [
        lambda z, a: 1.001 * numerics.softmax_vjp(z, a),
        lambda z, a: -numerics.softmax_vjp(z, a),
        lambda z, a: z * a,  # the term that keeps the sum at 1 is dropped
        lambda z, a: numerics.softmax_vjp(z, a) / 0.5,  # a temperature forgotten
    ],
)
def test_a_fault_in_our_softmax_pullback_is_found_by_autograd(fault):
    rng = numpy.random.default_rng(1)
    y, bar = rng.standard_normal((2, 3, 4))
    (want,) = autograd_vjp(lambda y: anp.sum(bar * numerics.softmax(y)), y)
    z = numerics.softmax(y)
    check(numerics.softmax_vjp(z, bar), want, **LABELS)
    with pytest.raises(AssertionError, match="error"):
        check(fault(z, bar), want, **LABELS)


def test_autograd_runs_our_forwards():
    """Each forward's gradient by autograd equals its directional derivative by central differences."""
    rng = numpy.random.default_rng(2)
    u = rng.standard_normal((2, 3))
    b = rng.standard_normal((2, 4))
    one = igr_ref.igr_i(u, 0.1 * u, 0.7)
    gs = igr_ref.GumbelSoftmax(b, 0.7)
    forwards = {
        "softmax++": lambda y: anp.sum(b * igr_ref.SoftmaxPlusPlus(0.7).forward(y)),
        "softmax++ log_det": lambda y: anp.sum(igr_ref.SoftmaxPlusPlus(0.7).log_det(y)),
        "stick-breaking": lambda y: anp.sum(b * igr_ref.StickBreaking().forward(y)),
        "stick-breaking log_det": lambda y: anp.sum(igr_ref.StickBreaking().log_det(y)),
        "igr log_prob": lambda y: anp.sum(one.log_prob(y)),
        "gs log_prob": lambda y: anp.sum(gs.log_prob(numerics.log_softmax(anp.concatenate([y, y[:, :1]], axis=-1)))),
        "log_ndtr": lambda y: anp.sum(numerics.log_ndtr(3 * y)),
        "log1mexp": lambda y: anp.sum(numerics.log1mexp(-anp.abs(y))),
    }
    for name, forward in forwards.items():
        y, direction = rng.standard_normal((2, 2, 3))
        (bar,) = autograd_vjp(forward, y)
        assert type(bar) is numpy.ndarray and bar.shape == y.shape, name
        difference = central_difference(forward, y, direction)
        assert float(numpy.sum(bar * direction)) == pytest.approx(float(difference), rel=1e-7, abs=1e-8), name


def test_the_difference_quotients():
    x, direction = numpy.array([0.3, -1.2]), numpy.array([1.0, 2.0])

    def f(x):
        return numpy.sum(numpy.exp(x) * x)

    want = float(numpy.sum(numpy.exp(x) * (1 + x) * direction))
    assert complex_step(f, x, direction) == pytest.approx(want, rel=4e-15, abs=0)
    assert central_difference(f, x, direction) == pytest.approx(want, rel=1e-9, abs=0)


def test_configurations_cover_what_they_claim():
    seen = [(lead, k, temperature) for _, lead, k, temperature in configurations(1000)]
    assert len(seen) == 1000
    assert {k for _, k, _ in seen} == {2, 3, 10, 100, 1000}
    assert {lead for lead, k, _ in seen if k <= 100} == {(), (3,), (2, 3)}
    assert {lead for lead, k, _ in seen if k > 100} == {(), (2,)}
    temperatures = numpy.array([temperature for *_, temperature in seen])
    assert temperatures.min() >= 1e-3 and temperatures.max() <= 1e2
    counts, _ = numpy.histogram(numpy.log10(temperatures), bins=5, range=(-3, 2))
    assert counts.min() > 150  # log-uniform: 200 to a decade


def test_configurations_are_seeded():
    first, again, other = (
        [(rng.random(), lead, k, temperature) for rng, lead, k, temperature in configurations(20, seed)]
        for seed in (0, 0, 1)
    )
    assert first == again and first != other


def test_points_are_moderate_and_extreme():
    logits = [float(numpy.abs(points(numpy.random.default_rng(i), (50,), 0.01)).max() / 0.01) for i in range(60)]
    assert min(logits) < 15 and max(logits) > 1000
