"""Published results run again: the same bits, or the difference is named."""

from __future__ import annotations

import pytest

from experiments import __main__ as cli
from experiments import plan, rerun, store, sweep


@pytest.fixture
def result(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = plan.ApproximationConfig(
        target="binomial", model="gs", n_categories=13, temperature=0.1, samples=50, steps=3
    )
    sweep.work(config.as_dict(), tmp_path / "results", tmp_path / "runs")
    return tmp_path / "results" / f"{config.id}.json"


def test_a_result_runs_again_to_the_same_metrics(result, capsys):
    assert cli.main(["rerun", str(result)]) == 0
    assert "the same parameters, 0 metrics differ" in capsys.readouterr().out


def test_an_altered_result_is_found(result, capsys):
    value = store.read_result(result)
    value["metrics"]["final"]["mean"] += 1e-3
    store.write_result(result, value)
    assert cli.main(["rerun", str(result)]) == 1
    assert "1 metrics differ, by at most 0.001 FAILED" in capsys.readouterr().out
    assert cli.main(["rerun", str(result), "--tolerance", "0.01"]) == 0


def test_recorded_kernels_are_used_where_the_cpu_has_them(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Zen")
    settings = {"OPENBLAS_CORETYPE": "SkylakeX", "OMP_NUM_THREADS": "1"}
    for choices, want in ((("Haswell", "SkylakeX"), "SkylakeX"), ((), None)):
        monkeypatch.setattr(rerun.blas, "choices", lambda choices=choices: choices)
        found = rerun.environment_of({"blas_environment": settings})
        assert found.get("OPENBLAS_CORETYPE") == want and found["OMP_NUM_THREADS"] == "1"
        for_all = rerun.environment_of({"blas_environment": {"OPENBLAS_CORETYPE": "Haswell"}})
        assert for_all["OPENBLAS_CORETYPE"] == "Haswell"
    assert "OPENBLAS_CORETYPE" not in rerun.environment_of({})


def test_differences_and_choice(tmp_path):
    assert rerun.differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "d": 3}}) == [("a.c", 2, None), ("a.d", None, 3)]
    with pytest.raises(ValueError, match="holds 0 results, 3 were asked for"):
        rerun.chosen(tmp_path, 3, 0)
