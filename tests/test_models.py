"""Layers, pixel likelihoods, Adam and the VAE's whole step against autograd and textbook versions."""

from __future__ import annotations

import math

import autograd
import autograd.numpy as anp
import mpmath
import numpy
import pytest

import igr_ref
from igr_ref import models, noise
from igr_ref.models import losses, mlp

from . import oracles_models as oracle
from .gradcheck import autograd_vjp, check, configurations

ESTIMATORS = {"plain": igr_ref.reparameterization, "sl": igr_ref.sticking_the_landing}


def test_dense_pullback():
    for i in range(1000):
        rng = numpy.random.default_rng((1, i))
        b, n_in, n_out = rng.integers(1, 9, 3)
        lead = [(), (2,), (3,)][i % 3]  # with and without a replica axis
        x, w = rng.standard_normal((*lead, b, n_in)), rng.standard_normal((*lead, n_in, n_out))
        bias, bar = rng.standard_normal((*lead, n_out)), rng.standard_normal((*lead, b, n_out))
        w_bar, bias_bar, x_bar = mlp.dense_vjp(x, w, bar)
        traced = autograd_vjp(lambda x, w, c, bar=bar: anp.sum(bar * mlp.dense(x, w, c)), x, w, bias)
        book = (
            numpy.einsum("...bo,...io->...bi", bar, w),
            numpy.einsum("...bi,...bo->...io", x, bar),
            numpy.einsum("...bo->...o", bar),
        )
        for got, want, slow in zip((x_bar, w_bar, bias_bar), traced, book, strict=True):
            options = {"equation": "dense layer", "function": "models.mlp.dense_vjp"}
            check(got, want, oracle="autograd", **options)
            check(got, slow, oracle="einsum", **options)
        single = mlp.dense_vjp(x.astype("f4"), w.astype("f4"), bar.astype("f4"))[0]
        check(
            single, book[1], dtype="float32", equation="dense layer", function="models.mlp.dense_vjp", oracle="einsum"
        )


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_mlp_pullback(activation):
    for i in range(200):
        rng = numpy.random.default_rng((2, i))
        net = models.MLP(rng.integers(1, 7, rng.integers(2, 5)), activation)
        params = {name: p + 0.1 * rng.standard_normal(p.shape) for name, p in net.init(rng).items()}
        x = rng.standard_normal((4, net.widths[0]))
        out, saved = net.run(params, x)
        bar = rng.standard_normal(out.shape)
        grads, x_bar = net.pullback(params, saved, bar)

        def by_hand(params, x, net=net, bar=bar):
            return anp.sum(bar * net.run(params, x)[0])

        def book(params, x, net=net, bar=bar):
            for j in range(len(net.widths) - 1):
                x = anp.dot(x, params[f"{j}.weight"]) + params[f"{j}.bias"]
                if j < len(net.widths) - 2 and activation == "relu":
                    x = anp.where(x > 0, x, 0.0)
            return anp.sum(bar * x)

        for name, function in (("autograd", by_hand), ("autograd of a textbook network", book)):
            want, want_x = autograd.grad(function, 0)(params, x), autograd.grad(function, 1)(params, x)
            options = {"equation": "MLP", "function": "models.MLP.pullback", "oracle": name}
            check(x_bar, want_x, **options)
            for key in params:
                check(grads[key], want[key], **options)


