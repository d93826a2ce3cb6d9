"""Reparameterization and sticking the landing for IGR-I, IGR-SB and Gumbel-Softmax: gradients draw by draw against
three oracles, the same expectation by quadrature, no variance at the target, and the values of the loss."""

from __future__ import annotations

import math

import autograd.numpy as anp
import numpy
import pytest

from igr_ref import IGR, GumbelSoftmax, igr_i, igr_sb, noise
from igr_ref.distributions import gaussian
from igr_ref.estimators.reparameterization import reparameterization
from igr_ref.estimators.sticking_the_landing import sticking_the_landing

from . import gradcheck, ledger, oracles
from . import oracles_estimators as exact

LONG = numpy.longdouble
MODELS = ("gumbel_softmax", "igr_i", "igr_sb")
ESTIMATORS = {"reparameterization": reparameterization, "sticking_the_landing": sticking_the_landing}
EQUATIONS = {"reparameterization": "eqs. 2-3", "sticking_the_landing": "sticking the landing"}
CONFIGS = 340  # for each of the three models and two estimators
VARIABLES = 2


def dotted(estimator):
    return f"estimators.{estimator}.{estimator}"


class Case:
    """One configuration: parameters (*lead, 2, .), a prior (2, .) of the same family, a draw, and f's coefficients."""

    def __init__(self, model, rng, lead, k, temperature, dtype=numpy.float64):
        self.model, self.k, self.temperature = model, k, temperature
        shape = (*lead, VARIABLES, k if model == "gumbel_softmax" else k - 1)
        if model == "gumbel_softmax":
            spread = [3 * temperature, 1.0, 10.0][rng.integers(3)]
            params = {"log_alpha": min(spread, 30.0) * rng.standard_normal(shape)}
            prior = {"log_alpha": rng.standard_normal(shape[-2:])}
            draws = noise.gumbel(rng, shape)
            # the official code's prior has a temperature of its own (audit prior-temperature)
            self.prior_temperature = [temperature, 0.5][rng.integers(2)]
        else:
            params = {"mu": gradcheck.points(rng, shape, min(temperature, 10.0))}
            params["log_sigma"] = rng.uniform(-1.5, 1.0, shape)
            prior = {"mu": rng.standard_normal(shape[-2:]), "log_sigma": rng.uniform(-0.5, 0.5, shape[-2:])}
            draws = rng.standard_normal(shape)
            self.prior_temperature = temperature
        self.params = {name: value.astype(dtype) for name, value in params.items()}
        self.prior = {name: value.astype(dtype) for name, value in prior.items()}
        self.draws = draws.astype(dtype)
        self.c, self.d = (rng.standard_normal((*lead, VARIABLES, k)).astype(dtype) for _ in range(2))

    def f(self, z):
        """sum c z + d z^2/2, and its gradient."""
        return numpy.sum(self.c * z + self.d * z * z / 2, axis=(-1, -2)), self.c + self.d * z

    def distributions(self, params=None, **options):
        """(q, p) of igr_ref, on one transform."""
        params = self.params if params is None else params
        if self.model == "gumbel_softmax":
            q = GumbelSoftmax(params["log_alpha"], self.temperature, **options)
            return q, GumbelSoftmax(self.prior["log_alpha"], self.prior_temperature)
        q = (igr_i if self.model == "igr_i" else igr_sb)(*params.values(), self.temperature, **options)
        return q, IGR(self.prior["mu"], self.prior["log_sigma"], q.transform)

    def size(self):
        """Largest logit: the sample has relative error eps times it."""
        if self.model == "gumbel_softmax":
            return float(numpy.max(numpy.abs(self.params["log_alpha"] + self.draws))) / self.temperature
        y = self.params["mu"] + numpy.exp(self.params["log_sigma"]) * self.draws
        largest = float(numpy.max(numpy.abs(y)))
        return largest / self.temperature if self.model == "igr_i" else max(largest, 1 / self.temperature)


# ---- oracle 1: autograd on our forward, stops realised by constants ------------------------------------------------


