"""Runs that differ only in seed and temperatures as one program: R replicas along the leading axis.

Every replica meets what its own run would meet: its initial parameters, its order of the images, its noise, all keyed
by its seed. Every array of a step has an axis R in front, and no operation mixes replicas, so that a replica's results
are those of its own run up to the rounding of sums.
"""

from __future__ import annotations

import copy

import numpy

from igr_ref import models, noise

from .programs import DRAW, program


class Streams:
    """The keyed streams of R replicas. Replicas with the same seed share their draws, which are made and moved once."""

    def __init__(self, seeds, xp):
        self.xp, self.distinct = xp, list(dict.fromkeys(seeds))
        where = [self.distinct.index(seed) for seed in seeds]
        self.where = None if len(self.distinct) == len(seeds) else xp.asarray(numpy.array(where))

    def at(self, stream, step):
        return Generators(self, stream, step)

    def spread(self, distinct):
        """A host array for each distinct seed -> one device array (R, ...)."""
        array = self.xp.asarray(numpy.stack(distinct))
        return array if self.where is None else self.xp.take(array, self.where, axis=0)

    def orders(self, n, epoch):
        """(R, n): each replica's permutation of the training images."""
        return self.spread([noise.generator(seed, "shuffle", epoch).permutation(n) for seed in self.distinct])


class Generators:
    """What a program draws a step's noise from: one generator for each distinct seed, as in the runs by themselves.

    `draw` is all that a program asks for, so draws made on the device can take its place.
    """

    def __init__(self, streams, stream, step):
        self.streams = streams
        self.generators = [noise.generator(seed, stream, step) for seed in streams.distinct]

    def draw(self, law, shape, dtype, xp):
        """(R, *shape) draws of the law."""
        return self.streams.spread([DRAW[law](rng, shape, dtype) for rng in self.generators])


def temperatures(configs, xp):
    """(temperature, prior_temperature) of the family: a number where all agree, else an array (R, 1, 1, 1, 1)."""

    def one(values):
        if len(set(values)) == 1:
            return values[0]
        return xp.asarray(numpy.array(values, configs[0].dtype).reshape(-1, 1, 1, 1, 1))

    own = [c.temperature for c in configs]
    return one(own), one([c.prior_temperature or c.temperature for c in configs])


class Together:
    """The programs of R configs as one: `params` (R, ...) and `grads`; `each` has R programs on views of `params`."""

    def __init__(self, configs, dataset, xp, facts=None, params=None):
        first = program(configs[0])(configs[0], dataset, xp, facts)
        self.each = [first] + [program(c)(c, dataset, xp, first.facts) for c in configs[1:]]
        self.facts = first.facts
        if params is None:
            params = {name: xp.stack([p.params[name] for p in self.each]) for name in first.params}
        self.params = params
        self.batched = copy.copy(first)
        self.batched.params, self.batched.replicas, self.batched.work = params, len(configs), models.Buffers()
        self.batched.build(dataset, temperatures(configs, xp))
        for r, one in enumerate(self.each):
            one.params = {name: array[r] for name, array in params.items()}
        self.grads, self.learning_rate = self.batched.grads, self.batched.learning_rate
