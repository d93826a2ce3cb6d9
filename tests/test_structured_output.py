"""The binary units and the stochastic feedforward network of section 4.3: derivatives, discrete limit and score."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import autograd
import autograd.numpy as anp
import mpmath
import numpy
import pytest
import scipy.stats

import igr_ref
from igr_ref import models, noise
from igr_ref.models import binary_units as units
from igr_ref.models import mlp, structured_output
from igr_ref.models.losses import Bernoulli
from igr_ref.transforms import PlanarFlow

from .gradcheck import autograd_vjp, check, complex_step, configurations
from .strict_array import same_bits, strict

LONG = numpy.longdouble
DELTA = 0.3
UNITS = {
    "gs": units.GumbelSoftmaxUnit,
    "igr_i": lambda tau: units.IGRIUnit(tau, DELTA),
    "igr_planar": units.IGRPlanarUnit,
    "igr_sb": units.IGRSBUnit,
    "igr_i_as_published": lambda tau: units.IGRIUnitAsPublished(),
    "igr_sb_as_published": lambda tau: units.IGRSBUnitAsPublished(),
}
VARYING = ("gs", "igr_i", "igr_planar", "igr_sb", "igr_i_as_published")  # binary units that are not constant
ONE_OUTPUT = ("gs", "igr_i_as_published", "igr_sb_as_published")
EQUATION = {
    "gs": "eq. 5, binary",
    "igr_i": "eq. 15, binary",
    "igr_planar": "planar flow, binary",
    "igr_sb": "eq. 18, binary, remainder kept",
    "igr_i_as_published": "Table 2, IGR-I as published",
    "igr_sb_as_published": "Table 2, IGR-SB as published",
}

# ---- the textbook, sharing no code with igr_ref: formulas that run under autograd and on complex numbers -------------


def sigmoid_of_reals(l):
    return anp.exp(-anp.logaddexp(0.0, -l))


def sigmoid_of_complex(l):
    return 0.5 * (1 + numpy.tanh(0.5 * l))


def book_logit(kind, own, o, eps, tau, xp=anp, sigmoid=sigmoid_of_reals):
    """l of each unit from a layer's outputs; `own` holds "flow.0.w", ..."""
    if kind in ONE_OUTPUT:
        y = o + eps
    else:
        n = o.shape[-1] // 2
        y = o[..., :n] + xp.exp(o[..., n:]) * eps
    if kind == "igr_i":
        return y / tau - numpy.log(LONG(DELTA) if xp is numpy else DELTA)
    if kind == "igr_i_as_published":
        return y
    if kind == "igr_sb_as_published":
        return sigmoid(y)
    if kind == "igr_sb":
        return (2 * sigmoid(y) - 1) / tau
    if kind == "igr_planar":
        for i in range(2):
            w, u, b = own[f"flow.{i}.w"][:, 0], own[f"flow.{i}.u"][:, 0], own[f"flow.{i}.b"]
            u = u + (xp.log(1 + xp.exp(w * u)) - 1 - w * u) * w / w**2
            y = y + u * xp.tanh(w * y + b)
    return y / tau


def book_networks(params, prefix, x, xp):
    h = xp.matmul(x, params[f"{prefix}.0.weight"]) + params[f"{prefix}.0.bias"]
    if f"{prefix}.1.weight" in params:
        h = xp.matmul(xp.tanh(h), params[f"{prefix}.1.weight"]) + params[f"{prefix}.1.bias"]
    return h


def part(params, prefix):
    return {name[len(prefix) + 1 :]: p for name, p in params.items() if name.startswith(prefix + ".")}


def book_log_p(params, x_upper, x_lower, eps, kind, tau, xp=anp, sigmoid=sigmoid_of_reals, binary=False):
    """log p(x_lower | units) (S, B) from noise (S, B, 2, N), one sample at a time."""
    out = []
    for e in eps:
        h = x_upper
        for layer, name in enumerate(("first", "second")):
            o = book_networks(params, name, h, xp)
            psi = sigmoid(book_logit(kind, part(params, name), o, e[:, layer], tau, xp, sigmoid))
            h = 2 * ((psi > 0.5) * 1.0 if binary else psi) - 1
        p = sigmoid(book_networks(params, "decoder", h, xp))
        q = sigmoid(-book_networks(params, "decoder", h, xp))
        out.append(xp.sum(x_lower * xp.log(p) + (1 - x_lower) * xp.log(q), axis=-1))
    return out


def book_loss(*args, xp=anp, **options):
    """-log (1/S) sum_s p_s, mean over images."""
    ps = [xp.exp(log_p) for log_p in book_log_p(*args, xp=xp, **options)]
    return -xp.mean(xp.log(sum(ps) / len(ps)))


def labels(method, kind):
    return {"equation": "structured output", "function": f"models.StructuredOutput.{method} ({kind})"}


# ---- configurations --------------------------------------------------------------------------------------------------


def own_parameters(kind, rng, n):
    """For the planar flow: |w| in (.05, 3), so that u~ = psi/w is moderate; {} for the other units."""
    if kind != "igr_planar":
        return {}
    own = {}
    for i in range(2):
        size = numpy.exp(rng.uniform(numpy.log(0.05), numpy.log(3.0), (n, 1)))
        own[f"flow.{i}.w"] = size * rng.choice([-1.0, 1.0], (n, 1))
        own[f"flow.{i}.u"], own[f"flow.{i}.b"] = rng.standard_normal((n, 1)), rng.standard_normal(n)
    return own


