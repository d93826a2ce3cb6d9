"""The constrained planar flow: derivatives, determinant, inverse, and its place in a chain."""

from __future__ import annotations

import autograd.numpy as anp
import mpmath
import numpy
import pytest

from igr_ref.distributions import IGR, igr_planar
from igr_ref.transforms import Chain, PlanarFlow, SoftmaxPlusPlus, planar_flow

from . import gradcheck, ledger
from . import oracles as simplex_oracles
from . import oracles_transforms as oracles
from .strict_array import same_bits, strict

LONG = numpy.longdouble
EQUATION = "planar flow"
NAMES = ("y", "w", "u", "b")
EPS = 2.0**-52


def draw(rng, lead, k, dtype=numpy.float64, shared=None):
    """y and a flow: w.u has standard deviation .0025 (the initial size), .5 or 5; parameters shared half the time."""
    size = [0.05, 0.7, 2.2][rng.integers(3)] / (k - 1) ** 0.25
    shared = rng.random() < 0.5 if shared is None else shared
    own = () if shared else lead
    y = [0.3, 1.0, 5.0][rng.integers(3)] * rng.standard_normal((*lead, k - 1))
    w, u = size * rng.standard_normal((2, *own, k - 1))
    b = numpy.asarray(rng.standard_normal(own))
    return tuple(x.astype(dtype) for x in (y, w, u, b))


def cotangents(rng, y, dtype=numpy.float64):
    """Both cotangents, or one of them with the other zero."""
    z_bar, log_det_bar = rng.standard_normal(y.shape), numpy.asarray(rng.standard_normal(y.shape[:-1]))
    which = rng.integers(4)
    return (z_bar * (which != 1)).astype(dtype), (log_det_bar * (which != 2)).astype(dtype)


def ours(y, w, u, b, z_bar, log_det_bar):
    y_bar, bars = PlanarFlow(w, u, b).vjp(y, z_bar, log_det_bar)
    return {"y": y_bar, **bars}


def summed(bar, shape):
    """Sum a per-sample gradient down to the shape of its parameter."""
    return numpy.sum(bar, axis=tuple(range(bar.ndim - len(shape))), dtype=bar.dtype)


def conditioning(w, u):
    """|w.u| is formed from terms of size sum |w u|, and u~ = u + (psi - w.u) w/||w||^2 from terms that may cancel."""
    return 1 + numpy.max(numpy.sum(abs(w * u), axis=-1))


# ---- pullback ------------------------------------------------------------------------------------------------------


def test_pullback():
    """y, w, u, b bars against autograd on our forward, every partial derivative (K <= 100) and complex steps."""
    for rng, lead, k, _ in gradcheck.configurations(1000, seed=1):
        point = draw(rng, lead, k)
        z_bar, log_det_bar = cotangents(rng, point[0])

        def loss(y, w, u, b, z_bar=z_bar, log_det_bar=log_det_bar):
            flow = PlanarFlow(w, u, b, validate=False)
            return anp.sum(z_bar * flow.forward(y)) + anp.sum(log_det_bar * flow.log_det(y))

        got = ours(*point, z_bar, log_det_bar)
        auto = gradcheck.autograd_vjp(loss, *point)
        want = oracles.planar_bars(*point, z_bar, log_det_bar) if k <= 100 else None
        about = {"equation": EQUATION, "function": "transforms.PlanarFlow.pullback"}
        size = numpy.sqrt(sum(float(numpy.sum(numpy.square(bar))) for bar in auto))
        for name, at, tape in zip(NAMES, point, auto, strict=True):
            assert got[name].shape == (point[0].shape[:-1] if name == "b" else point[0].shape)  # one value a sample
            # autograd forms 1 - sigmoid and, for K > 2, sums over leading axes in another order
            tape_scale = 1e-3 * size
            gradcheck.check(summed(got[name], at.shape), tape, oracle="autograd", scale=tape_scale, **about)
            if want is not None:
                tolerance = 1e-10 * conditioning(*point[1:3])
                gradcheck.check(got[name], want[name], tolerance, oracle="every partial derivative", **about)
        direction = [rng.standard_normal(x.shape) for x in point]
        moved = [LONG(x) + 1j * LONG(oracles.STEP) * d for x, d in zip(point, direction, strict=True)]
        z, log_det = oracles.planar(*moved)
        slope = numpy.sum((z_bar * z).imag + log_det_bar[..., None] * log_det.imag[..., None] / (k - 1))
        slope = slope / LONG(oracles.STEP)
        along = [numpy.sum(summed(got[n], x.shape) * d) for n, x, d in zip(NAMES, point, direction, strict=True)]
        scale = size * numpy.sqrt(sum(numpy.sum(d * d) for d in direction)) / 10
        gradcheck.check(numpy.float64(sum(along)), slope, oracle="complex step", scale=scale, **about)


