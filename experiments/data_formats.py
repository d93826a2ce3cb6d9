"""Files to arrays: IDX and users' .npz.

Every reader checks what it reads and raises DataError naming the file, what was got and what was wanted.
Images come back as uint8 grey levels 0..255; data.py decides what they mean.
"""

import gzip
import hashlib
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

ZIP_ERRORS = (OSError, EOFError, ValueError, SyntaxError, RuntimeError, zipfile.BadZipFile, zlib.error)
REPAIR = "Delete it and run again, or put an intact copy in its place."


class DataError(ValueError):
    """A data set that is unknown, missing, damaged or not in the form that is asked for."""


def read_idx(path, sha256=None):
    """Images of an IDX file, plain or gzip-compressed (told apart by content): uint8 (n, height, width).

    `sha256` is the hash of the uncompressed file, so that recompressed copies pass.
    Raises DataError when the file is unreadable, truncated, not an IDX file of images, or has another hash.
    """
    try:
        payload = Path(path).read_bytes()
        if payload[:2] == b"\x1f\x8b":
            payload = gzip.decompress(payload)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged or cannot be read ({error}). {REPAIR}") from error

    # Header: two zero bytes, 8 for uint8, 3 for the number of dimensions; then three big-endian uint32 sizes.
    if payload[:4] != b"\x00\x00\x08\x03":
        raise DataError(
            f"{path} is damaged or no IDX file of images: it starts with bytes "
            f"{payload[:4].hex(' ') or '(none)'}, wanted 00 00 08 03 (or its gzip). {REPAIR}"
        )
    shape = tuple(int.from_bytes(payload[i : i + 4], "big") for i in (4, 8, 12))
    if len(payload) != 16 + math.prod(shape):
        raise DataError(
            f"{path} is damaged: its header says {shape[0]} images of {shape[1]} x {shape[2]}, "
            f"so {16 + math.prod(shape)} bytes were wanted; it holds {len(payload)}. {REPAIR}"
        )
    got = hashlib.sha256(payload).hexdigest()
    if sha256 is not None and got != sha256:
        raise DataError(
            f"{path} is damaged or another file of that name: its uncompressed SHA-256 is {got}, "
            f"wanted {sha256}. {REPAIR}"
        )
    return np.frombuffer(payload, np.uint8, offset=16).reshape(shape)


def read_npz(path):
    """A user's file as {"train": uint8 (n, ...), "test": uint8 (m, ...), "binary": bool, "note": str}.

    The file's `train` and `test` are (n, P) or (n, h, w), and bool, uint8 0..255, or float in [0, 1]. They
    come back as grey levels 0..255: floats as rint(255 x), and uint8 files with only 0 and 1 as 0 and 255.
    Its optional array `binary`, a single bool, says whether the pixels are to be thresholded at .5 (True, the
    default) or kept grey. Its optional array `note`, a single string, says where the data come from.
    Raises DataError for a file that is damaged or of another form.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            check_members(archive)
            found = {key: archive[key] for key in ("train", "test", "binary", "note") if key in archive.files}
            names = archive.files
    except (AttributeError, TypeError, *ZIP_ERRORS) as error:
        raise DataError(f"{path} cannot be read as an .npz file ({error})") from error
    missing = [key for key in ("train", "test") if key not in found]
    if missing:
        raise DataError(f"{path} has no array named {' or '.join(missing)}; it holds {', '.join(names) or 'nothing'}")

    images = {key: _checked_pixels(path, key, found[key]) for key in ("train", "test")}
    if images["train"].shape[1:] != images["test"].shape[1:]:
        raise DataError(
            f"{path}: train and test must hold images of one size; "
            f"got {images['train'].shape[1:]} and {images['test'].shape[1:]}"
        )
    binary, note = found.get("binary", np.True_), found.get("note", np.str_(""))
    if not (isinstance(binary, np.ndarray | np.generic) and binary.shape == () and binary.dtype == bool):
        raise DataError(f"{path}: `binary` must be a single bool, got {binary!r}")
    if not (isinstance(note, np.ndarray | np.generic) and note.shape == () and note.dtype.kind == "U"):
        raise DataError(f"{path}: `note` must be a single string, got {note!r}")
    zero_one = all(array.dtype.kind in "bu" and array.max() <= 1 for array in images.values())
    levels = {key: _levels(array, zero_one) for key, array in images.items()}
    return levels | {"binary": bool(binary), "note": str(note)}


def check_members(archive):
    """Raise BadZipFile unless every member of an open .npz has its CRC.

    Reading an array does not see to that: where the array's own header, damaged, asks for fewer bytes than there are,
    the end of the member and its CRC are never reached.
    """
    bad = archive.zip.testzip()
    if bad is not None:
        raise zipfile.BadZipFile(f"{bad} does not have its CRC-32")


def _checked_pixels(path, key, array):
    """The array itself, or DataError for a wrong dtype, shape or range."""
    where = f"{path}: array `{key}`"
    if not (isinstance(array, np.ndarray) and (array.dtype in (np.uint8, bool) or array.dtype.kind == "f")):
        raise DataError(
            f"{where} has dtype {getattr(array, 'dtype', type(array).__name__)}; "
            "wanted uint8 (0..255), bool, or float in [0, 1]"
        )
    if array.ndim not in (2, 3) or array.size == 0:
        raise DataError(f"{where} has shape {array.shape}; wanted (n, pixels) or (n, height, width), not empty")
    if array.dtype.kind == "f":
        low, high = array.min(), array.max()  # NaN if there is one
        if np.isnan(low):
            raise DataError(f"{where} holds {np.isnan(array).sum()} NaN; wanted floats in [0, 1]")
        if low < 0 or high > 1:
            raise DataError(f"{where} ranges from {low:g} to {high:g}; wanted floats in [0, 1], or uint8 0..255")
    return array


def _levels(array, zero_one):
    """uint8 grey levels 0..255, C order. rint(255 x) >= 128 if and only if x >= .5, half rounding to even."""
    if array.dtype.kind == "f":
        array = np.rint(array.astype(np.promote_types(array.dtype, np.float32)) * 255)
    return np.ascontiguousarray(array.astype(np.uint8) * np.uint8(255 if zero_one else 1))
