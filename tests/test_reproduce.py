"""Planning of tables and figures: what is needed, what is chosen, what a table says when runs are missing."""

from __future__ import annotations

import concurrent.futures
import dataclasses

import numpy
import pytest

from experiments import __main__ as cli
from experiments import estimates, fitted_prior, grid, grid_mixture, grid_sop, paper_numbers, reproduce, sweep
from experiments.tables import comparison


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fitted_prior.prior, "igr_i_prior", lambda k: (-0.6, -0.1))
    monkeypatch.setattr(fitted_prior.prior, "igr_sb_prior", lambda k: (numpy.full(k - 1, -1.0), numpy.zeros(k - 1)))


def fake(config, elbo, bound=-100.0):
    metric = {"mean": bound, "se": 0.1}
    metrics = {"all": {"discrete_elbo": {"mean": elbo, "se": 0.1}, "loglik": metric, "as_published": metric}}
    metrics["train"] = {"discrete_elbo": {"mean": elbo, "se": 0.1}}
    return {"id": config.id, "config": config.as_dict(), "metrics": metrics, "history": []}


def test_paper_preset_is_the_paper_s_protocol():
    options = grid.PRESETS["paper"]
    cells = grid.table_1(options)
    assert len(cells) == 3 * 2 * 4 * 2  # data sets, architectures, models, plain and SL
    assert len(grid.cell_upper_bound(cells, options)) == len(cells) * (10 + 5)
    base = cells[0].base(options)
    assert (base.epochs, base.batch_size, base.m, base.n_variables, base.n_categories) == (300, 100, 1000, 20, 10)


def test_the_temperature_is_chosen_on_held_out_images_and_then_every_seed_runs():
    options = dataclasses.replace(grid.PRESETS["paper"], temperatures=(0.1, 0.5, 1.0), seeds=(1, 2))
    cell = grid.Cell("mnist", "linear", "gs", "plain")
    selection = grid.cell_configs([cell], options, {})
    assert [c.temperature for c in selection] == [0.1, 0.5, 1.0] and all(c.validation for c in selection)
    results = {c.id: fake(c, elbo) for c, elbo in zip(selection, (-150, -140, -145), strict=True)}
    final = grid.cell_configs([cell], options, results)[3:]
    assert [(c.temperature, c.seed, c.validation) for c in final] == [(0.5, 1, False), (0.5, 2, False)]
    del results[selection[0].id]
    assert grid.cell_configs([cell], options, results) == selection


def test_tables_say_what_is_missing_and_measure_against_the_paper():
    options = dataclasses.replace(
        grid.PRESETS["paper"], datasets=("mnist",), architectures=("linear",), temperatures=(0.5,), seeds=(1, 2)
    )
    cell = grid.Cell("mnist", "linear", "igr_i", "plain")
    first, second = cell.final(options, {})
    results = {first.id: fake(first, -131.0, -94.0), second.id: fake(second, -132.0, -95.0)}
    header, rows = comparison.table("table1", options, results)
    assert all(len(row) == len(header) for row in rows)
    assert rows[0][2:6] == ("−94.65 ± 0.14", "−94.50 ± 0.71", "−94.50 ± 0.71", "0.2 (1.1 sd)")
    assert "missing" in rows[1]
    header, rows = comparison.table("table4", options, results)
    assert rows[0][2:5] == ("−131.34 ± 0.15", "−131.50 ± 0.71", "−0.2 (−1.1 sd)")
    assert all(len(row) == len(header) for row in rows)


