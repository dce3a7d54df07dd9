"""Changing images at random, for training: differently in each epoch to fine-tune, or once, into copies that are
embedded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Generator
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._check import brief
from pretrained_cnn.engine import Engine, raise_first
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.images.batch import Batch
from pretrained_cnn.transfer.data import Images
from pretrained_cnn.transfer.embeddings import Store


def augmentation(augment: Any) -> Any:
    """The layer that changes images, RGB in 0..255, while training; None for none. Raises InvalidArgumentError."""
    if augment is not None and augment != "default" and not isinstance(augment, keras.Layer):
        raise InvalidArgumentError(f'augment={augment!r} is not known; give "default", a keras layer or None')
    if augment != "default":
        return augment
    return keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomZoom((-0.15, 0.0), fill_mode="reflect"),
            keras.layers.RandomTranslation(0.05, 0.05, fill_mode="reflect"),
            keras.layers.RandomBrightness(0.1, value_range=(0, 255)),
            keras.layers.RandomContrast(0.1, value_range=(0, 255)),
        ]
    )


def check_augmentation(layer: keras.Layer, size: tuple[int, int], channels: int) -> None:
    """Raise InvalidArgumentError for a layer that does not give images of the same size, in 0..255, of such images."""
    probe = np.random.default_rng(0).integers(0, 256, (1, *size, channels)).astype(np.float32)
    try:
        changed = keras.ops.convert_to_numpy(layer(probe, training=True))
    except Exception as error:  # each layer raises its own
        raise InvalidArgumentError(
            f"augment=...: the layer does not take images of shape {probe.shape}: {brief(error)}"
        ) from None
    if changed.shape != probe.shape:
        raise InvalidArgumentError(
            f"augment=...: the layer gives shape {changed.shape} for images of shape {probe.shape}; it must "
            "keep their size"
        )
    if not changed.max() > 1:
        raise InvalidArgumentError(
            f"augment=...: the layer gives values from {changed.min():g} to {changed.max():g} for an image in 0 to "
            "255; leave out what scales the values, which is part of the network here"
        )


def augmented(layer: Any, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images ``(n, H, W, channels)``, each changed at random; as they are without a layer."""
    if layer is None:
        return pixels
    changed = keras.ops.convert_to_numpy(layer(pixels.astype(np.float32), training=True))
    return np.asarray(np.clip(np.rint(changed), 0, 255), np.uint8)


def changed_copies(layer: Any, pixels: NDArray[np.uint8], copies: int, seed: int) -> NDArray[np.uint8]:
    """``(copies, H, W, channels)``: an image ``(H, W, channels)``, changed ``copies`` times; the same for a seed."""
    for i, variable in enumerate(layer.variables):
        if variable.name == "seed_generator_state":
            variable.assign(np.array([seed, i], variable.dtype))
    return augmented(layer, np.repeat(pixels[np.newaxis], copies, axis=0))


def embed_copies(
    engine: Engine, images: Images, augment: Any, copies: int, seed: int, store: Store
) -> NDArray[np.float32]:
    """The embeddings ``(n, copies, D)`` of changed copies of each image.

    They depend on the image, the layer, ``copies`` and ``seed``, and on no other image. ``store`` keeps those of layers
    of Keras; of what other layers do nothing lasting is known. The images are known to be readable.
    """
    layer = augmentation(augment)
    description = describe(layer)
    facts = f"{copies} {seed} {description}"
    keys = [
        [
            None if digest is None or description is None else hashlib.sha256(digest + f"{i} {facts}".encode()).digest()
            for i in range(copies)
        ]
        for digest in images.digests
    ]
    known = store.get([key for row in keys for key in row])
    missing = [i for i, row in enumerate(keys) if not all(key in known for key in row)]
    found: dict[tuple[int, int], NDArray[np.float32]] = {}
    seeds = [
        int.from_bytes(hashlib.sha256(name_of(images, i) + f"{copies} {seed}".encode()).digest()[:4], "little") >> 1
        for i in missing
    ]

    def batches() -> Generator[Batch]:
        waiting = iter(seeds)
        with contextlib.closing(engine.batches_of(images.items[i] for i in missing)) as stream:
            for batch in stream:
                raise_first(batch.errors)
                changed = [changed_copies(layer, each, copies, next(waiting)) for each in batch.pixels]
                names = [name for name in batch.names for _ in range(copies)]
                yield Batch(names, [None] * len(names), np.concatenate(changed), [None] * len(names))

    places = [(i, copy) for i in missing for copy in range(copies)]
    done = 0
    with contextlib.closing(engine.rows(batches(), ("embedding",), errors="raise")) as stream:
        for rows in stream:
            of_batch = places[done : done + len(rows.names)]
            found |= zip(of_batch, rows.outputs[0], strict=True)
            store.put([(keys[i][copy], found[i, copy]) for i, copy in of_batch])
            done += len(rows.names)

    def vector(i: int, copy: int) -> NDArray[np.float32]:
        key = keys[i][copy]
        return found[i, copy] if (i, copy) in found or key is None else known[key]

    return np.stack([np.stack([vector(i, copy) for copy in range(copies)]) for i in range(len(keys))])


def describe(layer: Any) -> str | None:
    """What a layer does, as text that is the same in every process; None if it has code that is not Keras's."""
    leaves = layer.layers if isinstance(layer, keras.Sequential) else [layer]
    if not all(type(leaf).__module__.startswith("keras.") for leaf in leaves):
        return None
    facts = [[type(leaf).__name__, {**leaf.get_config(), "name": None}] for leaf in leaves]
    return f"{keras.__version__} {json.dumps(facts, sort_keys=True, default=repr)}"


def name_of(images: Images, i: int) -> bytes:
    """What tells one image from the others: its digest, or its name."""
    return images.digests[i] or images.items[i].name.encode()
