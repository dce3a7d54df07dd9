"""A run that is killed before any of its steps, in order: the next run leaves what an undisturbed one leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

STEPS = Path(__file__).with_name("steps.py")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="each kill is a fork that ends at once")


@pytest.mark.parametrize(
    "kinds",
    [
        ["embeddings.npy", "shards.csv", "copies", "links"],
        pytest.param(["csv", "jsonl", "parquet", "embeddings.parquet", "shards.parquet"], marks=pytest.mark.slow),
    ],
)
def test_the_next_run_mends_what_a_kill_left(kinds: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", str(STEPS), *kinds]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    kills = {kind: int(count) for kind, count in map(str.split, done.stdout.splitlines())}
    assert kills.keys() == set(kinds)
    assert all(count >= 80 for kind, count in kills.items() if kind not in ("copies", "links")), kills
    assert all(count >= 5 for count in kills.values()), kills
