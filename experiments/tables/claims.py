"""Which of the paper's claims hold in our runs: each claim, where it was tested, the numbers, and what they say.

A comparison "a > b" over seeds is taken to hold if the means differ by more than twice the standard error of their
difference, "reversed" if they differ so the other way, and "not told apart" between the two; with one seed a side the
seeds' spread is unknown, so the sign alone is given and said to be of one seed.
"""

from __future__ import annotations

import numpy

from .. import grid, reproduce
from ..plan import MODELS
from . import number

HEADER = ("claim of the paper", "where", "metric", "numbers", "seeds", "in our runs")
LEFT = ("where", "metric", "numbers", "in our runs")  # text
METRICS = {"as_published": "as published", "loglik": "correct bound", "discrete_elbo": "discrete ELBO"}


def compare(a, b):
    """(text, seeds, verdict) of mean(a) > mean(b), lists of one value a seed."""
    a, b = numpy.asarray(a, float), numpy.asarray(b, float)
    gap = a.mean() - b.mean()
    text = f"{number(a.mean())} against {number(b.mean())}"
    seeds = f"{len(a)}" if len(a) == len(b) else f"{len(a)} against {len(b)}"
    if len(a) < 2 or len(b) < 2:
        return text, seeds, f"{'holds' if gap > 0 else 'reversed'} (one seed)"
    error = (a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)) ** 0.5
    if abs(gap) <= 2 * error:
        return text, seeds, "not told apart"
    return text, seeds, "holds" if gap > 0 else "reversed"


def rows(sheets, results):
    """The table of claims from the published sheets."""
    scores = _scores(sheets, results)
    return [*_igr_beats_gs(scores), *_sl_beats_plain(scores), *_relax(sheets, results), *_support(sheets, results)]


def _cells(sheets, results, command):
    for sheet in sheets.values():
        if sheet.command == command:
            for options in sheet.options:
                for cell in reproduce.TABLES[command](options):
                    done = [results[c.id] for c in cell.final(options, results) or [] if c.id in results]
                    if done:
                        yield cell, done


def _scores(sheets, results):
    """{(data set, architecture, estimator): {(model, prior temperature): {metric: [a value a seed]}}} of Table 1."""
    scores = {}
    for cell, done in _cells(sheets, results, "table1"):
        values = {metric: [r["metrics"]["all"][metric]["mean"] for r in done] for metric in METRICS}
        where = scores.setdefault((cell.dataset, cell.architecture, cell.estimator), {})
        where[cell.model, cell.prior_temperature] = values
    return scores


def _place(where):
    dataset, architecture, estimator = where
    return f"{dataset} {architecture}{' + SL' if estimator == 'sl' else ''}"


def _igr_beats_gs(scores):
    for where, models in sorted(scores.items()):
        igr = {model: values for (model, _), values in models.items() if model != "gs"}
        for (model, prior), against in models.items():
            if model != "gs" or not igr:
                continue
            name = f"GS{f' (prior τ {prior:g})' if prior else ''}"
            for metric, label in METRICS.items():
                best = max(igr, key=lambda m, metric=metric: numpy.mean(igr[m][metric]))
                text, *rest = compare(igr[best][metric], against[metric])
                yield f"IGR beats {name}", _place(where), label, f"{MODELS[best]} {text}", *rest


def _sl_beats_plain(scores):
    for (dataset, architecture, estimator), models in sorted(scores.items()):
        plain = scores.get((dataset, architecture, "plain"), {})
        if estimator != "sl":
            continue
        for key in [key for key in models if key in plain]:
            name = MODELS[key[0]] + (f" (prior τ {key[1]:g})" if key[1] else "")
            for metric in ("as_published", "loglik"):
                where = f"{dataset} {architecture} {name}"
                yield "SL beats plain", where, METRICS[metric], *compare(models[key][metric], plain[key][metric])


def _relax(sheets, results):
    for command, metric in (("table5", "loglik"), ("table6", "discrete_elbo")):
        found = {}
        for cell, done in _cells(sheets, results, command):
            key = cell.dataset, cell.architecture, cell.model, cell.estimator
            found[key] = [r["metrics"]["all"][metric]["mean"] for r in done]
        for (dataset, architecture, model, estimator), values in found.items():
            plain = found.get((dataset, architecture, model, "plain"))
            if estimator == "relax" and plain:
                where = f"{command}: {dataset} {architecture} {MODELS[model]}"
                yield "RELAX helps", where, METRICS[metric], *compare(values, plain)
            if (model, estimator) == ("igr_i", "relax"):
                others = {k: v for k, v in found.items() if k[:2] == (dataset, architecture) and k[2] == "gs"}
                if others:
                    best = max(others, key=lambda k: numpy.mean(others[k]))
                    where = f"{command}: {dataset} {architecture}, against GS + {best[3].upper()}"
                    yield "IGR-I + RELAX is best", where, METRICS[metric], *compare(values, others[best])


def _support(sheets, results):
    """IGR-SB against Gumbel-Softmax with K = 20, 40, 100 categories, on laws of infinite support."""
    for name, sheet in sheets.items():
        number_of = reproduce.FIGURES.get(sheet.command)
        if number_of is None or sheet.options[0].figures_as_published:
            continue
        target = grid.FIGURES[number_of][0]
        gs = [c for c in grid.figure_configs(number_of, sheet.options[0]) if c.model == "gs" and c.id in results]
        sb = [c for n in (1, 7) for c in grid.figure_configs(n, sheet.options[0])]
        sb = [c for c in sb if c.target == target and c.model == "igr_sb_infinite" and c.id in results]
        for k in sorted({c.n_categories for c in gs}) if sb else ():
            tv = [[-results[c.id]["metrics"]["final"]["total_variation"] for c in group]
                  for group in (sb, [c for c in gs if c.n_categories == k])]  # fmt: skip
            _, *rest = compare(*tv)
            text = " against ".join(f"{-numpy.mean(values):.4f}" for values in tv)
            yield "IGR-SB fits infinite support better", f"{name}, GS K={k}", "total variation", text, *rest
