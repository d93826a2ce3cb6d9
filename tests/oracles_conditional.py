"""Slow, obvious versions of the conditional samplers and of REBAR's pieces, sharing no code with igr_ref.

Derivatives come from complex steps through scipy's complex log Phi, and from the integrated-by-parts formulas
(fluxes A_jk, A'_jk, boundary terms B_k and d) in 30-digit arithmetic; igr_ref uses neither.
"""

from __future__ import annotations

import mpmath
import numpy
import scipy.special

LOG_ROOT_2PI = 0.5 * numpy.log(2 * numpy.pi)


# ---- Gumbel given its argmax -------------------------------------------------------------------------------------


def gumbel_given(log_alpha, i, v):
    """zeta (K,) given b = e_i, with theta formed and divided by; complex log_alpha welcome."""
    theta = numpy.exp(log_alpha) / numpy.sum(numpy.exp(log_alpha))
    d = -numpy.log(v) / theta - numpy.log(v[i])
    d[i] = -numpy.log(v[i])
    return -numpy.log(d)


# ---- Gaussians given h(y) = e_k ----------------------------------------------------------------------------------


def density(mu, sigma, k, t):
    """phi_k(t) prod_{j!=k} Phi_j(t) at t (T,), parameters (n,) real or complex."""
    a = (t[:, None] - mu) / sigma
    log_parts = scipy.special.log_ndtr(a)
    log_parts[:, k] = -0.5 * a[:, k] ** 2 - LOG_ROOT_2PI - numpy.log(sigma[k])
    return numpy.exp(log_parts.sum(axis=1))


def nodes(mu, sigma, m, n=16):
    """(t, weight, t < m): Gauss-Legendre over every stretch between 0, m and mu_j + c sigma_j, plus 40 equal ones."""
    top = float(numpy.max(numpy.maximum(m, mu) + 10 * sigma))
    edges = [[0.0, m], numpy.linspace(0, top, 41)]
    if mu.size < 20:
        edges.append((mu[:, None] + numpy.arange(-10, 10.1, 2.0) * sigma[:, None]).ravel())
    edges = numpy.unique(numpy.maximum(numpy.concatenate(edges), 0))
    x, w = numpy.polynomial.legendre.leggauss(n)
    half = 0.5 * numpy.diff(edges)
    t = (0.5 * (edges[1:] + edges[:-1]))[:, None] + half[:, None] * x
    return t.ravel(), (half[:, None] * w).ravel(), t.ravel() < m


def quantile_excess(mu, sigma, k, m, v):
    """((1 - v) int_0^m w - v int_m^inf w)/w(m): the error of m, to first order. Complex parameters welcome."""
    t, weight, left = nodes(numpy.real(mu), numpy.real(sigma), m)
    w = density(mu, sigma, k, t) * weight
    at = density(mu, sigma, k, numpy.array([m]))[0]
    return ((1 - v) * w[left].sum() - v * w[~left].sum()) / at


def conditional_tangent(mu, sigma, k, v, y, mu_dot, sigma_dot, step=1e-30):
    """y_dot (n,) at a conditional sample y, by the implicit function theorem and complex steps on both equations:

    Gamma(m) = v_k P_k  and  log Phi(q_j) = log v_j + log Phi((m - mu_j)/sigma_j).
    """
    n = mu.size
    moved = mu + 1j * step * mu_dot, sigma + 1j * step * sigma_dot
    m, m_dot = 0.0, 0.0
    if k < n:
        m = float(y[k])
        m_dot = -numpy.imag(quantile_excess(*moved, k, m, v[k])) / step
    bound = (m + 1j * step * m_dot - moved[0]) / moved[1]
    q = (y - moved[0]) / moved[1]
    moves = numpy.imag(scipy.special.log_ndtr(bound) - scipy.special.log_ndtr(q)) / step
    q = numpy.real(q)
    slope = numpy.exp(-0.5 * q * q - LOG_ROOT_2PI - scipy.special.log_ndtr(q)) / sigma
    y_dot = moves / slope
    if k < n:
        y_dot[k] = m_dot
    return y_dot


