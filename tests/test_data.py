"""experiments/data.py, data_*.py and dataset.py on files made here: formats, refusals, downloads, search."""

import gzip
import hashlib
import http.server
import io
import os
import threading
import urllib.error
import urllib.request
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments import data, data_formats, data_omniglot, data_sources
from experiments.data import DataError, Dataset, load

REAL_DATA = os.environ.get("IGR_DATA_DIR")  # the fixture below hides it from all tests but the last
TRAIN_FILE, TEST_FILE = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
BACKGROUND, EVALUATION = "images_background.zip", "images_evaluation.zip"
SMALL1, SMALL2 = "images_background_small1.zip", "images_background_small2.zip"


def offline(*_args, **_kwargs):
    raise urllib.error.URLError("no network in tests")


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    """No data folder, an empty cache, no network, and sets small enough for the files made here."""
    monkeypatch.delenv("IGR_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlopen", offline)
    for name in data.N_VALIDATION:
        if name != "digits":
            monkeypatch.setitem(data.N_VALIDATION, name, 2)


def idx_bytes(images):
    sizes = b"".join(size.to_bytes(4, "big") for size in images.shape)
    return b"\x00\x00\x08\x03" + sizes + images.tobytes()


@pytest.fixture
def idx(monkeypatch):
    """(train, test) uint8 images whose hashes are the ones that mnist asks for."""
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (n, 4, 3), dtype=np.uint8) for n in (7, 5))
    hashes = [hashlib.sha256(idx_bytes(images)).hexdigest() for images in (train, test)]
    files = dict(zip(data.SOURCES["mnist"].files, hashes, strict=True))
    monkeypatch.setitem(data.SOURCES, "mnist", replace(data.SOURCES["mnist"], files=files))
    return train, test


def put_idx(folder, images, compress=True, names=(TRAIN_FILE, TEST_FILE)):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(names, images, strict=True):
        payload = idx_bytes(array)
        (folder / (name + ".gz" * compress)).write_bytes(gzip.compress(payload) if compress else payload)


