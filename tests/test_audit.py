"""The audit: every verdict is the published one on the published formula and turns when the formula is exchanged."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re

import numpy
import pytest

from experiments import __main__ as cli
from experiments import audit, data
from experiments.audit import (
    checks,
    figures,
    floats,
    gaussians,
    kumaraswamy,
    laws,
    mixtures,
    outputs,
    page,
    pixels,
    planar,
    printed,
    relax_training,
    samples,
    sticks,
    vertices,
)  # fmt: skip
from experiments.audit.record import Finding, Measure, Missing, Outcome, Row, Setting, finding, number
from experiments.paper_numbers import TABLE_1, TABLE_5, TABLE_6
from experiments.plots import audit as pictures
from igr_ref import models
from igr_ref.estimators.relax import relax
from igr_ref.models.binary_units import IGRIUnit, IGRSBUnit
from igr_ref.models.mixture_objective import elbo_sl
from igr_ref.recovery import gaussian_argmax


class Offline(Setting):
    """Small, with made-up images in place of downloads."""

    def images(self, name, grey=False):
        if name == "digits":
            return data.load(name)
        if name == "mnist":
            raise Missing("needs mnist")
        rng = numpy.random.default_rng(0)
        images = rng.integers(0, 256, (60, 784)).astype("uint8") * (rng.random((60, 784)) < 0.5)
        if name == "omniglot_small" and not grey:
            images = images // 128
        images = images.astype("uint8")
        binary = bool(images.max() <= 1)
        return data.Dataset(name, images[:40], images[40:], binary, (28, 28), 5, "made up", "gaussian")


SMALL = Offline("smoke")


@functools.cache
def published(name):
    return audit.REGISTRY[name].measure(SMALL)


# the names of Table 1's keys are (architecture, model, estimator)
NONLINEAR_5 = {**TABLE_5, **{(m, "sl"): TABLE_1["nonlinear", m, "sl"][0] for m in ("igr_i", "gs")}}
BETTER_SL = {k: tuple((v[0] + (k[-1] == "sl") * 100, v[1]) for v in row) for k, row in TABLE_1.items()}
BETTER_NONLINEAR = {k: tuple((v[0] + (k[0] == "nonlinear") * 100, v[1]) for v in row) for k, row in TABLE_1.items()}

# finding -> what to feed it in place of the published formula; its claim then holds
RIGHT = {
    "not-a-bound": {"score": "loglik"},
    "uneven-inflation": {"score": "loglik"},
    "table-5-metrics": {"relax_row": "as_published"},
    "importance-samples": {"m_code": 1000},
    "plug-in-kl": {"estimate": samples.exact_kl},
    "relax-bias": {"estimator": relax},
    "kl-sign": {"sign": 1},
    "shared-residual": {"estimator": relax},
    "relax-update": {"update": relax_training.RIGHT_UPDATE},
    "last-category": {"remainder": True},
    "infinite-softmax": {"cut": sticks.cut_of_w},
    "cut-off-by-one": {"count": sticks.eq_19_count},
    "nearest-vertex": {"nearest": vertices.nearest_on_simplex},
    "eq-29": {"law": gaussian_argmax.probs},
    "h-of-z": {"category": lambda q, eps: q.category(eps)},
    "quadrature": {"rule": gaussian_argmax.probs},
    "eq-37-range": {"box": (5.0, 2.5)},
    "delta": {"value": 1.0},
    "eq-14": {"objective": "moments"},
    "one-fit": {"refit": True},
    "truncated-targets": {"sizes": (100,)},
    "binomial": {"trials": 12},
    "sigma-start": {"link": lambda xi: math.log1p(math.exp(xi))},
    "prior-temperature": {"prior": None},
    "sd-or-variance": {"reading": gaussians.read_as_sd},
    "sampled-kl": {"gradient": gaussians.closed},
    "planar-norm": {"constrain": planar.by_square},
    "planar-landing": {"stop_flow": True},
    "output-temperature": {"unit": IGRIUnit(0.1)},
    "output-constant": {"unit": IGRSBUnit(0.5)},
    "layer-sizes": {"families": {name: models.GumbelSoftmaxFamily(20, 10, 0.5) for name in ("IGR-I", "GS")}},
    "weight-decay": {"rate": lambda t: 1e-3},
    "relax-networks": {"widths": lambda outputs: (784, 512, 256, outputs)},
    "fmnist-ceiling": {"decoder": pixels.without_elu},
    "omniglot-grey": {"grey": False},
    "mixture-score": {"objective": elbo_sl},
    "mixture-landing": {"stop": True},
    "mixture-prior-slots": {"slots": None},
    "mixture-weights": {"clip": (0, 1), "drop": False},
    "kumaraswamy-nan": {"score": kumaraswamy.stable_score},
    "one-minus-sum": {"last": floats.last_directly},
    "infinite-gumbel": {"uniform": floats.safe_uniform},
    "not-one-hot": {"sample": floats.exact_code},
    "density-near-vertex": {"density": floats.density_from_y},
    "table-5-rows": {"table": NONLINEAR_5},
    "landing-claim": {"tables": (BETTER_SL, {})},
    "omniglot-architectures": {"table": BETTER_NONLINEAR},
    "table-6": {"table": {**TABLE_6, ("igr_i", "plain"): (-100.0, 1.0)}},
    "error-bars": {"divisor": 1.0},
    # the published setting counted as the stated one: nothing of the difference is lost
    "figure-1-steps": {
        "gs": figures.ApproximationConfig(model="gs", n_categories=100, temperature=0.1, samples=50, steps=200,
                                          objective="kl_as_published")
    },
}  # fmt: skip


def free_gumbel(log_theta, b, v):
    return log_theta - numpy.log(-numpy.log(v)), None


# findings whose claim holds -> a wrong formula, with which it does not
WRONG = {
    "kl-needs-one-g": {"other_temperature": 0.25},
    "discrete-kl-for-relaxed": {"log_ratio": lambda q, p, y: 0.1 + 0.0 * y[..., 0]},
    "kumaraswamy-kl": {"kl": lambda q: q.kl() + 1e-3},
    "jacobians": {"log_det": lambda g, y: 1.001 * g.log_det(y)},
    "prop-1": {"limit": lambda y: numpy.roll(checks.h(y), 1, axis=-1)},
    "prop-2": {"law": laws.printed_eq_29},
    "eq-6": {"extra": 0.001},
    "conditional-gumbel": {"sampler": free_gumbel},
    "unordered-set": {"scale": 1.3},
}


def test_every_finding_has_a_formula_to_exchange():
    assert set(RIGHT) | set(WRONG) == set(audit.REGISTRY)
    assert not set(RIGHT) & set(WRONG)


@pytest.mark.parametrize("name", RIGHT)
def test_verdict_of_a_wrong_formula_turns_with_the_right_one(name):
    assert published(name).holds is False
    assert audit.REGISTRY[name].measure(SMALL, **RIGHT[name]).holds is True


@pytest.mark.parametrize("name", WRONG)
def test_verdict_of_a_right_formula_turns_with_a_wrong_one(name):
    assert published(name).holds is True
    assert audit.REGISTRY[name].measure(SMALL, **WRONG[name]).holds is False


# ---- the formulas that the audit itself adds ---------------------------------------------------------------------


def test_half_range_hermite_integrates_polynomials_exactly():
    from experiments.audit.quadrature import half_range_hermite

    nodes, weights = half_range_hermite(15)
    for n in range(30):  # int_0^inf e^{-x^2} x^n dx = Gamma((n + 1)/2)/2
        assert (weights * nodes**n).sum() == pytest.approx(0.5 * math.gamma((n + 1) / 2), rel=1e-9)


def test_plug_in_kl_is_the_expectation_of_frequencies():
    rng = numpy.random.default_rng(3)
    p = numpy.array([0.5, 0.3, 0.15, 0.05])
    f = rng.multinomial(40, p, size=200_000) / 40
    kl = (f * numpy.log(numpy.where(f > 0, 4 * f, 1))).sum(axis=-1)
    # false alarm: 6 standard errors
    assert abs(kl.mean() - samples.plug_in_kl(p, 40)) < 6 * kl.std() / len(kl) ** 0.5


def test_best_constant_is_the_optimum():
    x = (numpy.random.default_rng(1).random((4000, 3)) < [0.2, 0.5, 0.9]).astype("uint8")
    p = x.mean(axis=0)
    entropy = -(p * numpy.log(p) + (1 - p) * numpy.log(1 - p)).sum()
    assert outputs.best_constant(x, x) == pytest.approx(-entropy, abs=1e-4)


def test_enumeration_of_the_small_vae_agrees_with_its_own_normalisation():
    """sum_x p(x) = 1 over all binary images of 4 pixels, from the enumerated log p(x)."""
    from experiments.audit.scores import enumerated

    family = models.igr_i_family(2, 3, 0.5, -0.5, 0.0)
    model = models.VAE(family, models.Bernoulli(), 4)
    params = model.init(numpy.random.default_rng(0), "float64")
    x = ((numpy.arange(16)[:, None] >> numpy.arange(4)) & 1).astype("float64")
    log_p, limit, elbo = enumerated(model, params, x)
    assert numpy.exp(log_p).sum() == pytest.approx(1, abs=1e-12)
    assert (elbo <= log_p + 1e-12).all() and (elbo <= limit + 1e-12).all()


def test_planar_constraint_of_the_published_kind_is_right_only_for_unit_norm():
    w = numpy.array([[0.6, 0.8]])
    u = numpy.array([[-1.0, -2.0]])
    numpy.testing.assert_allclose(planar.by_norm(w, u), planar.by_square(w, u), atol=1e-12)


# ---- the runner and the page -------------------------------------------------------------------------------------

NAMES = ["eq-29", "table-5-rows", "prop-1", "omniglot-grey", "eq-14"]


@pytest.fixture(scope="module")
def rows():
    return audit.run(Setting("smoke", data_dir="/nonexistent"), NAMES)


def test_runner_keeps_the_pages_order_and_names_what_is_missing(rows, tmp_path, monkeypatch):
    assert [row.finding.name for row in rows] == ["eq-29", "eq-14", "omniglot-grey", "table-5-rows", "prop-1"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # no files, no download
    (row,) = audit.run(Setting("smoke", data_dir=str(tmp_path)), ["omniglot-grey"])
    assert row.verdict == "not measured" and "needs omniglot_small" in row.missing
    with pytest.raises(ValueError, match="no finding named nonsense"):
        audit.run(SMALL, ["nonsense"])
    with pytest.raises(ValueError, match="preset must be one of"):
        Setting("fast")


def test_a_measurement_that_is_not_finite_is_an_error(monkeypatch):
    broken = dataclasses.replace(
        audit.REGISTRY["delta"], measure=lambda setting: Outcome(True, "x", (Measure("a", math.nan),))
    )
    monkeypatch.setitem(audit.REGISTRY, "delta", broken)
    with pytest.raises(FloatingPointError, match="delta: a is nan"):
        audit.run(SMALL, ["delta"])


def test_runs_are_reproducible():
    first, second = (audit.run(SMALL, ["h-of-z", "delta"]) for _ in range(2))
    assert [row.outcome for row in first] == [row.outcome for row in second]


def test_page_and_record_hold_every_finding(rows, tmp_path):
    drawn = pictures.draw(rows, tmp_path, page.picture_name)
    assert drawn == ["eq-14"] and (tmp_path / "audit_eq_14.png").read_bytes().startswith(b"\x89PNG")
    markdown, record = page.write(rows, SMALL, tmp_path, {"commit": "x"}, drawn)
    text = markdown.read_text()
    for row in rows:
        assert f"### {row.finding.title}" in text and f"audit --only {row.finding.name}" in text
        # the overview's links lead to the sections
        assert f"](#{page.anchor(row.finding.title)})" in text
    assert "![" in text and "](audit_eq_14.png)" in text
    assert all(item in text for item in page.NOT_SHOWN)
    saved = json.loads(record.read_text())
    assert [f["name"] for f in saved["findings"]] == [row.finding.name for row in rows]
    assert {f["verdict"] for f in saved["findings"]} <= {"holds", "does not hold", "not measured"}
    cells = [re.sub(r"\\\|", "", line) for line in text.splitlines() if line.startswith("|")]
    assert all(line.count("|") in (3, 4) for line in cells)  # bars inside cells are escaped


def test_terminal_table_fits_its_width(rows):
    for width in (100, 150):
        lines = page.text(rows, width).splitlines()
        assert max(map(len, lines)) <= width + 5  # combining accents take no room
        assert all(any(name in line for line in lines) for name in NAMES)


def test_page_stands_by_itself():
    """Every finding cites the paper, and no text refers to a list that a reader does not have."""
    for found in audit.REGISTRY.values():
        assert re.search(r"eq|section|Table|Figure|appendix|Prop", found.where), found.name
        for field in dataclasses.fields(Finding):
            value = getattr(found, field.name)
            assert not (isinstance(value, str) and "AUDIT" in value), (found.name, field.name)


def test_named_code_exists():
    """The functions that the page names can be imported."""
    import importlib

    for found in audit.REGISTRY.values():
        for text in (found.right_code, found.wrong_code):
            for dotted in re.findall(r"\b(?:igr_ref|experiments)(?:\.\w+)+", text):
                parts = dotted.split(".")
                for cut in range(len(parts), 0, -1):
                    try:
                        target = importlib.import_module(".".join(parts[:cut]))
                        break
                    except ModuleNotFoundError:
                        continue
                for name in parts[cut:]:
                    target = getattr(target, name)


def test_number_formats():
    assert [number(v) for v in (1000, 0.0, -0.05, 12345.6, 1e-9, 0.1234)] == [
        "1,000", "0", "−0.0500", "12,346", "1.00e−09", "0.123"
    ]  # fmt: skip


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="registered twice"):
        finding("eq-29", title="", where="", says="", right="", why="", group="")(lambda setting: None)


def test_row_without_data():
    found = audit.REGISTRY["eq-29"]
    row = Row(found, None, "needs nothing", 0.0)
    assert row.verdict == "not measured" and row.as_dict()["missing"] == "needs nothing"
    outcome = Outcome(True, "x", (Measure("a", 1.0, "nats"),))
    assert Row(found, outcome, "", 0.0).as_dict()["measures"] == [{"label": "a", "value": 1.0, "unit": "nats"}]


def test_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["audit", "--only", "sigma-start", "binomial", "--preset", "smoke"]) == 0
    assert "does not hold: 2" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())  # a part of the findings is not written
    assert cli.main(["audit", "--only", "sigma-start", "--preset", "smoke", "--output", "here"]) == 0
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"AUDIT.md", "audit.json"}
    assert cli.main(["audit", "--only", "nonsense"]) == 2
    assert "no finding named nonsense" in capsys.readouterr().err
    assert cli.main(["audit", "--preset", "fast"]) == 2


def test_committed_page_is_of_these_findings():
    """figures/AUDIT.md was generated from the findings as they are now, with every data set at hand."""
    saved = json.loads((pictures.style.FIGURES / "audit.json").read_text())
    text = (pictures.style.FIGURES / "AUDIT.md").read_text()
    assert saved["preset"] == "full" and "not measured" not in {f["verdict"] for f in saved["findings"]}
    assert sorted(f["name"] for f in saved["findings"]) == sorted(audit.REGISTRY)
    for record in saved["findings"]:
        found = audit.REGISTRY[record["name"]]
        assert record["says"] == found.says and record["why"] == found.why and found.why in text
        assert record["verdict"] == ("holds" if record["name"] in WRONG else "does not hold")


def test_committed_page_is_of_the_committed_runs():
    saved = json.loads((pictures.style.FIGURES / "audit.json").read_text())
    (steps,) = (f for f in saved["findings"] if f["name"] == "figure-1-steps")
    shown = {m["label"]: m["value"] for m in steps["measures"]}
    found = figures.full_size(Setting())
    assert set(found) == {"GS, K=100", "IGR-SB"}
    for name, value in found.items():
        assert shown[f"total variation, full-size runs of 1,000 steps, {name}"] == pytest.approx(value, rel=1e-12)


def test_printed_pairs():
    assert printed.landing_claim(SMALL).measures[0].value == 36
    assert mixtures.K == 20


def test_readme_quotes_the_committed_page():
    saved = json.loads((pictures.style.FIGURES / "audit.json").read_text())
    values = {f["name"]: {m["label"]: m["value"] for m in f["measures"]} for f in saved["findings"]}
    text = " ".join((pictures.style.FIGURES.parent / "README.md").read_text(encoding="utf-8").split())
    gaps = [v for label, v in values["uneven-inflation"].items() if label.startswith("metric minus bound")]
    lost = 1 - values["quadrature"]["sum of ten probabilities at all μ = 5, σ = 2.5, 15 nodes"]
    bias, kl = values["relax-bias"], values["prior-temperature"]
    quoted = (
        f"lies {values['not-a-bound']['published metric minus log p(x), m = 1000, mean']:.1f} nats above log p(x)",
        f"by {min(gaps):.1f} to {max(gaps):.1f} nats",
        f"σ falls to {values['eq-14']['mean σ after 1,000 steps of the tested objective']:.3f}",
        f"−{-values['output-constant']['best constant pixel model, lower half of mnist test images']:.1f} nats",
        f"gradient of {bias['mean of the published estimator']:.2f} where {bias['exact gradient by μ']:.2f}",
        f"up to {lost:.0%} of the probability",
        f"pays {kl['KL of the uniform q at τ = 0.1 to the prior at .5, 20 variables']:.0f} nats",
    )
    assert [q for q in quoted if q not in text] == []