def by_parts(mu, sigma, k, m, v, edges):
    """(error of m, dm/dmu, dm/dsigma) by the formulas with A_jk, A'_jk, B_k and d, in 30 digits, over `edges`."""
    with mpmath.workdps(30):
        n = len(mu)
        mu, sigma = [mpmath.mpf(float(x)) for x in mu], [mpmath.mpf(float(x)) for x in sigma]
        m, v = mpmath.mpf(float(m)), mpmath.mpf(float(v))
        x, gauss = numpy.polynomial.legendre.leggauss(24)

        def factors(t):
            a = [(t - mu[j]) / sigma[j] for j in range(n)]
            phi = [mpmath.npdf(a[j]) / sigma[j] for j in range(n)]
            return a, phi, [mpmath.ncdf(a[j]) for j in range(n)]

        def product(phi, Phi, which):
            out = mpmath.mpf(1)
            for j in range(n):
                out *= phi[j] if j in which else Phi[j]
            return out

        zero = [mpmath.mpf(0)] * n
        sums = {side: {"w": mpmath.mpf(0), "A": list(zero), "Aj": list(zero), "Ak": list(zero)} for side in (0, 1)}
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            low, high = mpmath.mpf(float(low)), mpmath.mpf(float(high))
            for node, weight in zip(x, gauss, strict=True):
                t = (low + high) / 2 + (high - low) / 2 * mpmath.mpf(float(node))
                weight = (high - low) / 2 * mpmath.mpf(float(weight))
                a, phi, Phi = factors(t)
                into = sums[0 if t < m else 1]
                into["w"] += weight * product(phi, Phi, {k})
                for j in range(n):
                    if j != k:
                        flux = weight * product(phi, Phi, {j, k})
                        into["A"][j] += flux
                        into["Aj"][j] += a[j] * flux
                        into["Ak"][j] += a[k] * flux
        _, phi, Phi = factors(mpmath.mpf(0))
        boundary = product(phi, Phi, {k})
        a, phi, Phi = factors(m)
        d = product(phi, Phi, {k})

        def gradient(parts, end, a_end):
            """d/dmu, d/dsigma of the integral from 0 to an upper limit where the density is `end`."""
            by_mu = [-parts["A"][j] for j in range(n)]
            by_sigma = [-parts["Aj"][j] for j in range(n)]
            by_mu[k] = boundary - end + sum(parts["A"])
            by_sigma[k] = -(mu[k] / sigma[k]) * boundary - a_end * end + sum(parts["Ak"])
            return by_mu, by_sigma

        whole = {name: _plus(sums[0][name], sums[1][name]) for name in sums[0]}
        partial, total = gradient(sums[0], d, a[k]), gradient(whole, mpmath.mpf(0), mpmath.mpf(0))
        dm = (
            numpy.array([float(-(p - v * q) / d) for p, q in zip(*pair, strict=True)])
            for pair in zip(partial, total, strict=True)
        )
        return float((sums[0]["w"] - v * whole["w"]) / d), *dm


def _plus(a, b):
    return [p + q for p, q in zip(a, b, strict=True)] if isinstance(a, list) else a + b


# ---- objectives for the estimators -------------------------------------------------------------------------------


class Wave:
    """f(z) = l . sin(A x) + x^T C x, x the N K numbers of z: smooth, not additive, with gradient and curvature."""

    def __init__(self, rng, size):
        self.a, self.c = rng.normal(size=(size, size)), rng.normal(size=(size, size))
        self.l, self.c = rng.normal(size=size), self.c + self.c.T

    def value(self, x):
        return numpy.sin(x @ self.a.T) @ self.l + numpy.sum((x @ self.c) * x, axis=-1)

    def __call__(self, z):
        x = z.reshape(*z.shape[:-2], -1)
        bar = (numpy.cos(x @ self.a.T) * self.l) @ self.a + 2 * x @ self.c
        return self.value(x).astype(z.dtype), bar.reshape(z.shape).astype(z.dtype)

    def hvp(self, z, t):
        x, x_dot = z.reshape(*z.shape[:-2], -1), t.reshape(*z.shape[:-2], -1)
        bar = (-numpy.sin(x @ self.a.T) * self.l * (x_dot @ self.a.T)) @ self.a + 2 * x_dot @ self.c
        return bar.reshape(z.shape)


def expectation(probs, f):
    """sum over all codes of prod_n P_{n, b_n} f(b): probs (N, K), real or complex."""
    n, k = probs.shape
    total = 0
    for code in numpy.ndindex(*([k] * n)):
        b = numpy.eye(k)[list(code)]
        total = total + numpy.prod(probs[numpy.arange(n), list(code)]) * f(b[None])[0][0]
    return total


def gaussian_probs(mu, sigma):
    """Prop. 2's P (K,) of one law, by the quadrature above; complex parameters welcome."""
    t, weight, _ = nodes(numpy.real(mu), numpy.real(sigma), 0.0)
    head = [(density(mu, sigma, k, t) * weight).sum() for k in range(mu.size)]
    return numpy.array([*head, numpy.exp(scipy.special.log_ndtr(-mu / sigma).sum())])
