"""The commands train and evaluate."""

from __future__ import annotations

import dataclasses
import functools
import io
import sys
import time
from pathlib import Path

from igr_ref.backend import device_namespace

from .. import data, plan, tables
from ..progress import Progress
from ..run_folders import keep, lock, sweep_up
from ..state import State
from ..store import read_json, write_json
from ..tables import scores
from ..train import run as run_config
from . import options
from .kinds import KINDS, add_fields, unused


def add(command, kind):
    """Add the commands; the flags of train are those of `kind`."""
    train = command(
        "train", train_command, "Train one model, a VAE or what --kind says, and score its recovered discrete model."
    )
    train.add_argument(
        "--kind", choices=tuple(KINDS), default="vae", help="; ".join(f"{k}: {KINDS[k][1]}" for k in KINDS)
        + ". Each has flags and defaults of its own: see train --kind KIND --help (default vae)"
    )  # fmt: skip
    add_fields(train, kind)
    score = command("evaluate", evaluate_command, "Score a trained run again, with other settings.")
    score.add_argument("run", type=Path, help="a run directory")
    score.add_argument("--m", type=int, help="importance samples (default: the run's)")
    score.add_argument("--split", choices=("train", "validation", "test"), default="test")
    score.add_argument("--limit", type=int, help="only the first so many images")
    for sub in (train, score):
        options.add_device(sub)
    options.add_runs(train)
    for sub in (train, score):
        options.add_data_dir(sub)


def train_command(args):
    config_class = KINDS[args.kind][0]
    config = config_class(**{field.name: getattr(args, field.name) for field in dataclasses.fields(config_class)})
    for note in unused(config):
        print(f"note: {note}", file=sys.stderr)
    folder = args.runs / config.id
    print(f"run {folder}", file=sys.stderr)
    with lock(folder):
        keep(folder)
        sweep_up(folder)
        result = run_config(config, folder, args.data_dir, args.device, args.quiet)
    print(tables.text(*scores.table([result])))
    n = result["metrics"]["all"]["images"]
    print(f"{n} {result['dataset']['split']} images, m = {config.m}; {folder / 'result.json'}")


def evaluate_command(args):
    if args.limit is not None and args.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {args.limit}")
    if not (args.run / "config.json").exists():
        raise FileNotFoundError(f"{args.run} is not the folder of a run: it has no config.json")
    config = plan.from_dict(read_json(args.run / "config.json"))
    dataset = data.load(config.dataset, args.data_dir)
    state = trained(args.run, config, dataset, args.device)
    program, total = state.program, config.epochs * (len(dataset.split(config.validation)[0]) // config.batch_size)
    if state.trained_on != dataset.sha256:
        print("note: the data set holds other images than this run was trained on", file=sys.stderr)
    if state.step < total:
        print(f"note: the training of this run has come to step {state.step} of {total}", file=sys.stderr)
    program.config = dataclasses.replace(config, m=config.m if args.m is None else args.m)
    splits = dict(zip(("train", "validation", "test"), dataset.split(config.validation), strict=True))
    images = splits[args.split]
    if images is None:
        raise ValueError("this run held no validation images out; train with --validation, or score the test split")
    limit = None if args.limit is None or args.limit >= len(images) else args.limit
    images = images[:limit]
    started = time.monotonic()
    bar = Progress(len(images), f"{config.label} scoring", "image", file=io.StringIO() if args.quiet else None)
    floats = functools.partial(dataset.floats, dtype=config.dtype)
    metrics = program.score(images, floats, args.device, lambda done, total: bar.update(done))
    bar.close()
    name = f"evaluation-{args.split}-m{program.config.m}{f'-first{limit}' if limit else ''}.json"
    record = {"id": config.id, "config": program.config.as_dict(), "split": args.split, "metrics": metrics,
              "step": state.step, "steps": total, "dataset_sha256": dataset.sha256}  # fmt: skip
    write_json(args.run / name, record)
    print(tables.text(*scores.table([{**record, "seconds": {"evaluation": time.monotonic() - started}}])))
    print(args.run / name)


def trained(folder, config, dataset, device="cpu"):
    """The State of a run's checkpoint; FileNotFoundError if there is none."""
    if not (folder / "checkpoint.npz").exists():
        result = folder / "result.json"
        again = f"delete {result.name} and train the run again" if result.exists() else "train the run first"
        raise FileNotFoundError(f"{folder} has no checkpoint.npz: {again}")
    return State(config, dataset, device_namespace(device), folder / "checkpoint.npz", other_images=True)
