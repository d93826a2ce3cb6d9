"""A row of any table: one field of its config is chosen on held-out images, then every seed runs on all of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from .plan_base import PAPER_SEEDS


@dataclass(frozen=True)
class Protocol:
    """What a preset fixes for Table 2 or Table 3, and the command line may narrow; () where a table has no such choice.

    temperatures, components   tau, or DLDPMM's K, to choose among; one value skips the selection
    selection_epochs, _m       of the runs that choose; None: the same as the final ones
    """

    datasets: tuple
    models: tuple
    epochs: int
    learning_rate: float
    architectures: tuple = ()
    estimators: tuple = ()
    temperatures: tuple = ()
    components: tuple = ()
    seeds: tuple = PAPER_SEEDS
    m: int = 1000
    selection_epochs: int | None = None
    selection_m: int | None = None


def narrowed(options, given, known):
    """Options or a Protocol with what the command line gave, as far as they have it.

    Of models, architectures and estimators those are kept that are among the `known`.
    """
    own = {name: value for name, value in given.items() if getattr(options, name, ()) != ()}
    for name in own.keys() & known.keys():
        own[name] = tuple(value for value in own[name] if value in known[name])
    return dataclasses.replace(options, **own)


class Row:
    """What a row's cell on one data set needs: subclasses have `base`, and may have a protocol of their own."""

    choice, symbol = "temperature", "τ"  # the field that is chosen, and its head in the table
    criterion = "discrete_elbo"  # the metric of held-out images that it is chosen by

    def protocol(self, options):
        return options

    @property
    def data(self):
        """The data set's name, without the folders of a user's file."""
        return self.dataset.replace("\\", "/").rsplit("/", 1)[-1]

    def base(self, options):
        """The config of the final run with the first seed and the first candidate."""
        raise NotImplementedError

    def name(self, options):
        """The row's first cell."""
        raise NotImplementedError

    def candidates(self, options):
        """The values to choose among; one where there is nothing to choose."""
        return self.protocol(options).temperatures

    def selection(self, options):
        """One run for each candidate, scored on held-out images; none where there is nothing to choose."""
        values = self.candidates(options)
        if len(values) == 1:
            return []
        p = self.protocol(options)
        epochs, m = p.selection_epochs or p.epochs, min(p.selection_m or p.m, p.m)
        base = dataclasses.replace(self.base(options), validation=True, epochs=epochs, m=m, monitor_every=0)
        return [dataclasses.replace(base, **{self.choice: value}) for value in values]

    def chosen(self, options, results):
        """The candidate of the best validation score; None while a selection run is missing."""
        runs = self.selection(options)
        if not runs:
            return self.candidates(options)[0]
        if any(config.id not in results for config in runs):
            return None
        best = max(runs, key=lambda c: results[c.id]["metrics"]["all"][self.criterion]["mean"])
        return getattr(best, self.choice)

    def final(self, options, results):
        """The runs that are reported, one for each seed; None while the choice is open."""
        value = self.chosen(options, results)
        if value is None:
            return None
        base = dataclasses.replace(self.base(options), **{self.choice: value})
        return [dataclasses.replace(base, seed=seed) for seed in self.protocol(options).seeds]


class OwnProtocol(Row):
    """A row of Table 2 or 3: its protocol is the field of the options that `part` names."""

    part = ""

    def protocol(self, options):
        return getattr(options, self.part)

    def common(self, options):
        """What all configs of Tables 2 and 3 take from the protocol."""
        p = self.protocol(options)
        every = 10 if p.epochs >= 100 else 1
        return {"epochs": p.epochs, "learning_rate": p.learning_rate, "m": p.m, "seed": p.seeds[0],
                "monitor_every": every}  # fmt: skip
