"""Classify and embed images with Ray Data on several machines: `classify` and `embed`, and their actors.

Ray reads, distributes, retries and writes. This module converts images to rows as ``Classifier.stream``
does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pretrained_cnn._check import choice
from pretrained_cnn._process import limit_cores
from pretrained_cnn.bundle.store import looks_like_bundle_path
from pretrained_cnn.classifier import Classifier
from pretrained_cnn.errors import InvalidArgumentError, MissingDependencyError
from pretrained_cnn.images.batch import BATCH_SIZE
from pretrained_cnn.registry import get_spec
from pretrained_cnn.results.rows import EMBEDDINGS, to_arrow, to_rows
from pretrained_cnn.spec import ModelSpec

try:
    import pyarrow as pa
    import ray.data
except ImportError:
    raise MissingDependencyError("ray", extra="ray") from None

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BatchClassifier", "BatchEmbedder", "classify", "embed"]

BATCHES = 8
"""The number of the network's batches that an actor gets at once. While the network runs one, others are decoded."""

PATH = "path"
"""The column of names, as Ray's readers call it."""


class _OfBatches:
    """What both have: a classifier, and images by name out of a batch of Ray's."""

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelSpec = "Xception",
        *,
        column: str = "bytes",
        batch_size: int | None = None,
        cores: int | None = None,
        errors: Literal["raise", "return"] = "return",
        **arguments: Any,
    ) -> None:
        if cores is not None:
            limit_cores(cores)
        found = _find(model)
        make: Any = Classifier if isinstance(found, ModelSpec) else Classifier.load
        self._classifier: Classifier = make(found, **arguments)
        self._column = column
        self._how: dict[str, Any] = {"batch_size": batch_size, "workers": cores, "errors": errors}

    def _images(self, batch: Mapping[str, NDArray[Any]]) -> Iterable[Any]:
        """The images, or ``(name, image)`` pairs."""
        images = batch.get(self._column)
        if images is None:
            raise InvalidArgumentError(f"column={self._column!r} is not in the dataset, which has {', '.join(batch)}")
        if PATH in batch:
            return zip(map(str, batch[PATH]), images, strict=True)
        if not all(isinstance(image, str) for image in images):
            raise InvalidArgumentError(
                f"the images of column={self._column!r} have no names: read them with include_paths=True, or rename "
                f"a column to {PATH!r}"
            )
        return images


