"""What runs will cost: each part of a run timed here, for a moment, and multiplied.

    run  = fixed + loading + steps * step + points * monitoring + scoring
    wall = start-up + max(all runs / workers, the longest run)

A step is the true one: gather, noise, gradients, Adam. Scoring n images costs a n + b for each block of 200, which is
why it is timed at two sizes. Workers that slow one another down (shared caches, a busy machine) are not foreseen.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy

from igr_ref import noise
from igr_ref.models import Adam

from . import approximate, data, store
from .programs import program

BLOCK = 200  # images that `evaluate` takes at a time


def run_seconds(config, data_dir=None):
    """Seconds that one run takes in a process of one thread on this machine."""
    return sum(parts(config, data_dir).values())


def parts(config, data_dir=None):
    """{part: seconds} of one run."""
    if config.kind == "approximation":
        return _approximation(config)
    started = time.perf_counter()
    dataset = data.load(config.dataset, data_dir, progress=False)
    running = program(config)(config, dataset, numpy)
    loading = time.perf_counter() - started
    training, validation, test = dataset.split(config.validation)
    scored = validation if config.validation else test
    floats = functools.partial(dataset.floats, dtype=config.dtype)
    found = {
        "fixed": fixed_seconds(),
        "loading": loading,
        "training": config.epochs * (len(training) // config.batch_size) * _step(config, running, training, floats),
        "monitoring": 0.0,
    }
    every = config.monitor_every
    if every:
        some = scored[:1000]
        point = _each(lambda i: running.monitor(floats(some), noise.generator(config.seed, "monitor", i)), 0.2)
        points = len({e for e in range(1, config.epochs + 1) if e % every == 0 or e == config.epochs})
        found["monitoring"] = points * point * len(scored) / len(some)
    sizes = (2, 6) if config.kind == "mixture" else (5, 25)  # a mixture's image takes long

    def score(images):
        running.score(images, floats, "cpu", lambda done, total: None)

    scored = scored[: getattr(config, "scored_images", None)]
    found["scoring"] = _affine(score, scored, len(scored), sizes)
    if not config.validation and config.training_images:
        count = min(config.training_images, len(training))
        found["scoring"] += _affine(lambda images: running.score_training(images, floats), training, count, sizes)
    return found


def _step(config, running, training, floats):
    """Seconds of a training step."""
    adam = Adam(running.params, config.learning_rate)
    order = noise.generator(config.seed, "shuffle", 0).permutation(len(training))
    batches = len(training) // config.batch_size
    if batches == 0:  # such a run fails at once
        return 0.0

    def step(t):
        start = t % batches * config.batch_size
        x = floats(training[order[start : start + config.batch_size]])
        _, _, grads = running.grads(x, noise.generator(config.seed, "train", t))
        adam.step(running.params, grads, running.learning_rate(t))

    return _each(step, 0.5)


def _each(function, seconds):
    """Mean seconds of function(0), function(1), ... over that many seconds, the first call left out."""
    function(0)
    started = time.perf_counter()
    n = 0
    while n < 3 or time.perf_counter() - started < seconds:
        n += 1
        function(n)
    return (time.perf_counter() - started) / n


def _affine(function, images, count, sizes):
    """Seconds for `count` images: a n + b for each block, from two sizes, each the median of three."""
    small, large = (min(size, len(images)) for size in sizes)
    function(images[:small])

    def timed(n):
        return statistics.median(_each_once(function, images[:n]) for _ in range(3))

    first = timed(small)
    slope = (timed(large) - first) / (large - small) if large > small else first / small
    slope = max(slope, 0.0)
    return slope * count + max(first - slope * small, 0.0) * math.ceil(count / BLOCK)


def _each_once(function, images):
    started = time.perf_counter()
    function(images)
    return time.perf_counter() - started


def _approximation(config):
    """A fit costs in proportion to its steps, a simulated law to its draws."""

    def timed(steps, law_draws):
        small = dataclasses.replace(config, steps=steps, law_draws=law_draws)
        with tempfile.TemporaryDirectory() as folder:
            return _each_once(lambda _: approximate.run(small, folder), None)

    timed(2, 1)
    few = timed(3, 1)
    more = max(10, min(300, round(0.5 / max(few, 1e-3) * 3)))
    step = max(0.0, (timed(3 + more, 1) - few) / more)
    law = max(0.0, timed(3, approximate.BLOCK) - few) * config.law_draws / approximate.BLOCK
    return {"fixed": few, "training": (config.steps - 3) * step, "scoring": law}


@functools.cache
def fixed_seconds():
    """What every run pays: files that are flushed to the disk, and provenance."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        store.save_checkpoint(f"{folder}/checkpoint.npz", {}, {})
        facts = store.provenance()
        for name in ("config", "result", "results/result"):
            store.write_json(f"{folder}/{name}.json", facts)
        return time.perf_counter() - started


@functools.cache
def start_up_seconds():
    """What a worker needs until it can begin."""
    started = time.perf_counter()
    command = [sys.executable, "-c", "import experiments.sweep, experiments.runners"]
    subprocess.run(command, cwd=Path(__file__).resolve().parents[1], check=True)
    return time.perf_counter() - started


def wall_seconds(rows, workers):
    """Of (what, runs, seconds a run) on that many workers."""
    if not rows:
        return 0.0
    total = sum(count * seconds for _, count, seconds in rows)
    return start_up_seconds() + max(total / workers, max(seconds for _, _, seconds in rows))
