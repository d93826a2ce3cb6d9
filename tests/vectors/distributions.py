"""Files of the densities: gumbel_softmax, igr_density, gaussian_kl, categorical_kl, kumaraswamy."""

from __future__ import annotations

from mpmath import exp, log, mp, workdps

from . import textbook
from .precise import Draws, case, exact, gradient, jacobian, spread_digits
from .textbook import dot
from .transforms import stick_digits

LOG_1E_30 = -69.07755278982137


def gumbel_softmax():
    def sample(log_alpha, x):
        return textbook.softmax([(a + g) / x["temperature"] for a, g in zip(log_alpha, x["gumbel"], strict=True)])

    def compute(x):
        log_alpha, t, y = x["log_alpha"], x["temperature"], x["point"]
        z = sample(log_alpha, x)
        by_log_alpha = gradient(lambda a: textbook.exp_concrete_log_prob(a, t, y), log_alpha)
        return {
            "z": z,
            "log_z": [log(a) for a in z],
            "vjp_z": gradient(lambda a: dot(x["z_bar"], sample(a, x)), log_alpha),
            "log_prob": textbook.concrete_log_prob(log_alpha, t, y),
            "log_prob_exp_concrete": textbook.exp_concrete_log_prob(log_alpha, t, y),
            "grad_log_alpha": by_log_alpha,
            "grad_point": gradient(lambda a: textbook.exp_concrete_log_prob(log_alpha, t, a), y),
        }

    draws = Draws("gumbel_softmax")
    settings = [(f"K={k}", draws.normal(k), t) for k in (2, 3, 5, 10) for t in (1.0, 0.1, 100.0)]
    settings += [
        ("K=2, lowest temperature", draws.normal(2, scale=0.5), 0.001),
        ("K=3, lowest temperature", draws.normal(3, scale=0.3), 0.001),
        ("K=3, a probability of 1e-30", [0.0, LOG_1E_30, -0.5], 0.5),
        ("K=3, logits 700 and -700", [700.0, -700.0, 0.25], 1.0),
    ]
    cases = []
    for name, log_alpha, t in settings:
        inputs = {"log_alpha": log_alpha, "gumbel": draws.gumbel(len(log_alpha)), "temperature": t}
        logits = [(a + g) / t for a, g in zip(log_alpha, inputs["gumbel"], strict=True)]
        # the point of another sample, as doubles: the formulas are evaluated at exactly these
        other = [(a + g) / t for a, g in zip(log_alpha, draws.gumbel(len(log_alpha)), strict=True)]
        with workdps(1000):
            inputs["point"] = [float(log(a)) for a in textbook.softmax([textbook.mpf(b) for b in other])]
        inputs["z_bar"] = draws.normal(len(log_alpha))
        cases.append(case(f"{name}, temperature {t:g}", compute, inputs, spread_digits(logits)))
    return {
        "description": "The Gumbel-Softmax: sample (eq. 5), density (eq. 6), and the density in log scale "
        "(ExpConcrete).",
        "formula": "z = softmax((log_alpha + gumbel)/temperature). With y = point (= log z of some other sample): "
        "log_prob = log[(K-1)! temperature^(K-1) prod_k alpha_k z_k^(-temperature-1) / sum_j alpha_j "
        "z_j^(-temperature)], z = e^y, the density of z_1..z_{K-1} under Lebesgue measure (eq. 6). "
        "log_prob_exp_concrete = log (K-1)! + (K-1) log temperature + sum_k t_k - K log sum_j e^{t_j}, t = log_alpha "
        "- temperature y, which is log_prob + sum_k y_k: the density of y under prod_{k<=K} z_k^-1 dz_1..dz_{K-1}. "
        "The K numbers y_k are taken as given and as independent of each other.",
        "shapes": "log_alpha (unnormalised), gumbel, point, z_bar (K); temperature a scalar. z, log_z (K). vjp_z (K): "
        "d<z_bar, z>/dlog_alpha. log_prob, log_prob_exp_concrete scalars. grad_log_alpha, grad_point (K): gradients of "
        "log_prob_exp_concrete (log_prob has the same by log_alpha, and the same minus 1 by point).",
        "reference": "Maddison, Mnih and Teh, The Concrete Distribution, ICLR 2017, eq. 10 and appendix C.1; "
        "Jang, Gu and Poole, ICLR 2017.",
    }, cases


