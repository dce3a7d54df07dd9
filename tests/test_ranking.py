"""What to label next: the unsure ones, no two alike, found in one pass and bounded memory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrained_cnn.trust.ranking import CANDIDATES, select, unsureness


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 15))
@settings(max_examples=40, deadline=None)
def test_each_next_image_is_unsure_and_far_from_those_before(seed: int, count: int, n: int) -> None:
    random = np.random.default_rng(seed)
    unsure, embeddings = random.random(count), random.normal(size=(count, 5))
    chosen = select(unsure, embeddings, n)
    assert len(chosen) == len(set(chosen)) == min(n, count)
    candidates = np.argsort(-unsure)[: CANDIDATES * n]
    assert set(chosen) <= set(candidates.tolist())
    assert chosen[0] == unsure.argmax()
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    for step in range(1, len(chosen)):
        before, left = chosen[:step], [i for i in candidates if i not in chosen[:step]]
        worth = {i: unsure[i] * min(1, (1 - units[i] @ units[before].T).min()) for i in left}
        assert worth[chosen[step]] == pytest.approx(max(worth.values()), abs=1e-6)


def test_what_is_unsure() -> None:
    scores = np.array([[0.5, 0.5, 0.0], [0.4, 0.3, 0.3], [0.8, 0.1, 0.1], [1.0, 0.0, 0.0]])
    assert (np.diff(unsureness(scores)) < 0).all()
    assert unsureness(scores)[0] == 1
    several = np.array([[0.3, 0.9], [0.4, 0.9], [0.1, 0.9]])
    assert unsureness(several, (0.3, 0.5)).argsort().tolist() == [2, 1, 0]
    assert unsureness(np.array([[7.0], [3.0]])).tolist() == [1, 1]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from patterns import draw

    folder = draw(tmp_path_factory.mktemp("pool") / "photos", 6)
    for file in sorted(folder.glob("*/*.png")):
        shutil.copyfile(file, file.with_name(f"copy of {file.name}"))
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def test_no_two_alike_in_one_pass(pool: Path) -> None:
    from patterns import SMALL

    from pretrained_cnn import Classifier, PretrainedCNNWarning

    clf = Classifier(SMALL)  # it is unsure of everything, so only what is alike decides
    left_out = r"images that cannot be read are left out \(1\), such as .*broken\.png"
    with pytest.warns(PretrainedCNNWarning, match=left_out):
        ranked = clf.rank_unlabeled(pool, n=18)
    names = [Path(result.source).parent.name + Path(result.source).name.removeprefix("copy of ") for result in ranked]
    assert len(set(names)) == 18
    assert [len(result) for result in ranked] == [2] * 18
    again = clf.rank_unlabeled(pool, n=18, batch_size=5)
    assert [result.source for result in again][:1] == [result.source for result in ranked][:1]
    assert len(clf.rank_unlabeled(pool, n=1000)) == 18
    first = ranked[0].source
    few = [first] * 9 + [each.source for each in ranked[1:3]]
    assert {each.source for each in clf.rank_unlabeled(few, n=3)} == {each.source for each in ranked[:3]}


def test_a_calibrated_classifier_says_what_is_unknown(pool: Path) -> None:
    from patterns import SMALL

    from pretrained_cnn import Classifier

    photos = sorted(pool.glob("*/0*.png"))
    clf = Classifier(SMALL).calibrate([(path, "ab"[i % 2]) for i, path in enumerate(photos)], coverage=0.6)
    ranked = clf.rank_unlabeled(photos, n=5)
    alone = clf.predict_batch([result.source for result in ranked])
    assert [(each.status, each.label_set) for each in ranked] == [(each.status, each.label_set) for each in alone]
    assert None not in {each.label_set for each in ranked}


def test_the_command_prints_images_that_can_be_cut_out(pool: Path, capsys: Any, monkeypatch: Any) -> None:
    from paths import ROOT

    from pretrained_cnn import cli

    monkeypatch.chdir(ROOT)
    (pool / "empty.png").touch()
    assert cli.main(["label-next", str(pool), "-m", "patterns:SMALL", "-n", "4"]) == 0
    captured = capsys.readouterr()
    lines = [line.split("\t") for line in captured.out.splitlines()]
    assert len(lines) == 4
    assert all(Path(name).is_file() and {first, second} == {"a", "b"} for name, first, _, second, _ in lines)
    assert "images that cannot be read are left out (2), such as" in captured.err
    assert cli.main(["label-next", str(pool), "-m", "patterns:SMALL", "-n", "4", "--json"]) == 0
    assert [json.loads(line)["source"] for line in capsys.readouterr().out.splitlines()] == [x[0] for x in lines]
