"""IGR-SB over countably many categories (section 3.2), cut where the sticks have used up rho of the mass (eq. 19).

Sticks                   y = mu + sigma eps,  u = sigmoid(y),  w_k = u_k prod_{i<k} (1 - u_i),  k = 1, 2, ...
Cut (eq. 19)             K_rho = 1 + #{k : sum_{i<=k} w_i <= rho},  i.e. sum_{k<K} w_k <= rho < sum_{k<=K} w_k, with w
                         for g: e^{w_k/tau} tends to 1, so no softmax++ of infinitely many sticks exists.
Sample                   z = softmax++ of the K kept sticks, z_1..z_K, then delta's category (all the rest), then zeros.
Pullback                 that of softmax++, then of stick-breaking; exactly zero beyond the kept coordinates. K is an
                         integer and constant almost everywhere: it has no gradient.
Category                 argmax_k w_k, the limit of z as tau -> 0 (audit last-category): no truncation enters it.
"""

from __future__ import annotations

import math

from ..backend import namespace
from ..numerics import log_sigmoid, softmax, softmax_vjp
from ..precision import in_double
from ..transforms import StickBreaking
from ..transforms.base import check_coordinates, check_temperature, like
from . import gaussian
from .base import Relaxation, check_no_nan, check_parameters

FIRST = 32  # sticks that are looked at first for the cut


