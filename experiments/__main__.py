"""python -m experiments <command>. Exit codes: 0 done, 1 a run failed or was interrupted, 2 bad command or input."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import io
import os
import sys
import time
from pathlib import Path

from igr_ref.backend import device_namespace

from . import benchmark, data, grid, peers, plan, reproduce, sweep, tables
from .peers import ours
from .progress import Progress, clock
from .report import BENCHMARK, load_results
from .store import provenance, read_json, write_json
from .tables import benchmark as benchmark_tables
from .tables import scores
from .train import Interrupted, State, TrainingError
from .train import run as run_config

EXAMPLES = """examples:
  python -m experiments quickstart
  python -m experiments train --dataset mnist --model igr_i --temperature 0.15 --epochs 10 --learning-rate 1e-3
  python -m experiments evaluate runs/RUN --m 5000
  python -m experiments data mnist fmnist
  python -m experiments list
"""

FIELD_HELP = {
    "dataset": f"{', '.join(data.NAMES)}, or the path of an .npz with arrays train and test",
    "model": ", ".join(plan.MODELS),
    "estimator": "plain (reparameterization) or sl (sticking the landing)",
    "architecture": ", ".join(plan.ARCHITECTURES),
    "prior_temperature": "gs only: the prior's own temperature (default: that of the posterior)",
    "m": "importance samples of the log-likelihood bound",
    "law_draws": "draws of the simulated discrete law (igr_sb)",
    "monitor_every": "epochs between points of the learning curve, 0 for none",
    "n_samples": "relaxed samples an image and step",
    "delta": "softmax++'s constant (eq. 15)",
}
BENCHMARK_HELP = {
    "rounds": "turns of every contestant",
    "steps": "training steps a turn, a multiple of 25",
    "images": "images scored a turn",
}
TYPES = {"str": str, "int": int, "float": float, "float | None": float}


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m experiments", description="Run the experiments of the IGR paper.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def command(name, function, text):
        sub = commands.add_parser(
            name, help=text, description=text, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        sub.set_defaults(function=function)
        return sub

    quick = command(
        "quickstart", quickstart, "Train and score three relaxations on the embedded digits, and draw them."
    )
    quick.add_argument(
        "--figure", default="figures/quickstart.png", help="where to save the picture (default %(default)s)"
    )
    quick.add_argument("--workers", type=int, help="processes (default: as many as cores)")
    train = command("train", train_command, "Train one VAE and score its recovered discrete model.")
    for field in dataclasses.fields(plan.RunConfig):
        flag = "--" + field.name.replace("_", "-")
        text = FIELD_HELP.get(field.name, field.name.replace("_", " "))
        if field.type == "bool":
            train.add_argument(
                flag, action="store_true", help="hold out and score the validation images, not the test images"
            )
        else:
            train.add_argument(
                flag, type=TYPES[field.type], default=field.default, help=f"{text} (default {field.default})"
            )
    score = command("evaluate", evaluate_command, "Score a trained run again, with other settings.")
    score.add_argument("run", type=Path, help="a run directory")
    score.add_argument("--m", type=int, help="importance samples (default: the run's)")
    score.add_argument("--split", choices=("train", "validation", "test"), default="test")
    score.add_argument("--limit", type=int, help="only the first so many images")
    fetch = command("data", data_command, "Find or download data sets, verify them, and say what they hold.")
    fetch.add_argument("names", nargs="*", default=["digits"], help=FIELD_HELP["dataset"])
    command("list", list_command, "List models, estimators, data sets, and the runs in --runs.")
    compare = command("estimators", estimators_command, "Bias and variance of every gradient estimator, measured.")
    compare.add_argument(
        "--draws", type=int, default=20_000, help="gradient draws for each point (default %(default)s)"
    )
    compare.add_argument("--figure", default="figures/estimators.png", help="where to save (default %(default)s)")
    for name in reproduce.COMMANDS:
        add_reproduction(command(name, reproduce_command, f"Run and show the paper's {name[:-1]} {name[-1]}."))
    add_reproduction(command("all", reproduce_command, "Every table and figure, one after the other."))
    speed = command(
        "benchmark", benchmark_command, "Time steps, scores and sweeps, beside other libraries if installed."
    )
    speed.add_argument("--models", nargs="+", choices=tuple(ours.PRIORS), default=tuple(ours.PRIORS))
    speed.add_argument("--architectures", nargs="+", choices=plan.ARCHITECTURES, default=plan.ARCHITECTURES)
    speed.add_argument("--libraries", nargs="*", choices=tuple(peers.LIBRARIES), default=tuple(peers.LIBRARIES))
    for name in ("rounds", "steps", "images"):
        default = getattr(benchmark.Options, name)
        speed.add_argument(f"--{name}", type=int, default=default, help=f"{BENCHMARK_HELP[name]} (default {default})")
    speed.add_argument("--seconds", type=float, default=benchmark.Options.seconds, help="each sweep's (default 10)")
    speed.add_argument("--skip", nargs="*", choices=("sweep", "scaling"), default=())
    speed.add_argument(
        "--output", type=Path, default=BENCHMARK, help="JSON file to write (default figures/benchmark.json)"
    )
    renew = command("report", report_command, "Regenerate README's tables from experiments/results.")
    renew.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 if a table is not what the results give"
    )
    for sub in (quick, train, score):
        sub.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="gpu needs CuPy and an NVIDIA card")
        sub.add_argument("--quiet", action="store_true", help="no progress on the terminal (the run's log.txt has it)")
    for sub in (quick, train, commands.choices["list"]):
        sub.add_argument(
            "--runs", type=Path, default=Path("runs"), help="folder of run directories (default %(default)s)"
        )
    for sub in (train, score, fetch):
        sub.add_argument(
            "--data-dir", help="where data files lie (default: $IGR_DATA_DIR, then the user cache, then download)"
        )
    args = parser.parse_args(argv)
    try:
        return args.function(args) or 0
    except Interrupted as stop:
        print(
            f"\nInterrupted: a checkpoint is in {stop.path}. Run the same command again to go on from there.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 1
    except (TrainingError, FloatingPointError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except (ValueError, RuntimeError, OSError) as error:  # DataError, StoreError, a missing GPU, an unreadable path
        print(f"error: {error}", file=sys.stderr)
        return 2


def add_reproduction(sub):
    """The options that all tables and figures share."""
    sub.add_argument("--preset", default="smoke", help=f"{', '.join(grid.PRESETS)} (default %(default)s)")
    sub.add_argument("--estimate", action="store_true", help="say what would run and what it costs, and stop")
    many = {"nargs": "+", "default": None}
    sub.add_argument("--datasets", **many, help="only these data sets")
    sub.add_argument("--architectures", **many, choices=plan.ARCHITECTURES)
    sub.add_argument("--models", **many, choices=tuple(plan.MODELS))
    sub.add_argument("--estimators", **many, choices=("plain", "sl"))
    sub.add_argument("--temperatures", **many, type=float, help="one value skips the selection")
    sub.add_argument("--seeds", **many, type=int)
    for name in ("epochs", "selection_epochs", "m", "samples", "steps"):
        sub.add_argument("--" + name.replace("_", "-"), type=int)
    sub.add_argument("--learning-rate", type=float)
    sub.add_argument("--gs-prior-temperature", type=float, help="adds Gumbel-Softmax rows with this prior temperature")
    sub.add_argument(
        "--results", type=Path, default=Path("runs/results"), help="folder of results (default %(default)s)"
    )
    sub.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs in progress (default %(default)s)")
    sub.add_argument("--figures", type=Path, help="folder for the pictures (default: figures)")
    sub.add_argument("--executor", choices=("local", "dask", "mpi"), default="local")
    sub.add_argument("--scheduler", help="address of the Dask scheduler")
    sub.add_argument("--workers", type=int, help="local processes (default: as many as cores)")
    sub.add_argument("--shard", help="i/n: only this part of what is missing now, for job arrays")
    sub.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    sub.add_argument("--data-dir", help="where data files lie")


def reproduce_command(args):
    tuples = ("datasets", "architectures", "models", "estimators", "temperatures", "seeds")
    values = ("epochs", "selection_epochs", "m", "samples", "steps", "learning_rate", "gs_prior_temperature")
    changes = {name: tuple(getattr(args, name)) for name in tuples if getattr(args, name)}
    changes |= {name: getattr(args, name) for name in values}
    options = reproduce.narrowed(args.preset, **changes)
    commands = reproduce.COMMANDS if args.command == "all" else (args.command,)
    workers = args.workers or os.cpu_count()
    if args.estimate:
        rows, wall = reproduce.estimate(commands, options, args.results, args.data_dir, workers)
        print(reproduce.cost_text(rows, wall, workers))
        return 0
    executors = {
        "local": lambda: sweep.local_executor(args.workers),
        "dask": lambda: sweep.dask_executor(args.scheduler),
        "mpi": sweep.mpi_executor,
    }
    folders = (args.results.resolve(), args.runs.resolve())
    failed = reproduce.run(
        commands, options, *folders, lambda text: print(text, file=sys.stderr, flush=True), part=args.shard,
        make_executor=executors[args.executor], data_dir=args.data_dir, device=args.device,
    )  # fmt: skip
    results = load_results(args.results)
    for name in commands:
        print(f"\n{name}")
        if name in reproduce.TABLES and name != "figure2":
            print(tables.text(*reproduce.table(name, options, results)))
            if name == "table1":
                print("\n".join(reproduce.ordering(options, results)))
            continue
        drawn, lines = reproduce.figure(name, options, results, (args.figures or Path("figures")) / f"{name}.png")
        print("\n".join([*lines, f"{drawn} written" if drawn else "runs are missing: no figure"]))
    for name, error in failed.items():
        print(f"FAILED {name}: {error}", file=sys.stderr)
    return 1 if failed else 0


def quickstart(args):
    from .plots import quickstart as picture

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
        results.append(run_config(config, args.runs / config.id, device=args.device, quiet=args.quiet))
    dataset = data.load("digits")
    runs = [(c, r, _trained(args.runs / c.id, c, dataset)) for c, r in zip(configs, results, strict=True)]
    path = picture.draw(runs, dataset, Path(args.figure))
    write_json(Path(args.figure).with_suffix(".json"), results)
    print()
    print(tables.text(scores.HEADER, scores.rows(results)))
    print(f"""
