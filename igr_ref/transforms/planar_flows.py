"""L planar flows in a row as one map of rank L: what a chain of `PlanarFlow` computes, several times sooner.

Flow i = 1..L adds u~_i h_i, h_i = tanh(s_i), to what the one before gives. With A_ij = w_i.u~_j and y the first's input
    f(y) = y + sum_i u~_i h_i,   s_i = w_i.y + b_i + sum_{j<i} A_ij h_j,   log|det J| = sum_i log D_i  (`planar_flow`).
Pullback  y_bar = z_bar + sum_i w_i t_i,  b_i_bar = t_i = s_i_bar
              = h'_i (u~_i.z_bar + sum_{j>i} A_ji t_j) - 2 h_i h'_i psi_i/D_i log_det_bar;  w_i, u_i: see below.
J^{-T}    y_bar - sum_i w_i r_i,  r_i = h'_i/D_i (u~_i.y_bar - sum_{j<i} A_ji r_j).
A sample's K-1 numbers are met in matrix products only, with the samples as columns; all else is L numbers a sample.
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

    Unlike other transforms', its pullback's dict has the parameters' own shapes: gradients are summed over the axes
    between R and N, samples and images. Training wants the sum, and as a matrix product it costs little.
    """

    def __init__(self, w, u, b, precise=True):
        super().__init__(precise)
        xp, _ = namespace(w, u, b)
        self.params = {"w": w, "u": u, "b": b}
        self.each = PlanarFlow(w, u, b, validate=False, precise=precise)  # the constants of every flow, ([R,] N, L)
        self.w_t, self.u_tilde_t = _t(self.each.w), _t(self.each.u_tilde)
        self.mixed = xp.matmul(self.each.w, self.u_tilde_t)  # A
        self.length, self.lead = w.shape[-2], w.ndim - 3

    def run(self, y):
        """saved: y, h, h' and D with the samples last, ([R,] N, K-1 or L, samples), and y's shape."""
        xp, _ = namespace(y, self.mixed)
        columns = self._columns(y)
        given = xp.matmul(self.each.w, columns) + self.each.b[..., None]
        s, h = [], {}
        for i in range(self.length):
            s.append(_plus(given[..., i, :], self.mixed[..., i, :], h))
            h[i] = xp.tanh(s[i])
        s, h = xp.stack(s, axis=-2), self._stack(h)
        e = xp.exp(-2 * xp.abs(s))
        slope = 4 * e / ((1 + e) * (1 + e))  # sech^2(s), with its digits where 1 - h^2 has none
        det = h * h + slope * self.each.softplus_c[..., None]
        return self._rows(columns + xp.matmul(self.u_tilde_t, h), y.shape), (columns, h, slope, det, y.shape)

    def pullback(self, saved, z_bar=None, log_det_bar=None):
        columns, h, slope, det, shape = saved
        xp, _ = namespace(columns, h)
        each, z_bar = self.each, xp.zeros_like(columns) if z_bar is None else self._columns(z_bar)
        given, psi_bar = xp.matmul(each.u_tilde, z_bar), xp.zeros_like(each.psi)
        if log_det_bar is not None:
            ratio = self._columns(log_det_bar[..., None]) / det
            given = given - 2 * each.psi[..., None] * (h * ratio)
            psi_bar = xp.sum(slope * ratio, axis=-1)
        t = {}
        for i in reversed(range(self.length)):
            t[i] = slope[..., i, :] * _plus(given[..., i, :], self.mixed[..., i], t)
        t = self._stack(t)
        # (1) Flow i's input is y + sum_{j<i} u~_j h_j, and its output's cotangent z_bar + sum_{j>i} w_j t_j. Their sums
        #     over the samples, the former weighted with t_i and the latter with h_i, share C_ij = sum t_i h_j, j < i.
        C = xp.tril(xp.matmul(t, _t(h)), -1)
        s_bar_y = xp.matmul(t, _t(columns)) + xp.matmul(C, each.u_tilde)
        u_tilde_bar = xp.matmul(h, _t(z_bar)) + xp.matmul(_t(C), each.w)
        # (2) What is left to do, by the constants of the flows, is linear and no sample enters it.
        w_bar, u_bar = each.constants_pullback(u_tilde_bar, psi_bar)
        bars = {"w": w_bar + s_bar_y, "u": u_bar, "b": xp.sum(t, axis=-1)}
        return self._rows(z_bar + xp.matmul(self.w_t, t), shape), bars

    def inverse_pullback(self, saved, y_bar):
        _, _, slope, det, shape = saved
        xp, _ = namespace(slope, y_bar)
        y_bar, ratio, r = self._columns(y_bar), slope / det, {}
        given = xp.matmul(self.each.u_tilde, y_bar)
        for i in range(self.length):
            r[i] = ratio[..., i, :] * _plus(given[..., i, :], -self.mixed[..., i], r)
        return self._rows(y_bar - xp.matmul(self.w_t, self._stack(r)), shape)

    def saved_log_det(self, saved):
        _, _, _, det, shape = saved
        xp, _ = namespace(det)
        return self._rows(xp.sum(xp.log(det), axis=-2, keepdims=True), (*shape[:-1], 1))[..., 0]

    def _stack(self, found):
        xp, _ = namespace(found[0])
        return xp.stack([found[i] for i in range(self.length)], axis=-2)

    def _columns(self, y):
        """([R,] ..., N, K-1) as ([R,] N, K-1, samples): a view where memory has the samples last, as in training."""
        lead, last = self.lead, y.ndim - 2
        moved = y.transpose(*range(lead), last, last + 1, *range(lead, last))
        return moved.reshape(*moved.shape[: lead + 2], -1)

    def _rows(self, columns, shape):
        """The opposite: a view, of shape ([R,] ..., N, K-1)."""
        lead, last = self.lead, len(shape) - 2
        split = columns.reshape(*columns.shape[:-1], *shape[lead:last])
        return split.transpose(*range(lead), *range(lead + 2, last + 2), lead, lead + 1)

    # ---- what training does not ask for, by the chain itself --------------------------------------------------------

    def chain(self, ndim):
        """The Chain of `PlanarFlow` for y of so many axes."""

        def fitted(p):  # axes for samples and images behind the replicas'
            return p.reshape(*p.shape[: self.lead], *(1,) * (ndim - 2 - self.lead), *p.shape[self.lead :])

        flows = ([p[..., i, :] for p in (self.each.w, self.each.u)] + [self.each.b[..., i]] for i in range(self.length))
        return Chain(*(PlanarFlow(*map(fitted, flow), validate=False, precise=self.precise) for flow in flows))

    def forward(self, y):
        return self.chain(y.ndim).forward(y)

    def log_det(self, y):
        return self.chain(y.ndim).log_det(y)

    def jacobian(self, y):
        return self.chain(y.ndim).jacobian(y)

    def inverse(self, z):
        return self.chain(z.ndim).inverse(z)


def _plus(given, weights, found):
    """given + sum_j weights_j found_j, over the flows j found so far."""
    for j, x in found.items():
        given = given + weights[..., j, None] * x
    return given


def _t(x):
    xp, _ = namespace(x)
    return xp.swapaxes(x, -1, -2)
