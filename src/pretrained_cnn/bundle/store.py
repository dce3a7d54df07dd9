"""Bundles on disk: written completely or not at all, and used only after each byte was checked."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import hashlib
import io
import json
import os
import platform
import re
import secrets
import shutil
import tempfile
import time
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn._check import number
from pretrained_cnn._files import POINTER, is_lfs_pointer, is_path, sha256
from pretrained_cnn._process import import_keras, is_running, need_eager
from pretrained_cnn._version import __version__
from pretrained_cnn.bundle.description import describe
from pretrained_cnn.bundle.formats import Dtype, Format, get_format
from pretrained_cnn.bundle.manifest import NAME, ExportCheck, FileInfo, Kind, Manifest
from pretrained_cnn.errors import BundleError, InvalidArgumentError, InvalidSpecError
from pretrained_cnn.identity import installed_versions
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.runtimes import Runtime, RuntimeSpec, get_runtime, runtime_for
from pretrained_cnn.runtimes.adapted import AdaptedRuntime, Adapter
from pretrained_cnn.runtimes.head import Head, WithHead
from pretrained_cnn.scores import EXACT, NOT_FINITE, ROUGH, finite, probes, problem
from pretrained_cnn.spec import ModelSpec, Output, Published, ResizePolicy

if TYPE_CHECKING:
    import keras

LABELS, CHECK, CARD, CALIBRATION = "labels.json", "check.npz", "README.md", "calibration.npz"
HEAD, SEEN, TRAINING = "head.npz", "trained_on.npz", "training.json"

DIGEST_BYTES = 8
"""Bytes of the SHA-256 of each image that a bundle was trained on."""

TOLERANCE: dict[Dtype, float] = {"float32": 1e-4, "float16": 0.05, "int8": 0.01}
"""Maximum difference of a score from the network's own. With 8 bits, only the difference up to which two classes count
as a tie.
"""

MIN_AGREEMENT: dict[Dtype, float] = {"float32": 1.0, "float16": 1.0, "int8": 0.95}
"""The share of images that must keep their best class."""

HELD_BACK = 5
"""One in this many of the calibration images is held back to check the quantized model."""

KEPT = ("name", "input_size", "embedding_size", "parameters", "license", "source")
"""Fields of a spec that a manifest has as they are."""

MAX_MANIFEST_BYTES = 16 * 2**20

LEFT_SECONDS = 24 * 3600
"""Nothing is written for so long: an unfinished bundle of another machine that did not change since is left over."""


@dataclass(frozen=True)
class Bundle:
    """A bundle that was found whole."""

    path: Path
    manifest: Manifest
    spec: ModelSpec
    """Without a builder and a preprocess function: both are in the model."""
    image_policy: ImagePolicy
    """The image policy of the saved classifier."""
    head: Head | None = None
    """What gives the scores, of the embedding that the model gives; None if the model gives all outputs itself."""

    keeper: object = None
    """What removes a temporary folder once no bundle refers to it."""

    @property
    def format(self) -> Format:
        """The format of the model."""
        return get_format(self.manifest.format)

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The names of the outputs."""
        return tuple(cast("Output", name) for name in self.manifest.outputs)

    @property
    def model_path(self) -> Path:
        """What a runtime of the bundle's format is made from."""
        return self.path / self.format.file

    @property
    def adapter(self) -> Adapter | None:
        """Through which a graph runs that this library did not write; None for a serving graph."""
        found = self.manifest.adapter
        return None if found is None else Adapter.from_dict(found)

    @property
    def sums_within(self) -> float:
        """How far the probabilities of one image may sum from 1. Of integers, each may be off by half a step."""
        source = None if self.adapter is None or self.head is not None else self.adapter.outputs.get("scores")
        if source is not None and source.function is None and source.quantization is not None:
            return ROUGH + self.width("scores") * source.quantization[0] / 2
        return EXACT if self.manifest.dtype == "float32" else ROUGH

    def width(self, output: Output) -> int:
        """``D`` of an output ``(N, D)``."""
        return int(self.manifest.outputs[output][-1] or 0)

    def open(
        self,
        runtime: RuntimeSpec | None = None,
        outputs: Sequence[Output] | None = None,
        precision: str = "float32",
        *,
        threads: int | None = None,
    ) -> Runtime:
        """A runtime that executes the bundle's format, made from its model, for some of its outputs, by default all.

        It computes in ``precision``, with ``threads`` threads or as many as it chooses. Raises BundleError if the
        runtime cannot load the model, InvalidArgumentError if it does not compute so here.
        """
        runtime = runtime or runtime_for(self.manifest.format)
        if self.manifest.format not in (runtime.format, *runtime.reads):
            way_out = "" if self.adapter else ', or save the classifier with format="keras", which every runtime takes'
            raise BundleError(
                f"{self.spec.name if self.adapter else self.path} is of format={self.manifest.format!r}, which "
                f"runtime={runtime.name!r} does not execute; leave runtime out{way_out}"
            )
        runtime.require()
        runtime.check_precision(precision)
        runtime.check_threads(threads)
        names = list(self.outputs if outputs is None else outputs)
        if self.head is not None:
            model = dataclasses.replace(self, head=None)
            embedding = model.open(runtime, ["embedding"], precision, threads=threads)
            return WithHead(embedding, self.head, names)
        if self.manifest.format == "keras":
            return runtime.open(self.load_graph(), names, precision=precision, threads=threads)
        adapter = self.adapter
        try:
            if adapter is None:
                return runtime.open(self.model_path, names, precision=precision, threads=threads)
            places = [adapter.outputs[name].place for name in names]
            inner = runtime.open(self.model_path, places, precision=precision, threads=threads)
            return AdaptedRuntime(inner, adapter, names)
        except Exception as error:  # each runtime raises its own
            raise BundleError(f"{self.model_path} cannot be loaded by {runtime.name}: {_brief(error)}") from error

    def temporary(self) -> Bundle:
        """The same bundle, whose folder is removed when nothing refers to it anymore, or the process ends."""
        keeper = _Keeper()
        weakref.finalize(keeper, _remove, self.path, os.getpid())
        return dataclasses.replace(self, keeper=keeper)

    @property
    def is_temporary(self) -> bool:
        """Whether the folder is removed when nothing refers to it anymore."""
        return self.keeper is not None

    def content(self) -> dict[str, bytes]:
        """The bytes of each file, by its name; `unpack` writes them elsewhere."""
        return {name: (self.path / name).read_bytes() for name in _files(self.path)}

    def with_head(self, head: Head, spec: ModelSpec) -> Bundle:
        """The same model, with ``head`` in place of what gave its scores: the classifier that ``spec`` describes.

        What `path` holds stays as it is. The bundle is not calibrated.
        """
        width, classes = head.widths
        outputs: dict[str, list[int | None]] = {"scores": [None, classes], "embedding": [None, width]}
        thresholds = list(spec.thresholds) if spec.multi_label else None
        manifest = dataclasses.replace(
            self.manifest, outputs=outputs, calibration=None, kind=_kind(spec), thresholds=thresholds
        )
        return dataclasses.replace(self, manifest=manifest, spec=spec, head=head)

    def digest(self) -> str:
        """The SHA-256 of all that its answers depend on, in hexadecimal: of the manifest, and of a head in memory."""
        found = hashlib.sha256(self.manifest.to_text().encode())
        for array in () if self.head is None else self.head.to_arrays().values():
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    def model_checksums(self) -> list[tuple[str, str]]:
        """The path and the SHA-256 of each file of the model, which determine its outputs except those of a head."""
        files = self.manifest.files
        return [
            (name, files[name].sha256)
            for name in sorted(files.keys() - {LABELS, CHECK, CARD, CALIBRATION, HEAD, SEEN, TRAINING})
        ]

    def calibration(self) -> dict[str, NDArray[Any]] | None:
        """The arrays that the classifier was calibrated with, by name; None for one that is not calibrated."""
        if self.manifest.calibration is None:
            return None
        return _read_listed(self.path / CALIBRATION, self.manifest.calibration)

    def trained_on(self) -> frozenset[bytes]:
        """The first `DIGEST_BYTES` of the SHA-256 of each image that was trained on; empty if that is not known."""
        if SEEN not in self.manifest.files:
            return frozenset()
        digests = _read_arrays(self.path / SEEN).get("sha256")
        if digests is None or digests.dtype != np.uint8 or digests.shape[1:] != (DIGEST_BYTES,):
            raise BundleError(f"{self.path / SEEN} does not hold the digests of images")
        return frozenset(row.tobytes() for row in digests)

    def training(self) -> dict[str, Any] | None:
        """What `TRAINING` says of the training; None if it is not there."""
        if TRAINING not in self.manifest.files:
            return None
        found: dict[str, Any] = json.loads((self.path / TRAINING).read_text("utf-8"))
        return found

    def load_graph(self) -> keras.Model:
        """The serving graph of a bundle of format ``"keras"``. Code in the file, such as a lambda's, is not run."""
        keras = import_keras()
        need_eager()
        try:
            return keras.saving.load_model(self.model_path, compile=False, safe_mode=True)
        except Exception as error:  # Keras raises whatever its layers do
            raise BundleError(
                f"{self.model_path} cannot be loaded by Keras: {_innermost(error)} Layers of your own must be imported "
                "before, and registered with keras.saving.register_keras_serializable"
            ) from error


