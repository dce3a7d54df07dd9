"""Ray Data: on two nodes the rows of the local stream, whatever dies, and from the command line the same files."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.dataset
import pytest
import ray
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT
from PIL import Image
from ray.cluster_utils import Cluster
from waking import wake

from pretrained_cnn import (
    Classifier,
    ImageError,
    InvalidArgumentError,
    MissingDependencyError,
    OutputError,
    Prediction,
    Result,
    UnknownModelError,
    cli,
    get_spec,
    register,
)
from pretrained_cnn.cli import on_ray
from pretrained_cnn.images.sources import Item
from pretrained_cnn.integrations.ray import BatchClassifier, BatchEmbedder, classify, embed
from pretrained_cnn.results.file import ResultsFile
from pretrained_cnn.results.formats import Csv, find_format
from pretrained_cnn.results.names import escape
from pretrained_cnn.results.rows import RESULTS, to_arrow, to_rows
from pretrained_cnn.results.shards import Entry, Shards
from pretrained_cnn.results.stream import Found

# Ray's own: a new DataContext sets settings that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")

IMAGES, BROKEN = 2_000, 100


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that tells images apart, in a format for which no worker imports TensorFlow."""
    clf = Classifier("MobileNet", alpha=0.25, weights=None, input_size=(64, 64))
    wake(clf.keras_model, np.random.default_rng(0).uniform(-1, 1, (16, 64, 64, 3)).astype(np.float32))
    path = tmp_path_factory.mktemp("network") / "small.bundle"
    clf.save(path, format="openvino")
    return path


def draw(folder: Path, images: int, broken: int) -> list[str]:
    """Small images, each another, evenly mixed with broken ones. Their paths, in order."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(images):
        path = folder / f"{number:04}.png"
        if number % (images // broken) == 3:
            path.write_bytes(b"no image" if number % 2 else path.with_name("0000.png").read_bytes()[:90])
        else:
            pixels = generator.integers(0, 256, (3, 4, 3)).astype(np.uint8)
            Image.fromarray(pixels).resize((50, 40), Image.Resampling.BICUBIC).save(path, compress_level=1)
    return sorted(map(str, folder.iterdir()))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return draw(tmp_path_factory.mktemp("drawn") / "images", IMAGES, BROKEN)


@pytest.fixture(scope="module")
def expected(bundle: Path, images: list[str]) -> list[dict[str, Any]]:
    """The rows of the local stream."""
    found = [row for result in Classifier.load(bundle).stream(images, top=2) for row in to_rows(result)]
    assert len(found) == 2 * (IMAGES - BROKEN) + BROKEN
    assert len({row["label"] for row in found}) > 50, "the network tells images apart"
    return found


# Without a cluster


class Recorder:
    """In a dataset's place: what it is asked for."""

    def map_batches(self, kind: type, **arguments: Any) -> dict[str, Any]:
        return {"kind": kind, **arguments}


