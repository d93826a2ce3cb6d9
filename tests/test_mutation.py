"""Every hand-written derivative is watched: each mutant must make the tests of its module fail (slow: -m slow)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import mutation

ROOT = Path(__file__).resolve().parents[1]
TESTS = {  # module below igr_ref -> the test files that must catch its mutants, quickest first
    "numerics": ["numerics"],
    "transforms.softmax_plus_plus": ["softmax_plus_plus"],
    "transforms.softmax": ["remainder"],
    "transforms.stick_breaking": ["stick_breaking"],
    "transforms.chain": ["chain", "remainder", "planar_flow"],
    "transforms.planar_flow": ["planar_flow"],
    "transforms.vertex_interpolation": ["vertex_interpolation"],
    "distributions.gaussian": ["gaussian"],
    "distributions.gumbel_softmax": ["gumbel_softmax"],
    "distributions.igr": ["igr", "planar_estimators"],
    "distributions.kumaraswamy": ["kumaraswamy"],
    "distributions.infinite": ["infinite"],
    "recovery.gaussian_argmax": ["gaussian_argmax"],
    "recovery.stick_breaking": ["recovery_stick_breaking"],
    "recovery._sticks": ["recovery_stick_breaking"],
    "recovery.conditional": ["conditional"],
    "recovery._tails": ["conditional"],
    "estimators.reparameterization": ["estimators_pathwise", "planar_estimators"],
    "estimators.sticking_the_landing": ["estimators_pathwise", "planar_estimators"],
    "estimators.straight_through": ["straight_through"],
    "estimators.score_function": ["score_function"],
    "estimators.unordered_set": ["unordered_set"],
    "estimators.rebar": ["rebar_relax"],
    "estimators.relax": ["rebar_relax"],
    "estimators.control_variates": ["rebar_relax"],
    "estimators._pairs": ["rebar_relax"],
    "models.mlp": ["models", "structured_output"],
    "models.losses": ["models"],
    "models.mixture_sticks": ["mixture"],
    "models.mixture_objective": ["mixture"],
    "models.binary_units": ["structured_output"],
}
# Mutants that compute the same thing; each with the reason why it is not wrong.
EQUIVALENT: dict[tuple[str, str, str], str] = {}

DERIVATIVES = [(module.__name__[8:], name) for module, name, _ in mutation.derivatives()]
CHILD = """
import sys, pytest
from tests import mutation
module, name, index = sys.argv[1], sys.argv[2], int(sys.argv[3])
found = next(item for item in mutation.derivatives() if item[0].__name__ == "igr_ref." + module and item[1] == name)
mutation.plant(*found, list(mutation.mutants(found[2]))[index][1])
sys.exit(pytest.main(["-x", "-q", "--no-header", "-p", "no:cacheprovider", *sys.argv[4:]]))
"""


def survivors(module, name, only=None):
    """Descriptions of the mutants of one derivative that no test catches; each is tried in a process of its own."""
    function = next(f for m, n, f in mutation.derivatives() if m.__name__ == f"igr_ref.{module}" and n == name)
    files = [str(ROOT / "tests" / f"test_{stem}.py") for stem in TESTS[module]]
    alive = []
    for index, (description, _) in enumerate(mutation.mutants(function)):
        if (only is not None and index not in only) or (module, name, description) in EQUIVALENT:
            continue
        command = [sys.executable, "-c", CHILD, module, name, str(index), *files]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        if done.returncode == pytest.ExitCode.OK:
            alive.append(description)
        elif done.returncode != pytest.ExitCode.TESTS_FAILED:
            alive.append(f"{description}: pytest itself failed\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return alive


@pytest.mark.slow
@pytest.mark.parametrize("module, name", DERIVATIVES, ids=lambda value: value)
def test_every_mutant_is_caught(module, name):
    assert not survivors(module, name)


def test_every_derivative_s_module_has_tests():
    assert {module for module, _ in DERIVATIVES} <= set(TESTS)
    for stems in TESTS.values():
        for stem in stems:
            assert (ROOT / "tests" / f"test_{stem}.py").exists(), stem


def test_mutants_are_what_they_claim():
    def toy_vjp(x, bar):
        scale = 2 * x + 1
        return bar * scale, x[0 + 1]

    values = {text.split(": ")[1]: mutant(_Row(), 5.0) for text, mutant in mutation.mutants(toy_vjp)}
    assert values == {
        "result 0 times -1.0": (-35.0, 4.0), "result 1 times -1.0": (35.0, -4.0), "dropped 1": (30.0, 4.0),
        "result 0 times 1.001": (35.0 * 1.001, 4.0), "result 1 times 1.001": (35.0, 4.0 * 1.001),
    }  # fmt: skip


class _Row(float):
    """3.0 that can also be asked for its element 1."""

    def __new__(cls):
        return super().__new__(cls, 3.0)

    def __getitem__(self, index):
        return 4.0