def unit_configuration(kind, rng, lead, tau):
    """(o, eps, own, psi_bar): l moderate, extreme or in between."""
    n = int(rng.integers(1, 7))
    spread = [3 * tau, 1.0, 5.0][rng.integers(3)]
    o = spread * rng.standard_normal((*lead, n))
    if kind not in ONE_OUTPUT:
        o = numpy.concatenate([o, rng.standard_normal((*lead, n))], axis=-1)
    eps = rng.logistic(size=(*lead, n)) if kind == "gs" else rng.standard_normal((*lead, n))
    return o, eps, own_parameters(kind, rng, n), rng.standard_normal((*lead, n))


def small_network(kind, rng, tau, architecture="nonlinear", n_units=3, spread=0.3):
    net = models.StructuredOutput(UNITS[kind](tau), 5, 4, n_units, architecture)
    params = {name: p + spread * rng.standard_normal(p.shape) for name, p in net.init(rng, "float64").items()}
    for name in ("first", "second"):
        params |= {f"{name}.{key}": p for key, p in own_parameters(kind, rng, n_units).items()}
    return net, params


def draws(net, rng, shape):
    return rng.logistic(size=shape) if net.unit.noise == "logistic" else rng.standard_normal(shape)


def images(rng, n_images, n_pixels, dtype="float64"):
    return (rng.random((n_images, n_pixels)) < 0.5).astype(dtype)


