"""Scalar helpers that stay accurate at the ends of the line, each with its derivative beside it.

Naming: `f(x)` is followed by `f_grad(x)` = df/dx; reductions run over the last axis unless an axis is given.
Everything is elementwise, keeps the dtype of its input and never clamps.
"""

from __future__ import annotations

import math

from .backend import namespace

LOG_2PI = math.log(2 * math.pi)
LOG_2 = math.log(2.0)
SQRT_2 = math.sqrt(2.0)
SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


def select(mask, a, b):
    """where(mask, a, b) without a branch for each entry: on a random mask NumPy's own takes several times as long.

    As mask a + (1 - mask) b: the same bits but for the sign of a zero, if what is not taken is finite.
    """
    mask = mask.astype(a.dtype)
    return mask * a + (1 - mask) * b


def softplus(x):
    """log(1 + e^x) = max(x, 0) + log1p(e^-|x|), exact to rounding for every finite x."""
    xp, _ = namespace(x)
    return xp.maximum(x, 0) + xp.log1p(xp.exp(-xp.abs(x)))


def softplus_grad(x):
    """d softplus(x)/dx = sigmoid(x)."""
    return sigmoid(x)


def sigmoid(x):
    """1 / (1 + e^-x). Complex x, as a complex step has it, by the formula itself."""
    xp, special = namespace(x)
    return 1 / (1 + xp.exp(-x)) if xp.iscomplexobj(x) else special.expit(x)


def sigmoid_grad(x):
    """d sigmoid(x)/dx = sigmoid(x) sigmoid(-x): no cancellation for large |x|."""
    return sigmoid(x) * sigmoid(-x)


def log_sigmoid(x):
    """log sigmoid(x) = -softplus(-x) (called log_expit in SciPy). log(1 - sigmoid(x)) is log_sigmoid(-x)."""
    return -softplus(-x)


def log_sigmoid_grad(x):
    """d log sigmoid(x)/dx = sigmoid(-x)."""
    return sigmoid(-x)


def log1mexp(x):
    """log(1 - e^x) for x < 0, switching form at -log 2 (Maechler 2012). At x = 0 the value is -inf."""
    xp, _ = namespace(x)
    near = x > -LOG_2
    # Each branch sees an argument in its own range, so neither overflows nor warns where it is not used.
    close = xp.log(-xp.expm1(xp.where(near, x, -LOG_2)))
    far = xp.log1p(-xp.exp(xp.where(near, -LOG_2, x)))
    return xp.where(near, close, far)


def log1mexp_grad(x):
    """d log(1 - e^x)/dx = -1 / (e^-x - 1) = -1/expm1(-x)."""
    xp, _ = namespace(x)
    return xp.exp(x) / xp.expm1(x)


def logsumexp(x, axis=-1, keepdims=False):
    """log sum_k e^{x_k} along `axis`, with the maximum taken out first: -inf where all are, inf where one is."""
    xp, _ = namespace(x)
    top = xp.max(x, axis=axis, keepdims=True)
    bounded = xp.abs(top) < math.inf
    out = top + xp.where(bounded, _log_sum(x - xp.where(bounded, top, 0), axis), 0)
    return out if keepdims else xp.squeeze(out, axis=axis)


def _log_sum(shifted, axis):
    """log sum_k e^{shifted_k}, max shifted = 0."""
    xp, _ = namespace(shifted)
    return _log_sum_of(xp.exp(shifted), shifted, axis)


def _log_sum_of(e, shifted, axis):
    """The same from e = e^{shifted}: log1p of all terms but one that is 1, so that e^-40 is not lost."""
    xp, _ = namespace(e)
    top = (shifted == 0).astype(shifted.dtype)
    ones = xp.sum(top, axis=axis, keepdims=True)  # how many tie
    # e - top is 0 exactly at the top; nothing is at it where all are -inf
    return xp.log1p(xp.sum(e - top, axis=axis, keepdims=True) + xp.maximum(ones - 1, 0))


def logsumexp_grad(x, axis=-1):
    """d logsumexp(x)/dx_k = softmax(x)_k."""
    return softmax(x, axis=axis)


def log_softmax(x, axis=-1):
    """x - logsumexp(x), shifted first so that a large common offset costs no digits."""
    xp, _ = namespace(x)
    shifted = x - xp.max(x, axis=axis, keepdims=True)
    return shifted - _log_sum(shifted, axis)


def log_softmax_and_softmax(x):
    """(log_softmax(x), softmax(x)) over the last axis, from one exponential."""
    xp, _ = namespace(x)
    shifted = x - xp.max(x, axis=-1, keepdims=True)
    e = xp.exp(shifted)
    return shifted - _log_sum_of(e, shifted, -1), e / xp.sum(e, axis=-1, keepdims=True)


def log_softmax_vjp(log_z, l_bar, z=None):
    """Pullback of log_softmax over the last axis, from its saved output: x_bar_j = l_bar_j - z_j sum_k l_bar_k.

    z is exp(log_z), for callers that have it.

    For an entry above 1/2 that is written (1 - z_j) l_bar_j - z_j sum_{k!=j} l_bar_k, 1 - z_j = -expm1(log z_j), which
    does not cancel as z_j tends to 1.
    """
    xp, _ = namespace(log_z)
    z = xp.exp(log_z) if z is None else z
    high = log_z > -LOG_2
    others = xp.sum(l_bar * ~high, axis=-1, keepdims=True)
    total = xp.sum(l_bar, axis=-1, keepdims=True)
    return select(high, -xp.expm1(log_z) * l_bar - z * others, l_bar - z * total)


def softmax(x, axis=-1):
    """e^{x_k} / sum_j e^{x_j}."""
    xp, _ = namespace(x)
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


def softmax_vjp(z, z_bar):
    """Pullback of softmax over the last axis, from its saved output: x_bar_j = z_j sum_k z_k (z_bar_j - z_bar_k).

    The sum is unchanged when one constant is taken from every z_bar_k. Taking out the cotangent of the entry above
    1/2, if there is one, leaves that entry's own result free of cancellation, so that gradients near a vertex are
    right to relative precision down to underflow (the textbook z_j (z_bar_j - sum_k z_k z_bar_k) is rounding error
    there as soon as 1 - z_j < 1e-16).
    """
    xp, _ = namespace(z)
    shifted = z_bar - xp.sum(z_bar * (z > 0.5), axis=-1, keepdims=True)
    return z * (shifted - xp.sum(z * shifted, axis=-1, keepdims=True))


def log_normal_pdf(x):
    """log phi(x) = -x^2/2 - log(2 pi)/2, the standard normal log density."""
    return -0.5 * (x * x) - 0.5 * LOG_2PI


def log_normal_pdf_grad(x):
    """d log phi(x)/dx = -x."""
    return -x


def log_ndtr(x):
    """log Phi(x), the log of the standard normal distribution function, right in both tails."""
    _, special = namespace(x)
    return special.log_ndtr(x)


def log_ndtr_grad(x):
    """d log Phi(x)/dx = phi(x)/Phi(x) = sqrt(2/pi) / erfcx(-x/sqrt 2).

    The scaled complementary error function has no cancellation: for x -> -inf the value tends to -x, and for
    x -> +inf erfcx overflows to infinity exactly where the ratio has underflowed to zero.
    """
    _, special = namespace(x)
    return SQRT_2_OVER_PI / special.erfcx(-x / SQRT_2)
