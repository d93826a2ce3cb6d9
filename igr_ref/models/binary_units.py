"""Binary stochastic units: psi in (0, 1) for each unit, and the b in {0, 1} that it relaxes (K = 2 categories).

    psi = sigmoid(l(y)),  y = mu + sigma eps (eq. 10);      psi -> b = 1[psi > 1/2] = 1[y > l^{-1}(0)].
Gumbel-Softmax (eq. 5)   l = y/tau, y = log_alpha + L with L logistic.
IGR-I (eq. 15)           l = y/tau - log delta.           IGR-Planar   l = f(y)/tau, f two planar flows on the line.
IGR-SB                   l = (2 u - 1)/tau, u = sigmoid(y): the softmax of (u, 1 - u)/tau. The remainder 1 - u is
                         kept, as eq. 18 itself has one category only (audit last-category, output-constant).
Pullback of psi_bar      y_bar = l'(y) psi (1 - psi) psi_bar,  mu_bar = y_bar,  log_sigma_bar = y_bar sigma eps.
"""

from __future__ import annotations

import math

from ..backend import namespace
from ..distributions import gaussian
from ..numerics import sigmoid, sigmoid_grad
from ..precision import InDouble, in_double
from ..transforms import Chain, PlanarFlow
from ..transforms.base import check_temperature, like
from ..transforms.planar_flow import initial


def logistic(u):
    """Logistic noise log u - log(1 - u) from uniform draws in (0, 1), both ends excluded as in `noise.uniform`."""
    xp, _ = namespace(u)
    return xp.log(u) - xp.log1p(-u)


@in_double
class BinaryUnit(InDouble):
    """psi of N units from a layer's outputs o (..., N `outputs`) and noise (..., N); here with l = y/tau.

    outputs = 2: mu, then log_sigma; outputs = 1: y = o + noise. `noise` names the law of the noise. `params` may hold
    parameters of the unit's own, for N units, with or without a replica axis before o's samples and images.
    float32 in, float32 out; in between, float64 unless precise=False (`precision`).
    """

    outputs, noise = 2, "normal"

    def __init__(self, temperature, precise=True):
        self.temperature, self.precise = check_temperature(temperature), precise

    def init(self, rng, n_units, dtype):
        """Fresh parameters of the unit's own, as NumPy arrays."""
        return {}

    def run(self, params, o, noise):
        """(psi (..., N), saved)."""
        l, kept = self.logit(params, self.point(o, noise))
        return sigmoid(l), (o, noise, l, kept)

    def pullback(self, params, saved, psi_bar):
        """(o_bar, gradients of the unit's own parameters): o_bar for each sample, the gradients summed."""
        o, noise, l, kept = saved
        xp, _ = namespace(o, noise)
        o_bar, bars = self.logit_vjp(params, kept, psi_bar * sigmoid_grad(l))
        if self.outputs == 2:
            o_bar = xp.concatenate(gaussian.sample_vjp(_halves(o)[1], noise, o_bar), axis=-1)
        return o_bar, bars

    def point(self, o, noise):
        """y (..., N)."""
        return o + noise if self.outputs == 1 else gaussian.sample(*_halves(o), noise)

    def logit(self, params, y):
        """(l(y), what logit_vjp needs)."""
        return y / like(self.temperature, y), y

    def logit_vjp(self, params, kept, l_bar):
        """(y_bar, gradients of the unit's own parameters)."""
        return l_bar / like(self.temperature, l_bar), {}

    def threshold(self, params, o):
        """The y at which l = 0, psi = 1/2: l is increasing, so b = 1[y > threshold] whatever the temperature."""
        return 0.0

    def discretize(self, params, o, noise):
        """b (..., N), exactly 0 or 1."""
        y = self.point(o, noise)
        return (y > self.threshold(params, o)).astype(y.dtype)


class GumbelSoftmaxUnit(BinaryUnit):
    """o = log_alpha, the log odds of b = 1; the difference of two Gumbel draws is logistic."""

    outputs, noise = 1, "logistic"


