"""Our runs beside the reference's probes: MNIST, linear, plain, 10 epochs (the first end-to-end check)."""

from __future__ import annotations

from .. import plan
from ..paper_numbers import PROBES
from . import mean_se, number

HEADER = (
    "model", "τ", "prior τ", "discrete ELBO: probe", "ours", "ours, all 10,000", "log-lik. bound: probe", "ours",
    "ours, all 10,000", "as published: probe", "ours",
)  # fmt: skip


def rows(by_id):
    """A row for each planned probe; `by_id` maps run ids to results. What has not been run shows as missing.

    "ours" is scored on as many test images as the probe was: the first 100 (IGR-I) or 200 (GS).
    """
    out = []
    for config in plan.probes():
        prior = config.prior_temperature or "same g"
        probe = PROBES[config.model, config.temperature, config.prior_temperature]
        result = by_id.get(config.id)
        part = "first_100" if config.model == "igr_i" else "first_200"
        cells = [config.label, f"{config.temperature:g}", prior]
        for name in ("discrete_elbo", "loglik", "as_published"):
            cells.append(number(probe[name], 1))
            cells.append(number(result["metrics"][part][name]["mean"], 1) if result else "missing")
            if name != "as_published":
                cells.append(mean_se(result["metrics"]["all"][name], 1) if result else "missing")
        out.append(tuple(cells))
    return out
