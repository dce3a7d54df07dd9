from __future__ import annotations

import contextlib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from warned import messages

from pretrained_cnn import (
    InvalidArgumentError,
    ModelExistsError,
    ModelSpec,
    UnknownModelError,
    get_spec,
    list_models,
    register,
    unregister,
)
from pretrained_cnn._registry import Registry
from pretrained_cnn.registry import MODELS
from pretrained_cnn.runtimes import RUNTIMES, RuntimeSpec

pytestmark = pytest.mark.usefixtures("clean_registry")


def spec(name: str = "MyNet", **changes: Any) -> ModelSpec:
    return ModelSpec(**{"name": name, "builder": "a:b", "input_size": (8, 8), "labels": ["cat", "dog"], **changes})


def test_names_ignore_case_dashes_and_underscores() -> None:
    assert get_spec("resnet-50_v2") is get_spec("ResNet50V2")


def test_listing_is_in_natural_order_and_takes_patterns() -> None:
    assert list_models("efficientnetb*") == [f"EfficientNetB{i}" for i in range(8)]
    assert list_models("EfficientNet-V2*")[0] == "EfficientNetV2B0"
    assert list_models("*[12]") == [name for name in list_models() if name[-1] in "12"]
    assert list_models("nothing like it") == []
    register(spec("Net10"))
    register(spec("Net9"))
    assert list_models("net*") == ["Net9", "Net10"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Xseption", "unknown model 'Xseption'; did you mean 'Xception'? list_models() gives all names"),
        ("resnet18", "did you mean 'ResNet50V2', 'ResNet50' or 'ResNet101V2'?"),
        (
            "efficientnet",
            "did you mean 'EfficientNetLite0', 'EfficientNetB0' or 'EfficientNetV2B0'? "
            "16 names begin with 'efficientnet': list_models('efficientnet*')",
        ),
        ("resnet", "did you mean 'ResNet50V2', 'ResNet50' or 'ResNet101V2'? 6 names begin with 'resnet': "),
        ("xcep", "unknown model 'xcep'; did you mean 'Xception'? list_models() gives all names"),
        ("qqqqqqqqq", "unknown model 'qqqqqqqqq'; list_models() gives all names"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        get_spec(name)
    assert message in str(caught.value)


def test_a_name_is_a_string() -> None:
    with pytest.raises(InvalidArgumentError, match="a model's name is a str, not int: 50"):
        get_spec(50)  # type: ignore[arg-type]


def test_registering_a_name_twice() -> None:
    register(spec())
    with pytest.raises(ModelExistsError, match="a model named 'my-net' exists already; choose another name, or pass"):
        register(spec("my-net"))
    register(spec("my-net", input_size=(9, 9)), overwrite=True)
    assert get_spec("MyNet").input_size == (9, 9)
    unregister("MYNET")
    with pytest.raises(UnknownModelError):
        get_spec("MyNet")


def test_only_specs_are_registered() -> None:
    with pytest.raises(InvalidArgumentError, match="expected a ModelSpec, not str: 'Xception'"):
        register("Xception")  # type: ignore[arg-type]


def test_a_built_in_comes_back_when_its_replacement_goes() -> None:
    original = get_spec("Xception")
    with pytest.raises(ModelExistsError):
        register(spec("Xception"))
    register(spec("Xception"), overwrite=True)
    assert get_spec("Xception").input_size == (8, 8)
    unregister("Xception")
    assert get_spec("Xception") is original
    with pytest.raises(UnknownModelError, match="'Xception' was not registered by this program"):
        unregister("Xception")


def test_overwriting_drops_what_was_resolved(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "first_one.py").write_text("def decode(scores, top): return 'first'")
    (tmp_path / "second_one.py").write_text("def decode(scores, top): return 'second'")
    register(spec(labels=(), decode="first_one:decode"))
    assert get_spec("MyNet").decode(None, 1) == "first"
    register(spec(labels=(), decode="second_one:decode"), overwrite=True)
    assert get_spec("MyNet").decode(None, 1) == "second"


def test_listing_by_limits() -> None:
    everything = list_models()
    small = list_models(max_params=10e6)
    assert small == [name for name in everything if (get_spec(name).parameters or 1e12) <= 10e6]
    assert 0 < len(small) < len(everything)
    good = list_models("*net*", min_top1=np.float32(80))
    assert good == [name for name in list_models("*net*") if get_spec(name).published.top1 >= 80]  # type: ignore
    assert list_models("efficientnetb*", max_params=6e6, min_top1=77) == ["EfficientNetB0"]
    register(spec())
    assert "MyNet" in list_models(offline=True)
    assert "MyNet" not in list_models(max_params=1e12) + list_models(min_top1=0)
    for limits in ({"max_params": "1e6"}, {"max_params": 0}, {"min_top1": 101}, {"min_top1": True}):
        with pytest.raises(InvalidArgumentError, match=f"{next(iter(limits))}=.* is not a number"):
            list_models(**limits)  # type: ignore[arg-type]


def test_listing_what_needs_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert list_models(offline=True) == ["EfficientNetLite0"]
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / get_spec("Xception").weights_file().name).touch()
    assert list_models(offline=True) == ["EfficientNetLite0", "Xception"]
    monkeypatch.setattr("importlib.metadata.files", lambda package: None)
    assert list_models(offline=True) == ["Xception"]


def test_limits_leave_out_a_plugin_that_is_broken_with_a_warning() -> None:
    with MODELS.temporary([EntryPoint("Broken", "no_such_module:spec", MODELS.group)]), messages() as warned:
        assert "Broken" in list_models()
        assert "Xception" in list_models(max_params=1e9)
    (message,) = warned
    assert message.startswith("the plugin 'Broken' of an unknown package (no_such_module:spec) cannot be loaded: ")
    assert message.endswith("; it is left out")


# One registry for all kinds


def runtime(name: str, format: Any = "onnx") -> RuntimeSpec:
    return RuntimeSpec(name=name, factory="a:b", format=format)


KINDS = [
    pytest.param(MODELS, "Xception", spec, UnknownModelError, ModelExistsError, id="models"),
    pytest.param(RUNTIMES, "openvino", runtime, InvalidArgumentError, InvalidArgumentError, id="runtimes"),
]


@pytest.mark.parametrize(("registry", "built_in", "make", "unknown", "exists"), KINDS)
def test_models_and_runtimes_are_looked_up_replaced_and_refused_alike(
    registry: Registry[Any], built_in: str, make: Any, unknown: type[Exception], exists: type[Exception]
) -> None:
    original = registry.get(built_in)
    with pytest.raises(exists, match=f"named '{built_in}' exists already; .* pass overwrite=True to replace it"):
        registry.register(make(built_in))
    mine = make(built_in.upper())
    registry.register(mine, overwrite=True)
    assert registry.get(built_in) is mine
    assert mine.name in registry.names()
    assert original.name not in registry.names()
    registry.unregister(f"-{built_in}_")
    assert registry.get(built_in) is original
    with pytest.raises(unknown, match=f"'{built_in}' was not registered by this program"):
        registry.unregister(built_in)
    with pytest.raises(unknown, match=f"unknown [a-z]+ '{built_in}x'; did you mean '{built_in}'"):
        registry.get(f"{built_in}x")
    with pytest.raises(InvalidArgumentError, match="name is a str, not int: 3"):
        registry.get(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(("registry", "built_in", "make", "unknown", "exists"), KINDS)
def test_a_name_that_a_plugin_has_is_taken_and_what_the_program_registers_wins(
    registry: Registry[Any], built_in: str, make: Any, unknown: type[Exception], exists: type[Exception]
) -> None:
    offered = [EntryPoint("Mine", "no_such_module:spec", registry.group)]
    with registry.temporary(offered):
        assert registry.names()[-1] == "Mine"
        assert registry.peek("mine") is None
        with pytest.raises(exists, match="named 'mine' exists already"):
            registry.register(make("mine"))
        registry.register(make("mine"), overwrite=True)
        assert registry.get("MINE").name == "mine"
        assert registry.names()[-1] == "mine"
    with pytest.raises(unknown):
        registry.get("mine")
    assert "Mine" not in registry.names()


def test_a_program_may_replace_a_runtime_and_its_format_is_run_by_the_new_one() -> None:
    from pretrained_cnn.runtimes import runtime_for

    mine = runtime("OpenVINO", "openvino")
    RUNTIMES.register(mine, overwrite=True)
    assert runtime_for("openvino") is mine


# Plugins


class FakePackage:
    def __init__(self, name: str) -> None:
        self.name, self.version = name, "1.2"


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Any:
    """Offer entry points: ``plugins(name="module:attr", package=...)``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "good_plugin.py").write_text(
        "from pretrained_cnn import ModelSpec\n"
        "spec = ModelSpec(name='PlugNet', builder='a:b', input_size=(8, 8), labels=['a'])\n"
        "number = 3\n"
    )
    (tmp_path / "broken_plugin.py").write_text("import a_package_that_is_not_there")
    points: list[EntryPoint] = []
    with contextlib.ExitStack() as stack:

        def offer(name: str, value: str, package: str = "plug") -> None:
            point = EntryPoint(name, value, MODELS.group)
            vars(point)["dist"] = FakePackage(package)
            points.append(point)
            stack.enter_context(MODELS.temporary(points))

        yield offer


def test_a_plugin_is_listed_from_its_metadata_and_loaded_when_asked_for(plugins: Any) -> None:
    import sys

    plugins("PlugNet", "good_plugin:spec")
    assert list_models("plug*") == ["PlugNet"]
    assert "good_plugin" not in sys.modules
    assert get_spec("plug-net").input_size == (8, 8)
    with pytest.raises(ModelExistsError):
        register(spec("PlugNet"))


def test_a_broken_plugin_fails_only_when_asked_for_and_by_name(plugins: Any) -> None:
    plugins("Broken", "broken_plugin:spec")
    plugins("PlugNet", "good_plugin:spec")
    assert "Broken" in list_models()
    assert get_spec("PlugNet")
    with pytest.raises(
        InvalidArgumentError,
        match=r"the plugin 'Broken' of plug 1\.2 \(broken_plugin:spec\) cannot be loaded: ModuleNotFoundError: "
        "No module named 'a_package_that_is_not_there'",
    ):
        get_spec("broken")


def test_a_plugin_that_is_no_spec(plugins: Any) -> None:
    plugins("Number", "good_plugin:number")
    with pytest.raises(InvalidArgumentError, match="is not a ModelSpec but a int"):
        get_spec("Number")


def test_a_plugin_under_another_name(plugins: Any) -> None:
    plugins("Other", "good_plugin:spec")
    with pytest.raises(InvalidArgumentError, match="names itself 'PlugNet'"):
        get_spec("Other")


def test_no_plugin_shadows_a_built_in(plugins: Any) -> None:
    plugins("x-ception", "broken_plugin:spec")
    assert list_models("x*") == ["Xception"]
    assert get_spec("Xception").input_size == (299, 299)


def test_two_packages_that_offer_one_name_are_both_named(plugins: Any) -> None:
    plugins("PlugNet", "good_plugin:spec", "plug-a")
    plugins("PlugNet", "good_plugin:spec", "plug-b")
    with pytest.raises(
        InvalidArgumentError,
        match=r"several packages offer a model named 'PlugNet': plug-a 1\.2 and plug-b 1\.2; uninstall one",
    ):
        get_spec("PlugNet")
