"""Prints the ledger of checks after a run. With `--equations` the run must be a full one: every equation of the paper
must have been checked, or the run fails, and EQUATIONS.md is written. A plain full run fails on a missing one too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from . import equations, ledger

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser):
    parser.addoption("--equations", action="store_true", help="write EQUATIONS.md from this (full) run")


def _is_full(config):
    """Whether the whole default selection was asked for: no path, no -k, no --lf or the like."""
    option = config.option
    narrowed = getattr(option, "keyword", "") or getattr(option, "lf", False) or getattr(option, "deselect", None)
    here = [Path(arg.split("::")[0]).resolve() for arg in config.args]
    return not narrowed and all(path in (ROOT, ROOT / "tests") for path in here) and "slow" in option.markexpr


def pytest_configure(config):
    """One BLAS thread a worker, before anything imports NumPy in it."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Under pytest-xdist each worker hands its part of the ledger over as it goes."""
    ledger.merge(getattr(node, "workeroutput", {}).get("ledger", []))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session, exitstatus):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["ledger"] = ledger.exported()
        return
    if session.config.option.collectonly or not _is_full(session.config):
        return
    absent = equations.missing()
    if absent:
        session.config.stash[ABSENT] = absent
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    elif session.config.option.equations and exitstatus == 0:
        (ROOT / "EQUATIONS.md").write_text(equations.markdown(), encoding="utf-8")


ABSENT = pytest.StashKey()


def pytest_terminal_summary(terminalreporter, config):
    if ledger.ENTRIES:
        terminalreporter.section("checked against independent oracles")
        for line in ledger.table():
            terminalreporter.write_line(line)
    if ABSENT in config.stash:
        numbers = ", ".join(map(str, config.stash[ABSENT]))
        terminalreporter.write_line(f"NOT CHECKED, so this run fails: equations {numbers}", red=True)
    elif config.option.equations and not _is_full(config):
        terminalreporter.write_line("EQUATIONS.md was not written: --equations needs a full run", red=True)
