"""What README says of the code is so: its equation table is whole, its links lead somewhere, its commands exist."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

import igr_ref
from experiments import __main__ as cli

from . import equations

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ("README.md", "figures/REPRODUCTION.md", "tests/vectors/README.md", "experiments/assets/README.md")


def table_numbers():
    """The equation numbers of each row of the table that has any, in order."""
    table = README[README.index("| paper | code |") : README.index("[EQUATIONS.md](EQUATIONS.md) lists")]
    cells = [line.split("|")[1] for line in table.splitlines()[2:] if line]
    return [found for found in (sorted(equations.numbers(cell)) for cell in cells) if found]


def test_every_equation_is_in_the_table_once_and_in_order():
    rows = table_numbers()
    flat = [n for row in rows for n in row]
    assert sorted(flat) == sorted(equations.PAPER)
    first = [row[0] for row in rows]
    assert first == sorted(first)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    missing = [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert not missing


def test_commands_exist():
    (choices,) = (a.choices for a in cli.parser("vae")._actions if isinstance(a, argparse._SubParsersAction))
    named = set(re.findall(r"python -m experiments (\w+)", README.replace("\n", " ")))
    assert {"train", "quickstart", "published"} <= named <= set(choices)


def test_the_example_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    names = {}
    exec(code, names)
    assert names["igr_ref"] is igr_ref and names["z"].shape == (4, 10) == names["log_P"].shape
    assert all(abs(g).max() < 1e-15 for g in names["grads"].values())
    assert (names["b"].sum(axis=-1) == 1).all() and set(names["b"].ravel()) == {0.0, 1.0}
