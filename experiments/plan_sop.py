"""The config of a structured output prediction run (section 4.3, Table 2)."""

from __future__ import annotations

from dataclasses import dataclass

from .plan_base import TrainingConfig

SOP_MODELS = {
    "igr_i": "IGR-I", "igr_planar": "IGR-Planar", "igr_sb": "IGR-SB", "gs": "GS",
    "igr_i_as_published": "IGR-I (as published)", "igr_sb_as_published": "IGR-SB (as published)",
}  # fmt: skip
AS_PUBLISHED = ("igr_i_as_published", "igr_sb_as_published")  # units without a temperature
SOP_ARCHITECTURES = ("nonlinear", "double_linear")


@dataclass(frozen=True)
class SOPConfig(TrainingConfig):
    """The lower half of an image from the upper, through two layers of n_units binary units.

    model          "igr_sb" keeps the remainder, so both values of a unit occur. "igr_i_as_published" has sigma = 1 and
                   no temperature; "igr_sb_as_published" is constant once discretised
    architecture   "nonlinear" (appendix E) or "double_linear", which the published script runs
    learning_rate  the first; in step t = 0, 1, ... it is max(least_learning_rate, learning_rate/(1 + decay t))
    m              samples of the bound on log p(lower half | upper half)
    """

    kind = "sop"
    model: str = "igr_i"
    architecture: str = "nonlinear"
    temperature: float = 1.0
    n_units: int = 240
    delta: float = 1.0
    least_learning_rate: float = 1e-4
    decay: float = 1e-3

    def __post_init__(self):
        super().__post_init__()
        self._require_choice(model=SOP_MODELS, architecture=SOP_ARCHITECTURES)
        self._require_count("n_units")
        self._require_positive("temperature", "delta", "least_learning_rate")
        self._require(("decay",), lambda v: isinstance(v, (int, float)) and 0 <= v < float("inf"), "at least 0")
        if self.delta != 1 and self.model != "igr_i":
            raise ValueError(f"delta applies to model igr_i only, got {self.delta!r} for {self.model}")
        if self.temperature != 1 and self.model in AS_PUBLISHED:
            raise ValueError(f"model {self.model} has no temperature: leave it at 1, got {self.temperature!r}")

    @property
    def label(self):
        return SOP_MODELS[self.model]

    def _parts(self):
        name = (self._data_part(), "sop", self.architecture, self.model)
        return (*name, f"tau{self.temperature:g}", f"seed{self.seed}")
