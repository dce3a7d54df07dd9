"""Tiny classifiers, written by the tools that people use, whose answers follow from their weights.

Each takes the mean of every channel of 0 to 1 (divided by 255 within, or before), and a dense layer of that. A kind is
a function that writes a file and gives its path, what is known about the file, and the answer; the tools are imported
where they are used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from graph_files import BIAS, KERNEL, SIZE, images, logits, softmax, write_litert, write_onnx, write_saved_model
from numpy.typing import NDArray

Answer = Callable[[NDArray[np.uint8]], NDArray[np.float64]]


def unit(x: NDArray[np.uint8]) -> NDArray[np.float64]:
    return softmax(logits(x / 255))


def sigmoid(x: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logits(x / 255))))


def binary(x: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.concatenate([1 - sigmoid(x)[:, :1], sigmoid(x)[:, :1]], axis=1)


UNIT = {"preprocess": "unit"}
LOGITS = {"preprocess": "unit", "from_logits": True}
BINARY = {"preprocess": "unit", "labels": ["no", "yes"]}
FLAT = {"preprocess": "unit", "input_size": SIZE}


@dataclass(frozen=True)
class Kind:
    """A kind of file, and its right answer or the sentence that refuses it."""

    write: Callable[[Path], Path]
    arguments: dict[str, Any] = field(default_factory=lambda: UNIT)
    answer: Answer = unit
    within: float = 1e-5
    sentence: str | None = None
    slow: bool = False
    embeds: bool = True
    """Whether the input of the last dense layer, the mean of every channel, is the embedding."""


# -- Keras 3 and tf_keras


def network(tool: Any, *before: Any, classes: int = 4, activation: Any = "softmax", size: Any = (*SIZE, 3)) -> Any:
    """A model of ``tool``, which is keras or tf_keras."""
    dense = tool.layers.Dense(classes, activation)
    pool = tool.layers.GlobalAveragePooling2D()
    model = tool.Sequential([tool.Input(size), *before, pool, dense])
    dense.set_weights([KERNEL[: pool.input.shape[-1], :classes], BIAS[:classes]])
    return model


def keras_file(name: str, make: Callable[[Any], Any], *, old: bool = False) -> Callable[[Path], Path]:
    """A file that Keras 3 writes, or tf_keras if ``old``; ``make`` is given the module."""

    def write(folder: Path) -> Path:
        tool = keras_2() if old else keras_3()
        make(tool).save(folder / name)
        return folder / name

    return write


def keras_3() -> Any:
    import keras

    return keras


def keras_2() -> Any:
    import tf_keras

    return tf_keras


def rescaling(tool: Any) -> Any:
    return network(tool, tool.layers.Rescaling(1 / 255))


def augmenting(tool: Any) -> Any:
    return network(tool, tool.layers.RandomFlip(), tool.layers.Rescaling(1 / 255))


def functional(tool: Any) -> Any:
    """Arithmetic on tensors, a dense layer without a function, and a softmax of its own."""
    inputs = tool.Input((*SIZE, 3))
    dense = tool.layers.Dense(4)
    outputs = tool.layers.Softmax()(dense(tool.layers.GlobalAveragePooling2D()(inputs / 255.0)))
    dense.set_weights([KERNEL, BIAS])
    return tool.Model(inputs, outputs)


def nested(tool: Any) -> Any:
    inner = tool.Sequential([tool.Input((*SIZE, 3)), tool.layers.Rescaling(1 / 255), tool.layers.ReLU()])
    return network(tool, inner)


def gray(tool: Any) -> Any:
    return network(tool, size=(*SIZE, 1))


def convolutional(tool: Any) -> Any:
    """Ends in a convolution of one pixel, as MobileNet does."""
    pool = tool.layers.GlobalAveragePooling2D(keepdims=True)
    dense = tool.layers.Conv2D(4, 1)
    last = [tool.layers.Dropout(0.1), dense, tool.layers.Flatten(), tool.layers.Softmax()]
    model = tool.Sequential([tool.Input((*SIZE, 3)), pool, *last])
    dense.set_weights([KERNEL[None, None], BIAS])
    return model


def two_outputs(tool: Any) -> Any:
    inputs = tool.Input((*SIZE, 3))
    features = tool.layers.GlobalAveragePooling2D()(inputs)
    dense = tool.layers.Dense(4, "softmax")
    model = tool.Model(inputs, [features, dense(features)])
    dense.set_weights([KERNEL, BIAS])
    return model


# -- LiteRT's converter


def whole_range() -> NDArray[np.uint8]:
    """Images to quantize by, black and white among them."""
    return np.concatenate([images(count=20), np.zeros((1, *SIZE, 3), np.uint8), np.full((1, *SIZE, 3), 255, np.uint8)])


def converted(make: Callable[[Any], Any] = network, quantize: str | None = None) -> Callable[[Path], Path]:
    """A TFLite file, converted from a model of tf_keras, quantized as the tutorials do it."""

    def write(folder: Path) -> Path:
        import tensorflow as tf

        converter = tf.lite.TFLiteConverter.from_keras_model(make(keras_2()))
        if quantize is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        elif quantize not in (None, "weights"):
            converter.representative_dataset = lambda: ([x[None] / np.float32(255)] for x in whole_range())
        if quantize in ("int8", "uint8"):
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        elif quantize == "int16":
            kind = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            converter.target_spec.supported_ops = [kind]
        if quantize in ("int8", "uint8", "int16"):
            converter.inference_input_type = converter.inference_output_type = tf.as_dtype(quantize)
        path = folder / "a.tflite"
        path.write_bytes(converter.convert())
        return path

    return write


# -- ONNX, by onnx's helper and by ONNX Runtime's quantization


def onnx_file(change: Callable[[Any], None] | None = None, **options: Any) -> Callable[[Path], Path]:
    """An ONNX file; ``change`` may change the model."""

    def write(folder: Path) -> Path:
        import onnx

        path = write_onnx(folder / "a.onnx", **options)
        if change is not None:
            model = onnx.load(path)
            change(model)
            onnx.save(model, path)
        return path

    return write


def give(model: Any, *outputs: tuple[str, int | None]) -> None:
    """Make these tensors, of these types, the outputs."""
    from onnx import ValueInfoProto, helper

    del model.graph.output[:]
    for name, kind in outputs:
        untyped = ValueInfoProto(name=name)
        model.graph.output.append(untyped if kind is None else helper.make_tensor_value_info(name, kind, None))


def then(operator: str, *constants: Any, kind: int | None = 1, keep: bool = False, **attributes: Any) -> Any:
    """A change that ends an ONNX model in another operator, and also keeps its output if ``keep``."""

    def change(model: Any) -> None:
        from onnx import helper, numpy_helper

        last = model.graph.output[0].name
        names = [f"more{place}" for place in range(len(constants))]
        for name, value in zip(names, constants, strict=True):
            model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
        model.graph.node.append(helper.make_node(operator, [last, *names], ["end"], **attributes))
        give(model, ("end", kind), *([(last, 1)] if keep else []))

    return change


def as_of_old(model: Any) -> None:
    """As exporters of 2018 wrote: constants are also inputs."""
    from onnx import helper

    for each in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(each.name, each.data_type, each.dims))
    model.ir_version = 3


def constants_as_nodes(model: Any) -> None:
    from onnx import helper

    constants = list(model.graph.initializer)
    del model.graph.initializer[:]
    for each in constants:
        model.graph.node.insert(0, helper.make_node("Constant", [], [each.name], value=each))


def features_too(model: Any) -> None:
    give(model, (model.graph.node[0].output[0], None), (model.graph.output[0].name, 1))


def softmax_by_hand(model: Any) -> None:
    from onnx import helper, numpy_helper

    last = model.graph.output[0].name
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "axis"))
    model.graph.node.extend(
        [
            helper.make_node("Exp", [last], ["powers"]),
            helper.make_node("ReduceSum", ["powers", "axis"], ["sum"], keepdims=1),
            helper.make_node("Div", ["powers", "sum"], ["end"]),
        ]
    )
    give(model, ("end", 1))


def flat(channels: int) -> Any:
    """A change that makes the input rows of numbers."""

    def change(model: Any) -> None:
        from onnx import helper, numpy_helper

        del model.graph.input[:]
        model.graph.input.append(helper.make_tensor_value_info("rows", 1, ["N", channels * SIZE[0] * SIZE[1]]))
        model.graph.initializer.append(numpy_helper.from_array(np.array([-1, channels, *SIZE]), "sides"))
        model.graph.node.insert(0, helper.make_node("Reshape", ["rows", "sides"], ["pixels"]))

    return change


def without_shape(model: Any) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


def quantized_onnx(folder: Path, form: str) -> Path:
    from onnxruntime import quantization

    write_onnx(folder / "float.onnx")
    path = folder / "a.onnx"
    if form == "dynamic":
        quantization.quantize_dynamic(folder / "float.onnx", path)
        return path

    class Reader(quantization.CalibrationDataReader):
        given = iter([{"pixels": np.float32(x[None].transpose(0, 3, 1, 2) / 255)} for x in images(count=20)])

        def get_next(self) -> Any:
            return next(self.given, None)

    quantization.quantize_static(folder / "float.onnx", path, Reader(), quant_format=quantization.QuantFormat[form])
    return path


# -- OpenVINO


def openvino_file(write: Callable[[Path], Path], change: Any = None, **options: Any) -> Callable[[Path], Path]:
    """What OpenVINO makes of another file."""

    def convert(folder: Path) -> Path:
        from pretrained_cnn.runtimes.openvino import import_openvino

        ov = import_openvino()
        model = ov.convert_model(write(folder))
        ov.save_model(model if change is None else change(ov, model), folder / "a.xml", **options)
        return folder / "a.xml"

    return convert


def prepared(ov: Any, model: Any) -> Any:
    """Takes uint8 NHWC and scales it within, by OpenVINO's PrePostProcessor."""
    steps = ov.preprocess.PrePostProcessor(model)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    steps.input().preprocess().convert_element_type(ov.Type.f32).mean([0.0] * 3).scale([255.0] * 3)
    return steps.build()


