"""IGR-SB over countably many categories: where eq. 19 cuts, the truncated sample, its pullback, growing parameters."""

from __future__ import annotations

import functools

import autograd.numpy as anp
import numpy
import pytest

from igr_ref import noise, prior
from igr_ref.distributions import GrowingSticks, InfiniteIGR, gaussian
from igr_ref.distributions.growing_sticks import grow_state
from igr_ref.distributions.infinite import k_rho, kept_as_published, percentile
from igr_ref.estimators import reparameterization
from igr_ref.models import Adam
from igr_ref.numerics import log_sigmoid

from . import gradcheck, ledger, oracles
from . import oracles_nonparametric as exact

NAME = "distributions.infinite"


def from_sticks(w, **options):
    """A law with mu such that, at noise 0, the sticks are w (..., K_max)."""
    w = numpy.asarray(w, float)
    before = 1 - numpy.cumsum(w, axis=-1) + w
    y = numpy.log(w / (before - w))
    return InfiniteIGR(y, numpy.zeros_like(y), options.pop("temperature", 0.5), **options), numpy.zeros_like(y)


def truncated_z(y, kept, temperature, delta=1.0):
    """softmax++ of the first `kept` sticks of one sample, zeros behind: by slicing."""
    z = numpy.zeros(y.shape[-1] + 1, oracles.LONG)
    z[: kept + 1] = oracles.softmax_pp(oracles.sticks(y)[:kept], temperature, delta)
    return z


def truncated_y_bar(y, kept, temperature, delta, z_bar):
    """Pullback by slicing: eqs. 23-24 on the kept sticks, then the Jacobian of stick-breaking, entry by entry."""
    w_bar = oracles.softmax_pp_bar(oracles.sticks(y)[:kept], temperature, delta, z_bar[: kept + 1], 0.0)
    jacobian = oracles.sticks_jacobian(y)[:kept]
    return numpy.einsum("ki,k->i", jacobian, w_bar)


# ---- eq. 19 --------------------------------------------------------------------------------------------------------


def test_the_papers_example_of_eq_19_and_the_published_one_less():
    """Sticks .1, .2, .3, .3 at rho = .8: eq. 19 gives 4, the official code's class test 3 (audit cut-off-by-one)."""
    q, eps = from_sticks([0.1, 0.2, 0.3, 0.3], rho=0.8)
    assert q.kept(eps) == 4
    assert kept_as_published(q.sticks(eps)[None, :-1], 0.8, 50) == 3
    one_less, _ = q.run(eps, kept=3)
    assert one_less[4] == 0 and one_less[3] > 0  # softmax++ adds one category back


def test_k_rho_against_eq_19_by_a_loop():
    """1,200 draws; the two sums that eq. 19 compares with rho, in longdouble."""
    count = 0
    for rng, lead, k, _ in gradcheck.configurations(300, seed=31, categories=(1, 2, 3, 10, 100)):
        rho = float(rng.choice([0.3, 0.5, 0.9, 0.9999]))
        y = rng.normal(rng.uniform(-4, 1), 1.5, (*lead, 2, k))
        got = k_rho(log_sigmoid(-y), rho)
        w = oracles.sticks(y)[..., :-1].reshape(-1, k)
        for sticks, one in zip(w, got.reshape(-1), strict=True):
            if numpy.min(numpy.abs(numpy.cumsum(sticks) - rho)) < 1e-13:
                continue  # a tie within rounding
            assert one == exact.k_rho(sticks, rho)
            if one <= k:
                assert numpy.sum(sticks[: one - 1]) <= rho < numpy.sum(sticks[:one])
            count += 1
    assert count > 1200
    ledger.record("eq. 19", f"{NAME}.k_rho", "loop in longdouble", 0.0, "mismatches", count)


