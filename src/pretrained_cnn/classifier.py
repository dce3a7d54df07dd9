"""The facade: a backbone by name, images in, names and scores out."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from pretrained_cnn._check import choice, hinting, no_attribute, number, whole_number
from pretrained_cnn._lazy import Reference
from pretrained_cnn._process import warn
from pretrained_cnn._progress import Progress, report, showing
from pretrained_cnn._types import ImageLike, ImagesLike, LabeledImages
from pretrained_cnn.bundle.formats import Dtype
from pretrained_cnn.bundle.manifest import ExportCheck
from pretrained_cnn.bundle.store import Bundle, unpack
from pretrained_cnn.engine import Engine, Rows, check_speed, open_model
from pretrained_cnn.errors import BundleError, InvalidArgumentError
from pretrained_cnn.foreign.files import ModelFile
from pretrained_cnn.foreign.labels import NUMBERS
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.images.sources import Item, iter_items, single_item
from pretrained_cnn.images.tables import Columns
from pretrained_cnn.labels import Label, Prediction
from pretrained_cnn.models import find_model
from pretrained_cnn.results.result import EmbeddingResult, Result, ResultList, status_of
from pretrained_cnn.results.rows import EMBEDDINGS, RESULTS
from pretrained_cnn.results.settings import settings_of
from pretrained_cnn.results.stream import ResultStream, Sources
from pretrained_cnn.runtimes import Precision
from pretrained_cnn.spec import HeatMapMethod, ModelSpec, Output, ResizePolicy

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure

    from pretrained_cnn.evaluate import Evaluation, MultiLabelEvaluation
    from pretrained_cnn.explain import Explanation
    from pretrained_cnn.transfer.history import TrainingHistory
    from pretrained_cnn.transfer.report import Trained, TrainingReport
    from pretrained_cnn.transfer.settings import MLP
    from pretrained_cnn.trust import Calibrated, Calibration, Comparison

__all__ = ["Classifier"]

SHOWN = 20
"""The number of classes that a notebook lists."""


@hinting
class Classifier:
    """Classifies images with a pretrained network, by name.

    Args:
        model: A name that `list_models` gives (case, ``-`` and ``_`` do not matter), a `ModelSpec`, or the folder of a
            bundle, which has its own weights, labels, resize policy and input size. An ``Engine`` is taken as it is.
        weights: ``"imagenet"``, the path of a weights file, or None for random weights. A file without the
            1,000-class head works with `embed` only. A builder without an argument ``weights`` has its own weights.
        runtime: What executes the network: a name that `list_runtimes` gives. All except ``"keras"`` execute a
            converted copy, which is made once and kept in a cache. ``"auto"`` chooses the fastest installed one. On
            first use, the network is converted for each runtime and timed with one image for one or two seconds. The
            result is kept for this machine, network and versions; `runtime` names it.
        precision: What the runtime computes in: ``"float32"``; with ``runtime="openvino"`` also ``"bfloat16"`` and
            ``"float16"``, if the CPU has instructions for them, and ``"int8"``. `list_precisions` lists those of
            this machine. ``"auto"`` also times the floating-point ones and chooses the fastest.
        quantize: About 300 images like those to classify, for ``precision="int8"``: any source that `stream` takes. A
            fifth of them is held back for a check: 95 % of those must keep their best class.
        labels: Names of the classes, or ``(id, name)`` pairs, in place of the spec's.
        resize: A `ResizePolicy` in place of the spec's.
        input_size: ``(height, width)`` in pixels in place of the spec's.
        image_policy: An `ImagePolicy`: limits, and how images are decoded.
        threads: Number of threads that the runtime uses, for ``"openvino"``, ``"onnxruntime"`` and ``"litert"``. By
            default, one for each core that the process may use; the quota of a container counts.
        follow_links: Whether the files of a bundle may be links to files outside of its folder, as in the snapshot of
            a Hugging Face repository.
        **builder_options: Arguments of the builder: ``Classifier("MobileNet", alpha=0.25)``.

    The network is built on first use. Several threads may use one classifier at the same time. `close`, or a ``with``
    block, frees the memory of the runtime.

    Raises UnknownModelError if no model has the name, InvalidArgumentError for invalid arguments, and WeightsError if
    the weights are missing, broken, or those of another network.

    >>> clf = Classifier("EfficientNetLite0")
    >>> clf
    Classifier('EfficientNetLite0', weights='imagenet', runtime='keras')
    >>> clf.predict("examples/images/clock.png").top.label
    'analog_clock'
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ModelSpec | Engine | Trained | Calibrated = "Xception",
        *,
        weights: str | os.PathLike[str] | None = "imagenet",
        runtime: str | None = None,
        precision: Precision | Literal["auto"] = "float32",
        quantize: Any = None,
        labels: Sequence[str | tuple[str, str]] | None = None,
        resize: ResizePolicy | None = None,
        input_size: tuple[int, int] | None = None,
        image_policy: ImagePolicy | None = None,
        threads: int | None = None,
        follow_links: bool = False,
        **builder_options: Any,
    ) -> None:
        ready, self._trained, calibration = _parts(model)
        self._engine = (
            ready
            if isinstance(ready, Engine)
            else open_model(
                ready,
                weights=weights,
                runtime=runtime,
                precision=precision,
                quantize=quantize,
                labels=labels,
                resize=resize,
                input_size=input_size,
                image_policy=image_policy,
                threads=threads,
                follow_links=follow_links,
                options=builder_options,
            )
        )
        self._is_calibrated_here = calibration is not None
        self._calibration = calibration or _calibration_of(self._engine.bundle)

    @classmethod
    def from_keras(
        cls,
        model: Any,
        *,
        labels: Sequence[str | tuple[str, str]],
        preprocess: Any = None,
        scale: float | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        resize: ResizePolicy | None = None,
        input_size: tuple[int, int] | None = None,
        from_logits: bool = False,
        multi_label: bool = False,
        runtime: str | None = None,
        precision: Precision | Literal["auto"] = "float32",
        quantize: Any = None,
        image_policy: ImagePolicy = ImagePolicy(),
    ) -> Self:
        """Make a classifier from a trained Keras model with its own classes.

        Args:
            model: A ``keras.Model`` with one image input, RGB or gray, and one output: probabilities ``(N, C)``, or
                ``(N, 1)``, the probability of the second of two labels. A model of tf_keras (Keras 2) is rebuilt in
                Keras 3 and compared, as `from_file` does with files of Keras 2.
            labels: ``C`` names, or ``(id, name)`` pairs, in the order of the outputs; or a mapping between names
                and indices, as the ``class_indices`` of Keras's generators.
            preprocess: Converts RGB float32 in 0..255 to the values that the model was trained with. A function, or the
                name of a preset: ``"keras_tf"``, ``"keras_caffe"``, ``"keras_torch"``, ``"unit"``,
                ``"teachable_machine"`` or ``"none"``. None if the model takes 0..255.
            scale: With ``mean`` and ``std``, in place of ``preprocess``: the model takes ``(x * scale - mean) / std``
                of a pixel value ``x`` in 0..255.
            mean: One number, or one for each channel; by default 0.
            std: One number, or one for each channel; by default 1.
            resize: How images are resized to the model's input size. By default, as Keras's own loaders do:
                ``ResizePolicy("squash", interpolation="bilinear", antialias=False)``. Pixels in memory of exactly
                that size are taken as they are.
            input_size: ``(height, width)``, for a model whose input does not fix them.
            from_logits: The outputs are logits. A softmax is added; or a sigmoid, for one output or with
                ``multi_label=True``.
            multi_label: An image may have several labels, or none: each output is a probability of its own.
            runtime: As for `Classifier`.
            precision: As for `Classifier`.
            quantize: As for `Classifier`.
            image_policy: As for `Classifier`.

        The model is run on four images, and its outputs are checked. Raises InvalidArgumentError if they are not finite
        or not what the arguments say, or if model and arguments do not match.

        >>> import keras
        >>> model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Rescaling(1 / 255),
        ...     keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
        >>> clf = Classifier.from_keras(model, labels=["cat", "dog"], from_logits=True)
        >>> clf.predict_proba(["examples/images/clock.png"]).shape
        (1, 2)
        """
        arguments = {"labels": labels, "preprocess": preprocess, "scale": scale, "mean": mean, "std": std}
        arguments |= {"resize": resize, "input_size": input_size, "from_logits": from_logits}
        arguments |= {"multi_label": multi_label}
        engine = Engine.from_object(
            model, runtime=runtime, precision=precision, quantize=quantize, image_policy=image_policy, **arguments
        )
        return cls(engine)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        labels: Any = None,
        preprocess: Any = None,
        scale: float | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        channels: Literal["rgb", "bgr"] | None = None,
        layout: Literal["NHWC", "NCHW"] | None = None,
        resize: ResizePolicy | None = None,
        input_size: tuple[int, int] | None = None,
        from_logits: bool = False,
        multi_label: bool = False,
        signature: str | None = None,
        custom_objects: Mapping[str, Any] | None = None,
        trust: bool = False,
        runtime: str | None = None,
        precision: Precision | Literal["auto"] = "float32",
        image_policy: ImagePolicy = ImagePolicy(),
        threads: int | None = None,
    ) -> Self:
        """Open a model file of Keras, TensorFlow Lite, ONNX or OpenVINO as a classifier.

        The first bytes of a file decide its format, not its name. ``Classifier(path, labels=...)``,
        ``Classifier.train(data, path)`` and ``--model PATH`` also open it.

        Args:
            path: The file. Keras archives (``.keras``) and HDF5 files (``.h5``) are loaded by Keras.
            labels: The names of the classes in the order of the outputs: a list, a mapping, the path of a file with a
                name in each line, or ``"numbers"``. None if the file has them. 1,000 or 1,001 scores without names are
                taken for ImageNet's classes; a log message says so.
            preprocess: Converts RGB float32 in 0..255 to the values that the network was trained with, as for
                `from_keras`. None if the file defines it: by metadata, by an integer input, or by arithmetic at the
                start of the graph. Otherwise it is required, because a wrong value gives wrong answers without an
                error.
            scale: With ``mean`` and ``std``, in place of ``preprocess``: the network takes ``(x * scale - mean) / std``
                of a pixel value ``x`` in 0..255.
            mean: One number, or one for each channel, in the network's order.
            std: One number, or one for each channel, in the network's order.
            channels: The network's order of channels, for files that are not Keras's; by default ``"rgb"``.
            layout: The order of the axes, for files that are not Keras's; by default what the shape shows.
            resize: How images become the network's size; by default as for `from_keras`.
            input_size: ``(height, width)``, if the file does not fix them.
            from_logits: The outputs are logits, or logarithms of probabilities.
            multi_label: An image may have several labels, or none.
            signature: The signature of a SavedModel, if several fit.
            custom_objects: Your own classes and functions that a Keras file names: a mapping from names to objects.
            trust: Run code that is stored in a Keras file, such as that of a Lambda layer. Use it only for files
                whose author you trust, as for a program.
            runtime: As for `Classifier`; by default the runtime of the file's format.
            precision: As for `Classifier`.
            image_policy: As for `Classifier`.
            threads: As for `Classifier`.

        Code in a file is rejected by its name before any loader reads it. The network is run on test images, and its
        outputs are checked. Raises ModelFileError for a file that is damaged, unsafe or no classifier. Raises
        InvalidArgumentError for missing or wrong arguments, with what to give, and for a path without a model file.

        >>> import keras, os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "colors.keras")
        >>> keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D(),
        ...     keras.layers.Dense(2, "softmax")]).save(path)
        >>> clf = Classifier.from_file(path, labels=["warm", "cold"], preprocess="unit")
        >>> clf.predict_proba(["examples/images/clock.png"]).shape
        (1, 2)
        """
        file = find_model(Path(path))
        if not isinstance(file, ModelFile):
            raise InvalidArgumentError(f"{path} is a bundle; open it with Classifier.load({str(path)!r})")
        return cls(
            Engine.from_file(
                file,
                labels=labels,
                preprocess=preprocess,
                scale=scale,
                mean=mean,
                std=std,
                channels=channels,
                layout=layout,
                resize=resize,
                input_size=input_size,
                from_logits=from_logits,
                multi_label=multi_label,
                signature=signature,
                custom_objects=custom_objects,
                trust=trust,
                runtime=runtime,
                precision=precision,
                image_policy=image_policy,
                threads=threads,
            )
        )

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        runtime: str | None = None,
        precision: Precision | Literal["auto"] = "float32",
        image_policy: ImagePolicy | None = None,
        threads: int | None = None,
        follow_links: bool = False,
    ) -> Self:
        """Open the bundle that `save` wrote. The classifier gives the same answers as the saved one.

        Args:
            path: The bundle's folder.
            runtime: What executes it; by default the runtime of its format. Those of the formats ``"openvino"``,
                ``"onnx"`` and ``"litert"`` need neither TensorFlow nor Keras. A bundle of format ``"keras"`` works with
                every runtime.
            precision: As for `Classifier`, except ``"int8"``: save with ``quantize=`` for that.
            image_policy: An `ImagePolicy` in place of the one that was saved.
            threads: As for `Classifier`.
            follow_links: As for `Classifier`.

        Code in a bundle is not run. Raises BundleError, which names the file, if a single byte has changed, and
        MissingDependencyError if the runtime is not installed.

        >>> Classifier.load("no.bundle")
        Traceback (most recent call last):
        ...
        pretrained_cnn.errors.BundleError: no.bundle does not exist
        """
        return cls(
            Engine.from_bundle(
                path, runtime, image_policy, precision=precision, threads=threads, follow_links=follow_links
            )
        )

    @classmethod
    def train(
        cls,
        data: LabeledImages,
        model: str | os.PathLike[str] | ModelSpec | Classifier = "Xception",
        validation: LabeledImages | float | None = None,
        *,
        path_column: str | None = None,
        label_column: str | None = None,
        groups: str | Iterable[Any] | None = None,
        head: Literal["linear", "mlp"] | MLP | keras.Layer | Sequence[keras.Layer] = "linear",
        epochs: int | None = None,
        patience: int | None = None,
        batch_size: int | None = None,
        optimizer: str | keras.optimizers.Optimizer | None = None,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule | None = None,
        label_smoothing: float | None = None,
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        unfreeze: int | str = 0,
        augment: Any = None,
        copies: int | None = None,
        class_weight: Literal["balanced"] | Mapping[str, float] | None = None,
        sample_weight: Any = None,
        multi_label: bool = False,
        seed: int = 0,
        cache: bool = True,
        progress: bool | Progress | None = None,
        **arguments: Any,
    ) -> Self:
        """Train a classifier of your own classes: a pretrained network with a new head, fitted to your images.

        Args:
            data: Images with their classes, as one of these:

                - A folder with a folder of images for each class, or a zip or tar archive of one; ``data.zip/train`` is
                  a folder within an archive. If the folder contains the parts of a data set, ``train``, ``validation``
                  (or ``val``, ``valid``) and ``test``, the first two are used, each with a folder for each class.
                - A CSV or TSV file with the columns ``path``, relative to the file, and ``label``. Commas, semicolons
                  or tabs separate them, in UTF-8, UTF-16 or Latin-1. Keras's column names ``filename`` and ``class``
                  also work.
                - The same table as a pandas or Polars data frame, an Arrow table, or a mapping of columns.
                - ``(X, y)``, a tuple: images as `predict_batch` takes them, such as paths or an array ``(N, h, w, 3)``,
                  and a label for each: text or a whole number, ``(N,)`` or ``(N, 1)``, or one-hot ``(N, C)``.
                - A ``tf.data.Dataset``; a data set of PyTorch, such as an ``ImageFolder``; a data set of Hugging Face.
                  Images are read before any transform, if the data set offers them.
                - Pairs of an image and a label.
            model: What to start from: what `Classifier` takes, or a `Classifier`, which is not changed.
            validation: Images, given like ``data``, for choosing the settings; or a share of ``data``, such as 0.2,
                that is set aside of each class and not fitted on. By default, ``"mlp"`` and ``unfreeze`` set aside a
                fifth of each class of ``data``. ``"linear"`` is fitted on all of ``data``. Its settings are chosen by
                5-fold cross-validation or, from 1,000 images on, by a fifth of each class.
            path_column: The column of a table with the images, if it has another name.
            label_column: The column of a table with the classes, if it has another name.
            groups: What each image of ``data`` shows, ``(n,)``, in the given order, or the column of a table with it.
                Images of one person or one thing stay on one side of every split.
            head: ``"linear"`` is logistic regression, fitted to convergence. The log loss on validation
                chooses the strength of its regularization, or cross-validation, if validation has fewer than 200 images
                and ``data`` has more. Other heads are trained epoch by epoch: an `MLP` of hidden layers with dropout;
                ``"mlp"``, which is ``MLP((256,), 0.5)``; or one or several Keras layers from embeddings ``(N, D)`` to
                vectors. Keras layers are copied by their configurations, with new weights, and training adds the layer
                of the classes.
            epochs: Maximum number of epochs: by default 20 for fine-tuning, 100 for a head that is trained epoch
                by epoch. With ``unfreeze``, this and the settings up to ``callbacks`` apply to fine-tuning. They do not
                apply to ``"linear"`` alone.
            patience: The number of epochs in a row without a lower log loss on validation that ends the training (by
                default 5). The best epoch's weights stay.
            batch_size: Images in a training step, by default 16 to fine-tune and 32 for a head.
            optimizer: An optimizer of Keras, or its name; by default Adam. Only its settings count.
            learning_rate: A number, or a schedule of Keras. By default 1e-5 to fine-tune and 3e-4 for a head; if
                you give an optimizer, its own.
            label_smoothing: The share of each label, 0 to 1, that training spreads over all classes. The metrics
                on validation do not use it.
            callbacks: Callbacks of Keras, such as TensorBoard. They get ``loss``, ``accuracy``,
                ``val_loss`` and ``val_accuracy``; their ``model`` is the network to fine-tune, or the head alone.
                Weights that they restore are not used: the best epoch's weights stay.
            unfreeze: The number of last layers to fine-tune together with the head, or the name of the first one. Only
                layers with weights count. BatchNormalization layers do not count and stay frozen, statistics included.
            augment: How images are changed at random during training: ``"default"`` flips, zooms and shifts them
                and changes their brightness a little. Or a Keras layer that takes RGB ``(N, H, W, 3)`` in 0..255. None
                changes nothing. `preview_augmentation` shows it.
            copies: With ``augment`` and without ``unfreeze``: the number of changed copies of each image of ``data``
                that are embedded once and fitted with it, by default 4. An image and its copies together count as one
                image.
            class_weight: The weight of an image of each class: ``"balanced"`` gives all classes the same total weight,
                a mapping gives classes a weight other than 1. It also applies to validation.
            sample_weight: The weight of each image of ``data``, in the given order, ``(n,)``: numbers of at least 0.
                An image of weight 2 counts as two images. By default, the column ``weight`` of a table, or the third
                part of a ``tf.data.Dataset``, if it exists.
            multi_label: An image may have several labels, or none. ``data`` is then as `evaluate` takes it, such as a
                CSV file with ``"cat,dog"`` in the column ``label``. A logistic regression is fitted for each label,
                with the same ``C`` for all. ``spec.thresholds`` has the probability from which each label is predicted:
                the one with the best F1 on validation.
            seed: The random seed. The same seed, data and machine give the same weights.
            cache: Keep embeddings on disk, so that fitting again takes seconds. Fine-tuning also keeps its state after
                each epoch, and the same call resumes from it after a kill; not with ``callbacks``, whose state is not
                known.
            progress: True shows progress and the time left on stderr: one line on a terminal and in a notebook. A
                function is called with the stage, the amount done, and the total amount or None.
            **arguments: Arguments of `Classifier`: ``weights``, ``runtime``, ``precision``, ``resize``, ``input_size``,
                ``image_policy``, and builder options.

        Images that cannot be read are left out, with a `PretrainedCNNWarning`, and listed in `report`. Raises
        DataError before any work if the images cannot be used for training, and InvalidArgumentError for invalid
        arguments.

        >>> pairs = [("examples/images/clock.png", "clock"), ("examples/images/candle.png", "candle")]
        >>> clf = Classifier.train(pairs, "EfficientNetLite0", validation=pairs)
        >>> clf.predict("examples/images/clock.png").top.label
        'clock'
        """
        from pretrained_cnn import transfer

        settings = transfer.Settings(
            head=head,
            epochs=epochs,
            patience=patience,
            batch_size=batch_size,
            optimizer=optimizer,
            learning_rate=learning_rate,
            label_smoothing=label_smoothing,
            callbacks=callbacks,
            unfreeze=unfreeze,
            augment=augment,
            copies=copies,
            class_weight=class_weight,
            multi_label=multi_label,
            seed=seed,
            cache=cache,
        )
        engine, columns = _engine_to_train(model, arguments), Columns(path_column, label_column)
        with showing(progress):
            return cls(transfer.train(engine, data, validation, settings, sample_weight, columns, groups))

    def preview_augmentation(
        self, image: ImageLike, augment: Any = "default", *, copies: int = 7, seed: int = 0
    ) -> Figure:
        """Draw an image as the network gets it, and copies of it as ``augment`` changes them in `train`.

        Returns a matplotlib figure. Raises ImageError for an image that cannot be used,
        InvalidArgumentError for an invalid ``augment``, and MissingDependencyError without matplotlib.

        >>> figure = Classifier("EfficientNetLite0").preview_augmentation("examples/images/clock.png", copies=3)
        >>> [ax.get_title() for ax in figure.axes]
        ['as it is', 'copy 1', 'copy 2', 'copy 3']
        """
        from pretrained_cnn import transfer

        return transfer.preview(self.engine, image, augment, copies, seed)

    def add_classes(
        self,
        data: LabeledImages,
        original: LabeledImages | None = None,
        *,
        validation: LabeledImages | None = None,
        path_column: str | None = None,
        label_column: str | None = None,
        groups: str | Iterable[Any] | None = None,
        sample_weight: Any = None,
        progress: bool | Progress | None = None,
    ) -> Classifier:
        """Train a classifier that also knows the classes of ``data``. This one is not changed.

        Only the images of ``data`` are embedded. The head is fitted again for all classes, with the settings of the
        first training. Images of known classes count as more images of these classes.

        Args:
            data: Images of the new classes, as for `train`.
            original: The images of the known classes. They are needed if the embeddings of the first training are
                not available: for a classifier that was loaded, or not trained by `train`. The settings are then the
                defaults of `train`.
            validation: As for `train`. Required if the first training had validation images, and not allowed if
                it had none. With ``original``, validation images of all classes.
            path_column: As for `train`.
            label_column: As for `train`.
            groups: As for `train`, for the images of ``data``; not with ``original``.
            sample_weight: The weight of each image of ``data``, as for `train`; with ``original``, the weights of its
                images come first.
            progress: As for `train`.

        A calibration is dropped, with a `PretrainedCNNWarning`, because it holds for the old classes
        only. Raises what `train` raises, and InvalidArgumentError for a fine-tuned network, because fine-tuning changed
        the embeddings of its images.

        >>> pairs = [(f"examples/images/{name}.png", name) for name in ("clock", "candle", "hourglass")]
        >>> clf = Classifier.train(pairs[:2], "EfficientNetLite0", validation=pairs[:2])
        >>> more = clf.add_classes(pairs[2:], validation=pairs[2:])
        >>> [label.name for label in more.labels], len(clf.labels)
        (['candle', 'clock', 'hourglass'], 2)
        """
        from pretrained_cnn import transfer

        with showing(progress):
            trained = transfer.add_classes(
                self.engine,
                self._trained,
                data,
                original=original,
                validation=validation,
                columns=Columns(path_column, label_column),
                groups=groups,
                sample_weight=sample_weight,
            )
        if self._calibration is not None:
            warn("the calibration is dropped because it holds for the old classes only; calibrate the new classifier")
        return Classifier(trained)

    @property
    def engine(self) -> Engine:
        """The network and its runtime: opens other outputs, and streams batches through the network.

        >>> Classifier("EfficientNetLite0").engine.open().widths
        (1000,)
        """
        return self._engine

    @property
    def spec(self) -> ModelSpec:
        """The description of the backbone, changed by the arguments that you gave.

        >>> Classifier("MobileNet", input_size=(160, 160)).spec.input_size
        (160, 160)
        """
        return self._engine.spec

    @property
    def runtime(self) -> str:
        """The name of the runtime that executes the network.

        >>> Classifier("MobileNet").runtime
        'keras'
        """
        return self._engine.runtime.name

    @property
    def precision(self) -> Precision:
        """The precision that the runtime computes in.

        >>> Classifier("MobileNet").precision
        'float32'
        """
        return self._engine.precision

    @property
    def calibration(self) -> Calibration | None:
        """The result of `calibrate`, also from a bundle; None for a classifier that is not calibrated.

        >>> Classifier("MobileNet").calibration is None
        True
        """
        return self._calibration

    @property
    def keras_model(self) -> keras.Model:
        """The network: float32 ``(N, H, W, 3)``, already preprocessed, to scores ``(N, C)``. Built on first use.

        >>> Classifier("MobileNet", weights=None, alpha=0.25).keras_model.count_params()
        475544
        """
        return self._engine.backbone().model

    @property
    def history(self) -> TrainingHistory:
        """The steps of `train`: a row for each strength of regularization, or for each epoch. Empty without training.

        A bundle keeps it.

        ``history.plot()`` draws loss and accuracy of train and validation, ``history.to_frame()`` makes a pandas frame.

        >>> Classifier("MobileNet").history
        []
        """
        training = self._training()
        from pretrained_cnn.transfer.history import TrainingHistory

        return TrainingHistory() if training is None else training[1]

    @property
    def report(self) -> TrainingReport | None:
        """The report of `train`; None for a classifier that `train` did not make. A bundle keeps the report.

        >>> Classifier("MobileNet").report is None
        True
        """
        training = self._training()
        return None if training is None else training[0]

    def __call__(self, image: ImageLike, *, top: int = 5, min_score: float | None = None) -> Result:
        """The same as `predict`.

        >>> Classifier("EfficientNetLite0")("examples/images/clock.png").label
        'analog_clock'
        """
        return self.predict(image, top=top, min_score=min_score)

    @property
    def labels(self) -> tuple[Label, ...]:
        """The classes, in the order of the scores; empty for a spec with its own decode function.

        >>> Classifier("MobileNet").labels[281].name
        'tabby'
        """
        return self._engine.spec.labels

    def predict(self, image: ImageLike, *, top: int = 5, min_score: float | None = None) -> Result:
        """Classify one image.

        Args:
            image: A path, an http(s) address, bytes, a binary file, a Pillow image, or an array or tensor
                of shape ``(h, w, 3)``, ``(h, w)``, ``(h, w, 1)`` or ``(h, w, 4)``, uint8 or float in 0..255.
            top: The number of classes to return; a larger number than that of all classes returns all.
            min_score: A number in 0..1. If the best score is lower, the status of the result is ``"uncertain"``.

        Raises ImageError, which names the image and the problem.

        >>> Classifier("EfficientNetLite0").predict("examples/images/clock.png").top.id
        'n02708093'
        """
        top, min_score = whole_number("top", top), _check_score(min_score)
        item = single_item(image)
        (answer,) = answers(self._engine, self._calibration, self._engine.row(item, self._outputs), top, min_score)
        return Result(item.name, image=_kept(item), **answer)

    def predict_batch(
        self,
        images: ImagesLike,
        *,
        top: int = 5,
        min_score: float | None = None,
        batch_size: int | None = None,
        errors: Literal["raise", "return"] = "raise",
        progress: bool | Progress | None = None,
    ) -> list[Result]:
        """Classify several images: one `Result` for each, in their order.

        Args:
            images: An iterable of images as `predict` takes them, or any other source that `stream` takes.
            top: How many classes to name.
            min_score: As for `predict`.
            batch_size: As for `stream`.
            errors: ``"raise"`` raises the ImageError of the first bad image; ``"return"`` returns a `Result`
                with the error in the place of a bad image.
            progress: As for `train`.

        A notebook displays the list as a contact sheet of its first 24 images.

        >>> clf = Classifier("EfficientNetLite0")
        >>> clf.predict_batch(["examples/images/clock.png", "no.jpg"], errors="return")[1]
        Result('no.jpg': error: the file does not exist)
        """
        stream = self.stream(images, top=top, min_score=min_score, batch_size=batch_size, errors=errors)
        with showing(progress):
            results = ResultList(_counted(stream, _length(images)))
        if isinstance(images, list | tuple | np.ndarray):  # the caller has them all in memory anyway
            kept = map(_kept, iter_items(images, self._engine.image_policy))
            results = ResultList(replace(result, image=image) for result, image in zip(results, kept, strict=True))
        return results

    def stream(
        self,
        source: ImagesLike | Sources,
        *,
        top: int = 5,
        min_score: float | None = None,
        batch_size: int | None = None,
        workers: int | None = None,
        errors: Literal["raise", "return"] = "return",
        prefetch: int | None = None,
    ) -> ResultStream[Result]:
        """Classify any number of images, one after the other, in bounded memory.

        Args:
            source: A folder (searched recursively), a glob, a tar or zip archive, or a ``.txt`` file with a path or
                URL in each line; ``"-"`` reads such lines from standard input. Or an iterable of images or of ``(name,
                image)`` pairs, which may be endless.
            top: How many classes to name.
            min_score: As for `predict`.
            batch_size: The number of images in a batch of the network; by default 16.
            workers: The number of threads that decode images; by default one for each core that the process may use, at
                most 16.
            errors: As for `predict_batch`.
            prefetch: The maximum number of batches of decoded images in memory: the one that the network runs, and
                those that are decoded meanwhile. By default enough for two images for each worker, at least 3.

        Results come in the order of the images. `write_results` writes the stream to a file, and resumes an interrupted
        run. Images are read from an iterable batch by batch, in the thread that asks for results. The stream raises the
        iterable's exceptions, and waits while the iterable waits. Closing the stream, or an exception in its consumer,
        ends the threads after their current images. Raises ImageError if a folder, a glob, an archive or a text file
        has no image.

        >>> clf = Classifier("EfficientNetLite0")
        >>> sum(1 for result in clf.stream("examples/images/*.png"))
        6
        """
        top, min_score = whole_number("top", top), _check_score(min_score)
        choice("errors", errors, ("raise", "return"))
        check_speed(batch_size, workers, prefetch)
        engine, calibration, outputs = self._engine, self._calibration, self._outputs
        kept: dict[str, Any] = {} if calibration is None else {"calibration": calibration.digest()}

        def start(images: Iterable[tuple[str, Any]]) -> Generator[Result]:
            batches = engine.batches(images, batch_size, workers, prefetch)
            return _results(engine, calibration, engine.rows(batches, outputs, errors=errors), top, min_score)

        return ResultStream(
            source,
            engine.image_policy,
            start,
            schema=RESULTS,
            settings=partial(settings_of, engine, top=top, min_score=min_score, **kept),
        )

    def predict_proba(
        self, images: ImagesLike, *, batch_size: int | None = None, errors: Literal["raise", "return"] = "raise"
    ) -> NDArray[np.float32]:
        """The probabilities of all classes: float32 ``(N, C)``, a row for each image, in their order.

        ``images`` are as for `predict_batch`. Raises the ImageError of the first bad image; with
        ``errors="return"`` the row of a bad image is NaN.

        >>> clf = Classifier("EfficientNetLite0")
        >>> clf.predict_proba(["examples/images/clock.png", "no.jpg"], errors="return").shape
        (2, 1000)
        """
        return self._engine.run(images, "scores", batch_size=batch_size, errors=errors)

    def embed(
        self,
        images: ImagesLike,
        *,
        layer: str | None = None,
        batch_size: int | None = None,
        errors: Literal["raise", "return"] = "raise",
        progress: bool | Progress | None = None,
    ) -> NDArray[np.float32]:
        """The embedding of each image: float32 ``(N, embedding_size)``, in their order.

        An embedding is the input of the last dense layer; for weights without a head, the pooled features.
        With ``layer``, the name of one of ``keras_model.layers``, it is the output of that layer, ``(N, D)``; a map is
        averaged over its pixels. ``images`` are as for `predict_batch`. Raises the ImageError of the first bad image;
        with ``errors="return"`` its row is NaN. Raises InvalidArgumentError if no such layer exists. ``progress``
        is as for `train`.

        >>> clf = Classifier("EfficientNetLite0")
        >>> clf.embed(["examples/images/clock.png"]).shape
        (1, 1280)
        >>> clf.embed(["examples/images/clock.png"], layer="block10_add").shape
        (1, 112)
        """
        with showing(progress):
            return self._engine.run(images, "embedding", layer, batch_size=batch_size, errors=errors)

    def embed_stream(
        self,
        source: ImagesLike | Sources,
        *,
        layer: str | None = None,
        batch_size: int | None = None,
        workers: int | None = None,
        errors: Literal["raise", "return"] = "return",
        prefetch: int | None = None,
    ) -> ResultStream[EmbeddingResult]:
        """Embed any number of images, one after the other, in bounded memory.

        ``layer`` is as for `embed`, everything else as for `stream`. `write_results` writes the stream to a file.

        >>> clf = Classifier("EfficientNetLite0")
        >>> for result in clf.embed_stream(["examples/images/clock.png", "no.jpg"]):
        ...     print(result)
        EmbeddingResult('examples/images/clock.png': 1280 numbers)
        EmbeddingResult('no.jpg': error: the file does not exist)
        """
        choice("errors", errors, ("raise", "return"))
        check_speed(batch_size, workers, prefetch)
        engine = self._engine

        def start(images: Iterable[tuple[str, Any]]) -> Generator[EmbeddingResult]:
            batches = engine.batches(images, batch_size, workers, prefetch)
            return _embeddings(engine.rows(batches, ("embedding",), layer, errors))

        return ResultStream(
            source,
            engine.image_policy,
            start,
            schema=EMBEDDINGS,
            settings=partial(settings_of, engine, layer=layer),
        )

    def features(
        self, images: ImagesLike, layers: Sequence[str], *, batch_size: int | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """The feature maps of several layers for each image, in one pass of the network.

        Args:
            images: As for `predict_batch`.
            layers: Names of ``keras_model.layers`` whose output is a map.
            batch_size: As for `stream`.

        Returns a mapping from each layer's name to a float32 array ``(N, h, w, c)``, not pooled, in the order of the
        images. Keras computes the maps with every runtime, so a bundle must be of format ``"keras"``. All maps are in
        memory at the same time.

        Raises the ImageError of the first bad image; InvalidArgumentError for a layer that does not exist or does not
        give a map; BundleError for a bundle of another format.

        >>> clf = Classifier("EfficientNetLite0")
        >>> maps = clf.features(["examples/images/clock.png"], ["block4_add", "block10_add"])
        >>> {name: array.shape for name, array in maps.items()}
        {'block4_add': (1, 28, 28, 40), 'block10_add': (1, 14, 14, 112)}
        """
        return self._engine.features(images, layers, batch_size=batch_size)

    def evaluate(
        self,
        source: LabeledImages,
        labels: Iterable[Any] | None = None,
        *,
        path_column: str | None = None,
        label_column: str | None = None,
        batch_size: int | None = None,
        progress: bool | Progress | None = None,
    ) -> Evaluation | MultiLabelEvaluation:
        """Measure accuracy on labeled images, and find the mistakes.

        Args:
            source: Labeled images, in any form that `train` takes. For ImageNet's classes, a WordNet id in the name of
                a folder or an image is its label.
            labels: The class of each image, if ``source`` is images as `predict_batch` takes them. A list, a
                generator, a column of a frame, or an array or tensor, ``(N,)``, ``(N, 1)`` or one-hot ``(N, C)``; a
                whole number is the index of a class.
            path_column: As for `train`.
            label_column: As for `train`.
            batch_size: As for `stream`.
            progress: As for `train`.

        A label is a class's id, or its name if no other class has it. Bad images are listed in `Evaluation.failed`.
        Returns an `Evaluation`, or a `MultiLabelEvaluation` with ``multi_label=True``. Then the label of an image
        is a collection of labels, possibly empty, or in a CSV file text such as ``"cat,dog"``.

        Raises DataError for labels that are not the classifier's, or if no image can be read.

        >>> clf = Classifier("EfficientNetLite0")
        >>> clf.evaluate([("examples/images/clock.png", "analog_clock"), ("examples/images/candle.png", "candle")])
        Evaluation(2 images, top1=1.000 (0.342 to 1.000))
        """
        from pretrained_cnn.evaluate import evaluate

        columns = Columns(path_column, label_column)
        with showing(progress):
            return evaluate(self._engine, source, labels, columns, batch_size=batch_size)

    def compare(
        self,
        other: Classifier | str | os.PathLike[str],
        source: LabeledImages,
        labels: Iterable[Any] | None = None,
        *,
        path_column: str | None = None,
        label_column: str | None = None,
        batch_size: int | None = None,
        progress: bool | Progress | None = None,
    ) -> Comparison:
        """Test whether another classifier is better than this one on the same labeled images.

        The verdict holds for images like those of ``source``, drawn independently of each other. Near copies make a
        difference look more certain than it is. "Not told apart" does not say that both are equally good. See
        `Comparison`.

        Args:
            other: A `Classifier`, the folder of a bundle, or a file of results that `write_results` wrote for these
                images. It is B in the comparison, and this classifier is A.
            source: As for `evaluate`. Images that were trained on favor the classifier that has seen them.
            labels: As for `evaluate`.
            path_column: As for `train`.
            label_column: As for `train`.
            batch_size: As for `stream`.
            progress: As for `train`.

        `Comparison.from_results` compares two files of results. Raises what `evaluate` raises; InvalidArgumentError
        if only one of the two has ``multi_label=True``; DataError if a file lacks an image of ``source``.

        >>> clf = Classifier("EfficientNetLite0")
        >>> pairs = [("examples/images/clock.png", "analog_clock"), ("examples/images/candle.png", "candle")]
        >>> clf.compare(clf, pairs).verdict
        'not told apart'
        """
        from pretrained_cnn.evaluate import check_labeled
        from pretrained_cnn.trust import compare

        columns = Columns(path_column, label_column)
        if labels is None and isinstance(source, str | os.PathLike):  # before the other network is loaded
            check_labeled(self._engine, source, columns=columns)
        with showing(progress):
            return compare(self._engine, _competitor(other), source, labels, columns, batch_size=batch_size)

    def calibrate(
        self,
        source: LabeledImages,
        labels: Iterable[Any] | None = None,
        *,
        coverage: float = 0.95,
        path_column: str | None = None,
        label_column: str | None = None,
        batch_size: int | None = None,
        progress: bool | Progress | None = None,
    ) -> Classifier:
        """Make a classifier that recognizes images of none of its classes, and returns sets of classes.

        Both guarantees hold on average over images like those of ``source``, not for each class. At most
        ``1 - coverage`` of the images of known classes get the status ``"unknown"``. At least ``coverage`` of the sets,
        `Result.label_set`, contain the true class. An image of another class that looks like a known one is not
        recognized. See `Calibration` for both methods.

        Args:
            source: As for `evaluate`: images that were not used for training, drawn like those to classify later. A
                coverage of 0.95 needs at least 19; some hundreds are better. Bad images are left out, with a warning.
            labels: As for `evaluate`.
            coverage: The share of images, above 0 and below 1, for which each guarantee holds.
            path_column: As for `train`.
            label_column: As for `train`.
            batch_size: As for `stream`.
            progress: As for `train`.

        An image that was trained on is recognized by its content; `audit` with ``against=`` also finds one that was
        saved again. This classifier is not changed. `save` keeps the calibration in the bundle. Scores and embedding
        take one pass of the network; NumPy computes the rest, with every runtime.

        Raises DataError for too few images, and if the classifier was trained on one of them; InvalidArgumentError with
        ``multi_label=True``; BundleError for a bundle without the output ``embedding``. Warns of classes without an
        image (`PretrainedCNNWarning`).

        >>> import warnings
        >>> clf, photo = Classifier("EfficientNetLite0"), "examples/images/clock.png"
        >>> with warnings.catch_warnings(action="ignore"):  # about the 999 other classes
        ...     calibrated = clf.calibrate([(photo, "analog_clock")] * 20)
        >>> calibrated.predict("examples/images/umbrella.png").status
        'unknown'
        >>> len(calibrated.predict(photo).label_set)
        1
        """
        from pretrained_cnn.trust import Calibrated, calibrate

        with showing(progress):
            calibration = calibrate(
                self._engine,
                source,
                labels,
                Columns(path_column, label_column),
                coverage=coverage,
                batch_size=batch_size,
                trained_on=self._trained_on(),
            )
        return Classifier(Calibrated(self._trained or self._engine, calibration))

    def rank_unlabeled(self, source: ImagesLike, n: int = 100, *, batch_size: int | None = None) -> list[Result]:
        """Choose the images to label next: uncertain ones that differ from each other, the most useful first.

        Use it once each class has some labels: the uncertainty of a classifier with little training is misleading.
        Images with a confident wrong answer are not chosen. Labels chosen in this way are no fair sample: do not
        measure accuracy or calibrate with them.

        Args:
            source: Images without labels, as `stream` takes them. Bad images are left out, with a warning.
            n: The number of images to return, or all if the source has fewer. Of copies, the first counts.
            batch_size: As for `stream`.

        An image is uncertain if its two best scores are close; with ``multi_label=True``, if some score is close to its
        threshold. From the ``2 * n`` most uncertain images, those with different embeddings are chosen. Only these are
        kept in memory. Each is a `Result` with its two best classes.

        Raises BundleError for a bundle without the output ``embedding``, and ImageError if the source has no image.

        >>> [result.source for result in Classifier("EfficientNetLite0").rank_unlabeled("examples/images", n=2)]
        ['examples/images/clock.png', 'examples/images/balloon.png']
        """
        from pretrained_cnn.trust import rank_unlabeled

        n = whole_number("n", n)
        return rank_unlabeled(self._engine, source, n, batch_size=batch_size, calibration=self._calibration)

    def explain(
        self, image: ImageLike, target: int | str | None = None, method: HeatMapMethod = "grad_cam"
    ) -> Explanation:
        """Show where in an image the network sees a class: a heat map over the image.

        Args:
            image: As for `predict`.
            target: The class: its index, its id, or its name if no other class has it; by default the best one.
            method: ``"grad_cam"``, ``"grad_cam++"`` or ``"hires_cam"``, see ``pretrained_cnn.explain``.

        The image is decoded at full size, while `predict` may decode a large JPEG at a smaller one, so the scores
        may differ slightly. Keras computes the gradients with every runtime, so a bundle must be of format ``"keras"``.

        Raises ImageError as `predict` does, DataError for an unknown class, InvalidArgumentError for an unknown method
        or a network without a feature map, and BundleError for a bundle of another format.

        >>> clf = Classifier("EfficientNetLite0")
        >>> explanation = clf.explain("examples/images/clock.png", "wall_clock")
        >>> explanation.prediction.label, explanation.heat_map.max()
        ('wall_clock', np.float32(1.0))
        >>> explanation.overlay().size
        (480, 360)
        """
        from pretrained_cnn.explain import explain

        return explain(self._engine, single_item(image), target, method)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,
        dtype: Dtype = "float32",
        output: Output | Sequence[Output] | None = None,
        quantize: ImagesLike | None = None,
        min_agreement: float | None = None,
        overwrite: bool = False,
    ) -> ExportCheck:
        """Save the classifier as a bundle: a folder with the model, its preprocessing and the labels.

        Args:
            path: The folder.
            format: By default ``"keras"``, or the format of a loaded bundle that runs without Keras, whose model
                is copied. ``"keras"`` can be trained further, and loaded with every runtime. ``"openvino"``, ``"onnx"``
                and ``"litert"`` need neither TensorFlow nor Keras where they are loaded. ``"saved_model"`` is for
                TensorFlow Serving: give it ``path/model``. Other names are formats that you or a package registered.
            dtype: The type in which the file stores weights. ``"float16"`` halves the size of an ``"openvino"`` or
                ``"litert"`` model, which still computes in float32.
            output: ``"scores"`` for a bundle that predicts, ``"embedding"`` for one that embeds, or a list of both, in
                one pass of the network. By default scores, or the embedding if the weights have no head. Format
                ``"keras"`` with scores does both.
            quantize: About 300 images like those to classify, as `predict_batch` takes them. They quantize an
                ``"openvino"`` model to 8-bit integers, ``dtype="int8"``. A fifth of the images is held back to check
                the result.
            min_agreement: The share of images, 0 to 1, that must keep their best class; by default all, and 0.95
                of those held back with ``quantize``.
            overwrite: Replace a bundle at ``path``. Other files and folders are never replaced.

        Before `save` returns, it loads the bundle again and compares it with this classifier on four test images.
        The scores must agree within 1e-4 (float16: 0.05), and the best classes must be the same. Returns the result of
        this check.

        Raises InvalidSpecError if the network gives NaN, or scores that are not probabilities. Raises BundleError, and
        leaves no file behind, if the check fails, or if the format cannot express the network. Raises
        InvalidArgumentError for arguments that exclude each other, and MissingDependencyError if the package of the
        format is not installed.

        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/lite.bundle"
        >>> Classifier("EfficientNetLite0").save(path).largest_difference < 1e-4
        True
        >>> Classifier.load(path).predict("examples/images/clock.png").top.label
        'analog_clock'
        """
        if self._calibration is not None:
            output = _both(output, quantize)
        texts, training = None, self._training()
        if training is not None:
            from pretrained_cnn.transfer.report import training_texts

            texts = training_texts(*training, self.spec)
        check = self._engine.save(
            Path(path),
            format=format,
            dtype=dtype,
            outputs=[output] if isinstance(output, str) else output,
            quantize=quantize,
            min_agreement=min_agreement,
            overwrite=overwrite,
            texts=texts,
            calibration=None if self._calibration is None else self._calibration.to_arrays(),
            trained_on=self._trained_on(),
        )
        if self._trained is not None and self._trained.checkpoint is not None:
            self._trained.checkpoint.unlink(missing_ok=True)
        return check

    @property
    def _outputs(self) -> tuple[Output, ...]:
        """What the network gives in one pass for a result."""
        if self._calibration is None:
            return ("scores",)
        from pretrained_cnn.trust import OUTPUTS

        return OUTPUTS

    def _training(self) -> tuple[TrainingReport, TrainingHistory] | None:
        """What is known of its training, here or before it was saved."""
        if self._trained is not None:
            return self._trained.report, self._trained.history
        if self._engine.bundle is None:
            return None
        from pretrained_cnn.transfer.report import read_training

        return read_training(self._engine.bundle)

    def _trained_on(self) -> Collection[bytes]:
        """The digests of the images that the classifier was trained on, as far as they are known."""
        if self._trained is not None:
            return self._trained.digests
        return () if self._engine.bundle is None else self._engine.bundle.trained_on()

    def close(self) -> None:
        """Free the memory and the threads of the runtime. Closing twice is allowed.

        You can still use the classifier: it opens its network again.

        >>> with Classifier("EfficientNetLite0") as clf:
        ...     clf.predict("examples/images/clock.png").label
        'analog_clock'
        """
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __deepcopy__(self, memo: object) -> Classifier:
        """A classifier that gives the same answers, with a network of its own."""
        engine = self.engine.copy()
        network = engine if self._trained is None else replace(self._trained, engine=engine)
        if self._calibration is None:
            return Classifier(network)
        from pretrained_cnn.trust import Calibrated

        return Classifier(Calibrated(network, self._calibration))

    if not TYPE_CHECKING:  # a type checker reports a name that does not exist

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name)

    @override
    def __reduce__(self) -> tuple[object, ...]:
        """A pickle has a backbone's name and settings, or a bundle's path, and no weights.

        Of a model file that is run as it is, it has the content, since nobody else keeps that.
        """
        engine = self.engine
        if engine.bundle is not None and self._trained is None and not self._is_calibrated_here:
            if engine.bundle.is_temporary:
                return _unpacked, (engine.bundle.content(), self.runtime, self.precision, engine.image_policy)
            return _loaded, (str(engine.bundle.path), self.runtime, self.precision, engine.image_policy)
        if self._trained is not None or self._is_calibrated_here or not isinstance(engine.spec.builder, Reference):
            raise InvalidArgumentError(
                f"{self!r} cannot be pickled; write it with save(path), and read it there with Classifier.load(path)"
            )
        settings = {"weights": engine.weights, "options": engine.options, "runtime": self.runtime}
        settings |= {"precision": engine.precision, "quantize": engine.quantize}
        return _unpickled, (engine.spec, {**settings, "image_policy": engine.image_policy})

    def _repr_html_(self) -> str:
        """For notebooks: the call that makes it, and its classes."""
        from pretrained_cnn.results import drawing

        names = [label.name for label in self.labels]
        more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
        return drawing.text_html(f"{self!r}\n{len(names):,} classes: {', '.join(names[:SHOWN])}{more}")

    @override
    def __repr__(self) -> str:
        engine = self._engine
        name, precision = engine.asked  # a representation measures nothing
        runtime = f"runtime={name!r}" + ("" if precision == "float32" else f", precision={precision!r}")
        if engine.bundle is not None and self._trained is None:
            if engine.bundle.is_temporary:
                return f"Classifier.from_file(<{engine.spec.name}>, {runtime})"
            return f"Classifier.load({str(engine.bundle.path)!r}, {runtime})"
        if self._trained is not None:
            return f"Classifier.train(..., {self._trained.report.model!r}, {runtime})"
        if getattr(engine.spec.builder, "__module__", None) == "pretrained_cnn.backbones.wrap":
            return f"Classifier.from_keras(<{engine.spec.name}>, {runtime})"
        options = "".join(f", {key}={value!r}" for key, value in engine.options.items())
        return f"Classifier({engine.spec.name!r}, weights={engine.weights!r}, {runtime}{options})"


