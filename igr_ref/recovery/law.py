"""The discrete law of any relaxation that has a formula for it: one door to this folder's rooms."""

from __future__ import annotations

from ..backend import namespace
from ..numerics import log_softmax
from ..transforms import Chain, Softmax, SoftmaxPlusPlus, StickBreaking
from . import gaussian_argmax, stick_breaking


def discrete_log_probs(q, accuracy="relative"):
    """log P (..., K) in float64: softmax(log_alpha) for Gumbel-Softmax, Prop. 2 for IGR-I, the exact law for IGR-SB.

    accuracy: of Prop. 2, see `gaussian_argmax.log_probs`; with many categories "absolute" is far sooner done.
    TypeError where there is no formula (IGR-Planar): simulate with `frequencies`. ArithmeticError where a quadrature
    does not reach its accuracy. Probabilities of IGR-SB below its tolerance may come out as 0, log P = -inf.
    """
    if hasattr(q, "log_alpha"):
        return log_softmax(q.log_alpha.astype("float64"))
    if not hasattr(q, "transform"):
        raise TypeError(f"no formula for the discrete law of {type(q).__name__}: use recovery.frequencies")
    xp, _ = namespace(q.mu)
    mu, sigma = q.mu.astype("float64"), xp.exp(q.log_sigma.astype("float64"))
    links = q.transform.links if isinstance(q.transform, Chain) else (q.transform,)
    kinds = tuple(type(link) for link in links)
    if kinds == (SoftmaxPlusPlus,):
        return gaussian_argmax.log_probs(mu, sigma, accuracy=accuracy)
    if kinds in ((StickBreaking, SoftmaxPlusPlus), (StickBreaking, Softmax)):
        return stick_breaking.log_probs(mu, sigma, remainder=kinds[-1] is Softmax, tolerance=1e-6)
    names = ", ".join(kind.__name__ for kind in kinds)
    raise TypeError(f"no formula for the discrete law of IGR with {names}: use recovery.frequencies")