def test_trap_rho_close_to_one_in_float32():
    """In float32 a running sum of sticks has errors of 1e-7 to 1e-6: the cut is made in log(1-u), and agrees with
    float64 wherever the float32 sticks themselves do."""
    rng = numpy.random.default_rng(32)
    y = rng.normal(-3, 0.5, (2000, 400)).astype(numpy.float32)
    rho = 1 - 2.0**-18
    got = k_rho(log_sigmoid(-y), rho)
    wide = k_rho(log_sigmoid(-y.astype(float)), rho)
    naive = 1 + numpy.sum(numpy.cumsum(oracles.sticks(y)[:, :-1].astype(numpy.float32), axis=-1) <= rho, axis=-1)
    assert numpy.mean(got != wide) < 0.002 and numpy.max(numpy.abs(got - wide)) <= 1
    assert numpy.mean(naive != wide) > 0.01


def test_percentile_rule():
    """The ceil(q n/100)-th in order: NumPy's inverted_cdf, and by counting; always one of the counts."""
    for seed in range(200):
        rng = numpy.random.default_rng((33, seed))
        counts = rng.integers(1, 12, size=(int(rng.integers(1, 8)), int(rng.integers(1, 6))))
        q = float(rng.choice([1, 10, 50, 70, 75, 99, 100]))
        got = percentile(counts, q)
        assert got.shape == (1, 1) and got.dtype.kind == "i"
        assert got[0, 0] == exact.inverted_cdf_percentile(counts.reshape(-1).tolist(), q)
        if counts.size * q % 100:  # NumPy's own rule is subject to rounding where q n/100 is an integer
            assert got[0, 0] == numpy.percentile(counts, q, method="inverted_cdf")
        by_replica = percentile(numpy.stack([counts, counts + 3]), q, replicas=1)
        assert by_replica.shape == (2, 1, 1) and by_replica[1, 0, 0] == by_replica[0, 0, 0] + 3
    assert percentile(numpy.arange(1, 11), 70) == 7  # 70 % of ten, exactly


def test_all_variables_are_inspected_unlike_the_published_rule():
    """(S, B, N, K_max) with a long second variable: eq. 19's percentile sees it, the code's does not."""
    short, long = [0.6, 0.35, 0.04], [0.05, 0.05, 0.05]
    q, eps = from_sticks(numpy.broadcast_to([short, long, long], (2, 4, 3, 3)), rho=0.9, percentile=50)
    assert q.kept(eps).reshape(()) == 3
    assert kept_as_published(q.sticks(eps)[..., :-1], 0.9, 50) == 1
    assert numpy.array_equal(q.reached(eps), numpy.broadcast_to([True, False, False], (2, 4, 3)))


def test_first_stick_above_rho_and_rho_never_reached():
    q, eps = from_sticks([[0.95, 0.02, 0.01], [0.2, 0.1, 0.1]], rho=0.9)
    assert numpy.array_equal(q.kept(eps), [1, 3])
    z = q.sample(eps)
    assert numpy.all(z[0, 2:] == 0) and numpy.all(z[0, :2] > 0) and numpy.all(z[1] > 0)
    assert numpy.allclose(z.sum(axis=-1), 1, atol=1e-15)
    with pytest.raises(ArithmeticError, match="keeps no stick"):
        kept_as_published(numpy.array([[[0.95, 0.02]]]), 0.9, 50)