def put_drawings(path, drawings, shape=(105, 105)):
    """A zip of 1-bit PNGs like Omniglot's: {"Greek/character01/0394_01.png": bool array, True for paper}."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/", "")
        for name, paper in drawings.items():
            buffer = io.BytesIO()
            Image.fromarray(np.broadcast_to(paper, shape)).save(buffer, "PNG")
            archive.writestr(f"{path.stem}/{name}", buffer.getvalue())
    return hashlib.md5(path.read_bytes()).hexdigest()


def ask_for(monkeypatch, name, *md5s):
    files = dict(zip(data.SOURCES[name].files, md5s, strict=True))
    monkeypatch.setitem(data.SOURCES, name, replace(data.SOURCES[name], files=files))


# ---------------------------------------------------------------- Dataset


def small(**changes):
    fields = dict(
        name="toy",
        train=np.eye(6, 4, dtype=np.uint8),
        test=np.eye(2, 4, dtype=np.uint8),
        binary=True,
        image_shape=(2, 2),
        n_validation=2,
        note="",
    )
    return Dataset(**(fields | changes))


def test_split_holds_out_the_last_training_images():
    dataset = small()
    training, validation, test = dataset.split(validation=True)
    np.testing.assert_array_equal(training, dataset.train[:4])
    np.testing.assert_array_equal(validation, dataset.train[4:])
    np.testing.assert_array_equal(test, dataset.test)
    training, validation, test = dataset.split(validation=False)
    assert training is dataset.train and validation is None and test is dataset.test
    with pytest.raises(DataError, match="n_validation is 0"):
        small(n_validation=0).split(validation=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats(dtype):
    grey = small(train=np.array([[0, 1, 128, 255]] * 3, np.uint8), binary=False)
    got = grey.floats(grey.train[:2], dtype)
    assert got.dtype == dtype and got.shape == (2, 4)
    np.testing.assert_array_equal(got[0], np.array([0, 1, 128, 255], dtype) / dtype(255))
    bits = small()
    assert bits.floats(bits.train, dtype).dtype == dtype
    np.testing.assert_array_equal(bits.floats(bits.train, dtype), bits.train)


def test_dataset_is_read_only_and_knows_its_hash_and_decoder():
    array = np.eye(6, 4, dtype=np.uint8)
    dataset = small(train=array)
    with pytest.raises(ValueError, match="read-only"):
        dataset.train[0, 0] = 1
    assert array.flags.writeable, "the caller's own array must stay as it was"
    assert dataset.sha256 == hashlib.sha256(array.tobytes() + dataset.test.tobytes()).hexdigest()
    assert (dataset.decoder, small(binary=False).decoder) == ("bernoulli", "gaussian")


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(image_shape=(2, 3)), r"train must be uint8 \(n, 6\)"),
        (dict(test=np.eye(2, 4)), "test must be uint8 .* got float64"),
        (dict(test=np.zeros((0, 4), np.uint8)), "not empty"),
        (dict(train=np.full((6, 4), 2, np.uint8)), "0/1 when binary, but holds 2"),
        (dict(n_validation=6), "less than the 6 training images"),
        (dict(decoder="poisson"), "decoder must be"),
    ],
)
def test_dataset_refuses_what_does_not_fit(changes, message):
    with pytest.raises(DataError, match=message):
        small(**changes)


# ---------------------------------------------------------------- digits


def test_digits():
    digits = load("digits")
    assert digits.train.shape == (1437, 64) and digits.test.shape == (360, 64)
    assert digits.image_shape == (8, 8)
    assert digits.binary and digits.decoder == "bernoulli" and set(np.unique(digits.train)) == {0, 1}
    training, validation, _ = digits.split(validation=True)
    assert len(training) == 1150 and len(validation) == 287
    assert digits.sha256 == "b025f335f2114270d2840390f597eaad0f5a68376ea897add1ff2ea6c8955bd0"
    with np.load(data.DIGITS) as archive:
        images, labels = archive["images"], archive["labels"]
    assert images.dtype == labels.dtype == np.uint8 and images.max() == 16 and labels.shape == (1797,)
    np.testing.assert_array_equal(np.concatenate([digits.train, digits.test]), images / 16 >= 0.5)
    assert hashlib.sha256(images.tobytes()).hexdigest() == data.DIGITS_SHA256
    readme = (data.DIGITS.parent / "README.md").read_text()
    for array in (images, labels):
        assert hashlib.sha256(array.tobytes()).hexdigest() in readme


def test_changed_or_missing_digits_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "DIGITS", tmp_path / "digits.npz")
    with pytest.raises(DataError, match="cannot be read"):
        load("digits")
    np.savez(tmp_path / "digits.npz", images=np.zeros((1797, 64), np.uint8))
    with pytest.raises(DataError, match="has been changed"):
        load("digits")


# ---------------------------------------------------------------- IDX


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("subfolder", ["mnist", ""])
def test_mnist_plain_and_gz_in_the_folder_or_its_subfolder(idx, tmp_path, compress, subfolder):
    put_idx(tmp_path / "d" / subfolder, idx, compress)
    dataset = load("mnist", tmp_path / "d")
    assert dataset.binary and dataset.image_shape == (4, 3) and dataset.train.dtype == np.uint8
    np.testing.assert_array_equal(dataset.train, idx[0].reshape(7, 12) / 255 >= 0.5)
    np.testing.assert_array_equal(dataset.test, idx[1].reshape(5, 12) / 255 >= 0.5)


def test_threshold_at_one_half_of_255():
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(data._threshold(levels), levels / 255 >= 0.5)


def test_fmnist_stays_grey(idx, monkeypatch, tmp_path):
    monkeypatch.setitem(data.SOURCES, "fmnist", data.SOURCES["mnist"])
    put_idx(tmp_path / "fmnist", idx)
    dataset = load("fmnist", tmp_path)
    assert not dataset.binary and dataset.decoder == "gaussian"
    np.testing.assert_array_equal(dataset.train, idx[0].reshape(7, 12))


def flip(raw):
    return raw[:-1] + bytes([raw[-1] ^ 1])


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda raw: gzip.compress(raw)[:-12], "damaged or cannot be read"),
        (lambda raw: flip(gzip.compress(raw)), "damaged or cannot be read"),
        (lambda raw: gzip.compress(raw)[:15] + b"\xff\xff" + gzip.compress(raw)[17:], "damaged or cannot"),
        (lambda raw: raw[:-1], r"7 images of 4 x 3, so 100 bytes were wanted; it holds 99"),
        (lambda raw: gzip.compress(raw + b"\0"), "so 100 bytes were wanted; it holds 101"),
        (lambda raw: raw[:9], "is damaged: its header says"),
        (lambda raw: b"\x00\x00\x08\x01" + raw[4:], "starts with bytes 00 00 08 01, wanted 00 00 08 03"),
        (lambda raw: b"<!DOCTYPE html>", "starts with bytes 3c 21 44 4f"),
        (lambda raw: b"", r"starts with bytes \(none\)"),
        (flip, "SHA-256 is [0-9a-f]{64}, wanted [0-9a-f]{64}"),
    ],
)
def test_damaged_idx_is_named_and_not_overwritten(idx, tmp_path, damage, message):
    folder = tmp_path / "cache" / "igr-ref" / "mnist"
    put_idx(folder, idx)
    path = folder / (TRAIN_FILE + ".gz")
    path.write_bytes(damage(idx_bytes(idx[0])))
    before = path.read_bytes()
    with pytest.raises(DataError, match=message) as caught:
        load("mnist")
    assert str(path) in str(caught.value) and "Delete it and run again" in str(caught.value)
    assert path.read_bytes() == before


def test_read_idx_without_a_hash_and_of_a_missing_file(idx, tmp_path):
    put_idx(tmp_path, idx)
    np.testing.assert_array_equal(data_formats.read_idx(tmp_path / (TEST_FILE + ".gz")), idx[1])
    with pytest.raises(DataError, match="cannot be read"):
        data_formats.read_idx(tmp_path / "nothing")


def test_the_other_sets_files_of_the_same_name_are_passed_over(idx, tmp_path):
    """A folder with MNIST's files in it says nothing about Fashion-MNIST's, which have the same names."""
    put_idx(tmp_path / "d", idx)
    with pytest.raises(DataError, match="fmnist: train-images-idx3-ubyte.gz was not found"):
        load("fmnist", tmp_path / "d")


# ---------------------------------------------------------------- order of search


def test_search_order(idx, monkeypatch, tmp_path):
    """Damaged files at every stage but one: whichever file the error names is the one that was looked at."""
    places = {
        "argument": tmp_path / "argument" / "mnist",
        "argument, bare": tmp_path / "argument",
        "environment": tmp_path / "environment",
        "cache": tmp_path / "cache" / "igr-ref" / "mnist",
    }
    for place in places.values():
        put_idx(place, idx)
        (place / (TRAIN_FILE + ".gz")).write_bytes(b"damaged")
    monkeypatch.setenv("IGR_DATA_DIR", str(tmp_path / "environment"))

    def named(*args):
        with pytest.raises(DataError) as caught:
            load("mnist", *args)
        path = Path(str(caught.value).split(" is damaged")[0])
        path.unlink()
        return path.parent

    assert named(tmp_path / "argument") == places["argument"]
    assert named(str(tmp_path / "argument")) == places["argument, bare"]
    assert named(tmp_path / "argument") == places["cache"], "an argument hides the environment variable"
    put_idx(places["cache"], idx)
    assert named() == places["environment"]
    assert load("mnist").train.shape == (7, 12), "a data folder without the file falls through to the cache"
    assert load("mnist", tmp_path / "no such folder").train.shape == (7, 12)


def test_cache_folder(monkeypatch, tmp_path):
    assert data.cache_folder() == tmp_path / "cache" / "igr-ref"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert data.cache_folder() == tmp_path / ".cache" / "igr-ref"
    monkeypatch.setattr("sys.platform", "darwin")
    assert data.cache_folder() == tmp_path / "Library" / "Caches" / "igr-ref"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert data.cache_folder() == tmp_path / "local" / "igr-ref"


@pytest.mark.parametrize("name", ["mnist", "fmnist", "omniglot", "omniglot_small"])
def test_offline_says_which_files_to_put_where(name, tmp_path):
    with pytest.raises(DataError) as caught:
        load(name, tmp_path / "absent")
    text = str(caught.value)
    for file in data.SOURCES[name].files:
        assert file in text
    for address in data.SOURCES[name].addresses:
        assert address in text
    assert "no network in tests" in text and str(tmp_path / "cache" / "igr-ref" / name) in text
    assert f"{tmp_path / 'absent' / name} (no such folder)" in text and "IGR_DATA_DIR" in text


@pytest.mark.parametrize("name", ["cifar", "MNIST", "", "strokes"])
def test_unknown_names_list_the_known(name):
    with pytest.raises(DataError, match="digits, mnist, fmnist, omniglot, omniglot_small"):
        load(name)
    assert issubclass(DataError, ValueError)


# ---------------------------------------------------------------- downloads


class Response(io.BytesIO):
    """What urlopen returns, as far as it is used here."""

    def __init__(self, content, length=None):
        super().__init__(content)
        self.headers = {} if length is None else {"Content-Length": str(length)}


def leftovers(tmp_path):
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_download_tries_the_next_address_and_is_checked(idx, monkeypatch, tmp_path):
    asked = []
    content = {TRAIN_FILE: gzip.compress(idx_bytes(idx[0])), TEST_FILE: gzip.compress(idx_bytes(idx[1]))}

    def serve(address, timeout):
        asked.append(address)
        if "ossci" in address:
            return Response(b"<html>not here</html>")
        return Response(content[address.rsplit("/", 1)[1].removesuffix(".gz")])

    monkeypatch.setattr(urllib.request, "urlopen", serve)
    assert load("mnist", progress=False).train.shape == (7, 12)
    first, second = data.SOURCES["mnist"].addresses
    assert asked == [place + file + ".gz" for file in (TRAIN_FILE, TEST_FILE) for place in (first, second)]
    assert {path.name for path in leftovers(tmp_path)} == {TRAIN_FILE + ".gz", TEST_FILE + ".gz"}
    monkeypatch.setattr(urllib.request, "urlopen", offline)
    assert load("mnist").test.shape == (5, 12), "the second time all comes from the cache"


@pytest.mark.parametrize(
    "response, message",
    [
        (lambda raw: Response(raw[:20], len(raw)), "the connection closed after 20 of"),
        (lambda raw: Response(raw[:-9]), "damaged"),
        (lambda raw: Response(b"<html>"), "3c 68 74 6d"),
    ],
)
def test_bad_downloads_are_refused_and_leave_nothing(idx, monkeypatch, tmp_path, response, message):
    raw = gzip.compress(idx_bytes(idx[0]))
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_args, **_kwargs: response(raw))
    with pytest.raises(DataError, match=message) as caught:
        load("mnist", progress=False)
    assert "Delete it" not in str(caught.value), "there is nothing left to delete"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ConnectionResetError, TimeoutError])
def test_interrupted_download_leaves_nothing(idx, monkeypatch, tmp_path, error):
    class Broken(Response):
        def read(self, _size):
            if self.tell():
                assert [path.suffix for path in leftovers(tmp_path)] == [".part"]
                raise error
            return super().read(10)

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_args, **_kwargs: Broken(b"x" * 100, 100))
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else DataError):
        load("mnist", progress=False)
    assert leftovers(tmp_path) == []


@pytest.fixture
def server(idx, tmp_path):
    """The address of an HTTP server on this machine that holds MNIST's two files."""
    put_idx(tmp_path / "www", idx)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path / "www"))

        def log_message(self, *_args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()
        thread.join()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_real_download_with_progress(idx, server, monkeypatch, tmp_path, capsys, terminal):
    monkeypatch.undo()  # the real urlopen again; what is needed of the fixtures is set once more
    monkeypatch.delenv("IGR_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setitem(data.N_VALIDATION, "mnist", 2)
    hashes = [hashlib.sha256(idx_bytes(images)).hexdigest() for images in idx]
    files = {TRAIN_FILE + ".gz": hashes[0], TEST_FILE + ".gz": hashes[1]}
    monkeypatch.setitem(data.SOURCES, "mnist", data_sources.Source(files, (server + "nothing-here/", server)))
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)

    dataset = load("mnist")
    np.testing.assert_array_equal(dataset.train, idx[0].reshape(7, 12) >= 128)
    shown = capsys.readouterr().err
    assert f"downloading {server}{TRAIN_FILE}.gz" in shown and "100" in shown
    assert ("\r" in shown) == terminal, "a bar on a terminal, plain lines elsewhere"
    assert len(leftovers(tmp_path)) == 2


def test_no_progress_is_silent(idx, monkeypatch, capsys):
    raw = iter([gzip.compress(idx_bytes(images)) for images in idx])
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_args, **_kwargs: Response(next(raw)))
    load("mnist", progress=False)
    assert capsys.readouterr() == ("", "")


