"""Frozen configs: what a run is. Pure: nothing here reads, trains or writes.

A run is its config; `RunConfig.id` hashes the config, and the run's directory and result carry that name, so the same
plan can be run again and only does what is missing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass

PAPER_SEEDS = (5328, 5945, 8965, 49, 9337)
PAPER_TEMPERATURES = (0.01, 0.03, 0.07, 0.1, 0.25, 0.4, 0.5, 0.67, 0.85, 1.0)
MODELS = {"igr_i": "IGR-I", "igr_sb": "IGR-SB", "gs": "GS"}
ESTIMATORS = {"plain": "", "sl": " + SL"}
ARCHITECTURES = ("linear", "nonlinear")


@dataclass(frozen=True)
class RunConfig:
    """One VAE run. Raises ValueError, naming the field, for values that no run can have.

    estimator          "plain" (reparameterization) or "sl" (sticking the landing)
    prior_temperature  Gumbel-Softmax only: the prior's own temperature; None (default) is the posterior's (AUDIT 11)
    validation         hold the last training images out, and score on them instead of on the test images
    n_samples          relaxed samples S an image and step
    m                  importance samples of the log-likelihood bound
    law_draws          draws of the simulated discrete law, where there is no formula (IGR-SB)
    monitor_every      epochs between the continuous ELBOs of the learning curve; 0: none
    """

    dataset: str = "digits"
    model: str = "igr_i"
    estimator: str = "plain"
    architecture: str = "linear"
    temperature: float = 0.15
    prior_temperature: float | None = None
    delta: float = 1.0
    n_variables: int = 20
    n_categories: int = 10
    batch_size: int = 100
    epochs: int = 300
    learning_rate: float = 1e-4
    n_samples: int = 1
    dtype: str = "float32"
    seed: int = PAPER_SEEDS[0]
    validation: bool = False
    m: int = 1000
    law_draws: int = 10_000
    monitor_every: int = 1

    def __post_init__(self):
        choices = {
            "model": MODELS,
            "estimator": ESTIMATORS,
            "architecture": ARCHITECTURES,
            "dtype": ("float32", "float64"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}")
        for name in ("n_variables", "batch_size", "epochs", "n_samples", "m", "law_draws"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {getattr(self, name)!r}")
        for name in ("temperature", "learning_rate", "delta"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be greater than 0 and finite, got {getattr(self, name)!r}")
        least = 3 if self.model == "igr_sb" else 2
        if not isinstance(self.n_categories, int) or self.n_categories < least:
            raise ValueError(f"n_categories must be a whole number of at least {least}, got {self.n_categories!r}")
        for name in ("seed", "monitor_every"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 0:
                raise ValueError(f"{name} must be a whole number of at least 0, got {getattr(self, name)!r}")
        if self.prior_temperature is not None:
            if self.model != "gs":
                raise ValueError("prior_temperature applies to model gs only: IGR shares one g with its prior (eq. 13)")
            if not 0 < self.prior_temperature < float("inf"):
                raise ValueError(f"prior_temperature must be greater than 0, got {self.prior_temperature!r}")

    @property
    def label(self):
        """As in the paper's tables: "IGR-I + SL"."""
        return MODELS[self.model] + ESTIMATORS[self.estimator]

    @property
    def id(self):
        """A stable name: readable parts, then ten digits of the hash of every field."""
        digest = hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:10]
        data = "".join(c if c.isalnum() else "_" for c in self.dataset.rsplit("/", 1)[-1])
        parts = (data, self.architecture, self.model, self.estimator, f"tau{self.temperature:g}", f"seed{self.seed}")
        return "-".join((*parts, digest))

    def as_dict(self):
        return dataclasses.asdict(self)


def from_dict(fields):
    """RunConfig of a dict such as a result's "config"; ValueError for fields this version does not know."""
    known = {field.name for field in dataclasses.fields(RunConfig)}
    unknown = sorted(set(fields) - known)
    if unknown:
        raise ValueError(f"the config has fields that this version does not know: {', '.join(unknown)}")
    return RunConfig(**fields)


def quickstart():
    """The embedded digits: three relaxations, both estimators.

    Gumbel-Softmax has the published code's prior temperature of .5 (AUDIT 11): with the posterior's own, its code
    collapses on this small set, and there would be nothing to draw.
    """
    common = {"dataset": "digits", "epochs": 200, "learning_rate": 3e-3, "monitor_every": 4}
    settings = ({"model": "igr_i", "temperature": 0.15}, {"model": "igr_sb", "temperature": 0.07},
                {"model": "gs", "temperature": 0.67, "prior_temperature": 0.5})  # fmt: skip
    return [RunConfig(estimator=estimator, **setting, **common) for setting in settings for estimator in ESTIMATORS]


def probes():
    """The probe table at the end of EXPERIMENTS section 11: MNIST, linear, plain, lr 1e-3, 10 epochs, one seed."""
    common = {"dataset": "mnist", "epochs": 10, "learning_rate": 1e-3}
    igr = [RunConfig(model="igr_i", temperature=t, **common) for t in (0.15, 0.67)]
    pairs = ((0.5, 0.5), (1.0, 0.5), (0.67, 0.67), (0.67, 0.5), (0.85, 0.5), (0.25, 0.25), (1.0, 1.0))
    return igr + [RunConfig(model="gs", temperature=t, prior_temperature=p, **common) for t, p in pairs]
