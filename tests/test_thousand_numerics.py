"""The scalar helpers, logsumexp and tanh: two oracles on 1,000 configurations, see thousand_checks."""

from __future__ import annotations

import autograd.numpy as anp
import numpy
import pytest
import scipy.special

from igr_ref import numerics
from igr_ref.models import mlp

from .gradcheck import check_rows
from .thousand_checks import LONG, blocks, check_tape


def _tail(x):
    """phi/Phi by the continued fraction of the upper tail for x < -3, else from erfc."""
    low = LONG(numpy.minimum(x, -3.0))
    fraction = -low
    for i in range(200, 0, -1):
        fraction = -low + i / fraction
    high = numpy.maximum(x, -3.0)
    cdf = 0.5 * scipy.special.erfc(-numpy.float64(high) / numpy.sqrt(2))
    ratio = numpy.exp(-(high**2) / 2) / numpy.sqrt(2 * LONG(numpy.pi)) / cdf
    return numpy.where(x < -3, fraction, ratio)


FORMULAS = {
    "softplus_grad": lambda x: 1 / (1 + numpy.exp(-x)),
    "sigmoid_grad": lambda x: 1 / ((1 + numpy.exp(-x)) * (1 + numpy.exp(x))),
    "log_sigmoid_grad": lambda x: 1 / (1 + numpy.exp(x)),
    "log1mexp_grad": lambda x: -1 / numpy.expm1(-x),
    "log_normal_pdf_grad": lambda x: -x,
    "log_ndtr_grad": _tail,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_scalar_helpers(name):
    rng = numpy.random.default_rng((94, len(name)))
    x = rng.standard_normal(1000) * numpy.exp(rng.uniform(-3, 3, 1000))
    x = -abs(x) if name == "log1mexp_grad" else numpy.clip(x, -30, 30) if name == "log_ndtr_grad" else x
    want = FORMULAS[name](LONG(x))
    check_rows(getattr(numerics, name)(x), want, 1e-12, equation="scalar helper", function=f"numerics.{name}",
               oracle="written out, longdouble")  # fmt: skip


def test_logsumexp_and_tanh():
    label = {"equation": "softmax", "function": "numerics.logsumexp_grad"}
    for rng, k, n, _ in blocks(8):
        x = rng.standard_normal((n, k)) * numpy.exp(rng.uniform(-2, 3, (n, 1)))
        got = numerics.logsumexp_grad(x)
        check_tape([got], lambda x: anp.sum(numerics.logsumexp(x)), [x], **label)
        check_tape(
            [got], lambda x: anp.sum(numerics.logsumexp(x)), [x], **{**label, "equation": "softmax, own forward"}
        )
    label = {"equation": "MLP, tanh", "function": "models.mlp.tanh_vjp"}
    rng = numpy.random.default_rng((94, 99))
    x, bar = 2 * rng.standard_normal((2, 1000, 5))
    got = mlp.tanh_vjp(numpy.tanh(x), bar)
    check_tape([got], lambda x: anp.sum(bar * mlp.tanh(x)), [x], **label)
    check_rows(got, bar / numpy.cosh(LONG(x)) ** 2, oracle="1/cosh^2", scale=1e-2, **label)
