"""What results depend on, by content: what a run that continues compares."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pretrained_cnn import identity
from pretrained_cnn.labels import Label

if TYPE_CHECKING:
    from pretrained_cnn.engine import Engine

__all__ = ["labels_setting", "settings_of"]


def settings_of(engine: Engine, before: Mapping[str, Any] = {}, **asked: Any) -> dict[str, Any]:
    """Plain data that differs where results may: the network by its weights and code, its labels, its runtime, how
    images are read and resized, and what was ``asked`` for.

    ``before`` are the settings of the run that continues: its runtime is taken again where ``"auto"`` leaves it open.
    Builds the network where no file stands for its weights.
    """
    engine.take_again(before.get("runtime"))
    spec = engine.spec
    return {
        "model": spec.name,
        **_network(engine),
        "labels": labels_setting(spec.labels),
        **({"multi_label": True} if spec.multi_label else {}),
        "decode": None if spec.labels else _function(spec.decode),
        "preprocess": _function(spec.preprocess),
        "input_size": list(spec.input_size),
        "resize": asdict(spec.resize),
        "image_policy": engine.image_policy.to_dict(),
        "runtime": engine.runtime_identity(),
        **asked,
    }


def labels_setting(labels: Sequence[Label]) -> str | None:
    """What the settings say of labels: how many there are, and a checksum of them in their order; None without any."""
    return f"{len(labels):,} labels, {_digest([list(label) for label in labels])}" if labels else None


def _network(engine: Engine) -> Mapping[str, Any]:
    """The network by the checksum of its bundle, by its weights file and builder, or by its graph and weights."""
    if engine.bundle is not None:
        return {"weights": f"bundle, {engine.bundle.digest()[:16]}"}
    spec, weights, options = engine.spec, engine.weights, engine.options
    found = None
    if not engine.is_built or weights is not None:
        try:
            found = identity.network_by_file(spec, weights, options)
        except OSError:  # a file that is not downloaded yet
            engine.backbone()
            found = identity.network_by_file(spec, weights, options)
    if found is None:
        found = identity.network_by_graph(engine.backbone().model)
    what = "imagenet" if weights == "imagenet" else "random" if weights is None else "file"
    return {"weights": f"{what}, {_digest(found)}"}


def _function(function: Any) -> str | None:
    """A function by its name and code; of one that cannot be told apart so, the name of its type."""
    if function is None:
        return None
    return identity.function_identity(function) or type(function).__qualname__


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=repr).encode()).hexdigest()[:16]