def with_features(ov: Any, model: Any) -> Any:
    model.add_outputs(model.get_ordered_ops()[2].output(0))
    return model


# -- SavedModel


def signature(
    give: Callable[[Any], Any], shape: Any = (None, *SIZE, 3), dtype: str = "float32"
) -> Callable[[Path], Path]:
    """A SavedModel whose signature gives ``give(x)``, of images of 0 to 1 the scores and the means."""

    def write(folder: Path) -> Path:
        import tensorflow as tf

        module = tf.Module()
        module.kernel = tf.Variable(KERNEL)

        def call(x: Any) -> Any:
            return give(x, lambda x: tf.nn.softmax(tf.reduce_mean(x, (1, 2)) @ module.kernel + BIAS))

        module.call = tf.function(call, input_signature=[tf.TensorSpec(shape, dtype)], autograph=False)
        tf.saved_model.save(module, str(folder / "a"), signatures=module.call)
        return folder / "a"

    return write


def of_bytes(x: Any, scores: Any) -> Any:
    import tensorflow as tf

    decoded = tf.map_fn(lambda data: tf.io.decode_png(data, 3), x, fn_output_signature=tf.uint8)
    return {"y": scores(tf.cast(tf.image.resize(decoded, SIZE), tf.float32))}


def of_integers(x: Any, scores: Any) -> Any:
    import tensorflow as tf

    return {"y": scores(tf.cast(x, tf.float32) / 255)}


