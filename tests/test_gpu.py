"""The command for the first time a GPU is at hand, as far as it can be tried without one."""

from __future__ import annotations

import json
import types

import autograd
import autograd.numpy as anp
import numpy
import pytest

import igr_ref
from experiments import __main__ as cli
from experiments import fitted_prior, gpu, gpu_cases, gpu_check, gpu_hours, gpu_rivals, gpu_timing, grid, plan
from igr_ref import models

from .strict_array import NAMESPACE


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fitted_prior.prior, "igr_i_prior", lambda k: (-0.6, -0.1))
    monkeypatch.setattr(fitted_prior.prior, "igr_sb_prior", lambda k: (numpy.full(k - 1, -1.0), numpy.zeros(k - 1)))


def test_every_check_runs_on_an_array_that_is_no_numpy_array():
    """With the same bits, so that on a GPU only the card's own rounding is left."""
    got = gpu_check.agreement(NAMESPACE)
    assert len(got) == 2 * len(gpu_cases.checks()) > 60
    assert set(got.values()) == {0.0}


def test_differences_are_found():
    a = {"x": numpy.array([1.0, -numpy.inf]), "y": [numpy.array(3), numpy.zeros((0, 2))]}
    assert gpu_check.difference(a, a) == 0
    moved = {"x": numpy.array([1.0 + 2e-9, -numpy.inf]), "y": a["y"]}
    assert gpu_check.difference(moved, a) == pytest.approx(1e-9)
    wrong = [{"x": a["x"]}, a | {"y": a["y"][:1]}, a | {"x": a["x"].astype("f4")}, a | {"x": a["x"][:1]}]
    for other in [*wrong, a | {"x": numpy.array([numpy.nan, 1])}, a | {"x": numpy.array([1.0, numpy.inf])}]:
        with pytest.raises(ValueError, match="wanted|NaN or infinity"):
            gpu_check.difference(other, a)


def test_one_wrong_check_is_named_and_the_others_go_on(monkeypatch):
    real = gpu_cases.prop_2
    calls = []

    def wrong(a):
        calls.append(1)
        off = 1e-9 if a["mu"].dtype == "float64" else 1e-3
        return [x * (1 + off * (len(calls) % 2 == 0)) if not isinstance(x, tuple) else x for x in real(a)]

    monkeypatch.setattr(gpu_cases, "prop_2", wrong)
    monkeypatch.setattr(gpu_cases, "straight_through", None)
    got = gpu_check.agreement(numpy)
    found = gpu_check.wrong(got)
    names = ["Prop. 2", "estimator straight-through gs", "estimator straight-through igr_i"]
    assert sorted(found) == sorted(names + [name + gpu_check.SINGLE for name in names])
    assert 1e-12 < found["Prop. 2"] < 1e-8 < 1e-4 < found["Prop. 2" + gpu_check.SINGLE] < 1e-2
    assert found["estimator straight-through gs"].startswith("TypeError")


@pytest.mark.parametrize("architecture", ["linear", "nonlinear"])
@pytest.mark.parametrize("model", ["igr_i", "gs"])
def test_the_rivals_loss_is_ours(model, architecture):
    rng = numpy.random.default_rng(0)
    layers = gpu_rivals.init(architecture, model, 2, 12, rng)
    layers = [(w.astype("f8"), b + 0.1 * rng.standard_normal(b.shape)) for w, b in layers]
    k = gpu_rivals.K if model == "gs" else gpu_rivals.K - 1
    x = (rng.random((2, 5, 12)) < 0.5) * 1.0
    noise = rng.gumbel(size=(2, 5, gpu_rivals.N, k)) if model == "gs" else rng.standard_normal((2, 5, gpu_rivals.N, k))

    def log_softmax(a):
        e = a - anp.max(a, axis=-1, keepdims=True)
        return e - anp.log(anp.sum(anp.exp(e), axis=-1, keepdims=True))

    ops = types.SimpleNamespace(
        matmul=anp.matmul, relu=lambda a: anp.maximum(a, 0), exp=anp.exp, sum=lambda a, axes: anp.sum(a, axis=axes),
        reshape=anp.reshape, softplus=lambda a: anp.logaddexp(0, a), log_softmax=log_softmax,
        concatenate=lambda parts: anp.concatenate(parts, axis=-1),
    )  # fmt: skip
    value, grads = autograd.value_and_grad(lambda layers: gpu_rivals.loss(ops, layers, x, noise, model))(layers)
    make = {
        "gs": lambda *size: models.GumbelSoftmaxFamily(*size, gpu_rivals.TAU),
        "igr_i": lambda *size: models.igr_i_family(*size, gpu_rivals.TAU, gpu_rivals.MU_0, gpu_rivals.LOG_SIGMA_0),
    }
    family = make[model](gpu_rivals.N, gpu_rivals.K)
    vae = models.VAE(family, models.Bernoulli(), 12, architecture)
    half = len(layers) // 2
    names = [f"{part}.{i}" for part in ("encoder", "decoder") for i in range(half)]
    params = {}
    for name, (weight, bias) in zip(names, layers, strict=True):
        params |= {f"{name}.weight": weight, f"{name}.bias": bias[:, 0]}
    estimate, ours = vae.loss_and_grads(params, x, noise[:, None], igr_ref.reparameterization)
    assert value == pytest.approx(estimate.loss.mean(axis=(-2, -1)).sum(), rel=1e-12)
    for name, (weight, bias) in zip(names, grads, strict=True):
        numpy.testing.assert_allclose(weight, ours[f"{name}.weight"], rtol=1e-9, atol=1e-12)
        numpy.testing.assert_allclose(bias[:, 0], ours[f"{name}.bias"], rtol=1e-9, atol=1e-12)


