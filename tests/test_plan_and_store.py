"""Configs and files: stable ids, named errors, atomic writes, damage found."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy
import pytest

from experiments import plan, store


def test_ids_are_stable_and_depend_on_every_field():
    base = plan.RunConfig(model="gs", n_samples=2)
    again = plan.from_dict(json.loads(json.dumps(base.as_dict())))
    assert base.id == plan.RunConfig(model="gs", n_samples=2).id == again.id
    changed = {"dataset": "mnist", "model": "igr_i", "estimator": "sl", "architecture": "nonlinear", "dtype": "float64",
               "validation": True, "prior_temperature": 0.5, "relax_temperature": 1.0, "law": "simulated",
               "scored_images": 5}  # fmt: skip
    seen = {base.id}
    for field in dataclasses.fields(base):
        old = getattr(base, field.name)
        value = changed.get(field.name) or old + (1 if isinstance(old, int) else 0.125)
        seen.add(dataclasses.replace(base, **{field.name: value}).id)
    assert len(seen) == len(dataclasses.fields(base)) + 1


def test_ids_do_not_change_when_a_field_is_added():
    """The hash is of the fields that are not at their default: this one is pinned for good."""
    assert plan.RunConfig().id == "digits-linear-igr_i-plain-tau0.15-seed5328-d8452ebd19"


@pytest.mark.parametrize(
    "field, value, word",
    [("model", "vae", "model"), ("temperature", 0.0, "temperature"), ("temperature", float("nan"), "temperature"),
     ("epochs", 0, "epochs"), ("seed", -1, "seed"), ("n_categories", 1, "n_categories"), ("dtype", "f16", "dtype"),
     ("prior_temperature", 0.5, "prior_temperature"), ("estimator", "uspgbl", "n_samples"),
     ("m", 1.5, "m must"), ("learning_rate", -1e-3, "learning_rate")],
)  # fmt: skip
def test_bad_configs_name_the_field(field, value, word):
    with pytest.raises(ValueError, match=word):
        plan.RunConfig(**{field: value})


def test_unknown_fields_are_named():
    with pytest.raises(ValueError, match="colour"):
        plan.from_dict({"colour": "red"})


def test_writing_is_atomic(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    store.write_json(path, {"x": 1})

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        store.write_json(path, {"x": 2})
    assert store.read_json(path) == {"x": 1} and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_nan_never_reaches_a_result(tmp_path):
    with pytest.raises(ValueError):
        store.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_checkpoints_round_trip_and_damage_is_named(tmp_path):
    path = tmp_path / "checkpoint.npz"
    arrays = {"params.a": numpy.arange(6, dtype=numpy.float32).reshape(2, 3), "adam.m.a": numpy.ones(3)}
    store.save_checkpoint(path, arrays, {"step": 3, "x": 0.1 + 0.2})
    loaded, meta = store.load_checkpoint(path)
    assert meta == {"step": 3, "x": 0.1 + 0.2}
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype and (loaded[name] == array).all()
    whole = path.read_bytes()
    rng = numpy.random.default_rng(0)
    for _ in range(40):  # every truncation, and every flipped bit in the arrays' bytes, is found
        path.write_bytes(whole[: rng.integers(0, len(whole))])
        with pytest.raises(store.StoreError, match="checkpoint.npz is a damaged checkpoint"):
            store.load_checkpoint(path)
    where = whole.index(arrays["params.a"].tobytes())
    for offset in range(arrays["params.a"].nbytes):
        broken = bytearray(whole)
        broken[where + offset] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        with pytest.raises(store.StoreError, match="damaged"):
            store.load_checkpoint(path)


def test_damaged_json_is_named(tmp_path):
    path = tmp_path / "result.json"
    path.write_text('{"id": ')
    with pytest.raises(store.StoreError, match="result.json is damaged"):
        store.read_json(path)


def test_parameter_hash_sees_names_dtypes_and_values():
    a = {"x": numpy.zeros(3), "y": numpy.ones(2)}
    others = [{"x": numpy.zeros((3, 1)), "y": numpy.ones(2)},
              {"x": numpy.zeros(3, "f4"), "y": numpy.ones(2)}, {"z": numpy.zeros(3), "y": numpy.ones(2)},
              {"x": numpy.zeros(3), "y": numpy.nextafter(numpy.ones(2), 2)}]  # fmt: skip
    assert store.parameter_hash(a) == store.parameter_hash(dict(reversed(a.items())))
    assert len({store.parameter_hash(p) for p in [a, *others]}) == 5


def test_provenance_says_what_could_explain_a_difference():
    facts = store.provenance()
    assert {"commit", "numpy", "blas", "cpu", "device", "python", "scipy"} <= set(facts)
    json.dumps(facts)
