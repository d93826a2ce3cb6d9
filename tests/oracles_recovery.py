"""Slow laws for the recovery tests, from the paper or by brute force, sharing no code with igr_ref.

Prop. 2: adaptive quadrature of one category at a time, by QUADPACK and by mpmath; a dense trapezoid rule whose complex
step is the derivative; the half-range Gauss-Hermite rule of the published code (audit quadrature).
IGR-SB: the recursion in rho, nested quadrature for up to four categories, and draws of eq. 16.
"""

from __future__ import annotations

import functools

import mpmath
import numpy
from scipy import integrate, special

from igr_ref.backend import namespace

# ---- Prop. 2 -----------------------------------------------------------------------------------------------------


def log_integrand(mu, sigma, k, t):
    """log of phi_k(t) prod_{j!=k} Phi_j(t), t (...)."""
    a = (numpy.asarray(t)[..., None] - mu) / sigma
    others = numpy.sum(numpy.delete(special.log_ndtr(a), k, axis=-1), axis=-1)
    return -0.5 * a[..., k] ** 2 - 0.5 * numpy.log(2 * numpy.pi) - numpy.log(sigma[k]) + others


def prop2_at_points(mu, sigma, t, weight):
    """P_k, k < K (..., K-1), with given points and weights (..., T), in logarithms; also under autograd."""
    xp, functions = namespace(mu, sigma)
    a = (t[..., None, :] - mu[..., None]) / sigma[..., None]
    log_Phi = functions.log_ndtr(a)
    log_phi = -0.5 * a**2 - 0.5 * numpy.log(2 * numpy.pi) - xp.log(sigma)[..., None]
    return xp.sum(xp.exp(log_phi + xp.sum(log_Phi, axis=-2, keepdims=True) - log_Phi) * weight[..., None, :], axis=-1)


def _support(f, far, drop):
    """(left, top, right): where the concave f on [0, far] is largest, and where it has fallen by `drop`: bisection."""
    left, right = 0.0, far
    for _ in range(200):  # golden section without its bookkeeping
        third = (right - left) / 3
        if f(left + third) < f(right - third):
            left = left + third
        else:
            right = right - third
    top = 0.0 if f(0.0) >= f(left) else 0.5 * (left + right)
    ends = []
    for outside in (0.0, far):
        inside = top
        for _ in range(60):
            middle = 0.5 * (inside + outside)
            if f(middle) > f(top) - drop:
                inside = middle
            else:
                outside = middle
        ends.append(outside)
    return ends[0], top, ends[1]


def _breaks(mu, sigma, low, top, high):
    steps = numpy.array([-8, -4, -2, 0, 2, 4, 8])
    points = numpy.concatenate([(mu[:, None] + steps * sigma[:, None]).ravel(), [top]])
    points = points[(points > low) & (points < high)]
    spread = [top + c * (low - top) for c in (0.01, 0.1, 0.3)] + [top + c * (high - top) for c in (0.01, 0.1, 0.3)]
    return numpy.unique(numpy.concatenate([points, spread, [low, high]]))


def prop2_log_prob(mu, sigma, k):
    """log P_k by QUADPACK on the pieces between breakpoints, scaled by the integrand's top."""
    if k == len(mu):
        return numpy.sum(special.log_ndtr(-mu / sigma))
    far = max(0.0, mu[k]) + numpy.max(numpy.abs(mu)) + 40 * sigma[k]
    low, top, high = _support(lambda t: log_integrand(mu, sigma, k, t), far, 45.0)
    scale = log_integrand(mu, sigma, k, top)
    breaks = _breaks(mu, sigma, low, top, high)
    total = 0.0
    for a, b in zip(breaks[:-1], breaks[1:], strict=True):
        piece = integrate.quad(
            lambda t: numpy.exp(log_integrand(mu, sigma, k, t) - scale), a, b, epsabs=1e-14, epsrel=1e-12
        )
        total += piece[0]
    return scale + numpy.log(total)


