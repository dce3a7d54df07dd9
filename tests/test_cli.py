"""The command line, as a user starts it."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest
from paths import ROOT

from pretrained_cnn import ModelSpec, cli, get_spec, list_models, register
from pretrained_cnn.registry import MODELS
from pretrained_cnn.weights import WeightsFile


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pretrained_cnn", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key != "TF_CPP_MIN_LOG_LEVEL"} | environment,
    )


@pytest.mark.slow
def test_the_first_command_of_the_readme() -> None:
    done = run("classify", "--model", "EfficientNetLite0", "examples/images/clock.png")
    assert (done.returncode, done.stderr) == (0, ""), "stderr is for what the user must know: no chatter"
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == 5
    assert {label for _, _, label, _ in rows[:2]} == {"analog_clock", "wall_clock"}
    assert [float(score) for _, score, *_ in rows] == sorted((float(score) for _, score, *_ in rows), reverse=True)
    assert rows[0][0] == "examples/images/clock.png"


@pytest.mark.slow
def test_json_and_a_bad_image_among_good_ones(tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("hello")
    sources = ["examples/images/umbrella.png", str(text), "examples/images/c*.png"]
    done = run("classify", "--model", "efficientnet-lite0", "--top", "1", "--json", *sources)
    assert done.returncode == 1
    assert done.stderr == (
        f"pretrained-cnn: {text}: this is not an image in a format that can be read; it begins with b'hello'\n"
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
        "status": "failed",
        "label_set": None,
        "predictions": [],
        "error": f"{text}: {done.stderr.split(': ', 2)[2][:-1]}",
    }


@pytest.mark.slow
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
        f"Fetch it by hand to {tmp_path}/models/{file}, or give --weights <path>, or use --model "
        "EfficientNetLite0, which needs no download",
    ):
        assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "models").iterdir()) == []


@pytest.mark.slow
def test_ctrl_c_ends_quietly() -> None:
    command = [
        sys.executable,
        "-m",
        "pretrained_cnn",
        "classify",
        "--model",
        "EfficientNetLite0",
        "--batch-size",
        "1",
        "-",
    ]
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert running.stdin is not None
    assert running.stdout is not None
    images = sorted(map(str, (ROOT / "examples" / "images").glob("*.png")))
    running.stdin.write("".join(f"{image}\n" for image in images * 2).encode())
    running.stdin.flush()
    assert running.stdout.readline()  # it classifies, and waits for more
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (130, b"pretrained-cnn: interrupted\n")


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
        ([], 2, "Write the embeddings of images to a file."),
        (["classify"], 2, "the following arguments are required: SOURCE"),
        (["classify", "a.jpg", "--top", "0"], 2, "argument --top: '0' is not a whole number of at least 1"),
        (["classify", "a.jpg", "--top", "x"], 2, "argument --top: 'x' is not a whole number of at least 1"),
        (["classify", "a.jpg", "--model", "Xseption"], 2, "unknown model 'Xseption'; did you mean 'Xception'?"),
        (
            ["classify", "a.jpg", "--model", "no_module:x"],
            2,
            "no_module:x cannot be imported: ModuleNotFoundError: No mod",
        ),
        (
            ["classify", "a.jpg", "--model", "json:dumps"],
            2,
            "json:dumps: an object of type function is not a model; expected a ModelSpec",
        ),
        (["classify", "a.jpg", "--weights", "no.h5"], 1, "pretrained-cnn: --weights no.h5: no such file"),
        (["classify", "a.jpg", "-m", "tests"], 2, "'tests' is a folder without a bundle's manifest.json"),
        (
            ["classify", "a.jpg", "-m", "examples/images"],
            2,
            "classify the images with `pretrained-cnn classify examples/i",
        ),
        (
            ["classify", "a.jpg", "-m", "efficientnet"],
            2,
            "16 names begin with 'efficientnet': `pretrained-cnn models 'eff",
        ),
        (["classify", "docs/how-to", "--model", "EfficientNetLite0"], 1, "docs/how-to: no image is in this folder"),
        (["models", "qq*"], 1, "no model matches 'qq*'; `pretrained-cnn models` lists all"),
        (["fetch"], 2, "fetch needs the name of a backbone, or --all"),
        (["fetch", "Xseption"], 2, "unknown model 'Xseption'; did you mean 'Xception'?"),
        (["fetch", "qq*"], 2, "unknown model 'qq*'; `pretrained-cnn models` lists all names"),
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
    assert re.split(r" {2,}", header) == ["NAME", "INPUT", "PARAMS", "DEPTH", "TOP-1 %", "TOP-5 %", "MEASURED AT", "BY"]
    assert len(rows) >= 41
    assert max(map(len, (header, *rows))) <= 80, "it fits the usual terminal"
    assert rows[-3:-1] == ["[1] keras.io/api/applications/", "[2] github.com/keras-team/keras-applications"]
    assert next(row for row in rows if row.startswith("Xception")).split() == [
        *("Xception", "299x299", "22.9", "M", "81", "79.0", "94.5", "299", "[2]"),
    ]
    assert next(row for row in rows if row.startswith("ConvNeXtTiny")).split() == [
        *("ConvNeXtTiny", "224x224", "28.6", "M", "-", "81.3", "-", "-", "[1]"),
    ]


def test_models_sorted_filtered_and_as_json(main: Any) -> None:
    rows = json.loads(main("models", "--sort", "top1", "--max-parameters", "6", "--json")[1])
    assert [row["top1"] for row in rows] == sorted((row["top1"] for row in rows), reverse=True)
    assert all(row["parameters"] <= 6e6 for row in rows)
    names = [line.split()[0] for line in main("models", "resnet*v2", "--sort", "parameters")[1].splitlines()[1:-1]]
    assert names == ["ResNet50V2", "ResNet101V2", "ResNet152V2", "InceptionResNetV2"][:3]
    rows = json.loads(main("models", "--min-top1", "84", "--max-parameters", "60", "--json")[1])
    assert rows
    assert all(row["top1"] >= 84 and row["parameters"] <= 60e6 for row in rows)
    assert "EfficientNetLite0" in main("models", "--offline", "efficientnetl*")[1]
    code, _, err = main("models", "--min-top1", "99")
    assert (code, err) == (
        1,
        "pretrained-cnn: no model matches '*' within these limits; `pretrained-cnn models` lists all\n",
    )
    assert "min_top1" not in main("models", "--min-top1", "101")[2]
    depths = [row["depth"] or 0 for row in json.loads(main("models", "--sort", "depth", "--json")[1])]
    assert depths == sorted(depths)
    assert depths[-1] == 533
    assert main("models", "--sort", "size")[1].splitlines()[-4].startswith("EfficientNetB7")


def test_models_lists_the_others_when_a_plugin_is_broken(main: Any) -> None:
    from importlib.metadata import EntryPoint

    with MODELS.temporary([EntryPoint("Broken", "no_such_module:spec", MODELS.group)]):
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


# Weights: fetch and cache


TINY = b"tiny " * 1000


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_registry: None) -> Iterator[Path]:
    """A server with the weights of two registered backbones, TinyNet and TinyNet2; and the cache's folder."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "tiny.h5").write_bytes(TINY)
    (served / "tiny_notop.h5").write_bytes(TINY[1:])

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=served)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02))
        thread.start()
        monkeypatch.setenv("PRETRAINED_CNN_MIRROR", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
        monkeypatch.setenv("PRETRAINED_CNN_CACHE", str(tmp_path / "cache"))
        for name, stem in (("TinyNet", "tiny"), ("TinyNet2", "absent")):
            files = [
                WeightsFile(f"https://example.org/{stem}.h5", f"md5:{hashlib.md5(TINY).hexdigest()}"),
                WeightsFile(
                    f"https://example.org/{stem}_notop.h5", f"md5:{hashlib.md5(TINY[1:]).hexdigest()}", has_head=False
                ),
            ]
            register(ModelSpec(name=name, builder="no:where", input_size=(8, 8), labels="imagenet", weights=files))
        yield tmp_path / "keras" / "models"
        server.shutdown()
        thread.join()


def test_fetch(main: Any, tiny: Path) -> None:
    assert main("fetch", "tinynet") == (0, f"TinyNet\t{tiny / 'tiny.h5'}\n", "")
    assert [path.name for path in tiny.iterdir()] == ["tiny.h5"]


def test_fetch_variants(main: Any, tiny: Path) -> None:
    code, out, _ = main("fetch", "TinyNet", "--variants")
    assert code == 0
    assert out == f"TinyNet\t{tiny / 'tiny.h5'}\nTinyNet\t{tiny / 'tiny_notop.h5'}\n"


def test_fetch_all(main: Any, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRETRAINED_CNN_OFFLINE", "1")
    code, out, err = main("fetch", "--all")
    assert (code, out) == (1, "")
    needed = [name for name in list_models() if get_spec(name).weights]
    assert len(needed) >= 40
    assert err.count("PRETRAINED_CNN_OFFLINE=1 forbids downloading ") == len(needed)


def test_fetch_by_pattern_goes_on_after_a_failure(main: Any, tiny: Path) -> None:
    code, out, err = main("fetch", "TinyNet2", "tiny*")
    assert (code, out) == (1, f"TinyNet\t{tiny / 'tiny.h5'}\n")
    assert err.count("TinyNet2 needs the weights file absent.h5: ") == 1
    assert "(HTTP Error 404: File not found). Fetch it by hand to " in err


def test_fetch_for_a_machine_without_network(
    main: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stick = tmp_path / "stick"
    assert main("fetch", "TinyNet", "--to", str(stick))[:2] == (0, f"TinyNet\t{stick / 'models' / 'tiny.h5'}\n")
    assert not tiny.exists(), "only the folder that was named is filled"
    monkeypatch.setenv("PRETRAINED_CNN_OFFLINE", "1")
    assert main("fetch", "TinyNet")[0] == 1
    monkeypatch.setenv("KERAS_HOME", str(stick))
    assert main("fetch", "TinyNet")[0] == 0


def test_fetch_what_needs_no_download(main: Any) -> None:
    code, out, err = main("fetch", "EfficientNetLite0")
    assert (code, out) == (0, "")
    assert err == "pretrained-cnn: EfficientNetLite0 needs no download: its weights come with its builder\n"


def test_fetch_without_a_network(tmp_path: Path) -> None:
    done = run("fetch", "Xception", KERAS_HOME=str(tmp_path), PRETRAINED_CNN_MIRROR="http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pretrained-cnn: Xception needs the weights file ")
    assert "and http://127.0.0.1:9/tensorflow/keras-applications/xception/xception_weights_tf_" in done.stderr
    assert done.stderr.count("\n") == 1


def test_cache_lists_nothing(main: Any, tiny: Path, tmp_path: Path) -> None:
    computed = tmp_path / "cache"
    message = f"pretrained-cnn: no known weights are in {tiny}, and nothing that was computed is in {computed}\n"
    assert main("cache") == (0, "", message)
    assert main("cache", "--json") == (0, "[]\n", "")


def test_cache_lists_whole_and_unknown_files(main: Any, tiny: Path) -> None:
    main("fetch", "TinyNet")
    (tiny / "imagenet_class_index.json").write_text("{}")
    with h5py.File(tiny / "mobilenet_2_5_224_tf.h5", "w"):
        pass
    code, out, err = main("cache")
    assert (code, err) == (0, "")
    unknown, whole = out.splitlines()
    assert whole.split() == ["whole", "0.0", "MB", "weights", "TinyNet", str(tiny / "tiny.h5")]
    assert unknown.split(maxsplit=6) == [
        *("unknown", "0.0", "MB", "weights", "MobileNet", str(tiny / "mobilenet_2_5_224_tf.h5")),
        "complete, but it has no published hash; loading it compares its layers",
    ]


def test_cache_finds_broken_files(main: Any, tiny: Path) -> None:
    tiny.mkdir(parents=True)
    (tiny / "tiny.h5").write_bytes(TINY[:-1])
    (tiny / "mobilenet_2_5_224_tf.h5").write_bytes(b"<!DOCTYPE html>")
    code, out, err = main("cache", "--json")
    assert (code, err) == (1, "")
    mobilenet, tinynet = json.loads(out)
    assert tinynet == {
        "kind": "weights",
        "model": "TinyNet",
        "path": str(tiny / "tiny.h5"),
        "size": len(TINY) - 1,
        "verdict": "broken",
        "reason": f"its md5 is {hashlib.md5(TINY[:-1]).hexdigest()}, not {hashlib.md5(TINY).hexdigest()}",
    }
    assert mobilenet["verdict"] == "broken"
    assert mobilenet["reason"].startswith("it is not a complete HDF5 file (")
    assert main("cache")[0] == 1


# Bundles and runtimes


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network for OpenVINO, written by the command line in a process of its own."""
    path = tmp_path_factory.mktemp("cli") / "small.bundle"
    model = "pretrained_cnn.testing:RuntimeConformance.spec"
    done = run("export", "-o", str(path), "-m", model, "--format", "openvino")
    assert (done.returncode, done.stderr) == (0, "")
    name, images, same, difference = done.stdout.rstrip("\n").split("\t")
    assert (name, images, same) == (str(path), "4 images", "same best class 100%")
    assert float(difference.removeprefix("largest difference ")) < 1e-4
    return path


@pytest.mark.slow
def test_a_bundle_is_classified_with(bundle: Path) -> None:
    done = run("classify", "--model", str(bundle), "--top", "1", "examples/images/clock.png")
    assert (done.returncode, done.stderr) == (0, "")
    source, _, label, _ = done.stdout.split("\t")
    assert (source, label[:5]) == ("examples/images/clock.png", "class")


def test_a_bundle_is_checked(main: Any, bundle: Path, tmp_path: Path) -> None:
    code, out, err = main("check", str(bundle))
    assert (code, err) == (0, "")
    assert out.startswith(f"{bundle}\t4 images\tsame best class 100%\tlargest difference ")
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    (broken / "model.bin").write_bytes(b"")
    code, out, err = main("check", str(broken))
    assert (code, out) == (1, "")
    assert f"{broken / 'model.bin'} was changed" in err


def test_a_bundle_that_answers_otherwise_than_where_it_was_made(
    main: Any, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pretrained_cnn.bundle import store

    monkeypatch.setattr(store, "agrees", lambda *_: False)
    code, _, err = main("check", str(bundle))
    assert code == 3
    assert err == f"pretrained-cnn: {bundle} is intact, but does not answer here as it did where it was made\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["check", "no.bundle"], 1, "no.bundle does not exist"),
        (["check", "docs"], 2, "'docs' is a folder"),
        (["classify", "a.jpg", "--model", "./no.bundle"], 1, "no.bundle does not exist"),
        (["classify", "a.jpg", "--model", "BUNDLE", "--weights", "imagenet"], 2, "has weights of its own"),
        (["classify", "a.jpg", "--model", "BUNDLE", "--runtime", "litert"], 1, "--runtime litert does not execute"),
        (["check", "BUNDLE", "--runtime", "litre"], 2, "unknown runtime 'litre'; did you mean 'litert'?"),
        (["export", "-o", "docs", "-m", "EfficientNetLite0"], 1, "docs already exists; choose another name"),
        (["export", "-o", "x", "--format", "pickle"], 2, "invalid choice: 'pickle'"),
    ],
)
def test_what_is_wrong_with_a_bundle(main: Any, bundle: Path, arguments: list[str], code: int, message: str) -> None:
    found, out, err = main(*(str(bundle) if argument == "BUNDLE" else argument for argument in arguments))
    assert (found, out) == (code, "")
    assert message in err


def test_runtimes(main: Any) -> None:
    code, out, _ = main("runtimes")
    assert code == 0
    assert [line.split() for line in out.splitlines()][:2] == [["keras", "installed"], ["openvino", "installed"]]
    assert json.loads(main("runtimes", "--json")[1])[1] == {
        "name": "openvino",
        "installed": True,
        "install": 'pip install "pretrained-cnn[openvino]"',
    }


def test_cache_lists_converted_models(main: Any, tiny: Path, tmp_path: Path, bundle: Path) -> None:
    converted = tmp_path / "cache" / "converted"
    for name in ("whole", "broken"):
        shutil.copytree(bundle, converted / name)
    (converted / "broken" / "model.bin").write_bytes(b"")
    code, out, _ = main("cache", "--json")
    assert code == 1
    rows = {Path(row["path"]).name: row for row in json.loads(out)}
    assert (rows["whole"]["model"], rows["whole"]["verdict"]) == ("Conformance, openvino", "whole")
    assert rows["broken"]["verdict"] == "broken"
    assert "model.bin was changed" in rows["broken"]["reason"]


def test_precision_on_the_command_line(main: Any) -> None:
    code, out, err = main("classify", "examples/images/clock.png", "--precision", "bfloat16")
    assert (code, out) == (2, "")
    assert "--precision bfloat16: --runtime keras computes in 'float32'; choose --runtime openvino" in err
    code, out, _ = main("runtimes", "--precisions")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["float32", "bfloat16", "float16", "int8"]
    assert out.splitlines()[0].split()[1] == "available"
