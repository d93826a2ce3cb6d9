"""From a config to the model it names: prior, family, VAE, estimator, noise. Used by training and evaluation alike."""

from __future__ import annotations

import numpy

import igr_ref
from igr_ref import models, noise, prior

from .data import cache_folder
from .store import StoreError, read_json, write_json

ESTIMATORS = {"plain": igr_ref.reparameterization, "sl": igr_ref.sticking_the_landing}
LIKELIHOODS = {"bernoulli": models.Bernoulli, "gaussian": models.Gaussian}


def fitted_prior(config):
    """{"mu": ..., "log_sigma": ...} of eq. 14 for IGR models (numbers or lists), {} for Gumbel-Softmax.

    The fit takes seconds and depends on K alone, so it is kept in the user's cache; a run stores what it used.
    """
    fits = {"igr_i": prior.igr_i_prior, "igr_sb": prior.igr_sb_prior}
    if config.model not in fits:
        return {}
    path = cache_folder() / "priors" / f"{config.model}-K{config.n_categories}-numpy{numpy.__version__}-v1.json"
    try:
        return read_json(path)
    except (FileNotFoundError, StoreError):
        pass
    mu, log_sigma = (numpy.asarray(value).tolist() for value in fits[config.model](config.n_categories))
    value = {"mu": mu, "log_sigma": log_sigma}
    try:
        write_json(path, value)
    except OSError:
        pass  # a cache that cannot be written costs time, nothing else
    return value


def family(config, prior_params):
    """The relaxation family of the config, with the prior that `fitted_prior` gave."""
    size = (config.n_variables, config.n_categories)
    if config.model == "gs":
        return models.GumbelSoftmaxFamily(*size, config.temperature, config.prior_temperature)
    make = {"igr_i": models.igr_i_family, "igr_sb": models.igr_sb_family}[config.model]
    mu, log_sigma = (numpy.asarray(prior_params[name]) for name in ("mu", "log_sigma"))
    return make(*size, config.temperature, mu, log_sigma, delta=config.delta)


def vae(config, dataset, prior_params):
    """The VAE of the config for a data set's pixels and likelihood."""
    likelihood = LIKELIHOODS[dataset.decoder]()
    return models.VAE(family(config, prior_params), likelihood, dataset.train.shape[1], config.architecture)


def draw(model, rng, shape, dtype):
    """Noise of the family's kind, (..., K-1) normal or (..., K) Gumbel."""
    return {"normal": noise.normal, "gumbel": noise.gumbel}[model.family.noise](rng, shape, dtype)
