"""What all commands that run a plan share: their options, and running what is missing."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from igr_ref.backend import device_namespace

from .. import estimates, reproduce, sweep
from ..progress import clock
from ..replicas import GPU_WORKERS, LARGEST, largest_group


def add_execution(sub):
    """The options of everything that runs a plan."""
    sub.add_argument("--estimate", action="store_true", help="say what would run and what it costs, and stop")
    sub.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs in progress (default %(default)s)")
    sub.add_argument("--executor", choices=("local", "dask", "mpi"), default="local")
    sub.add_argument("--scheduler", help="address of the Dask scheduler")
    sub.add_argument("--workers", type=positive, help="local processes (default: as many as cores)")
    sub.add_argument(
        "--replicas", type=replicas_argument, default="auto", metavar="auto|N",
        help="train up to N VAE runs that differ only in seed or temperature as one program; auto (default): "
        f"1 on the CPU; on a GPU as many as half of its free memory holds, {LARGEST} at most",
    )  # fmt: skip
    sub.add_argument(
        "--noise", choices=("host", "device"), default="host",
        help="where runs that are trained as one program draw the noise of their steps: host (default), the noise of "
        "the runs by themselves; device, counter-based noise without traffic to a GPU: the same laws, other numbers",
    )  # fmt: skip
    sub.add_argument("--shard", help="i/n: only this part of all runs, for job arrays")
    sub.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    sub.add_argument("--data-dir", help="where data files lie")


def positive(text):
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"wanted a whole number of at least 1, got {text!r}")
    return int(text)


def replicas_argument(text):
    """A number of at least 1, or "auto"."""
    if text == "auto":
        return text
    try:
        return positive(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(str(error).replace("wanted", "wanted auto or", 1)) from None


def worker_count(args):
    """Processes: one a core; on a GPU, where each has a context of its own, a few keep the card busy."""
    return args.workers or min(os.cpu_count(), GPU_WORKERS if args.device == "gpu" else os.cpu_count())


def run_missing(args, commands, options):
    """Everything the commands need and the results lack; {id: error} of what failed."""
    device_namespace(args.device)  # where there is no GPU, say so now
    workers = worker_count(args)
    replicas = largest_group(args.replicas, args.device, workers)
    if args.noise == "device" and replicas == 1:
        raise ValueError("--noise device is for runs trained as one program: it wants --replicas 2 or more")
    executors = {
        "local": lambda: sweep.local_executor(workers),
        "dask": lambda: sweep.dask_executor(args.scheduler),
        "mpi": sweep.mpi_executor,
    }
    folders = (args.results.resolve(), args.runs.resolve())
    return reproduce.run(
        commands, options, *folders, lambda text: print(text, file=sys.stderr, flush=True), part=args.shard,
        make_executor=executors[args.executor], data_dir=args.data_dir, device=args.device,
        replicas=replicas, noise=args.noise,
    )  # fmt: skip


def print_estimate(args, plans):
    """The cost of [(commands, options)]."""
    if args.shard is not None:
        raise ValueError("--estimate is of all runs: give it without --shard, and divide")
    workers = worker_count(args)
    print(estimates.cost_text(*estimates.estimate_plans(plans, args.results, args.data_dir, workers), workers))
    count, seconds = estimates.begun(plans, args.results, args.runs)
    if count:
        print(f"{count} of them were begun, and go on from checkpoints with {clock(seconds)} of that behind them")
    return 0


def say_failed(failed):
    for name, error in failed.items():
        print(f"FAILED {name}: {error}", file=sys.stderr)
    return 1 if failed else 0