def asked(function: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = function(Recorder(), *arguments, **options)
    return found


@pytest.mark.slow
def test_what_ray_is_asked_for(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle.parent)
    made = asked(classify, "./small.bundle", runtime="openvino", top=2, batch_size=4, num_cpus=3, num_gpus=0.5)
    assert made["fn_constructor_args"] == (str(bundle),), "a worker has another working directory"
    assert (made["kind"], made["batch_size"], made["num_cpus"], made["num_gpus"]) == (BatchClassifier, 32, 3, 0.5)
    assert (made["compute"].min_size, made["compute"].max_size) == (1, float("inf"))
    assert made["fn_constructor_kwargs"] == {
        "runtime": "openvino", "top": 2, "min_score": None, "batch_size": 4, "column": "bytes", "errors": "return",
        "cores": 3
    }  # fmt: skip
    made = asked(embed, bundle, layer="relu", concurrency=4, column="image", errors="raise")
    assert (made["kind"], made["batch_size"], made["compute"].min_size, made["compute"].max_size) == (
        BatchEmbedder, 128, 4, 4
    )  # fmt: skip
    assert asked(classify, bundle, concurrency=(2, 5))["compute"].max_size == 5


@pytest.mark.slow
def test_what_goes_to_an_actor_is_small(bundle: Path) -> None:
    for model in (bundle, "NASNetLarge"):
        made = asked(classify, model)
        sent = pickle.dumps((made["kind"], made["fn_constructor_args"], made["fn_constructor_kwargs"]))
        assert len(sent) < 50_000 < bundle.joinpath("model.bin").stat().st_size


def test_what_is_registered_here_need_not_be_there(clean_registry: None) -> None:
    spec = get_spec("MobileNet").replace(name="Mine")
    register(spec)
    assert asked(classify, "mine")["fn_constructor_args"] == (spec,)


def test_what_cannot_be_right_is_said_before_ray_starts() -> None:
    with pytest.raises(UnknownModelError, match="unknown model 'Xseption'; did you mean 'Xception'"):
        asked(classify, "Xseption")
    with pytest.raises(InvalidArgumentError, match="errors='ignore' is not known; choose 'raise' or 'return'"):
        asked(embed, "Xception", errors="ignore")


def test_columns(bundle: Path) -> None:
    name = BatchClassifier(bundle)
    with pytest.raises(InvalidArgumentError, match="column='bytes' is not in the dataset, which has image, path"):
        name({"image": np.zeros((1, 8, 8, 3), np.uint8), "path": np.array(["a"])})
    with pytest.raises(
        InvalidArgumentError,
        match="the images of column='bytes' have no names: read them with include_paths=True, or rename a column to "
        "'path'",
    ):
        name({"bytes": np.array([b"a"], object)})
    assert BatchClassifier(bundle, column="item")({"item": np.array(["no.png"])})["source"].to_pylist() == ["no.png"]
    with pytest.raises(ImageError, match=r"no\.png: the file does not exist"):
        BatchClassifier(bundle, column="path", errors="raise")({"path": np.array(["no.png"])})


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    generator = np.random.default_rng([width, height])
    Image.fromarray(generator.integers(0, 256, (height, width, 3)).astype(np.uint8)).save(file, "png")
    return file.getvalue()


good = st.builds(png, st.integers(1, 90), st.integers(1, 90))
names = st.sampled_from(["a.png", "caf\udce9.png", 'quo"te', "line\nend"]) | st.text(
    st.characters(codec="utf-8"), max_size=5
)
batches = st.lists(
    st.tuples(names, good | good.map(lambda png: png[:60]) | st.binary(max_size=9)), min_size=1, max_size=6
)


def local_rows(clf: Classifier, images: list[tuple[str, Any]], top: int) -> list[dict[str, Any]]:
    """The rows of the local stream; a name that no table can hold is written out."""
    return [row for result in clf.stream(images, top=top) for row in to_rows(result)]


def test_a_batch_has_the_rows_and_the_schema_of_the_local_stream(bundle: Path) -> None:
    clf = Classifier.load(bundle)
    in_batches = {top: BatchClassifier(bundle, top=top) for top in (1, 3)}

    @settings(deadline=None, max_examples=40)
    @given(images=batches, top=st.sampled_from([1, 3]))
    def check(images: list[tuple[str, bytes]], top: int) -> None:
        paths, contents = zip(*images, strict=True)
        table = in_batches[top]({"path": np.array(paths, object), "bytes": np.array(contents, object)})
        expected = local_rows(clf, images, top)
        assert table.schema == to_arrow(expected).schema == to_arrow([]).schema
        assert table.to_pylist() == expected

    check()


CORES = """
import os, sys, time
import numpy as np
from pretrained_cnn.integrations.ray import BatchClassifier

see = BatchClassifier(sys.argv[1], column="image", cores=int(sys.argv[2]), runtime=sys.argv[3])
images = {"path": np.arange(16), "image": np.zeros((16, 224, 224, 3), np.uint8)}
see(images)
start, used = time.monotonic(), time.process_time()
while time.monotonic() - start < 1.5:
    see(images)
print((time.process_time() - used) / (time.monotonic() - start), len(os.listdir("/proc/self/task")))
"""


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2 or sys.platform != "linux", reason="it counts threads on two cores")
def test_an_actor_computes_with_the_cores_that_it_reserves() -> None:
    """TensorFlow's threads, which are the whole process's; the other runtimes ask `_process.limited_cores`."""

    def measure(cores: int) -> tuple[float, int]:
        """How many cores are busy, and how many threads there are."""
        command = [sys.executable, "-c", CORES, "EfficientNetLite0", str(cores), "keras"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
        busy, threads = done.stdout.split()
        return float(busy), int(threads)

    busy, threads = measure(1)
    assert busy < 1.25
    assert threads < measure(2)[1]


def scores(found: list[dict[str, Any]]) -> list[float]:
    return [row["score"] for row in found if row["score"] is not None]


def test_the_error_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pretrained_cnn.integrations.ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        MissingDependencyError, match=r'this needs the package ray: pip install "pretrained-cnn\[ray\]"'
    ):
        importlib.import_module("pretrained_cnn.integrations.ray")


