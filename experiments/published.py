"""What this project runs on real data and publishes: the options of every sheet, fixed before its runs.

`python -m experiments published` runs what is missing of them into experiments/results; `report` draws README's and
figures/REPRODUCTION.md's tables and figures from there. Where a sheet departs from the paper's protocol (fewer epochs,
seeds or temperatures), its note says so, and every table shows its epochs, seeds and m.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from . import grid

PAPER = grid.PRESETS["paper"]
# AUDIT 19: the published code fits Gumbel-Softmax by 200 steps on a KL; IGR as in the paper.
AS_PUBLISHED = replace(PAPER, figures_as_published=True)


@dataclass(frozen=True)
class Sheet:
    """One table or figure as published: the command, its options, and what a reader must know."""

    command: str
    options: grid.Options
    note: str = ""


SHEETS = {f"figure{n}": Sheet(f"figure{n}", PAPER) for n in grid.FIGURES} | {
    f"figure{n}_as_published": Sheet(f"figure{n}", AS_PUBLISHED) for n in (1, 4, 6, 8)
}


def sheets(names=None):
    """{name: Sheet} of the given names (all by default); ValueError for an unknown one."""
    unknown = sorted(set(names or ()) - set(SHEETS))
    if unknown:
        raise ValueError(f"unknown sheets {', '.join(unknown)}; there are {', '.join(SHEETS)}")
    return {name: SHEETS[name] for name in names or SHEETS}
