"""Minimize a smooth convex function of many variables: L-BFGS on arrays of any shape and precision."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["minimize"]

MEMORY = 10
"""The number of past steps from which the curvature is estimated."""

STEPS = 10_000
"""The search ends after this number of steps, converged or not."""

DECREASE = 1e-4
"""The share of the decrease that the slope promises, which a step must reach (the Armijo condition)."""

SHORTEST = 1e-6
"""The search ends where even this share of a step gains nothing: the precision of the numbers is exhausted."""

Array = NDArray[Any]

Slope = Callable[[], tuple[Array, Array]]
"""Gives the gradient at a point, and about the inverse of the curvature there, of a shape that broadcasts to it."""


def minimize(objective: Callable[[Array], tuple[float, Slope]], start: Array, *, tolerance: float) -> Array:
    """The point with a value of ``objective`` that is above the least by at most about ``tolerance`` of the value.

    ``objective(point)`` gives the value, and a function that gives the rest; it is called only for points that are
    better than those before. Its inverse of the curvature, for each variable by itself, is where the estimate from the
    past steps begins: with the right one, the first step is right, and the gradient tells the distance to the least
    value. It may change from point to point. SciPy's L-BFGS-B has no such thing, computes in float64, and takes several
    times as long for a million variables.

    >>> def parabola(x):
    ...     return 1 + 2 * ((x - 3) ** 2).sum(), lambda: (4 * (x - 3), np.array(1 / 4))
    >>> minimize(parabola, np.zeros(2), tolerance=1e-9)
    array([3., 3.])
    """
    point = start
    value, rest = objective(point)
    slope, inverse = rest()
    past: deque[tuple[Array, Array, float]] = deque(maxlen=MEMORY)
    for _ in range(STEPS):
        downhill = -inverse * slope
        if -_dot(slope, downhill) / 2 <= tolerance * abs(value):
            break
        step = _direction(slope, inverse, past) if past else downhill
        promised = _dot(step, slope)
        if promised >= 0:  # rounding spoiled the estimate of the curvature
            past.clear()
            step, promised = downhill, _dot(downhill, slope)
        length = 1.0
        rounding = 4 * float(np.finfo(slope.dtype).eps) * abs(value)
        while True:
            moved = point + np.asarray(length, point.dtype) * step
            found, rest = objective(moved)
            if found <= value + DECREASE * length * promised + rounding:
                break
            # The minimum of the parabola through both values and the slope, within limits.
            parabola = -promised * length / (2 * (found - value - promised * length))
            length *= float(np.clip(parabola, 0.1, 0.5)) if np.isfinite(found) else 0.1
            if length < SHORTEST:
                return point
        new_slope, inverse = rest()
        change, bend = moved - point, new_slope - slope
        if (curvature := _dot(change, bend)) > 0:
            past.append((change, bend, curvature))
        point, value, slope = moved, found, new_slope
    return point


def _direction(slope: Array, inverse: Array, past: deque[tuple[Array, Array, float]]) -> Array:
    """The step to where the gradient vanishes, by the curvature that the past steps met: the two-loop recursion."""
    step = -slope
    shares = []
    for change, bend, curvature in reversed(past):
        shares.append(_dot(change, step) / curvature)
        step -= np.asarray(shares[-1], step.dtype) * bend
    step *= inverse
    _, bend, curvature = past[-1]
    step *= np.asarray(curvature / _dot(bend, inverse * bend), step.dtype)
    for (change, bend, curvature), share in zip(past, reversed(shares), strict=True):
        step += np.asarray(share - _dot(bend, step) / curvature, step.dtype) * change
    return step


def _dot(a: Array, b: Array) -> float:
    return float(np.vdot(a, b))
