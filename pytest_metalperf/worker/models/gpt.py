"""GPT-2 (see `_gpt.py`) in Keras 3, for each of its backends."""

from typing import Any

import keras
from keras import layers as of_keras
from keras import ops

from . import _gpt


def gpt(*, batch_size: int, context: int, layers: int, vocabulary: int) -> tuple[keras.Model, tuple[Any, Any]]:
    """The network, and as `(x, y)` one batch of tokens with those that follow them."""
    model = GPT(context, layers, vocabulary)
    model.fill(_gpt.first_weights(context=context, layers=layers, vocabulary=vocabulary))
    optimizer = keras.optimizers.AdamW(
        _gpt.LEARNING_RATE,
        weight_decay=_gpt.WEIGHT_DECAY,
        beta_1=_gpt.BETAS[0],
        beta_2=_gpt.BETAS[1],
        epsilon=_gpt.ADAM_EPSILON,
    )
    optimizer.exclude_from_weight_decay(var_list=[v for v in model.trainable_variables if len(v.shape) < 2])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, jit_compile=False)
    return model, _gpt.tokens(batch_size=batch_size, context=context, vocabulary=vocabulary)


class GPT(keras.Model):  # type: ignore[misc]
    """Tokens (batch, context) to logits of the next ones, float32 (batch, context, vocabulary)."""

    def __init__(self, context: int, layers: int, vocabulary: int) -> None:
        super().__init__()
        width = _gpt.width_of(layers)
        self.token = of_keras.Embedding(vocabulary, width)
        self.position = of_keras.Embedding(context, width)
        self.stack = [Block(width) for _ in range(layers)]
        self.norm = of_keras.LayerNormalization(epsilon=_gpt.NORM_EPSILON)
        for layer in (self.token, self.position, *self.stack, self.norm):
            layer.build((None, context, width))
        self.built = True

    def call(self, tokens: Any) -> Any:
        """The logits, by the weights that embed the tokens."""
        h = self.token(tokens) + self.position(ops.arange(tokens.shape[1]))
        for block in self.stack:
            h = block(h)
        return ops.cast(ops.matmul(self.norm(h), ops.transpose(self.token.embeddings)), "float32")

    def fill(self, weights: dict[str, Any]) -> None:
        """Take these weights, nested as `_gpt.first_weights` nests them."""
        self.token.set_weights([weights["token"]])
        self.position.set_weights([weights["position"]])
        self.norm.set_weights(list(weights["norm"].values()))
        for block, parts in zip(self.stack, weights["blocks"], strict=True):
            for name, part in parts.items():
                getattr(block, name).set_weights(list(part.values()))


class Block(of_keras.Layer):  # type: ignore[misc]
    """Causal attention and two dense layers, each normalized first and added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_1 = of_keras.LayerNormalization(epsilon=_gpt.NORM_EPSILON)
        self.qkv = of_keras.Dense(3 * width)
        self.projection = of_keras.Dense(width)
        self.norm_2 = of_keras.LayerNormalization(epsilon=_gpt.NORM_EPSILON)
        self.up = of_keras.Dense(4 * width)
        self.down = of_keras.Dense(width)

    def build(self, shape: Any) -> None:
        """Make all variables, for inputs of this shape (batch, context, width)."""
        for layer in (self.norm_1, self.qkv, self.projection, self.norm_2, self.up):
            layer.build(shape)
        self.down.build((*shape[:-1], 4 * shape[-1]))
        self.built = True

    def call(self, h: Any) -> Any:
        """Of the same shape as `h` (batch, context, width)."""
        _, context, width = h.shape
        q, k, v = (
            ops.reshape(part, (-1, context, width // _gpt.HEAD_WIDTH, _gpt.HEAD_WIDTH))
            for part in ops.split(self.qkv(self.norm_1(h)), 3, axis=-1)
        )
        attended = ops.dot_product_attention(q, k, v, is_causal=True)
        h = h + self.projection(ops.reshape(attended, (-1, context, width)))
        return h + self.down(ops.gelu(self.up(self.norm_2(h)), approximate=True))
