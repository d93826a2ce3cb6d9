"""What a RELAX step costs beside the plain step of the same model and data, and what Prop. 2 costs a law.

    python -m experiments benchmark        measures it with all else (--skip relax leaves it out)

Plain steps, RELAX steps, and RELAX steps whose noise is coupled (`relax_coupled`) take turns; a figure is the median
over the rounds. IGR trains in the box of eq. 37. The laws are those of q(z|x) at fresh parameters: 20 variables of 10
categories for each of 100 images.
"""

from __future__ import annotations

import numpy

from igr_ref import noise
from igr_ref.models import Buffers
from igr_ref.recovery import conditional, gaussian_argmax, stick_breaking
from igr_ref.recovery.drawn_single import drawn_single

from . import plan
from .peers import ours

MODELS = ("igr_i", "gs")
STICK_LAWS = 40  # of which the exact law of IGR-SB is timed


def stepper(task, **fields):
    """Training steps of the task's config with other `fields`, the prior at the posterior's temperature."""
    return ours.Trainer(task, plan.from_dict({**task.config().as_dict(), "prior_temperature": None, **fields}))


def measure(dataset, options, take_turns, say=print):
    """{"steps": [...], "laws": {what: microseconds a law}} for the benchmark's record."""
    steps = []
    for model in MODELS:
        for architecture in options.architectures:
            say(f"{model}, {architecture}: RELAX")
            task = ours.task(model, architecture, dataset)
            times = step_times(task, max(1, options.steps // 8), options.rounds, take_turns)
            steps.append({"model": model, "architecture": architecture, "times": times})
    say("laws of 10 categories")
    return {"steps": steps, "laws": law_times(dataset, options, take_turns)}


def step_times(task, steps, rounds, take_turns):
    contestants = {
        "plain": stepper(task),
        "RELAX": stepper(task, estimator="relax"),
        "RELAX, coupled": stepper(task, estimator="relax", relax_coupled=True),
    }
    return take_turns({name: (lambda one=one: one.run(steps)) for name, one in contestants.items()}, rounds, steps)


def law_times(dataset, options, take_turns):
    """{what: microseconds a law of K = 10}."""
    task = ours.task("igr_i", options.architectures[0], dataset)
    trainer = stepper(task, estimator="relax")
    x = task.images[: task.batch_size].astype("float32")
    model, rng = trainer.program.model, noise.generator(0, "laws of RELAX")
    q = model.posterior(trainer.program.params, x)
    mu, sigma = q.mu, numpy.exp(q.log_sigma)
    b = q.discretize(noise.normal(rng, mu.shape, "float32"))
    v, p_bar, work = noise.uniform(rng, mu.shape, "float32"), noise.normal(rng, b.shape, "float32"), Buffers()
    sticks = tuple(array.reshape(-1, array.shape[-1])[:STICK_LAWS] for array in (mu, sigma))
    together = "law, its pullback, a category's score and a conditional sample, in float32, one pass"
    calls = {
        "law of Prop. 2": lambda: gaussian_argmax.log_probs(mu, sigma, accuracy="absolute"),
        "its pullback": lambda: gaussian_argmax.vjp(mu, sigma, p_bar),
        "conditional sample": lambda: conditional.sample(mu, sigma, b, v),
        together: lambda: drawn_single(mu, sigma, b, v=v, cotangent=lambda log_p: log_p, work=work),
    }
    laws = mu.size // mu.shape[-1]
    times = take_turns(calls, max(3, options.rounds // 4), laws)
    times |= take_turns({"exact law of IGR-SB": lambda: stick_breaking.log_probs(*sticks)}, 3, STICK_LAWS)
    return {name: 1e3 * entry["ms"] for name, entry in times.items()}
