"""Prints the ledger of checks after a run; `--equations` also writes EQUATIONS.md from it."""

from __future__ import annotations

from . import ledger


def pytest_terminal_summary(terminalreporter):
    if ledger.ENTRIES:
        terminalreporter.section("checked against independent oracles")
        for line in ledger.table():
            terminalreporter.write_line(line)
