"""How far you can trust answers and labels: audit, calibrate, compare, and choose what to label next."""

from pretrained_cnn.trust.answers import is_results_file
from pretrained_cnn.trust.auditing import audit
from pretrained_cnn.trust.calibrating import OUTPUTS, Calibrated, calibrate, calibration_of
from pretrained_cnn.trust.calibration import Calibration
from pretrained_cnn.trust.comparison import Comparison, Disagreement, compare
from pretrained_cnn.trust.findings import Audit, Finding
from pretrained_cnn.trust.ranking import rank_unlabeled

__all__ = [
    "OUTPUTS",
    "Audit",
    "Calibrated",
    "Calibration",
    "Comparison",
    "Disagreement",
    "Finding",
    "audit",
    "calibrate",
    "calibration_of",
    "compare",
    "is_results_file",
    "rank_unlabeled",
]
