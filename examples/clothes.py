"""The whole story of a classifier of one's own: train, evaluate, save, load, classify.

Run: ``python examples/clothes.py [FOLDER]``. The folder has ``train`` and ``validation``, each with a folder of
pictures for each class, as clothing-dataset-small has. Without one, clothes are drawn.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

from pretrained_cnn import Classifier

MODEL = "EfficientNetLite0"  # its weights install as a package; ImageNet knows no "longsleeve"

# Outlines on a square of 100 x 100, one half; the other is its mirror image.
OUTLINES = {
    "dress": [(50, 12), (42, 10), (38, 24), (42, 42), (22, 90), (50, 92)],
    "pants": [(50, 10), (32, 10), (28, 90), (42, 90), (48, 34), (50, 34)],
    "shorts": [(50, 28), (30, 28), (24, 64), (45, 66), (48, 48), (50, 48)],
    "t-shirt": [(50, 18), (40, 14), (16, 28), (24, 44), (33, 38), (33, 86), (50, 86)],
}


def draw(folder: Path, each: int, seed: int) -> Path:
    """``each`` pictures a class: in any colour, turned a little, large or small, on any background."""
    generator = random.Random(seed)
    for name, half in OUTLINES.items():
        (folder / name).mkdir(parents=True)
        for i in range(each):
            light, dark = (tuple(generator.randint(*span) for _ in range(3)) for span in ((170, 250), (20, 150)))
            picture = Image.new("RGB", (240, 240), light)
            scale, left, top = generator.uniform(1.6, 2.2), generator.uniform(0, 25), generator.uniform(0, 25)
            points = [(x, y + generator.uniform(-2, 2)) for x, y in half]
            whole = [*points, *((100 - x, y) for x, y in reversed(points))]
            ImageDraw.Draw(picture).polygon([(left + x * scale, top + y * scale) for x, y in whole], fill=dark)
            picture = picture.rotate(generator.uniform(-12, 12), Image.Resampling.BICUBIC, fillcolor=light)
            picture.save(folder / name / f"{i:02}.png")
    return folder


with tempfile.TemporaryDirectory() as name:
    scratch = Path(name)
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1])
    else:
        folder = scratch / "drawn"
        draw(folder / "train", each=15, seed=0)
        draw(folder / "validation", each=8, seed=1)

    clf = Classifier.train(folder / "train", MODEL, validation=folder / "validation")
    report = clf.report
    assert report is not None
    print("classes:", ", ".join(report.classes))
    print(
        "pictures:",
        sum(report.counts["train"].values()),
        "to train,",
        sum(report.counts["validation"].values()),
        "more",
    )
    print("regularisation chosen: C =", report.settings["C"])

    print(clf.evaluate(folder / "validation"))

    clf.save(scratch / "clothes.bundle")
    print((scratch / "clothes.bundle" / "README.md").read_text("utf-8").splitlines()[0])
    again = Classifier.load(scratch / "clothes.bundle")
    picture = min((folder / "validation").rglob("*.*"))
    print(f"{picture.parent.name} is taken for {again.predict(picture).top.label}")
