"""What the four versions of GPT have in common: first weights, a batch of tokens, AdamW's settings.

The network is GPT-2's (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"): blocks that normalize
before attention and before the two dense layers, a last normalization, and logits by the weights that embed the tokens.
GPT-2 small has 12 blocks, 12 heads and is 768 wide: 64 to a head, and a head to a block. Smaller ones here keep that shape,
so `layers` says width and heads too. GELU is its tanh approximation, and epsilon of the normalizations 1e-5, as in the
authors' code; there is no dropout, which no two frameworks draw alike.

The paper names no optimizer. AdamW's betas, epsilon, weight decay and rate are those of GPT-3's smallest network, which has
the same shape (Brown et al. 2020, arXiv:2005.14165, table 2.1 and appendix B), without its schedule and its clipping. What
has two dimensions decays.

https://github.com/openai/gpt-2
"""

import math
from typing import Any

import numpy as np

HEAD_WIDTH = 64
NORM_EPSILON = 1e-5
LEARNING_RATE = 6e-4
BETAS = (0.9, 0.95)
ADAM_EPSILON = 1e-8
WEIGHT_DECAY = 0.1


def width_of(layers: int) -> int:
    """Of the network with so many blocks, which has as many heads."""
    return HEAD_WIDTH * layers


def first_weights(*, context: int, layers: int, vocabulary: int) -> dict[str, Any]:
    """The same weights each time, nested as the network is: float32, kernels as (inputs, outputs).

    As the authors' code draws them: N(0, 0.02), positions N(0, 0.01), biases 0; and as the paper says, what is added to
    the residual stream divided by the square root of how often that happens, twice a block.
    """
    rng = np.random.default_rng(0)
    width = width_of(layers)

    def normal(*shape: int, deviation: float = 0.02) -> Any:
        drawn = rng.standard_normal(shape, dtype="float32")
        drawn *= np.float32(deviation)
        return drawn

    def dense(inputs: int, outputs: int, deviation: float = 0.02) -> dict[str, Any]:
        return {"kernel": normal(inputs, outputs, deviation=deviation), "bias": np.zeros(outputs, "float32")}

    def norm() -> dict[str, Any]:
        return {"scale": np.ones(width, "float32"), "bias": np.zeros(width, "float32")}

    residual = 0.02 / math.sqrt(2 * layers)
    return {
        "token": normal(vocabulary, width),
        "position": normal(context, width, deviation=0.01),
        "blocks": [
            {
                "norm_1": norm(),
                "qkv": dense(width, 3 * width),
                "projection": dense(width, width, residual),
                "norm_2": norm(),
                "up": dense(width, 4 * width),
                "down": dense(4 * width, width, residual),
            }
            for _ in range(layers)
        ],
        "norm": norm(),
    }


def as_modules_name_them(weights: dict[str, Any]) -> dict[str, Any]:
    """The same by the paths of PyTorch's and MLX' modules, `blocks.0.qkv.weight`; a kernel is (outputs, inputs) there."""
    found = {f"{name}.weight": weights[name] for name in ("token", "position")}
    parts = {f"blocks.{i}.{name}": part for i, block in enumerate(weights["blocks"]) for name, part in block.items()}
    for path, part in {**parts, "norm": weights["norm"]}.items():
        found[f"{path}.weight"] = np.ascontiguousarray(part["kernel"].T) if "kernel" in part else part["scale"]
        found[f"{path}.bias"] = part["bias"]
    return found


def tokens(*, batch_size: int, context: int, vocabulary: int) -> tuple[Any, Any]:
    """The same tokens each time, and those that follow them: int32 (batch_size, context) in 0..vocabulary-1."""
    drawn = np.random.default_rng(0).integers(vocabulary, size=(batch_size, context + 1), dtype="int32")
    return drawn[:, :-1].copy(), drawn[:, 1:].copy()