# ---- the sample and its pullback -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [numpy.float64, numpy.float32])
def test_sample_and_pullback(dtype):
    """z and the gradients by mu and log_sigma, per-sample cut and percentile, against slicing and against autograd."""
    double = dtype is numpy.float64
    for i, (rng, lead, k, temperature) in enumerate(
        gradcheck.configurations(1000, seed=34, categories=(1, 2, 3, 10, 100, 1000) if double else (1, 2, 3, 10, 50))
    ):
        mu = rng.normal(rng.uniform(-4, 1), 1, (*lead, k)).astype(dtype)
        log_sigma = rng.normal(-0.5, 0.5, (*lead, k)).astype(dtype)
        eps = rng.standard_normal((*lead, k)).astype(dtype)
        delta = float(rng.choice([1.0, 0.1]))
        q = InfiniteIGR(mu, log_sigma, temperature, 0.9, (None, 50)[i % 2], delta=delta)
        z, saved = q.run(eps)
        z_bar = rng.standard_normal(z.shape).astype(dtype)
        bars = q.pullback(saved, z_bar)
        y = gaussian.sample(*(x.astype(float) for x in (mu, log_sigma, eps)))
        kept = numpy.broadcast_to(q.kept(eps), lead)
        flat_y, flat_z = y.reshape(-1, k), z.reshape(-1, k + 1)
        y_bar = numpy.zeros((flat_y.shape[0], k), oracles.LONG)
        want_z = numpy.zeros_like(flat_z, oracles.LONG)
        for row, own in enumerate(kept.reshape(-1)):
            want_z[row] = truncated_z(flat_y[row], own, temperature, delta)
            y_bar[row] = truncated_y_bar(flat_y[row], own, temperature, delta, z_bar.reshape(-1, k + 1)[row])
            assert numpy.all(flat_z[row, own + 1 :] == 0)
            assert numpy.all(bars["mu"].reshape(-1, k)[row, own:] == 0)
            assert numpy.all(bars["log_sigma"].reshape(-1, k)[row, own:] == 0)
        common = {"equation": "eq. 19", "dtype": dtype}
        gradcheck.check(
            z, want_z.reshape(z.shape), function=f"{NAME}.InfiniteIGR.run", oracle="slicing, longdouble",
            **common,
        )  # fmt: skip
        sigma = numpy.exp(oracles.LONG(log_sigma.reshape(-1, k)))
        want = {"mu": y_bar, "log_sigma": y_bar * sigma * eps.reshape(-1, k)}
        for name in bars:
            gradcheck.check(
                bars[name], want[name].reshape(mu.shape), function=f"{NAME}.InfiniteIGR.pullback",
                oracle="slicing, longdouble", scale=0.0 if double else 1e-30, **common,
            )  # fmt: skip
        if double and k <= 100:

            def traced(m, s, q=q, eps=eps, z_bar=z_bar, temperature=temperature, delta=delta):
                law = InfiniteIGR(m, s, temperature, q.rho, q.percentile, delta=delta, validate=False)
                return anp.sum(law.run(eps)[0] * z_bar)

            for name, one in zip(bars, gradcheck.autograd_vjp(traced, mu, log_sigma), strict=True):
                # autograd's softmax pullback cancels near a vertex: its error is that of its largest term
                gradcheck.check(
                    bars[name], one, function=f"{NAME}.InfiniteIGR.pullback", oracle="autograd",
                    scale=1e-3 * float(numpy.linalg.norm(z_bar)) / temperature, **common,
                )  # fmt: skip


def test_pullback_against_complex_steps():
    """<z_bar, z> is analytic in mu and log_sigma for a fixed cut: the imaginary part of a complex step, K_max = 30."""
    for seed in range(50):
        rng = numpy.random.default_rng((35, seed))
        mu, log_sigma, eps, d_mu, d_log = rng.normal(-2, 1, (5, 4, 30))
        z_bar = rng.standard_normal((4, 31))
        q = InfiniteIGR(mu, log_sigma, 0.3, 0.8)
        z, saved = q.run(eps)
        kept = saved[-1]

        def value(point, kept=kept, mu=mu, log_sigma=log_sigma, eps=eps, z_bar=z_bar):
            total = 0
            for row in range(4):
                y = mu[row] + point[0, row] + numpy.exp(log_sigma[row] + point[1, row]) * eps[row]
                u, left, w = 1 / (1 + numpy.exp(-y)), 1.0, []
                for k in range(kept[row]):
                    w.append(u[k] * left)
                    left = left * (1 - u[k])
                e = numpy.exp(numpy.array([*w, 0.0]) / 0.3)
                total = total + numpy.sum(e / numpy.sum(e) * z_bar[row, : kept[row] + 1])
            return total

        direction = numpy.stack([d_mu, d_log])
        want = gradcheck.complex_step(value, numpy.zeros_like(direction), direction)
        bars = q.pullback(saved, z_bar)
        got = numpy.sum(bars["mu"] * d_mu) + numpy.sum(bars["log_sigma"] * d_log)
        gradcheck.check(
            got, want, equation="eq. 19", function=f"{NAME}.InfiniteIGR.pullback", oracle="complex step", scale=0.1
        )  # fmt: skip


