"""Bias and variance of every gradient estimator on a problem whose exact gradient is known, against temperature.

The problem is one image's reconstruction in a tiny VAE: N = 3 variables of K = 3 categories, a Bernoulli decoder of 8
pixels, L = E_b[-log p(x|b)], its gradient by q's own parameters exact by enumerating the 27 codes. Both q's have the
same discrete law. Pathwise estimators aim at the relaxed objective, so their bias is their distance from the discrete
gradient; the others have none. Sticking the landing differs from the reparameterization in the KL term only, so those
two are also measured on E[-log p(x|z)] + KL(q || p), the relaxed KL of eq. 9, whose gradient they share.
"""

from __future__ import annotations

import itertools
import math

import numpy

import igr_ref
from igr_ref import GumbelSoftmax, igr_i, noise
from igr_ref.estimators import score_function, straight_through, unordered_set
from igr_ref.estimators.rebar import PairedNoise, rebar, variance_gradient
from igr_ref.estimators.relax import relax, relax_params
from igr_ref.models import Adam
from igr_ref.recovery import gaussian_argmax

N, K, PIXELS = 3, 3, 8
TEMPERATURES = tuple(float(t) for t in numpy.round(numpy.geomspace(0.02, 5, 11), 4))
PATHWISE = ("reparameterization", "straight-through")
FREE = ("score function", "unordered set")  # no temperature enters
WITH_KL = ("reparameterization with KL", "sticking the landing with KL")
LABELS = {"gs": "Gumbel-Softmax", "igr_i": "IGR-I"}


class Problem:
    """The decoder, the image, both q's, and their exact gradients."""

    def __init__(self, seed=0):
        rng = noise.generator(seed, "estimators-problem")
        self.weight = 1.5 * rng.standard_normal((N * K, PIXELS))
        self.x = (rng.random(PIXELS) < 0.5) * 1.0
        mu, log_sigma = 0.5 * rng.standard_normal((N, K - 1)), 0.2 * rng.standard_normal((N, K - 1))
        self.params = {"igr_i": {"mu": mu, "log_sigma": log_sigma}}
        self.law = gaussian_argmax.probs(mu, numpy.exp(log_sigma))
        self.params["gs"] = {"log_alpha": numpy.log(self.law)}
        self.prior = {"mu": numpy.full((N, K - 1), -0.2), "log_sigma": numpy.zeros((N, K - 1))}
        codes = numpy.array(list(itertools.product(range(K), repeat=N)))
        b = numpy.eye(K)[codes]
        values = self.f(b)[0]
        p = self.law[numpy.arange(N), codes]  # (codes, N)
        joint = p.prod(axis=-1)
        # dL/dP_nk = E[f | b_n = k], as if P were free
        bar = numpy.zeros((N, K))
        for n, k in itertools.product(range(N), range(K)):
            chosen = codes[:, n] == k
            bar[n, k] = (joint[chosen] * values[chosen]).sum() / self.law[n, k]
        mu_bar, sigma_bar = gaussian_argmax.vjp(mu, numpy.exp(log_sigma), bar)
        centred = self.law * (bar - (self.law * bar).sum(axis=-1, keepdims=True))
        self.exact = {
            "igr_i": {"mu": mu_bar, "log_sigma": sigma_bar * numpy.exp(log_sigma)},
            "gs": {"log_alpha": centred},
        }

    def f(self, z):
        """(-log p(x|z), its gradient by z) for z (..., N, K)."""
        logits = z.reshape(*z.shape[:-2], -1) @ self.weight
        value = (numpy.logaddexp(0, logits) - self.x * logits).sum(axis=-1)
        bar = (1 / (1 + numpy.exp(-logits)) - self.x) @ self.weight.T
        return value, bar.reshape(z.shape)

    def pair(self, model, temperature):
        """(q, p) at a temperature."""
        if model == "gs":
            return GumbelSoftmax(**self.params["gs"], temperature=temperature), GumbelSoftmax(
                numpy.zeros((N, K)), temperature
            )
        q = igr_i(**self.params["igr_i"], temperature=temperature)
        return q, igr_ref.IGR(**self.prior, transform=q.transform)