def test_pullback_of_ten_thousand_categories():
    for rng, lead, k, _ in gradcheck.configurations(12, seed=2, categories=(10_000,)):
        point = draw(rng, lead, k)
        z_bar, log_det_bar = cotangents(rng, point[0])
        got = ours(*point, z_bar, log_det_bar)
        for name in NAMES:
            at = NAMES.index(name)
            direction = numpy.asarray(rng.standard_normal(point[at].shape))
            moved = list(point)
            moved[at] = LONG(point[at]) + 1j * LONG(oracles.STEP) * direction
            z, log_det = oracles.planar(*moved)
            slope = (numpy.sum(z_bar * z.imag) + numpy.sum(log_det_bar * log_det.imag)) / LONG(oracles.STEP)
            along = numpy.sum(summed(got[name], point[at].shape) * direction)
            scale = numpy.linalg.norm(got[name].ravel()) * numpy.linalg.norm(direction.ravel()) / 100
            gradcheck.check(
                numpy.float64(along), slope, equation=EQUATION, function="transforms.PlanarFlow.pullback",
                oracle="complex step", scale=scale,
            )  # fmt: skip


def test_pullback_in_float32():
    """Against longdouble at the same float32 inputs."""
    for rng, lead, k, _ in gradcheck.configurations(300, seed=3, categories=(2, 3, 10, 100)):
        point = draw(rng, lead, k, numpy.float32)
        bars = cotangents(rng, point[0], numpy.float32)
        got, want = ours(*point, *bars), oracles.planar_bars(*point, *bars)
        for name in NAMES:
            gradcheck.check(
                got[name], want[name], dtype=numpy.float32, equation=EQUATION,
                function="transforms.PlanarFlow.pullback", oracle="every partial derivative",
            )  # fmt: skip


def test_one_category_axis_keeps_relative_precision():
    """K = 2: u~ = psi/w, so u acts through w u alone and u_bar = z_bar h sigmoid(w u) however negative w u is."""
    for c in (-5.0, -20.0, -35.0, -100.0):
        y, w, u, b = numpy.array([0.7]), numpy.array([0.5]), numpy.array([2 * c]), numpy.array(0.1)
        _, bars = PlanarFlow(w, u, b).vjp(y, numpy.ones(1), None)
        want = mpmath.tanh(mpmath.mpf(0.5) * mpmath.mpf(0.7) + mpmath.mpf(0.1)) / (1 + mpmath.exp(-mpmath.mpf(c)))
        assert abs(bars["u"][0] - float(want)) <= 1e-14 * float(want)


# ---- Jacobian and determinant --------------------------------------------------------------------------------------