def _both(output: Output | Sequence[Output] | None, quantize: object) -> list[Output]:
    """The outputs of a calibrated bundle. Raises InvalidArgumentError for what a calibration does not go with."""
    if quantize is not None:
        raise InvalidArgumentError(
            "quantize=... changes the network, and a calibration holds for the network that it was made with; save the "
            "classifier before it is calibrated, and calibrate what Classifier.load gives"
        )
    from pretrained_cnn.trust import OUTPUTS

    given = [output] if isinstance(output, str) else output
    if given is not None and set(given) != set(OUTPUTS):
        raise InvalidArgumentError(
            f"output={output!r} leaves out what a calibrated classifier needs; leave output out, which saves both "
            "scores and embedding"
        )
    return list(OUTPUTS)


def _parts(model: Any) -> tuple[Any, Trained | None, Calibration | None]:
    """An engine, or what stands for a model; and its training and its calibration, if it comes with them."""
    if isinstance(model, str | os.PathLike | ModelSpec | Engine):  # the rest of the library is not imported for these
        return model, None, None
    from pretrained_cnn.transfer.report import Trained
    from pretrained_cnn.trust import Calibrated

    calibration = None
    if isinstance(model, Calibrated):
        model, calibration = model.network, model.calibration
    return (model.engine, model, calibration) if isinstance(model, Trained) else (model, None, calibration)