def traced_objective(case, estimator):
    """L(params) of one draw, written with igr_ref's forward functions; in sticking the landing log q gets constants."""
    names, (constant, p) = list(case.params), case.distributions()

    def objective(*arrays):
        params = dict(zip(names, arrays, strict=True))
        q, _ = case.distributions(params, validate=False)
        z, saved = q.run(case.draws)
        out = anp.sum(case.c * z + case.d * z * z / 2)
        y = saved[1]
        in_log_q = constant if estimator == "sticking_the_landing" else q
        if case.model == "gumbel_softmax":
            return out + anp.sum(in_log_q.log_prob(y)) - anp.sum(p.log_prob(y))
        if estimator == "reparameterization":
            return out + anp.sum(gaussian.kl(q.mu, q.log_sigma, p.mu, p.log_sigma))
        # one g for q and p: -log|det J_g| of either density cancels before it is differentiated
        log_q = gaussian.log_prob(in_log_q.mu, in_log_q.log_sigma, y)
        return out + anp.sum(log_q) - anp.sum(gaussian.log_prob(p.mu, p.log_sigma, y))

    return objective


# ---- oracle 2: longdouble gradients assembled from tests/oracles.py ------------------------------------------------


def textbook(case, estimator):
    """{name: gradient} in longdouble: pullbacks of tests/oracles.py, and the KL's derivatives by hand."""
    tau, tau_0 = LONG(case.temperature), LONG(case.prior_temperature)
    if case.model == "gumbel_softmax":
        a, a_0 = LONG(case.params["log_alpha"]), LONG(case.prior["log_alpha"])
        z = oracles.gumbel_softmax_z(a, case.draws, tau)
        logits = (a + LONG(case.draws)) / tau
        top = logits.max(axis=-1, keepdims=True)
        y = logits - top - numpy.log(numpy.exp(logits - top).sum(axis=-1, keepdims=True))
        q, p = oracles.exp_concrete_p(a, tau, y), oracles.exp_concrete_p(a_0, tau_0, y)
        y_bar = tau * (case.k * q - 1) - tau_0 * (case.k * p - 1)
        path = oracles.softmax_bar(z, LONG(case.c) + LONG(case.d) * z) / tau
        path = path + (y_bar - z * y_bar.sum(axis=-1, keepdims=True)) / tau
        direct = (1 - case.k * q) if estimator == "reparameterization" else 0  # by log_alpha in log q itself
        return {"log_alpha": path + direct}
    mu, sigma, eps = LONG(case.params["mu"]), numpy.exp(LONG(case.params["log_sigma"])), LONG(case.draws)
    mu_0, sigma_0 = LONG(case.prior["mu"]), numpy.exp(LONG(case.prior["log_sigma"]))
    y = mu + sigma * eps
    zero = numpy.zeros(y.shape[:-1], LONG)
    if case.model == "igr_i":
        z = oracles.softmax_pp(y, tau)
        y_bar = oracles.softmax_pp_bar(y, tau, 1.0, LONG(case.c) + LONG(case.d) * z, zero)
    else:
        w = oracles.sticks(y)[..., :-1]
        z = oracles.softmax_pp(w, tau)
        w_bar = oracles.softmax_pp_bar(w, tau, 1.0, LONG(case.c) + LONG(case.d) * z, zero)
        y_bar = oracles.sticks_bar(y, numpy.concatenate([w_bar, zero[..., None]], axis=-1), zero)
    if estimator == "reparameterization":
        return {
            "mu": y_bar + (mu - mu_0) / sigma_0**2,
            "log_sigma": y_bar * sigma * eps + (sigma / sigma_0) ** 2 - 1,
        }
    y_bar = y_bar - eps / sigma + (y - mu_0) / sigma_0**2
    return {"mu": y_bar, "log_sigma": y_bar * sigma * eps}


# ---- oracle 3: complex steps through the objective written out in plain NumPy --------------------------------------


def log_sum_exp(x):
    top = x.real.max(axis=-1, keepdims=True)
    return (top + numpy.log(numpy.sum(numpy.exp(x - top), axis=-1, keepdims=True)))[..., 0]


def log_normal(mu, log_sigma, y):
    return numpy.sum(-0.5 * ((y - mu) / numpy.exp(log_sigma)) ** 2 - log_sigma - 0.5 * math.log(2 * math.pi), axis=-1)


def log_exp_concrete(a, tau, y):
    k = y.shape[-1]
    tilted = a - tau * y
    return math.lgamma(k) + (k - 1) * math.log(tau) + tilted.sum(axis=-1) - k * log_sum_exp(tilted)


