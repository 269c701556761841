"""PyTorch's own databases of functions and modules: a sampled part. All of it: `make sweep`."""

import pytest
import torch

pytest.importorskip("expecttest", reason="PyTorch's databases need it")

import torch_ext
from torch_ext.sweep import catalogue
from torch_ext.sweep.compare import compare_error, compare_exact, compare_low
from torch_ext.sweep.run import sweep
from torch_ext.sweep.samples import HAND, Faulty, entries

DERIVED = [name for name, entry in entries().items() if entry.derived]


@pytest.mark.parametrize("name", DERIVED)
def test_agrees_with_pytorch(name):
    row = sweep(entries()[name], limit=2, checks=("first", "complex128", "bfloat16", "error"))
    wrong = [f"{f.check}, sample {f.label}: {f.message}" for f in row.failures if f.check != "bfloat16"]
    assert not wrong, "\n".join(wrong)
    gross = [f for f in row.failures if "GROSS" in f.message or "raises" in f.message]
    assert not gross


def test_all_of_torch_nn_is_derived_or_left_out_with_a_reason():
    """A new PyTorch release shows here what is missing."""
    assert catalogue.missing() == ([], [])
    assert not [name for name, entry in entries().items() if not entry.derived]


def test_what_is_left_out_exists():
    assert catalogue.reasons_without_a_name() == []


RELU = torch_ext.functional.relu


def sample_of(name, index=0, dtype=torch.float64):
    return entries()[name].samples(dtype)[index]


@pytest.mark.parametrize(
    ("what", "wrong"),
    [
        ("output 0", lambda x: RELU(x) * (1 + 1e-12)),
        ("gradient of argument 0", lambda x: torch.where(x > 0, 2 * x - x.detach(), 0)),
        ("dtype", lambda x: RELU(x).float()),
        ("shape", lambda x: RELU(x)[None]),
        ("raises ValueError", lambda _: (_ for _ in ()).throw(ValueError("no"))),
        ("other random numbers", lambda x: RELU(x) + 0 * torch.rand(())),
        ("ReluBackward0", torch.relu),
    ],
)
def test_notices_what_is_wrong(monkeypatch, what, wrong):
    sample = sample_of("nn.functional.relu", 2)
    assert compare_exact(sample, second=False) == []
    monkeypatch.setattr("torch_ext.functional.relu", wrong)
    found = compare_exact(sample, second=False)
    assert any(what in f.message for f in found), found


def test_notices_less_precision_than_pytorchs(monkeypatch):
    sample = sample_of("nn.functional.gelu", dtype=torch.float32)
    assert compare_low(sample, torch.float32) == []
    rough = lambda x, **_: x * 0.5 * (1 + torch.erf(x * 0.7071))  # noqa: E731
    monkeypatch.setattr("torch_ext.functional.gelu", rough)
    assert any("GROSS" in f.message for f in compare_low(sample, torch.float32))


def test_notices_what_should_have_been_refused():
    def call(side):
        if side != HAND:
            raise ValueError("a rule")

    assert "accepted" in compare_error(Faulty("entry", "0", call))[0].message
