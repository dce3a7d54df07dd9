"""Interprets the argument ``model`` of ``Classifier``, ``Classifier.train`` and ``--model`` in one place."""

from __future__ import annotations

import difflib
import os
import re
import sys
from pathlib import Path
from typing import Any

from pretrained_cnn._files import is_path
from pretrained_cnn._lazy import Reference
from pretrained_cnn.bundle.manifest import NAME
from pretrained_cnn.bundle.store import CHECK, is_bundle
from pretrained_cnn.errors import BundleError, InvalidArgumentError
from pretrained_cnn.foreign.files import ModelFile, find_file
from pretrained_cnn.foreign.kinds import FileKind
from pretrained_cnn.registry import MODELS
from pretrained_cnn.spec import ModelSpec

__all__ = ["find_model", "find_reference"]

EXPECTED = "expected a name that list_models() gives, the folder of a bundle, a model file, or a ModelSpec"


def find_model(model: object) -> ModelSpec | Path | ModelFile:
    """The spec, the folder of the bundle, or the model file that ``model`` stands for.

    ``model`` is a `ModelSpec`, a name that `list_models` gives, or the path of a bundle or of a model file. A name
    comes before a folder of the same name in the working directory, which ``"./name"`` means. Of a file the first bytes
    are read, which say what it is.

    Raises UnknownModelError for an unknown name, BundleError for a path that does not exist, and InvalidArgumentError
    for anything else; each says what to use instead.

    >>> find_model("resnet-50").name
    'ResNet50'
    >>> find_model("examples/images")
    Traceback (most recent call last):
    ...
    pretrained_cnn.errors.InvalidArgumentError: 'examples/images' is a folder of images, not a model; classify the \
images with Classifier().stream('examples/images'), or train on them with Classifier.train('examples/images')
    """
    if isinstance(model, ModelSpec):
        return model
    if not isinstance(model, str | os.PathLike):
        raise InvalidArgumentError(_no_model(model))
    path = Path(os.fsdecode(model))
    if isinstance(model, str) and (model in MODELS or not model or not (_looks_like_path(model) or path.exists())):
        module, colon, attribute = model.partition(":")
        if colon:
            raise InvalidArgumentError(
                f"{model!r} names an object in a module, which only the command line's --model takes; "
                f"import it and pass the object: from {module} import {attribute}"
            )
        return MODELS.get(model)
    if is_bundle(path):
        return path
    if not path.exists():
        raise BundleError(f"{path} does not exist{_nearest_path(path)}")
    if (path / CHECK).is_file():
        raise BundleError(f"{path / NAME} is missing; copy the whole bundle again")
    try:
        found = find_file(path)
    except OSError as error:
        raise InvalidArgumentError(
            f"{str(path)!r} is a {'folder' if path.is_dir() else 'file'} that cannot be read: {error.strerror}"
        ) from error
    if isinstance(found, ModelFile):
        return found
    raise InvalidArgumentError(f"{str(path)!r} is {_folder(path, found) if path.is_dir() else _file(path, found)}")


def find_reference(path: str) -> ModelSpec:
    """The spec that a user's module holds, as ``"module:attr"``. The working directory is searched first.

    Raises InvalidArgumentError if the module cannot be imported, or if the object is not a spec.
    """
    if os.getcwd() not in sys.path:  # permanently: what the spec refers to is imported later
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = Reference(path).resolve()
    except Exception as error:  # whatever the import of a user's module may raise
        raise InvalidArgumentError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(found, ModelSpec):
        raise InvalidArgumentError(f"{path}: {_no_model(found, 'a ModelSpec')}")
    return found


def _looks_like_path(name: str) -> bool:
    """Whether a string has a separator, or ends in a suffix, as no model's name does."""
    return is_path(name) or re.search(r"\.[A-Za-z]\w*$", name) is not None


def _nearest_path(path: Path) -> str:
    try:
        names = [entry.name for entry in os.scandir(path.parent)]
    except OSError:
        return ""
    found = difflib.get_close_matches(path.name, names, n=1, cutoff=0.7)
    return f"; did you mean {str(path.with_name(found[0]))!r}?" if found else ""


def _no_model(value: object, expected: str = EXPECTED.removeprefix("expected ")) -> str:
    """What an object is that is neither a spec nor a string."""
    classes = [f"{each.__module__.partition('.')[0]}.{each.__name__}" for each in type(value).__mro__]
    if "keras.Model" in classes:
        return "a keras.Model has no labels; use Classifier.from_keras(model, labels=[...])"
    if "pretrained_cnn.Classifier" in classes:
        return f"this is a Classifier already; expected {expected}"
    if hasattr(value, "get_params"):
        name = type(value).__name__
        return f"{name} is an estimator of scikit-learn; give {name}.classifier_ once it is fitted, or {name}.model"
    return f"an object of type {type(value).__name__} is not a model; expected {expected}"


def _folder(path: Path, kind: FileKind | None) -> str:
    """What a folder is that is no bundle, and what to do with it."""
    from pretrained_cnn.images.sources import SUFFIXES

    name = str(path)
    try:
        entries = sorted(path.iterdir())
        inside = [*entries, *(each for folder in entries[:20] if folder.is_dir() for each in folder.iterdir())]
    except OSError as error:
        return f"a folder that cannot be listed: {error.strerror}"
    bundles = [str(each) for each in entries if is_bundle(each)]
    if bundles:
        return f"a folder of bundles; did you mean {bundles[0]!r}?"
    if kind is not None:
        return kind.sentence(path)
    if any(each.suffix.lower() in SUFFIXES for each in inside):
        return (
            f"a folder of images, not a model; classify the images with Classifier().stream({name!r}), "
            f"or train on them with Classifier.train({name!r})"
        )
    return f"a folder without a bundle's {NAME}; {EXPECTED}"


def _file(path: Path, kind: FileKind | None) -> str:
    from pretrained_cnn.images.archives import is_archive
    from pretrained_cnn.images.sources import SUFFIXES

    name, suffix = str(path), path.suffix.lower()
    if is_bundle(path.parent):
        return f"a file of a bundle; pass its folder, {str(path.parent)!r}"
    if kind is not None:
        return kind.sentence(path)
    if suffix in SUFFIXES:
        return f"named like an image, not like a model; classify it with Classifier().predict({name!r})"
    if is_archive(name):
        return f"an archive; unpack it and pass the bundle's folder, or classify images in it with stream({name!r})"
    return f"a file, not a model; {EXPECTED}"
