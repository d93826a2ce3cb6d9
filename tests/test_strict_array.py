"""The formulas of igr_ref on an array that refuses to become a NumPy array: the same bits as under NumPy."""

from __future__ import annotations

import numpy
import pytest

import igr_ref
from igr_ref import models, numerics
from igr_ref.distributions import gaussian
from igr_ref.recovery import frequencies, gaussian_argmax

from .strict_array import NAMESPACE, StrictArray, same_bits, strict


def test_the_stand_in_is_strict():
    x, host = StrictArray(numpy.ones(2)), numpy.ones(2)
    mixtures = (
        lambda: numpy.exp(x),
        lambda: numpy.asarray(x),
        lambda: x + host,
        lambda: host + x,
        lambda: NAMESPACE.add(x, host),
        lambda: x[numpy.array([0])],
    )
    for mixed in mixtures:
        with pytest.raises(TypeError):
            mixed()
    with pytest.raises(AttributeError, match="cupy has no"):
        _ = NAMESPACE.longdouble_that_cupy_lacks
    assert type(NAMESPACE.sum(x)) is StrictArray and float(NAMESPACE.sum(x)) == 2
    assert type(numpy.float64(2) * x) is StrictArray


def _transforms(dtype):
    replica = numpy.array([[[0.2]], [[3.0]]], dtype)
    return {
        "softmax++": igr_ref.SoftmaxPlusPlus(0.3, 0.1),
        "softmax++, temperature array": igr_ref.SoftmaxPlusPlus(replica),
        "stick-breaking": igr_ref.StickBreaking(),
        "chain": igr_ref.Chain(igr_ref.StickBreaking(), igr_ref.SoftmaxPlusPlus(0.3)),
        "chain, temperature array": igr_ref.Chain(igr_ref.StickBreaking(), igr_ref.SoftmaxPlusPlus(replica)),
    }


def _on_transform(build, y, z_bar, det_bar):
    g = build(y)
    z, saved = g.run(y)
    out = [z, g.jacobian(y), g.log_det(y), g.log_forward(y), g.inverse(z), g.category(y), g.discretize(y)]
    return [*out, *(g.pullback(saved, *bars) for bars in ((z_bar, None), (None, det_bar), (z_bar, det_bar)))]


def _with_strict_temperature(g):
    if isinstance(g, igr_ref.Chain):
        return igr_ref.Chain(*(_with_strict_temperature(link) for link in g.links))
    if isinstance(g, igr_ref.SoftmaxPlusPlus):
        return igr_ref.SoftmaxPlusPlus(strict(g.temperature), g.delta)
    return g


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", _transforms("float64"))
def test_transforms_give_the_same_bits(name, dtype):
    rng = numpy.random.default_rng(1)
    g = _transforms(dtype)[name]
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in ((2, 4, 3), (2, 4, 4), (2, 4))]
    want = _on_transform(lambda y: g, *arrays)
    same_bits(_on_transform(lambda y: _with_strict_temperature(g), *strict(arrays)), want, name)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numerics_give_the_same_bits(dtype):
    x = -numpy.abs(numpy.random.default_rng(2).standard_normal((3, 5)) * 10).astype(dtype)
    for name in ("softplus sigmoid log_sigmoid log1mexp logsumexp log_softmax softmax log_normal_pdf log_ndtr").split():
        for suffix in ("", "_grad"):
            function = getattr(numerics, name + suffix, None)
            if function is not None:
                same_bits(function(StrictArray(x)), function(x), name + suffix)


