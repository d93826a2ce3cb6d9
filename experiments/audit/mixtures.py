"""Nonparametric mixtures (section 4.4, Table 3): what is reported, its gradient, the prior, the weights."""

from __future__ import annotations

import numpy

from igr_ref import noise
from igr_ref.distributions.kumaraswamy import Kumaraswamy
from igr_ref.models import mixture_as_published as published
from igr_ref.models.mixture import prior_means
from igr_ref.models.mixture_objective import MixturePosterior, elbo_sl, importance_log_weights, log_likelihood
from igr_ref.models.mixture_sticks import LogitNormal, log_mixing_weights

from .record import Measure, Outcome, finding

GROUP = "Nonparametric mixtures"
K, D, PIXELS = 20, 50, 36


def problem(setting, stream, law, batch=10):
    """(q, decode, rng): a posterior with spread-out parameters, and a linear Bernoulli decoder."""
    rng = setting.rng(stream)
    sticks = law(-1 + 0.5 * rng.standard_normal((batch, K - 1)), 0.3 * rng.standard_normal((batch, K - 1)))
    mu = 0.3 * rng.standard_normal((batch, K, D))
    q = MixturePosterior(sticks, mu, -1 + 0.3 * rng.standard_normal((batch, K, D)), prior_means(rng, K, D))
    weight, x = rng.standard_normal((D, PIXELS)), (rng.random((batch, 1, PIXELS)) < 0.5) * 1.0

    def decode(z):
        logits = z @ weight
        value = (x * logits - numpy.logaddexp(0, logits)).sum(axis=-1)
        slope = x - 1 / (1 + numpy.exp(-logits))
        return value, lambda bar: (bar[..., None] * slope) @ weight.T

    return q, decode, rng


def draws(rng, law, samples, batch=10):
    stick = noise.uniform if law is Kumaraswamy else noise.normal
    return stick(rng, (samples, batch, K - 1)), noise.normal(rng, (samples, batch, K, D))


@finding(
    "mixture-score",
    title="Table 3 reports a loose one-sample bound as a log-likelihood",
    where="section 4.4, Table 3",
    says="Table 3 shows test log-likelihoods",
    right="one sample of a bound that is looser than the model's ELBO; the likelihood needs weights",
    why="The published class returns minus its training loss. That loss scores the components together, log Σ π_k "
    "q_k(z_k), where the ELBO has Σ π_k log q_k(z_k), which by Jensen's inequality is smaller. Measured with K "
    "= 20 components in 50 dimensions, random parameters, on the same draws.",
    equation="log Σ_k π_k q_k(z_k) ≥ Σ_k π_k log q_k(z_k)",
    right_code="igr_ref.models.mixture_objective.elbo_sl, importance_log_weights",
    wrong_code="igr_ref.models.mixture_as_published.log_likelihood_as_published",
    group=GROUP,
)
def mixture_score(setting, objective=published.objective_as_published):
    q, decode, rng = problem(setting, "mixture-score", Kumaraswamy)
    eps = draws(rng, Kumaraswamy, setting.count(500, 50))
    got, right = (-e(q, eps, decode).loss for e in (objective, elbo_sl))
    bound = log_likelihood(importance_log_weights(q, eps, decode))
    gap = float((right - got).mean())
    return Outcome(
        abs(gap) < 0.01,
        f"reported number {gap:.1f} nats below the ELBO, {float((bound - got.mean(axis=0)).mean()):.0f} below a "
        f"{len(got)}-sample bound",
        (
            Measure("reported number, mean", float(got.mean()), "nats", 4),
            Measure("structured ELBO, same draws", float(right.mean()), "nats", 4),
            Measure(f"importance-weighted bound, {len(got)} samples", float(bound.mean()), "nats", 4),
            Measure("ELBO minus reported number", gap, "nats"),
        ),
    )


