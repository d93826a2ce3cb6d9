"""What all kinds of configs share: a stable id, the way to a dict, and checks that name the field."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass

PAPER_SEEDS = (5328, 5945, 8965, 49, 9337)


class Config:
    """The base of the frozen dataclasses that describe runs; `kind` tells them apart in files."""

    kind = ""

    @property
    def id(self):
        """A stable name: readable parts, then ten digits of the hash of every field that is not at its default.

        A field that a later version adds thus changes no id as long as it is left at its default.
        """
        changed = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }
        digest = hashlib.sha256(json.dumps([self.kind, changed], sort_keys=True).encode()).hexdigest()[:10]
        return "-".join((*self._parts(), digest))

    def _parts(self):
        raise NotImplementedError

    def _data_part(self):
        return "".join(c if c.isalnum() else "_" for c in self.dataset.rsplit("/", 1)[-1])

    def as_dict(self):
        return {"kind": self.kind, **dataclasses.asdict(self)}

    def _require(self, names, test, wanted):
        for name in names:
            if not test(getattr(self, name)):
                raise ValueError(f"{name} must be {wanted}, got {getattr(self, name)!r}")

    def _require_choice(self, **choices):
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}")

    def _require_positive(self, *names):
        self._require(
            names, lambda v: isinstance(v, (int, float)) and 0 < v < float("inf"), "greater than 0 and finite"
        )

    def _require_count(self, *names, least=1):
        self._require(names, lambda v: type(v) is int and v >= least, f"a whole number of at least {least}")

    def _require_training(self):
        """The fields of every config that trains on images."""
        self._require_choice(dtype=("float32", "float64"))
        self._require_count("batch_size", "epochs", "n_samples", "m")
        self._require_count("seed", "monitor_every", least=0)
        self._require_positive("learning_rate")


@dataclass(frozen=True)
class TrainingConfig(Config):
    """What structured output prediction and mixtures share: training, and the bound of m samples that scores it.

    n_samples   samples S an image and step
    validation  hold the last training images out, and score on them instead of on the test images
    """

    training_images = 0  # no score of training images is asked for
    dataset: str = "mnist"
    model: str = ""
    batch_size: int = 100
    epochs: int = 100
    learning_rate: float = 1e-3
    n_samples: int = 1
    dtype: str = "float32"
    seed: int = PAPER_SEEDS[0]
    validation: bool = False
    m: int = 1000
    monitor_every: int = 1

    def __post_init__(self):
        self._require_training()
