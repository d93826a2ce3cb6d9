"""A data set of the experiments: two uint8 arrays of flattened images, and what they are."""

import hashlib
from dataclasses import dataclass, field

import numpy as np

from igr_ref.backend import namespace

from .data_formats import DataError


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
