"""README's and figures/REPRODUCTION.md's tables, and the figures, from the committed result files and nothing else."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from . import grid, prose, published, reproduce, tables
from .prose import page as page_prose
from .prose import readme as readme_prose
from .store import load_results, read_json, write_atomically
from .tables import approximations, benchmark, claims, comparison, probes

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGE = tables.FIGURES / "REPRODUCTION.md"
BENCHMARK = tables.FIGURES / "benchmark.json"


def sections(results):
    """{marker name: Markdown}: what stands between <!-- name --> and <!-- /name --> in the two pages."""
    figures = [c for n, s in published.SHEETS.items() if s.command in reproduce.FIGURES for c in _fits(s)]
    found = claims.rows(published.SHEETS, results)
    content = {
        "claims_summary": tables.markdown(claims.SUMMARY_HEADER, claims.summary(found), ("metric",)),
        "probes": tables.markdown(probes.HEADER, probes.rows(results)),
        "approximations": tables.markdown(
            approximations.HEADER, approximations.rows(figures, results), approximations.LEFT
        ),
        "benchmark": _benchmark(),
        "claims": tables.markdown(claims.HEADER, found, claims.LEFT),
    }
    for name, sheet in published.SHEETS.items():
        if sheet.command in reproduce.TABLES and sheet.command != "figure2":
            parts = [comparison.table(sheet.command, options, results) for options in sheet.options]
            content[name] = tables.markdown(parts[0][0], [row for _, rows in parts for row in rows])
    return content


def _benchmark():
    if not BENCHMARK.exists():
        return "not measured yet"
    record = read_json(BENCHMARK)
    parts = [f"{title}:\n\n{tables.markdown(header, rows)}" for title, header, rows in benchmark.sections(record)]
    return "\n\n".join([benchmark.caption(record), *parts])


def _fits(sheet):
    return grid.figure_configs(reproduce.FIGURES[sheet.command], sheet.options[0])


def updated(text, content):
    """`text` with every marked section regenerated from `content`; ValueError for a marker without content."""

    def section(match):
        if match[1] not in content:
            raise ValueError(f"there is no table named {match[1]} for the section <!-- {match[1]} -->")
        return f"<!-- {match[1]} -->\n{content[match[1]]}\n<!-- /{match[1]} -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- /\1 -->", section, text, flags=re.DOTALL)


def drawn(results, folder):
    """Draw every published figure whose runs are all there into `folder`: {file name: path}."""
    paths = {}
    for name, sheet in published.SHEETS.items():
        if sheet.command in reproduce.FIGURES or sheet.command == "figure2":
            first, *more = sheet.options
            path, _ = comparison.figure(sheet.command, first, results, Path(folder) / f"{name}.png", *more)
            if path:
                paths[path.name] = path
    return paths


def report(check=False):
    """Rewrite the pages and figures; with `check`, change nothing. Returns what differed from the results, by name."""
    from .plots import style

    results = load_results(RESULTS)
    content = sections(results)
    differ = []
    shown = set()
    for path in (README, PAGE):
        before = path.read_text(encoding="utf-8")
        after = updated(before, content)
        shown |= set(re.findall(r"<!-- (\w+) -->", before))
        if after != before:
            differ.append(path.name)
            if not check:
                write_atomically(path, after.encode())
    differ += [f"REPRODUCTION.md (no section for {name})" for name in content if name not in shown]
    with tempfile.TemporaryDirectory() as folder:
        for name, path in drawn(results, folder).items():
            if style.source(path) != style.source(PAGE.parent / name):
                differ.append(name)
                if not check:
                    write_atomically(PAGE.parent / name, path.read_bytes())
    return differ


def mistaken():
    """[what is wrong] of the two pages' sentences about the results: their author's to mend."""
    numbers = prose.Numbers(load_results(RESULTS), published.SHEETS)
    return [
        f"{path.name}: {mistake}"
        for path, statements in ((README, readme_prose.README), (PAGE, page_prose.PAGE))
        for mistake in prose.mistakes(path.read_text(encoding="utf-8"), statements, numbers)
    ]