def test_jacobian_and_log_det():
    """J by complex step; log|det| by slogdet of J; J^{-1}, J^{-T} y_bar and J multiply back."""
    for rng, lead, k, _ in gradcheck.configurations(500, seed=4, categories=(2, 3, 10, 100)):
        y, w, u, b = draw(rng, lead, k)
        flow = PlanarFlow(w, u, b)
        jacobian, inverse = flow.jacobian(y), flow.inverse_jacobian(y)
        about = {"equation": EQUATION}
        columns = []
        for i in range(k - 1):
            z, _ = oracles.planar(LONG(y) + 1j * LONG(oracles.STEP) * numpy.eye(k - 1)[i], w, u, b)
            columns.append(z.imag / LONG(oracles.STEP))
        want = numpy.stack(columns, axis=-1)
        gradcheck.check(jacobian, want, function="transforms.PlanarFlow.jacobian", oracle="complex step", **about)
        sign, log_det = numpy.linalg.slogdet(jacobian)
        assert numpy.all(sign > 0)
        smallest = numpy.exp(min(0.0, float(numpy.min(log_det))))
        scale = max(1.0, numpy.linalg.norm(jacobian.ravel()) ** 2 / smallest)  # slogdet's own rounding
        det = {"function": "transforms.PlanarFlow.log_det", "scale": 1e-3 * scale, **about}
        gradcheck.check(flow.log_det(y), log_det, oracle="slogdet of the Jacobian", **det)
        gradcheck.check(flow.log_det(y), oracles.planar(y, w, u, b)[1], oracle="longdouble", **det)
        eye = numpy.broadcast_to(numpy.eye(k - 1), jacobian.shape)
        condition = float(numpy.max(numpy.linalg.cond(want.astype(float))))
        gradcheck.check(
            inverse @ jacobian, eye, 1e-14 * condition * k, oracle="J^-1 J = I",
            function="transforms.PlanarFlow.inverse_jacobian", **about,
        )  # fmt: skip
        y_bar = rng.standard_normal(y.shape)
        moved = flow.inverse_pullback(flow.run(y)[1], y_bar)
        back = numpy.einsum("...ki,...k->...i", want, moved)
        gradcheck.check(
            back.astype(float), y_bar, 1e-14 * condition * k, oracle="J^T J^-T = I",
            function="transforms.PlanarFlow.inverse_pullback", **about,
        )  # fmt: skip


def test_log_det_against_mpmath():
    """K = 2, w = 1: s = y and w.u = u exactly. Units: eps times 1 + |c dlog/dc / log| + |s dlog/ds / log|."""
    rng = numpy.random.default_rng(5)
    worst = 0.0
    with mpmath.workdps(330):
        for _ in range(1000):
            s = float(rng.choice([-1, 1]) * 10 ** rng.uniform(-12, 2.4))
            c = float(rng.choice([rng.uniform(-600, 0), rng.uniform(-30, 5), 10 ** rng.uniform(0, 3), rng.normal()]))
            got = PlanarFlow(numpy.ones(1), numpy.array([c]), numpy.array(0.0)).log_det(numpy.array([s]))
            S, C = mpmath.mpf(s), mpmath.mpf(c)

            def log_det(S, C):
                # softplus with enough digits for e^-600
                return mpmath.log(mpmath.tanh(S) ** 2 + mpmath.sech(S) ** 2 * mpmath.log1p(mpmath.exp(C)))

            want = log_det(S, C)
            if abs(want) < 1e-280:
                assert abs(got) < 1e-280
                continue
            slope, psi = mpmath.sech(S) ** 2, mpmath.log1p(mpmath.exp(C)) - 1
            det = mpmath.exp(want)
            by_s = 2 * mpmath.tanh(S) * slope * psi / det
            by_c = slope / (1 + mpmath.exp(-C)) / det
            cond = 1 + abs(S * by_s / want) + abs(C * by_c / want)
            # psi = softplus - 1 carries half an ulp of 1, through h'/D
            cond += abs(slope / det / want) if C > -1 else 0
            worst = max(worst, float(abs(got - want) / abs(want) / cond) / EPS)
    ledger.record(EQUATION, "transforms.PlanarFlow.log_det", "mpmath", worst, "ulp x condition", 1000)
    assert worst <= 16


# ---- inverse -------------------------------------------------------------------------------------------------------


def test_scalar_equation_of_the_inverse_against_mpmath():
    """s + psi tanh s = r, softplus down to e^-600 (psi rounds to -1) and up to 1e4, |r| from 1e-30 to 1e3."""
    rng = numpy.random.default_rng(6)
    worst = 0.0
    with mpmath.workdps(300):
        for _ in range(400):
            r = float(10 ** rng.uniform(-30, 3) * rng.choice([-1, 1]))
            c = float(rng.choice([rng.normal(), rng.uniform(-600, 5), rng.uniform(-40, 2), 10 ** rng.uniform(0, 4)]))
            softplus = float(planar_flow.softplus(numpy.array(c)))
            got = float(planar_flow.solve(numpy.array([r]), numpy.array([softplus]))[0])
            s = mpmath.mpf(got)
            for _ in range(4):  # Newton from our own root: doubles the digits each time
                slope = mpmath.tanh(s) ** 2 + mpmath.mpf(softplus) * mpmath.sech(s) ** 2
                s -= (s + (mpmath.mpf(softplus) - 1) * mpmath.tanh(s) - r) / slope
            assert abs(s + (mpmath.mpf(softplus) - 1) * mpmath.tanh(s) - r) < mpmath.mpf(10) ** -40 * abs(r)
            slope = mpmath.tanh(s) ** 2 + mpmath.mpf(softplus) * mpmath.sech(s) ** 2
            worst = max(worst, float(abs((got - s) / s) / (1 + abs(r / (s * slope)))) / EPS)
    ledger.record(EQUATION, "transforms.planar_flow.solve", "mpmath", worst, "ulp x condition", 400)
    assert worst <= 2


