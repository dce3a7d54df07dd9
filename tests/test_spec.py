from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest

from pretrained_cnn import InvalidArgumentError, ModelSpec, ResizePolicy, WeightsError, get_spec, list_models
from pretrained_cnn.labels import imagenet_labels


def build(input_shape: tuple[int, int, int]) -> Any:
    """A builder that can be found by its name."""


GOOD: dict[str, Any] = {"name": "MyNet", "builder": "a:b", "input_size": (8, 8), "labels": ["cat", "dog"]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "name='' is not a name"),
        ({"builder": "nonsense"}, "MyNet: builder='nonsense' is not of the form \"module:attr\""),
        ({"builder": None}, 'MyNet: builder=None is neither a function nor "module:attr"'),
        ({"builder": 3}, 'MyNet: builder=3 is neither a function nor "module:attr"'),
        ({"preprocess": 3}, 'MyNet: preprocess=3 is neither a function nor "module:attr"'),
        ({"input_size": 224}, "MyNet: input_size=224 is not (height, width) in pixels"),
        ({"input_size": (224, 224, 3)}, "MyNet: input_size=(224, 224, 3) is not (height, width) in pixels"),
        ({"input_size": (0, 8)}, "MyNet: input_size=(0, 8) is not (height, width) in pixels"),
        ({"labels": ()}, "MyNet: give labels=[...] or a decode function: its outputs need names"),
        ({"labels": "cat"}, "MyNet: labels='cat' is neither a list nor \"imagenet\""),
        (
            {"labels": [1, 2]},
            "MyNet: labels=[1, 2]: 1 is neither a name nor an (id, name) pair",
        ),
        ({"labels": ["a", "a"]}, "MyNet: labels has 'a' twice; give (id, name) pairs with different ids"),
        ({"resize": "crop"}, "MyNet: resize='crop' is not a ResizePolicy"),
        ({"decode": "a:b"}, "MyNet: give labels or decode, not both"),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        ModelSpec(**{**GOOD, **changes})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "stretch"}, "method='stretch' is not known; choose 'crop', 'squash' or 'pad'"),
        ({"interpolation": "cubic"}, "interpolation='cubic' is not known; choose 'nearest', 'bilinear',"),
        ({"crop_fraction": 0}, "crop_fraction=0 is not a number above 0 and of at most 1"),
        ({"crop_fraction": 1.5}, "crop_fraction=1.5 is not a number above 0 and of at most 1"),
    ],
)
def test_a_resize_policy_that_is_none(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        ResizePolicy(**arguments)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", list_models())
def test_a_spec_survives_json_and_pickle(name: str) -> None:
    spec = get_spec(name)
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_functions_of_ones_own_are_named_where_they_can_be() -> None:
    assert ModelSpec(**{**GOOD, "builder": build}).to_dict()["builder"] == f"{__name__}:build"
    with pytest.raises(InvalidArgumentError, match=r'MyNet: preprocess=.* cannot be written as "module:attr"'):
        ModelSpec(**GOOD, preprocess=lambda x: x).to_dict()


def test_replacing_labels_and_decode() -> None:
    spec = ModelSpec(**GOOD)
    assert [label.name for label in spec.replace(labels=["x"]).labels] == ["x"]
    own = spec.replace(decode="a:decode")
    assert own.labels == ()
    assert own.replace(labels=["x"]).decode(np.ones((1, 1)))[0][0].label == "x"
    assert spec.replace(name="Other").labels == spec.labels


def test_a_spec_is_immutable_and_readable() -> None:
    spec = ModelSpec(**GOOD)
    with pytest.raises(AttributeError):
        spec.name = "Other"  # type: ignore[misc]
    assert len(repr(get_spec("Xception"))) < 700
    assert "<function keras.applications.xception:preprocess_input>" in repr(get_spec("Xception"))


def test_the_catalog_is_complete() -> None:
    for spec in map(get_spec, list_models()):
        assert spec.labels == imagenet_labels()
        assert spec.embedding_size
        assert spec.parameters
        assert spec.published
        assert spec.published.source.startswith("https://")
        assert spec.source
        assert spec.resize == ResizePolicy()
        if spec.weights:
            assert {file.has_head for file in spec.weights} == {True, False}


def test_depth_is_known_where_keras_io_prints_it() -> None:
    without = {name for name in list_models() if get_spec(name).depth is None}
    families = ("MobileNetV3*", "EfficientNetV2*", "ConvNeXt*", "EfficientNetLite0")
    assert without == {name for family in families for name in list_models(family)}
    printed = {"VGG16": 16, "ResNet50": 107, "Xception": 81, "NASNetLarge": 533, "EfficientNetB7": 438}
    assert {name: get_spec(name).depth for name in printed} == printed


def test_files_without_a_hash_are_those_of_two_backbones() -> None:
    nameless = {name for name in list_models() if any(file.hash is None for file in get_spec(name).weights)}
    assert nameless == {"MobileNet", "MobileNetV2"}


@pytest.mark.parametrize(
    ("name", "arguments", "file"),
    [
        ("Xception", {}, "xception_weights_tf_dim_ordering_tf_kernels.h5"),
        ("Xception", {"has_head": False}, "xception_weights_tf_dim_ordering_tf_kernels_notop.h5"),
        ("NASNetLarge", {"has_head": False}, "NASNet-large-no-top.h5"),
        ("MobileNet", {"options": {"alpha": 0.5, "dropout": 0.1}}, "mobilenet_5_0_224_tf.h5"),
        ("MobileNet", {"input_size": (160, 160)}, "mobilenet_1_0_160_tf.h5"),
        ("MobileNet", {"input_size": (300, 300)}, "mobilenet_1_0_224_tf.h5"),
        (
            "MobileNetV2",
            {"options": {"alpha": 1.4}},
            "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.4_224.h5",
        ),
        (
            "MobileNetV3Small",
            {"options": {"minimalistic": True}, "has_head": False},
            "weights_mobilenet_v3_small_minimalistic_224_1.0_float_no_top_v2.h5",
        ),
    ],
)
def test_the_weights_file_follows_the_options(name: str, arguments: dict[str, Any], file: str) -> None:
    assert get_spec(name).weights_file(**arguments).name == file


def test_options_without_published_weights() -> None:
    with pytest.raises(
        WeightsError,
        match=r"MobileNet has ImageNet weights for alpha=1.0 or alpha=0.75 or alpha=0.5 or alpha=0.25, "
        r"not for alpha=0.3; choose one of these, or give weights=<path> or weights=None",
    ):
        get_spec("MobileNet").weights_file(options={"alpha": 0.3})
    with pytest.raises(WeightsError, match="EfficientNetLite0 has no published weights"):
        get_spec("EfficientNetLite0").weights_file()
