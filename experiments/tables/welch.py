"""What the claims share: Welch's test of two rows, and rows with their results and the paper's numbers."""

from __future__ import annotations

import dataclasses

import numpy
import scipy.stats

from .. import reproduce
from . import comparison, number

METRICS = {
    "as_published": "as published", "loglik": "correct bound", "discrete_elbo": "discrete ELBO",
    "continuous_elbo": "continuous ELBO", "train": "discrete ELBO, training images",
}  # fmt: skip
LEVEL = 0.05  # of Welch's test
CLOSE = 2.0  # nats: gaps of single seeds below it say nothing, as another seed may move a row by as much


def compare(a, b, printed=(None, None), close=CLOSE):
    """(text, the paper's text, seeds, verdict) of mean(a) > mean(b), lists of one value a seed.

    printed: what the paper prints for each, (mean, standard deviation) or None. close: gaps of single seeds below it
    are not judged.
    """
    paper = "—" if None in printed else " against ".join(number(mean) for mean, _ in printed)
    a, b = numpy.asarray(a, float), numpy.asarray(b, float)
    gap = a.mean() - b.mean()
    text = f"{number(a.mean())} against {number(b.mean())}", paper
    seeds = f"{len(a)}" if len(a) == len(b) else f"{len(a)} against {len(b)}"
    if len(a) < 2 or len(b) < 2:
        way = "too close to say" if abs(gap) < close else "as claimed" if gap > 0 else "the other way"
        return *text, seeds, f"{way} (one seed, not tested)"
    if abs(gap) <= border(a.var(ddof=1) / len(a), len(a) - 1, b.var(ddof=1) / len(b), len(b) - 1):
        return *text, seeds, "not told apart"
    return *text, seeds, "holds" if gap > 0 else "reversed"


def border(u, m, v, n):
    """The gap at which Welch's test tells two means apart, of variances u and v with m and n degrees of freedom."""
    if u + v == 0:
        return 0.0
    freedom = (u + v) ** 2 / (u**2 / m + v**2 / n)
    return (u + v) ** 0.5 * scipy.stats.t.ppf(1 - LEVEL / 2, freedom)


def done_cells(sheets, results, command):
    """(cell, its results) of every published row of a table that has run."""
    for sheet in sheets.values():
        if sheet.command == command:
            for options in sheet.options:
                for cell in reproduce.TABLES[command](options):
                    done = [results[c.id] for c in cell.final(options, results) or [] if c.id in results]
                    if done:
                        yield cell, done


def printed_number(command, cell):
    """The paper's number for a row; for Gumbel-Softmax whatever the prior's temperature, of which the paper has one."""
    if getattr(cell, "prior_temperature", None) is not None:
        cell = dataclasses.replace(cell, prior_temperature=None)
    return comparison.paper_number(command, cell)


def best_of(models, metric):
    """The model of the highest mean among {model: {metric: values}}."""
    return max((m for m in models if metric in models[m]), key=lambda m: numpy.mean(models[m][metric]))
