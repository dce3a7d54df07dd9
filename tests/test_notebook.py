"""The first minutes in Python: TensorFlow starts in silence, and objects show themselves in a notebook."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import EXAMPLES

pytestmark = pytest.mark.slow

FIRST_USE = f"""
import sys, tempfile
from pretrained_cnn import Classifier
clock, umbrella, ball, hourglass = (
    {str(EXAMPLES)!r} + f"/{{name}}.png" for name in ("clock", "umbrella", "soccer_ball", "hourglass")
)
pairs, others = [(clock, "round"), (umbrella, "long")], [(ball, "round"), (hourglass, "long")]
for runtime in sys.argv[1:]:
    print(runtime, Classifier("EfficientNetLite0", runtime=runtime).predict(clock).label)
clf = Classifier.train(pairs, "EfficientNetLite0", validation=others)
clf.evaluate(others)
"""

CELLS = f"""
from pretrained_cnn import Classifier, audit
clf = Classifier("EfficientNetLite0")
clock, umbrella, ball, hourglass = (
    {str(EXAMPLES)!r} + f"/{{name}}.png" for name in ("clock", "umbrella", "soccer_ball", "hourglass")
)
pairs, others = [(clock, "round"), (umbrella, "long")], [(ball, "round"), (hourglass, "long")]
clf.predict(clock)
---
clf.predict_batch([clock, umbrella])
---
clf.predict(clock).show()
---
clf.explain(clock)
---
own = Classifier.train(pairs, "EfficientNetLite0", validation=others, progress=True)
own
---
own.report
---
own.history
---
own.evaluate(others)
---
own.compare(own, others)
---
audit(pairs + others, own)
"""


@pytest.mark.parametrize("runtimes", [["litert", "openvino", "keras"], ["tensorflow"]], ids=" ".join)
def test_nothing_is_printed_to_stderr_on_first_use(runtimes: list[str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", FIRST_USE, *runtimes], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n") == [*(f"{runtime} analog_clock" for runtime in runtimes), ""]


def test_a_notebook_shows_images_tables_and_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETRAINED_CNN_CACHE", str(tmp_path / "cache"))  # so that there is something to embed
    import nbclient
    import nbconvert
    import nbformat

    sources = CELLS.strip().split("---\n")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    kinds = [
        [key for output in cell.outputs for key in output.get("data", [output.get("name")])] for cell in notebook.cells
    ]
    html, png = "text/html", "image/png"
    expected = [html, png, png, png, html, html, png, html, html, html]
    assert [kind in found for kind, found in zip(expected, kinds, strict=True)] == [True] * len(expected), kinds
    told = "".join(output.text for output in notebook.cells[4].outputs if output.output_type == "stream")
    assert "embed: 2 of 2 images" in told
    assert not [output.text for cell in notebook.cells[:4] for output in cell.outputs if output.output_type == "stream"]
    page, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
    for part in ("analog_clock", "2 classes: long, round", "validation accuracy", "class  train  validation"):
        assert part in page
    assert page.count("data:image/") >= 8
