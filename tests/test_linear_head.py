"""The linear head by itself, on embeddings made here: against scikit-learn, and how its strength is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from pretrained_cnn.transfer import linear
from pretrained_cnn.transfer.data import deal
from pretrained_cnn.transfer.heads import HeadData, measure
from pretrained_cnn.transfer.linear import CLOSELY, LEAST_GAIN, ROUGHLY, Regression, fit_linear


def embeddings(images: int, features: int, classes: int, *, spread: float = 3.0, seed: int = 0) -> HeadData:
    """Classes of Gaussian clouds, features of very different scales, and weights that differ."""
    generator = np.random.default_rng(seed)
    targets = np.arange(images) % classes
    centers = np.random.default_rng(99).normal(size=(classes, features))
    vectors = centers[targets] + spread * generator.normal(size=(images, features))
    vectors = vectors * np.geomspace(0.1, 10, features) + 5
    return HeadData(vectors.astype(np.float32), targets, generator.uniform(0.2, 3, images))


@pytest.mark.parametrize("strength", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("images", [20, 80], ids=["fewer images than features", "more"])
def test_it_is_what_scikit_learn_finds(images: int, classes: int, strength: float) -> None:
    data, test = embeddings(images, 30, classes), embeddings(50, 30, classes, seed=1)
    vectors = data.vectors.astype(np.float64)
    mean = np.average(vectors, axis=0, weights=data.weights)
    scale = np.sqrt(np.average(np.square(vectors - mean).mean(axis=1), weights=data.weights))
    theirs = LogisticRegression(C=strength, tol=1e-8, max_iter=100_000)
    theirs.fit((vectors - mean) / scale, data.targets, sample_weight=data.weights)
    ours = Regression(data, classes).fit(strength, tolerance=CLOSELY)
    np.testing.assert_allclose(ours(test.vectors), theirs.predict_proba((test.vectors - mean) / scale), atol=2e-3)


def test_a_start_and_float32_change_nothing() -> None:
    data = embeddings(100, 20, 5)
    exact = Regression(data, 5).fit(1.0, tolerance=1e-12)
    start = Regression(data, 5).fit(0.01, tolerance=ROUGHLY)
    warm = Regression(data, 5).fit(1.0, start=start, tolerance=CLOSELY)
    single = Regression(data, 5, np.float32).fit(1.0, tolerance=CLOSELY)
    np.testing.assert_allclose(warm(data.vectors), exact(data.vectors), atol=1e-3)
    np.testing.assert_allclose(single(data.vectors), exact(data.vectors), atol=1e-3)


@pytest.mark.parametrize(("images", "classes", "spread"), [(120, 30, 1.0), (100, 3, 3.0), (60, 3, 1000.0)])
def test_the_best_strength_lies_within_those_tried(images: int, classes: int, spread: float) -> None:
    """Whether that is weak regularization, for many classes of few images, or a very strong one, where all is noise."""
    train, held = (embeddings(images, 20, classes, spread=spread, seed=seed) for seed in (0, 1))
    fitted = fit_linear(train, [(train, held)], classes)
    tried = [row["C"] for row in fitted.rows]
    losses = [row["validation_loss"] for row in fitted.rows]
    assert tried == sorted(tried)
    best = tried.index(fitted.strength)
    assert 0 < best < len(tried) - 1
    against = [np.log10(strength) ** 2 * 2 / held.weights.sum() for strength in tried]  # what the prior says
    beside = range(best - 1, best + 2)
    assert losses[best] + against[best] <= min(losses[i] + against[i] for i in beside) + LEAST_GAIN
    for strength, loss in zip(tried, losses, strict=True):  # each of them was fitted, and is not the one before it
        alone = Regression(train, classes).fit(strength, tolerance=1e-11)
        assert loss == pytest.approx(measure(alone(held.vectors), held.targets, held.weights)[0], abs=1e-2)


def test_each_strength_begins_close_to_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first two, a strength of many classes takes a few steps, since the heads of the others point to it."""
    minimize, counts = linear.minimize, []

    def counted(objective: Any, start: Any, *, tolerance: float) -> Any:
        counts.append(0)

        def counting(point: Any) -> Any:
            counts[-1] += 1
            return objective(point)

        return minimize(counting, start, tolerance=tolerance)

    monkeypatch.setattr(linear, "minimize", counted)
    monkeypatch.setattr(linear, "LARGE", 1)
    train, held = embeddings(240, 60, 60, spread=1.0), embeddings(60, 60, 60, spread=1.0, seed=1)
    found = fit_linear(train, [(train, held)], 60)
    assert len(found.rows) > 4
    assert max(counts[2 : len(found.rows)]) <= 12, counts


