"""Planning of tables and figures: what is needed, what is chosen, what a table says when runs are missing."""

from __future__ import annotations

import concurrent.futures
import dataclasses

import numpy
import pytest

from experiments import grid, paper_numbers, programs, reproduce


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(programs.prior, "igr_i_prior", lambda k: (-0.6, -0.1))
    monkeypatch.setattr(programs.prior, "igr_sb_prior", lambda k: (numpy.full(k - 1, -1.0), numpy.zeros(k - 1)))


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
    header, rows = reproduce.table("table1", options, results)
    assert all(len(row) == len(header) for row in rows)
    assert rows[0][2:6] == ("−94.65 ± 0.14", "−94.50 ± 0.71", "−94.50 ± 0.71", "0.2 (1.1 sd)")
    assert "missing" in rows[1]
    header, rows = reproduce.table("table4", options, results)
    assert rows[0][2:5] == ("−131.34 ± 0.15", "−131.50 ± 0.71", "−0.2 (−1.1 sd)")
    assert all(len(row) == len(header) for row in rows)


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
        _, rows = reproduce.table(name, options, results)
        assert rows and not any("missing" in row for row in rows)
    for name in ("figure2", "figure4", "figure7"):
        path, _ = reproduce.figure(name, options, results, tmp_path / f"{name}.png")
        assert path.read_bytes().startswith(b"\x89PNG")
    assert reproduce.ordering(options, results)
    rows, _ = reproduce.estimate(("table1", "figure4"), options, folders[0])
    assert rows == []  # nothing is missing any more


def test_estimates_cover_what_is_missing(tmp_path):
    options = dataclasses.replace(grid.PRESETS["smoke"], models=("gs",), estimators=("plain",), epochs=2)
    rows, wall = reproduce.estimate(("table1",), options, tmp_path, workers=2)
    assert [count for _, count, _ in rows] == [2, 1] and wall > 0
    assert "3 runs" in reproduce.cost_text(rows, wall, 2)


def test_unknown_presets_are_named():
    with pytest.raises(ValueError, match="preset must be one of smoke, fast, paper"):
        reproduce.narrowed("huge")
