"""Accuracy and mistakes on labeled images: `evaluate` returns an `Evaluation`."""

from pretrained_cnn.evaluate.evaluation import ClassScore, Evaluation, Mistake
from pretrained_cnn.evaluate.metrics import ReliabilityBin
from pretrained_cnn.evaluate.multilabel import LabelMistake, LabelScore, MultiLabelEvaluation
from pretrained_cnn.evaluate.run import Described, check_labeled, evaluate, read_labeled

__all__ = [
    "ClassScore",
    "Described",
    "Evaluation",
    "LabelMistake",
    "LabelScore",
    "Mistake",
    "MultiLabelEvaluation",
    "ReliabilityBin",
    "check_labeled",
    "evaluate",
    "read_labeled",
]
