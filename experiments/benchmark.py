"""Speed, measured: a training step, the scores, a sweep over all cores, and how the cost grows with the sizes.

    python -m experiments benchmark          ours, and whichever of JAX, PyTorch and autograd can be imported

Everything runs on one synthetic data set. Before anything is timed, losses, gradients and the log-likelihoods of given
codes are compared: a contestant that computes something else is an error. Contestants take turns, a few steps each, for
many rounds, so that whatever else the machine does meets all of them alike; a figure is the median over the rounds.
With one BLAS thread all run on one core and the CPU time of the process is reported, which other processes disturb
less; with more, the wall clock. The latter also for the steps of a second table, timed in a process that gives every
library as many threads as there are cores. The matrix products of a step, by NumPy's BLAS alone, run in the same turns,
and once more by each of the kernels of OpenBLAS that the CPU has a choice of (`blas`). Scores are timed once for an
architecture: they are the same code for every model.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime

from . import benchmark_relax, peers
from .benchmark_contest import best_peer, clock_name, one_core, score_times, step_times, take_turns
from .benchmark_cores import cores, kernel_times, sweep_rates, threaded_steps
from .benchmark_growth import scaling
from .peers import ours
from .store import provenance


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure, and for how long."""

    models: tuple = tuple(ours.PRIORS)
    architectures: tuple = ("linear", "nonlinear")
    libraries: tuple = tuple(peers.LIBRARIES)
    rounds: int = 20
    steps: int = 25
    images: int = 20
    seconds: float = 10.0
    threads: bool = True
    sweep: bool = True
    scaling: bool = True
    relax: bool = True

    def __post_init__(self):
        for name in ("rounds", "steps", "images"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if "jax" in self.libraries and self.steps % peers.SCAN:
            raise ValueError(f"steps must be a multiple of {peers.SCAN}, which JAX takes at once; got {self.steps}")
        if not self.seconds > 0:
            raise ValueError(f"seconds must be greater than 0, got {self.seconds}")


def measure(options, say=print):
    """The whole record, a dict ready for JSON; `say` is told what is being done."""
    dataset = ours.synthetic()
    with one_core() if clock_name() == "cpu" else contextlib.nullcontext():  # before a library starts its threads
        libraries = peers.installed(options.libraries)
        record = {
            "date": datetime.date.today().isoformat(), "threads": peers.threads(),
            "options": dataclasses.asdict(options), "clock": clock_name(),
            "libraries": {name: peer.version for name, peer in libraries.items()}, "provenance": provenance(),
            "steps": [], "scores": [], "sweeps": [],
        }  # fmt: skip
        for architecture in options.architectures:
            for model in options.models:
                task = ours.task(model, architecture, dataset)
                say(f"{model}, {architecture}: training step")
                step = {"model": model, "architecture": architecture, "batch_size": task.batch_size}
                record["steps"].append({**step, "times": step_times(task, libraries, options)})
                if model == options.models[0]:
                    say(f"{architecture}: scores")
                    score = {"model": model, "architecture": architecture, "m": task.m, "images": options.images}
                    record["scores"].append({**score, "times": score_times(task, libraries, options)})
    record["kernels"] = kernel_times(options, say)
    if options.threads and peers.threads() == 1 and cores() > 1:
        record["threaded"] = {"threads": cores(), "steps": threaded_steps(record["steps"], options, say)}
    if options.sweep:
        for model in options.models:
            step = next(s for s in record["steps"] if s["model"] == model)
            best = best_peer(step["times"], libraries)
            rates = sweep_rates(model, options.architectures[0], best, options.seconds, say)
            record["sweeps"].append({"model": model, "architecture": options.architectures[0], "rates": rates})
    if options.scaling:
        say("growth with runs, images and samples")
        record["scaling"] = scaling(dataset, options)
    if options.relax:
        record["relax"] = benchmark_relax.measure(dataset, options, take_turns, say)
    return record
