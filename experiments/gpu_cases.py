"""What a GPU is compared with NumPy in (`gpu_check`): functions of a tree of arrays, of this package's every part.

Each takes what `arrays` gives, finds out the array library from that, and returns a tree of results.
"""

from __future__ import annotations

import numpy

import igr_ref
from igr_ref import models, philox, recovery, transforms
from igr_ref.estimators import (
    PairedNoise,
    relax,
    relax_params,
    reparameterization,
    score_function,
    sticking_the_landing,
    straight_through,
    unordered_set,
    variance_gradient,
)

from . import gpu_graph
from .data import load
from .plan import RunConfig
from .replica_group import Group

N, K, S, B = 3, 5, 4, 6


def arrays(rng):
    """Parameters and noise of the checks, float64."""
    a = {name: 0.7 * rng.standard_normal((B, N, K - 1)) for name in ("mu", "log_sigma", "w", "u")}
    a |= {"log_alpha": rng.standard_normal((B, N, K)), "b": rng.standard_normal((B, N)), "bar": rng.random((B, N))}
    a |= {"normal": rng.standard_normal((S, B, N, K - 1)), "gumbel": rng.gumbel(size=(S, B, N, K))}
    a |= {"uniform": {"igr": rng.random((S, B, N, K - 1)), "gs": rng.random((S, B, N, K))}}
    a |= {"sets": rng.gumbel(size=(B, N, S, K)), "z_bar": rng.standard_normal((S, B, N, K)), "law": rng.random((B, N))}
    a["temperature"] = 0.2 + rng.random((B, 1, 1))
    a["relax"] = relax_params(rng, N, K, 0.5)
    return a


def _maps(a):
    tau = a["temperature"]
    flow = transforms.PlanarFlow(a["w"], a["u"], a["b"])
    return {
        "softmax++": transforms.SoftmaxPlusPlus(0.3, 0.5),
        "softmax++, a temperature for each image": transforms.SoftmaxPlusPlus(tau),
        "stick-breaking": transforms.StickBreaking(),
        "eq. 17": transforms.VertexInterpolation(0.6),
        "eq. 18": transforms.Chain(transforms.StickBreaking(), transforms.SoftmaxPlusPlus(0.3)),
        "eq. 18 with the remainder": transforms.Chain(transforms.StickBreaking(), transforms.Softmax(tau)),
        "planar flow, softmax++": transforms.Chain(flow, transforms.SoftmaxPlusPlus(0.3)),
    }


def transform(name):
    def check(a):
        g, y = _maps(a)[name], a["normal"]
        z, saved = g.run(y)
        out = [z, g.log_det(y), g.jacobian(y), g.category(y), g.discretize(y), g.inverse(z)]
        return [*out, g.pullback(saved, a["z_bar"], a["z_bar"][..., 0])]

    return check


def _pair(kind, a):
    """(q, p, noise) of a family."""
    if kind == "gs":
        q = igr_ref.GumbelSoftmax(a["log_alpha"], a["temperature"])
        return q, igr_ref.GumbelSoftmax(0 * a["log_alpha"], 0.5), a["gumbel"]
    chain = {"igr_i": transforms.SoftmaxPlusPlus(0.3)}.get(kind) or _maps(a)["eq. 18"]
    make = lambda mu, log_sigma: igr_ref.IGR(mu, log_sigma, chain)  # noqa: E731
    return make(a["mu"], a["log_sigma"]), make(0 * a["mu"] - 0.6, 0 * a["mu"] - 0.1), a["normal"]


def distribution(kind):
    def check(a):
        q, p, noise = _pair(kind, a)
        z, saved = q.run(noise)
        out = [z, q.log_prob(saved[1]), q.log_prob_vjp(saved[1], a["bar"]), q.discretize(noise)]
        return [*out, q.pullback(saved, a["z_bar"]), *([] if kind == "gs" else [q.kl(p), q.kl_vjp(p, a["bar"])])]

    return check


def law(kind):
    def check(a):
        q, _, noise = _pair(kind, a)
        log_p = recovery.discrete_log_probs(q)
        P = igr_ref.Categorical(log_p)
        # of IGR-SB, probabilities below its quadrature's tolerance have logarithms that mean nothing
        out = [P.probs, P.kl_uniform(), P.index(a["law"]), recovery.frequencies(q, noise.reshape(-1, noise.shape[-1]))]
        return out + ([log_p] if kind != "igr_sb" else [])

    return check


def prop_2(a):
    mu, sigma = a["mu"], 0.5 + a["mu"] ** 2
    return [
        recovery.gaussian_argmax.log_probs(mu, sigma), recovery.gaussian_argmax.jacobian(mu, sigma),
        recovery.gaussian_argmax.vjp(mu, sigma, a["log_alpha"]),
    ]  # fmt: skip


def _f(z):
    """A smooth f(z) and its gradient: sum over variables and categories of z^2 (k + 1)/K."""
    xp = igr_ref.backend.namespace(z)[0]
    weight = (xp.arange(K) + 1) / K
    return xp.sum(weight * z * z, axis=(-2, -1)), 2 * weight * z


