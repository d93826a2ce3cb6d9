"""Relaxations of N variables as the estimators need them: z(noise, parameters), log densities, discrete laws, and the
test function f(z) = sum c z + (sum d z)^2. Parameters and noise are dicts of lists over the variables."""

from __future__ import annotations

from mpmath import exp, fsum, log

from . import laws, textbook
from .precise import gradient, jacobian

PARAMETERS = {
    "gumbel_softmax": ("log_alpha",),
    "igr_i": ("mu", "log_sigma"),
    "igr_sb": ("mu", "log_sigma"),
    "igr_sb_remainder": ("mu", "log_sigma"),
    "igr_planar": ("mu", "log_sigma", "flows"),
}


def parameters(x):
    return {name: x[name] for name in PARAMETERS[x["relaxation"]]}


def f(z, x):
    return pair(x["c"], z) + pair(x["d"], z) ** 2


def f_slope(z, x):
    """df/dz."""
    s = 2 * pair(x["d"], z)
    return [[a + s * b for a, b in zip(*rows, strict=True)] for rows in zip(x["c"], x["d"], strict=True)]


def pair(a, b):
    """sum over variables and categories of a b."""
    return fsum(textbook.dot(u, v) for u, v in zip(a, b, strict=True))


def gaussian(p, noise):
    """eq. 10."""
    rows = zip(p["mu"], p["log_sigma"], noise, strict=True)
    return [[m + exp(s) * e for m, s, e in zip(*row, strict=True)] for row in rows]


def logits(p, noise):
    """log_alpha + G."""
    return [[a + g for a, g in zip(*row, strict=True)] for row in zip(p["log_alpha"], noise, strict=True)]


def flowed(y, p):
    """(f(y), log|det|) for each variable; flows is a list of flows, each with rows for the variables."""
    out = []
    for n, row in enumerate(y):
        out.append(textbook.planar_chain(row, [{name: flow[name][n] for name in flow} for flow in p["flows"]]))
    return [a for a, _ in out], [b for _, b in out]


def preimage(points, p):
    """y with flowed(y, p) = points."""
    out = []
    for n, z in enumerate(points):
        for flow in reversed(p["flows"]):
            z = textbook.planar_inverse(z, {name: flow[name][n] for name in flow})
        out.append(z)
    return out


def sample(p, noise, x):
    """z: N rows of K."""
    kind, t = x["relaxation"], x["temperature"]
    if kind == "gumbel_softmax":
        return [textbook.softmax([a / t for a in row]) for row in logits(p, noise)]
    y = gaussian(p, noise)
    if kind == "igr_planar":
        y, _ = flowed(y, p)
    if kind in ("igr_i", "igr_planar"):
        return [textbook.softmax_plus_plus(row, t, x["delta"]) for row in y]
    return [textbook.sb_chain(row, t, x["delta"], kind == "igr_sb_remainder") for row in y]


def discrete(p, noise, x):
    """One-hot b: the limit of the sample at temperature 0."""
    kind = x["relaxation"]
    if kind == "gumbel_softmax":
        rows = logits(p, noise)
    elif kind in ("igr_i", "igr_planar"):
        y = gaussian(p, noise) if kind == "igr_i" else flowed(gaussian(p, noise), p)[0]
        rows = [[*row, 0] for row in y]  # h(y), eq. 20
    else:
        rows = [textbook.stick_breaking(row) for row in gaussian(p, noise)]
        rows = rows if kind == "igr_sb_remainder" else [[*row[:-1], -1] for row in rows]
    return [one_hot(row.index(max(row)), len(row)) for row in rows]


def one_hot(k, n):
    return [int(i == k) for i in range(n)]


# ---- discrete laws: log P_{n,b_n} and its gradient -------------------------------------------------------------------


def law(x):
    """[(P (K), {parameter: dP_k/dparameter_i (K, .)})] for each variable; IGR-I's by log_sigma, dP/dsigma sigma."""
    if x["relaxation"] == "gumbel_softmax":
        return [(textbook.softmax(a), {"log_alpha": jacobian(textbook.softmax, a)}) for a in x["log_alpha"]]
    out = []
    for mu, log_sigma in zip(x["mu"], x["log_sigma"], strict=True):
        sigma = [exp(s) for s in log_sigma]
        probs, by_mu, by_sigma = laws.prop_2(mu, sigma)
        by_log_sigma = [[b * s for b, s in zip(row, sigma, strict=True)] for row in by_sigma]
        out.append((probs, {"mu": by_mu, "log_sigma": by_log_sigma}))
    return out


def score(law_, b):
    """d log q(b)/dparameter: {parameter: N rows}."""
    out = {name: [] for name in law_[0][1]}
    for (probs, jacobians), row in zip(law_, b, strict=True):
        k = row.index(1)
        for name, by in jacobians.items():
            out[name].append([a / probs[k] for a in by[k]])
    return out


def log_prob(law_, b):
    return fsum(log(probs[row.index(1)]) for (probs, _), row in zip(law_, b, strict=True))


def kl_uniform(law_):
    """(KL(q || uniform), its gradient): d sum_k P_k log(K P_k) = sum_k (log(K P_k) + 1) dP_k."""
    grads = {name: [] for name in law_[0][1]}
    for probs, jacobians in law_:
        slope = gradient(textbook.kl_uniform, probs)
        for name, by in jacobians.items():
            grads[name].append([textbook.dot(slope, column) for column in zip(*by, strict=True)])
    return fsum(textbook.kl_uniform(probs) for probs, _ in law_), grads
