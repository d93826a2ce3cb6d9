"""Figures 1 and 3-8: the target in grey, samples of the recovered law in colour; before the fit, and after it."""

from __future__ import annotations

import numpy

from igr_ref import noise

from ..approximate import target_probs
from ..plan import TARGETS, from_dict
from . import style

AXES = {"poisson": (70, 0.2), "negative_binomial": (70, 0.2), "binomial": (12, 0.3), "discrete": (9, 0.3)}
SHADES = {20: "#F4A582", 40: "#D55E00", 100: "#7F3300"}  # Gumbel-Softmax's colour, darker with K
HATCHES = {20: "", 40: "///", 100: "..."}
SAMPLES = {"gs": 10_000}  # 1,000 for IGR


def draw(results, path):
    """`results`: finished ApproximationConfig results of one figure, one seed each. Saves the PNG at `path`."""
    plt = style.apply()
    families = []
    for family in ("igr", "gs"):
        group = [r for r in results if from_dict(r["config"]).model.startswith(family)]
        if group:
            families.append(group)
    figure, grid = plt.subplots(
        len(families), 2, figsize=(10, 2.9 * len(families)), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for row, group in zip(grid, families, strict=True):
        for axes, when in zip(row, ("initial", "final"), strict=True):
            _panel(axes, group, when)
            axes.set_title(f"{when} law" if when == "initial" else f"after {group[0]['config']['steps']:,} steps")
        row[0].set_ylabel("probability")
    for axes in grid[-1]:
        axes.set_xlabel("category")
    return style.save(figure, path, shown=[[r["config"], r["laws"], r["metrics"]] for r in results])


def _panel(axes, group, when):
    target = group[0]["config"]["target"]
    last, height = AXES[target]
    support = numpy.arange(last + 1)
    axes.bar(support, target_probs(target, last + 1), width=1.0, color="0.75", label=TARGETS[target], zorder=1)
    for result in group:
        config = from_dict(result["config"])
        law = numpy.array(result["laws"][when])
        rng = noise.generator(config.seed, f"figure-{when}")
        n = SAMPLES.get(config.model, 1000)
        counts = numpy.bincount(rng.choice(len(law), size=n, p=law / law.sum()), minlength=last + 1)[: last + 1]
        model = "gs" if config.model == "gs" else "igr_sb" if config.model.startswith("igr_sb") else "igr_i"
        colour = SHADES.get(config.n_categories, style.COLOURS[model]) if model == "gs" else style.COLOURS[model]
        measured = result["metrics"][when]
        moments = f"mean {measured['mean']:.1f}, sd {measured['sd']:.1f}"
        text = f"{config.label}: TV {measured['total_variation']:.3f}, {moments}"
        axes.bar(
            support, counts / n, width=1.0, facecolor="none" if len(group) > 1 else colour, edgecolor=colour,
            alpha=1.0 if len(group) > 1 else 0.6, hatch=HATCHES.get(config.n_categories, ""), linewidth=0.9, label=text,
            zorder=2,
        )  # fmt: skip
    axes.set(xlim=(-0.7, last + 0.7), ylim=(0, height))
    axes.legend(loc="upper right", fontsize=7)
