"""Frozen configs: what a run is. Pure: nothing here reads, trains or writes.

A run is its config; `RunConfig.id` hashes the config, and the run's directory and result carry that name, so the same
plan can be run again and only does what is missing.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from .plan_base import PAPER_SEEDS, Config
from .plan_mixture import MixtureConfig
from .plan_sop import SOPConfig

PAPER_TEMPERATURES = (0.01, 0.03, 0.07, 0.1, 0.25, 0.4, 0.5, 0.67, 0.85, 1.0)
MODELS = {"igr_i": "IGR-I", "igr_planar": "IGR-Planar", "igr_sb": "IGR-SB", "gs": "GS"}
ESTIMATORS = {"plain": "", "sl": " + SL", "relax": " + RELAX", "uspgbl": " + USPGBL"}
DISCRETE = ("relax", "uspgbl")  # estimators that train the discrete model itself: no relaxed objective
ARCHITECTURES = ("linear", "nonlinear")


@dataclass(frozen=True)
class RunConfig(Config):
    """One VAE run. Raises ValueError, naming the field, for values that no run can have.

    estimator          "plain" (reparameterization), "sl" (sticking the landing), "relax" or "uspgbl"
    prior_temperature  Gumbel-Softmax only: the prior's own temperature; None (default) is the posterior's
    validation         hold the last training images out, and score on them instead of on the test images
    n_samples          samples S an image and step (uspgbl: the size of the set)
    m                  importance samples of the log-likelihood bound
    law_draws          draws of the simulated discrete law, where there is no formula (IGR-Planar)
    monitor_every      epochs between the ELBOs of the learning curve; 0: none
    relax_temperature  where RELAX's lambda starts; None: 5 for Gumbel-Softmax, .15 for IGR
    relax_coupled      RELAX: the sample given b equals the free one in value (their derivatives differ), instead of
                       being drawn anew; as unbiased, and cheaper
    law                "exact", or "simulated" for IGR-SB too, whose exact law takes two milliseconds a variable
    training_images    how many of the first training images the discretised training ELBO is taken over (Table 4)
    scored_images      only the first so many test or held-out images are scored; None: all
    """

    kind = "vae"
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
    relax_temperature: float | None = None
    relax_coupled: bool = False
    law: str = "exact"
    training_images: int = 10_000
    scored_images: int | None = None

    def __post_init__(self):
        self._require_training()
        self._require_choice(model=MODELS, estimator=ESTIMATORS, architecture=ARCHITECTURES, law=("exact", "simulated"))
        self._require_count("n_variables", "law_draws")
        self._require_count("training_images", least=0)
        self._require_count("n_categories", least=3 if self.model == "igr_sb" else 2)
        self._require_positive("temperature", "delta")
        if self.scored_images is not None:
            self._require_count("scored_images")
        if self.prior_temperature is not None:
            if self.model != "gs":
                raise ValueError("prior_temperature applies to model gs only: IGR shares one g with its prior (eq. 13)")
            self._require_positive("prior_temperature")
        if self.relax_temperature is not None:
            self._require_positive("relax_temperature")
        if self.estimator in DISCRETE and self.model not in ("igr_i", "gs"):
            raise ValueError(f"estimator {self.estimator} needs an explicit discrete law: model igr_i or gs")
        if self.estimator == "uspgbl" and self.n_samples < 2:
            raise ValueError(f"estimator uspgbl needs n_samples of at least 2, got {self.n_samples}")

    @property
    def label(self):
        """As in the paper's tables: "IGR-I + SL"."""
        if self.estimator == "uspgbl" and self.model == "gs":
            return "USPGBL"
        return MODELS[self.model] + ESTIMATORS[self.estimator]

    def _parts(self):
        return (
            self._data_part(),
            self.architecture,
            self.model,
            self.estimator,
            f"tau{self.temperature:g}",
            f"seed{self.seed}",
        )


TARGETS = {
    "poisson": "Poisson(50)",
    "binomial": "Binomial(12, .3)",
    "discrete": "10 weights",
    "negative_binomial": "NB(50, .6)",
}


