"""The maps, densities and divergences of the paper as their formulas are printed, for lists of mpmath numbers.

Arithmetic has as many digits and as wide a range as it needs, so nothing is rearranged: no maximum is taken out, no
logarithm carried along.
"""

from __future__ import annotations

from mpmath import (
    det,
    digamma,
    euler,
    exp,
    expm1,
    factorial,
    fprod,
    fsum,
    inf,
    log,
    log1p,
    matrix,
    mp,
    mpf,
    pi,
    quad,
    sqrt,
    tanh,
    workdps,
)

from .precise import close, jacobian

# ---- maps: y (K-1) -> z (K) ------------------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + exp(-x))


def softmax(x):
    e = [exp(a) for a in x]
    return [a / fsum(e) for a in e]


def softmax_plus_plus(y, temperature, delta):
    """eq. 15, with g_K = delta / D."""
    e = [exp(a / temperature) for a in y]
    total = fsum(e) + delta
    return [a / total for a in (*e, delta)]


def stick_breaking(y):
    """eq. 16 of u = sigmoid(y), with the remainder last."""
    u = [sigmoid(a) for a in y]
    w = [u[k] * fprod(1 - u[i] for i in range(k)) for k in range(len(u))]
    return [*w, fprod(1 - a for a in u)]


def sb_chain(y, temperature, delta, remainder):
    """eq. 18; with the remainder, softmax of all K sticks."""
    w = stick_breaking(y)
    if remainder:
        return softmax([a / temperature for a in w])
    return softmax_plus_plus(w[:-1], temperature, delta)


def vertex_interpolation(y, temperature):
    """eq. 17, P_S by the largest of all K coordinates."""
    w = stick_breaking(y)
    top = w.index(max(w))
    return [temperature * a + (1 - temperature if k == top else 0) for k, a in enumerate(w)]


def planar_direction(flow):
    """(u^, w.u^) of Rezende and Mohamed 2015: u^ = u + [m(w.u) - w.u] w/||w||^2, m(x) = -1 + log(1 + e^x) = w.u^."""
    w, u = flow["w"], flow["u"]
    wu = dot(w, u)
    m = -1 + log(1 + exp(wu))
    return [a + (m - wu) * c / dot(w, w) for a, c in zip(u, w, strict=True)], m


def planar(y, flow):
    """(f(y), log|det|) with f(y) = y + u^ tanh(w.y + b) and det = 1 + u^.psi, psi = (1 - tanh^2) w."""
    w, (u_hat, _) = flow["w"], planar_direction(flow)
    h = tanh(dot(w, y) + flow["b"])
    psi = [(1 - h**2) * a for a in w]
    return [a + c * h for a, c in zip(y, u_hat, strict=True)], log(abs(1 + dot(u_hat, psi)))


def planar_inverse(z, flow):
    """y with f(y) = z: s = w.y + b solves s + (w.u^) tanh(s) = w.z + b, by bisection and Newton's method."""
    u_hat, m = planar_direction(flow)
    r = dot(flow["w"], z) + flow["b"]
    low, high = r - abs(m), r + abs(m)
    s = r
    while True:
        h = tanh(s)
        excess = s + m * h - r
        low, high = (low, s) if excess > 0 else (s, high)
        new = s - excess / (1 + m * (1 - h**2))
        new = new if low < new < high else (low + high) / 2
        done = abs(new - s) <= 8 * mp.eps * (1 + abs(r))
        s = new
        if done:
            return [a - c * tanh(s) for a, c in zip(z, u_hat, strict=True)]


def planar_chain(y, flows):
    """(f_n(... f_1(y)), log|det|)."""
    total = mpf(0)
    for flow in flows:
        y, term = planar(y, flow)
        total += term
    return y, total


def dot(a, b):
    return fsum(x * y for x, y in zip(a, b, strict=True))


# ---- log|det| of the first K-1 coordinates ---------------------------------------------------------------------------


def log_det_softmax_plus_plus(y, temperature, delta):
    """eq. 26."""
    return fsum(log(a) for a in softmax_plus_plus(y, temperature, delta)) - len(y) * log(temperature)


