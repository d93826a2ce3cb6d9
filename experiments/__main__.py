"""python -m experiments <command>. Exit codes: 0 done, 1 a run failed or was interrupted, 2 bad command or input."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import io
import os
import shutil
import sys
import time
from pathlib import Path

from igr_ref.backend import device_namespace

from . import benchmark, data, grid, peers, plan, published, reproduce, sweep, tables
from .peers import ours as our_step
from .plan_mixture import MIXTURE_ESTIMATORS, MIXTURES
from .plan_sop import SOP_ARCHITECTURES, SOP_MODELS
from .progress import Progress, clock
from .replicas import GPU_WORKERS, LARGEST, largest_group
from .report import BENCHMARK
from .store import load_results, provenance, read_json, write_json
from .tables import benchmark as benchmark_tables
from .tables import scores
from .train import Interrupted, State, TrainingError
from .train import run as run_config

RESULTS = Path(__file__).parent / "results"
EXAMPLES = """examples:
  python -m experiments quickstart
  python -m experiments train --dataset mnist --model igr_i --temperature 0.15 --epochs 10 --learning-rate 1e-3
  python -m experiments train --kind sop --dataset digits --model gs --epochs 10 --m 100
  python -m experiments evaluate runs/RUN --m 5000
  python -m experiments data mnist fmnist
  python -m experiments list
