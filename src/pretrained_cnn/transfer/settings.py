"""The settings of a training: `Settings`, `MLP`, and the `Schedule` of a stage with epochs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from pretrained_cnn._check import choice, number, whole_number
from pretrained_cnn.errors import InvalidArgumentError

__all__ = ["MLP", "Schedule", "Settings"]

EPOCHS = {"head": 100, "fine-tune": 20}
LEARNING_RATES = {"head": 3e-4, "fine-tune": 1e-5}
BATCH_SIZES = {"head": 32, "fine-tune": 16}

COPIES = 4
"""Number of changed copies of each image that are embedded if nothing is fine-tuned."""

PATIENCE = 5
"""Training ends when this number of epochs in a row have not lowered the log loss on validation."""

MOST_SEED = 2**32 - 1
"""What NumPy, scikit-learn and Keras all take."""

OF_EPOCHS = ("epochs", "patience", "batch_size", "optimizer", "learning_rate", "label_smoothing", "callbacks")
"""The settings that do not apply to a head that is fitted to convergence."""


@dataclass(frozen=True)
class MLP:
    """A head with hidden layers: each is dense with ReLU, followed by dropout. The layer of the classes comes last.

    Raises InvalidArgumentError for invalid widths or an invalid rate.

    >>> MLP(hidden=(100,), dropout=0.2)
    MLP(hidden=(100,), dropout=0.2)
    >>> MLP(64).hidden
    (64,)
    """

    hidden: int | Sequence[int] = (256,)
    """The width of each hidden layer, the one next to the embedding first; a single number stands for one layer."""
    dropout: float = 0.5
    """The share of a hidden layer's outputs that is set to 0 in each step of training, at least 0 and below 1."""

    def __post_init__(self) -> None:
        hidden: Any = self.hidden
        widths = tuple(hidden) if isinstance(hidden, Sequence) and not isinstance(hidden, str) else (hidden,)
        if not widths:
            raise InvalidArgumentError('hidden=() has no layer; give head="linear" for a head without one')
        rate = number("dropout", self.dropout, least=0)
        if rate >= 1:
            raise InvalidArgumentError(f"dropout={self.dropout!r} leaves nothing to learn from; give a number below 1")
        object.__setattr__(self, "hidden", tuple(whole_number("hidden", width) for width in widths))  # frozen
        object.__setattr__(self, "dropout", rate)


@dataclass(frozen=True)
class Schedule:
    """How a stage continues epoch by epoch."""

    epochs: int
    batch_size: int
    learning_rate: Any
    """A number, or a schedule of Keras; None for that of ``optimizer``."""
    patience: int
    optimizer: Any = None
    """A name or an optimizer of Keras. Only its settings count; None for Adam."""
    label_smoothing: float = 0.0
    callbacks: Sequence[Any] = ()


