"""Arrays of MLX that a step leaves behind: they are computed when somebody asks for them, and may be asked for too late."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from .fence import read_back
from .held import held_by
from .values import reported


def arrays_of(step: Callable[..., Any]) -> list[Any]:
    """The arrays of MLX that a step refers to, each once; none where nobody has imported MLX."""
    mlx = sys.modules.get("mlx.core")
    if mlx is None:
        return []
    leaves = (leaf for one in held_by(step) for _, leaf in reported(one))
    return list({id(leaf): leaf for leaf in leaves if isinstance(leaf, mlx.array)}.values())


def fence_of(step: Callable[..., Any]) -> Callable[[Any], float]:
    """A fence for a step of whatever framework: it reads a value back, and computes what MLX has put off."""

    def fence(outputs: Any) -> float:
        if arrays := arrays_of(step):
            sys.modules["mlx.core"].eval(arrays)
        return read_back(outputs)

    return fence if "mlx.core" in sys.modules else read_back
