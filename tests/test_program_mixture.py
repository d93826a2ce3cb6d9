"""Nonparametric mixtures as an experiment: configs, scores against quadrature and a textbook, learning."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy
import pytest
import scipy.special
import scipy.stats

from experiments import data, plan, program_mixture, train
from experiments.plan_mixture import MIXTURES, MixtureConfig
from igr_ref import models, noise
from igr_ref.models.mixture_as_published import objective_as_published as mixture_loss_as_published

from . import oracles_nonparametric as exact

TINY = {"n_components": 3, "n_latent": 1, "width": 4, "batch_size": 4, "dtype": "float64"}


def dataset(n=6, pixels=5):
    images = (numpy.random.default_rng(40).random((2 * n, pixels)) < 0.5).astype(numpy.uint8)
    return data.Dataset("tiny", images[:n], images[n:], True, (1, pixels), 1, "random")


def tiny(model, m, **options):
    config = MixtureConfig(**{**TINY, "model": model, "m": m, **options})
    program = program_mixture.MixtureProgram(config, dataset(), numpy)
    rng = numpy.random.default_rng(41)
    program.params = {
        name: p + (0.5 if name.startswith("decoder") else 0.2) * rng.standard_normal(p.shape)
        for name, p in program.params.items()
    }
    return program


def floats(rows):
    return rows.astype("float64")


def network(params, prefix, x):
    """A ReLU network by its layers."""
    i = 0
    while f"{prefix}.{i}.weight" in params:
        x = (x if i == 0 else numpy.maximum(x, 0)) @ params[f"{prefix}.{i}.weight"] + params[f"{prefix}.{i}.bias"]
        i += 1
    return x


def log_pixels(params, x, z):
    """log p(x | z) for one image x (P,) and any z (..., D)."""
    p = scipy.special.expit(network(params, "decoder", z))
    return numpy.log(numpy.where(x == 1, p, 1 - p)).sum(axis=-1)


# ---- configs ---------------------------------------------------------------------------------------------------------


def test_ids_are_stable_and_depend_on_every_field():
    base = MixtureConfig()
    assert base.id == "mnist-igr_sb_mm-sl-K20-seed5328-8dd330264a"  # pinned for good
    again = plan.from_dict(json.loads(json.dumps(base.as_dict())))
    assert again == base and again.id == base.id
    changed = {"dataset": "digits", "model": "dldpmm", "estimator": "plain", "dtype": "float64", "validation": True,
               "rho": 0.5}  # fmt: skip
    seen = {base.id}
    for field in dataclasses.fields(base):
        old = getattr(base, field.name)
        value = changed.get(field.name) or old + (1 if isinstance(old, int) else 0.125)
        seen.add(dataclasses.replace(base, **{field.name: value}).id)
    assert len(seen) == len(dataclasses.fields(base)) + 1


@pytest.mark.parametrize(
    "field, value",
    [("model", "igr_sb"), ("estimator", "relax"), ("n_components", 1), ("rho", 1.0), ("percentile", 0.0), ("m", 0),
     ("learning_rate", 0.0), ("width", 0)],
)  # fmt: skip
def test_bad_configs_name_the_field(field, value):
    with pytest.raises(ValueError, match=f"{field} must be"):
        MixtureConfig(**{field: value})


def test_labels_are_the_table_s():
    assert [MixtureConfig(model=m).label for m in MIXTURES] == ["IGR-SB-MM + SL", "DLDPMM + SL"]


def test_component_means_are_drawn_once_from_the_seed():
    """Fixed for a run; of norm 1 but the first; one set for each place of a batch as published."""
    first, again, other = (tiny("dldpmm", 1, n_latent=6, seed=s).model.means for s in (1, 1, 2))
    numpy.testing.assert_array_equal(first, again)
    assert (first != other).any()
    numpy.testing.assert_allclose(numpy.linalg.norm(first, axis=-1), [0, 1, 1], rtol=1e-12)
    slots = tiny("dldpmm", 1, n_latent=6, estimator="as_published")
    assert slots.model.means.shape == (4, 3, 6) and slots.view(1, 3).means.shape == (2, 3, 6)


# ---- scores ----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The occurrence of roundoff")  # quadrature across the decoder's kinks
@pytest.mark.parametrize("model", list(MIXTURES))
def test_bound_against_the_exact_likelihood(model):
    """m = 40,000 weights against quadrature over z, components and sticks summed out: 2 x 3 comparisons at 5 standard
    errors (delta method), false alarm 3e-6 in all, each error below 2 % of p(x). The cut at rho = .3 must not enter."""
    m = 40_000
    program = tiny(model, m, rho=0.3, percentile=1.0)
    last = max(name for name in program.params if name.startswith("encoder") and name.endswith("bias"))
    program.params[last] = program.params[last].copy()
    program.params[last][2 : 4 if model == "igr_sb_mm" else 2] += 0.8  # q wider than the prior: bounded weights
    program.params[last][-3:] += 0.8
    images = dataset().test[:3]
    got = program.scores(images, floats)
    for i, x in enumerate(floats(images)):
        log_w = program.log_weights(floats(images), i, i, program.model.for_scoring(program.kept()))

        def log_p(z, x=x):
            return float(log_pixels(program.params, x, numpy.array([z])))

        want = exact.exact_log_likelihood(program.model.means[:, 0], log_p)
        w = numpy.exp(log_w - want)
        assert w.std() / math.sqrt(m) < 0.02
        assert abs(got["loglik"][i] - want) <= 5 * w.std() / math.sqrt(m)
        assert got["ess"][i] == pytest.approx(w.sum() ** 2 / (w**2).sum(), rel=1e-9)
    assert (got["elbo"] < got["loglik"]).all()


@pytest.mark.parametrize("model", list(MIXTURES))
def test_scores_are_the_textbook_s_for_the_same_noise(model):
    """Weights, structured ELBO and published loss of seven images in batches of four, by loops over scipy's laws."""
    program = tiny(model, 9, n_latent=2, rho=0.6)
    assert program.kept() == (2 if model == "igr_sb_mm" else None)
    scored = program.model.for_scoring(program.kept())
    params, means, seed = program.params, program.model.means, program.config.seed
    images = numpy.concatenate([dataset().test, dataset().train[:1]])
    got = program.scores(images, floats)
    x = floats(images)
    for i in range(len(x)):
        o = network(params, "encoder", x[i])
        if model == "igr_sb_mm":  # the cut keeps two components of three: the second stick is untrained
            o[[1, 3]] = program.model.law.nearest_to_uniform
        first, second, mu, log_var = o[:2], o[2:4], o[4:10].reshape(3, 2), o[10:].reshape(3, 2)

        def sticks(e, first=first, second=second):
            """v (S, 2), log q(v)."""
            if model == "igr_sb_mm":
                v = scipy.special.expit(first + numpy.exp(second) * e)
                y = numpy.log(v / (1 - v))
                return v, (scipy.stats.norm.logpdf(y, first, numpy.exp(second)) - numpy.log(v * (1 - v))).sum(axis=-1)
            a, b = numpy.exp(first), numpy.exp(second)
            v = (1 - (1 - e) ** (1 / b)) ** (1 / a)
            return v, numpy.log(a * b * v ** (a - 1) * (1 - v**a) ** (b - 1)).sum(axis=-1)

        def weights(v):
            rest = numpy.cumprod(1 - v, axis=-1)
            before = numpy.concatenate([numpy.ones_like(v[:, :1]), rest], axis=-1)
            return numpy.concatenate([v, numpy.ones_like(v[:, :1])], axis=-1) * before

        def components(e, mu=mu, log_var=log_var, x=x[i]):
            """z (S, 3, 2), log p(x|z), log p(z), log q(z), each (S, 3)."""
            sd = numpy.exp(log_var / 2)
            z = mu + sd * e
            log_p_z = scipy.stats.norm.logpdf(z, means).sum(axis=-1)
            return log_pixels(params, x, z), log_p_z, scipy.stats.norm.logpdf(z, mu, sd).sum(axis=-1)

        draw = noise.normal if model == "igr_sb_mm" else noise.uniform
        v, log_q_v = sticks(draw(noise.generator(seed, "weights: sticks 0", i), (9, 2)))
        eps = noise.normal(noise.generator(seed, "weights: components 0", i), (9, 3, 2))
        log_x, log_p_z, log_q_z = components(eps)
        w = numpy.exp(-log_q_v) * (weights(v) * numpy.exp(log_x + log_p_z - log_q_z)).sum(axis=-1)
        assert got["loglik"][i] == pytest.approx(math.log(w.mean()), rel=1e-10)

        start = i // 4 * 4
        size = min(4, len(x) - start)
        rng = noise.generator(seed, "elbo", start)
        s = program_mixture.ELBO_SAMPLES
        v, _ = sticks(draw(rng, (s, size, 2))[:, i - start])
        log_x, _, _ = components(noise.normal(rng, (s, size, 3, 2))[:, i - start])
        kl_z = 0.5 * ((numpy.exp(log_var) + (mu - means) ** 2) - 1 - log_var).sum(axis=-1)
        q = scored.posterior(params, x[i : i + 1])
        want = (weights(v) * (log_x - kl_z)).sum(axis=-1).mean() - q.sticks.kl(1.0).sum()
        assert got["elbo"][i] == pytest.approx(want, rel=1e-10)

        rng = noise.generator(seed, "published", start)
        e_sticks, e_components = draw(rng, (1, size, 2)), noise.normal(rng, (1, size, 3, 2))
        if model == "dldpmm":  # no cut: the published loss by its formula
            v, log_q_v = sticks(e_sticks[:, i - start])
            pi = weights(v).clip(1e-4, 0.9999)
            log_x, log_p_z, log_q_z = components(e_components[:, i - start])
            loss = numpy.log((pi * numpy.exp(log_q_z)).sum()) + log_q_v - (pi * (log_x + log_p_z)).sum(axis=-1)
            assert got["as_published"][i] == pytest.approx(-float(loss[0]), rel=1e-10)


