"""The table of claims: what is said of a comparison, over how many seeds, and how the table is set."""

from __future__ import annotations

import dataclasses

import numpy
import pytest
import scipy.stats

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


def test_welch_decides():
    """Variance 2 a side, two seeds: two degrees of freedom, and t = 4.303 times sqrt(2) is the border, 6.085."""
    assert claims.compare([0.0, 2.0], [-6.0, -4.0])[2] == "not told apart"
    assert claims.compare([0.0, 2.0], [-6.2, -4.2])[2] == "holds"
    assert claims.compare([1.0, 1.0], [2.0, 2.0])[2] == "reversed"  # no spread at all
    rng = numpy.random.default_rng(3)
    told = 0
    for _ in range(200):
        a, b = rng.normal(0, 1, rng.integers(2, 6)), rng.normal(1.5, 2, rng.integers(2, 6))
        found = scipy.stats.ttest_ind(a, b, equal_var=False).pvalue < 0.05
        assert (claims.compare(a, b)[2] != "not told apart") == found
        told += found
    assert 20 < told < 180


def test_the_other_tables_claims():
    """Table 2's and 3's rows from a result each, the order of the means deciding what is compared with what."""
    options = dataclasses.replace(
        PRESETS["paper"],
        sop=dataclasses.replace(PRESETS["paper"].sop, temperatures=(0.5,), architectures=("nonlinear",), seeds=(1,)),
        mixture=dataclasses.replace(PRESETS["paper"].mixture, datasets=("mnist",), components=(7,), seeds=(1,)),
    )
    means = {"igr_i": -60.0, "igr_planar": -58.0, "igr_sb": -59.0, "gs": -61.0, "igr_sb_mm": -80.0, "dldpmm": -81.0}
    results, sheets = {}, {}
    for name in ("table2", "table3"):
        sheets[name] = published.Sheet(name, (options,))
        for cell in reproduce.TABLES[name](options):
            (config,) = cell.final(options, {})
            metrics = {"all": {"loglik": {"mean": means[cell.model]}}}
            results[config.id] = {"id": config.id, "config": config.as_dict(), "metrics": metrics}
    where, tail = "table2: mnist nonlinear", ("1", "holds (one seed)")
    assert claims.rows(sheets, results) == [
        ("IGR beats GS", where, "correct bound", "IGR-Planar −58.00 against −61.00", *tail),
        ("IGR-SB is best", f"{where}, against IGR-Planar", "correct bound", "−59.00 against −58.00", "1",
         "reversed (one seed)"),
        ("IGR-SB-MM is no worse than DLDPMM", "table3: mnist", "correct bound", "−80.00 against −81.00", *tail),
    ]  # fmt: skip


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
            metrics["train"] = {"discrete_elbo": metric}
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
