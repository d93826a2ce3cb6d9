"""What `drawn` gives, in float32 and for the training step of RELAX: laws of Prop. 2, and categories drawn from each.

All arithmetic is float32, each law has one panel (`_single_rule`), and all integrals come from its nodes at once
(`_single_integrals`). Left to the routines in float64 are what is rare (`drawn.RARE`), to `_winner`, and laws that need
more nodes than `_single_rule` has, to `drawn`.
Inside, categories come first and laws last, (n, L), with D draws of each law, (D, L), and N nodes, (n, L, N).
"""

from __future__ import annotations

import numpy

from ..backend import namespace
from . import _conditions, _winner, conditional
from ._normal import END, phi_and_Phi
from ._single_axes import Axes
from ._single_integrals import integrals
from ._single_rule import STEPS, Rule, panels
from ._tails import log_ndtr_and_grad
from .drawn import RARE, Drawn, drawn

CHUNK = 1_000_000  # elements of an array (n, laws, N) at a time
DEGREE = 8  # of the polynomial for Mills' ratio


def drawn_single(mu, sigma, b, v=None, y=None, cotangent=None, work=None):
    """`drawn.Drawn`, all of it in float32, for laws mu, sigma (..., K-1) and one-hot b (..., K), whose leading axes may
    exceed the laws'. Of v, the uniforms (..., K-1), and y, the sample given b, one is given. work: Buffers or None.
    """
    xp, mu, sigma, b = _conditions.checked(mu, sigma, b, "float32")
    given = _conditions.checked_uniforms(v, "float32") if y is None else y.astype("float32")
    n, laws = mu.shape[-1], mu.shape[:-1]
    lead = numpy.broadcast_shapes(laws, b.shape[:-1], given.shape[:-1])
    axes = Axes(laws, lead)
    mu, sigma = (axes.of_laws(array) for array in (mu, sigma))
    b, given = axes.inward(b), axes.inward(given)
    k = xp.argmax(b, axis=0)
    of_k = xp.take_along_axis(given, xp.minimum(k, n - 1)[None], axis=0)[0]
    log_p, bars, score, m, dm = _laws(mu, sigma, k, of_k, y is None, cotangent, work)
    args = [xp.moveaxis(array, 0, -1) for array in (mu[:, None], sigma[:, None], b, given)]
    args += [m[..., None], xp.moveaxis(dm, 0, -1), "float32", DEGREE]
    if y is None:
        y, saved = conditional.below_maximum(*args)
        y = axes.outward(xp.moveaxis(y, -1, 0))
    else:
        saved = conditional.coupled_below(*args)
    bars = None if bars is None else tuple(axes.outward_laws(bar) for bar in bars)
    score = tuple(axes.outward(part) for part in (score[:n], score[n:]))
    saved = tuple(axes.outward(xp.moveaxis(part, -1, 0)) for part in saved)
    return Drawn(axes.outward_laws(log_p), bars, score, y, saved)


