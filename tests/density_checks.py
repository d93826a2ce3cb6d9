"""What the tests of the densities share: quadrature on the simplex, samples against a density, frequencies.

Points of the simplex are taken on a grid of log-ratios a_k = log z_k - log z_K, where dz_1..dz_{K-1} = z_1..z_K da.
Statistical tests have a fixed seed and a false-alarm rate of 1e-6 each.
"""

from __future__ import annotations

import numpy
import scipy.stats

from . import ledger

FALSE_ALARM = 1e-6


def log_ratio_grid(low, high, n):
    """(log z (n, .., n, K), cell): a regular grid between the corners low and high (K-1,) of a."""
    axes = [numpy.linspace(a, b, n) for a, b in zip(low, high, strict=True)]
    a = numpy.stack(numpy.meshgrid(*axes, indexing="ij"), axis=-1)
    logits = numpy.concatenate([a, numpy.zeros_like(a[..., :1])], axis=-1)
    log_z = logits - numpy.logaddexp.reduce(logits, axis=-1, keepdims=True)
    return log_z, float(numpy.prod([axis[1] - axis[0] for axis in axes]))


def integral(log_density, log_z, cell, of=1.0):
    """int of(z) density(z) dz_1..dz_{K-1}: the trapezoid sum, which converges exponentially for these densities."""
    return float(numpy.sum(of * numpy.exp(log_density + log_z.sum(axis=-1))) * cell)


def check_integral(got, want, *, equation, function, tolerance=1e-10):
    error = abs(got - want) / max(1.0, abs(want))
    ledger.record(equation, function, "quadrature", error, "relative")
    assert error <= tolerance, (function, got, want)


def check_samples(a, log_density, low, high, *, equation, function, n=20_001):
    """Kolmogorov-Smirnov of samples a = log z_1 - log z_2 (M,), K = 2, against the integral of their density."""
    log_z, _ = log_ratio_grid([low], [high], n)
    at = numpy.linspace(low, high, n)
    density = numpy.exp(log_density(log_z) + log_z.sum(axis=-1))
    cdf = numpy.concatenate([[0.0], numpy.cumsum(0.5 * (density[1:] + density[:-1]) * numpy.diff(at))])
    assert abs(cdf[-1] - 1) < 1e-6 and low < a.min() and a.max() < high
    result = scipy.stats.kstest(a, lambda x: numpy.interp(x, at, cdf))
    ledger.record(equation, function, "Kolmogorov-Smirnov", result.statistic, f"distance, {a.size} samples")
    assert result.pvalue > FALSE_ALARM, result


def check_frequencies(categories, probabilities, *, equation, function, oracle):
    """Chi-square of category numbers (M,) against probabilities (K,); a category of probability 0 must not occur."""
    counts = numpy.bincount(categories, minlength=len(probabilities))
    assert counts.size == len(probabilities)
    possible = numpy.asarray(probabilities) > 0
    assert counts[~possible].sum() == 0
    expected = numpy.asarray(probabilities)[possible] * categories.size
    assert expected.min() > 20, "too few samples for the chi-square approximation"
    result = scipy.stats.chisquare(counts[possible], expected)
    largest = numpy.max(numpy.abs(counts[possible] - expected)) / categories.size
    ledger.record(equation, function, f"{oracle}, chi-square", largest, f"in {categories.size} samples")
    assert result.pvalue > FALSE_ALARM, (result, counts, expected)


def check_mean(samples, want, *, equation, function, oracle="Monte Carlo"):
    """|mean - want| <= 5 standard errors: false-alarm rate 6e-7."""
    standard_error = float(numpy.std(samples) / numpy.sqrt(samples.size))
    off = abs(float(numpy.mean(samples)) - want) / standard_error
    ledger.record(equation, function, oracle, off, "standard errors")
    assert off <= 5, (float(numpy.mean(samples)), want, standard_error)
