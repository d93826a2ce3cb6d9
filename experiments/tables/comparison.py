"""The paper's tables and figures from our results: a row for each of the paper's, its number beside ours."""

from __future__ import annotations

import numpy

from .. import grid, paper_numbers
from ..plan import MODELS, from_dict
from ..plan_mixture import STICKS
from ..progress import clock
from ..reproduce import FIGURES, TABLES
from . import below, number

TABLE_HEADER = (
    "data, architecture, model", "τ", "paper", "ours, as published", "ours, correct bound", "difference", "seeds",
    "epochs", "m", "core time",
)  # fmt: skip
BOTH_HEADER = (*TABLE_HEADER[:5], "ours, discrete ELBO", *TABLE_HEADER[5:])  # Table 5's rows are of several metrics
ELBO_HEADER = ("data, architecture, model", "τ", "paper", "ours", "difference", "seeds", "epochs", "m",
               "core time")  # fmt: skip


def _mean_sd(values):
    if not values:
        return None, None
    sd = float(numpy.std(values, ddof=1)) if len(values) > 1 else None
    return float(numpy.mean(values)), sd


def _cell_text(mean, sd):
    return number(mean) + (f" ± {number(sd)}" if sd is not None else "")


def _difference(mean, printed):
    """In the paper's standard deviations, with nats beside it."""
    if printed is None or mean is None:
        return "—"
    gap = mean - printed[0]
    return f"{number(gap, 1)} ({number(gap / printed[1], 1)} sd)" if printed[1] > 0 else number(gap, 1)


def paper_number(command, cell):
    """The paper's (mean, sd) for a row, or None."""
    if command == "table2":
        return paper_numbers.TABLE_2[cell.model.removesuffix("_as_published")] if cell.dataset == "mnist" else None
    if command == "table3":
        column = ("mnist", "omniglot").index(cell.dataset) if cell.dataset in ("mnist", "omniglot") else None
        return None if column is None else paper_numbers.TABLE_3[STICKS[cell.model]][column]
    if cell.prior_temperature is not None or cell.dataset not in paper_numbers.DATASETS:
        return None
    column = paper_numbers.DATASETS.index(cell.dataset)
    if command == "table1":
        return paper_numbers.TABLE_1[cell.architecture, cell.model, cell.estimator][column]
    if command == "table4" and cell.architecture == "linear":
        return paper_numbers.TABLE_4[cell.model, cell.estimator][column]
    if (cell.dataset, cell.architecture) != ("mnist", "nonlinear"):
        return None
    table = {"table5": paper_numbers.TABLE_5, "table6": paper_numbers.TABLE_6}.get(command, {})
    return table.get((cell.model, cell.estimator))


def _compared(command, cell):
    """The metric of ours that a row's printed number is one of, None where it is of something else (`below`).

    Table 5 prints a linear network's numbers for the rows with sticking the landing, and one-sample bounds for those
    with RELAX; for IGR-I with RELAX, in Tables 5 and 6, from a loss whose KL had the wrong sign.
    """
    if command in ("table5", "table6") and (cell.model, cell.estimator) == ("igr_i", "relax"):
        return None
    if command == "table5":
        return {"sl": None, "relax": "discrete_elbo"}.get(cell.estimator, "as_published")
    return {"table2": "loglik", "table4": "discrete_elbo", "table6": "discrete_elbo"}.get(command, "as_published")


