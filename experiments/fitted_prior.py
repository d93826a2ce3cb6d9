"""The prior of IGR's runs (eq. 14), fitted once for every K and kept in the user's cache, and the family with it."""

from __future__ import annotations

import contextlib

import numpy

from igr_ref import models, prior

from .data import cache_folder
from .store import StoreError, read_result, write_result


def fitted_prior(config):
    """{"mu": ..., "log_sigma": ...} of eq. 14 for IGR models (numbers or lists), {} for Gumbel-Softmax.

    The fit takes seconds and depends on K alone, so it is kept in the user's cache; a run stores what it used.
    """
    fits = {"igr_i": prior.igr_i_prior, "igr_planar": prior.igr_i_prior, "igr_sb": prior.igr_sb_prior}
    if config.model not in fits:
        return {}
    name = f"{fits[config.model].__name__}-K{config.n_categories}-numpy{numpy.__version__}-v2"
    path = None
    try:
        path = cache_folder() / "priors" / f"{name}.json"
        cached = read_result(path)
        if cached["id"] == name:
            return {"mu": cached["mu"], "log_sigma": cached["log_sigma"]}
    except (OSError, RuntimeError, StoreError, KeyError):  # no home, no permission, nothing there, damaged
        pass
    mu, log_sigma = (numpy.asarray(value).tolist() for value in fits[config.model](config.n_categories))
    value = {"mu": mu, "log_sigma": log_sigma}
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        if path is not None:
            write_result(path, {"id": name, **value})
    return value


def family(config, prior_params, temperatures=None):
    """The relaxation family of the config, with the prior that `fitted_prior` gave.

    temperatures: (temperature, prior_temperature) in place of the config's own, as arrays with one for each replica.
    """
    size = (config.n_variables, config.n_categories)
    temperature, prior_temperature = temperatures or (config.temperature, config.prior_temperature)
    if config.model == "gs":
        return models.GumbelSoftmaxFamily(*size, temperature, prior_temperature)
    mu, log_sigma = (numpy.asarray(prior_params[name]) for name in ("mu", "log_sigma"))
    make = {
        "igr_i": models.igr_i_family,
        "igr_planar": models.igr_planar_family,
        "igr_sb": models.igr_sb_family,
    }[config.model]
    if config.estimator == "relax":  # eq. 37, on the same softmax++
        make = models.igr_bounded_family
    return make(*size, temperature, mu, log_sigma, delta=config.delta)