def test_s_minus_tanh_against_mpmath():
    rng = numpy.random.default_rng(7)
    s = rng.choice([-1, 1], 500) * 10 ** rng.uniform(-90, 2, 500)
    s = numpy.concatenate([s, numpy.nextafter(1.0, [0, 2]), [1.0, 0.99999]])
    got, worst = planar_flow.s_minus_tanh(s), 0.0
    with mpmath.workdps(300):
        for value, at in zip(got, s, strict=True):
            want = mpmath.mpf(at) - mpmath.tanh(mpmath.mpf(at))
            worst = max(worst, float(abs((value - want) / want)) / EPS)
    ledger.record(EQUATION, "transforms.planar_flow.s_minus_tanh", "mpmath", worst, "ulp", len(s))
    assert worst <= 8
    assert planar_flow.s_minus_tanh(numpy.zeros(1))[0] == 0


def test_round_trips():
    """|f^{-1}(f(y)) - y| <= 1e-12 (1 + |u~| |w|/D)(|y| + |z|), float64; 1e-5 in place of 1e-12 in float32."""
    for rng, lead, k, _ in gradcheck.configurations(1000, seed=8):
        dtype = [numpy.float64, numpy.float32][rng.integers(2)]
        y, w, u, b = draw(rng, lead, k, dtype)
        flow = PlanarFlow(w, u, b)
        z = flow.forward(y)
        back = flow.inverse(z)
        assert back.dtype == z.dtype == dtype and back.shape == z.shape
        smallest = numpy.min(numpy.exp(numpy.minimum(flow.log_det(y), 0)))
        swing = numpy.max(numpy.linalg.norm(flow.u_tilde, axis=-1) * numpy.linalg.norm(w, axis=-1))
        condition = float((1 + swing) / smallest)
        error = float(numpy.max(abs(back - y)) / (numpy.max(abs(y)) + numpy.max(abs(z))) / condition)
        kind = "" if dtype == numpy.float64 else " (float32)"
        ledger.record(EQUATION, "transforms.PlanarFlow.inverse", "round trip" + kind, error, "relative / condition")
        assert error <= (1e-12 if dtype == numpy.float64 else 1e-5)


def test_inverse_where_the_flow_is_nearly_singular():
    """w.u = -30: the slope at s = 0 is 1e-13, and s ~ (3 r)^{1/3}. y recovers to the rounding of r over D."""
    rng = numpy.random.default_rng(9)
    w, u = rng.standard_normal((2, 5))
    u = u - (30 + w @ u) / (w @ w) * w
    flow = PlanarFlow(w, u, numpy.array(0.2))
    y = rng.standard_normal((200, 5))
    s_target = 10 ** rng.uniform(-3, 0, 200) * rng.choice([-1, 1], 200)
    y = y + ((s_target - 0.2 - y @ w) / (w @ w))[:, None] * w
    error = numpy.max(abs(flow.inverse(flow.forward(y)) - y), axis=-1)
    assert numpy.all(error <= 1e-13 * (1 + 1 / numpy.exp(flow.log_det(y))))


# ---- traps and errors ----------------------------------------------------------------------------------------------


