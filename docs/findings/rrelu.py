"""PyTorch's gradient of rrelu under activation checkpointing, against the slopes that it drew."""

import torch  # noqa: TID253 - a script for PyTorch
from torch.utils.checkpoint import checkpoint  # noqa: TID253

from torch_ext import functional  # noqa: TID253

print(f"torch {torch.__version__}; x = -1: the gradient is the slope drawn, and -y is too")
for name, rrelu in (("PyTorch", torch.nn.functional.rrelu), ("ours", functional.rrelu)):
    torch.manual_seed(0)
    x = torch.full((3,), -1.0, dtype=torch.float64, requires_grad=True)
    y = checkpoint(lambda v, f=rrelu: f(v, training=True), x, use_reentrant=False)
    (dx,) = torch.autograd.grad(y.sum(), x)
    print(f"{name}: -y {(-y).tolist()}, dx {dx.tolist()}")
