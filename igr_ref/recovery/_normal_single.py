"""phi and Phi in float32, as the quadrature of Prop. 2 needs them: Phi is a logistic function of an odd polynomial.

    Phi(a) = 1/(1 + E),   E = exp(-a q(a^2)),   a q(a^2) = log Phi(a) - log Phi(-a) + error,   phi/Phi = phi (1 + E).
An integrand of Prop. 2 is a product of Phi_j, some replaced by phi_j, computed as prod_j Phi_j times phi_j/Phi_j: the
error of a Phi_j that is replaced cancels. So Phi's absolute error counts, not its relative one, and q makes the
largest of it least, 3e-8, for |a| <= 5.6. Above, a q(a^2) goes on increasing, and Phi(a) is 1 as it should be; below
about -END, E overflows.
"""

from __future__ import annotations

from ..backend import namespace

END = 6.5
# q's coefficients of 1, a^2, a^4, ...
COEFFICIENTS = (
    1.59576988, 7.26661691e-2, -6.51899464e-5, -1.10612390e-4, 7.92948927e-6, -2.64526717e-7, 3.51234261e-9,
)  # fmt: skip


def bell_and_inverse(a, out=None):
    """(exp(-a^2/2), 1/Phi(a)) for a >= -END in float32, in the arrays `out`; the first is sqrt(2 pi) phi(a)."""
    xp, _ = namespace(a)
    bell, inverse = out or (xp.empty_like(a), xp.empty_like(a))
    square = xp.multiply(a, a, out=bell)
    first, *rest, last = (-c for c in COEFFICIENTS[::-1])
    xp.multiply(square, first, out=inverse)
    for c in rest:
        xp.add(inverse, c, out=inverse)
        xp.multiply(inverse, square, out=inverse)
    xp.add(inverse, last, out=inverse)
    xp.multiply(inverse, a, out=inverse)
    xp.exp(inverse, out=inverse)
    xp.add(inverse, 1, out=inverse)
    xp.multiply(square, -0.5, out=bell)
    return xp.exp(bell, out=bell), inverse
