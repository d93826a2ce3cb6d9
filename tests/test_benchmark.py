"""The benchmark compares what it times: a contestant that computes something else is an error. No time is asserted."""

from __future__ import annotations

import concurrent.futures
import os

import numpy
import pytest

from experiments import __main__ as command
from experiments import benchmark, benchmark_cores, blas, peers, report
from experiments import benchmark_contest as contest
from experiments.peers import autograd_peer, ours
from experiments.tables import benchmark as tables


@pytest.fixture(scope="module")
def dataset():
    return ours.synthetic(400, 30)


@pytest.mark.parametrize("architecture", ["linear", "nonlinear"])
@pytest.mark.parametrize("model", list(ours.PRIORS))
@pytest.mark.parametrize("library", list(peers.LIBRARIES))
def test_peers_compute_our_loss_and_gradients(library, model, architecture, dataset):
    pytest.importorskip(library)
    task = ours.task(model, architecture, dataset)
    peer = peers.installed((library,))[library]
    names = list(peer.trainers(task))[:1]
    trainers = {tables.OURS: ours.Trainer(task)} | {name: peer.trainers(task)[name] for name in names}
    contest.agree(task, trainers)


@pytest.mark.parametrize("model", list(ours.PRIORS))
def test_trainers_take_the_same_steps(model, dataset):
    """Twenty steps of ours and of autograd's from one start, each with its own noise, on the same images."""
    task = ours.task(model, "linear", dataset)
    ours_, theirs = ours.Trainer(task), autograd_peer.Trainer(task)
    losses = ours_.run(20), theirs.run(20)
    assert losses[0] == pytest.approx(losses[1], rel=0.05 if model == "igr_planar" else 0.02)  # its KL is sampled
    for name, p in ours_.program.params.items():
        moved, other = p - task.params[name], theirs.params[name] - task.params[name]
        assert numpy.sum(moved * other) > 0.8 * numpy.linalg.norm(moved) * numpy.linalg.norm(other), name


def test_another_loss_or_gradient_is_refused(dataset):
    task = ours.task("gs", "linear", dataset)
    own = ours.Trainer(task)

    class Wrong:
        def __init__(self, loss, gradient):
            self.factors = loss, gradient

        def check(self, x, noise):
            loss, grads = autograd_peer.Trainer(task).check(x, noise)
            return loss * self.factors[0], {**grads, "decoder.0.bias": grads["decoder.0.bias"] * self.factors[1]}

    contest.agree(task, {tables.OURS: own, "right": Wrong(1, 1)})
    with pytest.raises(RuntimeError, match="wrong computes another loss"):
        contest.agree(task, {tables.OURS: own, "wrong": Wrong(1.001, 1)})
    with pytest.raises(RuntimeError, match="wrong computes another gradient of decoder.0.bias"):
        contest.agree(task, {tables.OURS: own, "wrong": Wrong(1, 1.001)})


