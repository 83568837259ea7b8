"""One rule of rounding for expressions: by digits that count, so that small and large numbers are treated alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

DIGITS = 12
"""Digits that count: float noise, some 1e-16 of a number, is far below them."""
NOISE = 1e-12
"""Numbers are equal that differ by no more than this share of the larger."""
CANCELLED = 0.1
"""A sum below this share of its larger part has lost digits: what is left of noise in it is larger by as much."""
_MOST = 290
"""Decimals beyond which a power of ten leaves the numbers; what is as small is left as it is."""


def significant(values: pl.Series) -> pl.Series:
    """Round numbers to `DIGITS` digits that count; other kinds are returned as they are.

    Args:
        values: Float64, null where missing; or a text or condition.
    """
    return _on_grid(values, values.abs(), DIGITS) if values.dtype == pl.Float64 else values


def settled(values: pl.Series, larger: pl.Series) -> pl.Series:
    """Round sums that are small beside what they are of, to a digit more of that than `DIGITS`; leave others.

    So 0.1 + 0.2 - 0.3 is 0, and noise that a difference makes relatively large is taken from it.

    Args:
        values: The sums, Float64, shape (n,), null where missing.
        larger: The largest absolute value among the parts of each, shape (n,).
    """
    lost = (values.abs() < CANCELLED * larger).fill_null(value=False)
    return values.zip_with(~lost, _on_grid(values, larger, DIGITS + 1)) if lost.any() else values


def without_noise(differences: pl.Series, larger: pl.Series) -> pl.Series:
    """Return differences, 0 where they are no more than `NOISE` of the larger side, or of what was added up in it."""
    return differences.set((differences.abs() <= NOISE * larger).fill_null(value=False), 0.0)


def largest(parts: Sequence[pl.Series]) -> pl.Series:
    """Return the largest absolute value of each row among the parts of a sum, null where all are missing."""
    return pl.select(pl.max_horizontal(pl.lit(part.abs()) for part in parts)).to_series()


def _on_grid(values: pl.Series, scale: pl.Series, digits: int) -> pl.Series:
    """Round values to so many decimals that a number as large as `scale` has so many digits."""
    numbers = values.to_numpy()
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        decimals = digits - 1 - np.floor(np.log10(scale.to_numpy()))
        power = 10.0 ** np.clip(np.abs(decimals), 0, 308)
        rounded = np.where(decimals >= 0, np.rint(numbers * power) / power, np.rint(numbers / power) * power)
        # 0, what is missing, and what is at the ends of the numbers stays as it is; + 0.0 makes -0.0 the one zero
        usable = np.isfinite(rounded) & (decimals <= _MOST)
    return pl.Series(values.name, np.where(usable, rounded, numbers) + 0.0, nan_to_null=True)
