"""Prop. 2 by integration, and y given its discrete value, with their derivatives.

Prop. 2 (eq. 21). Integrands are products of phi_j = N(t | mu_j, sigma_j^2) and Phi_j = Phi((t - mu_j)/sigma_j), and the
derivatives are those of the integrand, under the integral sign, with a_j = (t - mu_j)/sigma_j:
    dphi_j/dmu_j = phi_j a_j/sigma_j,  dphi_j/dsigma_j = phi_j (a_j^2 - 1)/sigma_j,
    dPhi_j/dmu_j = -phi_j,             dPhi_j/dsigma_j = -phi_j a_j.
A law is (P, by_mu, by_sigma): a list, and rows by_mu[k][i] = dP_k/dmu_i.
"""

from __future__ import annotations

import functools

from mpmath import fprod, fsum, log, mp, mpf, ncdf, npdf, sqrt
from mpmath.calculus.quadrature import GaussLegendre

from .precise import close

# ---- Prop. 2 ---------------------------------------------------------------------------------------------------------


@functools.cache
def legendre(degree, prec):
    return GaussLegendre(mp).calc_nodes(degree, prec)


def rule(low, high):
    """(t, weight) of mpmath's Gauss-Legendre rule on [low, high]: 48 nodes up to 45 digits, 96 beyond."""
    half, middle = (high - low) / 2, (high + low) / 2
    return [(middle + half * x, half * w) for x, w in legendre(5 if mp.dps <= 45 else 6, mp.prec)]


def edges(mu, sigma):
    """Ends of panels over [0, inf): 0 and mu_j + c sigma_j, |c| <= 24; what lies beyond is below 1e-100."""
    points = {m + c * s for m, s in zip(mu, sigma, strict=True) for c in range(-24, 25, 3)}
    return [mpf(0), *sorted(p for p in points if p > 0)]


def integrals(mu, sigma, pieces):
    """[(int, by_mu, by_sigma) for k < K] of phi_k prod_{j!=k} Phi_j over the union of pieces [(low, high)]."""
    n = range(len(mu))
    value, diagonal = [mpf(0) for _ in n], [[mpf(0), mpf(0)] for _ in n]
    flux, scaled = ([[mpf(0) for _ in n] for _ in n] for _ in range(2))
    for low, high in pieces:
        for t, weight in rule(low, high):
            a = [(t - m) / s for m, s in zip(mu, sigma, strict=True)]
            ratio = [npdf(x) / (s * ncdf(x)) for x, s in zip(a, sigma, strict=True)]
            whole = weight * fprod(ncdf(x) for x in a)
            for k in n:
                term = whole * ratio[k]
                value[k] += term
                diagonal[k][0] += term * a[k] / sigma[k]
                diagonal[k][1] += term * (a[k] ** 2 - 1) / sigma[k]
                for j in n:
                    if j != k:
                        both = term * ratio[j]
                        flux[k][j] -= both
                        scaled[k][j] -= both * a[j]
    for k in n:
        flux[k][k], scaled[k][k] = diagonal[k]
    return list(zip(value, flux, scaled, strict=True))


def prop_2(mu, sigma):
    """eq. 21 and its Jacobian."""
    points = edges(mu, sigma)
    rows = integrals(mu, sigma, zip(points, points[1:], strict=False))
    # the last: prod_j Phi(c_j), c_j = -mu_j/sigma_j, dc_j/dmu_j = -1/sigma_j, dc_j/dsigma_j = -c_j/sigma_j
    c = [-m / s for m, s in zip(mu, sigma, strict=True)]
    last = fprod(ncdf(x) for x in c)
    by_mu = [-last * npdf(x) / (ncdf(x) * s) for x, s in zip(c, sigma, strict=True)]
    by_sigma = [x * b for x, b in zip(c, by_mu, strict=True)]
    return check_law([list(part) for part in zip(*rows, (last, by_mu, by_sigma), strict=True)], 30)


