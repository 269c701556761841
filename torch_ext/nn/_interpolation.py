"""Interpolation, shuffles of pixels."""

from __future__ import annotations

__all__: list[str] = []
