"""The record as one HTML file (slim for now)."""

from __future__ import annotations

from html import escape

from handgrad.report.markdown import to_markdown
from handgrad.report.record import Record


def to_html(record: Record, *, derivation_url: str = "") -> str:
    """The record as one HTML page."""
    return f"<!doctype html><meta charset=utf-8><pre>{escape(to_markdown(record))}</pre>\n"