def _on_distributions(a):
    """Everything the distributions, the recovery and the estimators compute, from the dict of arrays `a`."""
    g = igr_ref.Chain(igr_ref.StickBreaking(), igr_ref.SoftmaxPlusPlus(0.4))
    pairs = {
        "igr": (igr_ref.IGR(a["mu"], a["log_sigma"], g), igr_ref.IGR(a["mu_0"], a["log_sigma_0"], g), a["eps"]),
        "gs": (igr_ref.GumbelSoftmax(a["log_alpha"], 0.4), igr_ref.GumbelSoftmax(a["log_alpha_0"], 0.5), a["gumbel"]),
    }
    out = {}
    for name, (q, p, noise) in pairs.items():
        z, saved = q.run(noise)
        y, bar = saved[1], a["bar"]
        out[name] = [z, q.sample_vjp(noise, z), q.log_prob(y), q.log_prob_vjp(y, bar), q.category(noise)]
        out[name] += [q.discretize(noise), q.pullback_y(saved, y)]
        out[name] += (
            [q.kl(p), q.kl_vjp(p, bar), q.log_prob_z(z)] if name == "igr" else [q.log_probs(), q.log_prob_log_z(y)]
        )
        for estimator in (igr_ref.reparameterization, igr_ref.sticking_the_landing):
            estimate = estimator(q, noise, lambda z: (((z * z).sum(axis=-1)).sum(axis=-1), 2 * z), p)
            out[f"{name}, {estimator.__name__}"] = [estimate.loss, estimate.value, estimate.kl, estimate.grads]
        out[f"{name}, frequencies"] = frequencies(q, noise.reshape(-1, noise.shape[-1]))
    normal = (a["mu"], a["log_sigma"])
    out["gaussian"] = [gaussian.log_prob_vjp(*normal, a["eps"], a["bar"]), gaussian.kl(*normal, a["mu_0"], a["mu_0"])]
    law = igr_ref.Categorical(pairs["gs"][0].log_probs())
    u = a["u"]
    out["categorical"] = [law.index(u), law.sample(u), law.log_prob(law.sample(u)), law.entropy(), law.kl_uniform()]
    out["categorical"] += [law.kl_uniform_vjp_logits(a["bar"]), law.kl_uniform_vjp_probs(a["bar"])]
    sigma = a["sigma"]
    out["Prop. 2"] = [gaussian_argmax.probs(a["mu"], sigma), gaussian_argmax.jacobian(a["mu"], sigma)]
    out["Prop. 2"] += [gaussian_argmax.vjp(a["mu"], sigma, a["gumbel"]), gaussian_argmax.fluxes(a["mu"], sigma)]
    return out


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_distributions_recovery_and_estimators_give_the_same_bits(dtype):
    rng = numpy.random.default_rng(3)
    n, k = (3, 2), 4
    shapes = {"mu": k - 1, "log_sigma": k - 1, "mu_0": k - 1, "log_sigma_0": k - 1, "eps": k - 1}
    a = {name: 0.5 * rng.standard_normal((*n, width)) for name, width in shapes.items()}
    a |= {name: rng.standard_normal((*n, k)) for name in ("log_alpha", "log_alpha_0", "gumbel")}
    a |= {"u": rng.random(n), "bar": rng.standard_normal(n), "sigma": numpy.exp(a["log_sigma"])}
    a = {name: array.astype(dtype) for name, array in a.items()}
    same_bits(_on_distributions(strict(a)), _on_distributions(a))


@pytest.mark.parametrize("buffers", [None, models.Buffers], ids=["fresh arrays", "kept arrays"])
@pytest.mark.parametrize("likelihood", [models.Bernoulli, models.Gaussian])
@pytest.mark.parametrize("kind", ["igr_i", "igr_sb", "gs"])
def test_vae_step_gives_the_same_bits(kind, likelihood, buffers):
    families = {
        "igr_i": lambda: models.igr_i_family(3, 4, 0.3, -0.6, -0.2),
        "igr_sb": lambda: models.igr_sb_family(3, 4, 0.3, -0.6, -0.2),
        "gs": lambda: models.GumbelSoftmaxFamily(3, 4, 0.5),
    }
    vae = models.VAE(families[kind](), likelihood(), 6, "nonlinear")
    rng = numpy.random.default_rng(4)
    start = vae.init(rng, "float32")
    x = (rng.random((5, 6)) < 0.5).astype("float32")
    noise = rng.standard_normal(vae.noise_shape(5, 2)).astype("float32")

    def step(params, x, noise):
        adam = models.Adam(params, 1e-3)
        work = buffers and buffers()
        estimate, grads = vae.loss_and_grads(params, x, noise, igr_ref.sticking_the_landing, work)
        adam.step(params, grads)
        return [estimate.loss, grads, params, vae.loss(params, x, noise, igr_ref.reparameterization).loss]

    copies = [{name: array.copy() for name, array in start.items()} for _ in range(2)]
    same_bits(step(strict(copies[0]), strict(x), strict(noise)), step(copies[1], x, noise))