def log_normal_kl(mu, log_sigma, mu_0, log_sigma_0):
    sigma_0 = numpy.exp(log_sigma_0)
    ratio = numpy.exp(2 * (log_sigma - log_sigma_0))
    return numpy.sum(0.5 * (ratio + ((mu - mu_0) / sigma_0) ** 2 - 1) - log_sigma + log_sigma_0, axis=-1)


def plain_parts(case, params, draws):
    """(f, y, z) of complex parameters, per leading axis: f (...), y and z (..., 2, .)."""
    tau = case.temperature
    if case.model == "gumbel_softmax":
        logits = (params["log_alpha"] + draws) / tau
        y = logits - log_sum_exp(logits)[..., None]
        z = numpy.exp(y)
    else:
        y = params["mu"] + numpy.exp(params["log_sigma"]) * draws
        inner = y
        if case.model == "igr_sb":
            u = 1 / (1 + numpy.exp(-y))
            rest = numpy.cumprod(1 / (1 + numpy.exp(y)), axis=-1)
            inner = u * numpy.concatenate([numpy.ones_like(rest[..., :1]), rest[..., :-1]], axis=-1)
        logits = numpy.concatenate([inner / tau, numpy.zeros_like(inner[..., :1])], axis=-1)
        z = numpy.exp(logits - log_sum_exp(logits)[..., None])
    return numpy.sum(case.c * z + case.d * z * z / 2, axis=(-1, -2)), y, z


def plain_objective(case, estimator, params, constants, draws):
    """L (...) with the parameters inside log q replaced by `constants` in sticking the landing."""
    value, y, _ = plain_parts(case, params, draws)
    inside = constants if estimator == "sticking_the_landing" else params
    if case.model == "gumbel_softmax":
        log_q = log_exp_concrete(inside["log_alpha"], case.temperature, y)
        kl = log_q - log_exp_concrete(case.prior["log_alpha"], case.prior_temperature, y)
    elif estimator == "reparameterization":
        kl = log_normal_kl(params["mu"], params["log_sigma"], case.prior["mu"], case.prior["log_sigma"])
    else:
        kl = log_normal(inside["mu"], inside["log_sigma"], y)
        kl = kl - log_normal(case.prior["mu"], case.prior["log_sigma"], y)
    return value + kl.sum(axis=-1)


def complex_steps(case, estimator, directions, name, step=1e-100):
    """dL/d(direction of parameter `name`) for directions (D, *shape), all leading axes summed: (D,)."""
    moved = {other: value + 0j for other, value in case.params.items()}
    moved[name] = case.params[name] + 1j * step * directions
    out = plain_objective(case, estimator, moved, case.params, case.draws)
    return numpy.sum(out.imag.reshape(len(directions), -1), axis=-1) / step


