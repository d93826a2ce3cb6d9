"""Replicas: runs trained as one program are the same runs, on any kind of array."""

from __future__ import annotations

import numpy
import pytest

from experiments import data, plan, program_vae, replica_group, replica_program, store, sweep
from igr_ref import models, noise

from .replica_cases import QUIET, seeds, seeds_and_temperatures, trained_alone, trained_group
from .run_cases import quick_priors
from .strict_array import NAMESPACE, StrictArray, same_bits
from .sweep_cases import inline

# Rounding may make a gradient that is nearly 0 differ by more than Adam's epsilon, and a step is at most about the
# learning rate: float32 parameters after 28 steps may be a few steps apart at the very worst.
TOLERANCE = {"float32": 4e-3, "float64": 1e-9}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    quick_priors(monkeypatch, tmp_path)


def cases():
    for model in plan.MODELS:
        yield seeds(3, model=model, estimator="plain", dtype="float64")
        yield seeds_and_temperatures(model=model, estimator="sl", dtype="float64")
        yield seeds_and_temperatures(model=model, estimator="plain")
    for estimator, model in (("relax", "igr_i"), ("relax", "gs"), ("uspgbl", "igr_i"), ("uspgbl", "gs")):
        yield seeds(3, model=model, estimator=estimator, n_samples=2, dtype="float64", epochs=1)


@pytest.mark.parametrize("configs", list(cases()), ids=lambda g: f"{g[0].model}-{g[0].estimator}-{g[0].dtype}-{len(g)}")
def test_replicas_are_their_own_runs(configs, tmp_path):
    group = trained_group(configs, tmp_path / "group")
    assert group.failed == {}
    tolerance = TOLERANCE[configs[0].dtype]
    for r, config in enumerate(configs):
        alone = trained_alone(config, tmp_path / config.id)
        assert sorted(alone.params) == sorted(group.together.params)
        for name, p in alone.params.items():
            got = group.together.params[name][r]
            assert got.dtype == p.dtype and numpy.abs(got - p).max() <= tolerance, name
            assert numpy.abs(group.together.each[r].params[name] - got).max() == 0
        for own, shared in zip(alone.history, group.histories[config.id], strict=True):
            assert own.keys() == shared.keys()
            for key in own:
                assert shared[key] == pytest.approx(own[key], abs=20 * tolerance)


