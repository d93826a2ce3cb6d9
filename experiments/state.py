"""A run in the middle of its training: what its checkpoint holds, with the program built around it."""

from __future__ import annotations

from igr_ref.backend import to_host
from igr_ref.models import Adam

from .programs import program
from .store import load_checkpoint, save_checkpoint


class State:
    """Everything a run is in the middle of: what a checkpoint holds, with the program built around it."""

    COUNTERS = ("step", "seconds", "epoch_loss", "history")

    def __init__(self, config, dataset, xp, path=None):
        """A fresh start, or the checkpoint at `path`; ValueError if it belongs to another config."""
        arrays, meta = ({}, {}) if path is None else load_checkpoint(path)
        if path is not None:
            require_same_run(path, meta["id"], config)
        self.step, self.seconds, self.epoch_loss, self.history = 0, 0.0, 0.0, []
        self.program = program(config)(config, dataset, xp, meta.get("facts"))
        self.params = self.program.params
        self.adam = Adam(self.params, config.learning_rate)
        if path is not None:
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
        save_checkpoint(path, arrays, {"id": config.id, "t": adam["t"], "facts": self.program.facts, **counters})


def require_same_run(path, found, config):
    if found != config.id:
        raise ValueError(f"{path} belongs to run {found}, not to {config.id}; give this run another folder")
