"""How fast a device trains: steps of groups of replicas, and the rates of its products and copies.

Work of one training step and replica: each layer costs 2 B in out operations for each of its products, forward, weight
gradient and (but for the first layer of the encoder) input gradient; all else is left out, so the shares of the
device's own rate are lower bounds of how busy it is.
"""

from __future__ import annotations

import time

import numpy

from igr_ref import noise
from igr_ref.backend import to_host

from . import gpu_graph
from .data import Dataset
from .plan import RunConfig
from .replica_group import Group

PAIRS = [(architecture, model) for architecture in ("linear", "nonlinear") for model in ("igr_i", "gs")]
OTHERS = [(architecture, model) for architecture in ("linear", "nonlinear") for model in ("igr_sb", "igr_planar")]


def waiting(xp):
    """A function that returns when the device has done what it was given."""
    return xp.cuda.Device().synchronize if hasattr(xp, "cuda") else lambda: None


def random_images(n, pixels=784):
    """Binary noise in the shape of MNIST: timing needs no files."""
    rng = noise.generator(0, "timing")
    train, test = ((rng.random((m, pixels)) < 0.2).astype("uint8") for m in (n, max(200, n // 6)))
    return Dataset("random", train, test, True, (1, pixels), 0, "Random pixels, for timing.")


def repeated(function, wait, seconds):
    """Seconds a call, after two calls that are not counted; wait() returns when the device is at rest."""
    for _ in range(2):
        function()
    wait()
    started, calls = time.perf_counter(), 0
    while True:
        function()
        calls += 1
        if calls in (1, 4) or calls % 16 == 0:  # a look at the clock is only worth something with the card at rest
            wait()
            if time.perf_counter() - started > seconds:
                return (time.perf_counter() - started) / calls


def rates(xp, seconds, size=4096):
    """Operations a second of float32 and float64 products (n, n)(n, n); bytes a second, read and written, of a copy."""
    out = {"size": size}
    for dtype in ("float32", "float64"):
        a = xp.asarray(noise.normal(noise.generator(0, "product"), (size, size), dtype))
        b, c = a.copy(), xp.zeros_like(a)
        out[f"{dtype}_flops"] = (
            2 * size**3 / repeated(lambda a=a, b=b, c=c: xp.matmul(a, b, out=c), waiting(xp), seconds)
        )
    c = xp.zeros(size * size * 4, dtype="float32")
    d = xp.zeros_like(c)
    out["copy_bytes"] = 2 * c.nbytes / repeated(lambda: xp.copyto(d, c), waiting(xp), seconds)
    return out


def step_flops(config, pixels=784):
    """Operations of the products of one step and replica."""
    hidden = (512, 256) if config.architecture == "nonlinear" else ()
    code = config.n_variables * config.n_categories
    outputs = code if config.model == "gs" else 2 * config.n_variables * (config.n_categories - 1)
    total = 0
    for part, widths in (("encoder", (pixels, *hidden, outputs)), ("decoder", (code, *hidden[::-1], pixels))):
        for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False)):
            total += 2 * config.batch_size * a * b * (2 if part == "encoder" and i == 0 else 3)
    return total


def group_of(architecture, model, replicas, dataset, xp, **fields):
    base = {"dataset": "mnist", "architecture": architecture, "model": model, "temperature": 0.3, "monitor_every": 0}
    configs = [RunConfig(seed=seed, **base, **fields) for seed in range(replicas)]
    return Group(configs, dataset, xp)


def step_time(group, seconds):
    """{"step": seconds a step, "noise": of drawing and uploading its noise alone, "parameters_finite": ...}.

    On a GPU the noise of the next step is drawn while the card is at this one: the larger of the two rules. There also
    "captured", seconds a step as one CUDA graph, how far its parameters are from those of plain steps, and seconds a
    step where the device draws its noise. "best" is what training takes by default: captured steps if they can be had.
    """
    xp = group.xp

    def draw():
        batched = group.together.batched
        batched.draw(group.streams.at("train", group.step), group.configs[0].batch_size)
        group.step += 1

    wait = waiting(xp)
    out = {"step": repeated(gpu_graph.group_step(group), wait, seconds), "noise": repeated(draw, wait, seconds / 4)}
    if hasattr(xp, "cuda"):
        try:
            captured = gpu_graph.Captured(group)
            out["captured_difference"] = gpu_graph.difference(group, captured)
            out["captured"] = repeated(captured.step, wait, seconds)
            group.streams.counted = True
            out["captured_device_noise"] = repeated(captured.step, wait, seconds)
        except Exception as error:  # a step that cannot be captured is still a step
            out["captured_error"] = f"{type(error).__name__}: {error}"
    out["best"] = out.get("captured", out["step"])
    out["parameters_finite"] = all(bool(numpy.isfinite(to_host(p)).all()) for p in group.together.params.values())
    return out


def steps(xp, replicas, dataset, seconds, matmul_flops, say=lambda text: None):
    """A row for each architecture, model and number of replicas; more replicas for IGR-I and GS than for the others."""
    rows = []
    for pair in PAIRS + OTHERS:
        for r in replicas if pair in PAIRS else replicas[1:2]:
            row = {"architecture": pair[0], "model": pair[1], "replicas": r}
            try:
                group = group_of(*pair, r, dataset, xp)
                row |= step_time(group, seconds)
                config = group.configs[0]
                row["images_a_second"] = r * config.batch_size / row["best"]
                row["flops"] = r * step_flops(config, dataset.train.shape[1]) / row["best"]
                row["share_of_matmul_rate"] = row["flops"] / matmul_flops
            except Exception as error:  # out of memory, say: the other rows still tell something
                row["error"] = f"{type(error).__name__}: {error}"
            group = None
            rows.append(row)
            say(str(row))
    return rows


def scoring(xp, device, dataset, images, m, say=lambda text: None):
    """Seconds an image of scoring with m codes, by the code that scores every run."""
    rows = []
    for architecture, model in PAIRS:
        group = group_of(architecture, model, 1, dataset, xp, m=m)
        one, few = group.together.each[0], dataset.test[:images]
        one.score(few[:2], dataset.floats, device, lambda done, total: None)
        started = time.perf_counter()
        one.score(few, dataset.floats, device, lambda done, total: None)
        seconds = (time.perf_counter() - started) / len(few)
        rows.append({"architecture": architecture, "model": model, "m": m, "seconds_an_image": seconds})
        say(str(rows[-1]))
    return rows
