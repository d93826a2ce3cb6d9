"""Plants every mutant of `mutation` and runs the tests that must catch it:   python -m tests.mutation_run [MODULE ...]

One process for the modules that share their test files. It imports and collects them once and takes the tests' times,
then forks for each mutant: the child changes the function's code and runs the tests until one fails, those first that
caught this function's mutants before, then the quickest. A test that catches a mutant must pass without one. Nothing is
imported again, so no test can see an unchanged copy; the tests run in the child itself, so no worker can (-n 0).
A line is printed for every mutant, and the process fails if one survives that EQUIVALENT does not list.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from . import mutation

ROOT = Path(__file__).resolve().parents[1]
TESTS = {  # module below igr_ref -> the test files that must catch its mutants
    "numerics": "reductions numerics",
    "prior": "prior",
    "transforms.base": "softmax_plus_plus stick_breaking",
    "transforms.softmax_plus_plus": "softmax_plus_plus",
    "transforms.softmax": "remainder",
    "transforms.stick_breaking": "stick_breaking",
    "transforms.chain": "chain remainder planar_flow",
    "transforms.planar_flow": "planar_flow",
    "transforms.planar_flows": "planar_flows",
    "transforms.vertex_interpolation": "vertex_interpolation",
    "distributions.base": "igr gumbel_softmax",
    "distributions.categorical": "categorical",
    "distributions.gaussian": "gaussian",
    "distributions.gumbel_softmax": "gumbel_softmax",
    "distributions.igr": "igr planar_estimators",
    "distributions.kumaraswamy": "kumaraswamy",
    "distributions.infinite": "infinite",
    "recovery.gaussian_argmax": "gaussian_argmax",
    "recovery._factors": "gaussian_argmax",
    "recovery.stick_breaking": "recovery_stick_breaking wide_sticks",
    "recovery._sticks": "recovery_stick_breaking wide_sticks",
    "recovery._beyond": "wide_sticks",
    "recovery._chebyshev": "recovery_stick_breaking",
    "recovery._far_law": "recovery_far",
    "recovery._far_tails": "conditional",
    "recovery.conditional": "conditional recovery_far",
    "recovery.conditional_gumbel": "conditional",
    "recovery._tails": "conditional",
    "recovery._panels": "conditional",
    "recovery._winner": "conditional",
    "recovery._rare": "gaussian_argmax",
    "recovery._drawn": "conditional",
    "recovery.drawn": "conditional",
    "recovery.drawn_single": "drawn",
    "recovery._single_integrals": "drawn",
    "estimators.base": "estimators_pathwise",
    "estimators.reparameterization": "estimators_pathwise planar_estimators",
    "estimators.sticking_the_landing": "estimators_pathwise planar_estimators",
    "estimators.straight_through": "straight_through",
    "estimators.score_function": "score_function",
    "estimators.unordered_set": "unordered_set",
    "estimators.rebar": "rebar_relax",
    "estimators.relax": "rebar_relax",
    "estimators.relax_as_published": "rebar_relax",
    "estimators.control_variates": "rebar_relax",
    "estimators._pairs": "rebar_relax",
    "models.mlp": "models hot_path structured_output",
    "models.losses": "models hot_path",
    "models.families": "models",
    "models.vae": "models hot_path",
    "models.reconstruction": "reconstruction",
    "models.mixture": "mixture",
    "models.mixture_sticks": "mixture",
    "models.mixture_objective": "mixture",
    "models.mixture_as_published": "mixture",
    "models.binary_units": "structured_output",
    "models.structured_output": "structured_output",
}
# Mutants that compute the same thing: (module, function, what was changed) -> why no test can tell.
DIAGONAL = """1 - eye takes out the fluxes' diagonal. Left in, it is added to its row's sum and taken from it again:
only digits are lost."""
CONSTANT = """The KL is one number for all codes of the set: what it adds to f the baseline takes away, as its weights
sum to 1. In a saturated set they sum to 1 - e, e < 1e-5, and the weighted scores to O(e): e^2 KL is left."""
LOWER = """Where u <= 0, p = v Phi(u) <= 1/2 is the smaller of p and `rest`, which is asked for nothing else."""
ZERO = """Without a KL term the value is zeros."""
RECORD = (
    """A record made on the spot, of which a factor on the whole reaches no field; what goes into it has mutants."""
)
STEP = """The size of Newton's next step, not the result."""
EQUIVALENT: dict[tuple[str, str, str], str] = {}
for _change in (
    "1.001 times left 1",
    *(f"{how} tail (2)" for how in ("dropped right", "1.001 times right", "turned the sign of")),
):
    EQUIVALENT["recovery.conditional", "_quantiles_below", f"line 12: {_change}"] = LOWER
for _change in ("turned the sign of", "1.001 times"):
    EQUIVALENT["estimators.score_function", "kl_term", f"line 11: result 0 {_change} kl"] = ZERO
for _change in ("dropped right", "1.001 times right", "turned the sign of"):
    EQUIVALENT["recovery.gaussian_argmax", "jacobian", f"line 8: {_change} eye"] = DIAGONAL
    EQUIVALENT["estimators.unordered_set", "from_set", f"line 12: {_change} kl[..., None]"] = CONSTANT

LIMIT = 300  # seconds of one mutant, after which it counts as caught: it hangs
PATIENCE = 0.5  # seconds a test gets at first; those that need more have their turn again after all others


class _Paused(Exception):
    pass


