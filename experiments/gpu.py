"""python -m experiments gpu: everything to ask of a GPU the first time one is at hand, into one JSON.

Agreement with NumPy, the card's own rates, the time of training steps, the same step in PyTorch and JAX, and what this
means for the paper's runs; then, for --minutes, any other command of this program, stopped at a checkpoint. The JSON is
written after every part, so that whatever was measured survives whatever comes next.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from igr_ref.backend import device_namespace

from . import gpu_check, gpu_hours, gpu_rivals, gpu_timing
from .store import provenance, write_json

GRACE = 120  # seconds for a command that was asked to stop to reach a checkpoint


def describe(xp):
    """The card, its memory and driver, and the library, in words and numbers."""
    if not hasattr(xp, "cuda"):
        return {"library": f"{xp.__name__} {getattr(xp, '__version__', '')}".strip()}
    runtime = xp.cuda.runtime
    card = runtime.getDeviceProperties(0)
    free, total = runtime.memGetInfo()
    return {
        "library": f"cupy {xp.__version__}",
        "card": card["name"].decode(),
        "multiprocessors": card["multiProcessorCount"],
        "memory_bytes": total,
        "free_bytes": free,
        "cuda_runtime": runtime.runtimeGetVersion(),
        "cuda_driver": runtime.driverGetVersion(),
    }


def measure(
    path, device="gpu", replicas=(1, 5, 50), seconds=2.0, images=60_000, scored=10, m=1000, size=4096, rivals=True,
    say=lambda text: None,
):  # fmt: skip
    """Every part in turn; the record, which `path` holds as well. RuntimeError where there is no GPU."""
    xp = device_namespace(device)
    record = {"provenance": provenance(device), "device": describe(xp)}
    started = time.monotonic()

    def part(name, function):
        say(f"--- {name}")
        begun = time.monotonic()
        try:
            record[name] = function()
        except Exception as error:  # a part that fails must not cost the others
            record[name] = {"error": f"{type(error).__name__}: {error}"}
            say(record[name]["error"])
        record[name + "_seconds"] = round(time.monotonic() - begun, 1)
        record["seconds"] = round(time.monotonic() - started, 1)
        write_json(path, record)

    part("agreement", lambda: gpu_check.agreement(xp, say))
    if isinstance(record["agreement"], dict) and "error" not in record["agreement"]:
        record["disagreements"] = gpu_check.wrong(record["agreement"])
    dataset = gpu_timing.random_images(images)
    part("rates", lambda: gpu_timing.rates(xp, seconds, size))
    rate = record["rates"].get("float32_flops", float("inf"))
    part("steps", lambda: gpu_timing.steps(xp, replicas, dataset, seconds, rate, say))
    part("scoring", lambda: gpu_timing.scoring(xp, device, dataset, scored, m, say))
    if isinstance(record["steps"], list) and isinstance(record["scoring"], list):
        part("extrapolated", lambda: gpu_hours.extrapolated(record["steps"], record["scoring"]))
    if rivals:
        timings = gpu_rivals.timings
        part("rivals", lambda: timings(device, replicas, dataset.train, seconds, gpu_timing.PAIRS, say=say))
    return record


def run_for(minutes, arguments, say=lambda text: None):
    """Run `python -m experiments ARGUMENTS` for so long, then ask it to stop at a checkpoint (as Ctrl-C does).

    Returns {"arguments", "exit_code" (None if it had to be killed), "stopped", "seconds"}.
    """
    started = time.monotonic()
    say(f"--- {' '.join(arguments)}, for {minutes:g} min")
    # in a session of its own: a Ctrl-C here reaches it once, through us
    child = subprocess.Popen(
        [sys.executable, "-m", "experiments", *arguments], cwd=Path(__file__).parents[1], start_new_session=True
    )
    stopped, code = False, None
    try:
        code = child.wait(minutes * 60)
    except subprocess.TimeoutExpired:
        stopped = True
        child.send_signal(signal.SIGINT)
        try:
            code = child.wait(GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    except BaseException:
        child.send_signal(signal.SIGINT)
        child.wait()
        raise
    seconds = round(time.monotonic() - started, 1)
    return {"arguments": list(arguments), "exit_code": code, "stopped": stopped, "seconds": seconds}
