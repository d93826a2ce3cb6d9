"""The hot path against its plain oracles: kept arrays, other memory layouts and folded constants change no number."""

from __future__ import annotations

import sys
import tracemalloc

import numpy
import pytest
import scipy.stats

import igr_ref
from experiments import data, train
from experiments.peers import ours
from igr_ref import models, noise
from igr_ref.models import losses

from . import oracles_hot as oracle
from .density_checks import FALSE_ALARM
from .test_models import FAMILIES, _draw

TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
ESTIMATORS = {"plain": igr_ref.reparameterization, "sl": igr_ref.sticking_the_landing}


def _assert_close(got, want, dtype, times=1.0):
    assert got.dtype == dtype and got.shape == want.shape
    numpy.testing.assert_array_less(numpy.abs(got - want).max(), times * TOLERANCE[dtype] * (numpy.abs(want).max() + 1))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("lead", [(), (3,)])
def test_layers(lead, dtype):
    rng = numpy.random.default_rng(0)
    net, work = models.MLP((7, 5, 6, 4)), models.Buffers()
    for _ in range(3):  # the second and third step meet arrays that the one before has filled
        params = {k: rng.standard_normal((*lead, *p.shape)).astype(dtype) for k, p in net.init(rng).items()}
        x, bar = rng.standard_normal((*lead, 9, 7)).astype(dtype), rng.standard_normal((*lead, 9, 4)).astype(dtype)
        exact = {name: p.astype("f8") for name, p in params.items()}
        for batch_last in (False, True):
            out, saved = net.run(params, x, work, batch_last)
            _assert_close(out, oracle.mlp(exact, x.astype("f8")), dtype)
            want, want_x = net.pullback(exact, net.run(exact, x.astype("f8"))[1], bar.astype("f8"))
            grads, x_bar = net.pullback(params, saved, bar, True, work, batch_last)
            alone = net.backward(params, saved, bar, True, work.part("backward"), batch_last)[1]
            for got in (x_bar, alone):
                _assert_close(got, want_x, dtype)
                assert not batch_last or lead or got.T.flags.c_contiguous
            for name in want:
                _assert_close(grads[name], want[name], dtype)
            if batch_last and not lead:
                assert out.T.flags.c_contiguous


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("pixels", [1, 2, 7, 49, 64, 784])
def test_bernoulli_pixels(pixels, dtype):
    rng, work = numpy.random.default_rng(pixels), models.Buffers()
    for spread in (0.1, 3.0, 50.0, 500.0):
        for shape in ((4, pixels), (2, 3, 4, pixels)):
            logits = (spread * rng.standard_normal(shape)).astype(dtype)
            x = (rng.random((*shape[:-2], 4, pixels)) < 0.4).astype(dtype)
            value, grad = oracle.bernoulli(x, logits)
            got, got_grad = losses.Bernoulli().log_prob_and_grad(x, logits.copy(), work)
            size = numpy.abs(logits).sum(axis=-1).max() + pixels
            numpy.testing.assert_allclose(got, value.astype("f8"), atol=size * TOLERANCE[dtype] / 20, rtol=0)
            _assert_close(got_grad, grad.astype("f8"), dtype, 0.05)


def test_adam_in_float32_stays_near_the_textbook_in_float64():
    rng = numpy.random.default_rng(1)
    params = {"w": rng.standard_normal((60, 50)).astype("f4"), "b": rng.standard_normal(50).astype("f4")}
    steps = [{k: (rng.standard_normal(p.shape) * 10.0 ** rng.integers(-4, 2)).astype("f4") for k, p in params.items()}
             for _ in range(50)]  # fmt: skip
    want = oracle.adam(params, steps, 1e-2)
    adam = models.Adam(params, 1e-2)
    for grads in steps:
        adam.step(params, grads)
    for name in params:
        _assert_close(params[name], want[name], "float32")


@pytest.mark.parametrize("architecture", ["linear", "nonlinear"])
@pytest.mark.parametrize("estimator", list(ESTIMATORS))
@pytest.mark.parametrize("kind", list(FAMILIES))
def test_a_step_with_kept_arrays_is_the_plain_step(kind, estimator, architecture, monkeypatch):
    monkeypatch.setattr(models.VAE, "HIDDEN", {"linear": (), "nonlinear": (8, 6)})
    for dtype in ("float64", "float32"):
        for lead, samples in (((), 1), ((), 3), ((2,), 1), ((2,), 2)):
            rng = numpy.random.default_rng(3)
            for likelihood in (losses.Bernoulli(), losses.Gaussian()):
                vae, work = models.VAE(FAMILIES[kind](3, 4, 0.5)[0], likelihood, 12, architecture), models.Buffers()
                for _ in range(2):
                    copies = [vae.init(rng, "f8") for _ in range(2)]
                    params = {k: numpy.stack([c[k] for c in copies]) if lead else copies[0][k] for k in copies[0]}
                    x = (rng.random((*lead, 5, 12)) < 0.5) * 1.0
                    draws = _draw(vae.family, rng, (*lead, *vae.noise_shape(5, samples)))
                    want, want_grads = vae.loss_and_grads(params, x, draws, ESTIMATORS[estimator])
                    small = {name: p.astype(dtype) for name, p in params.items()}
                    got, grads = vae.loss_and_grads(
                        small, x.astype(dtype), draws.astype(dtype), ESTIMATORS[estimator], work
                    )
                    times = 20 if dtype == "float32" else 1
                    for name in ("value", "kl", "loss"):
                        _assert_close(getattr(got, name), getattr(want, name), dtype, times)
                    for name in want_grads:
                        _assert_close(grads[name], want_grads[name], dtype, times)


