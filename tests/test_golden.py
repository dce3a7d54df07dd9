"""Scores on the images that we drew, written down. Without the golden file these tests fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from paths import EXAMPLES, ROOT

from pretrained_cnn import Classifier

GOLDEN = Path(__file__).parent / "golden.json"
TOLERANCE = 1e-3
"""Of a probability: what other processors and library versions may change. Seen here: 0."""


def test_scores_on_our_own_images() -> None:
    golden = json.loads(GOLDEN.read_text())
    found = {
        Path(result.source).name: {prediction.id: prediction.score for prediction in result}
        for result in Classifier("EfficientNetLite0").stream(EXAMPLES, top=1000)
    }
    assert found.keys() == golden.keys()
    for name, scores in golden.items():
        for wnid, score in scores.items():
            assert found[name][wnid] == pytest.approx(score, abs=TOLERANCE)


def test_each_image_is_named_for_what_it_shows() -> None:
    for result in Classifier("EfficientNetLite0").stream(EXAMPLES):
        shown = Path(result.source).stem
        assert shown in result.top.label
    clock = Classifier("EfficientNetLite0").predict(EXAMPLES / "clock.png")
    assert {prediction.label for prediction in list(clock)[:2]} == {"analog_clock", "wall_clock"}


@pytest.mark.slow
def test_the_script_that_draws_them_runs(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, ROOT / "examples" / "draw.py", tmp_path], check=True, capture_output=True, timeout=120
    )
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in EXAMPLES.iterdir()}


if __name__ == "__main__":  # writes the golden file again
    results = Classifier("EfficientNetLite0").stream(EXAMPLES, top=3)
    scores = {Path(result.source).name: {row.id: round(row.score, 5) for row in result} for result in results}
    GOLDEN.write_text(json.dumps(scores, indent=1) + "\n")
