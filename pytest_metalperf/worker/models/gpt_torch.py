"""GPT-2 (see `_gpt.py`) as PyTorch's users write it: modules, AdamW, fused attention."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from . import _gpt


def gpt(*, device: torch.device, batch_size: int, context: int, layers: int, vocabulary: int) -> tuple[Any, ...]:
    """The network, its optimizer, the loss, and one batch of tokens with those that follow them, int64."""
    model = GPT(context, layers, vocabulary)
    weights = _gpt.as_modules_name_them(_gpt.first_weights(context=context, layers=layers, vocabulary=vocabulary))
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    model.to(device)
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": _gpt.WEIGHT_DECAY},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=_gpt.LEARNING_RATE, betas=_gpt.BETAS, eps=_gpt.ADAM_EPSILON)
    x, y = _gpt.tokens(batch_size=batch_size, context=context, vocabulary=vocabulary)
    return model, optimizer, next_token_loss, (torch.from_numpy(x).long(), torch.from_numpy(y).long())


def next_token_loss(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, the mean over all tokens."""
    return functional.cross_entropy(logits.flatten(0, 1), y.flatten())


class GPT(nn.Module):  # type: ignore[misc]
    """Tokens (batch, context) to logits of the next ones (batch, context, vocabulary)."""

    def __init__(self, context: int, layers: int, vocabulary: int) -> None:
        super().__init__()
        width = _gpt.width_of(layers)
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=_gpt.NORM_EPSILON)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The logits, by the weights that embed the tokens."""
        h = self.token(tokens) + self.position(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            h = block(h)
        return functional.linear(self.norm(h), self.token.weight)


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

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """Of the same shape as `h` (batch, context, width)."""
        q, k, v = (
            part.unflatten(-1, (-1, _gpt.HEAD_WIDTH)).transpose(1, 2)  # (batch, heads, context, 64)
            for part in self.qkv(self.norm_1(h)).chunk(3, dim=-1)
        )
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.projection(attended.transpose(1, 2).flatten(2))
        return h + self.down(functional.gelu(self.up(self.norm_2(h)), approximate="tanh"))
