"""A group of replicas in the middle of its training: what its checkpoint holds, and who is still in it.

A replica that diverges leaves the others as they are, since no operation mixes replicas: it is reported under its own
id, and the rest goes on without it.
"""

from __future__ import annotations

import numpy

from igr_ref.backend import to_host
from igr_ref.models import Adam

from .replica_program import Streams, Together
from .state import require_same_data
from .store import load_checkpoint, save_checkpoint
from .watch import DIVERGED, TrainingError, diagnosis, monitored_point


class Group:
    """Everything a group is in the middle of: what its checkpoint holds, with the program built around it.

    configs     the replicas that are still in it, in the order of the axis R
    failed      {id: error} of those that are not, because they diverged
    losses      (R,) arrays on the device, of the steps since the last look
    graph       whether its steps are captured (`gpu_graph`); None where that was never tried
    noise       where it is drawn: on the "host", as for runs by themselves, or on the "device" (igr_ref.philox)
    """

    def __init__(self, configs, dataset, xp, path=None, noise="host"):
        """A fresh start, or the checkpoint at `path`, of which only the replicas among `configs` are kept; it goes on
        with the noise that it began with."""
        self.dataset, self.xp, self.losses, self.noise, self.graph = dataset, xp, [], noise, None
        self.images = xp.asarray(dataset.split(configs[0].validation)[0])
        self.order, self.order_epoch = None, None
        if path is None:
            self.step, self.seconds, self.failed, self.members = 0, 0.0, {}, len(configs)
            self.epoch_loss = numpy.zeros(len(configs))
            self.histories = {config.id: [] for config in configs}
            self._build(configs)
            return
        arrays, meta = load_checkpoint(path)
        require_same_data(path, meta.get("dataset"), dataset)
        self.step, self.seconds, self.failed = meta["step"], meta["seconds"], meta["failed"]
        self.members, self.histories, self.noise = meta["members"], meta["histories"], meta.get("noise", "host")
        self.graph = meta.get("graph")
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
        self.streams = Streams([config.seed for config in configs], self.xp, counted=self.noise == "device")
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
            "seconds": self.seconds, "epoch_loss": self.epoch_loss.tolist(), "t": self.adam.t, "noise": self.noise,
            "graph": self.graph,
            "dataset": self.dataset.sha256,
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
                one.grads(x[r], self.streams.alone(config.seed, "train", self.step))
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
