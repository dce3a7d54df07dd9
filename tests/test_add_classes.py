"""More classes for a trained classifier: the same head as if all had been trained at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patterns import CLASSES, SMALL, draw
from warned import messages

from pretrained_cnn import Classifier, DataError, InvalidArgumentError, engine


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[Path, str]]]:
    """The images of each class, and those of all."""
    folder = draw(tmp_path_factory.mktemp("patterns"), 24)
    found = {name: [(path, name) for path in sorted((folder / name).iterdir())] for name in CLASSES}
    return {**found, "all": [pair for name in CLASSES for pair in found[name]]}


@pytest.mark.parametrize(
    "options", [{}, {"head": "mlp", "epochs": 2, "class_weight": "balanced"}, {"multi_label": True}], ids=str
)
def test_it_is_as_if_all_had_been_trained_at_once(
    options: dict[str, Any], pairs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"cache": False, **options}
    known = [*pairs["across"], *pairs["squares"]]
    new = pairs["down"]
    first = Classifier.train(known, SMALL, **options)
    scores = first.predict_proba([path for path, _ in known])
    embedded: list[int] = []
    original = engine.batches

    def counting(*arguments: Any, **more: Any) -> Any:
        for batch in original(*arguments, **more):
            embedded.append(len(batch.pixels))
            yield batch

    monkeypatch.setattr(engine, "batches", counting)
    more = first.add_classes(new)
    assert sum(embedded) == len(new), "the others are known"
    expected = Classifier.train([*known, *new], SMALL, **options)
    assert [label.name for label in more.labels] == list(CLASSES)
    assert more.report.counts == expected.report.counts
    paths = [path for path, _ in pairs["all"]]
    np.testing.assert_allclose(more.predict_proba(paths), expected.predict_proba(paths), atol=1e-5)
    np.testing.assert_array_equal(first.predict_proba([path for path, _ in known]), scores)
    assert len(first.labels) == 2


def test_with_validation_images_and_known_classes(pairs: dict[str, Any]) -> None:
    half = {name: (pairs[name][:12], pairs[name][12:]) for name in CLASSES}
    first = Classifier.train(half["down"][0] + half["squares"][0][:6], SMALL, half["down"][1] + half["squares"][1])
    data = half["across"][0] + half["squares"][0][6:]
    more = first.add_classes(data, validation=half["across"][1])
    assert more.report.counts == {part: dict.fromkeys(CLASSES, 12) for part in ("train", "validation")}
    with pytest.raises(InvalidArgumentError, match=r"which have none of the new classes; give some: validation=\.\.\."):
        first.add_classes(data)
    with messages():
        again = more.add_classes(half["across"][0], validation=half["across"][0]).report.copies
    assert len(again) == 12, "images that are known already are told"
    with pytest.raises(InvalidArgumentError, match="was trained without validation images; leave validation out"):
        Classifier.train(pairs["all"], SMALL).add_classes(data, validation=data)


def test_from_a_table_with_columns_of_other_names_and_groups(pairs: dict[str, Any], tmp_path: Path) -> None:
    rows = [f"{path},{name},{i // 8}" for i, (path, name) in enumerate(pairs["down"])]
    (tmp_path / "new.csv").write_text("\n".join(["where,kind,tree", *rows]))
    first = Classifier.train([*pairs["across"], *pairs["squares"]], SMALL)
    progress: list[str] = []
    more = first.add_classes(
        tmp_path / "new.csv",
        path_column="where",
        label_column="kind",
        groups="tree",
        progress=lambda stage, done, total: progress.append(stage),
    )
    assert more.report.counts["train"] == dict.fromkeys(CLASSES, 24)
    assert more._trained.known.images.parts[0].things[-24:] == [str(i // 8) for i in range(24)]
    assert list(dict.fromkeys(progress)) == ["embed", "head"]
    with pytest.raises(InvalidArgumentError, match=r"groups=\.\.\. does not go with original=\.\.\.; train on"):
        first.add_classes(tmp_path / "new.csv", pairs["across"], groups="tree")


@pytest.mark.slow
def test_a_loaded_classifier_needs_its_images(pairs: dict[str, Any], tmp_path: Path) -> None:
    known = [*pairs["across"], *pairs["down"]]
    calibrated = Classifier.train(known, SMALL).calibrate(
        draw(tmp_path / "other", 20, seed=5, classes=CLASSES[:2]), coverage=0.9
    )
    with messages() as warned:
        assert calibrated.add_classes(pairs["squares"]).calibration is None
    assert warned == [
        "the calibration is dropped because it holds for the old classes only; calibrate the new classifier"
    ]
    calibrated.save(tmp_path / "a.bundle")
    loaded = Classifier.load(tmp_path / "a.bundle")
    with pytest.raises(InvalidArgumentError, match=r"does not have the embeddings .* add_classes\(data, original=\.\."):
        loaded.add_classes(pairs["squares"])
    with pytest.raises(DataError, match="<pairs>: no image is of 'down', which the classifier knows; give images of"):
        loaded.add_classes(pairs["squares"], original=pairs["across"])
    with messages():
        more = loaded.add_classes(pairs["squares"], original=known)
    paths = [path for path, _ in pairs["all"]]
    expected = Classifier.train([*known, *pairs["squares"]], SMALL).predict_proba(paths)
    np.testing.assert_allclose(more.predict_proba(paths), expected, atol=1e-3)


def test_a_fine_tuned_network_has_other_embeddings(pairs: dict[str, Any]) -> None:
    tuned = Classifier.train(pairs["all"][:48], SMALL, unfreeze=1, epochs=1)
    with pytest.raises(InvalidArgumentError, match="a fine-tuned network gives other embeddings than those of its"):
        tuned.add_classes(pairs["squares"])
