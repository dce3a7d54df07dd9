"""The facade: a backbone by name, images in, names and scores out."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._check import number
from pretrained_cnn._lazy import Reference
from pretrained_cnn.bundle.manifest import ExportCheck
from pretrained_cnn.bundle.store import Bundle, open_bundle, write_bundle
from pretrained_cnn.errors import (
    BundleError,
    DataError,
    ImageError,
    InvalidArgumentError,
    InvalidSpecError,
    MissingDependencyError,
    WeightsError,
)
from pretrained_cnn.evaluate import Evaluation, find_classes
from pretrained_cnn.explain import Explanation, Method, place
from pretrained_cnn.images.batch import Batch, batches, load
from pretrained_cnn.images.decode import decode
from pretrained_cnn.images.labeled import WNID, labeled
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.resize import policy_for, resize
from pretrained_cnn.images.sources import Item, items, one
from pretrained_cnn.labels import Label
from pretrained_cnn.registry import get_spec
from pretrained_cnn.results.result import Prediction, Result, status_of
from pretrained_cnn.runtimes import Format, Runtime, get_runtime, runtime_for
from pretrained_cnn.spec import ModelSpec, Output, ResizePolicy

if TYPE_CHECKING:
    import keras

    from pretrained_cnn.backbones.build import Backbone
    from pretrained_cnn.explain.explainer import Explainer
    from pretrained_cnn.transfer import Base, TrainingReport

__all__ = ["Classifier"]


class Classifier:
    """A pretrained network that names what is in an image.

    Args:
        model: A name that `list_models` gives (case, ``-`` and ``_`` do not matter), or a `ModelSpec`.
        weights: ``"imagenet"``, the path of a weights file, or None for random weights. A file without the
            1,000-class top serves `embed` only. A builder of your own that takes no ``weights`` brings its own.
        runtime: What executes the network, a name that `list_runtimes` gives. Any but ``"keras"`` takes a
            converted copy, which is made once and kept in a cache.
        labels: Names of the classes, or ``(id, name)`` pairs, in place of the spec's.
        resize: A `ResizePolicy` in place of the spec's.
        input_size: ``(height, width)`` in pixels in place of the spec's.
        image_policy: An `ImagePolicy`: the limits, and how images are decoded.
        **builder_options: Go to the builder: ``Classifier("MobileNet", alpha=0.25)``.

    The network is built when it is first needed. One classifier may be used from several threads at once.

    Raises UnknownModelError for a name that is not registered, InvalidArgumentError for arguments that cannot be
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
        image_policy: ImagePolicy = ImagePolicy(),
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
        self._runtime = get_runtime(runtime)
        self._runtime.require()
        if not isinstance(image_policy, ImagePolicy):
            raise InvalidArgumentError(f"image_policy={image_policy!r} is not an ImagePolicy")
        self._weights = weights if weights is None else os.fspath(weights)
        self._image_policy = image_policy
        self._options = builder_options
        self._lock = threading.RLock()
        self._backbone: Backbone | None = None
        self._bundle: Bundle | None = None
        self._runtimes: dict[tuple[Output, str | None], tuple[Runtime, int]] = {}
        self._explainers: dict[Method, Explainer] = {}
        self._history: list[dict[str, Any]] = []
        self._report: TrainingReport | None = None

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
        multi_label: bool = False,
        runtime: str = "keras",
        image_policy: ImagePolicy = ImagePolicy(),
    ) -> Self:
        """Wrap a trained Keras model with classes of its own.

        Args:
            model: One image input, channels last, and one output ``(N, C)``.
            labels: ``C`` names, or ``(id, name)`` pairs, in the order of the outputs.
            preprocess: From RGB float32 in 0..255 to what the model was trained with; None if it takes 0..255.
            resize: How images become the model's input size; by default `ResizePolicy()`, a center crop.
            input_size: ``(height, width)``, for a model whose input leaves them open.
            from_logits: The last layer is linear, and a softmax is to follow it. A linear last layer without
                ``from_logits=True`` is refused, and so is ``from_logits=True`` with an activation.
            runtime: As for `Classifier`.
            image_policy: As for `Classifier`.

        Raises InvalidArgumentError if model and arguments do not fit together.

        >>> import keras
        >>> model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Rescaling(1 / 255),
        ...     keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> clf = Classifier.from_keras(model, labels=["cat", "dog"], from_logits=True)
        >>> clf.predict_proba(["examples/images/clock.png"]).shape
        (1, 2)
        """
        from pretrained_cnn.backbones.wrap import wrap

        spec = wrap(
            model,
            labels=labels,
            preprocess=preprocess,
            resize=resize,
            input_size=input_size,
            from_logits=from_logits,
            multi_label=multi_label,
        )
        clf = cls(spec, runtime=runtime, image_policy=image_policy)
        clf._get_backbone()  # so that what does not fit is said here
        return clf

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, runtime: str | None = None, image_policy: ImagePolicy | None = None
    ) -> Self:
        """The classifier that `save` wrote to a bundle. It answers as the one that was saved.

        Args:
            path: The bundle's folder.
            runtime: What executes it; by default what its format is made for, which for the formats
                ``"openvino"``, ``"onnx"`` and ``"litert"`` takes neither TensorFlow nor Keras. A bundle of format
                ``"keras"`` takes any.
            image_policy: An `ImagePolicy` in place of the one that was saved.

        Code that is in a bundle is not run. Raises BundleError, which names the file, unless each byte is the one
        that was written; MissingDependencyError if the runtime is not installed.

        >>> Classifier.load("no.bundle")
        Traceback (most recent call last):
        ...
        pretrained_cnn.errors.BundleError: no.bundle does not exist
        """
        bundle = open_bundle(Path(path))
        format = bundle.manifest.format
        spec = runtime_for(format) if runtime is None else get_runtime(runtime)
        clf = cls(bundle.spec, runtime=spec.name, image_policy=image_policy or bundle.image_policy)
        if format == "keras":
            with _keras_is_needed():
                from pretrained_cnn.backbones.serving import open_graph

            clf._backbone = open_graph(bundle.load_graph(), bundle.spec, has_top=bundle.manifest.output == "scores")
            clf._spec = clf._backbone.spec
        else:
            clf._runtimes[bundle.manifest.output, None] = bundle.open(spec), bundle.width
        clf._bundle = bundle
        return clf

    @classmethod
    def train(
        cls,
        data: Any,
        model: str | ModelSpec | Classifier = "Xception",
        validation: Any = None,
        *,
        head: Literal["linear", "mlp"] = "linear",
        epochs: int | None = None,
        unfreeze: int | str = 0,
        augment: Any = None,
        learning_rate: float | None = None,
        class_weight: Literal["balanced"] | Mapping[str, float] | None = None,
        seed: int = 0,
        cache: bool = True,
        **arguments: Any,
    ) -> Self:
        """Make a classifier of your own classes: a pretrained network with a head that is fitted to your images.

        Args:
            data: A folder with a folder of images for each class; a CSV file with the columns ``path``, relative to
                the file, and ``label``; or pairs of an image and a label.
            model: A name, a `ModelSpec`, or a `Classifier` to go on from, which is not changed.
            validation: Images, given like ``data``, that choose the settings; by default a fifth of each class of
                ``data``, which the linear head is fitted on too in the end.
            head: ``"linear"``, logistic regression fitted to convergence, with the strength of its regularization
                chosen by the log loss on validation; or ``"mlp"``, with a hidden layer and dropout.
            epochs: How often, at most, the images are gone through to fine-tune (by default 20), or the embeddings
                to fit ``"mlp"`` (100). Five epochs without a lower log loss on validation end the training, and the
                best epoch's weights stay.
            unfreeze: How many of the network's last layers are then trained end to end, with the head: of the layers
                that have weights, BatchNormalization not counted; or the name of the first one. BatchNormalization
                stays as it is, statistics included.
            augment: How images are changed while layers are trained: ``"default"`` flips, zooms, moves and relights
                them a little; a keras layer that takes RGB ``(N, H, W, 3)`` in 0..255; None for not at all.
            learning_rate: Adam's, by default 1e-5 to fine-tune and 3e-4 for ``"mlp"``.
            class_weight: What an image of each class counts: ``"balanced"`` lets all classes count the same, a mapping
                gives classes a number other than 1.
            seed: Of everything random. The same seed, data and machine give the same weights.
            cache: Keep embeddings on disk, so that fitting again takes seconds, and after each epoch of fine-tuning the
                state, from which the same call goes on should it be killed.
            **arguments: As for `Classifier`: ``weights``, ``runtime``, ``resize``, ``input_size``,
                ``image_policy``, and builder options.

        Images that cannot be read are left out, logged, and listed in `report`. Raises DataError before any work for
        images from which nothing can be learnt, InvalidArgumentError for arguments that cannot be right,
        MissingDependencyError for ``"linear"`` without scikit-learn.

        >>> pairs = [("examples/images/clock.png", "clock"), ("examples/images/candle.png", "candle")]
        >>> clf = Classifier.train(pairs, "EfficientNetLite0", validation=pairs)
        >>> clf.predict("examples/images/clock.png").top.label
        'clock'
        """
        from pretrained_cnn import transfer

        settings = transfer.Settings(
            head=head,
            epochs=epochs,
            unfreeze=unfreeze,
            augment=augment,
            learning_rate=learning_rate,
            class_weight=class_weight,
            seed=seed,
            cache=cache,
        )
        source: Classifier
        if not isinstance(model, Classifier):
            source = cls(model, **arguments)
        elif arguments:
            given = ", ".join(f"{name}=..." for name in arguments)
            raise InvalidArgumentError(f"{given} cannot be given with a Classifier to go on from, which has its own")
        else:
            source = model._copy()
        trained = transfer.train(source._as_base(), data, validation, settings)
        clf = cls(trained.spec, runtime=source._runtime.name, image_policy=source._image_policy)
        clf._history, clf._report = trained.history, trained.report
        return clf

    @property
    def spec(self) -> ModelSpec:
        """What the classifier knows of its backbone, the arguments given included.

        >>> Classifier("MobileNet", input_size=(160, 160)).spec.input_size
        (160, 160)
        """
        return self._spec

    @property
    def runtime(self) -> str:
        """The name of what executes the network.

        >>> Classifier("MobileNet").runtime
        'keras'
        """
        return self._runtime.name

    @property
    def keras_model(self) -> keras.Model:
        """The network: float32 ``(N, H, W, 3)``, already preprocessed, to scores ``(N, C)``. Builds it if need be.

        >>> Classifier("MobileNet", weights=None, alpha=0.25).keras_model.count_params()
        475544
        """
        return self._get_backbone().model

    @property
    def history(self) -> list[dict[str, Any]]:
        """What `train` tried, in its order: a row for each strength of regularization, or each epoch; else empty.

        >>> Classifier("MobileNet").history
        []
        """
        return self._history

    @property
    def report(self) -> TrainingReport | None:
        """What `train` did; None for a classifier that was not trained here.

        >>> Classifier("MobileNet").report is None
        True
        """
        return self._report

    def __call__(self, image: Any, *, top: int = 5, min_score: float | None = None) -> Result:
        """The same as `predict`.

        >>> Classifier("EfficientNetLite0")("examples/images/clock.png").label
        'analog_clock'
        """
        return self.predict(image, top=top, min_score=min_score)

    @property
    def labels(self) -> tuple[Label, ...]:
        """The classes, in the order of the scores; empty for a spec with a decode function of its own.

        >>> Classifier("MobileNet").labels[281].name
        'tabby'
        """
        return self._spec.labels

    def predict(self, image: Any, *, top: int = 5, min_score: float | None = None) -> Result:
        """Name what is in one image.

        Args:
            image: A path, an http(s) address, bytes, a binary file, a Pillow image, or an array or tensor
                of shape ``(h, w, 3)``, ``(h, w)``, ``(h, w, 1)`` or ``(h, w, 4)``, uint8 or float in 0..255.
            top: How many classes to name; more than there are gives all of them.
            min_score: The status of a result whose best score is below, 0 to 1, is ``"uncertain"``.

        Raises ImageError, which names the image and says what is wrong with it.

        >>> Classifier("EfficientNetLite0").predict("examples/images/clock.png").top.id
        'n02708093'
        """
        _check_count("top", top)
        _check_score(min_score)
        item = one(image)
        pixels = load(item, self._spec.input_size, self._spec.resize, self._image_policy, self._spec.channels)
        runtime, _ = self._get_runtime("scores")
        (predictions,) = self._decode(runtime.run(pixels[np.newaxis])[0], top)
        return Result(item.name, predictions, image=_kept(item), status=status_of(predictions, min_score))

    def predict_batch(
        self,
        images: Any,
        *,
        top: int = 5,
        min_score: float | None = None,
        batch_size: int | None = None,
        errors: Literal["raise", "return"] = "raise",
    ) -> list[Result]:
        """Name what is in several images: one `Result` for each, in their order.

        Args:
            images: An iterable of images as `predict` takes them, or any other source that `stream` takes.
            top: How many classes to name.
            min_score: As for `predict`.
            batch_size: As for `stream`.
            errors: ``"raise"`` raises the ImageError of the first bad image; ``"return"`` gives a bad
                image a `Result` with its error, in its place.

        >>> clf = Classifier("EfficientNetLite0")
        >>> clf.predict_batch(["examples/images/clock.png", "no.jpg"], errors="return")[1]
        Result('no.jpg': error: there is no such file)
        """
        results = list(self.stream(images, top=top, min_score=min_score, batch_size=batch_size, errors=errors))
        if isinstance(images, list | tuple | np.ndarray):  # the caller has them all in memory anyway
            kept = map(_kept, items(images, self._image_policy))
            results = [replace(result, image=image) for result, image in zip(results, kept, strict=True)]
        return results

    def stream(
        self,
        source: Any,
        *,
        top: int = 5,
        min_score: float | None = None,
        batch_size: int | None = None,
        workers: int | None = None,
        errors: Literal["raise", "return"] = "return",
        prefetch: int | None = None,
    ) -> Iterator[Result]:
        """Name what is in any number of images, one after the other, in bounded memory.

        Args:
            source: A folder (searched recursively), a glob, a tar or zip archive, a ``.txt`` file with a path or URL
                in each line, ``"-"`` for the same from standard input, or any iterable, endless ones included, of
                images or of ``(name, image)`` pairs.
            top: How many classes to name.
            min_score: As for `predict`.
            batch_size: How many images the network takes at once; by default 16.
            workers: How many threads decode; by default one for each core that the process may use, at most 16.
            errors: As for `predict_batch`.
            prefetch: How many batches of decoded images are alive at most: the one that the network is at, and those
                that are decoded meanwhile. By default as many as give each worker two images to do, at least 3.

        Results come in the order of the images. An iterable is asked for its images in the thread that asks for
        results, batch by batch; what it raises is raised, and while it waits, so does the stream. Closing
        the iterator, or an exception in what consumes it, ends the threads, each with the image that it is at.
        Raises ImageError if there is no image in a folder, a glob, an archive or a text file.

        >>> clf = Classifier("EfficientNetLite0")
        >>> sum(1 for result in clf.stream("examples/images/*.png"))
        6
        """
        _check_count("top", top)
        _check_score(min_score)
        if errors not in ("raise", "return"):
            raise InvalidArgumentError(f'errors={errors!r} is not known; choose "raise" or "return"')
        return self._stream(self._batches(source, batch_size, workers, prefetch), top, errors, min_score)

    def predict_proba(self, images: Any, *, batch_size: int | None = None) -> NDArray[np.float32]:
        """The probabilities of all classes: float32 ``(N, C)``, a row for each image, in their order.

        ``images`` are as for `predict_batch`. Raises the ImageError of the first bad image.

        >>> Classifier("EfficientNetLite0").predict_proba(["examples/images/clock.png"]).shape
        (1, 1000)
        """
        return self._run("scores", images, batch_size)

    def embed(self, images: Any, *, layer: str | None = None, batch_size: int | None = None) -> NDArray[np.float32]:
        """What the network sees in each image: float32 ``(N, embedding_size)``, in their order.

        An embedding is the input of the last dense layer; for weights without a top, the pooled features.
        With ``layer``, the name of one of ``keras_model.layers``, it is what that layer gives, ``(N, D)``, a map as the
        mean over its pixels. ``images`` are as for `predict_batch`. Raises the ImageError of the first bad image,
        and InvalidArgumentError if there is no such layer.

        >>> clf = Classifier("EfficientNetLite0")
        >>> clf.embed(["examples/images/clock.png"]).shape
        (1, 1280)
        >>> clf.embed(["examples/images/clock.png"], layer="block10_add").shape
        (1, 112)
        """
        return self._run("embedding", images, batch_size, layer)

    def evaluate(
        self, source: Any, labels: Sequence[str] | None = None, *, batch_size: int | None = None
    ) -> Evaluation:
        """How often the classifier is right about images whose classes are known, and where it is wrong.

        Args:
            source: A folder with a folder of images for each class, a CSV file with the columns ``path`` and
                ``label``, or pairs of an image and a label. For ImageNet's classes, a WordNet id in the name of a
                folder or an image is its label.
            labels: Where given, the class of each image, and ``source`` is images as `predict_batch` takes them.
            batch_size: As for `stream`.

        A label is a class's id, or its name if no other class has it. Bad images are listed in `Evaluation.failed`.
        Raises DataError for labels that are not the classifier's, or if no image can be read.

        >>> clf = Classifier("EfficientNetLite0")
        >>> clf.evaluate([("examples/images/clock.png", "analog_clock"), ("examples/images/candle.png", "candle")])
        Evaluation(2 images, top1=1.000 (0.342 to 1.000))
        """
        images, targets = self._with_targets(source, labels)
        _, width = self._get_runtime("scores")
        names: list[str] = []
        errors: list[ImageError | None] = []
        rows = [np.empty((0, width), np.float32)]
        for some, failures, _, scores in self._rows("scores", self._batches(images, batch_size), "return"):
            names += some
            errors += failures
            rows.append(scores)
        return Evaluation(
            self._spec.labels,
            targets[[error is None for error in errors]],
            np.concatenate(rows),
            [name for name, error in zip(names, errors, strict=True) if error is None],
            [error for error in errors if error is not None],
        )

    def explain(self, image: Any, target: int | str | None = None, method: Method = "grad_cam") -> Explanation:
        """Where in an image the network sees a class: a heat map over the image.

        Args:
            image: As for `predict`.
            target: The class: its index, its id, or its name if no other class has it; by default the best one.
            method: ``"grad_cam"``, ``"grad_cam++"`` or ``"hires_cam"``, see ``pretrained_cnn.explain``.

        The score is that of the image decoded in full, where `predict` may take a draft of a large JPEG. Gradients
        come from Keras, whatever the runtime, so a bundle must be of format ``"keras"``.

        Raises ImageError as `predict` does; DataError for a class that is not there; InvalidArgumentError for a network
        without a map of features or a method that is not known; BundleError for a bundle of another format.

        >>> clf = Classifier("EfficientNetLite0")
        >>> explanation = clf.explain("examples/images/clock.png", "wall_clock")
        >>> explanation.prediction.label, explanation.heat_map.max()
        ('wall_clock', np.float32(1.0))
        >>> explanation.overlay().size
        (480, 360)
        """
        explainer = self._get_explainer(method)
        item = one(image)
        full = decode(item, self._image_policy)
        policy = policy_for(item.image, full.size, self._spec.input_size, self._spec.resize)
        pixels = resize(full, self._spec.input_size, policy, self._spec.channels)[np.newaxis]
        ((scores,),) = self._get_runtime("scores")[0].run(pixels)
        index = int(scores.argmax()) if target is None else self._find_class(target, len(scores))
        (heat_map,) = explainer(pixels, np.array([index]))
        ((prediction,),) = self._decode(np.eye(1, len(scores), index, np.float32), top=1)
        return Explanation(
            item.name,
            replace(prediction, score=float(scores[index]), index=index),
            method,
            place(heat_map, full.size, self._spec.input_size, policy),
            full,
        )

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        format: Format = "keras",
        precision: Literal["float32", "float16"] = "float32",
        quantize: Any = None,
        output: Output | None = None,
    ) -> ExportCheck:
        """Write the classifier to a bundle: a folder with the model, its preprocessing inside, and the labels.

        Args:
            path: The folder, which must not exist yet.
            format: ``"keras"`` can be trained further, and loaded with any runtime. ``"openvino"``, ``"onnx"`` and
                ``"litert"`` need neither TensorFlow nor Keras where they are loaded. ``"saved_model"`` is what
                TensorFlow Serving takes: give it ``path/model``.
            precision: ``"float16"`` halves the size of an ``"openvino"`` or ``"litert"`` model. It computes in
                float32 all the same.
            quantize: Images, as `predict_batch` takes them, of the kind that will be classified, some hundreds
                rather than tens. Their ranges make an ``"openvino"`` model of 8-bit integers.
            output: ``"scores"`` for a bundle that predicts, ``"embedding"`` for one that embeds; by default
                whichever the weights allow, scores first. Format ``"keras"`` with scores does both.

        Before it returns, the bundle is loaded again, and must give the same scores as this classifier within
        1e-4 (float16: 0.05) and the same best classes, for four test images. Of the images to quantize
        by, nine of ten must keep their best class, a tie within 0.1 aside. Returns how well they agree.

        Raises BundleError, and leaves nothing behind, if they do not agree, or if the format cannot express the
        network; InvalidArgumentError for arguments that do not go together; MissingDependencyError for a format
        whose package is not installed.

        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/lite.bundle"
        >>> Classifier("EfficientNetLite0").save(path).largest_difference < 1e-4
        True
        >>> Classifier.load(path).predict("examples/images/clock.png").top.label
        'analog_clock'
        """
        backbone = self._get_backbone()
        from pretrained_cnn.backbones.serving import serving_graph

        card = None
        if self._report is not None:
            from pretrained_cnn.transfer import model_card

            card = model_card(self._report, self._spec)
        output = output or ("scores" if backbone.has_top else "embedding")
        calibration = None
        if quantize is not None:
            if precision != "float32" or output != "scores":
                raise InvalidArgumentError('quantize goes with precision="float32" and output="scores" only')
            with contextlib.closing(self._batches(quantize, None)) as stream:
                batches_ = [_pixels(batch) for batch in stream]
            if not batches_:
                raise InvalidArgumentError("quantize=[] has no image; give some hundreds of the kind to be classified")
            calibration = np.concatenate(batches_)
        return write_bundle(
            Path(path),
            serving_graph(backbone, [output]),
            self._spec,
            self._image_policy,
            format=format,
            output=output,
            precision=precision if calibration is None else "int8",
            calibration=calibration,
            card=card,
        )

    def _run(
        self, output: Output, images: Any, batch_size: int | None, layer: str | None = None
    ) -> NDArray[np.float32]:
        _, width = self._get_runtime(output, layer)
        rows = self._rows(output, self._batches(images, batch_size), "raise", layer)
        return np.concatenate([np.empty((0, width), np.float32), *(found for _, _, _, found in rows)])

    def _with_targets(self, source: Any, labels: Sequence[str] | None = None) -> tuple[list[Any], NDArray[np.intp]]:
        """The images that `evaluate` means, not yet decoded, and the column of each one's class."""
        table = self._spec.labels
        if not table:
            raise InvalidArgumentError(f"{self._spec.name} has a decode function in place of labels; give labels=[...]")
        if labels is None:
            name, images, labels, _ = labeled(source, wnids=all(WNID.fullmatch(label.id) for label in table))
        else:
            name, images = "labels", [(item.name, item.image) for item in items(source, self._image_policy)]
            if len(images) != len(labels):
                raise DataError(f"{len(labels)} labels do not fit {len(images)} images")
        return images, find_classes(labels, table, name)

    def _stream(self, stream: Generator[Batch], top: int, errors: str, min_score: float | None) -> Iterator[Result]:
        with contextlib.closing(self._rows("scores", stream, errors)) as batches_:
            for names, failures, paths, scores in batches_:
                decoded = iter(self._decode(scores, top) if len(scores) else ())
                for name, error, path in zip(names, failures, paths, strict=True):
                    predictions = next(decoded) if error is None else ()
                    yield Result(name, predictions, error, path, status_of(predictions, min_score))

    def _rows(
        self, output: Output, stream: Generator[Batch], errors: str, layer: str | None = None
    ) -> Generator[tuple[list[str], list[ImageError | None], list[str | None], NDArray[np.float32]]]:
        """What the network gives, a batch at a time: names, errors, paths, and a row for each name without error."""
        runtime, width = self._get_runtime(output, layer)
        with contextlib.closing(stream):  # whatever happens to the consumer, the threads end
            for names, failures, pixels, paths in stream:
                if errors == "raise":
                    _raise_first(failures)
                rows = runtime.run(pixels)[0] if len(pixels) else np.empty((0, width), np.float32)
                del pixels  # before the next batch is asked for
                yield names, failures, paths, rows

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
            items(source, self._image_policy),
            self._spec.input_size,
            self._spec.resize,
            self._image_policy,
            channels=self._spec.channels,
            batch_size=batch_size,
            workers=workers,
            prefetch=prefetch,
        )

    def _decode(self, scores: NDArray[np.float32], top: int) -> list[tuple[Prediction, ...]]:
        """Scores ``(N, C)`` to predictions by the spec's decode function, which may be the user's own."""
        name = self._spec.name
        rows = self._spec.decode(scores, top=top)
        try:
            decoded = [tuple(map(_as_prediction, image)) for image in rows]
        except (TypeError, ValueError) as error:
            raise InvalidSpecError(f"decode of {name} gave rows that are not (id, label, score): {error}") from error
        if len(decoded) != len(scores):
            raise InvalidSpecError(f"decode of {name} gave {len(decoded)} answers for {len(scores)} images")
        return decoded

    def _get_backbone(self) -> Backbone:
        with self._lock:
            if self._backbone is None:
                if self._bundle is not None:
                    raise BundleError(
                        f"{self._bundle.path} is of format={self._bundle.manifest.format!r} and gives "
                        f"{self._bundle.manifest.output} only; what else is in the network is in a bundle of "
                        'format="keras"'
                    )
                with _keras_is_needed():
                    from pretrained_cnn.backbones.build import build

                self._backbone = build(self._spec, weights=self._weights, options=self._options)
            return self._backbone

    def _get_runtime(self, output: Output, layer: str | None = None) -> tuple[Runtime, int]:
        """The runtime for an output, and the output's width."""
        with self._lock:
            if (output, layer) not in self._runtimes:
                open_ = self._open_graph if self._runtime.format == "keras" else self._open_converted
                self._runtimes[output, layer] = open_(output, layer)
            return self._runtimes[output, layer]

    def _get_explainer(self, method: Method) -> Explainer:
        with self._lock:
            if method not in self._explainers:
                backbone = self._get_backbone()
                from pretrained_cnn.explain.explainer import Explainer

                self._explainers[method] = Explainer(backbone, method)
            return self._explainers[method]

    def _find_class(self, target: int | str, width: int) -> int:
        """The column of a class that is named by it, its id or its name."""
        if isinstance(target, str) and self._spec.labels:
            return int(find_classes([target], self._spec.labels, "target")[0])
        if not isinstance(target, int) or isinstance(target, bool) or not 0 <= target < width:
            raise InvalidArgumentError(
                f"target={target!r} is neither a class's name nor a number from 0 to {width - 1}"
            )
        return target

    def _copy(self) -> Classifier:
        """A classifier that gives the same answers, with a network of its own."""
        copied = Classifier(
            self._spec,
            weights=self._weights,
            runtime=self._runtime.name,
            image_policy=self._image_policy,
            **self._options,
        )
        # What is not built yet, and will come out the same, can wait.
        if self._backbone is not None or self._weights is None or not isinstance(self._spec.builder, Reference):
            backbone = self._get_backbone()
            from pretrained_cnn.backbones.build import copy

            copied._backbone = copy(backbone)
        return copied

    def _as_base(self) -> Base:
        """What training starts from."""
        from pretrained_cnn.transfer import Base

        return Base(
            spec=self._spec,
            weights=self._weights,
            options=self._options,
            runtime=self._runtime.name,
            image_policy=self._image_policy,
            built=self._backbone is not None,
            backbone=self._get_backbone,
            embed=lambda pixels: self._get_runtime("embedding")[0].run(pixels)[0],
        )

    def _open_graph(self, output: Output, layer: str | None) -> tuple[Runtime, int]:
        from pretrained_cnn.backbones.serving import serving_graph

        graph = serving_graph(self._get_backbone(), [output], layer)
        return self._runtime.factory(graph, [output]), graph.output[output].shape[1]

    def _open_converted(self, output: Output, layer: str | None) -> tuple[Runtime, int]:
        """The runtime on a converted graph: the one in the cache, else a new one."""
        from pretrained_cnn import identity
        from pretrained_cnn.bundle import converted

        format, bundle = self._runtime.format, None
        key = None
        if self._backbone is None:
            what = output if layer is None else f"{output} {layer}"
            key = identity.conversion_key(self._spec, self._weights, self._options, what, format)
            bundle = converted.find(key)
        if bundle is None:
            backbone = self._get_backbone()
            from pretrained_cnn.backbones.serving import serving_graph

            graph = serving_graph(backbone, [output], layer)
            if self._weights is not None:  # random ones will not be seen again
                key = key or identity.conversion_key_of_graph(graph, format)
            with converted.convert(graph, self._spec, output, format, key) as bundle:
                return bundle.open(self._runtime), bundle.width
        return bundle.open(self._runtime), bundle.width

    def __repr__(self) -> str:
        if self._bundle is not None:
            return f"Classifier.load({str(self._bundle.path)!r}, runtime={self._runtime.name!r})"
        if self._report is not None:
            return f"Classifier.train(..., {self._report.model!r}, runtime={self._runtime.name!r})"
        options = "".join(f", {key}={value!r}" for key, value in self._options.items())
        return f"Classifier({self._spec.name!r}, weights={self._weights!r}, runtime={self._runtime.name!r}{options})"


@contextlib.contextmanager
def _keras_is_needed() -> Iterator[None]:
    """Where Keras, or what it computes with, cannot be imported: say what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in ("keras", "tensorflow"):
            raise
        raise MissingDependencyError(error.name, extra=None) from error


def _as_prediction(row: Prediction | Sequence[Any]) -> Prediction:
    """A row of a decode function, with its index or, like Keras's, without."""
    if isinstance(row, Prediction):
        return row
    id_, label, score, *index = row
    return Prediction(id_, label, float(score), *(index or [None]))


def _kept(item: Item) -> Any:
    """What shows the image again; None for an open file, which is read only once."""
    return item.path or (None if hasattr(item.image, "read") else item.image)


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidArgumentError(f"{name}={value!r} is not a whole number of at least 1")


def _check_score(min_score: float | None) -> None:
    if min_score is not None:
        number("min_score", min_score, least=0, most=1)


def _pixels(batch: Batch) -> NDArray[np.uint8]:
    """The pixels of a batch without an error."""
    _raise_first(batch.errors)
    return batch.pixels


def _raise_first(errors: Iterable[Exception | None]) -> None:
    for error in errors:
        if error is not None:
            raise error
