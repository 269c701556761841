"""A transformer with a hand-written activation in each block, and what a check of it takes beside its step.

``python -m torch_ext.bench.model MODE SIZE RIGHT REPEAT`` prints one line of JSON: a process of its own, so
that its largest memory is that of this work alone.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd import Function

import torch_ext


class SiLU(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.mul(x, torch.sigmoid(x))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return torch.mul(dy, s + x * s * (1 - s))


class WrongSiLU(SiLU):
    """The product rule's second term is missing."""

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.mul(dy, torch.sigmoid(x))


class HandSiLU(nn.Module):
    def __init__(self, wrong: bool) -> None:
        super().__init__()
        self.function = WrongSiLU if wrong else SiLU

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)  # type: ignore[no-any-return, no-untyped-call]


class Block(nn.Module):
    def __init__(self, width: int, heads: int, act: nn.Module) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.act, self.down = nn.Linear(width, 4 * width), act, nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(x.shape))
        return torch.add(x, self.down(self.act(self.up(self.norm2(x)))))


class Transformer(nn.Module):
    """Tokens of shape (batch, length) to logits (batch, length, vocabulary); its last weight is tied."""

    def __init__(self, layers: int, width: int, vocabulary: int, acts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(Block(width, max(1, width // 64), acts[i]) for i in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))  # type: ignore[no-any-return]


# layers, width, vocabulary, length
SIZES = {"tiny": (2, 8, 16, 4), "small": (4, 256, 2_000, 64), "full": (12, 768, 30_000, 128)}
BATCH = 2


def made(size: str, hand: bool, right: bool = True) -> Transformer:
    layers, width, vocabulary, _ = SIZES[size]
    wrong = layers // 2
    acts = [HandSiLU(not right and i == wrong) if hand else nn.SiLU() for i in range(layers)]
    torch.manual_seed(0)
    return Transformer(layers, width, vocabulary, acts)


def step(model: nn.Module, tokens: Tensor) -> None:
    """Forward and backward, as in training."""
    y = model(tokens)
    g = torch.Generator().manual_seed(0)
    y.backward(torch.randn(y.shape, generator=g))
    model.zero_grad(set_to_none=True)


def peak(again: bool = False) -> int:
    """Bytes of this process, at most so far; ``again``: from now on, where the system can (Linux)."""
    status = Path("/proc/self/status")
    if again and status.exists():
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    with suppress(OSError, StopIteration):
        largest = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(largest.split()[1]) * 1024
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def main(mode: str, size: str, right: bool, repeat: int) -> dict[str, Any]:
    """``mode``: "step" alone, or, in turns with a check, "reference" (with one) or "alone" (without)."""
    _, _, vocabulary, length = SIZES[size]
    tokens = torch.randint(0, vocabulary, (BATCH, length), generator=torch.Generator().manual_seed(1))
    small = nn.Linear(2, 2)
    torch_ext.check(small, (torch.zeros(1, 2),))  # loads what a first check loads
    idle = peak(again=True)
    model = made(size, True, right)
    reference = made(size, False) if mode == "reference" else None
    steps: list[float] = []
    checks: list[float] = []
    report = None
    step(model, tokens)  # the first one is slower
    for _ in range(repeat):
        start = time.perf_counter()
        step(model, tokens)
        steps.append(time.perf_counter() - start)
        if mode != "step":
            start = time.perf_counter()
            report = torch_ext.check(model, (tokens,), reference)
            checks.append(time.perf_counter() - start)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "step_seconds": steps,
        "seconds": checks,
        "bytes": max(1, peak() - idle),
        "passed": report is None or report.passed,
        "named": [] if report is None else [f"{f.kind}: {f.where}" for f in report.findings],
    }


if __name__ == "__main__":
    mode, size, right, repeat = sys.argv[1:]
    print(json.dumps(main(mode, size, right == "1", int(repeat))))
