"""Table 2: structured output prediction. The temperature is chosen by the bound of held-out images.

Both architectures, as the printed numbers are more likely those of "double_linear": in "nonlinear", appendix
E's, Gumbel-Softmax stays at the pixels' means, -108.4 on MNIST, for 20 epochs at least, at temperature 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from .grid_base import OwnProtocol, Protocol
from .plan import PAPER_TEMPERATURES
from .plan_base import PAPER_SEEDS
from .plan_sop import AS_PUBLISHED, SOP_ARCHITECTURES, SOP_MODELS, SOPConfig

MODELS = ("igr_i", "igr_planar", "igr_sb", "gs")
KNOWN = {"models": tuple(SOP_MODELS), "architectures": SOP_ARCHITECTURES}
PRESETS = {
    "smoke": Protocol(
        datasets=("digits",), models=MODELS, architectures=("nonlinear",), temperatures=(0.25, 1.0),
        seeds=PAPER_SEEDS[:1], epochs=10, selection_epochs=5, learning_rate=1e-3, m=20,
    ),
    "fast": Protocol(
        datasets=("mnist",), models=MODELS, architectures=SOP_ARCHITECTURES, temperatures=(0.1, 0.25, 0.5, 1.0),
        seeds=PAPER_SEEDS[:2], epochs=20, selection_epochs=5, selection_m=100, learning_rate=1e-3,
    ),
    "paper": Protocol(
        datasets=("mnist",), models=MODELS, architectures=SOP_ARCHITECTURES, temperatures=PAPER_TEMPERATURES,
        epochs=100, learning_rate=1e-3,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class SOPCell(OwnProtocol):
    """One row of Table 2 on one data set and architecture."""

    part, criterion = "sop", "loglik"
    dataset: str
    architecture: str
    model: str

    def candidates(self, options):
        return (1.0,) if self.model in AS_PUBLISHED else self.protocol(options).temperatures

    def base(self, options):
        return SOPConfig(
            dataset=self.dataset, architecture=self.architecture, model=self.model,
            temperature=self.candidates(options)[0], **self.common(options),
        )  # fmt: skip

    def name(self, options):
        return f"{self.data} {self.architecture} {self.base(options).label}"


def table_2(options):
    p = options.sop
    return [SOPCell(d, a, m) for d in p.datasets for a in p.architectures for m in p.models]
