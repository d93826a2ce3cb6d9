"""The Gumbel-Softmax density (eq. 6) and discrete law: 50-digit mpmath, quadrature, samples at a fixed seed."""

from __future__ import annotations

import mpmath
import numpy
import pytest
import scipy.special

from igr_ref import GumbelSoftmax

from . import density_checks, ledger
from .density_checks import check_integral, integral, log_ratio_grid
from .test_gumbel_softmax import NAME, cases

ALPHAS = {2: numpy.array([0.7, -0.4]), 3: numpy.array([0.7, -0.4, 0.1])}

mp = mpmath.mp.clone()
mp.dps = 50


def test_densities_to_50_digits():
    """1e-13 of the sizes of the terms, for log_prob (measure prod dz_k/z_k) and log_prob_log_z (Lebesgue)."""
    worst = {"log_prob": 0.0, "log_prob_log_z": 0.0}
    for _, log_alpha, gumbel, temperature in cases(500, 4, categories=(2, 3, 6)):
        log_alpha, gumbel = (x.reshape(-1, x.shape[-1])[0] for x in (log_alpha, gumbel))
        q = GumbelSoftmax(log_alpha, temperature)
        y = q.run_log(gumbel)
        a, at, tau = [mp.mpf(float(v)) for v in log_alpha], [mp.mpf(float(v)) for v in y], mp.mpf(temperature)
        k = len(a)
        # eq. 6: (K-1)! tau^{K-1} prod alpha_k z_k^{-tau-1} / (sum alpha_k z_k^{-tau})^K
        total = mp.log(mp.fsum(mp.exp(b - tau * v) for b, v in zip(a, at, strict=True)))
        terms = [mp.log(mp.factorial(k - 1)), (k - 1) * mp.log(tau), -k * total]
        terms += [b - tau * v for b, v in zip(a, at, strict=True)]
        for name, extra in (("log_prob", []), ("log_prob_log_z", [-v for v in at])):
            size = max(1, mp.fsum(abs(t) for t in terms + extra))
            error = abs(float(getattr(q, name)(y)) - mp.fsum(terms + extra)) / size
            worst[name] = max(worst[name], float(error))
    for name, error in worst.items():
        ledger.record("eq. 6", f"{NAME}.{name}", "mpmath, 50 digits", error, "of the terms", 500)
        assert error <= 1e-13


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("k", [2, 3])
def test_densities_integrate_to_one(k, temperature):
    """log_prob_log_z over dz_1..dz_{K-1}; log_prob over prod_k z_k^{-1} dz_1..dz_{K-1}, which is da."""
    q = GumbelSoftmax(ALPHAS[k], temperature)
    reach = numpy.full(k - 1, 34 / temperature)  # the density falls as e^{-tau |a|}
    log_z, cell = log_ratio_grid(-reach, reach, {2: 1000, 3: 300}[k])
    check_integral(
        integral(q.log_prob_log_z(log_z), log_z, cell), 1.0, equation="eq. 6", function=f"{NAME}.log_prob_log_z"
    )
    check_integral(float(numpy.exp(q.log_prob(log_z)).sum() * cell), 1.0, equation="eq. 6", function=f"{NAME}.log_prob")


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_samples_follow_their_density(temperature):
    q = GumbelSoftmax(ALPHAS[2], temperature)
    y = q.run_log(numpy.random.default_rng(5).gumbel(size=(100_000, 2)))
    reach = 40 / temperature
    label = {"equation": "eq. 6", "function": f"{NAME}.run_log"}
    density_checks.check_samples(y[:, 0] - y[:, 1], q.log_prob_log_z, -reach, reach, **label)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_discretize_is_the_gumbel_max_trick(temperature):
    rng = numpy.random.default_rng(6)
    log_alpha = rng.standard_normal(6) + 3
    q = GumbelSoftmax(log_alpha, temperature)
    gumbel = rng.gumbel(size=(200_000, 6))
    b = q.discretize(gumbel)
    assert b.dtype == "f8" and set(numpy.unique(b)) == {0, 1} and numpy.all(b.sum(axis=-1) == 1)
    assert numpy.array_equal(numpy.argmax(b, axis=-1), numpy.argmax(q.run_log(gumbel), axis=-1))
    want = scipy.special.softmax(log_alpha)
    assert numpy.allclose(q.log_probs(), numpy.log(want), rtol=1e-13)
    label = {"equation": "eq. 5", "function": f"{NAME}.category", "oracle": "softmax(log_alpha)"}
    density_checks.check_frequencies(q.category(gumbel), want, **label)