def _calibration_of(bundle: Bundle | None) -> Calibration | None:
    if bundle is None or bundle.manifest.calibration is None:
        return None
    from pretrained_cnn.trust import calibration_of

    return calibration_of(bundle)


def _engine_to_train(model: Any, arguments: dict[str, Any]) -> Engine:
    """The network that training starts from: that of a classifier, copied, or that of what `Classifier` takes."""
    if isinstance(model, Classifier):
        _refuse(arguments, "a Classifier to continue from")
        return model.engine.copy()
    _refuse_options_of_head(arguments)
    try:
        found = find_model(model)
    except (BundleError, InvalidArgumentError) as error:
        if isinstance(model, str | os.PathLike) and (Path(model).is_dir() or str(model).endswith(("/", os.sep))):
            raise type(error)(f"{error}; for validation images write validation={os.fspath(model)!r}") from None
        raise
    if isinstance(found, ModelFile):  # whose own classes do not matter here
        arguments = {"labels": NUMBERS, **arguments}
    return Classifier(model, **arguments).engine


def _length(images: Any) -> int | None:
    return None if isinstance(images, str | os.PathLike) or not hasattr(images, "__len__") else len(images)


def _counted(results: Iterable[Result], total: int | None) -> Iterator[Result]:
    """The results; `report` hears of each."""
    report("classify", 0, total)
    for done, result in enumerate(results, 1):
        report("classify", done, total)
        yield result


