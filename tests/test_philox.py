"""Counter-based noise: the published words, the laws, and a group of replicas that draws it on its device."""

from __future__ import annotations

import itertools

import numpy
import pytest
import scipy.stats

from experiments import data, gpu_graph, replica_group, store, sweep
from experiments.__main__ import main
from igr_ref import noise, philox

from .replica_cases import QUIET, seeds_and_temperatures
from .strict_array import NAMESPACE, same_bits
from .sweep_cases import inline

# philox4x32-10 of the known answers that come with Random123: counter, key, words
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def _words(text):
    return [int(word, 16) for word in text.split()]


def by_integers(counter, key):
    """The ten rounds once more, on Python's integers and in the order of the paper's figure."""
    (a, b, c, d), (k, m) = counter, key
    for i in range(10):
        left, right = divmod(0xD2511F53 * a, 2**32), divmod(0xCD9E8D57 * c, 2**32)
        round_keys = (k + i * 0x9E3779B9) % 2**32, (m + i * 0xBB67AE85) % 2**32
        a, b, c, d = right[0] ^ b ^ round_keys[0], right[1], left[0] ^ d ^ round_keys[1], left[1]
    return [a, b, c, d]


@pytest.mark.parametrize("counter, key, want", KNOWN)
def test_known_answers(counter, key, want):
    arguments = [numpy.array([word], numpy.uint64) for word in _words(counter) + _words(key)]
    assert [int(word[0]) for word in philox.philox(*arguments)] == _words(want)
    assert by_integers(_words(counter), _words(key)) == _words(want)


def test_words_are_those_of_integers():
    rng = numpy.random.default_rng(0)
    words = rng.integers(0, 2**32, (6, 200), dtype=numpy.uint64)
    got = numpy.array(philox.philox(*words))
    assert got.dtype == numpy.uint64
    for i in range(words.shape[1]):
        assert got[:, i].tolist() == by_integers(words[:4, i].tolist(), words[4:, i].tolist())


CDF = {"normal": scipy.stats.norm.cdf, "gumbel": scipy.stats.gumbel_r.cdf, "uniform": scipy.stats.uniform.cdf}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("law", philox.LAWS)
def test_draws_have_their_law(law, dtype):
    """Kolmogorov and Smirnov, at 1e-4, of each position in a block and as a whole."""
    x = philox.draw(law, [3, 4], "train", 5, 0, (100_000,), dtype, numpy)
    assert x.shape == (2, 100_000) and x.dtype == dtype and numpy.isfinite(x).all()
    for part in (x[0], x[1], x[0, ::4], x[0, 1::4], x[0, 2::4], x[0, 3::4]):
        assert scipy.stats.kstest(part.astype("float64"), CDF[law]).pvalue > 1e-4


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_any_key_changes_is_another_draw(dtype):
    """Seeds (both halves), streams, steps and numbers: no correlation beyond 5 standard errors, nor along the draws."""
    base = {"seeds": [1], "stream": "train", "step": 2, "number": 0}
    others = [
        {"seeds": [2]},
        {"seeds": [1 + 2**32]},
        {"stream": "monitor"},
        {"step": 3},
        {"number": 1},
        {"step": 2 + 2**31},
    ]
    n = 40_000
    x = [philox.draw("normal", **(base | o), shape=(n,), dtype=dtype, xp=numpy)[0] for o in [{}, *others]]
    for a, b in itertools.combinations(x, 2):
        assert abs(numpy.corrcoef(a, b)[0, 1]) < 5 / n**0.5
    for lag in (1, 2, 3, 4, 8):
        assert abs(numpy.corrcoef(x[0][lag:], x[0][:-lag])[0, 1]) < 5 / n**0.5
        assert abs(numpy.corrcoef(x[0][lag:] ** 2, x[0][:-lag] ** 2)[0, 1]) < 5 / n**0.5


def test_a_draw_is_a_function_of_its_key():
    """Whoever else is drawn for, and however many: a replica's noise is its own."""
    alone = philox.draw("gumbel", [7], "train", 1, 2, (3, 5), "float32", numpy)
    among = philox.draw("gumbel", [1, 7, 2**64 - 1], "train", 1, 2, (3, 5), "float32", numpy)
    more = philox.draw("gumbel", [7], "train", 1, 2, (30,), "float32", numpy)
    assert numpy.array_equal(alone[0], among[1]) and numpy.array_equal(alone.ravel(), more[0, :15])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_words_give_finite_noise(dtype, monkeypatch):
    for word in (0, philox.WORD):
        everywhere = lambda c_0, *rest, word=word: (numpy.full((1, c_0.size), word, numpy.uint64),) * 4  # noqa: E731
        monkeypatch.setattr(philox, "philox", everywhere)
        philox._block.cache_clear()
        for law in philox.LAWS:
            x = philox.draw(law, [1], "train", 0, 0, (12,), dtype, numpy)
            assert numpy.isfinite(x).all(), (law, word)
            if law == "uniform":
                assert (
                    (x > 0).all()
                    and (x < 1).all()
                    and x[0, 0] in (noise.half_step(dtype), 1 - 2 * noise.half_step(dtype))
                )
    philox._block.cache_clear()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("law", philox.LAWS)
