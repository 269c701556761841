"""The same seed gives the same report: twice, in another process, with other hashes, on two threads."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

import torch_ext
from tests.checker.subjects import drawn, linear_backward, linear_forward, linear_inputs
from torch_ext.corpus.open import OPERATIONS

SUBJECTS = 15


def reports() -> str:
    """The reports on a part of the open corpus, right and with mistakes, and on modules, as one JSON text."""
    made: list[Any] = []
    for i, operation in enumerate(OPERATIONS[:: max(1, len(OPERATIONS) // SUBJECTS)][:SUBJECTS]):
        dtype = getattr(torch, operation.dtypes[i % len(operation.dtypes)])
        inputs = operation.inputs(torch.Generator().manual_seed(i), dtype)
        mistake = operation.mistakes[i % len(operation.mistakes)] if operation.mistakes and i % 2 else None
        target: Any = operation.function(mistake) if i % 4 < 2 else operation.pair(mistake)
        made.append(torch_ext.check(target, inputs, operation.reference if i % 3 else None, budget=60))
    torch.manual_seed(0)
    x = drawn(6, 3, dtype=torch.float32)
    for module in (
        nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.3)),
        nn.LSTM(3, 4),
        nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.GELU()),
    ):
        made.append(torch_ext.check(module, (x,), budget=60))
    return json.dumps([report.to_dict() for report in made])


def test_in_another_process_with_other_hashes_and_threads() -> None:
    script = (
        "import hashlib, sys, warnings; warnings.simplefilter('ignore'); import torch; "
        "torch.set_num_threads(int(sys.argv[1])); torch.rand(3); "
        "from tests.checker.test_reproducible import reports; "
        "print(hashlib.sha256(reports().encode()).hexdigest())"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, "2" if torch.get_num_threads() == 1 else "1"],
        env={**os.environ, "PYTHONHASHSEED": "77"},
        stdout=subprocess.PIPE,
        text=True,
    )
    here = hashlib.sha256(reports().encode()).hexdigest()
    assert other.communicate(timeout=120)[0].split() == [here]


@pytest.mark.parametrize("seed", [0, 3, 2**62 - 1])
def test_twice(seed: int) -> None:
    def backward(dy: Any, residuals: Any) -> Any:
        dx, dw, db = linear_backward(dy, residuals)
        return dx, 1.01 * dw, db

    made = [
        torch_ext.check((linear_forward, backward), linear_inputs(torch.float32), seed=seed).to_dict()
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert json.loads(json.dumps(made[0])) == made[0]


def test_another_seed_is_another_report() -> None:
    wrong = linear_forward, lambda dy, r: tuple(1.01 * d for d in linear_backward(dy, r))
    made = [json.dumps(torch_ext.check(wrong, linear_inputs(), seed=seed).to_dict()) for seed in (0, 1)]
    assert made[0].replace('"seed": 0', "") != made[1].replace('"seed": 1', "")
