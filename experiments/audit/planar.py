"""Planar flows (section 3.1): the constraint that makes them invertible, and sticking the landing through them."""

from __future__ import annotations

import numpy

from igr_ref import IGR, Chain, noise, sticking_the_landing
from igr_ref.distributions.igr import igr_planar
from igr_ref.transforms.planar_flow import PlanarFlow, initial

from .record import Measure, Outcome, finding

GROUP = "Planar flows"


def by_norm(w, u):
    """u~ (N, K-1) with the norm of w in place of its square, taken over all variables together."""
    c = (w * u).sum(axis=-1, keepdims=True)
    return u + (numpy.logaddexp(0, c) - 1 - c) * w / numpy.sqrt((w * w).sum(axis=(-2, -1), keepdims=True))


def by_square(w, u):
    """u~ of the reference implementation: the squared norm, variable by variable."""
    return PlanarFlow(w, u, numpy.zeros(w.shape[:-1])).u_tilde


@finding(
    "planar-norm",
    title="The published constraint leaves planar flows that are not invertible",
    where="section 3.1, IGR-Planar",
    says="the flow is invertible, so eq. 12 gives its density",
    right="divide by ‖w‖², variable by variable: then w·ũ = softplus(w·u) − 1 > −1",
    why="A planar flow y + ũ tanh(w·y + b) is one to one only if w·ũ ≥ −1. The usual construction shifts u along w, "
    "divided by the squared norm of w. The published code divides by the norm, of the w of all 20 variables "
    "together, which misses the target; the logarithm of the absolute determinant hides it.",
    equation="ũ = u + (softplus(w·u) − 1 − w·u) w/‖w‖²;   det = 1 + sech²(s) w·ũ",
    right_code="igr_ref.transforms.planar_flow.PlanarFlow",
    wrong_code="experiments.audit.planar.by_norm",
    group=GROUP,
)
def planar_norm(setting, constrain=by_norm):
    shares = {}
    for step, scale in enumerate((0.05, 0.5, 1.0)):
        noise_wu = noise.normal(setting.rng("planar", step), (2, setting.count(2000), 20, 9))
        w, u = scale * noise_wu[0], scale * noise_wu[1]
        shares[scale] = float(((w * constrain(w, u)).sum(axis=-1) < -1).mean())
    w, u = numpy.array([[2.0]]), numpy.array([[-1.0]])  # one variable on the line
    t = numpy.linspace(-3, 3, 241)
    # the same w seen beside 19 others of its kind, as in the published model
    many = numpy.full((20, 1), 2.0), numpy.full((20, 1), -1.0)
    maps = {
        "right": t + by_square(w, u)[0, 0] * numpy.tanh(2 * t),
        "tested": t + constrain(*many)[0, 0] * numpy.tanh(2 * t),
    }
    slope = float(1 + 2 * constrain(*many)[0, 0])
    return Outcome(
        max(shares.values()) == 0 and slope > 0,
        f"not one to one: {shares[0.5]:.0%} of random flows at weight scale .5, {shares[1.0]:.0%} at 1, "
        f"{shares[0.05]:.0%} at the initial .05; w = 2, u = −1: slope {slope:.2f} at 0",
        (
            *(Measure(f"flows with w·ũ < −1, weights of scale {s:g}", 100 * v, "%") for s, v in shares.items()),
            Measure("K = 2, w = 2, u = −1 in each of 20 variables: slope of the map at 0", slope),
            Measure("the same with the right constraint", float(1 + 2 * by_square(w, u)[0, 0])),
        ),
        {"y": t.round(4).tolist(), **{name: v.round(5).tolist() for name, v in maps.items()}},
    )


@finding(
    "planar-landing",
    title="Sticking the landing is not complete for IGR-Planar",
    where="section 4.2, Table 1 (IGR-Planar + SL)",
    says="IGR-Planar + SL uses the estimator of Roeder et al.",
    right="the flow's weights inside log q have to be held fixed too; the code holds only μ and σ",
    why="Where q equals the prior the estimator's gradient has no variance at all: that is its point. With the "
    "flow's weights left free inside the log-determinant it stays unbiased, but the variance there is not zero. "
    "Both are measured at q = prior, the prior sharing q's flow in value.",
    equation="∇ = path derivative of log q(z) − log p(z), all parameters of q held fixed inside log q",
    right_code="igr_ref.sticking_the_landing(stop_flow=True)",
    wrong_code="igr_ref.sticking_the_landing(stop_flow=False)",
    group=GROUP,
)
def planar_landing(setting, stop_flow=False):
    weights = [initial(noise.normal(setting.rng("landing", i), (2, 3, 4)), 0.5) for i in range(2)]
    flows = [PlanarFlow(**w) for w in weights]
    copies = [PlanarFlow(**{name: v.copy() for name, v in w.items()}) for w in weights]
    mu, log_sigma = numpy.full((3, 4), -0.5), numpy.zeros((3, 4))
    q = igr_planar(mu, log_sigma, flows, 0.5)
    p = IGR(mu, log_sigma, Chain(*copies, q.transform.links[-1]))  # the map onto the simplex is shared
    eps = noise.normal(setting.rng("landing-noise"), (setting.count(20_000), 3, 4))

    def nothing(z):
        return numpy.zeros(z.shape[:-2]), numpy.zeros_like(z)

    def variance(stop):
        grads = sticking_the_landing(q, eps, nothing, p, stop_flow=stop).grads
        mean = max(abs(g.mean(axis=0) / (g.std(axis=0) / len(eps) ** 0.5 + 1e-12)).max() for g in grads.values())
        return float(sum(g.var(axis=0).sum() for g in grads.values())), float(mean)

    tested, z_score = variance(stop_flow)
    return Outcome(
        tested < 1e-12,
        f"gradient variance at q = prior: {tested:.2g} with μ, σ held fixed only; {variance(True)[0]:.1g} with all",
        (
            Measure("summed gradient variance at q = prior, tested", tested),
            Measure("the same with the flow held fixed", variance(True)[0]),
            Measure("largest |mean|/standard error of the tested one (unbiased: about 3)", z_score),
        ),
    )
