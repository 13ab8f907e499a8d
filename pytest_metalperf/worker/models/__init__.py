"""The reference models: what is trained when a test names a model instead of building one.

They are the models that Apple named in 2020 for training with TensorFlow on the Mac: ResNet50V2 (fine-tuned),
CycleGAN, Style Transfer, MobileNetV3 and DenseNet121. Models named by Apple; settings ours: Apple published neither
batch and image sizes nor a script, so every module here names the paper or guide that its settings come from. Beside them
stands GPT-2, in Keras and plainly in PyTorch, JAX and MLX, which shows what a framework layer costs. Weights are random:
nothing is downloaded, and a step takes as long as it would with trained ones.

This module is the catalogue. It imports the standard library only, since the pytest process reads it too; the modules
beside it import Keras, or one framework, and are imported where the training runs.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["REFERENCE_MODELS", "ReferenceModel"]

Sizes = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class ReferenceModel:
    """One model that can be asked for by name, at the sizes `quick`, `standard` and `full`.

    `build` is `"module:function"`, the module being one of this package. The function takes the axes that each of
    `sizes` names, such as `batch_size` and `image_size` (pixels, square images).

    Without a `backend` it is of Keras, and returns `(model, (x, y))`: a compiled and built `keras.Model`, and one
    batch of NumPy arrays with the examples along the first axis. `y` is None where the loss needs nothing but `x`. With
    one it is written for that backend alone, and returns what its users train without Keras.
    """

    name: str
    build: str
    sizes: Sizes
    summary: str
    backend: str = ""

    @property
    def axes(self) -> frozenset[str]:
        """What its function takes, and every size gives."""
        return frozenset(self.sizes["quick"])

    def builder(self) -> Callable[..., Any]:
        """The function that `build` names. Imports a framework, so call it in a worker only."""
        module, function = self.build.split(":")
        builder: Callable[..., Any] = getattr(importlib.import_module(f".{module}", __name__), function)
        return builder


CLASSIFICATION: Sizes = {
    "quick": {"image_size": 64, "batch_size": 8},
    "standard": {"image_size": 128, "batch_size": 16},
    "full": {"image_size": 224, "batch_size": 32},
}
UNPAIRED_TRANSLATION: Sizes = {
    "quick": {"image_size": 64, "batch_size": 1},
    "standard": {"image_size": 128, "batch_size": 1},
    "full": {"image_size": 256, "batch_size": 1},
}
STYLIZATION: Sizes = {
    "quick": {"image_size": 64, "batch_size": 4},
    "standard": {"image_size": 128, "batch_size": 4},
    "full": {"image_size": 256, "batch_size": 4},
}
LANGUAGE: Sizes = {
    "quick": {"batch_size": 4, "context": 128, "layers": 6, "vocabulary": 256},
    "standard": {"batch_size": 4, "context": 256, "layers": 8, "vocabulary": 50257},
    "full": {"batch_size": 4, "context": 1024, "layers": 12, "vocabulary": 50257},
}
"""GPT-2 small at full: 124 million parameters. At quick 11 million, of which a vocabulary of bytes leaves the blocks most."""

REFERENCE_MODELS: dict[str, ReferenceModel] = {
    model.name: model
    for model in (
        ReferenceModel(
            name="resnet50v2",
            build="resnet50v2:whole_network",
            sizes=CLASSIFICATION,
            summary="ResNet50V2, fine-tuning of the whole network",
        ),
        ReferenceModel(
            name="resnet50v2-head",
            build="resnet50v2:head_only",
            sizes=CLASSIFICATION,
            summary="ResNet50V2, training of a new head on the frozen base",
        ),
        ReferenceModel(
            name="mobilenetv3",
            build="mobilenetv3:large",
            sizes=CLASSIFICATION,
            summary="MobileNetV3Large, from scratch",
        ),
        ReferenceModel(
            name="mobilenetv3-small",
            build="mobilenetv3:small",
            sizes=CLASSIFICATION,
            summary="MobileNetV3Small, from scratch",
        ),
        ReferenceModel(
            name="densenet121",
            build="densenet121:densenet121",
            sizes=CLASSIFICATION,
            summary="DenseNet121, from scratch",
        ),
        ReferenceModel(
            name="cyclegan",
            build="cyclegan:cyclegan",
            sizes=UNPAIRED_TRANSLATION,
            summary="CycleGAN, two generators and two discriminators in one step",
        ),
        ReferenceModel(
            name="style-transfer",
            build="style_transfer:style_transfer",
            sizes=STYLIZATION,
            summary="feed-forward style transfer with a perceptual loss on VGG16",
        ),
        ReferenceModel(
            name="gpt",
            build="gpt:gpt",
            sizes=LANGUAGE,
            summary="GPT-2 from scratch, in Keras",
        ),
        ReferenceModel(
            name="gpt-torch",
            build="gpt_torch:gpt",
            sizes=LANGUAGE,
            summary="the same training step in PyTorch, without Keras",
            backend="torch",
        ),
        ReferenceModel(
            name="gpt-jax",
            build="gpt_jax:gpt",
            sizes=LANGUAGE,
            summary="the same training step in JAX, without Keras",
            backend="jax",
        ),
        ReferenceModel(
            name="gpt-mlx",
            build="gpt_mlx:gpt",
            sizes=LANGUAGE,
            summary="the same training step in MLX, without Keras",
            backend="mlx",
        ),
    )
}
