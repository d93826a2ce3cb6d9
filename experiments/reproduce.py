"""The commands table1 ... table6, figure1 ... figure8: plan, say the cost, run (`tables.comparison` shows)."""

from __future__ import annotations

import dataclasses
import math
import os

from . import cost, data, grid, grid_base, grid_mixture, grid_sop, sweep, tables
from .progress import clock
from .store import load_results

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


def cost_text(rows, wall, workers):
    """The estimate as a table, and a sentence."""
    cells = [(name, count, f"{seconds:.0f}", clock(count * seconds)) for name, count, seconds in rows]
    runs = sum(count for _, count, _ in rows)
    text = tables.text(("work", "runs", "seconds a run", "together"), cells) if cells else "nothing is missing"
    return f"{text}\n{runs} runs, about {clock(math.ceil(wall))} on {workers} processes of one thread"