def test_a_step_allocates_only_small_temporaries():
    """What a step allocates at its peak is less than one copy of the weights; the gradients stay where they were."""
    vae, work = models.VAE(FAMILIES["igr_i"](4, 4, 0.5)[0], losses.Bernoulli(), 784, "nonlinear"), models.Buffers()
    rng = noise.generator(0, "test")
    params = vae.init(rng, "float32")
    adam = models.Adam(params, 1e-3)
    x = (rng.random((50, 784)) < 0.5).astype("float32")
    places, peaks = set(), []
    for step in range(4):
        draws = noise.normal(rng, vae.noise_shape(50), "float32")
        if step == 2:
            tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        _, grads = vae.loss_and_grads(params, x, draws, igr_ref.reparameterization, work)
        adam.step(params, grads)
        peaks.append(tracemalloc.get_traced_memory()[1] - before)
        places.add(tuple(g.ctypes.data for g in grads.values()))
    tracemalloc.stop()
    assert len(places) == 1
    assert max(peaks[2:]) < x.nbytes, peaks  # a thirtieth of the parameters' bytes


def most_allocated(call):
    """(bytes, function, line): the most that one line of Python takes from memory while `call` runs."""
    worst, level, tracing = (0, "", 0), 0, sys.gettrace()

    def trace(frame, event, arg):
        nonlocal worst, level
        now, peak = tracemalloc.get_traced_memory()
        worst = max(worst, (peak - level, frame.f_code.co_name, frame.f_lineno))
        tracemalloc.reset_peak()
        level = now
        return trace

    tracemalloc.start()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(tracing)
        tracemalloc.stop()
    return worst


@pytest.mark.parametrize("architecture", ["linear", "nonlinear"])
@pytest.mark.parametrize("model", list(ours.PRIORS))
def test_no_line_of_a_step_allocates_as_much_as_a_batch_of_images(model, architecture):
    """Whole steps at the paper's sizes, images, noise and optimiser included, once the first has made its arrays."""
    trainer = ours.Trainer(ours.task(model, architecture, ours.synthetic(1000)))
    images = 4 * trainer.task.batch_size * trainer.task.images.shape[1]
    assert most_allocated(lambda: trainer.run(1))[0] > images  # the first step makes them: the measure sees it
    trainer.run(1)
    worst = most_allocated(lambda: trainer.run(2))
    assert 4 * 100 * 20 * 9 <= worst[0] < images, worst


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("binary", [True, False])
def test_gather(binary, dtype):
    rng = numpy.random.default_rng(5)
    images = rng.integers(0, 2 if binary else 256, (40, 9)).astype(numpy.uint8)
    dataset = data.Dataset("test", images, images[:3], binary, (3, 3), 0, "made up")
    batch = train.gather(dataset, dataset.train, 8, dtype)
    for _ in range(3):
        rows = rng.permutation(40)[:8]
        got = batch(rows)
        assert got.dtype == dtype
        numpy.testing.assert_array_equal(got, oracle.gather(images, rows, binary, dtype))


class Fixed:
    """A generator that gives back the uniforms it was made with."""

    def __init__(self, u):
        self.u = u

    def random(self, shape, dtype):
        return self.u.astype(dtype).reshape(shape)


def test_normals_in_float32_are_box_and_muller_s():
    u = numpy.random.default_rng(6).random((2, 500)).astype("f4")
    u[0, :3] = 0, 2.0**-24, 1 - 2.0**-24
    got = noise.normal(Fixed(u), (10, 100), "float32")
    want = numpy.concatenate(oracle.box_muller(numpy.maximum(u[0], 2.0**-25), u[1])).reshape(10, 100)
    assert got.dtype == numpy.float32 and numpy.all(numpy.isfinite(got)) and numpy.abs(got).max() < 5.9
    numpy.testing.assert_allclose(got, want.astype("f8"), atol=3e-6)


@pytest.mark.parametrize("shape", [(), (1,), 7, (3, 5), (0,)])
def test_normals_of_any_shape(shape):
    got = noise.normal(noise.generator(1, "shape"), shape, "float32")
    assert got.shape == numpy.zeros(shape).shape and got.dtype == numpy.float32


def test_the_two_normals_of_a_pair_are_independent():
    x, y = noise.normal(noise.generator(2, "pairs"), (2, 200_000), "float32").astype("f8")
    for power in (1, 2, 3):
        for other in (1, 2, 3):
            a, b = (v**p - (v**p).mean() for v, p in ((x, power), (y, other)))
            z = abs((a * b).mean()) / (a.std() * b.std()) * 200_000**0.5
            assert z < 6, (power, other, z)  # false alarm about 2e-9 for each of nine pairs
    for name, values in (("x + y", (x + y) / 2**0.5), ("x", x)):
        assert scipy.stats.kstest(values, "norm").pvalue > FALSE_ALARM, name


def test_gumbels_in_float32_are_those_of_their_uniforms():
    u = numpy.random.default_rng(7).random(1000).astype("f4")
    u[:3] = 0, 2.0**-24, 1 - 2.0**-24
    got = noise.gumbel(Fixed(u), 1000, "float32")
    want = -numpy.log(-numpy.log(numpy.maximum(u, 2.0**-25).astype(oracle.LONG)))
    assert got.dtype == numpy.float32
    numpy.testing.assert_allclose(got, want.astype("f8"), atol=2e-6, rtol=2e-6)