def _laws(mu, sigma, k, given, uniform, cotangent, work):
    """(log_p (K, L), bars (n, L) or None, score (2n, D, L), m (D, L), dm (2n, D, L)) for mu, sigma (n, L).

    k (D, L): categories; given (D, L): the winners' uniforms, or the winners. Laws with as many nodes go together.
    """
    xp, _ = namespace(mu)
    rate = 1 / sigma
    log_last, hazard = _boundary(mu, rate)
    low, width, nodes = panels(mu, sigma, rate, log_last)
    arrays = (mu, sigma, k, given, rate, low, width, log_last, hazard)
    parts, order = [], []
    for number in (STEPS[0][1], *(number for _, number in STEPS[1:]), 0):
        (i,) = xp.nonzero(nodes == number)
        if i.size or (not nodes.size and not parts):
            rows = arrays if i.size == nodes.size else tuple(xp.take(array, i, axis=-1) for array in arrays)
            group = _by_rule if number else _in_double
            pieces = -(-mu.shape[0] * i.size * number // CHUNK) or 1
            size = -(-i.size // pieces)
            for start in range(0, max(i.size, 1), max(size, 1)):
                piece = [array[..., start : start + size] for array in rows]
                try:
                    parts.append(group(*piece, uniform, cotangent, number, work))
                except ArithmeticError:  # the sum of single precision's probabilities is off: many categories, say
                    parts.append(_in_double(*piece, uniform, cotangent, number, work))
            order.append(i)
    place = None if len(order) == 1 else xp.argsort(xp.concatenate(order))
    return _joined(parts, place)


def _joined(parts, place):
    """Tuples of pieces, or of tuples of them, joined along the laws and put in their places, if they are not.

    None stays None.
    """
    if parts[0] is None:
        return None
    if isinstance(parts[0], tuple):
        return tuple(_joined(column, place) for column in zip(*parts, strict=True))
    xp, _ = namespace(parts[0])
    joined = parts[0] if len(parts) == 1 else xp.concatenate(parts, axis=-1)
    return joined if place is None else xp.take(joined, place, axis=-1)


def _boundary(mu, rate):
    """(log P_K (L,), phi/Phi at -mu_j/sigma_j (n, L))."""
    xp, _ = namespace(mu)
    z = -mu * rate
    if bool(xp.any(z < -END)):
        log_Phi, hazard = log_ndtr_and_grad(z)
    else:
        phi, Phi = phi_and_Phi(z, DEGREE)
        hazard, log_Phi = phi / Phi, xp.log(Phi)
    return xp.sum(log_Phi, axis=0), hazard


def _by_rule(mu, sigma, k, given, rate, low, width, log_last, hazard, uniform, cotangent, nodes, work):
    """`_laws` with one number of nodes."""
    xp, _ = namespace(mu)
    n = mu.shape[0]
    head, k = k < n, xp.minimum(k, n - 1)
    found = integrals(mu, rate, low, width, log_last, k, given, uniform, cotangent, Rule(nodes, mu), work)
    bars, at_zero = None, hazard * rate  # r_j(0)
    if cotangent is not None:  # B_k = P_K r_k(0)
        B_bar = found.bar * xp.exp(log_last) * at_zero
        bars = (found.mu_bar + B_bar, found.sigma_bar - mu * rate * B_bar)
    score = _scores(mu, sigma, k, head, found, at_zero)
    return found.log_p, bars, score, *_winners(mu, sigma, k, head, given, uniform, found)


def _scores(mu, sigma, k, head, found, r):
    """dlog P_k (2n, D, L); where H = K, -r_j and that times -mu_j/sigma_j, r at t = 0."""
    xp, _ = namespace(mu)
    rare = head & (found.mass < RARE)
    last = xp.concatenate([-r, mu / sigma * r], axis=0)[:, None]
    score = xp.where(head, found.scores / xp.where(rare | ~head, 1, found.mass), last)
    d, i = xp.nonzero(rare)
    if i.size:
        score[:, d, i] = _winner.scores(*_wide(mu[:, i].T, sigma[:, i].T), k[d, i]).astype(score.dtype).T
    return score


def _winners(mu, sigma, k, head, given, uniform, found):
    """(m (D, L), dm (2n, D, L)), zeros where H = K."""
    xp, _ = namespace(mu)
    common = head & (found.mass * xp.abs(found.tail) >= RARE)
    m, dm = xp.where(head, found.m, 0), xp.where(common, found.dm, 0)
    return _rare_winners(mu, sigma, k, head & ~common, given, uniform, m, dm)


def _rare_winners(mu, sigma, k, rare, given, uniform, m, dm):
    """m and dm, with those of the `rare` (D, L) draws by `_winner`."""
    xp, _ = namespace(mu)
    d, i = xp.nonzero(rare)
    if i.size:
        args, name = (*_wide(mu[:, i].T, sigma[:, i].T), xp.arange(i.size), k[d, i]), "v" if uniform else "m"
        m[d, i], exact = (
            array.astype(mu.dtype) for array in _winner.maxima(*args, **{name: given[d, i].astype("float64")})
        )
        dm[:, d, i] = exact.T
    return m, dm


def _in_double(mu, sigma, k, given, *rest):
    """`_laws` in float64, for laws that need more nodes than any rule has; `rest` as in `_by_rule`."""
    xp, _ = namespace(mu)
    n, (uniform, cotangent, _, _) = mu.shape[0], rest[-4:]
    b = (k[..., None] == xp.arange(n + 1)).astype(mu.dtype)
    found = drawn(*_wide(mu.T, sigma.T), b, cotangent=cotangent)
    score = xp.moveaxis(xp.concatenate(found.score, axis=-1), -1, 0).astype(mu.dtype)
    bars = None if found.bars is None else tuple(bar.T.astype(mu.dtype) for bar in found.bars)
    m, dm = xp.zeros_like(given), xp.zeros((2 * n, *k.shape), dtype=mu.dtype)
    m, dm = _rare_winners(mu, sigma, k, k < n, given, uniform, m, dm)
    return found.log_p.T.astype(mu.dtype), bars, score, m, dm


def _wide(*arrays):
    return (array.astype("float64") for array in arrays)
