"""A training step as a CUDA graph, on a stand-in for CuPy: a launch runs what was recorded, on the same arrays."""

from __future__ import annotations

import contextlib
import io
import types

import numpy
import pytest

from experiments import data, fitted_prior, gpu_graph, gpu_timing, replica_group, replica_training
from igr_ref import models

from .replica_cases import seeds, seeds_and_temperatures
from .strict_array import NAMESPACE


class Stream:
    """Records by keeping nothing of what is run meanwhile: a step that is captured is not taken."""

    group, ptr = None, 0

    def __init__(self, non_blocking):
        assert non_blocking

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False

    def synchronize(self):
        pass

    def begin_capture(self):
        self.before = gpu_graph.state(self.group)

    def end_capture(self):
        gpu_graph.put_back(self.group, self.before)
        return types.SimpleNamespace(launch=None)


class Products:
    """Those of the stand-in: `gpu_products` has tests of its own."""

    def __init__(self, xp, stream):
        pass

    def instead(self):
        return contextlib.nullcontext()


@pytest.fixture
def cuda(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fitted_prior.prior, "igr_i_prior", lambda k: (-0.6, -0.1))
    monkeypatch.setattr(fitted_prior.prior, "igr_sb_prior", lambda k: (numpy.full(k - 1, -1.0), numpy.zeros(k - 1)))
    monkeypatch.setattr(gpu_graph, "Products", Products)
    device = types.SimpleNamespace(synchronize=lambda: None)
    pool = types.SimpleNamespace(malloc=None)
    names = {"Stream": Stream, "MemoryPool": lambda: pool, "Device": lambda: device}
    allocator = {"using_allocator": lambda malloc: contextlib.nullcontext()}
    monkeypatch.setattr(NAMESPACE, "cuda", types.SimpleNamespace(**names, **allocator), raising=False)


def group_of(configs, monkeypatch):
    group = replica_group.Group(configs, data.load("digits"), NAMESPACE)
    monkeypatch.setattr(Stream, "group", group)
    return group


def captured_of(group, make=gpu_graph.Captured):
    captured = make(group)
    captured.graph.launch = lambda: (setattr(captured.noise, "next", 0), captured._body())
    return captured


@pytest.mark.parametrize("model", ["igr_i", "igr_sb", "igr_planar", "gs"])
@pytest.mark.parametrize("estimator", ["plain", "sl"])
def test_captured_steps_are_the_groups_own(model, estimator, cuda, monkeypatch):
    """Bit for bit, across the end of an epoch: each launch meets its step's images, noise and learning rate."""
    configs = seeds_and_temperatures(model=model, estimator=estimator)
    group = group_of(configs, monkeypatch)
    batches = len(group.images) // configs[0].batch_size
    group.step = batches - 2
    before = gpu_graph.state(group)
    step, ends, losses = gpu_graph.group_step(group), [], []
    for _ in range(5):
        losses.append(step().get())
    ends.append(gpu_graph.state(group))
    gpu_graph.put_back(group, before)
    captured = captured_of(group)
    assert group.step == batches - 2 and group.adam.t == 0  # recording took no step
    for want in losses:
        assert numpy.array_equal(captured.step().get(), want)
    ends.append(gpu_graph.state(group))
    (arrays, t, at), (others, *rest) = ends
    assert [t, at] == rest == [5, batches + 3]
    for name, array in arrays.items():
        assert numpy.array_equal(array.get(), others[name].get()), name


def test_the_difference_of_a_wrong_graph_is_found(cuda, monkeypatch):
    group = group_of(seeds(2, model="gs"), monkeypatch)
    captured = captured_of(group)
    before = gpu_graph.state(group)
    assert gpu_graph.difference(group, captured) == 0
    after = gpu_graph.state(group)
    assert after[1:] == before[1:] == (0, 0)
    assert all(numpy.array_equal(a.get(), after[0][name].get()) for name, a in before[0].items())
    launch = captured.graph.launch

    def at_a_fixed_rate():  # as if the number had been recorded with the kernels
        captured.rate[...] = 1e-3
        launch()

    for wrong in (lambda: None, at_a_fixed_rate):
        captured.graph.launch = wrong
        assert gpu_graph.difference(group, captured) > 10 * gpu_graph.SAME


def test_timing_reports_a_step_that_cannot_be_captured(cuda, monkeypatch):
    group = group_of(seeds(1, model="gs"), monkeypatch)
    monkeypatch.setattr(gpu_timing, "repeated", lambda function, wait, seconds: (function(), 1.0)[1])
    monkeypatch.setattr(gpu_graph, "Captured", captured_of)
    got = gpu_timing.step_time(group, 0.01)
    assert got["captured"] == 1.0 and got["captured_difference"] == 0 and got["parameters_finite"]

    def refused(group):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(gpu_graph, "Captured", refused)
    got = gpu_timing.step_time(group, 0.01)
    assert got["captured_error"] == "RuntimeError: operation not permitted when stream is capturing"
    assert got["step"] == got["best"] == 1.0 and "captured" not in got


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adam_takes_its_rate_from_an_array(dtype):
    rng = numpy.random.default_rng(0)
    start = {"a": rng.standard_normal((3, 4)).astype(dtype)}
    ends = []
    for as_array in (False, True):
        params = {name: p.copy() for name, p in start.items()}
        adam, draws = models.Adam(params, 0.01), numpy.random.default_rng(1)
        for _ in range(20):
            grads = {"a": draws.standard_normal((3, 4)).astype(dtype)}
            if as_array:
                adam.t += 1
                adam.update(params, grads, numpy.array(adam.rate(), dtype))
            else:
                adam.step(params, grads)
        ends.append(params["a"])
    assert ends[0].dtype == dtype and numpy.array_equal(*ends)


