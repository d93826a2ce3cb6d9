"""igr_ref's functions for each file of golden vectors: inputs as they stand in the file, outputs by the file's names.

The only file here that imports igr_ref; the generator does not use it.
"""

from __future__ import annotations

import numpy

from igr_ref import distributions, estimators, transforms
from igr_ref.distributions import gaussian
from igr_ref.distributions.kumaraswamy import Kumaraswamy
from igr_ref.estimators.rebar import variance_gradient
from igr_ref.estimators.score_function import kl_term, log_probs, log_probs_pullback, score
from igr_ref.estimators.unordered_set import code_set, from_set
from igr_ref.numerics import log_softmax
from igr_ref.recovery import conditional, conditional_gumbel, gaussian_argmax, stick_breaking

ONE = numpy.float64(1.0)
FLOW = ("w", "u", "b")


# ---- transforms ------------------------------------------------------------------------------------------------------


def chain(x):
    outer = transforms.Softmax(x["temperature"]) if x["remainder"] else softmax_plus_plus(x)
    return transforms.Chain(transforms.StickBreaking(), outer)


def softmax_plus_plus(x):
    return transforms.SoftmaxPlusPlus(x["temperature"], x["delta"])


def transform(make):
    def outputs(x):
        g = make(x)
        z, saved = g.run(x["y"])
        return {
            "z": z,
            "log_z": g.log_forward(x["y"]),
            "log_det": g.log_det(x["y"]),
            "jacobian": g.jacobian(x["y"]),
            "vjp_z": g.pullback(saved, x["z_bar"])[0],
            "grad_log_det": g.pullback(saved, None, ONE)[0],
        }

    return outputs


def planar_flow(x):
    g = transforms.Chain(*flows(x["flows"]))
    z, saved = g.run(x["y"])
    out = {"z": z, "log_det": g.log_det(x["y"]), "jacobian": g.jacobian(x["y"])}
    for name, bars in (("vjp_z", (x["z_bar"], None)), ("grad_log_det", (None, ONE))):
        y_bar, params = g.pullback(saved, *bars)
        out[name] = {"y": y_bar, "flows": by_flow(params, len(x["flows"]))}
    return out


def flows(given):
    return [transforms.PlanarFlow(*(numpy.asarray(flow[name]) for name in FLOW)) for flow in given]


def by_flow(params, n):
    return [{name: params[f"{i}.{name}"] for name in FLOW} for i in range(n)]


# ---- distributions ---------------------------------------------------------------------------------------------------


def relaxation(x):
    kind = x["relaxation"]
    t, delta = x.get("temperature", 1.0), x.get("delta", 1.0)
    if kind == "gumbel_softmax":
        return distributions.GumbelSoftmax(x["log_alpha"], t)
    if kind == "igr_planar":
        return distributions.igr_planar(x["mu"], x["log_sigma"], flows(x["flows"]), t, delta)
    if kind == "igr_i":
        return distributions.igr_i(x["mu"], x["log_sigma"], t, delta)
    return distributions.igr_sb(x["mu"], x["log_sigma"], t, delta, remainder=kind == "igr_sb_remainder")


def gumbel_softmax(x):
    q = relaxation(x | {"relaxation": "gumbel_softmax"})
    z, saved = q.run(x["gumbel"])
    bars, point_bar = q.log_prob_vjp(x["point"], ONE)
    return {
        "z": z,
        "log_z": q.run_log(x["gumbel"]),
        "vjp_z": q.pullback(saved, x["z_bar"])["log_alpha"],
        "log_prob": q.log_prob_log_z(x["point"]),
        "log_prob_exp_concrete": q.log_prob(x["point"]),
        "grad_log_alpha": bars["log_alpha"],
        "grad_point": point_bar,
    }


def igr_density(x):
    q = relaxation(x)
    bars, y_bar = q.log_prob_vjp(x["y"], ONE)
    grads = {"grad_mu": bars["mu"], "grad_log_sigma": bars["log_sigma"], "grad_y": y_bar}
    return {"z": q.transform.forward(x["y"]), "log_prob": q.log_prob(x["y"]), **grads}


def gaussian_kl(x):
    args = x["mu"], x["log_sigma"], x["mu_0"], x["log_sigma_0"]
    mu_bar, log_sigma_bar = gaussian.kl_vjp(*args, ONE)
    return {"kl": gaussian.kl(*args), "grad_mu": mu_bar, "grad_log_sigma": log_sigma_bar}


