"""eq. 18 with the remainder kept: softmax of a point of the simplex, and chains that hand on all K."""

from __future__ import annotations

import math

import autograd.numpy as anp
import mpmath
import numpy
import pytest

from igr_ref.distributions import IGR, igr_sb
from igr_ref.transforms import (
    Chain,
    Identity,
    PlanarFlow,
    Softmax,
    SoftmaxPlusPlus,
    StickBreaking,
    Transform,
    VertexInterpolation,
)

from . import gradcheck, ledger
from . import oracles_transforms as oracles
from .strict_array import same_bits, strict

LONG = numpy.longdouble
EQUATION = "eq. 18 (remainder)"


def draw(rng, lead, k, dtype=numpy.float64):
    """y with all w_k alike, or around 0, or far out."""
    centre, spread = [(-numpy.log(numpy.arange(k - 1, 0, -1)), 0.3), (0.0, 1.0), (0.0, 6.0)][rng.integers(3)]
    return (centre + spread * rng.standard_normal((*lead, k - 1))).astype(dtype)


def textbook(y, temperature, z_bar, log_det_bar):
    """Pullback through both maps in longdouble: sticks by their recursion, every pair of the softmax formed."""
    w = oracles.sticks(y)
    w_bar = oracles.softmax_bar(w, temperature, z_bar, log_det_bar)
    # y_bar_i = w_bar_i w_i (1 - u_i) - u_i sum_{j>i} w_bar_j w_j, and that of log|det| of the sticks
    u, rest = 1 / (1 + numpy.exp(-LONG(y))), 1 / (1 + numpy.exp(LONG(y)))
    out = numpy.zeros(y.shape, LONG)
    after = w_bar[..., -1] * w[..., -1]
    for i in range(y.shape[-1] - 1, -1, -1):
        left = y.shape[-1] - i
        out[..., i] = w_bar[..., i] * w[..., i] * rest[..., i] - u[..., i] * after
        out[..., i] += LONG(log_det_bar) * (rest[..., i] - left * u[..., i])
        after = after + w_bar[..., i] * w[..., i]
    return out


# ---- softmax of a point of the simplex -----------------------------------------------------------------------------


def test_softmax_pullback():
    """All K cotangents, against autograd on our forward (K free inputs) and every pair in longdouble."""
    for rng, lead, k, temperature in gradcheck.configurations(1000, seed=1):
        w, g = StickBreaking().forward(draw(rng, lead, k)), Softmax(temperature)
        z_bar, log_det_bar = rng.standard_normal((*lead, k)), numpy.asarray(rng.standard_normal(lead))

        def loss(w, g=g, z_bar=z_bar, log_det_bar=log_det_bar):
            return anp.sum(z_bar * g.forward(w)) + anp.sum(log_det_bar * g.log_det(w))

        got, bars = g.vjp(w, z_bar, log_det_bar)
        assert bars == {} and got.shape == (*lead, k)
        about = {"equation": EQUATION, "function": "transforms.Softmax.pullback"}
        # near a vertex autograd rounds 1e-16 |z_bar|/tau; near the centre 1 - K g_j is rounding, of size K eps/tau
        auto = gradcheck.autograd_vjp(loss, w)[0]
        gradcheck.check(got, auto, oracle="autograd", scale=1e-2 * k**0.5 / temperature, **about)
        if k > 100 and rng.random() < 0.8:
            continue  # every pair of 1000 takes a while
        want = oracles.softmax_bar(w, temperature, z_bar, log_det_bar)
        gradcheck.check(got, want, oracle="longdouble", scale=1e-4 * k / temperature, **about)
        only = g.vjp(w, z_bar)[0]
        relative = oracles.softmax_bar(w, temperature, z_bar, numpy.zeros(lead))
        gradcheck.check(only, relative, 1e-13 * (1 + 1 / temperature), oracle="longdouble, z_bar alone", **about)


