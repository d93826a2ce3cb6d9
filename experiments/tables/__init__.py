"""Tables: plain text for a terminal, Markdown for the README, both from the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy

FIGURES = Path(__file__).resolve().parents[2] / "figures"  # the committed pages, pictures and records


def text(header, rows):
    """Aligned columns: the first to the left, the others to the right."""
    cells = [list(map(str, header)), *(list(map(str, row)) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = []
    for row in cells:
        first, *rest = (c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        lines.append("  ".join([first, *rest]).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def markdown(header, rows, left=()):
    """A Markdown table: the first column, and those named in `left`, to the left, the others to the right."""
    rules = ["---" if i == 0 or name in left else "---:" for i, name in enumerate(header)]
    lines = ["| " + " | ".join(map(str, header)) + " |", "|" + "|".join(rules) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)


def number(value, digits=2):
    """-104.27, with a true minus sign; an em dash where there is no value."""
    return "—" if value is None else f"{value:.{digits}f}".replace("-", "−")


def mean_se(entry, digits=2):
    return f"{number(entry['mean'], digits)} ± {number(entry['se'], digits)}"


def mean_sd(values, digits=2):
    """Mean ± standard deviation over seeds; the mean alone where there is one."""
    sd = f" ± {number(float(numpy.std(values, ddof=1)), digits)}" if len(values) > 1 else ""
    return number(float(numpy.mean(values)), digits) + sd
