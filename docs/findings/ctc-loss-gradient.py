"""PyTorch's gradient of ctc_loss against a difference quotient of its own forward pass."""

import torch  # noqa: TID253 - a script for PyTorch

import torch_ext  # noqa: TID253

torch.manual_seed(0)
x = torch.randn(6, 2, 4, dtype=torch.float64).log_softmax(-1)
targets, steps, lengths = torch.tensor([[1, 2, 2], [3, 1, 0]]), torch.tensor([6, 5]), torch.tensor([3, 2])


def loss(x, function=torch.nn.functional.ctc_loss):
    return function(x, targets, steps, lengths, reduction="sum")


def gradient(function, before=lambda x: x):
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(loss(before(leaf), function), leaf)[0]


h, numerical = 1e-6, torch.zeros_like(x)
for i in range(x.numel()):
    step = torch.zeros_like(x).view(-1)
    step[i] = h
    step = step.view(x.shape)
    numerical.view(-1)[i] = (loss(x + step) - loss(x - step)) / (2 * h)

pytorch, ours = torch.nn.functional.ctc_loss, torch_ext.functional.ctc_loss
print(f"largest entry of the gradient              {numerical.abs().max():.3f}")
print(f"PyTorch's, from the difference quotient    {(gradient(pytorch) - numerical).abs().max():.1e}")
less = (gradient(pytorch) - x.exp() - numerical)[:5]  # the steps that count for both
print(f"the same after adding -exp(x)              {less.abs().max():.1e}")
print(f"torch_ext's, from the difference quotient  {(gradient(ours) - numerical).abs().max():.1e}")
behind = [gradient(f, lambda x: x.log_softmax(-1)) for f in (pytorch, ours)]
print(f"both behind a log_softmax, apart           {(behind[0] - behind[1]).abs().max():.1e}")
