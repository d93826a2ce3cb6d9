"""REBAR and RELAX at given noise: g = [f(b) - c(z~)] s + dc(z)/do - dc(z~)/do, and the gradient of ||g||^2 by c's
parameters. y, y~ = y given b and their derivatives by the parameters o do not depend on c."""

from __future__ import annotations

from mpmath import exp, fsum, log

from . import laws, relaxed, textbook
from .precise import gradient, jacobian, leaves
from .recovery import gumbel_given


def compute(x):
    """All outputs of one case of rebar.json or relax.json."""
    law, p, noise = relaxed.law(x), relaxed.parameters(x), x["noise"]
    b = relaxed.discrete(p, noise, x)
    make = gumbel_samples if x["relaxation"] == "gumbel_softmax" else gaussian_samples
    samples = [make(n, row.index(1), x) for n, row in enumerate(b)]
    score = relaxed.score(law, b)
    parts = {"b": b, "score": score, "samples": samples, "x": x}
    return {
        "code": b,
        "value": relaxed.f(b, x),
        "y_given": [given[0] for _, given in samples],
        "grad": estimate(x["control"], parts),
        "variance_gradient": gradient(lambda c: fsum(a**2 for a in leaves(estimate(c, parts))), x["control"]),
    }


def gumbel_samples(n, category, x):
    """((y, {parameter: dy_k/dparameter_j}), the same of y given b)."""
    log_alpha, noise, v = x["log_alpha"][n], x["noise"][n], x["v"][n]

    def free(a):
        return [log(t) + g for t, g in zip(textbook.softmax(a), noise, strict=True)]

    def given(a):
        return gumbel_given(a, category, v)

    return tuple((make(log_alpha), {"log_alpha": jacobian(make, log_alpha)}) for make in (free, given))


def gaussian_samples(n, category, x):
    mu, sigma, noise = x["mu"][n], [exp(s) for s in x["log_sigma"][n]], x["noise"][n]
    y = [m + s * e for m, s, e in zip(mu, sigma, noise, strict=True)]
    size = range(len(mu))
    by_mu = [[int(i == j) for i in size] for j in size]
    by_log_sigma = [[sigma[i] * noise[i] * (i == j) for i in size] for j in size]
    y_given, given_mu, given_sigma = laws.conditional(mu, sigma, category, x["v"][n])
    given_log_sigma = [[a * s for a, s in zip(row, sigma, strict=True)] for row in given_sigma]
    return (y, {"mu": by_mu, "log_sigma": by_log_sigma}), (y_given, {"mu": given_mu, "log_sigma": given_log_sigma})


def relaxation(y, control, x):
    """z at the temperatures lambda."""
    temperatures = [exp(a) for a in control["log_lambda"]]
    if x["relaxation"] == "gumbel_softmax":
        return [textbook.softmax([a / t for a in row]) for row, t in zip(y, temperatures, strict=True)]
    return [textbook.softmax_plus_plus(row, t, x["delta"]) for row, t in zip(y, temperatures, strict=True)]


def variate(y, control, x):
    """c(z(y)) = eta f(z) + r(z)."""
    z = relaxation(y, control, x)
    total = control.get("eta", 1) * relaxed.f(z, x)
    if "w1" in control:
        flat = [2 * a - 1 for row in z for a in row]
        hidden = [
            max(0, textbook.dot(flat, column) + shift)
            for column, shift in zip(zip(*control["w1"], strict=True), control["b1"], strict=True)
        ]
        total += textbook.dot(hidden, control["w2"]) + control["b2"]
    return total


def estimate(control, parts):
    """g, a dict with the names of the parameters."""
    x, score = parts["x"], parts["score"]
    free, given = ([both[i] for both in parts["samples"]] for i in (0, 1))
    y, y_given = [a for a, _ in free], [a for a, _ in given]
    residual = relaxed.f(parts["b"], x) - variate(y_given, control, x)
    slope, slope_given = (gradient(lambda a: variate(a, control, x), at) for at in (y, y_given))
    out = {name: [] for name in score}
    for name in out:
        for n, row in enumerate(score[name]):
            columns = zip(*free[n][1][name], strict=True), zip(*given[n][1][name], strict=True)
            path = [
                textbook.dot(slope[n], a) - textbook.dot(slope_given[n], a_given)
                for a, a_given in zip(*columns, strict=True)
            ]
            out[name].append([residual * s + d for s, d in zip(row, path, strict=True)])
    return out
