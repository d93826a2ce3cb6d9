"""The projection onto the nearest vertex (eq. 17)."""

from __future__ import annotations

import numpy

from igr_ref import StickBreaking, noise
from igr_ref.transforms.vertex_interpolation import VertexInterpolation

from .record import Measure, Outcome, finding
from .sticks import GROUP


def nearest_in_s(w):
    """The vertex of S^{K-1} (e_1..e_{K-1}, and 0 as number K) that is nearest to w (..., K-1) in R^{K-1}."""
    far = (w * w).sum(axis=-1, keepdims=True) - 2 * w + 1
    all_of_them = numpy.concatenate([far, (w * w).sum(axis=-1, keepdims=True)], axis=-1)
    return all_of_them.argmin(axis=-1)


def nearest_on_simplex(w):
    return numpy.concatenate([w, 1 - w.sum(axis=-1, keepdims=True)], axis=-1).argmax(axis=-1)


@finding(
    "nearest-vertex",
    title="The nearest vertex of equation 17 depends on the space it is measured in",
    where="eq. 17",
    says="P_S projects onto the vertices of S^{K−1}; g is smooth",
    right="in R^{K−1} the nearest vertex is 0 unless some w_k > ½; and g jumps where the vertex changes",
    why="The paper moves freely between S^{K−1} and the simplex of K coordinates. For distances the two differ: "
    "with K−1 coordinates the origin is special. Either way eq. 17 is discontinuous where two vertices are "
    "equally near.",
    equation="‖w − e_k‖² < ‖w‖² ⇔ w_k > ½",
    right_code="igr_ref.transforms.vertex_interpolation (argmax of all K coordinates)",
    wrong_code="experiments.audit.vertices.nearest_in_s",
    group=GROUP,
)
def nearest_vertex(setting, nearest=nearest_in_s):
    y = -1.5 + noise.normal(setting.rng("vertex"), (setting.count(100_000), 9))
    g = VertexInterpolation(0.5)
    w = StickBreaking().forward(y)[..., :-1]
    share = float((nearest(w) != g.category(y)).mean())
    to_zero = float((nearest_in_s(w) == 9).mean())
    tie = numpy.array([[-1e-9], [1e-9]])  # K = 2: w_1 = 1/2 at y = 0
    jump = float(numpy.linalg.norm(numpy.diff(g.forward(tie), axis=0)))
    return Outcome(
        share == 0,
        f"{share:.0%} of the draws go to another vertex in R^9 than on the simplex; jump of g at a tie {jump:.2f}",
        (
            Measure("share of draws whose nearest vertex differs", 100 * share, "%"),
            Measure("share whose nearest vertex in R^9 is the origin", 100 * to_zero, "%"),
            Measure("jump of g across a tie, τ = .5 (√2 (1 − τ) expected)", jump),
        ),
    )