def igr_density():
    def log_det(y, x):
        t, kind = x["temperature"], x["relaxation"]
        if kind == "igr_i":
            return textbook.log_det_softmax_plus_plus(y, t, x["delta"])
        if kind == "igr_planar":
            y, flows = textbook.planar_chain(y, x["flows"])
            return flows + textbook.log_det_softmax_plus_plus(y, t, x["delta"])
        return textbook.log_det_sb_chain(y, t, x["delta"], kind == "igr_sb_remainder")

    def log_prob(p, x):
        mu, sigma = p["mu"], [exp(a) for a in p["log_sigma"]]
        return textbook.log_normal(p["y"], mu, sigma) - log_det(p["y"], x)

    def compute(x):
        at = {"mu": x["mu"], "log_sigma": x["log_sigma"], "y": x["y"]}
        grad = gradient(lambda p: log_prob(p, x), at)
        out = {"z": value(x["y"], x), "log_prob": log_prob(at, x)}
        return {**out, **{f"grad_{name}": grad[name] for name in at}}

    def check(x, out):
        textbook.check_log_det(log_det(x["y"], x), lambda y: value(y, x), x["y"], x["relaxation"])

    draws = Draws("igr_density")
    cases = []
    for kind in ("igr_i", "igr_sb", "igr_sb_remainder", "igr_planar"):
        settings = [(k, t) for k in (2, 3, 5, 10) for t in (1.0, 0.1)]
        settings += [(3, 0.01), (3, 100.0)] + [(2, 0.001)] * (kind != "igr_planar")
        for k, t in settings:
            inputs = {"relaxation": kind, "mu": draws.normal(k - 1), "log_sigma": draws.normal(k - 1, scale=0.5)}
            inputs |= {"y": draws.normal(k - 1, scale=max(0.25, min(1.5, 30 * t))), "temperature": t, "delta": 1.0}
            if kind == "igr_planar":
                inputs["flows"] = [
                    {"w": draws.normal(k - 1), "u": draws.normal(k - 1), "b": draws.normal()} for _ in range(2)
                ]
            cases.append(case(f"{kind}, K={k}, temperature {t:g}", compute, inputs, map_digits(inputs), check=check))
    wide = {"relaxation": "igr_i", "mu": [-600.0, 650.0], "log_sigma": [3.0, -3.0], "y": [-700.0, 650.25]}
    cases.append(
        case("igr_i, K=3, logits 700 apart", compute, wide | {"temperature": 1.0, "delta": 1.0}, 700, check=check)
    )
    return {
        "description": "The density of IGR-I, IGR-SB (with and without the remainder) and IGR-Planar (eq. 12).",
        "formula": "log_prob = sum_k log N(y_k | mu_k, sigma_k^2) - log|det J_g(y)|, sigma = e^log_sigma, at z = "
        "g(y): the density of z_1..z_{K-1} under Lebesgue measure. g: igr_i softmax_plus_plus.json; igr_sb "
        "igr_sb_chain.json; igr_sb_remainder the same with remainder; igr_planar planar_flow.json followed by "
        "softmax++.",
        "shapes": "relaxation a name, mu, log_sigma, y (K-1), temperature, delta scalars, flows as in "
        "planar_flow.json. z (K). log_prob a scalar. grad_mu, grad_log_sigma, grad_y (K-1): its gradients, y "
        "independent of mu and sigma.",
    }, cases