def test_record_and_tables(dataset, monkeypatch):
    monkeypatch.setattr(ours, "synthetic", lambda: dataset)
    options = benchmark.Options(
        models=("igr_i", "gs"), architectures=("linear",), libraries=("autograd",), rounds=1, steps=1, images=2,
        sweep=False, threads=False,
    )  # fmt: skip
    said = []
    record = benchmark.measure(options, said.append)
    assert [part["model"] for part in record["steps"]] == ["igr_i", "gs"] and "autograd" in record["libraries"]
    for part in record["steps"]:
        assert set(part["times"]) == {tables.OURS, "autograd", contest.PRODUCTS}
        assert all(entry["ms"] >= 0 and entry["wall_ms"] > 0 for entry in part["times"].values())
    assert len(record["scores"]) == 1  # one architecture, whatever the model
    assert tuple(record["kernels"]) == blas.choices() and all(ms >= 0 for ms in record["kernels"].values())
    assert benchmark.best_peer(record["steps"][0]["times"], {"autograd": None}) == ("autograd", "autograd")
    assert benchmark.best_peer(record["steps"][0]["times"], {}) is None
    assert {(part["axis"], part["count"]) for part in record["scaling"]} >= {("runs", 4), ("images", 400)}
    assert {part["model"] for part in record["relax"]["steps"]} == {"igr_i", "gs"}
    assert len(record["relax"]["laws"]) == 5 and all(value >= 0 for value in record["relax"]["laws"].values())
    for part in [*record["steps"], *record["scores"], *record["relax"]["steps"]]:  # a clock may be too coarse
        for entry in part["times"].values():
            entry["ms"] = entry["wall_ms"]
    record["scaling"] = [{**part, "ms": part["wall_ms"]} for part in record["scaling"]]
    record["kernels"] = {"Haswell": 1.0, "SkylakeX": 2.0}
    record["threaded"] = {"threads": 7, "steps": record["steps"]}
    sections = tables.sections(record)
    for _, header, rows in sections:
        assert rows and all(len(row) == len(header) for row in rows)
    (rows,) = (rows for title, _, rows in sections if "kernels" in title)
    assert rows == [("Haswell", "1.00"), ("SkylakeX", "2.00")]
    (title,) = (title for title, _, _ in sections if "7 threads" in title)
    assert title.endswith("wall clock")
    assert record["provenance"]["numpy"] in tables.caption(record)


def test_children_get_the_threads_and_the_environment_is_put_back(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    for flags, inside in ((peers.XLA_ONE_THREAD, None), ("--xla_of_the_user", "--xla_of_the_user")):
        monkeypatch.setenv("XLA_FLAGS", flags)
        before = dict(os.environ)
        with pytest.raises(KeyError), benchmark_cores.threads_of_children(3):
            assert peers.threads() == 3 and benchmark.clock_name() == "wall"
            assert {os.environ[name] for name in benchmark_cores.THREADS} == {"3"}
            assert os.environ.get("XLA_FLAGS") == inside
            raise KeyError
        assert dict(os.environ) == before


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="processes cannot be kept on a core here")
def test_one_core_holds_for_threads_started_inside_and_is_put_back():
    before = os.sched_getaffinity(0)
    with pytest.raises(KeyError), contest.one_core():
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            assert pool.submit(os.sched_getaffinity, 0).result() == os.sched_getaffinity(0) == {max(before)}
        raise KeyError
    assert os.sched_getaffinity(0) == before


@pytest.mark.slow
def test_steps_are_whole_loops_where_a_library_loops():
    assert benchmark.Options(libraries=("torch",), steps=7).steps == 7
    with pytest.raises(ValueError, match="steps must be a multiple of 25, which JAX takes at once; got 7"):
        benchmark.Options(libraries=("torch", "jax"), steps=7)


def test_steps_are_timed_with_all_threads():
    options = benchmark.Options(libraries=("autograd",), rounds=1, steps=1)
    steps = [{"model": "igr_i", "architecture": "linear"}]
    (step,) = benchmark.threaded_steps(steps, options, lambda text: None)
    assert step["model"] == "igr_i" and set(step["times"]) == {tables.OURS, "autograd", contest.PRODUCTS}
    assert all(entry["ms"] == entry["wall_ms"] for entry in step["times"].values()) or benchmark.cores() == 1


@pytest.mark.slow
def test_a_sweep_runs_on_every_core(dataset):
    rates = benchmark.sweep_rates("gs", "linear", ("autograd", "autograd"), 1.0, lambda text: None)
    assert set(rates) == {tables.OURS, "autograd"} and all(min(rate.values()) > 1 for rate in rates.values())


def test_bad_options_are_named(capsys):
    assert command.main(["benchmark", "--rounds", "0"]) == 2
    assert "rounds must be at least 1, got 0" in capsys.readouterr().err
    with pytest.raises(ValueError, match="seconds"):
        benchmark.Options(seconds=0)


def test_readme_shows_the_committed_record():
    sections = report.sections({})
    assert sections["benchmark"] in report.README.read_text(encoding="utf-8")
