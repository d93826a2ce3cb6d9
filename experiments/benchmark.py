"""Speed, measured: a training step, the scores, a sweep over all cores, and how the cost grows with the sizes.

    python -m experiments benchmark          ours, and whichever of JAX, PyTorch and autograd can be imported

Everything runs on one synthetic data set. Before anything is timed, losses, gradients and the log-likelihoods of given
codes are compared: a contestant that computes something else is an error. Contestants take turns, a few steps each, for
many rounds, so that whatever else the machine does meets all of them alike; a figure is the median over the rounds.
With one BLAS thread the CPU time of the process is reported, which other processes disturb less; with more, the wall
clock. The latter also for the steps of a second table, timed in a process that gives every library as many threads as
there are cores. The matrix products of a step, by NumPy's BLAS alone, run in the same turns, and once more by each of
the kernels of OpenBLAS that the CPU has a choice of (`blas`). Scores are timed once for an architecture: they are the
same code for every model.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import datetime
import multiprocessing
import os
import statistics
import time

import numpy

from igr_ref import noise, reparameterization
from igr_ref.models import Adam, Buffers

from . import benchmark_relax, blas, peers
from .peers import ours
from .store import provenance
from .tables.benchmark import OURS

PRODUCTS = "matrix products alone"
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4
CHECKED = 50  # images whose loss and gradients are compared
PAUSE = 0.02  # seconds in which the threads of the one before stop waiting for work
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


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
        if not self.seconds > 0:
            raise ValueError(f"seconds must be greater than 0, got {self.seconds}")


def measure(options, say=print):
    """The whole record, a dict ready for JSON; `say` is told what is being done."""
    libraries = peers.installed(options.libraries)
    dataset = ours.synthetic()
    record = {
        "date": datetime.date.today().isoformat(), "threads": peers.threads(), "options": dataclasses.asdict(options),
        "clock": clock_name(), "libraries": {name: peer.version for name, peer in libraries.items()},
        "provenance": provenance(), "steps": [], "scores": [], "sweeps": [],
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


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


# ---- taking turns ------------------------------------------------------------------------------------------------


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


def kernel_times(options, say):
    """{kernels: median CPU ms of the matrix products of a linear IGR-I step}, by one thread in a process for each of
    OpenBLAS's kernels that run on this CPU; {} where there is no choice. The processes take turns."""
    names = blas.choices()
    if not names:
        return {}
    say(f"matrix products by the kernels {', '.join(names)}")
    with contextlib.ExitStack() as stack:
        context = multiprocessing.get_context("spawn")
        pools = {name: stack.enter_context(concurrent.futures.ProcessPoolExecutor(1, context)) for name in names}
        times = {name: [] for name in names}
        for _ in range(options.rounds + 1):
            for name, pool in pools.items():  # a process starts with its first call
                with _threads_of_children(1, {"OPENBLAS_CORETYPE": name}):
                    times[name].append(pool.submit(_products_ms, options.steps).result())
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def _products_ms(steps):
    products = ours.Products(ours.task("igr_i", "linear", ours.synthetic(200)))
    products.run(2)
    started = time.process_time()
    products.run(steps)
    return (time.process_time() - started) / steps * 1e3


# ---- all cores ---------------------------------------------------------------------------------------------------


def best_peer(times, libraries):
    """(library, contestant) of the fastest peer, None without one."""
    found = [(times[name]["ms"], library, name) for library, peer in libraries.items() for name in times
             if name.lower().startswith(library if library != "torch" else "pytorch")]  # fmt: skip
    return min(found)[1:] if found else None


def sweep_rates(model, architecture, peer, seconds, say):
    """{contestant: {"rate", "cpu_rate"}}: steps a second of as many processes as there are cores, one BLAS thread each.

    Ours and the peer (library, contestant), if any, take turns of a second, all processes together. "cpu_rate" is per
    second of CPU time, times the cores: the rate of a machine that does nothing else.
    """
    say(f"{model}, {architecture}: sweep of {cores()} processes")
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(cores()), context.Queue()
    with _threads_of_children(1):
        args = (model, architecture, peer, seconds, barrier, results)
        processes = [context.Process(target=_sweep_worker, args=args) for _ in range(cores())]
        for process in processes:
            process.start()
        found = [results.get(timeout=900 + 4 * seconds) for _ in processes]
        for process in processes:
            process.join()
    rates = {}
    for name in found[0]:
        steps, wall, cpu = (sum(one[name][i] for one in found) for i in range(3))
        rates[name] = {"rate": steps / wall * cores(), "cpu_rate": steps / cpu * cores()}
    return rates


@contextlib.contextmanager
def _threads_of_children(number, more=None):
    """What is started inside has so many threads in every library, and `more` in its environment: libraries read that
    when they are imported."""
    more = more or {}
    before = {key: os.environ.get(key) for key in (*THREADS, "XLA_FLAGS", *more)}
    os.environ |= dict.fromkeys(THREADS, str(number)) | more
    if before["XLA_FLAGS"] == peers.XLA_ONE_THREAD:
        del os.environ["XLA_FLAGS"]
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key, None) if value is None else os.environ.update({key: value})


def threaded_steps(steps, options, say):
    """The record's `steps` timed again by the wall clock, with as many threads as cores, in one process of its own."""
    found = []
    with _threads_of_children(cores()):
        pool = concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        with pool:
            for step in steps:
                say(f"{step['model']}, {step['architecture']}: training step with {cores()} threads")
                times = pool.submit(_threaded, step["model"], step["architecture"], options).result()
                found.append({**step, "times": times})
    return found


def _threaded(model, architecture, options):
    return step_times(ours.task(model, architecture, ours.synthetic()), peers.installed(options.libraries), options)


def _sweep_worker(model, architecture, peer, seconds, barrier, results):
    """Puts {contestant: (steps, seconds, CPU seconds)} of this process into `results`."""
    task = ours.task(model, architecture, ours.synthetic())
    trainers = {OURS: ours.Trainer(task)}
    if peer:
        trainers[peer[1]] = peers.installed(peer[:1])[peer[0]].trainers(task)[peer[1]]
    totals = {name: [0, 0.0, 0.0] for name in trainers}
    for trainer in trainers.values():
        trainer.run(50)
    for _ in range(max(1, round(seconds))):
        for name, trainer in trainers.items():
            barrier.wait(timeout=900)
            started, cpu, steps = time.perf_counter(), time.process_time(), 0
            while time.perf_counter() - started < 1:
                trainer.run(25)
                steps += 25
            spent = (steps, time.perf_counter() - started, time.process_time() - cpu)
            totals[name] = [a + b for a, b in zip(totals[name], spent, strict=True)]
    results.put(totals)


# ---- growth ------------------------------------------------------------------------------------------------------


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
