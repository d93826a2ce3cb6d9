"""float32 in, float32 out: the rounding of what float64 gives, bit for bit; and what single precision (precise=False)
gives instead, in which the models are trained."""

from __future__ import annotations

import numpy
import pytest

from experiments import approximate, plan, program_sop
from experiments.plan_sop import SOPConfig
from igr_ref import IGR, Chain, GumbelSoftmax, SoftmaxPlusPlus, StickBreaking, igr_i, igr_sb, models
from igr_ref.distributions import InfiniteIGR, igr_planar
from igr_ref.estimators import reparameterization, sticking_the_landing, straight_through
from igr_ref.models import binary_units
from igr_ref.numerics import sigmoid, softmax
from igr_ref.precision import narrowed, widened
from igr_ref.transforms import PlanarFlow, Softmax, VertexInterpolation

from . import ledger, oracles
from .gradcheck import configurations, norm_relative
from .test_structured_output import DELTA, book_unit_gradients, split, unit_configuration

LONG = numpy.longdouble


def same(got, want):
    """Equal bits and dtypes, in tuples and dicts too."""
    if isinstance(want, dict):
        assert sorted(got) == sorted(want)
        got, want = list(got.values()), list(want.values())
    if isinstance(want, (tuple, list)):
        for g, w in zip(got, want, strict=True):
            same(g, w)
    else:
        assert got.dtype == want.dtype and numpy.array_equal(got, want)


def flow_parts(rng, k):
    return tuple(rng.standard_normal(shape).astype("f4") for shape in ((k - 1,), (k - 1,), ()))


