"""The Kumaraswamy law on (0, 1), a = e^log_a, b = e^log_b (section 4.4's DLDPMM).

Sample                   v = (1 - (1-U)^{1/b})^{1/a}, U uniform: dv/da = -v log v/a, dv/db = v X_b/(a X), X = v^a.
Density                  log q(v) = log a + log b + (a-1) log v + (b-1) log(1 - v^a).
KL to Beta(1, beta)      log ab + (1/a - 1) H(b) + 1/b - 1 - log beta - (beta-1) E log(1-v),  H(b) = psi(b+1) + gamma,
                         -E log(1-v) = b sum_{m>=1} B(m/a, b)/(m + ab).

v is handled as the real number s = log(-log v), the `point`, which keeps both ends of (0, 1) to full precision:
    s = C(t) - log_a,   t = log(1-U)/b,   log v = -e^s,   log(1-v) = L(s),   log(1-v^a) = L(s + log_a) = t,
    C(t) = log(-log(1 - e^t)),   its inverse L(s) = log(1 - exp(-e^s)),   L'(s) = exp(s - e^s - L(s)),   C' = 1/L'(C).
"""

from __future__ import annotations

import numpy

from ..backend import namespace
from ..numerics import log1mexp
from .base import check_parameters

EULER_GAMMA = float(numpy.euler_gamma)
TAIL = -37.0  # below it L(s) = s and C(t) = t to less than an ulp: the next terms are -e^s/2 and e^t/2, under 5e-17
STEP, FIRST, LAST = 0.046875, -853, 83  # the grid of `mean_log_rest`: log w from -40 to 3.9 in steps of 3/64