@finding(
    "mixture-landing",
    title="IGR-SB-MM + SL does not stop any gradient",
    where="Table 3 (IGR-SB-MM + SL)",
    says="trained by sticking the landing",
    right="the published class for IGR-SB-MM holds nothing fixed inside log q; DLDPMM's does",
    why="The per-sample gradients of the published loss, as the IGR class computes them, are compared with those "
    "that hold q's parameters fixed inside log q. For the sticks the dropped term has mean zero. For the log "
    "variances it has not, since the published loss scores all components in one logarithm: there, holding q "
    "fixed would change the mean as well, which is what DLDPMM's class does.",
    equation="dropped by SL: ∂/∂φ [log Σ_k π_k q_k(z_k) + Σ_k log q(v_k)] at fixed samples",
    right_code="igr_ref.models.mixture_objective.elbo_sl",
    wrong_code="igr_ref.models.mixture_as_published.objective_as_published(stop=None)",
    group=GROUP,
)
def mixture_landing(setting, stop=None):
    q, decode, rng = problem(setting, "mixture-landing", LogitNormal, batch=2)
    eps = draws(rng, LogitNormal, setting.count(2000, 50), batch=2)
    held, as_is = (published.objective_as_published(q, eps, decode, stop=s).grads for s in (True, stop))
    gap = {name: as_is[name] - held[name] for name in held}
    largest = max(float(abs(gap[name]).max() / held[name].std()) for name in held)
    error = {name: numpy.maximum(g.std(axis=0) / len(g) ** 0.5, 1e-300) for name, g in gap.items()}
    rms = {name: float(numpy.sqrt(((g.mean(axis=0) / error[name]) ** 2).mean())) for name, g in gap.items()}
    return Outcome(
        largest == 0,
        f"per-sample gradients differ from stopped ones by up to {largest:.1f} of their standard deviation",
        (
            Measure("largest difference over the standard deviation", largest),
            *(
                Measure(f"{name}: mean of the dropped term, root mean square (1 if it is zero)", v, "standard errors")
                for name, v in rms.items()
            ),
            *(
                Measure(
                    f"{name}: variance, published over stopped",
                    float(as_is[name].var(axis=0).sum() / g.var(axis=0).sum()),
                )
                for name, g in held.items()
            ),
        ),
    )


@finding(
    "mixture-prior-slots",
    title="The mixture's prior means depend on an image's place in its batch",
    where="section 4.4",
    says="the prior is one Dirichlet process mixture of Gaussians",
    right="the published code redraws the component means for every batch position",
    why="The same posterior, put into two places of a batch, is compared with two different priors. The expected KL "
    "of N(m, I) of one place to that of another is one nat for every component but the first.",
    equation="½ E‖m_k − m′_k‖² = 1 for signs ±1/√50 drawn twice",
    right_code="igr_ref.models.mixture.prior_means (drawn once)",
    wrong_code="igr_ref.models.mixture.prior_means(slots=B)",
    group=GROUP,
)
def mixture_prior_slots(setting, slots=100):
    m = prior_means(setting.rng("slots"), K, D, slots=slots)
    m = numpy.broadcast_to(m, (100, K, D))
    kl = 0.5 * ((m[1:] - m[:-1]) ** 2).sum(axis=-1)[:, 1:]
    return Outcome(
        float(kl.max()) == 0,
        f"KL between the priors of two neighbouring images: {kl.mean():.2f} nats a component (largest {kl.max():.2f})",
        (
            Measure("mean KL between the same component of two places", float(kl.mean()), "nats"),
            Measure("largest", float(kl.max()), "nats"),
        ),
    )


@finding(
    "mixture-weights",
    title="The mixture's weights no longer sum to one",
    where="section 4.4, eq. 16",
    says="π = SB(v) is a distribution over components",
    right="the code drops what the sticks leave and clips to [1e−4, .9999]",
    why="Both changes are applied to sticks of IGR-SB-MM before training; the sum of the weights multiplies every "
    "term of the objective.",
    equation="Σ_k π_k = 1",
    right_code="igr_ref.models.mixture_sticks.log_mixing_weights (v_K = 1)",
    wrong_code="igr_ref.models.mixture_as_published, CLIP and the dropped component",
    group=GROUP,
)
def mixture_weights(setting, clip=published.CLIP, drop=True):
    y = -1.5 + noise.normal(setting.rng("weights"), (setting.count(20_000), K - 1))
    log_v, log_rest = LogitNormal.logs(y)
    pi = numpy.exp(log_mixing_weights(log_v, log_rest))
    pi = numpy.clip(pi, *clip)
    total = (pi[:, :-1] if drop else pi).sum(axis=-1)
    many = float(numpy.clip(numpy.exp(log_mixing_weights(*LogitNormal.logs(y + 4))), *clip).sum(axis=-1).max())
    return Outcome(
        float(abs(total - 1).max()) < 1e-9,
        f"sums between {total.min():.3f} and {total.max():.4f}",
        (
            Measure("least sum of the weights", float(total.min())),
            Measure("mean sum", float(total.mean()), "", 4),
            Measure("largest sum by clipping alone, steep sticks", many, "", 5),
        ),
    )
