"""Runs that differ only in seed and temperatures as one program: R replicas along the leading axis.

Every replica meets what its own run would meet: its initial parameters, its order of the images, its noise, all keyed
by its seed. Every array of a step has an axis R in front, and no operation mixes replicas, so that a replica's results
are those of its own run up to the rounding of sums.
"""

from __future__ import annotations

import concurrent.futures
import copy
import os

import numpy

from igr_ref import models, noise, philox

from .program_vae import DRAW
from .programs import program


class Streams:
    """The keyed streams of R replicas. Replicas with the same seed share their draws, which are made and moved once.

    ahead: while the device is at a step, threads of the host draw the noise of the next one, as much as this step took.
    counted: the noise of steps comes from `philox` instead, on the device; the orders of the images stay.
    """

    def __init__(self, seeds, xp, ahead=None, counted=False):
        self.xp, self.distinct, self.counted = xp, list(dict.fromkeys(seeds)), counted
        where = [self.distinct.index(seed) for seed in seeds]
        self.where = None if len(self.distinct) == len(seeds) else xp.asarray(numpy.array(where))
        ahead = xp is not numpy and not counted if ahead is None else ahead
        threads = min(len(self.distinct), os.cpu_count() or 1)
        self.pool = concurrent.futures.ThreadPoolExecutor(threads) if ahead else None
        self.next, self.last = None, None

    def at(self, stream, step):
        """The Generators of a step, or its Counted draws."""
        if self.counted:
            return Counted(self, stream, step)
        key, made, asked = (stream, step), None, self.last.asked if self.last is not None else []
        if self.next is not None and self.next[0] == key:
            made = self.next[1]
        self.next, self.last = None, Generators(self, key, made)
        if self.pool is not None and asked:
            following = (stream, step + 1)
            futures = [self.pool.submit(_draws, seed, following, list(asked)) for seed in self.distinct]
            self.next = following, (list(asked), futures)
        return self.last

    def alone(self, seed, stream, step):
        """What a run by itself would draw a step's noise from."""
        return Alone(self, seed, stream, step) if self.counted else noise.generator(seed, stream, step)

    def spread(self, distinct):
        """A host array for each distinct seed -> one device array (R, ...)."""
        return self.shared(self.xp.asarray(numpy.stack(distinct)))

    def shared(self, array):
        """A device array for each distinct seed -> one for each replica (R, ...)."""
        return array if self.where is None else self.xp.take(array, self.where, axis=0)

    def orders(self, n, epoch):
        """(R, n): each replica's permutation of the training images."""
        return self.spread([noise.generator(seed, "shuffle", epoch).permutation(n) for seed in self.distinct])


class Generators:
    """What a program draws a step's noise from: one generator for each distinct seed, as in the runs by themselves.

    `draw` is all that a program asks for, so draws made on the device can take its place. made: draws made ahead, as
    (what was asked for, a future of the arrays for each seed).
    """

    def __init__(self, streams, key, made=None):
        self.streams, self.key, self.made, self.asked, self.generators = streams, key, made, [], None

    def draw(self, law, shape, dtype, xp):
        """(R, *shape) draws of the law."""
        self.asked.append((law, shape, dtype))
        i = len(self.asked)
        if self.generators is None and self.made is not None and self.made[0][:i] == self.asked:
            return self.streams.spread([future.result()[i - 1] for future in self.made[1]])
        if self.generators is None:  # nothing made ahead, or something else: from the start, past what was drawn
            self.generators = [noise.generator(seed, *self.key) for seed in self.streams.distinct]
            for rng in self.generators:
                for before in self.asked[:-1]:
                    DRAW[before[0]](rng, *before[1:])
        return self.streams.spread([DRAW[law](rng, shape, dtype) for rng in self.generators])


class Counted:
    """What takes the place of Generators where the noise is drawn on the device."""

    def __init__(self, streams, stream, step):
        self.streams, self.stream, self.step, self.number = streams, stream, step, 0

    def draw(self, law, shape, dtype, xp):
        """(R, *shape) draws of the law."""
        number, self.number = self.number, self.number + 1
        seeds, shared = self.streams.distinct, self.streams.shared
        return shared(philox.draw(law, seeds, self.stream, self.step, number, shape, dtype, xp))


class Alone:
    """The counted draws of one replica, without an axis of replicas."""

    def __init__(self, streams, seed, stream, step):
        self.counted = Counted(Streams([seed], streams.xp, counted=True), stream, step)

    def draw(self, law, shape, dtype, xp):
        return self.counted.draw(law, shape, dtype, xp)[0]


def _draws(seed, key, asked):
    rng = noise.generator(seed, *key)
    return [DRAW[law](rng, shape, dtype) for law, shape, dtype in asked]


def temperatures(configs, xp):
    """(temperature, prior_temperature) of the family: a number where all agree, else an array (R, 1, 1, 1, 1)."""

    def one(values):
        if len(set(values)) == 1:
            return values[0]
        return xp.asarray(numpy.array(values, "float64").reshape(-1, 1, 1, 1, 1))

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
