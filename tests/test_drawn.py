"""The one pass over shared panels against the routines for one question each: `conditional` has panels of its own."""

from __future__ import annotations

import numpy
import pytest
from scipy import special

from igr_ref.models import Buffers
from igr_ref.recovery import _grid, _normal_single, _single_rule, conditional, drawn_single, gaussian_argmax
from igr_ref.recovery.drawn import drawn

from . import ledger
from .strict_array import same_bits, strict

MODULE = "recovery.drawn.drawn"


def bounded(rng, laws, spread):
    """mu and sigma in the range of eq. 37, from its middle (small spread) to its corners."""
    raw = spread * rng.standard_normal((2, laws, 9))
    return -5 * numpy.tanh(raw[0]), 0.5 + 2 * special.expit(raw[1])


def draws(rng, mu, sigma):
    y = mu + sigma * rng.standard_normal(mu.shape)
    b = numpy.eye(mu.shape[-1] + 1)[numpy.where(y.max(-1) > 0, y.argmax(-1), mu.shape[-1])]
    return y, b, numpy.maximum(rng.random(mu.shape), 2.0**-54)


def cotangent(log_p):
    """Some function of the law."""
    return numpy.sin(5 * numpy.exp(log_p)) + numpy.arange(10)


def differences(found, mu, sigma, b, y, saved):
    """Largest errors of P, of P_b times the score, of y and of the derivatives of y (relative to a draw's largest)."""
    p = gaussian_argmax.probs(mu, sigma)
    p_b = numpy.sum(b * p, axis=-1, keepdims=True)
    by_mu, by_sigma = gaussian_argmax.jacobian(mu, sigma)
    rows = [(b[..., None, :] @ j)[..., 0, :] for j in (by_mu, by_sigma)]
    score = max(numpy.max(numpy.abs(s * p_b - row)) for s, row in zip(found.score, rows, strict=True))
    dm, want = (numpy.concatenate(parts[3:], axis=-1) for parts in (found.saved, saved))
    size = numpy.maximum(numpy.max(numpy.abs(want), axis=-1, keepdims=True), 1e-3)
    return (
        numpy.max(numpy.abs(numpy.exp(found.log_p) - p)), score,
        numpy.max(numpy.abs(found.y - y)), numpy.max(numpy.abs(dm - want) / size),
    )  # fmt: skip


@pytest.mark.parametrize(
    "rule, tolerances", [(_grid.FINE, (1e-13, 1e-12, 1e-8, 1e-7)), (_grid.SINGLE, (1e-10, 1e-8, 1e-7, 1e-6))]
)
def test_everything_of_a_draw_in_the_range_of_eq_37(rule, tolerances):
    worst = numpy.zeros(4)
    for seed, spread in enumerate((0.1, 1.0, 3.0)):
        rng = numpy.random.default_rng((1, seed))
        mu, sigma = bounded(rng, 300, spread)
        _, b, v = draws(rng, mu, sigma)
        found = drawn(mu, sigma, b, v=v, cotangent=cotangent, rule=rule)
        worst = numpy.maximum(worst, differences(found, mu, sigma, b, *conditional.sample(mu, sigma, b, v)))
        p_bar = cotangent(gaussian_argmax.log_probs(mu, sigma))
        for got, want in zip(found.bars, gaussian_argmax.vjp(mu, sigma, p_bar), strict=True):
            assert numpy.max(numpy.abs(got - want)) < 10 * tolerances[1]
        assert numpy.array_equal(found.y.argmax(-1)[b[:, -1] == 0], b.argmax(-1)[b[:, -1] == 0])
    name = "fine" if rule is _grid.FINE else "single"
    for what, error in zip(("P", "P_b times score", "y", "dy"), worst, strict=True):
        ledger.record("one pass", MODULE, f"one routine each: {what}, {name} rule", error, "absolute", 900)
    assert numpy.all(worst < tolerances), worst


