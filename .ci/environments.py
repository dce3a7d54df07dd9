"""New environments, as a user makes them: the files of a release, other Pythons, lowest versions, odd consoles.

``python .ci/environments.py [PART ...]`` runs all parts, or those named, and prints how long each took.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".ci" / "venv" / "environments"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

CONVERTING = ["tests/test_converted.py", "tests/test_bundles.py", "tests/test_runtimes.py", "tests/test_guest.py"]
"""What differs most between Pythons and versions: the converters, and the files that they write."""
COMMANDS = ["tests/test_cli.py"]

LIGHT = """
from pretrained_cnn import Classifier
for runtime in ("keras", "openvino", "onnxruntime", "litert"):
    top = Classifier("EfficientNetLite0", runtime=runtime).predict("examples/images/clock.png").top
    assert top.label == "analog_clock", (runtime, top)
"""


def main(parts: list[str]) -> None:
    assets = ROOT.parent / "shared" / "assets"  # unpacked elsewhere, the tests would look for them elsewhere
    if assets.is_dir():
        os.environ.setdefault("PRETRAINED_CNN_TEST_ASSETS", str(assets))
    known = {"package": package, "pythons": pythons, "lowest": lowest, "consoles": consoles}
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    for name in parts or known:
        start = time.monotonic()
        known[name]()
        say(f"{name}: {time.monotonic() - start:.0f} s")


def package() -> None:
    """Build sdist and wheel, check them, and install the wheel with all that it asks for."""
    run(sys.executable, "-m", "pip", "install", "-q", "--group", "package")
    run(sys.executable, "-m", "build", "--outdir", WORK / "dist", ROOT)
    run(sys.executable, "-m", "twine", "check", "--strict", *(WORK / "dist").iterdir())
    (wheel,) = (WORK / "dist").glob("*.whl")
    python = environment(sys.executable, "wheel")
    run(python, "-m", "pip", "install", "-q", f"{wheel}[offline]")
    run(python, "-m", "pip", "check")
    run(python, "-I", "-m", "pretrained_cnn", "models", cwd=WORK)


def pythons() -> None:
    """Run the README's second command, with the tests that convert, on the other supported Pythons."""
    command = re.search(r"^pip install .* && pytest$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert command is not None
    install = command.group().removesuffix(" && pytest").split('"')[1]
    supported = re.findall(r":: (3\.\d+)'", str(PROJECT["classifiers"]))
    covered = [f"{sys.version_info.major}.{sys.version_info.minor} (before)"]
    for version in supported:
        if version == covered[0].split()[0]:
            continue
        program = find(version)
        if program is None:
            say(f"Python {version} is not on this machine")
            continue
        python = environment(program, version)
        source = unpack(version)
        run(python, "-m", "pip", "install", "-q", install, cwd=source)
        run(python, "-m", "pip", "check")
        run(python, "-m", "pytest", "-q", *CONVERTING, cwd=source)
        shutil.rmtree(WORK / version)  # two gigabytes
        covered.append(version)
    say(f"Pythons covered: {', '.join(covered)}, of {', '.join(supported)}")


def lowest() -> None:
    """Run the library with the lowest versions of all packages that it declares."""
    extras = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name != "test"}
    declared = sum(extras.values(), PROJECT["dependencies"])
    found = (re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", line) for line in declared)
    pinned = sorted({f"{match[1]}=={match[2]}" for match in found if match})
    constraints = WORK / "lowest.txt"
    constraints.write_text("\n".join(pinned), "utf-8")
    python = environment(sys.executable, "lowest")
    run(python, "-m", "pip", "install", "-q", f"{ROOT}[{','.join(extras)}]", "-c", constraints)
    run(python, "-m", "pip", "check")
    run(python, "-c", LIGHT)
    say(f"lowest versions: {', '.join(pinned)}")
    shutil.rmtree(WORK / "lowest")


def consoles() -> None:
    """Repeat the tests of the command line where text is not UTF-8, without docstrings, and in a read-only folder."""
    # Compiled without docstrings, TensorFlow takes half a minute to import until its byte code is on disk.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for setting in ("PYTHONIOENCODING=cp1252", "PYTHONIOENCODING=ascii", "PYTHONOPTIMIZE=2"):
        run(sys.executable, "-m", "pytest", "-q", "-n0", f"--children={setting}", *COMMANDS)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    source = unpack("read-only")
    for path in [*source.rglob("*"), source]:
        path.chmod(path.stat().st_mode & ~0o222)
    before = snapshot(source)
    run(sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *COMMANDS, cwd=source)
    assert snapshot(source) == before, "the tests wrote into the checkout"


def say(message: str) -> None:
    print(f"== {message}", flush=True)


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    subprocess.run(command, cwd=cwd, check=True)


def environment(program: str, name: str) -> Path:
    """A new virtual environment's Python."""
    run(program, "-m", "venv", WORK / name)
    return WORK / name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def unpack(name: str) -> Path:
    """The sdist, unpacked: the tests pass from it, without a clone."""
    if not (WORK / "dist").exists():
        package()
    (archive,) = (WORK / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(WORK / f"source-{name}", filter="data")
    (folder,) = (WORK / f"source-{name}").iterdir()
    return folder


def snapshot(folder: Path) -> list[tuple[str, int, int]]:
    """Each file with its size and time."""
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def find(version: str) -> str | None:
    """A Python of that version, wherever this machine keeps it: PATH, pyenv, uv, or the Windows launcher."""
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT", home / ".pyenv")) / "versions" / f"{version}*" / "bin" / "python"
    uv = home / ".local/share/uv/python" / f"cpython-{version}*" / "bin" / "python3"
    candidates = [f"python{version}", *sorted(glob.glob(str(pyenv))), *sorted(glob.glob(str(uv)))]
    commands = [[name] for name in candidates] + [["py", f"-{version}"]]
    program = "import ensurepip, ssl, sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
    for command in commands:
        try:
            done = subprocess.run([*command, "-c", program], capture_output=True, text=True, timeout=60)
        except OSError:
            continue
        if done.returncode == 0 and done.stdout.startswith(f"{version} "):
            return done.stdout.split(maxsplit=1)[1].strip()
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
