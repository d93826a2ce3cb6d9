"""The exact discrete law of IGR-SB: the argmax of the sticks w (eq. 16), y_i ~ N(mu_i, sigma_i^2), i = 1..n = K-1.

Recursion. rho_i = max_{j<=i} w_j / prod_{j<=i} (1-u_j) is Markov. With s_i = log rho_i, s_0 = -inf,
    s_i = max(s_{i-1} + softplus(y_i), y_i),   and stick i takes the lead iff log sigmoid(y_i) > s_{i-1}.
Stick k wins iff it takes the lead and no later stick does. Let G_i(s) = P(s_i <= s), and H_i(s) = P(s_i <= s and k
leads after stick i). Only s < 0 matters, as s >= 0 is never overtaken. With integrals over y,
    (T_i F)(s) = int_{y<=s} phi_i(y) F(s - softplus(y)) dy,
    (D_i F)(s) = int_{y<=s} phi_i(y) F(log sigmoid(y)) dy,   r_i F the same without the limit s,
    G_i = T_i G_{i-1},   H_k = D_k G_{k-1},   H_i = (T_i - D_i) H_{i-1} for i > k: D_i is what stick i takes over,
    P_k = r_k G_{k-1} - sum_{i>k} r_i H_{i-1}.
With `remainder`, the argmax over [w, 1 - sum w], the remainder takes the lead in the end iff s_n < 0: P_K = G_n(0), and
H_n(0) is subtracted from P_k. Without it P_K = 0 (audit last-category).

Backward. P_k = r_k G_{k-1} + kappa_k D_k G_{k-1}, kappa_i F being minus the chance that leads F after stick i are lost:
    kappa_{i-1} = (T_i - D_i)' kappa_i - r_i'.
Pullback of p_bar, with F_i = sum_{k<=i} p_bar_k H_i and lambda_i the cotangent of G_i:
    F_i = (T_i - D_i) F_{i-1} + p_bar_i D_i G_{i-1},   lambda_{i-1} = T_i' lambda_i + p_bar_i (D_i' kappa_i + r_i'),
    bar_i = lambda_i dT_i G_{i-1} + kappa_i dT_i F_{i-1} + (kappa_i dD_i + dr_i) (p_bar_i G_{i-1} - F_{i-1}),
with dphi_i in place of phi_i in dT, dD, dr: by mu_i phi_i z/sigma_i, by sigma_i phi_i (z^2 - 1)/sigma_i.
G and H are smooth, and are interpolated; kappa and lambda are not, and are the transposes of what is done to G and H.
"""

from __future__ import annotations

from ..backend import namespace
from ..numerics import log_ndtr, log_normal_pdf, softplus
from ..transforms.base import one_hot
from . import _chebyshev
from ._checks import double, with_cotangent
from ._stick_intervals import Intervals
from ._stick_levels import FLOOR, LEVELS, NARROW, SAFETY, STARTS, WIDE, resolved, unresolved_if_wide
from ._sticks import Stick


def probs(mu, sigma, remainder=False, tolerance=1e-7):
    """P (..., K) from mu, sigma (..., K-1), with absolute error below `tolerance`. Float64 inside, mu's dtype outside.

    A law with a sigma of 10 or more has functions that bend in a few units, on intervals of hundreds: coefficients fall
    so slowly that the last few do not bound the rest, and are small before the table is right. It has to pass a test
    that knows this (`unresolved_if_wide`); beyond a sigma of some 500 few laws do.

    Ask for no less than 1e-9: the cut at 6.5 sigma leaves about 7e-11 in P (3e-9 in `vjp`) whatever the tolerance.

    A P_k that comes out between -tolerance and 0 is returned as 0; nothing is renormalised. (The sum is 1 by the
    structure of the recursions; whether a law is resolved is read off the last coefficients of its functions.)
    Raises ValueError for sigma <= 0 or input that is not finite, TypeError for a `remainder` that is neither True nor
    False (a tolerance, perhaps), ArithmeticError for a law that is not resolved.
    """
    xp, mu64, sigma64 = double(mu, sigma)
    out = resolved(_law, _one_hot, mu64, sigma64, (), remainder, tolerance)
    off = float(xp.max(xp.abs(xp.sum(out, axis=-1) - 1))) if out.size else 0.0
    least = float(xp.min(out)) if out.size else 0.0
    if not (off <= tolerance and least >= -tolerance):
        raise ArithmeticError(f"IGR-SB: probabilities sum to 1 within {off:.2e}, and the least of them is {least:.2e}")
    return xp.maximum(out, 0).astype(mu.dtype)


