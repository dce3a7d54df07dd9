"""What all commands have in common: how options are declared, streams that fail, signals, exit statuses."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from pretrained_cnn import cli
from pretrained_cnn.cli import COMMANDS, Status
from pretrained_cnn.cli.options import PROGRAM, Command

POSIX = pytest.mark.skipif(os.name == "nt", reason="bash, /dev/full and bytes as names")
COMMAND = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash, in which ``$CLI`` is the program."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))}
    program = f"{shlex.quote(sys.executable)} -m pretrained_cnn"
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, timeout=300, cwd=ROOT, env={**kept, **environment, "CLI": program}
    )


# Options


@COMMAND
def test_each_command_has_a_module_of_its_own(command: Command[Any]) -> None:
    assert command.run.__module__ == f"pretrained_cnn.cli.{command.name.replace('-', '_')}"


@COMMAND
def test_options_are_frozen_and_documented(command: Command[Any]) -> None:
    assert command.options.__doc__
    assert dataclasses.is_dataclass(command.options)
    assert command.options.__dataclass_params__.frozen
    for field in dataclasses.fields(command.options):
        text = field.metadata["help"]
        assert re.match(r"[A-Z\"]", text), f"{command.name} {field.name}: {text!r} does not start with a capital"
        assert text.endswith("."), f"{command.name} {field.name}: {text!r} is not a sentence"
        required = field.default is dataclasses.MISSING
        optional = field.name in command.option_names() and field.default is not False and not required
        assert not optional or "(default: " in text, f"{command.name} {field.name}: {text!r} names no default"


@COMMAND
def test_an_option_has_one_name_everywhere(command: Command[Any]) -> None:
    short = {"output": "-o", "model": "-m", "count": "-n"}
    for field in dataclasses.fields(command.options):
        assert field.metadata.get("short") == (short.get(field.name) if field.name in command.option_names() else None)
    names = {field.name for field in dataclasses.fields(command.options)}
    assert "overwrite" in names or not names & {"output", "plot"}, "what is written can be replaced"


@COMMAND
def test_the_examples_of_the_help_can_be_parsed(command: Command[Any]) -> None:
    for example in command.examples:
        command.parse(shlex.split(example.partition(" | ")[0]))


def test_the_examples_of_the_page_can_be_parsed() -> None:
    """And each command has one."""
    page = (ROOT / "docs/reference/command-line.md").read_text("utf-8")
    commands = {command.name: command for command in COMMANDS}
    found = set()
    for line in re.findall(rf"^\$ .*?{PROGRAM} (.+)$", page, flags=re.MULTILINE):
        name, *words = shlex.split(line.partition(" | ")[0])
        commands[name].parse(words)
        found.add(name)
    assert found == set(commands)


def test_a_namespace_ends_at_the_door() -> None:
    """Only `options` sees argparse's untyped namespace."""
    modules = (ROOT / "src/pretrained_cnn/cli").glob("*.py")
    assert [path.name for path in modules if "Namespace" in path.read_text("utf-8")] == ["options.py"]


def test_only_the_console_prints() -> None:
    """Else a full disk behind stdout would be a traceback again."""
    for path in (ROOT / "src/pretrained_cnn/cli").glob("*.py"):
        names = {node.func.id for node in ast.walk(ast.parse(path.read_text("utf-8"))) if _is_plain_call(node)}
        assert "print" not in names or path.name == "console.py", path