"""

FIELD_HELP = {
    "dataset": f"{', '.join(data.NAMES)}, or the path of an .npz with arrays train and test",
    "model": ", ".join(plan.MODELS),
    "estimator": "plain (reparameterization), sl (sticking the landing), relax or uspgbl",
    "architecture": ", ".join(plan.ARCHITECTURES),
    "prior_temperature": "gs only: the prior's own temperature, None for that of the posterior",
    "m": "importance samples of the log-likelihood bound",
    "law_draws": "draws of a simulated discrete law (igr_planar; igr_sb with --law simulated)",
    "law": "the discrete law that is scored: exact, or simulated (igr_sb)",
    "relax_temperature": "where RELAX's temperature starts (default: 5 for gs, .15 for IGR)",
    "training_images": "how many training images the discretised training ELBO is taken over (Table 4)",
    "dtype": "float32 or float64",
    "monitor_every": "epochs between points of the learning curve, 0 for none",
    "n_variables": "variables of the code",
    "n_categories": "categories of each variable",
    "n_samples": "relaxed samples an image and step",
    "scored_images": "score only the first so many test or held-out images, None for all",
    "delta": "softmax++'s constant (eq. 15)",
}
KINDS = {  # what `train` trains: the config, what it is, and help where it is not as above
    "vae": (plan.RunConfig, "a VAE (Tables 1, 4-6)", {}),
    "sop": (plan.SOPConfig, "structured output prediction (Table 2)", {
        "dataset": f"{FIELD_HELP['dataset']}; of binary pixels",
        "model": ", ".join(SOP_MODELS),
        "architecture": ", ".join(SOP_ARCHITECTURES),
        "n_units": "binary units in each of the two layers",
        "delta": "igr_i only: softmax++'s constant (eq. 15)",
        "learning_rate": "of step 0; of step t: this/(1 + decay t)",
        "least_learning_rate": "what the learning rate never falls below",
        "decay": "how fast the learning rate falls",
        "m": "samples of the bound on log p(lower half | upper half)",
    }),
    "mixture": (plan.MixtureConfig, "a nonparametric mixture (Table 3)", {
        "model": ", ".join(MIXTURES),
        "estimator": "plain, sl (both with closed KLs), or as_published (the official code's loss)",
        "n_components": "K, one more than there are sticks",
        "n_latent": "dimensions of each component",
        "width": "of the hidden layers",
        "rho": "igr_sb_mm only: the share of the whole that the components training keeps must hold (eq. 19)",
        "percentile": "igr_sb_mm only: which percentile, over a batch, of the number of components that hold it",
    }),
}  # fmt: skip
BENCHMARK_HELP = {
    "rounds": "turns of every contestant",
    "steps": "training steps a turn, a multiple of 25",
    "images": "images scored a turn",
}
TYPES = {"str": str, "int": int, "float": float, "float | None": float, "int | None": int}


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
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
    kind = kind_in(argv)
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
    fetch = command("data", data_command, "Find or download data sets, verify them, and say what they hold.")
    fetch.add_argument("names", nargs="*", default=["digits"], help=FIELD_HELP["dataset"])
    command("list", list_command, "List models, estimators, data sets, and the runs in --runs.")
    compare = command("estimators", estimators_command, "Bias and variance of every gradient estimator, measured.")
    compare.add_argument(
        "--draws", type=int, default=20_000, help="gradient draws for each point (default %(default)s)"
    )
    compare.add_argument("--figure", default="figures/estimators.png", help="where to save (default %(default)s)")
    check = command("audit", audit_command, "Check the paper and its published code, claim by claim, by numbers.")
    check.add_argument("--only", nargs="+", metavar="NAME", help="only these findings (they are printed, not written)")
    check.add_argument("--preset", default="full", help="full (two minutes) or smoke (half a minute)")
    check.add_argument(
        "--output", type=Path, help="folder for AUDIT.md, audit.json and pictures (default: figures, if all are run)"
    )
    for name in reproduce.COMMANDS:
        add_reproduction(command(name, reproduce_command, f"Run and show the paper's {name[:-1]} {name[-1]}."))
    add_reproduction(command("all", reproduce_command, "Every table and figure, one after the other."))
    speed = command(
        "benchmark", benchmark_command, "Time steps, scores and sweeps, beside other libraries if installed."
    )
    speed.add_argument("--models", nargs="+", choices=tuple(our_step.PRIORS), default=tuple(our_step.PRIORS))
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
    ours = command("published", published_command, "Run what is missing of the results that this project publishes.")
    ours.add_argument("sheets", nargs="*", help=f"which (default: all): {', '.join(published.SHEETS)}")
    ours.add_argument("--results", type=Path, default=RESULTS, help="folder of results (default: experiments/results)")
    add_execution(ours)
    card = command("gpu", gpu_command, "Check a GPU against NumPy, time it, and say how long the paper's runs take.")
    card.add_argument("--device", choices=("cpu", "gpu"), default="gpu", help="cpu: to try the command itself")
    card.add_argument("--output", type=Path, default=Path("gpu.json"), help="where to save (default %(default)s)")
    card.add_argument("--replicas", nargs="+", type=int, default=[1, 5, 50], help="groups to time (default: 1 5 50)")
    card.add_argument("--seconds", type=float, default=2.0, help="for each measurement (default %(default)s)")
    card.add_argument("--images", type=int, default=60_000, help="training images (default %(default)s)")
    card.add_argument("--scored", type=int, default=10, help="images to time the scoring with (default %(default)s)")
    card.add_argument("--m", type=int, default=1000, help="codes an image (default %(default)s)")
    card.add_argument("--size", type=int, default=4096, help="of the matrix products (default %(default)s)")
    card.add_argument("--no-rivals", action="store_true", help="do not time PyTorch and JAX")
    card.add_argument("--minutes", type=float, default=0, help="then run --then for so long, to a checkpoint")
    card.add_argument("--then", nargs=argparse.REMAINDER, default=[], metavar="...",
                      help="the rest of the line: a command of this program, as in --minutes 20 --then table1 "
                      "--preset paper --device gpu --results results")  # fmt: skip
    renew = command(
        "report",
        report_command,
        "Regenerate README's and REPRODUCTION.md's tables, and the figures, from experiments/results.",
    )
    renew.add_argument(
        "--check", action="store_true", help="change nothing; exit 1 if a table is not what the results give"
    )
    again = command("rerun", rerun_command, "Run published results again from their configs, and compare the metrics.")
    again.add_argument("files", nargs="*", type=Path, help="result files (default: --pick of experiments/results)")
    again.add_argument("--pick", type=int, default=3, help="how many to pick by chance (default %(default)s)")
    again.add_argument("--pick-seed", type=int, default=0)
    again.add_argument("--tolerance", type=float, default=0.0, help="difference that is let pass (default 0: bits)")
    again.add_argument("--data-dir", help="where data files lie")
    for sub in (quick, train, score):
        sub.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="gpu needs CuPy and an NVIDIA card")
        sub.add_argument("--quiet", action="store_true", help="no progress on the terminal (the run's log.txt has it)")
    for sub in (quick, train, commands.choices["list"]):
        sub.add_argument(
            "--runs", type=Path, default=Path("runs"), help="folder of run directories (default %(default)s)"
        )
    for sub in (train, score, fetch, check):
        sub.add_argument(
            "--data-dir", help="where data files lie (default: $IGR_DATA_DIR, then the user cache, then download)"
        )
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        hints = "".join(flags_elsewhere(unknown, kind) if args.command == "train" else [])
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hints}")
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


def kind_in(argv):
    """What `train --kind` says, as the flags of `train` depend on it; "vae" where it says nothing or nonsense."""
    look = argparse.ArgumentParser(add_help=False)
    look.add_argument("--kind", nargs="?")
    kind = look.parse_known_args(argv)[0].kind if argv[:1] == ["train"] else "vae"
    return kind if kind in KINDS else "vae"


def add_fields(sub, kind):
    """A flag for each field of the kind's config."""
    config, _, texts = KINDS[kind]
    texts = FIELD_HELP | texts
    for field in dataclasses.fields(config):
        flag = _flag(field)
        text = texts.get(field.name, field.name.replace("_", " "))
        if field.type == "bool":
            sub.add_argument(
                flag, action="store_true", help="hold out and score the validation images, not the test images"
            )
        else:
            sub.add_argument(
                flag, type=TYPES[field.type], default=field.default, help=f"{text} (default {field.default})"
            )


