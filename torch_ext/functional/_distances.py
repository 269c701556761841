"""Distances and similarities, and the losses made of them: the names of ``torch.nn.functional``."""

from __future__ import annotations

__all__: list[str] = []
