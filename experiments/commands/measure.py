"""The commands estimators and audit."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from .. import tables
from ..progress import clock
from ..store import provenance, write_json
from . import options


def add(command):
    """Add the commands."""
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
    options.add_data_dir(check)


def estimators_command(args):
    if args.draws < 100:
        raise ValueError(f"--draws must be at least 100, or no variance can be told, got {args.draws}")
    if Path(args.figure).suffix != ".png":
        raise ValueError(f"--figure must end in .png, got {args.figure}: the numbers go beside it as .json")
    from .. import estimators
    from ..plots import estimators as picture

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


def audit_command(args):
    from .. import audit
    from ..audit import page
    from ..plots import audit as pictures

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
