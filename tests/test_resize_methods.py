"""A way to resize that only the spec knows yet raises wherever it is not written: nothing takes it for another one."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from PIL import Image

from pretrained_cnn import InvalidArgumentError, ResizePolicy, report, spec
from pretrained_cnn.bundle.formats import saved_model
from pretrained_cnn.images import resize as resizing


@pytest.fixture
def new(monkeypatch: pytest.MonkeyPatch) -> ResizePolicy:
    """The policy of a method that was added to the spec, and nowhere else."""
    from typing import Literal

    monkeypatch.setattr(spec, "ResizeMethod", Literal[(*get_args(spec.ResizeMethod), "stretch")])
    return ResizePolicy("stretch")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "use",
    [
        lambda policy: resizing.resize(Image.new("RGB", (64, 48)), (32, 32), policy),
        lambda policy: resizing.window((64, 48), (32, 32), policy),
        lambda policy: resizing.size_needed((32, 32), policy),
        lambda policy: saved_model._resize_in_tensorflow((32, 32), policy),
        lambda policy: report._describe(policy),
    ],
    ids=["resize", "window", "enough", "SavedModel", "report"],
)
def test_a_method_that_is_not_written_yet_raises_and_names_itself(new: ResizePolicy, use: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="method='stretch' is not available for "):
        use(new)


@pytest.mark.parametrize("method", get_args(spec.ResizeMethod))
def test_every_method_of_the_spec_is_written(method: Any) -> None:
    policy = ResizePolicy(method)
    assert resizing.resize(Image.new("RGB", (64, 48)), (32, 24), policy).shape == (32, 24, 3)
    left, top, right, bottom = resizing.window((64, 48), (32, 24), policy)
    assert left < right
    assert top < bottom