def value(y, x):
    """z = g(y) for the relaxation named in x."""
    kind = x["relaxation"]
    if kind == "igr_planar":
        y, _ = textbook.planar_chain(y, x["flows"])
    if kind in ("igr_i", "igr_planar"):
        return textbook.softmax_plus_plus(y, x["temperature"], x["delta"])
    return textbook.sb_chain(y, x["temperature"], x["delta"], kind == "igr_sb_remainder")


def map_digits(x):
    """Digits that resolve 1 - z_k, from the logits of the outer softmax."""
    y, t = exact(x)["y"], x["temperature"]
    if x["relaxation"].startswith("igr_sb"):
        return stick_digits(x["y"]) + int(1 / t / 2.3)
    if x["relaxation"] == "igr_planar":
        y, _ = textbook.planar_chain(y, exact(x)["flows"])
    return spread_digits([float(a) / t for a in y] + [0.0])


def gaussian_kl():
    def kl(p, x):
        sigma, sigma_0 = ([exp(a) for a in s] for s in (p["log_sigma"], x["log_sigma_0"]))
        return textbook.gaussian_kl(p["mu"], sigma, x["mu_0"], sigma_0)

    def compute(x):
        at = {"mu": x["mu"], "log_sigma": x["log_sigma"]}
        grad = gradient(lambda p: kl(p, x), at)
        return {"kl": kl(at, x), "grad_mu": grad["mu"], "grad_log_sigma": grad["log_sigma"]}

    draws = Draws("gaussian_kl")
    cases = []
    for k in (2, 3, 5, 10):
        inputs = {"mu": draws.normal(k - 1), "log_sigma": draws.normal(k - 1, scale=0.5)}
        inputs |= {"mu_0": draws.normal(k - 1), "log_sigma_0": draws.normal(k - 1, scale=0.5)}
        cases.append(case(f"K={k}", compute, inputs))
    extreme = {"mu": [40.0, -0.5], "log_sigma": [-10.0, 8.0], "mu_0": [-30.5, 0.25], "log_sigma_0": [3.5, -6.0]}
    cases.append(case("K=3, far apart", compute, extreme))
    near = {"mu": [0.5, -0.25], "log_sigma": [0.125, -1.0], "mu_0": [0.501, -0.25], "log_sigma_0": [0.1255, -1.001]}
    cases.append(case("K=3, close to each other", compute, near))
    return {
        "description": "The closed-form KL of two IGRs that share their map, which is that of their Gaussians (eq. "
        "13).",
        "formula": "kl = sum_k [log(sigma_0k/sigma_k) + (sigma_k^2 + (mu_k - mu_0k)^2)/(2 sigma_0k^2) - 1/2], sigma = "
        "e^log_sigma a standard deviation.",
        "shapes": "mu, log_sigma, mu_0, log_sigma_0 (K-1). kl a scalar; grad_mu, grad_log_sigma (K-1).",
    }, cases


def categorical_kl():
    def compute(x):
        p = textbook.softmax(x["log_alpha"])
        return {
            "probs": p,
            "log_probs": [log(a) for a in p],
            "entropy": -textbook.fsum(a * log(a) for a in p),
            "kl": textbook.kl_uniform(p),
            "grad_log_alpha": gradient(lambda a: textbook.kl_uniform(textbook.softmax(a)), x["log_alpha"]),
            "grad_probs": gradient(textbook.kl_uniform, p),
            "jacobian": jacobian(textbook.softmax, x["log_alpha"]),
        }

    draws = Draws("categorical_kl")
    settings = [(f"K={k}, scale {s:g}", draws.normal(k, scale=s)) for k in (2, 3, 5, 10) for s in (1.0, 5.0)]
    settings += [
        ("K=3, a probability of 1e-30", [0.0, LOG_1E_30, -0.5]),
        ("K=5, probabilities of 1e-30 but one", [LOG_1E_30, 0.0, LOG_1E_30, LOG_1E_30, LOG_1E_30]),
        ("K=3, logits 700 apart", [350.0, -350.0, 0.5]),
    ]
    cases = [case(name, compute, {"log_alpha": a}, spread_digits(a)) for name, a in settings]
    return {
        "description": "The discrete law that the Gumbel-Softmax relaxes, and its KL to the uniform law.",
        "formula": "probs = softmax(log_alpha); entropy = -sum_k P_k log P_k; kl = sum_k P_k log(K P_k) (eq. 8 with "
        "uniform p_0).",
        "shapes": "log_alpha (K). probs, log_probs (K); entropy, kl scalars; grad_log_alpha (K): dkl/dlog_alpha; "
        "grad_probs (K): dkl/dP_k, probabilities taken as independent; jacobian (K, K): [k][j] = dP_k/dlog_alpha_j.",
    }, cases


