"""Every example in a docstring runs, and every public name has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest
from paths import ROOT

import pretrained_cnn

MODULES = ["pretrained_cnn"] + [
    info.name
    for info in pkgutil.walk_packages(pretrained_cnn.__path__, "pretrained_cnn.")
    if not info.name.endswith("__main__") and "._pyinstaller." not in info.name
]


LONG = {f"pretrained_cnn.{name}" for name in ("classifier", "explain", "integrations.sklearn", "selection.choosing")}
"""They train, save, load and explain: as long as all the others together."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in MODULES])
@pytest.mark.usefixtures("clean_registry")
def test_the_examples_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0


def public() -> list[tuple[str, object]]:
    """Every public name, and the public methods and properties of the public classes."""
    found: list[tuple[str, object]] = []
    for name in pretrained_cnn.__all__:
        thing = getattr(pretrained_cnn, name)
        found.append((name, thing))
        if inspect.isclass(thing):
            found += [
                (f"{name}.{key}", value)
                for key, value in vars(thing).items()
                if not key.startswith("_") and (callable(value) or isinstance(value, property | classmethod))
            ]
    return found


@pytest.mark.parametrize(("name", "thing"), public())
def test_a_public_name_has_an_example(name: str, thing: object) -> None:
    documentation = inspect.getdoc(thing)
    assert documentation, f"{name} is not documented"
    owner = name.split(".")[0]
    assert ">>>" in documentation or f"{name.split('.')[-1]}" in (inspect.getdoc(getattr(pretrained_cnn, owner)) or "")
