"""Arithmetic of the golden vectors: trees of mpmath numbers, their derivatives, and numbers right to 30 digits.

A tree is a number, or a list or dict of trees. The generator imports neither igr_ref nor NumPy; `ours` is no part
of it.
    derivative   (f(x + h) - f(x - h))/2h with h = 10^-d in 3d + 10 digits, d the digits in force: error O(10^-2d).
    settled      f at d and at 1.4 d digits, d growing until every number agrees to 33 digits.
    error_scale  sum_j |x_j df/dx_j| over all floating-point inputs: what rounding every input by a relative amount e
                 moves an output by is e times this. It is given to 3 digits.
"""

from __future__ import annotations

import random

from mpmath import log, mp, mpf, nstr, workdps

DIGITS = 30


# ---- trees -----------------------------------------------------------------------------------------------------------


def walk(function, *trees):
    """The tree of function(leaf, ...) for trees of one shape."""
    first = trees[0]
    if isinstance(first, dict):
        return {key: walk(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, (list, tuple)):
        return [walk(function, *items) for items in zip(*trees, strict=True)]
    return function(*trees)


def leaves(tree):
    """All leaves, in order."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    return [leaf for item in tree for leaf in leaves(item)] if isinstance(tree, list) else [tree]


def exact(inputs):
    """The same tree with every float as the mpf of exactly its value; integers, flags and names stay."""
    return walk(lambda x: mpf(x) if isinstance(x, float) else x, inputs)


def moved(tree, number, shift):
    """The tree with `shift(x)` in place of its leaf of that number."""
    count = iter(range(len(leaves(tree))))
    return walk(lambda x: shift(x) if next(count) == number else x, tree)


# ---- derivatives -----------------------------------------------------------------------------------------------------


def derivatives(f, x):
    """[df/dx_i for the leaves x_i of x], each a tree like f(x)."""
    digits = mp.dps
    out = []
    with workdps(3 * digits + 10):
        h = mpf(10) ** -digits
        for i in range(len(leaves(x))):
            up, down = (f(moved(x, i, lambda a, s=s: a + s)) for s in (h, -h))
            out.append(walk(lambda a, b: (a - b) / (2 * h), up, down))
    return out


def gradient(f, x):
    """The tree of df/dx_i, for a scalar f."""
    values = iter(derivatives(f, x))
    return walk(lambda _: next(values), x)


def jacobian(f, x):
    """J[k][i] = df_k/dx_i for lists f and x."""
    columns = derivatives(f, x)
    return [list(row) for row in zip(*columns, strict=True)]


# ---- numbers that are right ------------------------------------------------------------------------------------------


def agree(first, second, digits):
    return all(
        a == b or abs(a - b) <= mpf(10) ** -digits * abs(b) for a, b in zip(leaves(first), leaves(second), strict=True)
    )


def settled(f, inputs, digits=40, agreement=DIGITS + 3, zeros=False, largest=6000):
    """(f(inputs), the digits it took). ArithmeticError where it does not settle.

    `digits` must be enough to tell 1 - x from 1 for the smallest x that matters: a difference that vanishes twice
    would be taken for 0. With `zeros`, so is one that is rounding error both times; for inputs of ordinary size only.
    """

    def clean(tree):
        return walk(lambda a: a * (abs(a) > mpf(10) ** (10 - mp.dps)), tree) if zeros else tree

    with workdps(digits):
        old = clean(f(exact(inputs)))
    while digits < largest:
        digits = int(1.4 * digits)
        with workdps(digits):
            new = clean(f(exact(inputs)))
            if agree(old, new, agreement):
                return new, digits
        old = new
    raise ArithmeticError(f"no agreement to {agreement} digits")


def error_scale(f, inputs, value, digits):
    """sum_j |x_j df/dx_j|, a tree like `value` = f(inputs)."""
    total = walk(lambda _: mpf(0), value)
    with workdps(digits):
        at, h = exact(inputs), mpf(10) ** -15
        for i, x in enumerate(leaves(at)):
            if isinstance(x, mpf) and x != 0:
                new = f(moved(at, i, lambda a: a * (1 + h)))
                total = walk(lambda t, a, b: t + abs(a - b) / h, total, new, value)
    return total


def case(name, f, inputs, digits=40, agreement=DIGITS + 3, scales=True, check=None, zeros=False):
    """One case of a file. scales: True to compute error_scale, False to leave it out, or a function (value) -> tree.

    check(inputs, value): raises ArithmeticError where another way to the same numbers disagrees.
    """
    value, digits = settled(f, inputs, digits, agreement, zeros)
    if check is not None:
        with workdps(digits):
            check(exact(inputs), value)
    shown = agreement - 3
    out = {"name": name, "inputs": inputs, "outputs": walk(lambda x: text(x, shown), value)}
    if scales:
        scale = scales(value) if callable(scales) else error_scale(f, inputs, value, digits)
        # a little more, as versions of mpmath round ties differently
        out["error_scale"] = walk(lambda x: text(x * (1 + mpf(10) ** -9), 3), scale)
    return out


def text(x, digits):
    with workdps(digits + 10):
        return nstr(mpf(x), digits)


def close(first, second, digits, what):
    """Assert that two ways to the same number agree; returns the first."""
    if not agree(first, second, digits):
        raise ArithmeticError(f"{what}: {walk(lambda x: nstr(x, 20), first)} and {walk(lambda x: nstr(x, 20), second)}")
    return first


def spread_digits(numbers, base=40):
    """Digits that resolve e^-spread next to 1, for logits of that spread."""
    numbers = list(numbers)
    return base + int((max(numbers) - min(numbers)) / float(log(10)))


# ---- inputs ----------------------------------------------------------------------------------------------------------


class Draws:
    """Seeded inputs, rounded to 4 decimals so that no mathematical library's last bit can change them."""

    def __init__(self, name):
        self.rng = random.Random(name)

    def normal(self, *shape, scale=1.0, shift=0.0):
        return self._fill(shape, lambda: round(shift + scale * self.rng.gauss(0, 1), 4))

    def uniform(self, *shape):
        return self._fill(shape, lambda: round(0.001 + 0.998 * self.rng.random(), 4))

    def gumbel(self, *shape):
        return self._fill(shape, lambda: round(-float(log(-log(mpf(self.uniform())))), 4))

    def _fill(self, shape, draw):
        return [self._fill(shape[1:], draw) for _ in range(shape[0])] if shape else draw()
