"""Bundles on disk: written whole or not at all, and believed only after each byte was checked."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pretrained_cnn.bundle.manifest import MODEL, NAME, ExportCheck, Manifest, Precision
from pretrained_cnn.errors import BundleError, InvalidArgumentError
from pretrained_cnn.identity import installed_versions
from pretrained_cnn.images.policy import ImagePolicy
from pretrained_cnn.runtimes import Format, Runtime, RuntimeSpec, get_runtime, runtime_for
from pretrained_cnn.scores import probes
from pretrained_cnn.spec import ModelSpec, Output, Published, ResizePolicy

if TYPE_CHECKING:
    import keras

LABELS, CHECK, CARD = "labels.json", "check.npz", "README.md"

TOLERANCE: dict[Precision, float] = {"float32": 1e-4, "float16": 0.05, "int8": 0.1}
"""How far a score may be from the network's own. In 8 bits it is only how near two classes count as a tie."""

MIN_SAME_TOP1: dict[Precision, float] = {"float32": 1.0, "float16": 1.0, "int8": 0.9}
"""The share of images that must keep their best class."""

KEPT = (
    "name",
    "input_size",
    "channels",
    "multi_label",
    "thresholds",
    "embedding_size",
    "parameters",
    "license",
    "source",
)
"""Fields of a spec that a manifest has as they are."""

MAX_MANIFEST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Bundle:
    """A bundle that was found whole."""

    path: Path
    manifest: Manifest
    spec: ModelSpec
    """Without a builder and a preprocess function: both are in the model."""
    image_policy: ImagePolicy
    """How the classifier that was saved read its images."""
    width: int
    """``C`` of the output ``(N, C)``."""

    @property
    def model_path(self) -> Path:
        """What a runtime of the bundle's format is made from."""
        return self.path / MODEL[self.manifest.format]

    def open(self, runtime: RuntimeSpec | None = None) -> Runtime:
        """A runtime of the bundle's format, made from its model. Raises BundleError if it cannot load it."""
        runtime = runtime or runtime_for(self.manifest.format)
        if runtime.format != self.manifest.format:
            raise BundleError(
                f"{self.path} is of format={self.manifest.format!r}, which runtime={runtime.name!r} does not execute; "
                'leave runtime out, or save the classifier with format="keras", which every runtime takes'
            )
        runtime.require()
        if self.manifest.format == "keras":
            return runtime.factory(self.load_graph(), [self.manifest.output])
        try:
            return runtime.factory(self.model_path, [self.manifest.output])
        except Exception as error:  # each runtime raises its own
            raise BundleError(f"{self.model_path} cannot be loaded by {runtime.name}: {_brief(error)}") from error

    def load_graph(self) -> keras.Model:
        """The serving graph of a bundle of format ``"keras"``. Code in the file, such as a lambda's, is not run."""
        import keras

        try:
            return keras.saving.load_model(self.model_path, compile=False, safe_mode=True)
        except Exception as error:  # Keras raises whatever its layers do
            raise BundleError(
                f"{self.model_path} cannot be loaded by Keras: {_innermost(error)} Layers of your own must be imported "
                "before, and registered with keras.saving.register_keras_serializable"
            ) from error


