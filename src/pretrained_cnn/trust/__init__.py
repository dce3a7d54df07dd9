"""When an answer can be relied on: calibrated for what is unknown, compared with others', or to be labeled next."""

from pretrained_cnn.trust.answers import is_results_file
from pretrained_cnn.trust.calibrating import OUTPUTS, Calibrated, calibrate, calibration_of
from pretrained_cnn.trust.calibration import Calibration
from pretrained_cnn.trust.comparison import Comparison, Disagreement, compare
from pretrained_cnn.trust.ranking import rank_unlabeled

__all__ = [
    "OUTPUTS",
    "Calibrated",
    "Calibration",
    "Comparison",
    "Disagreement",
    "calibrate",
    "calibration_of",
    "compare",
    "is_results_file",
    "rank_unlabeled",
]
