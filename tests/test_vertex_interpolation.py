"""eq. 17: stick-breaking pulled towards the nearest vertex, at temperatures in (0, 1]."""

from __future__ import annotations

import autograd.numpy as anp
import mpmath
import numpy
import pytest

from igr_ref.distributions import IGR
from igr_ref.transforms import Chain, PlanarFlow, SoftmaxPlusPlus, StickBreaking, VertexInterpolation

from . import gradcheck, ledger, oracles
from . import oracles_transforms as more_oracles
from .strict_array import same_bits, strict

LONG = numpy.longdouble
EQUATION = "eq. 17"
TEMPERATURES = (1e-3, 1.0)


def draw(rng, lead, k, dtype=numpy.float64):
    """Points y: centred where all w_k are alike (logit of 1/(K-k+1)), or around 0, or far out."""
    left = numpy.arange(k, 1, -1)
    centre, spread = [(-numpy.log(left - 1), 0.3), (0.0, 1.0), (0.0, 6.0)][rng.integers(3)]
    return (centre + spread * rng.standard_normal((*lead, k - 1))).astype(dtype)


def test_value_and_log():
    """Against longdouble; log g is right where g underflows."""
    for rng, lead, k, temperature in gradcheck.configurations(1000, seed=1, temperatures=TEMPERATURES):
        y, g = draw(rng, lead, k), VertexInterpolation(temperature)
        z = g.forward(y)
        want = more_oracles.vertex_interpolation(y, temperature)
        about = {"equation": EQUATION, "oracle": "longdouble"}
        assert z.shape == (*lead, k) and numpy.all(z >= 0)
        gradcheck.check(z, want, 1e-13, function="transforms.VertexInterpolation.forward", **about)
        assert numpy.max(abs(numpy.sum(z, axis=-1) - 1)) < 1e-14 * k**0.5
        gradcheck.check(
            g.log_forward(y), numpy.log(want), 1e-13, function="transforms.VertexInterpolation.log_forward", **about
        )
    y = numpy.array([800.0, -900.0, 3.0])
    got = VertexInterpolation(0.25).log_forward(y)
    with mpmath.workdps(900):
        u = [1 / (1 + mpmath.exp(-mpmath.mpf(v))) for v in y]
        w = [u[0], u[1] * (1 - u[0]), u[2] * (1 - u[0]) * (1 - u[1]), (1 - u[0]) * (1 - u[1]) * (1 - u[2])]
        want = [mpmath.log(1 - 0.25 * (1 - w[0])), *(mpmath.log(0.25 * v) for v in w[1:])]
        assert abs(got[0] - want[0]) < 1e-300
        assert all(abs(a - b) < 1e-15 * abs(b) for a, b in zip(got[1:], want[1:], strict=True))


def test_pullback():
    """Against autograd on our forward and against the explicit longdouble Jacobian times tau."""
    for rng, lead, k, temperature in gradcheck.configurations(1000, seed=2, temperatures=TEMPERATURES):
        y, g = draw(rng, lead, k), VertexInterpolation(temperature)
        z_bar, log_det_bar = rng.standard_normal((*lead, k)), numpy.asarray(rng.standard_normal(lead))

        def loss(y, g=g, z_bar=z_bar, log_det_bar=log_det_bar):
            return anp.sum(z_bar * g.forward(y)) + anp.sum(log_det_bar * g.log_det(y))

        got, bars = g.vjp(y, z_bar, log_det_bar)
        assert bars == {}
        about = {"equation": EQUATION, "function": "transforms.VertexInterpolation.pullback"}
        gradcheck.check(got, gradcheck.autograd_vjp(loss, y)[0], oracle="autograd", **about)
        if k <= 100:
            want = oracles.sticks_bar(y, LONG(temperature) * LONG(z_bar), log_det_bar)
            gradcheck.check(got, want, oracle="longdouble", **about)
        direction = rng.standard_normal(y.shape)
        w = more_oracles.sticks(LONG(y) + 1j * LONG(more_oracles.STEP) * direction)
        slope = LONG(temperature) * numpy.sum(z_bar * w.imag) / LONG(more_oracles.STEP)
        only_z, _ = g.vjp(y, z_bar)
        along = numpy.float64(numpy.sum(only_z * direction))
        scale = numpy.linalg.norm(only_z.ravel()) * numpy.linalg.norm(direction.ravel()) / 100
        gradcheck.check(along, slope, oracle="complex step", scale=scale, **about)
        only_det, _ = g.vjp(y, None, log_det_bar)
        gradcheck.check(only_z + only_det, got, 1e-13, oracle="sum of the two parts", **about)


