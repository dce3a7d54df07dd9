"""Importing, listing and asking for help stay light: no tensorflow, no keras."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pretrained_cnn.cli import COMMANDS

HEAVY = {"tensorflow", "keras", "torch", "jax", "h5py", "pandas", "pyarrow", "matplotlib", "ray"}

PROBE = """
import json, sys
{code}
print(json.dumps(sorted(set(sys.modules) & {heavy})))
"""


def heavy_imports(code: str) -> set[str]:
    """The heavy packages that are imported after ``code`` ran in a new process."""
    program = PROBE.format(code=code, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout.splitlines()[-1]))


COMMAND = """
import contextlib, io
from pretrained_cnn.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main({arguments})
"""


@pytest.mark.parametrize(
    "code",
    [
        "import pretrained_cnn",
        "import pretrained_cnn; assert len(pretrained_cnn.list_models()) >= 41",
        "import pretrained_cnn; pretrained_cnn.get_spec('Xception').to_dict()",
        "from pretrained_cnn import *; Classifier(); Classifier('MobileNet', weights=None).spec.labels[0]",
        "from pretrained_cnn.report import write_report",
        COMMAND.format(arguments=["--help"]),
        *(COMMAND.format(arguments=[command.name, "--help"]) for command in COMMANDS),
        COMMAND.format(arguments=["models"]),
        COMMAND.format(arguments=["models", "res*", "--json", "--sort", "top1"]),
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    assert heavy_imports(code) == set()


@pytest.mark.slow
def test_the_proof_can_fail() -> None:
    assert "keras" in heavy_imports("import pretrained_cnn; pretrained_cnn.get_spec('Xception').builder.resolve()")
    assert heavy_imports("import h5py") == {"h5py"}