def test_an_image_that_is_certain_still_has_a_precise_error() -> None:
    """In float32, 1 less a probability of almost 1 would be 0, or wrong by half."""
    logits = np.array([[20.0, 0.0], [0.0, 17.0]], np.float32)
    exact = np.exp(-np.array([20.0, 17.0]))
    errors = logits.copy()
    losses, curvatures = linear._errors_of(errors, np.zeros(2, np.float32), np.array([0, 1]))
    np.testing.assert_allclose(losses, exact, rtol=1e-5)
    np.testing.assert_allclose(curvatures, 2 * exact, rtol=1e-5)
    np.testing.assert_allclose(errors, [[-exact[0], exact[0]], [exact[1], -exact[1]]], rtol=1e-5)


def test_few_images_choose_a_strength_near_1_and_many_choose_their_own() -> None:
    """Two images that a weak head names well by chance are no reason for a weak head; many of them are."""
    train, held = embeddings(40, 30, 2, spread=1.0), embeddings(2, 30, 2, spread=1.0, seed=1)
    few = fit_linear(train, [(train, held)], 2)
    many = fit_linear(train, [(train, HeadData(held.vectors, held.targets, 1e6 * held.weights))], 2)
    assert 0.1 < few.strength < 10 <= many.strength * 1.01


def test_what_an_image_counts_is_counted_where_the_strength_is_chosen() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4]])
    targets = np.array([0, 1])
    plain, accuracy = measure(probabilities, targets)
    assert plain == pytest.approx(-np.log([0.9, 0.4]).mean())
    assert accuracy == 0.5
    assert measure(probabilities, targets, np.array([1.0, 3.0])) == (
        pytest.approx(-(np.log(0.9) + 3 * np.log(0.4)) / 4),
        0.5,
    )


def test_embeddings_that_are_all_the_same_give_the_classes_their_share() -> None:
    data = HeadData(np.ones((4, 3), np.float32), np.array([0, 1, 1, 1]), np.ones(4))
    np.testing.assert_allclose(
        Regression(data, 2).fit(1.0, tolerance=CLOSELY)(data.vectors)[0], [0.25, 0.75], atol=1e-4
    )


# Who validates


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=80),
    st.sampled_from([[0.2] * 5, [0.2, 0.8]]),
    st.integers(0, 5),
)
@settings(max_examples=100, deadline=None)
def test_groups_stay_together_and_classes_are_left(images: Any, shares: Any, seed: int) -> None:
    targets, groups = (np.array(column) for column in zip(*images, strict=True))
    parts = deal(targets, groups, shares, seed)
    np.testing.assert_array_equal(parts, deal(targets, groups, shares, seed))
    for group in np.unique(groups):
        assert len(set(parts[groups == group])) == 1
    for part in range(len(shares)):
        held = set(targets[parts == part])
        assert held <= set(targets[parts != part]), "a class that nothing is left of cannot be validated"


@pytest.mark.parametrize(("each", "aside"), [(1, 0), (2, 1), (5, 1), (24, 5), (100, 20)])
def test_a_fifth_of_each_class_and_at_least_one(each: int, aside: int) -> None:
    targets = np.repeat(np.arange(3), each)
    parts = deal(targets, np.arange(len(targets)), [0.2, 0.8], 0)
    assert np.bincount(targets[parts == 0], minlength=3).tolist() == [aside] * 3
    if each > 1:
        folds = deal(targets, np.arange(len(targets)), [0.2] * 5, 0)
        counts = [np.bincount(targets[folds == i], minlength=3).tolist() for i in range(5)]
        assert all(len(set(count)) == 1 for count in counts), "each fold takes as many of one class as of another"
        assert max(map(max, counts)) - min(map(min, counts)) <= 1


def test_a_large_group_is_not_set_aside() -> None:
    targets, groups = np.zeros(24, int), np.array([0] * 20 + [1, 2, 3, 4])
    assert 1 <= (deal(targets, groups, [0.2, 0.8], 0) == 0).sum() <= 2
