"""The data sets of the experiments, each as two uint8 arrays of flattened images.

    dataset = load("mnist")                          # or a path to your own .npz
    training, validation, test = dataset.split(validation=True)
    x = dataset.floats(training[rows])               # (B, P) in [0, 1]

Files are looked for in `data_dir` (or the folder that environment variable IGR_DATA_DIR names), then in the
user's cache, and are else downloaded from their publishers into the cache. All are checked by their hashes.
"""

import hashlib
import os
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from experiments.data_formats import (
    DataError,
    atomic,
    check_md5,
    check_members,
    download,
    read_drawings,
    read_idx,
    read_npz,
)
from igr_ref.backend import namespace

__all__ = ["NAMES", "DataError", "Dataset", "cache_folder", "load"]

NAMES = ("digits", "mnist", "fmnist", "omniglot", "omniglot_small")


@dataclass(frozen=True)
class Source:
    """A set's files, {name: hash}, and the addresses of the folders that hold them, in order of trial."""

    files: dict
    addresses: tuple


# IDX files by the SHA-256 of their uncompressed content, Omniglot's archives by their published MD5.
SOURCES = {
    "mnist": Source(
        {
            "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        },
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
    ),
    "fmnist": Source(
        {
            "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        },
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    ),
    "omniglot": Source(
        {
            "images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
            "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811",
        },
        ("https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",),
    ),
    "omniglot_small": Source(
        {
            "images_background_small1.zip": "e704a628b5459e08445c13499850abc4",
            "images_background_small2.zip": "b75a71a51d3b13f821f212756fe481fd",
        },
        ("https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",),
    ),
}
N_VALIDATION = {"digits": 287, "mnist": 10_000, "fmnist": 10_000, "omniglot": 2_345}
DIGITS = Path(__file__).parent / "assets" / "digits.npz"
DIGITS_SHA256 = "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
N_DIGITS_TRAIN = 1_437
N_EVALUATION_TRAIN = 5_065  # of Omniglot's evaluation set; its other 8,115 drawings are the test set
N_DRAWERS_TRAIN = 16  # omniglot_small: of each character's 20 drawings, those that train
NOTES = {
    "digits": "UCI optical digits (8 x 8, test part as shipped by scikit-learn), 1 if value/16 >= .5.",
    "mnist": "MNIST, 1 if pixel/255 >= .5.",
    "fmnist": "Fashion-MNIST, grey levels pixel/255.",
    "omniglot": "Omniglot, resized to 28 x 28, ink 0 on paper 1",
    "omniglot_small": "Omniglot (small), a stand-in: the 4,840 drawings of the authors' two reduced "
    "background sets, resized to 28 x 28, ink 0 on paper 1",
    "omniglot_strokes": "Omniglot (strokes), a stand-in: pen strokes drawn at 28 x 28, ink 1 on paper 0; "
    "not comparable with published Omniglot numbers.",
}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images for training and test, uint8 so that gathering a minibatch stays cheap; read-only.

    name           one of NAMES, or the stem of a user's file
    train, test    uint8 (n, P) and (m, P): 0/1 when `binary`, else grey levels 0..255
    binary         whether the pixels are 0/1
    image_shape    (height, width), height * width == P
    n_validation   how many of the last training images `split(validation=True)` holds out
    note           one sentence: what the images are, for table captions and provenance
    decoder        "bernoulli" or "gaussian", the likelihood. None means Bernoulli if `binary`, else Gaussian;
                   only grey Omniglot departs from that: grey pixels under a Bernoulli
    sha256         of the bytes of train followed by those of test (computed)

    Raises DataError when these do not fit together.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    binary: bool
    image_shape: tuple
    n_validation: int
    note: str
    decoder: str | None = None
    sha256: str = field(init=False)

    def __post_init__(self):
        digest = hashlib.sha256()
        for key in ("train", "test"):
            array = np.ascontiguousarray(getattr(self, key)).view()
            pixels = self.image_shape[0] * self.image_shape[1]
            if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] != pixels or array.size == 0:
                raise DataError(
                    f"{self.name}: {key} must be uint8 (n, {pixels}), not empty; got {array.dtype} {array.shape}"
                )
            if self.binary and array.max() > 1:
                raise DataError(f"{self.name}: {key} must be 0/1 when binary, but holds {array.max()}")
            array.flags.writeable = False
            digest.update(array)
            object.__setattr__(self, key, array)
        if not 0 <= self.n_validation < len(self.train):
            raise DataError(
                f"{self.name}: n_validation must be at least 0 and less than the "
                f"{len(self.train)} training images, got {self.n_validation}"
            )
        decoder = self.decoder or ("bernoulli" if self.binary else "gaussian")
        if decoder not in ("bernoulli", "gaussian"):
            raise DataError(f"{self.name}: decoder must be 'bernoulli' or 'gaussian', got {decoder!r}")
        object.__setattr__(self, "decoder", decoder)
        object.__setattr__(self, "sha256", digest.hexdigest())

    def split(self, validation):
        """(training, validation, test), uint8 (., P).

        With validation=True the last `n_validation` training images are held out of training. Otherwise
        training is everything and the second entry is None.
        """
        if not validation:
            return self.train, None, self.test
        if self.n_validation == 0:
            raise DataError(f"{self.name}: n_validation is 0, so no images can be held out for validation")
        return self.train[: -self.n_validation], self.train[-self.n_validation :], self.test

    def floats(self, images, dtype=np.float32, out=None):
        """Rows of train or test, uint8 (..., P), as the network's input in [0, 1]: level/255, or 0/1."""
        xp, _ = namespace(images)
        out = xp.empty(images.shape, dtype) if out is None else out
        if self.binary:
            xp.copyto(out, images)
            return out
        return xp.divide(images, 255, out=out, dtype=out.dtype)


def load(name, data_dir=None, progress=True, grey=False):
    """The Dataset called `name`: one of NAMES, or the path of a user's .npz (see `data_formats.read_npz`).

    data_dir   a folder with the files, or with a folder `name` that has them; default: environment variable
               IGR_DATA_DIR. Files that are not there come from the cache, or from the web into the cache
    progress   show downloads and the reading of Omniglot's drawings on standard error
    grey       Omniglot only: keep the grey values that resizing makes, as the official code does

    Raises DataError: unknown name; files missing and not to be downloaded (it says which to put where);
    damaged files; a user's file of another form.
    """
    if grey and name not in ("omniglot", "omniglot_small"):
        raise DataError(
            f"grey=True applies to omniglot and omniglot_small, got {str(name)!r} (fmnist is "
            "always grey; a user's .npz asks for it by an array `binary` that is False)"
        )
    folder = data_dir or os.environ.get("IGR_DATA_DIR") or None
    folder = Path(folder).expanduser() if folder else None
    if name == "digits":
        return _digits()
    if name in ("mnist", "fmnist"):
        return _idx_set(name, folder, progress)
    if name in ("omniglot", "omniglot_small"):
        return _omniglot_set(name, folder, progress, grey)
    if Path(name).suffix == ".npz":
        return _user_set(Path(name).expanduser(), folder)
    raise DataError(f"unknown data set {str(name)!r}; known: {', '.join(NAMES)}, or the path of an .npz file")


def cache_folder():
    """Where downloads are kept: `igr-ref` in $XDG_CACHE_HOME, or where this system keeps caches."""
    base = os.environ.get("XDG_CACHE_HOME")
    if not base and sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    if not base:
        base = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(base).expanduser() / "igr-ref"


# ---------------------------------------------------------------- the sets


def _threshold(levels):
    """1 where level / 255 >= .5, that is where the whole number is 128 or more."""
    return (levels >= 128).astype(np.uint8)


def _digits():
    try:
        with np.load(DIGITS) as archive:
            images = archive["images"]
    except Exception as error:  # whatever is wrong with a file that we ship, the remedy is the same
        raise DataError(f"{DIGITS}, a part of this project, cannot be read ({error}); restore it") from error
    if hashlib.sha256(images.tobytes()).hexdigest() != DIGITS_SHA256:
        raise DataError(f"{DIGITS}, a part of this project, has been changed; restore it")
    bits = (images >= 8).astype(np.uint8)  # values 0..16
    train, test = bits[:N_DIGITS_TRAIN], bits[N_DIGITS_TRAIN:]
    return Dataset("digits", train, test, True, (8, 8), N_VALIDATION["digits"], NOTES["digits"])


def _idx_set(name, folder, progress):
    images = []
    for file, sha256 in SOURCES[name].files.items():
        path = _obtain(name, file, folder, lambda path, sha256=sha256: read_idx(path, sha256), progress)
        images.append(read_idx(path, sha256))
    shape = images[0].shape[1:]
    train, test = (array.reshape(len(array), -1) for array in images)
    if name == "mnist":
        train, test = _threshold(train), _threshold(test)
    return Dataset(name, train, test, name == "mnist", shape, N_VALIDATION[name], NOTES[name])


def _omniglot_set(name, folder, progress, grey):
    train, test = _omniglot_levels(name, folder, progress)
    if not grey:
        # Levels are rint(255 v), v a multiple of 1/64 (105 / 28 = 3.75): level >= 128 if and only if v >= .5.
        train, test = _threshold(train), _threshold(test)
    note = NOTES[name] + (", grey as resized." if grey else ", 1 if the resized value >= .5.")
    n_validation = N_VALIDATION.get(name, len(train) // 10)
    return Dataset(name, train, test, not grey, (28, 28), n_validation, note, decoder="bernoulli")


def _omniglot_levels(name, folder, progress):
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
        paths.append(_obtain(name, file, folder, lambda path, md5=md5: check_md5(path, md5), progress))
        check_md5(paths[-1], md5)
    first, second = (read_drawings(path, progress=progress) for path in paths)
    train, test = (_split_omniglot if name == "omniglot" else _split_omniglot_small)(first, second)
    try:
        with atomic(cached) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, train=train, test=test)
    except OSError as error:
        warnings.warn(f"the drawings were read but could not be cached ({error})", stacklevel=4)
    return train, test


def _split_omniglot(background, evaluation):
    """Background and the first 5,065 of the evaluation set train, in order of paths; the rest is test."""
    drawings = np.stack([*background.values(), *evaluation.values()])
    n = len(background) + N_EVALUATION_TRAIN
    return drawings[:n], drawings[n:]


def _split_omniglot_small(small1, small2):
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


def _user_set(path, folder):
    """A user's file: `path` itself or in the data folder. The last sixth of its `train` is for validation."""
    if not path.exists() and folder is not None and (folder / path).exists():
        path = folder / path
    if not path.is_file():
        raise DataError(f"there is no file {path}" + (f", nor {folder / path}" if folder else ""))
    found = read_npz(path)
    shape = found["train"].shape[1:]
    if len(shape) == 1:  # flat images: square if they can be
        side = round(shape[0] ** 0.5)
        shape = (side, side) if side * side == shape[0] else (1, shape[0])
    train, test = (found[key].reshape(len(found[key]), -1) for key in ("train", "test"))
    if found["binary"]:
        train, test = _threshold(train), _threshold(test)
    name = path.name if path.stem in NAMES else path.stem  # never to be taken for one of ours
    note = found["note"] or NOTES.get(name, f"The user's file {path.name}.")
    return Dataset(name, train, test, found["binary"], shape, len(train) // 6, note)


# ---------------------------------------------------------------- finding the files


def _obtain(name, file, folder, check, progress):
    """The path of one of a set's files: in the data folder, in the cache, or downloaded into the cache.

    A file that is there is taken, damaged or not (the reader says so), and never overwritten.
    """
    cache = cache_folder() / name
    folders = ([folder / name, folder] if folder else []) + [cache]
    spellings = [file] + ([file.removesuffix(".gz")] if file.endswith(".gz") else [])
    for place in folders:
        for spelling in spellings:
            path = place / spelling
            if path.is_file() and not (place == folder and _is_of_another_set(path, name, file)):
                return path
    addresses = SOURCES[name].addresses
    try:
        download([address + file for address in addresses], cache / file, check, progress)
    except DataError as error:
        raise DataError(
            "\n".join(
                [
                    f"{name}: {file} was not found and could not be downloaded.",
                    "Looked in",
                    *(f"  {place}{'' if place.is_dir() else ' (no such folder)'}" for place in folders),
                    "Tried",
                    str(error),
                    "To go on without a network, put these files",
                    *(f"  {each}" for each in SOURCES[name].files),
                    "from",
                    *(f"  {address}" for address in addresses),
                    f"into {cache}, or the folder that data_dir or IGR_DATA_DIR names (or its subfolder {name}).",
                ]
            )
        ) from error
    return cache / file


def _is_of_another_set(path, name, file):
    """MNIST and Fashion-MNIST name their files alike: is `path`, in a folder of neither, the other's?"""
    for other, source in SOURCES.items():
        if other != name and file in source.files:
            try:
                read_idx(path, source.files[file])
                return True
            except DataError:
                continue
    return False
