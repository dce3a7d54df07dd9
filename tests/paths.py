"""Where things are."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples" / "images"
ASSETS = Path(os.environ.get("PRETRAINED_CNN_TEST_ASSETS", ROOT.parent / "shared" / "assets"))
