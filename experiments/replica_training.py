"""Training a group of replicas (`replica_group`): one checkpoint for all of them, and one result for each."""

from __future__ import annotations

import time
from pathlib import Path

import numpy

from igr_ref.backend import device_namespace

from . import gpu_graph
from .data import load
from .progress import Progress, clock
from .replica_group import Group
from .stopping import Interrupted, StopRequests
from .store import Log
from .train import scored

WINDOW = 50  # steps between looks at the losses on a GPU, where each look waits for the card; on the CPU every step
SAVING = 0.05  # share of the time that writing checkpoints may take: R nonlinear models are 15 MB each


def steps_between_looks(xp):
    return 1 if xp is numpy else WINDOW


def train(group, folder, log, quiet=False, checkpoint_seconds=20.0):
    """Take the group to the end of its last epoch. Raises Interrupted after a checkpoint."""
    checkpoint, xp = folder / "checkpoint.npz", group.xp
    if not group.configs:
        return
    config = group.configs[0]
    batches = len(group.images) // config.batch_size
    if batches == 0:
        raise ValueError(f"batch_size {config.batch_size} is larger than the {len(group.images)} training images")
    total, window = config.epochs * batches, steps_between_looks(xp)
    if group.step:
        print(f"resumed {len(group.configs)} replicas at step {group.step} of {total}", file=log)
    label = f"{config.label} x {len(group.configs)}"
    bar = Progress(total, label, file=log if quiet else None, done=group.step)
    started, saved_at, saving = time.monotonic() - group.seconds, time.monotonic(), 0.0
    rate_from = (time.monotonic(), group.step)
    graph = gpu_graph.captured(group, log) if group.step < total else None
    with StopRequests() as stop:
        while group.step < total and group.configs:
            due = (group.step + 1) % window == 0 or (group.step + 1) % batches == 0
            if graph is not None and not graph.stands_for(group):
                graph = gpu_graph.captured(group, log)
            if graph is not None:
                if not due:  # a step whose numbers the host looks at is taken kernel by kernel
                    group.losses.append(graph.step())
                    continue
                graph.wait()
            try:
                loss, parts, grads = group.grads()
            except (ArithmeticError, ValueError) as error:
                if not group.look():
                    group.isolate(error)
                continue
            group.losses.append(loss)
            parts |= {f"gradient of {name}": g for name, g in grads.items()}
            if due and group.look(parts):
                continue
            group.adam.step(group.together.params, grads, group.together.learning_rate(group.step))
            group.step += 1
            if not due:
                continue
            if graph is not None:
                graph.wait()
            group.seconds = time.monotonic() - started
            if group.step % batches == 0:
                group.end_epoch(group.step // batches, batches)
            images = (group.step - rate_from[1]) * config.batch_size * len(group.configs)
            bar.update(group.step, f"{images / max(time.monotonic() - rate_from[0], 1e-9):,.0f} images/s")
            wait = max(checkpoint_seconds, saving / SAVING)
            if time.monotonic() - saved_at > wait or group.step == total or stop.requested:
                saved_at = time.monotonic()
                group.save(checkpoint)
                saving = time.monotonic() - saved_at
            if stop.requested and group.step < total:
                bar.close()
                raise Interrupted(folder)
    bar.close()
    if graph is not None:
        graph.wait()
    if not group.configs:
        group.save(checkpoint)
    print(f"trained {len(group.configs)} of {group.members} replicas in {clock(group.seconds)}", file=log)


def run(configs, folder, store, data_dir=None, device="cpu", quiet=True, checkpoint_seconds=20.0, noise="host"):
    """Train the configs as one program, from the folder's checkpoint if it has one, score each as its own run, and give
    each result to `store` as soon as it is there. Returns {id: error} of the replicas that failed.

    noise: where a group that is not begun yet draws its steps' noise, "host" or "device"; scores use the host's.

    Raises DataError, Interrupted, StoreError (damaged files), RuntimeError (no GPU).
    """
    folder, xp = Path(folder), device_namespace(device)
    dataset = load(configs[0].dataset, data_dir, progress=not quiet)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.npz"
    with Log(folder / "log.txt") as log:
        group = Group(configs, dataset, xp, checkpoint if checkpoint.exists() else None, noise)
        train(group, folder, log, quiet, checkpoint_seconds)
        failed = {config.id: group.failed[config.id] for config in configs if config.id in group.failed}
        programs = group.together.each if group.configs else ()
        share = group.seconds / group.members
        for r, (config, one) in enumerate(zip(group.configs, programs, strict=True)):
            try:
                result = scored(config, dataset, one, group.histories[config.id], share, device, log, quiet)
            except (ArithmeticError, ValueError) as error:
                failed[config.id] = f"{type(error).__name__}: {error}"
                continue
            result["provenance"]["replicas"] = {
                "trained_together": group.members, "position": r, "group": folder.name,
                "group_seconds": round(group.seconds, 3), "noise": group.noise,
            }  # fmt: skip
            store(result)
    return failed