@pytest.mark.slow
def test_everything_else_imports_without_ray() -> None:
    program = """
import sys
sys.modules["ray"] = None
import pkgutil, importlib, pretrained_cnn
from pretrained_cnn.cli import main
for info in pkgutil.walk_packages(pretrained_cnn.__path__, "pretrained_cnn."):
    if info.name not in ("pretrained_cnn.__main__", "pretrained_cnn.integrations.ray"):
        importlib.import_module(info.name)
print("all")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "all\n"


# The folder of files


def read_file(path: Path) -> list[dict[str, Any]]:
    return list(find_format(path, RESULTS).read(path))


def shards(path: Path, images: list[Any], **options: Any) -> Shards:
    return Shards(str(path), {"top": 2}, found(images), **{"size": 2, **options})


def found(images: list[Any]) -> Iterator[Found]:
    """Images as a folder's listing gives them; an error, or bytes, with a name."""
    for image in images:
        name, content = image if isinstance(image, tuple) else (image, image)
        yield Found(Item(0, name, content), listed=True)


def names_of(output: Shards) -> list[str]:
    return [entry.name for entry in output.entries()]


def result(name: str) -> Result:
    if name.startswith("bad"):
        return Result(name, (), ImageError(name, "it is bad"))
    return Result(name, (Prediction("n1", "a, b", 0.7, 1), Prediction("n2", "c", 0.1, 2)))