class _Keeper:
    """Lives as long as the bundles of a temporary folder."""


def _remove(folder: Path, process: int) -> None:
    """Remove a temporary folder, in the process that made it and in no fork of it."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def write_bundle(
    path: Path,
    graph: keras.Model,
    spec: ModelSpec,
    image_policy: ImagePolicy,
    *,
    format: str,
    dtype: Dtype = "float32",
    images: NDArray[np.uint8] | None = None,
    min_agreement: float | None = None,
    calibration: Mapping[str, NDArray[Any]] | None = None,
    trained_on: Collection[bytes] = (),
    texts: Mapping[str, str] | None = None,
    overwrite: bool = False,
    sums_within: float | None = EXACT,
) -> ExportCheck:
    """Write a serving graph as a bundle to ``path``, and load it again to see that it agrees.

    The bundle gives the outputs of ``graph``, by name. ``images``, uint8 ``(N, H, W, C)``, are for ``dtype="int8"``: a
    fifth of them is held back, and judges the result. ``min_agreement`` is the share of images, 0 to 1, that must keep
    their best class; ``calibration`` holds arrays that are kept with the model, ``trained_on`` the SHA-256 of images,
    ``texts`` the content of files, by name.
    ``overwrite`` replaces a bundle.
    ``sums_within`` is how far the probabilities of one image may sum from 1, None for scores of any kind.

    Raises InvalidSpecError for outputs that are not finite or not what the spec says; BundleError, and leaves
    nothing behind, if the model does not agree, cannot be written, or ``path`` exists.
    """
    from pretrained_cnn.bundle.export import export

    kind_of_file = get_format(format)
    kind_of_file.require(dtype)
    runtime = runtime_for(format)
    runtime.require()
    asked = MIN_AGREEMENT[dtype]
    if min_agreement is not None:
        asked = number("min_agreement", min_agreement, least=0, most=1)
    if "scores" in graph.output and not spec.labels:
        raise InvalidArgumentError(
            f"{spec.name} has a decode function of its own, and a bundle holds no code; give labels=[...] in its place"
        )
    check_free(path, overwrite=overwrite)
    given, judges = (None, probes(spec.input_size, spec.channels)) if images is None else _split(images)
    names = list(graph.output)
    expected = _run(get_runtime("keras").factory(graph, names), judges)
    _judge(spec, names, expected, sums_within)
    with _made_whole(path, overwrite=overwrite) as folder:
        export(graph, folder, format=kind_of_file, spec=spec, dtype=dtype, images=given)
        _write_labels(folder, spec, {name: output.shape[1] for name, output in zip(names, expected, strict=True)})
        kept = {name: output[:16] for name, output in zip(names, expected, strict=True)}
        _write_arrays(folder / CHECK, {"images": judges[:16], **kept})
        if calibration is not None:
            _write_arrays(folder / CALIBRATION, calibration)
        _write_digests(folder, trained_on)
        for name, text in (texts or {}).items():
            _write_text(folder / name, text)
        manifest = _manifest(
            folder,
            spec,
            image_policy,
            format=format,
            dtype=dtype,
            outputs={name: output.shape[1] for name, output in zip(names, expected, strict=True)},
            min_agreement=asked,
            calibration=None if calibration is None else _shapes(calibration),
        )
        _write_text(folder / NAME, manifest.to_text())
        written = open_bundle(folder)
        found = _run(written.open(runtime), judges)
        check = compare(expected, found, manifest)
        if not agrees(check, manifest):
            low, high = check.loss_interval
            raise BundleError(
                f"{spec.name} in format={format!r} with dtype={dtype!r} does not agree with the network, and "
                f"was not saved: of {check.images} images {check.same_top1:.1%} keep their best class (of all images "
                f"{1 - high:.1%} to {1 - low:.1%}), and the largest difference of a score is "
                f"{check.largest_difference:.2g}; expected are {asked:.1%} and {manifest.tolerance:g}"
                f"{'; accept less with save(..., min_agreement=...)' if dtype == 'int8' else ''}"
            )
        stored = EXACT if dtype == "float32" else ROUGH
        _judge(spec, names, found, None if sums_within is None else max(sums_within, stored))
        manifest = dataclasses.replace(manifest, check=dataclasses.asdict(check))
        _write_text(folder / NAME, manifest.to_text())
    return check


def _manifest(
    folder: Path,
    spec: ModelSpec,
    image_policy: ImagePolicy,
    *,
    format: str,
    dtype: Dtype,
    outputs: Mapping[str, int],
    min_agreement: float,
    calibration: dict[str, list[int]] | None = None,
    adapter: Adapter | None = None,
) -> Manifest:
    """The manifest of what lies in ``folder``; ``outputs`` are the widths by name."""
    return Manifest(
        format=format,
        dtype=dtype,
        input_shape=[None, *spec.input_size, spec.channels],
        channels=spec.channels,
        outputs={name: [None, width] for name, width in outputs.items()},
        kind=_kind(spec),
        thresholds=list(spec.thresholds) if spec.multi_label else None,
        calibration=calibration,
        head=None,
        spec=_describe(spec),
        license=spec.license,
        image_policy=image_policy.to_dict(),
        tolerance=TOLERANCE[dtype],
        min_agreement=min_agreement,
        check=None,
        library=__version__,
        versions={package: v for package, v in installed_versions().items() if package != "pretrained-cnn"},
        adapter=None if adapter is None else adapter.to_dict(),
        files={name: _file_info(folder / name) for name in _files(folder)},
    )


def complete(
    folder: Path,
    spec: ModelSpec,
    image_policy: ImagePolicy,
    *,
    format: str,
    dtype: Dtype,
    outputs: Mapping[str, int],
    adapter: Adapter | None,
) -> tuple[NDArray[np.float32], ...]:
    """Make a bundle of a folder in which a foreign model lies as ``format`` names it.

    ``outputs`` are the widths by name. Gives what the model answers to `probes`, for each output an array.
    """
    facts: dict[str, Any] = {"format": format, "dtype": dtype, "outputs": outputs, "adapter": adapter}
    facts["min_agreement"] = MIN_AGREEMENT[dtype]
    _write_labels(folder, spec, outputs, adapter)
    bundle = Bundle(folder, _manifest(folder, spec, image_policy, **facts), spec, image_policy)
    images = probes(spec.input_size, spec.channels)
    runtime = bundle.open()
    try:
        found = _run(runtime, images)
    finally:
        runtime.close()
    _write_arrays(folder / CHECK, {"images": images, **dict(zip(outputs, found, strict=True))})
    check = ExportCheck(images=len(images), same_top1=1.0, largest_difference=0.0)
    manifest = dataclasses.replace(_manifest(folder, spec, image_policy, **facts), check=dataclasses.asdict(check))
    _write_text(folder / NAME, manifest.to_text())
    return found


def write_calibrated(
    bundle: Bundle, path: Path, calibration: Mapping[str, NDArray[Any]], *, overwrite: bool = False
) -> ExportCheck:
    """Write a copy of a bundle to ``path`` with another calibration; everything else stays byte for byte.

    Raises BundleError, and leaves nothing behind, if ``path`` exists or cannot be written.
    """
    check_free(path, overwrite=overwrite)
    with _made_whole(path, overwrite=overwrite) as folder:
        for name in bundle.manifest.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path / name, folder / name)
        _write_arrays(folder / CALIBRATION, calibration)
        files = {name: _file_info(folder / name) for name in _files(folder)}
        manifest = dataclasses.replace(bundle.manifest, calibration=_shapes(calibration), files=files)
        _write_text(folder / NAME, manifest.to_text())
        open_bundle(folder)
    return ExportCheck(**(bundle.manifest.check or {}))


def write_copy(
    path: Path,
    bundle: Bundle,
    image_policy: ImagePolicy,
    *,
    format: str | None = None,
    calibration: Mapping[str, NDArray[Any]] | None = None,
    trained_on: Collection[bytes] = (),
    texts: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> ExportCheck:
    """Write ``bundle``, whose model need not be in Keras, to ``path``, with the spec and the head that it has now.

    The model's files are copied byte by byte, or written in another ``format`` that takes them; the other arguments are
    those of `write_bundle`. Raises BundleError, and leaves nothing behind, if a file of the model has changed, cannot
    be written, or ``path`` exists, or if what was written gives other answers.
    """
    check_free(path, overwrite=overwrite)
    goal = get_format(format or bundle.manifest.format)
    if goal is not bundle.format:
        goal.require()
    images = _read_arrays(bundle.path / CHECK)["images"]
    with contextlib.closing(bundle.open()) as runtime:
        expected = _run(runtime, images)
    with _made_whole(path, overwrite=overwrite) as folder:
        for name, _ in bundle.model_checksums():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path / name, folder / name)
            _check_file(folder, name, bundle.manifest.files[name], follow_links=False)
        if goal is not bundle.format:
            try:
                goal.rewrite(folder / bundle.format.file, folder / goal.file)
            except Exception as error:  # each converter raises its own
                raise BundleError(
                    f"{bundle.spec.name} cannot be written in format={goal.name!r}: {_brief(error)}"
                ) from error
            (folder / bundle.format.file).unlink()
        widths: dict[str, int] = {name: bundle.width(name) for name in bundle.outputs}
        _write_labels(folder, bundle.spec, widths, bundle.adapter)
        _write_arrays(folder / CHECK, {"images": images, **dict(zip(bundle.outputs, expected, strict=True))})
        arrays = None if bundle.head is None else bundle.head.to_arrays()
        for file, kept in ((HEAD, arrays), (CALIBRATION, calibration)):
            if kept is not None:
                _write_arrays(folder / file, kept)
        _write_digests(folder, trained_on)
        for name, text in (texts or {}).items():
            _write_text(folder / name, text)
        manifest = dataclasses.replace(
            bundle.manifest,
            format=goal.name,
            kind=_kind(bundle.spec),
            thresholds=list(bundle.spec.thresholds) if bundle.spec.multi_label else None,
            calibration=None if calibration is None else _shapes(calibration),
            head=None if arrays is None else _shapes(arrays),
            spec=_describe(bundle.spec),
            license=bundle.spec.license,
            image_policy=image_policy.to_dict(),
            check=None,
            library=__version__,
            files={name: _file_info(folder / name) for name in _files(folder)},
        )
        _write_text(folder / NAME, manifest.to_text())
        with contextlib.closing(open_bundle(folder).open()) as runtime:
            check = compare(expected, _run(runtime, images), manifest)
        if not agrees(check, manifest):
            raise BundleError(
                f"{bundle.spec.name} gives other scores in format={goal.name!r}, by up to "
                f"{check.largest_difference:.2g}, and was not saved"
            )
        _write_text(folder / NAME, dataclasses.replace(manifest, check=dataclasses.asdict(check)).to_text())
    return check


def _write_labels(folder: Path, spec: ModelSpec, outputs: Mapping[str, int], adapter: Adapter | None = None) -> None:
    """What the model says of itself, its labels among it: a browser cannot read the metadata of a model's file."""
    _write_text(folder / LABELS, json.dumps(describe(spec, outputs, adapter), indent=1) + "\n")