@in_double
class IGRIUnit(BinaryUnit):
    """The first coordinate of softmax++ with K = 2."""

    def __init__(self, temperature, delta=1.0, precise=True):
        super().__init__(temperature, precise)
        if not (math.isfinite(delta) and delta > 0):
            raise ValueError(f"delta must be finite and greater than 0, got {delta!r}")
        self.log_delta = math.log(delta)

    def logit(self, params, y):
        return y / like(self.temperature, y) - self.log_delta, y

    def threshold(self, params, o):
        return like(self.temperature, o) * self.log_delta


class IGRIUnitAsPublished(BinaryUnit):
    """psi = sigmoid(mu + eps): sigma = 1, one output for each unit, no temperature (audit output-temperature)."""

    outputs = 1

    def __init__(self, precise=True):
        super().__init__(1.0, precise)


@in_double
class IGRPlanarUnit(BinaryUnit):
    """f is two planar flows on the line; each unit has its own.

    Parameters "flow.0.w", "flow.0.u" (N, 1), "flow.0.b" (N,), then "flow.1.w", ... On the line the constrained u~ is
    psi/w: keep w away from 0.
    """

    FLOWS = 2

    def init(self, rng, n_units, dtype):
        own = {}
        for i in range(self.FLOWS):
            for name, p in initial(rng.standard_normal((2, n_units, 1))).items():
                own[f"flow.{i}.{name}"] = p.astype(dtype)
        return own

    def _flow(self, params):
        """f on (..., N, 1); a replica axis gets the axes of samples and images behind it."""

        def fitted(i, name, ndim):
            p = params[f"flow.{i}.{name}"]
            return p if p.ndim == ndim else p[:, None, None]

        shapes = {"w": 2, "u": 2, "b": 1}
        flows = ({name: fitted(i, name, ndim) for name, ndim in shapes.items()} for i in range(self.FLOWS))
        return Chain(*(PlanarFlow(**parts, validate=False, precise=self.precise) for parts in flows))

    def logit(self, params, y):
        f = self._flow(params)
        z, saved = f.run(y[..., None])
        return z[..., 0] / like(self.temperature, y), (f, saved)

    def logit_vjp(self, params, kept, l_bar):
        f, saved = kept
        xp, _ = namespace(l_bar)
        y_bar, bars = f.pullback(saved, (l_bar / like(self.temperature, l_bar))[..., None])
        own = {}
        for name, bar in bars.items():
            # sum over the axes between replicas and units that the parameter does not have
            p = params[f"flow.{name}"]
            replicas = p.ndim - (1 if name.endswith("b") else 2)
            own[f"flow.{name}"] = xp.sum(bar, axis=tuple(range(replicas, replicas + bar.ndim - p.ndim)))
        return y_bar[..., 0], own

    def threshold(self, params, o):
        """f^{-1}(0), ([R, 1, 1,] N)."""
        xp, _ = namespace(o)
        f = self._flow(params)
        return f.inverse(xp.zeros_like(f.links[0].w))[..., 0]


@in_double
class IGRSBUnit(BinaryUnit):
    """2 u - 1 = tanh(y/2), with derivative 2 u (1 - u)."""

    def logit(self, params, y):
        xp, _ = namespace(y)
        return xp.tanh(0.5 * y) / like(self.temperature, y), y

    def logit_vjp(self, params, kept, l_bar):
        return 2 * sigmoid_grad(kept) * l_bar / like(self.temperature, kept), {}


@in_double
class IGRSBUnitAsPublished(BinaryUnit):
    """psi = sigmoid(sigmoid(mu + eps)), in (.5, .731): b = 1 whatever the input (audit output-constant)."""

    outputs = 1

    def __init__(self, precise=True):
        super().__init__(1.0, precise)

    def logit(self, params, y):
        return sigmoid(y), y

    def logit_vjp(self, params, kept, l_bar):
        return sigmoid_grad(kept) * l_bar, {}

    def threshold(self, params, o):
        return -math.inf


def _halves(o):
    n = o.shape[-1] // 2
    return o[..., :n], o[..., n:]
