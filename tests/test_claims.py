"""The table of claims: what is said of a comparison, over how many seeds, and how the table is set."""

from __future__ import annotations

import dataclasses

import pytest

from experiments import published, reproduce, tables
from experiments.grid import PRESETS
from experiments.tables import claims


@pytest.mark.parametrize(
    "a, b, seeds, verdict",
    [([3.0, 3.2], [1.0, 1.1], "2", "holds"), ([1.0, 1.1], [3.0, 3.2], "2", "reversed"),
     ([1.0, 3.0], [1.5, 2.5], "2", "not told apart"), ([2.0], [1.0], "1", "holds (one seed)"),
     ([1.0], [2.0, 2.1, 2.2], "1 against 3", "reversed (one seed)"),
     ([5.0, 5.1, 5.2], [1.0, 1.1], "3 against 2", "holds")],
)  # fmt: skip
def test_a_comparison_says_its_seeds_and_what_they_allow(a, b, seeds, verdict):
    text, *rest = claims.compare(a, b)
    assert rest == [seeds, verdict]
    assert text == f"{sum(a) / len(a):.2f} against {sum(b) / len(b):.2f}"


def test_two_standard_errors_decide():
    """Variance 2 a side, two seeds: the standard error of the difference is sqrt(2), so 2.83 is the border."""
    assert claims.compare([0.0, 2.0], [-2.8, -0.8])[2] == "not told apart"
    assert claims.compare([0.0, 2.0], [-2.9, -0.9])[2] == "holds"


def test_the_seeds_that_are_there_are_counted():
    """Gumbel-Softmax with one seed, IGR-I with two: a result each, at the one temperature of its row."""
    options = {"datasets": ("mnist",), "architectures": ("linear",), "models": ("igr_i", "gs"), "seeds": (1, 2),
               "estimators": ("plain",), "temperatures": (0.5,)}  # fmt: skip
    sheet = dataclasses.replace(PRESETS["paper"], **options)
    results = {}
    for cell in reproduce.TABLES["table1"](sheet):
        for config in cell.final(sheet, {})[: 2 if cell.model == "igr_i" else 1]:
            metric = {"mean": -90.0 if cell.model == "igr_i" else -95.0}
            metrics = {"all": dict.fromkeys(("as_published", "loglik", "discrete_elbo"), metric)}
            results[config.id] = {"id": config.id, "config": config.as_dict(), "metrics": metrics}
    rows = list(claims.rows({"table1": published.Sheet("table1", (sheet,))}, results))
    assert rows == [
        ("IGR beats GS", "mnist linear", metric, "IGR-I −90.00 against −95.00", "2 against 1", "holds (one seed)")
        for metric in claims.METRICS.values()
    ]
    assert all(len(row) == len(claims.HEADER) for row in rows)


def test_text_columns_are_set_to_the_left():
    lines = tables.markdown(("name", "where", "n"), [("a", "b", 1)], left=("where",)).splitlines()
    assert lines == ["| name | where | n |", "|---|---|---:|", "| a | b | 1 |"]
    assert tables.markdown(("name", "n"), []).splitlines()[1] == "|---|---:|"
    assert set(claims.LEFT) < set(claims.HEADER) and "seeds" not in claims.LEFT