def _write_digests(folder: Path, trained_on: Collection[bytes]) -> None:
    """Keep the beginning of the SHA-256 of each image that was trained on, if any are known."""
    if trained_on:
        short = b"".join(sorted(digest[:DIGEST_BYTES] for digest in trained_on))
        _write_arrays(folder / SEEN, {"sha256": np.frombuffer(short, np.uint8).reshape(-1, DIGEST_BYTES)})


def _shapes(arrays: Mapping[str, NDArray[Any]]) -> dict[str, list[int]]:
    return {name: list(array.shape) for name, array in arrays.items()}


def _judge(
    spec: ModelSpec, names: Sequence[str], outputs: Sequence[NDArray[np.float32]], sums_within: float | None
) -> None:
    """Raise InvalidSpecError for outputs that are not finite, and for scores that are not probabilities."""
    for name, output in zip(names, outputs, strict=True):
        fault = None if finite(output).all() else NOT_FINITE
        if fault is None and name == "scores" and sums_within is not None:
            fault = problem(output, multi_label=spec.multi_label, tolerance=sums_within)
        if fault is not None:
            raise InvalidSpecError(f"{spec.name} was not saved: {fault}")


def write_converted(
    path: Path, graph: keras.Model, spec: ModelSpec, format: str, images: NDArray[np.uint8] | None = None
) -> None:
    """Write a serving graph as a bundle for the cache of conversions, which keeps no labels or limits of a user's.

    With ``images``, uint8 ``(N, H, W, C)``, the bundle is quantized to int8.
    """
    width = max(output.shape[1] for output in graph.output.values())
    labeled = spec if spec.labels else spec.replace(labels=[str(i) for i in range(width)])
    dtype: Dtype = "float32" if images is None else "int8"
    # Scores are judged where they are used: a decode function of its own reads whatever it likes.
    write_bundle(path, graph, labeled, ImagePolicy(), format=format, dtype=dtype, images=images, sums_within=None)