def table(command, options, results):
    """(header, rows) of a table: a row for each cell, "missing" where runs are missing."""
    rows = []
    elbo = {
        "table2": ("all", "loglik"), "table4": ("train", "discrete_elbo"), "table6": ("all", "discrete_elbo"),
    }.get(command)  # fmt: skip
    header, symbol = TABLE_HEADER if elbo is None else ELBO_HEADER, "τ"
    shown = [elbo] if elbo else [("all", "as_published"), ("all", "loglik")]
    if command == "table5":
        header, shown = BOTH_HEADER, [*shown, ("all", "discrete_elbo")]
    for cell in TABLES[command](options):
        name, symbol, protocol = cell.name(options), cell.symbol, cell.protocol(options)
        printed = paper_number(command, cell)
        paper = _cell_text(*printed) if printed else "—"
        final = cell.final(options, results)
        done = [results[c.id] for c in final or [] if c.id in results]
        if not done:
            rows.append(
                (name, "missing", paper, *["missing"] * (len(shown) + 2), str(protocol.epochs), str(protocol.m), "—")
            )
            continue
        config = from_dict(done[0]["config"])
        if below.is_stand_in(done[0]):
            name += ", a stand-in"

        def values(part, metric, done=done):
            return [r["metrics"][part][metric]["mean"] for r in done if metric in r["metrics"][part]]

        metric = _compared(command, cell)
        scored = values("train" if command == "table4" else "all", metric) if metric else []
        gap = _difference(_mean_sd(scored)[0], printed)
        learned = {"relax": "learned", "uspgbl": "—"}.get(getattr(config, "estimator", None))
        choice = learned or f"{getattr(config, cell.choice):g}"
        samples = done[0]["metrics"].get("train", {}).get("samples") if command == "table4" else config.m
        tail = (
            f"{len(done)}/{len(protocol.seeds)}",
            str(config.epochs),
            "—" if samples is None else str(samples),
            _core_time(cell, options, results),
        )
        ours = [_cell_text(*_mean_sd(values(*metric))) for metric in shown]
        rows.append((name, choice, paper, *ours, gap, *tail))
    return tuple(symbol if head == "τ" else head for head in header), rows


def _core_time(cell, options, results):
    """What a row's runs took together, those that chose the temperature included."""
    runs = {c.id for c in cell.selection(options) + (cell.final(options, results) or [])} & results.keys()
    return clock(sum(sum(results[name].get("seconds", {}).values()) for name in runs))


def notes(command, options, results):
    """Lines below a table: the order of the models, what its columns are, what its data sets stand in for."""
    order = ordering(options, results) if command == "table1" else []
    return [*order, *below.TABLES.get(command, ()), *below.stand_ins(TABLES[command](options), options, results)]


def ordering(options, results):
    """The models in order of score, by either metric, a line for each data set, architecture and estimator."""
    best = {}
    for cell in grid.table_1(options):
        done = [results[c.id] for c in cell.final(options, results) or [] if c.id in results]
        if done and cell.prior_temperature is None:
            for metric in ("as_published", "loglik"):
                value = numpy.mean([r["metrics"]["all"][metric]["mean"] for r in done])
                best[cell.dataset, cell.architecture, cell.estimator, cell.model, metric] = value
    lines = []
    for d, a in sorted({key[:2] for key in best}):
        for metric, name in (("as_published", "published metric"), ("loglik", "correct bound")):
            for e in ("plain", "sl"):
                got = {m: best[d, a, e, m, metric] for m in MODELS if (d, a, e, m, metric) in best}
                if len(got) > 1:
                    order = " > ".join(MODELS[m] for m in sorted(got, key=got.get, reverse=True))
                    lines.append(f"{d} {a}{' + SL' if e == 'sl' else ''}, {name}: {order}")
    return lines


def figure(command, options, results, path, *more):
    """Draw from the first seed's results; lines of measures over all seeds. (None, lines) if a run is missing.

    more: Options of further groups of rows, for figure2.
    """
    if command == "figure2":
        from ..plots import figure2

        return figure2.draw(options, results, path, *more), []
    from ..plots import approximation

    configs = grid.figure_configs(FIGURES[command], options)
    if any(c.id not in results for c in configs):
        return None, [f"missing: {c.id}" for c in configs if c.id not in results]
    first = [results[c.id] for c in configs if c.seed == options.seeds[0]]
    lines = []
    for result in first:
        group = [results[c.id] for c in configs if c.label == from_dict(result["config"]).label]
        texts = []
        for key, name in (("total_variation", "total variation"), ("mean", "mean"), ("sd", "sd")):
            mean, sd = _mean_sd([r["metrics"]["final"][key] for r in group])
            texts.append(f"{name} {mean:.4g}" + (f" ± {sd:.2g}" if sd is not None else ""))
        seeds = f"{len(group)} seed{'s' if len(group) > 1 else ''}"
        lines.append(f"{from_dict(result['config']).label}: {', '.join(texts)} ({seeds})")
    return approximation.draw(first, path), lines