def test_published_metric_is_the_published_loss_of_a_whole_batch():
    """IGR-SB-MM's cut looks at the batch: the same call as training makes, on the same batch."""
    program = tiny("igr_sb_mm", 2, n_components=6, rho=0.9)
    x = floats(dataset().test)
    got = program.scores(dataset().test, floats)["as_published"]
    draws = program.draw(noise.generator(program.config.seed, "published", 4), 2)
    loss = program.model.loss(program.params, x[4:], draws, mixture_loss_as_published).loss[0]
    numpy.testing.assert_allclose(got[4:], -loss, rtol=1e-12)


def test_published_rule_without_a_stick_gives_no_metric():
    program = tiny("igr_sb_mm", 2, rho=0.01)
    out = program.score(dataset().test, floats, "cpu", lambda done, total: None)["all"]
    assert "as_published" not in out and {"elbo", "loglik", "ess"} < set(out)


def test_untrained_sticks_have_the_prior_s_law_when_scored():
    """q of the sticks beyond the cut is the family's nearest to Beta(1, 1); `untrained_kl` is what that saves."""
    program = tiny("igr_sb_mm", 400, n_components=8, rho=0.9)
    x, kept = floats(dataset().test), program.kept()
    assert 2 < kept < 7
    q = program.model.for_scoring(kept).posterior(program.params, x)
    as_trained = program.model.posterior(program.params, x)
    for name in ("mu", "log_sigma"):
        numpy.testing.assert_array_equal(getattr(q.sticks, name)[:, : kept - 1],
                                         getattr(as_trained.sticks, name)[:, : kept - 1])  # fmt: skip
    numpy.testing.assert_allclose(q.sticks.kl()[:, kept - 1 :], 0.009511617, rtol=1e-6)
    got = program.scores(dataset().test, floats)
    want = (as_trained.sticks.kl() - q.sticks.kl()).sum(axis=-1)
    numpy.testing.assert_allclose(got["untrained_kl"], want, rtol=1e-12)
    # the ELBO with the encoder's own outputs for those sticks is lower by that; their weights are near 0 either way
    rng = noise.generator(program.config.seed, "elbo", 0)
    other = program.monitor(x[:4], rng, program_mixture.ELBO_SAMPLES, program.model.for_scoring())
    numpy.testing.assert_allclose(got["elbo"][:4] - other, want[:4], atol=0.1)
    assert "untrained_kl" not in tiny("dldpmm", 2).scores(dataset().test, floats)