def test_only_numbers_of_one_metric_and_network_are_compared():
    """Table 5 prints linear rows with SL, one-sample bounds with RELAX, and for IGR-I with RELAX a wrong sign's."""
    for architecture in ("nonlinear", "linear"):
        options = dataclasses.replace(
            grid.PRESETS["paper"], datasets=("mnist",), architectures=(architecture,), temperatures=(0.5,), seeds=(1,)
        )
        for name in ("table5", "table6"):
            cells = reproduce.TABLES[name](options)
            results = {c.id: fake(c, -85.0, -80.0) for cell in cells for c in cell.final(options, {})}
            header, rows = comparison.table(name, options, results)
            at = {key: header.index(key) for key in ("τ", "paper", "difference")}
            found = {(c.model, c.estimator): [row[i] for i in at.values()] for c, row in zip(cells, rows, strict=True)}
            if architecture == "linear":
                assert all(row[1:] == ["—", "—"] for row in found.values())
            elif name == "table5":
                assert found["gs", "relax"] == ["learned", "−83.41 ± 1.11", "−1.6 (−1.4 sd)"]  # to the ELBO
                assert found["igr_i", "relax"] == ["learned", "−82.03 ± 2.18", "—"]
                assert found["igr_i", "sl"] == ["0.5", "−94.18 ± 0.37", "—"]
            else:
                assert found["gs", "uspgbl"] == ["—", "−106.89 ± 1.37", "21.9 (16.0 sd)"]
                assert found["igr_i", "relax"] == ["learned", "−100.58 ± 3.38", "—"]
                assert found["gs", "relax"][2] == "27.8 (16.1 sd)"


def test_every_row_of_the_paper_has_its_cell():
    options = grid.PRESETS["paper"]
    keys = {(c.architecture, c.model, c.estimator) for c in grid.table_1(options)}
    assert keys == set(paper_numbers.TABLE_1)
    assert {(c.model, c.estimator) for c in grid.table_6(options)} == set(paper_numbers.TABLE_6)
    assert set(paper_numbers.TABLE_5) <= {(c.model, c.estimator) for c in grid.table_5(options)}


def test_a_table_and_a_figure_end_to_end(tmp_path):
    options = dataclasses.replace(
        grid.PRESETS["smoke"], models=("gs", "igr_planar"), temperatures=(0.5,), epochs=1, m=5, samples=50, steps=5,
        figure_draws=500,
    )  # fmt: skip
    folders = (tmp_path / "results", tmp_path / "runs")
    said = []
    failed = reproduce.run(
        ("table1", "table6", "figure4", "figure7"), options, *folders, said.append,
        make_executor=lambda: concurrent.futures.ThreadPoolExecutor(1),
    )  # fmt: skip
    assert failed == {}
    results = reproduce.load_results(folders[0])
    for name in ("table1", "table6"):
        _, rows = comparison.table(name, options, results)
        assert rows and not any("missing" in row for row in rows)
    for name in ("figure2", "figure4", "figure7"):
        path, _ = comparison.figure(name, options, results, tmp_path / f"{name}.png")
        assert path.read_bytes().startswith(b"\x89PNG")
    assert comparison.ordering(options, results)
    rows, _ = estimates.estimate(("table1", "figure4"), options, folders[0])
    assert rows == []  # nothing is missing any more


def test_estimates_cover_what_is_missing(tmp_path):
    options = dataclasses.replace(grid.PRESETS["smoke"], models=("gs",), estimators=("plain",), epochs=2)
    rows, wall = estimates.estimate(("table1",), options, tmp_path, workers=2)
    assert [count for _, count, _ in rows] == [2, 1] and wall > 0
    assert "3 runs" in estimates.cost_text(rows, wall, 2)


def test_unknown_presets_are_named():
    with pytest.raises(ValueError, match="preset must be one of smoke, fast, paper"):
        reproduce.narrowed("huge")


def test_unknown_data_sets_are_named_before_anything_runs(capsys):
    assert cli.main(["table2", "--datasets", "mnits"]) == 2
    assert "unknown data set 'mnits'; known: digits, mnist" in capsys.readouterr().err


# ---- tables 2 and 3 --------------------------------------------------------------------------------------------------


def test_paper_preset_of_tables_2_and_3_is_the_paper_s_protocol():
    options = grid.PRESETS["paper"]
    cells = grid_sop.table_2(options)
    assert {(c.architecture, c.model) for c in cells} == {
        (a, m) for a in ("nonlinear", "double_linear") for m in paper_numbers.TABLE_2
    }
    assert len(grid.cell_upper_bound(cells, options)) == len(cells) * (10 + 5)
    base = cells[0].base(options)
    assert (base.epochs, base.batch_size, base.m, base.n_units, base.learning_rate) == (100, 100, 1000, 240, 1e-3)
    cells = grid_mixture.table_3(options)
    assert {c.base(options).label for c in cells} == {"IGR-SB-MM + SL", "DLDPMM + SL"} and len(cells) == 4
    assert len(grid.cell_upper_bound(cells, options)) == 2 * (5 + 6 + 5)
    base = cells[0].base(options)
    assert (base.n_components, base.n_latent, base.epochs, base.learning_rate, base.rho) == (20, 50, 300, 3e-4, 0.9999)


