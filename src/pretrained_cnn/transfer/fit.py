"""Training with Keras, epoch by epoch: early stopping, and continuing after a kill as if there had been none."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._cache import evict
from pretrained_cnn._files import atomic_write
from pretrained_cnn._progress import report
from pretrained_cnn.errors import InvalidArgumentError
from pretrained_cnn.transfer.settings import Schedule

log = logging.getLogger(__name__)


METRICS = ("loss", "accuracy", "validation_loss", "validation_accuracy")
"""What a row has of each epoch but the first."""


class Step(NamedTuple):
    """What one training step takes."""

    inputs: NDArray[Any]
    targets: NDArray[np.intp]
    weights: NDArray[np.float64]


@dataclass
class State:
    """How far a training has come."""

    epoch: int = 0
    best: list[NDArray[Any]] = field(default_factory=list)
    """The weights of the best epoch."""
    best_loss: float = float("inf")
    waited: int = 0
    """Epochs since the best one."""
    rows: list[dict[str, Any]] = field(default_factory=list)


def fit(
    model: keras.Model,
    steps: Callable[[int], Iterable[Step]],
    measure: Callable[[], tuple[float, float]],
    schedule: Schedule,
    *,
    kept: Sequence[Any],
    stage: str,
    classes: int,
    seed: int,
    states: Sequence[Any] = (),
    checkpoint: Path | None = None,
) -> list[dict[str, Any]]:
    """Train ``model`` as ``schedule`` says, and leave the variables ``kept`` as they were after its best epoch.

    ``steps(epoch)`` gives an epoch's batches, the same for the same number; ``measure()`` the log loss and the accuracy
    on validation. Epoch 0 is the model as it came, so that it never gets worse. ``states`` are variables that training
    changes beside the model's, such as an augmentation's; all that is random begins from ``seed``. After each epoch,
    all of it is written to ``checkpoint``; where that file exists, training continues from it, to the same weights.
    Gives a row for each epoch.
    """
    optimizer = make_optimizer(schedule)
    # Without XLA, which is slower than the kernels of the backend on a CPU.
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(label_smoothing=schedule.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=False,
    )
    optimizer.build(model.trainable_variables)
    weights = {id(weight) for weight in model.weights}
    seeds = [variable for variable in model.variables if id(variable) not in weights]
    variables = [*_distinct([*model.trainable_variables, *kept]), *optimizer.variables, *seeds, *states]
    for i, variable in enumerate([*seeds, *states]):
        if variable.name == "seed_generator_state":
            variable.assign(np.array([seed, i], variable.dtype))
    state = _load(checkpoint, variables)
    if state is None:
        state = State()
        _note(state, kept, measure, {"stage": stage, "epoch": 0})
    callbacks = keras.callbacks.CallbackList(
        list(schedule.callbacks), model=model, epochs=schedule.epochs, steps=None, verbose=0
    )
    model.stop_training = False
    callbacks.on_train_begin()
    report(stage, state.epoch, schedule.epochs)
    while state.epoch < schedule.epochs and state.waited < schedule.patience and not model.stop_training:
        callbacks.on_epoch_begin(state.epoch)
        state.epoch += 1
        row = {"stage": stage, "epoch": state.epoch, **_train_epoch(model, steps(state.epoch), classes, callbacks)}
        _note(state, kept, measure, row)
        log.log(
            logging.DEBUG if stage == "head" else logging.INFO,
            "epoch %d: loss %.3f, on validation %.3f, accuracy %.3f",
            *(state.rows[-1][key] for key in ("epoch", "loss", "validation_loss", "validation_accuracy")),
        )
        logs = {name.replace("validation_", "val_"): state.rows[-1][name] for name in METRICS}
        callbacks.on_epoch_end(state.epoch - 1, logs)
        report(stage, state.epoch, schedule.epochs)
        _save(checkpoint, state, variables)
    callbacks.on_train_end()
    for variable, value in zip(kept, state.best, strict=True):
        variable.assign(value)
    return state.rows


def make_optimizer(schedule: Schedule) -> keras.optimizers.Optimizer:
    """A new optimizer, with the settings of the one that was given."""
    given = keras.optimizers.get(schedule.optimizer or "adam")
    if schedule.learning_rate is not None:
        return type(given)(learning_rate=schedule.learning_rate)
    return type(given).from_config(given.get_config())


def _train_epoch(
    model: keras.Model, steps: Iterable[Step], classes: int, callbacks: keras.callbacks.CallbackList
) -> dict[str, float]:
    """The mean loss and accuracy over the steps."""
    found, counts = [], []
    for number, step in enumerate(steps):
        callbacks.on_train_batch_begin(number)
        logs = model.train_on_batch(
            step.inputs, np.eye(classes, dtype=np.float32)[step.targets], sample_weight=step.weights, return_dict=True
        )
        found.append([float(logs[name]) for name in ("loss", "accuracy")])
        counts.append(len(step.targets))
        callbacks.on_train_batch_end(number, dict(zip(("loss", "accuracy"), found[-1], strict=True)))
        model.reset_metrics()
    loss, accuracy = np.average(found, axis=0, weights=counts).tolist()
    return {"loss": loss, "accuracy": accuracy}


def _note(state: State, kept: Sequence[Any], measure: Callable[[], tuple[float, float]], row: dict[str, Any]) -> None:
    loss, accuracy = measure()
    if not state.rows and not np.isfinite(loss):
        raise InvalidArgumentError(
            f"{row['stage']}: before the first epoch, the log loss on validation is {loss}; check the initial weights "
            "of the layers"
        )
    state.rows.append({**row, "validation_loss": loss, "validation_accuracy": accuracy})
    state.waited += 1
    if loss < state.best_loss:
        state.best_loss, state.waited = loss, 0
        state.best = [_value(variable) for variable in kept]


def _distinct(variables: Iterable[Any]) -> list[Any]:
    return list({id(variable): variable for variable in variables}.values())


def _save(path: Path | None, state: State, variables: Sequence[Any]) -> None:
    """Write a checkpoint whole or not at all."""
    if path is None:
        return
    arrays = {f"now{i}": _value(variable) for i, variable in enumerate(variables)}
    arrays |= {f"best{i}": value for i, value in enumerate(state.best)}
    numbers = {"epoch": state.epoch, "best_loss": state.best_loss, "waited": state.waited, "rows": state.rows}
    arrays["numbers"] = np.frombuffer(json.dumps(numbers).encode(), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the arrays for allow_pickle
    evict(keep=path)


def _load(path: Path | None, variables: Sequence[Any]) -> State | None:
    """Set ``variables`` to what a checkpoint holds, and give its state; None if there is none."""
    if path is None or not path.exists():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        numbers = json.loads(arrays["numbers"].tobytes())
        for i, variable in enumerate(variables):
            variable.assign(arrays[f"now{i}"])
        best = [arrays[f"best{i}"] for i in range(sum(name.startswith("best") for name in arrays.files))]
    log.info("training continues after epoch %d, from %s", numbers["epoch"], path)
    return State(best=best, **numbers)


def _value(variable: Any) -> NDArray[Any]:
    return np.array(keras.ops.convert_to_numpy(variable))