def in_single(rng, spread, laws, samples=()):
    """Float32 laws of eq. 37's range, one-hot draws and uniforms."""
    mu, sigma = (array.astype("f4") for array in bounded(rng, laws, spread))
    wide = numpy.broadcast_to(mu, (*samples, *mu.shape)), numpy.broadcast_to(sigma, (*samples, *mu.shape))
    _, b, v = draws(rng, *(array.astype("f8") for array in wide))
    return mu, sigma, b.astype("f4"), numpy.clip(v, 2.0**-25, 1 - 2.0**-24).astype("f4")


def wide(*arrays):
    return [array.astype("f8") for array in arrays]


@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_in_float32_everything_is_right_to_its_rounding(spread):
    """drawn_single against drawn in float64 for the same numbers: means of errors, and the largest of them."""
    rng, work = numpy.random.default_rng((4, int(10 * spread))), Buffers()
    for _ in range(2):  # the second time with arrays that the first has filled
        mu, sigma, b, v = in_single(rng, spread, 1500)
        got = drawn_single.drawn_single(mu, sigma, b, v=v, cotangent=cotangent, work=work)
        want = drawn(*wide(mu, sigma, b), v=v.astype("f8"), cotangent=cotangent)
        p = numpy.exp(want.log_p)
        p_b = numpy.sum(b * p, axis=-1, keepdims=True)
        found = {"P": abs(numpy.exp(got.log_p) - p), "y": abs(got.y - want.y) / (1 + abs(want.y))}
        found["pullback"] = numpy.concatenate([abs(g - w) for g, w in zip(got.bars, want.bars, strict=True)])
        found["P_b times score"] = numpy.concatenate(
            [abs(g - w) * p_b for g, w in zip(got.score, want.score, strict=True)]
        )
        for name, g, w in zip(("r", "1 - r", "q - r u", "dm/dmu", "dm/dsigma"), got.saved, want.saved, strict=True):
            found[name] = abs(g - w) / (1 + abs(w))
        # the winner's uniform is right to about 1e-7, as a part of the tail that it cuts off
        v_k = numpy.sum(b[:, :-1] * v, axis=-1, keepdims=True)
        tail = numpy.where(v_k > 0, numpy.minimum(v_k, 1 - v_k) * p_b, 1)
        weight = numpy.minimum(1, 1e3 * tail)
        tolerances = {"P": (1e-7, 2e-6), "P_b times score": (2e-7, 2e-5), "y": (1e-6, 5e-5), "pullback": (4e-6, 4e-5)}
        for name, error in found.items():
            mean, largest = tolerances.get(name, (2e-6, 2e-3))
            ledger.record(
                "one pass", "recovery.drawn_single", f"float64: {name}", error.mean(), "mean error", error.size
            )
            assert error.mean() < mean, (name, error.mean())
            error = (
                error if name in ("P", "pullback") else error.reshape(-1, *weight.shape[:-1], error.shape[-1]) * weight
            )
            assert error.max() < largest, (name, error.max())
        for array in (got.log_p, *got.bars, *got.score, got.y, *got.saved):
            assert array.dtype == numpy.float32
        assert numpy.array_equal(got.y.argmax(-1)[b[:, -1] == 0], b.argmax(-1)[b[:, -1] == 0])
        assert numpy.all(got.y[b[:, -1] == 1] < 0) and numpy.all(got.y[b[:, -1] == 0].max(-1) > 0)


@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_in_float32_given_the_sample_itself(spread):
    rng = numpy.random.default_rng((5, int(10 * spread)))
    mu, sigma, _, _ = in_single(rng, spread, 1500)
    y, b, _ = draws(rng, *wide(mu, sigma))
    y, b = y.astype("f4"), b.astype("f4")
    got = drawn_single.drawn_single(mu, sigma, b, y=y)
    want = drawn(*wide(mu, sigma, b), y=y.astype("f8"))
    assert numpy.array_equal(got.y, y)
    for name, g, w in zip(("r", "1 - r", "q - r u", "dm/dmu", "dm/dsigma"), got.saved, want.saved, strict=True):
        error = abs(g - w) / (1 + abs(w))
        ledger.record(
            "one pass, coupled", "recovery.drawn_single", f"float64: {name}", error.mean(), "mean error", 13500
        )
        assert g.dtype == numpy.float32 and error.mean() < 1e-6 and error.max() < 2e-3, (
            name,
            error.mean(),
            error.max(),
        )


