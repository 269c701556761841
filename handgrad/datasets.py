"""Data sets that need no download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from handgrad._errors import InputError


@dataclass(frozen=True)
class Split:
    """Examples in rows, for training and for the test of what was learnt."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def xor() -> tuple[np.ndarray, np.ndarray]:
    """The four points (4, 2) of exclusive or and their labels (4, 1): no straight line parts them."""
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return x, np.array([[0.0], [1.0], [1.0], [0.0]])


def digits(seed: int = 0, test: int = 450) -> Split:
    """1,797 handwritten digits, shuffled by ``seed``, the last ``test`` of them kept for the test.

    x (N, 64): pictures of 8 x 8 pixels in [0, 1]; y (N,): integers from 0 to 9. They ship inside
    scikit-learn. Raises InputError where that is not installed.

    Source: Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI repository.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise InputError(
            "The digits ship inside scikit-learn; received a Python without it; "
            "install it, by pip install scikit-learn."
        ) from None
    pictures, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(labels))
    x, y = pictures[order] / 16, labels[order].astype(np.int64)
    return Split(x[:-test], y[:-test], x[-test:], y[-test:])
