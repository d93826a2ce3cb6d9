"""Straight-through (Bengio et al. 2013): f is evaluated at the exactly one-hot code b, its gradient follows the relaxed
sample.   b = q.discretize(noise),  z = q.sample(noise),  g = (dz/dtheta)^T df/db(b).

Biased. Its mean is E[g] = sum_b (E[1{b(noise) = b} dz/dtheta])^T df/db(b), while d E[f(b)]/dtheta has no derivative of
f in it. For f linear, E[g] is the exact gradient of the relaxed objective E[f(z)]. As the temperature tends to 0,
dz/dtheta concentrates, evenly from both sides, where two categories i and j tie, so that g weighs the tie by
    (e_i - e_j) . [df/db(e_i) + df/db(e_j)]/2     instead of     f(e_i) - f(e_j):
the trapezoidal rule along the edge. For quadratic f the bias then falls like tau, while the variance grows like 1/tau.
With softmax++ and delta other than 1 that is so but for ties with category K: z turns at y_k = tau log delta, b at 0,
so that the two derivatives are weighed by delta/(1 + delta) at e_k and 1/(1 + delta) at e_K: a bias stays at any tau.
"""

from __future__ import annotations

from .base import Estimate, add_grads, check_variables, value_and_grad
from .score_function import kl_term


def straight_through(q, noise, f, p=None):
    """Signature and shapes in `base`; q is GumbelSoftmax or any IGR, and f is called once, at the one-hot b.

    p: None (no KL term) or "uniform": the exact KL of q's discrete law to the uniform law, with its exact gradient
    (unbiased, unlike the first part); for this q must be GumbelSoftmax or IGR-I.
    """
    check_variables(q, noise)
    b, saved = run(q, noise)
    value, b_bar = value_and_grad(f, b)
    kl, kl_grads = kl_term(q, p, value)
    return Estimate(value, kl, add_grads(pullback(q, saved, b_bar), kl_grads))


def run(q, noise):
    """(b, saved): one-hot codes (..., K), entries exactly 0 and 1, and what `pullback` needs."""
    return q.discretize(noise), q.run(noise)[1]


def pullback(q, saved, b_bar):
    """Gradients by q's parameters of <b_bar, z>: what straight-through takes for those of <b_bar, b>."""
    return q.pullback(saved, b_bar)
