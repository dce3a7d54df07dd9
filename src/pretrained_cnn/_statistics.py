"""Statistics of samples: confidence intervals and tests."""

from __future__ import annotations

import math

__all__ = ["LEVEL", "Z", "exact_mcnemar", "format_p_value", "wilson"]

Z = 1.959963984540054
"""The normal distribution's 97.5th percentile, for intervals of 95 %."""

LEVEL = 0.05
"""A difference counts as told apart if chance alone makes one as large less often than this."""


def wilson(right: int, count: int) -> tuple[float, float]:
    """Wilson's confidence interval of 95 % for ``right`` out of ``count`` (J. Am. Stat. Assoc. 22, 1927, p. 209).

    >>> [round(end, 4) for end in wilson(9, 10)]
    [0.5958, 0.9821]
    """
    share, spread = right / count, Z * Z / count
    center = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    # Exactly 0 and 1 where they are so, whatever is rounded.
    return max(0.0, center - half) if right else 0.0, min(1.0, center + half) if right < count else 1.0


def exact_mcnemar(only_a: int, only_b: int) -> float:
    """McNemar's exact test: the two-sided p-value of ``only_a`` against ``only_b`` if both are equally likely, 0 to 1.

    >>> round(exact_mcnemar(1, 3), 3)
    0.625
    """
    count, least = only_a + only_b, min(only_a, only_b)
    if only_a == only_b:
        return 1.0
    log_all = count * math.log(2) - math.lgamma(count + 1)
    terms = (math.exp(-math.lgamma(k + 1) - math.lgamma(count - k + 1) - log_all) for k in range(least + 1))
    return min(1.0, 2 * math.fsum(terms))


def format_p_value(p_value: float) -> str:
    """A p-value with three decimals; a smaller one as a limit, since it is never 0.

    >>> format_p_value(0.0417), format_p_value(1e-9)
    ('0.042', '<0.001')
    """
    return f"{p_value:.3f}" if p_value >= 0.001 else "<0.001"