def test_trap_constraint_divided_by_the_norm_instead_of_its_square():
    """w.u~ = softplus(w.u) - 1 > -1, so f is one to one; divided by ||w|| it is not, for many flows."""
    rng = numpy.random.default_rng(10)
    w, u = 0.3 * rng.standard_normal((2, 4000, 9))
    c = numpy.sum(w * u, axis=-1)
    flow = PlanarFlow(w, u, numpy.zeros(4000))
    aligned = numpy.sum(w * flow.u_tilde, axis=-1)
    assert numpy.max(abs(aligned - (numpy.log1p(numpy.exp(c)) - 1))) < 1e-14 * (1 + numpy.max(abs(c)))
    assert numpy.all(aligned > -1)
    y = rng.standard_normal((4000, 9))
    assert numpy.all(numpy.linalg.slogdet(flow.jacobian(y))[0] > 0)
    norm = numpy.sqrt(numpy.sum(w * w, axis=-1))
    wrong = u + ((numpy.log1p(numpy.exp(c)) - 1 - c) / norm)[:, None] * w
    assert numpy.max(abs(wrong - flow.u_tilde)) > 0.1
    # the published code also takes the norm over all 20 variables, far from ||w_n||: u~ is then hardly constrained
    w, u = 0.7 * rng.standard_normal((2, 200, 20, 9))
    c = numpy.sum(w * u, axis=-1)
    norm = numpy.sqrt(numpy.sum(w * w, axis=(-1, -2)))[:, None]
    published = u + ((numpy.log1p(numpy.exp(c)) - 1 - c) / norm)[..., None] * w
    assert 0.06 < numpy.mean(numpy.sum(w * published, axis=-1) < -1) < 0.25
    right = PlanarFlow(w, u, numpy.zeros((200, 20)))
    assert numpy.all(numpy.sum(w * right.u_tilde, axis=-1) > -1 + 1e-15)


def test_w_of_zero_has_no_limit_and_is_refused():
    w = numpy.array([[0.3, 0.4], [0.0, 0.0]])
    with pytest.raises(ValueError, match="no limit"):
        PlanarFlow(w, numpy.ones((2, 2)), numpy.zeros(2))
    # along w = t e the flow of a fixed point moves without bound as t -> 0, and its sign is that of b
    moved = [
        PlanarFlow(numpy.array([t, 0.0]), numpy.zeros(2), numpy.array(0.5)).forward(numpy.ones(2))[0]
        for t in (1e-3, 1e-6)
    ]
    assert moved[1] / moved[0] > 500


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w": numpy.full((4, 3), numpy.nan)}, "w must be finite"),
        ({"u": numpy.ones((4, 2))}, "same category axis"),
        ({"b": numpy.zeros(3)}, "do not broadcast"),
        ({"b": numpy.zeros(4, numpy.float32)}, "share one dtype"),
        ({"w": numpy.ones((4, 3), int)}, "floating-point"),
        ({"b": 0.0}, "floating-point"),
    ],
)
def test_bad_parameters(change, message):
    good = {"w": numpy.ones((4, 3)), "u": numpy.ones((4, 3)), "b": numpy.zeros(4)}
    PlanarFlow(**good)
    with pytest.raises(ValueError, match=message):
        PlanarFlow(**{**good, **change})


def test_inverse_of_nan_is_refused():
    flow = PlanarFlow(numpy.ones(3), numpy.ones(3), numpy.array(0.0))
    with pytest.raises(ValueError, match="finite"):
        flow.inverse(numpy.array([0.0, numpy.nan, 1.0]))


def test_initial():
    noise = numpy.random.default_rng(11).standard_normal((2, 20, 9)).astype(numpy.float32)
    start = planar_flow.initial(noise)
    assert set(start) == {"w", "u", "b"} and start["b"].shape == (20,) and not start["b"].any()
    assert all(value.dtype == numpy.float32 for value in start.values())
    assert numpy.array_equal(start["w"], numpy.float32(0.05) * noise[0])
    assert numpy.array_equal(start["u"], numpy.float32(0.05) * noise[1])
    PlanarFlow(**start)
    with pytest.raises(ValueError, match="shape"):
        planar_flow.initial(noise[0])


# ---- shapes, chains ------------------------------------------------------------------------------------------------