NAMES = ["a.png", "bad.png", "caf\udce9.png", "line\nend.png", "b.png"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_only_the_files_that_are_missing_are_made(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"r.{suffix}"
    with shards(path, NAMES) as output:
        assert names_of(output) == NAMES
        for name in NAMES[:3]:
            output.write(result(name))
    assert sorted(file.name for file in path.iterdir()) == [f"000000.{suffix}", "_sources"], "the third waits for more"
    with shards(path, ["another.png"], resume=True) as output:
        assert (output.total, output.images, output.failed) == (5, 2, 1)
        entries = names_of(output)
        assert entries == NAMES[2:], "as they were listed first"
        for name in entries:
            output.write(result(str(name)))
        output.finish()
    assert json.loads(path.with_name(f"{path.name}.settings.json").read_text())["finished"]
    whole = tmp_path / f"whole.{suffix}"
    with ResultsFile(str(whole), {"top": 2}) as one_file:
        for name in NAMES:
            one_file.write(result(name))
        one_file.finish()
    rows = [row for file in sorted(path.glob("0*")) for row in read_file(file)]
    assert rows == read_file(whole)
    with shards(path, [], resume=True) as output:
        assert (list(output.entries()), output.images) == ([], 5)


def test_a_folder_that_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    with shards(path, NAMES) as output:
        for name in NAMES:
            output.write(result(name))
        with pytest.raises(OutputError, match="another process is writing to it"):
            shards(path, NAMES, resume=True)
    path.joinpath("notes.txt").touch()
    with pytest.raises(
        OutputError, match="already exists; continue it with resume=True, replace it with overwrite=True"
    ):
        shards(path, NAMES)
    with pytest.raises(OutputError, match="was made with shard=2, not shard=3: give the same again"):
        shards(path, [], size=3, resume=True)
    shards(path, ["new.png"], overwrite=True).close()
    assert sorted(file.name for file in path.iterdir()) == ["_sources", "notes.txt"]
    path.joinpath("000000.csv").write_text("nothing of ours\n\n")
    with pytest.raises(OutputError, match=r"000000\.csv: it does not begin with source,rank"):
        shards(path, [], resume=True)


def test_what_could_not_be_listed_keeps_its_place_and_archives_are_refused(tmp_path: Path) -> None:
    with shards(tmp_path / "r.csv", ["a.png", ("gone", ImageError("gone", "no such folder"))]) as output:
        assert list(output.entries()) == [Entry("a.png", True, None), Entry("gone", True, "no such folder")]
    with pytest.raises(InvalidArgumentError, match=r"a\.tar/b\.png: a cluster takes no archives"):
        shards(tmp_path / "s.csv", [("a.tar/b.png", b"")])
    assert not tmp_path.joinpath("s.csv").exists()


def failed(name: str, reason: str) -> Result:
    return Result(name, (), ImageError(name, reason))


def test_a_file_with_failures_that_may_pass_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    with shards(path, NAMES) as output:
        output.write(failed("a.png", "it cannot be opened: Input/output error"))
        for name in NAMES[1:]:
            output.write(result(name))
        assert sorted(file.name for file in path.glob("0*")) == ["000001.csv", "000002.csv"]
        assert output.again()
        assert names_of(output) == NAMES[:2]
        for name in NAMES[:2]:
            output.write(result(name))
        assert not output.again()
        output.finish()
        assert (output.images, output.failed) == (5, 1)
    with shards(tmp_path / "s.csv", ["a.png", "b.png"]) as output:
        for _ in range(2):  # nothing can be read in either try
            for name in names_of(output):
                output.write(failed(name, "it cannot be decoded: MemoryError"))
            if _ == 0:
                assert output.again()
        with pytest.raises(OutputError, match=r"MemoryError.*0 images have their rows.*continue with resume=True"):
            output.again()
        assert not list((tmp_path / "s.csv").glob("0*"))


def test_eight_failures_that_may_pass_end_a_run_on_a_cluster(tmp_path: Path) -> None:
    many = [f"{number}.png" for number in range(20)]
    with shards(tmp_path / "r.csv", many) as output:
        for name in many[:7]:
            output.write(failed(name, "it cannot be opened: Stale file handle"), listed=True)
        with pytest.raises(OutputError, match=r"Stale file handle.*continue with resume=True"):
            output.write(failed(many[7], "it cannot be opened: Stale file handle"), listed=True)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_failed_images_of_a_folder_are_tried_again_in_their_places(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"r.{suffix}"
    with shards(path, NAMES) as output:
        for name in NAMES:
            output.write(result(name))
        output.finish()
    before = [row for file in sorted(path.glob("0*")) for row in read_file(file)]
    with shards(path, [], resume=True, retry_failed=True) as output:
        assert names_of(output) == ["bad.png"]
        good = result("a.png")
        output.write(Result("bad.png", good.predictions))
        assert (output.images, output.failed) == (5, 0)
        output.finish()
    after = [row for file in sorted(path.glob("0*")) for row in read_file(file)]
    assert [row["source"] for row in after if row["rank"] in (None, 1)] == list(map(escape, NAMES))
    assert [row for row in after if row["source"] != "bad.png"] == [row for row in before if row["source"] != "bad.png"]


def test_rows_are_matched_by_name_whatever_their_order() -> None:
    images = [[{"source": name, "place": place}] for place, name in enumerate(["b", "a", "c", "a"])]
    take = on_ray.by_source(iter(images))
    assert [take(name)[0]["place"] for name in ("a", "b", "a", "c")] == [1, 0, 3, 2]
    with pytest.raises(OutputError, match="a: Ray gave no rows for this image"):
        take("a")


def test_names_are_as_seen_from_where_the_run_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.csv"
    monkeypatch.chdir(tmp_path)
    shards(path, ["few/a.png", "http://x/b.png"]).close()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    with shards(path, [], resume=True) as output:
        paths = [on_ray.path_of(output, entry) for entry in output.entries()]
    assert paths == [str(tmp_path / "few/a.png"), "http://x/b.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--on", "ray"], "--on ray needs --output DIR.csv, DIR.jsonl or DIR.parquet, a folder of files of rows"),
        (["--shard", "5"], "--shard needs --on ray"),
        (["--address", "auto", "--output", "r.csv"], "--address needs --on ray"),
        (
            ["--on", "ray", "--output", "r.csv", "--link-to", "sorted"],
            "--link-to does not go with --on ray; sort by the rows, when they are there",
        ),
        (
            ["--on", "ray", "--output", "r.csv", "--address", "127.0.0.1:9"],
            "--address 127.0.0.1:9: no Ray cluster can be reached there",
        ),
    ],
)
def test_the_command_line_refuses(
    options: list[str],
    message: str,
    bundle: Path,
    clock: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["classify", str(clock), "--model", str(bundle), *options]) == 2
    assert capsys.readouterr() == ("", f"pretrained-cnn: {message}\n")
    assert list(tmp_path.iterdir()) == [], "a wrong call leaves nothing behind"


