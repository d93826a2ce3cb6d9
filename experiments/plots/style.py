"""The look of every figure: one colour for each model everywhere, and line styles and markers that survive in grey."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from ..store import write_atomically

FIGURES = Path(__file__).resolve().parents[2] / "figures"
# Okabe and Ito's palette: told apart by colour-blind readers, and of different lightness in grey.
COLOURS = {"igr_i": "#0072B2", "igr_planar": "#56B4E9", "igr_sb": "#009E73", "gs": "#D55E00"}
MARKERS = {"igr_i": "o", "igr_planar": "D", "igr_sb": "s", "gs": "^"}
LINES = {"plain": "-", "sl": (0, (4, 1.5))}


def apply():
    """matplotlib.pyplot, with the house style in force."""
    plt.style.use(FIGURES / "igr.mplstyle")
    return plt


def save(figure, path):
    """Write a PNG atomically, without a date inside, so that the same figure is the same file. Returns the path."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(figure)
    write_atomically(path, buffer.getvalue())
    return path