TRANSFORMS = {
    "softmax++": lambda tau, *flow, **o: SoftmaxPlusPlus(tau, 0.5, **o),
    "softmax": lambda tau, *flow, **o: Softmax(tau, **o),
    "stick-breaking": lambda tau, *flow, **o: StickBreaking(**o),
    "eq. 17": lambda tau, *flow, **o: VertexInterpolation(min(tau, 1.0), **o),
    "planar": lambda tau, *flow, **o: PlanarFlow(*flow, **o),
    "eq. 18": lambda tau, *flow, **o: Chain(StickBreaking(**o), SoftmaxPlusPlus(tau, **o)),
    "planar, softmax++": lambda tau, *flow, **o: Chain(PlanarFlow(*flow, **o), SoftmaxPlusPlus(tau, **o)),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_round_what_float64_gives(name):
    for rng, lead, k, tau in configurations(60, 81, categories=(2, 3, 10)):
        flow = flow_parts(rng, k)
        g, wide = TRANSFORMS[name](tau, *flow), TRANSFORMS[name](tau, *widened(flow))
        y = rng.standard_normal((*lead, k - 1)).astype("f4")
        y = softmax(rng.standard_normal((*lead, k)).astype("f4")) if g.takes_simplex else y
        z, saved = g.run(y)
        z_bar, det_bar = rng.standard_normal(z.shape).astype("f4"), numpy.asarray(rng.standard_normal(lead), "f4")
        wide_z, wide_saved = wide.run(widened(y))
        got = [z, g.forward(y), g.jacobian(y), g.log_det(y), g.vjp(y, z_bar, det_bar)]
        want = [wide_z, wide_z, wide.jacobian(widened(y)), wide.log_det(widened(y))]
        want.append(wide.vjp(*widened((y, z_bar, det_bar))))
        for bars in ((z_bar, None), (None, det_bar), (z_bar, det_bar)):
            got.append(g.pullback(saved, *bars))
            want.append(wide.pullback(wide_saved, *widened(bars)))
        if g.onto_simplex:
            got.append(g.log_forward(y))
            want.append(wide.log_forward(widened(y)))
        if name == "planar":
            got += [g.inverse(y), g.inverse_pullback(saved, y), g.inverse_jacobian(y)]
            want += [wide.inverse(widened(y)), wide.inverse_pullback(wide_saved, widened(y))]
            want.append(wide.inverse_jacobian(widened(y)))
        else:
            got.append(g.discretize(y))
            want.append(wide.discretize(widened(y)))
        same(got, narrowed(want))


def laws(kind, params, flow, tau, **options):
    """(q, p) from a dict of arrays."""
    if kind == "gs":
        return tuple(GumbelSoftmax(params[name], tau, **options) for name in ("log_alpha", "log_alpha_0"))
    q = params["mu"], params["log_sigma"]
    if kind == "infinite":
        return InfiniteIGR(*q, tau, 0.9, **options), None
    build = {"igr_i": igr_i, "igr_sb": igr_sb}.get(kind)
    q = igr_planar(*q, [PlanarFlow(*flow, **options)], tau, **options) if build is None else build(*q, tau, **options)
    links = q.transform.links if isinstance(q.transform, Chain) else (q.transform,)
    return q, IGR(params["mu_0"], params["log_sigma_0"], links[-1] if kind == "igr_planar" else q.transform)


KINDS = ("gs", "igr_i", "igr_sb", "igr_planar", "infinite")


def law_draws(rng, lead, k):
    shapes = {"mu": k - 1, "log_sigma": k - 1, "mu_0": k - 1, "log_sigma_0": k - 1, "eps": k - 1}
    shapes |= {"log_alpha": k, "log_alpha_0": k, "z_bar": k}
    a = {name: rng.standard_normal((*lead, 2, width)).astype("f4") for name, width in shapes.items()}
    return a | {"gumbel": rng.gumbel(size=(*lead, 2, k)).astype("f4")}


@pytest.mark.parametrize("kind", KINDS)
def test_distributions_and_estimators_round_what_float64_gives(kind):
    """A log density at the y that `run` kept is that of the unrounded y."""
    for rng, lead, k, tau in configurations(60, 82, categories=(2, 3, 10)):
        a, flow = law_draws(rng, lead, k), flow_parts(rng, k)

        def everything(a, flow, tau=tau):
            q, p = laws(kind, a, flow, tau)
            eps = a["gumbel" if kind == "gs" else "eps"]
            z, saved = q.run(eps)
            out = [z, q.pullback(saved, a["z_bar"]), q.sample_vjp(eps, a["z_bar"])]
            out += [q.category(eps), narrowed(q.discretize(eps))]
            if kind == "infinite":
                return [*out, q.sticks(eps), q.kept(eps), q.reached(eps)]
            y, bar = saved[1], a["z_bar"][..., 0]
            out += [q.log_prob(y), q.log_prob_vjp(y, bar), q.pullback_y(saved, y)]
            if kind in ("igr_i", "igr_sb"):
                out += [q.kl(p), q.kl_vjp(p, bar)]

            def f(z):
                single, z = z.dtype == "f4", narrowed(z)  # as f is given it in float32
                assert single == (a["mu"].dtype == "f4")
                found = numpy.sum(z * z, axis=(-1, -2)), 2 * z
                return found if single else widened(found)

            for estimator in (reparameterization, sticking_the_landing):
                found = estimator(q, eps, f, p)
                out += [narrowed(found.value), narrowed(found.kl), found.grads]
            return [*out, narrowed(straight_through(q, eps, f).grads)]

        same(everything(a, flow), narrowed(everything(widened(a), widened(flow))))


UNITS = (binary_units.GumbelSoftmaxUnit, binary_units.IGRIUnit, binary_units.IGRPlanarUnit, binary_units.IGRSBUnit)


@pytest.mark.parametrize("unit", UNITS)
def test_binary_units_round_what_float64_gives(unit):
    for rng, _, k, tau in configurations(60, 83, categories=(2, 3, 10)):
        u = unit(tau)
        o, eps, psi_bar = (rng.standard_normal((3, k * n)).astype("f4") for n in (u.outputs, 1, 1))
        own = u.init(rng, k, "f4")

        def everything(own, o, eps, psi_bar, u=u):
            psi, saved = u.run(own, o, eps)
            return [psi, u.pullback(own, saved, psi_bar), u.point(o, eps), u.discretize(own, o, eps)]

        same(everything(own, o, eps, psi_bar), narrowed(everything(*widened((own, o, eps, psi_bar)))))


def test_other_types_are_left_alone():
    """float64, longdouble and complex numbers, and mixtures of float32 with them, promote as NumPy does."""
    rng = numpy.random.default_rng(84)
    y = rng.standard_normal((4, 3)).astype("f4")
    flow = flow_parts(rng, 4)
    for dtype in ("f8", LONG, complex):
        for g in (SoftmaxPlusPlus(0.3), StickBreaking()):
            assert dtype is complex or g.forward(y.astype(dtype)).dtype == dtype
        assert PlanarFlow(*flow).forward(y.astype(dtype)).dtype == dtype
    assert Chain(PlanarFlow(*widened(flow)), SoftmaxPlusPlus(0.3)).forward(y).dtype == "f8"
    assert GumbelSoftmax(y.astype("f8"), 0.3).sample(y).dtype == "f8"


# ---- precise=False ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gs", "igr_i", "igr_sb"])
def test_single_precision_is_right_to_its_logits(kind):
    """With precise=False the logits have an error of a few 2^-24 of their largest, and gradients relatively as much."""
    worst, largest = 0.0, 0.0
    for rng, lead, k, tau in configurations(1000, 85, categories=(2, 3, 10, 100)):
        a = law_draws(rng, lead, k)
        q, _ = laws(kind, a, (), tau, precise=False)
        eps = a["gumbel" if kind == "gs" else "eps"]
        z, saved = q.run(eps)
        got = q.pullback(saved, a["z_bar"])
        if kind == "gs":
            logits = (LONG(a["log_alpha"]) + eps) / LONG(tau)
            exact = oracles.gumbel_softmax_z(a["log_alpha"], eps, tau)
            want = {"log_alpha": oracles.softmax_bar(exact, a["z_bar"]) / LONG(tau)}
        else:
            sigma = numpy.exp(LONG(a["log_sigma"]))
            y, none = LONG(a["mu"]) + sigma * eps, numpy.zeros((*lead, 2))
            logits = y / LONG(tau)
            if kind == "igr_sb":
                w = oracles.sticks(y)[..., :-1]
                logits, bar = w / LONG(tau), oracles.softmax_pp_bar(w, tau, 1.0, a["z_bar"], none)
                bar = oracles.sticks_bar(y, numpy.concatenate([bar, 0 * bar[..., :1]], axis=-1), none)
            else:
                bar = oracles.softmax_pp_bar(y, tau, 1.0, a["z_bar"], none)
            want = {"mu": bar, "log_sigma": bar * sigma * eps}
        assert z.dtype == "f4" and all(bar.dtype == "f4" for bar in got.values())
        bound = 1e-5 + 2.4e-7 * float(numpy.max(numpy.abs(logits)))
        for name in want:
            error = norm_relative(got[name], want[name], 1e-30)
            worst, largest = max(worst, error / bound), max(largest, error)
    equation = {"gs": "eq. 5", "igr_i": "eq. 11", "igr_sb": "eq. 11"}[kind]
    function = f"distributions.{ {'gs': 'GumbelSoftmax'}.get(kind, kind) }.pullback, precise=False"
    unit = "of 1e-5 + 2.4e-7 |logits|"
    ledger.record(equation, function, "textbook, longdouble (float32)", worst, unit, 1000)
    assert worst <= 1 and largest > 1e-5, (worst, largest)  # else precise=False would be pointless


@pytest.mark.parametrize("kind", ["gs", "igr_i", "igr_planar", "igr_sb"])
def test_single_precision_units_are_right_to_their_logits(kind):
    make = dict(zip(("gs", "igr_i", "igr_planar", "igr_sb"), UNITS, strict=True))[kind]
    worst = 0.0
    for rng, lead, _, tau in configurations(300, 86):
        o, eps, own, psi_bar = (narrowed(x) for x in unit_configuration(kind, rng, lead, tau))
        unit = make(tau, DELTA, precise=False) if kind == "igr_i" else make(tau, precise=False)
        want, _, terms = book_unit_gradients(kind, o, eps, own, psi_bar, tau)
        psi, saved = unit.run(own, o, eps)
        got = split(kind, *unit.pullback(own, saved, psi_bar))
        assert psi.dtype == "f4"
        for name in want:
            assert got[name].dtype == "f4"
            worst = max(worst, norm_relative(got[name], want[name], 1e-30) / max(3e-4, 3e-6 * terms))
    assert worst <= 1


def test_what_is_trained_is_in_single_precision():
    """The families' samples are those of float32 arithmetic, bit for bit: published runs rest on them."""
    rng = numpy.random.default_rng(87)
    o, eps = rng.standard_normal((1, 5, 2 * 3 * 3)).astype("f4"), rng.standard_normal((2, 5, 3, 3)).astype("f4")
    y = o[..., :9].reshape(1, 5, 3, 3) + numpy.exp(o[..., 9:].reshape(1, 5, 3, 3)) * eps
    single = lambda y, tau: softmax(numpy.concatenate([y / tau, 0 * y[..., :1]], axis=-1))  # noqa: E731
    tau, prior = 0.01, (-0.6, -0.2)
    w = StickBreaking(precise=False).forward(y)[..., :-1]
    families = {
        models.igr_i_family(3, 4, tau, *prior): single(y, tau),
        models.igr_sb_family(3, 4, tau, *prior): single(w, tau),
        models.igr_planar_family(3, 4, tau, *prior): None,
        models.igr_bounded_family(3, 4, tau, *prior): None,
    }
    for family, want in families.items():
        q = family.posterior(o, family.init(rng, "f4"))
        z, saved = q.run(eps)
        assert not q.precise and not family.prior(q).precise and z.dtype == saved[1].dtype == "f4"
        assert want is None or numpy.array_equal(z, want)
    family, gumbel = models.GumbelSoftmaxFamily(3, 4, tau, 0.5), rng.gumbel(size=(2, 5, 3, 4)).astype("f4")
    q = family.posterior(o[..., :12], {})
    assert not q.precise and not family.prior(q).precise
    assert numpy.array_equal(q.sample(gumbel), softmax((o[..., :12].reshape(1, 5, 3, 4) + gumbel) / tau))
    for model in program_sop.UNITS:
        unit = program_sop.unit(SOPConfig(model=model, temperature=1.0 if model.endswith("published") else tau))
        assert not unit.precise
        noise = eps[0, :, :, 0]
        if model == "gs":
            psi = unit.run({}, o[0, :, :3], noise)[0]
            assert numpy.array_equal(psi, sigmoid((o[0, :, :3] + noise) / tau))
    params = {"mu": o[0, 0, :9], "log_sigma": o[0, 0, 9:], "log_alpha": o[0, 0, :10]}
    for model in ("gs", "igr_i", "igr_sb", "igr_sb_infinite"):
        config = plan.ApproximationConfig(model=model, n_categories=10)
        own = {"log_alpha": params["log_alpha"]} if model == "gs" else {n: params[n] for n in ("mu", "log_sigma")}
        assert not approximate.relaxation(config, **own).precise
