"""What is expected of any backbone and any runtime, and what only this backbone can promise."""

from __future__ import annotations

import subprocess
import sys

import pytest
from color_nets import COLORS, MEAN_COLOR
from PIL import Image

from pretrained_cnn import Classifier, get_spec, list_models
from pretrained_cnn.testing import RuntimeConformance


class TestEager(RuntimeConformance):
    """The runtime, with the network that these tests bring."""

    runtime = "eager"


class TestMeanColorInOpenVINO(RuntimeConformance):
    """The backbone, converted for another runtime."""

    runtime = "openvino"
    spec = MEAN_COLOR


def test_it_is_found_by_its_name() -> None:
    assert "MeanColor" in list_models()
    assert get_spec("mean-color") is MEAN_COLOR


@pytest.mark.parametrize("name", COLORS)
def test_a_color_is_called_by_its_name(name: str) -> None:
    image = Image.new("RGB", (60, 40), COLORS[name])
    assert Classifier("MeanColor").predict(image).top.label == name


def test_looking_it_up_imports_no_keras() -> None:
    program = (
        "import sys; from pretrained_cnn import get_spec; get_spec('MeanColor'); assert 'keras' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