@dataclass(frozen=True)
class Settings:
    """How to train; the fields are the arguments of `Classifier.train`. Raises InvalidArgumentError."""

    head: Any = "linear"
    epochs: int | None = None
    unfreeze: int | str = 0
    augment: Any = None
    learning_rate: Any = None
    class_weight: Literal["balanced"] | Mapping[str, float] | None = None
    seed: int = 0
    cache: bool = True
    multi_label: bool = False
    copies: int | None = None
    patience: int | None = None
    batch_size: int | None = None
    optimizer: Any = None
    label_smoothing: float | None = None
    callbacks: Any = None

    def __post_init__(self) -> None:
        # NumPy's numbers become Python's, since the settings are written as JSON.
        put = partial(object.__setattr__, self)  # the class is frozen
        if isinstance(self.head, str):
            put("head", choice("head", self.head, ("linear", "mlp")))
        elif not isinstance(self.head, MLP):
            from pretrained_cnn.transfer.given import as_layers

            put("head", as_layers(self.head))
        if not isinstance(self.unfreeze, str):
            try:
                put("unfreeze", whole_number("unfreeze", self.unfreeze, least=0))
            except InvalidArgumentError:
                raise InvalidArgumentError(
                    f"unfreeze={self.unfreeze!r} is neither a number of layers nor a layer's name"
                ) from None
        for name in ("epochs", "patience", "batch_size"):
            if getattr(self, name) is not None:
                put(name, whole_number(name, getattr(self, name)))
        put("seed", whole_number("seed", self.seed, least=0, most=MOST_SEED))
        if self.label_smoothing is not None:
            put("label_smoothing", number("label_smoothing", self.label_smoothing, least=0, most=1))
        self._check_what_is_of_keras()
        is_known = isinstance(self.class_weight, str) and self.class_weight == "balanced"
        if not (self.class_weight is None or is_known or isinstance(self.class_weight, Mapping)):
            raise InvalidArgumentError(
                f'class_weight={self.class_weight!r} is not known; give "balanced" or a number for each class'
            )
        for name in ("multi_label", "cache"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidArgumentError(f"{name}={getattr(self, name)!r} is neither True nor False")
        if self.multi_label:
            self._check_several_labels()
        if self.copies is not None:
            put("copies", whole_number("copies", self.copies))
            if self.augment is None or self.unfreeze:
                raise InvalidArgumentError(
                    "copies=... needs augment=... and no unfreeze=..., which changes the images again in each epoch; "
                    "leave copies out"
                )
        elif self.augment is not None and not self.unfreeze:
            put("copies", COPIES)
        if self.is_linear and not self.unfreeze:
            for name in OF_EPOCHS:
                if getattr(self, name) is not None:
                    raise InvalidArgumentError(
                        f"{name}=... has no meaning for head='linear', which is fitted to convergence; "
                        f"leave {name} out, or give head='mlp' or unfreeze=..."
                    )

    def _check_several_labels(self) -> None:
        if not self.is_linear or self.unfreeze:
            raise InvalidArgumentError(
                'multi_label=True goes with head="linear" and without unfreeze: a logistic regression for each label'
            )
        if self.class_weight is not None:
            raise InvalidArgumentError(
                "class_weight=... needs one class an image, and with multi_label=True an image may have several; "
                "give sample_weight=..., a number for each image"
            )

    def _check_what_is_of_keras(self) -> None:
        put = partial(object.__setattr__, self)
        if self.learning_rate is not None and not hasattr(self.learning_rate, "get_config"):
            put("learning_rate", number("learning_rate", self.learning_rate, above=0))
        given = (self.optimizer, self.callbacks, self.learning_rate)
        if any(value is not None and not isinstance(value, float) for value in given):
            from pretrained_cnn.transfer.given import as_callbacks, check_learning_rate, check_optimizer

            check_learning_rate(self.learning_rate)
            check_optimizer(self.optimizer, self.learning_rate)
            put("callbacks", None if self.callbacks is None else as_callbacks(self.callbacks))

    @property
    def is_linear(self) -> bool:
        """Whether the head is logistic regression."""
        return isinstance(self.head, str) and self.head == "linear"

    @property
    def has_layers(self) -> bool:
        """Whether the head is of Keras layers that the user gave."""
        return isinstance(self.head, tuple)

    @property
    def dropout(self) -> float:
        """That of an MLP; 0 for another head."""
        layers = self.layers
        return layers.dropout if isinstance(layers, MLP) else 0.0

    @property
    def layers(self) -> Any:
        """The head that is trained epoch by epoch: an `MLP`, or a tuple of Keras layers."""
        return MLP() if isinstance(self.head, str) else self.head

    def schedule(self, stage: Literal["head", "fine-tune"]) -> Schedule:
        """How a stage continues. Where two stages are trained, the arguments are those of the last one."""
        given = self if stage == "fine-tune" or not self.unfreeze else Settings(self.head)
        rate = given.learning_rate
        return Schedule(
            epochs=given.epochs or EPOCHS[stage],
            batch_size=given.batch_size or BATCH_SIZES[stage],
            learning_rate=LEARNING_RATES[stage] if rate is None and given.optimizer is None else rate,
            patience=given.patience or PATIENCE,
            optimizer=given.optimizer,
            label_smoothing=given.label_smoothing or 0.0,
            callbacks=given.callbacks or (),
        )

    def to_plain(self, stage: Literal["head", "fine-tune"] | None = None) -> dict[str, Any]:
        """Plain data, ready for JSON, with what a stage takes where an argument was left out.

        What is of Keras stands there by its configuration.
        """
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name != "cache"}
        if stage is not None:
            schedule = self.schedule(stage)
            values |= {item.name: getattr(schedule, item.name) for item in dataclasses.fields(schedule)}
        return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, MLP):
        return repr(value)
    try:
        config = json.dumps(value.get_config(), sort_keys=True, default=repr)
    except (AttributeError, NotImplementedError):  # a callback, or a layer that cannot be described
        return type(value).__name__
    return f"{type(value).__name__} {config}"
