"""What a run computes at each step, and how it is scored: one program for each kind of config, one interface.

    program.params            every array that training changes, by name
    program.facts             what else a checkpoint and a result must hold (the fitted prior)
    program.grads(x, rng)     (mean loss, {quantity: array} to diagnose it with, gradients by the names of `params`);
                              they may be written over at the next call
    program.learning_rate(t)  at step t = 0, 1, ...
    program.monitor(x, rng)   ELBOs (B,) of the images x, for the learning curve
    program.score(...)        the metrics of the trained model
`train` drives them all alike.
"""

from __future__ import annotations

from .program_discrete import RelaxProgram, UnorderedSetProgram
from .program_mixture import MixtureProgram
from .program_sop import SOPProgram
from .program_vae import VAEProgram


def program(config):
    """The class that runs `config`."""
    if config.kind != "vae":
        return {"sop": SOPProgram, "mixture": MixtureProgram}[config.kind]
    return {"relax": RelaxProgram, "uspgbl": UnorderedSetProgram}.get(config.estimator, VAEProgram)