def _is_plain_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["helpme"], "unknown command 'helpme'; `pretrained-cnn --help` explains"),
        (["clasify", "a.jpg"], "unknown command 'clasify'; did you mean 'classify'? `pretrained-cnn --help` explains"),
        (
            ["report", "a", "-o", "b", "--labelled"],
            "report: unknown option --labelled; did you mean '--labeled' or '--labels'? `pre",
        ),
        (["report", "a", "--labelled=x", "-o", "b"], "report: unknown option --labelled; did you mean '--labeled' or "),
        (["evaluate", "a", "b"], "pretrained-cnn evaluate: unexpected argument 'b'; `pretrained-cnn evaluate --help`"),
        (["classify", "a", "--out", "b"], "pretrained-cnn classify: unknown option --out; did you mean '--output'?"),
        (["models", "--max-parameters", "-1"], "argument --max-parameters: '-1' is not a number above 0"),
        (["models", "--max-parameters", "nan"], "argument --max-parameters: 'nan' is not a number above 0"),
        (["classify", "a", "--min-score", "1.5"], "argument --min-score: '1.5' is not a number from 0 to 1"),
        (["classify", "a", "--resume", "--overwrite"], "argument --overwrite: not allowed with argument --resume"),
    ],
)
def test_a_wrong_call_is_one_sentence(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main(words)
    out, err = capsys.readouterr()
    assert (raised.value.code, out, err.count("\n")) == (Status.USAGE, "", 1)
    assert message in err


def test_the_program_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == Status.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    for command in COMMANDS:
        assert re.search(rf"^    {command.name}\s", err, re.MULTILINE)


# Exit statuses


def test_statuses_are_those_that_shells_know() -> None:
    assert {status.name: status.value for status in Status} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "CHECK": 3,
        "INTERRUPTED": 128 + signal.SIGINT,
        "TERMINATED": 128 + signal.SIGTERM,
    }
    assert all(status.meaning.endswith(".") for status in Status)


WAIT = """
import dataclasses, signal, sys
from pretrained_cnn import cli
from pretrained_cnn.cli.options import Command

@dataclasses.dataclass(frozen=True)
class Nothing:
    pass

def run(options):
    try:
        signal.raise_signal(int(sys.argv[1]))
    finally:
        closed.append(True)
    return 0

closed = []
cli.COMMANDS = [Command("wait", "Wait.", Nothing, run)]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started this in the background
before = signal.getsignal(signal.SIGTERM)
status = cli.main(["wait"])
print(closed == [True], signal.getsignal(signal.SIGTERM) == before)
sys.exit(status)
"""
"""A program of its own: in a worker of the tests, a signal can end the worker."""


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGINT, Status.INTERRUPTED, "pretrained-cnn: interrupted\n"), (signal.SIGTERM, Status.TERMINATED, "")],
)
def test_a_signal_ends_a_run_in_order(number: int, status: Status, said: str) -> None:
    program = [sys.executable, "-c", WAIT, str(int(number))]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (status, "True True\n", said)


