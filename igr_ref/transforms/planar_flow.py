"""Planar flow (Rezende and Mohamed 2015), constrained so that it is invertible; for IGR-Planar, before softmax++.

    f(y) = y + u~ h,  h = tanh(s),  s = w.y + b,  u~ = u + (psi - w.u) w/||w||^2,  psi = softplus(w.u) - 1 = w.u~ > -1.
Inverse      s is the root of s + psi tanh(s) = w.z + b,  y = z - u~ tanh(s).
Jacobian     J = I + h' u~ w^T,  h' = 1 - h^2 = sech^2(s);   J^{-1} = I - h' u~ w^T / D;   log|det J| = log D,
             D = 1 + h' psi = h^2 + h' softplus(w.u)  (both terms positive: no cancellation as psi nears -1).
Pullback     u~_bar = h z_bar,  s_bar = h' (u~.z_bar) - 2 h h' psi/D log_det_bar,  psi_bar = h'/D log_det_bar,
             y_bar = z_bar + s_bar w,  b_bar = s_bar,  and w, u through s, u~ and psi.
"""

from __future__ import annotations

from ..backend import namespace
from ..numerics import sigmoid, sigmoid_grad, softplus
from ..precision import in_double, widened
from .base import Transform, check_coordinates


@in_double
class PlanarFlow(Transform):
    """R^{K-1} -> R^{K-1}. Every variable has its own w, u (..., N, K-1) and b (..., N), for y (..., N, K-1).

    Leading axes broadcast against those of y: (R, 1, 1, N, K-1) gives each of R replicas its own flow. The pullback's
    dict has "w", "u" and "b". As w -> 0 with w.u -> 0, u~ grows like 1/||w|| and f has no limit; w whose squared norm
    is 0 is therefore an error. With validate=False the parameters are not inspected.
    """

    def __init__(self, w, u, b, validate=True, precise=True):
        super().__init__(precise)
        if validate:
            _check(w, u, b)
        self.params = {"w": w, "u": u, "b": b}
        w, u, b = widened((w, u, b)) if precise else (w, u, b)
        self.w, self.u, self.b = w, u, b
        self.norm2 = _dot(w, w)
        self.c = _dot(w, u)
        self.softplus_c = softplus(self.c)
        self.psi = self.softplus_c - 1
        # psi - c = softplus(c) - c - 1 = softplus(-c) - 1: no cancellation for large c
        self.kappa = softplus(-self.c) - 1
        self.u_tilde = self._split(u)[2] + (self.psi / self.norm2)[..., None] * w

    def _split(self, x):
        """a = (w.x)/||w||^2, the part a w of x along w, and the rest of x; with one coordinate that is 0, exactly."""
        xp, _ = namespace(x, self.w)
        a = _dot(self.w, x) / self.norm2
        along = a[..., None] * self.w
        return a, along, x - along if self.w.shape[-1] > 1 else xp.zeros_like(along)

    def run(self, y):
        """saved: y, h, and at s the slope h' = sech^2(s) = 4 sigmoid(2s) sigmoid(-2s), which keeps its digits where
        1 - h^2 has none, and D."""
        xp, _ = namespace(y, self.w, self.u, self.b)
        check_coordinates("y", y, self.w.shape[-1])
        s = _dot(self.w, y) + self.b
        h, slope = xp.tanh(s), 4 * sigmoid_grad(2 * s)
        return y + self.u_tilde * h[..., None], (y, h, slope, h * h + slope * self.softplus_c)

    def pullback(self, saved, z_bar=None, log_det_bar=None):
        y, h, slope, det = saved
        xp, _ = namespace(y, h, det)
        s_bar = psi_bar = xp.zeros_like(h)
        u_tilde_bar = xp.zeros_like(y)
        if z_bar is not None:
            s_bar = slope * _dot(self.u_tilde, z_bar)
            u_tilde_bar = h[..., None] * z_bar
        if log_det_bar is not None:
            ratio = log_det_bar * slope / det
            s_bar = s_bar - 2 * h * self.psi * ratio
            psi_bar = ratio
        w_bar, u_bar = self.constants_pullback(u_tilde_bar, psi_bar)
        w_bar = w_bar + s_bar[..., None] * y
        y_bar = s_bar[..., None] * self.w
        return (y_bar if z_bar is None else z_bar + y_bar), {"w": w_bar, "u": u_bar, "b": s_bar}

    def constants_pullback(self, u_tilde_bar, psi_bar):
        """(w_bar, u_bar) from cotangents on u~ and on the log-determinant's psi: linear in both, so sums will do."""
        # (1) u~ = u + kappa w/||w||^2, kappa = psi - c. By w with c held: kappa/||w||^2 times the reflection of
        #     u~_bar across the plane normal to w. By c: dkappa/dc = sigmoid(c) - 1 = -sigmoid(-c).
        a, along, rest = self._split(u_tilde_bar)
        w_bar = (self.kappa / self.norm2)[..., None] * (u_tilde_bar - 2 * along)
        # (2) By u, directly and through c: u~_bar - sigmoid(-c) a w, of which the part along w is
        #     a (1 - sigmoid(-c)) = a sigmoid(c); the rest is as it was.
        # (3) By w through c: -sigmoid(-c) a of (1), and dpsi/dc = sigmoid(c) of the log-determinant.
        rising, falling = sigmoid(self.c), sigmoid(-self.c)
        u_bar = rest + (rising * (a + psi_bar))[..., None] * self.w
        return w_bar + (rising * psi_bar - falling * a)[..., None] * self.u, u_bar

    def inverse_pullback(self, saved, y_bar):
        """J^{-T} y_bar = y_bar - h' (u~.y_bar)/D w."""
        _, _, slope, det = saved
        return y_bar - (slope / det * _dot(self.u_tilde, y_bar))[..., None] * self.w

    def jacobian(self, y):
        xp, _ = namespace(y, self.w, self.u, self.b)
        _, (_, _, slope, _) = self.run(y)
        return xp.eye(y.shape[-1], dtype=y.dtype) + self._outer(slope)

    def inverse_jacobian(self, y):
        """dy/dz at z = f(y): (..., K-1, K-1)."""
        xp, _ = namespace(y, self.w, self.u, self.b)
        _, (_, _, slope, det) = self.run(y)
        return xp.eye(y.shape[-1], dtype=y.dtype) - self._outer(slope / det)

    def _outer(self, factor):
        return factor[..., None, None] * self.u_tilde[..., :, None] * self.w[..., None, :]

    def log_det(self, y):
        return self.saved_log_det(self.run(y)[1])

    def saved_log_det(self, saved):
        xp, _ = namespace(*saved, self.psi)
        _, _, slope, det = saved
        excess = slope * self.psi
        near = excess > -0.5
        return xp.where(near, xp.log1p(xp.where(near, excess, 0)), xp.log(xp.where(near, 1, det)))

    def inverse(self, z):
        xp, _ = namespace(z, self.w, self.u, self.b)
        check_coordinates("z", z, self.w.shape[-1])
        r = _dot(self.w, z) + self.b
        if not bool(xp.all(xp.isfinite(r))):
            raise ValueError("z must be finite, and w.z + b too")
        s = solve(*xp.broadcast_arrays(r, self.softplus_c))
        return z - self.u_tilde * xp.tanh(s)[..., None]


