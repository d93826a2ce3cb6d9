"""The mixture's decoder for scoring: log p(x|z) of thousands of samples an image, without a pullback."""

from __future__ import annotations

from ..backend import namespace
from .buffers import Buffers

ROWS = 1000  # samples decoded at once: enough for the matrix product, few enough for the cache


def block_decoder(network, params, likelihood, x):
    """decode(z) of `mixture_objective.elbo` for images x (B, P) and z (S, B, K, D), with None for the pullback.

    It goes image by image and ROWS samples at a time, so that memory does not grow with S K: the arrays of P outputs
    for S K samples would not fit the cache. `network` has ReLU layers; samples are last, then a row of ones, whose
    weights are the bias: see `Bernoulli.scorer`.
    """
    xp, _ = namespace(x)
    work, last = Buffers(), len(network.widths) - 2
    layers = [xp.concatenate([params[f"{i}.weight"], params[f"{i}.bias"][None, :]], axis=0).T for i in range(last)]
    score = likelihood.scorer(params[f"{last}.weight"], params[f"{last}.bias"], work.part("pixels"))

    def log_prob(x, rows):
        hidden = xp.concatenate([rows.T, xp.ones_like(rows[:, 0])[None, :]], axis=0)
        for i, weight in enumerate(layers):
            out = work.empty(f"{i}", (len(weight) + 1, hidden.shape[1]), hidden)
            out[-1] = 1
            xp.matmul(weight, hidden, out=out[:-1])
            hidden = xp.maximum(out, work.zeros(out.shape, out), out=out)
        return score(x, hidden)

    def decode(z):
        log_p = []
        for i in range(x.shape[0]):
            rows = z[:, i].reshape(-1, z.shape[-1])
            parts = [log_prob(x[i], rows[start : start + ROWS]) for start in range(0, rows.shape[0], ROWS)]
            log_p.append(xp.concatenate(parts).reshape(z.shape[0], z.shape[2]))
        return xp.stack(log_p, axis=1), None

    return decode
