"""Figure 2: continuous ELBO of the test images against epoch, mean over seeds and one standard deviation."""

from __future__ import annotations

import numpy

from .. import grid
from ..plan import MODELS
from . import style


def draw(options, results, path, *more):
    """Curves of the plain, linear runs of the first data set. Returns the path, or None if no run is there.

    more: the Options of further groups of rows, their data set and architecture the same.
    """
    plt = style.apply()
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    shown = []
    dataset = options.datasets[0]
    rows = [(cell, group) for group in (options, *more) for cell in grid.table_1(group)]
    for cell, group in rows:
        if (cell.dataset, cell.architecture, cell.estimator) != (dataset, options.architectures[0], "plain"):
            continue
        done = [results[c.id] for c in cell.final(group, results) or [] if c.id in results]
        if not done:
            continue
        curves = [[(p["epoch"], p["continuous_elbo"]) for p in r["history"] if "continuous_elbo" in p] for r in done]
        epoch, values = numpy.array(curves[0])[:, 0], numpy.array(curves)[:, :, 1] / 100
        mean = values.mean(axis=0)
        name = MODELS[cell.model] + (f" (prior τ {cell.prior_temperature:g})" if cell.prior_temperature else "")
        looks = {"color": style.COLOURS[cell.model], "linestyle": "--" if cell.prior_temperature else "-"}
        seeds = f"{len(done)} seed{'s' if len(done) > 1 else ''}"
        axes.plot(
            epoch, mean, marker=style.MARKERS[cell.model], markersize=4, markevery=max(1, len(epoch) // 8),
            label=f"{name}, τ={done[0]['config']['temperature']:g}, {seeds}", **looks,
        )  # fmt: skip
        if len(done) > 1:
            sd = values.std(axis=0, ddof=1)
            axes.fill_between(epoch, mean - sd, mean + sd, color=looks["color"], alpha=0.2, linewidth=0)
        shown.append([name, done[0]["config"]["temperature"], epoch.tolist(), values.tolist()])
    if not shown:
        plt.close(figure)
        return None
    axes.set(xlabel="epoch", ylabel="continuous test ELBO / 100 (nats per image)", title=f"{dataset}, linear")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(loc="lower right")
    return style.save(figure, path, shown)
