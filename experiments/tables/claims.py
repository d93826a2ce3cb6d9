"""Which of the paper's claims hold in our runs: each claim, where it was tested, the numbers, and what they say.

A comparison "a > b" over seeds is taken to hold if Welch's test tells the means apart at the level of 5 %, "reversed"
if they differ so the other way, and "not told apart" between the two. With one seed a side the seeds' spread is
unknown: which way the numbers lie is said, and that it is not tested. What is compared is fixed beforehand: IGR-I
stands for IGR, since the best of several models, chosen by the score that is compared, would win too often.
"""

from __future__ import annotations

import dataclasses

import numpy
import scipy.stats

from .. import grid, reproduce
from ..plan import MODELS, from_dict
from . import comparison, number

HEADER = ("claim of the paper", "where", "metric", "numbers", "the paper prints", "seeds", "in our runs")
LEFT = ("where", "metric", "numbers", "the paper prints", "in our runs")  # text
METRICS = {
    "as_published": "as published", "loglik": "correct bound", "discrete_elbo": "discrete ELBO",
    "train": "discrete ELBO, training images",
}  # fmt: skip
LEVEL = 0.05  # of Welch's test
MARGIN = 1.0  # nats: less than that is "no worse"


def compare(a, b, printed=(None, None)):
    """(text, the paper's text, seeds, verdict) of mean(a) > mean(b), lists of one value a seed.

    printed: what the paper prints for each, (mean, standard deviation) or None.
    """
    paper = "—" if None in printed else " against ".join(number(mean) for mean, _ in printed)
    a, b = numpy.asarray(a, float), numpy.asarray(b, float)
    gap = a.mean() - b.mean()
    text = f"{number(a.mean())} against {number(b.mean())}", paper
    seeds = f"{len(a)}" if len(a) == len(b) else f"{len(a)} against {len(b)}"
    if len(a) < 2 or len(b) < 2:
        return *text, seeds, f"{'as claimed' if gap > 0 else 'the other way'} (one seed, not tested)"
    if abs(gap) <= border(a.var(ddof=1) / len(a), len(a) - 1, b.var(ddof=1) / len(b), len(b) - 1):
        return *text, seeds, "not told apart"
    return *text, seeds, "holds" if gap > 0 else "reversed"


def border(u, m, v, n):
    """The gap at which Welch's test tells two means apart, of variances u and v with m and n degrees of freedom."""
    if u + v == 0:
        return 0.0
    freedom = (u + v) ** 2 / (u**2 / m + v**2 / n)
    return (u + v) ** 0.5 * scipy.stats.t.ppf(1 - LEVEL / 2, freedom)


def rows(sheets, results):
    """The table of claims from the published sheets."""
    scores = _scores(sheets, results)
    return [
        *_igr_beats_gs(scores), *_sl_beats_plain(scores), *_sticks(scores), *_structured(sheets, results),
        *_mixtures(sheets, results), *_relax(sheets, results), *_support(sheets, results),
    ]  # fmt: skip


def _cells(sheets, results, command):
    for sheet in sheets.values():
        if sheet.command == command:
            for options in sheet.options:
                for cell in reproduce.TABLES[command](options):
                    done = [results[c.id] for c in cell.final(options, results) or [] if c.id in results]
                    if done:
                        yield cell, done


def _printed(command, cell):
    """The paper's number for a row; for Gumbel-Softmax whatever the prior's temperature, of which the paper has one."""
    if getattr(cell, "prior_temperature", None) is not None:
        cell = dataclasses.replace(cell, prior_temperature=None)
    return comparison.paper_number(command, cell)


def _scores(sheets, results):
    """{(data set, architecture, estimator): {(model, prior temperature): {metric: [a value a seed]}}} of Table 1.

    With "temperature", the chosen one, and "images", the number of training images of "train". A row with a prior
    temperature that is the chosen one is left out: its prior is no other than that of the row without.
    """
    scores = {}
    for cell, done in _cells(sheets, results, "table1"):
        temperature = from_dict(done[0]["config"]).temperature
        if cell.prior_temperature == temperature:
            continue
        values = {m: [r["metrics"]["all"][m]["mean"] for r in done] for m in METRICS if m != "train"}
        trained = [r["metrics"]["train"] for r in done if "train" in r["metrics"]]
        if trained:
            values |= {"train": [t["discrete_elbo"]["mean"] for t in trained], "images": trained[0]["images"]}
        values |= {"temperature": temperature, "printed": _printed("table1", cell), "table4": _printed("table4", cell)}
        where = scores.setdefault((cell.dataset, cell.architecture, cell.estimator), {})
        where[cell.model, cell.prior_temperature] = values
    return scores


def _place(where):
    dataset, architecture, estimator = where
    return f"{dataset} {architecture}{' + SL' if estimator == 'sl' else ''}"


def _named(model, prior):
    return MODELS[model] + (f" (prior τ {prior:g})" if prior else "")


