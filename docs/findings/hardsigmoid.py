"""PyTorch's derivatives of hardsigmoid in float64, against 40 digits."""

import mpmath
import torch  # noqa: TID253 - a script for PyTorch

from torch_ext import functional  # noqa: TID253

mpmath.mp.dps = 40
truth = mpmath.mpf(1) / 6
print(f"torch {torch.__version__}; the derivative of hardsigmoid between -3 and 3 is 1/6")
for name, f in (("PyTorch", torch.nn.functional.hardsigmoid), ("ours", functional.hardsigmoid)):
    x = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    dy = torch.ones_like(x, requires_grad=True)
    (dx,) = torch.autograd.grad(f(x), x, dy, create_graph=True)
    error = max(float(abs(v - truth) / truth) for v in dx.tolist())
    try:
        (second,) = torch.autograd.grad(dx.sum(), dy)
        words = f"differentiated by dy: {second[0].item():.17g}"
    except RuntimeError as refused:
        words = f"differentiated by dy: {refused}"
    print(f"{name}: relative error {error:.1e}; {words}")
