"""The same training step and the same scores in other libraries, to be timed beside ours: see `experiments.benchmark`.

Each peer is one file, and optional: it is asked only if its library can be imported. It offers, for a `Task`,

    trainers(task)   {name: object}: object.run(steps) makes so many steps, waits for them, and returns the last loss;
                     object.check(x, noise) gives (mean loss, {name: gradient}) at the task's parameters
    scorer(task)     None, or (name, object): object.run(x, log_probs) gives the log-likelihood bounds (n,) of images x
                     from their laws, task.m codes each; object.check(x, indicators) gives log p(x|b) (m,) of codes

and `version`. A step gathers its images, draws its noise with the library's own generator, and ends with Adam.
"""

from __future__ import annotations

import importlib
import os

XLA_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
SCAN = 25  # steps in one compiled loop, where a library has such loops
LIBRARIES = {"jax": "jax_peer", "torch": "torch_peer", "autograd": "autograd_peer"}


def threads():
    """The number of BLAS threads that the environment asks for, and that the peers are given too."""
    return int(os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


def installed(names=tuple(LIBRARIES)):
    """{library: its peer module} for those of `names` that can be imported here."""
    if threads() == 1:  # XLA reads this when it is imported
        os.environ.setdefault("XLA_FLAGS", XLA_ONE_THREAD)
    found = {}
    for library in names:
        try:
            importlib.import_module(library)
        except ImportError:
            continue
        found[library] = importlib.import_module(f".{LIBRARIES[library]}", __name__)
    return found
