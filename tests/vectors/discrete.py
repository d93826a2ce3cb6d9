"""Files of the estimators of discrete objectives, at given noise or codes: score_function, unordered_set, rebar and
relax."""

from __future__ import annotations

import itertools

from mpmath import exp, fsum, mpf

from . import control, relaxed, textbook
from .pathwise import MODEL_SHAPES, F, model
from .precise import Draws, case
from .relaxed import f, parameters


def score_function():
    def compute(x):
        law, p = relaxed.law(x), parameters(x)
        codes = [relaxed.discrete(p, noise, x) for noise in x["noise"]]
        values = [f(b, x) for b in codes]
        scores = [relaxed.score(law, b) for b in codes]
        s = len(codes)
        others = [(fsum(values) - a) / (s - 1) for a in values]
        grads = {
            name: [[[(values[i] - others[i]) * a for a in row] for row in scores[i][name]] for i in range(s)]
            for name in scores[0]
        }
        kl, kl_grads = relaxed.kl_uniform(law)
        score = {name: [one[name] for one in scores] for name in scores[0]}
        return {"codes": codes, "value": values, "score": score, "grad": grads, "kl": kl, "kl_grad": kl_grads}

    draws = Draws("score_function")
    cases = []
    for kind, s, n, k in (
        ("gumbel_softmax", 2, 2, 3),
        ("gumbel_softmax", 4, 1, 5),
        ("igr_i", 2, 2, 3),
        ("igr_i", 3, 1, 4),
    ):
        x = model(draws, kind, n, k, 1.0, noises=s)
        cases.append(case(f"{kind}, S={s}, N={n}, K={k}", compute, x, scales=kind == "gumbel_softmax"))
    return {
        "description": "The score function estimator of the gradient of E f(b) with the leave-one-out baseline, and "
        "the exact KL.",
        "formula": F
        + "codes b_s from noise s: argmax of log_alpha + noise, or h(y) (eq. 20). score = dlog q(b_s)/dparameter, "
        "q = softmax(log_alpha) or Prop. 2 for each variable. grad_s = (f(b_s) - mean of f over the other codes) "
        "score_s. kl = sum_n sum_k P_nk log(K P_nk), kl_grad its gradient; grad does not contain it.",
        "shapes": MODEL_SHAPES
        + "Here noise has S samples: (S, N, .). codes (S, N, K), value (S), score and grad {parameter: "
        "(S, N, .)}, kl a scalar, kl_grad {parameter: (N, .)}. The temperature has no effect.",
        "reference": "Williams 1992; Kool, van Hoof and Welling, Buy 4 REINFORCE Samples, 2019.",
    }, cases


def set_probability(p, excluded=0):
    """P_e(T): the sum over all orders of prod p_i / (1 - e - what came before)."""
    total = mpf(0)
    for order in itertools.permutations(p):
        term, gone = mpf(1), mpf(excluded)
        for a in order:
            term, gone = term * a / (1 - gone), gone + a
        total += term
    return total


def unordered_set():
    def compute(x):
        law = relaxed.law(x)
        k = len(x["c"][0])
        codes = [[relaxed.one_hot(i, k) for i in code] for code in x["codes"]]
        psi = [relaxed.log_prob(law, b) for b in codes]
        p, values, size = [exp(a) for a in psi], [f(b, x) for b in codes], range(len(codes))
        whole = set_probability(p)
        alone = [set_probability(without(p, i), p[i]) for i in size]
        weights = [p[i] * alone[i] / whole for i in size]
        baseline = [
            [p[j] * (set_probability(without(p, i, j), p[i] + p[j]) / alone[i] if i != j else 1) for j in size]
            for i in size
        ]
        scores = [relaxed.score(law, b) for b in codes]
        factor = [weights[i] * (values[i] - textbook.dot(baseline[i], values)) for i in size]
        grad = {
            name: [
                [fsum(factor[i] * scores[i][name][n][j] for i in size) for j in range(len(row))]
                for n, row in enumerate(scores[0][name])
            ]
            for name in scores[0]
        }
        value = textbook.dot(weights, values)
        return {"log_p": psi, "weights": weights, "baseline_weights": baseline, "value": value, "grad": grad}

    draws = Draws("unordered_set")
    cases = []
    four = [[0, 1, 2], [2, 2, 0], [1, 0, 0], [0, 0, 0]]
    for kind, n, k, codes in (
        ("gumbel_softmax", 2, 3, [[0, 1], [2, 2]]),
        ("gumbel_softmax", 3, 3, four),
        ("gumbel_softmax", 1, 6, [[5], [0], [3], [1]]),
        ("igr_i", 2, 3, [[0, 1], [2, 2], [1, 2]]),
    ):
        x = model(draws, kind, n, k, 1.0)
        del x["noise"], x["temperature"]
        x["codes"] = codes
        name = f"{kind}, S={len(codes)}, N={n}, K={k}"
        cases.append(case(name, compute, x, scales=kind == "gumbel_softmax", zeros=True))
    peaked = model(draws, "gumbel_softmax", 2, 3, 1.0)
    del peaked["noise"], peaked["temperature"]
    peaked |= {"log_alpha": [[12.0, 0.5, 0.0], [0.25, -30.0, 0.0]], "codes": [[0, 0], [1, 2], [2, 1]]}
    cases.append(case("gumbel_softmax, S=3, one code nearly all of the mass of its variable", compute, peaked, 60))
    return {
        "description": "The unordered set estimator with built-in baseline (USPGBL), at S distinct codes drawn "
        "without replacement.",
        "formula": F
        + "p_i = prod_n P_{n, code_i,n}. P_e(T) = sum over the orders of T of prod p_i / (1 - e - the p before it). "
        "R_i = P_{p_i}(T - i)/P_0(T), R_ij = P_{p_i + p_j}(T - i - j)/P_{p_i}(T - i), R_ii = 1. weights_i = p_i R_i, "
        "baseline_weights_ij = p_j R_ij. value = sum_i weights_i f_i; grad = sum_i weights_i (f_i - sum_j "
        "baseline_weights_ij f_j) dlog p_i/dparameter, ratios and weights held constant.",
        "shapes": MODEL_SHAPES
        + "No noise. codes (S, N): category numbers from 0. log_p, weights (S), baseline_weights (S, S), "
        "value a scalar, grad {parameter: (N, .)}.",
        "reference": "Kool, van Hoof and Welling, Estimating Gradients for Discrete Random Variables by Sampling "
        "without Replacement, ICLR 2020.",
    }, cases


