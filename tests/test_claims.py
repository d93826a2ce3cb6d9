"""The table of claims: what is said of a comparison, over how many seeds, and how the table is set."""

from __future__ import annotations

import dataclasses

import numpy
import pytest
import scipy.stats

from experiments import published, reproduce, tables
from experiments.grid import PRESETS
from experiments.tables import claims, claims_others, welch


@pytest.mark.parametrize(
    "a, b, seeds, verdict",
    [([3.0, 3.2], [1.0, 1.1], "2", "holds"), ([1.0, 1.1], [3.0, 3.2], "2", "reversed"),
     ([1.0, 3.0], [1.5, 2.5], "2", "not told apart"), ([3.1], [1.0], "1", "as claimed (one seed, not tested)"),
     ([2.0], [1.0], "1", "too close to say (one seed, not tested)"),
     ([1.0], [4.0, 4.1, 4.2], "1 against 3", "the other way (one seed, not tested)"),
     ([5.0, 5.1, 5.2], [1.0, 1.1], "3 against 2", "holds")],
)  # fmt: skip
def test_a_comparison_says_its_seeds_and_what_they_allow(a, b, seeds, verdict):
    text, paper, *rest = welch.compare(a, b)
    assert rest == [seeds, verdict] and paper == "—"
    assert welch.compare(a, b, ((-1.5, 0.1), (2.25, 3.0)))[1] == "−1.50 against 2.25"
    assert welch.compare(a, b, (None, (2.25, 3.0)))[1] == "—"
    assert text == f"{sum(a) / len(a):.2f} against {sum(b) / len(b):.2f}"


def test_welch_decides():
    """Variance 2 a side, two seeds: two degrees of freedom, and t = 4.303 times sqrt(2) is the border, 6.085."""
    assert welch.compare([0.0, 2.0], [-6.0, -4.0])[3] == "not told apart"
    assert welch.compare([0.0, 2.0], [-6.2, -4.2])[3] == "holds"
    assert welch.compare([1.0, 1.0], [2.0, 2.0])[3] == "reversed"  # no spread at all
    rng = numpy.random.default_rng(3)
    told = 0
    for _ in range(200):
        a, b = rng.normal(0, 1, rng.integers(2, 6)), rng.normal(1.5, 2, rng.integers(2, 6))
        found = scipy.stats.ttest_ind(a, b, equal_var=False).pvalue < 0.05
        assert (welch.compare(a, b)[3] != "not told apart") == found
        told += found
    assert 20 < told < 180


def test_the_other_tables_claims():
    """Table 2's and 3's rows from a result each, the order of the means deciding what is compared with what."""
    options = dataclasses.replace(
        PRESETS["paper"],
        sop=dataclasses.replace(PRESETS["paper"].sop, temperatures=(0.5,), architectures=("nonlinear",), seeds=(1,)),
        mixture=dataclasses.replace(PRESETS["paper"].mixture, datasets=("mnist",), components=(7,), seeds=(1,)),
    )
    means = {"igr_i": -60.0, "igr_planar": -55.0, "igr_sb": -59.0, "gs": -65.0, "igr_sb_mm": -80.0, "dldpmm": -82.0}
    results, sheets = {}, {}
    for name in ("table2", "table3"):
        sheets[name] = published.Sheet(name, (options,))
        for cell in reproduce.TABLES[name](options):
            (config,) = cell.final(options, {})
            metrics = {"all": {"loglik": {"mean": means[cell.model]}}}
            results[config.id] = {"id": config.id, "config": config.as_dict(), "metrics": metrics}
    where, mixtures, tail = "table2: mnist nonlinear", "table3: mnist", ("1", "as claimed (one seed, not tested)")
    no_worse = "IGR-SB-MM is not worse than DLDPMM by 1 nat or more"
    rows = claims.rows(sheets, results)
    assert rows == [
        ("IGR-I beats GS", where, "correct bound", "−60.00 against −65.00", "−57.28 against −59.31", *tail),
        ("IGR-SB is best", f"{where}, against IGR-Planar", "correct bound", "−59.00 against −55.00",
         "−45.12 against −56.61", "1", "the other way (one seed, not tested)"),
        (no_worse, mixtures, "correct bound", "−80.00 against −82.00", "−81.79 against −81.90", *tail),
    ]  # fmt: skip
    assert claims.summary(rows) == [
        ("IGR-I beats GS", "correct bound", "", "", "", 1, "", "", ""),
        ("IGR-SB is best", "correct bound", "", "", "", "", 1, "", ""),
        (no_worse, "correct bound", "", "", "", 1, "", "", ""),
    ]
    assert len(claims.summary(rows)[0]) == len(claims.SUMMARY_HEADER)
    means["gs"] = claims_others.constant_pixels("mnist") - 0.4
    for behind, verdict in ((-1.1, "as claimed"), (0.9, "too close to say"), (3.1, "the other way")):
        means["igr_sb_mm"] = means["dldpmm"] - behind
        for result in results.values():
            result["metrics"]["all"]["loglik"]["mean"] = means[result["config"]["model"]]
        first, *_, last = claims.rows(sheets, results)
        assert last[-1] == f"{verdict} (one seed, not tested)" and first[-1] == "GS did not train"


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
            metrics["train"] = {"discrete_elbo": metric, "images": 10}
            results[config.id] = {"id": config.id, "config": config.as_dict(), "metrics": metrics}
    rows = list(claims.rows({"table1": published.Sheet("table1", (sheet,))}, results))
    assert rows == [
        ("IGR-I beats GS", "mnist linear", welch.METRICS[metric], "−90.00 against −95.00", printed, "2 against 1",
         "as claimed (one seed, not tested)")
        for metric, printed in {
            "as_published": "−94.65 against −106.17", "loglik": "−94.65 against −106.17", "discrete_elbo": "—",
            "train": "−131.34 against −154.01",
        }.items()
    ]  # fmt: skip
    assert all(len(row) == len(claims.HEADER) for row in rows)