def _competitor(other: Classifier | str | os.PathLike[str]) -> Engine | Path:
    """The network of a classifier or a bundle, or the path of a file of results."""
    if isinstance(other, Classifier):
        return other.engine
    if not isinstance(other, str | os.PathLike):
        raise InvalidArgumentError(
            f"an object of type {type(other).__name__} cannot be compared with; give a Classifier, the folder of a "
            "bundle, or a file of results"
        )
    from pretrained_cnn.trust import is_results_file

    return Path(other) if is_results_file(other) else Classifier.load(other).engine


def _results(
    engine: Engine, calibration: Calibration | None, rows: Generator[Rows], top: int, min_score: float | None
) -> Generator[Result]:
    with contextlib.closing(rows):
        for names, errors, images, outputs in rows:
            found = answers(engine, calibration, outputs, top, min_score)
            for name, error, image in zip(names, errors, images, strict=True):
                answer = next(found) if error is None else {"predictions": ()}
                yield Result(name, error=error, image=image, **answer)


def answers(
    engine: Engine,
    calibration: Calibration | None,
    outputs: tuple[NDArray[np.float32], ...],
    top: int,
    min_score: float | None,
) -> Iterator[dict[str, Any]]:
    """What the outputs say of each image, as fields of its `Result`."""
    scores = outputs[0]
    unknown: Iterable[bool] = itertools.repeat(False)
    label_sets: Iterable[tuple[Prediction, ...] | None] = itertools.repeat(None)
    if calibration is not None:
        unknown = calibration.is_unknown(outputs[1]).tolist()
        label_sets = calibration.label_sets(scores, engine.spec.labels)
    best = engine.predictions(scores, top)
    for predictions, is_unknown, label_set in zip(best, unknown, label_sets, strict=False):  # the last two may repeat
        status = "unknown" if is_unknown else status_of(predictions, min_score)
        yield {
            "predictions": predictions,
            "status": status,
            "label_set": label_set,
            "thresholds": engine.spec.thresholds,
        }


