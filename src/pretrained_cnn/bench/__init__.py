"""How long backbones take on this machine, and which of them are worth their time: `measure` and `frontier`."""

from pretrained_cnn.bench.measuring import NAMES, measure
from pretrained_cnn.bench.timing import Timing, frontier

__all__ = ["NAMES", "Timing", "frontier", "measure"]
