"""Each part of another package that `_compat` stands on, or mends; a failure says what changed."""

from __future__ import annotations

import importlib
import sys

import tensorflow  # noqa: F401 - whose version is asked for

from pretrained_cnn import _compat


def test_openvino_still_needs_mending_on_python_3_13() -> None:
    from openvino.frontend.tensorflow import utils

    if utils.get_environment_setup is _compat.environment_setup:  # mended by an earlier test
        importlib.reload(utils)
    upstream = utils.get_environment_setup
    try:
        found = upstream("tf")
    except NameError:
        assert sys.version_info >= (3, 13)
        return
    assert found == _compat.environment_setup("tf")
    assert upstream("other") == _compat.environment_setup("other")
    assert sys.version_info < (3, 13), "OpenVINO works by itself on Python 3.13: remove _compat.mend_openvino"
