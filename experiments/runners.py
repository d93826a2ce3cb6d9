"""Which function runs which kind of config; all take (config, folder, data_dir, device, quiet), return the result."""

from __future__ import annotations

from . import approximate, train

RUNNERS = {"vae": train.run, "sop": train.run, "mixture": train.run, "approximation": approximate.run}


def run(config, folder, data_dir=None, device="cpu", quiet=False):
    """The result (a dict) of any config, from the folder's checkpoint if it has one."""
    return RUNNERS[config.kind](config, folder, data_dir, device, quiet)
