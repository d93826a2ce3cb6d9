"""Files of the discrete laws and of the conditional samples: prop_2, stick_breaking_law, gumbel_conditional,
igr_conditional."""

from __future__ import annotations

from mpmath import log, mpf, workdps

from . import laws, sticks, textbook
from .distributions import LOG_1E_30
from .precise import Draws, case, close, exact, gradient, jacobian, leaves, text, walk

LAW_SHAPES = "probs (K), category K last; by_mu, by_sigma (K, K-1): [k][i] = dP_k/dmu_i, dP_k/dsigma_i."


def prop_2():
    def compute(x):
        probs, by_mu, by_sigma = laws.prop_2(x["mu"], x["sigma"])
        return {"probs": probs, "log_probs": [log(p) for p in probs], "by_mu": by_mu, "by_sigma": by_sigma}

    draws = Draws("prop_2")
    settings = [
        (f"K={k}, {i}", draws.normal(k - 1), [round(0.3 + 2 * s, 4) for s in draws.uniform(k - 1)])
        for i, k in enumerate((2, 2, 3, 3, 5, 5))
    ]
    settings += [
        ("K=10", draws.normal(9), [1.0] * 9),
        ("K=3, a probability of 1e-30", [-11.5, 0.25], [1.0, 1.0]),
        ("K=3, last category of 1e-30", [8.25, 8.0], [1.0, 1.0]),
        ("K=3, far below the other", [-3.0, 4.0], [0.5, 0.25]),
        ("K=5, a corner of eq. 37's box", [5.0, -5.0, -5.0, -5.0], [0.5, 0.5, 0.5, 0.5]),
        ("K=3, widths far apart", [0.5, -0.25], [0.05, 5.0]),
    ]
    cases = []
    for name, mu, sigma in settings:
        inputs = {"mu": mu, "sigma": sigma}

        def scales(out, inputs=inputs):
            size = [
                sum(abs(m * a) + abs(s * b) for m, s, a, b in zip(*exact(list(inputs.values())), *rows, strict=True))
                for rows in zip(out["by_mu"], out["by_sigma"], strict=True)
            ]
            return {"probs": size, "log_probs": [a / p for a, p in zip(size, out["probs"], strict=True)]}

        cases.append(case(name, compute, inputs, scales=scales))
    return {
        "description": "The discrete law recovered from IGR-I, that of h(y), y ~ N(mu, diag(sigma^2)) (Prop. 2, eq. "
        "21), and its Jacobian.",
        "formula": "P_k = int_0^inf phi((t-mu_k)/sigma_k)/sigma_k prod_{j!=k} Phi((t-mu_j)/sigma_j) dt for k < K, P_K "
        "= prod_j Phi(-mu_j/sigma_j); the derivatives are those of the integrands, integrated. (The paper's eq. 29 "
        "lacks the factor 1/sigma_k of eq. 21.)",
        "shapes": "mu, sigma (K-1), sigma a standard deviation. log_probs (K). " + LAW_SHAPES,
    }, cases


def stick_breaking_law():
    draws = Draws("stick_breaking_law")
    settings = [
        ("K=3", draws.normal(2), [1.0, 0.75], False),
        ("K=3", draws.normal(2), [0.5, 2.0], True),
        ("K=3", [-1.5, 0.25], [1.5, 0.5], False),
        ("K=3", [-1.5, 0.25], [1.5, 0.5], True),
        ("K=4", [-1.0, -0.5, 0.25], [1.0, 0.75, 1.25], False),
        ("K=4", [-1.0, -0.5, 0.25], [1.0, 0.75, 1.25], True),
    ]
    cases, steps = [], {2: (20, 24), 3: (12, 14)}
    for name, mu, sigma, remainder in settings:
        inputs = {"mu": mu, "sigma": sigma, "remainder": remainder}
        with workdps(24):
            x = exact(inputs)
            coarse, fine = (sticks.stick_law(x["mu"], x["sigma"], remainder, step) for step in steps[len(mu)])
            worst = max(leaves(walk(lambda a, b: abs(a - b), coarse, fine)))
            if worst > mpf(10) ** -16:
                raise ArithmeticError(f"{name}: the two quadratures differ by {worst}")
            laws.check_law(fine, 15)
            out = dict(zip(("probs", "by_mu", "by_sigma"), walk(lambda a: text(a, 16), fine), strict=True))
        name = name + (", remainder" if remainder else "") + f", mu {mu}"
        cases.append({"name": name, "inputs": inputs, "outputs": out})
    return {
        "description": "The discrete law recovered from IGR-SB: the largest stick.",
        "formula": "u_i = 1/(1 + e^-y_i), y_i ~ N(mu_i, sigma_i^2), w_k = u_k prod_{i<k} (1 - u_i), w_K = prod_i (1 - "
        "u_i). remainder false: P_k = P(w_k is the largest of w_1..w_{K-1}), the limit of eq. 18, and P_K = 0. "
        "remainder true: the largest of w_1..w_K. By iterated quadrature of this definition; absolute error below "
        "1e-16.",
        "shapes": "mu, sigma (K-1), remainder true or false. " + LAW_SHAPES,
        "digits": 16,
    }, cases