class BatchClassifier(_OfBatches):
    """A callable class for ``Dataset.map_batches``: converts a batch of images to the rows of ``pretrained-cnn classify
    --output``.

    Args:
        model: A name that ``list_models`` gives, a ``ModelSpec``, or the path of a bundle.
        top: How many classes to name.
        min_score: As for ``Classifier.predict``.
        column: As for `classify`.
        batch_size: As for `classify`.
        cores: The number of cores for decoding and for the network; by default all cores of the process.
        errors: As for `classify`.
        **arguments: Go to ``Classifier``, or for a bundle to ``Classifier.load``.

    A Ray actor makes one instance when it starts, and so has one network. Ray sends these arguments and the name of
    this class to the actor, but no network.

    >>> import numpy as np
    >>> name = BatchClassifier("EfficientNetLite0", column="path", top=1)
    >>> name({"path": np.array(["examples/images/clock.png", "no.jpg"])}).select(["label", "error"]).to_pylist()
    [{'label': 'analog_clock', 'error': None}, {'label': None, 'error': 'the file does not exist'}]
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelSpec = "Xception",
        *,
        top: int = 5,
        min_score: float | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(model, **arguments)
        self._top, self._min_score = top, min_score

    def __call__(self, batch: Mapping[str, NDArray[Any]]) -> pa.Table:
        """The rows, with the columns of ``to_frame``. Raises InvalidArgumentError if ``column`` is not in the batch."""
        results = self._classifier.stream(self._images(batch), top=self._top, min_score=self._min_score, **self._how)
        return to_arrow(row for result in results for row in to_rows(result))


class BatchEmbedder(_OfBatches):
    """For ``Dataset.map_batches``: from a batch of images to a row each, with its embedding or its error.

    Args:
        model: As for `BatchClassifier`.
        layer: As for ``Classifier.embed``.
        column: As for `classify`.
        batch_size: As for `classify`.
        cores: As for `BatchClassifier`.
        errors: As for `classify`.
        **arguments: As for `BatchClassifier`.

    >>> import numpy as np
    >>> see = BatchEmbedder("EfficientNetLite0", column="path")
    >>> table = see({"path": np.array(["examples/images/clock.png", "no.jpg"])})
    >>> table.column_names, table["embedding"].null_count, len(table["embedding"][0])
    (['source', 'embedding', 'error'], 1, 1280)
    >>> table["error"].to_pylist()
    [None, 'the file does not exist']
    """

    def __init__(
        self, model: str | os.PathLike[str] | ModelSpec = "Xception", *, layer: str | None = None, **arguments: Any
    ) -> None:
        super().__init__(model, **arguments)
        self._layer = layer

    def __call__(self, batch: Mapping[str, NDArray[Any]]) -> pa.Table:
        """Columns ``source``, ``embedding``, float32 of a fixed width, and ``error``; of the last two one is empty."""
        (width,) = self._classifier.engine.open(("embedding",), self._layer).widths
        results = self._classifier.embed_stream(self._images(batch), layer=self._layer, **self._how)
        return to_arrow((row for result in results for row in EMBEDDINGS.rows(result)), EMBEDDINGS, width)


def classify(
    dataset: ray.data.Dataset,
    model: str | os.PathLike[str] | ModelSpec = "Xception",
    *,
    runtime: str | None = None,
    top: int = 5,
    min_score: float | None = None,
    batch_size: int | None = None,
    concurrency: int | tuple[int, int] | None = None,
    num_cpus: int = 1,
    num_gpus: float | None = None,
    column: str = "bytes",
    errors: Literal["raise", "return"] = "return",
    **arguments: Any,
) -> ray.data.Dataset:
    """Classify the images of a dataset. Returns a lazy dataset of rows with the columns of ``to_frame``.

    Args:
        dataset: Images in ``column``, and their names in a column ``path``, as Ray's readers give it with
            ``include_paths=True``; paths need no other name.
        model: A name that ``list_models`` gives, a ``ModelSpec``, or the path of a bundle, which must be the same on
            each machine. Models that are registered here need not be registered there.
        runtime: As for ``Classifier``, or for a bundle as for ``Classifier.load``.
        top: How many classes to name.
        min_score: As for ``Classifier.predict``.
        batch_size: The number of images in a batch of the network, as for ``Classifier.stream``. An actor gets
            eight times as many.
        concurrency: The number of actors, or the minimum and the maximum; by default as many as fit into the cluster.
        num_cpus: The cores that an actor reserves. The number of threads with which it decodes and its network
            computes.
        num_gpus: The GPUs that an actor reserves; a fraction is possible.
        column: The column of the images: bytes as of ``read_binary_files``, arrays as of ``read_images``, or paths and
            addresses, which the workers open.
        errors: ``"return"`` gives a bad image a row with its error; ``"raise"`` ends the run.
        **arguments: Go to ``Classifier``, or for a bundle to ``Classifier.load``: ``weights``, ``image_policy`` and
            others.

    Nothing runs until the rows are requested. Raises UnknownModelError, or InvalidArgumentError for invalid arguments.
    Ray raises errors that only an actor can find.
    """
    arguments |= {"top": top, "min_score": min_score, "batch_size": batch_size, "column": column, "errors": errors}
    return _map(dataset, BatchClassifier, model, runtime, arguments, concurrency, num_cpus, num_gpus)


def embed(
    dataset: ray.data.Dataset,
    model: str | os.PathLike[str] | ModelSpec = "Xception",
    *,
    layer: str | None = None,
    runtime: str | None = None,
    batch_size: int | None = None,
    concurrency: int | tuple[int, int] | None = None,
    num_cpus: int = 1,
    num_gpus: float | None = None,
    column: str = "bytes",
    errors: Literal["raise", "return"] = "return",
    **arguments: Any,
) -> ray.data.Dataset:
    """Embed the images of a dataset. Returns a lazy dataset with a row for each image.

    The columns are ``source``, ``embedding``, float32 of a fixed width, and ``error``; of the last two one is empty.
    ``layer`` is as for ``Classifier.embed``, everything else as for `classify`.
    """
    arguments |= {"layer": layer, "batch_size": batch_size, "column": column, "errors": errors}
    return _map(dataset, BatchEmbedder, model, runtime, arguments, concurrency, num_cpus, num_gpus)


def _map(
    dataset: ray.data.Dataset,
    kind: type[_OfBatches],
    model: str | os.PathLike[str] | ModelSpec,
    runtime: str | None,
    arguments: dict[str, Any],
    concurrency: int | tuple[int, int] | None,
    num_cpus: int,
    num_gpus: float | None,
) -> ray.data.Dataset:
    choice("errors", arguments["errors"], ("raise", "return"))
    if runtime is not None:
        arguments["runtime"] = runtime
    if isinstance(concurrency, tuple):
        actors = ray.data.ActorPoolStrategy(min_size=concurrency[0], max_size=concurrency[1])
    else:
        actors = ray.data.ActorPoolStrategy(size=concurrency)
    return dataset.map_batches(
        kind,
        fn_constructor_args=(_find(model),),
        fn_constructor_kwargs={**arguments, "cores": num_cpus},
        batch_size=BATCHES * (arguments["batch_size"] or BATCH_SIZE),
        compute=actors,
        num_cpus=num_cpus,
        num_gpus=num_gpus,
    )


def _find(model: str | os.PathLike[str] | ModelSpec) -> ModelSpec | str:
    """A spec, or the path of a bundle, that mean the same in a process with another registry and another folder."""
    if isinstance(model, ModelSpec):
        return model
    name = os.fspath(model)
    return os.path.abspath(name) if looks_like_bundle_path(name) else get_spec(name)
