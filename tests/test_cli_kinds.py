"""`train` and `evaluate` on the command line for structured output prediction and mixtures (--kind sop, mixture)."""

from __future__ import annotations

import dataclasses
import json

import numpy
import pytest

from experiments import __main__ as cli
from experiments import plan, train

SMALL = {
    "vae": plan.RunConfig(epochs=1, n_variables=3, n_categories=3, m=4, model="gs"),
    "sop": plan.SOPConfig(dataset="digits", epochs=2, n_units=6, m=4, model="gs", temperature=0.5, validation=True),
    "mixture": plan.MixtureConfig(dataset="digits", epochs=2, n_components=4, n_latent=3, width=5, m=4, rho=0.9),
}
COLUMNS = {
    "vae": ["discrete ELBO", "log-lik. bound", "as published"],
    "sop": ["one sample", "log-lik. bound"],
    "mixture": ["K", "structured ELBO", "log-lik. bound", "as published"],
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def flags(config):
    """The flags that say how the config differs from the kind's defaults."""
    out = ["--kind", config.kind]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != field.default:
            out += ["--" + field.name.replace("_", "-"), *([] if value is True else [str(value)])]
    return out


@pytest.mark.parametrize("kind", SMALL)
def test_train_is_the_run_of_its_config_and_evaluate_gives_its_scores_again(kind, tmp_path, capsys):
    config = SMALL[kind]
    assert cli.main(["train", *flags(config), "--quiet"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in [config.label, *COLUMNS[kind]])
    (run,) = (tmp_path / "runs").iterdir()
    got = json.loads((run / "result.json").read_text())
    want = train.run(config, tmp_path / "direct", quiet=True)
    same = ("id", "config", "parameters_sha256", "metrics", "history")
    assert {name: got[name] for name in same} == {name: want[name] for name in same}
    split = "validation" if config.validation else "test"
    assert cli.main(["evaluate", str(run), "--split", split, "--quiet"]) == 0
    again = json.loads((run / f"evaluation-{split}-m4.json").read_text())
    assert again["metrics"]["all"] == got["metrics"]["all"]
    assert cli.main(["evaluate", str(run), "--split", "train", "--m", "2", "--limit", "10", "--quiet"]) == 0
    again = json.loads((run / "evaluation-train-m2-first10.json").read_text())
    assert again["metrics"]["all"]["images"] == 10 and again["config"] == {**got["config"], "m": 2}
    assert cli.main(["list"]) == 0 and f"done        {run.name}" in capsys.readouterr().out


@pytest.mark.parametrize("kind", SMALL)
def test_help_shows_the_flags_and_defaults_of_the_kind(kind, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", "--kind", kind, "--help"])
    assert stop.value.code == 0
    words = " ".join(capsys.readouterr().out.split())
    config = type(SMALL[kind])
    for field in dataclasses.fields(config):
        start = words.index(f" --{field.name.replace('_', '-')} ", words.index("--kind {vae,sop,mixture} vae:"))
        if field.type != "bool":
            assert f"(default {field.default})" in words[start:], field.name


@pytest.mark.parametrize(
    "options, message",
    [(["--kind", "sop", "--n-variables", "3"], "--n-variables is a flag of --kind vae, not of sop"),
     (["--kind=mixture", "--temperature=1"], "--temperature is a flag of --kind vae and sop, not of mixture"),
     (["--n-units", "3"], "--n-units is a flag of --kind sop, not of vae"),
     (["--nothing"], "unrecognized arguments: --nothing\n"),
     (["--kind", "approximation"], "invalid choice: 'approximation'"), (["--kind"], "expected one argument")],
)  # fmt: skip
def test_flags_of_another_kind_are_refused(options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", *options])
    assert stop.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, message",
    [(["--kind", "sop", "--model", "vae"], "model must be one of igr_i, igr_planar, igr_sb, gs, igr_i_as_published"),
     (["--kind", "sop", "--architecture", "linear"], "architecture must be one of nonlinear, double_linear"),
     (["--kind", "mixture", "--rho", "1"], "rho must be between 0 and 1, got 1.0"),
     (["--kind", "mixture", "--model", "gs"], "model must be one of igr_sb_mm, dldpmm"),
     (["--kind", "sop", "--dataset", "grey.npz"], "needs binary pixels"),
     (["--kind", "sop", "--dataset", "flat.npz"], "images must have two rows or more to be halved")],
)  # fmt: skip
def test_bad_values_are_exit_code_2_with_a_message(options, message, tmp_path, capsys):
    grey = {name: numpy.full((n, 4, 4), 0.5, numpy.float32) for name, n in (("train", 200), ("test", 4))}
    numpy.savez(tmp_path / "grey.npz", **grey, binary=False)
    numpy.savez(tmp_path / "flat.npz", **{name: images.reshape(-1, 16)[:, :15] for name, images in grey.items()})
    assert cli.main(["train", *options, "--quiet"]) == 2
    assert message in capsys.readouterr().err


def test_evaluate_names_what_it_was_not_given(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.main(["evaluate", "empty"]) == 2
    assert "empty is not the folder of a run: it has no config.json" in capsys.readouterr().err
    assert cli.main(["train", *flags(SMALL["sop"]), "--quiet"]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    for options, message in ((["--m", "0"], "m must be a whole number of at least 1"), (["--limit", "0"], "--limit")):
        assert cli.main(["evaluate", str(run), *options]) == 2
        assert message in capsys.readouterr().err
