"""The contract of a transform g from R^{K-1}, said once.

Shapes. Inputs y are (..., K-1): the category axis is last and any axes may lead (replica, batch, variable). A map
onto the simplex (`onto_simplex`) returns all K coordinates, the K-th computed directly and never as one minus a sum;
any other map returns K-1. The Jacobian, and hence the log-determinant, is that of the first K-1 coordinates, the
paper's S^{K-1}, with respect to Lebesgue measure there.

    z, saved          = g.run(y)                              the primitive, with what the pullback needs
    y_bar, param_bars = g.pullback(saved, z_bar, log_det_bar) gradients of <z_bar, z> + <log_det_bar, log|det J|>
    z                 = g.forward(y)          y = g.inverse(z)
    J                 = g.jacobian(y)         (..., K-1, K-1),  J[..., k, i] = dz_k/dy_i
    log|det J|        = g.log_det(y)          (...)
    b                 = g.discretize(y)       one-hot (..., K), the limit of g(y) as the temperature tends to 0;
                        g.category(y)         the same as category numbers
    log z             = g.log_forward(y)      of maps onto the simplex: finite where z underflows
    z_bar             = g.inverse_pullback(saved, y_bar)      J^{-T} y_bar: a cotangent on y, moved to z. Flows only.
    log|det J|        = g.saved_log_det(saved)                log_det at the y of an earlier run. Flows only.

A transform of the simplex into itself (`takes_simplex`) is given all K coordinates and its pullback returns K of them;
its Jacobian is still that of the first K-1 coordinates by the first K-1, the K-th input being what these leave of 1.

`z_bar` has the shape of z and `log_det_bar` that of log_det; either may be None (no such term). Gradients of the
transform's own parameters come back in the dict `param_bars`, summed over nothing that leads y: one value a sample.
A temperature is a positive number, or an array that broadcasts against y with a last axis of length 1 (one
temperature for each replica, say).

float32 in, float32 out; in between, float64 unless the transform was made with precise=False (`precision`).

A transform of your own is a subclass with @in_double above it (for that last line). It sets `params`, the dict of its
own parameters, if it has any, and opens its methods with `xp, _ = namespace(y)`, so that they run on a GPU and under
autograd too. For the plain estimators it needs run and pullback, onto the simplex category too, and log_det for
densities; a flow before the shared map needs inverse, inverse_pullback and saved_log_det for its KL.
"""

from __future__ import annotations

import math

import numpy

from ..backend import namespace
from ..precision import InDouble, given_eps, in_double

SUM = 100.0  # roundings of a point's sum for each of its entries


@in_double
class Transform(InDouble):
    onto_simplex = False
    takes_simplex = False

    def __init__(self, precise=True):
        self.precise = precise

    def run(self, y):
        """(g(y), saved): the value, and what `pullback` needs to go back."""
        raise NotImplementedError(f"{type(self).__name__} does not define run")

    def pullback(self, saved, z_bar=None, log_det_bar=None):
        """(y_bar, param_bars): see the module's text."""
        raise NotImplementedError(f"{type(self).__name__} does not define pullback")

    def log_det(self, y):
        raise NotImplementedError(f"{type(self).__name__} does not define log_det")

    def jacobian(self, y):
        raise NotImplementedError(f"{type(self).__name__} does not define jacobian")

    def log_forward(self, y):
        """log g(y), all K coordinates, of a map onto the simplex: a chain's category is found from it."""
        raise NotImplementedError(f"{type(self).__name__} does not define log_forward")

    def inverse_log(self, log_z):
        """y from log z (..., K), for maps onto the simplex whose z may underflow."""
        raise NotImplementedError(f"{type(self).__name__} does not define inverse_log")

    def inverse(self, z):
        """y from z; by default through inverse_log. ValueError unless z (..., K) is positive and sums to 1."""
        xp, _ = namespace(z)
        check_simplex(z)
        return self.inverse_log(xp.log(z))

    def inverse_pullback(self, saved, y_bar):
        """J^{-T} y_bar: the pullback of y_bar through the inverse, at z = g(y)."""
        raise NotImplementedError(f"{type(self).__name__} does not define inverse_pullback")

    def saved_log_det(self, saved):
        """log_det at the y of the `run` that saved this."""
        raise NotImplementedError(f"{type(self).__name__} does not define saved_log_det")

    def category(self, y):
        """The vertex that g(y) tends to as the temperature tends to 0, as category numbers 0..K-1 (...)."""
        raise NotImplementedError(f"{type(self).__name__} has no discrete limit")

    def discretize(self, y):
        """The same as exactly one-hot vectors (..., K)."""
        xp, _ = namespace(y)
        return one_hot(self.category(y), y.shape[-1] + (0 if self.takes_simplex else 1), xp, y.dtype)

    def forward(self, y):
        """g(y): (..., K) onto the simplex, (..., K-1) otherwise."""
        return self.run(y)[0]

    def vjp(self, y, z_bar=None, log_det_bar=None):
        """The pullback at y, for callers that have not kept `saved`."""
        return self.pullback(self.run(y)[1], z_bar, log_det_bar)


