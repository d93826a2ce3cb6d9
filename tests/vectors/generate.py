"""Writes the golden vectors: `python -m tests.vectors.generate [NAME ...] [--check]`. Needs mpmath and nothing else.

Every number comes from a textbook formula in mpmath (`textbook`, `laws`, `sticks`, `relaxed`, `control`) and from
numerical differentiation of it (`precise`), never from igr_ref. The same files, byte for byte, come out every time.
README.md has the format.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import time

from . import discrete, distributions, pathwise, recovery, transforms

FOLDER = pathlib.Path(__file__).parent
PAPER = "Potapczynski, Loaiza-Ganem and Cunningham, Invertible Gaussian Reparameterization, NeurIPS 2020."
FILES = {**transforms.FILES, **distributions.FILES, **recovery.FILES, **pathwise.FILES, **discrete.FILES}
HEADINGS = ("description", "formula", "shapes", "reference", "digits")


def text(name):
    """The contents of <name>.json."""
    head, cases = FILES[name]()
    head = {"reference": PAPER, "digits": 30, **head}
    lines = ["{", f'"name": {json.dumps(name)},', '"format_version": 1,']
    lines += [f'"{key}": {json.dumps(head[key])},' for key in HEADINGS]
    lines.append('"cases": [')
    lines.append(",\n".join(_case(item) for item in cases))
    return "\n".join([*lines, "]", "}"]) + "\n"


def _case(item):
    parts = [f'{{"name": {json.dumps(item["name"])}']
    for key in ("inputs", "outputs", "error_scale"):
        if key in item:
            rows = ",\n".join(f'  "{k}": {json.dumps(v)}' for k, v in item[key].items())
            parts.append(f' "{key}": {{\n{rows}}}')
    return ",\n".join(parts) + "}"


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.vectors.generate", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FILES)}; all when none is given")
    parser.add_argument("--check", action="store_true", help="compare with the files there are, and write nothing")
    arguments = parser.parse_args()
    wrong = [name for name in arguments.names if name not in FILES]
    if wrong:
        parser.error(f"no such file: {', '.join(wrong)}; there are {', '.join(FILES)}")
    different = []
    for name in arguments.names or FILES:
        start, path = time.perf_counter(), FOLDER / f"{name}.json"
        contents = text(name)
        if not arguments.check:
            path.write_text(contents)
        elif not path.exists() or path.read_text() != contents:
            different.append(name)
        print(f"{name}: {len(contents)} bytes, {time.perf_counter() - start:.1f} s", flush=True)
    if different:
        sys.exit(f"different from the committed file: {', '.join(different)}")


if __name__ == "__main__":
    main()
