"""How the cost of our step grows with the sizes: for `benchmark`."""

from __future__ import annotations

import numpy

from igr_ref import noise, reparameterization
from igr_ref.models import Adam, Buffers

from .benchmark_contest import take_turns
from .peers import ours


def scaling(dataset, options):
    """Median ms of our linear IGR-I step against the runs R (replica axis), the images B and the samples S."""
    sizes = [("runs", r, 100, 1) for r in (1, 2, 4)] + [("images", 1, b, 1) for b in (100, 200, 400, 800)]
    sizes += [("samples", 1, 100, s) for s in (1, 2, 4, 8)]
    calls = {}
    for axis, replicas, images, samples in sizes:
        count = {"runs": replicas, "images": images, "samples": samples}[axis]
        calls[axis, count] = _replicated(dataset, replicas, images, samples)
    times = take_turns(calls, options.rounds, 1)
    return [{"axis": axis, "count": count, **value} for (axis, count), value in times.items()]


def _replicated(dataset, replicas, images, samples):
    """A function that makes one step of R runs of B images and S samples as one program."""
    task = ours.task("igr_i", "linear", dataset)
    model = ours.Trainer(task).program.model
    lead = () if replicas == 1 else (replicas,)
    params = {name: numpy.broadcast_to(p, (*lead, *p.shape)).copy() for name, p in task.params.items()}
    adam, work = Adam(params, task.learning_rate), Buffers()
    rng = noise.generator(0, "scaling")
    shape = (*lead, *model.noise_shape(images, samples))

    def step():
        rows = rng.integers(0, len(task.images), replicas * images)
        x = task.images[rows].reshape(*lead, images, -1).astype("float32")
        draws = noise.normal(rng, shape, "float32")
        adam.step(params, model.loss_and_grads(params, x, draws, reparameterization, work)[1])

    return step
