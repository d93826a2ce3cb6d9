"""The commands benchmark and gpu."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .. import benchmark, peers, plan, tables
from ..peers import ours as our_step
from ..report import BENCHMARK
from ..store import write_json
from ..tables import benchmark as benchmark_tables

BENCHMARK_HELP = {
    "rounds": "turns of every contestant",
    "steps": f"training steps a turn, with JAX a multiple of {peers.SCAN}",
    "images": "images scored a turn",
}


def add_benchmark(command):
    """Add benchmark."""
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
    speed.add_argument("--skip", nargs="*", choices=("threads", "sweep", "scaling", "relax"), default=())
    speed.add_argument(
        "--output", type=Path, default=BENCHMARK, help="JSON file to write (default figures/benchmark.json)"
    )


def add_gpu(command):
    """Add gpu."""
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


def benchmark_command(args):
    fields = {name: getattr(args, name) for name in ("rounds", "steps", "images", "seconds")}
    lists = {name: tuple(getattr(args, name)) for name in ("models", "architectures", "libraries")}
    skipped = {name: name not in args.skip for name in ("threads", "sweep", "scaling", "relax")}
    options = benchmark.Options(**fields, **lists, **skipped)
    record = benchmark.measure(options, lambda text: print(text, file=sys.stderr, flush=True))
    write_json(args.output, record)
    for title, header, rows in benchmark_tables.sections(record):
        print(f"{title}\n{tables.text(header, rows)}\n")
    print(f"{benchmark_tables.caption(record)}\n{args.output}")


def gpu_command(args):
    from .. import gpu

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
