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

from pretrained_cnn._check import choice, number, whole_number
from pretrained_cnn._lazy import Reference
from pretrained_cnn._process import warn
from pretrained_cnn._progress import Progress, report, showing
from pretrained_cnn._types import ImageLike, ImagesLike, LabeledImages
from pretrained_cnn.bundle.formats import Dtype
from pretrained_cnn.bundle.manifest import ExportCheck
from pretrained_cnn.bundle.store import Bundle, unpack
from pretrained_cnn.engine import Engine, Rows, check_speed, open_model
from pretrained_cnn.errors import InvalidArgumentError
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


class Classifier:
    """A pretrained network that names what is in an image.

    Args:
        model: A name that `list_models` gives (case, ``-`` and ``_`` do not matter), a `ModelSpec`, or the folder of a
            bundle, which has its own weights, labels, resize policy and input size. An ``Engine`` is taken as it is.
        weights: ``"imagenet"``, the path of a weights file, or None for random weights. A file without the
            1,000-class top serves `embed` only. A builder of your own that takes no ``weights`` brings its own.
        runtime: What executes the network, a name that `list_runtimes` gives. Any but ``"keras"`` takes a
            converted copy, which is made once and kept in a cache. ``"auto"`` is the quickest of the installed ones:
            when it is first needed, the network is converted for each of them, all are measured with one image for one
            or two seconds, and the quickest is remembered for this machine, network, and versions; `runtime` says
            which it is.
        precision: What the runtime computes in: ``"float32"``; with ``runtime="openvino"`` also ``"bfloat16"`` and
            ``"float16"``, where the CPU has instructions for them, and ``"int8"``. `list_precisions` says what this
            machine has. ``"auto"`` measures the floating-point ones too, and takes the quickest.
        quantize: Images of the kind that will be classified, about 300, for ``precision="int8"``: any source that
            `stream` takes. A fifth of them is held back, and 95 % of those must keep their best class.
        labels: Names of the classes, or ``(id, name)`` pairs, in place of the spec's.
        resize: A `ResizePolicy` in place of the spec's.
        input_size: ``(height, width)`` in pixels in place of the spec's.
        image_policy: An `ImagePolicy`: the limits, and how images are decoded.
        threads: How many threads the runtime computes with, for ``"openvino"``, ``"onnxruntime"`` and ``"litert"``; by
            default as many as the process may use cores, a container's quota included.
        follow_links: Whether the files of a bundle may be links to files outside of its folder, as in the snapshot of
            a Hugging Face repository.
        **builder_options: Go to the builder: ``Classifier("MobileNet", alpha=0.25)``.

    The network is built when it is first needed. One classifier may be used from several threads at once. `close`, or a
    ``with`` block, frees what the runtime holds.

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
        """Wrap a trained Keras model with classes of its own.

        Args:
            model: A ``keras.Model`` with one image input, RGB or gray, and one output: probabilities ``(N, C)``, or
                ``(N, 1)``, the probability of the second of two labels. A model of tf_keras (Keras 2) is rebuilt in
                Keras 3 and compared, as `from_file` does with files of Keras 2.
            labels: ``C`` names, or ``(id, name)`` pairs, in the order of the outputs; or a mapping between names
                and indices, as the ``class_indices`` of Keras's generators.
            preprocess: From RGB float32 in 0..255 to what the model was trained with: a function, or the name of a
                preset, ``"keras_tf"``, ``"keras_caffe"``, ``"keras_torch"``, ``"unit"``, ``"teachable_machine"`` or
                ``"none"``. None if the model takes 0..255.
            scale: With ``mean`` and ``std``, in place of ``preprocess``: the model takes ``(x * scale - mean) / std``
                of a pixel value ``x`` in 0..255.
            mean: One number, or one for each channel; by default 0.
            std: One number, or one for each channel; by default 1.
            resize: How images become the model's input size; by default as Keras's own loaders do it,
                ``ResizePolicy("squash", interpolation="bilinear", antialias=False)``. Pixels in memory of exactly
                that size are taken as they are.
            input_size: ``(height, width)``, for a model whose input leaves them open.
            from_logits: The outputs are logits, and a softmax is to follow them; a sigmoid where there is one
                output, or with ``multi_label=True``.
            multi_label: An image may have several labels, or none: each output is a probability of its own.
            runtime: As for `Classifier`.
            precision: As for `Classifier`.
            quantize: As for `Classifier`.
            image_policy: As for `Classifier`.

        The model is run on four images, and judged by what it gives. Raises InvalidArgumentError if that is not finite
        or not what the arguments say, and if model and arguments do not fit together.

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
        """Open a classifier that somebody else saved: a file of Keras, TensorFlow Lite, ONNX or OpenVINO.

        What a file is, its first bytes say, not its name. ``Classifier(path, labels=...)``, ``Classifier.train(data,
        path)`` and ``--model PATH`` open it too.

        Args:
            path: The file. Keras archives (``.keras``) and HDF5 files (``.h5``) are loaded by Keras.
            labels: The names of the classes in the order of the outputs: a list, a mapping, the path of a file with a
                name in each line, or ``"numbers"``. None where the file has them, or gives 1,000 or 1,001 scores, which
                are taken for ImageNet's, with a line in the log.
            preprocess: From RGB float32 in 0..255 to what the network was trained with, as for `from_keras`. None if
                the file says it: by metadata, by an input of integers, or where the graph begins with arithmetic
                itself. Else it is asked for, since nothing else is wrong so often, and gives wrong answers silently.
            scale: With ``mean`` and ``std``, in place of ``preprocess``: the network takes ``(x * scale - mean) / std``
                of a pixel value ``x`` in 0..255.
            mean: One number, or one for each channel, in the network's order.
            std: One number, or one for each channel, in the network's order.
            channels: The network's order of channels, for files that are not Keras's; by default ``"rgb"``.
            layout: The order of the axes, for files that are not Keras's; by default what the shape shows.
            resize: How images become the network's size; by default as for `from_keras`.
            input_size: ``(height, width)``, where the file leaves them open.
            from_logits: The outputs are logits, or logarithms of probabilities.
            multi_label: An image may have several labels, or none.
            signature: Which signature of a SavedModel, where several fit.
            custom_objects: Classes and functions of your own that a Keras file names, by their names.
            trust: Run code that comes with a Keras file, such as that of a Lambda layer. Only for files whose maker you
                trust as you trust a program.
            runtime: As for `Classifier`; by default what executes the file's format.
            precision: As for `Classifier`.
            image_policy: As for `Classifier`.
            threads: As for `Classifier`.

        Code in a file is refused by its name before any loader sees it. The network is run on test images, and judged
        by what it gives. Raises ModelFileError for a file that is damaged, unsafe or no classifier,
        InvalidArgumentError, which says what to give, for arguments that are missing or do not fit, and for a path
        without a model file.

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
        """The classifier that `save` wrote to a bundle. It answers as the one that was saved.

        Args:
            path: The bundle's folder.
            runtime: What executes it; by default what its format is made for, which for the formats
                ``"openvino"``, ``"onnx"`` and ``"litert"`` takes neither TensorFlow nor Keras. A bundle of format
                ``"keras"`` takes any.
            precision: As for `Classifier`, but for ``"int8"``: save with ``quantize=`` for that.
            image_policy: An `ImagePolicy` in place of the one that was saved.
            threads: As for `Classifier`.
            follow_links: As for `Classifier`.

        Code that is in a bundle is not run. Raises BundleError, which names the file, unless each byte is the one
        that was written; MissingDependencyError if the runtime is not installed.

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
        """Make a classifier of your own classes: a pretrained network with a head that is fitted to your images.

        Args:
            data: Images with their classes, as one of these:

                - A folder with a folder of images for each class, or a zip or tar archive of one; ``data.zip/train`` is
                  a folder within an archive. Where its folders are the parts of a data set, ``train``, ``validation``
                  (or ``val``, ``valid``) and ``test``, the first two are taken, each with a folder for each class.
                - A CSV or TSV file with the columns ``path``, relative to the file, and ``label``, between commas,
                  semicolons or tabs, in UTF-8, UTF-16 or Latin-1; or the same as a data frame of pandas or Polars, a
                  table of Arrow, or a mapping of columns. Keras's ``filename`` and ``class`` are known too.
                - ``(X, y)``, a tuple: images as `predict_batch` takes them, such as paths or an array ``(N, h, w, 3)``,
                  and a label for each: text or a whole number, ``(N,)`` or ``(N, 1)``, or one-hot ``(N, C)``.
                - A ``tf.data.Dataset``; a data set of PyTorch, such as an ``ImageFolder``; a data set of Hugging Face.
                  Images are taken before any transform where the data set has them so.
                - Pairs of an image and a label.
            model: What to start from: what `Classifier` takes, or a `Classifier`, which is not changed.
            validation: Images, given like ``data``, that choose the settings; or a share of ``data``, such as 0.2, that
                is set aside of each class, and not fitted on. By default, ``"mlp"`` and ``unfreeze``
                set a fifth of each class of ``data`` aside; ``"linear"`` is fitted on all of ``data``, with settings
                that 5-fold cross-validation chose, or, from 1,000 images on, a fifth of each class.
            path_column: The column of a table that holds the images, where it has another name.
            label_column: The column of a table that holds the classes, where it has another name.
            groups: What each image of ``data`` is of, ``(n,)``, in the order given, or the column of a table that
                says so: several images of one person or one thing stay on one side wherever images are set aside.
            head: ``"linear"``, logistic regression fitted to convergence, with the strength of its regularization
                chosen by the log loss on validation (by cross-validation if fewer than 200 images are given there, and
                more in ``data``). Or a head that is trained epoch by epoch: an `MLP` of hidden layers with dropout;
                ``"mlp"``, which is ``MLP((256,), 0.5)``; or Keras layers, one or a list, which take embeddings
                ``(N, D)`` and give vectors: training adds the layer of the classes, and copies the layers by their
                configurations, with new weights.
            epochs: How often, at most, the images are gone through to fine-tune (by default 20), or the embeddings
                to fit a head epoch by epoch (100). This and the settings up to ``callbacks`` are those of fine-tuning
                where ``unfreeze`` is given, and have no meaning for ``"linear"`` alone.
            patience: So many epochs in a row without a lower log loss on validation end the training (by default 5).
                The best epoch's weights stay.
            batch_size: Images in a training step, by default 16 to fine-tune and 32 for a head.
            optimizer: An optimizer of Keras, or its name; by default Adam. Only its settings count.
            learning_rate: A number, or a schedule of Keras; by default 1e-5 to fine-tune and 3e-4 for a head, with
                another optimizer than the default one that optimizer's own.
            label_smoothing: The share of each label, 0 to 1, that training spreads over all classes. Figures on
                validation are without it.
            callbacks: Callbacks of Keras, such as TensorBoard. ``loss``, ``accuracy``, ``val_loss`` and
                ``val_accuracy`` are what they are told, and ``model`` is the network to fine-tune, or the head alone.
                The best epoch's weights stay whatever they restore.
            unfreeze: How many of the network's last layers are then trained end to end, with the head: of the layers
                that have weights, BatchNormalization not counted; or the name of the first one. BatchNormalization
                stays as it is, statistics included.
            augment: How images are changed while layers are trained: ``"default"`` flips, zooms, moves and relights
                them a little; a keras layer that takes RGB ``(N, H, W, 3)`` in 0..255; None for not at all.
                `preview_augmentation` shows it.
            copies: With ``augment`` and without ``unfreeze``: how many changed copies of each image of ``data`` are
                embedded, once, and fitted with it, by default 4. An image and its copies together count like one.
            class_weight: What an image of each class counts: ``"balanced"`` lets all classes count the same, a mapping
                gives classes a number other than 1. It counts on validation too.
            sample_weight: What each image of ``data`` counts, in the order given, ``(n,)``: numbers of at least 0. An
                image of weight 2 counts like two images. By default, what the column ``weight`` of a table says, or the
                third part of a ``tf.data.Dataset``, if it has one.
            multi_label: An image may have several labels, or none: ``data`` is as `evaluate` takes it then, such as a
                CSV file whose cells of ``label`` hold ``"cat,dog"``. A logistic regression is fitted for each label,
                with the same ``C`` for all. ``spec.thresholds`` are the probabilities from which each label counts as
                given: those with the best F1 on validation.
            seed: Of everything random. The same seed, data and machine give the same weights.
            cache: Keep embeddings on disk, so that fitting again takes seconds, and after each epoch of fine-tuning the
                state, from which the same call goes on should it be killed; not with ``callbacks``, whose state is not
                known.
            progress: True shows on stderr how far it is, with the time left, in one line on a terminal and in a
                notebook; a function is called with the stage, how much of it is done, and how much there is, or None.
            **arguments: As for `Classifier`: ``weights``, ``runtime``, ``precision``, ``resize``, ``input_size``,
                ``image_policy``, and builder options.

        Images that cannot be read are left out, with a `PretrainedCNNWarning`, and listed in `report`. Raises
        DataError before any work for images from which nothing can be learnt, InvalidArgumentError for arguments that
        cannot be right, MissingDependencyError for ``"linear"`` without SciPy.

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

        Returns a figure of matplotlib. Raises ImageError, InvalidArgumentError for what cannot augment, and
        MissingDependencyError without matplotlib.

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
        """A classifier that knows the classes of ``data`` too; this one is not changed.

        Only the images of ``data`` are embedded. The head is fitted anew for all classes, with the settings of the
        first training. Images of classes that are known already count as more images of these.

        Args:
            data: Images of the new classes, as for `train`.
            original: The images of the known classes. They are needed where the embeddings of the first training are
                not at hand: for a classifier that was loaded, or not trained by `train`. The settings are the default
                ones of `train` then.
            validation: As for `train`; given exactly where the first training was given validation images, or with
                ``original`` for all classes.
            path_column: As for `train`.
            label_column: As for `train`.
            groups: What each image of ``data`` shows, as for `train`; not with ``original``.
            sample_weight: What each image of ``data`` counts, as for `train`; with ``original``, of that first.
            progress: As for `train`.

        A calibration is dropped, with a `PretrainedCNNWarning`: it holds for the classes before. Raises
        InvalidArgumentError for a fine-tuned network, whose images have other embeddings than those of its training;
        and what `train` raises.

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
            warn("the calibration is dropped: it holds for the classes before; calibrate the new classifier")
        return Classifier(trained)

    @property
    def engine(self) -> Engine:
        """The network with what runs it: opens it for other outputs, streams batches through it.

        >>> Classifier("EfficientNetLite0").engine.open().widths
        (1000,)
        """
        return self._engine

    @property
    def spec(self) -> ModelSpec:
        """What the classifier knows of its backbone, the arguments given included.

        >>> Classifier("MobileNet", input_size=(160, 160)).spec.input_size
        (160, 160)
        """
        return self._engine.spec

    @property
    def runtime(self) -> str:
        """The name of what executes the network.

        >>> Classifier("MobileNet").runtime
        'keras'
        """
        return self._engine.runtime.name

    @property
    def precision(self) -> Precision:
        """What the runtime computes in.

        >>> Classifier("MobileNet").precision
        'float32'
        """
        return self._engine.precision

    @property
    def calibration(self) -> Calibration | None:
        """What `calibrate` found, or the bundle carries; None for a classifier that is not calibrated.

        >>> Classifier("MobileNet").calibration is None
        True
        """
        return self._calibration

    @property
    def keras_model(self) -> keras.Model:
        """The network: float32 ``(N, H, W, 3)``, already preprocessed, to scores ``(N, C)``. Builds it if need be.

        >>> Classifier("MobileNet", weights=None, alpha=0.25).keras_model.count_params()
        475544
        """
        return self._engine.backbone().model

    @property
    def history(self) -> TrainingHistory:
        """What `train` tried, in its order: a row for each strength of regularization, or each epoch; else empty.

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
        """What `train` did; None for a classifier that `train` did not make. A bundle keeps it.

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
        """The classes, in the order of the scores; empty for a spec with a decode function of its own.

        >>> Classifier("MobileNet").labels[281].name
        'tabby'
        """
        return self._engine.spec.labels

    def predict(self, image: ImageLike, *, top: int = 5, min_score: float | None = None) -> Result:
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
        """Name what is in several images: one `Result` for each, in their order.

        Args:
            images: An iterable of images as `predict` takes them, or any other source that `stream` takes.
            top: How many classes to name.
            min_score: As for `predict`.
            batch_size: As for `stream`.
            errors: ``"raise"`` raises the ImageError of the first bad image; ``"return"`` gives a bad
                image a `Result` with its error, in its place.
            progress: As for `train`.

        In a notebook, the list shows itself as a contact sheet of its first 24 images.

        >>> clf = Classifier("EfficientNetLite0")
        >>> clf.predict_batch(["examples/images/clock.png", "no.jpg"], errors="return")[1]
        Result('no.jpg': error: there is no such file)
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

        Results come in the order of the images. `write_results` writes the stream to a file, and continues a run that
        was cut off. An iterable is asked for its images in the thread that asks for results, batch by batch; what it
        raises is raised, and while it waits, so does the stream. Closing the stream, or an exception in what consumes
        it, ends the threads, each with the image that it is at.
        Raises ImageError if there is no image in a folder, a glob, an archive or a text file.

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
        """What the network sees in each image: float32 ``(N, embedding_size)``, in their order.

        An embedding is the input of the last dense layer; for weights without a top, the pooled features.
        With ``layer``, the name of one of ``keras_model.layers``, it is what that layer gives, ``(N, D)``, a map as the
        mean over its pixels. ``images`` are as for `predict_batch`. Raises the ImageError of the first bad image; with
        ``errors="return"`` its row is NaN. Raises InvalidArgumentError if there is no such layer. ``progress``
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
        """What the network sees in any number of images, one after the other, in bounded memory.

        ``layer`` is as for `embed`, everything else as for `stream`. `write_results` writes what comes to a file.

        >>> clf = Classifier("EfficientNetLite0")
        >>> for result in clf.embed_stream(["examples/images/clock.png", "no.jpg"]):
        ...     print(result)
        EmbeddingResult('examples/images/clock.png': 1280 numbers)
        EmbeddingResult('no.jpg': error: there is no such file)
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
        """The maps that layers of the network give for each image, in one pass.

        Args:
            images: As for `predict_batch`.
            layers: Names of ``keras_model.layers`` whose output is a map.
            batch_size: As for `stream`.

        Returns a float32 array ``(N, h, w, c)`` for each layer, by its name: rows in the order of the images, not
        pooled. Keras computes them whatever the runtime, so a bundle must be of format ``"keras"``. All maps are in
        memory at once.

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
        """How often the classifier is right about images whose classes are known, and where it is wrong.

        Args:
            source: Labeled images, in any form that `train` takes. For ImageNet's classes, a WordNet id in the name of
                a folder or an image is its label.
            labels: Where given, the class of each image, and ``source`` is images as `predict_batch` takes them. A
                list, a generator, a column of a frame, or an array or tensor, ``(N,)``, ``(N, 1)`` or one-hot
                ``(N, C)``; a whole number is the index of a class.
            path_column: As for `train`.
            label_column: As for `train`.
            batch_size: As for `stream`.
            progress: As for `train`.

        A label is a class's id, or its name if no other class has it. Bad images are listed in `Evaluation.failed`.
        Returns an `Evaluation`; with ``multi_label=True`` a `MultiLabelEvaluation`, for which an image's label is a
        collection of labels, possibly empty, and in a CSV file text such as ``"cat,dog"``.

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
        """Whether another classifier is better than this one, judged by the same labeled images.

        The verdict holds for images of the kind of ``source``, drawn independently of each other: near copies make a
        difference look surer than it is. "Not told apart" does not say that both are equally good. See `Comparison`.

        Args:
            other: A `Classifier`, the folder of a bundle, or a file of results that `write_results` wrote for these
                images. In the comparison it is B, and this classifier is A.
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
        from pretrained_cnn.trust import compare

        columns = Columns(path_column, label_column)
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
        """A classifier that knows which images are of none of its classes, and gives sets of classes.

        Both are promised on average over images like those of ``source``, and for no single class: at most
        ``1 - coverage`` of the images of known classes get the status ``"unknown"``, and at least ``coverage`` of the
        sets, `Result.label_set`, hold the true class. An image of another class that looks like a known one is not
        recognized. See `Calibration` for both methods.

        Args:
            source: As for `evaluate`: a set of its own, drawn like the images to come, of at least 19 images for a
                coverage of 0.95; some hundreds are better. Bad images are left out, with a warning.
            labels: As for `evaluate`.
            coverage: The share of images, above 0 and below 1, for which each of the two promises is kept.
            path_column: As for `train`.
            label_column: As for `train`.
            batch_size: As for `stream`.
            progress: As for `train`.

        This classifier stays as it is. `save` keeps the calibration in the bundle. Scores and embedding take one pass
        of the network; the rest is computed with NumPy, whatever the runtime.

        Raises DataError for too few images, and if the classifier was trained on one of them; InvalidArgumentError with
        ``multi_label=True``; BundleError for a bundle whose network gives no ``embedding``. Warns of classes without an
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
        """The images to label next: those that the classifier is unsure of, no two alike, the most useful first.

        Worth it once there are some labels of each class: a classifier that knows little is unsure of the wrong images,
        and one that is wrong and sure of it does not ask. Labels that are chosen so are no fair sample: do not measure
        accuracy by them, nor calibrate with them.

        Args:
            source: Images without labels, as `stream` takes them. Bad images are left out, with a warning.
            n: How many images to return; fewer if there are fewer.
            batch_size: As for `stream`.

        An image is unsure if its two best scores are close; with ``multi_label=True``, if some score is close to its
        threshold. Of the ``2 * n`` most unsure ones, those are taken whose embeddings are unlike each other. Memory
        holds these only. Each is a `Result` with its two best classes.

        Raises BundleError for a bundle whose network gives no ``embedding``; ImageError if there is no image.

        >>> [result.source for result in Classifier("EfficientNetLite0").rank_unlabeled("examples/images", n=2)]
        ['examples/images/clock.png', 'examples/images/balloon.png']
        """
        from pretrained_cnn.trust import rank_unlabeled

        return rank_unlabeled(self._engine, source, whole_number("n", n), batch_size=batch_size)

    def explain(
        self, image: ImageLike, target: int | str | None = None, method: HeatMapMethod = "grad_cam"
    ) -> Explanation:
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
        """Write the classifier to a bundle: a folder with the model, its preprocessing inside, and the labels.

        Args:
            path: The folder.
            format: By default ``"keras"``, or that of the bundle whose model the classifier runs without Keras, which
                is copied. ``"keras"`` can be trained further, and loaded with any runtime. ``"openvino"``, ``"onnx"``
                and ``"litert"`` need neither TensorFlow nor Keras where they are loaded. ``"saved_model"`` is what
                TensorFlow Serving takes: give it ``path/model``.
                Other names are those of formats that you or a package registered.
            dtype: What the file stores weights in. ``"float16"`` halves the size of an ``"openvino"`` or ``"litert"``
                model, which still computes in float32.
            output: ``"scores"`` for a bundle that predicts, ``"embedding"`` for one that embeds, or both in a list, in
                one pass of the network; by default whichever the weights allow, scores first. Format ``"keras"`` with
                scores does both.
            quantize: Images, as `predict_batch` takes them, of the kind that will be classified, about 300. Their
                ranges of values make an ``"openvino"`` model of 8-bit integers, ``dtype="int8"``. A fifth of the images
                is held back to judge the result.
            min_agreement: The share of images, 0 to 1, that must keep their best class; by default all, and 0.95
                of those held back with ``quantize``.
            overwrite: Replace a bundle at ``path``. Anything else there is left alone.

        Before it returns, the bundle is loaded again, and must give the same scores as this classifier within
        1e-4 (float16: 0.05) and the same best classes, for four test images. Returns how well the two agree.

        Raises InvalidSpecError if the network gives NaN, or scores that are not probabilities; BundleError, and leaves
        nothing behind, if the two do not agree, or if the format cannot express the network; InvalidArgumentError for
        arguments that do not go together; MissingDependencyError for a format whose package is not installed.

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
        """Free what the runtime holds: memory and threads. Closing twice is fine.

        The classifier can be used again, and then opens its network again.

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
        _refuse(arguments, "a Classifier to go on from")
        return model.engine.copy()
    _refuse_options_of_head(arguments)
    if isinstance(find_model(model), ModelFile):  # whose own classes do not matter here
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
