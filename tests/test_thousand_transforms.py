"""Jacobians and log-determinants of the transforms: two oracles on 1,000 configurations, see thousand_checks."""

from __future__ import annotations

import numpy

from igr_ref import SoftmaxPlusPlus, StickBreaking
from igr_ref.transforms import Chain, PlanarFlow, Softmax, VertexInterpolation

from . import oracles
from . import oracles_transforms as more
from .gradcheck import check_rows
from .thousand_checks import BLOCKS, CLONG, LONG, blocks


def planar_arguments(rng, n, k):
    y = 2 * rng.standard_normal((n, k - 1))
    w, u = 0.7 * rng.standard_normal((2, n, k - 1)) / (k - 1) ** 0.25
    return y, w + 0.2, u, rng.standard_normal(n)


def test_planar_jacobians_and_cotangents_moved_to_the_output():
    for rng, k, n, _ in blocks(4, ((2, 350), (3, 350), (10, 300))):
        y, w, u, b = planar_arguments(rng, n, k)
        f = PlanarFlow(w, u, b)
        unit = numpy.eye(k - 1)
        exact = numpy.stack([slope_vector(lambda y: more.planar(y, w, u, b)[0], y, e) for e in unit], axis=-1)  # noqa: B023
        _, saved = f.run(y)
        rows = [f.pullback(saved, numpy.broadcast_to(e, y.shape))[0] for e in unit]
        jacobian, inverse, y_bar = f.jacobian(y), f.inverse_jacobian(y), rng.standard_normal(y.shape)
        label = {"equation": "planar flow", "function": "transforms.PlanarFlow.jacobian"}
        check_rows(jacobian, exact, oracle="complex step", **label)
        check_rows(jacobian, numpy.stack(rows, axis=-2), oracle="pullback of unit vectors", **label)
        # J^-1 and J^-T by elimination; its error is the condition number's
        cond = numpy.linalg.cond(exact.astype(float))
        assert numpy.max(cond) < 1e5
        solved = numpy.linalg.inv(exact.astype(float))
        moved = f.inverse_pullback(saved, y_bar)
        inverse_label = {"equation": "planar flow", "function": "transforms.PlanarFlow.inverse_jacobian"}
        check_rows(inverse, solved, oracle="linear solve", **inverse_label)
        z, back = f.forward(y), []
        for e in unit:  # f^-1 by bisection and Newton, at z
            back.append(slope_vector(lambda z: more.planar_inverse(z, w, u, b), z, e))  # noqa: B023
        back = numpy.stack(back, axis=-1)
        near = numpy.linalg.norm(back.astype(float), axis=(1, 2)) * 1e-2 * cond
        check_rows(inverse, back, oracle="complex step through the inverse", scale=near, **inverse_label)
        label["function"] = "transforms.PlanarFlow.inverse_pullback"
        check_rows(moved, numpy.einsum("nki,nk->ni", solved, y_bar), oracle="linear solve", **label)
        check_rows(moved, numpy.einsum("nki,nk->ni", back, y_bar), oracle="complex step through the inverse",
                   scale=near * numpy.linalg.norm(y_bar, axis=1), **label)  # fmt: skip
        chain = Chain(f, PlanarFlow(u + 0.3, w, b))
        _, saved = chain.run(y)
        second = numpy.stack(
            [slope_vector(lambda x: more.planar(x, u + 0.3, w, b)[0], z, e) for e in unit], axis=-1  # noqa: B023
        )  # fmt: skip
        both = numpy.einsum("nki,nij->nkj", second, exact)
        label["function"] = "transforms.Chain.inverse_pullback"
        moved = chain.inverse_pullback(saved, y_bar)
        solved = numpy.linalg.solve(numpy.swapaxes(both.astype(float), 1, 2), y_bar[..., None])[..., 0]
        check_rows(moved, solved, oracle="linear solve", **label)
        pulled = numpy.einsum("nki,nk->ni", both, moved)
        size = numpy.linalg.norm(moved, axis=1) * numpy.linalg.norm(both.astype(float), axis=(1, 2))
        check_rows(pulled.astype(float), y_bar, oracle="J^T J^-T = I", scale=size, **label)


def slope_vector(function, x, direction, step=1e-300):
    return function(CLONG(x) + 1j * LONG(step) * direction).imag / LONG(step)


