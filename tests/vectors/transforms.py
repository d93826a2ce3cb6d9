"""Files of the transforms: softmax_plus_plus, stick_breaking, igr_sb_chain, vertex_interpolation, planar_flow."""

from __future__ import annotations

from mpmath import log

from . import textbook
from .precise import Draws, case, gradient, jacobian, spread_digits
from .textbook import dot

MAP_OUTPUTS = (
    "z (K): the value, all K coordinates. log_z (K). log_det: log|det J| of z_1..z_{K-1} by y_1..y_{K-1}. "
    "jacobian (K-1, K-1): [k][i] = dz_k/dy_i. vjp_z (K-1): d<z_bar, z>/dy, z_bar with all K coordinates. "
    "grad_log_det (K-1): dlog_det/dy."
)


def map_case(name, value, log_det, inputs, digits):
    """A case of a map onto the simplex, z = value(y, inputs), with log_det(y, inputs)."""

    def compute(x):
        y = x["y"]
        z = value(y, x)
        return {
            "z": z,
            "log_z": [log(a) for a in z],
            "log_det": log_det(y, x),
            "jacobian": jacobian(lambda a: value(a, x)[: len(y)], y),
            "vjp_z": gradient(lambda a: dot(x["z_bar"], value(a, x)), y),
            "grad_log_det": gradient(lambda a: log_det(a, x), y),
        }

    def check(x, out):
        textbook.check_log_det(out["log_det"], lambda a: value(a, x), x["y"], name)

    return case(name, compute, inputs, digits, check=check)


def softmax_plus_plus():
    def value(y, x):
        return textbook.softmax_plus_plus(y, x["temperature"], x["delta"])

    def log_det(y, x):
        return textbook.log_det_softmax_plus_plus(y, x["temperature"], x["delta"])

    draws = Draws("softmax_plus_plus")
    settings = []
    for k in (2, 3, 5, 10):
        for temperature, scale, delta in ((1.0, 1.0, 1.0), (0.1, 0.3, 1.0), (100.0, 30.0, 0.25)):
            settings.append(
                (f"K={k}, temperature {temperature:g}", draws.normal(k - 1, scale=scale), temperature, delta)
            )
    settings += [
        ("K=2, temperature 0.001", [0.25], 0.001, 1.0),
        ("K=3, temperature 0.001", [-0.5, 0.4375], 0.001, 1.0),
        ("K=3, temperature 0.001, no winner", [-0.5, -0.25], 0.001, 1.0),
        ("K=3, a tie at temperature 0.001", [0.3, 0.3], 0.001, 1.0),
        ("K=3, logits 700 and -700", [700.0, -700.0], 1.0, 1.0),
        ("K=2, logit -700", [-700.0], 1.0, 1.0),
        ("K=5, logits 700 apart", [-350.0, 0.0, 350.0, 349.5], 1.0, 2.0),
        ("K=3, all logits very negative, small delta", [-80.0, -90.5], 1.0, 1e-30),
        ("K=3, large delta", [12.0, -3.5], 1.0, 1e30),
    ]
    cases = []
    for name, y, temperature, delta in settings:
        inputs = {"y": y, "temperature": temperature, "delta": delta, "z_bar": draws.normal(len(y) + 1)}
        logits = [a / temperature for a in y] + [float(log(delta))]
        cases.append(map_case(name, value, log_det, inputs, spread_digits(logits)))
    return {
        "description": "softmax++ and its derivatives (Invertible Gaussian Reparameterization, eq. 15).",
        "formula": "z_k = e^{y_k/temperature} / D for k < K, z_K = delta / D, D = sum_{j<K} e^{y_j/temperature} + "
        "delta. log_det = -(K-1) log temperature + sum_{k<=K} log z_k (eq. 26).",
        "shapes": "y (K-1), temperature and delta scalars, z_bar (K). " + MAP_OUTPUTS,
    }, cases