def _loaded(path: str, runtime: str, precision: Precision, image_policy: ImagePolicy) -> Classifier:
    return Classifier.load(path, runtime=runtime, precision=precision, image_policy=image_policy)


def _unpacked(content: dict[str, bytes], runtime: str, precision: Precision, image_policy: ImagePolicy) -> Classifier:
    found = unpack(content)
    return Classifier(Engine.from_opened(found, runtime, image_policy, precision=precision))


def _unpickled(spec: ModelSpec, settings: dict[str, Any]) -> Classifier:
    return Classifier(Engine(spec, **settings))


def _refuse_options_of_head(arguments: Mapping[str, Any]) -> None:
    """Refuse builder options that concern the 1,000-class head only, which training replaces."""
    useless = sorted(arguments.keys() & {"classes", "classifier_activation", "dropout", "dropout_rate"})
    if useless:
        raise InvalidArgumentError(
            f"{useless[0]}={arguments[useless[0]]!r} concerns the 1,000-class head of the builder, which training "
            "replaces; head=MLP(hidden=..., dropout=...) sets the width and the dropout of a head with hidden layers"
        )


def _embeddings(rows: Generator[Rows]) -> Generator[EmbeddingResult]:
    with contextlib.closing(rows):
        for names, errors, images, (vectors,) in rows:
            found = iter(vectors)
            for name, error, image in zip(names, errors, images, strict=True):
                yield EmbeddingResult(name, next(found) if error is None else None, error, image)


def _kept(item: Item) -> Any:
    """What shows the image again; None for an open file, which is read only once."""
    return item.path or (None if hasattr(item.image, "read") else item.image)


def _check_score(min_score: float | None) -> float | None:
    return None if min_score is None else number("min_score", min_score, least=0, most=1)


def _refuse(arguments: Mapping[str, Any], model: str) -> None:
    if arguments:
        given = ", ".join(f"{name}=..." for name in arguments)
        raise InvalidArgumentError(f"{given} cannot be given with {model}, which has its own")
