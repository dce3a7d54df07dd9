"""Choose a backbone for your images: `choose` measures candidates on this machine and these images."""

from pretrained_cnn.selection.candidate import Candidate
from pretrained_cnn.selection.choice import Choice
from pretrained_cnn.selection.choosing import choose

__all__ = ["Candidate", "Choice", "choose"]
