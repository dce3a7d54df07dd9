"""Tests for authors of runtimes: `RuntimeConformance`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from pretrained_cnn.classifier import Classifier
from pretrained_cnn.engine import Network
from pretrained_cnn.runtimes import list_runtimes
from pretrained_cnn.spec import ModelSpec, Output, ResizePolicy

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

__all__ = ["RuntimeConformance"]

CLASSES = 7


class RuntimeConformance:
    """Tests of a runtime for pytest. Subclass it in a test module and name the runtime.

    They build a small network, give it to the runtime in the way that a `pretrained_cnn.Classifier` does, and compare
    with the runtime ``"keras"``: shapes, dtypes, any number of images, several threads, closing.

    >>> from pretrained_cnn.testing import RuntimeConformance
    >>> class TestOpenVINO(RuntimeConformance):
    ...     runtime = "openvino"
    >>> TestOpenVINO().test_closes_twice()
    """

    runtime: str
    """The name that is tested; installed and registered."""
    tolerance: float = 1e-4
    """Maximum difference of a score from that of the runtime ``"keras"``."""
    spec: ModelSpec = ModelSpec(
        name="Conformance",
        builder="pretrained_cnn.testing:build_small",
        input_size=(40, 24),
        preprocess="pretrained_cnn.testing:preprocess_small",
        labels=[f"class{i}" for i in range(CLASSES)],
        resize=ResizePolicy("squash"),  # so that images of its size stay as they are
    )
    """The backbone that it is tested with; its builder must give the same weights each time."""

    def test_is_listed_as_installed(self) -> None:
        assert {info.name: info.installed for info in list_runtimes()}.get(self.runtime)

    def test_gives_the_scores_of_keras(self) -> None:
        images, expected = self._images(16), self._classifier("keras").predict_proba(self._images(16))
        assert np.ptp(expected, axis=0).min() > self.tolerance * 10, "the network is mute, and the test proves nothing"
        runtime = self._open()
        for count in (1, 3, 16):
            (scores,) = runtime.run(images[:count])
            assert scores.dtype == np.float32
            assert scores.shape == (count, expected.shape[1])
            np.testing.assert_allclose(scores, expected[:count], atol=self.tolerance, rtol=0)
            np.testing.assert_array_equal(scores.argmax(axis=1), expected[:count].argmax(axis=1))

    def test_takes_an_odd_last_batch(self) -> None:
        clf, images = self._classifier(self.runtime), list(self._images(19))
        expected = self._classifier("keras").predict_proba(images)
        for batch_size in (16, 7):
            np.testing.assert_allclose(
                clf.predict_proba(images, batch_size=batch_size), expected, atol=self.tolerance, rtol=0
            )

    def test_leaves_images_and_earlier_scores_alone(self) -> None:
        runtime, images = self._open(), self._images(4)
        before = images.copy()
        images.setflags(write=False)
        (first,) = runtime.run(images[:2])
        kept = first.copy()
        runtime.run(images[2:])
        np.testing.assert_array_equal(first, kept)
        np.testing.assert_array_equal(images, before)

    def test_takes_images_that_are_not_contiguous(self) -> None:
        runtime, images = self._open(), self._images(6)
        (expected,) = runtime.run(np.ascontiguousarray(images[::2]))
        np.testing.assert_allclose(runtime.run(images[::2])[0], expected, atol=1e-6)

    def test_serves_eight_threads(self) -> None:
        runtime, images = self._open(), self._images(16)
        expected = [runtime.run(image[np.newaxis])[0] for image in images]

        def work(start: int) -> list[NDArray[np.float32]]:
            return [runtime.run(images[(start + i) % 16][np.newaxis])[0] for i in range(32)]

        with ThreadPoolExecutor(8) as pool:
            for start, answers in enumerate(pool.map(work, range(8))):
                for i, answer in enumerate(answers):
                    np.testing.assert_allclose(answer, expected[(start + i) % 16], atol=1e-6)

    def test_closes_twice(self) -> None:
        runtime = self._open()
        runtime.run(self._images(1))
        runtime.close()
        runtime.close()
        try:
            runtime.run(self._images(1))
        except ValueError:
            return
        raise AssertionError("a closed runtime must raise ValueError")

    def test_gives_exactly_the_outputs_asked_for_in_their_order(self) -> None:
        images = self._images(3)
        keras = self._classifier("keras")
        expected = {"scores": keras.predict_proba(list(images)), "embedding": keras.embed(list(images))}
        both: list[tuple[Output, ...]] = [("scores", "embedding"), ("embedding", "scores")]
        for names in both:
            found = self._open(*names).run(images)
            assert len(found) == 2, "a runtime gives one array for each output that it was opened for"
            for name, output in zip(names, found, strict=True):
                assert output.dtype == np.float32
                np.testing.assert_allclose(output, expected[name], atol=self.tolerance, rtol=1e-4)

    def test_embeds(self) -> None:
        images = list(self._images(3))
        expected = self._classifier("keras").embed(images)
        np.testing.assert_allclose(self._classifier(self.runtime).embed(images), expected, atol=self.tolerance)

    def _classifier(self, runtime: str) -> Classifier:
        return Classifier(self.spec, runtime=runtime)

    def _open(self, *outputs: Output) -> Network:
        return self._classifier(self.runtime).engine.open(outputs or ("scores",))

    def _images(self, count: int) -> NDArray[np.uint8]:
        """Plain colors under noise, so that the classes differ."""
        random = np.random.default_rng(count)
        colors = random.integers(0, 256, (count, 1, 1, 3))
        noise = random.integers(-40, 41, (count, *self.spec.input_size, 3))
        images: NDArray[np.uint8] = np.clip(colors + noise, 0, 255).astype(np.uint8)
        return images


def preprocess_small(x: Any) -> Any:
    """From RGB in 0..255 to BGR in -1..1. Not by ``x[..., ::-1]``, which torch does not know."""
    import keras

    return keras.ops.flip(x, axis=-1) / 127.5 - 1.0


def build_small(input_shape: tuple[int, int, int]) -> keras.Model:
    """Convolutions of several kinds, normalization, a residual and a softmax, with weights that are always the same."""
    import keras
    from keras import layers

    inputs = keras.Input(input_shape)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = layers.BatchNormalization()(x)
    x = shortcut = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Activation("silu")(x)
    x = layers.Add()([x, shortcut])
    x = layers.SeparableConv2D(16, 3, padding="valid", activation="gelu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(CLASSES, activation="softmax")(x), name="small")
    random = np.random.default_rng(1)
    model.set_weights([random.normal(size=weight.shape) * (6 / max(weight.shape[0], 6)) for weight in model.weights])
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([np.ones(8), np.zeros(8), np.zeros(8), np.ones(8)])
    return model
