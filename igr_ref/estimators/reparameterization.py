"""The reparameterization estimator (eqs. 2 and 3): differentiate f(g(noise, theta)) along the path.

IGR             KL in closed form (eq. 13), differentiated exactly.
IGR-Planar      KL sampled: log N(y | mu, sigma^2) - log|det J_f(y)| - log p(x), x = f(y), differentiated in full, the
                flow's parameters included. Along the path y = mu + sigma eps the first term is
                sum_k [log phi(eps_k) - log_sigma_k]: its gradient is 0 by mu and -1 by log_sigma.
Gumbel-Softmax  KL sampled at the same z: log q(y) - log p(y), both terms differentiated in full.
                (1) log q(y) is constant along the path: with t = log_alpha - tau y and tau y = log_alpha + G
                    - tau lse(l), t = -G + tau lse(l), so sum_k [t_k - lse(t)] = -sum_k G_k - K lse(-G).
                (2) Hence only -log p(y) contributes, through y: y_bar = -d log p/dy.
"""

from __future__ import annotations

from ..backend import namespace
from ..distributions import IGR, GumbelSoftmax, gaussian
from .base import Estimate, add_grads, check_prior, check_variables, estimated_in_double, over_variables, value_and_grad


@estimated_in_double
def reparameterization(q, noise, f, p=None):
    """Pathwise gradient of E_q[f(z)] + KL(q || p); signature and shapes in `base`. TypeError for other kinds of q."""
    check_prior(q, p, (IGR, GumbelSoftmax))
    check_variables(q, noise)
    xp, _ = namespace(noise)
    z, saved = q.run(noise)
    value, z_bar = value_and_grad(f, z)
    if p is not None and isinstance(q, IGR) and not q.same_transform(p):
        kl, grads = _flow(q, p, saved, z_bar)
        return Estimate(value, over_variables(kl), grads)
    grads = q.pullback(saved, z_bar)
    if p is None:
        return Estimate(value, xp.zeros_like(value), grads)
    if isinstance(q, IGR):
        kl, kl_grads = q.kl_and_grads(p)
        grads = add_grads(grads, kl_grads)
    else:
        y = saved[1]
        log_p, from_p = p.log_prob_and_grad(y)
        kl = q.log_prob(y) - log_p
        grads = add_grads(grads, q.pullback_y(saved, -from_p))
    return Estimate(value, over_variables(kl), grads)


def _flow(q, p, saved, z_bar):
    """(KL, gradients of f and the KL) where q and p share g but not the flow before it: one way back through it."""
    flow, flow_0 = q.own_flows(p)
    x, kept = q.flow_run(flow, saved)
    log_p, from_p = p.flow_log_prob(flow_0, flow_0.inverse(x))
    x_bar, shared_bars = q.pullback_behind(flow, saved, z_bar)
    xp, _ = namespace(log_p)
    y_bar, flow_bars = flow.pullback(kept, x_bar - from_p, -xp.ones_like(log_p))
    grads = q.pullback_y(saved, y_bar)
    kl = gaussian.standard_log_prob(saved[0], q.log_sigma) - flow.saved_log_det(kept) - log_p
    return kl, {**grads, "log_sigma": grads["log_sigma"] - 1, **flow_bars, **shared_bars}
