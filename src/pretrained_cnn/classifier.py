"""The facade: a backbone by name, pictures in, names and scores out."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.errors import InvalidSpecError, WeightsError
from pretrained_cnn.images.batch import Batch, batches, load
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.sources import items, one
from pretrained_cnn.registry import get_spec
from pretrained_cnn.results import Prediction, Result
from pretrained_cnn.runtimes import RUNTIMES, Runtime
from pretrained_cnn.spec import ModelSpec, ResizePolicy

if TYPE_CHECKING:
    import keras

    from pretrained_cnn.backbones.build import Backbone
    from pretrained_cnn.backbones.serving import Output

__all__ = ["Classifier"]


class Classifier:
    """A pretrained network that names what is in a picture.

    Args:
        model: A name that `list_models` gives (case, ``-`` and ``_`` do not matter), or a `ModelSpec`.
        weights: ``"imagenet"``, the path of a weights file, or None for random weights. A file without the
            1,000-class top serves `embed` only. A builder of your own that takes no ``weights`` brings its own.
        runtime: What executes the network: ``"keras"``.
        labels: Names of the classes, or ``(id, name)`` pairs, in place of the spec's.
        resize: A `ResizePolicy` in place of the spec's.
        input_size: ``(height, width)`` in pixels in place of the spec's.
        images: An `ImagePolicy`: the limits, and how pictures are decoded.
        **builder_options: Go to the builder: ``Classifier("MobileNet", alpha=0.25)``.

    The network is built when it is first needed. One classifier may be used from several threads at once.

    Raises UnknownModelError for a name that is not registered, InvalidSpecError for arguments that cannot be
    right, WeightsError for weights that are missing, broken, or of another network.

    >>> clf = Classifier("EfficientNetLite0")
    >>> clf
    Classifier('EfficientNetLite0', weights='imagenet', runtime='keras')
    >>> clf.predict("examples/images/clock.png").top.label
    'analog_clock'
    """

    def __init__(
        self,
        model: str | ModelSpec = "Xception",
        *,
        weights: str | os.PathLike[str] | None = "imagenet",
        runtime: str = "keras",
        labels: Sequence[str | tuple[str, str]] | None = None,
        resize: ResizePolicy | None = None,
        input_size: tuple[int, int] | None = None,
        images: ImagePolicy = ImagePolicy(),
        **builder_options: Any,
    ) -> None:
        spec = model if isinstance(model, ModelSpec) else get_spec(model)
        changes = {"labels": labels, "resize": resize, "input_size": input_size}
        self._spec = spec.replace(**{key: value for key, value in changes.items() if value is not None})
        if weights is not None and weights != "imagenet" and not os.path.isfile(weights):
            raise WeightsError(
                f"weights={os.fspath(weights)!r}: no such file; "
                'give "imagenet", the path of a weights file, or None for random weights'
            )
        if runtime not in RUNTIMES:
            raise InvalidSpecError(f"runtime={runtime!r} is not known; choose from {', '.join(RUNTIMES)}")
        if not isinstance(images, ImagePolicy):
            raise InvalidSpecError(f"images={images!r} is not an ImagePolicy")
        self._weights = weights if weights is None else os.fspath(weights)
        self._runtime = runtime
        self._images = images
        self._options = builder_options
        self._lock = threading.RLock()
        self._backbone: Backbone | None = None
        self._runtimes: dict[Output, tuple[Runtime, int]] = {}

    @classmethod
    def from_keras(
        cls,
        model: keras.Model,
        *,
        labels: Sequence[str | tuple[str, str]],
        preprocess: Any = None,
        resize: ResizePolicy | None = None,
        input_size: tuple[int, int] | None = None,
        from_logits: bool = False,
        runtime: str = "keras",
        images: ImagePolicy = ImagePolicy(),
    ) -> Self:
        """Wrap a trained Keras model with classes of its own.

        Args:
            model: One picture input, channels last, and one output ``(N, C)``.
            labels: ``C`` names, or ``(id, name)`` pairs, in the order of the outputs.
            preprocess: From RGB float32 in 0..255 to what the model was trained with; None if it takes 0..255.
            resize: How pictures become the model's input size; by default `ResizePolicy()`, a centre crop.
            input_size: ``(height, width)``, for a model whose input leaves them open.
            from_logits: The last layer is linear, and a softmax is to follow it. A linear last layer without
                ``from_logits=True`` is refused, and so is ``from_logits=True`` with an activation.
            runtime: As for `Classifier`.
            images: As for `Classifier`.

        Raises InvalidSpecError if model and arguments do not fit together.

        >>> import keras
        >>> model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Rescaling(1 / 255),
        ...     keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> clf = Classifier.from_keras(model, labels=["cat", "dog"], from_logits=True)
        >>> clf.predict_proba(["examples/images/clock.png"]).shape
        (1, 2)
        """
        from pretrained_cnn.backbones.wrap import wrap

        spec = wrap(
            model, labels=labels, preprocess=preprocess, resize=resize, input_size=input_size, from_logits=from_logits
        )
        clf = cls(spec, runtime=runtime, images=images)
        clf._get_backbone()  # so that what does not fit is said here
        return clf

    @property
    def spec(self) -> ModelSpec:
        """What the classifier knows of its backbone, the arguments given included.

        >>> Classifier("MobileNet", input_size=(160, 160)).spec.input_size
        (160, 160)
        """
        return self._spec

    @property
    def keras_model(self) -> keras.Model:
        """The network: float32 ``(N, H, W, 3)``, already preprocessed, to scores ``(N, C)``. Builds it if need be.

        >>> Classifier("MobileNet", weights=None, alpha=0.25).keras_model.count_params()
        475544
        """
        return self._get_backbone().model

    def predict(self, picture: Any, *, top: int = 5) -> Result:
        """Name what is in one picture.

        Args:
            picture: A path, an http(s) address, bytes, a binary file, a Pillow image, or an array or tensor
                of shape ``(h, w, 3)``, ``(h, w)``, ``(h, w, 1)`` or ``(h, w, 4)``, uint8 or float in 0..255.
            top: How many classes to name; more than there are gives all of them.

        Raises ImageError, which names the picture and says what is wrong with it.

        >>> Classifier("EfficientNetLite0").predict("examples/images/clock.png").top.id
        'n02708093'
        """
        _check_count("top", top)
        item = one(picture)
        pixels = load(item, self._spec.input_size, self._spec.resize, self._images)
        runtime, _ = self._get_runtime("scores")
        (predictions,) = self._decode(runtime.run(pixels[np.newaxis]), top)
        return Result(item.name, predictions)

    def predict_batch(
        self,
        pictures: Any,
        *,
        top: int = 5,
        batch_size: int | None = None,
        errors: Literal["raise", "return"] = "raise",
    ) -> list[Result]:
        """Name what is in several pictures: one `Result` for each, in their order.

        Args:
            pictures: An iterable of pictures as `predict` takes them, or any other source that `stream` takes.
            top: How many classes to name.
            batch_size: As for `stream`.
            errors: ``"raise"`` raises the ImageError of the first bad picture; ``"return"`` gives a bad
                picture a `Result` with its error, in its place.

        >>> clf = Classifier("EfficientNetLite0")
        >>> clf.predict_batch(["examples/images/clock.png", "no.jpg"], errors="return")[1]
        Result('no.jpg': error: there is no such file)
        """
        return list(self.stream(pictures, top=top, batch_size=batch_size, errors=errors))

    def stream(
        self,
        source: Any,
        *,
        top: int = 5,
        batch_size: int | None = None,
        workers: int | None = None,
        errors: Literal["raise", "return"] = "return",
        prefetch: int | None = None,
    ) -> Iterator[Result]:
        """Name what is in any number of pictures, one after the other, in bounded memory.

        Args:
            source: A folder (searched recursively), a glob, a tar or zip archive, a ``.txt`` file with a path or URL
                in each line, ``"-"`` for the same from standard input, or any iterable, endless ones included, of
                pictures or of ``(name, picture)`` pairs.
            top: How many classes to name.
            batch_size: How many pictures the network takes at once; by default 16.
            workers: How many threads decode; by default one for each core that the process may use, at most 16.
            errors: As for `predict_batch`.
            prefetch: How many batches of decoded pictures are alive at most: the one that the network is at, and those
                that are decoded meanwhile. By default as many as give each worker two pictures to do, at least 3.

        Results come in the order of the pictures. An iterable is asked for its pictures in the thread that asks for
        results, batch by batch; what it raises is raised, and while it waits, so does the stream. Closing
        the iterator, or an exception in what consumes it, ends the threads, each with the picture that it is at.
        Raises ImageError if there is no picture in a folder, a glob, an archive or a text file.

        >>> clf = Classifier("EfficientNetLite0")
        >>> sum(1 for result in clf.stream("examples/images/*.png"))
        6
        """
        _check_count("top", top)
        if errors not in ("raise", "return"):
            raise InvalidSpecError(f'errors={errors!r} is not known; choose "raise" or "return"')
        return self._stream(self._batches(source, batch_size, workers, prefetch), top, errors)

    def predict_proba(self, pictures: Any, *, batch_size: int | None = None) -> NDArray[np.float32]:
        """The probabilities of all classes: float32 ``(N, C)``, a row for each picture, in their order.

        ``pictures`` are as for `predict_batch`. Raises the ImageError of the first bad picture.

        >>> Classifier("EfficientNetLite0").predict_proba(["examples/images/clock.png"]).shape
        (1, 1000)
        """
        return self._run("scores", pictures, batch_size)

    def embed(self, pictures: Any, *, batch_size: int | None = None) -> NDArray[np.float32]:
        """What the network sees in each picture: float32 ``(N, embedding_size)``, in their order.

        An embedding is the input of the last dense layer; for weights without a top, the pooled features.
        ``pictures`` are as for `predict_batch`. Raises the ImageError of the first bad picture.

        >>> Classifier("EfficientNetLite0").embed(["examples/images/clock.png"]).shape
        (1, 1280)
        """
        return self._run("embedding", pictures, batch_size)

    def _run(self, output: Output, pictures: Any, batch_size: int | None) -> NDArray[np.float32]:
        runtime, width = self._get_runtime(output)
        rows = [np.empty((0, width), np.float32)]
        with contextlib.closing(self._batches(pictures, batch_size)) as stream:
            for batch in stream:
                _raise_first(batch.errors)
                rows.append(runtime.run(batch.pixels))
                del batch  # before the next one is asked for
        return np.concatenate(rows)

    def _stream(self, stream: Generator[Batch], top: int, errors: str) -> Iterator[Result]:
        runtime, _ = self._get_runtime("scores")
        with contextlib.closing(stream):  # whatever happens to the consumer, the threads end
            for names, failures, pixels in stream:
                if errors == "raise":
                    _raise_first(failures)
                decoded = iter(self._decode(runtime.run(pixels), top) if len(pixels) else ())
                del pixels  # before the next batch is asked for
                for name, error in zip(names, failures, strict=True):
                    yield Result(name, next(decoded)) if error is None else Result(name, (), error)

    def _batches(
        self,
        source: Any,
        batch_size: int | None,
        workers: int | None = None,
        prefetch: int | None = None,
    ) -> Generator[Batch]:
        for name, value in {"batch_size": batch_size, "workers": workers, "prefetch": prefetch}.items():
            if value is not None:
                _check_count(name, value)
        return batches(
            items(source, self._images),
            self._spec.input_size,
            self._spec.resize,
            self._images,
            batch_size=batch_size,
            workers=workers,
            prefetch=prefetch,
        )

    def _decode(self, scores: NDArray[np.float32], top: int) -> list[tuple[Prediction, ...]]:
        """Scores ``(N, C)`` to predictions by the spec's decode function, which may be the user's own."""
        name = self._spec.name
        rows = self._spec.decode(scores, top=top)
        try:
            decoded = [tuple(map(_as_prediction, picture)) for picture in rows]
        except (TypeError, ValueError) as error:
            raise InvalidSpecError(f"decode of {name} gave rows that are not (id, label, score): {error}") from error
        if len(decoded) != len(scores):
            raise InvalidSpecError(f"decode of {name} gave {len(decoded)} answers for {len(scores)} pictures")
        return decoded

    def _get_backbone(self) -> Backbone:
        with self._lock:
            if self._backbone is None:
                from pretrained_cnn.backbones.build import build

                self._backbone = build(self._spec, weights=self._weights, options=self._options)
            return self._backbone

    def _get_runtime(self, output: Output) -> tuple[Runtime, int]:
        """The runtime for an output, and the output's width."""
        with self._lock:
            if output not in self._runtimes:
                from pretrained_cnn.backbones.serving import serving_graph

                graph = serving_graph(self._get_backbone(), output)
                self._runtimes[output] = RUNTIMES[self._runtime](graph), graph.output_shape[1]
            return self._runtimes[output]

    def __repr__(self) -> str:
        options = "".join(f", {key}={value!r}" for key, value in self._options.items())
        return f"Classifier({self._spec.name!r}, weights={self._weights!r}, runtime={self._runtime!r}{options})"


def _as_prediction(row: Sequence[Any]) -> Prediction:
    """A row of a decode function, with its index or, like Keras's, without."""
    id_, label, score, *index = row
    return Prediction(id_, label, float(score), *(index or [None]))


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidSpecError(f"{name}={value!r} is not a whole number of at least 1")


def _raise_first(errors: Iterable[Exception | None]) -> None:
    for error in errors:
        if error is not None:
            raise error
