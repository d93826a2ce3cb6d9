"""The discrete law of any relaxation that has a formula for it: one door to this folder's rooms."""

from __future__ import annotations

from ..backend import namespace
from ..numerics import log_softmax
from . import gaussian_argmax


def discrete_log_probs(q):
    """log P (..., K) in float64: softmax(log_alpha) for Gumbel-Softmax, Prop. 2 for IGR-I.

    TypeError where there is no formula (IGR-Planar): simulate with `frequencies`.
    """
    log_alpha = getattr(q, "log_alpha", None)
    if log_alpha is not None:
        return log_softmax(log_alpha.astype("float64"))
    kind = type(q.transform).__name__
    if kind == "SoftmaxPlusPlus":
        xp, _ = namespace(q.mu)
        return gaussian_argmax.log_probs(q.mu.astype("float64"), xp.exp(q.log_sigma.astype("float64")))
    raise TypeError(f"no formula for the discrete law of IGR with {kind}: use recovery.frequencies")
