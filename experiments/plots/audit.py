"""Pictures of the audit's findings that are better seen than read; each draws the `series` of one finding."""

from __future__ import annotations

import numpy

from . import style

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "0.45"
DASHED, DOTTED = (0, (4, 1.5)), (0, (1, 1.2))


def not_a_bound(plt, s):
    figure, ax = plt.subplots(figsize=(7.2, 3.4), layout="constrained")
    i, exact = numpy.arange(len(s["exact"])), numpy.array(s["exact"])
    ax.axhline(0, color="black", linewidth=1, label="log p(x), exact")
    for key, colour, marker, label in (
        ("published", ORANGE, "^", "published metric, m = 1000"),
        ("bound", BLUE, "o", "importance-weighted bound, m = 1000"),
        ("elbo", GREY, "x", "discrete ELBO"),
    ):
        ax.plot(i, numpy.array(s[key]) - exact, marker, markersize=3, color=colour, label=label)
    ax.set(xlabel="test image, ordered by log p(x)", ylabel="difference from log p(x), nats")
    figure.legend(loc="outside lower center", ncols=4, handlelength=1.2, columnspacing=1.2)
    return figure


def uneven_inflation(plt, s):
    figure, ax = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
    labels, gaps = zip(*s[::-1], strict=True)
    ax.barh(range(len(gaps)), gaps, color=[BLUE if name.startswith("IGR") else ORANGE for name in labels], height=0.7,
            hatch=["" if name.startswith("IGR") else "///" for name in labels], edgecolor="white")  # fmt: skip
    ax.set_yticks(range(len(gaps)), labels)
    for y, gap in enumerate(gaps):
        ax.text(gap + 0.05, y, f"{gap:.1f}", va="center", fontsize=8)
    ax.set(xlabel="published metric − bound, nats (MNIST, m = 1000)", xlim=(0, max(gaps) * 1.12))
    ax.grid(axis="y", visible=False)
    return figure


def quadrature(plt, s):
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.1), layout="constrained")
    left.plot(s["mu"], s["exact"], color=BLUE, label="composite quadrature")
    left.plot(s["mu"], s["fifteen"], color=ORANGE, linestyle=DASHED, marker="^", markersize=3, label="15 nodes")
    left.set(xlabel="all nine μ (σ = 2.5)", ylabel="sum of the ten probabilities")
    left.legend(loc="lower left")
    for (name, colour, line), label in zip(
        (("paper", ORANGE, "-"), ("code", GREEN, DASHED)), ("eq. 37's box", "the code's box"), strict=True
    ):
        errors = numpy.maximum(s["errors"][name], 1e-16)
        right.plot(numpy.linspace(0, 100, len(errors)), errors, color=colour, linestyle=line, label=label)
    right.set(
        yscale="log", xlabel="random parameters, % (ordered)", ylabel="largest |error| of a probability, 15 nodes"
    )
    right.legend(loc="lower right", bbox_to_anchor=(1, 0.45))
    return figure


def eq_14(plt, s):
    figure, ax = plt.subplots(figsize=(5.5, 3), layout="constrained")
    share = numpy.linspace(0, 100, len(s["z"]))
    ax.plot(share, s["moments"], color=BLUE, label="moment matching")
    ax.plot(share, s["z"], color=ORANGE, linestyle=DASHED, label="eq. 14 as printed")
    ax.axhline(0.1, color=GREY, linestyle=DOTTED, label="the constant p₀ = (.1, …, .1)")
    ax.set(xlabel="samples, % (ordered)", ylabel="largest of ten coordinates of z̃", ylim=(0, 1.02))
    ax.legend(loc="center right")
    return figure


def planar_norm(plt, s):
    figure, ax = plt.subplots(figsize=(4.6, 3.2), layout="constrained")
    ax.plot(s["y"], s["right"], color=BLUE, label="divided by ‖w‖²: increasing")
    ax.plot(s["y"], s["tested"], color=ORANGE, linestyle=DASHED, label="divided by ‖w‖: folds back")
    ax.set(xlabel="y", ylabel="y + ũ tanh(2 y)")
    ax.legend(loc="upper left")
    return figure


def prior_temperature(plt, s):
    figure, ax = plt.subplots(figsize=(5.5, 3), layout="constrained")
    ax.axvline(0.5, color=GREY, linestyle=DOTTED, label="the prior's own temperature")
    ax.plot(s["temperature"], s["kl"], color=ORANGE, marker="^", label="KL of a uniform q, 20 variables")
    ax.set(yscale="symlog", xlabel="temperature τ of q", ylabel="KL to the prior, nats", ylim=(0, 2000))
    ax.legend(loc="upper right")
    return figure


def figure_1_steps(plt, s):
    figure, ax = plt.subplots(figsize=(6.5, 2.2), layout="constrained")
    names = list(s)[::-1]
    values = [s[name][0] for name in names]
    ax.barh(range(len(names)), values, height=0.65, edgecolor="white",
            color=[ORANGE if name.startswith("GS") else GREEN for name in names],
            hatch=["///" if name.startswith("GS") else "" for name in names])  # fmt: skip
    ax.set_yticks(range(len(names)), names)
    for y, name in enumerate(names):
        ax.text(values[y] + 0.004, y, f"{values[y]:.3f}, sd {s[name][1]:.1f}", va="center", fontsize=8)
    ax.set(xlabel="total variation to Poisson(50), whose sd is 7.07", xlim=(0, max(values) * 1.25))
    ax.grid(axis="y", visible=False)
    return figure


PICTURES = {
    "not-a-bound": not_a_bound,
    "uneven-inflation": uneven_inflation,
    "quadrature": quadrature,
    "eq-14": eq_14,
    "planar-norm": planar_norm,
    "prior-temperature": prior_temperature,
    "figure-1-steps": figure_1_steps,
}


def draw(rows, folder, picture_name):
    """The pictures of those rows that have one, saved as folder/picture_name(name); their names."""
    plt = style.apply()
    drawn = []
    for row in rows:
        name = row.finding.name
        if name in PICTURES and row.outcome is not None:
            style.save(PICTURES[name](plt, row.outcome.series), folder / picture_name(name))
            drawn.append(name)
    return drawn
