"""Pixel likelihoods log p(x|z), with the gradient by the decoder's outputs computed beside the value.

Bernoulli   outputs l (..., P):  log p = sum_p [x l - softplus(l)],  d/dl = x - sigmoid(l).
Gaussian    outputs (a_m, a_s) (..., 2P), both after an ELU (audit fmnist-ceiling):  m = sigmoid(elu(a_m)),
            v = softplus(elu(a_s)) + 1e-6,  log p = sum_p [log phi((x - m)/v) - log v];
            d/dm = (x - m)/v^2,  d/dv = (x - m)^2/v^3 - 1/v,  then m (1 - m), sigmoid(elu(a_s)), and elu' = 1 or e^a.
Values sum over the last axis, the pixels; leading axes broadcast.
"""

from __future__ import annotations

import math

from ..backend import namespace
from ..numerics import LOG_2, log_normal_pdf, sigmoid, softplus

# What the ELU on both heads implies: an output of at least -1, so neither the mean nor the standard deviation of a
# pixel can be smaller than these. Without the second, the likelihood of FMNIST is unbounded (audit fmnist-ceiling).
GAUSSIAN_MEAN_FLOOR = 1 / (1 + math.e)  # .2689
GAUSSIAN_SD_FLOOR = math.log1p(math.exp(-1)) + 1e-6  # .3133

BLOCK = 40  # codes whose Gaussian likelihoods are taken at a time, where there are many


class Bernoulli:
    """Binary pixels x in {0, 1} (..., P); the decoder puts out P logits."""

    outputs_per_pixel = 1

    def log_prob(self, x, logits):
        """log p(x | logits): (...)."""
        return self.log_prob_and_grad(x, logits)[0]

    def log_prob_and_grad(self, x, logits, work=None):
        """(log p (...), d log p/dlogits (..., P)); with `work` (Buffers) it is written over `logits`.

        With t = tanh(l/2), both come from one transcendental function: sigmoid(l) = (1 + t)/2, and
        softplus(l) = max(l, 0) + log 2 - log(1 + |t|), because 1 + e^-|l| = 2/(1 + |t|).
        """
        if work is not None:
            return self._fast_log_prob_and_grad(x, logits, work)
        xp, _ = namespace(logits)
        t = xp.tanh(0.5 * logits)
        grad = (x - 0.5) - 0.5 * t
        terms = x * logits - xp.maximum(logits, 0) + xp.log(1 + xp.abs(t))
        return xp.sum(terms, axis=-1) - logits.shape[-1] * LOG_2, grad

    def _fast_log_prob_and_grad(self, x, logits, work):
        """The same, written over `logits`: x l - softplus(l) = x l - l/2 - |l|/2 - log 2 + log(1 + |t|).

        Sums run as products with ones, and the logarithm is taken of products of up to 16 factors in [1, 2].
        """
        xp, _ = namespace(logits)
        terms = work.empty("terms", logits.shape, logits)
        ones = work.ones(logits.shape[-1:], logits)
        total = xp.matmul(xp.multiply(x, logits, out=terms), ones)
        half = xp.multiply(logits, 0.5, out=logits)
        total = total - xp.matmul(half, ones) - xp.matmul(xp.abs(half, out=terms), ones)
        t = xp.tanh(half, out=half)
        xp.abs(t, out=terms)
        xp.add(terms, 1, out=terms)
        columns = terms.shape[-1]
        for _ in range(4):
            if columns % 2 or columns < 4:
                break
            columns //= 2
            left = terms[..., :columns]  # one object: CuPy copies an input that overlaps with another view as output
            xp.multiply(left, terms[..., columns : 2 * columns], out=left)
        total = total + xp.matmul(xp.log(terms[..., :columns]), ones[:columns]) - logits.shape[-1] * LOG_2
        xp.multiply(t, 0.5, out=t)
        xp.add(t, 0.5, out=t)  # sigmoid(l)
        return total, xp.subtract(x, t, out=t)

    def scorer(self, weight, bias, work):
        """A function (x (P,), hidden (H + 1, m)) -> log p(x | l) (m,), l = hidden W + b: many codes of one image.

        Codes are last, and the last row of `hidden` is ones: the bias is one more row of the weights (H + 1, P).
        sum_p (x - 1/2) l costs one column; what is left of softplus is |l|/2 + log(1 + e^-|l|), computed in place on
        (P, m) arrays as in `log_prob_and_grad`.
        """
        xp, _ = namespace(weight)
        half = xp.concatenate([0.5 * weight, 0.5 * bias[None, :]], axis=0)

        def log_prob(x, hidden):
            terms = work.empty("terms", (weight.shape[1], hidden.shape[1]), hidden)
            ones = work.ones(x.shape, hidden)
            linear = xp.matmul(xp.matmul(half, 2 * x - 1), hidden)
            xp.matmul(half.T, hidden, out=terms)  # l/2
            xp.abs(terms, out=terms)
            linear = linear - xp.matmul(ones, terms)
            xp.tanh(terms, out=terms)
            xp.add(terms, 1, out=terms)
            rows = terms.shape[0]
            for _ in range(4):
                if rows % 2 or rows < 4:
                    break
                rows //= 2
                top = terms[:rows]
                xp.multiply(top, terms[rows : 2 * rows], out=top)
            top = terms[:rows]
            return linear + xp.matmul(ones[:rows], xp.log(top, out=top)) - x.shape[0] * LOG_2

        return log_prob

    def mean(self, logits):
        """E[x | logits]: (..., P)."""
        return sigmoid(logits)


