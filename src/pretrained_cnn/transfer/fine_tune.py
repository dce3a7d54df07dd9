"""Training the last layers of the network itself, end to end, on the images."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._compat import flatten_layers
from pretrained_cnn.backbones.build import Backbone
from pretrained_cnn.backbones.serving import serving_graph
from pretrained_cnn.engine import raise_first
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.images.batch import batches
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.runtimes.keras import KerasRuntime
from pretrained_cnn.transfer.augmenting import augmentation, augmented
from pretrained_cnn.transfer.data import Images
from pretrained_cnn.transfer.fit import Step, fit
from pretrained_cnn.transfer.heads import measure
from pretrained_cnn.transfer.settings import Schedule


def layers_to_unfreeze(trunk: keras.Model, unfreeze: int | str) -> list[Any]:
    """The layers of ``trunk`` that ``unfreeze`` names, the ones to train.

    A number counts from the end the layers that have weights, BatchNormalization not counted; a name stands for that
    layer and all behind it. Raises InvalidArgumentError if there are fewer layers, or none of that name.
    """
    leaves = leaf_layers(trunk)
    if isinstance(unfreeze, str):
        names = [layer.name for layer in leaves]
        if unfreeze not in names:
            near = difflib.get_close_matches(unfreeze, names, n=3) or names[-3:]
            raise InvalidArgumentError(
                f"unfreeze={unfreeze!r}: {trunk.name} has no layer of that name; "
                f"did you mean {' or '.join(map(repr, near))}?"
            )
        leaves = leaves[names.index(unfreeze) :]
    learning = [layer for layer in leaves if layer.weights and not _is_batch_norm(layer)]
    if isinstance(unfreeze, str):
        return learning
    if unfreeze > len(learning):
        raise InvalidArgumentError(
            f"unfreeze={unfreeze}: {trunk.name} has {len(learning)} layers with weights, BatchNormalization not counted"
        )
    return learning[-unfreeze:]


def fine_tune(
    backbone: Backbone,
    layers: Sequence[Any],
    train: Images,
    validation: Images,
    *,
    image_policy: ImagePolicy,
    augment: Any,
    schedule: Schedule,
    seed: int,
    checkpoint: Path | None,
) -> list[dict[str, Any]]:
    """Train ``layers`` and the head of ``backbone`` in place, with the preprocessing that serves; a row each epoch.

    ``layers`` are layers of the network. BatchNormalization stays
    in inference mode: neither its statistics nor its scale and offset change. The log loss on ``validation`` decides
    which epoch's weights stay.
    """
    layer, spec = augmentation(augment), backbone.spec
    with _trainable_only(backbone.model, layers):
        graph = serving_graph(backbone)

        def pixels(part: Images, order: NDArray[np.intp]) -> Iterator[NDArray[np.uint8]]:
            chosen = (part.items[i] for i in order)
            stream = batches(
                chosen,
                spec.input_size,
                spec.resize,
                image_policy,
                channels=spec.channels,
                batch_size=schedule.batch_size,
            )
            with contextlib.closing(stream):
                for batch in stream:
                    raise_first(batch.errors)  # each could be read before
                    yield batch.pixels

        def steps(epoch: int) -> Iterator[Step]:
            order = np.random.default_rng([seed, epoch]).permutation(len(train.items))
            start = 0
            for batch in pixels(train, order):
                which = order[start : start + len(batch)]
                start += len(batch)
                yield Step(augmented(layer, batch), train.targets[which], train.weights[which])

        runtime = KerasRuntime(graph, ["scores"])

        def on_validation() -> tuple[float, float]:
            scores = [runtime.run(batch)[0] for batch in pixels(validation, np.arange(len(validation.items)))]
            return measure(np.concatenate(scores), validation.targets, validation.weights)

        return fit(
            keras.Model(graph.inputs, graph.output["scores"]),
            steps,
            on_validation,
            schedule,
            kept=[weight for layer in layers for weight in layer.weights],
            stage="fine-tune",
            classes=len(spec.labels),
            seed=seed,
            states=layer.variables if layer is not None else (),
            checkpoint=checkpoint,
        )


@contextlib.contextmanager
def _trainable_only(model: keras.Model, layers: Sequence[Any]) -> Iterator[None]:
    """Nothing but ``layers`` is trainable for a while; BatchNormalization is not, wherever it is."""
    every = flatten_layers(model)
    before = [layer.trainable for layer in every]
    for layer in leaf_layers(model):
        layer.trainable = any(layer is other for other in layers)
    for layer in every:
        if _is_batch_norm(layer):
            layer.trainable = False
    try:
        yield
    finally:
        for layer, trainable in zip(every, before, strict=True):
            layer.trainable = trainable


def leaf_layers(model: keras.Model) -> list[Any]:
    """The layers in the order of the network, in place of a model within it its own."""
    found: list[Any] = []
    for layer in model.layers:
        found += leaf_layers(layer) if isinstance(layer, keras.Model) else [layer]
    return found


def _is_batch_norm(layer: Any) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)
