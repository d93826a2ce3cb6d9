"""What measured steps mean in hours: for one run of the paper, and for the whole of Table 1."""

from __future__ import annotations

import numpy

from . import grid


def interpolated(rows, architecture, model, replicas):
    """Seconds of a step of so many replicas, linearly between those measured; models not measured count as IGR-I."""
    for name in (model, "igr_i"):
        known = sorted(
            (row["replicas"], row["best"])
            for row in rows
            if (row["architecture"], row["model"]) == (architecture, name) and "best" in row
        )
        if known:
            break
    if len(known) == 1:
        return known[0][1] * max(1.0, replicas / known[0][0])
    return float(numpy.interp(replicas, *map(list, zip(*known, strict=True)))) if known else None


def extrapolated(rows, scores, options=None, images=60_000, scored=10_000):
    """What the measured steps mean for one run of the paper, by itself and as a share of a group, and for Table 1.

    Table 1's groups are those that `replicas.units` makes: the ten temperatures of a selection, the five final seeds.
    """
    options = options or grid.PRESETS["paper"]
    batches = images // 100
    single = []
    for row in rows:
        if "best" in row:
            seconds = row["best"] * batches * options.epochs
            names = ("architecture", "model", "replicas")
            single.append({name: row[name] for name in names} | {"hours": seconds / 3600 / row["replicas"]})
    training = scoring_seconds = 0.0
    for cell in grid.table_1(options):
        for group in (cell.selection(options), [None] * len(options.seeds)):
            epochs = group[0].epochs if group and group[0] is not None else options.epochs
            step = interpolated(rows, cell.architecture, cell.model, len(group)) if group else 0.0
            if step is None:
                continue
            training += step * batches * epochs
            same = [s for s in scores if s["architecture"] == cell.architecture]
            near = [s for s in same if s["model"] == cell.model] or same
            scoring_seconds += len(group) * scored * near[0]["seconds_an_image"] if near else 0.0
    assumed = f"{images} images, batch 100, {options.epochs} epochs, {scored} scored images, for every data set"
    return {
        "assumed": f"{assumed}; one group at a time",
        "run_of_the_paper_hours_each": single,
        "table_1_training_hours": training / 3600,
        "table_1_scoring_hours": scoring_seconds / 3600,
    }
