"""Complex numbers: PyTorch's convention, the gradient with respect to the conjugate."""

import numpy as np
import pytest
import torch

import torch_ext
from handgrad import registry

CALLS = [
    ("add", [(3, 4), (4,)], {"alpha": 2 - 1j}),
    ("subtract", [(3, 4), (4,)], {"alpha": 2 - 1j}),
    ("multiply", [(3, 1), (1, 4)], {}),
    ("divide", [(3, 4), (4,)], {}),
    ("matmul", [(2, 3, 4), (4, 5)], {}),
    ("matmul", [(4,), (2, 4, 5)], {}),
    ("linear", [(3, 4), (2, 4), (2,)], {}),
    ("sum", [(3, 4)], {"dim": 1}),
    ("mean", [(3, 4)], {"dim": (0,), "keepdim": True}),
    ("sigmoid", [(3, 4)], {}),
    ("tanh", [(3, 4)], {}),
    ("exp", [(3, 4)], {}),
    ("log", [(3, 4)], {}),
    ("square", [(3, 4)], {}),
    ("reshape", [(3, 4)], {"shape": (2, -1)}),
    ("transpose", [(3, 4)], {"dim0": 0, "dim1": 1}),
    ("concat", [(3, 4), (2, 4)], {"dim": 0}),
]


def reference(name, inputs, options):
    if name == "concat":
        return torch.cat(inputs, **options)
    return getattr(torch.nn.functional if name in ("linear", "sigmoid", "tanh") else torch, name)(
        *inputs, **options
    )


MIXED = ("add", "subtract", "multiply", "divide")  # the others want operands of one dtype


@pytest.mark.parametrize(
    ("name", "shapes", "options", "first_is_real"),
    [(*call, False) for call in CALLS] + [(*call, True) for call in CALLS if call[0] in MIXED],
)
def test_gradients(name, shapes, options, first_is_real):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) + 1j * rng.standard_normal(s) for s in shapes]
    if first_is_real:
        arrays[0] = arrays[0].real.copy()
    tensors = [torch.from_numpy(a).requires_grad_() for a in arrays]
    y = reference(name, tensors, options)
    dy = torch.from_numpy(rng.standard_normal(y.shape) + 1j * rng.standard_normal(y.shape))
    expected = [g.numpy() for g in torch.autograd.grad(y, tensors, dy)]

    derivation = registry[name]
    (hand,), residuals = derivation.apply(arrays, options)
    in_numpy = derivation.vjp((dy.numpy(),), residuals, arrays, options)
    y_ext = torch_ext.call(derivation, *tensors, **options)
    in_torch = torch.autograd.grad(y_ext, tensors, dy)

    np.testing.assert_allclose(hand, y.detach().numpy(), rtol=1e-13)
    for a, b, t in zip(in_numpy, in_torch, expected, strict=True):
        assert a.dtype == t.dtype
        np.testing.assert_allclose(a, t, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(b.numpy(), t, rtol=1e-12, atol=1e-14)
