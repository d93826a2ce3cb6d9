"""Figures 1 and 3-8 in numbers: how far the recovered law is from its target, over seeds."""

from __future__ import annotations

import numpy

from .. import approximate
from ..plan import TARGETS
from . import mean_sd, number

HEADER = (
    "target", "model", "objective, steps", "total variation", "mean", "sd", "target's mean, sd", "seeds",
    "minutes a fit",
)  # fmt: skip
LEFT = ("model", "objective, steps")  # text
OBJECTIVES = {"moments": "squared error", "as_printed": "eq. 14 as printed", "kl_as_published": "KL, as published"}


def rows(configs, results):
    """A row for each model among the configs (all seeds of it together); "missing" where no seed is there."""
    groups = {}
    for config in {c.id: c for c in configs}.values():
        groups.setdefault((config.target, config.label, config.objective, config.steps), []).append(config)
    return [_row(group, [results[c.id] for c in group if c.id in results]) for group in groups.values()]


def _row(group, done):
    config = group[0]
    target = numpy.asarray(approximate.target_probs(config.target, 1000))
    aim = approximate.measures(config, target)
    cells = [TARGETS[config.target], config.label, f"{OBJECTIVES[config.objective]}, {config.steps:,}"]
    for key, digits in (("total_variation", 4), ("mean", 2), ("sd", 2)):
        values = [r["metrics"]["final"][key] for r in done]
        cells.append(mean_sd(values, digits) if values else "missing")
    minutes = numpy.mean([sum(r["seconds"].values()) for r in done]) / 60 if done else None
    cells.append(f"{number(aim['mean'])}, {number(aim['sd'])}")
    return (*cells, f"{len(done)}/{len(group)}", number(minutes, 1))
