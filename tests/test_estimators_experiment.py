"""The bias-variance experiment: its exact gradient, and that unbiased estimators come out unbiased."""

from __future__ import annotations

import numpy

from experiments import estimators
from experiments.plots import estimators as picture


def test_exact_gradient_by_differences_of_the_enumerated_objective():
    problem = estimators.Problem()

    def objective(model, params):
        problem.params[model] = params
        codes = numpy.array(list(numpy.ndindex(*(estimators.K,) * estimators.N)))
        values = problem.f(numpy.eye(estimators.K)[codes])[0]
        if model == "gs":
            e = numpy.exp(params["log_alpha"])
            law = e / e.sum(axis=-1, keepdims=True)
        else:
            law = estimators.gaussian_argmax.probs(params["mu"], numpy.exp(params["log_sigma"]))
        return (law[numpy.arange(estimators.N), codes].prod(axis=-1) * values).sum()

    rng = numpy.random.default_rng(0)
    for model, exact in problem.exact.items():
        start = {name: value.copy() for name, value in problem.params[model].items()}
        for name, gradient in exact.items():
            direction = rng.standard_normal(gradient.shape)
            ends = [objective(model, {**start, name: start[name] + s * 1e-5 * direction}) for s in (1, -1)]
            slope = (ends[0] - ends[1]) / 2e-5
            assert abs(slope - (gradient * direction).sum()) < 1e-7 * max(1, abs(slope))


def test_unbiased_estimators_come_out_unbiased_and_the_picture_draws(tmp_path):
    measured = estimators.measure(draws=1500, temperatures=(0.3, 2.0))
    for row in measured["rows"]:
        if row["estimator"] in ("REBAR", "RELAX", *estimators.FREE):
            assert row["bias"] < 5 * row["standard_error"], row
        elif row["estimator"] in estimators.PATHWISE and row["temperature"] == 2.0:
            assert row["bias"] > 10 * row["standard_error"], row
    assert picture.draw(measured, tmp_path / "a.png").stat().st_size > 10_000
