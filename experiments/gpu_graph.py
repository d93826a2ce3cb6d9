"""A group's training step as one CUDA graph: its kernels are recorded once, and then launched together.

A step of small networks is hundreds of short kernels, and a GPU waits longer for Python to launch them than it works.
What changes from step to step lies in arrays that stay: the images, the noise and the learning rate. The graph's other
memory comes from a pool of its own, which nothing else may use while the graph is there; its matrix products are those
of `gpu_products`.
"""

from __future__ import annotations

import contextlib

import numpy

from igr_ref.backend import to_host

from .gpu_products import Products

WARM = 2  # steps before the recording, for everything that is made once and kept
SAME = 0.01  # of what three steps move an array of parameters: more than rounding, enlarged by Adam; less than a fault


class Noise:
    """Stands in for `replica_program.Generators`: draws in arrays that stay, which `load` fills for another step."""

    def __init__(self, generators):
        self.generators, self.asked, self.arrays, self.next = generators, [], [], 0

    def load(self, generators):
        self.next = 0
        for array, asked in zip(self.arrays, self.asked, strict=True):
            array[...] = generators.draw(*asked)

    def draw(self, law, shape, dtype, xp):
        i, self.next = self.next, self.next + 1
        if i == len(self.arrays):  # the first step says what it needs
            self.asked.append((law, shape, dtype, xp))
            self.arrays.append(self.generators.draw(law, shape, dtype, xp))
        return self.arrays[i]


class Captured:
    """The steps of a `replica_group.Group`, each one launch; `group` moves on as if it had taken them itself."""

    def __init__(self, group):
        xp = self.xp = group.xp
        self.group, self.together = group, group.together
        self.pool, self.stream = xp.cuda.MemoryPool(), xp.cuda.Stream(non_blocking=True)
        self.x, self.noise = group.minibatch().copy(), Noise(group.streams.at("train", group.step))
        self.rate = xp.zeros((), dtype=group.configs[0].dtype)
        self.loss = xp.zeros(len(group.configs), dtype=group.configs[0].dtype)
        self.products = Products(xp, self.stream)
        before = state(group)
        xp.cuda.Device().synchronize()  # all of that is there before the other stream begins
        with self._apart():
            for _ in range(WARM):
                self.noise.next = 0
                self._body()
            put_back(group, before)
            self.stream.synchronize()
            self.noise.next = 0
            self.stream.begin_capture()
            try:
                self._body()
            finally:
                self.graph = self.stream.end_capture()

    @contextlib.contextmanager
    def _apart(self):
        """On the graph's stream, with the graph's memory."""
        with self.xp.cuda.using_allocator(self.pool.malloc), self.stream, self.products.instead():
            yield

    def _body(self):
        """What the graph is made of: no number comes to the host, and none that changes comes from there."""
        self.loss[...], _, grads = self.together.grads(self.x, self.noise)
        self.group.adam.update(self.together.params, grads, self.rate)

    def step(self):
        """One step: the inputs are written, and the graph launched after them. The losses (R,), on the device.

        Nothing has waited for the graph's stream, so work on another one must call `wait` first.
        """
        group, adam = self.group, self.group.adam
        with self.stream:
            self.x[...] = group.minibatch()
            self.noise.load(group.streams.at("train", group.step))
            adam.t += 1
            self.rate[...] = adam.rate(group.together.learning_rate(group.step))
            self.graph.launch()
            loss = self.loss.copy()
        group.step += 1
        return loss

    def wait(self):
        """Until the card has done everything on every stream."""
        self.xp.cuda.Device().synchronize()

    def stands_for(self, group):
        """Whether it was made of this group as it is now: one that dropped a replica has other arrays."""
        return self.together is group.together


def state(group):
    """Copies of everything that a step changes."""
    arrays = {**group.together.params, **{name: a for name, a in group.adam.state().items() if name != "t"}}
    return {name: a.copy() for name, a in arrays.items()}, group.adam.t, group.step


def put_back(group, before):
    """The group as it was when `state` was asked."""
    arrays, group.adam.t, group.step = before
    now = {**group.together.params, **{name: a for name, a in group.adam.state().items() if name != "t"}}
    for name, array in arrays.items():
        now[name][...] = array


def difference(group, captured, steps=3):
    """How far the parameters after so many captured steps are from those of the group's own, as a share of how far the
    latter went: rounding gives little, a wrong graph 1. The largest over the arrays; the group is put back."""
    before, ends = state(group), []
    for step in (group_step(group), captured.step):
        for _ in range(steps):
            step()
        captured.wait()
        ends.append([to_host(p).astype("float64") for p in group.together.params.values()])
        put_back(group, before)
        captured.wait()
    starts = [to_host(before[0][name]).astype("float64") for name in group.together.params]
    apart = [float(numpy.linalg.norm(b - a)) for a, b in zip(*ends, strict=True)]
    went = [float(numpy.linalg.norm(a - start)) for a, start in zip(ends[0], starts, strict=True)]
    return float(numpy.max([d / max(w, 1e-30) for d, w in zip(apart, went, strict=True)]))  # NaN stays NaN


def group_step(group):
    """A function that takes the group's next step, kernel by kernel, and returns its losses (R,)."""

    def step():
        loss, _, grads = group.grads()
        group.adam.step(group.together.params, grads, group.together.learning_rate(group.step))
        group.step += 1
        return loss

    return step


def captured(group, log):
    """A graph of the group's step that was seen to do what the step does, or None; the log says which, and why.

    A group for which it was None once stays without: a resumed run takes the steps of an unbroken one.
    """
    if not group.configs or not hasattr(group.xp, "cuda") or group.graph is False:
        return None
    made = _captured(group, log)
    group.graph = made is not None
    return made


def _captured(group, log):
    before, device = state(group), group.xp.cuda.Device()
    try:
        made = Captured(group)
        apart = difference(group, made)
    except Exception as error:  # a step that cannot be captured is still a step
        device.synchronize()
        put_back(group, before)
        device.synchronize()
        print(f"steps are launched kernel by kernel: {type(error).__name__}: {error}", file=log)
        return None
    if not apart < SAME:
        print(f"steps are launched kernel by kernel: captured ones go {apart:.2g} of a step astray", file=log)
        return None
    print(f"steps are launched as one CUDA graph, {apart:.1g} of a step from their own", file=log)
    return made