def check_law(law, digits):
    """Probabilities sum to 1, and each column of the Jacobian to 0."""
    close(fsum(law[0]), mpf(1), digits, "sum of probabilities")
    for jacobian in law[1:]:
        for column in zip(*jacobian, strict=True):
            close(1 + fsum(column), mpf(1), digits, "sum of derivatives")
    return law


# ---- y given H = k ---------------------------------------------------------------------------------------------------


def quantile(p):
    """Phi^-1(p) by Newton's method on log Phi, which is concave: monotone from the left."""
    if p > mpf(1) / 2:
        return -quantile(1 - p)
    q = -sqrt(-2 * log(p))
    while True:
        step = (log(p) - log(ncdf(q))) * ncdf(q) / npdf(q)
        q += step
        if abs(step) < mpf(10) ** (2 - mp.dps):
            return q


def winner(mu, sigma, k, v):
    """m with int_0^m phi_k prod_{j!=k} Phi_j = v P_k, and the pieces of [0, m]: the panel that holds m, then bisection
    and Newton's method inside it."""
    points = edges(mu, sigma)

    def density(t):
        a = [(t - m) / s for m, s in zip(mu, sigma, strict=True)]
        return npdf(a[k]) / sigma[k] * fprod(ncdf(x) for j, x in enumerate(a) if j != k)

    def mass(low, high):
        return fsum(w * density(t) for t, w in rule(low, high))

    masses = [mass(*ends) for ends in zip(points, points[1:], strict=False)]
    left, panel = v * fsum(masses), 0
    while left > masses[panel]:
        left, panel = left - masses[panel], panel + 1
    start, low, high = points[panel], points[panel], points[panel + 1]
    m = (low + high) / 2
    while True:
        excess = mass(start, m) - left
        low, high = (low, m) if excess > 0 else (m, high)
        new = m - excess / density(m)
        new = new if low < new < high else (low + high) / 2
        settled = abs(new - m) < mpf(10) ** (3 - mp.dps) * new
        m = new
        if settled:
            return m, [*zip(points[:panel], points[1 : panel + 1], strict=True), (start, m)], density(m)


def conditional_value(mu, sigma, k, v):
    """y given H = k (k from 0): y_k = m, and the others from their laws cut off above m (above 0 if k = K-1)."""
    m = winner(mu, sigma, k, v[k])[0] if k < len(mu) else mpf(0)
    u = [(m - a) / s for a, s in zip(mu, sigma, strict=True)]
    return [m if j == k else mu[j] + sigma[j] * quantile(v[j] * ncdf(u[j])) for j in range(len(mu))]


def conditional(mu, sigma, k, v):
    """(y, dy/dmu, dy/dsigma), the derivatives by the implicit function theorem at fixed v:

    Gamma(m) = v_k P_k gives dm = -(dGamma - v_k dP_k)/Gamma'(m); Phi(q_j) = v_j Phi(u_j), u_j = (m - mu_j)/sigma_j and
    y_j = mu_j + sigma_j q_j give dy_j = dmu_j + q_j dsigma_j + sigma_j v_j phi(u_j)/phi(q_j) du_j.
    """
    n = range(len(mu))
    if k < len(mu):
        m, pieces, density = winner(mu, sigma, k, v[k])
        _, *part = integrals(mu, sigma, pieces)[k]
        dm = [
            [-(by - v[k] * total) / density for by, total in zip(below, whole[k], strict=True)]
            for below, whole in zip(part, prop_2(mu, sigma)[1:], strict=True)
        ]
    else:
        m, dm = mpf(0), [[mpf(0) for _ in n], [mpf(0) for _ in n]]
    y, by_mu, by_sigma = [], [], []
    for j in n:
        if j == k:
            y.append(m)
            by_mu.append(dm[0])
            by_sigma.append(dm[1])
            continue
        u = (m - mu[j]) / sigma[j]
        q = quantile(v[j] * ncdf(u))
        r = v[j] * npdf(u) / npdf(q)
        y.append(mu[j] + sigma[j] * q)
        by_mu.append([r * dm[0][i] + ((1 - r) if i == j else 0) for i in n])
        by_sigma.append([r * dm[1][i] + ((q - r * u) if i == j else 0) for i in n])
    return y, by_mu, by_sigma
