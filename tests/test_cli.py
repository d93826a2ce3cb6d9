"""The command line: exit codes, messages, and the quickstart end to end at a small size."""

from __future__ import annotations

import dataclasses
import json

import numpy
import pytest

from experiments import __main__ as cli
from experiments import fitted_prior, grid, plan, published, report


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fitted_prior.prior, "igr_i_prior", lambda k: (-0.6, -0.1))
    monkeypatch.setattr(fitted_prior.prior, "igr_sb_prior", lambda k: (numpy.full(k - 1, -1.0), numpy.zeros(k - 1)))


def test_quickstart_end_to_end(tmp_path, monkeypatch, capsys):
    small = [dataclasses.replace(c, epochs=2, m=10, law_draws=50, monitor_every=1) for c in plan.quickstart()]
    monkeypatch.setattr(plan, "quickstart", lambda: small)
    assert cli.main(["quickstart", "--quiet", "--workers", "1"]) == 0
    out = capsys.readouterr().out
    for config in small:
        assert config.label in out
    assert (tmp_path / "figures/quickstart.png").read_bytes().startswith(b"\x89PNG")
    results = json.loads((tmp_path / "figures/quickstart.json").read_text())
    assert [r["id"] for r in results] == [c.id for c in small]
    assert all(len(r["history"]) == 2 and r["metrics"]["all"]["images"] == 360 for r in results)


def test_train_evaluate_and_list(tmp_path, capsys):
    options = ["--model", "gs", "--epochs", "1", "--m", "5", "--n-variables", "3", "--quiet"]
    assert cli.main(["train", *options]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert cli.main(["evaluate", str(run), "--m", "7", "--limit", "20", "--quiet"]) == 0
    again = json.loads((run / "evaluation-test-m7-first20.json").read_text())
    assert again["metrics"]["all"]["images"] == 20 and again["config"]["m"] == 7
    capsys.readouterr()
    assert cli.main(["list"]) == 0
    assert f"done        {run.name}" in capsys.readouterr().out
    assert cli.main(["evaluate", str(run), "--split", "validation"]) == 2
    assert "held no validation images out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command, message",
    [
        (["train", "--model", "foo"], "model must be one of igr_i, igr_planar, igr_sb, gs"),
        (["train", "--temperature", "0"], "temperature must be greater than 0"),
        (["train", "--dataset", "nope"], "unknown data set 'nope'"),
        (["evaluate", "nowhere"], "nowhere"),
        (["data", "missing.npz"], "missing.npz"),
    ],
)
def test_bad_input_is_exit_code_2_with_a_message(command, message, capsys):
    assert cli.main(command) == 2
    assert message in capsys.readouterr().err


def test_bad_options_are_exit_code_2():
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", "--no-such-option"])
    assert stop.value.code == 2


def test_gpu_without_cupy_is_a_clear_error(capsys):
    try:
        import cupy  # noqa: F401

        pytest.skip("CuPy is installed here")
    except ImportError:
        pass
    assert cli.main(["train", "--device", "gpu"]) == 2
    assert "needs CuPy" in capsys.readouterr().err


def test_a_diverging_run_is_exit_code_1(capsys):
    with numpy.errstate(all="ignore"):
        assert cli.main(["train", "--epochs", "1", "--learning-rate", "1e6", "--quiet"]) == 1
    assert "stopped at step" in capsys.readouterr().err


def test_users_npz_trains(tmp_path):
    rng = numpy.random.default_rng(0)
    numpy.savez(tmp_path / "mine.npz", train=rng.integers(0, 256, (60, 16), dtype=numpy.uint8),
                test=rng.integers(0, 256, (20, 16), dtype=numpy.uint8))  # fmt: skip
    options = ["--batch-size", "10", "--epochs", "1", "--m", "5", "--quiet", "--n-variables", "2"]
    assert cli.main(["train", "--dataset", str(tmp_path / "mine.npz"), *options]) == 0


def test_help_of_every_command_has_examples(capsys):
    for name in ("quickstart", "train", "evaluate", "data", "list", "report"):
        with pytest.raises(SystemExit) as stop:
            cli.main([name, "--help"])
        assert stop.value.code == 0
        assert "examples:" in capsys.readouterr().out


def test_readme_tables_are_what_the_results_give():
    assert report.report(check=True) == []


def test_report_finds_what_is_out_of_date(tmp_path, monkeypatch):
    content = report.sections(report.load_results(report.RESULTS))
    text = report.README.read_text(encoding="utf-8")
    stale = text.replace("−132", "−732", 1)
    assert report.updated(stale, content) == text != stale
    with pytest.raises(ValueError, match="no table named nothing"):
        report.updated("<!-- nothing -->\n<!-- /nothing -->", content)
    (tmp_path / "README.md").write_text(stale, encoding="utf-8")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "REPRODUCTION.md").write_text(report.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(report, "README", tmp_path / "README.md")
    monkeypatch.setattr(report, "PAGE", tmp_path / "figures" / "REPRODUCTION.md")
    real, one = report.drawn, {"figure4": published.SHEETS["figure4"]}

    def drawn(results, folder):  # one figure is enough
        with monkeypatch.context() as patch:
            patch.setattr(published, "SHEETS", one)
            return real(results, folder)

    monkeypatch.setattr(report, "drawn", drawn)
    pictures = [path.name for path in report.drawn(report.load_results(report.RESULTS), tmp_path).values()]
    assert report.report(check=True) == ["README.md", *pictures]  # and no picture lies in that folder yet
    assert report.report() == ["README.md", *pictures] and report.report(check=True) == []
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == text


def test_published_runs_what_is_missing_of_a_sheet(tmp_path, monkeypatch, capsys):
    small = dataclasses.replace(grid.PRESETS["smoke"], steps=3, samples=20, figure_draws=200)
    monkeypatch.setattr(published, "SHEETS", {"figure4": published.Sheet("figure4", (small,))})
    options = ["published", "--results", str(tmp_path / "results"), "--runs", str(tmp_path / "runs"), "--workers", "1"]
    assert cli.main([*options, "--estimate"]) == 0 and "1 runs" in capsys.readouterr().out
    assert cli.main([*options, "figure4"]) == 0
    assert len(list((tmp_path / "results").glob("*.json"))) == 1
    assert cli.main([*options, "figure9"]) == 2 and "unknown sheets figure9" in capsys.readouterr().err