def stick_breaking():
    def value(y, x):
        return textbook.stick_breaking(y)

    def log_det(y, x):
        return textbook.log_det_stick_breaking(y)

    cases = []
    draws = Draws("stick_breaking")
    settings = [(f"K={k}, scale {s:g}", draws.normal(k - 1, scale=s)) for k in (2, 3, 5, 10) for s in (0.5, 2.0, 8.0)]
    settings += [
        ("K=2, nearly everything on the first stick", [40.0]),
        ("K=3, nearly nothing left after the first stick", [700.0, 0.5]),
        ("K=3, nearly nothing on either stick", [-700.0, -350.0]),
        ("K=5, mixed extremes", [-69.0, 36.5, -3.25, 100.0]),
    ]
    for name, y in settings:
        inputs = {"y": y, "z_bar": draws.normal(len(y) + 1)}
        cases.append(map_case(name, value, log_det, inputs, stick_digits(y)))
    return {
        "description": "Stick-breaking of u = sigmoid(y) and its derivatives (eq. 16).",
        "formula": "u = 1/(1 + e^-y), z_k = u_k prod_{i<k} (1 - u_i) for k < K, z_K = prod_{i<K} (1 - u_i). "
        "log_det = sum_{i<K} [log u_i + log(1 - u_i) + (K-1-i) log(1 - u_i)].",
        "shapes": "y (K-1), z_bar (K). " + MAP_OUTPUTS,
    }, cases


def stick_digits(y):
    return 40 + int(sum(abs(a) for a in y) / 2.3)


def igr_sb_chain():
    def value(y, x):
        return textbook.sb_chain(y, x["temperature"], x["delta"], x["remainder"])

    def log_det(y, x):
        return textbook.log_det_sb_chain(y, x["temperature"], x["delta"], x["remainder"])

    draws = Draws("igr_sb_chain")
    cases = []
    for remainder in (False, True):
        settings = []
        for k in (2, 3, 5, 10):
            for temperature in (1.0, 0.1, 100.0):
                delta = 1.0 if remainder or k != 5 else 0.5
                settings.append((f"K={k}", draws.normal(k - 1, scale=1.5), temperature, delta))
        settings += [
            ("K=2, low temperature", [0.5], 0.001, 1.0),
            ("K=3, low temperature", [-0.5, 0.75], 0.01, 1.0),
            ("K=3, lowest temperature", [-1.5, 0.25], 0.001, 1.0),
            ("K=3, sticks at the ends", [-36.5, 100.0], 0.1, 1.0),
        ]
        for name, y, temperature, delta in settings:
            inputs = {"y": y, "temperature": temperature, "delta": delta, "remainder": remainder}
            inputs["z_bar"] = draws.normal(len(y) + 1)
            name = f"{name}, temperature {temperature:g}" + (", remainder" if remainder else "")
            digits = stick_digits(y) + int(1 / temperature / 2.3)
            cases.append(map_case(name, value, log_det, inputs, digits))
    return {
        "description": "The map of IGR-SB (eq. 18), and its variant that keeps stick-breaking's remainder.",
        "formula": "w = stick_breaking(y) as in stick_breaking.json. remainder false: z = softmax++ of (w_1..w_{K-1}) "
        "with temperature and delta (eqs. 15 and 18). remainder true: z = softmax of (w_1..w_K)/temperature, delta "
        "not used; log|det| of that map = log K - (K-1) log temperature + sum_{k<=K} log z_k. log_det adds "
        "stick-breaking's own.",
        "shapes": "y (K-1), temperature and delta scalars, remainder true or false, z_bar (K). " + MAP_OUTPUTS,
    }, cases


