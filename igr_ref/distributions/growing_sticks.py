"""Parameters without a last one: mu_1, mu_2, ... and log_sigma_1, log_sigma_2, ..., allocated as they are needed.

Section 3.2 parameterizes the IGR by mu in R^inf and sigma in (0, inf)^inf and updates, for a sample, only the first K
coordinates, K from eq. 19. All others still have their initial value, so they need not be stored: `GrowingSticks` holds
the coordinates that some sample has reached, and appends initial values when a sample reaches further.

An optimiser grows with them: `grow_state` appends zeros to its moments. For Adam this is exact. A coordinate that has
had gradient 0 in every step so far has both moments 0 and has not moved, which is what appending the initial value and
two zeros produces; the step count t is shared by all coordinates anyway. So a growing run and one that has had more
sticks than it needs from the start are the same run, up to the order in which sums are rounded:

    adam = Adam(sticks.params, lr)
    for each step:
        noise, grew = sticks.reach(draw, rho)
        if grew:
            state, adam = adam.state(), Adam(sticks.params, lr)
            adam.load(grow_state(state, sticks.params))
"""

from __future__ import annotations

import numpy

from ..backend import namespace
from .infinite import InfiniteIGR, check_rho


class GrowingSticks:
    """params["mu"], params["log_sigma"]: (*lead, K) with K growing. `mu_start`, `log_sigma_start`: the initial value, a
    number, or a function of (first, last) that gives those of the coordinates first..last-1 as an array.

    Noise comes as draw(first, last) -> (..., last - first), the noise of the sticks first..last-1: it must not depend
    on how the sticks are cut into blocks, e.g. one keyed generator for each stick. The arrays in `params` are replaced,
    not written to, when they grow; they are NumPy's unless the caller puts another library's in their place.
    `max_sticks` turns parameters that use up no mass (mu -> -inf) into an error.
    """

    def __init__(self, mu_start, log_sigma_start, lead=(), dtype=numpy.float64, size=1, max_sticks=100_000):
        self.starts = {"mu": mu_start, "log_sigma": log_sigma_start}
        self.lead, self.max_sticks = tuple(lead), max_sticks
        self.params = {name: numpy.zeros((*self.lead, 0), dtype) for name in self.starts}
        self.grow(size)

    @property
    def size(self):
        """The number K of sticks allocated so far."""
        return self.params["mu"].shape[-1]

    def grow(self, size):
        """Have at least `size` sticks; whether that appended any."""
        first = self.size
        if size > self.max_sticks:
            raise ArithmeticError(f"more than max_sticks = {self.max_sticks} sticks are needed: is mu far below 0?")
        if size <= first:
            return False
        grown = {}
        for name, start in self.starts.items():
            old = self.params[name]
            xp, _ = namespace(old)
            values = start(first, size) if callable(start) else start
            new = xp.zeros((*self.lead, size - first), old.dtype) + xp.asarray(values, dtype=old.dtype)
            if not bool(xp.all(xp.isfinite(new))):
                raise ValueError(f"{name}_start must be finite, got {values!r}")
            grown[name] = xp.concatenate([old, new], axis=-1)
        self.params.update(grown)
        return True

    def distribution(self, temperature, rho, **options):
        """InfiniteIGR on the sticks allocated so far."""
        return InfiniteIGR(self.params["mu"], self.params["log_sigma"], temperature, rho, **options)

    def reach(self, draw, rho):
        """(noise (..., K), grew): noise for all K sticks, K grown until every sample's sticks exceed rho."""
        check_rho(rho)
        return self._extend(draw, lambda q, noise: q.reached(noise), rho)

    def decide(self, draw):
        """(noise, grew): as `reach`, until no stick yet to come can exceed the largest one, so `category` is final."""
        return self._extend(draw, lambda q, noise: q.decided(noise), 0.5)

    def _extend(self, draw, done, rho):
        noise, grew = draw(0, self.size), False
        xp, _ = namespace(noise)
        while not bool(xp.all(done(self.distribution(1.0, rho, validate=False), noise))):
            first = self.size
            self.grow(max(first + 1, min(2 * first, self.max_sticks)))
            grew = True
            noise = xp.concatenate([noise, draw(first, self.size)], axis=-1)
        return noise, grew


def grow_state(state, params):
    """An Adam state (see models.adam) with zeros appended to its moments, to the length of `params`' last axes."""
    grown = {}
    for name, array in state.items():
        if name == "t":
            grown[name] = array
            continue
        xp, _ = namespace(array)
        size = params[name.partition(".")[2]].shape[-1]
        more = size - array.shape[-1]
        if more < 0:
            raise ValueError(f"state: {name} has {array.shape[-1]} coordinates, the parameters only {size}")
        grown[name] = xp.concatenate([array, xp.zeros((*array.shape[:-1], more), array.dtype)], axis=-1)
    return grown
