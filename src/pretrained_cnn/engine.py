"""`Engine` builds or opens a network, runs images through it, and checks all outputs."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import logging
import os
import threading
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypedDict

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from pretrained_cnn import _settings, identity
from pretrained_cnn._check import MAX_THREADS, choice, listed, similar, whole_number
from pretrained_cnn._lazy import Reference
from pretrained_cnn._process import import_keras, random_kept
from pretrained_cnn._progress import report
from pretrained_cnn._types import ImagesLike
from pretrained_cnn.bundle.child import NoChildError
from pretrained_cnn.bundle.formats import FORMATS, Dtype, get_format
from pretrained_cnn.bundle.manifest import ExportCheck
from pretrained_cnn.bundle.store import Bundle, check_runtime, open_bundle, write_bundle, write_converted, write_copy
from pretrained_cnn.errors import (
    BundleError,
    ImageError,
    InvalidArgumentError,
    InvalidSpecError,
    MissingDependencyError,
    WeightsError,
)
from pretrained_cnn.foreign import files
from pretrained_cnn.foreign.files import ModelFile, open_file
from pretrained_cnn.images.batch import Batch, batches, load
from pretrained_cnn.images.policy import ImagePolicy, check_policy
from pretrained_cnn.images.sources import Item, iter_items
from pretrained_cnn.labels import Prediction
from pretrained_cnn.models import find_model
from pretrained_cnn.runtimes import PRECISIONS, Precision, Runtime, RuntimeSpec, get_runtime, runtime_for
from pretrained_cnn.runtimes.auto import AUTO, Candidate, candidates, quickest, recall, remember
from pretrained_cnn.scores import EXACT, NOT_FINITE, ROUGH, finite, problem
from pretrained_cnn.spec import HeatMapMethod, ModelSpec, Output
from pretrained_cnn.weights import ensure

if TYPE_CHECKING:
    from pretrained_cnn.backbones.build import Backbone
    from pretrained_cnn.backbones.explainer import Explainer

__all__ = ["Engine", "Network", "Rows", "check_outputs", "open_model"]


log = logging.getLogger(__name__)

ARGUMENTS = (
    *("weights", "runtime", "precision", "quantize", "labels", "resize", "input_size", "image_policy", "threads"),
    *("follow_links", "epochs", "learning_rate", "validation", "unfreeze"),
)
"""The arguments of `Classifier` and `Classifier.train` that may have been meant by an option of a builder."""

OPTIONS = {
    *("alpha", "classes", "classifier_activation", "depth_multiplier", "dropout", "dropout_rate"),
    *("include_preprocessing", "include_top", "input_shape", "input_tensor", "minimalistic", "name", "pooling"),
}
"""The options of the builders of the catalog."""

Opened = tuple[Runtime, list[tuple[int, ...]]]
"""A runtime, and the shape of each of its outputs for one image."""


class Rows(NamedTuple):
    """The outputs of the network for a batch of images."""

    names: list[str]
    """The names of all images of the batch, in order."""
    errors: list[ImageError | None]
    """For each name the error of its image, or None."""
    images: list[str | None]
    """For each name the path or address of its image, or None for an image in memory."""
    outputs: tuple[NDArray[np.float32], ...]
    """For each requested output, float32 ``(n, width)``: a row for each image without an error, in order."""


class Network:
    """A serving graph that a runtime has opened for certain outputs. Several threads may use it at the same time."""

    def __init__(
        self,
        spec: ModelSpec,
        outputs: tuple[str, ...],
        runtime: Runtime,
        shapes: Sequence[tuple[int, ...]],
        tolerance: float = EXACT,
    ) -> None:
        self.outputs = outputs
        """The names of the outputs, in the order in which `run` gives them."""
        self.shapes = tuple(shapes)
        """The shape of each output for one image: ``(width,)`` for scores and embeddings, ``(h, w, c)`` for a map."""
        self._spec = spec
        self._runtime = runtime
        self._tolerance = tolerance

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each output, ``C`` of ``(N, C)``."""
        return tuple(shape[-1] for shape in self.shapes)

    def run(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """Run a batch: uint8 ``(N, H, W, channels)``, RGB or gray, to a float32 array ``(N, *shape)`` for each output.

        Raises InvalidSpecError if an output is not what the spec says.
        """
        found, faults = self._run(pixels)
        for fault in faults:
            if fault is not None:
                raise InvalidSpecError(f"{self._spec.name}: {fault}")
        return found

    def answer(self, batch: Batch) -> tuple[Batch, tuple[NDArray[np.float32], ...]]:
        """Run a batch, and leave out the images with faulty outputs: each gets an error.

        Returns the batch of the remaining images and, for each output, a row for each of them.
        """
        found, faults = self._run(batch.pixels)
        if not any(faults):
            return batch, found
        good = [fault is None for fault in faults]
        reasons = iter(faults)
        errors = [
            error or (None if (fault := next(reasons)) is None else ImageError(name, fault))
            for name, error in zip(batch.names, batch.errors, strict=True)
        ]
        return batch._replace(errors=errors, pixels=batch.pixels[good]), tuple(array[good] for array in found)

    def close(self) -> None:
        """Free the memory and the threads of the runtime. Closing twice is allowed."""
        self._runtime.close()

    def _run(self, pixels: NDArray[np.uint8]) -> tuple[tuple[NDArray[np.float32], ...], list[str | None]]:
        if not len(pixels):
            return tuple(np.empty((0, *shape), np.float32) for shape in self.shapes), []
        found = self._runtime.run(pixels)
        shapes = [(len(pixels), *shape) for shape in self.shapes]
        return found, check_outputs(self._spec, self.outputs, found, shapes, self._tolerance)


def check_outputs(
    spec: ModelSpec,
    outputs: Sequence[str],
    found: Sequence[NDArray[np.float32]],
    shapes: Sequence[tuple[int, ...]],
    tolerance: float = EXACT,
) -> list[str | None]:
    """Check the outputs of a network. All outputs of all networks pass through this function.

    Args:
        spec: What the network's outputs must be.
        outputs: The names of the outputs.
        found: An array for each of them.
        shapes: The shape that each of them must have, the number of images first.
        tolerance: Maximum difference between 1 and the sum of the probabilities of one image.

    Returns, for each image, the problem of its outputs, or None. Raises InvalidSpecError for arrays of a wrong shape,
    and for scores of labels that are not probabilities: both are errors of the network, not of an image.
    """
    faults: list[str | None] = [None] * shapes[0][0]
    for name, array, shape in zip(outputs, found, shapes, strict=True):
        if array.shape != shape:
            raise InvalidSpecError(f"{spec.name} gives {name} of shape {array.shape}; expected {shape}")
        if not np.isfinite(array.sum()):  # else all are, found in one pass without a temporary array
            good = finite(array)
            for row in np.flatnonzero(~good):
                faults[row] = NOT_FINITE
            array = array[good]
        if name == "scores" and spec.labels:
            fault = problem(array, multi_label=spec.multi_label, tolerance=tolerance)
            if fault is not None:
                raise InvalidSpecError(f"{spec.name}: {fault}")
    return faults


class Engine:
    """A network, with its runtime and its image policy.

    Args:
        spec: The description of the network.
        weights: ``"imagenet"``, the path of a weights file, or None for random weights.
        options: Arguments for the spec's builder.
        runtime: The name of the runtime that executes the network, or ``"auto"`` for the fastest.
        precision: What the runtime computes in, or ``"auto"`` for the fastest of floating-point numbers.
        quantize: Images for quantization, a source as `batches` takes it, for ``precision="int8"``.
        image_policy: How images are read.
        threads: The number of threads that the runtime uses; by default one for each core that the process may use.
        backbone: The network, if it is already built.
        bundle: The bundle that the network comes from, if there is one.

    The network is built on first use. Several threads may use one engine at the same time.

    Raises InvalidArgumentError for invalid arguments, WeightsError if the weights file does not exist, and
    MissingDependencyError if the runtime is not installed.

    >>> from pretrained_cnn import get_spec
    >>> engine = Engine(get_spec("EfficientNetLite0"))
    >>> engine.open().widths
    (1000,)
    >>> for rows in engine.rows(engine.batches(["examples/images/clock.png", "no.jpg"])):
    ...     print(rows.names, rows.outputs[0].shape)
    ['examples/images/clock.png', 'no.jpg'] (1, 1000)
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        weights: str | os.PathLike[str] | None = "imagenet",
        options: Mapping[str, Any] = {},
        runtime: str = "keras",
        precision: Precision | Literal["auto"] = "float32",
        quantize: Any = None,
        image_policy: ImagePolicy = ImagePolicy(),
        threads: int | None = None,
        backbone: Backbone | None = None,
        bundle: Bundle | None = None,
    ) -> None:
        _settings.check()
        if weights is not None and weights != "imagenet" and not os.path.isfile(weights):
            raise WeightsError(
                f"weights={os.fspath(weights)!r}: no such file; "
                'give "imagenet", the path of a weights file, or None for random weights'
            )
        self.spec = spec
        self.weights = weights if weights is None else os.fspath(weights)
        self.options = dict(options)
        self.asked: tuple[str, Precision | Literal["auto"]] = runtime, precision
        """The runtime and the precision as they were asked for, ``"auto"`` included."""
        self._taken: tuple[RuntimeSpec, Precision] | None = None
        choice("precision", precision, (*PRECISIONS, AUTO))
        if runtime != AUTO:
            spec_ = get_runtime(runtime)
            spec_.require()
            spec_.check_threads(threads)
            if precision != "auto":
                spec_.check_precision(precision)
                self._taken = spec_, precision
        self.threads = None if threads is None else whole_number("threads", threads, most=MAX_THREADS)
        if precision == "int8" and quantize is None:
            raise InvalidArgumentError(
                'precision="int8" needs quantize=..., about 300 images of the kind to be classified'
            )
        if precision != "int8" and quantize is not None:
            raise InvalidArgumentError(f'quantize=... is for precision="int8", not for precision={precision!r}')
        self.quantize = quantize
        self._quantize_pixels: NDArray[np.uint8] | None = None
        self.image_policy = check_policy(image_policy)
        self.bundle = bundle
        self._backbone = backbone
        self._lock = threading.RLock()
        self._networks: dict[tuple[str, ...], Network] = {}
        self._explainers: dict[HeatMapMethod, Explainer] = {}

    @classmethod
    def from_bundle(
        cls,
        path: str | os.PathLike[str],
        runtime: str | None = None,
        image_policy: ImagePolicy | None = None,
        *,
        precision: Precision | Literal["auto"] = "float32",
        quantize: Any = None,
        threads: int | None = None,
        follow_links: bool = False,
        temporary: bool = False,
    ) -> Self:
        """The engine of the network in a bundle.

        ``runtime`` replaces the runtime of the bundle's format, ``image_policy`` the saved image policy. A
        ``temporary`` bundle is removed when nothing uses it anymore. Raises BundleError, which names the file, if a
        single byte has changed.
        """
        bundle = open_bundle(Path(path), follow_links=follow_links)
        if temporary:
            bundle = bundle.temporary()
        format = bundle.manifest.format
        how: dict[str, Any] = {
            "runtime": runtime_for(format).name if runtime is None else runtime,
            "precision": precision,
            "image_policy": bundle.image_policy if image_policy is None else image_policy,
            "threads": threads,
            "bundle": bundle,
        }
        if format == "keras":
            if how["runtime"] != AUTO:
                get_runtime(how["runtime"]).require()
            with keras_is_needed():
                import_keras()
                from pretrained_cnn.backbones.serving import open_graph

            backbone = open_graph(bundle.load_graph(), bundle.spec, has_head="scores" in bundle.outputs)
            return cls(backbone.spec, quantize=quantize, backbone=backbone, **how)
        if precision == "int8" and bundle.manifest.dtype == "int8":
            raise InvalidArgumentError(f"{path} is quantized already; leave precision out")
        if quantize is not None or precision == "int8":
            name = bundle.spec.name if temporary else path
            way_out = "leave precision out" if temporary else "save the classifier with quantize=..., and load that"
            raise InvalidArgumentError(
                f"quantize=... takes a network in Keras, and {name} is of format={format!r}; {way_out}"
            )
        if how["runtime"] != AUTO:
            check_runtime(bundle, get_runtime(how["runtime"]))
        engine = cls(bundle.spec, **how)
        engine.open(bundle.outputs)  # so that a model that cannot be loaded is reported here
        return engine

    @property
    def runtime(self) -> RuntimeSpec:
        """The runtime that executes the network. With ``"auto"``, the first access measures which one is the
        fastest.
        """
        return self._take()[0]

    @property
    def precision(self) -> Precision:
        """The precision of the runtime. With ``"auto"``, the first access measures which one is the fastest."""
        return self._take()[1]

    def backbone(self) -> Backbone:
        """The network in Keras, built on first use.

        Raises BundleError for a bundle of a format that has only a graph for a runtime.
        """
        with self._lock:
            if self._backbone is None:
                if self.bundle is not None:
                    if self.bundle.adapter is not None and self.bundle.adapter.reason is not None:
                        raise BundleError(
                            f"{self.spec.name} is a network of Keras 2 that cannot be rebuilt in Keras 3: "
                            f"{self.bundle.adapter.reason}; a graph of it is run, which gives "
                            f"{' and '.join(self.bundle.outputs)} only, so that it cannot be explained or fine-tuned"
                        )
                    if self.bundle.adapter is not None:
                        raise BundleError(
                            f"{self.spec.name} is a graph of format={self.bundle.manifest.format!r} and gives "
                            f"{' and '.join(self.bundle.outputs)} only; to explain, to fine-tune or to see features, "
                            "open the file of Keras that it was made from"
                        )
                    raise BundleError(
                        f"{self.bundle.path} is of format={self.bundle.manifest.format!r} and gives "
                        f"{' and '.join(self.bundle.outputs)} only; what else is in the network is in a bundle of "
                        'format="keras"'
                    )
                with keras_is_needed():
                    import_keras()
                    from pretrained_cnn.backbones.build import build

                self._backbone = build(self.spec, weights=self.weights, options=self.options)
            return self._backbone

    @property
    def graph(self) -> Bundle | None:
        """The bundle that runs without a network in Keras; None for a network that Keras can build.

        >>> from pretrained_cnn import get_spec
        >>> Engine(get_spec("EfficientNetLite0")).graph is None
        True
        """
        return self.bundle if self._backbone is None else None

    @property
    def is_built(self) -> bool:
        """Whether the network is built. The user may have changed it since its weights were read."""
        return self._backbone is not None

    def open(self, outputs: Sequence[Output] = ("scores",), layer: str | None = None) -> Network:
        """The network, opened by the runtime for ``outputs``; it is opened once and kept until `close`.

        ``layer`` is the name of a layer whose output is the embedding. Raises InvalidArgumentError if no such layer
        exists, WeightsError for scores of weights without a head, BundleError for outputs that a bundle does not give.
        """
        names = tuple(outputs)
        self._take()  # this may open it
        return self._once(
            ("outputs", *names, layer or ""),
            lambda: Network(self.spec, names, *self._open(names, layer), self._tolerance()),
        )

    def open_features(self, layers: Sequence[str]) -> Network:
        """The network, opened for the maps ``(N, h, w, c)`` of ``layers``, always with Keras.

        Raises InvalidArgumentError if no such layer exists or its output is not a map, BundleError for a bundle of a
        format that has only a graph for a runtime.
        """
        names = tuple(dict.fromkeys([layers] if isinstance(layers, str) else layers))
        if not names:
            raise InvalidArgumentError("layers=[] names no layer; give names of clf.keras_model.layers")
        return self._once(("features", *names), lambda: self._open_features(names))

    def batches(
        self, source: ImagesLike, batch_size: int | None = None, workers: int | None = None, prefetch: int | None = None
    ) -> Generator[Batch]:
        """Decode and resize the images of ``source`` in parallel.

        The arguments are those of `pretrained_cnn.Classifier.stream`.
        """
        speed = check_speed(batch_size, workers, prefetch)
        return self.batches_of(iter_items(source, self.image_policy), **speed)

    def batches_of(self, images: Iterable[Item], **speed: Unpack[Speed]) -> Generator[Batch]:
        """Decode and resize images that are already items, in parallel."""
        spec = self.spec
        return batches(images, spec.input_size, spec.resize, self.image_policy, channels=spec.channels, **speed)

    def rows(
        self,
        batches: Generator[Batch],
        outputs: Sequence[Output] = ("scores",),
        layer: str | None = None,
        errors: Literal["raise", "return"] = "return",
    ) -> Generator[Rows]:
        """Run batches through the network, one at a time.

        An image that cannot be read, or whose outputs are not finite, has an error in `Rows.errors`. With
        ``errors="raise"`` the first such error is raised. Closing the generator closes ``batches``.
        """
        choice("errors", errors, ("raise", "return"))
        return self._rows(batches, lambda: self.open(outputs, layer), errors)

    def row(self, item: Item, outputs: Sequence[Output] = ("scores",)) -> tuple[NDArray[np.float32], ...]:
        """The outputs of the network for one image: for each output float32 ``(1, width)``. Raises ImageError."""
        pixels = load(item, self.spec.input_size, self.spec.resize, self.image_policy, self.spec.channels)
        batch = Batch([item.name], [None], pixels[np.newaxis], [item.path])
        answered, found = self.open(outputs).answer(batch)
        raise_first(answered.errors)
        return found

    def run(
        self,
        source: ImagesLike,
        output: Output,
        layer: str | None = None,
        *,
        batch_size: int | None = None,
        errors: Literal["raise", "return"] = "raise",
    ) -> NDArray[np.float32]:
        """One output for all images of ``source``, float32 ``(N, width)``.

        Raises the first ImageError; with ``errors="return"`` the row of an image that failed is NaN.
        """
        width = self.open((output,), layer).widths[0]
        found = [np.empty((0, width), np.float32)]
        stage, done, total = ("embed" if output == "embedding" else "classify"), 0, _count(source)
        report(stage, 0, total)
        for rows in self.rows(self.batches(source, batch_size), (output,), layer, errors):
            done += len(rows.names)
            report(stage, done, total)
            good = [error is None for error in rows.errors]
            found.append(np.full((len(good), width), np.nan, np.float32))
            found[-1][good] = rows.outputs[0]
        return np.concatenate(found)

    def features(
        self, source: ImagesLike, layers: Sequence[str], *, batch_size: int | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """The maps of several layers for all images of ``source``. Raises the first ImageError."""
        network = self.open_features(layers)
        found: list[list[NDArray[np.float32]]] = [[np.empty((0, *shape), np.float32)] for shape in network.shapes]
        for rows in self._rows(self.batches(source, batch_size), lambda: network, "raise"):
            for arrays, array in zip(found, rows.outputs, strict=True):
                arrays.append(array)
        return {name: np.concatenate(arrays) for name, arrays in zip(network.outputs, found, strict=True)}

    def scored(
        self, source: ImagesLike, *, batch_size: int | None = None
    ) -> tuple[NDArray[np.float32], list[str], list[ImageError | None]]:
        """The scores of the images that could be read, float32 ``(n, C)``; the names and the errors of all images."""
        names: list[str] = []
        errors: list[ImageError | None] = []
        scores = [np.empty((0, self.open().widths[0]), np.float32)]
        total = _count(source)
        report("evaluate", 0, total)
        for rows in self.rows(self.batches(source, batch_size)):
            names += rows.names
            errors += rows.errors
            scores += rows.outputs
            report("evaluate", len(names), total)
        return np.concatenate(scores), names, errors

    def pixels(self, source: ImagesLike) -> NDArray[np.uint8]:
        """All images of ``source`` as the network takes them: uint8 ``(N, H, W, channels)``.

        Raises the first ImageError.
        """
        found = [np.empty((0, *self.spec.input_size, self.spec.channels), np.uint8)]
        with contextlib.closing(self.batches(source)) as stream:
            for batch in stream:
                raise_first(batch.errors)
                found.append(batch.pixels)
        return np.concatenate(found)

    def predictions(self, scores: NDArray[np.float32], top: int) -> list[tuple[Prediction, ...]]:
        """Scores ``(N, C)`` to the ``top`` best classes of each image, by the spec's decode function.

        Raises InvalidSpecError if the user's own decode function returns anything else.
        """
        if not len(scores):
            return []
        name = self.spec.name
        rows = self.spec.decode(scores, top=top)
        try:
            decoded = [tuple(map(_as_prediction, image)) for image in rows]
        except (TypeError, ValueError) as error:
            raise InvalidSpecError(f"decode of {name} gave rows that are not (id, label, score): {error}") from error
        if len(decoded) != len(scores):
            raise InvalidSpecError(f"decode of {name} gave {len(decoded)} answers for {len(scores)} images")
        return decoded

    def explainer(self, method: HeatMapMethod = "grad_cam") -> Explainer:
        """The explainer that makes heat maps with this network. Always needs the network in Keras."""
        with self._lock:
            if method not in self._explainers:
                backbone = self.backbone()
                from pretrained_cnn.backbones.explainer import Explainer

                with random_kept():
                    self._explainers[method] = Explainer(backbone, method)
            return self._explainers[method]

    def save(
        self,
        path: Path,
        *,
        format: str | None = None,
        dtype: Dtype = "float32",
        outputs: Sequence[Output] | None = None,
        quantize: ImagesLike | None = None,
        min_agreement: float | None = None,
        overwrite: bool = False,
        texts: Mapping[str, str] | None = None,
        calibration: Mapping[str, NDArray[Any]] | None = None,
        trained_on: Collection[bytes] = (),
    ) -> ExportCheck:
        """Write a bundle; the arguments are those of `pretrained_cnn.Classifier.save`.

        ``texts`` are other files in the bundle, by name. ``calibration`` contains arrays that are saved with the
        network, ``trained_on`` the SHA-256 of its training images.
        """
        if self.graph is not None:
            _refuse_conversion(self.graph, format, dtype, outputs, quantize)
            return write_copy(
                path,
                self.graph,
                self.image_policy,
                format=format,
                calibration=calibration,
                trained_on=trained_on,
                texts=texts,
                overwrite=overwrite,
            )
        backbone, images = self.backbone(), None
        from pretrained_cnn.backbones.serving import serving_graph

        if quantize is not None:
            if dtype == "float16":
                raise InvalidArgumentError('quantize=... makes dtype="int8"; leave dtype="float16" out')
            dtype, images = "int8", self.pixels(quantize)
        elif dtype == "int8":
            raise InvalidArgumentError('dtype="int8" needs quantize=..., about 300 images of the kind to be classified')
        return write_bundle(
            path,
            serving_graph(backbone, outputs or ["scores" if backbone.has_head else "embedding"]),
            self.spec,
            self.image_policy,
            format=format or "keras",
            dtype=dtype,
            images=images,
            min_agreement=min_agreement,
            texts=texts,
            calibration=calibration,
            trained_on=trained_on,
            overwrite=overwrite,
            sums_within=self._tolerance(),
        )

    def identity(self) -> str | None:
        """A checksum, in hexadecimal, of everything except the image that embeddings of this engine depend on; None if
        it cannot be described.

        Builds the network only if no file determines its weights.
        """
        if self.graph is not None:
            files = [self.graph.manifest.format, self.graph.model_checksums()]
            return identity.embedding_key(files, self.spec, self.image_policy, self.runtime_identity())
        if identity.function_identity(self.spec.preprocess) is None:
            return None
        network = None if self.is_built else self._identity_of_file()
        if network is None:
            network = identity.network_by_graph(self.backbone().model)
        return identity.embedding_key(network, self.spec, self.image_policy, self.runtime_identity())

    def runtime_identity(self) -> str:
        """The runtime, the precision unless it is float32, and the images for quantization.

        >>> from pretrained_cnn import get_spec
        >>> Engine(get_spec("EfficientNetLite0"), runtime="openvino").runtime_identity()
        'openvino'
        """
        images = self._quantize_images()
        quantized = [] if images is None else [_digest(images)]
        return " ".join([self.runtime.name, *([] if self.precision == "float32" else [self.precision]), *quantized])

    def take_again(self, described: Any) -> None:
        """Compute as an engine before, whose `runtime_identity` was ``described``, where ``"auto"`` leaves it open."""
        with self._lock:
            if self._taken is None and isinstance(described, str):
                found = next((each for each in self._offered() if described == str(each)), None)
                if found is not None:
                    self._taken = get_runtime(found.runtime), found.precision

    def copy(self) -> Engine:
        """A copy of the engine with its own network. It gives the same answers."""
        if self.graph is not None:
            return self.derived(self.spec, bundle=self.graph)
        backbone = None
        # A network that is not built yet, and will come out the same, can wait.
        if self.is_built or self.weights is None or not isinstance(self.spec.builder, Reference):
            built = self.backbone()
            from pretrained_cnn.backbones.build import copy

            backbone = copy(built)
        return self.derived(self.spec, weights=self.weights, options=self.options, backbone=backbone)

    def derived(self, spec: ModelSpec, **network: Any) -> Engine:
        """An engine of another network with the runtime and the image policy of this one."""
        return Engine(
            spec,
            runtime=self.runtime.name,
            precision=self.precision,
            quantize=self.quantize,
            image_policy=self.image_policy,
            threads=self.threads,
            **network,
        )

    def close(self) -> None:
        """Free the memory and the threads of the runtimes. You can still use the engine: it opens the network again."""
        with self._lock:
            self._explainers.clear()
            while self._networks:
                self._networks.popitem()[1].close()

    @classmethod
    def from_file(
        cls,
        file: ModelFile,
        *,
        runtime: str | None = None,
        precision: Precision | Literal["auto"] = "float32",
        quantize: Any = None,
        image_policy: ImagePolicy = ImagePolicy(),
        threads: int | None = None,
        **arguments: Any,
    ) -> Self:
        """The engine of the network in a model file; ``arguments`` are those of ``Classifier.from_file``.

        Raises ModelFileError for a file that cannot be opened, and InvalidArgumentError for arguments that do not match
        it.
        """
        for name in arguments:
            if name not in files.ARGUMENTS:
                raise InvalidArgumentError(f"{name}=... is not known of a model file; give {listed(files.ARGUMENTS)}")
        with keras_is_needed():
            found = open_file(file, image_policy, **arguments)
        return cls.from_opened(found, runtime, image_policy, precision=precision, quantize=quantize, threads=threads)

    @classmethod
    def from_object(
        cls,
        model: Any,
        *,
        runtime: str | None = None,
        precision: Precision | Literal["auto"] = "float32",
        quantize: Any = None,
        image_policy: ImagePolicy = ImagePolicy(),
        **arguments: Any,
    ) -> Self:
        """The engine of a model of Keras or of tf_keras; ``arguments`` are those of ``Classifier.from_keras``.

        Raises InvalidArgumentError for a model that is no image classifier, or not what the arguments say.
        """
        with keras_is_needed():
            if any(base.__module__.startswith("tf_keras.") for base in type(model).__mro__):
                from pretrained_cnn.foreign.keras_file import open_tf_keras

                found = open_tf_keras(model, image_policy, **arguments)
            else:
                from pretrained_cnn.backbones.wrap import wrap

                found = wrap(model, **arguments)
        return cls.from_opened(found, runtime, image_policy, precision=precision, quantize=quantize)

    @classmethod
    def from_opened(
        cls, found: ModelSpec | Path, runtime: str | None = None, image_policy: ImagePolicy = ImagePolicy(), **how: Any
    ) -> Self:
        """The engine of an opened model file: a spec, or the temporary folder of a bundle.

        Raises InvalidArgumentError for a model that is not what the spec says.
        """
        if isinstance(found, Path):
            return cls.from_bundle(found, runtime, image_policy, temporary=True, **how)
        engine = cls(found, runtime="keras" if runtime is None else runtime, image_policy=image_policy, **how)
        engine.backbone()  # so that a model that does not fit is refused here
        return engine

    def _take(self) -> tuple[RuntimeSpec, Precision]:
        """The runtime and the precision that were asked for, or are the fastest."""
        with self._lock:
            if self._taken is None:
                candidate = self._quickest()
                log.info("%s is computed with %s", self.spec.name, candidate)
                self._taken = get_runtime(candidate.runtime), candidate.precision
            return self._taken

    def _quickest(self) -> Candidate:
        """The fastest of those that were asked for: the one that was measured before, else what is measured now."""
        offered = self._offered()
        if len(offered) == 1:
            return offered[0]
        key = self._network_key()
        found = None if key is None else recall(key, offered)
        if found is None:
            found = self._measure(offered)
            if key is not None:
                remember(key, offered, found)
        return found

    def _offered(self) -> list[Candidate]:
        format = self.bundle.manifest.format if self.bundle is not None and self._backbone is None else None
        return candidates(*self.asked, format=format, threads=self.threads)

    def _network_key(self) -> str | None:
        """What tells the network from others whose speed may differ; None if that takes building it."""
        if self.bundle is not None:
            return self.bundle.digest()
        network = identity.network_by_graph(self.backbone().model) if self.is_built else self._identity_of_file()
        return None if network is None else hashlib.sha256(repr((network, self.spec.input_size)).encode()).hexdigest()

    def _measure(self, offered: Sequence[Candidate]) -> Candidate:
        """Open the network in each way, and measure which is the fastest with one image. That one stays open."""
        pixels = np.full((1, *self.spec.input_size, self.spec.channels), 127, np.uint8)
        engines: dict[Candidate, Engine] = {}
        networks: dict[Candidate, Network] = {}
        failed: BundleError | None = None
        try:
            for candidate in offered:
                engine = Engine(
                    self.spec,
                    weights=self.weights,
                    options=self.options,
                    runtime=candidate.runtime,
                    precision=candidate.precision,
                    quantize=self._quantize_images() if candidate.precision == "int8" else None,
                    image_policy=self.image_policy,
                    threads=self.threads,
                    backbone=self._backbone,
                    bundle=self.bundle,
                )
                engines[candidate] = engine
                try:
                    networks[candidate] = engine.open_one_output()
                except BundleError as error:
                    log.info("%s cannot compute %s: %s", candidate, self.spec.name, error)
                    failed = error
            if not networks and failed is not None:
                raise failed
            found = quickest({each: functools.partial(network.run, pixels) for each, network in networks.items()})
            best, network = engines.pop(found), networks[found]
            self._networks["outputs", *network.outputs, ""] = network
            if best.is_built:
                self._backbone = best.backbone()
            return found
        finally:
            for engine in engines.values():
                engine.close()

    def open_one_output(self) -> Network:
        """The network, opened for its scores, or else for its embedding."""
        if self.bundle is not None:
            return self.open(self.bundle.outputs[:1])
        try:
            return self.open()
        except WeightsError:  # they may be weights without a head
            return self.open(("embedding",))

    def _tolerance(self) -> float:
        """How far probabilities may sum from 1: more where something computes or stores less than 32 bits."""
        stored = EXACT if self.bundle is None else self.bundle.sums_within
        if stored > ROUGH:
            return stored
        if stored > EXACT or self.precision != "float32" or identity.has_dtype_policy():
            return ROUGH
        if self._backbone is None:
            return EXACT
        from pretrained_cnn.backbones.build import tolerance

        return tolerance(self._backbone.model)

    def _once(self, key: tuple[str, ...], open_: Callable[[], Network]) -> Network:
        with self._lock:
            if key not in self._networks:
                self._networks[key] = open_()
            return self._networks[key]

    def _open_features(self, layers: tuple[str, ...]) -> Network:
        backbone = self.backbone()
        from pretrained_cnn.backbones.serving import feature_graph

        graph = feature_graph(backbone, layers)
        runtime = get_runtime("keras").factory(graph, layers)
        return Network(self.spec, layers, runtime, [graph.output[name].shape[1:] for name in layers])

    def _rows(self, batches: Generator[Batch], open_: Callable[[], Network], errors: str) -> Generator[Rows]:
        with contextlib.closing(batches):  # whatever happens to the consumer, the threads end
            for batch in batches:
                if errors == "raise":
                    raise_first(batch.errors)
                answered, found = open_().answer(batch)
                if errors == "raise":
                    raise_first(answered.errors)
                rows = Rows(answered.names, answered.errors, answered.paths, found)
                del batch, answered, found  # their pixels, before the next batch is asked for
                yield rows

    def _identity_of_file(self) -> list[Any] | None:
        try:
            return identity.network_by_file(self.spec, self.weights, self.options)
        except OSError:  # the file is downloaded when the network is built
            self.backbone()
            return identity.network_by_file(self.spec, self.weights, self.options)

    def _open(self, outputs: tuple[Output, ...], layer: str | None) -> Opened:
        if self._backbone is None and self.bundle is not None:
            if layer is None and (missing := set(outputs) - set(self.bundle.outputs)):
                if self.bundle.adapter is not None:
                    self.backbone()  # raises
                raise BundleError(
                    f"{self.bundle.path} is of format={self.bundle.manifest.format!r} and gives "
                    f"{' and '.join(self.bundle.outputs)} only, not {' and '.join(sorted(missing))}; write it with "
                    'save(output=["scores", "embedding"]), or with format="keras", and load that'
                )
            if layer is not None:
                self.backbone()  # raises
            return self._open_bundle(self.bundle, outputs)
        if self.runtime.format == "keras":
            return self._open_graph(outputs, layer)
        return self._open_converted(outputs, layer)

    def _open_graph(self, outputs: tuple[Output, ...], layer: str | None) -> Opened:
        backbone = self.backbone()
        from pretrained_cnn.backbones.serving import serving_graph

        graph = serving_graph(backbone, outputs, layer)
        return self.runtime.open(graph, outputs, precision=self.precision), [
            graph.output[name].shape[1:] for name in outputs
        ]

    def _open_converted(self, outputs: tuple[Output, ...], layer: str | None) -> Opened:
        """The runtime on a converted graph: the one in the cache, else a new one."""
        from pretrained_cnn.bundle import converted

        key = None
        if self._backbone is None:
            key = self._conversion_key(outputs, layer)
            bundle = converted.find(key)
            if bundle is not None:
                return self._open_bundle(bundle, outputs)
            require_keras()  # before any weights are looked at
            try:
                return self._open_built_elsewhere(outputs, layer)
            except NoChildError:
                pass
        backbone = self.backbone()
        from pretrained_cnn.backbones.serving import serving_graph

        graph = serving_graph(backbone, outputs, layer)
        if self.weights is not None:  # random weights are not seen again
            format = self._kept_format()
            key = key or (format and identity.conversion_key_of_graph(graph, format))
        write = functools.partial(
            write_converted, graph=graph, spec=self.spec, format=self.runtime.format, images=self._quantize_images()
        )
        with converted.kept(key, write, self._conversion) as bundle:
            return self._open_bundle(bundle, outputs)

    def _open_built_elsewhere(self, outputs: tuple[Output, ...], layer: str | None) -> Opened:
        """The runtime on a graph that a child process builds and converts, so that Keras is not imported here.

        Raises NoChildError if this network can be built only here, or no child can be started.
        """
        from pretrained_cnn.bundle import converted, rebuild

        if self.weights is None or self.quantize is not None or not identity.is_built_by_name(self.spec):
            raise NoChildError(f"{self.spec.name} can be built in this process only")
        if self.weights == "imagenet" and self.spec.weights:
            if self.spec.labels and len(self.spec.labels) != 1000:
                raise NoChildError("building reports that these labels do not fit")
            file = self.spec.weights_file(input_size=self.spec.input_size, options=self.options)
            ensure(file, needed_by=self.spec.name)
        key = self._conversion_key(outputs, layer)
        if key is None:
            raise NoChildError(f"{self.spec.name} can be built in this process only")
        write = functools.partial(
            rebuild.build_and_write,
            spec=self.spec,
            weights=self.weights,
            options=self.options,
            outputs=outputs,
            layer=layer,
            format=self.runtime.format,
        )
        with converted.kept(key, write, self._conversion) as bundle:
            return self._open_bundle(bundle, outputs)

    def _conversion_key(self, outputs: tuple[Output, ...], layer: str | None) -> str | None:
        format = self._kept_format()
        if format is None:
            return None
        what = " ".join((*outputs, *([] if layer is None else [layer])))
        return identity.conversion_key(self.spec, self.weights, self.options, what, format)

    def _kept_format(self) -> str | None:
        """The format of a converted graph, who defines it, and what it is quantized by.

        None for a format that this program registered: its code may be another one the next time.
        """
        origin, images = FORMATS.origin(self.runtime.format), self._quantize_images()
        if origin is None:
            return None
        return " ".join([self.runtime.format, origin, *([] if images is None else [_digest(images)])])

    def _quantize_images(self) -> NDArray[np.uint8] | None:
        """The images to quantize by, as the network takes them. They are read once."""
        with self._lock:
            if self.quantize is not None and self._quantize_pixels is None:
                self.quantize = self._quantize_pixels = self.pixels(self.quantize)
            return self._quantize_pixels

    @property
    def _conversion(self) -> str:
        return f"{self.spec.name} for format {self.runtime.format}"

    def _open_bundle(self, bundle: Bundle, outputs: tuple[Output, ...]) -> Opened:
        runtime = bundle.open(self.runtime, outputs, self.precision, threads=self.threads)
        return runtime, [(bundle.width(name),) for name in outputs]


def _refuse_conversion(
    bundle: Bundle, format: str | None, dtype: Dtype, outputs: Sequence[Output] | None, quantize: Any
) -> None:
    """Raise BundleError for what can be made only of a network in Keras, and not of the graph of a bundle."""
    has = bundle.manifest
    takes = () if format is None else get_format(format).takes
    same = {"format": format in (None, has.format) or has.format in takes, "dtype": dtype in ("float32", has.dtype)}
    same |= {"output": outputs is None or {*outputs} == {*bundle.outputs}, "quantize": quantize is None}
    changed = [f"{name}=..." for name, is_same in same.items() if not is_same]
    if changed:
        what = bundle.path if bundle.adapter is None else bundle.spec.name
        way_out = (
            'what else is in the network is in a bundle of format="keras"'
            if bundle.adapter is None
            else "another format takes the file of Keras that it was made from, and openvino takes ONNX"
        )
        raise BundleError(
            f"{what} is of format={has.format!r} with dtype={has.dtype!r} and gives {' and '.join(bundle.outputs)} "
            f"only, so it can be saved as it is, without {', '.join(changed)}; {way_out}"
        )


def _digest(images: NDArray[np.uint8]) -> str:
    return hashlib.sha256(images.tobytes()).hexdigest()


def open_model(
    model: str | os.PathLike[str] | ModelSpec,
    *,
    weights: str | os.PathLike[str] | None = "imagenet",
    runtime: str | None = None,
    precision: Precision | Literal["auto"] = "float32",
    quantize: Any = None,
    image_policy: ImagePolicy | None = None,
    threads: int | None = None,
    follow_links: bool = False,
    options: Mapping[str, Any] = {},
    **changes: Any,
) -> Engine:
    """The engine of a model: a name, a spec, or the path of a bundle or of a model file.

    ``changes`` are fields of the spec to replace; None leaves a field as it is. Raises InvalidArgumentError for
    arguments that a bundle has already, and what `find_model` and `Engine` raise.
    """
    found = find_model(model)
    changes = {name: value for name, value in changes.items() if value is not None}
    if isinstance(found, ModelFile):
        if weights != "imagenet":
            raise InvalidArgumentError(f"weights=... cannot be given with {found.path}: a model file has its own")
        return Engine.from_file(
            found,
            runtime=runtime,
            precision=precision,
            quantize=quantize,
            image_policy=ImagePolicy() if image_policy is None else image_policy,
            threads=threads,
            **changes,
            **options,
        )
    if isinstance(found, Path):
        given = {**({} if weights == "imagenet" else {"weights": weights}), **changes, **options}
        if given:
            raise InvalidArgumentError(
                f"{', '.join(f'{name}=...' for name in given)} cannot be given with {found}: a bundle has its own"
            )
        return Engine.from_bundle(
            found,
            runtime,
            image_policy,
            precision=precision,
            quantize=quantize,
            threads=threads,
            follow_links=follow_links,
        )
    _check_options(found, options)
    return Engine(
        found.replace(**changes),
        weights=weights,
        options=options,
        runtime="keras" if runtime is None else runtime,
        precision=precision,
        quantize=quantize,
        image_policy=ImagePolicy() if image_policy is None else image_policy,
        threads=threads,
    )


def _check_options(spec: ModelSpec, options: Mapping[str, Any]) -> None:
    """Raise InvalidArgumentError for an option that must be a misspelled argument, before the network is built."""
    if isinstance(spec.builder, Reference) and spec.builder.path.startswith(("keras.", "pretrained_cnn.")):
        for name in options.keys() - OPTIONS:
            if found := similar(name, ARGUMENTS):
                raise InvalidArgumentError(
                    f"{name}={options[name]!r} is not an argument of {spec.name}; did you mean {found[0]}=...?"
                )


def require_keras() -> None:
    """Raise MissingDependencyError, which says what to install, unless Keras and TensorFlow are installed."""
    for module in ("keras", "tensorflow"):
        if importlib.util.find_spec(module) is None:
            raise MissingDependencyError(module, extra=None)


@contextlib.contextmanager
def keras_is_needed() -> Iterator[None]:
    """Where Keras, or its backend, cannot be imported: raise MissingDependencyError, which says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name == "h5py":  # comes with Keras
            raise MissingDependencyError("keras", extra=None) from error
        if error.name not in ("keras", "tensorflow"):
            raise
        raise MissingDependencyError(error.name, extra=None) from error


def _as_prediction(row: Prediction | Sequence[Any]) -> Prediction:
    """A row of a decode function, with its index or, like a row of Keras's, without."""
    if isinstance(row, Prediction):
        return row
    id_, label, score, *index = row
    return Prediction(id_, label, float(score), *(index or [None]))


class Speed(TypedDict, total=False):
    """Batching of images: whole numbers of at least 1, or None for defaults that suit the machine."""

    batch_size: int | None
    """Maximum number of images in a batch."""
    workers: int | None
    """Number of threads that decode images."""
    prefetch: int | None
    """Maximum number of batches in memory."""


def check_speed(batch_size: int | None, workers: int | None, prefetch: int | None) -> Speed:
    """The arguments by name. Raises InvalidArgumentError for one that is no whole number, is 0, or too many threads."""
    for name, value, most in (
        ("batch_size", batch_size, None),
        ("workers", workers, MAX_THREADS),
        ("prefetch", prefetch, None),
    ):
        if value is not None:
            whole_number(name, value, most=most)
    return Speed(batch_size=batch_size, workers=workers, prefetch=prefetch)


def _count(source: Any) -> int | None:
    """How many images a source has, if it says so itself."""
    return None if isinstance(source, str | os.PathLike) or not hasattr(source, "__len__") else len(source)


def raise_first(errors: Iterable[Exception | None]) -> None:
    """Raise the first error, if there is one."""
    for error in errors:
        if error is not None:
            raise error
