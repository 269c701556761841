"""A NaN in the grid of torch.nn.functional.grid_sample, in a process of its own; see interpolation.md."""

import subprocess
import sys

CALL = """
import torch, torch_ext
x = torch.arange(12.0, dtype=torch.float64).reshape(1, 1, 3, 4).requires_grad_()
grid = torch.tensor([[[[float("nan"), 0.0]]]], dtype=torch.float64, requires_grad=True)
y = {module}.grid_sample(x, grid, "{mode}", "{padding}", align_corners=True)
torch.autograd.grad(y.sum(), (x, grid))
print(y.item())
"""
for mode in ("bilinear", "nearest", "bicubic"):
    for padding in ("border", "reflection"):
        for module in ("torch.nn.functional", "torch_ext.functional"):
            code = CALL.format(module=module, mode=mode, padding=padding)
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
            print(f"{mode:9} {padding:11} {module:21} exit code {done.returncode:4} {done.stdout.strip()}")
