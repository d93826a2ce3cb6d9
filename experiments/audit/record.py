"""What a finding is: a claim of the paper or its code, what is right, the numbers that decide, and where the code is.

A finding is a function of a Setting, registered by `finding(...)`, that returns an Outcome. Its formula under test is a
keyword argument whose default is the one that was published, so that a test can feed the right one and see the verdict
turn. `holds` is computed from the numbers in every case. `Missing` says that data are needed which are not at hand.
"""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from igr_ref import noise

from .. import data, data_sources

PROBES = Path(__file__).resolve().parents[1] / "results" / "probes"
PRESETS = {"full": 1.0, "smoke": 0.1}  # share of the draws, steps and cases


class Missing(Exception):
    """The finding cannot be measured here; the message says what it needs."""


@dataclass(frozen=True)
class Setting:
    """How much to measure, and from what."""

    preset: str = "full"
    seed: int = 0
    data_dir: str | None = None
    probes: Path = PROBES

    def __post_init__(self):
        if self.preset not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}; got {self.preset!r}")

    def count(self, full, least=1):
        """The preset's share of `full`."""
        return max(least, round(full * PRESETS[self.preset]))

    def rng(self, stream, step=0):
        return noise.generator(self.seed, f"audit-{stream}", step)

    def images(self, name, **options):
        """The data set, from files already at hand: nothing is downloaded for an audit. Missing without them."""
        if name != "digits":
            given = self.data_dir or os.environ.get("IGR_DATA_DIR")
            folders = [data.cache_folder() / name, *((Path(given) / name, Path(given)) if given else ())]
            spelled = [(file, file.removesuffix(".gz")) for file in data_sources.SOURCES[name].files]
            if not all(any((place / f).is_file() for place in folders for f in names) for names in spelled):
                raise Missing(f"needs {name}: give --data-dir, or fetch it with python -m experiments data {name}")
        return data.load(name, self.data_dir, progress=False, **options)


@dataclass(frozen=True)
class Measure:
    """A labelled number; `digits` significant ones are shown."""

    label: str
    value: float
    unit: str = ""
    digits: int = 3

    @property
    def text(self):
        return f"{number(self.value, self.digits)} {self.unit}".rstrip()


@dataclass(frozen=True)
class Outcome:
    """holds: whether the claim does. headline: the measurement in one line. series: what a plot draws (JSON-able)."""

    holds: bool
    headline: str
    measures: tuple
    series: Any = None


@dataclass(frozen=True)
class Finding:
    """name      for --only            title    of its section
    where     equation or section   says     the claim, as the paper or its code has it
    right     what is right         why      the section's text, our own words
    equation  one line, plain text  right_code, wrong_code   where either is computed
    group     the heading it stands under
    """

    name: str
    title: str
    where: str
    says: str
    right: str
    why: str
    equation: str
    right_code: str
    wrong_code: str
    group: str
    measure: Any = field(repr=False, default=None)


@dataclass(frozen=True)
class Row:
    """A finding with its outcome; `missing` says why there is none."""

    finding: Finding
    outcome: Outcome | None
    missing: str
    seconds: float

    @property
    def headline(self):
        """The measurement in one line, with true minus signs; or what is missing."""
        if self.outcome is None:
            return self.missing
        return re.sub(r"(?<![\w.)])-(?=\d)|(?<=\de)-(?=\d)", "−", self.outcome.headline)

    @property
    def verdict(self):
        if self.outcome is None:
            return "not measured"
        return "holds" if self.outcome.holds else "does not hold"

    def as_dict(self):
        texts = {f.name: getattr(self.finding, f.name) for f in dataclasses.fields(Finding) if f.name != "measure"}
        out = {**texts, "verdict": self.verdict, "seconds": round(self.seconds, 2)}
        if self.outcome is None:
            return {**out, "missing": self.missing}
        measures = [{k: v for k, v in dataclasses.asdict(m).items() if k != "digits"} for m in self.outcome.measures]
        return {**out, "headline": self.headline, "measures": measures, "series": self.outcome.series}


REGISTRY = {}


def finding(name, *, title, where, says, right, why, equation="", right_code="", wrong_code="", group):
    """Register a measuring function under `name`; it stays callable as it is."""

    def register(function):
        if name in REGISTRY:
            raise ValueError(f"finding {name!r} is registered twice")
        REGISTRY[name] = Finding(
            name, title, where, says, right, why, equation, right_code, wrong_code, group, function
        )
        return function

    return register


def number(value, digits=3):
    """1,000 for integers, else `digits` significant ones; a true minus sign; powers of ten only far from 1."""
    if isinstance(value, (bool, str)):
        return str(value)
    if float(value) == int(value) and abs(value) < 1e15 and (isinstance(value, int) or value == 0):
        text = f"{int(value):,}"
    elif 1e-3 <= abs(value) < 1e6:
        text = f"{value:#.{digits}g}".rstrip(".")
        if abs(value) >= 10**digits:
            text = f"{value:,.0f}"
    else:
        text = f"{value:.{digits - 1}e}"
    return text.replace("-", "−")
