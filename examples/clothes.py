"""The whole story of a classifier of your own: train, evaluate, save, load, classify.

Run: ``python examples/clothes.py [FOLDER]``. The folder has ``train`` and ``validation``, each with a folder of
images for each class, as clothing-dataset-small has. Without one, clothes are drawn.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import draw_clothes

from pretrained_cnn import Classifier

MODEL = "EfficientNetLite0"  # its weights install as a package; ImageNet knows no "longsleeve"

with tempfile.TemporaryDirectory() as name:
    scratch = Path(name)
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else draw_clothes.draw_all(scratch / "drawn")

    clf = Classifier.train(folder / "train", MODEL, validation=folder / "validation")
    report = clf.report
    assert report is not None
    print("classes:", ", ".join(report.classes))
    print(
        "images:",
        sum(report.counts["train"].values()),
        "to train,",
        sum(report.counts["validation"].values()),
        "more",
    )
    print("regularization chosen: C =", report.settings["C"])

    print(clf.evaluate(folder / "validation"))

    clf.save(scratch / "clothes.bundle")
    print((scratch / "clothes.bundle" / "README.md").read_text("utf-8").splitlines()[0])
    again = Classifier.load(scratch / "clothes.bundle")
    image = min((folder / "validation").rglob("*.*"))
    print(f"{image.parent.name} is taken for {again.predict(image).top.label}")
