"""Where the runs of a sweep are worked on: this machine's cores, a Dask cluster, or the ranks of an MPI job.

Each is a concurrent.futures.Executor whose shutdown(cancel_futures=True) drops what has not begun.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import sys
import threading

from .stopping import Interrupted
from .store import THREAD_VARIABLES

GRACE = 30.0  # seconds that a worker has, once it is asked to stop, to write its checkpoint


class Processes(concurrent.futures.Executor):
    """Spawned processes that fail one by one: a killed worker costs its own call, which gets BrokenExecutor, and no
    other's (in ProcessPoolExecutor it costs everyone's). Workers end with this process, however it ends."""

    def __init__(self, workers):
        self._threads = concurrent.futures.ThreadPoolExecutor(workers)  # each thread looks after one process
        self._own = threading.local()
        self._processes, self._stopping = [], False
        self._guard = threading.Lock()

    def submit(self, function, /, *args, **kwargs):
        return self._threads.submit(self._call, function, args, kwargs)

    def _call(self, function, args, kwargs):
        if getattr(self._own, "process", None) is None:
            self._start()
        pipe, process = self._own.pipe, self._own.process
        try:
            pipe.send((function, args, kwargs))
            value, error = pipe.recv()
        except (EOFError, OSError) as lost:
            self._forget()
            process.join(GRACE)
            with self._guard:
                self._processes.remove(process)
            code = process.exitcode
            how = f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with code {code}"
            raise concurrent.futures.BrokenExecutor(f"process {process.pid} {how}") from lost
        if self._stopping or isinstance(error, Interrupted):  # it ends, too: now, at the latest
            self._forget()
        if error is not None:
            raise error
        return value

    def pids(self):
        """The workers' process numbers."""
        with self._guard:
            return [process.pid for process in self._processes]

    def _forget(self):
        self._own.pipe.close()
        self._own.process = None

    def _start(self):
        context = multiprocessing.get_context("spawn")
        pipe, far_end = context.Pipe()
        process = context.Process(target=_serve, args=(far_end,), daemon=True)
        with self._guard:
            if self._stopping:
                raise concurrent.futures.BrokenExecutor("the sweep is stopping")
            process.start()
            self._processes.append(process)
        far_end.close()  # the worker holds it now; were it open here too, its death would go unnoticed
        self._own.pipe, self._own.process = pipe, process

    def shutdown(self, wait=True, *, cancel_futures=False):
        """With cancel_futures, workers that are at a call are asked to stop by SIGTERM, and killed after GRACE."""
        with self._guard:
            self._stopping = cancel_futures
            processes = list(self._processes)
        self._threads.shutdown(wait=wait and not cancel_futures, cancel_futures=cancel_futures)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(GRACE)
            if process.is_alive():
                process.kill()
                process.join()
        self._threads.shutdown(wait=wait)


def _serve(pipe):
    """The life of a worker: calls, until the pipe closes or a call is interrupted."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches us too; what it means is for the parent to say
    threading.Thread(target=_end_with_parent, daemon=True).start()
    error = None
    with contextlib.suppress(EOFError, OSError):
        while not isinstance(error, Interrupted):
            function, args, kwargs = pipe.recv()
            value = error = None
            try:
                value = function(*args, **kwargs)
            except Exception as caught:
                error = caught
            pipe.send((value, error))


def _end_with_parent():
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)  # training stops at a checkpoint; anything else stops


def local_executor(workers=None):
    """One spawned process a core, one BLAS thread each: for small networks faster than one process of many threads."""
    for name in THREAD_VARIABLES[:3]:
        os.environ.setdefault(name, "1")  # read by BLAS when a worker imports NumPy
    return Processes(workers or os.cpu_count())


class DaskWorkers(concurrent.futures.Executor):
    """The workers of the Dask cluster at `address`. Its scheduler and workers must run from a checkout (or with it on
    PYTHONPATH), see the same folders under the same names, and have one thread each for BLAS (a nanny sees to that)."""

    def __init__(self, address):
        from distributed import Client

        self._client = Client(address)
        # A failed run is failed; the runs of a lost worker Dask moves to another, a few times, before it raises.
        self._inner = self._client.get_executor(pure=False, retries=0)

    def submit(self, function, /, *args, **kwargs):
        return self._inner.submit(function, *args, **kwargs)

    def shutdown(self, wait=True, *, cancel_futures=False):
        """With cancel_futures, runs that have begun are left to end: a thread of a worker cannot be stopped."""
        self._inner.shutdown(wait=wait and not cancel_futures)
        self._client.close()


def dask_executor(address):
    """The workers of a Dask cluster; RuntimeError without dask.distributed, ValueError without an address."""
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise RuntimeError("--executor dask needs dask.distributed: pip install distributed") from error
    if not address:
        raise ValueError("--executor dask needs the address of the cluster: --scheduler tcp://HOST:8786")
    return DaskWorkers(address)


def mpi_executor():
    """The ranks of an MPI job started with `mpiexec -n N python -m mpi4py.futures -m experiments ...`."""
    try:
        from mpi4py.futures import MPIPoolExecutor
    except ImportError as error:
        raise RuntimeError("--executor mpi needs mpi4py and an MPI library: pip install mpi4py") from error
    return MPIPoolExecutor()


def worker_losses():
    """The exceptions that say that a worker went away, not that its run went wrong."""
    kinds = [concurrent.futures.BrokenExecutor, concurrent.futures.CancelledError, Interrupted]
    if "distributed" in sys.modules:
        from distributed import KilledWorker

        kinds.append(KilledWorker)
    return tuple(kinds)
