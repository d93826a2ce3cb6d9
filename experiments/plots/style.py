"""The look of every figure: one colour for each model everywhere, and line styles and markers that survive in grey."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from PIL import Image

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


def save(figure, path, shown=None):
    """Write a PNG atomically, without a date inside, so that the same figure is the same file. Returns the path.

    `shown`: the numbers in the picture (anything JSON can hold); their hash goes into the file, for `source`.
    """
    buffer = io.BytesIO()
    text = json.dumps(shown, sort_keys=True).encode()
    metadata = {"Software": None} | ({} if shown is None else {"Source": hashlib.sha256(text).hexdigest()})
    figure.savefig(buffer, format="png", metadata=metadata)
    plt.close(figure)
    write_atomically(path, buffer.getvalue())
    return path


def source(path):
    """The hash of the numbers that a saved figure shows; None if there is no such file, or no hash in it."""
    try:
        with Image.open(path) as image:
            return image.info.get("Source")
    except FileNotFoundError:
        return None
