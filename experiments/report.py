"""README's tables from the committed result files, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from . import tables
from .store import read_json, write_atomically
from .tables import benchmark, probes

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).resolve().parents[1] / "README.md"
BENCHMARK = README.parent / "figures" / "benchmark.json"


def load_results(folder=RESULTS):
    """{run id: result} of every .json below `folder`."""
    return {result["id"]: result for result in map(read_json, sorted(Path(folder).rglob("*.json")))}


def sections(results):
    """{marker name: Markdown}: what stands between <!-- name --> and <!-- /name --> in the README."""
    record = read_json(BENCHMARK)
    parts = [f"{title}:\n\n{tables.markdown(header, rows)}" for title, header, rows in benchmark.sections(record)]
    return {
        "probes": tables.markdown(probes.HEADER, probes.rows(results)),
        "benchmark": "\n\n".join([benchmark.caption(record), *parts]),
    }


def updated(text, results):
    """`text` with every marked section regenerated; ValueError if a marker is missing."""
    for name, content in sections(results).items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"README.md has no section between <!-- {name} --> and <!-- /{name} -->")
        text = pattern.sub(lambda match, content=content: match[1] + content + "\n" + match[2], text)
    return text


def report(check=False):
    """Rewrite README's tables; with `check`, only say whether they are what the results give. Returns True if so."""
    before = README.read_text(encoding="utf-8")
    after = updated(before, load_results())
    if not check and after != before:
        write_atomically(README, after.encode())
    return after == before
