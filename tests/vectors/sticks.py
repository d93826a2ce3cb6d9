"""The law of the largest stick (IGR-SB) by iterated integration of its definition, with its derivatives."""

from __future__ import annotations

import functools

from mpmath import cosh, exp, log, mp, mpf, ncdf, npdf, pi, sinh


def stick_law(mu, sigma, remainder, step):
    """The law of the largest of w_1..w_{K-1} (and of the remainder w_K, if it counts), K = 3 or 4, and its Jacobian.

    By definition: integrate over all sticks but the last, whose part is a difference of two Phi. When m leads the
    others, let r be w_m over what is left of the stick, w_m / prod_{i<K-1} (1 - u_i). The last, u, wins iff u > r, and
    with the remainder iff u > max(r, 1/2), while the remainder wins iff 1 - u > max(r, 1/2).
    Tanh-sinh rules between all points where r passes 1 or 1/2, or where the leader changes.
    """
    n = len(mu)
    total = [[mpf(0)] * (n + 1) for _ in range(1 + 2 * n)]  # P, then its derivatives by mu_1.., sigma_1..
    half = mpf(1) / 2

    def finish(weight, leader, r, scores):
        above, by_above = tail(max(r, half) if remainder else r)
        below, by_below = tail(1 - max(r, half)) if remainder else (mpf(1), (mpf(0), mpf(0)))
        below, by_below = 1 - below, [-b for b in by_below]
        parts = {n - 1: above, n: below, leader: 1 - above - below}
        by_last = [{n - 1: a, n: b, leader: -a - b} for a, b in zip(by_above, by_below, strict=True)]
        for k, part in parts.items():
            total[0][k] += weight * part
            # scores: those by mu of the n - 1 outer sticks, then those by their sigma
            for i, score in enumerate(scores):
                row = 1 + i if i < n - 1 else 1 + n + i - (n - 1)
                total[row][k] += weight * part * score
            total[n][k] += weight * by_last[0][k]
            total[2 * n][k] += weight * by_last[1][k]

    def tail(x):
        """P(u_last > x) and its derivatives by mu and sigma."""
        if not 0 < x < 1:
            return mpf(x <= 0), (mpf(0), mpf(0))
        a = (log(x / (1 - x)) - mu[-1]) / sigma[-1]
        return ncdf(-a), (npdf(a) / sigma[-1], a * npdf(a) / sigma[-1])

    def stick(i, breaks):
        """(y_i, weight, its scores by mu_i and sigma_i) over the line."""
        ends = [mu[i] + c * sigma[i] for c in (-10, -4, 4, 10)]
        ends = sorted({*ends, *(b for b in breaks if ends[0] < b < ends[-1])})
        for low, high in zip(ends, ends[1:], strict=False):
            for t, weight in tanh_sinh(low, high, step):
                a = (t - mu[i]) / sigma[i]
                yield t, weight * npdf(a) / sigma[i], a / sigma[i], (a**2 - 1) / sigma[i]

    for y, weight, by_mu, by_sigma in stick(0, [-log(mpf(c)) for c in (1, 2, 3)]):
        first = exp(y)  # w_1/(1 - u_1)
        if n == 2:
            finish(weight, 0, first, (by_mu, by_sigma))
            continue
        breaks = [mpf(0), -log(mpf(2))]
        if first < 1:
            breaks += [y - log(1 - first), log(1 / first - 1)]
        if first < half:
            breaks.append(log(half / first - 1))
        for x, more, *scores in stick(1, breaks):
            second = exp(x)  # w_2/[(1 - u_1)(1 - u_2)]; the first, over the same, is first (1 + second)
            leader, r = max((first * (1 + second), 0), (second, 1))[::-1]
            finish(weight * more, leader, r, (by_mu, scores[0], by_sigma, scores[1]))
    probs, rest = total[0], total[1:]
    return [probs, [list(c) for c in zip(*rest[:n], strict=True)], [list(c) for c in zip(*rest[n:], strict=True)]]


def tanh_sinh(low, high, step):
    """(t, weight) with t = low + (high - low)/(1 + e^{-pi sinh s}), s a multiple of 1/step."""
    out = []
    for x, rest, w in _tanh_sinh(step, mp.prec):
        t = low + (high - low) * x if x < rest else high - (high - low) * rest
        if low < t < high:
            out.append((t, w * (high - low)))
    return out


@functools.cache
def _tanh_sinh(step, prec):
    out = []
    for i in range(-5 * step, 5 * step + 1):
        s = mpf(i) / step
        e = exp(-pi * sinh(s))
        x, rest = 1 / (1 + e), e / (1 + e)
        w = pi * cosh(s) * x * rest / step
        if w > mpf(10) ** -mp.dps:
            out.append((x, rest, w))
    return out