# ---------------------------------------------------------------- Omniglot


def slow_resize(image, height, width):
    """The same by its definition, pixel by pixel."""
    h, w = image.shape
    result = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            y = min(max((i + 0.5) * h / height - 0.5, 0), h - 1)
            x = min(max((j + 0.5) * w / width - 0.5, 0), w - 1)
            rows, columns = range(int(y), min(int(y) + 2, h)), range(int(x), min(int(x) + 2, w))
            result[i, j] = sum((1 - abs(y - r)) * (1 - abs(x - c)) * image[r, c] for r in rows for c in columns)
    return result


@pytest.mark.parametrize("shape, size", [((105, 105), (28, 28)), ((9, 5), (4, 7)), ((3, 1), (5, 2))])
def test_resize_against_a_double_loop(shape, size):
    image = np.random.default_rng(1).random(shape)
    resized = data_omniglot.resize_bilinear(image, *size)
    np.testing.assert_allclose(resized, slow_resize(image, *size), rtol=0, atol=1e-14)
    single = data_omniglot.resize_bilinear(image.astype(np.float32), *size)
    assert single.dtype == np.float32 and single.shape == size
    stack = data_omniglot.resize_bilinear(np.stack([image, image]), *size)
    np.testing.assert_array_equal(stack[1], resized)