# ---- gradients, draw by draw ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("model", MODELS)
def test_gradients_of_every_draw(model, estimator):
    """Temperatures 1e-3..100, K = 2..1000, leads (), (B,) and (S, B)."""
    labels = dict(equation=EQUATIONS[estimator], function=dotted(estimator))
    for i, (rng, lead, k, temperature) in enumerate(gradcheck.configurations(CONFIGS, seed=71)):
        case = Case(model, rng, lead, k, temperature)
        q, p = case.distributions()
        calls = []

        def f(z, case=case, calls=calls):
            calls.append(z.shape)
            return case.f(z)

        estimate = ESTIMATORS[estimator](q, case.draws, f, p)
        assert calls == [(*lead, VARIABLES, k)] and estimate.value.shape == lead and estimate.loss.shape == lead
        assert estimate.grads.keys() == case.params.keys()
        # a sample z has relative error eps |logits|: within 1e-10 for logits up to 1e5
        tolerance = 1e-10 * max(1, case.size() / 1e5)
        want = textbook(case, estimator)
        for name, got in estimate.grads.items():
            gradcheck.check(got, want[name], tolerance, oracle=f"longdouble ({model})", **labels)
            if k <= 10:
                basis = numpy.eye(got[..., :, :].size).reshape(-1, *got.shape)
                by_step = complex_steps(case, estimator, basis, name).reshape(got.shape)
                gradcheck.check(got, by_step, tolerance, oracle=f"complex step ({model})", **labels)
            else:
                directions = rng.standard_normal((2, *got.shape))
                by_step = complex_steps(case, estimator, directions, name)
                along = numpy.sum((directions * got).reshape(2, -1), axis=-1)
                size = float(numpy.linalg.norm(got))  # of a directional derivative along a standard normal direction
                gradcheck.check(along, by_step, tolerance, oracle=f"complex step ({model})", scale=size, **labels)
        if k <= 100 or i % 4 == 0:
            traced = gradcheck.autograd_vjp(traced_objective(case, estimator), *case.params.values())
            # the tape forms z_bar - sum z z_bar and rounds it at eps |z z_bar|/tau, by log_sigma times sigma |eps|
            z = q.sample(case.draws)
            rounding = 1e-4 * float(numpy.linalg.norm(z * (numpy.abs(case.c) + numpy.abs(case.d)))) / temperature
            for name, by_tape in zip(case.params, traced, strict=True):
                reach = 1.0
                if name == "log_sigma":
                    reach = float(numpy.max(numpy.exp(case.params[name]) * numpy.abs(case.draws)))
                gradcheck.check(
                    estimate.grads[name],
                    by_tape,
                    tolerance,
                    oracle=f"autograd ({model})",
                    scale=rounding * reach,
                    **labels,
                )


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("model", MODELS)
def test_float32(model, estimator):
    """float32 in, float32 out, at every temperature."""
    for rng, lead, k, temperature in gradcheck.configurations(340, seed=72, categories=(2, 3, 10, 100)):
        case = Case(model, rng, lead, k, temperature, numpy.float32)
        q, p = case.distributions()
        estimate = ESTIMATORS[estimator](q, case.draws, case.f, p)
        assert estimate.value.dtype == estimate.kl.dtype == estimate.loss.dtype == numpy.float32
        want = textbook(case, estimator)
        for name, got in estimate.grads.items():
            gradcheck.check(
                got,
                want[name],
                equation=EQUATIONS[estimator],
                function=dotted(estimator),
                oracle=f"longdouble ({model})",
                dtype=numpy.float32,
            )


def test_without_a_prior_only_the_path_of_f_is_left():
    for model in MODELS:
        case = Case(model, numpy.random.default_rng(73), (3,), 4, 0.5)
        q, _ = case.distributions()
        estimate = reparameterization(q, case.draws, case.f)
        want = q.sample_vjp(case.draws, case.f(q.sample(case.draws))[1])
        assert numpy.all(estimate.kl == 0) and numpy.array_equal(estimate.loss, estimate.value)
        for name, got in estimate.grads.items():
            assert numpy.array_equal(got, want[name])


# ---- the same expectation ------------------------------------------------------------------------------------------


def two_categories(model, rng, temperature):
    """A Case with N = 1, K = 2 on quadrature nodes instead of a draw, and the nodes' weights (times the density)."""
    case = Case(model, rng, (), 2, temperature)
    case.params = {name: value[:1] for name, value in case.params.items()}
    case.prior = {name: value[:1] for name, value in case.prior.items()}
    case.c, case.d = case.c[:1], case.d[:1]
    if model == "gumbel_softmax":
        # only G_1 - G_2 acts, which is logistic
        case.params["log_alpha"] = numpy.clip(case.params["log_alpha"], -3, 3)
        middle = float(case.params["log_alpha"][0, 1] - case.params["log_alpha"][0, 0])
        nodes, weight = exact.panels([middle, 0.0], temperature, -60.0, 60.0)
        weight = weight * numpy.exp(-numpy.abs(nodes)) / (1 + numpy.exp(-numpy.abs(nodes))) ** 2
        case.draws = numpy.stack([nodes, numpy.zeros_like(nodes)], axis=-1)[:, None, :]
    else:
        case.params["mu"] = numpy.clip(case.params["mu"], -3, 3)
        sigma = float(numpy.exp(case.params["log_sigma"][0, 0]))
        nodes, weight = exact.panels([-float(case.params["mu"][0, 0]) / sigma], temperature / sigma, -12.0, 12.0)
        weight = weight * numpy.exp(-0.5 * nodes**2) / math.sqrt(2 * math.pi)
        case.draws = nodes[:, None, None]
    assert abs(weight.sum() - 1) < 1e-12
    return case, weight


