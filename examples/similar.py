"""Which images look alike? Embeddings of a pretrained network, compared by the angle between them.

Run: ``python examples/similar.py [FOLDER]``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pretrained_cnn import Classifier

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
images = sorted(folder.glob("*.png"))

clf = Classifier("EfficientNetLite0")
embeddings = clf.embed(images)
embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
similarity = embeddings @ embeddings.T
np.fill_diagonal(similarity, -1)

for image, row in zip(images, similarity, strict=True):
    nearest = int(row.argmax())
    print(f"{image.name:20} is most like {images[nearest].name:20} (cosine {row[nearest]:.2f})")
