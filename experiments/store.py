"""Files that are whole or absent: atomic JSON and checkpoints."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from pathlib import Path

import numpy

from .provenance import THREAD_VARIABLES as THREAD_VARIABLES
from .provenance import commit as commit
from .provenance import provenance as provenance


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


UMASK = _umask()  # read once, at import: asking means setting, which threads would see


class StoreError(ValueError):
    """A file that cannot be read as what it should be; the message names it and says what to do."""


def write_atomically(path, data):
    """Write bytes under a temporary name in the same folder, flush them to the disk, and move them into place.

    An OSError (full disk, quota, file size limit, permissions) names `path`, and leaves the old file as it was.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~UMASK)  # mkstemp gives 0600
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise naming(error, path) from error
        raise


def naming(error, path):
    """The OSError as one about `path`: errors of writes and flushes name no file."""
    return OSError(error.errno, f"{error.strerror or error}, writing", str(path))


class Log:
    """Lines appended to a file at once; an OSError names it. What print() and Progress need of a file, no more."""

    def __init__(self, path):
        self.path = path
        self._file = open(path, "ab", buffering=0)

    def write(self, text):
        data = text.encode()
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise naming(error, self.path) from error

    def flush(self):
        """Nothing is held back."""

    def isatty(self):
        return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


def write_json(path, value):
    """Indented JSON with sorted keys; NaN and infinity are refused (ValueError)."""
    write_atomically(path, (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def read_json(path):
    """The value; StoreError if the file is damaged, FileNotFoundError if it is absent."""
    try:
        return json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise StoreError(f"{path} is damaged (not JSON: {error}); if it is ours, delete it and run again") from error


def write_result(path, value):
    """A dict with an "id" as JSON with its checksum, so that a changed digit does not pass for a result."""
    value = json.loads(json.dumps({name: v for name, v in value.items() if name != "checksum"}, allow_nan=False))
    write_json(path, {**value, "checksum": checksum(value)})


def read_result(path):
    """What `write_result` wrote, without the checksum.

    StoreError if the file is damaged or something else, FileNotFoundError if it is absent.
    """
    value = read_json(path)
    if not isinstance(value, dict) or not {"id", "checksum"} <= value.keys():
        raise StoreError(
            f'{path} is damaged or no result (it lacks "id" or "checksum"): if it was one, delete it and run again; '
            "else move it out of the folder of results"
        )
    if value.pop("checksum") != checksum(value):
        raise StoreError(f"{path} is damaged (its content does not match its checksum); delete it and run again")
    return value


def load_results(folder):
    """{run id: result} of every .json below `folder`."""
    return {result["id"]: result for result in map(read_result, sorted(Path(folder).rglob("*.json")))}


def checksum(value):
    """SHA-256 of a JSON value's shortest spelling, keys sorted: the same however the file spells it."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def save_checkpoint(path, arrays, meta):
    """Arrays (a dict of NumPy arrays) and JSON-able `meta` in one uncompressed .npz, with a hash of them all."""
    buffer = io.BytesIO()
    text = json.dumps({**meta, "sha256": _checkpoint_hash(arrays, meta)})
    numpy.savez(buffer, __meta__=numpy.frombuffer(text.encode(), numpy.uint8), **arrays)
    write_atomically(path, buffer.getbuffer())


def _checkpoint_hash(arrays, meta):
    return hashlib.sha256((parameter_hash(arrays) + checksum(meta)).encode()).hexdigest()


def load_checkpoint(path):
    """(arrays, meta) as saved; StoreError if truncated or altered, FileNotFoundError if absent.

    The zip's own checksums do not cover the names, and are not even looked at when an array's altered header asks for
    fewer bytes than there are.
    """
    return _members(path)


def load_meta(path):
    """The `meta` of a checkpoint, without its arrays, and so without their hash; errors as in `load_checkpoint`."""
    return _members(path, ["__meta__"])[1]


def _members(path, names=None):
    try:
        with numpy.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names or file.files}
        meta = json.loads(arrays.pop("__meta__").tobytes())
        expected = meta.pop("sha256", None)  # none in checkpoints of older versions
        if names is None and expected is not None and expected != _checkpoint_hash(arrays, meta):
            raise ValueError("its content does not match its hash")
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # zipfile, zlib, NumPy and json fail in ten ways on damaged files
        message = f"{path} is a damaged checkpoint ({error}); delete it to train this run from the start"
        raise StoreError(message) from error
    return arrays, meta


def parameter_hash(params):
    """SHA-256 of the arrays' names, shapes, dtypes and bytes, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(params):
        array = numpy.ascontiguousarray(params[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array)
    return digest.hexdigest()