def kumaraswamy():
    def quantile(p, x):
        return textbook.kumaraswamy_quantile(x["u"], exp(p["log_a"]), exp(p["log_b"]))

    def log_prob(p):
        return textbook.kumaraswamy_log_prob(p["point"], exp(p["log_a"]), exp(p["log_b"]))

    def kl(p, x):
        return textbook.kumaraswamy_kl(exp(p["log_a"]), exp(p["log_b"]), x["concentration"])

    def compute(x):
        params = {"log_a": x["log_a"], "log_b": x["log_b"]}
        v = quantile(params, x)
        by_v, by_point = gradient(lambda p: quantile(p, x), params), gradient(log_prob, params | {"point": x["point"]})
        with workdps(min(mp.dps, 64) // 2 - 2):
            by_kl = gradient(lambda p: kl(p, x), params)
        with workdps(min(mp.dps, 64)):
            divergence = kl(params, x)
        return {
            "v": v,
            "log_v": log(v),
            "log_rest": log(1 - v),
            "grad_v": by_v,
            "log_prob": log_prob(params | {"point": x["point"]}),
            "grad_log_prob": by_point,
            "kl": divergence,
            "grad_kl": by_kl,
        }

    draws = Draws("kumaraswamy")
    settings = [(0.25, 0.0), (-1.0, 0.5), (1.0, 1.5), (2.0, -1.5), (-2.5, -1.0), (3.0, 2.0)]
    cases = []
    for number, (log_a, log_b) in enumerate(settings):
        for concentration in (1.0, 5.0 if number % 2 else 0.25):
            inputs = {"log_a": log_a, "log_b": log_b, "u": draws.uniform(), "point": draws.uniform()}
            inputs["concentration"] = concentration
            name = f"log a {log_a:g}, log b {log_b:g}, concentration {concentration:g}"
            cases.append(case(name, compute, inputs, 44, scales=False))
    small = {"log_a": -4.0, "log_b": 4.0, "u": 0.001, "point": 1e-30, "concentration": 1.0}
    cases.append(case("small sample, point 1e-30", compute, small, 300, scales=False))
    return {
        "description": "The Kumaraswamy law of the stick proportions of DLDPMM (section 4.4): sample, density, KL to "
        "a Beta law.",
        "formula": "a = e^log_a, b = e^log_b; v = (1 - (1-u)^(1/b))^(1/a); log_prob = log[a b x^(a-1) (1-x^a)^(b-1)] "
        "at x = point; kl = E[log q(v) - log p(v)], p = Beta(1, concentration) with density concentration "
        "(1-v)^(concentration-1), by quadrature; for concentration 1, log ab + (1/a - 1)(digamma(b+1) + Euler's "
        "gamma) + 1/b - 1.",
        "shapes": "Scalars. log_rest = log(1 - v). grad_v {log_a, log_b}; grad_log_prob {log_a, log_b, point}; "
        "grad_kl {log_a, log_b}.",
        "reference": "Nalisnick and Smyth, Stick-Breaking Variational Autoencoders, ICLR 2017; Kumaraswamy 1980.",
    }, cases


FILES = {f.__name__: f for f in (gumbel_softmax, igr_density, gaussian_kl, categorical_kl, kumaraswamy)}
