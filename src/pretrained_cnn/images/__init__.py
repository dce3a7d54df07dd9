"""From anything that a user hands over to batches of RGB uint8: sources, decode, resize, batch."""

from __future__ import annotations

from pretrained_cnn.images.batch import Batch, batches, load
from pretrained_cnn.images.decode import decode
from pretrained_cnn.images.resize import resize
from pretrained_cnn.images.sources import Item, items, one

__all__ = ["Batch", "Item", "batches", "decode", "items", "load", "one", "resize"]
