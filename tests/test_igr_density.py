"""IGR's densities, KL and discrete law: 50-digit mpmath, quadrature, and samples at a fixed seed (alarm rate 1e-6)."""

from __future__ import annotations

import mpmath
import numpy
import pytest
import scipy.integrate
from scipy.stats import norm

from igr_ref import IGR, igr_i, igr_sb

from . import density_checks, ledger, oracles
from .density_checks import check_integral, integral, log_ratio_grid
from .gradcheck import configurations

BUILD = {"IGR-I": igr_i, "IGR-SB": igr_sb}
PARAMETERS = {2: (numpy.array([0.4]), numpy.array([-0.1])), 3: (numpy.array([0.4, -0.7]), numpy.array([-0.1, 0.3]))}
DENSITY = {"equation": "eq. 12", "function": "distributions.IGR.log_prob_z"}

mp = mpmath.mp.clone()
mp.dps = 50


def _mp_log_prob(kind, mu, log_sigma, y, temperature, delta):
    """(log q, the sum of the sizes of its terms) at one point, from the definition and the printed determinants."""
    mu, log_sigma, y = ([mp.mpf(float(v)) for v in x] for x in (mu, log_sigma, y))
    tau, delta, n = mp.mpf(temperature), mp.mpf(delta), len(y)
    terms = [
        -(((a - m) / mp.exp(s)) ** 2) / 2 - mp.log(2 * mp.pi) / 2 - s for m, s, a in zip(mu, log_sigma, y, strict=True)
    ]
    if kind == "IGR-SB":
        terms += [mp.log1p(mp.exp(-a)) for a in y] + [(n - k) * mp.log1p(mp.exp(a)) for k, a in enumerate(y)]
        u = [1 / (1 + mp.exp(-a)) for a in y]
        y = [u[k] * mp.fprod(1 - v for v in u[:k]) for k in range(n)]
    e = [mp.exp(a / tau) for a in y] + [delta]
    terms += [-mp.log(v / mp.fsum(e)) for v in e] + [n * mp.log(tau)]
    return mp.fsum(terms), mp.fsum(abs(t) for t in terms)


@pytest.mark.parametrize("kind", BUILD)
def test_log_prob_to_50_digits(kind):
    worst = 0.0
    for i, (rng, _, k, temperature) in enumerate(configurations(500, 1, categories=(2, 3, 6))):
        mu, log_sigma, eps = rng.standard_normal((3, k - 1)) * [1.0, 3.0][i % 2]
        delta = [1.0, 0.1, 10.0][i % 3]
        y = mu + numpy.exp(log_sigma) * eps
        got = BUILD[kind](mu, log_sigma, temperature, delta).log_prob(y)
        want, size = _mp_log_prob(kind, mu, log_sigma, y, temperature, delta)
        worst = max(worst, float(abs(float(got) - want) / max(1, size)))
        small = BUILD[kind](mu.astype("f4"), log_sigma.astype("f4"), temperature, delta)
        rounded = small.mu, small.log_sigma, y.astype("f4")
        want, size = _mp_log_prob(kind, *rounded, temperature, delta)
        got = small.log_prob(rounded[2])
        assert got.dtype == "f4" and abs(float(got) - want) <= 1e-6 * k * max(1, size)
    ledger.record(
        "eq. 12",
        f"distributions.{kind.lower().replace('-', '_')}.log_prob",
        "mpmath, 50 digits",
        worst,
        "of the terms",
        500,
    )
    assert worst <= 1e-13


def _grid(q, n, reach=9.5):
    """log z and cell of a grid over reach standard deviations of softmax++'s inputs."""
    g, sigma = q.transform, numpy.exp(q.log_sigma)
    shift = numpy.log(g.delta)
    low, high = ((q.mu + sign * reach * sigma) / g.temperature - shift for sign in (-1, 1))
    return log_ratio_grid(low, high, n)


