"""Stick-breaking (eqs. 16-19): the category never reached, the infinite sum, and where to cut it."""

from __future__ import annotations

import numpy

from igr_ref import SoftmaxPlusPlus, StickBreaking, igr_sb, noise, prior
from igr_ref.distributions.infinite import k_rho, kept_as_published
from igr_ref.numerics import log_sigmoid
from igr_ref.recovery import stick_breaking

from .record import Measure, Outcome, finding

GROUP = "Stick-breaking"


@finding(
    "last-category",
    title="The last category of IGR-SB cannot be reached",
    where="eq. 18",
    says="eq. 18 relaxes a law on K categories",
    right="K−1: every stick is positive, so the K-th coordinate is never the largest",
    why="softmax++ gives its last category e⁰ = δ = 1 against e^{w_k/τ} > 1 for every stick. With ten categories, "
    "nine are usable, and no prior can recover the uniform law: missing one category costs at least 1/90 of "
    "squared error.",
    equation="w_k > 0 ⇒ e^{w_k/τ} > δ = 1 ⇒ argmax g ≠ K;   min ‖P − 1/K‖² = 1/(K(K−1)) for P_K = 0",
    right_code="igr_ref.igr_sb(remainder=True): the softmax of all K sticks",
    wrong_code="igr_ref.igr_sb (eq. 18)",
    group=GROUP,
)
def last_category(setting, remainder=False):
    rng = setting.rng("last-category")
    mu, sigma = (
        rng.normal(-1, 1.5, (setting.count(300), 9)),
        numpy.exp(0.5 * rng.standard_normal((setting.count(300), 9))),
    )
    best = float(stick_breaking.probs(mu, sigma, remainder=remainder)[:, -1].max())
    p_0 = numpy.full(10, 0.1)
    start = {"mu": numpy.full(9, -numpy.log(8.0)), "log_sigma": numpy.full(9, 0.541)}

    def draw(step):
        return noise.normal(setting.rng("last-prior", step), (setting.count(1000, 200), 9))

    steps = setting.count(1000, 300)
    fitted, _ = prior.fit(lambda **p: igr_sb(**p, temperature=0.01, remainder=remainder), start, p_0, draw, steps)
    law = stick_breaking.probs(fitted["mu"], numpy.exp(fitted["log_sigma"]), remainder=remainder)
    loss = float(((law - p_0) ** 2).sum())
    return Outcome(
        best > 0 and loss < 1 / 90,
        f"largest P(H=10) over {len(mu)} random laws: {best:.3g}; "
        f"best fit of the uniform law: P₁₀ = {law[-1]:.3f}, loss {loss:.4f}",
        (
            Measure("largest P(H = K) over random parameters", best),
            Measure("P(H = K) after fitting the uniform law", float(law[-1])),
            Measure("squared error of that fit", loss),
            Measure("least squared error without category K, 1/90", 1 / 90),
        ),
    )


def cut_of_g(w, rho, tau):
    """Eq. 19 as printed: the number of coordinates of g = softmax++(w, tau) that rho needs, all of w known."""
    g = SoftmaxPlusPlus(tau).forward(w)[..., :-1]
    return 1 + (numpy.cumsum(g, axis=-1) <= rho).sum(axis=-1)


def cut_of_w(w, rho, tau):
    """Eq. 19 with the sticks themselves in place of g."""
    return 1 + (numpy.cumsum(w, axis=-1) <= rho).sum(axis=-1)