@in_double
class InfiniteIGR(Relaxation):
    """The law's first K_max coordinates mu, log_sigma (..., K_max); noise eps (..., K_max); samples z (..., K_max + 1).

    percentile   q in (0, 100]: one K for everything that leads, the q-th percentile of K_rho over all of it (batch,
                 samples, variables; not over the first `replicas` axes, each of which has its own K).
                 None: each sample keeps its own K_rho.
    rho          in (0, 1). The paper states neither (audit cut-off-by-one); the code has .9 or .9999, and 50 or 70.

    A first stick above rho gives K_rho = 1: that stick and the rest. Where K_max sticks do not reach rho, all are kept,
    and delta's category is the last; `reached` says where, and `GrowingSticks` allocates more instead.
    ValueError for rho, percentile, replicas or delta outside their ranges, and, with validate, for bad parameters.
    """

    def __init__(
        self, mu, log_sigma, temperature, rho, percentile=None, replicas=0, delta=1.0, validate=True, precise=True
    ):
        if validate:
            check_parameters(mu=mu, log_sigma=log_sigma)
        if not (math.isfinite(delta) and delta > 0):
            raise ValueError(f"delta must be finite and greater than 0, got {delta!r}")
        self.mu, self.log_sigma, self.temperature = mu, log_sigma, check_temperature(temperature)
        if percentile is not None:
            check_percentile(percentile)
        if not (isinstance(replicas, int) and replicas >= 0):
            raise ValueError(f"replicas must be an integer, 0 or more, got {replicas!r}")
        self.rho, self.percentile, self.replicas = check_rho(rho), percentile, replicas
        self.delta, self.precise, self.validate = float(delta), precise, validate
        self.params = {"mu": mu, "log_sigma": log_sigma}
        self.stick_breaking = StickBreaking(precise)
        self.n_categories = mu.shape[-1] + 1

    def sticks(self, noise):
        """w (..., K_max + 1): the sticks, then what they leave."""
        return self.stick_breaking.forward(self._first(noise, None))

    def _first(self, noise, first):
        """y of the first sticks; None: of all."""
        check_coordinates("noise", noise, self.mu.shape[-1])
        return gaussian.sample(self.mu[..., :first], self.log_sigma[..., :first], noise[..., :first])

    def _log_rest(self, noise, first=None):
        return log_sigmoid(-self._first(noise, first))

    def reached(self, noise):
        """Whether the K_max sticks exceed rho: booleans (...)."""
        return k_rho(self._log_rest(noise), self.rho) <= self.mu.shape[-1]

    def kept(self, noise):
        """The number of sticks kept, integers that broadcast against (...): eq. 19's K or its percentile."""
        xp, _ = namespace(noise)
        n = self.mu.shape[-1]
        # the first sticks decide, unless the answer lies beyond them: a sample not yet at rho counts as one more
        first = min(FIRST, n)
        while True:
            k = k_rho(self._log_rest(noise, first), self.rho)
            kept = k if self.percentile is None else percentile(k, self.percentile, self.replicas)
            if first == n or bool(xp.all(kept <= first)):
                return xp.minimum(kept, n)
            first = min(2 * first, n)

    def run(self, noise, kept=None):
        """(z, saved). `kept` replaces the rule above by given numbers in 1..K_max, e.g. `kept_as_published`."""
        xp, _ = namespace(noise)
        kept = self.kept(noise) if kept is None else self._checked(xp.asarray(kept))
        # nothing beyond the largest of them depends on anything; whole eights, so that sums round alike for most counts
        most = min(int(xp.max(kept)) // 8 * 8 + 7 if kept.size else 7, self.mu.shape[-1])
        w, stick_saved = self.stick_breaking.run(self._first(noise, most))
        xp, _ = namespace(w)
        k = xp.arange(most + 1)
        inside, last = k < kept[..., None], k == kept[..., None]
        # softmax++ of the kept sticks: log delta is the logit that follows them, and e^-inf = 0 exactly
        logits = xp.where(inside, w / like(self.temperature, w), xp.where(last, math.log(self.delta), -math.inf))
        z = softmax(logits.astype(w.dtype))
        return self._padded(z, self.n_categories), (noise, stick_saved, inside, z, kept)

    def _checked(self, kept):
        xp, _ = namespace(kept)
        most = self.mu.shape[-1]
        if kept.dtype.kind not in "iu" or not bool(xp.all((kept >= 1) & (kept <= most))):
            raise ValueError(f"kept must be integers in 1..{most}, got {kept}")
        return kept

    def pullback(self, saved, z_bar):
        xp, _ = namespace(z_bar)
        noise, stick_saved, inside, z, _ = saved
        most, n = z.shape[-1] - 1, self.mu.shape[-1]
        w_bar = xp.where(inside, softmax_vjp(z, z_bar[..., : most + 1]) / like(self.temperature, z), 0)
        y_bar, _ = self.stick_breaking.pullback(stick_saved, w_bar)
        bars = gaussian.sample_vjp(self.log_sigma[..., :most], noise[..., :most], y_bar)
        return {name: self._padded(bar, n) for name, bar in zip(("mu", "log_sigma"), bars, strict=True)}

    @staticmethod
    def _padded(array, n):
        """The array with zeros appended to its last axis, up to length n."""
        xp, _ = namespace(array)
        more = n - array.shape[-1]
        if more == 0:
            return array
        return xp.concatenate([array, xp.zeros((*array.shape[:-1], more), dtype=array.dtype)], axis=-1)

    def category(self, noise):
        """argmax of w over the K_max sticks, as numbers 0..K_max - 1. Final, for any more sticks, where `decided`."""
        y = self._first(noise, None)
        if self.validate:
            check_no_nan("noise", y)
        return self.stick_breaking.category(y)

    def decided(self, noise):
        """Whether the K_max sticks leave less than the largest of them, so that no later one can exceed it."""
        xp, _ = namespace(noise)
        log_w = self.stick_breaking.log_forward(self._first(noise, None))
        return log_w[..., -1] <= xp.max(log_w[..., :-1], axis=-1)

    def kl(self, mu_0, log_sigma_0, kept):
        """eq. 13 over the kept coordinates of each sample: (...). The others of q are taken as equal to the prior's."""
        xp, _ = namespace(self.mu, kept)
        each = gaussian.kl(*(array[..., None] for array in self._pairs(mu_0, log_sigma_0)))
        return xp.sum(xp.where(self._mask(kept), each, 0), axis=-1)

    def kl_vjp(self, mu_0, log_sigma_0, kept, bar):
        """Gradients of a cotangent (...) on kl; zero beyond the kept coordinates."""
        xp, _ = namespace(self.mu, kept)
        bars = gaussian.kl_vjp(*self._pairs(mu_0, log_sigma_0), bar)
        mu_bar, log_sigma_bar = (xp.where(self._mask(kept), array, 0) for array in bars)
        return {"mu": mu_bar, "log_sigma": log_sigma_bar}

    def _pairs(self, mu_0, log_sigma_0):
        xp, _ = namespace(self.mu)
        prior = (xp.asarray(value, dtype=self.mu.dtype) + xp.zeros_like(self.mu) for value in (mu_0, log_sigma_0))
        return self.mu, self.log_sigma, *prior

    def _mask(self, kept):
        xp, _ = namespace(self.mu)
        return xp.arange(self.mu.shape[-1]) < self._checked(xp.asarray(kept))[..., None]


# ---- where to cut ------------------------------------------------------------------------------------------------


def check_rho(rho):
    if not 0 < rho < 1:
        raise ValueError(f"rho must lie in the open interval (0, 1), got {rho!r}")
    return float(rho)


def check_percentile(q):
    if not 0 < q <= 100:
        raise ValueError(f"percentile must lie in (0, 100], got {q!r}")


def k_rho(log_rest, rho):
    """eq. 19's K, integers (...), from log(1 - u_k) (..., K_max): K_max + 1 where the sticks do not reach beyond rho.

    sum_{i<=k} w_i <= rho  iff  sum_{i<=k} log(1 - u_i) >= log(1 - rho), which loses nothing when rho is close to 1.
    """
    xp, _ = namespace(log_rest)
    return 1 + xp.sum(xp.cumsum(log_rest, axis=-1) >= math.log1p(-check_rho(rho)), axis=-1)


def percentile(counts, q, replicas=0):
    """The q-th percentile of integers over all axes but the first `replicas`, kept as axes of length 1.

    The rule: the smallest of the counts such that at least q % of them do not exceed it, i.e. the ceil(q n/100)-th in
    order (NumPy's "inverted_cdf"): always an integer that occurs, never an interpolation.
    """
    check_percentile(q)
    xp, _ = namespace(counts)
    lead = counts.shape[:replicas]
    if counts.size == 0:  # of nothing: no axis is left to say
        return xp.reshape(counts, (*lead, *(0 if n == 0 else 1 for n in counts.shape[replicas:])))
    flat = xp.sort(xp.reshape(counts, (*lead, -1)), axis=-1)
    rank = math.ceil(q * flat.shape[-1] / 100) - 1
    return xp.reshape(flat[..., rank], (*lead, *(1,) * (counts.ndim - replicas)))


def kept_as_published(w, rho, q):
    """The official code's cut, as one integer: one less than eq. 19's K, and from variable 0 only.

    w (..., N, K_max), sticks without the remainder: #{k : sum_{i<=k} w_i <= rho} of w[..., 0, :], q-th percentile over
    what leads. Where a first stick exceeds rho the code takes the maximum of nothing; here that counts as 0, and
    ArithmeticError is raised if the percentile comes out so.
    """
    xp, _ = namespace(w)
    counts = xp.sum(xp.cumsum(w[..., 0, :], axis=-1) <= check_rho(rho), axis=-1)
    kept = int(xp.max(percentile(xp.reshape(counts, (-1,)), q)))
    if kept == 0:
        raise ArithmeticError("the published rule keeps no stick: the first one exceeds rho")
    return kept