def write_bundle(
    path: Path,
    graph: keras.Model,
    spec: ModelSpec,
    image_policy: ImagePolicy,
    *,
    format: Format,
    output: Output,
    precision: Precision = "float32",
    calibration: NDArray[np.uint8] | None = None,
    card: str | None = None,
) -> ExportCheck:
    """Write ``graph`` as a bundle to ``path``, and load it again to see that it agrees.

    ``calibration``, RGB uint8 ``(N, H, W, 3)``, is for ``precision="int8"``. Raises BundleError, and leaves
    nothing behind, if the model does not agree, cannot be written, or ``path`` exists.
    """
    from pretrained_cnn.bundle.export import check, export

    check(format, precision)
    if output == "scores" and not spec.labels:
        raise InvalidArgumentError(
            f"{spec.name} has a decode function of its own, and a bundle holds no code; give labels=[...] in its place"
        )
    if os.path.lexists(path):
        raise BundleError(f"{path} exists already; choose another name, or remove it first")
    images = probes(spec.input_size, spec.channels) if calibration is None else calibration
    expected = _run(get_runtime("keras").factory(graph, [output]), images)
    with _made_whole(path) as folder:
        export(graph, folder, format=format, spec=spec, precision=precision, calibration=calibration)
        (folder / LABELS).write_text(json.dumps([list(label) for label in spec.labels], indent=0), "utf-8")
        np.savez_compressed(folder / CHECK, images=images[:16], scores=expected[:16])
        if card is not None:
            (folder / CARD).write_text(card, "utf-8")
        manifest = Manifest(
            format=format,
            output=output,
            precision=precision,
            input_shape=[None, *spec.input_size, spec.channels],
            output_shape=[None, expected.shape[1]],
            spec=_describe(spec),
            image_policy=image_policy.to_dict(),
            tolerance=TOLERANCE[precision],
            agreement=None,
            versions=installed_versions(),
            files={name: _sha256(folder / name) for name in _files(folder)},
        )
        (folder / NAME).write_text(manifest.to_text(), "utf-8")
        agreement = compare(expected, _run(open_bundle(folder).open(), images), manifest)
        if not agrees(agreement, manifest):
            raise BundleError(
                f"{spec.name} in format={format!r} with precision={precision!r} does not agree with the network, and "
                f"was not saved: of {agreement.images} images {agreement.same_top1:.0%} keep their best class, and "
                f"the largest difference of a score is {agreement.largest_difference:.2g}, where "
                f"{MIN_SAME_TOP1[precision]:.0%} and {manifest.tolerance:g} are asked for"
            )
        manifest = dataclasses.replace(manifest, agreement=dataclasses.asdict(agreement))
        (folder / NAME).write_text(manifest.to_text(), "utf-8")
    return agreement


def open_bundle(path: Path) -> Bundle:
    """Read the manifest of the bundle at ``path``, and compare the SHA-256 of each of its files.

    Raises BundleError, which names the file, for one that is missing, changed, or outside of the bundle, for a
    manifest that is none or of a later release, and for a path that is no bundle.
    """
    manifest = Manifest.from_text(_read_manifest(path), str(path / NAME))
    for name, expected in manifest.files.items():
        _check_file(path, name, expected)
    model = MODEL.get(manifest.format, NAME)
    inside = {name for name in manifest.files if name == model or name.startswith(f"{model}/")}
    if not inside or not {LABELS, CHECK} <= manifest.files.keys():
        raise BundleError(f"{path / NAME} does not list the files of a bundle of format={manifest.format!r}")
    if (path / model).is_dir():  # a runtime may read whatever lies there
        surplus = [name for name in _files(path) if name.startswith(f"{model}/") and name not in inside]
        if surplus:
            raise BundleError(f"{path / surplus[0]} is not in {NAME}; remove it, for the runtime might read it")
    return _read(path, manifest)


def is_bundle(path: str | os.PathLike[str]) -> bool:
    """Whether a folder looks like a bundle. Nothing is checked."""
    return os.path.isfile(os.path.join(path, NAME))


def means_bundle(model: str) -> bool:
    """Whether what a user calls the model is the path of a bundle, there or not, and no backbone's name."""
    return is_bundle(model) or os.sep in model


def verify(bundle: Bundle, runtime: Runtime) -> ExportCheck:
    """Run the images of ``check.npz``, and compare with the scores that are kept with them."""
    try:
        with np.load(io.BytesIO((bundle.path / CHECK).read_bytes()), allow_pickle=False) as kept:
            images, expected = kept["images"], kept["scores"]
    except (ValueError, KeyError, OSError) as error:
        raise BundleError(f"{bundle.path / CHECK} holds no images and scores: {error}") from error
    return compare(expected, _run(runtime, images), bundle.manifest)


