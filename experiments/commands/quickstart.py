"""The command quickstart: six small models on the embedded digits, trained, scored and drawn."""

from __future__ import annotations

import os
import time
from pathlib import Path

from .. import data, plan, sweep, tables
from ..progress import clock
from ..run_folders import lock
from ..store import write_json
from ..tables import scores
from ..train import run as run_config
from . import options
from .train import trained


def add(command):
    """Add the command."""
    quick = command(
        "quickstart", quickstart, "Train and score three relaxations on the embedded digits, and draw them."
    )
    quick.add_argument(
        "--figure", default="figures/quickstart.png", help="where to save the picture (default %(default)s)"
    )
    quick.add_argument("--workers", type=int, help="processes (default: as many as cores)")
    options.add_device(quick)
    options.add_runs(quick)


def quickstart(args):
    from ..plots import quickstart as picture

    started = time.monotonic()
    configs = plan.quickstart()
    print(
        f"{len(configs)} runs on the embedded 8 x 8 digits, {configs[0].epochs} epochs each: about a minute on 2 cores."
    )
    workers = args.workers or os.cpu_count() or 1
    if workers > 1 and args.device == "cpu":
        failed = sweep.execute(
            configs, args.runs / "results", args.runs, lambda: sweep.local_executor(workers), keep=True,
            say=(lambda text: None) if args.quiet else None,
        )  # fmt: skip
        if failed:
            raise RuntimeError("; ".join(f"{name}: {error}" for name, error in failed.items()))
    results = []
    for config in configs:
        with lock(args.runs / config.id):
            results.append(run_config(config, args.runs / config.id, device=args.device, quiet=args.quiet))
    dataset = data.load("digits")
    runs = [(c, r, trained(args.runs / c.id, c, dataset).program) for c, r in zip(configs, results, strict=True)]
    path = picture.draw(runs, dataset, Path(args.figure))
    write_json(Path(args.figure).with_suffix(".json"), results)
    print()
    print(tables.text(*scores.table(results)))
    print(f"""
nats per image, mean ± standard error over {len(dataset.test)} test images; higher is better. One seed.
The log-likelihood bound is importance weighted with m = {configs[0].m}; "as published" is the metric of the paper's
code, which bounds nothing (see README). ESS: median effective sample size of the importance weights.

{path} and {path.with_suffix(".json")} written; runs in {args.runs}. {clock(time.monotonic() - started)} in all.""")
