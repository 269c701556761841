"""Distances and similarities, and the losses made of them."""

from __future__ import annotations

__all__: list[str] = []