def test_the_number_of_components_is_chosen_by_the_elbo_of_held_out_images():
    options = reproduce.narrowed("paper", components=(7, 9, 11), seeds=(1, 2), datasets=("mnist",), models=("dldpmm",))
    (cell,) = grid_mixture.table_3(options)
    selection = grid.cell_configs([cell], options, {})
    assert [(c.n_components, c.validation, c.m) for c in selection] == [(k, True, 1) for k in (7, 9, 11)]
    results = {c.id: {"metrics": {"all": {"elbo": {"mean": e}}}} for c, e in zip(selection, (-3, -1, -2), strict=True)}
    final = cell.final(options, results)
    assert [(c.n_components, c.seed, c.validation, c.m) for c in final] == [(9, 1, False, 1000), (9, 2, False, 1000)]


def test_table_3_shows_both_metrics_and_labels_stand_ins():
    options = reproduce.narrowed("paper", components=(7,), seeds=(1,), datasets=("mnist", "a/strokes.npz"))
    results = {}
    for cell in grid_mixture.table_3(options):
        (config,) = cell.final(options, {})
        metrics = {"loglik": {"mean": -80.0}, "as_published": {"mean": -82.0}}
        if cell.data == "strokes.npz" and cell.model == "igr_sb_mm":
            del metrics["as_published"]
        note = "MNIST" if cell.dataset == "mnist" else "Omniglot (strokes), a stand-in: strokes."
        results[config.id] = {
            "id": config.id, "config": config.as_dict(), "metrics": {"all": metrics}, "dataset": {"note": note},
        }  # fmt: skip
    header, rows = comparison.table("table3", options, results)
    assert header[1] == "K" and all(len(row) == len(header) for row in rows)
    assert rows[0][:6] == ("mnist IGR-SB-MM + SL", "20", "−81.79 ± 0.35", "−82.00", "−80.00", "−0.2 (−0.6 sd)")
    assert rows[1][:3] == ("mnist DLDPMM + SL", "7", "−81.90 ± 0.30")
    assert rows[2][:6] == ("strokes.npz IGR-SB-MM + SL, a stand-in", "20", "—", "—", "−80.00", "—")
    assert any(line == "strokes.npz: Omniglot (strokes), a stand-in: strokes." for line in
               comparison.notes("table3", options, results))  # fmt: skip
    _, rows = comparison.table("table3", options, {})
    assert all(row[1] == "missing" and len(row) == len(header) for row in rows)


def test_options_narrow_each_table_to_what_it_has():
    options = reproduce.narrowed("paper", models=("gs", "dldpmm", "igr_sb_as_published"), epochs=7, m=5)
    assert options.models == ("gs",) and options.epochs == 7
    assert options.sop.models == ("gs", "igr_sb_as_published") and options.mixture.models == ("dldpmm",)
    assert {(p.epochs, p.m) for p in (options.sop, options.mixture)} == {(7, 5)}
    assert all(c.m == 1 for c in grid_mixture.table_3(options)[0].selection(options))
    published = [c for c in grid_sop.table_2(options) if c.model == "igr_sb_as_published"]
    assert published and not published[0].selection(options)  # no temperature to choose
    options = reproduce.narrowed("paper", temperatures=(0.5,), components=(9,), learning_rate=0.1)
    assert options.sop.temperatures == options.temperatures == (0.5,) and options.sop.components == ()
    assert options.mixture.components == (9,) and options.mixture.temperatures == ()