def prop2_log_prob_mpmath(mu, sigma, k, digits=30):
    """log P_k (an mpf) with `digits` digits, from tanh-sinh between the same breakpoints."""
    far = max(0.0, mu[k]) + numpy.max(numpy.abs(mu)) + 40 * sigma[k]
    low, top, high = _support(lambda t: log_integrand(mu, sigma, k, t), far, 75.0)
    with mpmath.workdps(digits):
        m, s = [mpmath.mpf(float(x)) for x in mu], [mpmath.mpf(float(x)) for x in sigma]

        def log_f(t):
            a = [(t - m[j]) / s[j] for j in range(len(m))]
            others = sum(mpmath.log(mpmath.erfc(-a[j] / mpmath.sqrt(2)) / 2) for j in range(len(m)) if j != k)
            return others - a[k] ** 2 / 2 - mpmath.log(2 * mpmath.pi) / 2 - mpmath.log(s[k])

        scale = log_f(mpmath.mpf(top))
        breaks = [mpmath.mpf(float(x)) for x in _breaks(mu, sigma, low, top, high)]
        return scale + mpmath.log(mpmath.quad(lambda t: mpmath.exp(log_f(t) - scale), breaks, method="gauss-legendre"))


def dense_prop2(mu, sigma, points=40):
    """P (K,) for real or complex mu, sigma: Gauss-Legendre panels 2/3 of a standard deviation wide, Phi by erfc.

    Every y_j has its panels, within 9 standard deviations. Points depend on the real parts only, so that a complex step
    of the result is the derivative of Prop. 2's integral itself.
    """
    m, s = numpy.real(mu), numpy.real(sigma)
    steps = numpy.linspace(-9, 9, 28)
    breaks = numpy.unique(numpy.maximum(numpy.append((m[:, None] + steps * s[:, None]).ravel(), 0.0), 0.0))
    x, w = numpy.polynomial.legendre.leggauss(points)
    half, middle = 0.5 * numpy.diff(breaks)[:, None], 0.5 * (breaks[1:] + breaks[:-1])[:, None]
    t, weight = (middle + half * x).ravel(), (half * w).ravel()
    a = (t - mu[:, None]) / sigma[:, None]
    Phi = 0.5 * special.erfc(-a / numpy.sqrt(2))
    phi = numpy.exp(-0.5 * a * a) / (numpy.sqrt(2 * numpy.pi) * sigma[:, None])
    head = [numpy.sum(weight * phi[k] * numpy.prod(numpy.delete(Phi, k, axis=0), axis=0)) for k in range(len(m))]
    return numpy.array([*head, numpy.prod(0.5 * special.erfc(mu / sigma / numpy.sqrt(2)))])


def complex_step_jacobian(law, mu, sigma, step=1e-30):
    """(dP/dmu, dP/dsigma), each (K, K-1), of law(mu, sigma)."""
    columns = []
    for which in (0, 1):
        for j in range(len(mu)):
            args = [mu.astype(complex), sigma.astype(complex)]
            args[which][j] += 1j * step
            columns.append(numpy.imag(law(*args)) / step)
    both = numpy.stack(columns, axis=-1)
    return both[:, : len(mu)], both[:, len(mu) :]


def prop2_derivative(mu, sigma, k, j, by):
    """dP_k/dmu_j or dP_k/dsigma_j by QUADPACK, differentiating under the integral sign of eq. 21 (no fluxes)."""

    def integrand(t):
        a = (t - mu) / sigma
        phi = numpy.exp(-0.5 * a * a) / numpy.sqrt(2 * numpy.pi)
        factor = special.ndtr(a)
        factor[k] = phi[k] / sigma[k]
        if j == k:
            change = a[k] / sigma[k] if by == "mu" else (a[k] ** 2 - 1) / sigma[k]
            return change * numpy.prod(factor)
        factor[j] = -phi[j] / sigma[j] * (1 if by == "mu" else a[j])
        return numpy.prod(factor)

    steps = numpy.array([-9, -4, -2, 0, 2, 4, 9])
    points = numpy.maximum(numpy.append((mu[:, None] + steps * sigma[:, None]).ravel(), 0.0), 0.0)
    breaks = numpy.unique(points)
    pieces = [
        integrate.quad(integrand, a, b, epsabs=1e-13, epsrel=1e-11)[0]
        for a, b in zip(breaks[:-1], breaks[1:], strict=True)
    ]
    return sum(pieces)