def book_unit_gradients(kind, o, eps, own, psi_bar, tau):
    """({name: gradient}, {name: its size were psi (1 - psi) = 1}, size of l's terms), in complex longdouble.

    A psi depends on its own unit's numbers alone, so one complex step moves all units at once.
    """
    o, eps, psi_bar, tau = LONG(o), LONG(eps), LONG(psi_bar), LONG(tau)
    own = {name: LONG(p) for name, p in own.items()}
    h = LONG("1e-1000")
    n = eps.shape[-1]

    def both(o, own):
        l = book_logit(kind, own, o + 0j, eps, tau, numpy, sigmoid_of_complex)
        return sigmoid_of_complex(l).imag / h, l.imag / h

    steps = {}
    for i in range(o.shape[-1] // n):
        direction = numpy.zeros_like(o)
        direction[..., i * n : (i + 1) * n] = h
        steps[f"o{i}"] = both(o + 1j * direction, own)
    for name, p in own.items():
        steps[name] = both(o, {**own, name: p + 1j * h})
    grads, sizes = {}, {}
    for name, (psi, l) in steps.items():
        grads[name], sizes[name] = psi_bar * psi, float(numpy.linalg.norm((psi_bar * l).astype("float64").ravel()))
        if name in own:
            grads[name] = grads[name].sum(axis=tuple(range(grads[name].ndim - 1))).reshape(own[name].shape)
    terms = numpy.abs(o[..., :n]) + (1 if kind in ONE_OUTPUT else numpy.exp(o[..., n:])) * numpy.abs(eps)
    for i in range(2 if own else 0):
        w, u = own[f"flow.{i}.w"][:, 0], own[f"flow.{i}.u"][:, 0]
        terms = terms + numpy.abs(numpy.log1p(numpy.exp(w * u)) - 1) / numpy.abs(w)
    if kind in ("igr_sb", "igr_sb_as_published"):
        terms = numpy.ones(1)  # l is bounded: |2 u - 1| < 1, u < 1
    return grads, sizes, float(terms.max() / (1 if kind.endswith("as_published") else tau))


# ---- layers and units ------------------------------------------------------------------------------------------------


def test_tanh_layers():
    for i in range(300):
        rng = numpy.random.default_rng((1, i))
        net = models.MLP(rng.integers(1, 7, rng.integers(2, 5)), "tanh")
        params = {name: p + rng.standard_normal(p.shape) for name, p in net.init(rng).items()}
        x = rng.standard_normal((4, net.widths[0]))
        out, saved = net.run(params, x)
        bar = rng.standard_normal(out.shape)
        grads, x_bar = net.pullback(params, saved, bar)

        def book(params, x, net=net, bar=bar, xp=anp):
            for j in range(len(net.widths) - 1):
                x = xp.matmul(xp.tanh(x) if j else x, params[f"{j}.weight"]) + params[f"{j}.bias"]
            return xp.sum(bar * x)

        def ours(params, x, net=net, bar=bar):
            return anp.sum(bar * net.run(params, x)[0])

        options = {"equation": "MLP, tanh", "function": "models.MLP.pullback"}
        for name, f in (("autograd", ours), ("autograd of a textbook network", book)):
            want, want_x = autograd.grad(f, 0)(params, x), autograd.grad(f, 1)(params, x)
            check(x_bar, want_x, oracle=name, **options)
            for key in params:
                check(grads[key], want[key], oracle=name, **options)
        direction = rng.standard_normal(x.shape)
        slope = complex_step(lambda x, f=book, p=params: f(p, x, xp=numpy), x, direction)
        check(numpy.sum(x_bar * direction), slope, oracle="complex step", scale=1e-2, **options)


def test_tanh_pullback_keeps_its_digits_and_its_dtype():
    y = numpy.tanh(numpy.array([0.0, 1e-300, 0.3, -0.7, 5.0, -18.0]))
    with mpmath.workdps(50):
        want = numpy.array([float(1 - mpmath.mpf(float(v)) ** 2) for v in y])
    got = mlp.tanh_vjp(y, numpy.ones(6))
    numpy.testing.assert_allclose(got, want, rtol=4e-16)
    check(got, want, equation="MLP, tanh", function="models.mlp.tanh_vjp", oracle="mpmath")
    single = mlp.tanh_vjp(y.astype("f4"), numpy.ones(6, "f4"))
    check(single, want, dtype="float32", equation="MLP, tanh", function="models.mlp.tanh_vjp", oracle="mpmath")


@pytest.mark.parametrize("kind", UNITS)
def test_unit_pullback(kind):
    for rng, lead, _, tau in configurations(1000, 2):
        unit = UNITS[kind](tau)
        o, eps, own, psi_bar = unit_configuration(kind, rng, lead, tau)
        options = {"equation": EQUATION[kind], "function": f"models.binary_units.{type(unit).__name__}.pullback"}
        want, sizes, terms = book_unit_gradients(kind, o, eps, own, psi_bar, tau)
        psi, saved = unit.run(own, o, eps)
        assert psi.shape == eps.shape and numpy.all((psi >= 0) & (psi <= 1))
        o_bar, bars = unit.pullback(own, saved, psi_bar)
        got = split(kind, o_bar, bars)
        assert sorted(got) == sorted(want)
        for name in want:
            # l comes with an error of eps times its largest term, which is all that low temperatures cost
            check(got[name], want[name], max(1e-10, 1e-15 * terms), oracle="complex step", **options)

        def forward(o, own, unit=unit, eps=eps, psi_bar=psi_bar):
            return anp.sum(psi_bar * unit.run(own, o, eps)[0])

        with numpy.errstate(over="ignore"):  # autograd's 1/cosh(s)^2 of the planar tanh: 0 where cosh overflows
            traced = autograd.grad(forward, 0)(o, own), autograd.grad(forward, 1)(o, own) if own else {}
        for name, bar in split(kind, *traced).items():
            # autograd forms sigmoid' = s (1 - s) from s, its rounding is absolute; the published unit has one in l too
            scale = 1e-5 * (numpy.linalg.norm(psi_bar) if kind == "igr_sb_as_published" else sizes[name])
            check(got[name], bar, max(1e-10, 1e-15 * terms), oracle="autograd", scale=scale, **options)

        small = [a.astype("f4") for a in (o, eps, psi_bar)]
        small_own = {name: p.astype("f4") for name, p in own.items()}
        exact, _, _ = book_unit_gradients(kind, *small[:2], small_own, small[2], tau)
        psi, saved = unit.run(small_own, *small[:2])
        assert psi.dtype == numpy.float32
        got = split(kind, *unit.pullback(small_own, saved, small[2]))
        for name in exact:
            # float32 loses digits from 1e-38 on, where the sigmoid's slope has long been at low temperature
            kind_of_check = {"dtype": "float32", "scale": 1e-30, "oracle": "complex step"}
            check(got[name], exact[name], **kind_of_check, **options)


def split(kind, o_bar, bars):
    n = o_bar.shape[-1] // (1 if kind in ONE_OUTPUT else 2)
    return {**{f"o{i}": o_bar[..., i * n : (i + 1) * n] for i in range(o_bar.shape[-1] // n)}, **bars}


@pytest.mark.parametrize("kind", UNITS)
def test_unit_values_to_50_digits(kind):
    rng = numpy.random.default_rng(3)
    sig = lambda l: 1 / (1 + mpmath.exp(-l))  # noqa: E731
    with mpmath.workdps(50):
        for tau in (0.01, 0.3, 1.0, 30.0):
            o, eps, own, _ = unit_configuration(kind, rng, (4,), tau)
            psi = UNITS[kind](tau).run(own, o, eps)[0]
            n = psi.shape[-1]
            for b, j in numpy.ndindex(psi.shape):
                e, t = mpmath.mpf(float(eps[b, j])), mpmath.mpf(tau)
                y = mpmath.mpf(float(o[b, j]))
                y += e if kind in ONE_OUTPUT else mpmath.exp(mpmath.mpf(float(o[b, n + j]))) * e
                size = abs(y)
                for i in range(2 if own else 0):
                    w, u, c = (mpmath.mpf(float(own[f"flow.{i}.{name}"].reshape(-1)[j])) for name in "wub")
                    u_tilde = u + (mpmath.log1p(mpmath.exp(w * u)) - 1 - w * u) / w
                    y += u_tilde * mpmath.tanh(w * y + c)
                    size += abs(u_tilde)
                l = {
                    "igr_i": lambda y=y, t=t: y / t - mpmath.log(mpmath.mpf(DELTA)),
                    "igr_sb": lambda y=y, t=t: (2 * sig(y) - 1) / t,
                    "igr_i_as_published": lambda y=y: y,
                    "igr_sb_as_published": lambda y=y: sig(y),
                }.get(kind, lambda y=y, t=t: y / t)()
                if l > -700:  # below, psi itself underflows
                    error = abs(mpmath.mpf(float(psi[b, j])) / sig(l) - 1)
                    # an error in l counts relatively where psi is small
                    assert error < 1e-15 * (4 + 20 * (size + 1) / t), (kind, tau, float(l), float(error))


def test_units_are_the_first_coordinate_of_the_distributions_of_two_categories():
    rng = numpy.random.default_rng(4)
    for tau in (0.05, 0.5, 3.0):
        mu, log_sigma, eps = rng.standard_normal((3, 4, 6))
        o, y = numpy.concatenate([mu, log_sigma], axis=-1), (mu[..., None], log_sigma[..., None])
        own = own_parameters("igr_planar", rng, 6)
        flows = [PlanarFlow(own[f"flow.{i}.w"], own[f"flow.{i}.u"], own[f"flow.{i}.b"]) for i in range(2)]
        pairs = {
            "igr_i": (units.IGRIUnit(tau, DELTA), igr_ref.igr_i(*y, tau, DELTA)),
            "igr_sb": (units.IGRSBUnit(tau), igr_ref.igr_sb(*y, tau, remainder=True)),
            "igr_planar": (units.IGRPlanarUnit(tau), igr_ref.distributions.igr_planar(*y, flows, tau)),
        }
        for name, (unit, q) in pairs.items():
            psi = unit.run(own, o, eps)[0]
            numpy.testing.assert_allclose(psi, q.sample(eps[..., None])[..., 0], rtol=1e-12, atol=1e-15, err_msg=name)
            if name != "igr_i":  # its h is that of delta = 1 (Prop. 1), the binary code is psi > 1/2
                b = unit.discretize(own, o, eps)
                numpy.testing.assert_array_equal(b, q.discretize(eps[..., None])[..., 0])
        plain = units.IGRIUnit(tau)
        numpy.testing.assert_array_equal(
            plain.discretize({}, o, eps), igr_ref.igr_i(*y, tau).discretize(eps[..., None])[..., 0]
        )
        gumbels = rng.gumbel(size=(4, 6, 2))
        q = igr_ref.GumbelSoftmax(numpy.stack([mu, 0 * mu], axis=-1), tau)
        unit, logistic = units.GumbelSoftmaxUnit(tau), gumbels[..., 0] - gumbels[..., 1]
        numpy.testing.assert_allclose(unit.run({}, mu, logistic)[0], q.sample(gumbels)[..., 0], rtol=1e-12, atol=1e-15)
        numpy.testing.assert_array_equal(unit.discretize({}, mu, logistic), q.discretize(gumbels)[..., 0])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", UNITS)
def test_trap_binary_codes_are_exactly_binary(kind, dtype):
    """b is 0 or 1, never in between, and is 1[psi > 1/2] wherever psi is not 1/2 within rounding."""
    for rng, lead, _, tau in configurations(100, 5):
        unit = UNITS[kind](tau)
        o, eps, own, _ = unit_configuration(kind, rng, lead, tau)
        o, eps, own = o.astype(dtype), eps.astype(dtype), {name: p.astype(dtype) for name, p in own.items()}
        b = unit.discretize(own, o, eps)
        assert b.dtype == dtype and b.shape == eps.shape and set(numpy.unique(b)) <= {0.0, 1.0}
        wide = {name: LONG(p) for name, p in own.items()}
        exact = book_logit(kind, wide, LONG(o), LONG(eps), LONG(tau), numpy, sigmoid_of_complex)
        _, _, terms = book_unit_gradients(kind, o, eps, own, eps, tau)
        clear = numpy.abs(exact) > 64 * numpy.finfo(dtype).eps * (1 + terms)
        numpy.testing.assert_array_equal(b[clear], (exact > 0)[clear])
        psi = unit.run(own, o, eps)[0]
        numpy.testing.assert_array_equal(b[clear], (psi > 0.5)[clear])


def test_trap_a_saturated_unit_keeps_its_gradient():
    """psi rounds to 1 from l = 37 on, where psi (1 - psi) formed from psi is 0; the gradient is e^-l."""
    unit = units.GumbelSoftmaxUnit(0.01)
    for l in (40.0, 300.0, 700.0, -40.0, -700.0):
        o, eps = numpy.array([l / 100]), numpy.zeros(1)
        bar = unit.pullback({}, unit.run({}, o, eps)[1], numpy.ones(1))[0]
        assert math.isclose(bar[0], 100 * math.exp(-abs(o[0] / 0.01)), rel_tol=1e-13)


def test_trap_log_sigma_is_the_log_of_a_standard_deviation():
    unit = units.IGRIUnit(1.0)
    o = numpy.array([0.0, math.log(3.0)])
    psi = unit.run({}, o, numpy.array([2.0]))[0]
    assert math.isclose(psi[0], 1 / (1 + math.exp(-6.0)), rel_tol=1e-15)


def test_trap_float32_uniforms_give_finite_logistic_noise():
    class Ends:
        def random(self, shape, dtype):
            return numpy.array([0.0, 1 - 2.0 ** (-24 if dtype == "float32" else -53), 0.5], dtype)

    for dtype in ("float32", "float64"):
        L = units.logistic(noise.uniform(Ends(), 3, numpy.dtype(dtype)))
        assert L.dtype == dtype and numpy.all(numpy.isfinite(L)) and L[0] < -15 and L[1] > 15 and L[2] == 0
    u = noise.uniform(numpy.random.default_rng(6), 20_000)
    with mpmath.workdps(50):
        want = numpy.array([float(mpmath.log(mpmath.mpf(v) / (1 - mpmath.mpf(v)))) for v in u[:500].tolist()])
    numpy.testing.assert_allclose(units.logistic(u[:500]), want, rtol=1e-15, atol=1e-15)
    assert scipy.stats.kstest(units.logistic(u), "logistic").pvalue > 1e-6


# ---- the published variants ------------------------------------------------------------------------------------------


def test_audit_17_published_igr_unit_has_unit_variance_and_no_temperature():
    rng = numpy.random.default_rng(7)
    mu, eps = rng.standard_normal((2, 5, 3))
    published, ours = units.IGRIUnitAsPublished(), units.IGRIUnit(1.0)
    psi = published.run({}, mu, eps)[0]
    numpy.testing.assert_array_equal(psi, ours.run({}, numpy.concatenate([mu, 0 * mu], axis=-1), eps)[0])
    assert (published.outputs, ours.outputs) == (1, 2)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_audit_18_published_igr_sb_network_is_constant(dtype):
    """sigmoid(u) > 1/2: every code is all ones, so the binary network ignores its input and its noise."""
    rng = numpy.random.default_rng(8)
    x_upper, x_lower = images(rng, 50, 5, dtype), images(rng, 50, 4, dtype)
    seen = {}
    for kind in ("igr_sb", "igr_sb_as_published"):
        net, params = small_network(kind, rng, 0.5, spread=3.0)
        params = {name: p.astype(dtype) for name, p in params.items()}
        eps = draws(net, rng, net.noise_shape(50, 20)).astype(dtype)
        seen[kind] = net.predict(params, x_upper, eps)
        bound = net.log_likelihood_bound(params, x_upper, x_lower, eps, m=20)
        if kind == "igr_sb_as_published":
            logits = params["decoder.0.weight"].sum(axis=0) + params["decoder.0.bias"]
            constant = Bernoulli().log_prob(x_lower, logits)
            numpy.testing.assert_allclose(bound, constant, rtol=0, atol=2e-5 if dtype == "float32" else 1e-12)
    assert len(numpy.unique(seen["igr_sb_as_published"].reshape(-1, 4), axis=0)) == 1
    assert len(numpy.unique(seen["igr_sb"].reshape(-1, 4), axis=0)) > 3
    far = units.IGRSBUnitAsPublished().discretize({}, numpy.array([-1e4, 0.0, 1e4], dtype), numpy.zeros(3, dtype))
    numpy.testing.assert_array_equal(far, 1)
    # eq. 18 itself is no better with one stick: softmax++ of u > 0 (audit last-category)
    y = 10 * rng.standard_normal((1000, 1))
    assert numpy.all(igr_ref.igr_sb(y, 0 * y, 0.1).discretize(y)[:, 0] == 1)


# ---- the network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", UNITS)
def test_network_gradients(kind):
    for i, (rng, _, _, tau) in enumerate(configurations(240, 9, temperatures=(0.05, 10))):
        net, params = small_network(kind, rng, tau, ("nonlinear", "double_linear")[i % 2])
        x_upper, x_lower = images(rng, 3, 5), images(rng, 3, 4)
        eps = draws(net, rng, net.noise_shape(3, (1, 1, 2, 5)[i % 4]))
        args = (x_upper, x_lower, eps)
        loss, grads = net.loss_and_grads(params, *args)
        assert sorted(grads) == sorted(params) and loss.shape == (3,)
        numpy.testing.assert_array_equal(loss, net.loss(params, *args))
        options = labels("loss_and_grads", kind)
        book = numpy.float64(book_loss(params, *args, kind, tau))
        check(loss.mean(), book, 1e-12, oracle="textbook value", **options)
        flat = flatten(grads)
        want = autograd.grad(lambda p, args=args, tau=tau: book_loss(p, *args, kind, tau))(params)
        check(flat, flatten(want), oracle="autograd of the textbook objective", **options)
        (want,) = autograd_vjp(lambda p, net=net, args=args: anp.mean(net.loss(p, *args)), params)
        check(flat, flatten(want), oracle="autograd", **options)
        # a slope along a random direction in all parameters at once, without a tape
        direction = {name: rng.standard_normal(p.shape) for name, p in params.items()}
        slope = numpy.sum(flat * flatten(direction))
        size = numpy.linalg.norm(flat)

        def along(t, params=params, direction=direction, args=args, tau=tau):
            moved = {name: p + t * direction[name] for name, p in params.items()}
            return book_loss(moved, *args, kind, tau, xp=numpy, sigmoid=sigmoid_of_complex)

        check(slope, numpy.float64(along(1e-200j).imag / 1e-200), oracle="complex step", scale=size, **options)
        if i % 20 == 0 and tau > 0.3:
            h = 1e-4
            ends = [along(s * h) for s in (2, 1, -1, -2)]
            want = (-ends[0] + 8 * ends[1] - 8 * ends[2] + ends[3]) / (12 * h)
            scale = max(size, abs(book))
            check(slope, numpy.float64(want), 1e-6, oracle="five-point difference", scale=scale, **options)


def flatten(tree):
    return numpy.concatenate([tree[name].ravel() for name in sorted(tree)])


@pytest.mark.parametrize("architecture", ["nonlinear", "double_linear"])
@pytest.mark.parametrize("kind", UNITS)
def test_float32_step_stays_float32_and_close(kind, architecture):
    rng = noise.generator(10, "test")
    net = models.StructuredOutput(UNITS[kind](0.5), 40, 30, 20, architecture)
    params = net.init(rng, "float64")
    for name in ("first", "second"):
        params |= {f"{name}.{key}": p for key, p in own_parameters(kind, rng, 20).items()}
    params = {name: p.astype("f4") for name, p in params.items()}
    x_upper, x_lower = images(rng, 10, 40, "f4"), images(rng, 10, 30, "f4")
    eps = draws(net, rng, net.noise_shape(10, 2)).astype("f4")
    wide = {name: p.astype("f8") for name, p in params.items()}
    want, want_grads = net.loss_and_grads(wide, *(a.astype("f8") for a in (x_upper, x_lower, eps)))
    got, grads = net.loss_and_grads(params, x_upper, x_lower, eps)
    assert got.dtype == numpy.float32
    numpy.testing.assert_allclose(got, want, rtol=2e-5)
    for name in grads:
        options = labels("loss_and_grads", kind)
        check(grads[name], want_grads[name], dtype="float32", oracle="float64", **options)
    bound = net.log_likelihood_bound(params, x_upper, x_lower, eps, m=2)
    assert bound.dtype == numpy.float32 and net.predict(params, x_upper, eps).dtype == numpy.float32


@pytest.mark.parametrize("architecture", ["nonlinear", "double_linear"])
@pytest.mark.parametrize("kind", UNITS)
def test_replica_axis_is_the_same_as_separate_runs(kind, architecture):
    """Parameters (R, ...), images (R, B, P), noise (R, S, B, 2, N) and a temperature for each replica."""
    rng = numpy.random.default_rng(11)
    taus = numpy.array([0.2, 0.5, 2.0])
    x_upper, x_lower = images(rng, 12, 5).reshape(3, 4, 5), images(rng, 12, 4).reshape(3, 4, 4)
    params, eps, singles = [], [], []
    for r in range(3):
        net, p = small_network(kind, rng, float(taus[r]), architecture)
        params.append(p)
        eps.append(draws(net, rng, net.noise_shape(4, 2)))
        predictions = [net.predict(p, x_upper[r], eps[r], discrete) for discrete in (True, False)]
        singles.append((*net.loss_and_grads(p, x_upper[r], x_lower[r], eps[r]), predictions))
    net = models.StructuredOutput(UNITS[kind](taus.reshape(3, 1, 1, 1)), 5, 4, 3, architecture)
    together, stacked = {name: numpy.stack([p[name] for p in params]) for name in params[0]}, numpy.stack(eps)
    loss, grads = net.loss_and_grads(together, x_upper, x_lower, stacked)
    pictures = [net.predict(together, x_upper, stacked, discrete) for discrete in (True, False)]
    assert pictures[0].shape == (3, 2, 4, 4)
    for r, (single, single_grads, single_pictures) in enumerate(singles):
        numpy.testing.assert_allclose(loss[r], single, rtol=1e-12)
        for got, want in zip(pictures, single_pictures, strict=True):
            numpy.testing.assert_allclose(got[r], want, rtol=1e-12)
        for name in grads:
            assert grads[name].shape == together[name].shape
            numpy.testing.assert_allclose(grads[name][r], single_grads[name], rtol=1e-9, atol=1e-13)


def test_replicas_may_share_images():
    rng = numpy.random.default_rng(12)
    net, params = small_network("igr_planar", rng, 0.5)
    together = {name: numpy.stack([p, p]) for name, p in params.items()}
    x_upper, x_lower, eps = images(rng, 4, 5), images(rng, 4, 4), draws(net, rng, (2, *net.noise_shape(4, 2)))
    loss, grads = net.loss_and_grads(together, x_upper, x_lower, eps)
    for r in range(2):
        single, single_grads = net.loss_and_grads(params, x_upper, x_lower, eps[r])
        numpy.testing.assert_allclose(loss[r], single, rtol=1e-12)
        for name in grads:
            numpy.testing.assert_allclose(grads[name][r], single_grads[name], rtol=1e-9, atol=1e-13)


def test_trap_many_samples_of_small_probability():
    """p(x|z) of 2,000 badly predicted pixels underflows; its log-mean and the gradient do not."""
    rng = numpy.random.default_rng(13)
    net = models.StructuredOutput(units.IGRIUnit(0.5, DELTA), 5, 2000, 3)
    params = net.init(rng, "float64")
    params["decoder.0.bias"] += 3.0
    x_upper, x_lower, eps = images(rng, 2, 5), numpy.zeros((2, 2000)), draws(net, rng, net.noise_shape(2, 4))
    loss, grads = net.loss_and_grads(params, x_upper, x_lower, eps)
    p = numpy.exp(LONG(book_log_p(params, x_upper, x_lower, eps, "igr_i", 0.5)))  # longdouble reaches e^-11355
    assert numpy.all(loss > 4000) and numpy.all(p.astype("float64") == 0)
    numpy.testing.assert_allclose(loss, (-numpy.log(p.mean(axis=0))).astype("float64"), rtol=1e-13)
    (want,) = autograd_vjp(lambda p: anp.mean(net.loss(p, x_upper, x_lower, eps)), params)
    numpy.testing.assert_allclose(flatten(grads), flatten(want), rtol=1e-9, atol=1e-10)
    same = net.loss(params, x_upper, x_lower, numpy.repeat(eps[:1], 4, axis=0))
    numpy.testing.assert_allclose(same, net.loss(params, x_upper, x_lower, eps[:1]), rtol=1e-13)


# ---- the score -------------------------------------------------------------------------------------------------------

STATES = numpy.array(list(itertools.product((0.0, 1.0), repeat=3)))


def exact_log_probs(kind, params, x_upper, x_lower, tau):
    """log p(x_lower | x_upper) of the binary network, summed over the 8 x 8 states of two layers of three units; and
    the standard deviation of one sample's p(x_lower | b), relative to its mean."""
    p_pixels = 1 / (1 + numpy.exp(-(book_networks(params, "decoder", 2 * STATES - 1, numpy))))  # (8, P)
    log_p, spread = [], []
    for upper, lower in zip(x_upper, x_lower, strict=True):
        p_x = numpy.prod(numpy.where(lower == 1, p_pixels, 1 - p_pixels), axis=-1)
        first, second = 0.0, 0.0
        on = on_probability(kind, part(params, "first"), book_networks(params, "first", upper, numpy), tau)
        for b in STATES:
            p_b = numpy.prod(numpy.where(b == 1, on, 1 - on))
            o = book_networks(params, "second", 2 * b - 1, numpy)
            on_2 = on_probability(kind, part(params, "second"), o, tau)
            p_b2 = numpy.prod(numpy.where(STATES == 1, on_2, 1 - on_2), axis=-1)
            first, second = first + p_b * numpy.sum(p_b2 * p_x), second + p_b * numpy.sum(p_b2 * p_x**2)
        log_p.append(math.log(first))
        spread.append(math.sqrt(second - first**2) / first)
    return numpy.array(log_p), numpy.array(spread)


def on_probability(kind, own, o, tau):
    """P(b = 1) = P(y > l^{-1}(0)); the planar flow's root by bisection."""
    if kind == "gs":
        return 1 / (1 + numpy.exp(-o))
    if kind == "igr_sb_as_published":
        return numpy.ones(3)
    cut = {"igr_i": tau * math.log(DELTA)}.get(kind, 0.0) * numpy.ones(3)
    if kind == "igr_planar":
        low, high = numpy.full(3, -1e4), numpy.full(3, 1e4)
        for _ in range(100):
            cut = 0.5 * (low + high)
            l = book_logit(kind, own, numpy.concatenate([cut, numpy.zeros(3)]), numpy.zeros(3), 1.0, numpy)
            low, high = numpy.where(l > 0, low, cut), numpy.where(l > 0, cut, high)
    mu, sigma = (o, 1.0) if kind in ONE_OUTPUT else (o[:3], numpy.exp(o[3:]))
    return scipy.stats.norm.cdf((mu - cut) / sigma)


@pytest.mark.parametrize("architecture", ["nonlinear", "double_linear"])
@pytest.mark.parametrize("kind", UNITS)
def test_bound_against_enumeration(kind, architecture):
    """m = 40,000 samples: 12 x 4 comparisons at 5 standard errors, false alarm 3e-5 in all. Few samples stay below."""
    rng = numpy.random.default_rng((14, list(UNITS).index(kind)))
    tau, m = 0.5, 40_000
    net, params = small_network(kind, rng, tau, architecture, spread=1.0)
    x_upper, x_lower = images(rng, 4, 5), images(rng, 4, 4)
    want, spread = exact_log_probs(kind, params, x_upper, x_lower, tau)

    def draw(image, start, stop):
        return draws(net, noise.generator(image, "enumeration", start), (stop - start, 2, 3))

    got = net.log_likelihood_bound(params, x_upper, x_lower, draw, m=m)
    assert numpy.all(numpy.abs(numpy.expm1(got - want)) <= 5 * spread / math.sqrt(m) + 1e-12)
    few = numpy.array([
        net.log_likelihood_bound(params, x_upper, x_lower, draws(net, rng, net.noise_shape(4, 3)), m=3)
        for _ in range(300)
    ])  # fmt: skip
    assert numpy.all(few.mean(axis=0) <= want + 5 * few.std(axis=0) / math.sqrt(300) + 1e-12)


@pytest.mark.parametrize("kind", UNITS)
def test_bound_is_the_textbook_score_of_the_same_noise(kind, monkeypatch):
    """Sample by sample, whatever the size of the blocks."""
    for i, (rng, _, _, tau) in enumerate(configurations(30, 15, temperatures=(0.05, 10))):
        net, params = small_network(kind, rng, tau, ("nonlinear", "double_linear")[i % 2], spread=1.0)
        x_upper, x_lower = images(rng, 3, 5), images(rng, 3, 4)
        eps = draws(net, rng, net.noise_shape(3, 23))
        ps = numpy.exp(numpy.array(book_log_p(params, x_upper, x_lower, eps, kind, tau, binary=True)))
        want = numpy.log(ps.mean(axis=0))
        options = labels("log_likelihood_bound", kind)
        for rows in (1000, 7, 1):
            monkeypatch.setattr(structured_output, "ROWS", rows)
            got = net.log_likelihood_bound(params, x_upper, x_lower, eps, m=23)
            check(got, want, 1e-12, oracle="textbook, sample by sample", **options)
        # and the same samples through the other door
        log_p = net.likelihood.log_prob(x_lower, numpy.log(1 / (1 / net.predict(params, x_upper, eps) - 1)))
        check(got, numpy.log(numpy.exp(log_p).mean(axis=0)), 1e-9, oracle="predict", **options)


def test_score_streams_over_samples_in_bounded_memory():
    rng = numpy.random.default_rng(16)
    net = models.StructuredOutput(units.IGRIUnit(0.5), 5, 4, 50)
    params = {name: p.astype("f4") for name, p in net.init(rng, "float64").items()}
    x_upper, x_lower = images(rng, 2, 5, "f4"), images(rng, 2, 4, "f4")
    asked = []

    def draw(image, start, stop):
        asked.append((image, start, stop))
        return noise.normal(noise.generator(image, "score", start), (stop - start, 2, 50), "float32")

    peaks = {}
    for m in (1000, 20_500):
        asked.clear()
        tracemalloc.start()
        got = net.log_likelihood_bound(params, x_upper, x_lower, draw, m=m)
        peaks[m] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert got.shape == (2,) and numpy.all(numpy.isfinite(got))
    want = [(image, s, min(s + 1000, 20_500)) for image in range(2) for s in range(0, 20_500, 1000)]
    assert asked == want
    assert peaks[20_500] < 1.3 * peaks[1000]
    again = net.log_likelihood_bound(params, x_upper[1:], x_lower[1:], lambda i, *block: draw(1, *block), m=20_500)
    assert again[0] == got[1]  # an image's score depends on its own noise alone


def test_predictions_are_the_means_of_the_lower_half():
    rng = numpy.random.default_rng(17)
    net, params = small_network("igr_planar", rng, 0.5)
    x, eps = images(rng, 6, 5), draws(net, rng, net.noise_shape(6, 3))
    pixels = {}
    for value in (0.0, 1.0):
        for binary in (True, False):
            log_p = book_log_p(params, x, numpy.full((6, 4), value)[:, :1], eps, "igr_planar", 0.5, binary=binary)
            pixels[value, binary] = numpy.array(log_p)
    for binary in (True, False):
        means = net.predict(params, x, eps, discrete=binary)
        assert means.shape == (3, 6, 4) and numpy.all((means > 0) & (means < 1))
        # the first pixel repeated over the four is what broadcasting a (6, 1) target scores: sum_p log p(value)
        numpy.testing.assert_allclose(numpy.log(means).sum(axis=-1), pixels[1.0, binary], rtol=1e-10)
        numpy.testing.assert_allclose(numpy.log1p(-means).sum(axis=-1), pixels[0.0, binary], rtol=1e-10)


# ---- architecture, other array libraries, errors ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", UNITS)
def test_shapes_of_the_paper(kind):
    """Appendix E: 392-240-240 units, 240-240 units, 392. The script's double_linear has no hidden layers."""
    wide = 240 if kind in ONE_OUTPUT else 480
    hidden = {"nonlinear": [(240, wide)], "double_linear": []}
    for architecture, more in hidden.items():
        net = models.StructuredOutput(UNITS[kind](0.5), architecture=architecture)
        params = net.init(noise.generator(18, "init"), "float32")
        assert all(p.dtype == numpy.float32 for p in params.values())
        weights = {name: p.shape for name, p in params.items() if name.endswith("weight")}
        width = 240 if more else wide
        want = {"first.0.weight": (392, width), "second.0.weight": (240, width), "decoder.0.weight": (240, 392)}
        want |= {f"{name}.1.weight": shape for name in ("first", "second") for shape in more}
        assert weights == want
        flows = {name: p for name, p in params.items() if "flow" in name}
        assert len(flows) == (12 if kind == "igr_planar" else 0)
        for name, p in flows.items():
            assert p.shape == ((240,) if name.endswith("b") else (240, 1))
            assert p.std() == 0 if name.endswith("b") else 0.04 < p.std() < 0.06
        assert net.noise_shape(100) == (1, 100, 2, 240)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", UNITS)
def test_a_stricter_array_library_gives_the_same_bits(kind, dtype):
    rng = numpy.random.default_rng(19)
    net, params = small_network(kind, rng, 0.5)
    params = {name: p.astype(dtype) for name, p in params.items()}
    x_upper, x_lower = images(rng, 3, 5, dtype), images(rng, 3, 4, dtype)
    eps = draws(net, rng, net.noise_shape(3, 4)).astype(dtype)

    def everything(params, x_upper, x_lower, eps):
        return (
            *net.loss_and_grads(params, x_upper, x_lower, eps),
            net.log_likelihood_bound(params, x_upper, x_lower, eps, m=4),
            net.log_likelihood_bound(params, x_upper, x_lower, lambda i, start, stop: eps[start:stop, i], m=4),
            net.predict(params, x_upper, eps),
            net.predict(params, x_upper, eps, discrete=False),
        )

    same_bits(everything(*strict([params, x_upper, x_lower, eps])), everything(params, x_upper, x_lower, eps), kind)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="architecture must be one of"):
        models.StructuredOutput(units.IGRIUnit(1.0), architecture="linear")
    for make in (units.GumbelSoftmaxUnit, units.IGRIUnit, units.IGRPlanarUnit, units.IGRSBUnit):
        for tau in (0.0, -1.0, math.nan, math.inf):
            with pytest.raises(ValueError, match="temperature must be"):
                make(tau)
    for delta in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match="delta must be"):
            units.IGRIUnit(1.0, delta)
    rng = numpy.random.default_rng(20)
    net, params = small_network("igr_i", rng, 0.5)
    x_upper, x_lower, eps = images(rng, 3, 5), images(rng, 3, 4), draws(net, rng, net.noise_shape(3, 2))
    with pytest.raises(ValueError, match="x_upper must have shape"):
        net.loss(params, x_lower, x_lower, eps)
    for bad in (eps[0], eps[:, :1], eps[:, :, :1], eps[..., :2]):
        with pytest.raises(ValueError, match="noise must have shape"):
            net.loss_and_grads(params, x_upper, x_lower, bad)
    with pytest.raises(ValueError, match="m=1000"):
        net.log_likelihood_bound(params, x_upper, x_lower, eps)