@pytest.mark.parametrize("name", ["v", "y"])
def test_little_is_left_to_float64(name, monkeypatch):
    """Of 3000 draws, a few with P_b or a tail below 1e-6."""
    asked, routines = [], drawn_single._winner

    def counted(inner, place):
        def call(*args, **kwargs):
            asked.append(args[place].size)
            return inner(*args, **kwargs)

        return call

    for routine, place in (("maxima", 3), ("scores", 2)):
        monkeypatch.setattr(routines, routine, counted(getattr(routines, routine), place))
    rng = numpy.random.default_rng(9)
    mu, sigma, b, v = in_single(rng, 1.0, 3000)
    if name == "y":
        v, b, _ = (array.astype("f4") for array in draws(rng, *wide(mu, sigma)))
    drawn_single.drawn_single(mu, sigma, b, **{name: v})
    assert sum(asked) < 15


def test_phi_and_Phi_as_a_logistic_function():
    """Phi to 3e-8 by the formula, to 2e-7 in float32; beyond, Phi goes on to 1."""
    a = numpy.linspace(-5.6, 5.6, 20001)
    q = numpy.polynomial.polynomial.polyval(a * a, _normal_single.COEFFICIENTS)
    assert numpy.max(numpy.abs(special.expit(a * q) - special.ndtr(a))) < 3.5e-8
    a = numpy.linspace(-_normal_single.END, 60, 20001).astype("f4")
    bell, inverse = _normal_single.bell_and_inverse(a)
    assert bell.dtype == inverse.dtype == numpy.float32
    assert numpy.max(numpy.abs(1 / inverse - special.ndtr(a.astype("f8")))) < 2e-7
    assert numpy.max(numpy.abs(bell - numpy.exp(-0.5 * a.astype("f8") ** 2))) < 2e-7
    assert numpy.all(numpy.diff(inverse) <= 0) and inverse[-1] == 1 and numpy.all(inverse[a < -5.6] > 1e6)


@pytest.mark.parametrize("nodes", [number for _, number in _single_rule.STEPS])
def test_integrals_up_to_a_point_of_the_panel(nodes):
    """f = e^{3x} (1 + cos 9x), with its integral by hand."""
    rule, x = _single_rule.Rule(nodes, numpy.zeros(1, "f4")), numpy.linspace(0, 1, 501)

    def f(x):
        return numpy.exp(3 * x) * (1 + numpy.cos(9 * x))

    def integral(x):
        wave = numpy.exp(3 * x) * (3 * numpy.cos(9 * x) + 9 * numpy.sin(9 * x)) / 90
        return numpy.expm1(3 * x) / 3 + wave - 3 / 90

    shares = (rule.weights * f(rule.points[1].astype("f8"))).astype("f4")
    whole = integral(1.0)
    assert abs(shares.sum() - whole) < 1e-6 * whole
    c = rule.running(x.astype("f4"))
    assert c.dtype == numpy.float32 and numpy.max(numpy.abs(c @ shares - integral(x))) < 2e-6 * whole
    found = rule.quantile(numpy.tile(shares, (501, 1)), integral(x).astype("f4"))
    assert found.dtype == numpy.float32
    error = numpy.abs(integral(found.astype("f8")) - integral(x))
    assert numpy.max(error) < 4e-6 * whole and numpy.mean(error) < 1e-6 * whole