def test_pullback_of_ten_thousand_categories():
    for rng, lead, k, temperature in gradcheck.configurations(
        6, seed=3, categories=(10_000,), temperatures=TEMPERATURES
    ):
        y, g = draw(rng, lead, k), VertexInterpolation(temperature)
        z_bar, log_det_bar = rng.standard_normal((*lead, k)), numpy.asarray(rng.standard_normal(lead))

        def loss(y, g=g, z_bar=z_bar, log_det_bar=log_det_bar):
            return anp.sum(z_bar * g.forward(y)) + anp.sum(log_det_bar * g.log_det(y))

        gradcheck.check(
            g.vjp(y, z_bar, log_det_bar)[0], gradcheck.autograd_vjp(loss, y)[0], equation=EQUATION,
            function="transforms.VertexInterpolation.pullback", oracle="autograd",
        )  # fmt: skip


def test_float32():
    for rng, lead, k, temperature in gradcheck.configurations(1000, seed=4, temperatures=TEMPERATURES):
        y, g = draw(rng, lead, k, numpy.float32), VertexInterpolation(temperature)
        z_bar = rng.standard_normal((*lead, k)).astype(numpy.float32)
        log_det_bar = numpy.asarray(rng.standard_normal(lead), dtype=numpy.float32)
        want, _ = g.vjp(y.astype(float), z_bar.astype(float), log_det_bar.astype(float))
        about = {"equation": EQUATION, "oracle": "float64", "dtype": numpy.float32}
        got = g.vjp(y, z_bar, log_det_bar)[0]
        gradcheck.check(got, want, function="transforms.VertexInterpolation.pullback", **about)
        value = more_oracles.vertex_interpolation(y, temperature)
        gradcheck.check(g.forward(y), value, function="transforms.VertexInterpolation.forward", **about)
        for array in (g.log_forward(y), g.log_det(y), g.discretize(y)) + ((g.jacobian(y),) if k <= 100 else ()):
            assert array.dtype == numpy.float32 and numpy.all(numpy.isfinite(array))


def test_jacobian_and_log_det():
    """J against the explicit stick-breaking Jacobian and central differences of g; log|det| against slogdet."""
    for rng, lead, k, temperature in gradcheck.configurations(
        1000, seed=5, categories=(2, 3, 10), temperatures=TEMPERATURES
    ):
        y, g = draw(rng, lead, k), VertexInterpolation(temperature)
        jacobian = g.jacobian(y)
        about = {"equation": EQUATION, "function": "transforms.VertexInterpolation.jacobian"}
        want = LONG(temperature) * oracles.sticks_jacobian(y)[..., :-1, :]
        gradcheck.check(jacobian, want, oracle="longdouble", **about)
        step = LONG(1e-6)
        ahead, behind = (
            numpy.stack([more_oracles.vertex_interpolation(y + s * numpy.eye(k - 1, dtype=LONG)[i], temperature)
                         for i in range(k - 1)], axis=-1)[..., :-1, :]
            for s in (step, -step)
        )  # fmt: skip
        # the two sides of a jump of g differ by more than any derivative: such a point is left out
        if numpy.max(abs(ahead - behind)) < 1e-3 * (1 - temperature) or temperature > 0.99:
            # 1e-19 of rounding over a step of 1e-6: entries below 1e-3 are compared absolutely
            gradcheck.check(jacobian, (ahead - behind) / (2 * step), oracle="central differences", scale=0.05, **about)
        sign, log_det = numpy.linalg.slogdet(jacobian)
        assert numpy.all(sign > 0)
        gradcheck.check(
            g.log_det(y), log_det, 1e-12, equation=EQUATION, function="transforms.VertexInterpolation.log_det",
            oracle="slogdet of the Jacobian",
        )  # fmt: skip
        assert numpy.all(numpy.triu(jacobian, 1) == 0)


