"""What the statements share: names of rows, and what is asked of several of them."""

from __future__ import annotations

import numpy

from ..tables.welch import border

IGR = ("IGR-I", "IGR-SB", "IGR-Planar")
LINEAR, DEEP, CLOTHES, STROKES = "mnist linear", "mnist nonlinear", "fmnist linear", "omniglot_strokes.npz linear"
SCRIPT = "mnist double_linear "  # of Table 2, before a model
PUBLISHED_PRIOR = " (prior τ 0.5)"
METRICS = ("as_published", "loglik", "discrete_elbo")


def welch_gap(a, b):
    """The gap at which Welch's test would tell two rows' seeds apart."""
    a, b = (numpy.asarray(x) for x in (a, b))
    return border(a.var(ddof=1) / len(a), len(a) - 1, b.var(ddof=1) / len(b), len(b) - 1)


def told(n, sheet, row, other, metric):
    """Whether Welch's test tells the seeds of two rows apart."""
    seeds = [n.seeds(sheet, name, metric) for name in (row, other)]
    return abs(n.gap(sheet, row, other, metric)) > welch_gap(*seeds)


def above(n, sheet, rows, metric="as_published"):
    """[how far each row lies above the paper's number]."""
    return [n.above_paper(sheet, row, metric) for row in rows]


def one(values, within):
    """Their mean, if they are so near to it; NaN, which no text says, if not."""
    return numpy.mean(values) if max(values) - min(values) < within else numpy.nan


def spread(values):
    return min(values), max(values)


def both(names, where):
    """The rows of some models, plain and with sticking the landing."""
    return [f"{where} {name}{sl}" for name in names for sl in ("", " + SL")]


def lead(n, sheet, row, others, metric):
    """How far a row lies above the best of others; negative if it does not."""
    return n(sheet, row, metric) - max(n(sheet, other, metric) for other in others)