def _flag(field):
    return "--" + field.name.replace("_", "-")


def flags_elsewhere(unknown, kind):
    """A clause for each unknown flag that another kind of run has."""
    for flag in unknown:
        name = flag.split("=")[0]
        have = [k for k, (config, *_) in KINDS.items() if name in map(_flag, dataclasses.fields(config))]
        if have:
            yield f"; {name} is a flag of --kind {' and '.join(have)}, not of {kind}"


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
        sub.add_argument("--" + name.replace("_", "-"), type=int)
    sub.add_argument("--learning-rate", type=float)
    sub.add_argument("--gs-prior-temperature", type=float, help="adds Gumbel-Softmax rows with this prior temperature")
    sub.add_argument("--as-published", dest="figures_as_published", action="store_true", default=None,
                     help="figures 1, 3-8: Gumbel-Softmax by the published code's 200 steps on a KL")  # fmt: skip
    sub.add_argument("--figures", type=Path, help="folder for the pictures (default: figures)")
    sub.add_argument(
        "--results", type=Path, default=Path("runs/results"), help="folder of results (default %(default)s)"
    )
    add_execution(sub)


def add_execution(sub):
    """The options of everything that runs a plan."""
    sub.add_argument("--estimate", action="store_true", help="say what would run and what it costs, and stop")
    sub.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs in progress (default %(default)s)")
    sub.add_argument("--executor", choices=("local", "dask", "mpi"), default="local")
    sub.add_argument("--scheduler", help="address of the Dask scheduler")
    sub.add_argument("--workers", type=int, help="local processes (default: as many as cores)")
    sub.add_argument(
        "--replicas", type=replicas_argument, default="auto", metavar="auto|N",
        help="train up to N VAE runs that differ only in seed or temperature as one program; auto (default): "
        f"1 on the CPU; on a GPU as many as half of its free memory holds, {LARGEST} at most",
    )  # fmt: skip
    sub.add_argument("--shard", help="i/n: only this part of what is missing now, for job arrays")
    sub.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    sub.add_argument("--data-dir", help="where data files lie")


def _known(name):
    """What any table has of models, architectures or estimators."""
    parts = (grid.KNOWN, *(known for _, known in reproduce.OWN_PROTOCOLS.values()))
    return tuple(dict.fromkeys(value for known in parts for value in known.get(name, ())))


def replicas_argument(text):
    """A number of at least 1, or "auto"."""
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"wanted auto or a whole number of at least 1, got {text!r}")
    return int(text)


