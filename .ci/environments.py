"""New environments, as a user makes them: the files of a release, other Pythons, lowest versions, odd consoles.

``python .ci/environments.py [PART ...]`` runs all parts, or those named, two jobs at a time. What a job prints comes in
one piece when it ends, with how long it took.
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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".ci" / "venv" / "environments"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

CONVERTING = [
    "tests/test_converted.py",
    "tests/test_runtimes.py",
    "tests/test_bundles.py::test_a_bundle_answers_as_its_classifier",
    "tests/test_bundles.py::test_both_outputs_in_one_pass_and_no_others",
    "tests/test_bundles.py::test_what_is_in_a_bundle",
]
"""What differs most between Pythons and versions: the converters, and the files that they write."""
LANGUAGE = [
    f"tests/test_{name}.py"
    for name in (
        *("cache", "child", "command_line", "compat", "files", "http", "labels", "laziness", "models", "other_systems"),
        *("process", "public_names", "registry", "small_tools", "sources", "spec", "stream"),
    )
]
"""What stands on the interpreter and its library: paths, processes, streams, types, imports. Half a minute."""
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
    known = {"package": list, "pythons": pythons, "lowest": lowest, "consoles": consoles}
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    run_job(Job("package", package))  # the others take its files
    with ThreadPoolExecutor(2) as pool:
        for done in as_completed([pool.submit(run_job, job) for part in parts or known for job in known[part]()]):
            done.result()


def package(job: Job) -> None:
    """Build sdist and wheel, check them, and install the wheel with all that it asks for."""
    job.run(sys.executable, "-m", "pip", "install", "-q", "--group", "package")
    job.run(sys.executable, "-m", "build", "--outdir", WORK / "dist", ROOT)
    job.run(sys.executable, "-m", "twine", "check", "--strict", *(WORK / "dist").iterdir())
    (wheel,) = (WORK / "dist").glob("*.whl")
    python = job.environment(sys.executable)
    job.run(python, "-m", "pip", "install", "-q", f"{wheel}[offline]")
    job.run(python, "-m", "pip", "check")
    job.run(python, "-I", "-m", "pretrained_cnn", "models", cwd=WORK)


def pythons() -> list[Job]:
    """Run the README's second command on the other supported Pythons, with the tests that may differ there."""
    command = re.search(r"^pip install .* && pytest$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert command is not None
    install = command.group().removesuffix(" && pytest").split('"')[1]
    supported = re.findall(r":: (3\.\d+)'", str(PROJECT["classifiers"]))
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    programs = {version: find(version) for version in supported if version != ours}
    covered = [ours, *(version for version, program in programs.items() if program)]
    print(f"== Pythons on this machine: {', '.join(covered)}, of {', '.join(supported)}", flush=True)

    def test(program: str, job: Job) -> None:
        python = job.environment(program)
        source = job.unpack()
        job.run(python, "-m", "pip", "install", "-q", install, cwd=source)
        job.run(python, "-m", "pip", "check")
        job.run(python, "-m", "pytest", "-q", "-n0", *CONVERTING, *LANGUAGE, cwd=source)
        shutil.rmtree(WORK / job.name)  # two gigabytes

    return [Job(version, partial(test, program)) for version, program in programs.items() if program]


def lowest() -> list[Job]:
    """Run the library with the lowest versions of all packages that it declares."""
    extras = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name != "test"}
    declared = sum(extras.values(), PROJECT["dependencies"])
    found = (re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", line) for line in declared)
    pinned = sorted({f"{match[1]}=={match[2]}" for match in found if match})

    def test(job: Job) -> None:
        constraints = WORK / "lowest.txt"
        constraints.write_text("\n".join(pinned), "utf-8")
        python = job.environment(sys.executable)
        job.run(python, "-m", "pip", "install", "-q", f"{ROOT}[{','.join(extras)}]", "-c", constraints)
        job.run(python, "-m", "pip", "check")
        job.run(python, "-c", LIGHT)
        job.say(f"lowest versions: {', '.join(pinned)}")
        shutil.rmtree(WORK / job.name)

    return [Job("lowest", test)]


def consoles() -> list[Job]:
    """Repeat the tests of the command line where text is not UTF-8, without docstrings, and in a read-only folder."""

    def test(setting: str, job: Job) -> None:
        job.run(sys.executable, "-m", "pytest", "-q", "-n0", f"--children={setting}", *COMMANDS, writes_code=True)

    def test_read_only(job: Job) -> None:
        source = job.unpack()
        for path in [*source.rglob("*"), source]:
            path.chmod(path.stat().st_mode & ~0o222)
        before = snapshot(source)
        job.run(sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *COMMANDS, cwd=source)
        assert snapshot(source) == before, "the tests wrote into the checkout"

    settings = ("PYTHONIOENCODING=cp1252", "PYTHONIOENCODING=ascii", "PYTHONOPTIMIZE=2")
    return [*(Job(setting, partial(test, setting)) for setting in settings), Job("read-only", test_read_only)]


@dataclass
class Job:
    """One of several things that are done at the same time, and what it prints."""

    name: str
    work: Callable[[Job], None]
    printed: list[str] = field(default_factory=list)

    def say(self, message: str) -> None:
        """Keep a line for the end."""
        self.printed.append(f"== {message}\n")

    def run(self, *command: str | Path, cwd: Path = ROOT, writes_code: bool = False) -> None:
        """Run a program, which must succeed.

        With ``writes_code`` Python keeps byte code: compiled without docstrings, TensorFlow takes half a minute.
        """
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "" if writes_code else "1"}
        done = subprocess.run(
            command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.printed.append(done.stdout)
        done.check_returncode()

    def environment(self, program: str) -> Path:
        """A new virtual environment's Python."""
        self.run(program, "-m", "venv", WORK / self.name)
        return WORK / self.name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def unpack(self) -> Path:
        """The sdist, unpacked: the tests pass from it, without a clone."""
        (archive,) = (WORK / "dist").glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(WORK / f"source-{self.name}", filter="data")
        (folder,) = (WORK / f"source-{self.name}").iterdir()
        return folder


def run_job(job: Job) -> None:
    """Do it, and print what it printed and how long it took."""
    start = time.monotonic()
    try:
        job.work(job)
    finally:
        print(f"{''.join(job.printed)}== {job.name}: {time.monotonic() - start:.0f} s", flush=True)


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
