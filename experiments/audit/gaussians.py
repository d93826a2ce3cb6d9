"""The Gaussian KL (eqs. 12 and 13): its condition, its notation, and whether it was used."""

from __future__ import annotations

import math

import numpy

from igr_ref import IGR, igr_i, noise
from igr_ref.distributions import gaussian

from .record import Measure, Outcome, finding
from .temperatures import GROUP


@finding(
    "kl-needs-one-g",
    title="The closed KL of equation 13 needs one g for both laws",
    where="eq. 13",
    says="KL(q̃ ‖ q̃₀) = KL of the two Gaussians",
    right="for the same g, τ and δ; with another temperature in the prior the Jacobians do not cancel",
    why="With one g the densities on the simplex carry the same Jacobian factor at every point, which drops out of "
    "the ratio. The paper's equation has one τ, so it is right as it stands. It is checked here by simulation, "
    "and its condition by changing the prior's temperature.",
    equation="log q̃ − log q̃₀ = log N(y|μ,σ²) − log N(y|μ₀,σ₀²) only if g = g₀",
    right_code="igr_ref.IGR.kl (raises ValueError unless g is shared)",
    wrong_code="the same formula across two temperatures",
    group=GROUP,
)
def kl_needs_one_g(setting, other_temperature=None):
    rng = setting.rng("one-g")
    mu, log_sigma = rng.standard_normal(4), 0.3 * rng.standard_normal(4)
    q = igr_i(mu, log_sigma, 0.5)
    p_same, eps = IGR(numpy.zeros(4), numpy.zeros(4), q.transform), noise.normal(rng, (setting.count(400_000), 4))
    y = gaussian.sample(mu, log_sigma, eps)
    log_z = q.transform.log_forward(y)
    closed, sampled = float(q.kl(p_same)), {}
    for tau in (0.5, other_temperature or 0.25):
        p = igr_i(numpy.zeros(4), numpy.zeros(4), tau)
        ratio = q.log_prob(y) - p.log_prob(p.transform.inverse_log(log_z))
        sampled[tau] = (float(ratio.mean()), float(ratio.std() / math.sqrt(len(ratio))))
    tested = other_temperature or 0.5
    return Outcome(
        abs(sampled[tested][0] - closed) < 5 * sampled[tested][1],
        f"closed {closed:.3f}, sampled {sampled[0.5][0]:.3f} ± {sampled[0.5][1]:.3f} with one τ",
        (
            Measure("eq. 13", closed, "nats", 4),
            Measure("sampled with both densities at τ = .5", sampled[0.5][0], "nats", 4),
            Measure(
                f"sampled, prior at τ = {other_temperature or 0.25:g}", sampled[other_temperature or 0.25][0], "nats", 4
            ),
            Measure("standard error of the first", sampled[0.5][1], "nats"),
        ),
    )


def read_as_variance(log_sigma):
    return 0.5 * log_sigma


def read_as_sd(log_sigma):
    return log_sigma


@finding(
    "sd-or-variance",
    title="N(μ, σ) and N(μ, σ²) both stand for the same law",
    where="eqs. 12, 13 and Prop. 2",
    says="N(y | μ, σ) of eq. 12 is the density of y = μ + σε (usual notation: second argument a variance)",
    right="σ is a standard deviation everywhere (eq. 10); with variance σ the density is another one",
    why="Equations 12 and 13 disagree in notation. Read literally, eq. 12 gives a density that is not the "
    "sampler's. The same confusion, exp(log variance) used as a standard deviation, is a common slip in code. "
    "Its price is the KL between the two readings, at the σ that eq. 37 allows.",
    equation="KL(N(μ, s²) ‖ N(μ, s)), s = σ, per coordinate",
    right_code="igr_ref.distributions.gaussian (takes log σ); mixtures take log σ²",
    wrong_code="experiments.audit.gaussians.read_as_variance",
    group=GROUP,
)
def sd_or_variance(setting, reading=read_as_variance):
    kl = {}
    for sigma in (0.5, 1.0, 2.5):
        log_sigma = numpy.full(9, math.log(sigma))
        kl[sigma] = float(gaussian.kl(numpy.zeros(9), log_sigma, numpy.zeros(9), reading(log_sigma)))
    return Outcome(
        max(kl.values()) < 1e-9,
        f"nine coordinates: {kl[0.5]:.2f} nats apart at σ = .5, {kl[2.5]:.2f} at σ = 2.5",
        tuple(
            Measure(f"KL of the sampler's law to the literal reading, σ = {s:g}, K = 10", v, "nats")
            for s, v in kl.items()
        ),
    )


def sampled_path(mu, log_sigma, eps):
    """Gradients by mu and log_sigma of log q(y) - log p_0(y) at y = mu + sigma eps, both densities differentiated."""
    y = gaussian.sample(mu, log_sigma, eps)
    one = numpy.ones(y.shape[:-1])
    own_mu, own_log_sigma, y_q = gaussian.log_prob_vjp(mu, log_sigma, y, one)
    _, _, y_p = gaussian.log_prob_vjp(0 * mu, 0 * log_sigma, y, one)
    path_mu, path_log_sigma = gaussian.sample_vjp(log_sigma, eps, y_q - y_p)
    return own_mu + path_mu, own_log_sigma + path_log_sigma


def closed(mu, log_sigma, eps):
    """The closed gradients, the same for every sample."""
    shape = eps.shape
    by = gaussian.kl_vjp(mu, log_sigma, 0 * mu, 0 * log_sigma, numpy.ones(()))
    return tuple(numpy.broadcast_to(g, shape) for g in by)


@finding(
    "sampled-kl",
    title="The closed KL was not used where it is said to be compared",
    where="section 4.2 (plain against + SL)",
    says="plain runs use the closed KL, SL runs do not; their difference measures its worth",
    right="the published code samples the KL in both; the plain rows have its noise too",
    why="The closed form is dead code at the published state: the KL is sampled whenever training samples. The "
    "gradient of a sampled KL has the right mean and a variance that the closed one has not. Along the path log "
    "q itself contributes no noise: its derivative is 0 by μ and −1 by log σ at every sample, so only log p₀ "
    "does.",
    equation="∇[log q(y) − log p₀(y)] against ∇KL(N(μ,σ²) ‖ N(0,1))",
    right_code="igr_ref.IGR.kl_vjp (closed)",
    wrong_code="experiments.audit.gaussians.sampled_path",
    group=GROUP,
)
def sampled_kl(setting, gradient=sampled_path):
    rng = setting.rng("sampled-kl")
    mu, log_sigma = rng.standard_normal(9), 0.3 * rng.standard_normal(9)
    eps = noise.normal(rng, (setting.count(200_000), 9))
    got, exact = gradient(mu, log_sigma, eps), closed(mu, log_sigma, eps)
    variance = float(sum(g.var(axis=0).sum() for g in got))
    size = float(sum((g[0] ** 2).sum() for g in exact))
    z = max(
        float(abs((g - e).mean(axis=0) / (g.std(axis=0) / len(eps) ** 0.5 + 1e-9)).max())
        for g, e in zip(got, exact, strict=True)
    )
    return Outcome(
        variance < 1e-20,
        f"summed gradient variance {variance:.1f} sampled, 0 closed, at a squared gradient of {size:.1f}",
        (
            Measure("summed variance of the tested KL gradient, K = 10", variance),
            Measure("squared norm of the exact gradient", size),
            Measure("largest |mean − exact|/standard error, 18 parameters", z),
        ),
    )
