"""Damaged files at random positions: checkpoints, results, caches, data. Damage is named or changes nothing."""

from __future__ import annotations

import dataclasses
import json

import numpy
import pytest

from experiments import data, data_formats, fitted_prior, plan, report, store, sweep

from .sweep_cases import SMALL, tiny_images


def damaged(whole, rng, n, every=False):
    """`whole` with a random bit of each of its first and last 200 bytes changed (`every` bit), where headers are, and n
    times with one to three bits anywhere."""
    ends = [*range(200), *range(len(whole) - 200, len(whole))]
    changes = [[8 * byte + bit] for byte in ends for bit in (range(8) if every else rng.integers(0, 8, 1).tolist())]
    changes += [rng.integers(0, 8 * len(whole), k).tolist() for k in rng.integers(1, 4, n)]
    for bits in changes:
        broken = bytearray(whole)
        for bit in set(bits):
            broken[bit // 8] ^= 1 << bit % 8
        yield bytes(broken)


def truncated(whole, rng, n):
    return [whole[:k] for k in rng.integers(0, len(whole), n)]


# How many, and whether every bit of the ends: some for each run of the tests, many for the long ones.
AMOUNTS = pytest.mark.parametrize("n, every", [(300, False), pytest.param(20_000, True, marks=pytest.mark.slow)])


def same(a, b):
    if a.keys() != b.keys():
        return False
    return all(a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and (a[k] == b[k]).all() for k in a)


@AMOUNTS
def test_checkpoints_are_whole_or_named(tmp_path, n, every):
    """Truncations are always found. A flipped bit either changes nothing (a date in the zip, say) or is found."""
    rng = numpy.random.default_rng(0)
    path = tmp_path / "checkpoint.npz"
    arrays = {"params.a": rng.standard_normal((3, 22)).astype("float32"), "adam.m.a": rng.standard_normal((2, 5))}
    meta = {"id": "x", "step": 3, "history": [{"epoch": 1, "train_loss": 0.1 + 0.2}], "facts": {}}
    store.save_checkpoint(path, arrays, meta)
    whole = path.read_bytes()
    for broken in truncated(whole, rng, 200):
        path.write_bytes(broken)
        with pytest.raises(store.StoreError, match="checkpoint.npz is a damaged checkpoint .*delete it"):
            store.load_checkpoint(path)
    harmless = found = 0
    for broken in damaged(whole, rng, n, every):
        path.write_bytes(broken)
        try:
            loaded, loaded_meta = store.load_checkpoint(path)
        except store.StoreError as error:
            assert str(path) in str(error)
            found += 1
        else:
            assert same(loaded, arrays) and loaded_meta == meta
            harmless += 1
    assert found > n / 2 and found > harmless > 0


def shorter(path):
    """Change the shape (3, 100000) in an array's header within the file to (2, 100000)."""
    whole = path.read_bytes()
    assert whole.count(b"(3, 100000)") == 1
    path.write_bytes(whole.replace(b"(3, 100000)", b"(2, 100000)"))


def test_an_altered_array_header_is_found(tmp_path):
    """NumPy reads as many bytes as the header asks for, and zipfile looks at the CRC when it has read the last: a shape
    with fewer rows goes unnoticed without our own hash."""
    path = tmp_path / "checkpoint.npz"
    store.save_checkpoint(path, {"params.a": numpy.ones((3, 100_000))}, {"step": 1})
    shorter(path)
    with numpy.load(path) as file:
        assert file["params.a"].shape == (2, 100_000)  # what a reader without the hash gets
    with pytest.raises(store.StoreError, match="does not match its hash"):
        store.load_checkpoint(path)


def test_checkpoints_of_older_versions_are_read(tmp_path):
    path = tmp_path / "checkpoint.npz"
    meta = numpy.frombuffer(json.dumps({"step": 1}).encode(), numpy.uint8)
    numpy.savez(path, __meta__=meta, a=numpy.arange(3))
    arrays, meta = store.load_checkpoint(path)
    assert meta == {"step": 1} and arrays["a"].tolist() == [0, 1, 2]


def result(tmp_path):
    sweep.work(SMALL.as_dict(), tmp_path / "results", tmp_path / "runs")
    return tmp_path / "results" / f"{SMALL.id}.json"


@AMOUNTS
def test_results_are_whole_or_named(tmp_path, n, every):
    """Every flipped bit of a result changes its spelling, not its content, or is found; so are truncations."""
    path = result(tmp_path)
    rng, whole, value = numpy.random.default_rng(1), path.read_bytes(), store.read_result(path)
    assert value["id"] == SMALL.id and "checksum" not in value
    for broken in truncated(whole[:-1], rng, 200):  # the last byte is a newline
        path.write_bytes(broken)
        with pytest.raises(store.StoreError, match=f"{SMALL.id}.json is damaged .*delete it"):
            store.read_result(path)
    found = 0
    for broken in damaged(whole, rng, n, every):
        path.write_bytes(broken)
        try:
            again = store.read_result(path)
        except store.StoreError as error:
            assert str(path) in str(error)
            found += 1
        else:  # another blank, or another spelling of the same number
            assert again == value
    assert found > n / 2


def test_a_changed_digit_is_not_a_result(tmp_path):
    """Whoever asks for it: the sweep, the tables, the run itself."""
    path = result(tmp_path)
    value = store.read_json(path)
    value["metrics"]["all"]["loglik"]["mean"] += 1e-9
    store.write_json(path, value)
    for ask in (
        lambda: sweep.pending([SMALL], tmp_path / "results"),
        lambda: report.load_results(tmp_path / "results"),
    ):
        with pytest.raises(store.StoreError, match=r"does not match its checksum\); delete it and run again"):
            ask()
    del value["checksum"]
    store.write_json(path, value)
    with pytest.raises(store.StoreError, match='lacks "id" or "checksum"'):
        sweep.pending([SMALL], tmp_path / "results")


@pytest.mark.parametrize("value", [{"id": "x", "a": {2: 1.5, 10: (1, 2)}}, {"id": "y", "b": [0.1, 1e300, None, True]}])
def test_results_round_trip(tmp_path, value):
    """Keys that are numbers and tuples become what JSON makes of them before the checksum is taken."""
    store.write_result(tmp_path / "r.json", value)
    assert store.read_result(tmp_path / "r.json") == json.loads(json.dumps(value))
    store.write_result(tmp_path / "again.json", store.read_result(tmp_path / "r.json"))
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "r.json").read_bytes()


