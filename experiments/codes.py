"""Codes drawn from images' recovered laws, and what a model says of them: the scores' hot path."""

from __future__ import annotations

import numpy

from igr_ref import noise
from igr_ref.backend import namespace, to_host
from igr_ref.models import Buffers

ROWS = 250  # codes decoded at once: large enough for the matrix product, their logits small enough for the cache
BLOCK = 4000  # codes of each image whose log-probabilities are kept before they are added up


class CodeDecoder:
    """Codes b of images, drawn from their recovered laws, with log p(x|b) and log P(b|x)."""

    def __init__(self, config, model, params):
        self.config, self.work = config, Buffers()
        self.log_prob = model.code_decoder(params, self.work)
        self.xp, _ = namespace(next(iter(params.values())))
        self.like = self.xp.empty(0, dtype=config.dtype)

    def blocks(self, x, log_probs, first):
        """Pairs (log p(x|b_s), log P(b_s|x)), each (n, S) float64, S <= BLOCK, that make up the m codes of each image.

        x (n, P), log_probs (n, N, K) on the host; `first` is the first image's row, by which its codes are drawn.
        """
        c, n = self.config, len(x)
        laws = [self.xp.asarray(array) for array in (thresholds(log_probs), *differences(log_probs, c.dtype))]
        rngs = [noise.generator(c.seed, "codes", first + i) for i in range(n)]
        for s in range(0, c.m, BLOCK):
            size = min(BLOCK, c.m - s)
            out = self.xp.empty((2, n, size), dtype=c.dtype)
            for i in range(n):
                for at in range(0, size, ROWS):
                    rows = min(ROWS, size - at)
                    hidden = self.draw(rngs[i], rows, laws[0][i])
                    out[0, i, at : at + rows] = self.log_prob(x[i], hidden)
                    out[1, i, at : at + rows] = self.xp.matmul(laws[1][i], hidden)
            log_p, log_q = to_host(out).astype("float64")
            yield log_p, log_q + to_host(laws[2])[:, None]

    def draw(self, rng, rows, cdf):
        """The indicators (N (K-1) + 1, rows) of so many codes, u >= cdf_k, and a row of ones."""
        xp, n, k = self.xp, *cdf.shape
        u = xp.asarray(noise.uniform(rng, (rows, n), "float32"))
        u = xp.ascontiguousarray(u.T)
        hidden = self.work.empty("indicators", (n * k + 1, rows), self.like)
        hidden[-1] = 1
        above = hidden[:-1].reshape(n, k, rows)
        xp.greater_equal(u[:, None, :], cdf[:, :, None], out=above)
        return hidden


def thresholds(log_probs):
    """cdf_k, k = 1..K-1 (..., N, K-1) float32: the inverse-cdf sample b of u has 1[b > k] = 1[u >= cdf_k].

    Rounding may leave the last cdf values a little below 1; a category of probability 0 must not be drawn for it, so
    thresholds from the last possible category on are put out of reach.
    """
    probs = numpy.exp(log_probs)
    cdf = numpy.cumsum(probs, axis=-1)[..., :-1].astype("float32")
    last = probs.shape[-1] - 1 - numpy.argmax(probs[..., ::-1] > 0, axis=-1)
    return numpy.where(numpy.arange(cdf.shape[-1]) >= last[..., None], 2, cdf).astype("float32")


def differences(log_probs, dtype):
    """(d (n, N (K-1) + 1), start (n,)): log P(b) = start + d . (indicators, 1), from log P (n, N, K).

    log P_b = log P_1 + sum_k 1[b > k] (log P_{k+1} - log P_k). A category below e^-50 is never drawn, as u is a
    multiple of 2^-25, so its logarithm, -inf perhaps, may be any number that the sum passes by.
    """
    log_probs = numpy.maximum(log_probs, -50.0)
    d = numpy.diff(log_probs, axis=-1).reshape(len(log_probs), -1)
    d = numpy.concatenate([d, numpy.zeros((len(d), 1))], axis=-1)
    return d.astype(dtype), log_probs[..., 0].sum(axis=-1)
