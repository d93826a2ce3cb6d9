"""Where the published data sets come from, and finding their files: in the data folder, in the cache, or on the web."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from .data_download import download
from .data_formats import DataError, read_idx


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


def cache_folder():
    """Where downloads are kept: `igr-ref` in $XDG_CACHE_HOME, or where this system keeps caches."""
    base = os.environ.get("XDG_CACHE_HOME")
    if not base and sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    if not base:
        base = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(base).expanduser() / "igr-ref"


def obtain(name, file, folder, check, progress):
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