def test_softmax_jacobian_and_log_det():
    """J of the first K-1 by the first K-1 by complex steps; log|det| by slogdet of it."""
    for rng, lead, k, temperature in gradcheck.configurations(
        1000, seed=2, categories=(2, 3, 10), temperatures=(0.03, 100)
    ):
        w, g = StickBreaking().forward(draw(rng, lead, k)), Softmax(temperature)
        columns = []
        for i in range(k - 1):
            step = numpy.zeros(k)
            step[i], step[-1] = 1, -1  # w_K is what the others leave
            columns.append(oracles.softmax(LONG(w) + 1j * LONG(oracles.STEP) * step, temperature).imag[..., :-1])
        want = numpy.stack(columns, axis=-1) / LONG(oracles.STEP)
        # near a vertex, where J vanishes, the quotient's imaginary part is rounded to 1e-19/tau
        gradcheck.check(
            g.jacobian(w), want, equation=EQUATION, function="transforms.Softmax.jacobian", oracle="complex step",
            scale=1e-8 / temperature,
        )  # fmt: skip
        sign, log_det = numpy.linalg.slogdet(g.jacobian(w))
        assert numpy.all(sign > 0)
        gradcheck.check(
            g.log_det(w), log_det, equation=EQUATION, function="transforms.Softmax.log_det", scale=10.0,
            oracle="slogdet of the Jacobian",
        )  # fmt: skip


def test_softmax_log_det_against_mpmath():
    """log K - (K-1) log tau + sum_k log g_k at 50 digits, temperatures 1e-3..100: 16 ulp of its largest term."""
    rng = numpy.random.default_rng(3)
    worst = 0.0
    with mpmath.workdps(50):
        for _ in range(200):
            k, temperature = int(rng.choice([2, 3, 10])), float(10 ** rng.uniform(-3, 2))
            w = StickBreaking().forward(draw(rng, (), k))
            got = float(Softmax(temperature).log_det(w))
            tau = mpmath.mpf(temperature)
            logits = [mpmath.mpf(float(v)) / tau for v in w]
            lse = mpmath.log(mpmath.fsum(mpmath.exp(v) for v in logits))
            terms = [mpmath.log(k), -(k - 1) * mpmath.log(tau), *(v - lse for v in logits)]
            size = max(abs(mpmath.fsum(terms)), max(abs(v) for v in (*terms, *logits)))
            worst = max(worst, float(abs(got - mpmath.fsum(terms)) / size) * 2**52)
    ledger.record(EQUATION, "transforms.Softmax.log_det", "mpmath", worst, "ulp of the largest term", 200)
    assert worst <= 16


def test_softmax_inverse():
    """w to eps (1 + tau |log z|) absolutely: what rounding of z leaves of it."""
    for rng, lead, k, temperature in gradcheck.configurations(500, seed=4, categories=(2, 3, 10, 100)):
        w, g = StickBreaking().forward(draw(rng, lead, k)), Softmax(temperature)
        log_z = g.log_forward(w)
        rounding = 4e-16 * (1 + temperature * numpy.max(abs(log_z)))
        if numpy.min(w) < 20 * rounding:
            continue
        error = float(numpy.max(abs(g.inverse_log(log_z) - w)) / rounding)
        ledger.record(EQUATION, "transforms.Softmax.inverse", "round trip", error, "roundings")
        assert error <= 20
        if numpy.min(log_z) > -600:
            assert numpy.max(abs(g.inverse(g.forward(w)) - w)) <= 20 * rounding


def test_softmax_inverse_refuses_points_outside_its_image():
    g = Softmax(1.0)
    with pytest.raises(ValueError, match="image"):
        g.inverse(numpy.array([0.9, 0.05, 0.05]))  # log-ratios within the simplex are at most 1/tau
    with pytest.raises(ValueError, match="positive"):
        g.inverse(numpy.array([1.0, 0.0, 0.0]))
    edge = g.inverse(g.forward(numpy.array([0.98, 0.01, 0.01])))
    assert numpy.allclose(edge, [0.98, 0.01, 0.01], atol=1e-15)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_bad_temperature(temperature):
    with pytest.raises(ValueError, match="temperature"):
        Softmax(temperature)


# ---- the chain -----------------------------------------------------------------------------------------------------


def test_chain_pullback():
    """Against autograd on our forward and both textbook pullbacks in longdouble, K up to 1000, tau 1e-3..100."""
    for rng, lead, k, temperature in gradcheck.configurations(1000, seed=5):
        y, g = draw(rng, lead, k), Chain(StickBreaking(), Softmax(temperature))
        z_bar, log_det_bar = rng.standard_normal((*lead, k)), numpy.asarray(rng.standard_normal(lead))

        def loss(y, g=g, z_bar=z_bar, log_det_bar=log_det_bar):
            return anp.sum(z_bar * g.forward(y)) + anp.sum(log_det_bar * g.log_det(y))

        got, _ = g.vjp(y, z_bar, log_det_bar)
        about = {"equation": EQUATION, "function": "transforms.Chain.pullback"}
        # the logits w/tau carry eps/tau of rounding
        tolerance = 1e-10 * max(1, 0.01 / temperature)
        gradcheck.check(got, gradcheck.autograd_vjp(loss, y)[0], tolerance, oracle="autograd", **about)
        if k > 100 and rng.random() < 0.8:
            continue
        gradcheck.check(got, textbook(y, temperature, z_bar, log_det_bar), tolerance, oracle="longdouble", **about)
        only = g.vjp(y, z_bar)[0]
        want = textbook(y, temperature, z_bar, numpy.zeros(lead))
        gradcheck.check(only, want, tolerance, oracle="longdouble, z_bar alone", **about)