def estimator(name, kind):
    def check(a):
        q, p, noise = _pair(kind, a)
        if name in ("plain", "sl"):
            e = {"plain": reparameterization, "sl": sticking_the_landing}[name](q, noise, _f, p)
            return [e.value, e.kl, e.grads]
        if name == "relax":
            paired = PairedNoise(noise, a["uniform"]["gs" if kind == "gs" else "igr"])
            e = relax(q, paired, _f, "uniform", params=a["relax"])
            return [e.value, e.kl, e.grads, variance_gradient(e, lambda z, t: _f(t)[1])]
        discrete = {"straight-through": straight_through, "score function": score_function}
        if name == "unordered set":
            e = unordered_set(q, a["sets"], _f, "uniform")
        else:
            e = discrete[name](q, noise, _f, "uniform")
        return [e.value, e.kl, e.grads]

    return check


def vae_step(kind, likelihood, architecture):
    """Two steps with kept buffers and Adam, in the hot path's memory layout: two replicas, and one run by itself."""

    def check(a):
        family = {
            "igr_i": lambda: models.igr_i_family(N, K, 0.3, -0.6, -0.1),
            "igr_planar": lambda: models.igr_planar_family(N, K, 0.3, -0.6, -0.1),
            "igr_sb": lambda: models.igr_sb_family(N, K, 0.3, -0.6, -0.1),
            "gs": lambda: models.GumbelSoftmaxFamily(N, K, 0.5),
        }[kind]()
        xp, dtype = igr_ref.backend.namespace(a["normal"])[0], str(a["normal"].dtype)
        vae, out = models.VAE(family, likelihood(), 7, architecture), []
        fresh = [vae.init(numpy.random.default_rng(seed), dtype) for seed in (1, 2)]
        params = {name: xp.stack([xp.asarray(one[name]) for one in fresh]) for name in fresh[0]}
        noise = a["gumbel"] if kind == "gs" else a["normal"]
        pixels = a["z_bar"][:2, :, :2, :4].reshape(2, B, 8)[..., :7] > 0
        noise, x = xp.stack([noise[:2], noise[2:]]), pixels.astype(dtype)
        alone = {name: p[0].copy() for name, p in params.items()}
        for start, images, draws in ((params, x, noise), (alone, x[0], noise[0])):
            adam, work = models.Adam(start, 1e-3), models.Buffers()
            for method in (reparameterization, sticking_the_landing):
                estimate, grads = vae.loss_and_grads(start, images, draws, method, work)
                adam.step(start, grads)
                out += [estimate.loss, {name: g.copy() for name, g in grads.items()}]
            out += [start, vae.loss(start, images, draws, reparameterization).loss]
        return out

    return check


def group_steps(a):
    """Three steps of two replicas as sweeps take them, with the images gathered and the noise moved."""
    fields = {"dataset": "digits", "model": "gs", "monitor_every": 0, "dtype": str(a["normal"].dtype)}
    configs = [RunConfig(seed=seed, temperature=tau, **fields) for seed, tau in ((1, 0.3), (2, 0.5))]
    group = Group(configs, load("digits"), igr_ref.backend.namespace(a["normal"])[0])
    step = gpu_graph.group_step(group)
    return [[step() for _ in range(3)], group.together.params]


def device_noise(a):
    """The noise that a device draws for itself, against the same formula."""
    xp, dtype = igr_ref.backend.namespace(a["normal"])[0], str(a["normal"].dtype)
    return [philox.draw(law, (1, 2**63 + 5), "train", 7, 1, (5, 7), dtype, xp) for law in philox.LAWS]


def checks():
    """{name: check}."""
    one = arrays(numpy.random.default_rng(0))
    out = {f"transform {name}": transform(name) for name in _maps(one)}
    out |= {f"distribution {kind}": distribution(kind) for kind in ("igr_i", "igr_sb", "gs")}
    out |= {f"recovered law {kind}": law(kind) for kind in ("igr_i", "igr_sb", "gs")} | {"Prop. 2": prop_2}
    pathwise = [(name, kind) for name in ("plain", "sl") for kind in ("igr_i", "igr_sb", "gs")]
    discrete = ("relax", "straight-through", "score function", "unordered set")
    pairs = pathwise + [(name, kind) for name in discrete for kind in ("igr_i", "gs")]
    out |= {f"estimator {name} {kind}": estimator(name, kind) for name, kind in pairs}
    for kind in ("igr_i", "igr_planar", "igr_sb", "gs"):
        for likelihood, architecture in ((models.Bernoulli, "linear"), (models.Gaussian, "nonlinear")):
            name = f"VAE step {kind} {architecture} {likelihood.__name__}"
            out[name] = vae_step(kind, likelihood, architecture)
    return out | {"noise drawn on the device": device_noise, "steps of a group of replicas": group_steps}