def without(p, *left_out):
    return [a for i, a in enumerate(p) if i not in left_out]


CONTROL_FORMULA = (
    F + "b: argmax of y = log softmax(log_alpha) + noise, or h(y), y = mu + e^log_sigma noise. y_given: y given b from "
    "the uniforms v (gumbel_conditional.json, igr_conditional.json). z(y) = softmax(y_n/lambda_n) or softmax++ (eq. "
    "15) with temperature lambda_n, lambda = e^log_lambda. c(z) = eta f(z) + r(z). grad = [f(b) - c(z(y_given))] "
    "dlog q(b) + dc(z(y)) - dc(z(y_given)), derivatives by the parameters with noise and v fixed. variance_gradient: "
    "gradient by the control variate's parameters of the sum of squares of grad, over all parameters. "
)
CONTROL_SHAPES = MODEL_SHAPES + (
    "v like noise, control {log_lambda (N), ...}. code (N, K), value = f(code), y_given like noise, grad {parameter: "
    "(N, .)}, variance_gradient like control. delta and the relaxation as above; no temperature."
)


def controlled(name, settings, network):
    draws = Draws(name)
    cases = []
    for kind, n, k, eta in settings:
        x = model(draws, kind, n, k, 1.0)
        del x["temperature"]
        x["v"] = draws.uniform(n, len(x["noise"][0]))
        x["control"] = {"log_lambda": draws.normal(n, scale=0.5, shift=-0.5)}
        if eta is not None:
            x["control"]["eta"] = eta
        if network:
            x["control"] |= {
                "w1": draws.normal(n * k, 3, scale=0.5),
                "b1": draws.normal(3),
                "w2": draws.normal(3),
                "b2": 0.25,
            }
        scales = kind == "gumbel_softmax" and not network
        cases.append(case(f"{kind}, N={n}, K={k}", control.compute, x, scales=scales))
    return cases


def rebar():
    settings = [
        ("gumbel_softmax", 2, 3, 0.75),
        ("gumbel_softmax", 1, 5, 1.25),
        ("igr_i", 2, 3, 0.75),
        ("igr_i", 1, 4, 1.25),
    ]
    return {
        "description": "REBAR for the Gumbel-Softmax, and for IGR-I by Prop. 2, with given noise.",
        "formula": CONTROL_FORMULA + "r = 0.",
        "shapes": CONTROL_SHAPES,
        "reference": "Tucker et al., REBAR, NeurIPS 2017; for IGR the appendix of the IGR paper, eqs. 38 and 39.",
    }, controlled("rebar", settings, network=False)


def relax():
    settings = [("gumbel_softmax", 2, 3, None), ("igr_i", 2, 3, None), ("gumbel_softmax", 1, 4, 0.5)]
    return {
        "description": "RELAX for the Gumbel-Softmax, and for IGR-I by Prop. 2, with given noise and a given network "
        "r.",
        "formula": CONTROL_FORMULA
        + "r(z) = w2.max(0, (2z - 1) W1 + b1) + b2, z flattened with the category axis last; eta = 1 "
        "where control has none.",
        "shapes": CONTROL_SHAPES + " w1 (N K, H), b1 and w2 (H), b2 a scalar.",
        "reference": "Grathwohl et al., Backpropagation through the Void, ICLR 2018; for IGR the appendix of the IGR "
        "paper.",
    }, controlled("relax", settings, network=True)


FILES = {f.__name__: f for f in (score_function, unordered_set, rebar, relax)}
