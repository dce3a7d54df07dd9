"""The steps 8.5 to 8.12 of the course ML Zoomcamp, each with its plot: tune a head, augment, grow, save, predict.

Run: ``python examples/lesson.py [PLOTS [FOLDER]]``. The folder has ``train``, ``validation`` and ``test``, each with a
folder of images for each class. Without one, clothes are drawn.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import draw_clothes
from keras.callbacks import ModelCheckpoint

from pretrained_cnn import MLP, Classifier, Evaluation

scratch = Path(tempfile.mkdtemp())
plots = Path(sys.argv[1]) if len(sys.argv) > 1 else scratch
data = Path(sys.argv[2]) if len(sys.argv) > 2 else draw_clothes.draw_all(scratch / "drawn")
image = next((data / "test" / "dress").iterdir())


def train(step: str, size: int = 150, **settings: Any) -> Classifier:
    clf = Classifier.train(
        data / "train", "EfficientNetLite0", data / "validation", input_size=(size, size), **settings
    )
    clf.history.plot().savefig(plots / f"{step}.png")
    assert clf.report is not None
    print(f"{step}: {clf.report.metrics['validation_accuracy']:.3f} of validation")
    return clf


train("8.5 a head on a frozen network")
for rate in (1e-4, 1e-3, 1e-2):
    train(f"8.6 learning rate {rate}", head="mlp", epochs=10, learning_rate=rate)
train("8.7 checkpoints", head="mlp", epochs=10, callbacks=[ModelCheckpoint(scratch / "{epoch:02}.keras")])
for width in (10, 100):
    train(f"8.8 inner layer of {width}", head=MLP(hidden=(width,), dropout=0.0), epochs=10)
for dropout in (0.0, 0.2, 0.5):
    train(f"8.9 dropout {dropout}", head=MLP(hidden=(100,), dropout=dropout), epochs=10)
small = train("8.10 augmentation", augment="default", copies=2)
small.preview_augmentation(image, copies=3).savefig(plots / "8.10 changed images.png")
train("8.11 at a larger size", size=224).save(scratch / "clothes.bundle")
clf = Classifier.load(scratch / "clothes.bundle")
result = clf.evaluate(data / "test")
assert isinstance(result, Evaluation)
result.plot().savefig(plots / "8.12 confusion.png")
print(f"8.12: {result.top1:.3f} of test, {image.parent.name} is taken for {clf.predict(image).label}")
