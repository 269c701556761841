"""Gradients of logsumexp near 10^4, and the third derivative of logcumsumexp."""
# ruff: noqa: TID253

import mpmath
import torch

from torch_ext import functional

mpmath.mp.dps = 40
F64 = torch.float64

print(f"torch {torch.__version__}; largest relative error of the gradient of logsumexp")
for size in (1.0, 1e2, 1e4, 1e6):
    x = (size + torch.randn(20, dtype=F64, generator=torch.Generator().manual_seed(1))).requires_grad_()
    total = sum(mpmath.exp(mpmath.mpf(v)) for v in x.tolist())
    truth = [mpmath.exp(mpmath.mpf(v)) / total for v in x.tolist()]
    errors = []
    for f in (torch.logsumexp, functional.logsumexp):
        (g,) = torch.autograd.grad(f(x, 0), x)
        errors.append(max(float(abs(a - b) / b) for a, b in zip(g.tolist(), truth, strict=True)))
    print(f"x about {size:9.0f}: PyTorch {errors[0]:.1e}, ours {errors[1]:.1e}")

for name, f in (("PyTorch", torch.logcumsumexp), ("ours", functional.logcumsumexp)):
    x = torch.tensor([0.5, -1.0, 2.0], dtype=F64, requires_grad=True)
    d = torch.sin(f(x, 0)).sum()
    for _ in range(3):
        (g,) = torch.autograd.grad(d, x, create_graph=True)
        d = (g * torch.tensor([1.0, -1.0, 2.0], dtype=F64)).sum()
    print(f"third derivative of logcumsumexp: {name} {[round(v, 6) for v in g.tolist()]}")
