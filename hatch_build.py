"""The README as the package's long description: its links lead to the repository, for a package index has no files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class LongDescription(MetadataHookInterface):
    """Fills in the field ``readme``."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = Path(self.root, "README.md").read_text("utf-8")
        text = absolute(text, metadata["urls"]["Repository"], f"v{metadata['version']}")
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def absolute(text: str, repository: str, tag: str) -> str:
    """Markdown whose relative links and images are addresses of ``repository`` at ``tag``. Comments are left out."""
    text = re.sub(r"<!--.*?-->\n*", "", text, flags=re.DOTALL)
    text = re.sub(r'(<img\b[^>]*\bsrc=")(?![a-z]+:)', rf"\g<1>{repository}/raw/{tag}/", text)
    text = re.sub(r"(!\[[^\]]*\]\()(?![a-z]+:)", rf"\g<1>{repository}/raw/{tag}/", text)
    return re.sub(r"((?<!!)\[[^\]]*\]\(\s*)(?![a-z]+:|#)", rf"\g<1>{repository}/blob/{tag}/", text)