def log_det_stick_breaking(y):
    """The Jacobian is triangular: sum_i log[dw_i/du_i du_i/dy_i]."""
    u = [sigmoid(a) for a in y]
    return fsum(log(u[i]) + log(1 - u[i]) + fsum(log(1 - u[j]) for j in range(i)) for i in range(len(u)))


def log_det_sb_chain(y, temperature, delta, remainder):
    w = stick_breaking(y)
    if remainder:
        # J = diag(g) (I - 1 (g - g_K 1)^T)/tau: matrix determinant lemma
        z, k = sb_chain(y, temperature, delta, True), len(w)
        outer = log(k) + fsum(log(a) for a in z) - (k - 1) * log(temperature)
    else:
        outer = log_det_softmax_plus_plus(w[:-1], temperature, delta)
    return outer + log_det_stick_breaking(y)


def check_log_det(closed, function, y, what):
    """The closed form against the determinant of the numerical Jacobian, to 25 digits, where that costs little."""
    if len(y) <= 4 and mp.dps <= 400:
        with workdps(2 * mp.dps):
            numerical = log(abs(det(matrix(jacobian(lambda x: function(x)[: len(y)], y)))))
        close(closed, numerical, 25, f"log|det| of {what}")


# ---- densities and divergences ---------------------------------------------------------------------------------------


def log_normal(y, mu, sigma):
    """sum_k log N(y_k | mu_k, sigma_k^2)."""
    return fsum(-((a - m) ** 2) / (2 * s**2) - log(s * sqrt(2 * pi)) for a, m, s in zip(y, mu, sigma, strict=True))


def gaussian_kl(mu, sigma, mu_0, sigma_0):
    """The right side of eq. 13."""
    return fsum(
        log(s_0 / s) + (s**2 + (m - m_0) ** 2) / (2 * s_0**2) - mpf(1) / 2
        for m, s, m_0, s_0 in zip(mu, sigma, mu_0, sigma_0, strict=True)
    )


def concrete_log_prob(log_alpha, temperature, y):
    """The logarithm of eq. 6 at z = e^y."""
    k = len(y)
    alpha, z = [exp(a) for a in log_alpha], [exp(a) for a in y]
    total = fsum(a * b**-temperature for a, b in zip(alpha, z, strict=True))
    terms = [log(a * b ** (-temperature - 1) / total) for a, b in zip(alpha, z, strict=True)]
    return log(factorial(k - 1)) + (k - 1) * log(temperature) + fsum(terms)


def exp_concrete_log_prob(log_alpha, temperature, y):
    """Maddison et al. 2017, appendix C: the density of y = log z under prod_{k<=K} z_k^-1 dz_1 ... dz_{K-1}."""
    k = len(y)
    tilted = [a - temperature * b for a, b in zip(log_alpha, y, strict=True)]
    total = log(fsum(exp(a) for a in tilted))
    return log(factorial(k - 1)) + (k - 1) * log(temperature) + fsum(a - total for a in tilted)


def kl_uniform(p):
    return fsum(a * log(len(p) * a) for a in p)


def kumaraswamy_quantile(u, a, b):
    return (1 - (1 - u) ** (1 / b)) ** (1 / a)


def kumaraswamy_log_prob(v, a, b):
    return log(a * b * v ** (a - 1) * (1 - v**a) ** (b - 1))


def kumaraswamy_kl(a, b, concentration):
    """KL to Beta(1, concentration), density concentration (1-v)^(concentration-1): E[log q - log p] by quadrature.

    With w = -log(1-U), a standard exponential: v^a = 1 - e^{-w/b}.
    """

    def integrand(w):
        t = -w / b
        log_v = (log1p(-exp(t)) if t < -1 else log(-expm1(t))) / a
        log_rest = log(-expm1(log_v))
        log_q = log(a * b) + (a - 1) * log_v + (b - 1) * t
        return exp(-w) * (log_q - log(concentration) - (concentration - 1) * log_rest)

    value = quad(integrand, [0, b / 100, b, 10 * b, inf] if b < 1 else [0, 1, 10, inf])
    if concentration == 1:
        closed = log(a * b) + (1 / a - 1) * (digamma(b + 1) + euler) + 1 / b - 1
        close(value, closed, 25, "KL of Kumaraswamy to uniform")
    return value
