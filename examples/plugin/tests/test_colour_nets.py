"""What is expected of any backbone and any runtime, and what only this backbone can promise."""

from __future__ import annotations

import subprocess
import sys

import pytest
from colour_nets import COLOURS, MEAN_COLOUR
from PIL import Image

from pretrained_cnn import Classifier, get_spec, list_models
from pretrained_cnn.testing import RuntimeConformance


class TestEager(RuntimeConformance):
    """The runtime, with the network that these tests bring."""

    runtime = "eager"


class TestMeanColourInOpenVINO(RuntimeConformance):
    """The backbone, converted for another runtime."""

    runtime = "openvino"
    spec = MEAN_COLOUR


def test_it_is_found_by_its_name() -> None:
    assert "MeanColour" in list_models()
    assert get_spec("mean-colour") is MEAN_COLOUR


@pytest.mark.parametrize("name", COLOURS)
def test_a_colour_is_called_by_its_name(name: str) -> None:
    picture = Image.new("RGB", (60, 40), COLOURS[name])
    assert Classifier("MeanColour").predict(picture).top.label == name


def test_looking_it_up_imports_no_keras() -> None:
    program = (
        "import sys; from pretrained_cnn import get_spec; get_spec('MeanColour'); assert 'keras' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