def test_a_panel_leaves_nothing_of_weight_outside():
    rng = numpy.random.default_rng(8)
    mu, sigma = (array.T.astype("f4") for array in bounded(rng, 2000, 3.0))
    low, width, nodes = _single_rule.panels(mu, sigma, 1 / sigma, special.log_ndtr(-mu / sigma).sum(axis=0))
    outside = numpy.prod(special.ndtr((low - mu) / sigma), axis=0) * (low > 0)
    outside = outside + numpy.sum(special.ndtr((mu - low - width) / sigma), axis=0)
    assert numpy.all(outside < 1.1e-7 + 9 * 3.4e-9) and numpy.all(nodes > 0)
    assert numpy.all(((low - mu) / sigma).min(axis=0) > -_normal_single.END)


def test_laws_that_no_rule_has_the_nodes_for():
    """A category a hundred times narrower than the others; and one whose P_K is e^-100, far below what float32 has."""
    mu, sigma = numpy.full((4, 5), 2.0, "f4"), numpy.full((4, 5), 2.0, "f4")
    sigma[1, 2] = sigma[2, 0] = 0.02
    mu[3], sigma[3] = 5.5, 0.9
    assert special.log_ndtr(-mu / sigma)[3].sum() < _single_rule.LEAST
    b, v = numpy.eye(6, dtype="f4")[[1, 2, 3, 1]], numpy.full((4, 5), 0.3, "f4")
    y = numpy.where(b[:, :-1] > 0, mu + 0.5 * sigma, mu - 0.5 * sigma).astype("f4")
    y[1] = numpy.minimum(y[1], y[1, 2])
    for given in ({"v": v}, {"y": y}):
        got = drawn_single.drawn_single(mu, sigma, b, cotangent=lambda log_p: numpy.sin(log_p), **given)
        wide_given = {name: array.astype("f8") for name, array in given.items()}
        want = drawn(*wide(mu, sigma, b), cotangent=lambda log_p: numpy.sin(log_p), **wide_given)
        for a, b_ in ((got.y, want.y), (got.score, want.score), (got.saved, want.saved), (got.bars, want.bars)):
            numpy.testing.assert_allclose(a, b_, rtol=2e-5, atol=2e-5)
            assert all(array.dtype == numpy.float32 for array in a)
        numpy.testing.assert_allclose(numpy.exp(got.log_p), numpy.exp(want.log_p), atol=1e-6)


def test_several_draws_in_float32():
    rng = numpy.random.default_rng(6)
    mu, sigma, b, v = in_single(rng, 1.0, 40, (5,))
    together = drawn_single.drawn_single(mu, sigma, b, v, cotangent=cotangent)
    for i in range(5):
        one = drawn_single.drawn_single(mu, sigma, b[i], v[i], cotangent=cotangent)
        for got, want in ((together.log_p, one.log_p), (together.bars[1], one.bars[1]), (together.y[i], one.y),
                          (together.score[0][i], one.score[0]), (together.saved[4][i], one.saved[4])):  # fmt: skip
            numpy.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)
    # draws that do not lie in front of the laws (replicas do)
    other = drawn_single.drawn_single(
        mu[:, None], sigma[:, None], b.swapaxes(0, 1), v.swapaxes(0, 1), cotangent=cotangent
    )
    numpy.testing.assert_allclose(other.y, together.y.swapaxes(0, 1), rtol=2e-5, atol=2e-5)
    numpy.testing.assert_allclose(other.bars[0][:, 0], together.bars[0], rtol=2e-5, atol=2e-5)
    alone = drawn_single.drawn_single(mu, sigma, b, v)
    assert alone.bars is None and numpy.array_equal(alone.y, together.y)
    got = drawn_single.drawn_single(*strict((mu, sigma, b, v)))
    same_bits((got.log_p, got.score, got.y, got.saved), (alone.log_p, alone.score, alone.y, alone.saved))


