"""The small tools that every room uses: checks of arguments, and files that are written whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pretrained_cnn import InvalidArgumentError
from pretrained_cnn._check import choice, number, whole_number
from pretrained_cnn._files import atomic_write, create_part, open_regular, sha256


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_a_whole_number_of_any_kind_comes_back_as_an_int(value: Any) -> None:
    assert type(whole_number("top", value)) is int
    assert whole_number("top", value) == 3


@pytest.mark.parametrize("value", [0, -1, 2.0, np.float32(2), "5", None, True, np.True_, np.array([3, 4])])
def test_what_is_no_whole_number_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^top=.* is not a whole number of at least 1$"):
        whole_number("top", value)


def test_the_least_whole_number_may_be_another() -> None:
    assert whole_number("seed", 0, least=0) == 0
    with pytest.raises(InvalidArgumentError, match=r"^seed=-1 is not a whole number of at least 0$"):
        whole_number("seed", -1, least=0)


def test_a_whole_number_may_have_a_limit() -> None:
    assert whole_number("threads", 8, most=8) == 8
    with pytest.raises(InvalidArgumentError, match=r"^threads=9 is not a whole number from 1 to 8$"):
        whole_number("threads", 9, most=8)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.float64(0.5)])
def test_a_number_of_any_kind_comes_back_as_a_float(value: Any) -> None:
    assert type(number("rate", value, above=0, most=1)) is float
    assert number("rate", value, above=0, most=1) == 0.5


@pytest.mark.parametrize("value", [0, 1.5, float("nan"), float("inf"), "0.5", None, True, np.False_, 1j])
def test_what_is_no_number_within_the_bounds_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^rate=.* is not a number above 0 and of at most 1$"):
        number("rate", value, above=0, most=1)


def test_a_number_needs_no_bounds() -> None:
    assert number("shift", -3) == -3
    with pytest.raises(InvalidArgumentError, match=r"^shift='x' is not a number$"):
        number("shift", "x")
    with pytest.raises(InvalidArgumentError, match=r"^shift=-1 is not a number of at least 0$"):
        number("shift", -1, least=0)


def test_a_choice_that_is_none_is_refused_with_the_choices() -> None:
    assert choice("errors", "raise", ["raise", "return"]) == "raise"
    for value in ("Raise", None, 3, ["raise"], np.array(["raise", "return"])):
        with pytest.raises(InvalidArgumentError, match=r"(?s)^errors=.* is not known; choose 'raise' or 'return'$"):
            choice("errors", value, ["raise", "return"])
    with pytest.raises(InvalidArgumentError, match=r"choose 'a', 'b' or 'c'$"):
        choice("letter", "d", ["a", "b", "c"])
    with pytest.raises(InvalidArgumentError, match=r"choose 'a'$"):
        choice("letter", "d", ["a"])


# Files


def test_a_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["rows.csv"]


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with atomic_write(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["rows.csv"]


def test_a_new_file_has_the_rights_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_write(tmp_path / "a"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_name_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    for name in ("x" * 255, "\N{CAT FACE}" * 63):
        with atomic_write(tmp_path / name) as file:
            file.write(b"1")
        assert (tmp_path / name).read_bytes() == b"1"


def test_a_link_is_replaced_and_what_it_points_to_is_left_alone(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "rows.csv"
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    with atomic_write(path) as file:
        file.write(b"new")
    assert not path.is_symlink()
    assert (path.read_bytes(), victim.read_bytes()) == (b"new", b"precious")


def test_a_temporary_name_that_is_taken_is_never_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda count: "guessed")
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".rows.csv.guessed.part").symlink_to(victim)
    with pytest.raises(FileExistsError):
        create_part(tmp_path / "rows.csv")
    assert victim.read_bytes() == b"precious"


def test_two_parts_of_one_file_are_two_files(tmp_path: Path) -> None:
    (first, one), (second, two) = create_part(tmp_path / "a"), create_part(tmp_path / "a")
    with first, second:
        assert one != two


@pytest.mark.parametrize("plant", ["symbolic", "dangling", "hard", "fifo"])
@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_what_somebody_planted_is_not_opened(tmp_path: Path, plant: str, mode: str) -> None:
    victim, path = tmp_path / "victim", tmp_path / ".a.part"
    victim.write_bytes(b"precious")
    if plant == "fifo":
        os.mkfifo(path)
    elif plant == "hard":
        path.hardlink_to(victim)
    else:
        path.symlink_to(victim if plant == "symbolic" else tmp_path / "new")
    with pytest.raises(OSError):  # noqa: PT011 - what the system says differs
        open_regular(path, mode)
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "new").exists()


def test_a_file_of_our_own_is_opened_anew_and_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / ".a.part"
    for mode, content in (("wb", b"1"), ("ab", b"12"), ("wb", b"2")):
        with open_regular(path, mode) as file:
            file.write(content[-1:])
        assert path.read_bytes() == content


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
