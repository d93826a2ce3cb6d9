"""Files of the estimators that follow the sample's path, at given noise: reparameterization, sticking_the_landing,
straight_through. `model` makes the inputs that all estimators share."""

from __future__ import annotations

from mpmath import exp, fsum, log

from . import relaxed, textbook
from .precise import Draws, case, gradient
from .relaxed import f, pair, parameters

F = "f(z) = sum_nk c_nk z_nk + (sum_nk d_nk z_nk)^2, summed over the N variables and K categories. "
NOISE = "igr_*: y = mu + e^log_sigma noise (eq. 10); gumbel_softmax: z = softmax((log_alpha + noise)/temperature)"
MODEL_SHAPES = (
    "relaxation a name; its parameters log_alpha (N, K), or mu, log_sigma (N, K-1), igr_planar also flows, a list of "
    "{w, u (N, K-1), b (N)}; noise (N, K) or (N, K-1); temperature, delta scalars; c, d (N, K). "
)


def model(draws, kind, n, k, temperature, noises=1):
    """Inputs of a relaxation of n variables of k categories."""
    size = k if kind == "gumbel_softmax" else k - 1
    x = {"relaxation": kind, "temperature": temperature}
    if kind == "gumbel_softmax":
        x["log_alpha"] = draws.normal(n, k)
    else:
        x |= {"delta": 1.0, "mu": draws.normal(n, k - 1), "log_sigma": draws.normal(n, k - 1, scale=0.5)}
    if kind == "igr_planar":
        x["flows"] = [
            {"w": draws.normal(n, k - 1), "u": draws.normal(n, k - 1), "b": draws.normal(n)} for _ in range(2)
        ]
    draw = draws.gumbel if size == k else draws.normal
    x["noise"] = draw(n, size) if noises == 1 else draw(noises, n, size)
    return x | {"c": draws.normal(n, k), "d": draws.normal(n, k)}


def prior(draws, kind, n, k, temperature):
    if kind == "gumbel_softmax":
        return {"log_alpha": draws.normal(n, k, scale=0.3), "temperature": temperature}
    return {"mu": draws.normal(n, k - 1), "log_sigma": draws.normal(n, k - 1, scale=0.3)}


# ---- pathwise --------------------------------------------------------------------------------------------------------


def sampled_kl(inner, path, x):
    """log q(z) - log p(z) at the sample made by the parameters `path`, with the parameters `inner` inside log q."""
    p = x["prior"]
    if x["relaxation"] == "gumbel_softmax":
        y = [[log(a) for a in row] for row in relaxed.sample(path, x["noise"], x)]
        t, t_0 = x["temperature"], p["temperature"]
        return fsum(
            textbook.exp_concrete_log_prob(a, t, row) - textbook.exp_concrete_log_prob(a_0, t_0, row)
            for a, a_0, row in zip(inner["log_alpha"], p["log_alpha"], y, strict=True)
        )
    # the shared map onto the simplex cancels, a flow does not: log q(point) = log N(y) - log|det J_f(y)|, point = f(y)
    y = relaxed.gaussian(path, x["noise"])
    if x["relaxation"] != "igr_planar":
        return normals(inner, y) - normals(p, y)
    point, log_det = relaxed.flowed(y, path)
    if inner is not path:
        y = relaxed.preimage(point, inner)
        log_det = relaxed.flowed(y, inner)[1]
    return normals(inner, y) - fsum(log_det) - normals(p, point)


def normals(p, y):
    return fsum(
        textbook.log_normal(row, m, [exp(a) for a in s]) for row, m, s in zip(y, p["mu"], p["log_sigma"], strict=True)
    )


def pathwise(draws, compute, settings):
    cases = []
    for kind, n, k, t in settings:
        x = model(draws, kind, n, k, t)
        x["prior"] = prior(draws, kind, n, k, t if n != 3 else 0.5)
        name = f"{kind}, N={n}, K={k}, temperature {t:g}"
        cases.append(case(name, compute, x, 60 + int(2 / t), scales=kind != "igr_planar"))
    return cases


