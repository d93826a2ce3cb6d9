"""One config in, one result out: training that can be killed at any moment and goes on where it was.

A run directory holds config.json, checkpoint.npz (parameters, Adam's state, position, history), log.txt and, at the
end, result.json. All noise is keyed by (seed, stream, step), so a resumed run meets the noise an unbroken one would
have met, and ends with the same bits.
"""

from __future__ import annotations

import contextlib
import functools
import time
from pathlib import Path

import numpy

from igr_ref import noise
from igr_ref.backend import device_namespace, to_host

from .blas import advice, cpu, kernels
from .data import load
from .data_formats import DataError
from .progress import Progress, clock
from .state import State, require_same_data, require_same_run
from .stopping import Interrupted, StopRequests
from .store import Log, parameter_hash, provenance, read_result, write_json, write_result
from .watch import DIVERGED, TrainingError, diagnosis, monitored_point

AHEAD = 32  # steps whose generators are made together


def run(config, folder, data_dir=None, device="cpu", quiet=False, checkpoint_seconds=20.0):
    """The result (a dict) of `config`, from `folder`/result.json if it is done, else trained, scored and stored there.

    Raises DataError, TrainingError, Interrupted, StoreError (damaged files), RuntimeError (no GPU), ValueError (the
    folder is another run's, or of other images).
    """
    folder = Path(folder)
    try:
        result = read_result(folder / "result.json")
    except FileNotFoundError:
        pass
    else:
        require_same_run(folder / "result.json", result["id"], config)
        if config.dataset.endswith(".npz"):  # a user's file, which may be another one by now
            with contextlib.suppress(DataError):  # images that are no longer there are nobody's other images
                own = load(config.dataset, data_dir, progress=False)
                require_same_data(folder / "result.json", result["dataset"]["sha256"], own)
        return result
    xp = device_namespace(device)
    dataset = load(config.dataset, data_dir, progress=not quiet)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config.as_dict())
    with Log(folder / "log.txt") as log:
        state = train(config, dataset, folder, xp, log, quiet, checkpoint_seconds)
        result = scored(config, dataset, state.program, state.history, state.seconds, device, log, quiet)
    write_result(folder / "result.json", result)
    return result


def scored(config, dataset, program, history, seconds, device, log, quiet):
    """The result (a dict) of a trained program: its scores, and everything that says what they are scores of."""
    training, validation, test = dataset.split(config.validation)
    images, split = (validation, "validation") if config.validation else (test, "test")
    images = images[: getattr(config, "scored_images", None)]
    started = time.monotonic()
    bar = Progress(len(images), f"{config.label} scoring", "image", file=log if quiet else None)
    floats = functools.partial(dataset.floats, dtype=config.dtype)
    metrics = program.score(images, floats, device, lambda done, total: bar.update(done))
    bar.close()
    if not config.validation and config.training_images:
        metrics["train"] = program.score_training(training[: config.training_images], floats)
    return {
        "id": config.id,
        "config": config.as_dict(),
        "dataset": {
            "name": dataset.name, "note": dataset.note, "sha256": dataset.sha256, "decoder": dataset.decoder,
            "train_images": len(training), "scored_images": len(images), "split": split,
        },
        **program.facts,
        "metrics": metrics,
        "history": history,
        "parameters_sha256": parameter_hash({name: to_host(p) for name, p in program.params.items()}),
        "seconds": {"training": round(seconds, 3), "evaluation": round(time.monotonic() - started, 3)},
        "provenance": provenance(device),
    }  # fmt: skip


def train(config, dataset, folder, xp, log, quiet=False, checkpoint_seconds=20.0):
    """The State after config.epochs epochs, from the folder's checkpoint if it has one.

    Every epoch visits a fresh permutation of the training images in batches of config.batch_size; the images that do
    not fill a batch are left for another epoch's permutation.
    """
    checkpoint = folder / "checkpoint.npz"
    training, _, _ = dataset.split(config.validation)
    batches = len(training) // config.batch_size
    if batches == 0:
        raise ValueError(f"batch_size {config.batch_size} is larger than the {len(training)} training images")
    total = config.epochs * batches
    state = State(config, dataset, xp, checkpoint if checkpoint.exists() else None)
    if state.step:
        print(f"resumed at step {state.step} of {total}", file=log)
    hint = advice(kernels(), cpu())
    if hint:
        print(hint, file=log)
    bar = Progress(total, config.label, file=log if quiet else None, done=state.step)
    log_lines = Progress(total, config.label, file=log, done=state.step) if not quiet else None
    rate_from = (time.monotonic(), state.step)
    started, saved_at = time.monotonic() - state.seconds, time.monotonic()
    order, order_epoch, rngs = None, None, {}
    batch = gather(dataset, training, config.batch_size, config.dtype)
    with StopRequests() as stop:
        while state.step < total:
            epoch, position = divmod(state.step, batches)
            if order_epoch != epoch:
                order = noise.generator(config.seed, "shuffle", epoch).permutation(len(training))
                order_epoch = epoch
            rows = order[position * config.batch_size : (position + 1) * config.batch_size]
            x = xp.asarray(batch(rows))
            if state.step not in rngs:  # many at once: their code is slow to start and quick to repeat
                ahead = range(state.step, min(state.step + AHEAD, total))
                rngs = {step: noise.generator(config.seed, "train", step) for step in ahead}
            rng = rngs.pop(state.step)
            loss, parts, grads = state.program.grads(x, rng)
            if not abs(loss) < DIVERGED:  # NaN compares false
                parts |= {f"gradient of {name}": g for name, g in grads.items()}
                raise TrainingError(diagnosis(config, state.step, loss, parts, xp))
            state.adam.step(state.params, grads, state.program.learning_rate(state.step))
            state.step += 1
            state.epoch_loss += loss
            state.seconds = time.monotonic() - started
            if state.step % batches == 0:
                _end_of_epoch(config, state, dataset, epoch + 1, batches, xp)
            rate = (state.step - rate_from[1]) * config.batch_size / max(time.monotonic() - rate_from[0], 1e-9)
            note = f"loss {loss:.2f}, {rate:,.0f} images/s"
            bar.update(state.step, note)
            if log_lines:
                log_lines.update(state.step, note)
            if time.monotonic() - saved_at > checkpoint_seconds or state.step == total or stop.requested:
                state.save(checkpoint, config)
                saved_at = time.monotonic()
            if stop.requested and state.step < total:
                bar.close()
                raise Interrupted(folder)
    bar.close()
    print(f"trained {config.id} in {clock(state.seconds)}", file=log)
    return state


def gather(dataset, images, size, dtype):
    """A function of `size` row numbers that returns those images as floats, in an array that its next call reuses."""
    levels = numpy.empty((size, images.shape[1]), images.dtype)
    x = numpy.empty(levels.shape, dtype)

    def batch(rows):
        numpy.take(images, rows, axis=0, out=levels, mode="clip")  # "raise" would copy `out` first
        return dataset.floats(levels, out=x)

    return batch


def _end_of_epoch(config, state, dataset, epoch, batches, xp):
    """Add a point to the learning curve: mean training loss, and the ELBO of the monitored images."""
    point = {"epoch": epoch, "train_loss": state.epoch_loss / batches}
    state.epoch_loss = 0.0
    point |= monitored_point(config, state.program, dataset, epoch, xp)
    state.history.append(point)
