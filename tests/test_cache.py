from __future__ import annotations

import json
import os
from pathlib import Path

import keras
import numpy as np
import pytest

from pretrained_cnn import Classifier, InvalidArgumentError, _settings, cli
from pretrained_cnn._cache import cache_entries, cache_folder, cache_home, evict
from pretrained_cnn.backbones.build import weights_digest


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PRETRAINED_CNN_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_home() == Path.home() / ".cache" / "pretrained_cnn"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_home() == tmp_path / "pretrained_cnn"
    monkeypatch.setenv("PRETRAINED_CNN_CACHE", str(tmp_path / "mine"))
    assert cache_home() == tmp_path / "mine"


def fill(kind: str, name: str, size: int, used: float) -> Path:
    path = cache_folder(kind) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "converted":
        path.mkdir()
        (path / "model.xml").write_bytes(bytes(size))
    else:
        path.write_bytes(bytes(size))
    os.utime(path, (used, used))
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PRETRAINED_CNN_CACHE", str(tmp_path))
    return tmp_path


def test_all_kinds_are_listed_used_last_first(cache: Path) -> None:
    assert cache_entries() == []
    old = fill("converted", "a", 10, 1000)
    new = fill("embeddings", "b.sqlite", 20, 3000)
    middle = fill("training", "c.npz", 30, 2000)
    fill("training", ".c.npz.lock", 1, 4000)
    assert [(entry.kind, entry.path, entry.size, entry.used) for entry in cache_entries()] == [
        ("embeddings", new, 20, 3000),
        ("training", middle, 30, 2000),
        ("converted", old, 10, 1000),
    ]
    assert [entry.path for entry in cache_entries(["training"])] == [middle]


def test_one_bound_holds_for_all_kinds(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [
        fill("converted", "oldest", 400, 1000),
        fill("embeddings", "old.sqlite", 400, 2000),
        fill("training", "newer.npz", 400, 3000),
        fill("embeddings", "newest.sqlite", 400, 4000),
    ]
    monkeypatch.setenv("PRETRAINED_CNN_CACHE_BYTES", "1.3kB")
    evict(keep=paths[0])
    assert [path.exists() for path in paths] == [True, False, True, True]
    monkeypatch.setenv("PRETRAINED_CNN_CACHE_BYTES", "0")
    evict(keep=paths[2])
    assert [path.exists() for path in paths] == [False, False, True, False]
    assert sorted(path.name for path in cache.rglob("*") if path.is_file()) == ["newer.npz"]


def test_the_cache_is_cleared_by_kind(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("converted", "embeddings", "training"):
        fill(kind, "a", 1_000_000, 1000)
    assert cli.main(["cache", "--clear", "embeddings", "training"]) == 0
    assert f"removed 2 entries, 2.0 MB, of {cache}" in capsys.readouterr().err
    assert [entry.kind for entry in cache_entries()] == ["converted"]
    assert cli.main(["cache", "--clear"]) == 0
    assert cache_entries() == []
    with pytest.raises(SystemExit):
        cli.main(["cache", "--clear", "weights"])


def test_what_cannot_be_cleared_is_named(
    cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = fill("embeddings", "a.sqlite", 10, 1000)
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(PermissionError()))
    assert cli.main(["cache", "--clear"]) == 1
    assert f"1 entries cannot be removed, such as {entry}; clear the cache as the user who" in capsys.readouterr().err


def test_what_cannot_be_kept_is_not_fetched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PRETRAINED_CNN_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        assert cli.main(["fetch", "EfficientNetLite0", "--runtime", "litert"]) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert f"converted models are not kept in {tmp_path / 'file' / 'converted'}: " in printed.err
    assert cli.main(["fetch", "EfficientNetLite0", "--runtime", "keras"]) == 2
    assert "--runtime keras runs a network as it is" in capsys.readouterr().err


def test_the_command_lists_all_kinds(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill("embeddings", "a.sqlite", 10, 1000)
    fill("training", "b.npz", 10, 1000)
    assert cli.main(["cache", "--json"]) == 0
    rows = [row for row in json.loads(capsys.readouterr().out) if row["kind"] != "weights"]
    assert {(row["kind"], row["size"], row["verdict"]) for row in rows} == {
        ("embeddings", 10, "whole"),
        ("training", 10, "whole"),
    }


# What the environment sets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 10 * 2**30),
        ("0", 0),
        ("1234", 1234),
        ("10GB", 10**10),
        ("10 gib", 10 * 2**30),
        ("1.5M", 1_500_000),
        (" 2KiB ", 2048),
        ("1T", 10**12),
        ("7 B", 7),
    ],
)
def test_sizes(monkeypatch: pytest.MonkeyPatch, text: str, expected: int) -> None:
    monkeypatch.setenv("PRETRAINED_CNN_CACHE_BYTES", text)
    assert _settings.cache_bytes() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("0", False),
        ("false", False),
        ("No", False),
        ("OFF", False),
        ("1", True),
        ("true", True),
        ("on", True),
    ],
)
def test_switches(monkeypatch: pytest.MonkeyPatch, text: str, expected: bool) -> None:
    monkeypatch.setenv("PRETRAINED_CNN_OFFLINE", text)
    assert _settings.offline() is expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("PRETRAINED_CNN_CACHE_BYTES", "ten", "is not a size; give bytes, or a number with a unit: 10GB"),
        ("PRETRAINED_CNN_CACHE_BYTES", "-1", "is not a size"),
        ("PRETRAINED_CNN_CACHE_BYTES", "10 apples", "is not a size"),
        ("PRETRAINED_CNN_CACHE_BYTES", "1i", "is not a size"),
        ("PRETRAINED_CNN_OFFLINE", "maybe", "is neither yes nor no; give 1 or 0"),
        ("PRETRAINED_CNN_MIRROR", "mirror.example", "is not an http(s) address"),
        ("PRETRAINED_CNN_MIRROR", "ftp://mirror.example", "is not an http(s) address"),
        ("PRETRAINED_CNN_MIRROR", "http://mirror.example:x", "is not an http(s) address"),
        ("PRETRAINED_CNN_MIRROR", "https://", "is not an http(s) address"),
        ("PRETRAINED_CNN_MIRROR", "https://me:word@mirror.example", "is not an http(s) address without a user's name"),
        ("PRETRAINED_CNN_CACHE", "~no_such_user_here/cache", "is not a folder"),
    ],
)
def test_nonsense_is_refused_by_name_before_any_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, text: str, message: str
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(InvalidArgumentError) as caught:
        Classifier("EfficientNetLite0")
    assert f"{name}={text!r} {message}" in str(caught.value)
    assert cli.main(["models"]) == 2
    assert f"{name}={text!r} {message}" in capsys.readouterr().err


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PRETRAINED_CNN_CACHE", "~/mine")
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
