"""The warnings of this library that a block issues, whatever other packages say meanwhile."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from pretrained_cnn import PretrainedCNNWarning


@contextlib.contextmanager
def messages() -> Iterator[list[str]]:
    """The messages, complete when the block ends. Other warnings are dropped: ``pytest.warns`` issues them again."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield found
    found += [str(each.message) for each in caught if issubclass(each.category, PretrainedCNNWarning)]
