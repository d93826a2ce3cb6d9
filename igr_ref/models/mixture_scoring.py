"""The mixture's decoder for scoring: log p(x|z) of thousands of samples an image, without a pullback."""

from __future__ import annotations

from ..backend import namespace
from .buffers import Buffers

ROWS = 1000  # samples decoded at once: enough for the matrix product, few enough for the cache


def block_decoder(network, params, likelihood, x):
    """decode(z) of `mixture_objective.elbo` for images x (B, P) and z (S, B, K, D), with None for the pullback.

    It goes image by image and ROWS samples at a time, so that memory does not grow with S K: the arrays of P outputs
    for S K samples would not fit the cache.
    """
    last = len(network.widths) - 2
    score = likelihood.scorer(params[f"{last}.weight"], params[f"{last}.bias"], Buffers())

    def decode(z):
        xp, _ = namespace(z)
        log_p = []
        for i in range(x.shape[0]):
            rows = z[:, i].reshape(-1, z.shape[-1])
            hidden = (network.hidden(params, rows[start : start + ROWS]).T for start in range(0, rows.shape[0], ROWS))
            # the row of ones that `scorer` asks for: a bias is the weights of an input of 1
            parts = [score(x[i], xp.concatenate([h, xp.ones_like(h[:1])])) for h in hidden]
            log_p.append(xp.concatenate(parts).reshape(z.shape[0], z.shape[2]))
        return xp.stack(log_p, axis=1), None

    return decode
