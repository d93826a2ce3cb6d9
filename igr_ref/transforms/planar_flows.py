"""L planar flows in a row as one map of rank L: what a chain of `PlanarFlow` computes, sooner; for training.

Flow i = 1..L adds u~_i h_i, h_i = tanh(s_i), to what the one before it gives. With A_ij = w_i.u~_j and y the first input
    f(y) = y + sum_i u~_i h_i,   s_i = w_i.y + b_i + sum_{j<i} A_ij h_j,   log|det J| = sum_i log D_i  (see `planar_flow`).
Pullback  y_bar = z_bar + sum_i w_i t_i,  t_i = s_i_bar = h'_i (u~_i.z_bar + sum_{j>i} A_ji t_j - 2 h_i psi_i/D_i log_det_bar),
          b_i_bar = t_i, and w_i, u_i as in `planar_flow` from that flow's input and cotangent.
J^{-T}    y_bar - sum_i w_i r_i,  r_i = h'_i/D_i (u~_i.y_bar - sum_{j<i} A_ji r_j).
K-1 numbers a sample are met in matrix products only, with the samples as columns; all else is L numbers a sample.
"""

from __future__ import annotations

from ..backend import namespace
from ..precision import in_double
from .base import Transform
from .chain import Chain
from .planar_flow import PlanarFlow


