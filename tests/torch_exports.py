"""Writes classifiers of PyTorch and of transformers to ONNX, as their users do it.

``python tests/torch_exports.py FOLDER`` makes a folder for each, with ``model.onnx`` and the logits of torch.
It is a program of its own, because torch takes half a gigabyte.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 37}
VIT = {"image_size": 32, "patch_size": 8, **SMALL}
SWIN = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
STAGES = {"hidden_sizes": [8, 16], "depths": [1, 1]}

# the network, or a class of transformers and its config; the arguments of torch.onnx.export; the width of the embedding
NETWORKS: dict[str, tuple[str | tuple[str, dict[str, Any]], dict[str, Any], int | None]] = {
    "linear": ("pooled", {}, 16),
    "hidden layer": ("hidden_layer", {}, 32),
    "fixed batch, version 9": ("hidden_layer", {"opset_version": 9, "batch": 1}, 32),
    "any batch, weights beside": ("pooled", {"dynamo": True}, 16),
    "fixed batch, weights beside": ("pooled", {"dynamo": True, "batch": 1}, 16),
    "four at once": ("pooled", {"batch": 4}, 16),
    "(N, C, 1, 1)": ("convolution", {}, None),
    "LogSoftmax": ("log_softmax", {}, 16),
    "no axis of images": ("squeezed", {"batch": 1}, 16),
    "normalizes": ("normalizing", {}, 16),
    "ViT": (("ViT", VIT), {}, 32),
    "ViT, weights beside": (("ViT", VIT), {"dynamo": True}, 32),
    "Dinov2": (("Dinov2", VIT), {}, 64),
    "Siglip": (("Siglip", {"vision_config": VIT}), {}, 32),
    "ResNet": (("ResNet", {"layer_type": "basic", "embedding_size": 8, **STAGES}), {}, 16),
    "ConvNext": (("ConvNext", {"num_stages": 2, **STAGES}), {}, 16),
    "Swin": (("Swin", SWIN), {}, 16),
}


def images() -> NDArray[np.uint8]:
    random = np.random.default_rng(0)
    levels = random.integers(0, 205, (5, 1, 1, 3))
    return (levels + random.integers(0, 50, (5, 32, 32, 3))).astype(np.uint8)


def main(folder: Path) -> None:
    import torch
    from torch import nn

    class Called(nn.Module):
        """A network whose answer is ``call(network, x)``."""

        def __init__(self, network: nn.Module, call: Callable[[nn.Module, Any], Any]) -> None:
            super().__init__()
            self.network = network
            self.call = call

        def forward(self, x: Any) -> Any:
            return self.call(self.network, x)

    def trunk(*head: nn.Module) -> nn.Module:
        norm = nn.BatchNorm2d(8)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        layers = [nn.Conv2d(3, 8, 3, 2, 1), norm, nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1, groups=8), nn.Hardswish()]
        return nn.Sequential(*layers, *head)

    def normalize(x: Any) -> Any:
        mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
        return (x - mean * 255) / (std * 255)

    def pooled() -> nn.Module:
        return trunk(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))

    own: dict[str, Callable[[], nn.Module]] = {
        "pooled": pooled,
        "hidden_layer": lambda: trunk(
            nn.Flatten(), nn.Linear(16 * 64, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 5)
        ),
        "convolution": lambda: trunk(nn.Conv2d(16, 5, 1), nn.AdaptiveAvgPool2d(1)),
        "log_softmax": lambda: nn.Sequential(pooled(), nn.LogSoftmax(1)),
        "squeezed": lambda: Called(pooled(), lambda network, x: network(x).squeeze(0)),
        "normalizing": lambda: Called(pooled(), lambda network, x: network(normalize(x))),
    }

    def transformer(name: str, config: dict[str, Any]) -> nn.Module:
        import transformers

        settings = getattr(transformers, f"{name}Config")(num_labels=5, **config)
        model = getattr(transformers, f"{name}ForImageClassification")(settings)
        return Called(model, lambda model, x: model(pixel_values=x).logits)

    def export(network: nn.Module, path: Path, batch: int | None = None, dynamo: bool = False, **options: Any) -> None:
        if batch is None and dynamo:
            options["dynamic_shapes"] = ({0: torch.export.Dim("N")},)
        elif batch is None:
            options |= {"input_names": ["x"], "dynamic_axes": {"x": {0: "N"}}}
        torch.onnx.export(network, (torch.zeros(batch or 2, 3, 32, 32),), path, dynamo=dynamo, verbose=False, **options)

    pixels = torch.tensor(images().transpose(0, 3, 1, 2).astype(np.float32))
    for name, (made, options, _) in NETWORKS.items():
        torch.manual_seed(0)
        network = (own[made]() if isinstance(made, str) else transformer(*made)).eval()
        last = [each for each in network.modules() if isinstance(each, nn.Linear | nn.Conv2d)][-1]
        with torch.no_grad():
            last.weight *= 10  # so that it tells images apart
            given = pixels if made == "normalizing" else normalize(pixels)
            logits = [network(each).reshape(1, 5).numpy() for each in given.split(1)]
        (folder / name).mkdir()
        np.save(folder / name / "logits.npy", np.concatenate(logits))
        export(network, folder / name / "model.onnx", **options)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
