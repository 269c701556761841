"""The one error of this package."""

from __future__ import annotations

from handgrad._errors import InputError


class ReportError(InputError):
    """A report cannot be read, written or built: one sentence with rule, received, what to do."""