@pytest.mark.parametrize("kind", ["bernoulli", "gaussian"])
def test_pixel_likelihoods(kind):
    likelihood = {"bernoulli": losses.Bernoulli, "gaussian": losses.Gaussian}[kind]()
    book = {"bernoulli": oracle.log_p_bernoulli, "gaussian": oracle.log_p_gaussian}[kind]
    equation = f"{kind} pixels"
    for i in range(1000):
        rng = numpy.random.default_rng((3, i))
        lead, n = [(), (3,), (2, 3)][i % 3], int(rng.integers(1, 30))
        outputs = [0.1, 1, 10, 60][i % 4] * rng.standard_normal((*lead, n * likelihood.outputs_per_pixel))
        x = rng.random((*lead, n)) if kind == "gaussian" else (rng.random((*lead, n)) < 0.5) * 1.0
        value, grad = likelihood.log_prob_and_grad(x, outputs)
        options = {"equation": equation, "function": f"models.losses.{kind.title()}.log_prob_and_grad"}
        want = autograd_vjp(lambda o, x=x: anp.sum(likelihood.log_prob(x, o)), outputs)[0]
        check(grad, want, oracle="autograd", scale=1e-4 * n, **options)  # tanh saturates: 1 - |t| rounds on the tape
        check(
            grad, autograd_vjp(lambda o, x=x: anp.sum(book(x, o)), outputs)[0], oracle="textbook", scale=1e-4, **options
        )
        options["scale"] = 1e-2  # values are right absolutely: one of their terms is log 2
        check(numpy.asarray(value), numpy.asarray(book(x, outputs)), oracle="textbook value", **options)
        f4 = [a.astype("f4") for a in (x, outputs)]
        exact = likelihood.log_prob_and_grad(*(a.astype("f8") for a in f4))
        got = likelihood.log_prob_and_grad(*f4)
        check(numpy.asarray(got[0]), numpy.asarray(exact[0]), dtype="float32", oracle="float64 value", **options)
        check(got[1], exact[1], dtype="float32", oracle="float64", **options)


def test_pixel_likelihood_values_to_50_digits():
    mpmath.mp.dps = 50
    for logit in (-700.0, -40.0, -1e-9, 0.0, 1e-9, 0.3, 40.0, 700.0):
        for x in (0.0, 1.0):
            want = x * mpmath.mpf(logit) - mpmath.log1p(mpmath.exp(logit))
            got = losses.Bernoulli().log_prob(numpy.array([x]), numpy.array([logit]))
            # one term is log 2, so what is much smaller than it (a well predicted pixel) is right absolutely
            assert abs(got - want) <= 4e-16 * max(1, abs(want))
    for a_m, a_s, x in ((0.3, -0.2, 0.7), (-5.0, -30.0, 0.0), (12.0, 3.0, 1.0), (-1e-9, 1e-9, 0.5)):
        elu = [mpmath.mpf(a) if a > 0 else mpmath.expm1(a) for a in (a_m, a_s)]
        m, v = 1 / (1 + mpmath.exp(-elu[0])), mpmath.log1p(mpmath.exp(elu[1])) + mpmath.mpf(1e-6)
        want = -(((x - m) / v) ** 2) / 2 - mpmath.log(2 * mpmath.pi) / 2 - mpmath.log(v)
        got = losses.Gaussian().log_prob(numpy.array([x]), numpy.array([a_m, a_s]))
        assert abs(got - want) <= 1e-14 * max(1, abs(want))


def test_gaussian_floors_are_what_the_elu_implies():
    far = numpy.full(2, -1e3)
    assert math.isclose(losses.Gaussian().mean(far)[0], losses.GAUSSIAN_MEAN_FLOOR, rel_tol=1e-12)
    best = losses.Gaussian().log_prob(numpy.array([losses.GAUSSIAN_MEAN_FLOOR]), far)
    sd = losses.GAUSSIAN_SD_FLOOR
    assert math.isclose(best, -math.log(sd) - 0.5 * math.log(2 * math.pi), rel_tol=1e-12)
    assert abs(losses.GAUSSIAN_MEAN_FLOOR - 0.2689) < 1e-4 and abs(sd - 0.3133) < 1e-4  # audit fmnist-ceiling


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("architecture", ["linear", "nonlinear"])
@pytest.mark.parametrize("likelihood", [losses.Bernoulli(), losses.Gaussian()])
def test_scoring_of_codes_is_the_plain_decoder(likelihood, architecture, dtype, monkeypatch):
    """Indicators against differenced weights, and the in-place softplus sum, against one-hots and the plain loss."""
    monkeypatch.setattr(models.VAE, "HIDDEN", {"linear": (), "nonlinear": (17, 11)})
    monkeypatch.setattr(losses, "BLOCK", 7)  # the last one has 2 of the 30 codes
    for n_pixels in (1, 2, 7, 64, 784):
        rng = numpy.random.default_rng(n_pixels)
        vae = models.VAE(FAMILIES["gs"](5, 4, 0.5)[0], likelihood, n_pixels, architecture)
        spread = 20 * rng.random()
        params = {k: (p * spread + 0.1).astype(dtype) for k, p in vae.init(rng, "float64").items()}
        x = (rng.random(n_pixels) < 0.5).astype(dtype)
        code = rng.integers(0, 4, (30, 5))
        z = numpy.eye(4, dtype=dtype)[code]
        above = (code[..., None] > numpy.arange(3)).astype(dtype).reshape(30, -1)
        above = numpy.concatenate([above.T, numpy.ones((1, 30), dtype)])
        got = vae.code_decoder(params)(x, above)
        exact = {k: p.astype("f8") for k, p in params.items()}
        want = likelihood.log_prob(x.astype("f8"), vae.decode(exact, z.astype("f8")))
        assert got.dtype == dtype and got.shape == (30,)
        size = numpy.abs(want).max() + n_pixels
        numpy.testing.assert_allclose(got, want, atol=size * (2e-6 if dtype == "float32" else 1e-13), rtol=0)


