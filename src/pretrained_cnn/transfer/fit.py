"""Training with Keras, epoch by epoch: early stopping, and going on after a kill as if there had been none."""

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

log = logging.getLogger(__name__)

PATIENCE = 5
"""Training ends when so many epochs in a row have not lowered the log loss on validation."""


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
    """The trainable weights of the best epoch."""
    best_loss: float = float("inf")
    waited: int = 0
    """Epochs since the best one."""
    rows: list[dict[str, Any]] = field(default_factory=list)


def fit(
    model: keras.Model,
    steps: Callable[[int], Iterable[Step]],
    measure: Callable[[], tuple[float, float]],
    *,
    stage: str,
    epochs: int,
    learning_rate: float,
    seed: int,
    states: Sequence[Any] = (),
    checkpoint: Path | None = None,
) -> list[dict[str, Any]]:
    """Train ``model`` with Adam for at most ``epochs``, and leave it with the weights of its best epoch.

    ``steps(epoch)`` gives an epoch's batches, the same for the same number; ``measure()`` the log loss and the accuracy
    on validation. Epoch 0 is the model as it came, so that it never gets worse. ``states`` are variables that training
    changes beside the model's, such as an augmentation's; all that is random begins from ``seed``. After each epoch,
    all of it is written to ``checkpoint``; where that file exists, training goes on from it, to the same weights. Gives
    a row for each epoch.
    """
    optimizer = keras.optimizers.Adam(learning_rate)
    # Without XLA, which is slower than the kernels of the backend on a CPU.
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    optimizer.build(model.trainable_variables)
    weights = {id(weight) for weight in model.weights}
    seeds = [variable for variable in model.variables if id(variable) not in weights]
    variables = [*model.trainable_variables, *optimizer.variables, *seeds, *states]
    for i, variable in enumerate([*seeds, *states]):
        if variable.name == "seed_generator_state":
            variable.assign(np.array([seed, i], variable.dtype))
    state = _load(checkpoint, variables)
    if state is None:
        state = State()
        _note(state, model, measure, {"stage": stage, "epoch": 0})
    while state.epoch < epochs and state.waited < PATIENCE:
        state.epoch += 1
        losses, counts = [], []
        for step in steps(state.epoch):
            losses.append(float(model.train_on_batch(step.inputs, step.targets, sample_weight=step.weights)))
            counts.append(len(step.targets))
            model.reset_metrics()
        row = {"stage": stage, "epoch": state.epoch, "loss": float(np.average(losses, weights=counts))}
        _note(state, model, measure, row)
        log.log(
            logging.DEBUG if stage == "head" else logging.INFO,
            "epoch %d: loss %.3f, on validation %.3f, accuracy %.3f",
            *(state.rows[-1][key] for key in ("epoch", "loss", "validation_loss", "validation_accuracy")),
        )
        _save(checkpoint, state, variables)
    for variable, value in zip(model.trainable_variables, state.best, strict=True):
        variable.assign(value)
    return state.rows


def _note(state: State, model: keras.Model, measure: Callable[[], tuple[float, float]], row: dict[str, Any]) -> None:
    loss, accuracy = measure()
    state.rows.append({**row, "validation_loss": loss, "validation_accuracy": accuracy})
    state.waited += 1
    if loss < state.best_loss:
        state.best_loss, state.waited = loss, 0
        state.best = [_value(variable) for variable in model.trainable_variables]


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
    log.info("training goes on after epoch %d, from %s", numbers["epoch"], path)
    return State(best=best, **numbers)


def _value(variable: Any) -> NDArray[Any]:
    return np.array(keras.ops.convert_to_numpy(variable))
