"""What the package exports: one list of names, kept together with what is imported late and with the submodules."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import pretrained_cnn

SOURCE = ast.parse(Path(pretrained_cnn.__file__).read_text())


def imported(body: list[ast.stmt]) -> dict[str, str]:
    """The names that ``from ... import`` statements bring, with their modules."""
    return {
        alias.name: str(node.module)
        for node in body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if str(node.module).startswith("pretrained_cnn")
    }


def late() -> dict[str, str]:
    """The names that are imported when they are first used."""
    (table,) = (
        node.value
        for node in SOURCE.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "_LATE"
    )
    return dict(ast.literal_eval(table))


def for_type_checkers() -> dict[str, str]:
    (block,) = (node for node in SOURCE.body if isinstance(node, ast.If))
    return imported(block.body)


def test_the_three_lists_of_names_agree() -> None:
    assert late() == for_type_checkers()
    early = {name for name in imported(SOURCE.body) if not name.startswith("_")}
    assert sorted(pretrained_cnn.__all__) == sorted(early | set(late()))
    assert len(set(pretrained_cnn.__all__)) == len(pretrained_cnn.__all__)


def test_every_public_name_is_in_dir_before_it_is_imported() -> None:
    script = "import pretrained_cnn; print(set(pretrained_cnn.__all__) <= set(dir(pretrained_cnn)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_every_public_name_exists_and_is_documented() -> None:
    for name in pretrained_cnn.__all__:
        assert getattr(pretrained_cnn, name).__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'Klassifier'"):
        pretrained_cnn.Klassifier  # noqa: B018


def test_no_public_name_is_also_a_submodules() -> None:
    modules = {module.name for module in pkgutil.iter_modules(pretrained_cnn.__path__)}
    assert modules & set(pretrained_cnn.__all__) == set()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("raise ImportError('libjpeg.so.62 is missing')", "libjpeg.so.62 is missing"),
        ("1 / 0", "division by zero"),
        ("print.nothing", "has no attribute 'nothing'"),
    ],
)
def test_a_broken_pillow_shows_its_own_error(tmp_path: Path, broken: str, message: str) -> None:
    (tmp_path / "PIL").mkdir()
    (tmp_path / "PIL" / "__init__.py").write_text(broken)
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from pretrained_cnn import Classifier"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
