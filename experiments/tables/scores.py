"""The scores of finished runs, a row each."""

from __future__ import annotations

from ..plan import from_dict
from . import mean_se, number

HEADER = (
    "model",
    "τ",
    "prior τ",
    "continuous ELBO",
    "discrete ELBO",
    "log-lik. bound",
    "as published",
    "ESS",
    "seconds",
)


def rows(results, part="all"):
    """Cells for each result: mean ± standard error over images, in nats; ESS is the median effective sample size."""
    out = []
    for result in results:
        config = from_dict(result["config"])
        metrics = result["metrics"][part]
        tau, prior = (getattr(config, name, None) for name in ("temperature", "prior_temperature"))
        prior = tau if prior is None else prior
        names = ("continuous_elbo", "discrete_elbo", "loglik", "as_published")
        out.append((
            config.label, "—" if tau is None else f"{tau:g}", f"{prior:g}" if config.model == "gs" else "—",
            *(mean_se(metrics[name]) if name in metrics else "—" for name in names),
            number(metrics["ess"]["median"], 0) if "ess" in metrics else "—",
            number(sum(result["seconds"].values()), 0),
        ))  # fmt: skip
    return out