def test_adam_is_the_textbook_update():
    rng = numpy.random.default_rng(4)
    params = {"a": rng.standard_normal((3, 4)), "b": rng.standard_normal(5)}
    want = {name: p.copy() for name, p in params.items()}
    m = {name: numpy.zeros_like(p) for name, p in params.items()}
    v = {name: numpy.zeros_like(p) for name, p in params.items()}
    adam = models.Adam(params, 0.01)
    for t in range(1, 200):
        grads = {name: rng.standard_normal(p.shape) * 10.0 ** rng.integers(-6, 3) for name, p in params.items()}
        adam.step(params, grads)
        for name, g in grads.items():
            m[name] = 0.9 * m[name] + 0.1 * g
            v[name] = 0.999 * v[name] + 0.001 * g * g
            rate = 0.01 * math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            want[name] = want[name] - rate * m[name] / (numpy.sqrt(v[name]) + 1e-7)
    for name, p in params.items():
        numpy.testing.assert_allclose(p, want[name], rtol=1e-11, atol=1e-13)


FAMILIES = {
    "igr_i": lambda n, k, tau: (models.igr_i_family(n, k, tau, -0.6, -0.1), (-0.6, -0.1)),
    "igr_bounded": lambda n, k, tau: (models.igr_bounded_family(n, k, tau, -0.6, -0.1), (-0.6, -0.1)),
    "igr_sb": lambda n, k, tau: (
        models.igr_sb_family(n, k, tau, numpy.linspace(-1, 0, k - 1), numpy.linspace(0.1, 0.3, k - 1)),
        (numpy.linspace(-1, 0, k - 1), numpy.linspace(0.1, 0.3, k - 1)),
    ),
    "gs": lambda n, k, tau: (models.GumbelSoftmaxFamily(n, k, tau, 0.7), 0.7),
    "igr_planar": lambda n, k, tau: (models.igr_planar_family(n, k, tau, -0.6, -0.1), (-0.6, -0.1)),
}


def _draw(family, rng, shape):
    return rng.standard_normal(shape) if family.noise == "normal" else rng.gumbel(size=shape)