def test_resize_does_not_smooth():
    """With antialiasing a white pixel between the sampling points would leave a trace; here it does not."""
    image = np.zeros((105, 105))
    image[3, 3] = 1  # output pixels 0 and 1 look at 1.375 and 5.125, that is at rows 1, 2 and 5, 6
    assert data_omniglot.resize_bilinear(image, 28, 28).max() == 0


def test_thresholding_the_stored_grey_levels_is_thresholding_the_values():
    """Resized bits are multiples of 1/64, and none of these crosses one half when rounded to a level."""
    values = np.arange(65) / 64
    np.testing.assert_array_equal(data._threshold(np.rint(255 * values).astype(np.uint8)), values >= 0.5)
    bits = (np.random.default_rng(2).random((105, 105)) < 0.5).astype(np.float32)
    resized = 64 * data_omniglot.resize_bilinear(bits, 28, 28)
    np.testing.assert_array_equal(resized, np.rint(resized))


@pytest.fixture
def omniglot(monkeypatch, tmp_path):
    """A folder with two small archives for `omniglot`: 6 and 5 drawings, of which 6 + 2 are to train."""
    rng = np.random.default_rng(3)
    background = {f"B/character01/0001_{i:02}.png": rng.random((105, 105)) < 0.5 for i in (3, 1, 2, 6, 5, 4)}
    evaluation = {f"A/character0{i}/0002_01.png": rng.random((105, 105)) < 0.5 for i in (2, 1, 3, 5, 4)}
    folder = tmp_path / "d"
    md5s = put_drawings(folder / BACKGROUND, background), put_drawings(folder / EVALUATION, evaluation)
    ask_for(monkeypatch, "omniglot", *md5s)
    monkeypatch.setattr(data_omniglot, "N_EVALUATION_TRAIN", 2)
    ordered = [archive[key] for archive in (background, evaluation) for key in sorted(archive)]
    values = np.stack([slow_resize(paper.astype(float), 28, 28).ravel() for paper in ordered])
    return folder, values


