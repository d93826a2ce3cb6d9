"""All that an estimator asks of laws of Prop. 2 and one category b drawn from each, in one pass over shared panels.

log P and a pullback on it, the score dlog P_b (by mu and sigma), and the sample of y given H = b (`conditional`).
Where P_b < RARE, or P_b v or P_b (1 - v) for the uniform v of the winner, the score and the winner come from panels
made for the one category instead (`_winner`): right to relative precision everywhere, and twenty times slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..backend import namespace
from . import _conditions, _far_law, _winner, conditional, gaussian_argmax
from ._drawn import Located, Winner, solve
from ._grid import FINE, over_laws
from ._tails import log_ndtr_and_grad

RARE = 1e-6


@dataclass(frozen=True)
class Drawn:
    """Float64, but y and `saved`, which are as `conditional.sample` returns them."""

    log_p: Any  # (..., K), right to 1e-12 of the largest P
    bars: Any  # (mu_bar, sigma_bar) (..., K-1) of the cotangent that was asked for, or None
    score: Any  # (dlog P_b/dmu, dlog P_b/dsigma) (..., K-1)
    y: Any
    saved: Any


def drawn(mu, sigma, b, v=None, y=None, cotangent=None, dtype=None, rule=FINE):
    """Drawn for laws mu, sigma (..., K-1) and one-hot b (..., K), whose leading axes may exceed the laws'.

    Of v, the uniforms of the sample given b, and y, that sample itself, one is given, or neither for no sample.
    cotangent(log_p (L, K)), called for some laws at a time, is the cotangent on their P whose pullback is wanted.
    dtype: of y and `saved`.
    ValueError for bad input, as in `conditional.sample`.
    """
    dtype = dtype or mu.dtype
    xp, mu, sigma, b = _conditions.checked(mu, sigma, b)
    n, name = mu.shape[-1], "v" if y is None else "y"
    given = mu if v is None and y is None else _conditions.checked_uniforms(v) if y is None else y.astype(xp.float64)
    all_mu, all_sigma, given, law = _conditions.rows(mu, sigma, b, given, name)
    lead = all_mu.shape[:-1]
    k = xp.reshape(xp.broadcast_to(xp.argmax(b, axis=-1), lead), (-1,))
    laws, draws = ([xp.reshape(array, (-1, n)) for array in pair] for pair in ((mu, sigma), (all_mu, all_sigma)))
    winner = None if v is None and y is None else {name: _entry(xp.reshape(given, (-1, n)), k)}
    if lead == mu.shape[:-1]:
        log_p, bars, score, m, dm = _pass(*draws, k, winner, cotangent, rule)
    else:  # several draws of a law: what belongs to the law is done once, and so is each score if nothing else is asked
        log_p, bars, *_ = _pass(*laws, None, None, cotangent, rule)
        if winner is None:
            pair, which = xp.unique(xp.reshape(law, (-1,)) * (n + 1) + k, return_inverse=True)
            row = pair // (n + 1)
            score = _pass(*(array[row] for array in laws), pair % (n + 1), None, None, rule)[2][
                xp.reshape(which, (-1,))
            ]
        else:
            _, _, score, m, dm = _pass(*draws, k, winner, None, rule)
    log_p = xp.reshape(log_p, (*mu.shape[:-1], n + 1))
    bars = None if bars is None else tuple(xp.reshape(bar, mu.shape) for bar in bars)
    score = tuple(xp.reshape(part, all_mu.shape) for part in (score[:, :n], score[:, n:]))
    if winner is None:
        return Drawn(log_p, bars, score, None, None)
    args = (all_mu, all_sigma, b, given, xp.reshape(m, (*lead, 1)), xp.reshape(dm, (*lead, 2 * n)), dtype)
    if y is None:
        return Drawn(log_p, bars, score, *conditional.below_maximum(*args))
    return Drawn(log_p, bars, score, y, conditional.coupled_below(*args))


def _entry(array, k):
    """array (R, n) at k (R,); at n - 1 where k = n."""
    xp, _ = namespace(array)
    return array[xp.arange(k.size), xp.minimum(k, array.shape[1] - 1)]


def _pass(mu, sigma, k, winner, cotangent, rule):
    """`_near` for the laws that a shared grid resolves, `_far` for the others."""
    absent = [cotangent is None, cotangent is None, k is None, not winner, not winner]

    def flat(function):
        def present(mu, sigma, *columns):
            drawn_k = None if k is None else columns[0]
            given = {name: columns[-1] for name in winner or {}}
            log_p, bars, *rest = function(mu, sigma, drawn_k, given, cotangent, rule)
            return log_p, *(part for part in (*(bars or (None, None)), *rest) if part is not None)

        return present

    columns = [*([] if k is None else [k]), *(winner or {}).values()]
    log_p, *found = _far_law.by_reach(flat(_near), flat(_far), mu, sigma, *columns)
    mu_bar, sigma_bar, *rest = (None if missing else found.pop(0) for missing in absent)
    return log_p, None if cotangent is None else (mu_bar, sigma_bar), *rest


def _far(mu, sigma, k, winner, cotangent, rule):
    xp, _ = namespace(mu)
    log_last, B = gaussian_argmax.boundary(mu, sigma)
    log_head = _far_law.log_head(mu, sigma, relative=False)
    gaussian_argmax.logarithms(xp.exp(log_head), log_last)  # the sum is 1
    log_p, bars, score, m, dm = xp.concatenate([log_head, log_last], axis=-1), None, None, None, None
    if cotangent is not None:
        p_bar = cotangent(log_p)
        bar = p_bar[:, :-1] - p_bar[:, -1:]
        bars = gaussian_argmax.with_boundary(_far_law.pullback(mu, sigma, bar), bar * B, mu, sigma)
    if k is not None:
        nothing = xp.zeros(k.shape)  # all are rare: `_winner` does them
        score = _scores(mu, sigma, k, nothing, xp.zeros((k.size, 2 * mu.shape[1])))
    if winner:
        key = {"v": "v", "y": "m"}[next(iter(winner))]
        m, dm = xp.zeros(k.shape), xp.zeros((k.size, 2 * mu.shape[1]))
        (i,) = xp.nonzero(k < mu.shape[1])
        if i.size:
            given = next(iter(winner.values()))[i]
            m[i], dm[i] = _winner.maxima(mu[i], sigma[i], xp.arange(i.size), k[i], **{key: given})
    return log_p, bars, score, m, dm


def _near(mu, sigma, k, winner, cotangent, rule):
    """(log_p (L, K), bars, score (L, 2n), m (L,), dm (L, 2n)), with None for what is not asked for.

    k (L,) or None: the drawn categories; winner: {"v": (L,)} or {"y": (L,)}, the winner's uniform or value.
    """
    xp, _ = namespace(mu)
    log_last, B = gaussian_argmax.boundary(mu, sigma)
    columns = [log_last, xp.zeros(mu.shape[0], dtype=int) if k is None else xp.minimum(k, mu.shape[1] - 1)]
    key = {"v": "v", "y": "m"}[next(iter(winner))] if winner else None
    columns += list(winner.values()) if winner else []

    def piece(factors, edges, log_last, k_head, *given):
        head = factors.probs()
        out = [head]
        if cotangent is not None:
            p_bar = cotangent(gaussian_argmax.logarithms(head, log_last))
            bar = p_bar[:, :-1] - p_bar[:, -1:]
            out += [bar, *factors.pullback(bar)]
        if k is not None:
            drawn_one = Winner(factors, k_head)
            if winner:
                out += list(vars(drawn_one.locate(edges, **{key: given[0]})).values())
            else:
                out += list(drawn_one.integrals(xp.ones_like(drawn_one.w), xp.zeros_like(drawn_one.w))[0])
        return tuple(out)

    head, *parts = over_laws(piece, mu, sigma, *columns, rule=rule)
    log_p, bars, score, m, dm = gaussian_argmax.logarithms(head, log_last), None, None, None, None
    if cotangent is not None:
        bar, *bars = parts[:3]
        bars, parts = gaussian_argmax.with_boundary(bars, bar * B, mu, sigma), parts[3:]
    if k is not None:
        located = Located(*parts) if winner else None
        mass, integral = (located.mass, located.scores) if winner else parts
        score = _scores(mu, sigma, k, mass, integral)
    if winner:
        m, dm = _winners(mu, sigma, k, located, rule, **{key: columns[-1]})
    return log_p, bars, score, m, dm


def _scores(mu, sigma, k, mass, integral):
    """dlog P_k (L, 2n) from int s w and P_k; for k = n, -(phi/Phi)(z_j)/sigma_j and that times z_j = -mu_j/sigma_j."""
    xp, _ = namespace(mu)
    head = k < mu.shape[1]
    rare = head & ~(mass >= RARE)
    score = integral / xp.where(rare | ~head, 1, mass)[:, None]
    (i,) = xp.nonzero(~head)
    if i.size:
        z = -mu[i] / sigma[i]
        by_mu = -log_ndtr_and_grad(z)[1] / sigma[i]
        score[i] = xp.concatenate([by_mu, z * by_mu], axis=-1)
    (i,) = xp.nonzero(rare)
    if i.size:
        score[i] = _winner.scores(mu[i], sigma[i], k[i])
    return score


def _winners(mu, sigma, k, located, rule, v=None, m=None):
    """(m (L,), dm (L, 2n)), zeros where k = n."""
    xp, _ = namespace(mu)
    given = v if m is None else m
    out, dm, tail = xp.zeros(k.shape), xp.zeros((k.size, 2 * mu.shape[1])), xp.zeros(k.shape)
    common = located.mass >= RARE
    if m is None:
        common = common & (located.mass * xp.minimum(v, 1 - v) >= RARE)
    name = "v" if m is None else "m"
    (i,) = xp.nonzero((k < mu.shape[1]) & common)
    if i.size:
        part = Located(**{field: array[i] for field, array in vars(located).items()})
        out[i], dm[i], tail[i] = solve(mu[i], sigma[i], k[i], part, rule, **{name: given[i]})
    (i,) = xp.nonzero((k < mu.shape[1]) & (tail < RARE))
    if i.size:
        out[i], dm[i] = _winner.maxima(mu[i], sigma[i], xp.arange(i.size), k[i], **{name: given[i]})
    return out, dm