@pytest.mark.parametrize("temperature", [0.01, 0.2, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("model", MODELS)
def test_both_estimators_have_the_same_mean_which_is_the_gradient(model, temperature):
    """K = 2: 1-D quadrature over eps or over G_1 - G_2. The gradient: complex steps of the integrated objective."""
    for seed in range(5):
        case, weight = two_categories(model, numpy.random.default_rng((74, seed)), temperature)
        q, p = case.distributions()
        means = {}
        for estimator, function in ESTIMATORS.items():
            estimate = function(q, case.draws, case.f, p)
            means[estimator] = {n: numpy.tensordot(weight, g, 1) for n, g in estimate.grads.items()}
            spread = {n: float(numpy.sqrt(weight @ numpy.sum(g**2, axis=(-1, -2)))) for n, g in estimate.grads.items()}
            for name, got in means[estimator].items():
                basis = numpy.eye(got.size).reshape(-1, 1, *got.shape)
                moved = {other: value + 0j for other, value in case.params.items()}
                moved[name] = case.params[name] + 1j * 1e-100 * basis
                # the parameters of log q move too: what sticking the landing drops must be zero in the mean
                out = plain_objective(case, "reparameterization", moved, None, case.draws)
                want = (out.imag @ weight / 1e-100).reshape(got.shape)
                gradcheck.check(
                    got,
                    want,
                    equation=f"{EQUATIONS[estimator]}, expectation",
                    function=dotted(estimator),
                    oracle=f"quadrature ({model})",
                    scale=spread[name],
                )
        for name, first in means["reparameterization"].items():
            assert numpy.max(numpy.abs(first - means["sticking_the_landing"][name])) <= 1e-10 * max(1, spread[name])


# ---- no variance at the target -------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_sticking_the_landing_has_no_variance_when_q_is_the_target(model):
    """q = p: the KL's gradient is 0 at every draw, not only in the mean. Nothing remains of rounding when the numbers
    are the same; the reparameterization estimator's gradient varies there for Gumbel-Softmax."""
    for rng, lead, k, temperature in gradcheck.configurations(100, seed=75):
        case = Case(model, rng, lead, k, temperature)
        case.prior, case.prior_temperature = case.params, case.temperature
        q, p = case.distributions()
        zero = numpy.zeros((*lead, VARIABLES, k))
        estimate = sticking_the_landing(q, case.draws, lambda z, zero=zero: (zero.sum(axis=(-1, -2)), zero), p)
        assert numpy.all(estimate.kl == 0)
        for gradient in estimate.grads.values():
            assert numpy.all(gradient == 0)
    case = Case(model, numpy.random.default_rng(76), (200,), 4, 0.7)
    case.prior, case.prior_temperature = case.params, case.temperature
    q, p = case.distributions()
    other = reparameterization(q, case.draws, lambda z: (numpy.zeros(200), numpy.zeros_like(z)), p)
    varies = max(float(numpy.std(g)) for g in other.grads.values())
    assert varies > 0.1 if model == "gumbel_softmax" else varies == 0  # eq. 13 is exact, and 0


def test_what_remains_for_the_same_law_in_other_numbers():
    """log_alpha + 3 is the same law: the rounding of the two softmaxes is left, below 1e-12 at every temperature."""
    worst = 0.0
    for rng, lead, k, temperature in gradcheck.configurations(100, seed=77, categories=(2, 3, 10)):
        case = Case("gumbel_softmax", rng, lead, k, temperature)
        case.params["log_alpha"] = numpy.clip(case.params["log_alpha"], -30, 30)
        q = GumbelSoftmax(case.params["log_alpha"], temperature)
        p = GumbelSoftmax(case.params["log_alpha"] + 3, temperature)
        zero = numpy.zeros((*lead, VARIABLES, k))
        estimate = sticking_the_landing(q, case.draws, lambda z, zero=zero: (zero.sum(axis=(-1, -2)), zero), p)
        worst = max(worst, float(numpy.max(numpy.abs(estimate.grads["log_alpha"]))))
    ledger.record("sticking the landing, variance at the target", dotted("sticking_the_landing"),
                  "0 (the same law, shifted log_alpha)", worst, "absolute", 100)  # fmt: skip
    assert worst < 1e-12


@pytest.mark.parametrize("model", ["gumbel_softmax", "igr_i"])
def test_no_variance_at_a_posterior(model):
    """f = log p - log target as a function of z: log q - log p + f vanishes at q = target, and so does each gradient.

    What remains is the rounding of y recovered from z and of f's gradient carried back through z, below 1e-11."""
    worst = 0.0
    for seed in range(50):
        rng = numpy.random.default_rng((78, seed))
        k, temperature = int(rng.integers(2, 6)), float(rng.uniform(0.5, 3))
        case = Case(model, rng, (), k, temperature)
        for name in case.params:
            case.params[name] = numpy.clip(case.params[name], -1, 1)
        q, p = case.distributions()

        def f(z, q=q, p=p):
            y = numpy.log(z) if model == "gumbel_softmax" else q.transform.inverse(z)
            if model == "gumbel_softmax":
                (_, from_p), (_, from_q) = p.log_prob_vjp(y, numpy.ones(2)), q.log_prob_vjp(y, numpy.ones(2))
                y_bar, value = from_p - from_q, p.log_prob(y) - q.log_prob(y)
                return value.sum(axis=-1), y_bar / z
            one = numpy.ones(2)
            from_p = gaussian.log_prob_vjp(p.mu, p.log_sigma, y, one)[2]
            from_q = gaussian.log_prob_vjp(q.mu, q.log_sigma, y, one)[2]
            value = gaussian.log_prob(p.mu, p.log_sigma, y) - gaussian.log_prob(q.mu, q.log_sigma, y)
            y_bar = from_p - from_q  # y_k = tau (log z_k - log z_K)
            last = -numpy.sum(y_bar, axis=-1, keepdims=True)
            return value.sum(axis=-1), q.transform.temperature * numpy.concatenate([y_bar, last], axis=-1) / z

        estimate = sticking_the_landing(q, case.draws, f, p)
        parts = sticking_the_landing(q, case.draws, lambda z: (numpy.zeros(()), numpy.zeros_like(z)), p)
        for name, gradient in estimate.grads.items():
            size = max(1.0, float(numpy.linalg.norm(parts.grads[name])))  # of either part, which cancel
            worst = max(worst, float(numpy.linalg.norm(gradient)) / size)
        assert abs(float(estimate.loss)) < 1e-11
    ledger.record("sticking the landing, variance at the target", dotted("sticking_the_landing"),
                  f"0 (a posterior, {model})", worst, "relative to either part", 50)  # fmt: skip
    assert worst < 1e-11


# ---- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_values_of_the_loss(model):
    """f at the sample, the KL closed or sampled, against longdouble densities."""
    for rng, lead, k, temperature in gradcheck.configurations(200, seed=79):
        case = Case(model, rng, lead, k, temperature)
        q, p = case.distributions()
        both = {name: function(q, case.draws, case.f, p) for name, function in ESTIMATORS.items()}
        value = case.f(q.sample(case.draws))[0]
        if model == "gumbel_softmax":
            a, a_0 = case.params["log_alpha"], case.prior["log_alpha"]
            logits = (LONG(a) + LONG(case.draws)) / LONG(temperature)
            top = logits.max(axis=-1, keepdims=True)
            y = logits - top - numpy.log(numpy.exp(logits - top).sum(axis=-1, keepdims=True))
            log_q = oracles.exp_concrete(a, temperature, y)
            log_p = oracles.exp_concrete(a_0, case.prior_temperature, y)
            want = dict.fromkeys(ESTIMATORS, (log_q - log_p).sum(axis=-1))
        else:
            mu, log_sigma, mu_0, log_sigma_0 = (LONG(x) for x in (*case.params.values(), *case.prior.values()))
            y = mu + numpy.exp(log_sigma) * LONG(case.draws)
            log_q, log_p = oracles.log_normal(mu, log_sigma, y), oracles.log_normal(mu_0, log_sigma_0, y)
            closed = numpy.exp(2 * (log_sigma - log_sigma_0)) + ((mu - mu_0) / numpy.exp(log_sigma_0)) ** 2 - 1
            closed = numpy.sum(closed / 2 - log_sigma + log_sigma_0, axis=(-1, -2))
            want = {"reparameterization": closed, "sticking_the_landing": (log_q - log_p).sum(axis=-1)}
        size = float(numpy.linalg.norm(log_q)) + float(numpy.linalg.norm(log_p))  # the difference's rounding
        for estimator, estimate in both.items():
            assert numpy.array_equal(estimate.value, value)
            assert numpy.array_equal(estimate.loss, estimate.value + estimate.kl)
            gradcheck.check(
                estimate.kl,
                want[estimator],
                1e-12,
                equation=f"{EQUATIONS[estimator]}, KL",
                function=f"{dotted(estimator)} (kl)",
                oracle=f"longdouble ({model})",
                scale=size,
            )


def test_trap_kl_sign_and_closed_against_sampled():
    """eq. 13 >= 0 and equal to the mean of log q - log p: by quadrature for K = 2, to 5 standard errors for K = 10.

    20 + 60 comparisons at 5 sigma: a false alarm in 1 of 30,000 seeds."""
    for model in ("igr_i", "igr_sb"):
        for seed in range(10):
            case, weight = two_categories(model, numpy.random.default_rng((80, seed)), 0.5)
            q, p = case.distributions()
            closed = float(reparameterization(q, case.draws, case.f, p).kl)
            sampled = sticking_the_landing(q, case.draws, case.f, p).kl
            assert closed >= 0
            gradcheck.check(
                weight @ sampled, closed, 1e-11, equation="eq. 13", function="distributions.igr.IGR.kl",
                oracle="quadrature of log q - log p", scale=1.0,
            )  # fmt: skip
    for model in MODELS:
        for seed in range(20):
            rng = numpy.random.default_rng((81, seed))
            case = Case(model, rng, (), 10, 0.5)
            q, p = case.distributions()
            shape = (4000, VARIABLES, 10 if model == "gumbel_softmax" else 9)
            draws = noise.gumbel(rng, shape) if model == "gumbel_softmax" else rng.standard_normal(shape)
            first = reparameterization(q, draws, lambda z: (numpy.zeros(z.shape[:-2]), 0 * z), p).kl
            second = sticking_the_landing(q, draws, lambda z: (numpy.zeros(z.shape[:-2]), 0 * z), p).kl
            error = numpy.std(second) / math.sqrt(4000)
            assert second.mean() > -5 * error
            if model == "gumbel_softmax":
                assert numpy.allclose(first, second, rtol=1e-12)
            else:
                assert first.shape == () and abs(second.mean() - first) < 5 * error


# ---- traps and errors ----------------------------------------------------------------------------------------------


def test_trap_log_sigma_is_not_a_log_variance():
    """sigma = e^log_sigma: at sigma = 3 against a standard prior, eq. 13 is (9 - 1)/2 - log 3."""
    q = igr_i(numpy.zeros((1, 1)), numpy.full((1, 1), math.log(3)), 1.0)
    p = IGR(numpy.zeros((1, 1)), numpy.zeros((1, 1)), q.transform)
    estimate = reparameterization(q, numpy.ones((1, 1)), lambda z: (numpy.zeros(()), 0 * z), p)
    assert abs(float(estimate.kl) - (4 - math.log(3))) < 1e-14
    assert abs(float(estimate.grads["log_sigma"][0, 0]) - 8) < 1e-13


def test_trap_infinite_at_low_temperature():
    """tau = 1e-3, where z underflows to exactly 0: losses and gradients are finite, log z never being taken of z."""
    for model in MODELS:
        case = Case(model, numpy.random.default_rng(82), (50,), 10, 1e-3)
        q, p = case.distributions()
        assert numpy.any(q.sample(case.draws) == 0) or model == "igr_sb"
        for function in ESTIMATORS.values():
            estimate = function(q, case.draws, case.f, p)
            assert numpy.all(numpy.isfinite(estimate.loss))
            assert all(numpy.all(numpy.isfinite(g)) for g in estimate.grads.values())


def test_bad_input_is_named():
    case = Case("igr_i", numpy.random.default_rng(83), (), 4, 0.5)
    q, p = case.distributions()
    other = igr_i(case.prior["mu"], case.prior["log_sigma"], 0.25)
    for function in ESTIMATORS.values():
        with pytest.raises(ValueError, match="same transform"):
            function(q, case.draws, case.f, other)

        class Unknown(GumbelSoftmax.__mro__[1]):
            def run(self, noise):
                return case.c, (noise, noise, noise)

            def pullback(self, saved, z_bar):
                return {}

        with pytest.raises(TypeError, match="known for IGR and GumbelSoftmax, got q = Unknown"):
            function(Unknown(), case.draws, case.f, p)