nats per image, mean ± standard error over {len(dataset.test)} test images; higher is better. One seed.
The log-likelihood bound is importance weighted with m = {configs[0].m}; "as published" is the metric of the paper's
code, which bounds nothing (see README). ESS: median effective sample size of the importance weights.

{path} and {path.with_suffix(".json")} written; runs in {args.runs}. {clock(time.monotonic() - started)} in all.""")


def train_command(args):
    fields = {field.name: getattr(args, field.name) for field in dataclasses.fields(plan.RunConfig)}
    config = plan.RunConfig(**fields)
    folder = args.runs / config.id
    print(f"run {folder}", file=sys.stderr)
    result = run_config(config, folder, args.data_dir, args.device, args.quiet)
    print(tables.text(scores.HEADER, scores.rows([result])))
    n = result["metrics"]["all"]["images"]
    print(f"{n} {result['dataset']['split']} images, m = {config.m}; {folder / 'result.json'}")


def evaluate_command(args):
    config = plan.from_dict(read_json(args.run / "config.json"))
    dataset = data.load(config.dataset, args.data_dir)
    program = _trained(args.run, config, dataset, args.device)
    program.config = dataclasses.replace(config, m=args.m or config.m)
    splits = dict(zip(("train", "validation", "test"), dataset.split(config.validation), strict=True))
    images = splits[args.split]
    if images is None:
        raise ValueError("this run held no validation images out; train with --validation, or score the test split")
    images = images[: args.limit]
    bar = Progress(len(images), f"{config.label} scoring", "image", file=io.StringIO() if args.quiet else None)
    floats = functools.partial(dataset.floats, dtype=config.dtype)
    metrics = program.score(images, floats, args.device, lambda done, total: bar.update(done))
    bar.close()
    name = f"evaluation-{args.split}-m{program.config.m}{f'-first{args.limit}' if args.limit else ''}.json"
    record = {"id": config.id, "config": program.config.as_dict(), "split": args.split, "metrics": metrics}
    write_json(args.run / name, record)
    print(tables.text(scores.HEADER, scores.rows([{**record, "seconds": {}}])))
    print(args.run / name)


def data_command(args):
    for name in args.names:
        dataset = data.load(name, args.data_dir)
        kind = "binary" if dataset.binary else "grey"
        shape = " x ".join(map(str, dataset.image_shape))
        print(f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.test):,} test images of", end=" ")
        print(f"{shape} {kind} pixels, sha256 {dataset.sha256[:16]}...")
        print(f"  {dataset.note}")


def list_command(args):
    print("models       " + ", ".join(f"{key} ({name})" for key, name in plan.MODELS.items()))
    print("estimators   " + ", ".join(plan.ESTIMATORS))
    print("data sets    " + ", ".join(data.NAMES) + ", PATH.npz")
    folders = sorted(path.parent for path in args.runs.glob("*/config.json"))
    print(f"runs in {args.runs}: {len(folders)}")
    for folder in folders:
        done = (folder / "result.json").exists()
        state = "done" if done else "checkpoint" if (folder / "checkpoint.npz").exists() else "started"
        print(f"  {state:10}  {folder.name}")


def estimators_command(args):
    from . import estimators
    from .plots import estimators as picture

    print(
        f"{args.draws} draws a point: about {max(1, round(args.draws / 20_000))} min on one core",
        file=sys.stderr,
    )
    started = time.monotonic()
    measured = estimators.measure(args.draws)
    measured["seconds"] = round(time.monotonic() - started, 1)
    measured["provenance"] = provenance()
    path = picture.draw(measured, Path(args.figure))
    write_json(Path(args.figure).with_suffix(".json"), measured)
    header = ("estimator", "model", "temperature", "relative bias", "relative variance")
    rows = [
        (r["estimator"], estimators.LABELS[r["model"]], "any" if r["temperature"] is None else f"{r['temperature']:g}",
         "—" if r["bias"] is None else f"{r['bias']:.3f} ± {r['standard_error']:.3f}", f"{r['variance']:.3g}")
        for r in measured["rows"]
    ]  # fmt: skip
    print(tables.text(header, rows))
    print(f"\n{path} and {path.with_suffix('.json')} written; {clock(measured['seconds'])}.")


def benchmark_command(args):
    fields = {name: getattr(args, name) for name in ("rounds", "steps", "images", "seconds")}
    lists = {name: tuple(getattr(args, name)) for name in ("models", "architectures", "libraries")}
    skipped = {name: name not in args.skip for name in ("sweep", "scaling")}
    options = benchmark.Options(**fields, **lists, **skipped)
    record = benchmark.measure(options, lambda text: print(text, file=sys.stderr, flush=True))
    write_json(args.output, record)
    for title, header, rows in benchmark_tables.sections(record):
        print(f"{title}\n{tables.text(header, rows)}\n")
    print(f"{benchmark_tables.caption(record)}\n{args.output}")


def report_command(args):
    from .report import report

    same = report(check=args.check)
    print("README's tables are what the results give" if same else
          "README's tables differ from the results" if args.check else "README.md updated")  # fmt: skip
    return 1 if args.check and not same else 0


def _trained(folder, config, dataset, device="cpu"):
    """The program of a run's checkpoint; FileNotFoundError if there is none."""
    if not (folder / "checkpoint.npz").exists():
        raise FileNotFoundError(f"{folder} has no checkpoint.npz: train the run first")
    return State(config, dataset, device_namespace(device), folder / "checkpoint.npz").program


if __name__ == "__main__":
    sys.exit(main())