def test_the_same_bits_on_an_array_that_is_no_numpy_array(law, dtype):
    arguments = law, [1, 2**63 + 5], "train", 7, 1, (5, 7), dtype
    same_bits(philox.draw(*arguments, NAMESPACE), philox.draw(*arguments, numpy), law)


@pytest.mark.parametrize(
    "change", [{"law": "cauchy"}, {"dtype": "float16"}, {"seeds": [-1]}, {"seeds": [2**64]}, {"seeds": []},
               {"step": 2**32}, {"number": -1}],
)  # fmt: skip
def test_what_has_no_draw_is_refused(change):
    fine = {"law": "normal", "seeds": [1], "stream": "train", "step": 0, "number": 0, "shape": (2,), "dtype": "float32"}
    philox.draw(**fine, xp=numpy)
    with pytest.raises(ValueError, match="expected .*got "):
        philox.draw(**(fine | change), xp=numpy)


# ---- groups of replicas --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model, estimator", [("gs", "plain"), ("igr_i", "sl"), ("gs", "relax")])
def test_a_group_draws_for_its_seeds(model, estimator):
    """Replicas of one seed share their noise, others don't; the orders of the images are those of the runs."""
    configs = seeds_and_temperatures(model=model, estimator=estimator)
    ours = replica_group.Group(configs, data.load("digits"), numpy, noise="device")
    theirs = replica_group.Group(configs, data.load("digits"), NAMESPACE, noise="device")
    host = replica_group.Group(configs, data.load("digits"), numpy)
    assert numpy.array_equal(ours.minibatch(), host.minibatch())
    law = "normal" if model == "igr_i" else "gumbel"
    x = ours.streams.at("train", 3).draw(law, (4, 5), "float32", numpy)
    for r, config in enumerate(configs):
        assert numpy.array_equal(x[r], philox.draw(law, [config.seed], "train", 3, 0, (4, 5), "float32", numpy)[0])
    for _ in range(3):
        out = [gpu_graph.group_step(group)() for group in (ours, theirs, host)]
        same_bits(out[1], out[0], "loss")
    assert not numpy.array_equal(out[0], out[2])
    same_bits(theirs.together.params, ours.together.params, "parameters")


def test_a_group_goes_on_with_the_noise_it_began_with(tmp_path):
    configs, dataset = seeds_and_temperatures(model="gs"), data.load("digits")
    group = replica_group.Group(configs, dataset, numpy, noise="device")
    step = gpu_graph.group_step(group)
    step()
    group.save(tmp_path / "checkpoint.npz")
    again = replica_group.Group(configs, dataset, numpy, tmp_path / "checkpoint.npz", noise="host")
    assert again.noise == "device"
    for a, b in [(step(), gpu_graph.group_step(again)()) for _ in range(3)]:
        assert numpy.array_equal(a, b)


def test_a_replica_by_itself_meets_its_noise_of_the_group():
    """As the group looks for the one whose step raises."""
    configs = seeds_and_temperatures(model="gs")
    group = replica_group.Group(configs, data.load("digits"), numpy, noise="device")
    losses, _, _ = group.grads()
    x = group.minibatch()
    for r, (config, one) in enumerate(zip(configs, group.together.each, strict=True)):
        own = one.grads(x[r], group.streams.alone(config.seed, "train", 0))[0]
        assert own == pytest.approx(float(losses[r]), rel=1e-5)


def test_a_sweep_with_device_noise_says_so(tmp_path):
    configs = seeds_and_temperatures(model="gs", epochs=1)
    folders = tmp_path / "results", tmp_path / "runs"
    assert sweep.execute(configs, *folders, inline, replicas=4, noise="device", **QUIET) == {}
    for config in configs:
        found = _note(folders[0] / f"{config.id}.json")
        assert found["noise"] == "device" and found["trained_together"] == len(configs)


def _note(path):
    return store.read_result(path)["provenance"]["replicas"]


def test_device_noise_is_for_groups(tmp_path, capsys):
    options = ["--preset", "smoke", "--results", str(tmp_path / "a"), "--runs", str(tmp_path / "b")]
    assert main(["table1", *options, "--noise", "device"]) == 2
    assert "it wants --replicas 2 or more" in capsys.readouterr().err
