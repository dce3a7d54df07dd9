"""The description of a backbone as data: `ModelSpec`, `ResizePolicy` and `Published`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from pretrained_cnn._check import choice, number, whole_number
from pretrained_cnn._lazy import Reference
from pretrained_cnn._registry import as_function
from pretrained_cnn.errors import InvalidArgumentError, InvalidSpecError, WeightsError
from pretrained_cnn.labels import Label, LabelDecoder, as_labels, imagenet_labels
from pretrained_cnn.weights import WeightsFile

__all__ = ["ModelSpec", "Published", "ResizePolicy"]

T = TypeVar("T")

Output = Literal["scores", "embedding"]
ResizeMethod = Literal["crop", "squash", "pad"]
HeatMapMethod = Literal["grad_cam", "grad_cam++", "hires_cam"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]


@dataclass(frozen=True)
class ResizePolicy:
    """How an image of any size is resized to the network's input size.

    - ``"crop"``: the short side is resized to ``size / crop_fraction``, keeping the aspect ratio, and the
      center is cropped. The accuracies that Keras publishes were measured in this way, with bicubic interpolation and
      0.875 (keras-team/keras-applications, issues 88 and 99).
    - ``"squash"``: both sides are resized independently. ``ResizePolicy("squash",
      interpolation="nearest")`` is what ``keras.utils.load_img(target_size=...)`` does.
    - ``"pad"``: the whole image is resized to fit, keeping the aspect ratio, and the rest is black.

    ``crop_fraction`` applies to ``"crop"`` only. With ``antialias=False``, each pixel is interpolated between its four
    nearest ones, as ``tf.image.resize`` does by default. ``ResizePolicy("squash", interpolation="bilinear",
    antialias=False)`` is what ``keras.utils.image_dataset_from_directory`` does and what `Classifier.from_keras`
    uses. It needs every pixel of a file, so large JPEG files are not read at a reduced size.

    Raises InvalidArgumentError for an unknown setting.

    >>> ResizePolicy()
    ResizePolicy(method='crop', crop_fraction=0.875, interpolation='bicubic', antialias=True)
    """

    method: ResizeMethod = "crop"
    crop_fraction: float = 0.875
    interpolation: Interpolation = "bicubic"
    antialias: bool = True

    def __post_init__(self) -> None:
        choice("method", self.method, get_args(ResizeMethod))
        choice("interpolation", self.interpolation, get_args(Interpolation))
        object.__setattr__(self, "crop_fraction", number("crop_fraction", self.crop_fraction, above=0, most=1))
        if not isinstance(self.antialias, bool):
            raise InvalidArgumentError(f"antialias={self.antialias!r} is neither True nor False")
        if not self.antialias and self.interpolation not in ("nearest", "bilinear"):
            raise InvalidArgumentError(
                f"antialias=False goes with interpolation='bilinear' or 'nearest', not with {self.interpolation!r}"
            )

    def pick(self, purpose: str, **choices: T) -> T:
        """The one of ``choices`` that is named as the method. Whatever differs by method goes through here.

        Raises InvalidArgumentError for a method that ``choices`` lacks: it has not been written for ``purpose`` yet.

        >>> ResizePolicy("pad").pick("a report", crop="cut", squash="squashed", pad="fitted in")
        'fitted in'
        """
        try:
            return choices[self.method]
        except KeyError:
            raise InvalidArgumentError(f"method={self.method!r} is not available for {purpose}") from None


@dataclass(frozen=True)
class Published:
    """The published accuracy of a backbone on ImageNet's validation set.

    >>> from pretrained_cnn import get_spec
    >>> get_spec("ResNet50V2").published.input_size
    299
    """

    top1: float
    """Percent."""
    top5: float | None
    """Percent; None if the source does not publish it."""
    input_size: int | None
    """Side, in pixels, of the test images; None if the source does not publish it."""
    source: str
    """The source of the figures."""


@dataclass(frozen=True, init=False)
class ModelSpec:
    """Describes a backbone: everything that the library needs to use it.

    ``builder``, ``preprocess`` and ``decode`` are functions, or their names as ``"module:attr"``, which
    are imported when first called. Give ``labels`` or ``decode``. Raises InvalidSpecError, which names
    the field, for an invalid value.

    >>> spec = ModelSpec(name="MyNet", builder="my_package:build", input_size=(160, 160),
    ...                  preprocess=lambda x: x / 255, labels=["cat", "dog"])
    >>> spec.labels[1].name
    'dog'
    """

    name: str
    """The name of the backbone; case, ``-`` and ``_`` do not matter."""
    builder: Callable[..., Any]
    """``(input_shape) -> keras.Model``, or Keras's own signature ``(..., weights=, input_shape=, ...)``.

    ``input_shape`` is ``(height, width, channels)``; the network takes float32 ``(N, height, width, channels)`` and
    gives probabilities ``(N, C)``, or ``(N, 1)``, the probability of the second of two labels. A plain builder loads
    its own weights; one with a ``weights`` argument gets ``"imagenet"`` or None.
    """
    input_size: tuple[int, int]
    """``(height, width)`` in pixels."""
    preprocess: Callable[..., Any] | None
    """Converts RGB float32 ``(N, H, W, 3)`` in 0..255 to the values that the network was trained with. It uses
    Keras operations or plain arithmetic, so that it becomes a part of the graph. None if the network takes 0..255."""
    labels: tuple[Label, ...] = field(repr=False)
    """The classes in the order of the outputs; given as names, as ``(id, name)`` pairs, or as ``"imagenet"``.
    Empty if the spec has its own ``decode`` function."""
    decode: Callable[..., Any]
    """``(scores (N, C), top=5)`` -> for each image ``(id, label, score)`` or ``(id, label, score,
    index)`` rows, best first; by default through ``labels``."""
    channels: int
    """3 for RGB, or 1 for a network that takes gray images. Images are converted before they are resized."""
    multi_label: bool
    """Whether an image may have several labels, each with its own probability, or none."""
    thresholds: tuple[float, ...]
    """With ``multi_label``, the probability from which each label is predicted, by default 0.5; else empty."""
    resize: ResizePolicy
    """How images are resized to ``input_size``."""
    embedding_size: int | None
    """Width of the embedding, the input of the last dense layer; None if unknown before the network is built."""
    parameters: int | None
    """Number of weights, the 1,000-class head included."""
    depth: int | None
    """Number of layers that have weights, as https://keras.io/api/applications/ prints it; None where it does not."""
    weights: tuple[WeightsFile, ...] = field(repr=False)
    """The published files. The library loads one of them itself; empty if the builder does that."""
    weights_package: str | None
    """The package on the package index whose file the builder loads as ImageNet weights; None for no package."""
    published: Published | None
    """The published accuracy; None if there is none."""
    license: str | None
    """The license of the weights, if their publisher states one."""
    source: str | None
    """A page or paper that describes the backbone."""

    def __init__(
        self,
        *,
        name: str,
        builder: Callable[..., Any] | str,
        input_size: tuple[int, int],
        preprocess: Callable[..., Any] | str | None = None,
        labels: Iterable[str | tuple[str, str]] | Literal["imagenet"] = (),
        decode: Callable[..., Any] | str | None = None,
        channels: int = 3,
        multi_label: bool = False,
        thresholds: Iterable[float] = (),
        resize: ResizePolicy = ResizePolicy(),
        embedding_size: int | None = None,
        parameters: int | None = None,
        depth: int | None = None,
        weights: Iterable[WeightsFile] = (),
        weights_package: str | None = None,
        published: Published | None = None,
        license: str | None = None,
        source: str | None = None,
    ) -> None:
        if not (isinstance(name, str) and name.strip()):
            raise InvalidSpecError(f"name={name!r} is not a name")
        try:
            height, width = (whole_number("side", side) for side in (input_size if _is_pair(input_size) else ()))
        except ValueError:
            raise InvalidSpecError(f"{name}: input_size={input_size!r} is not (height, width) in pixels") from None
        if not isinstance(resize, ResizePolicy):
            raise InvalidSpecError(f"{name}: resize={resize!r} is not a ResizePolicy")
        table = _read_labels(name, labels)
        if decode is not None and table:
            raise InvalidSpecError(f"{name}: give labels or decode, not both")
        if decode is None and not table:
            raise InvalidSpecError(f"{name}: give labels=[...] or a decode function: its outputs need names")
        if channels not in (1, 3):
            raise InvalidSpecError(f"{name}: channels={channels!r} is neither 3, for RGB, nor 1, for gray")
        if not isinstance(multi_label, bool):
            raise InvalidSpecError(f"{name}: multi_label={multi_label!r} is neither True nor False")
        limits = _read_thresholds(name, thresholds, table, multi_label)
        fields = {
            "name": name,
            "builder": as_function(name, "builder", builder),
            "input_size": (height, width),
            "preprocess": None if preprocess is None else as_function(name, "preprocess", preprocess),
            "labels": table,
            "decode": LabelDecoder(table, limits) if decode is None else as_function(name, "decode", decode),
            "channels": int(channels),
            "multi_label": multi_label,
            "thresholds": limits,
            "resize": resize,
            "embedding_size": embedding_size,
            "parameters": parameters,
            "depth": depth,
            "weights": tuple(weights),
            "weights_package": weights_package,
            "published": published,
            "license": license,
            "source": source,
        }
        for key, value in fields.items():
            object.__setattr__(self, key, value)  # the class is frozen

    def replace(self, **changes: Any) -> ModelSpec:
        """The same spec with some fields changed.

        >>> from pretrained_cnn import get_spec
        >>> get_spec("ResNet50V2").replace(name="ResNet50V2At299", input_size=(299, 299)).input_size
        (299, 299)
        """
        kept = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        if isinstance(self.decode, LabelDecoder) or "labels" in changes:
            kept["decode"] = None
        if "decode" in changes:
            kept["labels"] = ()
        if changes.keys() & {"labels", "decode", "multi_label"}:
            kept["thresholds"] = ()
        return ModelSpec(**{**kept, **changes})

    def weights_file(
        self, *, has_head: bool = True, input_size: tuple[int, int] | None = None, options: Mapping[str, Any] = {}
    ) -> WeightsFile:
        """The published file for these builder options, with or without the 1,000-class head.

        Options that do not change the file (``dropout=0.5``) are ignored. A file made at ``input_size`` is
        preferred to one made at the default size. Raises WeightsError if there is none.

        >>> from pretrained_cnn import get_spec
        >>> get_spec("MobileNet").weights_file(options={"alpha": 0.25}).name
        'mobilenet_2_5_224_tf.h5'
        """
        files = [file for file in self.weights if file.has_head == has_head]
        if not files:
            raise WeightsError(f"{self.name} has no published weights{'' if has_head else ' without a head'}")
        default = files[0].options
        wanted = {key: options.get(key, value) for key, value in default.items()}
        fitting = [file for file in files if file.options == wanted]
        if not fitting:
            known = " or ".join(dict.fromkeys(_arguments(file.options) for file in files))
            raise WeightsError(
                f"{self.name} has ImageNet weights for {known}, not for {_arguments(wanted)}; "
                "choose one of these, or give weights=<path> or weights=None"
            )
        size = input_size or self.input_size
        return next((file for file in fitting if file.input_size == size), fitting[0])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON; `from_dict` reads it.

        Functions become ``"module:attr"``; InvalidSpecError if one cannot be imported by its name.

        >>> from pretrained_cnn import get_spec
        >>> spec = get_spec("Xception")
        >>> ModelSpec.from_dict(spec.to_dict()) == spec
        True
        """
        data = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        for key in ("builder", "preprocess", "decode"):
            data[key] = None if isinstance(data[key], LabelDecoder) else self._name_function(key)
        data["input_size"] = list(self.input_size)
        data["thresholds"] = list(self.thresholds)
        imagenet = self.labels == imagenet_labels()
        data["labels"] = "imagenet" if imagenet else [list(label) for label in self.labels]
        data["resize"] = dataclasses.asdict(self.resize)
        data["weights"] = [dataclasses.asdict(file) for file in self.weights]
        data["published"] = None if self.published is None else dataclasses.asdict(self.published)
        return data

    def _name_function(self, key: str) -> str | None:
        function = getattr(self, key)
        if function is None:
            return None
        if isinstance(function, Reference):
            return function.path
        path = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '<unnamed>')}"
        try:
            found = Reference(path).resolve() is function
        except (ImportError, AttributeError, ValueError):
            found = False
        if not found:
            raise InvalidSpecError(f'{self.name}: {key}={function!r} cannot be written as "module:attr"')
        return path

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelSpec:
        """The spec from the data of `to_dict`. Imports nothing. Raises InvalidSpecError for other data.

        >>> ModelSpec.from_dict({"name": "A", "color": "red"})
        Traceback (most recent call last):
        ...
        pretrained_cnn.errors.InvalidSpecError: not the description of a spec: \
