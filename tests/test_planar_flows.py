"""Several planar flows as one map, the training step's, against flows one by one: ours, and the oracles'."""

from __future__ import annotations

import math

import numpy
import pytest

from igr_ref.transforms import Chain, PlanarFlow, SoftmaxPlusPlus
from igr_ref.transforms.planar_flows import PlanarFlows

from . import gradcheck
from . import oracles_transforms as oracles

LONG = numpy.longdouble
ABOUT = {"equation": "IGR-Planar", "function": "transforms.PlanarFlows.pullback"}
NAMES = ("w", "u", "b")


def draw(rng, length, replicas, middle, n, k, size, dtype=numpy.float64):
    """y, its cotangents, and L flows; y's samples last in memory half the time, as in training."""
    lead = (*replicas, *middle, n)
    y, z_bar = rng.standard_normal((2, *lead, k - 1)).astype(dtype)
    if rng.random() < 0.5:
        first = len(replicas)
        y = numpy.moveaxis(numpy.ascontiguousarray(numpy.moveaxis(y, (-2, -1), (first, first + 1))),
                           (first, first + 1), (-2, -1))  # fmt: skip
    w, u = size / math.sqrt(k - 1) * rng.standard_normal((2, *replicas, n, length, k - 1))
    b = rng.standard_normal((*replicas, n, length))
    bars = z_bar, rng.standard_normal(lead).astype(dtype)
    return y, bars, tuple(p.astype(dtype) for p in (w, u, b))


def cases(count, seed, dtype=numpy.float64):
    for i in range(count):
        rng = numpy.random.default_rng((seed, i))
        length, k = 1 + i % 3, int(rng.choice([2, 3, 10]))
        replicas, middle = [(), (3,)][rng.integers(2)], [(), (4,), (2, 5)][rng.integers(3)]
        yield rng, draw(rng, length, replicas, middle, 2, k, [0.05, 1.0, 2.0][rng.integers(3)], dtype)


def one_by_one(y, params):
    """(inputs of every flow, their (w, u, b) with axes for samples and images behind the replicas)."""
    w, u, b = params
    lead = w.ndim - 3
    between = (slice(None),) * lead + (None,) * (y.ndim - 2 - lead)
    return [(w[..., i, :][between], u[..., i, :][between], b[..., i][between]) for i in range(w.shape[-2])]


def from_oracles(y, params, z_bar, log_det_bar):
    """{name: gradient} of L flows by the product rule, in longdouble, summed to the parameters' shapes."""
    flows, at = one_by_one(y, params), [LONG(y)]
    for flow in flows:
        at.append(oracles.planar(at[-1], *flow)[0])
    bars = {name: [None] * len(flows) for name in NAMES}
    lead = params[0].ndim - 3
    middle = tuple(range(lead, y.ndim - 2))
    for i in reversed(range(len(flows))):
        found = oracles.planar_bars(at[i], *flows[i], z_bar, log_det_bar)
        z_bar = found["y"]
        for name in NAMES:
            bars[name][i] = numpy.sum(found[name], axis=middle)
    stacked = {name: numpy.stack(each, axis=-1 if name == "b" else -2) for name, each in bars.items()}
    return {"y": z_bar, **stacked}