def initial(noise, scale=0.05):
    """Arguments of a fresh PlanarFlow from standard normal draws (2, ..., N, K-1): w, u ~ N(0, scale^2), b = 0."""
    xp, _ = namespace(noise)
    if noise.ndim < 2 or noise.shape[0] != 2:
        raise ValueError(f"noise must have shape (2, ..., K-1), one slice each for w and u; got {noise.shape}")
    return {"w": scale * noise[0], "u": scale * noise[1], "b": xp.zeros_like(noise[0][..., 0])}


def s_minus_tanh(s):
    """s - tanh(s) to full relative precision.

    Lambert's fraction tanh s = s/(1 + x/(3 + x/(5 + ...))), x = s^2, gives s - tanh s = s^3/(G + x) with
    G = 3 + x/(5 + ...), all terms positive; it is used up to |s| = 1, where the difference loses two bits at most.
    """
    xp, _ = namespace(s)
    x = xp.minimum(s * s, 1)
    G = 19
    for odd in (17, 15, 13, 11, 9, 7, 5, 3):
        G = odd + x / G
    return xp.where(x < 1, s * x / (G + x), s - xp.tanh(s))


def solve(r, softplus_c, iterations=100):
    """The root s of s + psi tanh(s) = r, psi = softplus_c - 1 > -1, elementwise: Newton's method inside a bracket.

    (1) The left side t(s) = (s - tanh s) + softplus_c tanh s is odd and increasing: the root for |r| gets r's sign.
    (2) From 0 <= tanh s <= min(s, 1) on s >= 0: if psi >= 0 the root is in [max(|r| - psi, |r|/(1 + psi)), |r|],
        otherwise in [|r|, |r| - psi]. Up to s = 1, s - tanh s >= s^3/4.2 (as G <= 3 + x/5 above), so that
        |r| < 1/4.2 puts the root below (4.2 |r|)^{1/3}: a good start where t is nearly cubic, psi near -1.
    (3) t is concave on s >= 0 if psi >= 0 and convex otherwise: Newton from the lower, or upper, end is monotone.
    """
    xp, _ = namespace(r)
    size, psi = xp.abs(r), softplus_c - 1
    up = xp.maximum(psi, 0)
    low = xp.maximum(size - up, size / (1 + up))
    high = size - xp.minimum(psi, 0)
    high = xp.where(4.2 * size < 1, xp.minimum(high, xp.cbrt(4.2 * size)), high)
    s = xp.where(psi >= 0, low, high)
    eps = float(xp.finfo(r.dtype).eps)
    for _ in range(iterations):
        h = xp.tanh(s)
        residual = s_minus_tanh(s) + softplus_c * h - size
        slope = h * h + 4 * sigmoid_grad(2 * s) * softplus_c
        slope = xp.where(slope > 0, slope, 1)  # only at r = 0 after softplus_c underflowed, where s = 0 is right
        low, high = xp.where(residual < 0, s, low), xp.where(residual > 0, s, high)
        new = s - residual / slope
        new = xp.where((new >= low) & (new <= high), new, 0.5 * (low + high))
        # what rounding of r and t alone can move the root by
        done = xp.abs(new - s) <= 4 * eps * (s + size / slope)
        s = new
        if bool(xp.all(done)):
            return xp.where(r < 0, -s, s)
    raise ArithmeticError(f"the planar flow's inverse did not settle in {iterations} iterations")


