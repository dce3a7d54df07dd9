"""Accuracy and mistakes on labeled images: `evaluate` returns an `Evaluation`."""

from pretrained_cnn.evaluate.evaluation import ClassScore, Evaluation, Mistake
from pretrained_cnn.evaluate.metrics import ReliabilityBin
from pretrained_cnn.evaluate.multilabel import LabelMistake, LabelScore, MultiLabelEvaluation
from pretrained_cnn.evaluate.run import evaluate, read_labeled

__all__ = [
    "ClassScore",
    "Evaluation",
    "LabelMistake",
    "LabelScore",
    "Mistake",
    "MultiLabelEvaluation",
    "ReliabilityBin",
    "evaluate",
    "read_labeled",
]