def test_category_is_the_argmax_of_the_sticks_and_the_limit_of_the_sample():
    rng = numpy.random.default_rng(36)
    mu, log_sigma = rng.normal(-1, 1, (2, 3, 40))
    eps = rng.standard_normal((200, 3, 40))
    q = InfiniteIGR(mu, log_sigma, 1e-4, 0.9)
    w = oracles.sticks(gaussian.sample(mu, log_sigma, eps))
    assert numpy.array_equal(q.category(eps), numpy.argmax(w[..., :-1], axis=-1))
    b = q.discretize(eps)
    assert b.shape == (200, 3, 41) and b.dtype == eps.dtype
    assert set(numpy.unique(b)) <= {0.0, 1.0} and numpy.all(b.sum(axis=-1) == 1)  # trap: not exactly one-hot
    decided = q.decided(eps)
    assert numpy.array_equal(decided, w[..., -1] <= w[..., :-1].max(axis=-1))
    # the largest stick is always kept at rho = .9 when it holds more than .1, and then z tends to it
    top = numpy.sort(w[..., :-1], axis=-1)
    clear = (top[..., -1] - top[..., -2] > 5e-3) & (top[..., -1] > 0.1)
    assert clear.sum() > 300
    assert numpy.allclose(q.sample(eps)[clear], b[clear], atol=1e-12)


def test_kl_of_the_kept_coordinates():
    """eq. 13 by a loop over the kept coordinates, and its pullback against autograd and finite differences."""
    rng = numpy.random.default_rng(37)
    for _ in range(300):
        mu, log_sigma = rng.normal(-1, 1, (2, 5, 12))
        kept = rng.integers(1, 13, size=5)
        mu_0, log_sigma_0, bar = -0.7, 0.2, rng.standard_normal(5)
        q = InfiniteIGR(mu, log_sigma, 1.0, 0.9)
        want = numpy.zeros(5)
        for row in range(5):
            for k in range(kept[row]):
                ratio = numpy.exp(2 * (log_sigma[row, k] - log_sigma_0))
                offset = ((mu[row, k] - mu_0) / numpy.exp(log_sigma_0)) ** 2
                want[row] += 0.5 * (ratio + offset - 1) - log_sigma[row, k] + log_sigma_0
        common = {"equation": "eq. 13", "function": f"{NAME}.InfiniteIGR.kl"}
        gradcheck.check(q.kl(mu_0, log_sigma_0, kept), want, oracle="loop", **common)
        bars = q.kl_vjp(mu_0, log_sigma_0, kept, bar)

        def value(m, s, kept=kept, bar=bar, mu_0=mu_0, log_sigma_0=log_sigma_0):
            return anp.sum(bar * InfiniteIGR(m, s, 1.0, 0.9, validate=False).kl(mu_0, log_sigma_0, kept))

        common["function"] += "_vjp"
        for name, one in zip(bars, gradcheck.autograd_vjp(value, mu, log_sigma), strict=True):
            gradcheck.check(bars[name], one, oracle="autograd", **common)
            assert numpy.all(bars[name][numpy.arange(12) >= kept[:, None]] == 0)
        direction = rng.standard_normal((2, 5, 12))
        want = gradcheck.central_difference(
            lambda x, value=value, mu=mu, s=log_sigma: value(mu + x[0], s + x[1]), numpy.zeros((2, 5, 12)), direction
        )
        got = numpy.sum(bars["mu"] * direction[0]) + numpy.sum(bars["log_sigma"] * direction[1])
        gradcheck.check(got, want, 1e-6, oracle="central differences", scale=10.0, **common)


