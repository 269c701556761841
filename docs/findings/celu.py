"""PyTorch's derivative of celu in float64, against 40 digits."""

import mpmath
import torch  # noqa: TID253 - a script for PyTorch

from torch_ext import functional  # noqa: TID253

mpmath.mp.dps = 40
print(f"torch {torch.__version__}; relative errors of the derivative of celu at x = -1")
for alpha in (0.3, 0.7, 2.0):
    truth = mpmath.exp(-1 / mpmath.mpf(alpha))
    errors = []
    for celu in (torch.nn.functional.celu, functional.celu):
        x = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
        (dx,) = torch.autograd.grad(celu(x, alpha), x)
        errors.append(float(abs(dx.item() - truth) / truth))
    print(f"alpha = {alpha}: PyTorch {errors[0]:.1e}, ours {errors[1]:.1e}")
