"""What is watched while a run trains: its learning curve, and whether it has gone wrong, and where."""

from __future__ import annotations

import math

from igr_ref import noise

DIVERGED = 1e6  # nats an image: a thousand times what any model of 784 pixels starts from


class TrainingError(ArithmeticError):
    """NaN or divergence: names the run, the step and the quantity."""


def monitored_point(config, program, dataset, epoch, xp):
    """{name: mean ELBO of the validation or test images} where the epoch is to be monitored, else {}.

    TrainingError if the mean is not finite.
    """
    every = config.monitor_every
    if not (every and (epoch % every == 0 or epoch == config.epochs)):
        return {}
    _, validation, test = dataset.split(config.validation)
    images = validation if config.validation else test
    total = 0.0
    for start in range(0, len(images), 1000):
        x = xp.asarray(dataset.floats(images[start : start + 1000], config.dtype))
        rng = noise.generator(config.seed, "monitor", start)
        total += float(program.monitor(x, rng).sum())
    mean = total / len(images)
    if not math.isfinite(mean):
        raise TrainingError(f"{config.id}: {program.monitored} became {mean} in epoch {epoch}")
    return {program.monitored: mean}


def diagnosis(config, step, loss, parts, xp):
    """Which quantity went wrong first, in words."""
    bad = [name for name, array in parts.items() if not bool(xp.all(xp.isfinite(array)))]
    what = f"NaN or infinity in: {', '.join(bad)}" if bad else f"the loss grew beyond {DIVERGED:g} nats an image"
    if not bad and not math.isfinite(loss):
        what = "it was found after further steps, which no longer tell the quantity"
    return (
        f"{config.id} stopped at step {step}: mean loss {loss}; {what}. "
        "A smaller learning rate or a higher temperature is the usual remedy; a checkpoint, if there is one, is intact."
    )