@pytest.mark.parametrize("temperature", [0.01, 0.1, 0.5, 1.0, 10.0])
@pytest.mark.parametrize("delta", [1.0, 0.1])
@pytest.mark.parametrize("k", [2, 3])
def test_igr_i_integrates_to_one_and_its_kl(k, delta, temperature):
    q = igr_i(*PARAMETERS[k], temperature, delta)
    p = IGR(PARAMETERS[k][0] - 0.5, PARAMETERS[k][1] + 0.2, q.transform)
    log_z, cell = _grid(q, {2: 400, 3: 150}[k])
    # z itself underflows at the lowest temperature; its logarithm does not
    y = q.transform.inverse_log(log_z)
    log_q = q.log_prob(y) if temperature < 0.1 else q.log_prob_z(numpy.exp(log_z))
    check_integral(integral(log_q, log_z, cell), 1.0, **DENSITY)
    kl = integral(log_q, log_z, cell, of=log_q - p.log_prob(y))
    check_integral(kl, float(q.kl(p)), equation="eq. 13", function="distributions.IGR.kl")


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 10.0])
@pytest.mark.parametrize("delta", [1.0, 0.1])
@pytest.mark.parametrize("k", [2, 3])
def test_igr_sb_integrates_to_one_over_its_image(k, delta, temperature):
    """Over S^{K-1} inside, w by tanh-like sticks on a grid, dw = prod_k w_k (1 - u_k) dy; then z's volume by eq. 26."""
    q = igr_sb(*PARAMETERS[k], temperature, delta)
    axes = [
        numpy.linspace(m - 9 * s, m + 9 * s, {2: 600, 3: 200}[k])
        for m, s in zip(q.mu, numpy.exp(q.log_sigma), strict=True)
    ]
    a = numpy.stack(numpy.meshgrid(*axes, indexing="ij"), axis=-1)
    w = oracles.sticks(a)
    z = oracles.softmax_pp(w[..., :-1], temperature, delta)
    rest = 1 / (1 + numpy.exp(a.astype(numpy.longdouble)))
    log_volume = numpy.sum(numpy.log(w[..., :-1] * rest), axis=-1) + numpy.sum(numpy.log(z), axis=-1)
    log_volume = (log_volume - (k - 1) * numpy.log(temperature)).astype(float)
    inside = numpy.min(w, axis=-1) > 1e-9  # nearer to the boundary the remainder 1 - sum w has too few digits
    log_q = q.log_prob_z(z[inside].astype(float))
    cell = numpy.prod([axis[1] - axis[0] for axis in axes])
    got = float(numpy.sum(numpy.exp(log_q + log_volume[inside])) * cell)
    check_integral(got, 1.0, tolerance=1e-9, **DENSITY)


@pytest.mark.parametrize("kind", BUILD)
def test_log_prob_z_is_log_prob_at_the_point_that_maps_there(kind):
    rng = numpy.random.default_rng(2)
    q = BUILD[kind](*rng.standard_normal((2, 5, 3)), 0.7)
    y = rng.standard_normal((4, 5, 3))
    assert numpy.allclose(q.log_prob_z(q.transform.forward(y)), q.log_prob(y), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0])