def size_of(want):
    return max(float(numpy.linalg.norm(bar.astype("f8").ravel())) for bar in want.values())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_pullback(dtype):
    """Both cotangents, and each alone, by every partial derivative of the flows one by one; then a complex step."""
    for rng, (y, bars, params) in cases(180 if dtype == "float64" else 60, 1, dtype):
        precise = bool(rng.integers(2))
        flows = PlanarFlows(*params, precise=precise)
        for which in ((True, True), (True, False), (False, True)):
            z_bar, log_det_bar = (bar * on for bar, on in zip(bars, which, strict=True))
            y_bar, found = flows.vjp(y, *(bar if on else None for bar, on in zip(bars, which, strict=True)))
            want = from_oracles(y, params, z_bar, log_det_bar)
            tolerance = 1e-11 if dtype == "float64" else 2e-5 if not precise else 1e-6
            for name, got in {"y": y_bar, **found}.items():
                gradcheck.check(
                    got, want[name], tolerance, dtype=dtype, oracle="every partial derivative",
                    scale=0.1 * size_of(want), **ABOUT,
                )  # fmt: skip
        if dtype == "float32":
            continue
        y_bar, found = flows.vjp(y, *bars)
        point, got = (y, *params), (y_bar, *(found[name] for name in NAMES))
        direction = [rng.standard_normal(x.shape) for x in point]
        moved = [LONG(x) + 1j * LONG(oracles.STEP) * d for x, d in zip(point, direction, strict=True)]
        z, log_det = oracles.flows(moved[0], one_by_one(moved[0], moved[1:]))
        slope = (numpy.sum(bars[0] * z.imag) + numpy.sum(bars[1] * log_det.imag)) / LONG(oracles.STEP)
        along = sum(float(numpy.sum(bar * d)) for bar, d in zip(got, direction, strict=True))
        scale = sum(float(numpy.linalg.norm(x.ravel()) * numpy.linalg.norm(d.ravel()))
                    for x, d in zip(got, direction, strict=True)) / 10  # fmt: skip
        gradcheck.check(numpy.float64(along), slope, oracle="complex step", scale=scale, **ABOUT)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_it_is_the_chain_of_flows(dtype):
    """Value, determinant, pullback and J^{-T} of the readable formula, to the dtype's own rounding."""
    tolerance = 1e-12 if dtype == "float64" else 3e-5
    for _, (y, bars, params) in cases(60, 2, dtype):
        flows = PlanarFlows(*params, precise=False)
        chain = Chain(*(PlanarFlow(*flow, precise=False) for flow in one_by_one(y, params)))
        z, saved = flows.run(y)
        want_z, want_saved = chain.run(y)

        def close(got, want, scale=None):
            assert got.dtype == dtype and got.shape == want.shape
            scale = 1 + numpy.max(numpy.abs(want)) if scale is None else scale
            assert numpy.max(numpy.abs(got - want)) <= tolerance * scale

        close(z, want_z)
        log_det = chain.saved_log_det(want_saved)
        # log D where D is formed with an error of eps; determinants down to e^-8 are met
        close(flows.saved_log_det(saved), log_det, 10 * numpy.exp(-numpy.min(log_det)))
        y_bar, found = flows.pullback(saved, *bars)
        want_y_bar, want = chain.pullback(want_saved, *bars)
        close(y_bar, want_y_bar)
        middle = tuple(range(params[0].ndim - 3, y.ndim - 2))
        for name in NAMES:
            axis = -1 if name == "b" else -2
            each = [numpy.sum(want[f"{i}.{name}"], axis=middle) for i in range(params[0].shape[-2])]
            close(found[name], numpy.stack(each, axis=axis))
        moved = chain.inverse_pullback(want_saved, bars[0])
        close(
            flows.inverse_pullback(saved, bars[0]), moved, numpy.max(numpy.abs(moved)) * numpy.exp(-numpy.min(log_det))
        )
        for name, at in (("forward", y), ("log_det", y), ("jacobian", y), ("inverse", z)):
            assert numpy.array_equal(getattr(flows, name)(at), getattr(chain, name)(at)), name


def test_inverse_pullback_undoes_the_pullback():
    """J^{-T} by the Jacobian's linear solve."""
    for _, (y, bars, params) in cases(60, 3):
        flows = PlanarFlows(*params)
        jacobian = flows.jacobian(y)
        condition = float(numpy.max(numpy.linalg.cond(jacobian)))
        want = numpy.linalg.solve(numpy.swapaxes(jacobian, -1, -2), bars[0][..., None])[..., 0]
        about = {"equation": "IGR-Planar", "function": "transforms.PlanarFlows.inverse_pullback"}
        got = flows.inverse_pullback(flows.run(y)[1], bars[0])
        gradcheck.check(got, want, 1e-13 * condition, oracle="linear solve", **about)
        sign, log_det = numpy.linalg.slogdet(jacobian)
        got = flows.saved_log_det(flows.run(y)[1])
        about["function"] = "transforms.PlanarFlows.saved_log_det"
        gradcheck.check(got, log_det, 1e-12 * condition, oracle="slogdet of the Jacobian", scale=1.0, **about)
        assert numpy.all(sign > 0)


def test_a_steep_slope_keeps_its_digits():
    """sech^2 of s = 12, 1.5e-10, where 1 - tanh^2 in float32 is 0: the gradient by b is right relatively."""
    w, u = numpy.full((1, 1, 1), 1, "f4"), numpy.full((1, 1, 1), 0.5, "f4")
    b = numpy.zeros((1, 1), "f4")
    y = numpy.array([[12.0]], "f4")
    _, bars = PlanarFlows(w, u, b, precise=False).vjp(y, numpy.ones((1, 1), "f4"), None)
    psi = math.log1p(math.exp(0.5)) - 1
    assert float(bars["b"][0, 0]) == pytest.approx(psi / math.cosh(12.0) ** 2, rel=1e-5)


def test_in_a_chain():
    """The chain's names, its category, and its last link's own pullback when the flows are left out."""
    rng = numpy.random.default_rng(4)
    y, _, params = draw(rng, 2, (), (5,), 3, 4, 1.0)
    outer = SoftmaxPlusPlus(0.4)
    both = Chain(PlanarFlows(*params), outer)
    plain = Chain(*(PlanarFlow(*flow) for flow in one_by_one(y, params)), outer)
    z, saved = both.run(y)
    numpy.testing.assert_allclose(z, plain.forward(y), rtol=1e-12)
    assert numpy.array_equal(both.category(y), plain.category(y))
    z_bar = rng.standard_normal(z.shape)
    x_bar, bars = both.pullback(saved, z_bar, first=1)
    assert bars == {} and numpy.array_equal(x_bar, outer.pullback(saved[1][0], z_bar)[0])
    assert set(both.pullback(saved, z_bar)[1]) == {"0.w", "0.u", "0.b"}