PATHWISE = [(kind, n, k, t) for kind in relaxed.PARAMETERS for n, k, t in ((2, 3, 0.5), (1, 5, 0.1))]
PATHWISE += [("gumbel_softmax", 3, 3, 0.8), ("igr_i", 2, 3, 0.02)]
PATHWISE_SHAPES = (
    "prior: its log_alpha and temperature, or mu and log_sigma of the Gaussian (igr_planar: at the flow's output). "
    "value = f(z), kl: scalars. grad: {parameter: its shape}, an estimate of the gradient of E f(z) + KL."
)


def reparameterization():
    def kl(p, x):
        if x["relaxation"] in ("gumbel_softmax", "igr_planar"):
            return sampled_kl(p, p, x)
        rows = zip(p["mu"], p["log_sigma"], x["prior"]["mu"], x["prior"]["log_sigma"], strict=True)
        return fsum(textbook.gaussian_kl(m, [exp(a) for a in s], m_0, [exp(a) for a in s_0]) for m, s, m_0, s_0 in rows)

    def compute(x):
        p = parameters(x)
        grad = gradient(lambda q: f(relaxed.sample(q, x["noise"], x), x) + kl(q, x), p)
        return {"value": f(relaxed.sample(p, x["noise"], x), x), "kl": kl(p, x), "grad": grad}

    return {
        "description": "The reparameterization estimator of the gradient of E f(z) + KL(q || p) with given noise "
        "(eqs. 2, 3).",
        "formula": F
        + f"{NOISE}. grad: gradient of f(z) + kl along the path, all dependence on the parameters included. "
        "kl: igr_i, igr_sb in closed form (eq. 13); gumbel_softmax and igr_planar log q(z) - log p(z) at the same "
        "sample, by the ExpConcrete density of gumbel_softmax.json and by log N(y) - log|det J_flow| - log N(flow(y) "
        "| prior).",
        "shapes": MODEL_SHAPES + PATHWISE_SHAPES,
    }, pathwise(Draws("reparameterization"), compute, PATHWISE)


def sticking_the_landing():
    def compute(x):
        p = parameters(x)
        z = relaxed.sample(p, x["noise"], x)
        grad = gradient(lambda q: f(relaxed.sample(q, x["noise"], x), x) + sampled_kl(p, q, x), p)
        return {"value": f(z, x), "kl": sampled_kl(p, p, x), "grad": grad}

    return {
        "description": "Sticking the landing (Roeder et al. 2017): the path gradient, q's own parameters held fixed "
        "in log q.",
        "formula": F + f"{NOISE}. kl = log q(z) - log p(z). grad: gradient of f(z(theta)) + log q(z(theta); stopped) - "
        "log p(z(theta)) by theta, at stopped = theta; igr_planar: the flows inside log q are stopped too.",
        "shapes": MODEL_SHAPES + PATHWISE_SHAPES,
        "reference": "Roeder, Wu and Duvenaud, Sticking the Landing, NeurIPS 2017.",
    }, pathwise(Draws("sticking_the_landing"), compute, PATHWISE)


def straight_through():
    def compute(x):
        p = parameters(x)
        b = relaxed.discrete(p, x["noise"], x)
        slope = relaxed.f_slope(b, x)
        grad = gradient(lambda q: pair(slope, relaxed.sample(q, x["noise"], x)), p)
        return {"code": b, "value": f(b, x), "grad": grad}

    draws = Draws("straight_through")
    cases = []
    for kind, n, k, t in PATHWISE:
        name = f"{kind}, N={n}, K={k}, temperature {t:g}"
        cases.append(case(name, compute, model(draws, kind, n, k, t), 60 + int(2 / t), scales=kind != "igr_planar"))
    return {
        "description": "Straight-through: f at the one-hot code, its derivative passed on to the relaxed sample "
        "(biased).",
        "formula": F
        + f"{NOISE}. code b: the limit of z at temperature 0. grad: gradient by the parameters of <df/dz(b), z>, "
        "df/dz(b) held constant.",
        "shapes": MODEL_SHAPES + "code (N, K) one-hot, value = f(code) a scalar, grad {parameter: its shape}.",
        "reference": "Bengio, Leonard and Courville 2013; Jang, Gu and Poole, ICLR 2017, section 2.2.",
    }, cases


FILES = {f.__name__: f for f in (reparameterization, sticking_the_landing, straight_through)}