def test_work_of_a_step():
    """Linear: the encoder's product twice, the decoder's three times."""
    config = plan.RunConfig(dataset="mnist", model="gs")
    assert gpu_timing.step_flops(config) == 2 * 100 * (784 * 200 * 2 + 200 * 784 * 3)
    deep = plan.RunConfig(dataset="mnist", model="igr_i", architecture="nonlinear")
    both = 784 * 512 * 2 + (512 * 256 + 256 * 360) * 3 + (200 * 256 + 256 * 512 + 512 * 784) * 3
    assert gpu_timing.step_flops(deep) == 2 * 100 * both


def test_what_the_times_mean():
    rows = [{"architecture": a, "model": "igr_i", "replicas": r, "best": 0.001 * (1 + r)}
            for a in ("linear", "nonlinear") for r in (1, 5, 50)]  # fmt: skip
    assert gpu_hours.interpolated(rows, "linear", "igr_i", 10) == pytest.approx(0.011)
    assert gpu_hours.interpolated(rows, "linear", "gs", 5) == pytest.approx(0.006)  # not measured: as IGR-I
    assert gpu_hours.interpolated([], "linear", "gs", 5) is None
    scores = [{"architecture": a, "model": "gs", "seconds_an_image": 0.002} for a in ("linear", "nonlinear")]
    out = gpu_hours.extrapolated(rows, scores)
    cells = grid.table_1(grid.PRESETS["paper"])
    steps = 600 * 300
    assert out["table_1_training_hours"] == pytest.approx(len(cells) * steps * (0.011 + 0.006) / 3600)
    assert out["table_1_scoring_hours"] == pytest.approx(len(cells) * 15 * 10_000 * 0.002 / 3600)
    assert out["run_of_the_paper_hours_each"][1]["hours"] == pytest.approx(steps * 0.006 / 3600 / 5)


def test_the_command_on_the_cpu(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu_timing, "PAIRS", [("linear", "gs")])
    monkeypatch.setattr(gpu_timing, "OTHERS", [("linear", "igr_sb")])
    path = tmp_path / "gpu.json"
    small = ["--device", "cpu", "--replicas", "1", "2", "--seconds", "0.01", "--images", "300", "--scored", "2", "--m",
             "5", "--size", "32", "--output", str(path), "--no-rivals"]  # fmt: skip
    assert cli.main(["gpu", *small]) == 0
    record = json.loads(path.read_text())
    assert record["disagreements"] == {} and len(record["agreement"]) > 30
    assert [(row["model"], row["replicas"]) for row in record["steps"]] == [("gs", 1), ("gs", 2), ("igr_sb", 2)]
    assert all(row["step"] > 0 and row["flops"] > 0 and row["parameters_finite"] for row in record["steps"])
    assert record["rates"]["float32_flops"] > 0 and record["extrapolated"]["table_1_training_hours"] > 0
    assert "0 differ" in capsys.readouterr().out
    # a part that fails is said, and costs no other
    monkeypatch.setattr(gpu_timing, "scoring", lambda *args: 1 / 0)
    assert cli.main(["gpu", *small]) == 1
    record = json.loads(path.read_text())
    assert record["scoring"] == {"error": "ZeroDivisionError: division by zero"} and len(record["steps"]) == 3
    assert "FAILED: scoring" in capsys.readouterr().err
    for bad in (["--minutes", "3"], ["--then", "list"], ["--replicas", "0"], ["--images", "10"], ["--seconds", "0"]):
        assert cli.main(["gpu", "--device", "cpu", *bad]) == 2


def test_a_command_that_ends_by_itself_is_waited_for(tmp_path):
    got = gpu.run_for(1, ["list", "--runs", str(tmp_path)])
    assert (got["exit_code"], got["stopped"]) == (0, False) and 0 < got["seconds"] < 60


@pytest.mark.slow
def test_a_command_is_stopped_at_a_checkpoint(tmp_path):
    options = [
        "--models",
        "gs",
        "--estimators",
        "plain",
        "--temperatures",
        "0.3",
        "--seeds",
        "1",
        "2",
        "--workers",
        "1",
    ]
    folders = ["--results", str(tmp_path / "results"), "--runs", str(tmp_path / "runs")]
    got = gpu.run_for(0.4, ["table1", *options, *folders, "--epochs", "100000", "--replicas", "2"])
    assert got["stopped"] and got["exit_code"] == 1
    assert len(list((tmp_path / "runs").glob("group-*/checkpoint.npz"))) == 1