def log_probs(mu, sigma, remainder=False, tolerance=1e-7):
    """log P (..., K): meaningful for P_k well above the absolute `tolerance`; -inf where P_k is 0 or rounded to it."""
    p = probs(mu, sigma, remainder, tolerance)
    xp, _ = namespace(p)
    return xp.where(p > 0, xp.log(xp.where(p > 0, p, 1)), -xp.inf)


def vjp(mu, sigma, p_bar, remainder=False, tolerance=1e-7):
    """(mu_bar, sigma_bar) (..., K-1) of a cotangent (..., K) on P.

    The errors are of the order of `tolerance` for cotangents of order 1: P is resolved to `tolerance` times the least
    sigma (from .1 to 1), as its error changes over a part of a sigma.
    """
    xp, mu64, sigma64 = double(mu, sigma)
    p_bar, mu64, sigma64 = with_cotangent(p_bar, mu64, sigma64)
    both = resolved(_law_vjp, _no_slope, mu64, sigma64, (p_bar,), remainder, tolerance)
    return both[..., 0, :].astype(mu.dtype), both[..., 1, :].astype(mu.dtype)


# ---- the law -----------------------------------------------------------------------------------------------------


def _forward(mu, sigma, top, remainder, level, unit=1.0):
    """(steps, z, G, unresolved): what P and its pullback need.

    steps: for i = 2..n the operators of stick i, G_{i-1} at their points, D_i G_{i-1} and r_i G_{i-1}. z: (s - mu_1) /
    sigma_1 at the points of G_1. G: G_n(0), (L, 1) or (L, 0). unresolved (L,): the error to expect for want of points,
    divided by `unit`.
    """
    xp, _ = namespace(mu)
    n, (m, quadrature) = mu.shape[1], level
    intervals = Intervals(mu, sigma, top, remainder)
    points = 0.5 * (xp.asarray(_chebyshev.nodes(m)) + 1)
    last = xp.asarray(_chebyshev.coefficients(m)[-3:].T)
    steps, first, G, low, high = [], None, None, None, None
    unresolved, beyond = xp.zeros(mu.shape[0]), xp.zeros(mu.shape[0])
    wide, narrow = xp.max(sigma, axis=-1) >= WIDE, xp.min(sigma, axis=-1) < NARROW
    hard = (wide | narrow)[:, None] if bool(xp.any(wide | narrow)) else None
    if hard is not None and m < LEVELS[len(STARTS)][0]:  # the coarser levels are for laws that a few points resolve
        unresolved = xp.where(hard[:, 0], xp.inf, 0)
    for i in range(n):
        mean, deviation = mu[:, i : i + 1], sigma[:, i : i + 1]
        if i < n - 1:
            next_low, next_high = intervals.after(i)
            v = next_low + (next_high - next_low) * points
            s = -softplus(-v)
        else:  # s_n is asked for at 0 if there is a remainder, and nowhere if not
            s = xp.zeros((mu.shape[0], 1 if remainder else 0))
            v = s + top
        if i == 0:
            first = (s - mean) / deviation
            G = xp.exp(log_ndtr(first))
        else:
            stick = Stick(mean, deviation, low, high, m, v, s, quadrature, hard)
            before = stick.stencil.gather(G)
            G, lost, total = stick.apply(before)
            steps.append((stick, before, lost, total))
            unresolved = xp.maximum(unresolved, stick.unresolved(before))
        if i < n - 1:
            low, high = next_low, next_high
            intervals.tighten(v, G)
            # dG/dv at the largest v is what G gains beyond it, s in (-e^-v, 0)
            gain = xp.abs(G[:, -1] - G[:, -2]) / (v[:, -1] - v[:, -2])
            beyond = xp.maximum(beyond, xp.where(high[:, 0] > top[:, 0] - 1, gain / SAFETY, 0))
            unresolved = xp.maximum(unresolved, xp.max(xp.abs(G @ last), axis=-1))
            if hard is not None:
                unresolved = xp.maximum(unresolved, xp.where(wide, unresolved_if_wide(G, low, high), 0))
    return steps, first, G, xp.maximum(xp.where(unresolved > FLOOR, unresolved / unit, unresolved), beyond)


