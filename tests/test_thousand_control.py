"""The control variate's update: two oracles on 1,000 configurations, each a replica of its own; see thousand_checks.

V from the formulas that open `rebar`, given y, y | b, their pullbacks and the scores, which have tests of their own:
dc/dy written out, V by a complex step; and dc/dy by autograd, V by autograd again.
"""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy
import pytest

from igr_ref import GumbelSoftmax, igr_i
from igr_ref.estimators._pairs import PairedNoise, paired
from igr_ref.estimators.rebar import rebar, variance_gradient
from igr_ref.estimators.relax import bounded_parameters, relax

from . import oracles_conditional as oracle
from .gradcheck import check_rows
from .thousand_checks import check_tape

STEP = 1e-100
SAMPLES, VARIABLES, HIDDEN = 2, 2, 5
NETWORK = ("r.0.weight", "r.0.bias", "r.1.weight", "r.1.bias")


def case(rng, family, n, k, network, coupled):
    """(q, noise, params, chain) of n replicas; chain: the box of eq. 37 (IGR, K = 5), or None."""
    chain = None
    if family == "gumbel":
        q = GumbelSoftmax(rng.standard_normal((n, 1, VARIABLES, k)), 1.0)
        path = rng.gumbel(size=(n, SAMPLES, VARIABLES, k))
    else:
        shape = (n, 1, VARIABLES, k - 1)
        mu, log_sigma = 0.7 * rng.standard_normal(shape), rng.uniform(-0.5, 0.5, shape)
        if k == 5:
            mu, log_sigma, chain = bounded_parameters(0.2 * mu, log_sigma)
        q = igr_i(mu, log_sigma, 1.0)
        path = rng.standard_normal((n, SAMPLES, *shape[2:]))
    params = {"log_lambda": rng.uniform(numpy.log(0.1), numpy.log(10), (n, VARIABLES)), "eta": rng.standard_normal(n)}
    if network:
        shapes = (n, VARIABLES * k, HIDDEN), (n, HIDDEN), (n, HIDDEN, 1), (n, 1)
        params.update({name: rng.standard_normal(s) for name, s in zip(NETWORK, shapes, strict=True)})
    return q, PairedNoise(path, None if coupled else 0.02 + 0.96 * rng.random(path.shape)), params, chain


def pullback_matrix(pullback, like):
    """{name: (n, S, N, coordinates of y, parameters)}: what every unit cotangent becomes."""
    rows = [pullback(numpy.broadcast_to(e, like.shape)) for e in numpy.eye(like.shape[-1])]
    return {name: numpy.stack([row[name] for row in rows], axis=-2) for name in rows[0]}