def test_replica_axis():
    """(R, 1, 1, N, K-1) parameters do for each replica what its own flow does."""
    rng = numpy.random.default_rng(12)
    w, u = rng.standard_normal((2, 3, 1, 1, 4, 5))
    b = rng.standard_normal((3, 1, 1, 4))
    y, z_bar = rng.standard_normal((2, 3, 2, 6, 4, 5))
    log_det_bar = rng.standard_normal((3, 2, 6, 4))
    flow = PlanarFlow(w, u, b)
    y_bar, bars = flow.vjp(y, z_bar, log_det_bar)
    for r in range(3):
        one = PlanarFlow(w[r, 0, 0], u[r, 0, 0], b[r, 0, 0])
        assert numpy.array_equal(flow.forward(y)[r], one.forward(y[r]))
        assert numpy.array_equal(flow.log_det(y)[r], one.log_det(y[r]))
        assert numpy.allclose(flow.inverse(y)[r], one.inverse(y[r]), rtol=1e-14, atol=1e-14)
        own_y_bar, own = one.vjp(y[r], z_bar[r], log_det_bar[r])
        assert numpy.array_equal(y_bar[r], own_y_bar)
        for name in bars:
            assert numpy.array_equal(bars[name][r], own[name])


def two_flows(rng, lead, k, size=1.0):
    scale = size / (k - 1) ** 0.25
    shape = (*lead[-1:], k - 1)
    return [
        (scale * rng.standard_normal(shape), scale * rng.standard_normal(shape), rng.standard_normal(shape[:-1]))
        for _ in range(2)
    ]


def textbook_chain(y, params, temperature, z_bar, log_det_bar):
    """Pullback of two planar flows and softmax++ (delta = 1), link by link in longdouble."""
    inner = oracles.planar(y, *params[0])[0]
    x = oracles.planar(inner, *params[1])[0]
    x_bar = simplex_oracles.softmax_pp_bar(x, temperature, 1.0, z_bar, log_det_bar)
    second = oracles.planar_bars(inner, *params[1], x_bar, log_det_bar)
    first = oracles.planar_bars(y, *params[0], second["y"], log_det_bar)
    return {"y": first["y"]} | {f"{i}.{n}": bars[n] for i, bars in ((0, first), (1, second)) for n in ("w", "u", "b")}


def test_two_flows_and_softmax_plus_plus_in_a_chain():
    """IGR-Planar's g: pullback to every parameter, determinant, round trip; temperatures 1e-3..100."""
    for rng, lead, k, temperature in gradcheck.configurations(400, seed=13, categories=(2, 3, 10, 100)):
        params = two_flows(rng, lead, k)
        # autograd's tanh overflows beyond |s| = 355, so y stays moderate
        y = [min(3 * temperature, 5.0), 1.0, 5.0][rng.integers(3)] * rng.standard_normal((*lead, k - 1))
        z_bar, log_det_bar = rng.standard_normal((*lead, k)), numpy.asarray(rng.standard_normal(lead))
        outer = SoftmaxPlusPlus(temperature)

        def loss(y, *flat, z_bar=z_bar, log_det_bar=log_det_bar, outer=outer):
            flows = [PlanarFlow(*flat[3 * i : 3 * i + 3], validate=False) for i in range(2)]
            chain = Chain(*flows, outer)
            return anp.sum(z_bar * chain.forward(y)) + anp.sum(log_det_bar * chain.log_det(y))

        chain = Chain(*(PlanarFlow(*p) for p in params), outer)
        y_bar, bars = chain.vjp(y, z_bar, log_det_bar)
        flat = [array for p in params for array in p]
        auto = gradcheck.autograd_vjp(loss, y, *flat)
        about = {"equation": "IGR-Planar", "function": "transforms.Chain.pullback", "oracle": "autograd"}
        # z near a vertex: autograd's softmax cotangents are rounded to 1e-16 |z_bar|/tau
        scale = max(1.0, 1 / temperature)
        gradcheck.check(y_bar, auto[0], scale=scale, **about)
        for name, want in zip(("0.w", "0.u", "0.b", "1.w", "1.u", "1.b"), auto[1:], strict=True):
            assert bars[name].shape == (lead if name.endswith("b") else (*lead, k - 1))
            gradcheck.check(summed(bars[name], want.shape), want, scale=scale, **about)
        want = textbook_chain(y, params, temperature, z_bar, log_det_bar)
        # logits are known to 1e-16 |x|/tau, and so are z and all cotangents, relatively
        x = oracles.flows(y, params)[0]
        tolerance = 1e-10 * (1 + 1e-4 * float(numpy.max(abs(x))) / temperature)
        for name, bar in {"y": y_bar, **bars}.items():
            gradcheck.check(bar, want[name], tolerance, **{**about, "oracle": "every partial derivative"})
        # the value, its log and the determinant, against longdouble
        x, log_det = oracles.flows(y, params)
        logits = numpy.concatenate([x / LONG(temperature), numpy.zeros_like(x[..., :1])], axis=-1)
        top = numpy.max(logits, axis=-1, keepdims=True)
        log_z = logits - top - numpy.log(numpy.sum(numpy.exp(logits - top), axis=-1, keepdims=True))
        want = log_det + numpy.sum(log_z, axis=-1) - (k - 1) * numpy.log(LONG(temperature))
        rounding = 1e-3 * k * (1 + float(numpy.max(abs(x))) / temperature)
        gradcheck.check(
            chain.log_det(y), want, scale=rounding, equation="IGR-Planar", function="transforms.Chain.log_det",
            oracle="longdouble",
        )  # fmt: skip
        gradcheck.check(
            chain.log_forward(y), log_z, scale=rounding, equation="IGR-Planar",
            function="transforms.Chain.log_forward", oracle="longdouble",
        )  # fmt: skip
        flows = Chain(*chain.links[:2])
        back = flows.inverse(outer.inverse_log(chain.log_forward(y)))
        smallest = numpy.exp(
            min(0.0, float(numpy.min(chain.links[0].log_det(y) + chain.links[1].log_det(x.astype(float)))))
        )
        assert numpy.max(abs(back - y)) <= 1e-12 * (1 + temperature * k + numpy.max(abs(y))) / smallest**2
        assert numpy.array_equal(chain.category(y), outer.category(flows.forward(y)))