def categorical_kl(x):
    log_p = log_softmax(x["log_alpha"])
    law = distributions.Categorical(log_p)
    q = relaxation(x | {"relaxation": "gumbel_softmax"})
    rows = [log_probs_pullback(q, log_p, row)["log_alpha"] for row in numpy.diag(law.probs)]
    return {
        "probs": law.probs,
        "log_probs": log_p,
        "entropy": law.entropy(),
        "kl": law.kl_uniform(),
        "grad_log_alpha": law.kl_uniform_vjp_logits(ONE),
        "grad_probs": law.kl_uniform_vjp_probs(ONE),
        "jacobian": numpy.stack(rows),
    }


def kumaraswamy(x):
    x = {name: numpy.atleast_1d(value) for name, value in x.items()}
    q = Kumaraswamy(x["log_a"], x["log_b"])
    concentration, one = float(x["concentration"][0]), numpy.ones(1)
    log_v, log_rest = q.logs(q.run(x["u"])[0])
    bars, point_bar = q.log_prob_vjp(x["point"], one)
    out = {
        "v": q.sample(x["u"]),
        "log_v": log_v,
        "log_rest": log_rest,
        "grad_v": q.sample_vjp(x["u"], one),
        "log_prob": q.log_prob(x["point"]),
        "grad_log_prob": {**bars, "point": point_bar},
        "kl": q.kl(concentration),
        "grad_kl": q.kl_vjp(concentration, one),
    }
    return {k: {n: b[0] for n, b in v.items()} if isinstance(v, dict) else v[0] for k, v in out.items()}


# ---- recovery --------------------------------------------------------------------------------------------------------


def prop_2(x):
    by_mu, by_sigma = gaussian_argmax.jacobian(x["mu"], x["sigma"])
    log_p = gaussian_argmax.log_probs(x["mu"], x["sigma"])
    return {"probs": numpy.exp(log_p), "log_probs": log_p, "by_mu": by_mu, "by_sigma": by_sigma}


def stick_breaking_law(x):
    args = {"remainder": bool(x["remainder"]), "tolerance": 1e-12}
    law = stick_breaking.probs(x["mu"], x["sigma"], **args)
    # one cotangent a row: the Jacobian
    by_mu, by_sigma = stick_breaking.vjp(x["mu"], x["sigma"], numpy.eye(law.size), **args)
    return {"probs": law, "by_mu": by_mu, "by_sigma": by_sigma}


def gumbel_conditional(x):
    b = numpy.eye(x["v"].size)[x["category"]]
    zeta, saved = conditional_gumbel.sample(x["log_alpha"], b, x["v"])
    rows = [conditional_gumbel.pullback(saved, row) for row in numpy.eye(b.size)]
    vjp = conditional_gumbel.pullback(saved, x["zeta_bar"])
    return {"zeta": zeta, "jacobian": numpy.stack(rows), "vjp_zeta": vjp}


def igr_conditional(x):
    b = numpy.eye(x["v"].size + 1)[x["category"]]
    y, saved = conditional.sample(x["mu"], x["sigma"], b, x["v"])
    rows = [conditional.pullback(saved, row) for row in numpy.eye(y.size)]
    return {"y": y, "by_mu": numpy.stack([a for a, _ in rows]), "by_sigma": numpy.stack([a for _, a in rows])}


# ---- estimators ------------------------------------------------------------------------------------------------------


def test_function(x):
    """f(z) = sum c z + (sum d z)^2 with its gradient."""

    def f(z):
        s = numpy.sum(x["d"] * z, axis=(-2, -1))
        return numpy.sum(x["c"] * z, axis=(-2, -1)) + s * s, x["c"] + 2 * s[..., None, None] * x["d"]

    return f


def grads(estimate, x):
    """Gradients under the file's names."""
    out = {name: estimate.grads[name] for name in ("log_alpha", "mu", "log_sigma") if name in estimate.grads}
    return out | ({"flows": by_flow(estimate.grads, len(x["flows"]))} if "flows" in x else {})


def pathwise(estimator):
    def outputs(x):
        q, p = relaxation(x), x["prior"]
        if x["relaxation"] == "gumbel_softmax":
            p = distributions.GumbelSoftmax(p["log_alpha"], p["temperature"])
        else:
            shared = q.transform.links[-1] if "flows" in x else q.transform
            p = distributions.IGR(p["mu"], p["log_sigma"], shared)
        estimate = estimator(q, x["noise"], test_function(x), p)
        return {"value": estimate.value, "kl": estimate.kl, "grad": grads(estimate, x)}

    return outputs


def straight_through(x):
    q = relaxation(x)
    estimate = estimators.straight_through(q, x["noise"], test_function(x))
    return {"code": q.discretize(x["noise"]), "value": estimate.value, "grad": grads(estimate, x)}


