"""Files that are whole or absent: atomic JSON and checkpoints, and the provenance that goes with a result."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy
import scipy

import igr_ref


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


UMASK = _umask()  # read once, at import: asking means setting, which threads would see


class StoreError(ValueError):
    """A file that cannot be read as what it should be; the message names it and says what to do."""


def write_atomically(path, data):
    """Write bytes under a temporary name in the same folder, flush them to the disk, and move them into place."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~UMASK)  # mkstemp gives 0600
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path, value):
    """Indented JSON with sorted keys; NaN and infinity are refused (ValueError)."""
    write_atomically(path, (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def read_json(path):
    """The value; StoreError if the file is damaged, FileNotFoundError if it is absent."""
    try:
        return json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise StoreError(f"{path} is damaged (not JSON: {error}); delete it and run again") from error


def load_results(folder):
    """{run id: result} of every .json below `folder`."""
    return {result["id"]: result for result in map(read_json, sorted(Path(folder).rglob("*.json")))}


def save_checkpoint(path, arrays, meta):
    """Arrays (a dict of NumPy arrays) and JSON-able `meta` in one uncompressed .npz, each member with its CRC."""
    buffer = io.BytesIO()
    text = numpy.frombuffer(json.dumps(meta).encode(), numpy.uint8)
    numpy.savez(buffer, __meta__=text, **arrays)
    write_atomically(path, buffer.getbuffer())


def load_checkpoint(path):
    """(arrays, meta) as saved; StoreError if truncated or altered, FileNotFoundError if absent."""
    arrays = _members(path)
    return arrays, json.loads(arrays.pop("__meta__").tobytes())


def load_meta(path):
    """The `meta` of a checkpoint, without its arrays; errors as in `load_checkpoint`."""
    return json.loads(_members(path, ["__meta__"])["__meta__"].tobytes())


def _members(path, names=None):
    try:
        with numpy.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names or file.files}
        json.loads(arrays["__meta__"].tobytes())
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        message = f"{path} is a damaged checkpoint ({error}); delete it to train this run from the start"
        raise StoreError(message) from error
    return arrays


def parameter_hash(params):
    """SHA-256 of the arrays' names, shapes, dtypes and bytes, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(params):
        array = numpy.ascontiguousarray(params[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array)
    return digest.hexdigest()


def provenance(device="cpu"):
    """Versions, commit, BLAS and machine: everything that could explain a difference between two results."""
    blas = numpy.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    threads = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    return {
        "igr_ref": igr_ref.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "blas_environment": threads,
        "platform": f"{sys.platform} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "device": device,
    }


THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE")


def commit():
    """The commit the code was run from, "+changes" if the tree differs from it, or "unknown" outside a checkout."""
    top = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=top, capture_output=True, text=True, timeout=10)
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", "../igr_ref", "."],
            cwd=top, capture_output=True, text=True, timeout=10,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    if head.returncode != 0:
        return "unknown"
    code = [line for line in changes.stdout.splitlines() if "experiments/results/" not in line]
    return head.stdout.strip() + ("+changes" if code else "")


def _cpu():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
