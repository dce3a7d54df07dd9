"""What changed copies of the images give a head on a frozen network, with the interval of the difference.

Run: ``python benchmarks/augmentation.py FOLDER [MODEL]``. The folder has ``train`` and ``validation``, each with a
folder of images for each class. ``C`` is chosen by cross-validation of train, so that validation judges.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from pretrained_cnn import Classifier

folder, model = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "EfficientNetLite0"

for each in (5, 20, None):
    pairs = [
        (path, part.name) for part in sorted((folder / "train").iterdir()) for path in sorted(part.iterdir())[:each]
    ]
    plain = Classifier.train(pairs, model)
    start = time.monotonic()
    changed = Classifier.train(pairs, model, augment="default", copies=4)
    seconds = time.monotonic() - start
    a, b = (clf.evaluate(folder / "validation") for clf in (plain, changed))
    print(f"\n{each or 'all'} a class, {len(pairs)} images, {model}: {seconds:.0f} s to embed and fit the copies")
    print(f"top-1 {a.top1:.3f} alone, {b.top1:.3f} with four copies; log loss {a.log_loss:.3f}, {b.log_loss:.3f}")
    print(plain.compare(changed, folder / "validation"))