@finding(
    "infinite-softmax",
    title="Equation 18 has no limit of infinitely many categories",
    where="section 3.2, eqs. 18 and 19",
    says="g of eq. 18 extends to K = ∞, and eq. 19 tells where to cut it",
    right="e^{w_k/τ} → 1, so Σ_k diverges and every g_k is 0; cut the sticks w instead",
    why="The sticks sum to one, their softmax does not: from some stick on each further one adds nearly 1 to the "
    "denominator. The K that eq. 19 asks for therefore grows with the number of sticks that are allocated, "
    "without end. Applied to the sticks themselves it settles.",
    equation="Σ_k e^{w_k/τ} = ∞ ⇒ g_k = 0 for every k",
    right_code="igr_ref.distributions.infinite.k_rho (on w)",
    wrong_code="experiments.audit.sticks.cut_of_g",
    group=GROUP,
)
def infinite_softmax(setting, cut=cut_of_g):
    sizes = (50, 500, 5000)
    eps = noise.normal(setting.rng("infinite"), (setting.count(200, 50), sizes[-1]))
    y = -1 + eps
    found = {}
    for rule in (cut_of_g, cut_of_w, cut):
        found[rule] = [float(numpy.mean(rule(StickBreaking().forward(y[:, :n])[..., :-1], 0.9, 0.5))) for n in sizes]
    tested = found[cut]
    return Outcome(
        tested[-1] < 1.5 * tested[0],
        f"K of eq. 19 at ρ = .9: {', '.join(f'{k:.0f}' for k in found[cut_of_g])} "
        f"as {', '.join(map(str, sizes))} sticks are allocated; {found[cut_of_w][-1]:.0f} if w is cut",
        tuple(Measure(f"mean K with g, {n} sticks", k) for n, k in zip(sizes, found[cut_of_g], strict=True))
        + tuple(Measure(f"mean K with w, {n} sticks", k) for n, k in zip(sizes, found[cut_of_w], strict=True)),
    )


def published_count(w, log_rest, rho):
    return numpy.array([kept_as_published(row[None, None], rho, 50) for row in w])


def eq_19_count(w, log_rest, rho):
    return k_rho(log_rest, rho)


@finding(
    "cut-off-by-one",
    title="The published cut keeps one stick fewer than equation 19",
    where="eq. 19",
    says="K is the first number of sticks whose sum exceeds ρ",
    right="the code counts the sums that do not exceed ρ, which is K − 1, and looks at variable 1 only",
    why="Both rules applied to the same sticks. The published one also takes its percentile from the first latent "
    "variable alone, so that all others are cut where the first one is.",
    equation="Σ_{k<K} w_k ≤ ρ < Σ_{k≤K} w_k",
    right_code="igr_ref.distributions.infinite.k_rho",
    wrong_code="igr_ref.distributions.infinite.kept_as_published",
    group=GROUP,
)
def cut_off_by_one(setting, count=published_count):
    y = -1.5 + noise.normal(setting.rng("cut"), (setting.count(2000), 49))
    y[:, 0] = -numpy.abs(y[:, 0]) - 0.1  # the published rule cannot cut before a first stick
    w, log_rest = StickBreaking().forward(y)[..., :-1], log_sigmoid(-y)
    right = eq_19_count(w, log_rest, 0.9)
    got = count(w, log_rest, 0.9)
    example = numpy.array([0.1, 0.2, 0.3, 0.3])
    rest = numpy.log1p(-example / (1 - numpy.concatenate([[0], numpy.cumsum(example)[:-1]])))
    example_w = int(k_rho(rest[None], 0.8)[0])
    example_code = kept_as_published(example[None, None], 0.8, 50)
    # what several variables need, against what the first one asks for
    by_first = kept_as_published(w.reshape(-1, 20, 49), 0.9, 50)
    needs = numpy.percentile(right.reshape(-1, 20)[:, 1:], 95)
    return Outcome(
        bool((got == right).all()),
        f"sticks .1, .2, .3, .3 at ρ = .8: {example_code} for K = {example_w}; "
        f"mean difference {float((right - got).mean()):.2f}",
        (
            Measure("K of eq. 19 for sticks .1, .2, .3, .3 and ρ = .8", example_w),
            Measure("the published count", example_code),
            Measure("random sticks, mean K of eq. 19", float(right.mean())),
            Measure("random sticks, mean published count", float(got.mean())),
            Measure("sticks kept for all variables by the first one's median", by_first),
            Measure("95th percentile of what the other variables need", float(needs)),
        ),
    )
