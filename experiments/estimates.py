"""What the missing runs of tables and figures will cost, before they start."""

from __future__ import annotations

import math
import os
from pathlib import Path

from . import cost, sweep, tables
from .progress import clock
from .reproduce import upper_bound
from .store import load_meta, load_results


def estimate(commands, options, results_folder, data_dir=None, workers=None):
    """(rows of (what, runs, seconds a run), wall seconds): from steps and scored images timed here and now."""
    return estimate_plans([(commands, options)], results_folder, data_dir, workers)


def estimate_plans(plans, results_folder, data_dir=None, workers=None):
    """The same for [(commands, options)], a run that several of them need counted once."""
    missing = sweep.pending(upper_bound(plans, load_results(results_folder)), results_folder)
    groups = {}
    for config in missing:
        groups.setdefault(_kind_of_work(config), []).append(config)
    rows = [(name, len(group), cost.run_seconds(group[0], data_dir)) for name, group in groups.items()]
    return rows, cost.wall_seconds(rows, workers or os.cpu_count() or 1)


def begun(plans, results_folder, runs_folder):
    """(how many of the missing runs have a checkpoint, of their own or of a group, seconds that they have trained)."""
    missing = sweep.pending(upper_bound(plans, load_results(results_folder)), results_folder)
    ids, count, seconds = {c.id for c in missing}, 0, 0.0
    for unit in sweep.units(missing, 1, runs_folder):
        path = Path(runs_folder) / (unit.group or unit.configs[0].id) / "checkpoint.npz"
        if path.exists():
            asked = sum(c.id in ids for c in unit.configs)
            count += asked
            seconds += load_meta(path)["seconds"] * asked / len(unit.configs)
    return count, seconds


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