@functools.cache
def half_range_hermite(n=15):
    """Nodes and weights of the n-point Gauss rule for e^{-x^2} on [0, inf), by Chebyshev's algorithm."""
    with mpmath.workdps(60):
        moments = [mpmath.gamma(mpmath.mpf(k + 1) / 2) / 2 for k in range(2 * n)]
        a, b = [moments[1] / moments[0]], [moments[0]]
        before, row = [mpmath.mpf(0)] * (2 * n), list(moments)
        for k in range(1, n):
            new = [mpmath.mpf(0)] * (2 * n)
            for l in range(k, 2 * n - k):
                new[l] = row[l + 1] - a[k - 1] * row[l] - b[k - 1] * before[l]
            a.append(new[k + 1] / new[k] - row[k] / row[k - 1])
            b.append(new[k] / row[k - 1])
            before, row = row, new
        off = [float(mpmath.sqrt(x)) for x in b[1:]]
        matrix = numpy.diag([float(x) for x in a]) + numpy.diag(off, 1) + numpy.diag(off, -1)
    x, vectors = numpy.linalg.eigh(matrix)
    return x, float(b[0]) * vectors[0] ** 2


def hermite_prop2(mu, sigma):
    """P as the published code computes it: 15 half-range Gauss-Hermite nodes at t = sqrt(2) sigma_k x."""
    x, w = half_range_hermite()
    head = []
    for k in range(len(mu)):
        t = numpy.sqrt(2) * sigma[k] * x
        f = numpy.exp(log_integrand(mu, sigma, k, t) + x * x)
        head.append(numpy.sqrt(2) * sigma[k] * numpy.sum(w * f))
    return numpy.array([*head, numpy.prod(special.ndtr(-mu / sigma))])


# ---- IGR-SB ------------------------------------------------------------------------------------------------------


def sticks_law_by_rho(mu, sigma, remainder, cells, nodes):
    """P (K,) by the recursion in rho, in the variable y = logit(u) of each stick.

    G_i and V_i by linear interpolation in log r on [-14, 14], Gauss-Legendre within 8 sigma. V has an infinite slope at
    r = 1, which costs many nodes: with sigma about 1 and K = 10, 80 of them leave errors of 7e-3, 800 of 1e-5.
    """
    n = len(mu)
    log_r = numpy.linspace(-14, 14, cells + 1)
    r = numpy.exp(log_r)
    x, w = numpy.polynomial.legendre.leggauss(nodes)

    def integral(i, upper, f):
        """int_0^upper f_i(u) f(u) du for an array of upper limits: over y up to logit(upper)."""
        with numpy.errstate(divide="ignore"):
            top = special.logit(upper)
        low = mu[i] - 8 * sigma[i]
        high = numpy.clip(top, low, mu[i] + 8 * sigma[i])
        half = 0.5 * (high - low)[..., None]
        y = low + half * (x + 1)
        density = numpy.exp(-0.5 * ((y - mu[i]) / sigma[i]) ** 2) / (sigma[i] * numpy.sqrt(2 * numpy.pi))
        return numpy.sum(half * w * density * f(y), axis=-1)

    def at(values, q):
        return numpy.interp(q, log_r, values)

    G = [numpy.ones_like(r)]
    for i in range(n):
        before = G[-1]

        def f(y, before=before, i=i):
            if i == 0:
                return numpy.ones_like(y)
            return at(before, log_r[:, None] - numpy.logaddexp(0, y))  # G(r (1-u)), log(1-u) = -softplus(y)

        G.append(integral(i, r / (1 + r), f))
    V = [None] * n + [(r >= 1).astype(float) if remainder else numpy.ones_like(r)]
    for i in range(n - 1, 0, -1):
        after = V[i + 1]

        def f(y, after=after, last=i + 1 == n):
            q = log_r[:, None] + numpy.logaddexp(0, y)  # V(r/(1-u))
            if last and not remainder:
                return numpy.ones_like(q)
            return (q >= 0).astype(float) if last else at(after, q)

        V[i] = integral(i, numpy.minimum(r, 1), f)
    P = []
    for k in range(1, n + 1):

        def f(y, k=k):
            log_u = -numpy.logaddexp(0, -y)
            before = at(G[k - 1], log_u) if k > 1 else 1.0
            after = (y >= 0) if k == n and remainder else (at(V[k], y) if k < n else 1.0)
            return before * after

        P.append(integral(k - 1, numpy.array(1.0), f))
    return numpy.array([*P, at(G[n], 0.0) if remainder else 0.0])