def test_chain_of_flows_alone():
    """Jacobian, slogdet and J^{-T} of two nested flows."""
    for rng, lead, k, _ in gradcheck.configurations(200, seed=14, categories=(2, 3, 10)):
        flows = [PlanarFlow(*p) for p in (*two_flows(rng, lead, k), *two_flows(rng, lead, k))]
        chain = Chain(*flows[: rng.integers(1, 4)])  # a wrong sign in every link shows in an odd number of them
        assert not chain.onto_simplex
        y, y_bar = rng.standard_normal((2, *lead, k - 1))
        jacobian = chain.jacobian(y)
        sign, log_det = numpy.linalg.slogdet(jacobian)
        condition = float(numpy.max(numpy.linalg.cond(jacobian)))
        assert numpy.all(sign > 0)
        about = {"equation": "IGR-Planar", "scale": 1e-3 * condition}
        gradcheck.check(
            chain.log_det(y), log_det, function="transforms.Chain.log_det", oracle="slogdet of the Jacobian", **about
        )
        moved = chain.inverse_pullback(chain.run(y)[1], y_bar)
        want = numpy.linalg.solve(numpy.swapaxes(jacobian, -1, -2), y_bar[..., None])[..., 0]
        gradcheck.check(
            moved, want, 1e-13 * condition, equation="IGR-Planar", function="transforms.Chain.inverse_pullback",
            oracle="linear solve",
        )  # fmt: skip


def test_float32_everywhere():
    rng = numpy.random.default_rng(15)
    y, w, u, b = draw(rng, (3, 4), 6, numpy.float32, shared=False)
    flow = PlanarFlow(w, u, b)
    z, saved = flow.run(y)
    y_bar, bars = flow.pullback(saved, z, flow.log_det(y))
    arrays = (z, y_bar, *bars.values(), flow.log_det(y), flow.jacobian(y), flow.inverse_jacobian(y), flow.inverse(z))
    arrays += (flow.inverse_pullback(saved, y), flow.pullback(saved, None, flow.log_det(y))[0])
    for array in arrays:
        assert array.dtype == numpy.float32 and numpy.all(numpy.isfinite(array))


# ---- densities -----------------------------------------------------------------------------------------------------


