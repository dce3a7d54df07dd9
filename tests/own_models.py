"""Tiny Keras models of every form that people bring, whose right answers are known by construction.

Each looks at the mean red, green and blue of an image, through a convolution that copies them, and says which is most.
Weights are set by hand. `SIZE` is 24 x 24; `IMAGES` are mostly red, green and blue, each with a bright quarter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops
from keras.initializers import Constant

SIZE = 24
LABELS = ["red", "green", "blue"]
GAIN = 12.0
FORMATS = ("keras", "openvino", "onnx", "litert", "saved_model")


def image(channel: int) -> np.ndarray:
    """Dark, with the top left quarter bright in one color."""
    pixels = np.full((SIZE, SIZE, 3), 10, np.uint8)
    pixels[: SIZE // 2, : SIZE // 2, channel] = 250
    pixels[SIZE // 2 :, :, channel] = 60
    return pixels


IMAGES = [image(channel) for channel in range(3)]
BOTH = np.maximum(IMAGES[0], IMAGES[1])
"""Red and green at once."""


class Case(NamedTuple):
    """One model."""

    name: str
    make: Callable[[], Any]
    arguments: dict[str, Any] = {}
    """For `Classifier.from_keras`, besides the labels."""
    labels: Any = LABELS
    embeds: bool = True
    explains: bool = True
    formats: Sequence[str] = FORMATS
    """Those that it is written in and read back: none where code of its own is in it."""
    images: Any = IMAGES
    logits: Callable[[np.ndarray], np.ndarray] = lambda means: GAIN * means
    """From the mean of each channel, 0 to 1, to the logits of the right scores."""
    embedding: Callable[[np.ndarray], np.ndarray] = lambda means: means
    """The same for the right embedding."""


def copied(x: Any, name: str | None = None, **arguments: Any) -> Any:
    """A convolution that gives what it takes."""
    channels = x.shape[1 if arguments.get("data_format") == "channels_first" else -1]
    layer = layers.Conv2D(channels, 1, use_bias=False, name=name, **arguments)
    y = layer(x)
    layer.set_weights([np.eye(channels, dtype="float32")[None, None]])
    return y


def dense(x: Any, activation: Any = "softmax", units: int = 3, name: str | None = None, **arguments: Any) -> Any:
    """Scores for the largest of three numbers; one unit says how much more red than green."""
    layer = layers.Dense(units, activation=activation, use_bias=False, name=name, **arguments)
    y = layer(x)
    kernel = GAIN * np.eye(3) if units == 3 else GAIN * np.array([[1.0], [-1.0], [0.0]])
    layer.set_weights([kernel[: x.shape[-1]]])
    return y


def pooled(x: Any, **arguments: Any) -> Any:
    return layers.GlobalAveragePooling2D(**arguments)(x)


def pixels(shape: Any = (SIZE, SIZE, 3), **arguments: Any) -> Any:
    return keras.Input(shape, **arguments)


def net(activation: Any = "softmax", after: Any = None, units: int = 3, **arguments: Any) -> keras.Model:
    """Functional: rescaling, convolution, pooling, dense and, where given, what comes after it."""
    i = pixels(**arguments)
    y = dense(pooled(copied(layers.Rescaling(1 / 255)(i))), activation, units)
    return keras.Model(i, y if after is None else after(y))


def lucky(activation: str, units: int) -> keras.Model:
    """Its outputs lie within 0 to 1 for every image, whatever the activation: from 0.1 to 0.4 before it."""
    i = pixels()
    last = layers.Dense(units, activation, kernel_initializer=Constant(0.1), bias_initializer=Constant(0.1))
    return keras.Model(i, last(pooled(layers.Rescaling(1 / 255)(i))))


def sequential(*tail: Any) -> keras.Sequential:
    model = keras.Sequential([pixels(), layers.Rescaling(1 / 255), layers.Conv2D(3, 1, use_bias=False)])
    for layer in (layers.GlobalAveragePooling2D(), layers.Dense(3, use_bias=False), *tail):
        model.add(layer)
    model.set_weights([np.eye(3, dtype="float32")[None, None], GAIN * np.eye(3, dtype="float32")])
    return model


def listed(activation: Any = "softmax") -> keras.Model:
    i = pixels()
    return keras.Model(inputs=[i], outputs=[dense(pooled(copied(layers.Rescaling(1 / 255)(i))), activation)])


def by_name() -> keras.Model:
    i = pixels(name="image")
    return keras.Model(inputs={"image": i}, outputs={"class": dense(pooled(copied(layers.Rescaling(1 / 255)(i))))})


def several(names: tuple[str, ...] = ("color", "size")) -> keras.Model:
    i = pixels()
    x = pooled(copied(layers.Rescaling(1 / 255)(i)))
    return keras.Model(i, [dense(x, name=name) for name in names])


def two_inputs() -> keras.Model:
    i, table = pixels(), keras.Input((4,), name="table")
    x = layers.Concatenate()([pooled(copied(i)), table])
    return keras.Model([table, i], layers.Dense(3, activation="softmax")(x))


def nested(named: str = "trunk", head: bool = True) -> keras.Model:
    """What Teachable Machine and the tutorials write: a backbone and a head, each a model, in a model."""
    i = pixels()
    trunk = keras.Model(i, copied(layers.Rescaling(1 / 255)(i)), name=named)
    j = keras.Input((3,))
    top = keras.Model(j, dense(j), name="classes")
    if not head:
        k = pixels()
        return keras.Model(k, dense(pooled(trunk(k))))
    return keras.Sequential([pixels(), trunk, layers.GlobalAveragePooling2D(), top])


def whole_behind_rescaling() -> keras.Model:
    i = pixels()
    inner = keras.Model(i, dense(pooled(copied(i))))
    j = pixels()
    return keras.Model(j, inner(layers.Rescaling(1 / 255)(j)))


def deep() -> keras.Model:
    """Three models deep."""
    model: keras.Model = net()
    for _ in range(3):
        i = pixels()
        model = keras.Model(i, model(i))
    return model


def shared() -> keras.Model:
    """Layers that are also a part of another model, which was made later."""
    i = pixels()
    features = pooled(copied(layers.Rescaling(1 / 255)(i)))
    head = layers.Dense(3, activation="softmax", use_bias=False)
    model = keras.Model(i, head(features))
    head.set_weights([GAIN * np.eye(3, dtype="float32")])
    j = pixels((2 * SIZE, 2 * SIZE, 3))
    keras.Model(j, head(pooled(layers.Rescaling(3.0)(j))))
    return model


def names_from_the_start() -> None:
    """Keras counts the names that it gives from the start again, as in a fresh process."""
    keras.backend.clear_session(free_memory=False)


def colliding(*names: str) -> keras.Model:
    """A model and layers of it with names that are given to what is added, by us or by Keras in a fresh process."""
    i = pixels()
    x = copied(layers.Rescaling(1 / 255)(i))
    for name in names:
        x = layers.Activation("linear", name=name)(x)
    model = keras.Model(i, dense(pooled(x, name="own_pooling"), name=f"{names[0]}_1"), name=names[0])
    names_from_the_start()
    return model


def logits_named(name: str) -> keras.Model:
    i = pixels()
    x = layers.Activation("linear", name=name)(pooled(copied(layers.Rescaling(1 / 255)(i))))
    model = keras.Model(i, dense(x, None), name="activation")
    names_from_the_start()
    return model


def convolution_head(name: str | None = None) -> keras.Model:
    """As MobileNet ends: a 1 x 1 convolution over one pixel. ``name`` is that of its pooling."""
    i = pixels()
    x = layers.GlobalAveragePooling2D(keepdims=True, name=name)(copied(layers.Rescaling(1 / 255)(i)))
    layer = layers.Conv2D(3, 1, use_bias=False)
    y = layers.Softmax()(layers.Reshape((3,))(layer(x)))
    layer.set_weights([GAIN * np.eye(3, dtype="float32")[None, None]])
    model = keras.Model(i, y)
    names_from_the_start()
    return model


def four_axes() -> keras.Model:
    """Scores (N, 1, 1, C)."""
    i = pixels()
    x = layers.GlobalAveragePooling2D(keepdims=True)(copied(layers.Rescaling(1 / 255)(i)))
    layer = layers.Conv2D(3, 1, use_bias=False)
    y = layers.Softmax()(layer(x))
    layer.set_weights([GAIN * np.eye(3, dtype="float32")[None, None]])
    return keras.Model(i, y)


def squeezed() -> keras.Model:
    """As SqueezeNet ends: the last convolution has a channel a class, and the mean of each is its score."""
    i = pixels()
    layer = layers.Conv2D(3, 1, use_bias=False)
    y = layers.Softmax()(pooled(layer(layers.Rescaling(1 / 255)(i))))
    layer.set_weights([GAIN * np.eye(3, dtype="float32")[None, None]])
    return keras.Model(i, y)


def channels_first_input() -> keras.Model:
    i = pixels((3, SIZE, SIZE))
    return keras.Model(i, dense(pooled(copied(layers.Permute((2, 3, 1))(layers.Rescaling(1 / 255)(i))))))


def channels_first_inside() -> keras.Model:
    i = pixels()
    x = layers.Permute((3, 1, 2))(layers.Rescaling(1 / 255)(i))
    x = copied(x, data_format="channels_first")
    return keras.Model(i, dense(pooled(x, data_format="channels_first")))


def gray(shape: Any = (SIZE, SIZE, 1)) -> keras.Model:
    """Dark, middle or bright."""
    i = pixels(shape)
    x = i if len(shape) == 3 else layers.Reshape((*shape, 1))(i)
    x = pooled(copied(layers.Rescaling(1 / 255)(x)))
    layer = layers.Dense(3, activation="softmax")
    y = layer(x)
    layer.set_weights([np.array([[-40.0, 0.0, 40.0]]), np.array([15.0, 0.0, -25.0])])
    return keras.Model(i, y)


GRAYS = [np.full((SIZE, SIZE), value, np.uint8) for value in (20, 128, 240)]


def adapted() -> keras.Model:
    i = pixels()
    layer = layers.Normalization(mean=[0.0, 0.0, 0.0], variance=[255.0**2] * 3)
    return keras.Model(i, dense(pooled(copied(layer(i)))))


def augmented() -> keras.Model:
    i = pixels()
    x = layers.RandomRotation(0.4, seed=1)(layers.RandomFlip(seed=2)(i))
    return keras.Model(i, dense(layers.Dropout(0.9)(pooled(copied(layers.Rescaling(1 / 255)(x))))))


def normalized() -> keras.Model:
    """Batch normalization between the pooled features and the classes."""
    i = pixels()
    layer = layers.BatchNormalization(epsilon=1e-3, trainable=True)
    x = layer(pooled(copied(layers.Rescaling(1 / 255)(i))))
    layer.set_weights([np.full(3, 2.0), np.full(3, 0.1), np.full(3, 0.1), np.full(3, 4.0)])
    return keras.Model(i, dense(x))


def scaled(means: np.ndarray) -> np.ndarray:
    """What that batch normalization computes."""
    return (means - 0.1) / np.sqrt(4.0 + 1e-3) * 2.0 + 0.1


def flat() -> keras.Model:
    """No convolution: there is no map of features."""
    i = pixels()
    x = layers.Flatten()(layers.AveragePooling2D(SIZE)(layers.Rescaling(1 / 255)(i)))
    return keras.Model(i, dense(x))


def averaged() -> keras.Model:
    """Two heads whose probabilities are averaged: neither is the head."""
    i = pixels()
    x = pooled(copied(layers.Rescaling(1 / 255)(i)))
    return keras.Model(i, layers.Average()([dense(x), dense(x)]))


def moved() -> keras.Model:
    i = pixels()
    x = layers.RandomFlip(seed=1)(layers.ZeroPadding2D(0)(layers.Resizing(SIZE, SIZE)(i)))
    return keras.Model(i, dense(pooled(copied(layers.Rescaling(1 / 255)(x)))))


def scaled_by_operations() -> keras.Model:
    i = pixels()
    return keras.Model(i, dense(pooled(copied((i[..., ::-1] - 127.5) / 127.5))))


def scaled_behind_lambda() -> keras.Model:
    i = pixels()
    return keras.Model(i, dense(pooled(copied(layers.Rescaling(1 / 255)(layers.Lambda(lambda x: x + 0.0)(i))))))


def sparsemax(y: Any) -> Any:
    """As its paper defines it: numbers that sum to 1, some of them 0."""
    ordered = ops.flip(ops.sort(y, axis=-1), axis=-1)
    sums = ops.cumsum(ordered, axis=-1) - 1.0
    number = np.array([[1.0, 2.0, 3.0]], np.float32)
    kept = ops.sum(ops.cast(ordered * number > sums, "float32"), axis=-1, keepdims=True)
    last = ops.sum(ops.where(ops.equal(number, kept), sums, 0.0), axis=-1, keepdims=True)
    return ops.maximum(y - last / kept, 0.0)


def quantized() -> keras.Model:
    model = net()
    model.layers[-1].quantize("int8")
    return model


def moved_places(move: Any) -> keras.Model:
    """Between the convolution and the pooling, places or axes are others than the image's."""
    i = pixels()
    x = copied(layers.Rescaling(1 / 255)(i))
    return keras.Model(i, dense(move(x)))


