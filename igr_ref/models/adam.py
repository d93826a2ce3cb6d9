"""Adam (Kingma and Ba 2015), in the form whose epsilon is outside the bias correction (Keras; "epsilon hat").

m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,   p <- p - lr_t m / (sqrt(v) + eps),
lr_t = lr sqrt(1 - b2^t) / (1 - b1^t).
"""

from __future__ import annotations

import math

from ..backend import namespace
from .buffers import Buffers


class Adam:
    """State for a dict of arrays. `step` writes into the parameters and its own buffers: this is the hot path."""

    def __init__(self, params, learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
        if not learning_rate > 0:
            raise ValueError(f"learning_rate must be greater than 0, got {learning_rate!r}")
        for name, beta in (("beta_1", beta_1), ("beta_2", beta_2)):
            if not 0 <= beta < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {beta!r}")
        self.learning_rate, self.beta_1, self.beta_2, self.epsilon = learning_rate, beta_1, beta_2, epsilon
        self.t = 0
        self.m, self.v, self._work = {}, {}, {}
        flat = Buffers()  # one piece of memory for all: it stays in the cache from one array to the next
        largest = max((p.size for p in params.values()), default=0)
        for name, p in params.items():
            xp, _ = namespace(p)
            self.m[name], self.v[name] = xp.zeros_like(p), xp.zeros_like(p)
            self._work[name] = flat.empty("work", (largest,), p)[: p.size].reshape(p.shape)

    def step(self, params, grads, learning_rate=None):
        """Update every array of `params` in place by its gradient; `learning_rate` overrides the default this once.

        ValueError for a gradient of another shape than its array's.
        """
        self.t += 1
        self.update(params, grads, self.rate(learning_rate))

    def rate(self, learning_rate=None):
        """The factor of `update` at the present t: lr_t (1 - b1)/sqrt(1 - b2)."""
        lr = self.learning_rate if learning_rate is None else learning_rate
        lr *= math.sqrt(1 - self.beta_2**self.t) / (1 - self.beta_1**self.t)
        return lr * (1 - self.beta_1) / math.sqrt(1 - self.beta_2)

    def update(self, params, grads, rate):
        """The arrays' part of a step; `rate` is a number, or an array () of the parameters' dtype.

        The factors (1 - b1) and (1 - b2) are folded into it and eps: the buffers hold m/(1 - b1) and v/(1 - b2).
        """
        epsilon = self.epsilon / math.sqrt(1 - self.beta_2)
        for name, p in params.items():
            xp, _ = namespace(p)
            g, m, v, work = grads[name], self.m[name], self.v[name], self._work[name]
            if g.shape != p.shape:  # it would broadcast
                raise ValueError(f"the gradient of {name} has shape {g.shape}, wanted {p.shape}")
            xp.multiply(m, self.beta_1, out=m)
            xp.add(m, g, out=m)
            xp.multiply(v, self.beta_2, out=v)
            xp.multiply(g, g, out=work)
            xp.add(v, work, out=v)
            xp.sqrt(v, out=work)
            xp.add(work, epsilon, out=work)
            xp.divide(m, work, out=work)
            xp.multiply(work, rate, out=work)
            xp.subtract(p, work, out=p)

    def state(self):
        """Everything a resume needs: {"t": int, "m.<name>": array, "v.<name>": array} (references, not copies)."""
        arrays = {f"m.{name}": array for name, array in self.m.items()}
        return {"t": self.t, **arrays, **{f"v.{name}": array for name, array in self.v.items()}}

    def load(self, state):
        """Take over a saved state by value. KeyError or ValueError, and no change, where names or shapes differ."""
        buffers = {f"{kind}.{name}": b for kind, own in (("m", self.m), ("v", self.v)) for name, b in own.items()}
        if state.keys() != {"t", *buffers}:
            raise KeyError(f"the state has {sorted(state)}, wanted t and {sorted(buffers)}")
        for name, buffer in buffers.items():
            if state[name].shape != buffer.shape:
                raise ValueError(f"{name} has shape {state[name].shape} in the state, wanted {buffer.shape}")
        self.t = int(state["t"])
        for name, buffer in buffers.items():
            buffer[...] = state[name]
