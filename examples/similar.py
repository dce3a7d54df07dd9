"""Which pictures look alike? Embeddings of a pretrained network, compared by the angle between them.

Run: ``python examples/similar.py [FOLDER]``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pretrained_cnn import Classifier

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
pictures = sorted(folder.glob("*.png"))

clf = Classifier("EfficientNetLite0")
embeddings = clf.embed(pictures)
embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
similarity = embeddings @ embeddings.T
np.fill_diagonal(similarity, -1)

for picture, row in zip(pictures, similarity, strict=True):
    nearest = int(row.argmax())
    print(f"{picture.name:20} is most like {pictures[nearest].name:20} (cosine {row[nearest]:.2f})")
