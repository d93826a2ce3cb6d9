"""The scores of finished runs, a row each: mean ± standard error over images, in nats.

ESS is the median effective sample size of the importance weights. Which columns there are depends on the kind of run.
"""

from __future__ import annotations

from ..plan import from_dict
from . import mean_se, number


def _temperature(config, metrics):
    tau = getattr(config, "temperature", None)
    return "—" if tau is None else f"{tau:g}"


def _prior_temperature(config, metrics):
    prior = config.temperature if config.prior_temperature is None else config.prior_temperature
    return f"{prior:g}" if config.model == "gs" else "—"


def _components(config, metrics):
    return str(config.n_components)


def _score(name):
    return lambda config, metrics: mean_se(metrics[name]) if name in metrics else "—"


def _ess(config, metrics):
    return number(metrics["ess"]["median"], 0) if "ess" in metrics else "—"


BOUND, PUBLISHED = ("log-lik. bound", _score("loglik")), ("as published", _score("as_published"))
COLUMNS = {
    "vae": (
        ("τ", _temperature), ("prior τ", _prior_temperature), ("continuous ELBO", _score("continuous_elbo")),
        ("discrete ELBO", _score("discrete_elbo")), BOUND, PUBLISHED, ("ESS", _ess),
    ),
    "sop": (("τ", _temperature), ("one sample", _score("one_sample")), BOUND),
    "mixture": (("K", _components), ("structured ELBO", _score("elbo")), BOUND, PUBLISHED, ("ESS", _ess)),
}  # fmt: skip


def table(results, part="all"):
    """(header, rows) of results of one kind of run."""
    configs = [from_dict(result["config"]) for result in results]
    names, cells = zip(*COLUMNS[configs[0].kind], strict=True)
    rows = []
    for config, result in zip(configs, results, strict=True):
        metrics = result["metrics"][part]
        seconds = number(sum(result["seconds"].values()), 0)
        rows.append((config.label, *(cell(config, metrics) for cell in cells), seconds))
    return ("model", *names, "seconds"), rows