def gradients(problem, model, name, temperature, draws, rng):
    """Flattened gradient draws (draws, parameters) of one estimator."""
    q, p = problem.pair(model, temperature)
    law = noise.normal if model == "igr_i" else noise.gumbel
    shape = (draws, N, K - 1 if model == "igr_i" else K)
    eps = law(rng, shape)
    if name == "reparameterization":
        grads = igr_ref.reparameterization(q, eps, problem.f).grads
    elif name == WITH_KL[0]:
        grads = igr_ref.reparameterization(q, eps, problem.f, p).grads
    elif name == WITH_KL[1]:
        grads = igr_ref.sticking_the_landing(q, eps, problem.f, p).grads
    elif name == "straight-through":
        grads = straight_through(q, eps, problem.f).grads
    elif name == "score function":  # pairs of draws, each the other's baseline
        grads = score_function(q, law(rng, (2, *shape)), problem.f).grads
        grads = {key: g.mean(axis=0) for key, g in grads.items()}
    elif name == "unordered set":
        wide = {key: numpy.broadcast_to(value, (draws, *value.shape)) for key, value in q.params.items()}
        q = igr_i(**wide, temperature=1.0) if model == "igr_i" else GumbelSoftmax(**wide, temperature=1.0)
        grads = unordered_set(q, noise.gumbel(rng, (draws, N, 4, K)), problem.f).grads
    else:
        paired = PairedNoise(eps, noise.uniform(rng, shape))
        if name == "REBAR":
            params = {"log_lambda": numpy.full(N, math.log(temperature)), "eta": numpy.asarray(1.0)}
            grads = rebar(q, paired, problem.f, params=params).grads
        else:
            params = trained_control(problem, q, law, temperature, rng)
            grads = relax(q, paired, problem.f, params=params).grads
    return numpy.concatenate(
        [numpy.broadcast_to(g, (draws, *g.shape[-2:])).reshape(draws, -1) for g in grads.values()], 1
    )


def trained_control(problem, q, law, temperature, rng, steps=150, batch=100):
    """RELAX's network after some steps of its variance gradient, its temperature held at the given one."""
    params = relax_params(rng, N, K, temperature, hidden=20)
    adam = Adam({name: p for name, p in params.items() if name != "log_lambda"}, 0.01)
    shape = (batch, N, next(iter(q.params.values())).shape[-1])
    for _ in range(steps):
        estimate = relax(q, PairedNoise(law(rng, shape), noise.uniform(rng, shape)), problem.f, params=params)
        by_control = variance_gradient(estimate)
        adam.step({name: params[name] for name in adam.m}, by_control)
    return params


def measure(draws=20_000, temperatures=TEMPERATURES, seed=0):
    """{"rows": [...]}: for each model, estimator and temperature the relative bias with its standard error, and the
    relative variance (total variance of one estimate over the squared norm of the exact gradient).

    Rows with the KL have no bias: their target is another one, the same for both.
    """
    problem = Problem(seed)
    rows = []
    for model in ("gs", "igr_i"):
        exact = numpy.concatenate([g.ravel() for g in problem.exact[model].values()])
        size = numpy.linalg.norm(exact)
        for name in (*PATHWISE, "REBAR", "RELAX", *FREE, *WITH_KL):
            for i, temperature in enumerate(temperatures if name not in FREE else (1.0,)):
                rng = noise.generator(seed, f"estimators-{model}-{name}", i)
                g = gradients(problem, model, name, temperature, draws, rng)
                error = g.mean(axis=0) - exact
                variance = g.var(axis=0, ddof=1)
                se = math.sqrt(variance.sum() / draws)
                rows.append({
                    "model": model, "estimator": name, "temperature": None if name in FREE else temperature,
                    "bias": None if name in WITH_KL else float(numpy.linalg.norm(error) / size),
                    "standard_error": float(se / size),
                    "variance": float(variance.sum() / size**2),
                })  # fmt: skip
    return {"draws": draws, "seed": seed, "rows": rows}
