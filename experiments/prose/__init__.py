"""The numbers that sentences of README and figures/REPRODUCTION.md state, checked against the result files.

A statement is a piece of the text, `{}` where it has a number, and a function of `Numbers` that gives those numbers, or
True where the piece has none and only orders things. A number fits if it rounds to what the text shows, to the last
digit shown. Words are the author's: who changes a sentence changes the statement.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy

from .. import reproduce
from ..tables import comparison

NUMBER = r"([−-]?(?:\d+\.?\d*|\.\d+))"
TINY = 1e-9


@dataclass(frozen=True)
class Statement:
    text: str
    values: Callable


class Numbers:
    """The means over seeds of published rows, by sheet and row name: numbers("table1", "mnist linear GS", "loglik").

    metric: one of the test images' (`evaluate.SCORES`), "train" (the discrete ELBO of training images), "paper" (what
    the paper prints) or "sd" of the paper. KeyError for a row that is not there or not run.
    """

    def __init__(self, results, sheets):
        self.results, self.sheets, self._cells = results, sheets, {}
        for name, sheet in sheets.items():
            if sheet.command in reproduce.TABLES and sheet.command != "figure2":
                for options in sheet.options:
                    for cell in reproduce.TABLES[sheet.command](options):
                        self._cells[name, cell.name(options)] = sheet.command, cell, options

    def __call__(self, sheet, row, metric="as_published"):
        if metric in ("paper", "sd"):
            command, cell, _ = self._cells[sheet, row]
            return comparison.paper_number(command, cell)[metric == "sd"]
        return float(numpy.mean(self.seeds(sheet, row, metric)))

    def seeds(self, sheet, row, metric):
        """One value for each seed that has run."""
        _, cell, options = self._cells[sheet, row]
        part, name = ("train", "discrete_elbo") if metric == "train" else ("all", metric)
        done = [self.results[c.id] for c in cell.final(options, self.results) or [] if c.id in self.results]
        if not done:
            raise KeyError(f"{row} of {sheet} has not run")
        return [result["metrics"][part][name]["mean"] for result in done]

    def rows(self, *commands):
        """(sheet, row) of every published row of these tables."""
        return [key for key, (command, _, _) in self._cells.items() if command in commands]

    def seconds(self, sheet, row):
        """Of training: one value for each seed that has run."""
        _, cell, options = self._cells[sheet, row]
        done = [self.results[c.id] for c in cell.final(options, self.results) if c.id in self.results]
        return [result["seconds"]["training"] for result in done]

    def histories(self, sheet, row):
        """The learning curve of each seed that has run."""
        _, cell, options = self._cells[sheet, row]
        return [self.results[c.id]["history"] for c in cell.final(options, self.results) if c.id in self.results]

    def seed_hours(self, sheet):
        """Core hours of one seed of all of a sheet's final runs."""
        total = 0.0
        for (name, _), (_, cell, options) in self._cells.items():
            if name == sheet:
                done = [
                    self.results[c.id]["seconds"] for c in cell.final(options, self.results) if c.id in self.results
                ]
                total += numpy.mean([sum(seconds.values()) for seconds in done])
        return total / 3600

    def held_out(self, sheet, row, metric="discrete_elbo"):
        """{temperature, or K: the score of held-out images} of the runs that chose for a row."""
        _, cell, options = self._cells[sheet, row]
        runs = cell.selection(options)
        return {getattr(c, cell.choice): self.results[c.id]["metrics"]["all"][metric]["mean"] for c in runs}

    def gap(self, sheet, row, other, metric="as_published"):
        """How far the first row lies above the other."""
        return self(sheet, row, metric) - self(sheet, other, metric)

    def above_paper(self, sheet, row, metric="as_published"):
        return self(sheet, row, metric) - self(sheet, row, "paper")


def mistakes(text, statements, numbers):
    """[what is wrong] of `statements` in the page's `text`."""
    flat, wrong = " ".join(text.split()), []
    for statement in statements:
        pattern = NUMBER.join(re.escape(piece) for piece in statement.text.split("{}"))
        found = re.findall(pattern, flat)
        if len(found) != 1:
            wrong.append(f"{len(found)} times instead of once: {statement.text!r}")
            continue
        shown = (found[0],) if isinstance(found[0], str) else found[0]
        try:
            values = statement.values(numbers)
        except KeyError as error:
            wrong.append(f"{error.args[0]}, but the text says {statement.text!r}")
            continue
        if values is True or values is False or isinstance(values, numpy.bool_):
            if not values:
                wrong.append(f"not so: {statement.text!r}")
            continue
        values = [float(value) for value in numpy.atleast_1d(values)]
        if len(values) != len(shown):
            raise ValueError(f"{statement.text!r} has {len(shown)} numbers, its function gave {len(values)}")
        if not all(map(_rounds_to, values, shown)):
            got = ", ".join(f"{value:.4g}" for value in values)
            wrong.append(f"{statement.text!r} says {', '.join(shown)}; the results give {got}")
    return wrong


def _rounds_to(value, shown):
    digits = len(shown.partition(".")[2])
    return abs(value - float(shown.replace("−", "-"))) <= 0.5 * 10.0**-digits + TINY