def test_chain_pullback_in_float32():
    """1e-4, times the rounding of the logits: |w|/tau <= 1/tau in units of eps = 1.2e-7."""
    for rng, lead, k, temperature in gradcheck.configurations(1000, seed=6):
        y, g = draw(rng, lead, k, numpy.float32), Chain(StickBreaking(), Softmax(temperature))
        z_bar = rng.standard_normal((*lead, k)).astype(numpy.float32)
        log_det_bar = numpy.asarray(rng.standard_normal(lead), numpy.float32)
        want = textbook(y, temperature, z_bar, log_det_bar)
        gradcheck.check(
            g.vjp(y, z_bar, log_det_bar)[0], want, 1e-4 * max(1, 0.1 / temperature), equation=EQUATION,
            function="transforms.Chain.pullback", oracle="longdouble", dtype=numpy.float32,
        )  # fmt: skip
        for array in (g.forward(y), g.log_forward(y), g.log_det(y), g.discretize(y)):
            assert array.dtype == numpy.float32 and numpy.all(numpy.isfinite(array))


def test_chain_log_det_value_and_round_trip():
    for rng, lead, k, temperature in gradcheck.configurations(
        500, seed=7, categories=(2, 3, 10), temperatures=(0.1, 20)
    ):
        y, g = draw(rng, lead, k), Chain(StickBreaking(), Softmax(temperature))
        z = g.forward(y)
        w = oracles.sticks(y)
        about = {"equation": EQUATION}
        assert z.shape == (*lead, k)
        gradcheck.check(
            z, oracles.softmax(w, temperature), 1e-13 / min(temperature, 1), function="transforms.Chain.forward",
            oracle="longdouble", **about,
        )  # fmt: skip
        jacobian = g.jacobian(y)
        sign, log_det = numpy.linalg.slogdet(jacobian)
        assert numpy.all(sign > 0) and jacobian.shape == (*lead, k - 1, k - 1)
        gradcheck.check(
            g.log_det(y),
            log_det,
            scale=10.0,
            function="transforms.Chain.log_det",
            oracle="slogdet of the Jacobian",
            **about,
        )
        # back: w is known to eps (1 + tau |log z|), y = log w - log(later w) to that over the smallest w
        rounding = 1e-15 * (1 + temperature * float(numpy.max(abs(numpy.log(z))))) / float(numpy.min(w))
        if rounding < 1e-3:
            error = float(numpy.max(abs(g.inverse(z) - y)) / (rounding * k + 1e-15))
            ledger.record(EQUATION, "transforms.Chain.inverse", "round trip", error, "roundings")
            assert error <= 20


def test_every_category_is_reachable_and_only_with_the_remainder():
    """audit last-category: eq. 18 as printed never selects category K; softmax over all K sticks does."""
    rng = numpy.random.default_rng(8)
    for k in (2, 3, 10):
        y = -numpy.log(numpy.arange(k - 1, 0, -1)) + 0.5 * rng.standard_normal((5000, k - 1))
        with_remainder, printed = Chain(StickBreaking(), Softmax(0.1)), Chain(StickBreaking(), SoftmaxPlusPlus(0.1))
        want = numpy.argmax(oracles.sticks(y), axis=-1)
        assert numpy.array_equal(with_remainder.category(y), want)
        assert set(want.tolist()) == set(range(k))
        assert numpy.array_equal(numpy.argmax(with_remainder.forward(y), axis=-1), want)
        assert not numpy.any(printed.category(y) == k - 1)
        b = with_remainder.discretize(y)
        assert b.shape == (5000, k) and numpy.all((b == 0) | (b == 1))
        sharp = Chain(StickBreaking(), Softmax(1e-7))
        apart = numpy.diff(numpy.sort(oracles.sticks(y), axis=-1), axis=-1)[:, -1] > 1e-5
        assert numpy.max(abs(sharp.forward(y)[apart] - b[apart])) < 1e-12
    # the order of log w decides where w itself underflows or saturates
    y = numpy.array([-800.0, -900.0, -700.0])
    assert Chain(StickBreaking(), Softmax(1.0)).category(y) == 3


