"""The rivals of the GPU's benchmark take the steps that they are timed for: on the CPU, where they are installed."""

from __future__ import annotations

import numpy
import pytest

from experiments import gpu_rivals
from igr_ref import models


def arguments(model="gs", architecture="linear"):
    images = (numpy.random.default_rng(0).random((50, 12)) < 0.5).astype("uint8")
    return architecture, model, 2, images, 10


@pytest.mark.parametrize("model", ["gs", "igr_i"])
def test_torchs_whole_step_takes_our_steps(model):
    """The same draws: gradient by torch.func and Adam written out, against backward() and our own Adam."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    layers, data, drawn = gpu_rivals.torch_parts(*arguments(model, "nonlinear"), "cpu")
    params = {f"{i}.{j}": a.numpy().copy() for i, pair in enumerate(layers) for j, a in enumerate(pair)}
    start = {name: p.copy() for name, p in params.items()}
    step = gpu_rivals.torch_whole_step(layers, data, drawn)
    for _ in range(12):
        step()
    adam = models.Adam(params, gpu_rivals.RATE)
    torch.manual_seed(1)
    for _ in range(12):
        leaves = {name: torch.tensor(p, requires_grad=True) for name, p in params.items()}
        drawn([(leaves[f"{i}.0"], leaves[f"{i}.1"]) for i in range(len(layers))], data).backward()
        adam.step(params, {name: leaf.grad.numpy() for name, leaf in leaves.items()})
    for name, ours in params.items():
        theirs = layers[int(name[0])][int(name[2])].numpy()
        assert numpy.linalg.norm(ours - theirs) < 2e-3 * numpy.linalg.norm(ours - start[name])


def test_every_installed_rival_is_timed():
    rows = gpu_rivals.timings("cpu", [2], arguments()[3], 0.01, [("linear", "gs")], batch=10)
    assert {row["library"] for row in rows} == set(gpu_rivals.STEPS)
    for row in rows:
        assert row.get("step", 0) > 0 or row["error"] == "not installed", row


def test_a_rival_that_fails_costs_no_other(monkeypatch):
    def fails(*arguments):
        raise MemoryError("of the card")

    def works(*arguments):
        return lambda: None, lambda: None

    monkeypatch.setattr(
        gpu_rivals, "STEPS", {"a": ("json", fails), "b": ("no_such_library", fails), "c": ("json", works)}
    )
    rows = gpu_rivals.timings("cpu", [1, 2], None, 0.001, [("linear", "gs")])
    assert [row.get("error") for row in rows] == ["MemoryError: of the card"] * 2 + ["not installed", None, None]
