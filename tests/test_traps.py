"""An index of the traps that have bitten public implementations, each with the tests that fall if we step into it."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy
import pytest
from scipy.integrate import quad

import igr_ref

TRAPS = {
    "log-probability NaN at the simplex boundary or at low temperature": [
        "prop_1.test_log_determinant_at_the_boundary_and_at_low_temperature_is_finite",
        "remainder.test_low_temperature_trap_nan_at_the_boundary",
        "gumbel_softmax_density.test_densities_to_50_digits",
    ],
    "the extra softmax++ class as 1 - sum": ["prop_1.test_last_category_is_not_one_minus_a_sum"],
    "softmax++ overflows, or vanishes, when all logits are very negative": [
        "prop_1.test_all_logits_very_negative_neither_overflow_nor_vanish"
    ],
    "clamped forward with unclamped gradient": ["structured_output.test_trap_a_saturated_unit_keeps_its_gradient"],
    "planar-flow constraint divided by the norm instead of its square": [
        "planar_flow.test_trap_constraint_divided_by_the_norm_instead_of_its_square"
    ],
    "log-determinant under the wrong measure": [
        "igr_density.test_igr_i_integrates_to_one_and_its_kl",
        "igr_density.test_igr_sb_integrates_to_one_over_its_image",
        "gumbel_softmax_density.test_densities_integrate_to_one",
        "traps.test_trap_log_determinant_under_the_wrong_measure",
    ],
    "straight-through output that is not exactly one-hot": [
        "straight_through.test_straight_through_output_is_exactly_one_hot"
    ],
    "a control-variate gradient leaking into the model": [
        "rebar_relax.test_trap_a_control_variate_gradient_leaking_into_the_model"
    ],
    "a missing derivative of the conditional sample": [
        "rebar_relax.test_trap_a_missing_derivative_of_the_conditional_sample_is_seen"
    ],
    "exp(log variance) used as a standard deviation": ["estimators_pathwise.test_trap_log_sigma_is_not_a_log_variance"],
    "KL sign": ["estimators_pathwise.test_trap_kl_sign_and_closed_against_sampled", "kumaraswamy.test_trap_kl_sign"],
    "float32 uniform draws of exactly 0: infinite Gumbel noise": ["noise.test_a_uniform_that_is_exactly_zero"],
    "float32 exponential draws of exactly 0": ["noise.test_an_exponential_that_is_exactly_zero"],
}


@pytest.mark.parametrize("trap", TRAPS)
def test_every_trap_has_its_tests(trap):
    for name in TRAPS[trap]:
        stem, function = name.split(".")
        tree = ast.parse((Path(__file__).parent / f"test_{stem}.py").read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name


def test_trap_log_determinant_under_the_wrong_measure():
    """K = 2: densities by Lebesgue measure on z_1 integrate to 1; by dz/(z_1 z_2), as in some codes, they do not.

    The two differ by the factor z_1 z_2, so an implementation that mixes them up misses 1 by far.
    """
    igr = igr_ref.igr_i(numpy.array([0.3]), numpy.array([0.1]), 0.7)
    gs = igr_ref.GumbelSoftmax(numpy.log([0.3, 0.7]), 0.7)

    def igr_density(t):
        return float(numpy.exp(igr.log_prob_z(numpy.array([t, 1 - t]))))

    def gs_density(t):
        return float(numpy.exp(gs.log_prob_z(numpy.array([t, 1 - t]))))

    for f in (igr_density, gs_density):
        assert abs(quad(f, 0, 1, epsabs=1e-10, limit=200)[0] - 1) < 1e-7
        assert abs(quad(lambda t, f=f: f(t) * t * (1 - t), 0, 1)[0] - 1) > 0.5
