"""Read the tensors of a torch checkpoint without torch, and without running anything from the file.

Only the format of torch before 1.6 is read: a sequence of pickles (magic number, protocol, system
facts, the state dict, the storages' keys), then every storage as an int64 length and its raw values.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from pretrained_cnn.errors import WeightsError

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Storage(NamedTuple):
    dtype: np.dtype[Any]
    key: str
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: object) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _Unpickler(pickle.Unpickler):
    """Admits the four names that a state dict is made of, and nothing else."""

    @override
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is not part of a state dict")

    @override
    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, _, size, _ = pid
        return _Storage(dtype, key, size)


def read_state_dict(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a torch checkpoint by name, each an array of its own.

    Raises WeightsError if the file is not one, is truncated, or refers to anything but tensors.
    """
    try:
        with path.open("rb") as stream:
            return _read(stream)
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise WeightsError(f"{path} is not a torch checkpoint of the format before 1.6: {error}") from error


def _read(stream: IO[bytes]) -> dict[str, NDArray[Any]]:
    magic, protocol, system = (_Unpickler(stream).load() for _ in range(3))
    if magic != MAGIC or protocol != PROTOCOL or not system["little_endian"]:
        raise ValueError("its header is another one")
    tensors: dict[str, _Tensor] = _Unpickler(stream).load()
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    values = {}
    for key in _Unpickler(stream).load():
        dtype, _, expected = storages[key]
        size = int.from_bytes(stream.read(8), "little")
        if size != expected:
            raise ValueError(f"storage {key} holds {size} values, not {expected}")
        raw = stream.read(size * dtype.itemsize)
        if len(raw) != size * dtype.itemsize:
            raise ValueError("it is truncated")
        values[key] = np.frombuffer(raw, dtype)
    return {name: _view(tensor, values[tensor.storage.key]) for name, tensor in tensors.items()}


def _view(tensor: _Tensor, values: NDArray[Any]) -> NDArray[Any]:
    last = tensor.offset + sum((side - 1) * step for side, step in zip(tensor.shape, tensor.strides, strict=True))
    if tensor.offset < 0 or last >= len(values) or any(step < 0 for step in tensor.strides):
        raise ValueError("a tensor reaches beyond its storage")
    strides = [step * values.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides).copy()
