"""python -m experiments audit: the paper and its published code, checked claim by claim, each by a number of our own.

`record` says what a finding is; every other file holds findings; `page` writes the table and the Markdown page, and
plots/audit.py the pictures. Verdicts are computed from the numbers, never stored.
"""

from __future__ import annotations

import importlib
import math
import time

from .record import PRESETS, REGISTRY, Missing, Row, Setting

# the order of the page; importing a file registers its findings
FILES = """scores samples relax relax_training sticks vertices laws quadrature fits figures temperatures gaussians
    planar outputs architectures pixels mixtures kumaraswamy floats printed checks""".split()
for _name in FILES:
    importlib.import_module(f"{__name__}.{_name}")
GROUPS = tuple(dict.fromkeys(found.group for found in REGISTRY.values()))


def run(setting, only=None, say=lambda text: None):
    """Rows of the findings named in `only` (default: all), in the page's order. ValueError for an unknown name."""
    unknown = [name for name in only or () if name not in REGISTRY]
    if unknown:
        raise ValueError(f"no finding named {', '.join(unknown)}; known are {', '.join(REGISTRY)}")
    chosen = [f for group in GROUPS for f in REGISTRY.values() if f.group == group and (not only or f.name in only)]
    rows = []
    for i, found in enumerate(chosen):
        say(f"[{i + 1}/{len(chosen)}] {found.name}")
        started = time.perf_counter()
        outcome, missing = None, ""
        try:
            outcome = found.measure(setting)
            for measure in outcome.measures:
                if not math.isfinite(measure.value):
                    raise FloatingPointError(f"audit, {found.name}: {measure.label} is {measure.value}")
        except Missing as reason:
            missing = str(reason)
        rows.append(Row(found, outcome, missing, time.perf_counter() - started))
    return rows


__all__ = ["GROUPS", "PRESETS", "REGISTRY", "Setting", "run"]