class Planter:
    """The pytest plugin that replaces the loop over tests."""

    def __init__(self, modules, only, report):
        self.modules, self.only, self.report = modules, only, report
        self.failed, self.patience = None, 0.0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item, call):
        if call.excinfo is not None and self.failed is None and not call.excinfo.errisinstance(pytest.skip.Exception):
            self.failed = [item.nodeid, call.excinfo.typename]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        # only the test itself is interrupted, never pytest's own books
        signal.setitimer(signal.ITIMER_REAL, self.patience)
        try:
            return (yield)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def run(self, item, patience=0.0):
        """Whether the test came to an end in time."""
        self.patience = patience
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        paused = self.failed is not None and self.failed[1] == _Paused.__name__
        if paused:
            self.failed = None
        return not paused

    def pytest_runtestloop(self, session):
        signal.signal(signal.SIGALRM, _pause)
        seconds, started = {}, time.perf_counter()
        self.unchanged = {item.nodeid: item for item in session.items}
        for item in session.items:
            start = time.perf_counter()
            if self.run(item, PATIENCE):
                self.must_pass(item.nodeid)
            seconds[item.nodeid] = time.perf_counter() - start
        self.report({"tests": len(session.items), "seconds": round(time.perf_counter() - started, 1)})
        catches = Counter()
        for module, name, function in mutation.derivatives():
            if module not in self.modules or (self.only and name not in self.only):
                continue
            here = Counter()
            for description, code in mutation.mutants(function):
                order = sorted(session.items, key=lambda i: (-here[i.nodeid], -catches[i.nodeid], seconds[i.nodeid]))
                start = time.perf_counter()
                # pytest may stumble over a test that was interrupted: then once more, without
                verdict, by = self.child(function, code, order, here) or self.child(function, code, order, None)
                if by and by[0] in self.unchanged:
                    self.run(self.unchanged[by[0]])
                    self.must_pass(by[0])
                here.update(by[:1])
                catches.update(by[:1])
                if verdict == "survived" and (module, name, description) in EQUIVALENT:
                    verdict = "equivalent"
                self.report(
                    {
                        "module": module, "function": name, "mutant": description, "verdict": verdict, "by": by,
                        "seconds": round(time.perf_counter() - start, 2),
                    }
                )  # fmt: skip
        session.testsfailed = 0  # those that ran out of patience
        return True

    def first(self, item, known):
        """Whether a test came to an end in time; those that caught this function's mutants before get all they need."""
        return known is not None and self.run(item, LIMIT / 10 if known[item.nodeid] else PATIENCE)

    def must_pass(self, test):
        """A test may speak for mutants only if it passes without any."""
        if self.failed:
            raise pytest.UsageError(f"a test fails without any mutant: {self.failed}")
        del self.unchanged[test]

    def child(self, function, code, items, known):
        """("caught", [test, exception]), ("survived", []), ("hung", []), or None where pytest itself broke."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            shown, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            try:
                mutation.plant(function, code)
                left = [item for item in items if not self.failed and not self.first(item, known)]
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                for item in left:
                    if not self.failed:
                        self.run(item, LIMIT)
                os.write(write, json.dumps(self.failed or []).encode())
            except BaseException:
                if known is None:
                    traceback.print_exc(file=os.fdopen(shown, "w"))
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            got = pipe.read()
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM:
            return "hung", []
        if not got and known is not None:
            return None
        if not got:
            raise RuntimeError(f"the child died with status {status}: {function.__qualname__}")
        by = json.loads(got)
        return ("caught", by) if by else ("survived", [])


def _pause(number, frame):
    raise _Paused


def groups(modules):
    """The modules by the test files they share."""
    by_files = defaultdict(list)
    for module in modules:
        by_files[TESTS[module]].append(module)
    return dict(by_files)


def run_group(files, modules, only, report):
    """pytest's exit code of one warm process; call it once in a process."""
    paths = [str(ROOT / "tests" / f"test_{stem}.py") for stem in files.split()]
    options = ["-n", "0", "-s", "-q", "--no-header", "--tb=native", "-p", "no:cacheprovider"]
    options += ["-p", "no:terminalreporter"]
    return pytest.main([*options, *paths], plugins=[Planter(modules, only, report)])


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.mutation_run", description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", help="below igr_ref, e.g. estimators.rebar; default all")
    parser.add_argument("--only", action="append", help="a function's qualified name; may be given again")
    parser.add_argument("--one-process", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    unknown = set(args.modules) - set(TESTS)
    if unknown:
        parser.error(f"no tests are listed for {sorted(unknown)}")
    if args.one_process:
        ((files, modules),) = groups(args.modules).items()
        return int(run_group(files, modules, args.only, lambda row: print(json.dumps(row), flush=True)))
    totals, survivors, status = Counter(), [], 0
    for modules in groups(args.modules or TESTS).values():
        command = [sys.executable, "-m", "tests.mutation_run", "--one-process", *modules]
        command += [f"--only={name}" for name in args.only or ()]
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | {"PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if not line.startswith("{"):
                    print(line, end="")
                    continue
                row = json.loads(line)
                if "tests" in row:
                    print(f"{', '.join(modules)}: {row['tests']} tests, timed in {row['seconds']} s", flush=True)
                    continue
                totals[row["verdict"]] += 1
                text = f"{row['verdict']:10} {row['seconds']:6.2f} s  {row['module']} {row['function']} {row['mutant']}"
                print(text + (f"  [{' '.join(row['by'])}]" if row["by"] else ""), flush=True)
                if row["verdict"] == "survived":
                    survivors.append(text)
        status = status or process.returncode
    print(dict(totals))
    print("\n".join(survivors))
    return 1 if survivors else status


if __name__ == "__main__":
    sys.exit(main())
