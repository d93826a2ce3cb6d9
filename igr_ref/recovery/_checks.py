"""What the exact laws of Gaussian relaxations accept: mu, sigma (..., K-1), and a cotangent (..., K) on P."""

from __future__ import annotations

from ..backend import namespace


def double(mu, sigma):
    """(xp, mu, sigma): checked, in float64 and broadcast together. ValueError says what is wrong."""
    xp, _ = namespace(*(array for array in (mu, sigma) if hasattr(array, "dtype")))
    for name, array in (("mu", mu), ("sigma", sigma)):
        if not hasattr(array, "dtype") or not xp.issubdtype(array.dtype, xp.floating):
            raise ValueError(
                f"{name} must be a floating-point array, got {getattr(array, 'dtype', type(array).__name__)}"
            )
    mu64, sigma64 = mu.astype(xp.float64), sigma.astype(xp.float64)
    if not bool(xp.all(xp.isfinite(mu64))):
        raise ValueError("mu must be finite, got NaN or infinity")
    if not bool(xp.all(xp.isfinite(sigma64) & (sigma64 > 0))):
        raise ValueError("sigma must be finite and greater than 0 (it is a standard deviation)")
    try:
        shape = xp.broadcast_shapes(mu.shape, sigma.shape)
    except ValueError as error:
        raise ValueError(f"mu and sigma do not broadcast together: shapes {mu.shape} and {sigma.shape}") from error
    if len(shape) == 0 or shape[-1] == 0:
        raise ValueError(f"mu needs a category axis of length 1 or more, got shape {mu.shape}")
    return xp, xp.broadcast_to(mu64, shape), xp.broadcast_to(sigma64, shape)


def with_cotangent(p_bar, mu, sigma):
    """(p_bar, mu, sigma) with their leading axes broadcast together, p_bar in mu's dtype."""
    xp, _ = namespace(mu, p_bar)
    if p_bar.ndim == 0 or p_bar.shape[-1] != mu.shape[-1] + 1:
        raise ValueError(f"p_bar must be (..., {mu.shape[-1] + 1}), got shape {p_bar.shape}")
    lead = xp.broadcast_shapes(mu.shape[:-1], p_bar.shape[:-1])
    return tuple(xp.broadcast_to(a, lead + a.shape[-1:]) for a in (p_bar.astype(mu.dtype), mu, sigma))