def test_omniglot_split_order_and_polarity(omniglot):
    folder, values = omniglot
    dataset = load("omniglot", folder, progress=False)
    assert dataset.binary and dataset.image_shape == (28, 28) and "ink 0" in dataset.note
    assert dataset.train.shape == (8, 784) and dataset.test.shape == (3, 784)
    np.testing.assert_array_equal(np.concatenate([dataset.train, dataset.test]), values >= 0.5)


def test_omniglot_grey_keeps_the_values_under_a_bernoulli(omniglot):
    folder, values = omniglot
    dataset = load("omniglot", folder, progress=False, grey=True)
    assert not dataset.binary and dataset.decoder == "bernoulli" and "grey" in dataset.note
    np.testing.assert_allclose(dataset.floats(dataset.train, np.float64), values[:8], atol=0.5 / 255 + 1e-12)
    with pytest.raises(DataError, match="grey=True applies to omniglot"):
        load("mnist", grey=True)


def test_omniglot_full_split_sizes():
    """20 drawings of each of 964 and 659 characters: 24,345 train, 8,115 test."""
    background, evaluation = ({i: np.zeros(1, np.uint8) for i in range(n)} for n in (964 * 20, 659 * 20))
    train, test = data_omniglot.split_omniglot(background, evaluation)
    assert (len(train), len(test)) == (24_345, 8_115)