@pytest.mark.parametrize("architecture", ["linear", "nonlinear"])
@pytest.mark.parametrize("estimator", ["plain", "sl"])
@pytest.mark.parametrize("kind", list(FAMILIES))
def test_vae_gradients(kind, estimator, architecture, monkeypatch):
    monkeypatch.setattr(models.VAE, "HIDDEN", {"linear": (), "nonlinear": (7, 6)})
    count = 200 if architecture == "linear" else 40
    for i, (rng, _, k, tau) in enumerate(configurations(count, 5, categories=(3, 4, 10), temperatures=(0.05, 10))):
        family, prior = FAMILIES[kind](3, k, tau)
        likelihood, log_p, x = losses.Bernoulli(), oracle.log_p_bernoulli, (rng.random((4, 9)) < 0.5) * 1.0
        if i % 2:
            likelihood, log_p, x = losses.Gaussian(), oracle.log_p_gaussian, rng.random((4, 9))
        vae = models.VAE(family, likelihood, 9, architecture)
        params = {name: p + 0.1 * rng.standard_normal(p.shape) for name, p in vae.init(rng, "float64").items()}
        draws = _draw(family, rng, vae.noise_shape(4, 1 + i % 3))
        estimate, grads = vae.loss_and_grads(params, x, draws, ESTIMATORS[estimator])

        def objective(p, draws=draws, tau=tau, prior=prior, log_p=log_p, x=x, params=params):
            return oracle.objective(p, params, x, draws, kind, estimator, tau, prior, log_p)

        want = autograd.grad(objective)(params)
        options = {"equation": "VAE objective", "function": f"models.VAE.loss_and_grads ({kind}, {estimator})"}
        check(estimate.loss.mean(), numpy.float64(objective(params)), oracle="textbook value", **options)
        flat, flat_want = (numpy.concatenate([g[name].ravel() for name in sorted(g)]) for g in (grads, want))
        check(flat, flat_want, oracle="autograd of the textbook objective", **options)
        if i % 10 == 0:  # a second oracle that shares nothing with a tape
            name = sorted(params)[i // 10 % len(params)]
            direction = rng.standard_normal(params[name].shape)
            h = 1e-5
            ends = [objective_along(objective, params, name, s * h * direction) for s in (2, 1, -1, -2)]
            slope = (-ends[0] + 8 * ends[1] - 8 * ends[2] + ends[3]) / (12 * h)
            if estimator == "plain":
                got = numpy.sum(grads[name] * direction)
                scale = abs(objective(params))
                check(got, numpy.float64(slope), 1e-8, oracle="five-point difference", scale=scale, **options)


def objective_along(objective, params, name, step):
    return objective({**params, name: params[name] + step})


@pytest.mark.parametrize("kind", list(FAMILIES))
def test_replica_axis_is_the_same_as_separate_runs(kind):
    """Parameters (R, in, out), data (R, B, P), a temperature for each replica: R runs as one program."""
    rng = numpy.random.default_rng(6)
    taus = numpy.array([0.2, 0.5, 2.0])
    x = (rng.random((3, 5, 9)) < 0.5) * 1.0
    singles, draws, params = [], [], []
    for r in range(3):
        family, _ = FAMILIES[kind](2, 4, float(taus[r]))
        vae = models.VAE(family, losses.Bernoulli(), 9)
        params.append(vae.init(rng, "float64"))
        draws.append(_draw(family, rng, vae.noise_shape(5, 2)))
        singles.append(vae.loss_and_grads(params[r], x[r], draws[r], igr_ref.sticking_the_landing))
    family, _ = FAMILIES[kind](2, 4, taus.reshape(3, 1, 1, 1, 1))
    together = {name: numpy.stack([p[name] for p in params]) for name in params[0]}
    vae = models.VAE(family, losses.Bernoulli(), 9)
    estimate, grads = vae.loss_and_grads(together, x, numpy.stack(draws), igr_ref.sticking_the_landing)
    for r, (single, single_grads) in enumerate(singles):
        numpy.testing.assert_allclose(estimate.loss[r], single.loss, rtol=1e-12)
        for name in grads:
            numpy.testing.assert_allclose(grads[name][r], single_grads[name], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("kind", list(FAMILIES))
def test_float32_step_stays_float32_and_close(kind):
    family, _ = FAMILIES[kind](20, 10, 0.5)
    vae = models.VAE(family, losses.Bernoulli(), 64)
    rng = noise.generator(7, "test")
    params = vae.init(rng, "float64")
    x, draws = (rng.random((10, 64)) < 0.5) * 1.0, _draw(family, rng, vae.noise_shape(10))
    want, want_grads = vae.loss_and_grads(params, x, draws, igr_ref.reparameterization)
    small = {name: p.astype("f4") for name, p in params.items()}
    got, grads = vae.loss_and_grads(small, x.astype("f4"), draws.astype("f4"), igr_ref.reparameterization)
    assert got.loss.dtype == numpy.float32
    numpy.testing.assert_allclose(got.loss, want.loss, rtol=1e-5)
    for name in grads:
        options = {"equation": "VAE objective", "function": f"models.VAE.loss_and_grads ({kind}, plain)"}
        check(grads[name], want_grads[name], dtype="float32", oracle="float64", **options)


def test_bad_shapes_and_names_are_named():
    with pytest.raises(ValueError, match="architecture must be one of"):
        models.VAE(FAMILIES["gs"](2, 3, 1.0)[0], losses.Bernoulli(), 4, "deep")
    with pytest.raises(ValueError, match="widths"):
        models.MLP((3,))
    with pytest.raises(ValueError, match="activation"):
        models.MLP((3, 2), "gelu")
    with pytest.raises(ValueError, match="learning_rate"):
        models.Adam({}, 0.0)
