"""The commands table1 ... table6, figure1 ... figure8, all, and published."""

from __future__ import annotations

import sys
from pathlib import Path

from .. import grid, published, reproduce, tables
from ..report import RESULTS
from ..store import load_results
from ..tables import comparison
from .execution import add_execution, positive, print_estimate, run_missing, say_failed


def add(command):
    """Add a command for each table and figure, and all."""
    for name in reproduce.COMMANDS:
        add_reproduction(command(name, reproduce_command, f"Run and show the paper's {name[:-1]} {name[-1]}."))
    add_reproduction(command("all", reproduce_command, "Every table and figure, one after the other."))


def add_published(command):
    """Add published."""
    ours = command("published", published_command, "Run what is missing of the results that this project publishes.")
    ours.add_argument("sheets", nargs="*", help=f"which (default: all): {', '.join(published.SHEETS)}")
    ours.add_argument("--results", type=Path, default=RESULTS, help="folder of results (default: experiments/results)")
    add_execution(ours)


def add_reproduction(sub):
    """The options that all tables and figures share."""
    sub.add_argument("--preset", default="smoke", help=f"{', '.join(grid.PRESETS)} (default %(default)s)")
    many = {"nargs": "+", "default": None}
    sub.add_argument("--datasets", **many, help="only these data sets")
    sub.add_argument("--architectures", **many, choices=_known("architectures"))
    sub.add_argument("--models", **many, choices=_known("models"))
    sub.add_argument("--estimators", **many, choices=_known("estimators"))
    sub.add_argument("--temperatures", **many, type=float, help="one value skips the selection")
    sub.add_argument("--components", **many, type=int, help="table3: DLDPMM's K; one value skips the selection")
    sub.add_argument("--seeds", **many, type=int)
    for name in ("epochs", "selection_epochs", "m", "samples", "steps"):
        sub.add_argument("--" + name.replace("_", "-"), type=positive)
    sub.add_argument("--learning-rate", type=float)
    sub.add_argument("--gs-prior-temperature", type=float, help="adds Gumbel-Softmax rows with this prior temperature")
    sub.add_argument("--as-published", dest="figures_as_published", action="store_true", default=None,
                     help="figures 1, 4, 6, 8: Gumbel-Softmax by the published code's 200 steps on a KL")  # fmt: skip
    sub.add_argument(
        "--figures", type=Path, default=Path("runs/figures"), help="folder for the pictures (default %(default)s)"
    )
    sub.add_argument(
        "--results", type=Path, default=Path("runs/results"), help="folder of results (default %(default)s)"
    )
    add_execution(sub)


def _known(name):
    """What any table has of models, architectures or estimators."""
    parts = (grid.KNOWN, *(known for _, known in reproduce.OWN_PROTOCOLS.values()))
    return tuple(dict.fromkeys(value for known in parts for value in known.get(name, ())))


def reproduce_command(args):
    tuples = ("datasets", "architectures", "models", "estimators", "temperatures", "components", "seeds")
    values = ("epochs", "selection_epochs", "m", "samples", "steps", "learning_rate", "gs_prior_temperature",
              "figures_as_published")  # fmt: skip
    changes = {name: tuple(getattr(args, name)) for name in tuples if getattr(args, name)}
    changes |= {name: getattr(args, name) for name in values}
    options = reproduce.narrowed(args.preset, **changes)
    commands = reproduce.COMMANDS if args.command == "all" else (args.command,)
    if args.command != "all":
        reproduce.require_used(args.command, options, changes)
    if args.estimate:
        return print_estimate(args, [(commands, options)])
    failed = run_missing(args, commands, options)
    results = load_results(args.results)
    for name in commands:
        print(f"\n{name}")
        if name in reproduce.TABLES and name != "figure2":
            print(tables.text(*comparison.table(name, options, results)))
            print("\n".join(comparison.notes(name, options, results)))
            continue
        drawn, lines = comparison.figure(name, options, results, args.figures / f"{name}.png")
        print("\n".join([*lines, f"{drawn} written" if drawn else "runs are missing: no figure"]))
    return say_failed(failed)


def published_command(args):
    sheets = published.sheets(args.sheets)
    if args.estimate:
        return print_estimate(args, [((s.command,), options) for s in sheets.values() for options in s.options])
    failed = {}
    for name, sheet in sheets.items():
        print(f"{name}", file=sys.stderr)
        for options in sheet.options:
            failed |= run_missing(args, (sheet.command,), options)
    print(f"results are in {args.results}; python -m experiments report draws the tables and figures from them")
    return say_failed(failed)
