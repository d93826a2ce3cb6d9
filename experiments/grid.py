"""What each table and figure needs, decided from options and the results at hand: pure, nothing runs here.

A cell is a row of a table on one data set and architecture. Its temperature is chosen on held-out images, by the
discretised ELBO, among one run for each temperature with the first seed; then every seed runs on the whole training
set. `cell_configs` therefore grows as results come in: plan, run what is missing, plan again, until nothing is missing.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from . import grid_mixture, grid_sop
from .grid_base import Protocol, Row
from .plan import ARCHITECTURES, PAPER_SEEDS, PAPER_TEMPERATURES, ApproximationConfig, RunConfig

VAE_MODELS = ("igr_i", "igr_planar", "igr_sb", "gs")
KNOWN = {"models": VAE_MODELS, "architectures": ARCHITECTURES, "estimators": ("plain", "sl")}


@dataclass(frozen=True)
class Options:
    """What a preset fixes and the command line may narrow. temperatures: one value skips the selection."""

    datasets: tuple = ("mnist", "fmnist", "omniglot")
    architectures: tuple = ("linear", "nonlinear")
    models: tuple = VAE_MODELS
    estimators: tuple = ("plain", "sl")
    temperatures: tuple = PAPER_TEMPERATURES
    seeds: tuple = PAPER_SEEDS
    epochs: int = 300
    selection_images: int | None = None  # how many held-out images choose; None: all
    selection_epochs: int | None = None  # of the runs that choose the temperature; None: the same
    learning_rate: float = 1e-4
    m: int = 1000
    selection_m: int | None = None  # of the runs that choose, whose discretised ELBO needs few codes; None: the same
    law: str = "exact"
    law_draws: int = 10_000
    training_images: int = 10_000
    gs_prior_temperature: float | None = None  # adds rows of Gumbel-Softmax with this prior temperature
    samples: int = 10_000  # figures 1, 3-8: relaxed samples a step,
    steps: int = 1000  # and steps
    figure_draws: int = 1_000_000
    figures_as_published: bool = False  # Gumbel-Softmax by the published code's 200 steps on a KL
    sop: Protocol = grid_sop.PRESETS["paper"]  # table 2
    mixture: Protocol = grid_mixture.PRESETS["paper"]  # table 3


PRESETS = {
    "smoke": Options(
        datasets=("digits",), architectures=("linear",), temperatures=(0.15, 0.5), seeds=PAPER_SEEDS[:1], epochs=5,
        learning_rate=3e-3, m=20,
        law="simulated", law_draws=200, training_images=100, samples=200, steps=100, figure_draws=20_000,
        sop=grid_sop.PRESETS["smoke"], mixture=grid_mixture.PRESETS["smoke"],
    ),
    "fast": Options(
        datasets=("mnist",), architectures=("linear",), temperatures=(0.07, 0.15, 0.4, 0.67, 1.0),
        seeds=PAPER_SEEDS[:2], epochs=50, selection_epochs=10, selection_m=10,
        learning_rate=3e-4, samples=2000, figure_draws=200_000,
        sop=grid_sop.PRESETS["fast"], mixture=grid_mixture.PRESETS["fast"],
    ),
    "paper": Options(),
}  # fmt: skip


@dataclass(frozen=True)
class Cell(Row):
    """One row of a table on one data set and architecture."""

    dataset: str
    architecture: str
    model: str
    estimator: str
    prior_temperature: float | None = None
    n_samples: int = 1

    def base(self, options):
        return RunConfig(
            dataset=self.dataset, model=self.model, estimator=self.estimator, architecture=self.architecture,
            temperature=options.temperatures[0], prior_temperature=self.prior_temperature, epochs=options.epochs,
            learning_rate=options.learning_rate, m=options.m, law_draws=options.law_draws, law=options.law,
            training_images=options.training_images,
            n_samples=self.n_samples,
            seed=options.seeds[0], monitor_every=10 if options.epochs >= 100 else 1,
        )  # fmt: skip

    def selection(self, options):
        return [dataclasses.replace(c, scored_images=options.selection_images) for c in super().selection(options)]

    def candidates(self, options):
        return options.temperatures[: 1 if self.estimator in ("relax", "uspgbl") else None]

    def name(self, options):
        prior = f" (prior τ {self.prior_temperature:g})" if self.prior_temperature else ""
        return f"{self.data} {self.architecture} {self.base(options).label}{prior}"


def table_1(options):
    """Tables 1 and 4 and Figure 2 share these runs."""
    cells = []
    for dataset in options.datasets:
        for architecture in options.architectures:
            for estimator in (e for e in options.estimators if e in ("plain", "sl")):
                for model in options.models:
                    cells.append(Cell(dataset, architecture, model, estimator))
                    if model == "gs" and options.gs_prior_temperature is not None:
                        cells.append(Cell(dataset, architecture, model, estimator, options.gs_prior_temperature))
    return cells


def table_5(options):
    """The log-likelihood bound of IGR-I and GS, plain, with SL and with RELAX; nonlinear (both, where asked for)."""
    models = [m for m in ("igr_i", "gs") if m in options.models]
    return [
        Cell(dataset, architecture, model, estimator)
        for dataset in options.datasets[:1]
        for architecture in options.architectures
        for estimator in ("plain", "sl", "relax")
        for model in models
    ]


def table_6(options):
    """The discretised test ELBO with S = 4: IGR-I, GS, both with RELAX, and USPGBL."""
    cells = []
    for dataset in options.datasets[:1]:
        for architecture in options.architectures:
            pairs = [("igr_i", "plain"), ("gs", "plain"), ("igr_i", "relax"), ("gs", "relax"), ("gs", "uspgbl")]
            cells += [Cell(dataset, architecture, m, e, n_samples=4) for m, e in pairs if m in options.models]
    return cells


def cell_configs(cells, options, results):
    """Every config the cells need as far as the results allow to say: selection runs, then final ones."""
    configs = []
    for cell in cells:
        configs += cell.selection(options)
        configs += cell.final(options, results) or []
    return configs


def cell_upper_bound(cells, options, results=None):
    """As many configs as the cells will need in all, the last candidate where none is chosen yet: for estimates."""
    configs = []
    for cell in cells:
        configs += cell.selection(options)
        last = dataclasses.replace(cell.base(options), **{cell.choice: cell.candidates(options)[-1]})
        stand_in = [dataclasses.replace(last, seed=seed) for seed in cell.protocol(options).seeds]
        configs += cell.final(options, results or {}) or stand_in
    return configs


FIGURES = {  # figure -> (target, [(model, K, temperature)])
    1: ("poisson", [("igr_sb_infinite", 200, 0.01), ("gs", 20, 0.1), ("gs", 40, 0.1), ("gs", 100, 0.1)]),
    3: ("binomial", [("igr_sb", 13, 0.01)]),
    4: ("binomial", [("gs", 13, 0.1)]),
    5: ("discrete", [("igr_i", 10, 0.01)]),
    6: ("discrete", [("gs", 10, 0.1)]),
    7: ("negative_binomial", [("igr_sb_infinite", 200, 0.01)]),
    8: ("negative_binomial", [("gs", 20, 0.1), ("gs", 40, 0.1), ("gs", 100, 0.1)]),
}


def figure_configs(number, options):
    """The fits of Figure 1, 3, ... 8: every model with every seed."""
    target, models = FIGURES[number]
    published = (
        {"objective": "kl_as_published", "steps": min(options.steps, 200)} if options.figures_as_published else {}
    )
    return [
        ApproximationConfig(
            target=target, model=model, n_categories=k, temperature=tau, samples=options.samples,
            law_draws=options.figure_draws, seed=seed,
            **{"steps": options.steps} | (published if model == "gs" else {}),
        )
        for model, k, tau in models
        for seed in options.seeds
    ]  # fmt: skip