def test_a_damaged_prior_in_the_cache_is_fitted_again(tmp_path, monkeypatch):
    """A flipped digit there would train every later model with another prior."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fits = []
    monkeypatch.setattr(fitted_prior.prior, "igr_i_prior", lambda k: (fits.append(k), (-0.625, -0.125))[1])
    config = plan.RunConfig(model="igr_i")
    assert fitted_prior.fitted_prior(config) == fitted_prior.fitted_prior(config) == {"mu": -0.625, "log_sigma": -0.125}
    assert len(fits) == 1
    (path,) = tmp_path.rglob("*.json")
    path.write_text(path.read_text().replace("-0.625", "-0.627"))
    assert fitted_prior.fitted_prior(config) == {"mu": -0.625, "log_sigma": -0.125} and len(fits) == 2
    path.rename(path.with_name(path.name.replace("K10", "K5")))  # of another number of categories
    assert fitted_prior.fitted_prior(dataclasses.replace(config, n_categories=5))["mu"] == -0.625 and len(fits) == 3


@AMOUNTS
@pytest.mark.parametrize("save", [numpy.savez, numpy.savez_compressed], ids=["stored", "compressed"])
def test_users_data_are_whole_or_named(tmp_path, save, n, every):
    rng = numpy.random.default_rng(2)
    path = tmp_path / "mine.npz"
    arrays = {name: rng.integers(0, 256, (k, 12), dtype=numpy.uint8) for name, k in (("train", 30), ("test", 10))}
    save(path, **arrays)
    whole, wanted = path.read_bytes(), data.load(str(path)).sha256
    for broken in [*truncated(whole, rng, 100), *damaged(whole, rng, n, every)]:
        path.write_bytes(broken)
        try:
            assert data.load(str(path)).sha256 == wanted
        except data.DataError as error:
            assert "mine.npz" in str(error)


def test_users_data_with_an_altered_header_are_refused(tmp_path):
    """The same for data: rows must not go missing."""
    path = tmp_path / "mine.npz"
    numpy.savez(path, train=numpy.zeros((3, 100_000), numpy.uint8), test=numpy.zeros((1, 100_000), numpy.uint8))
    shorter(path)
    with pytest.raises(data_formats.DataError, match="mine.npz cannot be read as an .npz file .*CRC-32"):
        data.load(str(path))


def test_the_damaged_data_of_a_run_are_reported_by_the_sweep(tmp_path):
    path = tiny_images(tmp_path)
    good, bad = SMALL, dataclasses.replace(SMALL, dataset=path)
    whole = (tmp_path / "tiny.npz").read_bytes()
    (tmp_path / "tiny.npz").write_bytes(whole[: len(whole) // 2])

    from .sweep_cases import inline

    failed = sweep.execute([bad, good], tmp_path / "results", tmp_path / "runs", inline, say=lambda text: None)
    assert list(failed) == [bad.id] and path in failed[bad.id]
    assert [p.stem for p in (tmp_path / "results").glob("*.json")] == [good.id]