def test_jacobian_of_the_softmax_of_the_simplex():
    for rng, k, n, tau in blocks(5, ((2, 350), (3, 350), (10, 300))):
        w = rng.dirichlet(numpy.ones(k), n)
        g = Softmax(tau)
        _, saved = g.run(w)
        rows = []
        for e in numpy.eye(k)[: k - 1]:
            bar = g.pullback(saved, numpy.broadcast_to(e, w.shape))[0]
            rows.append(bar[:, :-1] - bar[:, -1:])  # w_K = 1 - sum w_i
        label = {"equation": "eq. 18 (remainder)", "function": "transforms.Softmax.jacobian"}
        # the difference of two columns is taken of numbers of size g/tau
        size = 1e-5 * numpy.max(abs(numpy.stack(rows, axis=-2)), axis=(1, 2))
        check_rows(g.jacobian(w), numpy.stack(rows, axis=-2), oracle="pullback of unit vectors", scale=size, **label)
        z_bar, det_bar = rng.standard_normal((n, k)), rng.standard_normal(n)
        label["function"] = "transforms.Softmax.pullback"
        for bars in ((z_bar, None), (z_bar, det_bar)):
            z, d = bars[0], 0 * det_bar if bars[1] is None else det_bar
            want = numpy.stack([more.softmax_bar(w[i], tau[i, 0], z[i], d[i]) for i in range(n)])
            check_rows(g.pullback(saved, *bars)[0], want, oracle="longdouble", **label)


def test_log_determinants():
    """Their formulas in longdouble."""
    for rng, k, n, tau in blocks(6, BLOCKS[:5]):
        y = rng.standard_normal((n, k - 1)) * numpy.exp(rng.uniform(-3, 2, (n, 1)))
        log_u, log_rest = (-numpy.log1p(numpy.exp(s * LONG(y))) for s in (-1, 1))
        sticks = numpy.sum(log_u + numpy.arange(k - 1, 0, -1) * log_rest, axis=-1)
        low = numpy.minimum(tau, 1.0)
        log_tau = (k - 1) * numpy.log(LONG(tau[:, 0]))
        logits = numpy.concatenate([LONG(y) / tau, numpy.zeros((n, 1))], axis=-1)
        simplex = numpy.exp(logits - logits.max(axis=-1, keepdims=True))
        simplex = numpy.float64(simplex / simplex.sum(axis=-1, keepdims=True))
        inner = LONG(simplex) / tau
        wants = {
            "StickBreaking": ("eq. 16", StickBreaking(), y, sticks),
            "SoftmaxPlusPlus": ("eq. 26", SoftmaxPlusPlus(tau), y, log_sums(logits) - log_tau),
            "VertexInterpolation": (
                "eq. 17",
                VertexInterpolation(low),
                y,
                sticks + (k - 1) * numpy.log(LONG(low[:, 0])),
            ),
            "Softmax": ("eq. 18 (remainder)", Softmax(tau), simplex, numpy.log(LONG(k)) - log_tau + log_sums(inner)),
        }
        for name, (equation, g, at, want) in wants.items():
            check_rows(g.log_det(at), want, 1e-13, equation=equation, function=f"transforms.{name}.log_det",
                       oracle="longdouble", scale=float(k))  # fmt: skip


def test_log_determinant_of_planar_flows():
    for rng, k, n, _ in blocks(9, BLOCKS[:4]):
        point = planar_arguments(rng, n, k)
        got, want = PlanarFlow(*point[1:]).log_det(point[0]), more.planar(*point)[1]
        check_rows(got, want, equation="planar flow", function="transforms.PlanarFlow.log_det", oracle="longdouble",
                   scale=1e-3)  # fmt: skip


def test_eq_18_with_the_remainder():
    """Every entry of the sticks' Jacobian formed, K up to 100."""
    for rng, k, n, tau in blocks(10, ((2, 350), (3, 350), (10, 250), (100, 50))):
        y = rng.standard_normal((n, k - 1)) * numpy.exp(rng.uniform(-3, 1, (n, 1)))
        g, z_bar, det_bar = Chain(StickBreaking(), Softmax(tau)), rng.standard_normal((n, k)), rng.standard_normal(n)
        w = oracles.sticks(y)
        inner = numpy.stack([more.softmax_bar(w[i], tau[i, 0], z_bar[i], det_bar[i]) for i in range(n)])
        want = oracles.sticks_bar(y, inner, det_bar)
        got, _ = g.pullback(g.run(y)[1], z_bar, det_bar)
        # in the sum over k > i what is left of large terms may be small
        size = 1e-3 * numpy.linalg.norm(numpy.float64(inner * w), axis=-1)
        check_rows(got, want, equation="eq. 18 (remainder)", function="transforms.Chain.pullback", oracle="longdouble",
                   scale=size)  # fmt: skip


def log_sums(logits):
    """sum_k log g_k."""
    top = logits.max(axis=-1, keepdims=True)
    return numpy.sum(logits - top - numpy.log(numpy.sum(numpy.exp(logits - top), axis=-1, keepdims=True)), axis=-1)