def _split(images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The images to quantize by, and those that are held back to judge the result by."""
    if len(images) < HELD_BACK:
        raise InvalidArgumentError(
            f"quantize= has {len(images)} images; give at least {HELD_BACK}, better 300, of the kind to be classified"
        )
    held = np.arange(len(images)) % HELD_BACK == HELD_BACK - 1
    return images[~held], images[held]


def _kind(spec: ModelSpec) -> Kind:
    """What the scores of a spec mean."""
    return "multi_label" if spec.multi_label else "exclusive"


def format_of(path: Path) -> str:
    """The format of the bundle at ``path``, by its manifest alone. Raises BundleError as `open_bundle` does."""
    return Manifest.from_text(_read_manifest(path), str(path / NAME)).format


def open_bundle(path: Path, *, follow_links: bool = False) -> Bundle:
    """Read the manifest of the bundle at ``path``, and compare the SHA-256 of each of its files.

    Text may have the line ends of Windows, which git gives it there. With ``follow_links``, a file may be a link to one
    outside of the folder. Raises BundleError, which names the file, for one that is missing, changed, or outside of the
    bundle, for a manifest that is none or of a later release, and for a path that is no bundle.
    """
    manifest = Manifest.from_text(_read_manifest(path), str(path / NAME))
    for name, expected in manifest.files.items():
        _check_file(path, name, expected, follow_links=follow_links)
    try:
        model = get_format(manifest.format).file
    except InvalidArgumentError as error:
        raise BundleError(f"{path / NAME} is of a format that is not installed: {error}") from None
    inside = {name for name in manifest.files if name == model or name.startswith(f"{model}/")}
    if not inside or not {LABELS, CHECK} <= manifest.files.keys():
        raise BundleError(f"{path / NAME} does not list the files of a bundle of format={manifest.format!r}")
    if (path / model).is_dir():  # a runtime may read whatever lies there
        surplus = [name for name in _files(path) if name.startswith(f"{model}/") and name not in inside]
        if surplus:
            raise BundleError(f"{path / surplus[0]} is not in {NAME}; remove it, for the runtime might read it")
    return _read(path, manifest)


def unpack(content: Mapping[str, bytes]) -> Path:
    """A new temporary folder with the files that `Bundle.content` gave; it is the caller's to remove."""
    folder = Path(tempfile.mkdtemp(prefix="pretrained_cnn-"))
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def is_bundle(path: str | os.PathLike[str]) -> bool:
    """Whether a folder looks like a bundle. Nothing is checked."""
    return os.path.isfile(os.path.join(path, NAME))


def looks_like_bundle_path(model: str) -> bool:
    """Whether what a user calls the model is the path of a bundle, there or not, and no backbone's name."""
    return is_bundle(model) or is_path(model)


def verify(bundle: Bundle, runtime: Runtime) -> ExportCheck:
    """Run the images of ``check.npz``, and compare with the scores that are kept with them."""
    arrays = _read_arrays(bundle.path / CHECK)
    if not {"images", *bundle.outputs} <= arrays.keys():
        raise BundleError(f"{bundle.path / CHECK} does not hold images and {' and '.join(bundle.outputs)}")
    expected = tuple(arrays[name] for name in bundle.outputs)
    return compare(expected, _run(runtime, arrays["images"]), bundle.manifest)


def check_runtime(bundle: Bundle, runtime: RuntimeSpec) -> None:
    """Raise BundleError if a runtime that has another format than the bundle does not give its answers."""
    if runtime.format == bundle.manifest.format:
        return
    with contextlib.closing(bundle.open(runtime)) as opened:
        check = verify(bundle, opened)
    if not agrees(check, bundle.manifest):
        raise BundleError(
            f"runtime={runtime.name!r} gives other answers than {bundle.spec.name} gave before: of "
            f"{check.images} images the largest difference is {check.largest_difference:.2g}, and "
            f"{bundle.manifest.tolerance:g} is allowed; leave runtime out"
        )


def compare(
    expected: Sequence[NDArray[np.float32]], found: Sequence[NDArray[np.float32]], manifest: Manifest
) -> ExportCheck:
    """How well ``found`` agrees with ``expected``, for each output of the manifest an array ``(N, D)``."""
    names = list(manifest.outputs)
    shapes = [[output.shape for output in outputs] for outputs in (found, expected)]
    if shapes[0] != shapes[1]:
        raise BundleError(f"the model gives {shapes[0]} where the network gives {shapes[1]}")
    scales = [
        1.0 if name == "scores" else max(1.0, float(np.abs(y).max())) for name, y in zip(names, expected, strict=True)
    ]
    judge = names.index("scores") if "scores" in names else 0
    wanted, scale = expected[judge], scales[judge]
    best = np.take_along_axis(wanted, found[judge].argmax(axis=1)[:, np.newaxis], axis=1)[:, 0]
    return ExportCheck(
        images=len(wanted),
        same_top1=float((best >= wanted.max(axis=1) - manifest.tolerance * scale).mean()),
        largest_difference=max(
            float(np.abs(x - y).max()) / scale for x, y, scale in zip(found, expected, scales, strict=True)
        ),
    )


def agrees(check: ExportCheck, manifest: Manifest) -> bool:
    """Whether that is within what the bundle's dtype is allowed."""
    if not check.same_top1 >= manifest.min_agreement:
        return False
    return manifest.dtype == "int8" or check.largest_difference <= manifest.tolerance


def _run(runtime: Runtime, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
    """The first image alone and then several at once: a model must take both. An array for each output."""
    rows = [runtime.run(images[:1])]
    rows += [runtime.run(images[start : start + 16]) for start in range(1, len(images), 16)]
    return tuple(map(np.concatenate, zip(*rows, strict=True)))


def _write_text(file: Path, text: str) -> None:
    """Write text with Unix line ends, also on Windows."""
    file.write_text(text, "utf-8", newline="\n")


def _write_arrays(file: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the arrays for allow_pickle


def _read_arrays(file: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` file; none that holds Python objects is loaded."""
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    except (ValueError, KeyError, OSError) as error:
        raise BundleError(f"{file} holds no arrays that can be read: {error}") from error


def _read_listed(file: Path, shapes: Mapping[str, list[int]]) -> dict[str, NDArray[Any]]:
    """The arrays of a file, if they have the names and shapes that the manifest lists. Else raises BundleError."""
    arrays = _read_arrays(file)
    if _shapes(arrays) != shapes:
        raise BundleError(f"{file} does not hold the arrays that {NAME} lists")
    return arrays


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise BundleError unless a bundle may be written to ``path``, and can be, as far as that is known before."""
    if not os.path.lexists(path):
        above = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
        if not above.is_dir():
            raise BundleError(f"{path} cannot be written: {above} is a file and not a folder; choose another folder")
        if not os.access(above, os.W_OK | os.X_OK):
            raise BundleError(f"{path} cannot be written: nothing may be written to {above}; choose another folder")
        return
    if not overwrite:
        raise BundleError(f"{path} already exists; choose another name, or pass overwrite=True to replace it")
    if path.is_symlink() or not is_bundle(path):
        raise BundleError(f"{path} is not a bundle, so it is not replaced; choose another name, or remove it first")


@contextlib.contextmanager
def _made_whole(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder beside ``path`` that takes its name if all goes well, and is removed otherwise."""
    try:
        with scratch_beside(path) as scratch:
            folder, old = scratch / "new", scratch / "old"
            folder.mkdir()
            yield folder
            if overwrite and path.exists():
                os.rename(path, old)
            try:
                os.rename(folder, path)
            except OSError:
                if old.exists():
                    os.rename(old, path)
                raise
    except OSError as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{path} cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def scratch_beside(path: Path, mode: int = 0o777) -> Iterator[Path]:
    """A new, hidden folder on the disk of ``path``, removed in the end.

    Those of processes that were killed while they wrote ``path`` are removed first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name, machine = f".{path.name[:40]}.", hashlib.sha256(platform.node().encode()).hexdigest()[:6]
    for folder in path.parent.glob(f"{glob.escape(name)}*"):
        if folder not in _writing and _is_left(folder, folder.name.removeprefix(name), machine):
            shutil.rmtree(folder, ignore_errors=True)
    scratch = path.with_name(f"{name}{machine}.{os.getpid()}.{secrets.token_hex(8)}")
    _writing.add(scratch)
    try:
        scratch.mkdir(mode)  # not mkdtemp: its folders, and what is renamed out of them, are for one user alone
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        _writing.discard(scratch)


_writing: set[Path] = set()
"""The folders that threads of this process write. In a container, a killed process may have had the same number."""


def _is_left(folder: Path, name: str, machine: str) -> bool:
    """Whether nobody writes a folder anymore that `scratch_beside` made.

    A number tells a process only on its own machine, and a container is a new machine each time it starts. What another
    machine did not change for a day is taken as left.
    """
    found = re.fullmatch(r"([0-9a-f]{6})\.(\d+)\.[0-9a-f]{16}", name)
    if found is None:
        return False
    if found[1] == machine:
        process = int(found[2])
        return process == os.getpid() or not is_running(process)
    try:
        return time.time() - max(path.stat().st_mtime for path in (folder, *folder.iterdir())) > LEFT_SECONDS
    except OSError:  # it is gone
        return False


def _read_manifest(path: Path) -> str:
    file = path / NAME
    if not path.is_dir():
        problem = "is a file, and a bundle is a folder" if path.exists() else "does not exist"
        raise BundleError(f"{path} {problem}")
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_MANIFEST_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise BundleError(f"{path} is not a bundle: it has no {NAME}") from None
    except UnicodeDecodeError:
        raise BundleError(f"{file} is not the manifest of a bundle: it is not text") from None
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error.strerror}") from error
    if is_lfs_pointer(file):
        raise BundleError(f"{file} is {POINTER}")
    return text


def _check_file(path: Path, name: str, expected: FileInfo, *, follow_links: bool) -> None:
    """Raise BundleError unless ``name`` is a file within the bundle, and is the one that was written."""
    file = path / name
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name or not name:
        raise BundleError(f"{path / NAME} names {name!r}, which is not within the bundle")
    if not follow_links and not file.resolve().is_relative_to(path.resolve()):
        raise BundleError(
            f"{file} leads out of the bundle, to {file.resolve()}; if you trust what is there, such as the snapshot of "
            "a Hugging Face repository, pass follow_links=True"
        )
    try:
        found = FileInfo(bytes=file.stat().st_size, sha256="")
        if found.bytes >= expected.bytes:
            found = _file_info(file)
        if found == expected or (found.bytes != expected.bytes and _differs_in_line_ends(file, expected)):
            return
        pointer = is_lfs_pointer(file)
    except FileNotFoundError:
        raise BundleError(f"{file} is missing; copy the bundle again") from None
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error.strerror}") from error
    if pointer:
        raise BundleError(f"{file} is {POINTER}")
    if found.bytes < expected.bytes:
        raise BundleError(
            f"{file} was changed or cut: it has {found.bytes:,} of {expected.bytes:,} bytes; copy the bundle again"
        )
    raise BundleError(
        f"{file} was changed: it has {found.bytes:,} bytes with the SHA-256 {found.sha256}, "
        f"and {expected.bytes:,} bytes with {expected.sha256} were written; copy the bundle again"
    )


def _differs_in_line_ends(file: Path, expected: FileInfo) -> bool:
    """Whether a file is the text that is expected, with the line ends of another system."""
    data = file.read_bytes()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    unix = data.replace(b"\r\n", b"\n")
    return any(
        hashlib.sha256(text).hexdigest() == expected.sha256
        for text in (unix, unix.replace(b"\n", b"\r\n"))
        if len(text) == expected.bytes
    )


def _describe(spec: ModelSpec) -> dict[str, Any]:
    kept = {key: getattr(spec, key) for key in KEPT} | {
        "input_size": list(spec.input_size),
        "thresholds": list(spec.thresholds),
    }
    published = spec.published and dataclasses.asdict(spec.published)
    return {**kept, "resize": dataclasses.asdict(spec.resize), "published": published}


def _read(path: Path, manifest: Manifest) -> Bundle:
    try:
        described = dict(manifest.spec)
        published = described.pop("published")
        spec = ModelSpec(
            **{key: value for key, value in described.items() if key in KEPT},
            builder=no_builder,
            channels=manifest.channels,
            multi_label=manifest.kind == "multi_label",
            thresholds=manifest.thresholds or (),
            labels=[(id_, name) for id_, name in json.loads((path / LABELS).read_text("utf-8"))["labels"]],
            resize=ResizePolicy(**described["resize"]),
            published=published and Published(**published),
        )
        image_policy = ImagePolicy.from_dict(manifest.image_policy)
        head = None
        if manifest.head is not None:
            arrays = _read_listed(path / HEAD, manifest.head)
            head = Head.from_arrays(arrays, multi_label=spec.multi_label)
        return Bundle(path, manifest, spec, image_policy, head)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise BundleError(f"{path / NAME} and {LABELS} do not describe a classifier: {error}") from error


def no_builder(input_shape: tuple[int, int, int]) -> Any:
    raise BundleError("a bundle's network is in its model, and no code that builds it is kept")


def _files(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir())


def _file_info(file: Path) -> FileInfo:
    return FileInfo(bytes=file.stat().st_size, sha256=sha256(file))


def _innermost(error: Exception) -> str:
    """What Keras found wrong, without the descriptions of all that it was in."""
    return str(error).rpartition("Exception encountered: ")[2].partition("\n")[0][:500]


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}"
