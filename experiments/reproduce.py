"""The commands table1 ... table6 and figure1 ... figure8: plan, run (the cost: `estimates`; tables: `comparison`)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from . import data, grid, grid_base, grid_mixture, grid_sop, sweep
from .replicas import shared
from .run_folders import remove_done
from .state import require_same_data
from .store import load_results

TABLES = {"table1": grid.table_1, "table2": grid_sop.table_2, "table3": grid_mixture.table_3, "table4": grid.table_1,
          "figure2": grid.table_1, "table5": grid.table_5, "table6": grid.table_6}  # fmt: skip
FIGURES = {f"figure{n}": n for n in grid.FIGURES}
COMMANDS = (*TABLES, *FIGURES)
# What the command line may narrow of each command; Tables 2 and 3 have what their protocols have.
COMMON = {"datasets", "architectures", "models", "temperatures", "seeds", "epochs", "selection_epochs", "m",
          "learning_rate"}  # fmt: skip
TABLE_OPTIONS = {name: COMMON | {"estimators", "gs_prior_temperature"} for name in ("table1", "table4", "figure2")}
TABLE_OPTIONS |= {name: COMMON for name in ("table5", "table6")}
FIGURE_OPTIONS = {"seeds", "samples", "steps"}
AS_PUBLISHED = {f"figure{n}": {"figures_as_published"} for n, (_, fits) in grid.FIGURES.items() if fits[-1][0] == "gs"}
FLAGS = {"figures_as_published": "as_published"}  # where a flag is not the option's name
OWN_PROTOCOLS = {"table2": ("sop", grid_sop.KNOWN), "table3": ("mixture", grid_mixture.KNOWN)}


def narrowed(preset, **changes):
    """The preset's Options with what the command line gave. ValueError for an unknown preset, or a value twice."""
    if preset not in grid.PRESETS:
        raise ValueError(f"preset must be one of {', '.join(grid.PRESETS)}; got {preset!r}")
    given = {name: value for name, value in changes.items() if value is not None}
    for option, values in given.items():
        twice = [value for value in values if values.count(value) > 1] if isinstance(values, tuple) else []
        if twice:
            raise ValueError(f"--{option.replace('_', '-')} names {twice[0]} twice: runs of one config are one run")
    for name in given.get("datasets", ()):
        if name not in data.NAMES and not name.endswith(".npz"):
            raise ValueError(f"unknown data set {name!r}; known: {', '.join(data.NAMES)}, or the path of an .npz file")
    options = grid.PRESETS[preset]
    own = {part: grid_base.narrowed(getattr(options, part), given, known) for part, known in OWN_PROTOCOLS.values()}
    return dataclasses.replace(grid_base.narrowed(options, given, grid.KNOWN), **own)


def require_used(command, options, given):
    """ValueError where nothing is left of a table, or an option is given that the command would not look at."""
    given = {name: value for name, value in given.items() if value is not None}
    part, known = OWN_PROTOCOLS.get(command, (None, grid.KNOWN))
    if part:
        protocol = getattr(options, part)
        used = {name for name in given if name in known or getattr(protocol, name, ()) != ()}
    else:
        used = FIGURE_OPTIONS | AS_PUBLISHED.get(command, set()) if command in FIGURES else TABLE_OPTIONS[command]
    for name in given:
        if name not in used:
            raise ValueError(f"{command} has no option --{FLAGS.get(name, name).replace('_', '-')}")
        lost = [value for value in given[name] if value not in known[name]] if name in known else []
        if lost:
            raise ValueError(f"{command} has no {' or '.join(lost)} among its {name}: {', '.join(known[name])}")
    if command == "table3" and "components" in given and "dldpmm" not in options.mixture.models:
        raise ValueError("--components is for the model dldpmm, which --models leaves out")
    if command in ("table5", "table6") and len(given.get("datasets", ())) > 1:
        raise ValueError(f"{command} is of one data set, got {' '.join(given['datasets'])}")
    if "gs_prior_temperature" in given and "gs" not in options.models:
        raise ValueError("--gs-prior-temperature is for rows of the model gs, which --models leaves out")
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

    part: only the i/n of them that `places` says, whatever has been done before. replicas: as in `sweep.execute`.
    """
    failed, (i, n) = {}, sweep.shard_numbers(part or "1/1")
    while True:
        results = load_results(results_folder)
        configs = [config for command in commands for config in planned(command, options, results)]
        missing = sweep.pending(configs, results_folder)
        remove_done(runs_folder, {c.id for c in configs} - {c.id for c in missing}, results_folder)
        todo = [c for c in missing if c.id not in failed]
        if n > 1:
            place = places(commands, options, results, replicas != 1)
            ours = [c for c in todo if place[c.id] % n == i - 1]
            if len(todo) > len(ours) == 0:
                say(f"{len(todo)} runs of other shards are missing; what is chosen by them is run by a later call")
            todo = ours
        if not todo:
            return failed
        _require_same_images(configs, results, results_folder, execution.get("data_dir"))
        failed |= sweep.execute(todo, results_folder, runs_folder, say=say, replicas=replicas, **execution)


def _require_same_images(configs, results, folder, data_dir):
    """ValueError where results of a user's file, which would be counted as done, are of other images than it now holds;
    DataError where it cannot be read."""
    now = {}
    for config in configs:
        name = getattr(config, "dataset", "")
        if config.id in results and name.endswith(".npz"):
            if name not in now:
                now[name] = data.load(name, data_dir, progress=False)
            require_same_data(Path(folder) / f"{config.id}.json", results[config.id]["dataset"]["sha256"], now[name])


def places(commands, options, results, together=False):
    """{id: number} of all runs that the commands need: a run has the same number however much is done already, so that
    shards that begin at different times share out the whole. Runs that choose are numbered apart from final ones, which
    wait for them. together: all runs of a row have one number, as those that may be trained as one are among them.
    """
    numbers, rows, counts = {}, {}, {True: 0, False: 0}
    for config in upper_bound([(commands, options)], results):
        key = _row(config) if together else None
        if config.id in numbers:
            continue
        if key is not None:
            numbers[config.id] = rows.setdefault(key, len(rows))
            continue
        held_out = getattr(config, "validation", False)
        numbers[config.id] = counts[held_out]
        counts[held_out] += 1
    return numbers


def _row(config):
    """What the runs of a row have in common, those that choose and the final ones; None where no group is possible."""
    common = shared(config)
    if common is None:
        return None
    varied = dict.fromkeys(("validation", "epochs", "m", "monitor_every", "scored_images"))
    return tuple(sorted({**common.as_dict(), **varied}.items(), key=lambda item: item[0]))


def upper_bound(plans, results):
    """Every config that [(commands, options)] will need in all, in an order that results do not change."""
    configs = []
    for command, options in ((command, options) for commands, options in plans for command in commands):
        if command in FIGURES:
            configs += grid.figure_configs(FIGURES[command], options)
        else:
            configs += grid.cell_upper_bound(TABLES[command](options), options, results)
    return configs