def trained(configs, monkeypatch, tmp_path, make):
    """(end of the training, its log, captured steps taken) of a group on the stand-in; make: what captures."""
    taken, step = [], Captured.step
    monkeypatch.setattr(gpu_graph, "Captured", make)
    group, log = group_of(configs, monkeypatch), io.StringIO()
    if make is not None:
        monkeypatch.setattr(Captured, "step", lambda self: taken.append(self.group.step) or step(self))
    replica_training.train(group, tmp_path, log, quiet=True)
    return gpu_graph.state(group), group, log.getvalue(), taken


Captured = gpu_graph.Captured


def test_training_takes_captured_steps_between_looks(cuda, monkeypatch, tmp_path):
    """And gives the parameters, curves and losses that it gives without, to the bit."""
    configs = seeds(2, model="igr_i", epochs=2, batch_size=300)
    monkeypatch.setattr(replica_training, "WINDOW", 3)
    plain, without, log, _ = trained(configs, monkeypatch, tmp_path, None)
    assert "kernel by kernel: TypeError" in log
    ours, group, log, taken = trained(configs, monkeypatch, tmp_path, captured_of)
    assert "one CUDA graph, 0 of a step" in log
    batches = len(group.images) // 300
    due = [step for step in range(2 * batches) if (step + 1) % 3 == 0 or (step + 1) % batches == 0]
    assert batches > 3 and [step for step in range(2 * batches) if step not in due] == taken[3:]  # 3 to compare
    assert plain[1:] == ours[1:] and without.histories == group.histories
    for name, array in plain[0].items():
        assert numpy.array_equal(array.get(), ours[0][name].get()), name


def test_training_refuses_a_graph_that_goes_astray(cuda, monkeypatch, tmp_path):
    def wrong(group):
        captured = captured_of(group)
        captured.graph.launch = lambda: None
        return captured

    configs = seeds(2, model="igr_i", epochs=1, batch_size=300)
    plain, *_ = trained(configs, monkeypatch, tmp_path, None)
    ours, _, log, taken = trained(configs, monkeypatch, tmp_path, wrong)
    assert "kernel by kernel: captured ones go 1 of a step astray" in log and len(taken) == 3
    assert all(numpy.array_equal(array.get(), ours[0][name].get()) for name, array in plain[0].items())


def test_a_capture_that_fails_moves_nothing(cuda, monkeypatch, tmp_path):
    """In the middle of a step: the group is put back, and goes on kernel by kernel for good."""
    group = group_of(seeds(2, model="gs"), monkeypatch)
    gpu_graph.group_step(group)()
    before, log = gpu_graph.state(group), io.StringIO()

    def half(self):
        self.group.adam.t += 1
        next(iter(self.together.params.values()))[...] = 0.0
        raise MemoryError("of the card")

    monkeypatch.setattr(Captured, "_body", half)
    assert gpu_graph.captured(group, log) is None and "kernel by kernel: MemoryError" in log.getvalue()
    after = gpu_graph.state(group)
    assert after[1:] == before[1:]
    assert all(numpy.array_equal(a.get(), after[0][name].get()) for name, a in before[0].items())
    monkeypatch.undo()
    group.save(tmp_path / "checkpoint.npz")
    again = replica_group.Group(group.configs, data.load("digits"), NAMESPACE, tmp_path / "checkpoint.npz")
    assert again.graph is False and gpu_graph.captured(again, log) is None


def test_nan_in_any_array_is_a_difference(cuda, monkeypatch):
    group = group_of(seeds(1, model="gs"), monkeypatch)
    captured = captured_of(group)
    last, launched = list(group.together.params.values())[-1], []

    def at_last():  # in the last of three steps, or the next would spread it
        captured.noise.next = 0
        captured._body()
        launched.append(1)
        if len(launched) % 3 == 0:
            last[...] = numpy.nan

    captured.graph.launch = at_last
    assert numpy.isnan(gpu_graph.difference(group, captured))
    monkeypatch.setattr(gpu_graph, "Captured", lambda group: captured)
    log = io.StringIO()
    assert gpu_graph.captured(group, log) is None and "go nan of a step astray" in log.getvalue()


def test_a_group_that_drops_a_replica_is_captured_again(cuda, monkeypatch, tmp_path):
    configs, made = seeds(3, model="igr_i", epochs=1, batch_size=100), []
    monkeypatch.setattr(replica_training, "WINDOW", 4)

    def make(group):
        made.append(len(group.configs))
        Stream.group = group
        return captured_of(group)

    before, look = [], replica_group.Group.look

    def look_once(group, parts=None):
        if not before:
            before.append(group.step)
            group.losses[-1][1] = numpy.nan
        return look(group, parts)

    monkeypatch.setattr(replica_group.Group, "look", look_once)
    _, group, log, taken = trained(configs, monkeypatch, tmp_path, make)
    assert made == [3, 2] and list(group.failed) == [configs[1].id] and len(group.configs) == 2
    assert group.step == len(group.images) // 100 and len(taken) > 6
