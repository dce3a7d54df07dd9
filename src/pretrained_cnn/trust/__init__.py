"""When a classifier's answer can be relied on: `compare` tells whether one classifier is better than another."""

from pretrained_cnn.trust.answers import is_results_file
from pretrained_cnn.trust.comparison import Comparison, Disagreement, compare

__all__ = ["Comparison", "Disagreement", "compare", "is_results_file"]