def _logit_exp(s):
    """logit(e^s), s < 0: what y must stay below for log sigmoid(y) <= s."""
    return s - numpy.log(-numpy.expm1(s))


def _phi(y, mu, sigma):
    return numpy.exp(-0.5 * ((y - mu) / sigma) ** 2) / (sigma * numpy.sqrt(2 * numpy.pi))


def _Phi(y, mu, sigma):
    return special.ndtr((y - mu) / sigma)


def _quad(f, low, high, points=()):
    breaks = sorted({low, high, *(p for p in points if low < p < high)})
    return sum(
        integrate.quad(f, a, b, epsabs=1e-12, epsrel=1e-10, limit=200)[0]
        for a, b in zip(breaks[:-1], breaks[1:], strict=True)
    )


def two_sticks(mu, sigma, remainder=False):
    """P for K = 3 by one-dimensional integrals over y_1, y_2 being integrated in closed form.

    Without remainder stick 1 wins iff log sigmoid(y_2) <= y_1. With it, stick 1 wins iff also
    y_1 + softplus(y_2) >= 0 or y_1 >= 0, and stick 2 iff it exceeds w_1 and y_2 >= 0.
    """
    (m1, m2), (s1, s2) = mu, sigma
    low, high = m1 - 10 * s1, m1 + 10 * s1
    points = [m1 + c * s1 for c in (-6, -3, -1, 0, 1, 3, 6)] + [-(2.0**-c) for c in range(0, 40, 3)] + [0.0]

    def first(y):
        if y >= 0:
            return _phi(y, m1, s1)
        upper = _Phi(_logit_exp(y), m2, s2)
        if remainder:
            upper = max(upper - _Phi(numpy.log(numpy.expm1(-y)), m2, s2), 0.0)
        return _phi(y, m1, s1) * upper

    p1 = _quad(first, low, high, [*points, -numpy.log(2)])
    if not remainder:
        return numpy.array([p1, 1 - p1, 0.0])
    p2 = _quad(
        lambda y: _phi(y, m2, s2) * _Phi(-numpy.logaddexp(0, -y), m1, s1),
        max(0.0, m2 - 10 * s2),
        max(0.0, m2 + 10 * s2),
    )
    return numpy.array([p1, p2, 1 - p1 - p2])


def three_sticks_first(mu, sigma):
    """P_1 for K = 4 by a double integral: y_1, then y_2 below logit(e^{y_1}); y_3 in closed form."""

    def outer(y1):
        if y1 >= 0:
            return _phi(y1, mu[0], sigma[0])

        def inner(y2):
            s = y1 + numpy.logaddexp(0, y2)
            return _phi(y2, mu[1], sigma[1]) * (1.0 if s >= 0 else _Phi(_logit_exp(s), mu[2], sigma[2]))

        low, high = mu[1] - 9 * sigma[1], min(_logit_exp(y1), mu[1] + 9 * sigma[1])
        split = numpy.log(numpy.expm1(-y1))
        points = [mu[1] + c * sigma[1] for c in (-3, 0, 3)] + [split - 4.0**-c for c in range(-1, 14, 2)] + [split]
        return _phi(y1, mu[0], sigma[0]) * (_quad(inner, low, high, points) if high > low else 0.0)

    points = [mu[0] + c * sigma[0] for c in (-3, 0, 3)] + [-(4.0**-c) for c in range(0, 12, 2)] + [0.0, -numpy.log(2)]
    return _quad(outer, mu[0] - 9 * sigma[0], mu[0] + 9 * sigma[0], points)


def sticks_frequencies(mu, sigma, eps, remainder=False):
    """Frequencies (K,) of the largest of w (and the remainder) over draws eps (M, K-1), by eq. 16's product."""
    y = mu + sigma * eps
    log_rest = numpy.cumsum(-numpy.logaddexp(0, y), axis=-1)
    log_w = y + log_rest  # log u_k + sum_{i<k} log(1-u_i), as log u = y + log(1-u)
    if remainder:
        log_w = numpy.concatenate([log_w, log_rest[:, -1:]], axis=-1)
    return numpy.bincount(numpy.argmax(log_w, axis=-1), minlength=mu.shape[-1] + 1) / len(eps)