def vertex_interpolation():
    def value(y, x):
        return textbook.vertex_interpolation(y, x["temperature"])

    def log_det(y, x):
        return len(y) * log(x["temperature"]) + textbook.log_det_stick_breaking(y)

    draws = Draws("vertex_interpolation")
    cases = []
    settings = [(f"K={k}", draws.normal(k - 1, scale=1.5), t) for k in (2, 3, 5, 10) for t in (1.0, 0.5, 0.01)]
    settings += [
        ("K=3, remainder largest", [-3.0, -2.5], 0.25),
        ("K=2, lowest temperature", [0.5], 0.001),
        ("K=3, sticks at the ends", [-36.5, 100.0], 0.001),
    ]
    for name, y, temperature in settings:
        inputs = {"y": y, "temperature": temperature, "z_bar": draws.normal(len(y) + 1)}
        name = f"{name}, temperature {temperature:g}"
        cases.append(map_case(name, value, log_det, inputs, stick_digits(y)))
    return {
        "description": "Interpolation of stick-breaking to the nearest vertex (eq. 17).",
        "formula": "w = stick_breaking(y) as in stick_breaking.json; z = temperature w + (1 - temperature) e_m, m the "
        "largest of all K coordinates of w. The derivatives are those of z where m does not change. log_det = (K-1) "
        "log temperature + stick-breaking's.",
        "shapes": "y (K-1), temperature a scalar in (0, 1], z_bar (K). " + MAP_OUTPUTS,
    }, cases


def planar_flow():
    def compute(x):
        y, flows, z_bar = x["y"], x["flows"], x["z_bar"]
        value, log_det = textbook.planar_chain(y, flows)
        both = {"y": y, "flows": flows}
        return {
            "z": value,
            "log_det": log_det,
            "jacobian": jacobian(lambda a: textbook.planar_chain(a, flows)[0], y),
            "vjp_z": gradient(lambda a: dot(z_bar, textbook.planar_chain(a["y"], a["flows"])[0]), both),
            "grad_log_det": gradient(lambda a: textbook.planar_chain(a["y"], a["flows"])[1], both),
        }

    def check(x, out):
        textbook.check_log_det(out["log_det"], lambda a: textbook.planar_chain(a, x["flows"])[0], x["y"], "planar flow")

    draws = Draws("planar_flow")
    settings = [
        (f"K={k}, {n} flow{'s' * (n > 1)}, scale {s:g}", k, n, s)
        for k in (2, 3, 5, 10)
        for n in (1, 2)
        for s in (0.05, 1.0)
    ]
    cases = []
    for name, k, n, scale in settings:
        flows = [
            {"w": draws.normal(k - 1, scale=scale), "u": draws.normal(k - 1, scale=scale), "b": draws.normal()}
            for _ in range(n)
        ]
        cases.append(
            case(name, compute, {"y": draws.normal(k - 1), "flows": flows, "z_bar": draws.normal(k - 1)}, check=check)
        )
    steep = {"w": [6.0, -2.0], "u": [-5.0, 3.0], "b": 0.25}
    inputs = {"y": [0.125, 0.5], "flows": [steep], "z_bar": draws.normal(2)}
    cases.append(case("K=3, 1 flow, w.u = -36", compute, inputs, 60, check=check))
    inputs = {"y": [4.0, -5.0], "flows": [{"w": [3.0, -2.5], "u": [1.0, 2.0], "b": 0.5}], "z_bar": draws.normal(2)}
    cases.append(case("K=3, 1 flow, saturated", compute, inputs, 80, check=check))
    return {
        "description": "Planar flows (Rezende and Mohamed 2015) with the constraint that makes them invertible, "
        "nested.",
        "formula": "f(y) = y + u^ tanh(w.y + b), u^ = u + [m(w.u) - w.u] w/||w||^2, m(x) = -1 + log(1 + e^x); "
        "log|det| = log|1 + u^.psi|, psi = (1 - tanh^2(w.y + b)) w. z = f_n(... f_1(y)), flows[0] = f_1 acts first; "
        "log_det is the sum. An inverse is checked by z -> y.",
        "shapes": "y and z_bar (K-1), flows a list of {w (K-1), u (K-1), b}. z (K-1), log_det, jacobian (K-1, K-1): "
        "[k][i] = dz_k/dy_i. vjp_z: {y, flows}, gradients of <z_bar, z> by y and by every flow's w, u, b. "
        "grad_log_det: the same of log_det.",
        "reference": "Rezende and Mohamed, Variational Inference with Normalizing Flows, ICML 2015, eqs. 10-12 and "
        "A.1.",
    }, cases


FILES = {f.__name__: f for f in (softmax_plus_plus, stick_breaking, igr_sb_chain, vertex_interpolation, planar_flow)}
