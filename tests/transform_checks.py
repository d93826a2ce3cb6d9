"""What the tests of the transforms share: each pullback against two oracles, Jacobians, determinants, round trips."""

from __future__ import annotations

import autograd.numpy as anp
import mpmath
import numpy

from . import ledger
from .gradcheck import autograd_vjp, check

CATEGORIES = (2, 3, 10, 100) * 4 + (2, 3, 10, 1000)  # for configurations(): one in twenty with K = 1000
LONG = numpy.longdouble


def check_pullbacks(g, y, rng, textbook, *, equation, function, tape):
    """The pullback of z_bar, of log_det_bar and of both, against autograd and `textbook`, in float64 and float32.

    textbook(y, z_bar, det_bar): the pullback in longdouble.
    tape: scale of the rounding of autograd's own tape, which subtracts numbers of that size near a vertex.
    """
    z, saved = g.run(y)
    z_bar, det_bar = rng.standard_normal(z.shape), rng.standard_normal(y.shape[:-1])
    label = {"equation": equation, "function": f"{function}.pullback"}
    books, tapes = [], []
    for a, b in ((z_bar, 0 * det_bar), (0 * z_bar, det_bar)):
        books.append(textbook(y, a, b))
    tapes.extend(autograd_vjp(lambda y: anp.sum(z_bar * g.forward(y)), y))
    tapes.extend(autograd_vjp(lambda y: anp.sum(det_bar * g.log_det(y)), y))
    for i, bars in enumerate(((z_bar, None), (None, det_bar), (z_bar, det_bar))):
        got, param_bars = g.pullback(saved, *bars)
        assert param_bars == {}
        book, traced = (x[i] if i < 2 else x[0] + x[1] for x in (books, tapes))
        check(got, book, oracle="textbook, longdouble", **label)
        check(got, traced, oracle="autograd", scale=tape, **label)
    y4, z_bar4, det_bar4 = (x.astype("f4") for x in (y, z_bar, numpy.asarray(det_bar)))
    z4, saved4 = g.run(y4)
    assert z4.dtype == "f4" and z4.shape == z.shape and numpy.all(numpy.isfinite(z4))
    got, _ = g.pullback(saved4, z_bar4, det_bar4)
    want = textbook(y4, z_bar4.astype("f8"), det_bar4.astype("f8"))
    # float32 underflows at 1e-38
    check(got, want, oracle="textbook, longdouble", dtype="float32", scale=1e-30, **label)


def difference(f, y, direction, step):
    """Directional derivative in longdouble, [8 (f_+1 - f_-1) - (f_+2 - f_-2)] / 12 h: error O(h^4) + 1e-19/h."""
    y, h = LONG(y), LONG(step) * LONG(direction)
    return (8 * (f(y + h) - f(y - h)) - (f(y + 2 * h) - f(y - 2 * h))) / (12 * LONG(step))


def check_jacobian(g, y, forward, step, *, equation, function, scale):
    """Against the pullbacks of unit vectors, and difference quotients of the longdouble map `forward`."""
    n = y.shape[-1]
    got = g.jacobian(y)
    unit = numpy.eye(n + 1)[:n]  # the first K-1 coordinates, K of them with the last one's cotangent 0
    unit = unit if g.onto_simplex else unit[:, :n]
    rows = [g.vjp(y, numpy.broadcast_to(e, y.shape[:-1] + e.shape))[0] for e in unit]
    label = {"equation": equation, "function": f"{function}.jacobian"}
    check(got, numpy.stack(rows, axis=-2), oracle="pullback of unit vectors", **label)
    columns = [difference(lambda y: forward(y)[..., :n], y, e, step) for e in numpy.eye(n)]
    check(got, numpy.stack(columns, axis=-1), oracle="differences of the textbook map", scale=scale, **label)
    small = y.astype("f4")
    want = g.jacobian(small.astype("f8"))
    check(g.jacobian(small), want, oracle="float64", dtype="float32", scale=1e-30, **label)


def check_log_det(g, y, *, equation, function):
    """Against the LU factors of the explicit Jacobian, at points where it is far from singular."""
    sign, want = numpy.linalg.slogdet(g.jacobian(y))
    assert numpy.all(sign > 0)
    label = {"equation": equation, "function": f"{function}.log_det", "oracle": "slogdet of the Jacobian"}
    check(numpy.asarray(g.log_det(y)), numpy.asarray(want), scale=1.0, **label)


def check_log_det_extreme(got, jacobian, *, equation, function, digits=1000):
    """Against the determinant of an mpmath Jacobian, with digits enough for det J = e^-2000."""
    with mpmath.workdps(digits):
        want = mpmath.log(abs(mpmath.det(mpmath.matrix(jacobian()))))
        error = float(abs(mpmath.mpf(float(got)) - want) / max(1, abs(want)))
    ledger.record(equation, f"{function}.log_det", "determinant, mpmath", error, "relative")
    assert error <= 1e-13, (float(got), float(want))


def check_bound(difference, bound, *, equation, function, oracle="round trip"):
    """Assert |difference| <= 1e-12 bound entry by entry; record the largest quotient."""
    error = float(numpy.max(numpy.abs(difference) / bound)) if numpy.size(difference) else 0.0
    ledger.record(equation, function, oracle, error, "of the conditioning")
    assert error <= 1e-12, (function, error)