def test_every_category_can_be_reached_the_last_one_too():
    """audit nearest-vertex: P_S takes the argmax of all K coordinates, remainder included."""
    g = VertexInterpolation(0.1)
    assert g.category(numpy.full((3, 4), -3.0)).tolist() == [4, 4, 4]
    rng = numpy.random.default_rng(6)
    for k in (2, 3, 10):
        left = numpy.arange(k, 1, -1)
        y = -numpy.log(left - 1) + rng.standard_normal((4000, k - 1))
        w = more_oracles.sticks(y)
        assert numpy.array_equal(g.category(y), numpy.argmax(w, axis=-1))
        assert set(g.category(y).tolist()) == set(range(k))
        b = g.discretize(y)
        assert numpy.all((b == 0) | (b == 1)) and numpy.all(b.sum(-1) == 1) and b.shape == (4000, k)
        assert numpy.array_equal(numpy.argmax(g.forward(y), axis=-1), g.category(y))
        # the limit tau -> 0
        assert numpy.max(abs(VertexInterpolation(1e-12).forward(y) - b)) < 1e-11


def test_nearest_vertex_as_printed_would_be_the_origin():
    """The nearest vertex of S^{K-1} inside R^{K-1} is 0, the K-th category, unless some w_k > 1/2."""
    y = numpy.array([numpy.log(0.4 / 0.6), 0.0])  # w = (.4, .3, .3)
    vertices = numpy.concatenate([numpy.eye(2), numpy.zeros((1, 2))])
    distance = numpy.linalg.norm(StickBreaking().forward(y)[:-1] - vertices, axis=-1)
    assert numpy.argmin(distance) == 2 and VertexInterpolation(0.5).category(y) == 0


# ---- inverse -------------------------------------------------------------------------------------------------------


def test_round_trip():
    """y from g to 1e-12 (float64): w_m = 1 - sum of the others carries K eps relative, as w_m >= 1/K."""
    for rng, lead, k, temperature in gradcheck.configurations(
        1000, seed=7, categories=(2, 3, 10, 100), temperatures=TEMPERATURES
    ):
        dtype = [numpy.float64, numpy.float32][rng.integers(2)]
        g, y = VertexInterpolation(temperature), draw(rng, lead, k, dtype)
        z = g.forward(y)
        tiny = numpy.finfo(dtype).tiny
        if numpy.min(z) < tiny:
            continue
        back = g.inverse(z)
        assert back.dtype == dtype
        # y_i = log w_i - log(sum after i): where the sum after i is one large w_m less eps, a logit of size |y| has
        # been rounded with it; in the first coordinates 1 - u_i = e^{-y_i}
        condition = 1 + numpy.max(abs(y)) + k
        error = float(numpy.max(abs(back - y)) / condition)
        kind = "" if dtype == numpy.float64 else " (float32)"
        ledger.record(
            EQUATION, "transforms.VertexInterpolation.inverse", "round trip" + kind, error, "absolute / (K + |y|)"
        )
        assert error <= (1e-12 if dtype == numpy.float64 else 1e-5)


def test_inverse_at_temperature_one_is_stick_breakings():
    y = numpy.random.default_rng(8).standard_normal((50, 6))
    z = VertexInterpolation(1.0).forward(y)
    assert numpy.array_equal(z, StickBreaking().forward(y))
    assert numpy.max(abs(VertexInterpolation(1.0).inverse(z) - y)) < 1e-13


