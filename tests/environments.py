"""Virtual environments for tests: this library and others, installed as its users install them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from paths import ROOT


class Environment:
    """A new virtual environment with this library and ``packages``, and nothing that they would bring along."""

    def __init__(self, folder: Path, *packages: str) -> None:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=300)
        self.scripts = folder / ("Scripts" if os.name == "nt" else "bin")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST"))}
        self.run("python", "-m", "pip", "install", "--no-deps", "--disable-pip-version-check", str(ROOT), *packages)

    def run(self, *command: str, code: int = 0, cwd: Path | None = None) -> str:
        """What a command of the environment prints; it must exit with ``code``."""
        done = subprocess.run(
            [self.scripts / command[0], *command[1:]],
            cwd=cwd or self.scripts,  # far from the sources
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout
