"""The commands table1 ... table6, figure1 ... figure8: plan, say the cost, run, show."""

from __future__ import annotations

import dataclasses
import math
import os

import numpy

from . import cost, data, grid, grid_base, grid_mixture, grid_sop, paper_numbers, sweep, tables
from .plan import MODELS, from_dict
from .plan_mixture import STICKS
from .progress import clock
from .store import load_results
from .tables import below, number

TABLES = {"table1": grid.table_1, "table2": grid_sop.table_2, "table3": grid_mixture.table_3, "table4": grid.table_1,
          "figure2": grid.table_1, "table5": grid.table_5, "table6": grid.table_6}  # fmt: skip
FIGURES = {f"figure{n}": n for n in grid.FIGURES}
COMMANDS = (*TABLES, *FIGURES)
OWN_PROTOCOLS = {"table2": ("sop", grid_sop.KNOWN), "table3": ("mixture", grid_mixture.KNOWN)}


def narrowed(preset, **changes):
    """The preset's Options with what the command line gave. ValueError for an unknown preset."""
    if preset not in grid.PRESETS:
        raise ValueError(f"preset must be one of {', '.join(grid.PRESETS)}; got {preset!r}")
    given = {name: value for name, value in changes.items() if value is not None}
    for name in given.get("datasets", ()):
        if name not in data.NAMES and not name.endswith(".npz"):
            raise ValueError(f"unknown data set {name!r}; known: {', '.join(data.NAMES)}, or the path of an .npz file")
    options = grid.PRESETS[preset]
    own = {part: grid_base.narrowed(getattr(options, part), given, known) for part, known in OWN_PROTOCOLS.values()}
    return dataclasses.replace(grid_base.narrowed(options, given, grid.KNOWN), **own)


def require_rows(command, options, given):
    """ValueError where nothing is left of a table, or Table 2 or 3 is given an option that it does not have."""
    part, known = OWN_PROTOCOLS.get(command, (None, grid.KNOWN))
    if part:
        protocol = getattr(options, part)
        for name in given:
            if given[name] is not None and name not in known and getattr(protocol, name, ()) == ():
                raise ValueError(f"{command} has no option --{name.replace('_', '-')}")
    if command in TABLES and not TABLES[command](options):
        allowed = "; ".join(f"{name}: {', '.join(values)}" for name, values in known.items())
        raise ValueError(f"nothing is left of {command} with these options; it has {allowed}")


def planned(command, options, results):
    """The configs that `command` needs, as far as the results allow to say."""
    if command in FIGURES:
        return grid.figure_configs(FIGURES[command], options)
    return grid.cell_configs(TABLES[command](options), options, results)


def run(commands, options, results_folder, runs_folder, say, part=None, replicas=1, **execution):
    """Run until nothing is missing that can be run. Returns {id: error} of the runs that failed.

    part: i/n of what is missing now, in units of groups. replicas: as in `sweep.execute`.
    """
    failed = {}
    while True:
        results = load_results(results_folder)
        configs = [config for command in commands for config in planned(command, options, results)]
        todo = [c for c in sweep.pending(configs, results_folder) if c.id not in failed]
        if part is not None:
            units = sweep.shard(sweep.units(todo, replicas, runs_folder), part)
            todo = [config for unit in units for config in unit.configs]
        if not todo:
            return failed
        failed |= sweep.execute(todo, results_folder, runs_folder, say=say, replicas=replicas, **execution)
        if part is not None:
            return failed


# ---- what it will cost ---------------------------------------------------------------------------------------------


def estimate(commands, options, results_folder, data_dir=None, workers=None):
    """(rows of (what, runs, seconds a run), wall seconds): from steps and scored images timed here and now."""
    return estimate_plans([(commands, options)], results_folder, data_dir, workers)


