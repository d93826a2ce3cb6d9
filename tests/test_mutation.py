"""Every hand-written derivative is watched: each mutant must make the tests of its module fail (slow: -m slow).

    python -m tests.mutation_run [module below igr_ref ...]
plants some 2,750 mutants, one at a time, in 212 functions: nearly all derivatives, and the estimators and objectives
that use them. Most are caught within a tenth of a second; some compute the same thing (`mutation_run.EQUIVALENT`
says why). A run takes about half an hour of one core.
"""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

from igr_ref.models import mlp
from igr_ref.models.families import BoundedFamily

from . import mutation, mutation_run
from .mutation_run import EQUIVALENT, ROOT, TESTS, groups

DERIVATIVES = mutation.derivatives()


@pytest.mark.slow
@pytest.mark.parametrize("modules", groups(TESTS).values(), ids=lambda modules: ",".join(modules))
def test_every_mutant_is_caught(modules):
    command = [sys.executable, "-m", "tests.mutation_run", *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_every_derivative_s_module_has_tests():
    assert {module for module, _, _ in DERIVATIVES} == set(TESTS)
    for stem in {stem for stems in TESTS.values() for stem in stems.split()}:
        assert (ROOT / "tests" / f"test_{stem}.py").exists(), stem


def test_functions_listed_by_hand_exist():
    found = {(module, name) for module, name, _ in DERIVATIVES}
    assert {(module, name) for module, names in mutation.MORE.items() for name in names} <= found


def test_equivalent_mutants_exist():
    """A reason that outlives its line of code would excuse another mutant."""
    for module, name, description in EQUIVALENT:
        (function,) = (f for m, n, f in DERIVATIVES if (m, n) == (module, name))
        assert description in [text for text, _ in mutation.mutants(function)], (module, name, description)


# ---- the mutants themselves --------------------------------------------------------------------------------------


def _toy_vjp(x, bar):
    scale = 2 * x + 1
    y_bar = -bar * scale
    return {"x": y_bar}, x[0 + 1]


class _Row(float):
    """3.0 that can also be asked for its element 1."""

    def __getitem__(self, index):
        return 4.0 if index == 1 else None


def test_mutants_are_what_they_claim():
    """x = 3, bar = 5: the unchanged function returns ({"x": -35}, 4)."""
    values = {}
    for text, code in mutation.mutants(_toy_vjp):
        space = {**globals(), "_mutation_scale": mutation.scale}
        grads, second = types.FunctionType(code, space)(_Row(3.0), 5.0)
        values[text.partition(": ")[2]] = (grads["x"], second)
    assert values == {
        "dropped left 2 * x": (-5.0, 4.0),
        "1.001 times left 2 * x": (-5.0 * (1.001 * 6.0 + 1), 4.0),
        "dropped right 1": (-30.0, 4.0),
        "1.001 times right 1": (-5.0 * (6.0 + 1.001), 4.0),
        "turned the sign of 1": (-25.0, 4.0),
        "took the minus from -bar": (35.0, 4.0),
        "result turned the sign of -bar * scale": (35.0, 4.0),
        "result 1.001 times -bar * scale": (-35.0 * 1.001, 4.0),
        "result 0 turned the sign of y_bar": (35.0, 4.0),
        "result 0 1.001 times y_bar": (-35.0 * 1.001, 4.0),
        "result 1 turned the sign of x[0 + 1]": (-35.0, -4.0),
        "result 1 1.001 times x[0 + 1]": (-35.0, 4.0 * 1.001),
    }


def test_planting_reaches_whoever_holds_the_function():
    """The dict of activations took tanh_vjp when it was imported; BoundedFamily.output_bar calls super()."""
    held, original = mlp.ACTIVATIONS["tanh"][1], mlp.tanh_vjp.__code__
    before = held(0.5, 1.0)
    turned = next(code for text, code in mutation.mutants(mlp.tanh_vjp) if "turned the sign of (1 - y)" in text)
    try:
        mutation.plant(mlp.tanh_vjp, turned)
        assert held(0.5, 1.0) == -before
    finally:
        mlp.tanh_vjp.__code__ = original
    assert held(0.5, 1.0) == before
    changed = mutation.mutants(BoundedFamily.output_bar)
    assert changed and all(code.co_freevars == ("__class__",) for _, code in changed)


@pytest.mark.parametrize("stems, verdict", [("backend", "survived"), ("reductions", "caught")])
def test_the_runner_tells_caught_from_survived(stems, verdict):
    """softmax_vjp with a file of tests that does not know it, and with one that does."""
    code = (
        "import sys; from tests.mutation_run import run_group\n"
        "sys.exit(run_group(sys.argv[1], ['numerics'], ['softmax_vjp'], lambda row: print(row.get('verdict'))))"
    )
    done = subprocess.run([sys.executable, "-c", code, stems], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and set(done.stdout.split()) == {"None", verdict}, done.stdout + done.stderr


def test_unknown_modules_are_refused():
    with pytest.raises(SystemExit) as refused:
        mutation_run.main(["nowhere"])
    assert refused.value.code == 2
