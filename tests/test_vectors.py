"""The golden vectors of tests/vectors: igr_ref passes them, the generator reproduces them, an error in one is seen."""

from __future__ import annotations

import json
import math
import pathlib
import re
import subprocess
import sys

import numpy
import pytest

from . import ledger
from .vectors import generate
from .vectors.ours import CHECKS

FOLDER = pathlib.Path(generate.__file__).parent
ROOT = FOLDER.parents[1]
NAMES = list(generate.FILES)
ORACLE = "golden vectors (mpmath, 30 digits)"
TOLERANCE = 1e-12  # of |want| + error_scale, entry by entry; of the largest entry where there is no error_scale

# An error e in a logarithm is a relative error e in the number itself: 1 is added to the size of these.
LOGARITHMS = {"log_z", "log_det", "log_probs", "log_v", "log_rest", "log_prob", "log_prob_exp_concrete", "log_p", "kl"}
# Entries that are small, or 0, because equal terms cancel in them: measured by the largest entry of the array.
CANCELLING = {("igr_sb_chain", "jacobian"), ("unordered_set", "grad")}
# Quadratures of absolute accuracy: (tolerance, size added). recovery.stick_breaking leaves out what lies beyond 6.5
# standard deviations of a stick.
ABSOLUTE = {
    ("prop_2", "by_mu"): (1e-12, 1.0),
    ("prop_2", "by_sigma"): (1e-12, 1.0),
    ("stick_breaking_law", "probs"): (2e-10, 1.0),
    ("stick_breaking_law", "by_mu"): (1e-8, 1.0),
    ("stick_breaking_law", "by_sigma"): (1e-8, 1.0),
}