def test_density_on_the_simplex_integrates_to_one_k2():
    rng = numpy.random.default_rng(16)
    x, weight = numpy.polynomial.legendre.leggauss(400)
    for temperature in (0.3, 1.0, 3.0):
        flows = [PlanarFlow(*p) for p in two_flows(rng, (), 2)]
        q = igr_planar(rng.standard_normal(1), 0.3 * rng.standard_normal(1), flows, temperature)
        # z = sigmoid(t): panels in t, the measure dz = z (1 - z) dt
        t = numpy.concatenate([a + (x + 1) / 2 * 3 for a in numpy.arange(-30, 30, 3)])
        weights = numpy.tile(weight * 1.5, 20)
        z = numpy.stack([1 / (1 + numpy.exp(-t)), 1 / (1 + numpy.exp(t))], axis=-1)
        total = numpy.sum(weights * numpy.exp(q.log_prob_z(z)) * z[:, 0] * z[:, 1])
        ledger.record(
            "eq. 12 (IGR-Planar)", "distributions.IGR.log_prob_z", "integral is 1", abs(total - 1), "absolute"
        )
        assert abs(total - 1) < 1e-10


def test_density_on_the_simplex_integrates_to_one_k3():
    rng = numpy.random.default_rng(17)
    x, weight = numpy.polynomial.legendre.leggauss(40)
    grid = numpy.concatenate([a + (x + 1) / 2 * 4 for a in numpy.arange(-24, 24, 4)])
    weights = numpy.tile(weight * 2, 12)
    for temperature in (0.7, 1.5):
        flows = [PlanarFlow(*p) for p in two_flows(rng, (), 3, size=0.8)]
        q = igr_planar(0.5 * rng.standard_normal(2), 0.2 * rng.standard_normal(2), flows, temperature)
        logits = numpy.stack([*numpy.meshgrid(grid, grid, indexing="ij"), numpy.zeros((grid.size, grid.size))], axis=-1)
        e = numpy.exp(logits - logits.max(axis=-1, keepdims=True))
        z = e / e.sum(axis=-1, keepdims=True)
        # dz_1 dz_2 = z_1 z_2 z_3 dt_1 dt_2 for logits (t_1, t_2, 0)
        density = numpy.exp(q.log_prob_z(z)) * numpy.prod(z, axis=-1)
        total = numpy.sum(density * weights[:, None] * weights)
        ledger.record(
            "eq. 12 (IGR-Planar)", "distributions.IGR.log_prob_z", "integral is 1", abs(total - 1), "absolute"
        )
        assert abs(total - 1) < 1e-8


def test_identity_flow_leaves_igr_i():
    """u along w with softplus(w.u) = 1: psi = 0 and u~ = 0, so z and the density are IGR-I's."""
    rng = numpy.random.default_rng(18)
    w = rng.standard_normal((4, 5))
    u = w * (numpy.log(numpy.e - 1) / numpy.sum(w * w, axis=-1))[:, None]
    flow = PlanarFlow(w, u, rng.standard_normal(4))
    mu, log_sigma, eps = rng.standard_normal((3, 4, 5))
    q = igr_planar(mu, log_sigma, [flow], 0.5)
    plain = IGR(mu, log_sigma, q.transform.links[-1])
    y = mu + numpy.exp(log_sigma) * eps
    assert numpy.max(abs(q.sample(eps) - plain.sample(eps))) < 1e-13
    assert numpy.max(abs(q.log_prob(y) - plain.log_prob(y))) < 1e-13 * numpy.max(abs(plain.log_prob(y)))


def test_same_bits_on_an_array_that_refuses_numpy():
    """No hidden round trip through the host, and nothing CuPy lacks: every method, the inverse and `initial` too."""

    def everything(noise, y, z_bar, log_det_bar):
        flow = PlanarFlow(**planar_flow.initial(noise, 0.5))
        z, saved = flow.run(y)
        bars = [flow.pullback(saved, a, b) for a, b in ((z_bar, log_det_bar), (z_bar, None), (None, log_det_bar))]
        out = [z, flow.inverse(z), flow.log_det(y), flow.jacobian(y), flow.inverse_jacobian(y)]
        return [*out, flow.inverse_pullback(saved, z_bar), [[y_bar, rest] for y_bar, rest in bars]]

    rng = numpy.random.default_rng(19)
    for dtype in (numpy.float64, numpy.float32):
        arrays = [rng.standard_normal(shape).astype(dtype) for shape in ((2, 4, 5), (3, 4, 5), (3, 4, 5), (3, 4))]
        same_bits(everything(*strict(arrays)), everything(*arrays))
