"""The config of a nonparametric mixture run (section 4.4, Table 3)."""

from __future__ import annotations

from dataclasses import dataclass

from .plan_base import TrainingConfig

MIXTURES = {"igr_sb_mm": "IGR-SB-MM", "dldpmm": "DLDPMM"}
STICKS = {"igr_sb_mm": "logit_normal", "dldpmm": "kumaraswamy"}
MIXTURE_ESTIMATORS = {"plain": "", "sl": " + SL", "as_published": " + SL (as published)"}


@dataclass(frozen=True)
class MixtureConfig(TrainingConfig):
    """A VAE whose latent law is a mixture of n_components Gaussians with stick-breaking weights.

    model         "igr_sb_mm": logit-normal sticks, cut at rho and percentile while training (eq. 19), all of them when
                  scored. "dldpmm": Kumaraswamy sticks, never cut
    estimator     "sl" or "plain" (closed KLs); "as_published" trains on the official code's loss, with component means
                  drawn for each place in a batch
    n_components  K; IGR-SB-MM has 19 sticks, so 20
    m             importance samples of the log-likelihood bound
    """

    kind = "mixture"
    model: str = "igr_sb_mm"
    estimator: str = "sl"
    n_components: int = 20
    n_latent: int = 50
    width: int = 200
    rho: float = 0.9999
    percentile: float = 70.0
    epochs: int = 300
    learning_rate: float = 3e-4

    def __post_init__(self):
        super().__post_init__()
        self._require_choice(model=MIXTURES, estimator=MIXTURE_ESTIMATORS)
        self._require_count("n_latent", "width")
        self._require_count("n_components", least=2)
        self._require(("rho",), lambda v: isinstance(v, float) and 0 < v < 1, "between 0 and 1")
        self._require(("percentile",), lambda v: isinstance(v, (int, float)) and 0 < v <= 100, "in (0, 100]")

    @property
    def label(self):
        """As in Table 3: "IGR-SB-MM + SL"."""
        return MIXTURES[self.model] + MIXTURE_ESTIMATORS[self.estimator]

    def _parts(self):
        return (self._data_part(), self.model, self.estimator, f"K{self.n_components}", f"seed{self.seed}")
