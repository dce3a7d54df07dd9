"""Confidence intervals of what was measured on a sample."""

from __future__ import annotations

import math

__all__ = ["Z", "wilson"]

Z = 1.959963984540054
"""The normal distribution's 97.5th percentile, for intervals of 95 %."""


def wilson(right: int, count: int) -> tuple[float, float]:
    """Wilson's confidence interval of 95 % for ``right`` out of ``count`` (J. Am. Stat. Assoc. 22, 1927, p. 209).

    >>> [round(end, 4) for end in wilson(9, 10)]
    [0.5958, 0.9821]
    """
    share, spread = right / count, Z * Z / count
    center = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    return max(0.0, center - half), min(1.0, center + half)
