"""The commands report and rerun."""

from __future__ import annotations

import sys
from pathlib import Path

from ..report import RESULTS, mistaken, report


def add(command):
    """Add the commands."""
    renew = command(
        "report",
        report_command,
        "Regenerate README's and REPRODUCTION.md's tables, and the figures, from experiments/results.",
    )
    renew.add_argument(
        "--check",
        action="store_true",
        help="change nothing; exit 1 if a table, a figure or a sentence's number is not what the results give",
    )
    again = command("rerun", rerun_command, "Run published results again from their configs, and compare the metrics.")
    again.add_argument("files", nargs="*", type=Path, help="result files (default: --pick of experiments/results)")
    again.add_argument("--pick", type=int, default=3, help="how many to pick by chance (default %(default)s)")
    again.add_argument("--pick-seed", type=int, default=0)
    again.add_argument("--tolerance", type=float, default=0.0, help="difference that is let pass (default 0: bits)")
    again.add_argument("--data-dir", help="where data files lie")


def report_command(args):
    differ = report(check=args.check)
    for name in differ:
        print(f"{name} differs from what the results give" if args.check else f"{name} updated")
    wrong = mistaken()
    for mistake in wrong:
        print(f"a sentence to mend by hand, {mistake}")
    if not differ and not wrong:
        print("tables, figures and sentences are what the results give")
    return 1 if wrong or (args.check and differ) else 0


def rerun_command(args):
    from .. import rerun

    if not 0 <= args.tolerance < float("inf"):
        raise ValueError(f"--tolerance must be at least 0 and finite, got {args.tolerance:g}")
    code = 0
    for path in args.files or rerun.chosen(RESULTS, args.pick, args.pick_seed):
        print(f"{path.name}: running", file=sys.stderr, flush=True)
        before, after = rerun.rerun(path, args.data_dir)
        differ = rerun.differences(before["metrics"], after["metrics"])
        same = "the same" if rerun.parameters(before) == rerun.parameters(after) else "different"
        worst = max((abs(a - b) for _, a, b in differ if None not in (a, b)), default=0.0)
        failed = any(None in change[1:] for change in differ) or not worst <= args.tolerance
        code = max(code, int(failed))
        print(f"{path.name}: {same} parameters, {len(differ)} metrics differ, by at most {worst:.3g}"
              f"{' FAILED' if failed else ''}")  # fmt: skip
        versions = [
            (k, before["provenance"].get(k), after["provenance"].get(k))
            for k in ("cpu", "numpy", "blas", "blas_kernels")
        ]
        for name, then, now in versions:
            if then != now:
                print(f"  {name} was {then}, is {now}")
    return code