def test_low_temperature_trap_nan_at_the_boundary():
    """tau = 1e-3: z underflows to a vertex, yet log z, log|det| and all gradients are finite and right."""
    rng = numpy.random.default_rng(9)
    g = Chain(StickBreaking(), Softmax(1e-3))
    y = 2 * rng.standard_normal((200, 5))
    assert numpy.any(g.forward(y) == 0)
    log_z, log_det = g.log_forward(y), g.log_det(y)
    assert numpy.all(numpy.isfinite(log_z)) and numpy.all(numpy.isfinite(log_det))
    logits = oracles.sticks(y) / LONG(1e-3)
    top = numpy.max(logits, axis=-1, keepdims=True)
    want = logits - top - numpy.log(numpy.sum(numpy.exp(logits - top), axis=-1, keepdims=True))
    gradcheck.check(log_z, want, 1e-13, equation=EQUATION, function="transforms.Chain.log_forward", oracle="longdouble")
    log_q = igr_sb(numpy.zeros(5), numpy.zeros(5), 1e-3, remainder=True).log_prob(y)
    sticks_det = numpy.sum(numpy.log(oracles.sticks(y)), axis=-1)
    for i, left in enumerate(range(4, -1, -1)):  # log|det| of the sticks, from log(1 - u_i) and log u_i
        u, rest = 1 / (1 + numpy.exp(-LONG(y[:, i]))), 1 / (1 + numpy.exp(LONG(y[:, i])))
        sticks_det = sticks_det + 0 * u if i else numpy.zeros_like(u)
        sticks_det = sticks_det + numpy.log(u) + (left + 1) * numpy.log(rest)
    det = sticks_det + numpy.log(LONG(6)) - 5 * numpy.log(LONG(1e-3)) + numpy.sum(want, axis=-1)
    expected = oracles.log_normal(numpy.zeros(5), numpy.zeros(5), y) - det
    gradcheck.check(
        log_q, expected, 1e-13, equation=EQUATION, function="distributions.IGR.log_prob", oracle="longdouble"
    )


def test_chain_hands_all_coordinates_to_a_link_that_takes_the_simplex():
    class Recorder(Softmax):
        def run(self, w):
            self.seen = w
            return super().run(w)

    y = numpy.random.default_rng(10).standard_normal((3, 4))
    outer = Recorder(0.5)
    Chain(StickBreaking(), outer).forward(y)
    assert outer.seen.shape == (3, 5) and numpy.array_equal(outer.seen, StickBreaking().forward(y))
    assert Chain(outer, Softmax(2.0)).takes_simplex and not Chain(StickBreaking(), outer).takes_simplex
    nested = Chain(StickBreaking(), Chain(Softmax(0.5), Softmax(2.0)))
    flat = Chain(StickBreaking(), Softmax(0.5), Softmax(2.0))
    assert numpy.array_equal(nested.forward(y), flat.forward(y))
    assert numpy.allclose(nested.log_det(y), flat.log_det(y), rtol=1e-14)
    assert numpy.array_equal(nested.category(y), flat.category(y))
    z_bar = numpy.random.default_rng(11).standard_normal((3, 5))
    assert numpy.allclose(nested.vjp(y, z_bar)[0], flat.vjp(y, z_bar)[0], rtol=1e-14)
    log_det = numpy.linalg.slogdet(flat.jacobian(y))[1]
    assert numpy.allclose(flat.log_det(y), log_det, rtol=1e-11)
    assert numpy.allclose(flat.inverse(flat.forward(y)), y, rtol=1e-9)


def test_chain_refuses_a_link_that_takes_the_simplex_after_one_that_does_not_give_it():
    flow = PlanarFlow(numpy.ones(3), numpy.ones(3), numpy.array(0.0))
    with pytest.raises(ValueError, match="Softmax takes points of the simplex"):
        Chain(flow, Softmax(1.0))