# On a cluster


class Nodes:
    """A cluster of two nodes on this machine, with files, ports and an address of its own."""

    def __init__(self, cores: int) -> None:
        self.node = {"num_cpus": cores, "object_store_memory": 200 * 1024**2}
        self.cluster = Cluster()
        try:
            self.cluster.add_node(**self.node, include_dashboard=False)
            self.add_second()
            ray.init(self.cluster.address, log_to_driver=False, logging_level="ERROR")
        except BaseException:
            self.close()
            raise
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_consecutive_actor_init_deaths = 3  # a node may go while an actor starts on it

    def add_second(self) -> None:
        self.second = self.cluster.add_node(**self.node)

    def workers(self) -> list[int]:
        """The processes of the actors that classify."""
        found = []
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # one that ends meanwhile classifies no more
                if child.name().startswith("ray::Map"):
                    found.append(child.pid)
        return found

    def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.02)

    def close(self) -> None:
        ray.shutdown()
        self.cluster.shutdown()


@pytest.fixture(scope="module")
def short_folder() -> Iterator[str]:
    """Ray puts sockets into it, and the path of one may have 107 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.fixture(scope="module")
def nodes(short_folder: str) -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", short_folder)
        made = Nodes(1)
        yield made
        made.close()


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["nothing", "a worker killed", "a node removed"])
def test_two_nodes_give_the_rows_of_the_local_stream(
    harm: str, nodes: Nodes, bundle: Path, images: list[str], expected: list[dict[str, Any]]
) -> None:
    dataset = ray.data.from_items([{"path": path} for path in images], override_num_blocks=40)
    found: list[dict[str, Any]] = []
    result = classify(dataset, bundle, top=2, column="path", concurrency=2)
    assert result.schema().base_schema == to_arrow(expected).schema
    for table in result.iter_batches(batch_format="pyarrow", batch_size=None):
        if not found and harm != "nothing":
            nodes.wait(lambda: len(nodes.workers()) == 2)
            before = nodes.workers()
            if harm == "a worker killed":
                os.kill(before[0], signal.SIGKILL)
            else:
                nodes.cluster.remove_node(nodes.second, allow_graceful=False)
            nodes.wait(lambda: not set(before) <= set(nodes.workers()))  # noqa: B023 - called at once
        found += table.to_pylist()
    assert sorted(found, key=lambda row: (row["source"], row["rank"])) == expected
    if harm == "a node removed":
        nodes.add_second()


@pytest.mark.slow
def test_any_images_have_the_same_rows_with_and_without_ray(nodes: Nodes, bundle: Path) -> None:
    clf = Classifier.load(bundle)

    @settings(deadline=None, max_examples=5)
    @given(images=batches, top=st.integers(1, 3), arrays=st.booleans())
    def check(images: list[tuple[str, Any]], top: int, arrays: bool) -> None:
        if arrays:
            images = [(name, np.full((len(data) + 2, 7, 3), 3 * len(name), np.uint8)) for name, data in images]
        dataset = ray.data.from_items([{"path": name, "pixels": image} for name, image in images])
        result = classify(dataset, bundle, top=top, column="pixels")
        expected = local_rows(clf, images, top)
        found = result.take_all()
        assert result.schema().base_schema == to_arrow([]).schema
        assert sorted(map(without_score, found)) == sorted(map(without_score, expected))
        np.testing.assert_allclose(sorted(scores(found)), sorted(scores(expected)), atol=1e-6, rtol=0)

    check()


def without_score(row: dict[str, Any]) -> str:
    return repr({**row, "score": None})


@pytest.mark.slow
def test_what_rays_readers_give(nodes: Nodes, bundle: Path, images: list[str]) -> None:
    some = images[:3] + images[4:20]
    clf = Classifier.load(bundle)
    expected = local_rows(clf, [(path, path) for path in some], 1)
    for dataset, column in (
        (ray.data.read_binary_files(some, include_paths=True), "bytes"),
        (ray.data.read_images(some, include_paths=True), "image"),
    ):
        found = classify(dataset, bundle, top=1, column=column).take_all()
        assert sorted(map(without_score, found)) == sorted(map(without_score, expected))
    dataset = ray.data.from_items([{"path": path} for path in images[:5]])
    with pytest.raises(ray.exceptions.RayTaskError, match=r"ImageError: .*0003\.png"):
        classify(dataset, bundle, column="path", errors="raise").take_all()


@pytest.mark.slow
def test_embeddings(nodes: Nodes, tmp_path: Path, images: list[str]) -> None:
    clf = Classifier("MobileNet", alpha=0.25, weights=None, input_size=(64, 64))
    clf.save(tmp_path / "embedding.bundle", format="openvino", output="embedding")
    dataset = ray.data.from_items([{"path": path} for path in images[:10]])
    result = embed(dataset, tmp_path / "embedding.bundle", column="path")
    found = sorted(result.take_all(), key=lambda row: row["source"])
    assert [row["source"] for row in found] == images[:10]
    assert [row["source"] for row in found if row["embedding"] is None] == [images[3]]
    assert found[3]["error"].startswith("this is not an image")
    good = images[:3] + images[4:10]
    vectors = np.stack([row["embedding"] for row in found if row["error"] is None])
    assert result.schema().base_schema.field("embedding").type == pa.list_(pa.float32(), 256)
    np.testing.assert_allclose(vectors, clf.embed(good), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_the_example_of_the_page(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    page = ROOT.joinpath("docs/how-to/clusters.md").read_text("utf-8")
    program = page.split("```py\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(program, names)
    assert {Path(source).stem: label for source, label in names["found"].items()} == {
        "balloon": "balloon",
        "candle": "candle",
        "clock": "analog_clock",
        "hourglass": "hourglass",
        "soccer_ball": "soccer_ball",
        "umbrella": "umbrella",
    }


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "pretrained_cnn", "classify", "--on", "ray", *map(str, arguments)]


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_with_the_files_that_are_missing(
    nodes: Nodes, bundle: Path, images: list[str], expected: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder, path = Path(images[0]).parent, tmp_path / "r.parquet"
    options = ["--model", bundle, "--output", path, "--top", 2, "--shard", 100, "--address", nodes.cluster.address]
    run = command(*[folder] * 4, *options)
    begun = subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not list(path.glob("0*")) and begun.poll() is None:
        time.sleep(0.02)
    begun.kill()
    begun.communicate()
    there = {file: file.stat().st_mtime_ns for file in path.glob("0*")}
    assert 0 < len(there) < 80, "killed in the middle"
    done = subprocess.run([*run, "--resume"], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (1, ""), "1, for there are broken images"
    assert f"8,000 images are in {path}, {100 * len(there):,} of them from before: 400 failed" in done.stderr
    assert {file: file.stat().st_mtime_ns for file in there} == there
    assert [row for file in sorted(path.glob("0*")) for row in read_file(file)] == expected * 4
    assert pa.dataset.dataset(path).schema.remove_metadata() == to_arrow([]).schema, "one data set to other programs"


@pytest.mark.slow
def test_a_cluster_of_ones_own(bundle: Path, tmp_path: Path, short_folder: str) -> None:
    draw(tmp_path / "few", 40, 4)
    (tmp_path / "few" / "film.mp4").touch()
    options = ["--model", bundle, "--min-score", "0.2", "--output"]
    environment = {**os.environ, "RAY_TMPDIR": short_folder}
    run = command("few", tmp_path / "no.png", *options, "r.csv", "--shard", 25)
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (1, "")
    skipped, line = done.stderr.splitlines()
    assert skipped == "pretrained-cnn: few: 1 file was skipped: .mp4"
    assert re.match(r"pretrained-cnn: 41 images are in r\.csv: 5 failed, \d+ uncertain, 1 file skipped; ", line)
    here = [part for part in run if part not in ("--on", "ray", "--shard", "25")]
    subprocess.run(["whole.csv" if part == "r.csv" else part for part in here], cwd=tmp_path, check=False, timeout=300)
    rows_ = [file.read_bytes() for file in sorted(tmp_path.glob("r.csv/0*"))]
    assert b",uncertain,," in rows_[0]
    assert len(rows_) == 2
    assert rows_[0] + rows_[1].removeprefix(Csv(RESULTS).header) == (tmp_path / "whole.csv").read_bytes()
