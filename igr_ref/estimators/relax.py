"""RELAX (Grathwohl et al. 2018): the estimator of `rebar` with a free-form part in c(z) = eta f(z) + r(z).

r is a network of one hidden layer (`control_variates`); eta is 1, or learned when `params` holds it. REBAR is r = 0.
The paper runs IGR-I with parameters kept in a box (eq. 37), `bounded_parameters`:
    mu = -5 tanh(mu'),        dmu/dmu'       = -5 (1 - tanh^2 mu'),
    sigma = .5 + 2 s_B(xi'),  dlog sigma/dxi' = 2 s_B(xi') s_B(-xi')/sigma.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..backend import namespace
from .control_variates import NETWORK, network_params
from .rebar import PairedNoise, controlled, rebar_params


def relax_params(rng, n_variables, n_categories, temperature, hidden=50, learn_eta=False, dtype=float):
    """{"log_lambda": (N,), "r.0.weight", ...}, with "eta" only if it is to be learned, as NumPy arrays.

    The published code starts at temperature 5 (Gumbel-Softmax) or .15 (IGR), the original one at .5.
    """
    params = rebar_params(n_variables, temperature, dtype=dtype)
    params = params if learn_eta else {"log_lambda": params["log_lambda"]}
    return {**params, **network_params(rng, n_variables, n_categories, hidden, dtype)}


def relax(q, noise: PairedNoise, f, p=None, *, params, work=None):
    """Gradient of E_q[f(b)] + KL(q || uniform): as `rebar.rebar`, with the params of `relax_params`.

    `rebar.variance_gradient` gives the update of the control variate. work: Buffers for large intermediate results.
    """
    if not set(NETWORK) <= set(params):
        raise ValueError(f"RELAX's params hold {', '.join(NETWORK)}, got {sorted(params)}")
    return controlled(q, noise, f, p, params=params, work=work)


@dataclass(frozen=True)
class DiagonalChain:
    """Parameters as functions of others, one by one: `slopes` are the derivatives, by the names of the parameters."""

    slopes: dict

    def pullback(self, grads):
        """Gradients by the inner parameters, under the outer ones' names."""
        return {name: self.slopes[name] * grads[name] for name in grads}

    # a diagonal map moves tangents and cotangents by the same factors
    pushforward = pullback


def bounded_parameters(mu_raw, sigma_raw, limit=5.0, low=0.5, high=2.5):
    """(mu, log_sigma, chain) of eq. 37 from (mu', xi') (..., K-1); chain.pullback takes gradients by mu and log_sigma
    to gradients by mu' and xi'. The published code's box is limit=1, low=.5, high=1 (audit eq-37-range).
    ValueError unless limit > 0 and 0 < low < high.
    """
    xp, _ = namespace(mu_raw, sigma_raw)
    if not (limit > 0 and 0 < low < high):
        raise ValueError(f"the box needs limit > 0 and 0 < low < high, got {limit!r}, {low!r}, {high!r}")
    s, s_grad = _sigmoid_and_grad(sigma_raw)
    sigma = low + (high - low) * s
    slopes = {
        # 1 - tanh^2(x) = 4 s_B(2x) s_B(-2x)
        "mu": -4 * limit * _sigmoid_and_grad(2 * mu_raw)[1],
        "log_sigma": (high - low) * s_grad / sigma,
    }
    return -limit * xp.tanh(mu_raw), xp.log(sigma), DiagonalChain(slopes)


def _sigmoid_and_grad(x):
    """(s_B(x), s_B(x) s_B(-x)): s_B(|x|) = 1/(1 + e) and s_B(-|x|) = e/(1 + e), e = e^-|x|, free of cancellation."""
    xp, _ = namespace(x)
    e = xp.exp(-xp.abs(x))
    upper = 1 / (1 + e)
    return xp.where(x < 0, e * upper, upper), e * upper * upper