def test_category_of_softmax_plus_plus_after_any_map_onto_the_simplex():
    """All first K-1 coordinates are positive, so the K-th is never selected, whatever the inner map selects."""
    y = numpy.array([[-3.0, -1.0, -2.0], [2.0, 1.0, -4.0]])
    for inner in (
        SoftmaxPlusPlus(1.0),
        VertexInterpolation(0.5),
        StickBreaking(),
        Chain(StickBreaking(), Softmax(0.3)),
    ):
        chain = Chain(inner, SoftmaxPlusPlus(1e-4))
        assert numpy.array_equal(chain.category(y), numpy.argmax(chain.forward(y), axis=-1))


def test_ten_thousand_categories():
    for rng, lead, k, temperature in gradcheck.configurations(6, seed=12, categories=(10_000,), temperatures=(1e-2, 1)):
        y, g = draw(rng, lead, k), Chain(StickBreaking(), Softmax(temperature))
        z_bar, log_det_bar = rng.standard_normal((*lead, k)), numpy.asarray(rng.standard_normal(lead))

        def loss(y, g=g, z_bar=z_bar, log_det_bar=log_det_bar):
            return anp.sum(z_bar * g.forward(y)) + anp.sum(log_det_bar * g.log_det(y))

        gradcheck.check(
            g.vjp(y, z_bar, log_det_bar)[0], gradcheck.autograd_vjp(loss, y)[0], equation=EQUATION,
            function="transforms.Chain.pullback", oracle="autograd",
        )  # fmt: skip


def test_temperature_for_each_replica():
    rng = numpy.random.default_rng(13)
    tau = numpy.array([0.1, 0.6, 4.0]).reshape(3, 1, 1)
    y, z_bar, det_bar = rng.standard_normal((3, 5, 4)), rng.standard_normal((3, 5, 5)), rng.standard_normal((3, 5))
    g = Chain(StickBreaking(), Softmax(tau))
    for r, value in enumerate(tau.ravel()):
        one = Chain(StickBreaking(), Softmax(float(value)))
        assert numpy.allclose(g.forward(y)[r], one.forward(y[r]), rtol=1e-14)
        assert numpy.allclose(g.log_det(y)[r], one.log_det(y[r]), rtol=1e-14)
        assert numpy.allclose(g.jacobian(y)[r], one.jacobian(y[r]), rtol=1e-14)
        assert numpy.allclose(g.vjp(y, z_bar, det_bar)[0][r], one.vjp(y[r], z_bar[r], det_bar[r])[0], rtol=1e-13)


# ---- the distribution ----------------------------------------------------------------------------------------------


def test_igr_sb_keeps_its_default():
    mu, log_sigma = numpy.random.default_rng(14).standard_normal((2, 3, 4))
    plain = igr_sb(mu, log_sigma, 0.2, 0.7)
    assert isinstance(plain.transform.links[1], SoftmaxPlusPlus) and plain.transform.links[1].delta == 0.7
    eps = numpy.random.default_rng(15).standard_normal((3, 4))
    want = SoftmaxPlusPlus(0.2, 0.7).forward(StickBreaking().forward(mu + numpy.exp(log_sigma) * eps)[..., :-1])
    assert numpy.array_equal(plain.sample(eps), want)
    kept = igr_sb(mu, log_sigma, 0.2, remainder=True)
    assert isinstance(kept.transform.links[1], Softmax)
    with pytest.raises(ValueError, match="delta has no meaning"):
        igr_sb(mu, log_sigma, 0.2, 0.7, remainder=True)
    other = IGR(mu + 1, log_sigma, kept.transform)
    assert numpy.all(kept.kl(other) > 0)  # eq. 13 as for every shared g


def test_binary_case_is_the_sigmoid_of_structured_output_prediction():
    """K = 2: z_1 = sigmoid((2u - 1)/tau), discretised to y > 0, where eq. 18 as printed is constant."""
    y = numpy.linspace(-4, 4, 41)[:, None]
    u = 1 / (1 + numpy.exp(-y[:, 0]))
    q = igr_sb(numpy.zeros(1), numpy.zeros(1), 0.3, remainder=True)
    assert numpy.max(abs(q.sample(y)[:, 0] - 1 / (1 + numpy.exp(-(2 * u - 1) / 0.3)))) < 1e-15
    apart = y[:, 0] != 0
    assert numpy.array_equal(q.category(y)[apart] == 0, y[apart, 0] > 0)
    assert numpy.all(igr_sb(numpy.zeros(1), numpy.zeros(1), 0.3).category(y) == 0)