ModelSpec.__init__() got an unexpected keyword argument 'color'
        """
        data = dict(data)
        try:
            if not isinstance(data.get("labels", ""), str):
                data["labels"] = [tuple(label) for label in data["labels"]]
            data["resize"] = ResizePolicy(**data.get("resize") or {})
            data["weights"] = tuple(WeightsFile(**file) for file in data.get("weights") or ())
            if data.get("published") is not None:
                data["published"] = Published(**data["published"])
            return cls(**data)
        except (TypeError, AttributeError) as error:
            raise InvalidSpecError(f"not the description of a spec: {error}") from error


def _read_labels(name: str, labels: Iterable[str | tuple[str, str]] | Literal["imagenet"]) -> tuple[Label, ...]:
    if isinstance(labels, str):
        if labels != "imagenet":
            raise InvalidSpecError(f'{name}: labels={labels!r} is neither a list nor "imagenet"')
        return imagenet_labels()
    try:
        table = as_labels(labels)
    except TypeError:
        raise InvalidSpecError(f"{name}: labels={labels!r} is not a list of names or of (id, name) pairs") from None
    except ValueError as error:
        raise InvalidSpecError(f"{name}: labels={_shown(labels)}: {error}") from None
    seen: set[str] = set()
    for label in table:
        if label.id in seen:
            raise InvalidSpecError(f"{name}: labels has {label.id!r} twice; give (id, name) pairs with different ids")
        seen.add(label.id)
    return table


def _read_thresholds(
    name: str, thresholds: Iterable[float], labels: tuple[Label, ...], multi_label: bool
) -> tuple[float, ...]:
    limits = tuple(number(f"{name}: thresholds", limit, least=0, most=1) for limit in thresholds)
    if not multi_label:
        if limits:
            raise InvalidSpecError(f"{name}: thresholds=... go with multi_label=True only")
        return ()
    if limits and len(limits) != len(labels):
        raise InvalidSpecError(f"{name}: {len(limits)} thresholds do not match {len(labels)} labels")
    return limits or (0.5,) * len(labels)


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _arguments(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in options.items())