@dataclass(frozen=True)
class ApproximationConfig(Config):
    """Fitting a relaxation to a given discrete law by eq. 14 (Figures 1, 3-8).

    model         "igr_sb_infinite" (n_categories - 1 sticks at most, truncated at rho), "igr_sb", "igr_i" or "gs"
    n_categories  K; a target's tail beyond it is cut off and not renormalised (audit truncated-targets)
    objective     "moments"; "kl_as_published" is the official code's for Gumbel-Softmax (audit figure-1-steps)
    law_draws     draws of the recovered law where it is simulated (igr_sb_infinite)
    """

    kind = "approximation"
    target: str = "poisson"
    model: str = "igr_sb_infinite"
    n_categories: int = 200
    temperature: float = 0.01
    samples: int = 10_000
    steps: int = 1000
    learning_rate: float = 0.01
    objective: str = "moments"
    rho: float = 0.9
    percentile: float = 70.0
    dtype: str = "float32"
    seed: int = PAPER_SEEDS[0]
    law_draws: int = 1_000_000

    def __post_init__(self):
        self._require_choice(
            target=TARGETS, model=("igr_sb_infinite", "igr_sb", "igr_i", "gs"), dtype=("float32", "float64"),
            objective=("moments", "as_printed", "kl_as_published"),
        )  # fmt: skip
        self._require_count("samples", "steps", "law_draws")
        self._require_count("n_categories", least=3)
        self._require_count("seed", least=0)
        self._require_positive("temperature", "learning_rate", "rho", "percentile")

    @property
    def label(self):
        names = {"igr_sb_infinite": "IGR-SB", "igr_sb": "IGR-SB", "igr_i": "IGR-I", "gs": f"GS, K={self.n_categories}"}
        return names[self.model]

    def _parts(self):
        return (self.target, self.model, f"K{self.n_categories}", f"steps{self.steps}", f"seed{self.seed}")


KINDS = {config.kind: config for config in (RunConfig, ApproximationConfig, SOPConfig, MixtureConfig)}


def from_dict(fields):
    """The config of a dict such as a result's "config"; ValueError for a kind or fields this version does not know."""
    if not isinstance(fields, dict):
        raise ValueError(f"a config is a dict of fields, got {fields!r}")
    fields = dict(fields)
    kind = fields.pop("kind", "vae")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    unknown = sorted(set(fields) - {field.name for field in dataclasses.fields(KINDS[kind])})
    if unknown:
        raise ValueError(f"the config has fields that this version does not know: {', '.join(unknown)}")
    for name, value in fields.items():
        if isinstance(value, (dict, list)) or (name == "dataset" and not isinstance(value, str)):
            raise ValueError(f"the config's {name} cannot be {value!r}")
    return KINDS[kind](**fields)


def quickstart():
    """The embedded digits: three relaxations, both estimators.

    Gumbel-Softmax has the published code's prior temperature of .5: with the posterior's own, its code
    collapses on this small set, and there would be nothing to draw.
    """
    common = {"dataset": "digits", "epochs": 200, "learning_rate": 3e-3, "monitor_every": 4, "training_images": 0,
              "law": "simulated", "law_draws": 2000}  # fmt: skip
    settings = ({"model": "igr_i", "temperature": 0.15}, {"model": "igr_sb", "temperature": 0.07},
                {"model": "gs", "temperature": 0.67, "prior_temperature": 0.5})  # fmt: skip
    return [
        RunConfig(estimator=estimator, **setting, **common) for setting in settings for estimator in ("plain", "sl")
    ]


def probes():
    """The probe table of the README: MNIST, linear, plain, lr 1e-3, 10 epochs, one seed."""
    common = {"dataset": "mnist", "epochs": 10, "learning_rate": 1e-3}
    igr = [RunConfig(model="igr_i", temperature=t, **common) for t in (0.15, 0.67)]
    pairs = ((0.5, 0.5), (1.0, 0.5), (0.67, 0.67), (0.67, 0.5), (0.85, 0.5), (0.25, 0.25), (1.0, 1.0))
    return igr + [RunConfig(model="gs", temperature=t, prior_temperature=p, **common) for t, p in pairs]