@pytest.mark.parametrize(
    "command, given, message",
    [("table2", {"models": ("dldpmm",)}, "table2 has no dldpmm among its models"),
     ("table3", {"models": ("igr_i",)}, "table3 has no igr_i among its models: igr_sb_mm, dldpmm"),
     ("table5", {"models": ("igr_sb",)}, "nothing is left of table5"),
     ("table1", {"models": ("dldpmm",)}, "table1 has no dldpmm among its models: igr_i, igr_planar"),
     ("table1", {"models": ("gs", "igr_sb_mm")}, "table1 has no igr_sb_mm among its models"),
     ("table1", {"models": ("igr_i",), "gs_prior_temperature": 0.5}, "for rows of the model gs"),
     ("table1", {"steps": 5}, "table1 has no option --steps"),
     ("table4", {"figures_as_published": True}, "table4 has no option --as-published"),
     ("figure5", {"figures_as_published": True}, "figure5 has no option --as-published"),
     ("figure1", {"epochs": 5}, "figure1 has no option --epochs"),
     ("figure1", {"learning_rate": 5.0}, "figure1 has no option --learning-rate"),
     ("table5", {"estimators": ("sl",)}, "table5 has no option --estimators"),
     ("table6", {"datasets": ("mnist", "fmnist")}, "table6 is of one data set, got mnist fmnist"),
     ("table3", {"models": ("igr_sb_mm",), "components": (3,)}, "for the model dldpmm"),
     ("table2", {"estimators": ("sl",)}, "table2 has no option --estimators"),
     ("table3", {"temperatures": (0.5,)}, "table3 has no option --temperatures"),
     ("table2", {"gs_prior_temperature": 0.5}, "table2 has no option --gs-prior-temperature")],
)  # fmt: skip
def test_options_that_leave_nothing_are_errors(command, given, message):
    with pytest.raises(ValueError, match=message):
        reproduce.require_used(command, reproduce.narrowed("smoke", **given), given)


def test_tables_2_and_3_end_to_end(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sweep, "local_executor", lambda workers: concurrent.futures.ThreadPoolExecutor(workers))
    folders = ["--results", str(tmp_path / "results"), "--runs", str(tmp_path / "runs"), "--workers", "1"]
    small = ["--m", "5", "--epochs", "2", "--selection-epochs", "1"]
    two = ["table2", *folders, *small, "--models", "gs", "igr_sb_as_published", "--temperatures", "0.5", "1"]
    three = ["table3", *folders, *small, "--models", "dldpmm", "--components", "3", "4"]
    for command, runs, row in ((two, 4, "digits nonlinear IGR-SB (as published)"), (three, 3, "digits DLDPMM + SL")):
        assert cli.main([*command, "--estimate"]) == 0
        assert f"{runs} runs, about" in capsys.readouterr().out
        assert cli.main(command) == 0
        out = capsys.readouterr().out
        assert row in out and "missing" not in out
        assert cli.main([*command, "--estimate"]) == 0
        assert "nothing is missing" in capsys.readouterr().out
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("command, runs", [("table2", 12), ("table3", 4)])
def test_smoke_tables_learn(command, runs, tmp_path):
    """The smoke presets as they are: every final run's test curve rises, and beats its first epoch by a nat or more."""
    options = grid.PRESETS["smoke"]
    folders = (tmp_path / "results", tmp_path / "runs")
    failed = reproduce.run(
        (command,), options, *folders, lambda text: None,
        make_executor=lambda: concurrent.futures.ThreadPoolExecutor(1),
    )  # fmt: skip
    results = reproduce.load_results(folders[0])
    assert failed == {} and len(results) == runs
    for result in results.values():
        if not result["config"]["validation"]:
            curve = [value for point in result["history"] for name, value in point.items() if "sample" in name]
            assert curve[-1] > curve[0] + 1


@pytest.mark.parametrize("command, given", [
    ("table1", {"seeds": (1, 2), "epochs": 3, "gs_prior_temperature": 0.5, "estimators": ("sl",)}),
    ("figure1", {"seeds": (1,), "steps": 5, "samples": 9, "figures_as_published": True}), ("figure5", {"steps": 7}),
    ("table2", {"selection_epochs": 2, "temperatures": (0.5,)}),
    ("table3", {"components": (3,), "estimators": ("sl",)}),
    ("table6", {"m": 5, "models": ("gs",)}), ("figure2", {"datasets": ("digits",)}),
])  # fmt: skip
def test_options_that_a_command_has(command, given):
    reproduce.require_used(command, reproduce.narrowed("smoke", **given), given)


@pytest.mark.parametrize("given", [{"seeds": (1, 2, 1)}, {"models": ("gs", "gs")}, {"temperatures": (0.5, 0.5)}])
def test_a_value_given_twice_is_an_error(given):
    (name,) = given
    with pytest.raises(ValueError, match=f"--{name} names .* twice"):
        reproduce.narrowed("smoke", **given)