def gumbel_conditional():
    def compute(x):
        return {
            "zeta": gumbel_given(x["log_alpha"], x["category"], x["v"]),
            "jacobian": jacobian(lambda a: gumbel_given(a, x["category"], x["v"]), x["log_alpha"]),
            "vjp_zeta": gradient(
                lambda a: textbook.dot(x["zeta_bar"], gumbel_given(a, x["category"], x["v"])), x["log_alpha"]
            ),
        }

    draws = Draws("gumbel_conditional")
    cases = []
    for k, category in ((2, 0), (2, 1), (3, 0), (3, 2), (5, 3), (10, 4)):
        inputs = {
            "log_alpha": draws.normal(k),
            "category": category,
            "v": draws.uniform(k),
            "zeta_bar": draws.normal(k),
        }
        cases.append(case(f"K={k}, category {category}", compute, inputs))
    rare = {"log_alpha": [LOG_1E_30, 0.0, 0.5], "v": [0.25, 0.5, 0.75], "zeta_bar": [1.0, -0.5, 0.25]}
    cases.append(case("K=3, given a category of probability 1e-30", compute, rare | {"category": 0}, 80))
    cases.append(case("K=3, another category has probability 1e-30", compute, rare | {"category": 1}, 80))
    ends = {"log_alpha": [0.5, -0.25, 1.0], "category": 2, "v": [1e-12, 0.999999, 1e-30], "zeta_bar": [1.0, -0.5, 0.25]}
    cases.append(case("K=3, uniforms near the ends", compute, ends, 80))
    return {
        "description": "Gumbel logits zeta = log theta + G given that category i is their largest (REBAR's "
        "conditional sample).",
        "formula": "theta = softmax(log_alpha). zeta_i = -log(-log v_i); zeta_k = -log(-log(v_k)/theta_k - log v_i) "
        "for k != i. Derivatives at fixed v.",
        "shapes": "log_alpha, v, zeta_bar (K), category i counted from 0. zeta (K), jacobian (K, K): [k][j] = "
        "dzeta_k/dlog_alpha_j, vjp_zeta (K): d<zeta_bar, zeta>/dlog_alpha.",
        "reference": "Tucker, Mnih, Maddison, Lawson and Sohl-Dickstein, REBAR, NeurIPS 2017, appendix C.",
    }, cases


def gumbel_given(log_alpha, i, v):
    theta = textbook.softmax(log_alpha)
    return [-log(-log(v[i]) - (log(v[k]) / theta[k] if k != i else 0)) for k in range(len(v))]


def igr_conditional():
    def compute(x):
        y, by_mu, by_sigma = laws.conditional(x["mu"], x["sigma"], x["category"], x["v"])
        return {"y": y, "by_mu": by_mu, "by_sigma": by_sigma}

    def check(x, out):
        """The derivatives against differences of the sample itself, to 15 digits of the largest."""
        if len(x["mu"]) > 2:
            return
        h = mpf(10) ** -12
        largest = max(abs(a) for part in ("by_mu", "by_sigma") for row in out[part] for a in row)
        for name, part in (("mu", "by_mu"), ("sigma", "by_sigma")):
            for i in range(len(x["mu"])):
                up, down = (
                    laws.conditional_value(**{**arguments, name: shifted(x[name], i, d)})
                    for d in (h, -h)
                    for arguments in [{"mu": x["mu"], "sigma": x["sigma"], "k": x["category"], "v": x["v"]}]
                )
                for j in range(len(x["mu"])):
                    slope = (up[j] - down[j]) / (2 * h)
                    close(2 * largest + slope, 2 * largest + out[part][j][i], 15, "conditional sample")

    draws = Draws("igr_conditional")
    settings = []
    for k, category in ((2, 0), (2, 1), (3, 0), (3, 1), (3, 2), (5, 2), (5, 4)):
        sigma = [round(0.5 + 1.5 * s, 4) for s in draws.uniform(k - 1)]
        settings.append((f"K={k}, category {category}", draws.normal(k - 1), sigma, category, draws.uniform(k - 1)))
    settings += [
        ("K=3, given an unlikely category", [-4.0, 2.5], [0.75, 0.5], 0, [0.25, 0.75]),
        ("K=3, uniforms near the ends", [0.5, -0.25], [1.0, 1.5], 1, [1e-9, 0.999999]),
        ("K=3, given an unlikely last category", [5.0, 4.0], [0.5, 0.75], 2, [0.25, 0.001]),
    ]
    cases = []
    for name, mu, sigma, category, v in settings:
        inputs = {"mu": mu, "sigma": sigma, "category": category, "v": v}
        cases.append(case(name, compute, inputs, scales=False, check=check))
    return {
        "description": "y ~ N(mu, diag(sigma^2)) given its discrete value h(y), from given uniforms, with derivatives "
        "by implicit differentiation (Prop. 2).",
        "formula": "category k < K-1 (from 0): m solves int_0^m phi_k prod_{j!=k} Phi_j dt = v_k P_k and y_k = m; "
        "category K-1: m = 0. The other y_j = mu_j + sigma_j Phi^-1(v_j Phi((m - mu_j)/sigma_j)). phi_j, Phi_j as in "
        "prop_2.json. Derivatives at fixed v.",
        "shapes": "mu, sigma, v (K-1), category counted from 0 (K-1: no winner). y (K-1), by_mu, by_sigma (K-1, K-1): "
        "[j][i] = dy_j/dmu_i, dy_j/dsigma_i.",
    }, cases


def shifted(x, i, d):
    return [a + (d if j == i else 0) for j, a in enumerate(x)]


FILES = {f.__name__: f for f in (prop_2, stick_breaking_law, gumbel_conditional, igr_conditional)}