def score_function(x):
    q, f = relaxation(x), test_function(x)
    b = q.discretize(x["noise"])
    estimate = estimators.score_function(q, x["noise"], f)
    log_p = log_probs(q)
    kl, kl_grad = kl_term(q, "uniform", ONE, log_p)
    return {
        "codes": b,
        "value": estimate.value,
        "score": score(q, b, log_p),
        "grad": grads(estimate, x),
        "kl": kl,
        "kl_grad": kl_grad,
    }


def unordered_set(x):
    q = relaxation(x)
    log_p, n = log_probs(q), x["codes"].shape[-1]
    psi = numpy.sum(log_p[numpy.arange(n), x["codes"]], axis=-1)
    drawn = code_set(x["codes"], psi)
    estimate = from_set(q, drawn, test_function(x))
    ratios = {"weights": drawn.weights, "baseline_weights": drawn.baseline_weights}
    return {"log_p": psi, **ratios, "value": estimate.value, "grad": grads(estimate, x)}


NETWORK = {"w1": "r.0.weight", "b1": "r.0.bias", "w2": "r.1.weight", "b2": "r.1.bias"}


def controlled(estimator):
    def outputs(x):
        q, control = relaxation(x), x["control"]
        params = {NETWORK.get(name, name): numpy.asarray(value) for name, value in control.items()}
        if "w2" in control:
            params |= {"r.1.weight": control["w2"][:, None], "r.1.bias": numpy.atleast_1d(control["b2"])}
        noise = estimators.PairedNoise(x["noise"], x["v"])
        estimate = estimator(q, noise, test_function(x), params=params)

        def f_hvp(z, t):
            return 2 * numpy.sum(x["d"] * t, axis=(-2, -1))[..., None, None] * x["d"]

        by_params = variance_gradient(estimate, f_hvp)
        return {
            "code": q.discretize(x["noise"]),
            "value": estimate.value,
            "y_given": estimate.control.pair.y_given,
            "grad": grads(estimate, x),
            "variance_gradient": {
                name: numpy.reshape(by_params[NETWORK.get(name, name)], numpy.shape(value))
                for name, value in control.items()
            },
        }

    return outputs


# file: (equation or algorithm, dotted names below igr_ref, function of a case's inputs)
CHECKS = {
    "softmax_plus_plus": ("eq. 15", "transforms.SoftmaxPlusPlus", transform(softmax_plus_plus)),
    "stick_breaking": ("eq. 16", "transforms.StickBreaking", transform(lambda x: transforms.StickBreaking())),
    "igr_sb_chain": ("eq. 18", "transforms.Chain", transform(chain)),
    "vertex_interpolation": (
        "eq. 17",
        "transforms.VertexInterpolation",
        transform(lambda x: transforms.VertexInterpolation(x["temperature"])),
    ),
    "planar_flow": ("IGR-Planar", "transforms.PlanarFlow", planar_flow),
    "gumbel_softmax": ("eq. 6", "distributions.GumbelSoftmax", gumbel_softmax),
    "igr_density": ("eq. 12", "distributions.IGR.log_prob", igr_density),
    "gaussian_kl": ("eq. 13", "distributions.gaussian.kl", gaussian_kl),
    "categorical_kl": ("KL(P || uniform)", "distributions.Categorical.kl_uniform", categorical_kl),
    "kumaraswamy": ("Kumaraswamy", "distributions.kumaraswamy.Kumaraswamy", kumaraswamy),
    "prop_2": ("eq. 21", "recovery.gaussian_argmax", prop_2),
    "stick_breaking_law": ("IGR-SB, recovered law", "recovery.stick_breaking", stick_breaking_law),
    "gumbel_conditional": ("zeta | b", "recovery.conditional_gumbel.sample", gumbel_conditional),
    "igr_conditional": ("y | H = k", "recovery.conditional.sample", igr_conditional),
    "reparameterization": (
        "eq. 3",
        "estimators.reparameterization",
        pathwise(estimators.reparameterization),
    ),
    "sticking_the_landing": (
        "sticking the landing",
        "estimators.sticking_the_landing",
        pathwise(estimators.sticking_the_landing),
    ),
    "straight_through": ("straight-through", "estimators.straight_through", straight_through),
    "score_function": ("score function", "estimators.score_function", score_function),
    "unordered_set": ("USPGBL", "estimators.unordered_set", unordered_set),
    "rebar": ("REBAR", "estimators.rebar", controlled(estimators.rebar)),
    "relax": ("RELAX", "estimators.relax", controlled(estimators.relax)),
}
