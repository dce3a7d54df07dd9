"""Classifiers of PyTorch and of transformers, exported to ONNX as their users do it, agree with torch."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch_exports
from graph_files import softmax

from pretrained_cnn import Classifier


@pytest.mark.slow
def test_the_answers_of_torch(tmp_path: Path) -> None:
    for package in ("torch", "onnxscript", "transformers"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is in the dependency group `slow`")
    subprocess.run([sys.executable, torch_exports.__file__, str(tmp_path)], check=True, timeout=500)
    given = list(torch_exports.images())
    for name, (_, options, width) in torch_exports.NETWORKS.items():
        path = tmp_path / name / "model.onnx"
        assert path.with_suffix(".onnx.data").exists() == options.get("dynamo", False), name
        expected = softmax(np.load(tmp_path / name / "logits.npy").astype(np.float64))
        assert np.ptp(expected, axis=0).max() > 0.01, name
        told = {} if name == "normalizes" else {"preprocess": "keras_torch"}
        with Classifier.from_file(path, labels=list("abcde"), from_logits=True, **told) as clf:
            scores = clf.predict_proba(given)
            assert clf.spec.embedding_size == width, name
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5, err_msg=name)