def test_inverse_keeps_its_digits_at_low_temperature():
    """tau = 1e-8: (g_m - (1 - tau))/tau would keep eight digits of w_m, one minus the others keeps all."""
    y = numpy.random.default_rng(9).standard_normal((50, 6))
    g = VertexInterpolation(1e-8)
    z = g.forward(y)
    assert numpy.max(abs(g.inverse(z) - y)) < 1e-13
    m = g.category(y)[:, None]
    naive = (numpy.take_along_axis(z, m, -1) - (1 - 1e-8)) / 1e-8
    assert numpy.max(abs(naive - numpy.take_along_axis(StickBreaking().forward(y), m, -1))) > 1e-9


@pytest.mark.parametrize("z", [[0.5, 0.3, 0.2], [0.34, 0.33, 0.33], [0.6, 0.4, 0.0], [0.9, 0.2, -0.1]])
def test_points_outside_the_image_are_refused(z):
    """The image at tau = .5 needs max z - z_j >= .5."""
    with pytest.raises(ValueError, match="1 - temperature" if min(z) > 0 else "must be positive"):
        VertexInterpolation(0.5).inverse(numpy.array(z))


@pytest.mark.parametrize(
    "temperature", [1.0001, 2.0, 0.0, -1.0, float("nan"), float("inf"), numpy.array([[0.5], [1.5]])]
)
def test_bad_temperature(temperature):
    with pytest.raises(ValueError, match="temperature must be"):
        VertexInterpolation(temperature)


def test_above_temperature_one_the_formula_leaves_the_simplex():
    """tau = 2 at w = (.4, .35, .25): g = (-.2, .7, .5), whose argmax is not w's."""
    w = more_oracles.sticks(numpy.log([0.4 / 0.6, 0.35 / 0.25]))
    g = 2 * w - numpy.array([1, 0, 0])
    assert g[0] < 0 and numpy.argmax(g) != numpy.argmax(w)


def test_temperature_for_each_replica():
    rng = numpy.random.default_rng(10)
    tau = numpy.array([0.1, 0.6, 1.0]).reshape(3, 1, 1)
    y, z_bar = rng.standard_normal((3, 5, 4)), rng.standard_normal((3, 5, 5))
    g = VertexInterpolation(tau)
    for r, value in enumerate(tau.ravel()):
        one = VertexInterpolation(float(value))
        assert numpy.array_equal(g.forward(y)[r], one.forward(y[r]))
        assert numpy.allclose(g.log_forward(y)[r], one.log_forward(y[r]), rtol=1e-14)
        assert numpy.allclose(g.log_det(y)[r], one.log_det(y[r]), rtol=1e-14)
        assert numpy.array_equal(g.jacobian(y)[r], one.jacobian(y[r]))
        assert numpy.array_equal(g.vjp(y, z_bar)[0][r], one.vjp(y[r], z_bar[r])[0])
        assert numpy.allclose(g.inverse(g.forward(y))[r], y[r], rtol=1e-12)