def load(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def numbers(tree):
    """The same tree with arrays for lists of numbers or of decimal strings, and float64 for single ones."""
    if isinstance(tree, dict):
        return {key: numbers(value) for key, value in tree.items()}
    if isinstance(tree, list):
        first = tree
        while isinstance(first, list):
            first = first[0]
        if isinstance(first, dict):
            return [numbers(value) for value in tree]
        return numpy.array(tree, dtype=float) if isinstance(first, str) else numpy.array(tree)
    if isinstance(tree, str):
        return numpy.float64(tree) if re.fullmatch(r"-?[\d.]+(e[+-]?\d+)?", tree) else tree
    return tree


def leaves(*trees):
    """Tuples of arrays at the same places of trees of one shape; None stands for a tree of None."""
    first = trees[0]
    if isinstance(first, dict):
        assert all(tree is None or set(tree) == set(first) for tree in trees)
        return [x for key in first for x in leaves(*(None if tree is None else tree[key] for tree in trees))]
    if isinstance(first, list):
        return [x for i in range(len(first)) for x in leaves(*(None if tree is None else tree[i] for tree in trees))]
    return [trees]


def error(name, output, want, got, scale):
    """(largest error in units of its size, tolerance) of one output of one file."""
    tolerance, added = ABSOLUTE.get((name, output), (TOLERANCE, 0.0))
    added += output in LOGARITHMS
    largest = 0.0
    for wanted, found, spread in leaves(want, got, scale):
        assert numpy.shape(found) == numpy.shape(wanted), f"{output}: shape {numpy.shape(found)}"
        assert numpy.all(numpy.isfinite(found)), f"{output}: NaN or infinity"
        size = numpy.abs(wanted) + added
        if spread is None or (name, output) in CANCELLING:
            size = numpy.max(size)
        size = size + (0 if spread is None else spread)
        largest = max(largest, float(numpy.max(numpy.abs(found - wanted) / numpy.maximum(size, 1e-290))))
    return largest, tolerance


def scales(case):
    given = numbers(case.get("error_scale", {}))
    return {output: given.get(output) for output in case["outputs"]}


# ---- igr_ref passes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_igr_ref_passes(name):
    equation, function, outputs = CHECKS[name]
    for case in load(name)["cases"]:
        got, want, scale = outputs(numbers(case["inputs"])), numbers(case["outputs"]), scales(case)
        assert set(got) == set(want)
        for output in want:
            seen, tolerance = error(name, output, want[output], got[output], scale[output])
            ledger.record(
                equation, function, ORACLE, seen, unit="of |value| + error_scale", test=f"test_vectors[{name}]"
            )
            assert seen <= tolerance, f"{name}, {case['name']}: {output} is off by {seen:.2e} > {tolerance:.0e}"


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_error_of_1e_9_is_seen(name):
    """In every output of every file, at its largest entry, in at least one case.

    (1e-6 in the derivatives of stick_breaking_law, whose tolerance is what our own quadrature reaches.)
    """
    seen = {}
    for case in load(name)["cases"]:
        want, scale = numbers(case["outputs"]), scales(case)
        for output in want:
            tolerance = ABSOLUTE.get((name, output), (TOLERANCE,))[0]
            wrong = planted(want[output], 1e-9 if tolerance < 1e-9 else 1e-6)
            off, _ = error(name, output, want[output], wrong, scale[output])
            seen[output] = seen.get(output, False) or off > tolerance
    assert all(seen.values()), f"not seen in {[output for output in seen if not seen[output]]}"


def planted(tree, relative):
    """The tree with that relative error at its largest number."""
    largest = max(numpy.max(numpy.abs(x)) for (x,) in leaves(tree))

    def plant(item):
        if isinstance(item, dict):
            return {key: plant(value) for key, value in item.items()}
        if isinstance(item, list):
            return [plant(value) for value in item]
        return numpy.where(numpy.abs(item) == largest, item * (1 + relative), item)

    return plant(tree)


# ---- the files -------------------------------------------------------------------------------------------------------


def test_the_files_are_those_that_are_documented_checked_and_generated():
    found = {path.stem for path in FOLDER.glob("*.json")}
    assert found == set(NAMES) == set(CHECKS)
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_format(name):
    path, contents = FOLDER / f"{name}.json", load(name)
    assert path.stat().st_size < 150_000
    keys = ["name", "format_version", "description", "formula", "shapes", "reference", "digits", "cases"]
    assert list(contents) == keys and contents["format_version"] == 1 and contents["name"] == name
    names = [case["name"] for case in contents["cases"]]
    assert len(names) == len(set(names)) > 2
    for case in contents["cases"]:
        assert set(case) <= {"name", "inputs", "outputs", "error_scale"}
        assert set(case.get("error_scale", {})) <= set(case["outputs"])
        for (x,) in leaves(numbers(case["inputs"])):
            assert isinstance(x, (str, bool)) or numpy.all(numpy.isfinite(x))
        flat = re.findall(r'"(-?[\d.]+(?:e[+-]?\d+)?)"', json.dumps(case["outputs"]))
        assert flat and all(math.isfinite(float(x)) for x in flat)
        longest = max(len(x.split("e")[0].replace("-", "").replace(".", "").lstrip("0")) for x in flat)
        assert contents["digits"] - 3 <= longest <= contents["digits"]


def test_everything_together_is_small():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.json")) < 1_000_000


# ---- the generator ---------------------------------------------------------------------------------------------------

QUICK = ["gaussian_kl", "straight_through", "unordered_set"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in NAMES]
)
def test_the_generator_reproduces_the_committed_file(name):
    assert generate.text(name) == (FOLDER / f"{name}.json").read_text(encoding="utf-8")


def test_the_generator_loads_neither_igr_ref_nor_numpy():
    command = "import sys, tests.vectors.generate; sys.exit('numpy' in sys.modules or 'igr_ref' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], cwd=ROOT).returncode == 0


def test_a_number_that_does_not_settle_is_an_error():
    from mpmath import mp, mpf

    from .vectors import precise

    with pytest.raises(ArithmeticError, match="no agreement"):
        precise.settled(lambda x: mpf(mp.dps), {}, largest=200)


# ---- the README's example --------------------------------------------------------------------------------------------


def example():
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    return code


def test_the_example_runs_with_numpy_only_and_passes():
    code = example()
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 20
    assert set(re.findall(r"^import (\w+)", code, flags=re.MULTILINE)) == {"json", "numpy"}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) == len(load("gumbel_softmax")["cases"])


def test_the_example_catches_a_wrong_function():
    """The clamp log(y + 1e-20) of many implementations, here as a floor on the probabilities."""
    wrong = example().replace("return e / e.sum()", "return np.maximum(e / e.sum(), 1e-20)")
    run = subprocess.run([sys.executable, "-c", wrong], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode != 0 and "AssertionError" in run.stderr