def reproduce_command(args):
    tuples = ("datasets", "architectures", "models", "estimators", "temperatures", "components", "seeds")
    values = ("epochs", "selection_epochs", "m", "samples", "steps", "learning_rate", "gs_prior_temperature",
              "figures_as_published")  # fmt: skip
    changes = {name: tuple(getattr(args, name)) for name in tuples if getattr(args, name)}
    changes |= {name: getattr(args, name) for name in values}
    options = reproduce.narrowed(args.preset, **changes)
    commands = reproduce.COMMANDS if args.command == "all" else (args.command,)
    if args.command != "all":
        reproduce.require_rows(args.command, options, changes)
    if args.estimate:
        return print_estimate(args, [(commands, options)])
    failed = run_missing(args, commands, options)
    results = load_results(args.results)
    for name in commands:
        print(f"\n{name}")
        if name in reproduce.TABLES and name != "figure2":
            print(tables.text(*reproduce.table(name, options, results)))
            print("\n".join(reproduce.notes(name, options, results)))
            continue
        drawn, lines = reproduce.figure(name, options, results, (args.figures or Path("figures")) / f"{name}.png")
        print("\n".join([*lines, f"{drawn} written" if drawn else "runs are missing: no figure"]))
    return say_failed(failed)


def worker_count(args):
    """Processes: one a core; on a GPU, where each has a context of its own, a few keep the card busy."""
    return args.workers or min(os.cpu_count(), GPU_WORKERS if args.device == "gpu" else os.cpu_count())


def run_missing(args, commands, options):
    """Everything the commands need and the results lack; {id: error} of what failed."""
    device_namespace(args.device)  # where there is no GPU, say so now
    workers = worker_count(args)
    executors = {
        "local": lambda: sweep.local_executor(workers),
        "dask": lambda: sweep.dask_executor(args.scheduler),
        "mpi": sweep.mpi_executor,
    }
    folders = (args.results.resolve(), args.runs.resolve())
    return reproduce.run(
        commands, options, *folders, lambda text: print(text, file=sys.stderr, flush=True), part=args.shard,
        make_executor=executors[args.executor], data_dir=args.data_dir, device=args.device,
        replicas=largest_group(args.replicas, args.device, workers),
    )  # fmt: skip


def print_estimate(args, plans):
    """The cost of [(commands, options)]."""
    workers = worker_count(args)
    print(reproduce.cost_text(*reproduce.estimate_plans(plans, args.results, args.data_dir, workers), workers))
    return 0


def say_failed(failed):
    for name, error in failed.items():
        print(f"FAILED {name}: {error}", file=sys.stderr)
    return 1 if failed else 0


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
    print(tables.text(*scores.table(results)))
    print(f"""
nats per image, mean ± standard error over {len(dataset.test)} test images; higher is better. One seed.
The log-likelihood bound is importance weighted with m = {configs[0].m}; "as published" is the metric of the paper's
code, which bounds nothing (see README). ESS: median effective sample size of the importance weights.

{path} and {path.with_suffix(".json")} written; runs in {args.runs}. {clock(time.monotonic() - started)} in all.""")


def train_command(args):
    config_class = KINDS[args.kind][0]
    config = config_class(**{field.name: getattr(args, field.name) for field in dataclasses.fields(config_class)})
    folder = args.runs / config.id
    print(f"run {folder}", file=sys.stderr)
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
    program = _trained(args.run, config, dataset, args.device)
    program.config = dataclasses.replace(config, m=config.m if args.m is None else args.m)
    splits = dict(zip(("train", "validation", "test"), dataset.split(config.validation), strict=True))
    images = splits[args.split]
    if images is None:
        raise ValueError("this run held no validation images out; train with --validation, or score the test split")
    images = images[: args.limit]
    started = time.monotonic()
    bar = Progress(len(images), f"{config.label} scoring", "image", file=io.StringIO() if args.quiet else None)
    floats = functools.partial(dataset.floats, dtype=config.dtype)
    metrics = program.score(images, floats, args.device, lambda done, total: bar.update(done))
    bar.close()
    name = f"evaluation-{args.split}-m{program.config.m}{f'-first{args.limit}' if args.limit else ''}.json"
    record = {"id": config.id, "config": program.config.as_dict(), "split": args.split, "metrics": metrics}
    write_json(args.run / name, record)
    print(tables.text(*scores.table([{**record, "seconds": {"evaluation": time.monotonic() - started}}])))
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
    models = {"vae": plan.MODELS, "sop": SOP_MODELS, "mixture": MIXTURES}
    estimators = {"vae": plan.ESTIMATORS, "mixture": MIXTURE_ESTIMATORS}
    for kind, (_, text, _) in KINDS.items():
        print(f"--kind {kind}: {text}")
        print("  models     " + ", ".join(f"{key} ({name})" for key, name in models[kind].items()))
        if kind in estimators:
            print("  estimators " + ", ".join(estimators[kind]))
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


