"""The candidates of a choice: their measurements, and the test that compares them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._statistics import LEVEL, exact_mcnemar, wilson

__all__ = ["Candidate", "Verdict", "judge", "surely_worse"]

Verdict = Literal["chosen", "not told apart", "worse", "over budget"]


@dataclass(frozen=True)
class Candidate:
    """A candidate: its latency on this machine, and the accuracy of its head.

    >>> candidate = Candidate("MobileNet", "keras", 21.0, (20.5, 22.0), "chosen", right=90, judged=100)
    >>> candidate.accuracy, [round(end, 2) for end in candidate.interval]
    (0.9, [0.83, 0.94])
    >>> candidate.to_dict()["verdict"]
    'chosen'
    """

    name: str
    """The name of the backbone, or the name of the folder or file that it came from."""
    runtime: str
    """The name of the runtime that executed it."""
    milliseconds: float
    """The median time for one of your images, alone, from the file to the embedding."""
    spread: tuple[float, float]
    """The first and the third quartile of these times."""
    verdict: Verdict = "not told apart"
    """``"chosen"``; ``"worse"`` if chance does not explain that it is less accurate than the chosen one, or than
    `beaten_by`; ``"not told apart"`` if chance may explain the difference. ``"over budget"`` if it takes too long; then
    its accuracy was not measured."""
    right: int = 0
    """Number of images that its cross-validated heads classified correctly."""
    judged: int = 0
    """Number of images that they classified: all, or fewer if it was stopped early; 0 if it is over the budget."""
    p_value: float | None = None
    """The probability that chance alone makes a difference to the chosen one at least as large, 0 to 1: McNemar's exact
    test, multiplied by the number of compared candidates (Bonferroni). None for the chosen one, and if not all images
    were classified."""
    beaten_by: str | None = None
    """The candidate that it cannot catch up with, so that it was stopped early; else None."""

    @property
    def accuracy(self) -> float | None:
        """The share of the judged images that were classified correctly, 0 to 1; None if none was judged."""
        return self.right / self.judged if self.judged else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The confidence interval of `accuracy`, 95 %, by Wilson; None if no image was judged."""
        return wilson(self.right, self.judged) if self.judged else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {**dataclasses.asdict(self), "accuracy": self.accuracy, "interval": self.interval}


def judge(
    timed: Sequence[Candidate],
    right: Mapping[str, NDArray[np.bool_]],
    beaten: Mapping[str, tuple[str, NDArray[np.bool_]]],
) -> list[Candidate]:
    """The candidates with their verdicts, the fastest first.

    Args:
        timed: What is known of each except its accuracy.
        right: Bool ``(N,)`` for each candidate that was judged by all images: which it classifies correctly.
        beaten: For each candidate that was stopped early, the one that beat it, and the same for the images that it was
            judged by.
    """
    timed = sorted(timed, key=lambda each: each.milliseconds)
    best = max((each for each in timed if each.name in right), key=lambda each: int(right[each.name].sum()))
    others = len(right) + len(beaten) - 1

    def judged(each: Candidate) -> Candidate:
        if each.name in beaten:
            by, found = beaten[each.name]
            return replace(each, verdict="worse", right=int(found.sum()), judged=len(found), beaten_by=by)
        if each.name not in right:
            return replace(each, verdict="over budget")
        found, theirs = right[each.name], right[best.name]
        each = replace(each, right=int(found.sum()), judged=len(found))
        if each.name == best.name:
            return replace(each, verdict="chosen")
        p_value = min(1.0, others * exact_mcnemar(int((theirs & ~found).sum()), int((found & ~theirs).sum())))
        return replace(each, verdict="worse" if p_value < LEVEL else "not told apart", p_value=p_value)

    return [judged(each) for each in timed]


def surely_worse(right: NDArray[np.bool_], seen: NDArray[np.bool_], leader: NDArray[np.bool_], candidates: int) -> bool:
    """Whether a candidate will be told apart from ``leader`` as the worse one, whatever it says of the other images.

    It is judged as if it named each image correctly that it was not judged by yet. In no other case is it right more
    often, or right where the leader is wrong more often, or wrong where the leader is right less often: so no other
    case gives a larger p-value.

    Args:
        right: Bool ``(N,)``: which images the candidate classified correctly.
        seen: Bool ``(N,)``: which images it was judged by.
        leader: Bool ``(N,)``: which images another candidate classifies correctly, which was judged by all.
        candidates: How many candidates are judged.

    >>> surely_worse(np.zeros(10, bool), np.arange(10) < 8, np.ones(10, bool), candidates=2)
    True
    >>> surely_worse(np.zeros(10, bool), np.arange(10) < 4, np.ones(10, bool), candidates=2)
    False
    """
    best_case = right | ~seen
    lost, won = int((leader & ~best_case).sum()), int((best_case & ~leader).sum())
    return lost > won and (candidates - 1) * exact_mcnemar(lost, won) < LEVEL
