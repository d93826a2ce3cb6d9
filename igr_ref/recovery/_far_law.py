"""Prop. 2 for laws whose scales lie far apart, category by category (`_far`): log P, the fluxes, and winners.

The grid that other laws share resolves neither sigma_j < 1e-16 mu_j nor, in a bearable number of panels, sigma_j far
below sigma_i. A category that no one would see (P_k < 1e-30) is left out where absolute accuracy is wanted.
Fluxes A_jk = P_k E_k[r_j]/sigma_j = P_j E_j[r_k]/sigma_k (see `gaussian_argmax`): of the two the one with the smaller
sigma in front, as phi_j phi_k is as narrow as that.
"""

from __future__ import annotations

from ..backend import namespace
from . import _far_tails
from ._far import Category, is_far, scaled
from ._far_density import SIDES


def by_reach(near, far, mu, sigma, *more):
    """Arrays of the laws (L, ...): those of near(mu, sigma, *more), or of far where `is_far`."""
    return by_row(is_far(mu, sigma), near, far, mu, sigma, *more)


def by_row(chosen, others, function, *arrays):
    """Arrays (L, ...): those of function(*arrays) where chosen (L,), of others(*arrays) elsewhere."""
    xp, _ = namespace(chosen)
    if not bool(xp.any(chosen)):
        return others(*arrays)
    order = xp.concatenate([xp.nonzero(~chosen)[0], xp.nonzero(chosen)[0]])
    place, split = xp.argsort(order), int(xp.sum(~chosen))
    pieces = [
        call(*(array[rows] for array in arrays))
        for call, rows in ((others, order[:split]), (function, order[split:]))
        if rows.size
    ]
    return tuple(xp.concatenate(parts)[place] for parts in zip(*pieces, strict=True))


def _seen(mu, sigma):
    """(n,): the categories k < K with P_k above 1e-30 or so."""
    xp, _ = namespace(mu)
    j = xp.argmax(mu - SIDES * sigma)
    return (mu + SIDES * sigma >= 0) & ((mu - mu[j]) + SIDES * (sigma + sigma[j]) >= 0)


def log_head(mu, sigma, relative):
    """log P_k (L, n), k < K: right to 1e-12, but for its own rounding; -inf where P_k < 1e-30, unless `relative`."""
    xp, _ = namespace(mu)
    out = xp.full(mu.shape, -xp.inf)
    for row in range(mu.shape[0]):
        m, s, _ = scaled(mu[row], sigma[row])
        for k in xp.nonzero(relative | _seen(m, s))[0]:
            out[row, k] = Category(m, s, int(k)).log_p
    return out


def fluxes(mu, sigma):
    """(A, A') (L, n, n), diagonals 0."""
    xp, _ = namespace(mu)
    laws, n = mu.shape
    A, A_scaled = xp.zeros((laws, n, n)), xp.zeros((laws, n, n))
    for row in range(laws):
        m, s, _ = scaled(mu[row], sigma[row])
        for k in xp.nonzero(_seen(m, s))[0]:
            own = Category(m, s, int(k))
            r, a_r, ak_r = own.means()
            p = xp.exp(xp.asarray(own.log_p)) / sigma[row]
            # where sigma_j >= sigma_k, and by its number where they are equal
            j = ((s > s[k]) | ((s == s[k]) & (xp.arange(n) > k))) & own.active
            A[row, j, k] = A[row, k, j] = (p * r)[j]
            A_scaled[row, j, k], A_scaled[row, k, j] = (p * a_r)[j], (p * ak_r)[j]
    return A, A_scaled


def pullback(mu, sigma, bar):
    """(mu_bar, sigma_bar) (L, n) of a cotangent (L, n) on P_k - P_K, without the boundary terms."""
    xp, _ = namespace(mu)
    differences = bar[:, :, None] - bar[:, None, :]
    return tuple(xp.sum(differences * flux, axis=-1) for flux in fluxes(mu, sigma))


def scores(mu, sigma, k):
    """dlog P_k (R, 2n), as `_winner.scores`."""
    xp, _ = namespace(mu)
    out = []
    for row in range(k.size):
        m, s, power = scaled(mu[row], sigma[row])
        out.append(Category(m, s, int(k[row])).score() / power)
    return xp.stack(out)


def maxima(mu, sigma, law, k, v=None, m=None):
    """(m (R,), dm (R, 2n)), as `_winner.maxima`."""
    xp, _ = namespace(mu)
    out, dm, made = xp.zeros(k.shape), xp.zeros((k.size, 2 * mu.shape[1])), {}
    for row in xp.argsort(law * mu.shape[1] + k, kind="stable"):
        key = (int(law[row]), int(k[row]))
        if key not in made:
            mu_row, sigma_row, power = scaled(mu[row], sigma[row])
            made = {key: (Category(mu_row, sigma_row, key[1]), (mu_row, sigma_row, key[1]), power)}  # the last one only
        own, law_row, power = made[key]
        if v is None:
            out[row], at = m[row], float(m[row]) / power
            s = (at - own.A) - own.B
            deep = float(own.g(xp.asarray([s]))[0]) < -_far_tails.DEEP
            dm[row] = _far_tails.given(*law_row, at) if deep else own.given(s)
        elif v[row] < _far_tails.TINY:
            at, dm[row] = _far_tails.quantile(*law_row, float(v[row]))
            out[row] = at * power
        else:
            s = own.quantile(float(v[row]))
            out[row], dm[row] = (own.A + (own.B + s)) * power, own.given(s, float(v[row]))
    return out, dm
