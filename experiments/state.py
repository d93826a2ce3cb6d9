"""A run in the middle of its training: what its checkpoint holds, with the program built around it."""

from __future__ import annotations

from igr_ref.backend import to_host
from igr_ref.models import Adam

from .programs import program
from .store import StoreError, load_checkpoint, save_checkpoint


class State:
    """Everything a run is in the middle of: what a checkpoint holds, with the program built around it."""

    COUNTERS = ("step", "seconds", "epoch_loss", "history")

    def __init__(self, config, dataset, xp, path=None, other_images=False):
        """A fresh start, or the checkpoint at `path`; ValueError if it belongs to another config, or was trained on
        other images than the data set's, unless that is allowed (to score them)."""
        arrays, meta = ({}, {}) if path is None else load_checkpoint(path)
        if path is not None:
            require_same_run(path, meta.get("id"), config)
            if not other_images:
                require_same_data(path, meta.get("dataset"), dataset)
        self.dataset, self.trained_on = dataset, meta.get("dataset", dataset.sha256)
        self.step, self.seconds, self.epoch_loss, self.history = 0, 0.0, 0.0, []
        self.program = program(config)(config, dataset, xp, meta.get("facts"))
        self.params = self.program.params
        self.adam = Adam(self.params, config.learning_rate)
        if path is not None:
            try:
                self._load(arrays, meta, xp)
            except KeyError as error:
                raise StoreError(f"{path} is no checkpoint of this program: it has no {error}; delete it") from error

    def _load(self, arrays, meta, xp):
        for name in self.COUNTERS:
            setattr(self, name, meta[name])
        for name, p in self.params.items():
            p[...] = xp.asarray(arrays[f"params.{name}"])
        adam = {name[5:]: xp.asarray(array) for name, array in arrays.items() if name.startswith("adam.")}
        self.adam.load({"t": meta["t"], **adam})

    def save(self, path, config):
        adam = self.adam.state()
        arrays = {f"params.{name}": to_host(p) for name, p in self.params.items()}
        arrays |= {f"adam.{name}": to_host(a) for name, a in adam.items() if name != "t"}
        counters = {name: getattr(self, name) for name in self.COUNTERS}
        save_checkpoint(path, arrays, {
            "id": config.id, "dataset": self.dataset.sha256, "t": adam["t"], "facts": self.program.facts, **counters,
        })  # fmt: skip


def require_same_data(path, found, dataset):
    """ValueError where a checkpoint or result names other images (their SHA-256; None where it names none)."""
    if found not in (None, dataset.sha256):
        raise ValueError(
            f"{path} is of other images (SHA-256 {found[:12]}...) than {dataset.name} now holds "
            f"({dataset.sha256[:12]}...); give this run another folder, or the images it began with"
        )


def require_same_run(path, found, config):
    """ValueError where a checkpoint or result is another run's."""
    if found != config.id:
        raise ValueError(f"{path} belongs to run {found}, not to {config.id}; give this run another folder")
