"""Sentences with numbers: what fits, what does not, and what the committed pages say."""

from __future__ import annotations

import dataclasses
import re

import pytest

from experiments import published, report
from experiments.grid import PRESETS
from experiments.prose import Numbers, Statement, mistakes
from experiments.reproduce import TABLES


def wrong(text, piece, *values):
    return mistakes(text, [Statement(piece, lambda n: values[0] if len(values) == 1 else values)], None)


@pytest.mark.parametrize("value, shown", [(5.55, "5.6"), (5.649, "5.6"), (-0.04, "−.0"), (-3.2, "−3.2"), (16.4, "16"),
                                          (0.06, ".1"), (7, "7."), (-2.5, "-2.5")])  # fmt: skip
def test_a_number_fits_if_it_rounds_to_what_is_shown(value, shown):
    assert wrong(f"leads by {shown} nats", "leads by {} nats", value) == []
    digits = len(shown.partition(".")[2])
    for off in (-1.1, 1.1):
        (message,) = wrong(f"leads by {shown} nats", "leads by {} nats", value + off * 10.0**-digits)
        assert f"says {shown}" in message


def test_lines_may_break_anywhere_and_a_piece_stands_once():
    assert wrong("a gap\n  of 3.1 or\n4 nats", "a gap of {} or {} nats", 3.1, 4.2) == []
    assert "0 times" in wrong("a gap of three nats", "a gap of {} nats", 3.0)[0]
    assert "2 times" in wrong("a gap of 3 nats, a gap of 3 nats", "a gap of {} nats", 3.0)[0]
    with pytest.raises(ValueError, match="has 1 numbers, its function gave 2"):
        wrong("a gap of 3 nats", "a gap of {} nats", 3.0, 4.0)


def test_a_statement_of_order_is_true_or_not():
    assert wrong("IGR is first", "IGR is first", True) == []
    assert wrong("IGR is first", "IGR is first", False) == ["not so: 'IGR is first'"]


def test_numbers_are_means_over_seeds_and_the_papers():
    options = dataclasses.replace(
        PRESETS["paper"], datasets=("mnist",), architectures=("linear",), models=("gs",), estimators=("plain",),
        temperatures=(0.5, 1.0), seeds=(1, 2),
    )  # fmt: skip
    sheets = {"table1": published.Sheet("table1", (options,))}
    (cell,) = TABLES["table1"](options)
    results = {}

    def add(config, value):
        metrics = {"all": {m: {"mean": value - i} for i, m in enumerate(("as_published", "loglik", "discrete_elbo"))}}
        results[config.id] = {"config": config.as_dict(), "metrics": metrics, "seconds": {"training": 7.0}}

    for config, value in zip(cell.selection(options), (-110.0, -100.0), strict=True):
        add(config, value)
    numbers = Numbers(results, sheets)
    with pytest.raises(KeyError, match="mnist linear GS of table1 has not run"):
        numbers("table1", "mnist linear GS")
    for config, value in zip(cell.final(options, results), (-104.0, -106.0), strict=True):
        add(config, value)
    assert numbers("table1", "mnist linear GS") == -105 and numbers("table1", "mnist linear GS", "loglik") == -106
    assert (
        numbers("table1", "mnist linear GS", "paper") == -106.17 and numbers("table1", "mnist linear GS", "sd") == 1.0
    )
    assert numbers.above_paper("table1", "mnist linear GS") == pytest.approx(1.17)
    assert numbers.held_out("table1", "mnist linear GS") == {0.5: -112.0, 1.0: -102.0}
    assert numbers.seconds("table1", "mnist linear GS") == [7, 7]
    lost = Statement("GS has {}", lambda n: n("table1", "mnist linear IGR"))
    assert "but the text says" in mistakes("GS has 3", [lost], numbers)[0]


def test_the_committed_pages_say_what_the_results_give():
    assert report.mistaken() == []


def test_a_page_that_says_something_else_is_found(tmp_path, monkeypatch):
    text = report.PAGE.read_text(encoding="utf-8")
    page = tmp_path / "REPRODUCTION.md"
    page.write_text(re.sub("keeps its lead, [0-9.]+ nats", "keeps its lead, 99.5 nats", text), encoding="utf-8")
    monkeypatch.setattr(report, "PAGE", page)
    (message,) = report.mistaken()
    assert message.startswith("REPRODUCTION.md: ") and re.search("says 99.5; the results give [0-9.]+$", message)