def test_one_percentile_for_a_batch_and_one_for_each_replica():
    rng = numpy.random.default_rng(38)
    mu = numpy.array([-0.5, -3.0])[:, None, None, None, None] + rng.normal(0, 0.5, (2, 1, 5, 4, 60))
    eps = rng.standard_normal((2, 3, 5, 4, 60))
    q = InfiniteIGR(mu, numpy.zeros_like(mu), 0.5, 0.9, percentile=50, replicas=1)
    kept = q.kept(eps)
    assert kept.shape == (2, 1, 1, 1) and kept[0].item() < kept[1].item()
    z = q.sample(eps)
    for r in range(2):
        alone = InfiniteIGR(mu[r], numpy.zeros_like(mu[r]), 0.5, 0.9, percentile=50)
        assert numpy.array_equal(alone.sample(eps[r]), z[r])
        assert numpy.all(z[r, ..., kept[r].item() + 1 :] == 0) and numpy.all(z[r, ..., : kept[r].item() + 1] > 0)


def test_it_runs_in_the_estimators_and_in_prior_fitting():
    """reparameterization with p=None; eq. 14 for a Poisson(5) law, the loss falling."""
    rng = numpy.random.default_rng(39)
    q = InfiniteIGR(rng.normal(-1, 1, (6, 20)), numpy.zeros((6, 20)), 0.5, 0.9, percentile=50)
    c = rng.standard_normal((6, 21))
    estimate = reparameterization(q, rng.standard_normal((3, 6, 20)), lambda z: ((z * c).sum((-1, -2)), z * 0 + c))
    assert estimate.loss.shape == (3,) and estimate.grads["mu"].shape == (3, 6, 20)
    poisson = numpy.exp(
        -5 + numpy.arange(31) * numpy.log(5.0) - numpy.cumsum(numpy.log(numpy.maximum(numpy.arange(31), 1)))
    )
    start = {"mu": numpy.full(30, -1.5), "log_sigma": numpy.full(30, 0.5)}
    build = functools.partial(InfiniteIGR, temperature=0.05, rho=0.9, percentile=70)
    _, losses = prior.fit(
        build, start, poisson / poisson.sum(), lambda step: numpy.random.default_rng(step).standard_normal((500, 30)),
        steps=80, learning_rate=0.05,
    )  # fmt: skip
    assert losses[-1] < 0.6 * losses[0]


# ---- growing -------------------------------------------------------------------------------------------------------


def draw_for(lead, seed, step=0):
    """One keyed generator for each stick: the noise of stick k does not depend on how many are asked for."""

    def draw(first, last):
        columns = [noise.normal(noise.generator(seed, f"stick-{k}", step), lead) for k in range(first, last)]
        return numpy.stack(columns, axis=-1)

    return draw


def test_sticks_grow_until_every_sample_exceeds_rho():
    sticks = GrowingSticks(-1.0, 0.5)
    assert sticks.size == 1
    draw = draw_for((50,), 1)
    eps, grew = sticks.reach(draw, 0.99)
    q = sticks.distribution(0.5, 0.99)
    assert grew and eps.shape == (50, sticks.size) and numpy.all(q.reached(eps))
    assert numpy.array_equal(eps, draw(0, sticks.size))  # the noise of the first sticks was not redrawn
    size = sticks.size
    assert sticks.reach(draw, 0.99)[1] is False and sticks.size == size
    assert numpy.all(sticks.params["mu"] == -1.0) and numpy.all(sticks.params["log_sigma"] == 0.5)
    eps, _ = sticks.decide(draw_for((500,), 2))
    q = sticks.distribution(0.5, 0.99)
    assert numpy.all(q.decided(eps))
    before = q.category(eps)
    sticks.grow(4 * sticks.size)
    assert numpy.array_equal(sticks.distribution(0.5, 0.99).category(draw_for((500,), 2)(0, sticks.size)), before)


