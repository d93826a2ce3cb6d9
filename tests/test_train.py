"""Training: exact resume after SIGKILL at random moments, named failures, Ctrl-C, and the learning itself."""

from __future__ import annotations

import dataclasses
import io
import signal
import subprocess
import sys
import time

import numpy
import pytest

from experiments import plan, program_vae, progress, store, train

from . import run_cases
from .run_cases import ROOT, again_and_again, killed_at_random, quick_priors, stopping_after

SMALL = dataclasses.replace(run_cases.SMALL, epochs=3, training_images=100)
WORKER = """
import sys
from experiments import plan, train, store
config = plan.from_dict(store.read_json(sys.argv[1]))
train.run(config, sys.argv[2], quiet=True, checkpoint_seconds=0.02)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    quick_priors(monkeypatch, tmp_path)


def configs():
    pathwise = [dataclasses.replace(SMALL, model=m, estimator=e) for m in plan.MODELS for e in ("plain", "sl")]
    discrete = [("relax", "igr_i", 2), ("relax", "gs", 1), ("uspgbl", "gs", 4), ("uspgbl", "igr_i", 2)]
    short = dataclasses.replace(SMALL, epochs=1)
    return pathwise + [dataclasses.replace(short, estimator=e, model=m, n_samples=n) for e, m, n in discrete]


def other_kinds():
    sop = plan.SOPConfig(dataset="digits", n_units=20, epochs=2, m=3)
    mixture = plan.MixtureConfig(dataset="digits", n_components=5, n_latent=3, width=10, epochs=2, m=3)
    models = ("igr_i", "igr_planar", "igr_sb", "gs", "igr_i_as_published", "igr_sb_as_published")
    pairs = [("igr_sb_mm", "sl"), ("dldpmm", "plain"), ("dldpmm", "sl"), ("igr_sb_mm", "as_published")]
    return [dataclasses.replace(sop, model=m) for m in models] + [
        dataclasses.replace(mixture, model=m, estimator=e) for m, e in pairs
    ]


@pytest.mark.parametrize("config", configs() + other_kinds(), ids=lambda c: "-".join(c._parts()[1:-1]))
def test_interrupted_at_every_epoch_is_bit_identical(config, tmp_path, monkeypatch):
    """A run that is stopped and resumed again and again, against one that is not."""
    whole = train.run(config, tmp_path / "whole", quiet=True)
    monkeypatch.setattr(train, "StopRequests", stopping_after(5))
    broken, stops = again_and_again(lambda: train.run(config, tmp_path / "broken", quiet=True))
    assert stops >= 2
    assert broken["parameters_sha256"] == whole["parameters_sha256"]
    assert broken["metrics"] == whole["metrics"]
    assert broken["history"] == whole["history"]


def test_sigkill_at_random_moments_is_bit_identical(tmp_path):
    config = dataclasses.replace(SMALL, model="gs", epochs=40)
    whole = train.run(config, tmp_path / "whole", quiet=True)
    store.write_json(tmp_path / "config.json", config.as_dict())
    folder = tmp_path / "killed"
    arguments = (tmp_path / "config.json", folder)
    killed = killed_at_random(WORKER, arguments, folder / "checkpoint.npz", kills=8, starts=60)
    assert killed >= 3, "the run ended before it could be killed often enough to test anything"
    got = store.read_json(folder / "result.json")
    assert got["parameters_sha256"] == whole["parameters_sha256"]
    assert got["metrics"] == whole["metrics"] and got["history"] == whole["history"]
    assert not list(folder.glob("*.json.tmp"))


def test_ctrl_c_saves_a_checkpoint_and_says_how_to_go_on(tmp_path):
    command = [sys.executable, "-m", "experiments", "train", "--model", "gs", "--epochs", "100000", "--quiet",
               "--runs", str(tmp_path)]  # fmt: skip
    child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/log.txt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    child.send_signal(signal.SIGINT)
    _, text = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "Run the same command again" in text
    (checkpoint,) = tmp_path.glob("*/checkpoint.npz")
    assert store.load_checkpoint(checkpoint)[1]["step"] > 0


def test_nan_stops_the_run_and_names_step_and_quantity(tmp_path, monkeypatch):
    real = program_vae.VAEProgram.draw
    calls = []

    def poisoned(self, *args):
        calls.append(1)
        out = real(self, *args)
        if len(calls) == 8:
            out[..., 0] = numpy.nan
        return out

    monkeypatch.setattr(program_vae.VAEProgram, "draw", poisoned)
    with pytest.raises(train.TrainingError, match="stopped at step 7.*reconstruction term"):
        train.run(SMALL, tmp_path / "nan", quiet=True, checkpoint_seconds=0)
    assert store.load_checkpoint(tmp_path / "nan" / "checkpoint.npz")[1]["step"] == 7


def test_divergence_is_named(tmp_path):
    config = dataclasses.replace(SMALL, learning_rate=1e5)
    with numpy.errstate(all="ignore"), pytest.raises(train.TrainingError, match="stopped at step"):
        train.run(config, tmp_path / "diverged", quiet=True)


def test_a_folder_of_another_run_is_refused(tmp_path):
    train.run(SMALL, tmp_path / "run", quiet=True)
    other = dataclasses.replace(SMALL, seed=1)
    with pytest.raises(ValueError, match="belongs to run"):
        train.run(other, tmp_path / "run", quiet=True)
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(ValueError, match="belongs to run"):
        train.run(other, tmp_path / "run", quiet=True)


def test_done_means_the_json_exists(tmp_path, monkeypatch):
    first = train.run(SMALL, tmp_path / "run", quiet=True)
    monkeypatch.setattr(train, "train", None)  # would fail if called
    assert train.run(SMALL, tmp_path / "run", quiet=True) == first


def test_validation_images_are_held_out(tmp_path):
    result = train.run(dataclasses.replace(SMALL, validation=True), tmp_path / "run", quiet=True)
    assert result["dataset"] | {"split": "validation", "train_images": 1150, "scored_images": 287} == result["dataset"]


def test_a_damaged_checkpoint_is_named(tmp_path):
    train.run(SMALL, tmp_path / "run", quiet=True)
    (tmp_path / "run" / "result.json").unlink()
    checkpoint = tmp_path / "run" / "checkpoint.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(store.StoreError, match="checkpoint.npz is a damaged checkpoint"):
        train.run(SMALL, tmp_path / "run", quiet=True)


@pytest.mark.parametrize(
    "model, estimator", [("igr_i", "plain"), ("igr_planar", "sl"), ("gs", "relax"), ("gs", "uspgbl")]
)
def test_training_learns(model, estimator, tmp_path):
    size = {"n_variables": 10, "n_categories": 5, "n_samples": 4 if estimator == "uspgbl" else 1}
    config = dataclasses.replace(SMALL, model=model, estimator=estimator, epochs=15, learning_rate=5e-3, **size)
    result = train.run(config, tmp_path / "run", quiet=True)
    curve = [point["train_loss"] for point in result["history"]]
    assert curve[-1] < curve[0] - 5
    assert result["metrics"]["all"]["loglik"]["mean"] > result["metrics"]["all"]["discrete_elbo"]["mean"]


def test_progress_prints_plain_lines_in_a_log():
    file = io.StringIO()
    bar = progress.Progress(10, "IGR-I", seconds=0.0, file=file)
    time.sleep(0.01)
    bar.update(5, "loss 3.2, 100 images/s")
    bar.update(10)
    first, last = file.getvalue().splitlines()
    assert first.startswith("IGR-I: step 5/10, loss 3.2, 100 images/s") and first.endswith("left")
    assert last == "IGR-I: step 10/10"
    assert [progress.clock(s) for s in (12, 200, 7500)] == ["12 s", "3 min 20 s", "2 h 5 min"]