def check_coordinates(name, array, n):
    """ValueError unless the category axis of an array has length n: one of length 1 would broadcast unnoticed."""
    if array.ndim == 0 or array.shape[-1] != n:
        raise ValueError(f"{name} must have {n} coordinates along its last axis, got shape {array.shape}")


def check_one_hot(b):
    """ValueError unless b (..., K) is one-hot."""
    xp, _ = namespace(b)
    if not bool(xp.all((b == 0) | (b == 1)) & xp.all(xp.sum(b, axis=-1) == 1)):
        raise ValueError("b must be one-hot over its last axis")


def check_simplex(z):
    """ValueError unless z (..., K) is positive and sums to 1 within what rounding its K entries may do."""
    xp, _ = namespace(z)
    if not bool(xp.all(z > 0)):
        raise ValueError("z must be positive; where it underflowed to 0, give log z (inverse_log, log_prob_log_z)")
    off = float(xp.max(xp.abs(xp.sum(z, axis=-1) - 1))) if z.size else 0.0
    if not off <= SUM * z.shape[-1] * given_eps(z):
        raise ValueError(f"z must sum to 1 over its last axis, one sum is off by {off:.3g}")


def check_temperature(temperature):
    """Return the temperature, or raise ValueError: it must be finite and positive (the limit 0 is `discretize`).

    TypeError for what is neither a number nor an array.
    """
    if isinstance(temperature, (int, float, numpy.generic)):
        good = math.isfinite(temperature) and temperature > 0
    else:
        if not hasattr(temperature, "ndim"):
            raise TypeError(f"temperature must be a number or an array, got {temperature!r}")
        xp, _ = namespace(temperature)
        if temperature.ndim == 0 or temperature.shape[-1] != 1:
            raise ValueError(
                "temperature: an array needs a last axis of length 1, so that it broadcasts over the categories; "
                f"got shape {temperature.shape}"
            )
        good = bool(xp.all(xp.isfinite(temperature) & (temperature > 0)))
    if not good:
        raise ValueError(
            f"temperature must be finite and greater than 0, got {temperature!r}; "
            "for the limit 0 use discretize, which returns the one-hot vector"
        )
    return temperature


def like(temperature, y):
    """The temperature in y's namespace and dtype; in its own where y holds integers."""
    if isinstance(temperature, (int, float, numpy.generic)):
        return float(temperature)
    xp, _ = namespace(y, temperature)
    return xp.asarray(temperature, dtype=_floating(y, temperature))


def log_temperature(temperature, y, times=1, plus=0.0):
    """plus + times log(temperature) without its category axis: broadcasts against log-determinants.

    Computed in float64 and rounded once, so that an array gives what each of its numbers gives.
    """
    if isinstance(temperature, (int, float, numpy.generic)):
        return plus + times * math.log(temperature)
    xp, _ = namespace(y, temperature)
    return (plus + times * xp.log(xp.asarray(temperature, dtype="float64"))[..., 0]).astype(_floating(y, temperature))


def _floating(y, temperature):
    return y.dtype if getattr(y.dtype, "kind", "f") in "fc" else temperature.dtype


def add_term(total, term):
    """total + term where either may be None."""
    if total is None:
        return term
    return total if term is None else total + term


def one_hot(index, n, xp, dtype):
    """One-hot vectors (..., n) of integer indices (...): entries are exactly 0 and 1."""
    return (index[..., None] == xp.arange(n)).astype(dtype)
