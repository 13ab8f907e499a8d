"""GPT-2 (see `_gpt.py`) as MLX' users write it: modules, AdamW, fused attention."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optimizers

from . import _gpt


def gpt(*, batch_size: int, context: int, layers: int, vocabulary: int) -> tuple[Any, ...]:
    """The network, its optimizer, the loss, and one batch of tokens with those that follow them."""
    model = GPT(context, layers, vocabulary)
    weights = _gpt.as_modules_name_them(_gpt.first_weights(context=context, layers=layers, vocabulary=vocabulary))
    model.load_weights([(name, mx.array(array)) for name, array in weights.items()])
    decaying, rest = (
        optimizers.AdamW(_gpt.LEARNING_RATE, list(_gpt.BETAS), _gpt.ADAM_EPSILON, decay, bias_correction=True)
        for decay in (_gpt.WEIGHT_DECAY, 0.0)
    )
    optimizer = optimizers.MultiOptimizer([decaying, rest], [lambda _, weight: weight.ndim >= 2])
    return model, optimizer, next_token_loss, _gpt.tokens(batch_size=batch_size, context=context, vocabulary=vocabulary)


def next_token_loss(model: nn.Module, x: mx.array, y: mx.array) -> Any:
    """Cross-entropy, the mean over all tokens."""
    return nn.losses.cross_entropy(model(x), y, reduction="mean")


class GPT(nn.Module):  # type: ignore[misc]
    """Tokens (batch, context) to logits of the next ones (batch, context, vocabulary)."""

    def __init__(self, context: int, layers: int, vocabulary: int) -> None:
        super().__init__()
        width = _gpt.width_of(layers)
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.blocks = [Block(width) for _ in range(layers)]
        self.norm = nn.LayerNorm(width, eps=_gpt.NORM_EPSILON)

    def __call__(self, tokens: mx.array) -> Any:
        """The logits, by the weights that embed the tokens."""
        h = self.token(tokens) + self.position(mx.arange(tokens.shape[1]))
        for block in self.blocks:
            h = block(h)
        return self.token.as_linear(self.norm(h))


class Block(nn.Module):  # type: ignore[misc]
    """Causal attention and two dense layers, each normalized first and added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(width, eps=_gpt.NORM_EPSILON)
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.norm_2 = nn.LayerNorm(width, eps=_gpt.NORM_EPSILON)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def __call__(self, h: mx.array) -> Any:
        """Of the same shape as `h` (batch, context, width)."""
        q, k, v = (
            part.reshape(*h.shape[:2], -1, _gpt.HEAD_WIDTH).swapaxes(1, 2)  # (batch, heads, context, 64)
            for part in mx.split(self.qkv(self.norm_1(h)), 3, axis=-1)
        )
        attended = mx.fast.scaled_dot_product_attention(q, k, v, scale=_gpt.HEAD_WIDTH**-0.5, mask="causal")
        h = h + self.projection(attended.swapaxes(1, 2).reshape(h.shape))
        return h + self.down(nn.gelu_approx(self.up(self.norm_2(h))))
