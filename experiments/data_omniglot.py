"""Omniglot: the authors' archives of drawings to grey levels of 28 x 28, split into training and test."""

import hashlib
import io
import warnings
import zipfile
from pathlib import Path

import numpy as np

from .data_download import atomic, track
from .data_formats import REPAIR, ZIP_ERRORS, DataError, check_members
from .data_sources import SOURCES, cache_folder, obtain

N_EVALUATION_TRAIN = 5_065  # of Omniglot's evaluation set; its other 8,115 drawings are the test set
N_DRAWERS_TRAIN = 16  # omniglot_small: of each character's 20 drawings, those that train


def omniglot_levels(name, folder, progress):
    """Grey levels (train, test), uint8 (., 784). Reading the drawings takes long, so the result is cached.

    The cache's file name carries the archives' hashes and a version: raise that when the processing changes.
    """
    files = SOURCES[name].files
    key = "-".join(md5[:8] for md5 in files.values())
    cached = cache_folder() / name / f"drawings-v1-{key}.npz"
    if cached.exists():
        try:
            with np.load(cached, allow_pickle=False) as archive:
                check_members(archive)
                train, test = archive["train"], archive["test"]
            if not all(a.dtype == np.uint8 and a.ndim == 2 and a.shape[1] == 784 for a in (train, test)):
                raise ValueError("it holds arrays of another form")
            return train, test
        except Exception as error:  # a cache entry is never worth stopping for
            warnings.warn(f"{cached} is damaged ({error}); reading the drawings again", stacklevel=4)

    paths = []
    for file, md5 in files.items():
        paths.append(obtain(name, file, folder, lambda path, md5=md5: check_md5(path, md5), progress))
        check_md5(paths[-1], md5)
    first, second = (read_drawings(path, progress=progress) for path in paths)
    train, test = (split_omniglot if name == "omniglot" else split_omniglot_small)(first, second)
    try:
        with atomic(cached) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, train=train, test=test)
    except OSError as error:
        warnings.warn(f"the drawings were read but could not be cached ({error})", stacklevel=4)
    return train, test


def split_omniglot(background, evaluation):
    """Background and the first 5,065 of the evaluation set train, in order of paths; the rest is test."""
    drawings = np.stack([*background.values(), *evaluation.values()])
    n = len(background) + N_EVALUATION_TRAIN
    return drawings[:n], drawings[n:]


def split_omniglot_small(small1, small2):
    """By drawer: drawings 1 to 16 of each character train, 17 to 20 are test.

    The two archives share their Greek and Latin alphabets; each drawing is taken once. The order is by drawer
    and then by path, so that the validation images, the last in training, are again of every alphabet.
    """

    def drawer(path):  # "Greek/character01/0394_07.png" -> 7
        return int(Path(path).stem.rpartition("_")[2])

    union = small1 | small2
    order = sorted(union, key=lambda path: (drawer(path), path))
    n = sum(drawer(path) <= N_DRAWERS_TRAIN for path in order)
    drawings = np.stack([union[path] for path in order])
    return drawings[:n], drawings[n:]


def check_md5(path, md5):
    """Raise DataError unless the file at `path` has this MD5 (what Omniglot's authors publish)."""
    try:
        with open(path, "rb") as file:
            got = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error})") from error
    if got != md5:
        raise DataError(f"{path} is damaged or another file of that name: its MD5 is {got}, wanted {md5}. {REPAIR}")


def read_drawings(path, size=(28, 28), progress=True):
    """{"Alphabet/character01/0001_01.png": uint8 (height * width,)} for every drawing in one of the archives.

    Drawings are 105 x 105, ink 0 on paper 1. They are reduced to `size` by `resize_bilinear` and stored as
    grey levels, rint(255 v). The archive's top folder is left out of the keys, which are in sorted order.
    Raises DataError when the archive is damaged, empty, or holds drawings of another size.
    """
    from PIL import Image  # only Omniglot needs it

    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted(
                member
                for member in archive.namelist()
                if member.endswith(".png") and not member.startswith("__MACOSX/")
            )
            if not members:
                raise DataError(f"{path} holds no .png files; wanted alphabet/character/drawing.png")
            small = {}
            for member in track(members, f"reading {Path(path).name}", progress):
                with Image.open(io.BytesIO(archive.read(member))) as image:
                    paper = np.asarray(image.convert("L")) >= 128
                if paper.shape != (105, 105):
                    raise DataError(f"{path}: {member} has shape {paper.shape}, wanted (105, 105)")
                grey = resize_bilinear(paper.astype(np.float32), *size)
                small[member.partition("/")[2]] = np.rint(255 * grey).astype(np.uint8).ravel()
    except DataError:
        raise
    except ZIP_ERRORS as error:
        raise DataError(f"{path} is damaged or cannot be read ({error}). {REPAIR}") from error
    return small


def resize_bilinear(images, height, width):
    """Bilinear interpolation of floats (..., h, w) at half-pixel centres, giving (..., height, width).

    Output row i looks at s = (i + 1/2) h / height - 1/2 of the input, moved to the edge when outside, and
    mixes the two rows beside s, whatever the reduction (no antialiasing), as does tf.image.resize by default.
    """

    def neighbours(n_in, n_out):
        at = np.clip((np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5, 0, n_in - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, n_in - 1), (at - low).astype(images.dtype)

    low, high, part = neighbours(images.shape[-2], height)
    images = images[..., low, :] * (1 - part)[:, None] + images[..., high, :] * part[:, None]
    low, high, part = neighbours(images.shape[-1], width)
    return images[..., low] * (1 - part) + images[..., high] * part
