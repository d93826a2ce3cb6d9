"""The data sets of the experiments, each as two uint8 arrays of flattened images.

    dataset = load("mnist")                          # or a path to your own .npz
    training, validation, test = dataset.split(validation=True)
    x = dataset.floats(training[rows])               # (B, P) in [0, 1]

Files are looked for in `data_dir` (or the folder that environment variable IGR_DATA_DIR names), then in the
user's cache, and are else downloaded from their publishers into the cache. All are checked by their hashes.
"""

import hashlib
import os
from pathlib import Path

import numpy as np

from .data_formats import DataError, read_idx, read_npz
from .data_omniglot import omniglot_levels
from .data_sources import SOURCES, cache_folder, obtain
from .dataset import Dataset

__all__ = ["NAMES", "DataError", "Dataset", "cache_folder", "load"]

NAMES = ("digits", "mnist", "fmnist", "omniglot", "omniglot_small")
N_VALIDATION = {"digits": 287, "mnist": 10_000, "fmnist": 10_000, "omniglot": 2_345}
DIGITS = Path(__file__).parent / "assets" / "digits.npz"
DIGITS_SHA256 = "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
N_DIGITS_TRAIN = 1_437
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
        path = obtain(name, file, folder, lambda path, sha256=sha256: read_idx(path, sha256), progress)
        images.append(read_idx(path, sha256))
    shape = images[0].shape[1:]
    train, test = (array.reshape(len(array), -1) for array in images)
    if name == "mnist":
        train, test = _threshold(train), _threshold(test)
    return Dataset(name, train, test, name == "mnist", shape, N_VALIDATION[name], NOTES[name])


def _omniglot_set(name, folder, progress, grey):
    train, test = omniglot_levels(name, folder, progress)
    if not grey:
        # Levels are rint(255 v), v a multiple of 1/64 (105 / 28 = 3.75): level >= 128 if and only if v >= .5.
        train, test = _threshold(train), _threshold(test)
    note = NOTES[name] + (", grey as resized." if grey else ", 1 if the resized value >= .5.")
    n_validation = N_VALIDATION.get(name, len(train) // 10)
    return Dataset(name, train, test, not grey, (28, 28), n_validation, note, decoder="bernoulli")


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