@dataclasses.dataclass(frozen=True)
class Nothing:
    """No options."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(5, "Input/output error", "/mnt/share/a.jpg"), "/mnt/share/a.jpg: Input/output error"),
        (OSError("the device went away"), "the device went away"),
    ],
)
def test_what_the_system_refuses_is_a_sentence(
    error: OSError, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(options: object) -> int:
        raise error

    monkeypatch.setattr(cli, "COMMANDS", [Command("fail", "Fail.", Nothing, run)])
    assert cli.main(["fail"]) == Status.FAILED
    assert capsys.readouterr() == ("", f"pretrained-cnn: {message}\n")


# Streams


@POSIX
@pytest.mark.parametrize(
    ("words", "unbuffered"), [("models", ""), ("runtimes", "1"), ("--help", ""), ("models -h", "1")]
)
def test_a_full_disk_behind_stdout_is_a_sentence(words: str, unbuffered: str) -> None:
    done = shell(f"$CLI {words} > /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (1, b"pretrained-cnn: stdout cannot be written: No space left on device\n")


@POSIX
def test_a_closed_stdout_is_a_sentence() -> None:
    done = shell("$CLI models >&-")
    assert (done.returncode, done.stderr) == (1, b"pretrained-cnn: stdout cannot be written: it is closed\n")


@POSIX
def test_a_closed_stderr_changes_nothing() -> None:
    done = shell("$CLI models 'xcep*' 2>&-")
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].startswith(b"Xception")
    assert (shell("$CLI models qq 2>&-").returncode, shell("$CLI models qq 2>/dev/full").returncode) == (1, 1)


@POSIX
@pytest.mark.slow
def test_classify_with_closed_streams(tmp_path: Path) -> None:
    image = "examples/images/umbrella.png"
    done = shell(f"$CLI classify {image} -m EfficientNetLite0 --top 1 2>&- <&-")
    assert (done.returncode, done.stdout.split(b"\t")[0]) == (0, image.encode())
    done = shell("$CLI classify - -m EfficientNetLite0 <&-")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"pretrained-cnn: stdin: it is closed\n")
    output = tmp_path / "rows.csv"
    done = shell(f"$CLI classify {image} -m EfficientNetLite0 --output {output} >&- 2>&- <&-")
    assert done.returncode == 0
    assert len(output.read_text("utf-8").splitlines()) == 2


@POSIX
@pytest.mark.slow
def test_a_console_that_is_not_utf_8_gets_escapes(tmp_path: Path) -> None:
    names = ["na\u00efve \u30ab\u30e1\u30e9 \U0001f4f7.png", os.fsdecode(b"\xff.png")]
    for name in names:
        (tmp_path / name).symlink_to(ROOT / "examples/images/umbrella.png")
    (tmp_path / "\u30ab.png").write_text("no image")
    line = f"$CLI classify {tmp_path} -m EfficientNetLite0 --top 1"
    for encoding, kana in (
        ("ascii", b"na\\xefve \\u30ab"),
        ("cp1252", b"na\xefve \\u30ab"),
        ("utf-8", "na\u00efve \u30ab".encode()),
    ):
        done = shell(line, PYTHONIOENCODING=encoding)
        assert (done.returncode, len(done.stdout.splitlines())) == (1, 2)
        assert kana in done.stdout
        assert b"/\xff.png\t" in done.stdout, "bytes that are not text are as they are on disk"
        assert done.stderr.count(b"\n") == 1
        assert b"this is not an image" in done.stderr


@pytest.mark.slow
def test_a_terminal_shows_an_image_once(tmp_path: Path) -> None:
    """In a pipe there are tabs."""
    shutil.copy(ROOT / "examples/images/umbrella.png", tmp_path / "a\x1b[31m.png")
    (tmp_path / "b.png").write_text("no image")
    main_, terminal = pytest.importorskip("pty").openpty()
    words = ["classify", tmp_path, "-m", "EfficientNetLite0", "--top", "3", "--min-score", "1"]
    program = [sys.executable, "-m", "pretrained_cnn", *words]
    done = subprocess.run(program, stdout=terminal, stderr=subprocess.PIPE, timeout=300, cwd=ROOT)
    os.close(terminal)
    first, *classes = os.read(main_, 100_000).decode().splitlines()
    os.close(main_)
    assert done.returncode == 1
    assert first == f"{tmp_path}/a\\x1b[31m.png  (uncertain)", "control characters do not reach the terminal"
    assert len(classes) == 3
    assert re.fullmatch(r"  [ \d]\d\.\d %  umbrella +n04507155", classes[0])
    assert len({line.index("  n0") for line in classes}) == 1, "columns are aligned"
    assert done.stderr.count(b"\n") == 1
    assert b"b.png: this is not an image" in done.stderr


def test_what_is_interrupted_says_what_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pretrained_cnn.cli.console import kept

    def run(options: object) -> int:
        with kept(lambda: "3 images are in a.csv; continue with --resume"):
            raise KeyboardInterrupt

    monkeypatch.setattr(cli, "COMMANDS", [Command("keep", "Keep.", Nothing, run)])
    assert cli.main(["keep"]) == Status.INTERRUPTED
    assert capsys.readouterr().err == "pretrained-cnn: interrupted; 3 images are in a.csv; continue with --resume\n"


def test_argparse_has_what_the_parser_stands_on() -> None:
    """`Parser` lists its options for the nearest names."""
    assert [action.option_strings for action in argparse.ArgumentParser()._actions] == [["-h", "--help"]]