class Gaussian:
    """Grey pixels x in [0, 1] (..., P); the decoder puts out 2P numbers, means' first."""

    outputs_per_pixel = 2

    def log_prob(self, x, outputs):
        """log p(x | outputs): (...)."""
        return self._run(x, outputs)[0]

    def _run(self, x, outputs):
        """(log p, m, v, r = (x - m)/v, elu(a_s))."""
        xp, _ = namespace(outputs)
        n = outputs.shape[-1] // 2
        m, e_s = sigmoid(_elu(outputs[..., :n])), _elu(outputs[..., n:])
        v = softplus(e_s) + 1e-6
        r = (x - m) / v
        return xp.sum(log_normal_pdf(r) - xp.log(v), axis=-1), m, v, r, e_s

    def log_prob_and_grad(self, x, outputs, work=None):
        """(log p (...), d log p/doutputs (..., 2P)). `work` is not used."""
        xp, _ = namespace(outputs)
        n = outputs.shape[-1] // 2
        a_m, a_s = outputs[..., :n], outputs[..., n:]
        log_p, m, v, r, e_s = self._run(x, outputs)
        m_bar = r / v * m * (1 - m) * _elu_grad(a_m)
        v_bar = (r * r - 1) / v * sigmoid(e_s) * _elu_grad(a_s)
        return log_p, xp.concatenate([m_bar, v_bar], axis=-1)

    def scorer(self, weight, bias, work):
        """A function (x (P,), hidden (H + 1, m)) -> log p(x | hidden W + b) (m,), the last row of `hidden` ones."""
        xp, _ = namespace(weight)
        both = xp.concatenate([weight, bias[None, :]], axis=0)

        def log_prob(x, hidden):
            outputs = work.empty("outputs", (hidden.shape[1], both.shape[1]), hidden)
            xp.matmul(hidden.T, both, out=outputs)
            blocks = range(0, len(outputs), BLOCK)  # what a block makes stays in the cache
            return xp.concatenate([self.log_prob(x, outputs[start : start + BLOCK]) for start in blocks])

        return log_prob

    def mean(self, outputs):
        """E[x | outputs]: (..., P), never below GAUSSIAN_MEAN_FLOOR."""
        return sigmoid(_elu(outputs[..., : outputs.shape[-1] // 2]))


def _elu(a):
    """a where it is positive, else e^a - 1: one of the terms is 0, and no branch is taken."""
    xp, _ = namespace(a)
    return xp.maximum(a, 0) + xp.expm1(xp.minimum(a, 0))


def _elu_grad(a):
    xp, _ = namespace(a)
    return xp.exp(xp.minimum(a, 0))
