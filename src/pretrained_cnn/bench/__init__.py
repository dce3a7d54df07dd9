"""The latency of backbones on this machine, and the best ones for their time: `measure` and `frontier`."""

from pretrained_cnn.bench.measuring import NAMES, measure
from pretrained_cnn.bench.timing import Timing, frontier

__all__ = ["NAMES", "Timing", "frontier", "measure"]
