"""Which runs are trained together: those that differ only in seed, temperature and prior temperature.

A unit of work is one run, or a group of them in a folder of its own, runs/group-<digest>, whose checkpoint says who is
in it. A group that was begun is gone on with whatever is asked for later; runs that were begun by themselves go on by
themselves; runs that have a result are left out.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

from .plan import from_dict
from .store import StoreError, load_meta

LARGEST = 50
GPU_WORKERS = 4  # local processes on one card, where --workers does not say
MEMORY_SHARE = 0.5  # of what the card has free: the rest is for its libraries, fragments and other workers
PIXELS = 784


@dataclass(frozen=True)
class Unit:
    """What one worker is given: a run by itself (group None), or the runs of a group and the name of its folder."""

    configs: tuple
    group: str | None = None


def shared(config):
    """What runs must have in common to be trained together; None for kinds of runs that have no replica axis."""
    if config.kind != "vae":
        return None
    return dataclasses.replace(config, seed=0, temperature=1.0, prior_temperature=None)


def units(configs, size, runs):
    """Units of work that cover the configs, none of which has a result.

    size: the largest group: a number, or a function of a config; 1 for no groups but those that were begun.
    """
    left = {config.id: config for config in configs}
    out = []
    for path in sorted(Path(runs).glob("group-*/checkpoint.npz")):
        try:
            meta = load_meta(path)
        except (FileNotFoundError, StoreError):  # a damaged one is named by the worker that opens it
            continue
        members = [from_dict(fields) for fields in meta["configs"]]
        members += [left[name] for name in meta["failed"] if name in left]
        if any(config.id in left for config in members):
            out.append(Unit(tuple(members), path.parent.name))
            for config in members:
                left.pop(config.id, None)
    alike = {}
    for config in left.values():
        begun = (Path(runs) / config.id / "checkpoint.npz").exists()
        key = None if begun else shared(config)
        alike.setdefault(config.id if key is None else key, []).append(config)
    for group in alike.values():
        largest = size(group[0]) if callable(size) else size
        parts = -(-len(group) // largest)
        step = -(-len(group) // parts)  # groups of about one size
        for start in range(0, len(group), step):
            some = tuple(group[start : start + step])
            out.append(Unit(some, _name(some) if len(some) > 1 else None))
    return out


def _name(configs):
    digest = hashlib.sha256(" ".join(sorted(config.id for config in configs)).encode()).hexdigest()[:16]
    return f"group-{digest}"


def largest_group(replicas, device, workers=1):
    """The largest group as `units` takes it, from what --replicas says: a number or "auto".

    auto: 1 on the CPU, where a step of one run fills a core and its caches. On a GPU as many as fit into half of the
    memory that is free, shared among the workers, and LARGEST at most.
    """
    if replicas != "auto":
        return replicas
    if device == "cpu":
        return 1
    import cupy

    free, _ = cupy.cuda.runtime.memGetInfo()
    return lambda config: fitting(config, MEMORY_SHARE * free / workers)


def fitting(config, memory):
    """How many replicas of the config fit into `memory` bytes: at least 1, at most LARGEST."""
    return max(1, min(LARGEST, int(memory // replica_bytes(config))))


def replica_bytes(config, pixels=PIXELS):
    """Bytes that one replica takes, from above: parameters, gradients and Adam's three buffers; a dozen arrays of the
    size of the pixels, hidden layers and codes of a step; 28 x 28 pixels and a decoder with two outputs for each."""
    hidden = (512, 256) if config.architecture == "nonlinear" else ()
    code = config.n_variables * config.n_categories
    widths = (pixels, *hidden, 2 * code), (code, *hidden[::-1], 2 * pixels)
    weights = sum(a * b + b for w in widths for a, b in zip(w, w[1:], strict=False))
    activations = config.batch_size * config.n_samples * (3 * pixels + 2 * sum(hidden) + 2 * code)
    return (5 * weights + 12 * activations) * (8 if config.dtype == "float64" else 4)