def of_rows(x: Any, scores: Any) -> Any:
    import tensorflow as tf

    return {"y": scores(tf.reshape(x, (-1, *SIZE, 3)))}


def of_channels(x: Any, scores: Any) -> Any:
    import tensorflow as tf

    return {"y": scores(tf.transpose(x, (0, 2, 3, 1)))}


def of_tensorflow_1(folder: Path) -> Path:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        x = v1.placeholder(tf.float32, (None, *SIZE, 3))
        kernel = v1.get_variable("kernel", initializer=KERNEL, use_resource=False)
        y = tf.nn.softmax(tf.reduce_mean(x / 255, (1, 2)) @ kernel + BIAS)
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(folder / "a"), {"x": x}, {"y": y})
    return folder / "a"


def saved_model(make: Callable[[Any], Any], *, old: bool = True) -> Callable[[Path], Path]:
    """As ``model.save`` of tf_keras writes it, or ``model.export`` of Keras 3."""

    def write(folder: Path) -> Path:
        model = make(keras_2() if old else keras_3())
        if old:
            model.save(folder / "a", save_format="tf")
        else:
            model.export(folder / "a", verbose=False)
        return folder / "a"

    return write


FEW = 5e-3
"""How far integers of 8 bits may lie from the answer."""

logit_network = functools.partial(network, activation=None)
sigmoid_network = functools.partial(network, activation="sigmoid")
one_output = functools.partial(network, classes=1, activation="sigmoid")

