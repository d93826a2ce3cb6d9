"""The commands data and list."""

from __future__ import annotations

from .. import data
from . import options
from .kinds import ESTIMATORS, FIELD_HELP, KINDS, MODELS


def add(command):
    """Add the commands."""
    fetch = command("data", data_command, "Find or download data sets, verify them, and say what they hold.")
    fetch.add_argument(
        "names", nargs="*", default=["digits"], help=f"{FIELD_HELP['dataset']}: (n, pixels) or (n, height, width), "
        "bool, uint8 0..255, or float in [0, 1]; pixels become 1 at .5 or more, unless an array binary = False keeps "
        "them grey"
    )  # fmt: skip
    options.add_data_dir(fetch)
    options.add_runs(command("list", list_command, "List models, estimators, data sets, and the runs in --runs."))


def data_command(args):
    for name in args.names:
        dataset = data.load(name, args.data_dir)
        kind = "binary" if dataset.binary else "grey"
        shape = " x ".join(map(str, dataset.image_shape))
        print(f"{dataset.name}: {len(dataset.train):,} training and {len(dataset.test):,} test images of", end=" ")
        print(f"{shape} {kind} pixels, sha256 {dataset.sha256[:16]}...")
        print(f"  {dataset.note}")


def list_command(args):
    for kind, (_, text, _) in KINDS.items():
        print(f"--kind {kind}: {text}")
        print("  models     " + ", ".join(f"{key} ({name})" for key, name in MODELS[kind].items()))
        if kind in ESTIMATORS:
            print("  estimators " + ", ".join(ESTIMATORS[kind]))
    print("data sets    " + ", ".join(data.NAMES) + ", PATH.npz")
    folders = sorted(path.parent for path in args.runs.glob("*/config.json"))
    print(f"runs in {args.runs}: {len(folders)}")
    for folder in folders:
        done = (folder / "result.json").exists()
        state = "done" if done else "checkpoint" if (folder / "checkpoint.npz").exists() else "started"
        print(f"  {state:10}  {folder.name}")
