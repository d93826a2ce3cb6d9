"""Sticking the landing (Roeder et al. 2017): KL sampled as log q(z) - log p(z), q's own parameters held fixed in log q.

The parameters then act only through the path z = g(noise, theta). What is dropped, E[d log q/dtheta], is the score,
whose mean is zero, so the estimator stays unbiased; when q = p the two densities cancel at every sample and the
gradient's variance is zero.
IGR             with one g for q and p the Jacobian terms cancel, and the cotangent of the KL at y is
                -(y - mu)/sigma^2 + (y - mu_0)/sigma_0^2.
IGR-Planar      with a flow x = f(y) before the shared g, mu, sigma and the flow's parameters are all held fixed in
                log q: the cotangent at x is J_f^{-T}[-(y - mu)/sigma^2 - d log|det J_f|/dy] + (x - mu_0)/sigma_0^2,
                and it goes back through f to every parameter. stop_flow=False holds only mu and sigma fixed, as in
                the published code (audit planar-landing): unbiased too, but its variance is not zero at q = p.
Gumbel-Softmax  d log q/dy - d log p/dy at y, pushed back through y(log_alpha, G).
(y - mu)/sigma is taken from the rounded y: where sigma is 1e-8 of mu, half of its digits are gone.
"""

from __future__ import annotations

from ..backend import namespace
from ..distributions import IGR, GumbelSoftmax, gaussian
from .base import Estimate, add_grads, check_prior, check_variables, estimated_in_double, over_variables, value_and_grad


@estimated_in_double
def sticking_the_landing(q, noise, f, p=None, stop_flow=True):
    """Path gradient of E_q[f(z)] + KL(q || p); signature and shapes in `base`. TypeError for other kinds of q.

    stop_flow matters only where q has a flow that p does not share.
    """
    check_prior(q, p, (IGR, GumbelSoftmax))
    check_variables(q, noise)
    z, saved = q.run(noise)
    value, z_bar = value_and_grad(f, z)
    if p is None:
        xp, _ = namespace(value)
        return Estimate(value, xp.zeros_like(value), q.pullback(saved, z_bar))
    if isinstance(q, IGR) and not q.same_transform(p):
        kl, grads = _flow(q, p, saved, z_bar, stop_flow)
    else:
        grads = q.pullback(saved, z_bar)
        kl, kl_grads = (_igr if isinstance(q, IGR) else _gumbel_softmax)(q, p, saved)
        grads = add_grads(grads, kl_grads)
    return Estimate(value, over_variables(kl), grads)


def _igr(q, p, saved):
    q.require_same_transform(p)
    xp, _ = namespace(q.mu)
    y = saved[1]
    log_q = gaussian.log_prob(q.mu, q.log_sigma, y)
    log_p = gaussian.log_prob(p.mu, p.log_sigma, y)
    _, _, from_q = gaussian.log_prob_vjp(q.mu, q.log_sigma, y, xp.ones_like(log_q))
    _, _, from_p = gaussian.log_prob_vjp(p.mu, p.log_sigma, y, xp.ones_like(log_p))
    return log_q - log_p, q.pullback_y(saved, from_q - from_p)


def _flow(q, p, saved, z_bar, stop_flow):
    """(KL, gradients of f and the KL): one way back through the flow for both."""
    flow, flow_0 = q.own_flows(p)
    y = saved[1]
    x, kept = q.flow_run(flow, saved)
    log_q, from_q = q.flow_log_prob(flow, y, kept)
    log_p, from_p = p.flow_log_prob(flow_0, flow_0.inverse(x))
    x_bar, shared_bars = q.pullback_behind(flow, saved, z_bar)
    if stop_flow:
        y_bar, flow_bars = flow.pullback(kept, x_bar + (from_q - from_p))
    else:
        xp, _ = namespace(log_q)
        _, normal_bar = gaussian.log_prob_and_grad(q.mu, q.log_sigma, y)
        y_bar, flow_bars = flow.pullback(kept, x_bar - from_p, -xp.ones_like(log_q))
        y_bar = y_bar + normal_bar
    return log_q - log_p, {**q.pullback_y(saved, y_bar), **flow_bars, **shared_bars}


def _gumbel_softmax(q, p, saved):
    y = saved[1]
    log_q, from_q = q.log_prob_and_grad(y)  # by y alone: what log_alpha adds is the part that is dropped
    log_p, from_p = p.log_prob_and_grad(y)
    return log_q - log_p, q.pullback_y(saved, from_q - from_p)
