"""Claims of Tables 2, 3, 5 and 6 and of infinite support (`claims`)."""

from __future__ import annotations

import numpy

from .. import grid, reproduce
from ..plan import MODELS, from_dict
from ..store import read_json
from . import FIGURES
from .welch import METRICS, best_of, compare, done_cells, printed_number

MARGIN = 1.0  # nats: less than that is "not worse"
UNTRAINED = 0.5  # nats: a row so near to the best constant pixel model has learned nothing
AUDIT = FIGURES / "audit.json"


def constant_pixels(dataset, path=AUDIT):
    """The best constant pixel model's score of lower halves of test images, from the audit's record; None if absent."""
    measures = {m["label"]: m["value"] for f in read_json(path)["findings"] for m in f["measures"]}
    return measures.get(f"best constant pixel model, lower half of {dataset} test images")


def structured(sheets, results):
    """Table 2: IGR-I against Gumbel-Softmax, and IGR-SB against the best of the rest."""
    found = {}
    for cell, done in done_cells(sheets, results, "table2"):
        where = found.setdefault(f"table2: {cell.dataset} {cell.architecture}", {})
        values = [r["metrics"]["all"]["loglik"]["mean"] for r in done]
        where[cell.model] = {"loglik": values, "printed": printed_number("table2", cell), "data": cell.dataset}

    def compared(models, a, b):
        pair = {name: models[name] for name in (a, b)}
        numbers = compare(*(row["loglik"] for row in pair.values()), tuple(row["printed"] for row in pair.values()))
        for name, row in pair.items():
            constant = constant_pixels(row["data"])
            if constant is not None and abs(numpy.mean(row["loglik"]) - constant) < UNTRAINED:
                numbers = (*numbers[:-1], f"{MODELS[name]} did not train")
        return METRICS["loglik"], *numbers

    for where, models in found.items():
        if {"igr_i", "gs"} <= models.keys():
            yield "IGR-I beats GS", where, *compared(models, "igr_i", "gs")
        others = {m: v for m, v in models.items() if m != "igr_sb"}
        if others and "igr_sb" in models:
            best = best_of(others, "loglik")
            yield "IGR-SB is best", f"{where}, against {MODELS[best]}", *compared(models, "igr_sb", best)


def mixtures(sheets, results):
    """Table 3: logit-normal sticks against Kumaraswamy ones."""
    found = {}
    for cell, done in done_cells(sheets, results, "table3"):
        values = [r["metrics"]["all"]["loglik"]["mean"] for r in done]
        found.setdefault(f"table3: {cell.dataset}", {})[cell.model] = values, printed_number("table3", cell)
    for where, models in found.items():
        if {"igr_sb_mm", "dldpmm"} <= models.keys():
            (ours, printed), (theirs, other) = models["igr_sb_mm"], models["dldpmm"]
            text, *_ = compare(ours, theirs)
            _, *rest = compare([value + MARGIN for value in ours], theirs, (printed, other))
            claim = f"IGR-SB-MM is not worse than DLDPMM by {MARGIN:g} nat or more"
            yield claim, where, "correct bound", text, *rest


def relax(sheets, results):
    """RELAX against the same model without, and IGR-I with RELAX against the best of all other rows."""
    for command, metric in (("table5", "loglik"), ("table6", "discrete_elbo")):
        found, labels, printed = {}, {}, {}
        for cell, done in done_cells(sheets, results, command):
            key = cell.dataset, cell.architecture, cell.model, cell.estimator
            found[key] = [r["metrics"]["all"][metric]["mean"] for r in done]
            labels[key], printed[key] = from_dict(done[0]["config"]).label, printed_number(command, cell)
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


def support(sheets, results):
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
            _, *rest = compare(*tv, close=0)  # no nats
            text = " against ".join(f"{-numpy.mean(values):.4f}" for values in tv)
            yield "IGR-SB fits infinite support better", f"{name}, GS K={k}", "total variation", text, *rest
