"""PyTorch's second derivative of binary_cross_entropy against one of 50 digits."""

import mpmath
import torch  # noqa: TID253 - a script for PyTorch

import torch_ext  # noqa: TID253

mpmath.mp.dps = 50


def second_derivative(function, x, t):
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    loss = function(leaf, torch.tensor(t, dtype=torch.float64))
    (slope,) = torch.autograd.grad(loss, leaf, create_graph=True)
    return torch.autograd.grad(slope, leaf)[0].item()


print(f"{'x':>6} {'t':>5} {'truth':>24} {'error of PyTorch':>18} {'error of torch_ext':>20}   (relative)")
for x, t in [(0.5, 0.25), (0.1, 0.7), (0.01, 0.3), (0.001, 0.5), (0.9999, 1.0)]:
    # l = -t log x - (1 - t) log(1 - x), so l'' = t/x² + (1 - t)/(1 - x)²
    truth = mpmath.mpf(t) / mpmath.mpf(x) ** 2 + (1 - mpmath.mpf(t)) / (1 - mpmath.mpf(x)) ** 2
    errors = [
        float(abs(second_derivative(f, x, t) - truth) / truth)
        for f in (torch.nn.functional.binary_cross_entropy, torch_ext.functional.binary_cross_entropy)
    ]
    print(f"{x:6} {t:5} {mpmath.nstr(truth, 18):>24} {errors[0]:18.1e} {errors[1]:20.1e}")