def test_weights_are_nested_in_m_and_belong_to_the_row(monkeypatch):
    program = tiny("igr_sb_mm", 2500)
    x = floats(dataset().test)
    scored = program.model.for_scoring()
    whole = program.log_weights(x, 1, 1, scored)
    assert whole.shape == (2500,)
    program.config = dataclasses.replace(program.config, m=1500)
    numpy.testing.assert_array_equal(program.log_weights(x, 1, 1, scored), whole[:1500])
    numpy.testing.assert_array_equal(program.log_weights(x[1:], 0, 1, scored), whole[:1500])
    assert (program.log_weights(x, 1, 0, scored) != whole[:1500]).all()


@pytest.mark.parametrize("estimator", ["plain", "sl", "as_published"])
def test_training_uses_the_estimator_it_names(estimator):
    program = tiny("igr_sb_mm", 1, estimator=estimator, n_components=5)
    x, rng = floats(dataset().test[:4]), noise.generator(7, "train", 0)
    loss, parts, grads = program.grads(x, rng)
    objective = {"plain": models.mixture_elbo, "sl": models.mixture_elbo_sl,
                 "as_published": mixture_loss_as_published}[estimator]  # fmt: skip
    draws = program.draw(noise.generator(7, "train", 0), 4)
    want, by = program.model.loss_and_grads(program.params, x, draws, objective)
    assert loss == pytest.approx(float(want.loss.mean()), rel=1e-12)
    assert set(grads) == set(program.params) and all((grads[name] == by[name]).all() for name in by)
    assert any("gradient of encoder" in name for name in parts)


# ---- learning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model, k", [("igr_sb_mm", 20), ("dldpmm", 7)])
def test_training_learns(model, k, tmp_path):
    """The ELBO of the test images rises well beyond its noise (its mean over 360 images has a standard error of .3)."""
    config = MixtureConfig(dataset="digits", model=model, n_components=k, epochs=6, learning_rate=5e-3, m=10, width=80)
    result = train.run(config, tmp_path, quiet=True)
    curve = [point["elbo_one_sample"] for point in result["history"]]
    assert curve[-1] > curve[0] + 1
    metrics = result["metrics"]["all"]
    assert metrics["loglik"]["mean"] > metrics["elbo"]["mean"] > metrics["as_published"]["mean"]
    assert (
        -64 * math.log(2) < curve[0] < metrics["elbo"]["mean"] < -15
    )  # better than fair coins from the first epoch on
