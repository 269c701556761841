"""The one way a wrong input is refused: the rule, what was received, what to do."""

from __future__ import annotations


class HandgradError(Exception):
    """Base of every error that handgrad raises on purpose."""


class InputError(HandgradError, ValueError, RuntimeError):
    """An input breaks a rule.

    It is a ``ValueError`` for NumPy users and a ``RuntimeError`` for PyTorch users: both
    libraries have their own habit, and code written for either must catch it.
    """


class IndexInputError(InputError, IndexError):
    """An index is out of range: an ``IndexError`` too, as in NumPy and PyTorch."""


class UnknownDerivation(HandgradError, KeyError):
    """No derivation is registered under that name."""

    def __str__(self) -> str:  # KeyError would print the repr of the text
        return str(self.args[0])


class LayerError(HandgradError):
    """A layer fails on inputs that it says it fits: its own mistake, so that it is named."""

    def __init__(self, layer: str, error: BaseException) -> None:
        super().__init__(f"{layer} raises {type(error).__name__}: {error}")
        self.layer = layer


class DuplicateDerivation(HandgradError, ValueError):
    """A name is registered twice."""


def require(holds: bool, rule: str, received: object, do: str, error: type[InputError] = InputError) -> None:
    """Raise :class:`InputError` (or the kind of it given) with one sentence unless the rule holds."""
    if not holds:
        end = "" if do.endswith("?") else "."
        raise error(f"{rule}; received {received}; {do}{end}")
