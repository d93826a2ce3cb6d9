"""The record of what was checked, against which oracle, and the largest error seen: printed at the end of a test run,
and the source of EQUATIONS.md."""

from __future__ import annotations

from dataclasses import dataclass, field

ENTRIES: dict[tuple[str, str, str], Entry] = {}


@dataclass
class Entry:
    configurations: int = 0
    largest: float = 0.0
    unit: str = ""
    tests: set = field(default_factory=set)


def record(equation, function, oracle, error, unit="norm-relative", configurations=1, test=""):
    """One comparison, or several at once: `error` is the largest among them.

    equation: the paper's number or the algorithm's name, e.g. "eq. 15"; function: dotted name below igr_ref.
    """
    entry = ENTRIES.setdefault((equation, function, oracle), Entry())
    entry.configurations += configurations
    entry.largest = max(entry.largest, float(error))
    entry.unit = unit
    if test:
        entry.tests.add(test)


def exported():
    """The entries as plain lists, which pytest-xdist can carry between processes."""
    return [[*key, e.configurations, e.largest, e.unit] for key, e in ENTRIES.items()]


def merge(rows):
    """Take over what another process exported."""
    for equation, function, oracle, configurations, largest, unit in rows:
        record(equation, function, oracle, largest, unit, configurations)


def table():
    """Lines of a plain-text table, sorted by equation."""
    rows = [("equation", "function", "oracle", "configs", "largest error")]
    for (equation, function, oracle), entry in sorted(ENTRIES.items(), key=lambda item: _order(item[0])):
        rows.append((equation, function, oracle, str(entry.configurations), f"{entry.largest:.1e} {entry.unit}"))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _order(key):
    equation, function, oracle = key
    digits = "".join(c if c.isdigit() else " " for c in equation).split()
    return (0 if equation.startswith("eq") else 1, int(digits[0]) if digits else 0, equation, function, oracle)
