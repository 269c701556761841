"""The one error of this package."""


class ReportError(ValueError):
    """A report cannot be read, written or built: one sentence with rule, received, what to do."""