def test_omniglot_is_cached_and_a_damaged_cache_entry_is_rebuilt(omniglot, tmp_path, capsys):
    folder, _ = omniglot
    first = load("omniglot", folder)
    assert f"reading {BACKGROUND}: 100 %" in capsys.readouterr().err
    [entry] = leftovers(tmp_path)
    intact = entry.read_bytes()
    assert load("omniglot").sha256 == first.sha256, "the cache alone is enough"
    assert capsys.readouterr().err == ""

    np.savez(entry, train=np.zeros((3, 7)), test=np.zeros((3, 7)))
    other_form = entry.read_bytes()
    for damaged in (b"damaged", intact[: len(intact) // 2], other_form):
        entry.write_bytes(damaged)
        with pytest.warns(UserWarning, match="is damaged .* reading the drawings again"):
            assert load("omniglot", folder, progress=False).sha256 == first.sha256
        assert entry.read_bytes() == intact


def test_omniglot_without_a_writable_cache(omniglot, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="could not be cached"):
        assert load("omniglot", omniglot[0], progress=False).train.shape == (8, 784)


def test_damaged_archives_are_refused(omniglot, monkeypatch, tmp_path):
    path = omniglot[0] / EVALUATION
    path.write_bytes(flip(path.read_bytes()))
    with pytest.raises(DataError, match=r"evaluation.zip is damaged .* MD5 is [0-9a-f]{32}, wanted "):
        load("omniglot", omniglot[0], progress=False)
    with pytest.raises(DataError, match="cannot be read"):
        data_omniglot.check_md5(tmp_path / "nothing", "")
    assert leftovers(tmp_path) == []


def test_archives_of_another_form_are_refused(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(b"not a zip")
    with pytest.raises(DataError, match="a.zip is damaged or cannot be read"):
        data_omniglot.read_drawings(path)
    put_drawings(path, {})
    with pytest.raises(DataError, match="holds no .png files"):
        data_omniglot.read_drawings(path)
    put_drawings(path, {"A/character01/0001_01.png": True}, shape=(28, 28))
    with pytest.raises(DataError, match=r"shape \(28, 28\), wanted \(105, 105\)"):
        data_omniglot.read_drawings(path, progress=False)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/A/character01/0001_01.png", b"not a png")
    with pytest.raises(DataError, match="is damaged or cannot be read"):
        data_omniglot.read_drawings(path, progress=False)


def test_omniglot_small_splits_by_drawer_and_takes_shared_drawings_once(monkeypatch, tmp_path):
    """Both archives hold Greek: unless its drawings are taken once, test images are also among training's."""

    def alphabet(name, seed):
        rng = np.random.default_rng(seed)
        return {f"{name}/character01/0001_{i:02}.png": rng.random((105, 105)) < 0.5 for i in range(1, 21)}

    greek, latin, tagalog = (alphabet(name, seed) for seed, name in enumerate(["Greek", "Latin", "Tagalog"]))
    ask_for(
        monkeypatch,
        "omniglot_small",
        put_drawings(tmp_path / "omniglot_small" / SMALL1, greek | latin),
        put_drawings(tmp_path / "omniglot_small" / SMALL2, greek | tagalog),
    )
    dataset = load("omniglot_small", tmp_path, progress=False)
    assert dataset.train.shape == (48, 784) and dataset.test.shape == (12, 784) and dataset.n_validation == 4
    assert len(np.unique(np.concatenate([dataset.train, dataset.test]), axis=0)) == 60
    expected = [
        alphabet_[f"{name}/character01/0001_{i:02}.png"]
        for i in range(1, 21)
        for name, alphabet_ in (("Greek", greek), ("Latin", latin), ("Tagalog", tagalog))
    ]
    values = [data_omniglot.resize_bilinear(paper.astype(float), 28, 28).ravel() >= 0.5 for paper in expected]
    np.testing.assert_array_equal(np.concatenate([dataset.train, dataset.test]), values)


# ---------------------------------------------------------------- users' files


def saved(tmp_path, name="mine.npz", **arrays):
    np.savez(tmp_path / name, **arrays)
    return tmp_path / name


def test_user_file_is_thresholded_unless_it_says_otherwise(tmp_path):
    levels = np.random.default_rng(4).integers(0, 256, (12, 9), dtype=np.uint8)
    dataset = load(saved(tmp_path, train=levels, test=levels[:5]))
    assert dataset.name == "mine" and dataset.binary and "mine.npz" in dataset.note
    assert dataset.image_shape == (3, 3) and dataset.n_validation == 2
    np.testing.assert_array_equal(dataset.train, levels / 255 >= 0.5)
    grey = load(saved(tmp_path, train=levels, test=levels[:5], binary=False, note="From the attic."))
    assert not grey.binary and grey.decoder == "gaussian" and grey.note == "From the attic."
    np.testing.assert_array_equal(grey.train, levels)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_user_floats(tmp_path, dtype):
    half = np.array(0.5, dtype)
    values = np.array([[0, np.nextafter(half, half - half), 0.5, 1, 0.2]] * 3, dtype)
    binary = load(saved(tmp_path, train=values, test=values))
    np.testing.assert_array_equal(binary.test[0], [0, 0, 1, 1, 0])
    assert binary.image_shape == (1, 5)
    grey = load(saved(tmp_path, train=values, test=values, binary=False))
    np.testing.assert_array_equal(grey.test[0], [0, 127, 128, 255, 51])


@pytest.mark.parametrize("binary", [True, False])
def test_user_bits_in_every_spelling(tmp_path, binary):
    bits = np.eye(6, 6).reshape(6, 2, 3)
    for spelling in (bits, bits.astype(bool), bits.astype(np.uint8), 255 * bits.astype(np.uint8)):
        dataset = load(saved(tmp_path, train=spelling, test=spelling, binary=binary))
        np.testing.assert_array_equal(dataset.train, bits.reshape(6, 6) * (1 if binary else 255))
        assert dataset.image_shape == (2, 3) and dataset.binary == binary


def test_uint8_zeros_and_ones_are_bits_only_if_both_arrays_agree(tmp_path):
    bits, levels = np.eye(3, dtype=np.uint8), np.full((3, 3), 200, np.uint8)
    assert load(saved(tmp_path, train=bits, test=levels)).train.max() == 0


PIXELS = np.zeros((6, 4), np.uint8)


@pytest.mark.parametrize(
    "arrays, message",
    [
        (dict(train=PIXELS), "no array named test; it holds train"),
        (dict(images=PIXELS), "no array named train or test; it holds images"),
        (dict(), "it holds nothing"),
        (dict(train=PIXELS.astype(np.int64), test=PIXELS), "`train` has dtype int64; wanted uint8"),
        (dict(train=PIXELS, test=np.full((2, 4), "a")), "`test` has dtype <U1"),
        (dict(train=PIXELS, test=np.full((2, 4), None)), "cannot be read as an .npz file"),
        (dict(train=PIXELS, test=PIXELS[0]), r"`test` has shape \(4,\)"),
        (dict(train=PIXELS[:0], test=PIXELS), r"`train` has shape \(0, 4\)"),
        (dict(train=PIXELS, test=PIXELS[:, :3]), r"images of one size; got \(4,\) and \(3,\)"),
        (dict(train=PIXELS, test=PIXELS.reshape(6, 2, 2)), r"images of one size; got \(4,\) and \(2, 2\)"),
        (dict(train=np.where(np.eye(6, 4), np.nan, 0.0), test=PIXELS), "`train` holds 4 NaN"),
        (dict(train=PIXELS, test=255.0 * np.eye(4)), "`test` ranges from 0 to 255; wanted floats in"),
        (dict(train=PIXELS, test=np.full((2, 4), -0.1)), "ranges from -0.1"),
        (dict(train=PIXELS, test=np.full((2, 4), np.inf)), "ranges from inf to inf"),
        (dict(train=PIXELS, test=PIXELS, binary=1), "`binary` must be a single bool"),
        (dict(train=PIXELS, test=PIXELS, binary=[True]), "`binary` must be a single bool"),
        (dict(train=PIXELS, test=PIXELS, note=3), "`note` must be a single string"),
    ],
)
def test_user_files_of_another_form_are_refused(tmp_path, arrays, message):
    path = saved(tmp_path, **arrays)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_damaged_or_missing_user_files(tmp_path):
    path = saved(tmp_path, train=PIXELS, test=PIXELS)
    raw = path.read_bytes()
    at = raw.index(b"NUMPY") + 140  # in the pixels
    for damaged in (b"", b"not a zip", raw[:-30], raw[:at] + b"\x07" + raw[at + 1 :]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="cannot be read as an .npz file"):
            load(path)
    with open(path, "wb") as file:
        np.save(file, PIXELS)  # an .npy under the wrong name
    with pytest.raises(DataError, match="cannot be read as an .npz file"):
        load(path)
    with pytest.raises(DataError, match="there is no file .*absent.npz"):
        load(tmp_path / "absent.npz")


def test_user_file_in_the_data_folder(tmp_path, monkeypatch):
    saved(tmp_path, train=PIXELS, test=PIXELS)
    monkeypatch.setenv("IGR_DATA_DIR", str(tmp_path))
    assert load("mine.npz").train.shape == (6, 4)
    with pytest.raises(DataError, match="there is no file other.npz, nor .*other.npz"):
        load("other.npz")


def test_user_file_is_never_taken_for_a_known_set(tmp_path):
    dataset = load(saved(tmp_path, "fmnist.npz", train=PIXELS, test=PIXELS))
    assert dataset.name == "fmnist.npz" and "Fashion" not in dataset.note
    strokes = load(saved(tmp_path, "omniglot_strokes.npz", train=PIXELS, test=PIXELS))
    assert strokes.name == "omniglot_strokes" and strokes.note.startswith("Omniglot (strokes), a stand-in")


# ---------------------------------------------------------------- the real files, where there are any


@pytest.mark.parametrize(
    "name, n_train, n_test, n_validation, mean",
    [
        ("mnist", 60_000, 10_000, 10_000, 0.1323),
        ("fmnist", 60_000, 10_000, 10_000, 0.2860),
        ("omniglot", 24_345, 8_115, 2_345, None),
        ("omniglot_small", 3_872, 968, 387, 0.9190),
    ],
)
def test_real_files(name, n_train, n_test, n_validation, mean, monkeypatch):
    if not REAL_DATA:
        pytest.skip("IGR_DATA_DIR is not set, so there are no real files to read")
    folders = [Path(REAL_DATA).expanduser() / name, Path(REAL_DATA).expanduser()]
    stems = [file.removesuffix(".gz") for file in data.SOURCES[name].files]
    if not any(all(list(folder.glob(stem + "*")) for stem in stems) for folder in folders):
        pytest.skip(f"IGR_DATA_DIR holds no files of {name}")
    monkeypatch.setitem(data.N_VALIDATION, "mnist", 10_000)
    monkeypatch.setitem(data.N_VALIDATION, "fmnist", 10_000)
    monkeypatch.setitem(data.N_VALIDATION, "omniglot", 2_345)
    dataset = load(name, REAL_DATA)
    assert dataset.train.shape == (n_train, 784) and dataset.test.shape == (n_test, 784)
    assert dataset.n_validation == n_validation and dataset.image_shape == (28, 28)
    if mean is not None:
        assert abs(dataset.floats(dataset.train, np.float64).mean() - mean) < 1e-4