KINDS: dict[str, Kind] = {
    "Keras 3: archive": Kind(keras_file("a.keras", network)),
    "Keras 3: HDF5": Kind(keras_file("a.h5", network)),
    "Keras 3: rescales": Kind(keras_file("a.keras", rescaling), {}),
    "Keras 3: rescales behind augmentation": Kind(keras_file("a.keras", augmenting), {}),
    "Keras 3: arithmetic, softmax of its own": Kind(keras_file("a.keras", functional), {}),
    "Keras 3: a model in a model": Kind(keras_file("a.keras", nested), {}),
    "Keras 3: logits": Kind(keras_file("a.keras", logit_network), LOGITS),
    "Keras 3: several labels": Kind(keras_file("a.keras", sigmoid_network), {**UNIT, "multi_label": True}, sigmoid),
    "Keras 3: one output": Kind(keras_file("a.keras", one_output), BINARY, binary),
    "Keras 3: gray": Kind(keras_file("a.keras", gray)),
    "Keras 2: archive": Kind(keras_file("a.keras", network, old=True), slow=True),
    "Keras 2: HDF5": Kind(keras_file("a.h5", network, old=True), slow=True),
    "Keras 2: rescales behind augmentation": Kind(keras_file("a.h5", augmenting, old=True), {}, slow=True),
    "Keras 2: arithmetic, softmax of its own": Kind(keras_file("a.h5", functional, old=True), {}, slow=True),
    "Keras 2: a model in a model": Kind(keras_file("a.h5", nested, old=True), {}, slow=True),
    "Keras 2: one output": Kind(keras_file("a.h5", one_output, old=True), BINARY, binary, slow=True),
    "LiteRT: converted": Kind(converted(), slow=True),
    "LiteRT: weights of 8 bits": Kind(converted(quantize="weights"), within=FEW, slow=True),
    "LiteRT: float16": Kind(converted(quantize="float16"), within=1e-3, slow=True),
    "LiteRT: integers within": Kind(converted(quantize="within"), within=FEW, slow=True),
    "LiteRT: int8": Kind(converted(quantize="int8"), {}, within=FEW, slow=True),
    "LiteRT: uint8": Kind(converted(quantize="uint8"), {}, within=FEW, slow=True),
    "LiteRT: int8 logits": Kind(converted(logit_network, "int8"), {"from_logits": True}, within=2e-2, slow=True),
    "LiteRT: int16": Kind(converted(quantize="int16"), within=1e-3, slow=True),
    "LiteRT: rescales": Kind(converted(rescaling), {}, slow=True),
    "LiteRT: a convolution as the last layer": Kind(converted(convolutional), slow=True),
    "LiteRT: two outputs": Kind(converted(two_outputs), slow=True),
    "LiteRT: by hand": Kind(lambda folder: write_litert(folder / "a.tflite")),
    "ONNX: constants are inputs": Kind(onnx_file(as_of_old)),
    "ONNX: constants are nodes": Kind(onnx_file(constants_as_nodes)),
    "ONNX: scores and features": Kind(onnx_file(features_too)),
    "ONNX: scores and the best class": Kind(onnx_file(then("ArgMax", kind=7, keep=True, axis=1))),
    "ONNX: no axis of images": Kind(onnx_file(then("Squeeze"), batch=1)),
    "ONNX: classes first": Kind(onnx_file(then("Transpose", perm=[1, 0]))),
    "ONNX: (N, 1, C)": Kind(onnx_file(then("Reshape", [-1, 1, 4]))),
    "ONNX: a softmax by hand": Kind(onnx_file(softmax_by_hand, last=None), embeds=False),
    "ONNX: rows of gray": Kind(onnx_file(flat(1), channels=1), FLAT),
    "ONNX: rows of colors": Kind(onnx_file(flat(3)), {**FLAT, "layout": "NCHW"}),
    "ONNX: a convolution as the last layer": Kind(onnx_file(dense="Conv")),
    "ONNX: float64": Kind(onnx_file(dtype="float64")),
    "ONNX: weights quantized": Kind(lambda folder: quantized_onnx(folder, "dynamic"), within=FEW, embeds=False),
    "ONNX: QDQ": Kind(lambda folder: quantized_onnx(folder, "QDQ"), within=2e-2, embeds=False),
    "ONNX: QOperator": Kind(lambda folder: quantized_onnx(folder, "QOperator"), within=2e-2, embeds=False),
    "OpenVINO: of ONNX, float16": Kind(openvino_file(onnx_file()), within=1e-3),
    "OpenVINO: of TFLite": Kind(openvino_file(lambda folder: write_litert(folder / "a.tflite"))),
    "OpenVINO: of a SavedModel": Kind(openvino_file(lambda folder: write_saved_model(folder / "a")), slow=True),
    "OpenVINO: prepared": Kind(openvino_file(onnx_file(), prepared), {}, within=1e-4),
    "OpenVINO: scores and features": Kind(openvino_file(onnx_file(), with_features)),
    "OpenVINO: a convolution as the last layer": Kind(openvino_file(onnx_file(dense="Conv"))),
    "OpenVINO: rows": Kind(openvino_file(onnx_file(flat(1), channels=1)), FLAT),
    "SavedModel: of a function": Kind(lambda folder: write_saved_model(folder / "a"), slow=True),
    "SavedModel: of uint8": Kind(signature(of_integers, dtype="uint8"), {}, slow=True),
    "SavedModel: channels first": Kind(signature(of_channels, (1, 3, *SIZE)), slow=True),
    "SavedModel: rows": Kind(signature(of_rows, (None, 72)), {**FLAT, "layout": "NHWC"}, slow=True),
    "SavedModel: open size": Kind(
        signature(of_integers, (None, None, None, 3)), {"input_size": SIZE}, slow=True
    ),
    "SavedModel: TensorFlow 1": Kind(of_tensorflow_1, {}, slow=True),
    "SavedModel: tf_keras, augmentation": Kind(saved_model(augmenting), {}, slow=True),
    "SavedModel: tf_keras, two outputs": Kind(saved_model(two_outputs), slow=True),
    "SavedModel: a convolution as the last layer": Kind(saved_model(convolutional), slow=True),
    "SavedModel: Keras 3": Kind(saved_model(rescaling, old=False), {}, slow=True),
    # what is refused
    "ONNX: the best class alone": Kind(
        onnx_file(then("ArgMax", kind=7, axis=1)), sentence="gives no scores: its output is 'end' (int64)"
    ),
    "ONNX: logits and features": Kind(
        onnx_file(features_too, last=None), sentence="has 2 outputs, 'tensor0' (float32), 'tensor1' (float32), and none"
    ),
    "ONNX: probabilities called logits": Kind(
        onnx_file(softmax_by_hand, last=None), LOGITS, sentence="are probabilities already, from 0 to 1, and sum to 1"
    ),
    "ONNX: rows, nothing told": Kind(onnx_file(flat(3)), sentence="takes rows of 72 numbers and no images; if"),
    "ONNX: rows, order not told": Kind(onnx_file(flat(3)), FLAT, sentence="does not say their order; give layout="),
    "ONNX: rows, another size": Kind(
        onnx_file(flat(3)), {**UNIT, "input_size": (5, 5)}, sentence="images of 5 x 5 have 25 in gray and 75 in color"
    ),
    "ONNX: no shape": Kind(onnx_file(without_shape), sentence="leaves its number of axes open"),
    "ONNX: one row for two images": Kind(
        onnx_file(then("ReduceMean", keepdims=1, axes=[0]), batch=2), sentence="gives (1, 4) for 2 images"
    ),
    "SavedModel: of encoded images": Kind(
        signature(of_bytes, (None,), "string"), sentence="takes one image as numbers; its signatures are 'serving_def"
        "ault' of string (None,)", slow=True
    ),
}  # fmt: skip
"""More than 60 kinds of files, by name."""
