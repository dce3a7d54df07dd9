from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from pretrained_cnn._cache import cache_home
from pretrained_cnn.backbones.build import weights_digest


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PRETRAINED_CNN_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_home() == Path.home() / ".cache" / "pretrained_cnn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_home() == tmp_path / "pretrained_cnn"
    monkeypatch.setenv("PRETRAINED_CNN_CACHE", str(tmp_path / "mine"))
    assert cache_home() == tmp_path / "mine"


def test_a_digest_tells_weights_apart() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    before = weights_digest(model)
    assert weights_digest(keras.models.clone_model(model)) != before
    kernel, bias = model.get_weights()
    model.set_weights([kernel, bias + np.float32(1e-7)])
    assert weights_digest(model) != before
    model.set_weights([kernel, bias])
    assert weights_digest(model) == before