def _law(mu, sigma, top, remainder, level):
    """(P (L, K), unresolved (L,))."""
    xp, _ = namespace(mu)
    steps, first, G, unresolved = _forward(mu, sigma, top, remainder, level)
    columns = [G if remainder else xp.zeros_like(mu[:, :1])]
    kappa, one = -xp.ones_like(G), xp.ones_like(mu[:, :1])
    for stick, _, lost, total in reversed(steps):
        columns.append(total + xp.sum(kappa * lost, axis=-1, keepdims=True))
        kappa = stick.stencil.scatter(stick.pull(kappa, -kappa, -one))
    columns.append(1 + xp.sum(kappa * xp.exp(log_ndtr(first)), axis=-1, keepdims=True))
    return xp.concatenate(columns[::-1], axis=-1), unresolved


def _law_vjp(mu, sigma, top, p_bar, remainder, level):
    """((mu_bar, sigma_bar) stacked (L, 2, K-1), unresolved (L,))."""
    xp, _ = namespace(mu)
    # P's error changes over a part of a sigma
    unit = xp.clip(xp.min(sigma, axis=-1), NARROW, 1)
    steps, first, G, unresolved = _forward(mu, sigma, top, remainder, level, unit)
    pay = [p_bar[:, i : i + 1] for i in range(p_bar.shape[1])]
    F, leads = pay[0] * xp.exp(log_ndtr(first)), []
    for i, (stick, _, lost, _) in enumerate(steps, start=1):
        leads.append(stick.stencil.gather(F))
        kept, taken, _ = stick.apply(leads[-1])
        F = kept - taken + pay[i] * lost
    kappa, lam, one = -xp.ones_like(G), pay[-1] * xp.ones_like(G), xp.ones_like(pay[0])
    bars = []
    for i in range(len(steps), 0, -1):
        stick, before, _, _ = steps[i - 1]
        G_bar, F_bar = stick.pull(lam, pay[i] * kappa, pay[i]), stick.pull(kappa, -kappa, -one)
        bars.append(stick.parameter_bars(G_bar * before + F_bar * leads[i - 1]))
        lam, kappa = stick.stencil.scatter(G_bar), stick.stencil.scatter(F_bar)
    # G_1 = Phi(z), F_1 = p_bar_1 G_1, z = (s - mu_1)/sigma_1
    z_bar = (lam + pay[0] * kappa) * xp.exp(log_normal_pdf(first)) / sigma[:, :1]
    bars.append([-xp.sum(z_bar * factor, axis=-1, keepdims=True) for factor in (1, first)])
    return xp.stack([xp.concatenate([bar[j] for bar in bars[::-1]], axis=-1) for j in (0, 1)], axis=1), unresolved


# ---- laws in which one category surely wins ----------------------------------------------------------------------


def _one_hot(winner, some):
    xp, _ = namespace(some)
    return one_hot(winner, some.shape[-1], xp, some.dtype)


def _no_slope(winner, some):
    xp, _ = namespace(some)
    return xp.zeros((winner.size, *some.shape[1:]))
