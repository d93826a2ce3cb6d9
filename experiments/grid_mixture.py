"""Table 3: nonparametric mixtures. DLDPMM's K is chosen by the structured ELBO of held-out images.

By that rather than by the bound of m samples, the table's metric: it costs a hundredth of it, and favours no K by m.
"""

from __future__ import annotations

from dataclasses import dataclass

from .grid_base import OwnProtocol, Protocol
from .plan_base import PAPER_SEEDS
from .plan_mixture import MIXTURE_ESTIMATORS, MIXTURES, MixtureConfig

COMPONENTS = (7, 9, 11, 13, 15, 17)
STICK_BREAKING = 20  # components of IGR-SB-MM: 19 sticks and what they leave
KNOWN = {"models": tuple(MIXTURES), "estimators": tuple(MIXTURE_ESTIMATORS)}
PRESETS = {
    "smoke": Protocol(
        datasets=("digits",), models=tuple(MIXTURES), estimators=("sl",), components=(7, 11), seeds=PAPER_SEEDS[:1],
        epochs=10, selection_epochs=5, learning_rate=3e-3, m=20, selection_m=1,
    ),
    "fast": Protocol(
        datasets=("mnist",), models=tuple(MIXTURES), estimators=("sl",), components=(7, 11, 17), seeds=PAPER_SEEDS[:2],
        epochs=30, selection_epochs=10, learning_rate=3e-4, m=100, selection_m=1,
    ),
    "paper": Protocol(
        datasets=("mnist", "omniglot"), models=tuple(MIXTURES), estimators=("sl",), components=COMPONENTS, epochs=300,
        learning_rate=3e-4, selection_m=1,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class MixtureCell(OwnProtocol):
    """One row of Table 3 on one data set."""

    part, criterion, choice, symbol = "mixture", "elbo", "n_components", "K"
    dataset: str
    model: str
    estimator: str

    def candidates(self, options):
        return self.protocol(options).components if self.model == "dldpmm" else (STICK_BREAKING,)

    def base(self, options):
        return MixtureConfig(
            dataset=self.dataset, model=self.model, estimator=self.estimator,
            n_components=self.candidates(options)[0], **self.common(options),
        )  # fmt: skip

    def name(self, options):
        return f"{self.data} {self.base(options).label}"


def table_3(options):
    p = options.mixture
    return [MixtureCell(d, m, e) for d in p.datasets for e in p.estimators for m in p.models]