def estimate_plans(plans, results_folder, data_dir=None, workers=None):
    """The same for [(commands, options)], a run that several of them need counted once."""
    configs, results = [], load_results(results_folder)
    for command, options in ((command, options) for commands, options in plans for command in commands):
        if command in FIGURES:
            configs += grid.figure_configs(FIGURES[command], options)
        else:
            configs += grid.cell_upper_bound(TABLES[command](options), options, results)
    missing = sweep.pending(configs, results_folder)
    groups = {}
    for config in missing:
        groups.setdefault(_kind_of_work(config), []).append(config)
    rows = [(name, len(group), cost.run_seconds(group[0], data_dir)) for name, group in groups.items()]
    return rows, cost.wall_seconds(rows, workers or os.cpu_count() or 1)


def _kind_of_work(config):
    if config.kind == "approximation":
        return f"{config.label} ({config.target}, {config.steps} steps)"
    what = "K" if config.kind == "mixture" else "the temperature"
    held_out = f", choosing {what}" if config.validation else ""
    size = config.architecture if hasattr(config, "architecture") else f"K={config.n_components}"
    samples = f", S = {config.n_samples}" if getattr(config, "n_samples", 1) > 1 else ""
    return f"{config.dataset} {size} {config.label}{samples}{held_out}"


# ---- what came out -------------------------------------------------------------------------------------------------

TABLE_HEADER = (
    "data, architecture, model", "τ", "paper", "ours, as published", "ours, correct bound", "difference", "seeds",
    "epochs", "m", "core time",
)  # fmt: skip
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


def _printed(command, cell):
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
    table = {"table5": paper_numbers.TABLE_5, "table6": paper_numbers.TABLE_6}.get(command, {})
    return table.get((cell.model, cell.estimator))


def table(command, options, results):
    """(header, rows) of a table: a row for each cell, "missing" where runs are missing."""
    rows = []
    elbo = {
        "table2": ("all", "loglik"), "table4": ("train", "discrete_elbo"), "table6": ("all", "discrete_elbo"),
    }.get(command)  # fmt: skip
    header, symbol = TABLE_HEADER if elbo is None else ELBO_HEADER, "τ"
    for cell in TABLES[command](options):
        name, symbol, protocol = cell.name(options), cell.symbol, cell.protocol(options)
        printed = _printed(command, cell)
        paper = _cell_text(*printed) if printed else "—"
        final = cell.final(options, results)
        done = [results[c.id] for c in final or [] if c.id in results]
        if not done:
            missing = 4 if elbo is None else 3
            rows.append((name, "missing", paper, *["missing"] * missing, str(protocol.epochs), str(protocol.m), "—"))
            continue
        config = from_dict(done[0]["config"])
        if below.is_stand_in(done[0]):
            name += ", a stand-in"

        def values(part, metric, done=done):
            return [r["metrics"][part][metric]["mean"] for r in done if metric in r["metrics"][part]]

        choice = f"{getattr(config, cell.choice):g}"
        tail = (
            f"{len(done)}/{len(protocol.seeds)}",
            str(config.epochs),
            str(config.m),
            _core_time(cell, options, results),
        )
        if elbo:
            mean, sd = _mean_sd(values(*elbo))
            rows.append((name, choice, paper, _cell_text(mean, sd), _difference(mean, printed), *tail))
        else:
            published, correct = _mean_sd(values("all", "as_published")), _mean_sd(values("all", "loglik"))
            cells = (_cell_text(*published), _cell_text(*correct), _difference(published[0], printed))
            rows.append((name, choice, paper, *cells, *tail))
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
        from .plots import figure2

        return figure2.draw(options, results, path, *more), []
    from .plots import approximation

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


def cost_text(rows, wall, workers):
    """The estimate as a table, and a sentence."""
    cells = [(name, count, f"{seconds:.0f}", clock(count * seconds)) for name, count, seconds in rows]
    runs = sum(count for _, count, _ in rows)
    text = tables.text(("work", "runs", "seconds a run", "together"), cells) if cells else "nothing is missing"
    return f"{text}\n{runs} runs, about {clock(math.ceil(wall))} on {workers} processes of one thread"