MOVES = {
    "moved axes": lambda x: ops.mean(ops.moveaxis(x, -1, 1), axis=(2, 3)),
    "swapped sides": lambda x: pooled(ops.swapaxes(x, 1, 2)),
    "permuted sides": lambda x: pooled(layers.Permute((2, 1, 3))(x)),
    "a flip": lambda x: pooled(ops.flip(x, axis=2)),
    "another shape": lambda x: pooled(layers.Reshape((SIZE // 2, SIZE * 2, 3))(x)),
    "a half": lambda x: pooled(ops.concatenate([x[:, : SIZE // 2], x[:, : SIZE // 2]], axis=1)),
    "a border": lambda x: 4 * pooled(layers.ZeroPadding2D(((0, SIZE), (0, SIZE)))(x)),
}


def cropped_first() -> keras.Model:
    i = pixels()
    return keras.Model(i, dense(pooled(copied(layers.Cropping2D(((0, 0), (0, SIZE // 2)))(i)))))


def bytes_in() -> keras.Model:
    i = pixels(dtype="uint8")
    return keras.Model(i, dense(pooled(copied(layers.Rescaling(1 / 255)(ops.cast(i, "float32"))))))


@keras.saving.register_keras_serializable(package="own_models")
class Brighter(keras.layers.Layer):
    """A layer of the user's own."""

    def call(self, x: Any) -> Any:
        return x * 2.0


def with_own_layer() -> keras.Model:
    i = pixels()
    return keras.Model(i, dense(pooled(copied(Brighter()(layers.Rescaling(1 / 510)(i))))))


class Subclass(keras.Model):
    """A model that only its own ``call`` knows."""

    def __init__(self, activation: Any = "softmax", after: Any = None, units: int = 3) -> None:
        super().__init__()
        self.scale = layers.Rescaling(1 / 255)
        self.pool = layers.GlobalAveragePooling2D()
        self.classes = layers.Dense(units, activation=activation, use_bias=False)
        self.drop = layers.Dropout(0.5)
        self.after = after

    def call(self, inputs: Any) -> Any:
        outputs = self.classes(self.pool(self.scale(inputs)))
        return outputs if self.after is None else self.after(outputs)


def subclass(*arguments: Any, built: bool = True, kind: Any = Subclass, **options: Any) -> keras.Model:
    model = kind(*arguments, **options)
    if built:
        model(np.zeros((5, SIZE, SIZE, 3), "float32"))
        units = model.classes.units
        kernel = GAIN * (np.eye(3) if units == 3 else np.array([[1.0], [-1.0], [0.0]]))
        model.classes.set_weights([kernel])
    return model


class Deciding(Subclass):
    def call(self, inputs: Any) -> Any:
        return super().call(inputs if float(inputs[0, 0, 0, 0]) > 0 else inputs + 1)


class Overriding(keras.Model):
    """Functional by birth, with a ``call`` that turns the answer around."""

    def call(self, inputs: Any, **_: Any) -> Any:
        return super().call(255 - inputs)


def overriding() -> keras.Model:
    i = pixels()
    return Overriding(i, dense(pooled(copied(layers.Rescaling(-1 / 255, offset=1.0)(i)))))


def broken(value: float) -> keras.Model:
    model = net()
    model.set_weights([np.full_like(weights, value) for weights in model.get_weights()])
    return model


def temperature(y: Any) -> Any:
    return layers.Rescaling(0.5)(y)


def without_rescaling() -> keras.Model:
    i = pixels()
    return keras.Model(i, dense(pooled(copied(i))))


def several_labels(activation: Any, after: Any = None) -> keras.Model:
    i = pixels()
    x = pooled(copied(layers.Rescaling(1 / 255)(i)))
    layer = layers.Dense(3, activation=activation)
    y = layer(x)
    layer.set_weights([60 * np.eye(3), np.full(3, -15.0)])
    return keras.Model(i, y if after is None else after(y))


SIZED = {"input_size": (SIZE, SIZE)}
TAKEN = ("images", "cast", "pooled", "global_average_pooling2d", "dense", "softmax", "head", "serving", "dropout")
LOGITS = {"from_logits": True}

RIGHT = [
    Case("softmax in Dense", net),
    Case("Activation layer", lambda: net(None, layers.Activation("softmax"))),
    Case("Softmax layer", lambda: net(None, layers.Softmax())),
    Case("keras.ops.softmax", lambda: net(None, ops.softmax)),
    Case("softmax, then Dropout", lambda: net(after=layers.Dropout(0.5))),
    Case("softmax, then Flatten", lambda: net(after=layers.Flatten())),
    Case("Sequential", lambda: sequential(layers.Softmax())),
    Case("Sequential logits", sequential, LOGITS),
    Case("logits", lambda: net(None), LOGITS),
    Case("logits, then Dropout", lambda: net(None, layers.Dropout(0.5)), LOGITS),
    Case("logits, then Flatten", lambda: net(None, layers.Flatten()), LOGITS),
    Case("logits, then a temperature", lambda: net(None, temperature), LOGITS, logits=lambda means: GAIN / 2 * means),
    Case("log-probabilities", lambda: net("log_softmax"), LOGITS),
    Case("logits by a leaky ReLU", lambda: net(None, layers.ReLU(negative_slope=0.1)), LOGITS, formats=("keras",)),
    Case("list of one output", listed),
    Case("dictionary of one output", by_name),
    Case("list of one output, logits", lambda: listed(None), LOGITS),
    Case("fixed batch of 1", lambda: net(batch_size=1)),
    Case("fixed batch of 5", lambda: net(batch_size=5)),
    Case("open size", lambda: net(shape=(None, None, 3)), SIZED),
    Case("half open size", lambda: net(shape=(SIZE, None, 3)), SIZED),
    Case("channels first", channels_first_input),
    Case("channels first inside", channels_first_inside, formats=()),
    Case("trunk in a model", lambda: nested(head=False)),
    Case("trunk and head in a model", nested),
    Case("trunk named as ours", lambda: nested("images")),
    Case("whole model behind Rescaling", whole_behind_rescaling),
    Case("three models deep", deep),
    Case("layers shared with another model", shared),
    *(Case(f"layers named {name}", lambda name=name: colliding(name), formats=("keras",)) for name in TAKEN),
    Case("layers of all these names", lambda: colliding(*TAKEN)),
    Case("logits, a layer named softmax", lambda: logits_named("softmax"), LOGITS),
    Case("a convolution for a head", convolution_head),
    *(
        Case(f"a convolution for a head, pooled by {name}", lambda name=name: convolution_head(name))
        for name in ("global_average_pooling2d", "pooled")
    ),
    Case("scores (N, 1, 1, C)", four_axes),
    Case("a channel a class", squeezed),
    Case("adapted Normalization", adapted),
    Case("augmentation and dropout inside", augmented),
    Case(
        "BatchNormalization before the head",
        normalized,
        logits=lambda means: GAIN * scaled(means),
        embedding=lambda means: scaled(means),
    ),
    Case("no convolution", flat, explains=False),
    Case("average of two heads", averaged, embeds=False),
    Case("uint8 input", bytes_in),
    Case("layers that move pixels first", moved, formats=("keras",)),
    *(
        Case(f"{name} behind the convolution", lambda move=move: moved_places(move), formats=("keras",))
        for name, move in MOVES.items()
        if name != "a half"
    ),
    Case("a layer of the user's own", with_own_layer),
    Case("Lambda", lambda: net(None, layers.Lambda(lambda x: ops.softmax(x))), formats=()),
    Case("subclass", subclass, SIZED, embeds=False, explains=False, formats=()),
    Case(
        "subclass logits",
        lambda: subclass(None),
        {**SIZED, **LOGITS},
        embeds=False,
        explains=False,
        formats=(),
    ),
    Case(
        "subclass with keras.ops.softmax",
        lambda: subclass(None, ops.softmax),
        SIZED,
        embeds=False,
        explains=False,
        formats=(),
    ),
    Case("Functional with its own call", overriding, embeds=False, explains=False, formats=()),
    Case("preprocess by hand", without_rescaling, {"preprocess": lambda x: x / 255}),
    Case("labels by class_indices", net, labels={"blue": 2, "green": 1, "red": 0}, formats=("keras",)),
    Case("labels by index", net, labels={2: "blue", 0: "red", 1: "green"}, formats=("keras",)),
    Case("labels from a file's lines", net, labels=["red\n", "green\n", "blue\n"], formats=("keras",)),
    *(
        Case(
            name,
            lambda shape=shape: gray(shape),
            labels=["dark", "middle", "bright"],
            images=GRAYS,
            logits=lambda means: means[:, :1] * [-40.0, 0.0, 40.0] + [15.0, 0.0, -25.0],
            embedding=lambda means: means[:, :1],
        )
        for name, shape in {"gray": (SIZE, SIZE, 1), "gray without an axis of channels": (SIZE, SIZE)}.items()
    ),
]


BINARY = [
    Case("one sigmoid", lambda: net("sigmoid", units=1)),
    Case("one logit", lambda: net(None, units=1), LOGITS),
    Case("one sigmoid in a layer of its own", lambda: net(None, layers.Activation("sigmoid"), units=1)),
    Case("one sigmoid as an operation", lambda: net(None, ops.sigmoid, units=1)),
    Case("one sigmoid, then Dropout", lambda: net("sigmoid", layers.Dropout(0.5), units=1)),
    Case(
        "one logit of a subclass",
        lambda: subclass(None, units=1),
        {**SIZED, **LOGITS},
        embeds=False,
        explains=False,
        formats=(),
    ),
    Case(
        "one sigmoid of a subclass",
        lambda: subclass("sigmoid", units=1),
        SIZED,
        embeds=False,
        explains=False,
        formats=(),
    ),
]
"""Labels are green and red: the output is the probability of red."""

SEVERAL = [
    Case("sigmoids", lambda: several_labels("sigmoid")),
    Case("sigmoids of logits", lambda: several_labels(None), LOGITS),
    Case("sigmoids as an operation", lambda: several_labels(None, ops.sigmoid)),
]
"""An image may be red and green at once."""


SOFTMAX = "end the network in a softmax, or use Classifier.from_keras(..., from_logits=True)"
NOT_ONE = "those of one image sum to"
NOT_FINITE = "the network gives NaN or infinite values"
NEVER_BUILT = "the model has never been built, so it has no trained weights"
ALREADY = "are probabilities already, from 0 to 1"


REFUSED = [
    *(
        (f"logits, then {name}", lambda after=after: net(None, after), {}, SOFTMAX)
        for name, after in {
            "nothing": None,
            "Flatten": layers.Flatten(),
            "Dropout": layers.Dropout(0.1),
            "Lambda": layers.Lambda(lambda x: x / 2),
            "a temperature": temperature,
            "Reshape": layers.Reshape((3,)),
            "an operation": lambda y: y * 3.0,
        }.items()
    ),
    ("log_softmax", lambda: net("log_softmax"), {}, SOFTMAX),
    ("relu", lambda: net("relu"), {}, "so they are not probabilities"),
    ("softplus", lambda: net("softplus"), {}, "so they are not probabilities"),
    ("tanh", lambda: net("tanh"), {}, NOT_ONE),
    ("one tanh", lambda: net("tanh", units=1), {"labels": ["a", "b"]}, "end the network in a sigmoid, or use"),
    ("one logit", lambda: net(None, units=1), {"labels": ["a", "b"]}, "end the network in a sigmoid, or use"),
    ("sparsemax of Keras", lambda: net("sparsemax"), {}, "ends in Keras's sparsemax, whose values do not sum to 1"),
    ("sigmoids", lambda: net("sigmoid"), {}, "if an image may have several labels, give multi_label=True"),
    ("subclass of logits", lambda: subclass(None), SIZED, SOFTMAX),
    ("softmax and from_logits", net, LOGITS, ALREADY),
    ("operation softmax and from_logits", lambda: net(None, ops.softmax), LOGITS, ALREADY),
    ("subclass softmax and from_logits", subclass, {**SIZED, **LOGITS}, ALREADY),
    ("sigmoids and from_logits", lambda: net("sigmoid"), LOGITS, ALREADY),
    ("one sigmoid and from_logits", lambda: net("sigmoid", units=1), {**LOGITS, "labels": ["a", "b"]}, ALREADY),
    ("logits and multi_label", lambda: net(None), {"multi_label": True}, "end the network in a sigmoid, or use"),
    ("one output, one label", lambda: net("sigmoid", units=1), {"labels": ["red"]}, "give labels=[...] with 2 names"),
    ("one logit, one label", lambda: net(None, units=1), {"labels": ["red"], **LOGITS}, "one label on one output"),
    ("one output, three labels", lambda: net("sigmoid", units=1), {}, "give labels=[...] with 2 names"),
    ("one softmax", lambda: net("softmax", units=1), {"labels": ["a", "b"]}, "as a softmax over one output is"),
    (
        "one softmax of a subclass",
        lambda: subclass(None, ops.softmax, units=1),
        {**SIZED, "labels": ["a", "b"]},
        "as a softmax over one output is",
    ),
    *(
        (
            f"{count} by {name}, within 0 to 1 on the probes",
            lambda name=name, units=units: lucky(name, units),
            arguments,
            f"the network ends in {name}, which gives values outside 0 to 1",
        )
        for name in ("tanh", "relu", "linear")
        for count, units, arguments in (("one", 1, {"labels": ["a", "b"]}), ("several", 3, {"multi_label": True}))
    ),
    *(
        (f"{count} by {name} and from_logits", make, {**LOGITS, **arguments}, f"{name}, which {why}")
        for name, why in {
            "relu": "gives no number below 0",
            "softplus": "gives no number below 0",
            "exponential": "gives no number below 0",
            "tanh": "gives numbers from -1 to 1 only",
            "softsign": "gives numbers from -1 to 1 only",
            "log_sigmoid": "gives no number above 0",
        }.items()
        for count, make, arguments in (
            ("one", lambda name=name: net(name, units=1), {"labels": ["a", "b"]}),
            ("exclusive", lambda name=name: net(name), {}),
            ("several", lambda name=name: net(name), {"multi_label": True}),
        )
    ),
    ("several by log_softmax", lambda: net("log_softmax"), {**LOGITS, "multi_label": True}, "gives no number above 0"),
    ("relu, then Dropout", lambda: net("relu", layers.Dropout(0.5)), LOGITS, "relu, which gives no number below 0"),
    ("ReLU layer", lambda: net(None, layers.ReLU()), LOGITS, "relu, which gives no number below 0"),
    ("ReLU operation", lambda: net(None, ops.relu), LOGITS, "relu, which gives no number below 0"),
    ("two outputs", several, {}, "a classifier has one input and one output, not 1 and 2"),
    ("two outputs and from_logits", several, LOGITS, "a classifier has one input and one output, not 1 and 2"),
    ("two inputs", two_inputs, {}, "which is no image (None, height, width, channels)"),
    ("NaN", lambda: broken(np.nan), {}, NOT_FINITE),
    ("infinite", lambda: broken(np.inf), {}, NOT_FINITE),
    ("logarithm of 0", net, {"preprocess": lambda x: ops.log(x) * 0 + x}, NOT_FINITE),
    ("never built", lambda: keras.Sequential([layers.Flatten(), layers.Dense(3)]), SIZED, NEVER_BUILT),
    ("subclass never called", lambda: subclass(built=False), SIZED, NEVER_BUILT),
    ("conditions on values", lambda: subclass(kind=Deciding), SIZED, "write its call with keras.ops"),
    ("four channels", lambda: keras.Sequential([pixels((8, 8, 4)), layers.Flatten(), layers.Dense(3)]), {}, "not 4"),
    ("a vector", lambda: keras.Sequential([keras.Input((8,)), layers.Dense(3)]), {}, "which is no image"),
    ("open size", lambda: net(shape=(None, None, 3)), {}, "leaves its size open; give input_size=(height, width)"),
    ("another size", net, {"input_size": (8, 8)}, "the network takes (None, 24, 24, 3), but its spec says"),
    ("a map for scores", lambda: keras.Model(i := pixels(), copied(i)), {}, "not one score a class (N, C)"),
    ("scaled twice", net, {"preprocess": lambda x: x / 255}, "would scale them again; leave preprocess out"),
    ("scaled twice, pixels moved first", moved, {"preprocess": lambda x: x / 127.5 - 1}, "scale them again"),
    ("scaled twice, by operations", scaled_by_operations, {"preprocess": "keras_tf"}, "would scale them again"),
    (
        "scaled twice, behind a Lambda",
        scaled_behind_lambda,
        {"preprocess": "unit"},
        "would scale them again",
    ),
    ("scaled twice, by a variance", adapted, {"preprocess": "unit"}, "would scale them again"),
    ("scaled twice, within", lambda: nested(), {"preprocess": "unit"}, "would scale them again"),
    (
        "int8 input",
        lambda: keras.Model(i := pixels(dtype="int8"), dense(pooled(copied(ops.cast(i, "float32"))))),
        {},
        "takes int8, and pixel values go up to 255",
    ),
    ("uint8 and fractions", bytes_in, {"preprocess": lambda x: x / 255}, "would be cut to whole numbers"),
    ("preprocess of size", net, {"preprocess": lambda x: x[:, ::2]}, "a preprocess changes values"),
    ("labels as a set", net, {"labels": set(LABELS)}, "a set has no order"),
    ("labels as bytes", net, {"labels": [b"a", b"b", b"c"]}, "decode it first"),
    ("empty label", net, {"labels": ["a", "", "c"]}, "is an empty name"),
    ("too few labels", net, {"labels": ["a", "b"]}, "2 labels do not match the network's 3 outputs"),
    ("a path", lambda: "my.keras", {}, "load it first: Classifier.from_keras(keras.saving.load_model('my.keras')"),
    ("a layer", lambda: layers.Dense(3), {}, "make a model of it: inputs = keras.Input"),
    ("something else", lambda: 3, {}, "from_keras takes a keras.Model, not an object of type int"),
]
"""Name, model, arguments, and a part of the sentence."""