def vae_rows(means, images=lambda cell: 10, command="table1", **fields):
    """The claims of a sheet with one temperature, where every run of a cell scores means(cell) in every metric."""
    options = {"datasets": ("mnist",), "architectures": ("nonlinear",), "seeds": (1,), "temperatures": (0.5,), **fields}
    sheet = dataclasses.replace(PRESETS["paper"], **options)
    results = {}
    for cell in reproduce.TABLES[command](sheet):
        for config in cell.final(sheet, {}):
            metric = {"mean": means(cell)}
            metrics = {"all": dict.fromkeys(("as_published", "loglik", "discrete_elbo"), metric)}
            metrics["train"] = {"discrete_elbo": metric, "images": images(cell)}
            results[config.id] = {"id": config.id, "config": config.as_dict(), "metrics": metrics}
    return claims.rows({command: published.Sheet(command, (sheet,))}, results)


def test_the_best_elbo_is_among_those_of_as_many_training_images():
    scores = {"igr_sb": -1.0, "igr_i": -2.0, "igr_planar": -3.0, "gs": 0.0}
    for images, best in (({"gs": 20}, "IGR-I"), ({}, "GS"), ({"gs": 20, "igr_i": 20}, "IGR-Planar")):
        rows = vae_rows(
            lambda cell: scores[cell.model],
            lambda cell, images=images: images.get(cell.model, 10),
            estimators=("plain",),
        )
        (row,) = (row for row in rows if row[0] == "IGR-SB has the best discrete ELBO")
        assert row[1] == f"mnist nonlinear, against {best}" and row[4] == "—"  # Table 4 is taken to be linear


def test_a_prior_temperature_that_is_the_chosen_one_is_no_row_of_its_own():
    for prior, temperature, count in ((0.5, 0.5, 4), (0.25, 0.5, 8)):
        rows = vae_rows(
            lambda cell: -1.0, models=("igr_i", "gs"), estimators=("plain",), gs_prior_temperature=prior,
            temperatures=(temperature,),
        )  # fmt: skip
        beaten = [row for row in rows if row[0].startswith("IGR-I beats GS")]
        assert len(beaten) == count and {row[4] for row in beaten} == {"−91.98 against −98.06", "—"}


def test_relax_is_compared_with_every_other_row():
    scores = {("igr_i", "relax"): -1.0, ("igr_i", "sl"): -2.0, ("gs", "relax"): -3.0}
    rows = vae_rows(lambda cell: scores.get((cell.model, cell.estimator), -9.0), command="table5")
    assert [(row[0], row[1], row[4]) for row in rows] == [
        ("RELAX helps", "table5: mnist nonlinear IGR-I", "—"),
        ("IGR-I + RELAX is best", "table5: mnist nonlinear, against IGR-I + SL", "−82.03 against −94.18"),
        ("RELAX helps", "table5: mnist nonlinear GS", "—"),
    ]
    scores = {("igr_i", "relax"): -1.0, ("gs", "uspgbl"): -2.0}
    rows = vae_rows(lambda cell: scores.get((cell.model, cell.estimator), -9.0), command="table6")
    assert "table6: mnist nonlinear, against USPGBL" in [row[1] for row in rows]


def test_text_columns_are_set_to_the_left():
    lines = tables.markdown(("name", "where", "n"), [("a", "b", 1)], left=("where",)).splitlines()
    assert lines == ["| name | where | n |", "|---|---|---:|", "| a | b | 1 |"]
    assert tables.markdown(("name", "n"), []).splitlines()[1] == "|---|---:|"
    assert set(claims.LEFT) < set(claims.HEADER) and "seeds" not in claims.LEFT
