"""How the package is built: what the imports of its files, and its syntax trees, must not contain."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

SOURCE = ROOT / "src" / "pretrained_cnn"
FILES = sorted(SOURCE.rglob("*.py"))

NAMED_TUPLE = {"_replace", "_asdict", "_fields"}
"""Public in spite of their names."""


def private_accesses(text: str) -> list[str]:
    """What reaches for another object's private attribute: ``x._y``, unless ``x`` is self, cls or ``super()``."""
    return [ast.unparse(node) for node in ast.walk(ast.parse(text)) if _reaches_into(node)]


def _reaches_into(node: ast.AST) -> bool:
    if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr in NAMED_TUPLE:
        return False
    if node.attr.startswith("__") and node.attr.endswith("__"):
        return False
    owner = node.value
    if isinstance(owner, ast.Call):
        return not (isinstance(owner.func, ast.Name) and owner.func.id == "super")
    return not (isinstance(owner, ast.Name) and owner.id in ("self", "cls"))


def test_nobody_touches_another_objects_private_attributes() -> None:
    found = {path.relative_to(SOURCE).as_posix(): private_accesses(path.read_text("utf-8")) for path in FILES}
    compat = found.pop("_compat.py")
    assert {name: accesses for name, accesses in found.items() if accesses} == {}
    assert len(set(compat)) <= 6, f"each one can break with a new version of another package: {compat}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clf._engine.open()", ["clf._engine"]),
        ("self._engine._networks", ["self._engine._networks"]),
        ("def f(x): x._y = 1", ["x._y"]),
        ("type(self)._lock", ["type(self)._lock"]),
        ("self._y, cls._y, super()._y, row._replace(a=1), x.__class__, x.y_", []),
    ],
)
def test_the_check_of_private_attributes_can_fail(text: str, expected: list[str]) -> None:
    assert private_accesses(text) == expected


def imports(path: Path, text: str) -> Iterator[Path]:
    """The files of this package that a file imports, also in functions and for type checking."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pretrained_cnn":
            folder = SOURCE.joinpath(*str(node.module).split(".")[1:])
            for alias in node.names:
                yield _file(folder / alias.name) or _file(folder) or path
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "pretrained_cnn":
                    yield _file(SOURCE.joinpath(*alias.name.split(".")[1:])) or path


def _file(stem: Path) -> Path | None:
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def circles(graph: dict[Path, set[Path]]) -> list[list[str]]:
    """The groups of files that import each other, directly or through others."""
    reached = {path: _reach(graph, path) for path in graph}
    groups = {frozenset(other for other in reached[path] if path in reached[other]) for path in graph}
    return sorted(sorted(path.relative_to(SOURCE).as_posix() for path in group) for group in groups if group)


def _reach(graph: dict[Path, set[Path]], start: Path) -> set[Path]:
    reached: set[Path] = set()
    waiting = list(graph[start])
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += graph[path]
    return reached


def graph_of_files() -> dict[Path, set[Path]]:
    return {path: set(imports(path, path.read_text("utf-8"))) - {path} for path in FILES}


def test_no_files_import_each_other() -> None:
    assert circles(graph_of_files()) == []


def test_the_check_of_circles_can_fail() -> None:
    graph = graph_of_files()
    graph[SOURCE / "spec.py"].add(SOURCE / "classifier.py")
    (group,) = circles(graph)
    assert {"spec.py", "classifier.py", "engine.py"} <= set(group)


def long_methods(text: str, most: int) -> list[str]:
    """The public methods of more statements than ``most``, those within blocks counted, docstrings not."""
    methods = [
        method
        for kind in ast.parse(text).body
        if isinstance(kind, ast.ClassDef)
        for method in kind.body
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_")
    ]
    return [
        method.name for method in methods if sum(isinstance(node, ast.stmt) for node in ast.walk(method)) - 2 > most
    ]


def test_the_classifier_is_a_facade() -> None:
    text = (SOURCE / "classifier.py").read_text("utf-8")
    assert long_methods(text, 10) == []
    assert "train" in long_methods(text, 2), "the check can fail"
