"""GPT-2 (see `_gpt.py`) as JAX' users write it: functions of nested arrays, one of them jitted with its state's buffers reused.

AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) is written out, since JAX has no optimizers and nothing more is needed.
"""

from typing import Any

import jax
import jax.numpy as jnp

from ..problems import Problem
from ..step import Step
from . import _gpt

COMPUTED_IN = {"float32": "float32", "mixed_bfloat16": "bfloat16"}


def gpt(
    *, device: Any, batch_size: int, context: int, layers: int, vocabulary: int, precision: str = "float32"
) -> Step:
    """The training step, with all that can be checked of it.

    Raises:
        Problem: of kind ``builder``, for a precision in which it does not train.
    """
    if precision not in COMPUTED_IN:
        raise Problem(
            "builder",
            f"gpt-jax scales no loss, without which {precision} loses gradients: ask for mixed_bfloat16, or for gpt in Keras",
        )
    dtype = COMPUTED_IN[precision]
    params = jax.device_put(_gpt.first_weights(context=context, layers=layers, vocabulary=vocabulary), device)
    batch = jax.device_put(_gpt.tokens(batch_size=batch_size, context=context, vocabulary=vocabulary), device)
    zeros = {"count": jnp.zeros((), "int32"), **{key: jax.tree.map(jnp.zeros_like, params) for key in ("m", "v")}}
    state, moments = {"params": params}, jax.device_put(zeros, device)

    def loss_of(params: Any, batch: Any) -> Any:
        x, y = batch
        return next_token_loss(params, x, y, dtype)

    def update(params: Any, moments: Any, batch: Any) -> tuple[Any, Any, Any]:
        loss, gradients = jax.value_and_grad(loss_of)(params, batch)
        return *adamw(params, gradients, moments), loss

    def gradient_norm(params: Any, batch: Any) -> tuple[Any, Any]:
        loss, gradients = jax.value_and_grad(loss_of)(params, batch)
        return loss, jnp.sqrt(sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(gradients)))

    jitted = jax.jit(update, donate_argnums=(0, 1))

    def run() -> Any:
        nonlocal moments
        state["params"], moments, loss = jitted(state["params"], moments, batch)
        return loss

    return Step(
        run,
        parameters=state,
        examples=batch_size,
        loss_and_gradient=lambda: jax.jit(gradient_norm)(state["params"], batch),
        program=(jitted, params, moments, batch),
    )


def adamw(params: Any, gradients: Any, moments: Any) -> tuple[Any, Any]:
    """The weights and the optimizer's moments after one more step."""
    (beta_1, beta_2), count = _gpt.BETAS, moments["count"] + 1
    m = jax.tree.map(lambda m, g: beta_1 * m + (1 - beta_1) * g, moments["m"], gradients)
    v = jax.tree.map(lambda v, g: beta_2 * v + (1 - beta_2) * jnp.square(g), moments["v"], gradients)

    def moved(weight: Any, m: Any, v: Any) -> Any:
        kept = 1 - _gpt.LEARNING_RATE * _gpt.WEIGHT_DECAY if weight.ndim >= 2 else 1.0
        towards = (m / (1 - beta_1**count)) / (jnp.sqrt(v / (1 - beta_2**count)) + _gpt.ADAM_EPSILON)
        return kept * weight - _gpt.LEARNING_RATE * towards

    return jax.tree.map(moved, params, m, v), {"count": count, "m": m, "v": v}


def next_token_loss(params: Any, x: Any, y: Any, dtype: str) -> Any:
    """Cross-entropy of tokens (batch, context) computed in `dtype`, the mean over all of them, in float32."""
    logits = logits_of(jax.tree.map(lambda weight: weight.astype(dtype), params), x).astype("float32")
    picked = jnp.take_along_axis(logits, y[..., None], axis=-1)[..., 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - picked)


def logits_of(params: Any, tokens: Any) -> Any:
    """Tokens (batch, context) to logits of the next ones (batch, context, vocabulary)."""
    h = params["token"][tokens] + params["position"][: tokens.shape[1]]
    for block in params["blocks"]:
        q, k, v = (
            part.reshape(*tokens.shape, -1, _gpt.HEAD_WIDTH)  # (batch, context, heads, 64)
            for part in jnp.split(dense(block["qkv"], norm(block["norm_1"], h)), 3, axis=-1)
        )
        attended = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        h = h + dense(block["projection"], attended.reshape(h.shape))
        h = h + dense(block["down"], jax.nn.gelu(dense(block["up"], norm(block["norm_2"], h)), approximate=True))
    return norm(params["norm"], h) @ params["token"].T


def dense(weights: Any, h: Any) -> Any:
    """A product and a bias."""
    return h @ weights["kernel"] + weights["bias"]


def norm(weights: Any, h: Any) -> Any:
    """Layer normalization (Ba et al. 2016, arXiv:1607.06450), its statistics in float32."""
    exact = h.astype("float32")
    centred = exact - exact.mean(axis=-1, keepdims=True)
    scaled = centred * jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + _gpt.NORM_EPSILON)
    return scaled.astype(h.dtype) * weights["scale"] + weights["bias"]