def _dot(a, b):
    """Inner product over the last axis."""
    xp, _ = namespace(a, b)
    return xp.einsum("...k,...k->...", a, b)


def _check(w, u, b):
    xp, _ = namespace(*(array for array in (w, u, b) if hasattr(array, "dtype")))
    for name, array in (("w", w), ("u", u), ("b", b)):
        if not hasattr(array, "dtype") or not xp.issubdtype(array.dtype, xp.floating):
            got = getattr(array, "dtype", type(array).__name__)
            raise ValueError(f"{name} must be a floating-point array, got {got}")
        if not bool(xp.all(xp.isfinite(array))):
            raise ValueError(f"{name} must be finite, got NaN or infinity")
    if w.ndim == 0 or u.ndim == 0 or w.shape[-1] != u.shape[-1] or w.shape[-1] == 0:
        raise ValueError(f"w and u need the same category axis of length 1 or more, got shapes {w.shape} and {u.shape}")
    if len({str(array.dtype) for array in (w, u, b)}) > 1:
        raise ValueError(f"w, u and b must share one dtype, got {w.dtype}, {u.dtype} and {b.dtype}")
    norm2, least = _dot(w, w), float(xp.finfo(w.dtype).tiny)
    if not bool(xp.all(norm2 >= least)):
        raise ValueError(
            "w must have ||w||^2 > 0 for every variable, and no denormal number: the constrained flow has no limit as "
            f"w -> 0; the least is {float(xp.min(norm2)):.3g}"
        )
    if not bool(xp.all(xp.isfinite(norm2))):
        raise ValueError(f"w must have a finite ||w||^2, got one beyond the numbers of {w.dtype}")
    try:
        xp.broadcast_shapes(w.shape[:-1], u.shape[:-1], b.shape)
    except ValueError as error:
        raise ValueError(f"w, u and b do not broadcast together: {w.shape}, {u.shape}, {b.shape}") from error
