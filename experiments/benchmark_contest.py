"""Contestants on one task: compared first, then timed in turns (`benchmark`).

With one BLAS thread the CPU time of the process is reported, which other processes disturb less; with more, the wall
clock. One thread means one core (`one_core`): XLA starts threads of its own, whatever it is told.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time

import numpy

from igr_ref import noise

from . import peers
from .peers import ours
from .tables.benchmark import OURS

PRODUCTS = "matrix products alone"
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4
CHECKED = 50  # images whose loss and gradients are compared
PAUSE = 0.02  # seconds in which the threads of the one before stop waiting for work


@contextlib.contextmanager
def one_core(number=-1):
    """Keep this thread, and what it starts inside, on the `number`-th of its cores, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(allowed)[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def clock_name():
    return "cpu" if peers.threads() == 1 else "wall"


def take_turns(calls, rounds, units):
    """{name: {"ms", "wall_ms", "least_ms"}}: median milliseconds a unit of each call, after one turn to warm up.

    `calls` maps names to functions without arguments, each of which does `units` units of work.
    """
    times = {name: ([], []) for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            if clock_name() == "wall":
                time.sleep(PAUSE)
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            times[name][0].append((time.perf_counter() - wall) / units * 1e3)
            times[name][1].append((time.process_time() - cpu) / units * 1e3)
    out = {}
    for name, (wall, cpu) in times.items():
        chosen = cpu if clock_name() == "cpu" else wall
        out[name] = {"ms": statistics.median(chosen), "wall_ms": statistics.median(wall), "least_ms": min(chosen)}
    return out


def step_times(task, libraries, options):
    """Median times of a training step, of every contestant that agrees with ours; RuntimeError if one does not."""
    trainers = {OURS: ours.Trainer(task)}
    for peer in libraries.values():
        trainers |= peer.trainers(task)
    agree(task, trainers)
    calls = {name: (lambda one=one: one.run(options.steps)) for name, one in trainers.items()}
    products = ours.Products(task)
    calls[PRODUCTS] = lambda: products.run(options.steps)
    return take_turns(calls, options.rounds, options.steps)


def agree(task, trainers):
    """RuntimeError unless all give our loss and gradients on the same images and noise."""
    x = task.images[:CHECKED].astype("float32")
    draws = task.noise("check", CHECKED)
    loss, grads = trainers[OURS].check(x, draws)
    for name, trainer in trainers.items():
        other, others = trainer.check(x, draws)
        if not abs(other - loss) <= LOSS_TOLERANCE * abs(loss):
            raise RuntimeError(f"{name} computes another loss than ours: {other} instead of {loss}")
        for key, g in grads.items():
            error = float(numpy.linalg.norm(others[key] - g) / numpy.linalg.norm(g))
            if not error <= GRADIENT_TOLERANCE:
                raise RuntimeError(f"{name} computes another gradient of {key} than ours: off by {error:.1e} of itself")


def score_times(task, libraries, options):
    """Median times an image of the log-likelihood bound with task.m codes, the laws given."""
    rng = noise.generator(0, "laws")
    laws = numpy.log(rng.dirichlet(numpy.ones(task.n_categories), (options.images, task.n_variables)))
    x = task.images[: options.images].astype("float32")
    code = rng.integers(0, task.n_categories, (100, task.n_variables))
    indicators = (code[..., None] > numpy.arange(task.n_categories - 1)).astype("float32").reshape(100, -1)
    scorers = {OURS: ours.Scorer(task)}
    scorers |= dict(filter(None, (peer.scorer(task) for peer in libraries.values())))
    want = scorers[OURS].check(x[0], indicators)
    for name, scorer in scorers.items():
        worst = float(numpy.abs(scorer.check(x[0], indicators) - want).max())
        if not worst <= 2e-3:
            raise RuntimeError(f"{name} computes another log p(x|b) than ours: off by {worst:.1e} nats")
    calls = {name: (lambda one=one: one.run(x, laws)) for name, one in scorers.items()}
    return take_turns(calls, max(3, options.rounds // 4), options.images)


def best_peer(times, libraries):
    """(library, contestant) of the fastest peer, None without one."""
    found = [(times[name]["ms"], library, name) for library, peer in libraries.items() for name in times
             if name.lower().startswith(library if library != "torch" else "pytorch")]  # fmt: skip
    return min(found)[1:] if found else None