def test_starts_given_as_functions_and_float32():
    start = 0.541 + 0.01 * noise.normal(noise.generator(3, "start"), 1000)
    sticks = GrowingSticks(-2.0, lambda first, last: start[first:last], lead=(4,), dtype=numpy.float32, size=3)
    sticks.grow(10)
    assert sticks.params["log_sigma"].dtype == numpy.float32 and sticks.params["log_sigma"].shape == (4, 10)
    assert numpy.array_equal(sticks.params["log_sigma"][2], start[:10].astype(numpy.float32))


def test_a_growing_run_is_a_run_with_enough_sticks_from_the_start():
    """20 Adam steps on a toy loss: parameters and moments agree, whatever the sticks allocated so far."""
    target = numpy.exp(-0.3 * numpy.arange(400))

    def gradient(q, eps):
        z, saved = q.run(eps)
        bar = 2 * (z - 0.3 * target[: z.shape[-1]]) * (z > 0)
        return {name: g.mean(axis=0) for name, g in q.pullback(saved, bar).items()}

    growing, size = GrowingSticks(-1.0, 0.3), 256
    adam = Adam(growing.params, 0.3)
    fixed = {"mu": numpy.full(size, -1.0), "log_sigma": numpy.full(size, 0.3)}
    fixed_adam, times = Adam(fixed, 0.3), 0
    for step in range(20):
        draw = draw_for((30,), 5, step)
        eps, grew = growing.reach(draw, 0.9)
        if grew:
            state, adam = adam.state(), Adam(growing.params, 0.3)
            adam.load(grow_state(state, growing.params))
            times += 1
        adam.step(growing.params, gradient(growing.distribution(0.2, 0.9), eps))
        fixed_adam.step(fixed, gradient(InfiniteIGR(fixed["mu"], fixed["log_sigma"], 0.2, 0.9), draw(0, size)))
    assert times >= 2 and 4 < growing.size < size and adam.t == 20
    for name, array in growing.params.items():
        assert numpy.allclose(array, fixed[name][: growing.size], rtol=0, atol=1e-12)
        assert numpy.all(fixed[name][growing.size :] == (-1.0, 0.3)[name == "log_sigma"])
        assert numpy.allclose(adam.m[name], fixed_adam.m[name][: growing.size], rtol=0, atol=1e-12)
        assert numpy.any(array != (-1.0, 0.3)[name == "log_sigma"])


# ---- bad input -----------------------------------------------------------------------------------------------------


def law(**options):
    return InfiniteIGR(numpy.zeros(3), numpy.zeros(3), **{"temperature": 1.0, "rho": 0.9, **options})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: law(rho=1.0), "rho must"),
        (lambda: law(rho=numpy.nan), "rho must"),
        (lambda: law(temperature=0.0), "temperature must"),
        (lambda: law(delta=-1.0), "delta must"),
        (lambda: law(percentile=0).kept(numpy.zeros(3)), "percentile must"),
        (lambda: InfiniteIGR(numpy.full(3, numpy.nan), numpy.zeros(3), 1.0, 0.9), "mu must be finite"),
        (lambda: GrowingSticks(numpy.nan, 0.0), "mu_start must be finite"),
        (lambda: GrowingSticks(0.0, 0.0).reach(draw_for((2,), 0), 0.0), "rho must"),
        (lambda: grow_state({"t": 1, "m.mu": numpy.zeros(4)}, {"mu": numpy.zeros(3)}), "m.mu has 4"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_parameters_that_use_up_no_mass():
    with pytest.raises(ArithmeticError, match="max_sticks"):
        GrowingSticks(-30.0, 0.0, max_sticks=64).reach(draw_for((2,), 0), 0.9)
