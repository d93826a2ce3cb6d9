"""Whether a GPU gives what NumPy gives: the same noise through the same code on both, compared number by number.

Each check is a function of a tree of NumPy arrays, moved to the device as a whole; what it returns is moved back. All
are made in float64 and again in float32. The difference reported is the largest |a - b| / (1 + |b|). A check that fails
with an error has its text in the place of a difference, and the others go on.
"""

from __future__ import annotations

import numpy

from igr_ref.backend import to_host

from .gpu_cases import arrays, checks

SINGLE = ", float32"  # ends the names of the checks in float32
WANTED = {"float64": 1e-12, "float32": 1e-4}  # rounding makes 8e-6 of the worst: log-determinants of eq. 18 around -100


def agreement(xp, say=lambda text: None):
    """{check: largest difference from NumPy, or the text of an error}, for the array namespace xp."""
    out = {}
    for dtype in WANTED:
        for name, check in checks().items():
            name += SINGLE if dtype == "float32" else ""
            try:
                want = check(moved(arrays(numpy.random.default_rng(0)), numpy, dtype))
                out[name] = difference(check(moved(arrays(numpy.random.default_rng(0)), xp, dtype)), want)
            except Exception as error:  # whatever it is, it is what this check is here to find
                out[name] = f"{type(error).__name__}: {error}"
            say(f"{name}: {out[name]}")
    return out


def wrong(agreement):
    """Those of `agreement` that failed, or differ by more than WANTED."""
    wanted = {name: WANTED["float32" if name.endswith(SINGLE) else "float64"] for name in agreement}
    return {name: got for name, got in agreement.items() if isinstance(got, str) or not got <= wanted[name]}


def moved(tree, xp, dtype):
    if isinstance(tree, dict):
        return {name: moved(value, xp, dtype) for name, value in tree.items()}
    return xp.asarray(tree.astype(dtype))


def difference(got, want):
    """The largest |got - want| / (1 + |want|) over a tree; ValueError for other names, lengths, shapes or NaN."""
    if isinstance(want, dict):
        if sorted(got) != sorted(want):
            raise ValueError(f"names {sorted(got)}, wanted {sorted(want)}")
        return max((difference(got[name], want[name]) for name in want), default=0.0)
    if isinstance(want, (list, tuple)):
        if len(got) != len(want):
            raise ValueError(f"{len(got)} results, wanted {len(want)}")
        return max((difference(g, w) for g, w in zip(got, want, strict=True)), default=0.0)
    got, want = to_host(got), numpy.asarray(want)
    if got.shape != want.shape or got.dtype != want.dtype:
        raise ValueError(f"{got.dtype} {got.shape}, wanted {want.dtype} {want.shape}")
    same = got == want  # infinities among them
    got, want = (numpy.where(same, 0, x).astype("float64") for x in (got, want))
    with numpy.errstate(invalid="ignore"):
        worst = float(numpy.max(numpy.abs(got - want) / (1 + numpy.abs(want)), initial=0.0))
    if not numpy.isfinite(worst):
        raise ValueError("NaN or infinity on one side only")
    return worst
