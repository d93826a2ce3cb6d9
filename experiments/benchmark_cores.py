"""What the benchmark times in processes of their own: OpenBLAS's kernels, steps with all threads, and a sweep."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import statistics
import time

from . import blas, peers
from .benchmark_contest import one_core, step_times
from .peers import ours
from .tables.benchmark import OURS

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@contextlib.contextmanager
def threads_of_children(number, more=None):
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
                with threads_of_children(1, {"OPENBLAS_CORETYPE": name}):
                    times[name].append(pool.submit(_products_ms, options.steps).result())
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def _products_ms(steps):
    products = ours.Products(ours.task("igr_i", "linear", ours.synthetic(200)))
    products.run(2)
    started = time.process_time()
    products.run(steps)
    return (time.process_time() - started) / steps * 1e3


def threaded_steps(steps, options, say):
    """The record's `steps` timed again by the wall clock, with as many threads as cores, in one process of its own."""
    found = []
    with threads_of_children(cores()):
        pool = concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        with pool:
            for step in steps:
                say(f"{step['model']}, {step['architecture']}: training step with {cores()} threads")
                times = pool.submit(_threaded, step["model"], step["architecture"], options).result()
                found.append({**step, "times": times})
    return found


def _threaded(model, architecture, options):
    return step_times(ours.task(model, architecture, ours.synthetic()), peers.installed(options.libraries), options)


def sweep_rates(model, architecture, peer, seconds, say):
    """{contestant: {"rate", "cpu_rate"}}: steps a second of one process on each core, with one BLAS thread.

    Ours and the peer (library, contestant), if any, take turns of a second, all processes together. "cpu_rate" is per
    second of CPU time, times the cores: the rate of a machine that does nothing else.
    """
    say(f"{model}, {architecture}: sweep of {cores()} processes")
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(cores()), context.Queue()
    with threads_of_children(1):
        args = (model, architecture, peer, seconds, barrier, results)
        processes = [context.Process(target=_sweep_worker, args=(core, *args)) for core in range(cores())]
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


def _sweep_worker(core, model, architecture, peer, seconds, barrier, results):
    """Puts {contestant: (steps, seconds, CPU seconds)} of this process, on its own core, into `results`."""
    with one_core(core):
        results.put(_swept(model, architecture, peer, seconds, barrier))


def _swept(model, architecture, peer, seconds, barrier):
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
                trainer.run(peers.SCAN)
                steps += peers.SCAN
            spent = (steps, time.perf_counter() - started, time.process_time() - cpu)
            totals[name] = [a + b for a, b in zip(totals[name], spent, strict=True)]
    return totals