@pytest.mark.parametrize("model", ["gs", "igr_sb"])
def test_images_and_noise_are_those_of_the_runs_bit_for_bit(model, tmp_path, monkeypatch):
    seen = []
    real = models.VAE.loss_and_grads

    def recorded(self, params, x, draws, *rest):
        seen.append((x.copy(), draws.copy()))
        return real(self, params, x, draws, *rest)

    monkeypatch.setattr(models.VAE, "loss_and_grads", recorded)
    configs = seeds_and_temperatures(model=model)
    trained_group(configs, tmp_path / "group")
    together = list(seen)
    for r, config in enumerate(configs):
        seen.clear()
        trained_alone(config, tmp_path / config.id)
        assert len(seen) == len(together) == 2 * (1437 // 100)
        for (x, draws), (all_x, all_draws) in zip(seen, together, strict=True):
            assert x.tobytes() == all_x[r].tobytes() and draws.tobytes() == all_draws[r].tobytes()
    assert together[0][1][0].tobytes() != together[0][1][2].tobytes()  # seeds differ
    assert together[0][0].tobytes() != together[1][0].tobytes()


def test_the_results_of_a_sweep_have_the_same_ids_and_metrics(tmp_path):
    configs = seeds_and_temperatures(model="igr_i") + seeds(1, model="gs") + seeds(2, model="gs", estimator="sl")
    for name, size in (("alone", 1), ("together", 4)):
        folders = (tmp_path / name / "results", tmp_path / name / "runs")
        assert sweep.execute(configs, *folders, inline, replicas=size, **QUIET) == {}
        assert not [path for path in folders[1].iterdir() if path.is_dir()]
    alone, together = (store.load_results(tmp_path / name / "results") for name in ("alone", "together"))
    assert alone.keys() == together.keys() == {config.id for config in configs}
    for name, want in alone.items():
        got = together[name]
        assert got["config"] == want["config"] and got["dataset"] == want["dataset"] and got["prior"] == want["prior"]
        for part in want["metrics"]:
            for key, value in want["metrics"][part].items():
                if isinstance(value, dict) and "mean" in value:
                    assert got["metrics"][part][key]["mean"] == pytest.approx(value["mean"], abs=0.2), (part, key)
        count = {"igr_i": 4, "gs": 2 if got["config"]["estimator"] == "sl" else None}[got["config"]["model"]]
        note = got["provenance"].get("replicas")
        assert note is None if count is None else note["trained_together"] == count and note["position"] < count
        assert "replicas" not in want["provenance"]


@pytest.mark.parametrize(
    "model, estimator", [("gs", "sl"), ("igr_planar", "plain"), ("igr_sb", "plain"), ("gs", "relax")]
)
def test_steps_on_an_array_that_is_no_numpy_array(model, estimator):
    """The same bits; what enters from the host in a step is its noise, and nothing goes back.

    But for RELAX, which looks at its draws to check them.
    """
    configs = seeds_and_temperatures(model=model, estimator=estimator)
    groups = {xp: replica_group.Group(configs, data.load("digits"), xp) for xp in (numpy, NAMESPACE)}
    entered = []
    for step in range(16):  # into the second epoch
        out = {}
        for xp, group in groups.items():
            with no_way_back(entered, estimator != "relax") if xp is NAMESPACE else numpy.errstate():
                loss, parts, grads = group.grads()
                group.adam.step(group.together.params, grads, group.together.learning_rate(step))
            group.step += 1
            out[xp] = [loss, parts, grads, group.together.params]
        same_bits(out[NAMESPACE], out[numpy], f"step {step}")
    draws = 1 if estimator != "relax" else 2
    # two seeds share four replicas: twice S B N K numbers of noise; the order of the images at the start of an epoch
    sizes = [size for size in entered if size > 4]
    orders = [size for size in sizes if size == 2 * 1437]
    k = 3 if model == "gs" else 2
    assert len(orders) == 2 and len(sizes) == 2 + 16 * draws
    assert set(sizes) == {2 * 1437, 2 * 100 * 4 * k}


class no_way_back:
    """While open, a StrictArray has no way to the host; what comes from the host is noted by its size."""

    def __init__(self, entered, closed):
        self.entered, self.closed = entered, closed

    def __enter__(self):
        self.patch = pytest.MonkeyPatch()
        for name in ("get", "__float__", "__bool__", "__int__", "__index__", "__iter__") * self.closed:
            self.patch.setattr(StrictArray, name, self.refuse)
        real = NAMESPACE.asarray

        def asarray(x, *args, **kwargs):
            if isinstance(x, numpy.ndarray):
                self.entered.append(x.size)
            return real(x, *args, **kwargs)

        self.patch.setattr(NAMESPACE, "asarray", asarray, raising=False)

    @staticmethod
    def refuse(self, *args):
        raise AssertionError("a step took something back to the host")

    def __exit__(self, *_):
        self.patch.undo()


def test_temperatures_have_one_axis_of_replicas():
    with pytest.raises(ValueError, match="temperature must be a number or an array"):
        models.GumbelSoftmaxFamily(4, 3, numpy.full((4, 1), 0.5))
    with pytest.raises(ValueError, match="temperature must be a number or an array"):
        models.GumbelSoftmaxFamily(4, 3, 0.5, numpy.full((2, 1, 1), 0.5))
    for make in (models.igr_i_family, models.igr_planar_family, models.igr_sb_family):
        with pytest.raises(ValueError, match="got shape"):
            make(4, 3, numpy.full((2, 1, 4, 1), 0.5), 0.0, 0.0)
    same = seeds(3, temperature=0.3)
    assert replica_program.temperatures(same, numpy) == (0.3, 0.3)  # a number where all agree
    own, prior = replica_program.temperatures(seeds_and_temperatures(model="gs"), numpy)
    assert own.ravel().tolist() == [0.2, 0.67, 0.2, 0.67] and own.shape == (4, 1, 1, 1, 1)
    assert prior.ravel().tolist() == [0.2, 0.5, 0.2, 0.67]


@pytest.mark.parametrize("ahead", [False, True])
def test_draws_made_ahead_are_the_draws(ahead):
    """Also where a step asks for something else than the one before, or steps do not follow one another."""
    streams = replica_program.Streams([5, 7, 5], numpy, ahead)
    first, second, third = ("normal", (2, 3), "float32"), ("uniform", (4,), "float64"), ("gumbel", (2, 3), "float32")
    asked = [[first], [first], [first, second], [first, second], [first, third], [first], [], [second], [second]]
    for step, requests in zip((0, 1, 2, 3, 4, 5, 6, 7, 9), asked, strict=True):
        got = streams.at("train", step)
        singles = [noise.generator(seed, "train", step) for seed in (5, 7, 5)]
        for law, shape, dtype in requests:
            want = numpy.stack([program_vae.DRAW[law](rng, shape, dtype) for rng in singles])
            out = got.draw(law, shape, dtype, numpy)
            assert out.dtype == want.dtype and out.tobytes() == want.tobytes()
        if ahead and step in (2, 8):
            assert streams.next[0] == ("train", step + 1)
    assert (streams.pool is not None) == ahead
