"""python -m experiments <command>. Exit codes: 0 done, 1 a run failed or was interrupted, 2 bad command or input."""

from __future__ import annotations

import argparse
import sys

try:  # the imports take a second, in which Ctrl-C means what it means later
    from .commands import data, kinds, measure, quickstart, report, speed, tables, train
    from .stopping import Interrupted
    from .watch import TrainingError
except KeyboardInterrupt:
    sys.exit("\nInterrupted.")

EXAMPLES = """examples:
  python -m experiments quickstart
  python -m experiments train --dataset mnist --model igr_i --temperature 0.15 --epochs 10 --learning-rate 1e-3
  python -m experiments train --kind sop --dataset digits --model gs --epochs 10 --m 100
  python -m experiments evaluate runs/RUN --m 5000
  python -m experiments data mnist fmnist
  python -m experiments list
"""


def parser(kind):
    """The parser of all commands, in the order in which --help shows them; train's flags are those of `kind`."""
    form = {"epilog": EXAMPLES, "formatter_class": argparse.RawDescriptionHelpFormatter}
    top = argparse.ArgumentParser(
        prog="python -m experiments", description="Run the experiments of the IGR paper.", **form
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    def command(name, function, text):
        sub = commands.add_parser(name, help=text, description=text, **form)
        sub.set_defaults(function=function)
        return sub

    quickstart.add(command)
    train.add(command, kind)
    data.add(command)
    measure.add(command)
    tables.add(command)
    speed.add_benchmark(command)
    tables.add_published(command)
    speed.add_gpu(command)
    report.add(command)
    return top


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):  # a terminal that has no tau shows a question mark for it
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    kind = kinds.kind_in(argv)
    top = parser(kind)
    args, unknown = top.parse_known_args(argv)
    if unknown:
        hints = "".join(kinds.flags_elsewhere(unknown, kind) if args.command == "train" else [])
        top.error(f"unrecognized arguments: {' '.join(unknown)}{hints}")
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
    except (MemoryError, OverflowError) as error:
        print(f"error: this needs more memory than there is, or numbers beyond their type: {error}", file=sys.stderr)
        return 2
    except (ValueError, RuntimeError, OSError) as error:  # DataError, StoreError, a missing GPU, an unreadable path
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
