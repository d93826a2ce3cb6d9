"""Bias, variance, and the variance with the KL term; Gumbel-Softmax on the left, IGR-I on the right."""

from __future__ import annotations

from ..estimators import FREE, LABELS
from . import style

LOOK = {  # not the colours that stand for models elsewhere
    "reparameterization": ("#000000", "-", "o"),
    "straight-through": ("#E69F00", "-", "^"),
    "REBAR": ("#CC79A7", "-.", "D"),
    "RELAX": ("#7B3294", "-", "v"),
    "score function": ("#8C510A", ":", ""),
    "unordered set": ("#7F7F7F", (0, (1, 1, 4, 1)), ""),
    "reparameterization with KL": ("#000000", style.LINES["plain"], "s"),
    "sticking the landing with KL": ("#7F7F7F", style.LINES["sl"], "D"),
}


def draw(measured, path):
    """`measured`: what estimators.measure returned. Saves the PNG at `path`."""
    plt = style.apply()
    figure, axes = plt.subplots(3, 2, figsize=(9.5, 8.4), sharex=True, sharey="row", layout="constrained")
    ends = [row["temperature"] for row in measured["rows"] if row["temperature"]]
    for column, (model, label) in enumerate(LABELS.items()):
        for name, (colour, line, marker) in LOOK.items():
            rows = [row for row in measured["rows"] if row["model"] == model and row["estimator"] == name]
            x = [row["temperature"] for row in rows] if name not in FREE else [min(ends), max(ends)]
            looks = {"color": colour, "linestyle": line, "marker": marker or None, "markersize": 4, "label": name}
            repeat = 2 if name in FREE else 1
            if name.endswith("KL"):
                axes[2, column].plot(x, [row["variance"] for row in rows], **looks)
                continue
            axes[1, column].plot(x, [row["variance"] for row in rows] * repeat, **looks)
            if name in ("reparameterization", "straight-through"):
                axes[0, column].errorbar(
                    x, [row["bias"] for row in rows], yerr=[row["standard_error"] for row in rows], capsize=2, **looks
                )
            else:  # unbiased: what is measured is the noise of the measurement
                axes[0, column].plot(x, [row["bias"] for row in rows] * repeat, alpha=0.45, **looks)
        axes[0, column].set_title(label)
        axes[2, column].set_xlabel("temperature")
    for ax in axes.ravel():
        ax.set(xscale="log", yscale="log")
    axes[0, 0].set_ylabel("|mean − exact| / |exact|\n(pale: unbiased, noise only)")
    axes[1, 0].set_ylabel("variance / |exact|²")
    axes[2, 0].set_ylabel("variance / |exact|²\nrelaxed KL included")
    handles, labels = (a + b for a, b in zip(*(axes[r, 0].get_legend_handles_labels() for r in (1, 2)), strict=True))
    figure.legend(handles, labels, loc="outside lower center", ncols=4, handlelength=3.5)
    return style.save(figure, path)
