"""Groups of replicas for the tests: their configs, and training them as a group or alone."""

from __future__ import annotations

import dataclasses
import io

import numpy

from experiments import data, replica_group, replica_training, train

from .run_cases import SMALL

QUIET = {"say": lambda text: None}


def seeds(n, **fields):
    return [dataclasses.replace(SMALL, seed=seed, **fields) for seed in range(n)]


def seeds_and_temperatures(**fields):
    """R = 4; for Gumbel-Softmax one of them has a prior temperature of its own."""
    group = [dataclasses.replace(SMALL, seed=s, temperature=t, **fields) for s in (3, 4) for t in (0.2, 0.67)]
    if fields.get("model") == "gs":
        group[1] = dataclasses.replace(group[1], prior_temperature=0.5)
    return group


def run_group(configs, folder, **options):
    """({id: result}, {id: error})."""
    results = {}
    failed = replica_training.run(configs, folder, lambda r: results.__setitem__(r["id"], r), **options)
    return results, failed


def trained_group(configs, folder):
    """The Group after its last epoch."""
    folder.mkdir(parents=True)
    group = replica_group.Group(configs, data.load("digits"), numpy)
    replica_training.train(group, folder, io.StringIO(), quiet=True)
    return group


def trained_alone(config, folder):
    folder.mkdir(parents=True)
    return train.train(config, data.load("digits"), folder, numpy, io.StringIO(), quiet=True)


def same_runs(got, want):
    assert got.keys() == want.keys()
    for name in want:
        for key in ("parameters_sha256", "metrics", "history", "config"):
            assert got[name][key] == want[name][key], (name, key)