def test_igr_i_samples_follow_their_density(temperature):
    q = igr_i(*PARAMETERS[2], temperature, 0.5)
    z = q.sample(numpy.random.default_rng(3).standard_normal((100_000, 1)))
    a = q.transform.log_forward(
        q.mu + numpy.exp(q.log_sigma) * numpy.random.default_rng(3).standard_normal((100_000, 1))
    )
    a = a[:, 0] - a[:, 1]
    both = (z[:, 0] > 1e-12) & (z[:, 1] > 1e-12)
    assert numpy.allclose(numpy.log(z[both, 0] / z[both, 1]), a[both], rtol=1e-9, atol=1e-9)
    low, high = ((q.mu[0] + s * 9 * numpy.exp(q.log_sigma[0])) / temperature - numpy.log(0.5) for s in (-1, 1))

    def log_density(log_z):
        return q.log_prob(q.transform.inverse_log(log_z))

    density_checks.check_samples(a, log_density, low, high, equation="eq. 12", function="distributions.igr_i.sample")


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_igr_sb_samples_follow_their_density(temperature):
    q = igr_sb(*PARAMETERS[2], temperature, 0.5)
    z = q.sample(numpy.random.default_rng(4).standard_normal((100_000, 1)))
    a = numpy.log(z[:, 0] / z[:, 1])
    ends = -numpy.log(0.5), 1 / temperature - numpy.log(0.5)
    margin = 1e-9 * (ends[1] - ends[0])  # w in (0, 1), and the density vanishes at both ends

    def log_density(log_z):
        return q.log_prob_z(numpy.exp(log_z))

    limits = ends[0] + margin, ends[1] - margin
    density_checks.check_samples(a, log_density, *limits, equation="eq. 12", function="distributions.igr_sb.sample")


@pytest.mark.parametrize("kind", BUILD)
def test_kl_against_monte_carlo(kind):
    rng = numpy.random.default_rng(5)
    q = BUILD[kind](*rng.standard_normal((2, 4)), 0.3)
    p = IGR(*rng.standard_normal((2, 4)), q.transform)
    y = q.mu + numpy.exp(q.log_sigma) * rng.standard_normal((100_000, 4))
    samples = q.log_prob(y) - p.log_prob(y)  # of the relaxed z, each with its own log-determinant
    density_checks.check_mean(samples, float(q.kl(p)), equation="eq. 13", function="distributions.IGR.kl")


def _prop_2(mu, sigma):
    """eq. 21 by scipy.integrate.quad, one category at a time."""
    out = []
    for k in range(len(mu)):

        def density(t, k=k):
            others = [norm.cdf(t, mu[j], sigma[j]) for j in range(len(mu)) if j != k]
            return norm.pdf(t, mu[k], sigma[k]) * numpy.prod(others)

        out.append(scipy.integrate.quad(density, 0, mu[k] + 40 * sigma[k], points=[abs(mu[k])], limit=200)[0])
    return numpy.array([*out, numpy.prod(norm.cdf(0, mu, sigma))])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_igr_i_discretizes_to_prop_2(seed):
    rng = numpy.random.default_rng(seed)
    mu, sigma = 0.7 * rng.standard_normal(4) - 0.3, numpy.exp(0.4 * rng.standard_normal(4))
    probabilities = _prop_2(mu, sigma)
    assert abs(probabilities.sum() - 1) < 1e-8
    categories = igr_i(mu, numpy.log(sigma), 0.1).category(rng.standard_normal((200_000, 4)))
    density_checks.check_frequencies(
        categories,
        probabilities / probabilities.sum(),
        equation="eq. 21",
        function="distributions.igr_i.category",
        oracle="scipy quad",
    )


def test_igr_sb_discretizes_to_a_law_without_its_last_category():
    """K = 3: w_1 > w_2 exactly where sigmoid(y_1) > sigmoid(y_2)/(1 + sigmoid(y_2)); integrated over y_2."""
    mu, sigma = numpy.array([-0.5, 0.3]), numpy.array([0.8, 1.1])

    def density(y):
        u = 1 / (1 + numpy.exp(-y))
        return norm.pdf(y, mu[1], sigma[1]) * norm.sf(
            numpy.log(u / (1 + u)) - numpy.log1p(-u / (1 + u)), mu[0], sigma[0]
        )

    first = scipy.integrate.quad(density, mu[1] - 12 * sigma[1], mu[1] + 12 * sigma[1])[0]
    categories = igr_sb(mu, numpy.log(sigma), 0.1).category(numpy.random.default_rng(6).standard_normal((200_000, 2)))
    label = {"equation": "eq. 18", "function": "distributions.igr_sb.category", "oracle": "scipy quad"}
    density_checks.check_frequencies(categories, numpy.array([first, 1 - first, 0.0]), **label)
