"""Where the density of Prop. 2's winner is largest: f = log phi_k + sum_{j!=k} log Phi_j on t >= 0, by Newton's steps.

    f' = -u_k/sigma_k + sum_{j!=k} r(u_j)/sigma_j,  u_j = (t - mu_j)/sigma_j,  r = phi/Phi
is convex and decreasing, and not negative at mu_k: steps from max(0, mu_k) move right and never beyond its root; where
f' <= 0 at the start, the mode is 0. It only has to be an edge of panels, so a hundredth in f is near enough.
"""

from __future__ import annotations

from ..backend import namespace

GAIN = 0.01


def newton(mu, own, derivatives):
    """(t, t after one step more, `anything` at t) (L, 1), once that step gains less than about GAIN in f.

    derivatives(t) gives (anything, f', -f''); `own` (L, K-1) marks k.
    """
    xp, _ = namespace(mu)
    t = xp.maximum(xp.sum(xp.where(own, mu, 0), axis=-1, keepdims=True), 0)
    for _ in range(100):
        value, slope, curvature = derivatives(t)
        step = xp.maximum(slope, 0) / curvature
        further = t + step
        if bool(xp.all(step * slope < GAIN)):
            break
        t = further
    return t, further, value
