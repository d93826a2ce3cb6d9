"""models.reconstruction against VAE.reconstruction and the plain product with the second derivative."""

from __future__ import annotations

import numpy
import pytest

from experiments import data, plan, program_vae, programs
from igr_ref import noise
from igr_ref.estimators.control_variates import bernoulli_decoder_hvp
from igr_ref.estimators.rebar import PairedNoise, variance_gradient
from igr_ref.estimators.relax import relax
from igr_ref.models import VAE, Bernoulli, Buffers, Gaussian, GumbelSoftmaxFamily, Reconstruction
from igr_ref.models.mlp import part

from .gradcheck import check, norm_relative

ABOUT = {"equation": "-log p(x|z)", "function": "models.reconstruction.Reconstruction"}
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("lead", [(), (2,)])
@pytest.mark.parametrize("likelihood", [Bernoulli, Gaussian])
@pytest.mark.parametrize("architecture, batch_last", [("linear", False), ("linear", True), ("nonlinear", True)])
def test_what_it_gives_is_what_the_plain_functions_give(architecture, batch_last, likelihood, lead, dtype, monkeypatch):
    monkeypatch.setattr(VAE, "HIDDEN", {"linear": (), "nonlinear": (9, 7)})
    rng, n, k, work = numpy.random.default_rng(1), 3, 4, Buffers()
    vae = VAE(GumbelSoftmaxFamily(n, k, 1.0), likelihood(), 12, architecture)
    for _ in range(2):  # the second time with arrays that the first has filled
        copies = [vae.init(rng, dtype) for _ in range(2)]
        params = {name: numpy.stack([c[name] for c in copies]) if lead else p for name, p in copies[0].items()}
        params = {name: p + 0.1 * rng.normal(size=p.shape).astype(dtype) for name, p in params.items()}
        x = (rng.random((*lead, 5, 12)) > 0.5).astype(dtype)
        f = Reconstruction(vae, params, x, work, batch_last)
        for stacked in ((), (2,)):
            z, t = (rng.normal(size=(*lead, *stacked, 3, 5, n, k)).astype(dtype) for _ in range(2))
            b = rng.random((*lead, 3, 5, n, k)).astype(dtype)
            plain, grads = vae.reconstruction(params, x)
            value, z_bar = f(z)
            same = {"oracle": "VAE.reconstruction", "tolerance": TOLERANCE[dtype], "dtype": dtype, **ABOUT}
            check(value, plain(z)[0], **same)
            check(z_bar, plain(z)[1], **same)
            kept = z_bar.copy()
            check(f.without_gradient(b), plain(b)[0], **same)
            for name, got in f.decoder_gradients().items():
                check(got, grads[name], **same)
            if likelihood is Bernoulli:
                want = bernoulli_decoder_hvp(part(params, "decoder"), z, t)
                check(
                    f.hvp(z, t), want, oracle="bernoulli_decoder_hvp", tolerance=TOLERANCE[dtype], dtype=dtype, **ABOUT
                )
            assert f.smooth == (likelihood is Bernoulli)
            assert numpy.array_equal(z_bar, kept)  # in no array that a later call writes into


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("model", ["igr_i", "gs"])
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-9), ("float32", 2e-4)])
def test_a_training_step_is_the_plain_formula(dtype, tolerance, model, coupled, monkeypatch):
    """RELAX's step in an experiment against the estimator as it stands, in float64 and with fresh arrays."""
    monkeypatch.setattr(VAE, "HIDDEN", {"linear": (), "nonlinear": (30, 20)})
    rng = numpy.random.default_rng(2)
    images = (rng.random((50, 40)) < 0.3).astype(numpy.uint8)
    dataset = data.Dataset("test", images, images[:3], True, (1, 40), 0, "made up")
    config = plan.RunConfig(
        dataset="digits", model=model, estimator="relax", architecture="nonlinear", n_variables=4, n_categories=5,
        n_samples=2, dtype=dtype, relax_coupled=coupled,
    )  # fmt: skip
    facts = {"prior": {"mu": 0.0, "log_sigma": 0.0} if model == "igr_i" else {}}
    program = programs.program(config)(config, dataset, numpy, facts)
    x = images[:8].astype(dtype)
    for step in range(2):
        for p in program.params.values():
            p += 0.1 * rng.normal(size=p.shape).astype(dtype)
        loss, _, got = program.grads(x, noise.generator(3, "train", step))
        got = {name: g.copy() for name, g in got.items()}
        want_loss, want = plain_step(program, x, noise.generator(3, "train", step), coupled)
        assert abs(loss - want_loss) < tolerance * abs(want_loss)
        assert set(got) == set(program.params)
        for name, g in got.items():
            assert g.dtype == dtype
            error = norm_relative(g.astype("f8"), want[name])
            assert error < tolerance, (name, error)


def plain_step(program, x, rng, coupled):
    """(loss, gradients) in float64 from the functions that tests of their own have checked."""
    params = {name: p.astype("f8") for name, p in program.params.items()}
    model, control = program.model, part(params, "control")
    path = program.draw(rng, len(x), program.config.n_samples)
    uniforms = None if coupled else program_vae.drawn("uniform", rng, path.shape, program.config.dtype, numpy)
    x, path = x.astype("f8"), path.astype("f8")
    pair = PairedNoise(path, None if coupled else uniforms.astype("f8"))
    o, saved = model.encode(params, x)
    q = model.family.posterior(o, {})
    f, decoder_grads = model.reconstruction(params, x)
    estimate = relax(q, pair, f, "uniform", params=control)
    grads = model.gradients(params, o, saved, estimate.grads, decoder_grads)
    chain = model.family.bounded(o)[1] if hasattr(model.family, "bounded") else None
    decoder = part(params, "decoder")
    update = variance_gradient(estimate, lambda z, t: bernoulli_decoder_hvp(decoder, z, t), chain)
    return estimate.loss.mean(), {**grads, **{f"control.{name}": g for name, g in update.items()}}


def test_the_decoders_gradients_may_be_asked_for_twice():
    rng = numpy.random.default_rng(0)
    vae = VAE(GumbelSoftmaxFamily(3, 4, 1.0), Bernoulli(), 6, "linear")
    f = Reconstruction(vae, vae.init(rng, float), (rng.random((5, 6)) < 0.5) * 1.0)
    f.without_gradient(numpy.eye(4)[rng.integers(0, 4, (2, 5, 3))])
    first = {name: bar.copy() for name, bar in f.decoder_gradients().items()}
    again = f.decoder_gradients()
    assert all(numpy.array_equal(again[name], bar) and numpy.any(bar != 0) for name, bar in first.items())