def test_frequencies_of_two_categories():
    """P(category 1) = Phi(mu/sigma) at K = 2: 200,000 draws, 5 standard errors (false alarm 6e-7)."""
    eps = numpy.random.default_rng(16).standard_normal((200_000, 1))
    q = igr_sb(numpy.array([0.4]), numpy.log([1.7]), 0.5, remainder=True)
    p = 0.5 * math.erfc(-0.4 / 1.7 / math.sqrt(2))
    assert abs(numpy.mean(q.category(eps) == 0) - p) < 5 * math.sqrt(p * (1 - p) / 200_000)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 5.0])
def test_density_integrates_to_one_k2(temperature):
    """The image is log z_1/z_2 in (-1/tau, 1/tau): Gauss-Legendre there, dz = z_1 z_2 dt."""
    q = igr_sb(numpy.array([0.3]), numpy.array([-0.4]), temperature, remainder=True)
    x, weight = numpy.polynomial.legendre.leggauss(400)
    t = x / temperature
    z = numpy.stack([1 / (1 + numpy.exp(-t)), 1 / (1 + numpy.exp(t))], axis=-1)
    total = numpy.sum(weight / temperature * numpy.exp(q.log_prob_z(z)) * z[:, 0] * z[:, 1])
    ledger.record("eq. 12 (remainder)", "distributions.IGR.log_prob_z", "integral is 1", abs(total - 1), "absolute")
    assert abs(total - 1) < 1e-10


@pytest.mark.parametrize("temperature", [0.2, 1.0, 10.0])
def test_density_integrates_to_one_k3(temperature):
    """Logits (t_1, t_2, 0) = ((w_1 - w_3)/tau, (w_2 - w_3)/tau): the image is a triangle, dz = z_1 z_2 z_3 dt."""
    q = igr_sb(numpy.array([-0.5, 0.2]), numpy.array([-0.3, -0.1]), temperature, remainder=True)
    x, weight = numpy.polynomial.legendre.leggauss(120)
    a, da = (x + 1) / 2, weight / 2
    p, r = a[:, None], a[None, :]
    w = numpy.stack(numpy.broadcast_arrays(1 - p, p * (1 - r), p * r), axis=-1)  # a point of the simplex, dw = p dp dr
    t = (w - w[..., -1:]) / temperature
    e = numpy.exp(t - t.max(axis=-1, keepdims=True))
    z = e / e.sum(axis=-1, keepdims=True)
    area = 3 / temperature**2 * p  # |d(t_1, t_2)/d(w_1, w_2)| = |[[2, 1], [1, 2]]|/tau^2
    density = numpy.exp(q.log_prob_z(z)) * numpy.prod(z, axis=-1)
    total = numpy.sum(da[:, None] * da[None, :] * area * density)
    ledger.record("eq. 12 (remainder)", "distributions.IGR.log_prob_z", "integral is 1", abs(total - 1), "absolute")
    assert abs(total - 1) < 1e-7


def test_identity_transform():
    """The composition of nothing keeps the contract."""
    y = numpy.random.default_rng(17).standard_normal((2, 3))
    g = Identity()
    assert isinstance(g, Transform) and not g.onto_simplex
    assert g.forward(y) is y and g.inverse(y) is y
    assert numpy.array_equal(g.log_det(y), numpy.zeros(2))
    assert numpy.array_equal(g.jacobian(y), numpy.broadcast_to(numpy.eye(3), (2, 3, 3)))
    assert g.vjp(y, 2 * y, None)[0] is not None and not g.vjp(y, None, numpy.ones(2))[0].any()


def test_same_bits_on_an_array_that_refuses_numpy():
    def everything(tau, y, z_bar, det_bar):
        g = Chain(StickBreaking(), Softmax(tau))
        z, saved = g.run(y)
        out = [z, g.inverse(z), g.log_forward(y), g.log_det(y), g.jacobian(y), g.category(y), g.discretize(y)]
        return [*out, g.pullback(saved, z_bar, det_bar)[0], g.links[1].category(z), g.links[1].discretize(z)]

    rng = numpy.random.default_rng(18)
    for dtype in (numpy.float64, numpy.float32):
        y, z_bar, det_bar = (rng.standard_normal(shape).astype(dtype) for shape in ((3, 5, 4), (3, 5, 5), (3, 5)))
        for tau in (0.3, numpy.array([0.2, 0.5, 1.0], dtype)[:, None, None]):
            same_bits(everything(*strict((tau, y, z_bar, det_bar))), everything(tau, y, z_bar, det_bar))