class Kumaraswamy:
    """Elementwise: parameters log_a, log_b (..., T), noise U (..., T) in the open (0, 1); nothing is summed over T.

        s, saved = q.run(noise)                 the point s = log(-log v) of a sample, and what its pullback needs
        bars     = q.pullback(saved, s_bar)     gradients of <s_bar, s> by log_a and log_b
        log v, log(1-v) = q.logs(s)             s_bar = q.logs_vjp(s, log_v_bar, log_rest_bar)
        log q(v) = q.log_prob_point(s)          (bars, s_bar) = q.log_prob_point_vjp(s, bar), density under dv
        v        = q.sample(noise)              bars = q.sample_vjp(noise, v_bar)
        log q(v) = q.log_prob(v)                (bars, v_bar) = q.log_prob_vjp(v, bar)
        KL       = q.kl(concentration)          bars = q.kl_vjp(concentration, bar)

    v itself rounds to 1 where 1 - v < 1e-16, and to 0 below the range of floats; log v and log(1-v) do not.
    """

    noise = "uniform"
    parameters = ("log_a", "log_b")
    nearest_to_uniform = (0.0, 0.0)  # Beta(1, 1) itself

    def __init__(self, log_a, log_b, validate=True):
        if validate:
            check_parameters(elementwise=True, log_a=log_a, log_b=log_b)
        self.log_a, self.log_b = log_a, log_b
        self.params = {"log_a": log_a, "log_b": log_b}

    # ---- the sample ----------------------------------------------------------------------------------------------

    def run(self, noise):
        xp, _ = namespace(self.log_a, self.log_b, noise)
        t = xp.log1p(-noise) * xp.exp(-self.log_b)
        c = _cloglog(t)
        return c - self.log_a, (t, c)

    def pullback(self, saved, point_bar):
        t, c = saved
        # ds = C'(t) dt - dlog_a and dt = -t dlog_b
        return {"log_a": -point_bar, "log_b": -point_bar * t / _log_cloglog_inverse_grad(c, t)}

    @staticmethod
    def logs(point):
        """(log v, log(1 - v))."""
        xp, _ = namespace(point)
        return -xp.exp(point), _log_cloglog_inverse(point)

    @staticmethod
    def logs_vjp(point, log_v_bar, log_rest_bar):
        xp, _ = namespace(point)
        slope = _log_cloglog_inverse_grad(point, _log_cloglog_inverse(point))
        return -xp.exp(point) * log_v_bar + slope * log_rest_bar

    def sample(self, noise):
        """v."""
        xp, _ = namespace(self.log_a, self.log_b, noise)
        return xp.exp(self.logs(self.run(noise)[0])[0])

    def sample_vjp(self, noise, v_bar):
        """Gradients of <v_bar, v(noise)>: dv = v dlog v = -v e^s ds."""
        xp, _ = namespace(self.log_a, self.log_b, noise)
        point, saved = self.run(noise)
        return self.pullback(saved, -v_bar * xp.exp(point - xp.exp(point)))

    # ---- the density ---------------------------------------------------------------------------------------------

    def log_prob_point(self, point):
        """log q(v) at v = exp(-e^s), under Lebesgue measure of v."""
        xp, _ = namespace(self.log_a, self.log_b, point)
        log_x = -(xp.exp(self.log_a) - 1) * xp.exp(point)  # (a-1) log v
        return self.log_a + self.log_b + log_x + (xp.exp(self.log_b) - 1) * _log_cloglog_inverse(point + self.log_a)

    def log_prob_point_vjp(self, point, bar):
        """(param_bars, point_bar) of a cotangent on log_prob_point, parameters and point taken as independent."""
        xp, _ = namespace(self.log_a, self.log_b, point)
        a, b, minus_log_v, c = xp.exp(self.log_a), xp.exp(self.log_b), xp.exp(point), point + self.log_a
        log_tail = _log_cloglog_inverse(c)  # log(1 - v^a)
        from_tail = (b - 1) * _log_cloglog_inverse_grad(c, log_tail)
        bars = {"log_a": bar * (1 - a * minus_log_v + from_tail), "log_b": bar * (1 + b * log_tail)}
        return bars, bar * (from_tail - (a - 1) * minus_log_v)

    def log_prob(self, v):
        """log q(v) of v in (0, 1). ValueError outside; where v rounds to 0 or 1, give log_prob_point its point."""
        return self.log_prob_point(_point(v))

    def log_prob_vjp(self, v, bar):
        """(param_bars, v_bar): d log q/dv = (a-1)/v - (b-1) a v^{a-1}/(1 - v^a)."""
        xp, _ = namespace(self.log_a, v)
        bars, point_bar = self.log_prob_point_vjp(_point(v), bar)
        return bars, point_bar / (v * xp.log(v))  # ds/dv = 1/(v log v)

    # ---- the divergence ------------------------------------------------------------------------------------------

    def kl(self, concentration=1.0):
        """KL(q || Beta(1, concentration)), elementwise; closed for concentration 1."""
        xp, special = namespace(self.log_a, self.log_b)
        harmonic = special.digamma(xp.exp(self.log_b) + 1) + EULER_GAMMA
        closed = self.log_a + self.log_b + xp.expm1(-self.log_a) * harmonic + xp.expm1(-self.log_b)
        if check_concentration(concentration) == 1:
            return closed
        return closed - float(numpy.log(concentration)) - (concentration - 1) * self.mean_log_rest()

    def kl_vjp(self, concentration, bar):
        """Gradients by log_a and log_b of a cotangent on kl(concentration)."""
        xp, special = namespace(self.log_a, self.log_b)
        a_inverse, b = xp.exp(-self.log_a), xp.exp(self.log_b)
        harmonic = special.digamma(b + 1) + EULER_GAMMA
        slope = b * special.zeta(2.0, b + 1)  # dH/dlog_b: the trigamma function is the Hurwitz zeta function at 2
        bars = {
            "log_a": bar * (1 - a_inverse * harmonic),
            "log_b": bar * (1 + xp.expm1(-self.log_a) * slope - xp.exp(-self.log_b)),
        }
        if check_concentration(concentration) != 1:
            more = self.mean_log_rest_vjp(-(concentration - 1) * bar)
            bars = {name: bars[name] + more[name] for name in bars}
        return bars

    def mean_log_rest(self):
        """E log(1 - v), minus the sum of the series above, with an error below 1e-13 of its value or below 1e-15; for
        log a < -8, where the integrand rises within a few steps of the grid, below 1e-12 of its value or 1e-11.

        The terms of the series fall off like m^{-b-1}: no number of them is enough when b is small. Instead,
        (1) with W = -log(1-U) standard exponential and w = e^y,  E log(1-v) = int e^{y-w} L(C(-w/b) - log a) dy;
        (2) the integrand is analytic about the real line and decays doubly exponentially to the right and like e^y to
            the left, so the trapezoidal rule converges geometrically. Temporaries are (..., T, 937).
        """
        xp, w, weight, t = self._grid()
        return xp.sum(weight * _log_cloglog_inverse(_cloglog(t) - self.log_a[..., None]), axis=-1)

    def mean_log_rest_vjp(self, bar):
        """Gradients under the integral sign: ds = -dlog_a - t C'(t) dlog_b at every node, then times L'(s)."""
        xp, w, weight, t = self._grid()
        c = _cloglog(t)
        point = c - self.log_a[..., None]
        slope = weight * _log_cloglog_inverse_grad(point, _log_cloglog_inverse(point))
        by_b = slope * t / _log_cloglog_inverse_grad(c, t)
        return {"log_a": -bar * xp.sum(slope, axis=-1), "log_b": -bar * xp.sum(by_b, axis=-1)}

    def _grid(self):
        xp, _ = namespace(self.log_a, self.log_b)
        y = STEP * numpy.arange(FIRST, LAST + 1)
        w, weight = (xp.asarray(v, dtype=self.log_a.dtype) for v in (numpy.exp(y), STEP * numpy.exp(y - numpy.exp(y))))
        return xp, w, weight, -w * xp.exp(-self.log_b)[..., None]


def _cloglog(t):
    """C(t) = log(-log(1 - e^t)) for t < 0."""
    xp, _ = namespace(t)
    return xp.where(t < TAIL, t, xp.log(-log1mexp(xp.maximum(t, TAIL))))


def _log_cloglog_inverse(s):
    """L(s) = log(1 - exp(-e^s))."""
    xp, _ = namespace(s)
    return xp.where(s < TAIL, s, log1mexp(-xp.exp(xp.maximum(s, TAIL))))


def _log_cloglog_inverse_grad(s, value):
    """L'(s) = e^s / expm1(e^s), in (0, 1), from s and L(s): neither end overflows."""
    xp, _ = namespace(s)
    return xp.exp(s - xp.exp(s) - value)


def _point(v):
    xp, _ = namespace(v)
    if not bool(xp.all((v > 0) & (v < 1))):
        raise ValueError("v must lie in the open interval (0, 1); where it rounds to an end, use log_prob_point")
    return xp.log(-xp.log(v))


def check_concentration(concentration):
    if not (numpy.isfinite(concentration) and concentration > 0):
        raise ValueError(f"concentration must be finite and greater than 0, got {concentration!r}")
    return concentration