def test_rare_categories_in_float32():
    """Where P_b, or the uniform's tail of it, is below 1e-6 the answer is the float64 one, rounded."""
    mu = numpy.array([[-11.0, 2.0], [1.0, 0.5], [1.0, 0.5], [4.0, 3.0]], "f4")
    sigma, b = numpy.ones_like(mu), numpy.eye(3, dtype="f4")[[0, 0, 1, 2]]
    v = numpy.array([[0.3, 0.5], [1e-9, 0.5], [0.5, 1 - 2.0**-24], [0.2, 1e-9]], "f4")
    got = drawn_single.drawn_single(mu, sigma, b, v)
    want = drawn(*wide(mu, sigma, b), v=v.astype("f8"))
    for a, b in ((got.y, want.y), (got.score, want.score), (got.saved, want.saved)):
        numpy.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_given_the_sample_itself():
    rng = numpy.random.default_rng(2)
    mu, sigma = bounded(rng, 400, 1.0)
    y, b, _ = draws(rng, mu, sigma)
    for got, want in zip(drawn(mu, sigma, b, y=y).saved, conditional.coupled(mu, sigma, b, y), strict=True):
        numpy.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-7)


def test_rare_categories_and_the_ends_of_the_uniform_keep_relative_precision():
    mu, sigma = numpy.array([[-11.0, 2.0], [1.0, 0.5], [1.0, 0.5], [4.0, 3.0]]), numpy.full((4, 2), 1.0)
    b, v = numpy.eye(3)[[0, 0, 1, 2]], numpy.array([[0.3, 0.5], [1e-12, 0.5], [0.5, 1 - 1e-12], [0.2, 1e-9]])
    found, (y, saved) = drawn(mu, sigma, b, v=v), conditional.sample(mu, sigma, b, v)
    numpy.testing.assert_allclose(found.y, y, rtol=1e-12)
    for got, want in zip(found.saved, saved, strict=True):
        numpy.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-14)
    step = 1e-5
    up, down = (gaussian_argmax.log_probs(mu + d * numpy.eye(2)[1], sigma)[0, 0] for d in (step, -step))
    assert abs(found.score[0][0, 1] - (up - down) / (2 * step)) < 1e-7


def test_several_draws_of_a_law_and_arrays_that_never_become_numpys():
    rng = numpy.random.default_rng(3)
    mu, sigma = bounded(rng, 6, 1.0)
    _, b, v = draws(rng, *(numpy.broadcast_to(a, (5, 6, 9)) for a in (mu, sigma)))
    together = drawn(mu, sigma, b, v=v)
    for i in range(5):
        one = drawn(mu, sigma, b[i], v=v[i])
        assert numpy.array_equal(one.log_p, together.log_p) and numpy.array_equal(one.score[1], together.score[1][i])
        numpy.testing.assert_allclose(one.y, together.y[i], rtol=1e-13)
    assert numpy.array_equal(drawn(mu, sigma, b).score[0], together.score[0])
    got = drawn(*strict((mu, sigma, b)), v=strict(v))
    same_bits((got.log_p, got.score, got.y, got.saved), (together.log_p, together.score, together.y, together.saved))


def test_an_empty_batch_is_an_empty_batch():
    m = numpy.zeros((0, 3))
    for found in (
        drawn(m, m + 1, numpy.zeros((0, 4)), v=m),
        drawn_single.drawn_single(m, m + 1, numpy.zeros((0, 4)), v=m),
    ):
        assert found.y.shape == (0, 3) and found.log_p.shape == (0, 4)


def test_a_rare_winner_in_its_own_tail():
    """P_b = 4e-6 and 1 - v = 5e-6: neither alone is rare, but the winner's equation sees their product."""
    mu, sigma, b = numpy.array([-5.0, -5.0]), numpy.array([0.60124, 1.12342]), numpy.array([0.0, 1.0, 0.0])
    v = numpy.array([0.7778, 0.9999953])
    want = conditional.sample(mu, sigma, b, v)[0][1]
    for rule in (_grid.FINE, _grid.SINGLE):
        assert abs(drawn(mu, sigma, b, v=v, rule=rule).y[1] - want) < 1e-9
