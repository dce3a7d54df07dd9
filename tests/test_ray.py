"""Ray Data: on two nodes the rows of the local stream, whatever dies, and from the command line the same files."""

from __future__ import annotations

import importlib
import io
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
import ray
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from ray.cluster_utils import Cluster
from waking import wake

from pretrained_cnn import (
    Classifier,
    ImageError,
    InvalidSpecError,
    MissingDependencyError,
    UnknownModelError,
    get_spec,
    register,
)
from pretrained_cnn.integrations.ray import BatchClassifier, BatchEmbedder, classify, embed
from pretrained_cnn.tables import key, rows, to_arrow

# Ray's own: a new DataContext sets settings that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")

PICTURES, BROKEN = 2_000, 100


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that tells pictures apart, in a format for which no worker imports TensorFlow."""
    clf = Classifier("MobileNet", alpha=0.25, weights=None, input_size=(64, 64))
    wake(clf.keras_model, np.random.default_rng(0).uniform(-1, 1, (16, 64, 64, 3)).astype(np.float32))
    path = tmp_path_factory.mktemp("network") / "small.bundle"
    clf.save(path, format="openvino")
    return path


def draw(folder: Path, pictures: int, broken: int) -> list[str]:
    """Small pictures, each another, evenly mixed with broken ones. Their paths, in order."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(pictures):
        path = folder / f"{number:04}.png"
        if number % (pictures // broken) == 3:
            path.write_bytes(b"no picture" if number % 2 else path.with_name("0000.png").read_bytes()[:90])
        else:
            pixels = generator.integers(0, 256, (3, 4, 3)).astype(np.uint8)
            Image.fromarray(pixels).resize((50, 40), Image.Resampling.BICUBIC).save(path, compress_level=1)
    return sorted(map(str, folder.iterdir()))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return draw(tmp_path_factory.mktemp("drawn") / "pictures", PICTURES, BROKEN)


@pytest.fixture(scope="module")
def expected(bundle: Path, pictures: list[str]) -> list[dict[str, Any]]:
    """The rows of the local stream."""
    found = [row for result in Classifier.load(bundle).stream(pictures, top=2) for row in rows(result)]
    assert len(found) == 2 * (PICTURES - BROKEN) + BROKEN
    assert len({row["label"] for row in found}) > 50, "the network tells pictures apart"
    return found


# Without a cluster


class Recorder:
    """In a dataset's place: what it is asked for."""

    def map_batches(self, kind: type, **arguments: Any) -> dict[str, Any]:
        return {"kind": kind, **arguments}


def asked(function: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = function(Recorder(), *arguments, **options)
    return found


def test_what_ray_is_asked_for(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle.parent)
    made = asked(classify, "./small.bundle", runtime="openvino", top=2, batch_size=4, num_cpus=3, num_gpus=0.5)
    assert made["fn_constructor_args"] == (str(bundle),), "a worker has another working directory"
    assert (made["kind"], made["batch_size"], made["num_cpus"], made["num_gpus"]) == (BatchClassifier, 32, 3, 0.5)
    assert (made["compute"].min_size, made["compute"].max_size) == (1, float("inf"))
    assert made["fn_constructor_kwargs"] == {
        "runtime": "openvino", "top": 2, "batch_size": 4, "column": "bytes", "errors": "return", "workers": 3
    }  # fmt: skip
    made = asked(embed, bundle, layer="relu", concurrency=4, column="image", errors="raise")
    assert (made["kind"], made["batch_size"], made["compute"].min_size, made["compute"].max_size) == (
        BatchEmbedder, 128, 4, 4
    )  # fmt: skip
    assert asked(classify, bundle, concurrency=(2, 5))["compute"].max_size == 5


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
    with pytest.raises(InvalidSpecError, match='errors=\'ignore\' is not known; choose "raise" or "return"'):
        asked(embed, "Xception", errors="ignore")


def test_columns(bundle: Path) -> None:
    name = BatchClassifier(bundle)
    with pytest.raises(InvalidSpecError, match="column='bytes' is not in the dataset, which has image, path"):
        name({"image": np.zeros((1, 8, 8, 3), np.uint8), "path": np.array(["a"])})
    with pytest.raises(
        InvalidSpecError,
        match="the pictures of column='bytes' have no names: read them with include_paths=True, or rename a column to "
        "'path'",
    ):
        name({"bytes": np.array([b"a"], object)})
    assert BatchClassifier(bundle, column="item")({"item": np.array(["no.png"])})["source"].to_pylist() == ["no.png"]
    with pytest.raises(ImageError, match=r"no\.png: there is no such file"):
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


def local_rows(clf: Classifier, pictures: list[tuple[str, Any]], top: int) -> list[dict[str, Any]]:
    """The rows of the local stream; a name that no table can hold is written out."""
    found = [row for result in clf.stream(pictures, top=top) for row in rows(result)]
    return [{**row, "source": key(row["source"])} for row in found]


def test_a_batch_has_the_rows_and_the_schema_of_the_local_stream(bundle: Path) -> None:
    clf = Classifier.load(bundle)
    in_batches = {top: BatchClassifier(bundle, top=top) for top in (1, 3)}

    @settings(deadline=None, max_examples=40)
    @given(pictures=batches, top=st.sampled_from([1, 3]))
    def check(pictures: list[tuple[str, bytes]], top: int) -> None:
        paths, contents = zip(*pictures, strict=True)
        table = in_batches[top]({"path": np.array(paths, object), "bytes": np.array(contents, object)})
        expected = local_rows(clf, pictures, top)
        assert table.schema == to_arrow(expected).schema == to_arrow([]).schema
        assert table.to_pylist() == expected

    check()


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
        ray.data.DataContext.get_current().enable_progress_bars = False

    def add_second(self) -> None:
        self.second = self.cluster.add_node(**self.node)

    def workers(self) -> list[int]:
        """The processes of the actors that classify."""
        children = psutil.Process().children(recursive=True)
        return [child.pid for child in children if child.name().startswith("ray::Map")]

    def close(self) -> None:
        ray.shutdown()
        self.cluster.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    folder = tempfile.mkdtemp(dir="/tmp")  # a socket's path may have 107 bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)
        made = Nodes(1)
        yield made
        made.close()
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["nothing", "a worker killed", "a node removed"])
def test_two_nodes_give_the_rows_of_the_local_stream(
    harm: str, nodes: Nodes, bundle: Path, pictures: list[str], expected: list[dict[str, Any]]
) -> None:
    dataset = ray.data.from_items([{"path": path} for path in pictures], override_num_blocks=40)
    found: list[dict[str, Any]] = []
    workers: set[int] = set()
    result = classify(dataset, bundle, top=2, column="path", concurrency=2)
    assert result.schema().base_schema == to_arrow(expected).schema
    for table in result.iter_batches(batch_format="pyarrow", batch_size=None):
        workers.update(nodes.workers())
        if not found and harm == "a worker killed":
            os.kill(nodes.workers()[0], signal.SIGKILL)
        if not found and harm == "a node removed":
            nodes.cluster.remove_node(nodes.second, allow_graceful=False)
        found += table.to_pylist()
    assert (len(workers) == 2) == (harm == "nothing"), "another worker had to go on"
    assert sorted(found, key=lambda row: (row["source"], row["rank"])) == expected
    if harm == "a node removed":
        nodes.add_second()


@pytest.mark.slow
def test_any_pictures_have_the_same_rows_with_and_without_ray(nodes: Nodes, bundle: Path) -> None:
    clf = Classifier.load(bundle)

    @settings(deadline=None, max_examples=5)
    @given(pictures=batches, top=st.integers(1, 3), arrays=st.booleans())
    def check(pictures: list[tuple[str, Any]], top: int, arrays: bool) -> None:
        if arrays:
            pictures = [(name, np.full((len(data) + 2, 7, 3), 3 * len(name), np.uint8)) for name, data in pictures]
        dataset = ray.data.from_items([{"path": name, "pixels": picture} for name, picture in pictures])
        result = classify(dataset, bundle, top=top, column="pixels")
        expected = local_rows(clf, pictures, top)
        found = result.take_all()
        assert result.schema().base_schema == to_arrow([]).schema
        assert sorted(map(without_score, found)) == sorted(map(without_score, expected))
        np.testing.assert_allclose(sorted(scores(found)), sorted(scores(expected)), atol=1e-6, rtol=0)

    check()


def without_score(row: dict[str, Any]) -> str:
    return repr({**row, "score": None})


@pytest.mark.slow
def test_what_rays_readers_give(nodes: Nodes, bundle: Path, pictures: list[str]) -> None:
    some = pictures[:3] + pictures[4:20]
    clf = Classifier.load(bundle)
    expected = local_rows(clf, [(path, path) for path in some], 1)
    for dataset, column in (
        (ray.data.read_binary_files(some, include_paths=True), "bytes"),
        (ray.data.read_images(some, include_paths=True), "image"),
    ):
        found = classify(dataset, bundle, top=1, column=column).take_all()
        assert sorted(map(without_score, found)) == sorted(map(without_score, expected))
    dataset = ray.data.from_items([{"path": path} for path in pictures[:5]])
    with pytest.raises(ray.exceptions.RayTaskError, match=r"ImageError: .*0003\.png"):
        classify(dataset, bundle, column="path", errors="raise").take_all()


@pytest.mark.slow
def test_embeddings(nodes: Nodes, tmp_path: Path, pictures: list[str]) -> None:
    clf = Classifier("MobileNet", alpha=0.25, weights=None, input_size=(64, 64))
    clf.save(tmp_path / "embedding.bundle", format="openvino", output="embedding")
    dataset = ray.data.from_items([{"path": path} for path in pictures[:10]])
    result = embed(dataset, tmp_path / "embedding.bundle", column="path")
    found = sorted(result.take_all(), key=lambda row: row["source"])
    assert [row["source"] for row in found] == pictures[:10]
    assert [row["source"] for row in found if row["embedding"] is None] == [pictures[3]]
    assert found[3]["error"].startswith("this is not a picture")
    good = pictures[:3] + pictures[4:10]
    vectors = np.stack([row["embedding"] for row in found if row["error"] is None])
    assert result.schema().base_schema.field("embedding").type == pa.list_(pa.float32(), 256)
    np.testing.assert_allclose(vectors, clf.embed(good), atol=1e-4, rtol=0)