@in_double
class PlanarFlows(Transform):
    """R^{K-1} -> R^{K-1}. w, u ([R,] N, L, K-1) and b ([R,] N, L), not inspected, for y ([R,] ..., N, K-1).

    Unlike other transforms', its pullback's dict has the parameters' own shapes: gradients come summed over the axes
    between R and N, samples and images. The sum is what training wants, and it is one more matrix product.
    """

    def __init__(self, w, u, b, precise=True):
        super().__init__(precise)
        xp, _ = namespace(w, u, b)
        self.params = {"w": w, "u": u, "b": b}
        self.each = PlanarFlow(w, u, b, validate=False, precise=precise)  # every flow's constants, ([R,] N, L)
        self.w_t, self.u_tilde_t = _t(self.each.w), _t(self.each.u_tilde)
        self.mixed = xp.matmul(self.each.w, self.u_tilde_t)  # A
        self.length = w.shape[-2]

    def run(self, y):
        """saved: y, h, h' and D with the samples last, ([R,] N, K-1 or L, samples), and y's shape."""
        xp, _ = namespace(y, self.mixed)
        columns = self._columns(y)
        given = xp.matmul(self.each.w, columns) + self.each.b[..., None]
        s, h = [], []
        for i in range(self.length):
            s.append(self._plus(given, i, h, self._before(i)))
            h.append(xp.tanh(s[i]))
        s, h = xp.stack(s, axis=-2), xp.stack(h, axis=-2)
        e = xp.exp(-2 * xp.abs(s))
        slope = 4 * e / ((1 + e) * (1 + e))  # sech^2(s), with its digits where 1 - h^2 has none
        det = h * h + slope * self.each.softplus_c[..., None]
        z = columns + xp.matmul(self.u_tilde_t, h)
        return self._back(z, y.shape), (columns, h, slope, det, y.shape)

    def pullback(self, saved, z_bar=None, log_det_bar=None):
        columns, h, slope, det, shape = saved
        xp, _ = namespace(columns, h)
        each, z_bar = self.each, xp.zeros_like(columns) if z_bar is None else self._columns(z_bar)
        given, psi_bar = xp.matmul(each.u_tilde, z_bar), xp.zeros_like(each.psi)
        if log_det_bar is not None:
            ratio = self._columns(log_det_bar[..., None]) / det
            given = given - 2 * each.psi[..., None] * (h * ratio)
            psi_bar = xp.sum(slope * ratio, axis=-1)
        t = [None] * self.length
        for i in reversed(range(self.length)):
            t[i] = slope[..., i, :] * self._plus(given, i, t, self._behind(i))
        t = xp.stack(t, axis=-2)
        # (1) Sums over the samples, with C_ij = sum t_i h_j: flow i's input is y + sum_{j<i} u~_j h_j and its output's
        #     cotangent z_bar + sum_{j>i} w_j t_j; the former meets t_i in w_i's gradient, the latter h_i in u~_i's.
        C = xp.matmul(t, _t(h))
        from_inputs = xp.matmul(t, _t(columns)) + xp.matmul(xp.tril(C, -1), each.u_tilde)
        u_tilde_bar = xp.matmul(h, _t(z_bar)) + xp.matmul(_t(xp.tril(C, -1)), each.w)
        # (2) Given those, w and u meet no sample any more: the constants' own pullback, linear in both cotangents.
        w_bar, u_bar = each.constants_pullback(u_tilde_bar, psi_bar)
        bars = {"w": w_bar + from_inputs, "u": u_bar, "b": xp.sum(t, axis=-1)}
        return self._back(z_bar + xp.matmul(self.w_t, t), shape), bars

    def inverse_pullback(self, saved, y_bar):
        _, _, slope, det, shape = saved
        xp, _ = namespace(slope, y_bar)
        y_bar, ratio, r = self._columns(y_bar), slope / det, []
        given = xp.matmul(self.each.u_tilde, y_bar)
        for i in range(self.length):
            r.append(ratio[..., i, :] * self._plus(given, i, r, [(j, -self.mixed[..., j, i, None]) for j in range(i)]))
        return self._back(y_bar - xp.matmul(self.w_t, xp.stack(r, axis=-2)), shape)

    def saved_log_det(self, saved):
        _, _, _, det, shape = saved
        xp, _ = namespace(det)
        return self._back(xp.sum(xp.log(det), axis=-2)[..., None, :], (*shape[:-1], 1))[..., 0]

    @staticmethod
    def _plus(given, i, found, weights):
        """given_i and the weighted sum of what was found for other flows."""
        total = given[..., i, :]
        for j, weight in weights:
            total = total + weight * found[j]
        return total

    def _before(self, i):
        return [(j, self.mixed[..., i, j, None]) for j in range(i)]

    def _behind(self, i):
        return [(j, self.mixed[..., j, i, None]) for j in range(i + 1, self.length)]

    # ---- layout: R leads; what stands between R and N, samples and images, becomes the last axis ----------------------

    def _columns(self, y):
        """([R,] ..., N, k) as ([R,] N, k, samples): a view where memory has the samples last, as in training."""
        lead, last = self.mixed.ndim - 3, y.ndim - 2
        return y.transpose(*range(lead), last, last + 1, *range(lead, last)).reshape(
            *y.shape[:lead], *y.shape[last:], -1
        )

    def _back(self, columns, shape):
        """The opposite: a view of the columns."""
        lead, last = self.mixed.ndim - 3, len(shape) - 2
        split = columns.reshape(*shape[:lead], *shape[last:], *shape[lead:last])
        return split.transpose(*range(lead), *range(lead + 2, last + 2), lead, lead + 1)

    # ---- what training does not ask for: the chain itself -------------------------------------------------------------

    def chain(self, ndim):
        """The same as a Chain of `PlanarFlow`, for y of so many axes."""
        each, flows = self.each, []
        lead = self.mixed.ndim - 3
        for i in range(self.length):
            parts = []
            for p in (each.w[..., i, :], each.u[..., i, :], each.b[..., i]):
                between = (1,) * (ndim - 2 - lead) if lead else ()
                parts.append(p.reshape(*p.shape[:lead], *between, *p.shape[lead:]))
            flows.append(PlanarFlow(*parts, validate=False, precise=self.precise))
        return Chain(*flows)

    def forward(self, y):
        return self.chain(y.ndim).forward(y)

    def log_det(self, y):
        return self.chain(y.ndim).log_det(y)

    def jacobian(self, y):
        return self.chain(y.ndim).jacobian(y)

    def inverse(self, z):
        return self.chain(z.ndim).inverse(z)


def _t(x):
    xp, _ = namespace(x)
    return xp.swapaxes(x, -1, -2)