# ---- densities and chains ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1e-3, 0.3, 1.0])
def test_density_integrates_to_one_k2(temperature):
    """The image is (0, tau/2] and [1 - tau/2, 1): Gauss-Legendre in log z on each."""
    q = IGR(numpy.array([0.4]), numpy.array([-0.2]), VertexInterpolation(temperature))
    x, weight = numpy.polynomial.legendre.leggauss(300)
    t = numpy.log(temperature / 2) + (x - 1) * 10  # from e^-20 of the image's width to its end
    small = numpy.exp(t)
    total = 0.0
    for z in (numpy.stack([small, 1 - small], axis=-1), numpy.stack([1 - small, small], axis=-1)):
        total += numpy.sum(10 * weight * small * numpy.exp(q.log_prob_z(z)))
    ledger.record("eq. 12 (eq. 17)", "distributions.IGR.log_prob_z", "integral is 1", abs(total - 1), "absolute")
    assert abs(total - 1) < 1e-9


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0])
def test_density_integrates_to_one_k3(temperature):
    """The image is six triangles: vertex m, the centre and the middle of an edge at m, all moved towards m."""
    q = IGR(numpy.array([-0.5, 0.2]), numpy.array([-0.3, 0.1]), VertexInterpolation(temperature))
    x, weight = numpy.polynomial.legendre.leggauss(60)
    # a power map gathers nodes at the triangle's sides, where the density's logarithm is steep
    a = (x + 1) / 2
    a, da = a**3 * (10 - 15 * a + 6 * a**2), weight / 2 * 30 * a**2 * (1 - a) ** 2
    eye, total = numpy.eye(3), 0.0
    for m in range(3):
        for j in range(3):
            if j == m:
                continue
            corners = [eye[m], (eye[m] + eye[j]) / 2, numpy.full(3, 1 / 3)]
            p, r = a[:, None], a[None, :]
            w = (1 - p)[..., None] * corners[0] + p[..., None] * (
                (1 - r)[..., None] * corners[1] + r[..., None] * corners[2]
            )
            z = temperature * w + (1 - temperature) * eye[m]
            edges = temperature * numpy.array([corners[1] - corners[0], corners[2] - corners[0]])[:, :2]
            area = abs(numpy.linalg.det(edges)) * p
            total += numpy.sum(da[:, None] * da[None, :] * area * numpy.exp(q.log_prob_z(z)))
    ledger.record("eq. 12 (eq. 17)", "distributions.IGR.log_prob_z", "integral is 1", abs(total - 1), "absolute")
    assert abs(total - 1) < 1e-6


def test_in_chains():
    """After a planar flow; and before softmax++, which gets its first K-1 coordinates."""
    rng = numpy.random.default_rng(11)
    w, u = rng.standard_normal((2, 4))
    y, z_bar, log_det_bar = rng.standard_normal((7, 4)), rng.standard_normal((7, 5)), rng.standard_normal(7)
    flow = PlanarFlow(w, u, numpy.array(0.3))
    for chain in (Chain(flow, VertexInterpolation(0.4)), Chain(VertexInterpolation(0.4), SoftmaxPlusPlus(0.2))):

        def loss(y, chain=chain):
            return anp.sum(z_bar * chain.forward(y)) + anp.sum(log_det_bar * chain.log_det(y))

        got = chain.vjp(y, z_bar, log_det_bar)[0]
        gradcheck.check(
            got, gradcheck.autograd_vjp(loss, y)[0], equation=EQUATION, function="transforms.Chain.pullback",
            oracle="autograd",
        )  # fmt: skip
        log_det = numpy.linalg.slogdet(chain.jacobian(y))[1]
        gradcheck.check(
            chain.log_det(y), log_det, equation=EQUATION, function="transforms.Chain.log_det",
            oracle="slogdet of the Jacobian",
        )  # fmt: skip
    inner = VertexInterpolation(0.4)
    # all first K-1 coordinates are positive, so softmax++ never selects the K-th (audit last-category)
    assert numpy.array_equal(chain.category(y), numpy.argmax(inner.forward(y)[:, :-1], axis=-1))
    first = Chain(flow, inner)
    assert numpy.array_equal(first.category(y), inner.category(flow.forward(y)))
    assert numpy.max(abs(first.inverse(first.forward(y)) - y)) < 1e-12


def test_same_bits_on_an_array_that_refuses_numpy():
    def everything(tau, y, z_bar, det_bar):
        g = VertexInterpolation(tau)
        z, saved = g.run(y)
        out = [z, g.inverse(z), g.log_forward(y), g.log_det(y), g.jacobian(y), g.category(y), g.discretize(y)]
        return [*out, g.pullback(saved, z_bar, det_bar)[0]]

    rng = numpy.random.default_rng(12)
    for dtype in (numpy.float64, numpy.float32):
        y, z_bar, det_bar = (rng.standard_normal(shape).astype(dtype) for shape in ((3, 5, 4), (3, 5, 5), (3, 5)))
        for tau in (0.3, numpy.array([0.2, 0.5, 1.0], dtype)[:, None, None]):
            same_bits(everything(*strict((tau, y, z_bar, det_bar))), everything(tau, y, z_bar, det_bar))