def _igr_beats_gs(scores):
    for where, models in sorted(scores.items()):
        igr = models.get(("igr_i", None))
        for (model, prior), against in models.items():
            if model != "gs" or not igr:
                continue
            for metric in ("as_published", "loglik", "discrete_elbo"):
                numbers = compare(igr[metric], against[metric], (igr["printed"], against["printed"]))
                yield f"IGR-I beats {_named(model, prior)}", _place(where), METRICS[metric], *numbers


def _best(models, metric):
    """The model of the highest mean among {model: {metric: values}}."""
    return max((m for m in models if metric in models[m]), key=lambda m: numpy.mean(models[m][metric]))


def _sticks(scores):
    """Table 4's order: IGR-SB before the best of the rest."""
    for where, models in sorted(scores.items()):
        sb = models.get(("igr_sb", None), {})
        rest = {_named(*key): v for key, v in models.items() if key[0] != "igr_sb"}
        rest = {name: v for name, v in rest.items() if "images" in v and v["images"] == sb.get("images")}
        if rest:
            best = _best(rest, "train")
            place, printed = f"{_place(where)}, against {best}", (sb["table4"], rest[best]["table4"])
            numbers = compare(sb["train"], rest[best]["train"], printed)
            yield "IGR-SB has the best discrete ELBO", place, METRICS["train"], *numbers


def _structured(sheets, results):
    """Table 2: IGR-I against Gumbel-Softmax, and IGR-SB against the best of the rest."""
    found = {}
    for cell, done in _cells(sheets, results, "table2"):
        where = found.setdefault(f"table2: {cell.dataset} {cell.architecture}", {})
        values = [r["metrics"]["all"]["loglik"]["mean"] for r in done]
        where[cell.model] = {"loglik": values, "printed": _printed("table2", cell)}

    def compared(a, b):
        return METRICS["loglik"], *compare(a["loglik"], b["loglik"], (a["printed"], b["printed"]))

    for where, models in found.items():
        if {"igr_i", "gs"} <= models.keys():
            yield "IGR-I beats GS", where, *compared(models["igr_i"], models["gs"])
        others = {m: v for m, v in models.items() if m != "igr_sb"}
        if others and "igr_sb" in models:
            best = _best(others, "loglik")
            yield "IGR-SB is best", f"{where}, against {MODELS[best]}", *compared(models["igr_sb"], models[best])


def _mixtures(sheets, results):
    """Table 3: logit-normal sticks against Kumaraswamy ones."""
    found = {}
    for cell, done in _cells(sheets, results, "table3"):
        values = [r["metrics"]["all"]["loglik"]["mean"] for r in done]
        found.setdefault(f"table3: {cell.dataset}", {})[cell.model] = values, _printed("table3", cell)
    for where, models in found.items():
        if {"igr_sb_mm", "dldpmm"} <= models.keys():
            (ours, printed), (theirs, other) = models["igr_sb_mm"], models["dldpmm"]
            text, *_ = compare(ours, theirs)
            _, *rest = compare([value + MARGIN for value in ours], theirs, (printed, other))
            claim = f"IGR-SB-MM is no worse than DLDPMM, by {MARGIN:g} nat or more"
            yield claim, where, "correct bound", text, *rest


def _sl_beats_plain(scores):
    for (dataset, architecture, estimator), models in sorted(scores.items()):
        plain = scores.get((dataset, architecture, "plain"), {})
        if estimator != "sl":
            continue
        for key in [key for key in models if key in plain]:
            where = f"{dataset} {architecture} {_named(*key)}"
            ours, theirs = models[key]["temperature"], plain[key]["temperature"]
            where += f", τ {ours:g} against {theirs:g}" if ours != theirs else ""
            printed = models[key]["printed"], plain[key]["printed"]
            for metric in ("as_published", "loglik"):
                numbers = compare(models[key][metric], plain[key][metric], printed)
                yield "SL beats plain", where, METRICS[metric], *numbers


def _relax(sheets, results):
    """RELAX against the same model without, and IGR-I with RELAX against the best of all other rows."""
    for command, metric in (("table5", "loglik"), ("table6", "discrete_elbo")):
        found, labels, printed = {}, {}, {}
        for cell, done in _cells(sheets, results, command):
            key = cell.dataset, cell.architecture, cell.model, cell.estimator
            found[key] = [r["metrics"]["all"][metric]["mean"] for r in done]
            labels[key], printed[key] = from_dict(done[0]["config"]).label, _printed(command, cell)
        for mine in found:
            dataset, architecture, model, estimator = mine
            plain = (*mine[:3], "plain")
            if estimator == "relax" and plain in found:
                where = f"{command}: {dataset} {architecture} {MODELS[model]}"
                numbers = compare(found[mine], found[plain], (printed[mine], printed[plain]))
                yield "RELAX helps", where, METRICS[metric], *numbers
            others = [k for k in found if k[:2] == mine[:2] and k != mine]
            if (model, estimator) == ("igr_i", "relax") and others:
                best = max(others, key=lambda k: numpy.mean(found[k]))
                where = f"{command}: {dataset} {architecture}, against {labels[best]}"
                numbers = compare(found[mine], found[best], (printed[mine], printed[best]))
                yield "IGR-I + RELAX is best", where, METRICS[metric], *numbers


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