class Textbook:
    """V (n,) of the parameters, a tuple in the order of `names`, by either way to dc/dy."""

    def __init__(self, q, noise, chain, names, f):
        self.q, self.names, self.f, pair = q, names, f, paired(q, noise)
        self.y, self.y_given, self.s, self.f_b = pair.y, pair.y_given, pair.codes.score, f.value(flat(pair.b))
        self.by = {name: 1.0 if chain is None else chain.slopes[name] for name in self.s}
        self.free = pullback_matrix(pair.pullback, pair.y)
        self.given = pullback_matrix(pair.pullback_given, pair.y)

    def softmax(self, xp, theta, y):
        u = y / xp.exp(theta["log_lambda"])[:, None, :, None]
        if not isinstance(self.q, GumbelSoftmax):
            u = xp.concatenate([u, 0 * u[..., :1] + numpy.log(self.q.transform.delta)], axis=-1)
        e = xp.exp(u - numpy.max(_real(u), axis=-1, keepdims=True))
        return e / xp.sum(e, axis=-1, keepdims=True)

    def c(self, xp, theta, z):
        x, f = flat(z), self.f
        wave = xp.sum(xp.sin(xp.matmul(x, f.a.T)) * f.l, axis=-1) + xp.sum(xp.matmul(x, f.c) * x, axis=-1)
        out = theta["eta"][:, None] * wave
        if NETWORK[0] in theta:
            h = xp.matmul(2 * x - 1, theta["r.0.weight"]) + theta["r.0.bias"][:, None]
            out = out + xp.matmul((_real(h) > 0) * h, theta["r.1.weight"])[..., 0] + theta["r.1.bias"]
        return out

    def slope(self, theta, y):
        """dc/dy, written out; complex parameters welcome."""
        z = self.softmax(numpy, theta, y)
        x, f = flat(z), self.f
        by_z = theta["eta"][:, None, None] * ((numpy.cos(x @ f.a.T) * f.l) @ f.a + 2 * x @ f.c)
        if NETWORK[0] in theta:
            w_1, w_2 = theta["r.0.weight"], theta["r.1.weight"][..., 0]
            h = (2 * x - 1) @ w_1 + theta["r.0.bias"][:, None]
            by_z = by_z + 2 * ((h.real > 0) * w_2[:, None]) @ numpy.swapaxes(w_1, 1, 2)
        by_z = by_z.reshape(z.shape)
        by_u = z * (by_z - numpy.sum(z * by_z, axis=-1, keepdims=True))
        return by_u[..., : y.shape[-1]] / numpy.exp(theta["log_lambda"])[:, None, :, None]

    def tape_slope(self, theta, y):
        return autograd.grad(lambda y: anp.sum(self.c(anp, theta, self.softmax(anp, theta, y))))(y)

    def variance(self, xp, slope, values):
        theta = dict(zip(self.names, values, strict=True))
        residual = self.f_b - self.c(xp, theta, self.softmax(xp, theta, self.y_given))
        free, given = slope(theta, self.y), slope(theta, self.y_given)
        total = 0
        for name, s in self.s.items():
            g = residual[..., None, None] * s
            g = g + xp.sum(free[..., None] * self.free[name] - given[..., None] * self.given[name], axis=-2)
            g = self.by[name] * g
            total = total + xp.sum(g * g, axis=(-2, -1))
        return xp.mean(total, axis=-1)


def flat(z):
    return z.reshape((*z.shape[:-2], z.shape[-2] * z.shape[-1]))


def _real(x):
    """The real part of an array, without its tape."""
    while hasattr(x, "_value"):
        x = x._value
    return numpy.real(x)


@pytest.mark.parametrize("family", ["gumbel", "igr"])
def test_variance_gradient(family):
    label = {"function": "estimators.rebar.variance_gradient"}
    for k, n in ((2, 340), (3, 340), (5, 260), (10, 70)):
        for network in (False, True):
            rng = numpy.random.default_rng((96, k, network))
            q, noise, params, chain = case(rng, family, n, k, network, coupled=k == 3)
            f, label["equation"] = oracle.Wave(rng, VARIABLES * k), f"dV, {'RELAX' if network else 'REBAR'}, {family}"
            f.a, f.c = f.a / numpy.sqrt(k), f.c / k
            estimate = (relax if network else rebar)(q, noise, f, params=params)
            got, names = variance_gradient(estimate, f.hvp, chain), list(params)
            book, values = Textbook(q, noise, chain, names, f), [params[name] for name in names]
            size = numpy.float64(book.variance(numpy, book.slope, values))  # V's own rounding beside its derivatives
            grads = [got[name] for name in names]
            directions = [rng.standard_normal(x.shape) for x in values]
            moved = [x + 1j * STEP * d for x, d in zip(values, directions, strict=True)]
            want = book.variance(numpy, book.slope, moved).imag / STEP
            along = sum((g * d).reshape(n, -1).sum(axis=1) for g, d in zip(grads, directions, strict=True))
            check_rows(along, want, oracle="complex step", scale=size, **label)
            check_tape(
                grads, lambda *v, book=book: anp.sum(book.variance(anp, book.tape_slope, v)), values,
                scale=1e-2 * size, **label,
            )  # fmt: skip
