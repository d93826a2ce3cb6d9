"""Training a group of replicas: one checkpoint for all of them, and one result for each.

A replica that diverges leaves the others as they are, since no operation mixes replicas: it is reported under its own
id, and the rest goes on without it.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy

from igr_ref import noise
from igr_ref.backend import device_namespace, to_host
from igr_ref.models import Adam

from .data import load
from .progress import Progress, clock
from .replica_program import Streams, Together
from .store import Log, load_checkpoint, save_checkpoint
from .train import DIVERGED, Interrupted, StopRequests, TrainingError, diagnosis, monitored_point, scored

WINDOW = 50  # steps between looks at the losses on a GPU, where each look waits for the card; on the CPU every step
SAVING = 0.05  # share of the time that writing checkpoints may take: R nonlinear models are 15 MB each


class Group:
    """Everything a group is in the middle of: what its checkpoint holds, with the program built around it.

    configs     the replicas that are still in it, in the order of the axis R
    failed      {id: error} of those that are not, because they diverged
    losses      (R,) arrays on the device, of the steps since the last look
    """

    def __init__(self, configs, dataset, xp, path=None):
        """A fresh start, or the checkpoint at `path`, of which only the replicas among `configs` are kept."""
        self.dataset, self.xp, self.losses = dataset, xp, []
        self.images = xp.asarray(dataset.split(configs[0].validation)[0])
        self.order, self.order_epoch = None, None
        if path is None:
            self.step, self.seconds, self.failed, self.members = 0, 0.0, {}, len(configs)
            self.epoch_loss = numpy.zeros(len(configs))
            self.histories = {config.id: [] for config in configs}
            self._build(configs)
            return
        arrays, meta = load_checkpoint(path)
        self.step, self.seconds, self.failed = meta["step"], meta["seconds"], meta["failed"]
        self.members, self.histories = meta["members"], meta["histories"]
        by_id = {config.id: config for config in configs}
        rows = [r for r, name in enumerate(meta["ids"]) if name in by_id]
        self.epoch_loss = numpy.array(meta["epoch_loss"])[rows]
        arrays = {name: xp.asarray(array[rows]) for name, array in arrays.items()}
        self._build([by_id[meta["ids"][r]] for r in rows], arrays, meta["t"], meta["facts"])

    def _build(self, configs, arrays=None, t=0, facts=None):
        self.configs, self.together = configs, None
        if not configs:
            return
        fresh = arrays is None
        params = None if fresh else {name[7:]: a for name, a in arrays.items() if name.startswith("params.")}
        self.together = Together(configs, self.dataset, self.xp, facts, params)
        self.streams = Streams([config.seed for config in configs], self.xp)
        self.order_epoch = None
        self.adam = Adam(self.together.params, configs[0].learning_rate)
        if not fresh:
            self.adam.load({"t": t, **{name[5:]: a for name, a in arrays.items() if name.startswith("adam.")}})

    def _arrays(self):
        if not self.configs:
            return {}
        adam = {f"adam.{name}": a for name, a in self.adam.state().items() if name != "t"}
        return {f"params.{name}": a for name, a in self.together.params.items()} | adam

    def save(self, path):
        meta = {
            "ids": [config.id for config in self.configs], "configs": [config.as_dict() for config in self.configs],
            "failed": self.failed, "members": self.members, "histories": self.histories, "step": self.step,
            "seconds": self.seconds, "epoch_loss": self.epoch_loss.tolist(), "t": self.adam.t,
            "facts": self.together.facts if self.configs else {},
        }  # fmt: skip
        save_checkpoint(path, {name: to_host(a) for name, a in self._arrays().items()}, meta)

    def keep(self, rows):
        """Go on with the replicas in these positions only."""
        arrays = {name: self.xp.stack([a[r] for r in rows]) for name, a in self._arrays().items()} if rows else {}
        self.epoch_loss = self.epoch_loss[rows]
        self._build([self.configs[r] for r in rows], arrays, self.adam.t, self.together.facts)

    def minibatch(self):
        """(R, B, P): the next images of every replica, gathered on the device."""
        size = self.configs[0].batch_size
        epoch, position = divmod(self.step, len(self.images) // size)
        if self.order_epoch != epoch:
            self.order, self.order_epoch = self.streams.orders(len(self.images), epoch), epoch
        rows = self.order[:, position * size : (position + 1) * size]
        return self.dataset.floats(self.images[rows], self.configs[0].dtype)

    def grads(self):
        """What a program's `grads` returns, with an axis R in front; nothing comes back to the host."""
        return self.together.grads(self.minibatch(), self.streams.at("train", self.step))

    def look(self, parts=None):
        """Bring the losses since the last look to the host, and drop the replicas that diverged: True if there are any.

        With `parts`, the last losses are those of a step still to be taken; if a replica is dropped, the others will
        compute that step again, so it is not counted now.
        """
        if not self.losses:
            return False
        values = to_host(self.xp.stack(self.losses)).astype("float64")
        self.losses = []
        good = numpy.abs(values) < DIVERGED  # NaN compares false
        bad = [r for r in range(len(self.configs)) if not good[:, r].all()]
        for row in values[: len(values) - (parts is not None and bool(bad))]:
            self.epoch_loss = self.epoch_loss + row
        first = self.step + (parts is not None) - len(values)
        for r in bad:
            at = int(numpy.argmin(good[:, r]))
            own = {name: a[r] for name, a in parts.items()} if parts is not None and first + at == self.step else {}
            config = self.configs[r]
            self.failed[config.id] = diagnosis(config, first + at, float(values[at, r]), own, self.xp)
        if bad:
            self.keep([r for r in range(len(self.configs)) if r not in bad])
        return bool(bad)

    def isolate(self, error):
        """A step raised `error`: drop the replicas whose own step raises one too. Raises it again if none does."""
        x, failed = self.minibatch(), {}
        for r, (config, one) in enumerate(zip(self.configs, self.together.each, strict=True)):
            try:
                one.grads(x[r], noise.generator(config.seed, "train", self.step))
            except (ArithmeticError, ValueError) as own:
                failed[r] = f"{config.id} stopped at step {self.step}: {own}"
        if not failed:
            raise error
        self.failed |= {self.configs[r].id: text for r, text in failed.items()}
        self.keep([r for r in range(len(self.configs)) if r not in failed])

    def end_epoch(self, epoch, batches):
        """A point on every replica's learning curve."""
        bad = []
        for r, (config, one) in enumerate(zip(self.configs, self.together.each, strict=True)):
            point = {"epoch": epoch, "train_loss": float(self.epoch_loss[r]) / batches}
            try:
                point |= monitored_point(config, one, self.dataset, epoch, self.xp)
            except TrainingError as error:
                self.failed[config.id] = str(error)
                bad.append(r)
            self.histories[config.id].append(point)
        self.epoch_loss = numpy.zeros(len(self.configs))
        if bad:
            self.keep([r for r in range(len(self.configs)) if r not in bad])


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
    with StopRequests() as stop:
        while group.step < total and group.configs:
            try:
                loss, parts, grads = group.grads()
            except (ArithmeticError, ValueError) as error:
                if not group.look():
                    group.isolate(error)
                continue
            group.losses.append(loss)
            due = (group.step + 1) % window == 0 or (group.step + 1) % batches == 0
            parts |= {f"gradient of {name}": g for name, g in grads.items()}
            if due and group.look(parts):
                continue
            group.adam.step(group.together.params, grads, group.together.learning_rate(group.step))
            group.step += 1
            if not due:
                continue
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
    if not group.configs:
        group.save(checkpoint)
    print(f"trained {len(group.configs)} of {group.members} replicas in {clock(group.seconds)}", file=log)


def run(configs, folder, store, data_dir=None, device="cpu", quiet=True, checkpoint_seconds=20.0):
    """Train the configs as one program, from the folder's checkpoint if it has one, score each as its own run, and give
    each result to `store` as soon as it is there. Returns {id: error} of the replicas that failed.

    Raises DataError, Interrupted, StoreError (damaged files), RuntimeError (no GPU).
    """
    folder, xp = Path(folder), device_namespace(device)
    dataset = load(configs[0].dataset, data_dir, progress=not quiet)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.npz"
    with Log(folder / "log.txt") as log:
        group = Group(configs, dataset, xp, checkpoint if checkpoint.exists() else None)
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
                "group_seconds": round(group.seconds, 3),
            }  # fmt: skip
            store(result)
    return failed
