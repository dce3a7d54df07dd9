"""The runtimes, each through the conformance tests that ship with the package."""

from __future__ import annotations

from pretrained_cnn.testing import RuntimeConformance


class TestKeras(RuntimeConformance):
    runtime = "keras"


class TestOpenVINO(RuntimeConformance):
    runtime = "openvino"


class TestONNXRuntime(RuntimeConformance):
    runtime = "onnxruntime"


class TestLiteRT(RuntimeConformance):
    runtime = "litert"


class TestTensorFlow(RuntimeConformance):
    runtime = "tensorflow"