def compare(expected: NDArray[np.float32], found: NDArray[np.float32], manifest: Manifest) -> ExportCheck:
    """How well ``found`` agrees with ``expected``, both ``(N, C)``."""
    if found.shape != expected.shape:
        raise BundleError(f"the model gives {found.shape} where the network gives {expected.shape}")
    scale = 1.0 if manifest.output == "scores" else max(1.0, float(np.abs(expected).max()))
    best = np.take_along_axis(expected, found.argmax(axis=1)[:, np.newaxis], axis=1)[:, 0]
    return ExportCheck(
        images=len(expected),
        same_top1=float((best >= expected.max(axis=1) - manifest.tolerance * scale).mean()),
        largest_difference=float(np.abs(found - expected).max()) / scale,
    )


def agrees(agreement: ExportCheck, manifest: Manifest) -> bool:
    """Whether that is within what the bundle's precision is allowed."""
    if not agreement.same_top1 >= MIN_SAME_TOP1[manifest.precision]:
        return False
    return manifest.precision == "int8" or agreement.largest_difference <= manifest.tolerance


def _run(runtime: Runtime, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The first image alone and then several at once: a model must take both."""
    rows = [runtime.run(images[:1])[0]]
    rows += [runtime.run(images[start : start + 16])[0] for start in range(1, len(images), 16)]
    return np.concatenate(rows)


@contextlib.contextmanager
def _made_whole(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` that takes its name if all goes well, and is removed otherwise."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise BundleError(f"{path} cannot be written: {error.strerror}") from error
    try:
        yield folder
        os.chmod(folder, 0o777 & ~_umask())  # mkdtemp's own is for its user alone
        os.rename(folder, path)
    except OSError as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _read_manifest(path: Path) -> str:
    file = path / NAME
    if not path.is_dir():
        problem = "is a file, and a bundle is a folder" if path.exists() else "does not exist"
        raise BundleError(f"{path} {problem}")
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_MANIFEST_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise BundleError(f"{path} is not a bundle: it has no {NAME}") from None
    except UnicodeDecodeError:
        raise BundleError(f"{file} is not the manifest of a bundle: it is not text") from None
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error.strerror}") from error


def _check_file(path: Path, name: str, expected: str) -> None:
    """Raise BundleError unless ``name`` is a file within the bundle and has the hash."""
    file = path / name
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name or not name:
        raise BundleError(f"{path / NAME} names {name!r}, which is not within the bundle")
    if not file.resolve().is_relative_to(path.resolve()):
        raise BundleError(f"{file} leads out of the bundle, to {file.resolve()}")
    try:
        found = _sha256(file)
    except FileNotFoundError:
        raise BundleError(f"{file} is missing") from None
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error.strerror}") from error
    if found != expected:
        raise BundleError(f"{file} was changed: its SHA-256 is {found}, not {expected}")


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
            builder=_no_builder,
            labels=[(id_, name) for id_, name in json.loads((path / LABELS).read_text("utf-8"))],
            resize=ResizePolicy(**described["resize"]),
            published=published and Published(**published),
        )
        image_policy = ImagePolicy.from_dict(manifest.image_policy)
        return Bundle(path, manifest, spec, image_policy, width=int(manifest.output_shape[1] or 0))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise BundleError(f"{path / NAME} and {LABELS} do not describe a classifier: {error}") from error


def _no_builder(input_shape: tuple[int, int, int]) -> Any:
    raise BundleError("a bundle's network is in its model, and no code that builds it is kept")


def _files(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir())


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _innermost(error: Exception) -> str:
    """What Keras found wrong, without the descriptions of all that it was in."""
    return str(error).rpartition("Exception encountered: ")[2].partition("\n")[0][:500]


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}"
