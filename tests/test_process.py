"""What the process may use of its machine, by control groups that are drawn up here."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from pretrained_cnn import _process
from pretrained_cnn.images.batch import default_workers


def groups(monkeypatch: pytest.MonkeyPatch, folder: Path, own: str, files: Mapping[str, str], allowed: int = 64) -> int:
    """The cores of a process whose /proc/self/cgroup is ``own``, on a machine where it may use ``allowed``."""
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "own").write_text(own)
    monkeypatch.setattr(_process, "CGROUPS", folder / "cgroup")
    monkeypatch.setattr(_process, "OWN_CGROUPS", folder / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(allowed)), raising=False)
    return _process.cores()


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),  # docker --cpus=2
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {}, 64),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "max 100000\n"}, 4),  # a limit further up
        ("0::/a/b\n", {"a/cpu.max": "400000 100000\n", "a/b/cpu.max": "300000 100000\n"}, 3),
        ("0::/kubepods/pod1\n", {"cpu.max": "200000 100000\n"}, 2),  # the path is the host's
        ("4:cpu,cpuacct:/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "200000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu:/d\n", {"cpu/d/cpu.cfs_quota_us": "-1", "cpu/d/cpu.cfs_period_us": "100000"}, 64),
        ("0::/\n", {"cpu.max": "nonsense"}, 64),
        ("0::/\n", {"cpu.max": "100000 0"}, 64),
    ],
)
def test_a_quota_bounds_the_cores(
    own: str, files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert groups(monkeypatch, tmp_path, own, files) == expected


def test_affinity_bounds_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert groups(monkeypatch, tmp_path, "0::/\n", {"cpu.max": "800000 100000"}, allowed=2) == 2


def test_without_affinity_and_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows and macOS."""
    monkeypatch.setattr(_process, "OWN_CGROUPS", tmp_path / "none")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert _process.cores() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert _process.cores() == 1


def test_telemetry_is_off_unless_the_user_wants_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pretrained_cnn")
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setenv(_process.ORT_TELEMETRY, "0")
    _process.switch_off_telemetry()
    assert os.environ[_process.ORT_TELEMETRY] == "0"
    monkeypatch.delenv(_process.ORT_TELEMETRY)
    _process.switch_off_telemetry()
    assert os.environ[_process.ORT_TELEMETRY] == "1"
    assert not caplog.records
    monkeypatch.delenv(_process.ORT_TELEMETRY)
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    _process.switch_off_telemetry()
    assert "onnxruntime was imported before" in caplog.text


def test_a_limit_is_told_only_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert groups(monkeypatch, tmp_path, "0::/\n", {"cpu.max": "max 100000"}) == 64
    assert _process.limited_cores() is None
    assert groups(monkeypatch, tmp_path, "0::/\n", {"cpu.max": "200000 100000"}) == 2
    assert _process.limited_cores() == 2


def test_a_schedulers_share_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(_process, "_limit", None)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "7")
    monkeypatch.delenv("TF_NUM_INTEROP_THREADS", raising=False)
    _process.limit_cores(1)
    assert (_process.cores(), _process.limited_cores(), default_workers()) == (1, 1, 1)
    assert os.environ["TF_NUM_INTRAOP_THREADS"] == "7", "the user's own word"
    assert os.environ["TF_NUM_INTEROP_THREADS"] == "1"