def gpu_command(args):
    from . import gpu

    if bool(args.then) != (args.minutes > 0):
        raise ValueError("--minutes and --then go together: how long, and what")
    if min(args.replicas) < 1 or min(args.seconds, args.scored, args.m, args.size) <= 0 or args.images < 200:
        raise ValueError("--replicas, --seconds, --scored, --m and --size must be positive, --images 200 or more")
    say = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
    record = gpu.measure(
        args.output, args.device, args.replicas, args.seconds, args.images, args.scored, args.m, args.size,
        not args.no_rivals, say,
    )  # fmt: skip
    if args.then:
        record["then"] = gpu.run_for(args.minutes, args.then, say)
        write_json(args.output, record)
    wrong = record.get("disagreements", {"agreement": "not checked"})
    for name, got in wrong.items():
        print(f"DIFFERS {name}: {got}", file=sys.stderr)
    failed = [name for name, value in record.items() if isinstance(value, dict) and "error" in value]
    if failed:
        print(f"FAILED: {', '.join(failed)}", file=sys.stderr)
    print(f"{len(record.get('agreement', ()))} checks against NumPy, {len(wrong)} differ; {args.output} written")
    return 1 if wrong or failed else 0


def audit_command(args):
    from . import audit
    from .audit import page
    from .plots import audit as pictures

    started = time.monotonic()
    setting = audit.Setting(args.preset, data_dir=args.data_dir)
    rows = audit.run(setting, args.only, lambda text: print(text, file=sys.stderr, flush=True))
    print(page.text(rows, shutil.get_terminal_size((150, 40)).columns))
    print("; ".join(f"{verdict}: {n}" for verdict, n in page.counts(rows).items()), end="; ")
    folder = args.output or (Path("figures") if setting.preset == "full" and not args.only else None)
    if folder:
        drawn = pictures.draw(rows, folder, page.picture_name)
        print(*page.write(rows, setting, folder, provenance(), drawn), sep=" and ", end=" written; ")
    print(f"{clock(time.monotonic() - started)}.")


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

    differ = report(check=args.check)
    if not differ:
        print("tables and figures are what the results give")
    for name in differ:
        print(f"{name} differs from what the results give" if args.check else f"{name} updated")
    return 1 if args.check and differ else 0


def rerun_command(args):
    from . import rerun

    code = 0
    for path in args.files or rerun.chosen(RESULTS, args.pick, args.pick_seed):
        print(f"{path.name}: running", file=sys.stderr, flush=True)
        before, after = rerun.rerun(path, args.data_dir)
        differ = rerun.differences(before["metrics"], after["metrics"])
        same = "the same" if rerun.parameters(before) == rerun.parameters(after) else "different"
        worst = max((abs(a - b) for _, a, b in differ if None not in (a, b)), default=0.0)
        failed = any(None in change[1:] for change in differ) or worst > args.tolerance
        code = max(code, int(failed))
        print(f"{path.name}: {same} parameters, {len(differ)} metrics differ, by at most {worst:.3g}"
              f"{' FAILED' if failed else ''}")  # fmt: skip
        versions = [(k, before["provenance"].get(k), after["provenance"].get(k)) for k in ("cpu", "numpy", "blas")]
        for name, then, now in versions:
            if then != now:
                print(f"  {name} was {then}, is {now}")
    return code


def _trained(folder, config, dataset, device="cpu"):
    """The program of a run's checkpoint; FileNotFoundError if there is none."""
    if not (folder / "checkpoint.npz").exists():
        raise FileNotFoundError(f"{folder} has no checkpoint.npz: train the run first")
    return State(config, dataset, device_namespace(device), folder / "checkpoint.npz").program


if __name__ == "__main__":
    sys.exit(main())
