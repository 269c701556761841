"""Two mistakes of torch.nn.functional.interpolate; see interpolation.md."""

import torch  # noqa: TID253 - a script for PyTorch

import torch_ext  # noqa: TID253

F, H = torch.nn.functional, torch_ext.functional


def as_matrix(f, shape):
    """A linear function of an array, as the matrix of its values at unit vectors."""
    units = torch.eye(shape.numel(), dtype=torch.float64)
    return torch.stack([f(u.reshape(1, 1, *shape)).flatten() for u in units], -1)


def defect(f, shape):
    """How far the gradient is from the transposed matrix of the function itself."""
    a = as_matrix(f, shape)
    back = []
    for row in torch.eye(a.shape[0], dtype=torch.float64):
        x = torch.zeros(1, 1, *shape, dtype=torch.float64, requires_grad=True)
        y = f(x)
        back.append(torch.autograd.grad(y, x, row.reshape(y.shape))[0].flatten())
    return float((torch.stack(back) - a).abs().max())


def nearest(module, factor):
    return lambda x: module.interpolate(x, scale_factor=(factor,))


def antialiased(module, size):
    return lambda x: module.interpolate(x, size, mode="bilinear", antialias=True)


print("largest error of the gradient, as the transpose of the function")
for n, factor in ((9, 1.07), (6, 2.11), (6, 1.5)):
    found = [defect(nearest(module, factor), torch.Size((n,))) for module in (F, H)]
    print(f"  nearest, n = {n}, factor {factor}: {int(n * factor)} places  ", end="")
    print(f"PyTorch {found[0]:.2f}  ours {found[1]:.2f}")

print("bilinear, antialiased, of the rows 0 0 0 0, 10 10 10 10, ..., 30 30 30 30")
x = (10 * torch.arange(4.0, dtype=torch.float64)).reshape(1, 1, 4, 1).expand(1, 1, 4, 4).contiguous()
for width in (2, 1):
    for name, module in (("PyTorch", F), ("ours", H)):
        y = antialiased(module, (3, width))(x)[0, 0, :, 0]
        print(f"  to 3 x {width}, first column, {name:8}{[round(v, 3) for v in y.tolist()]}")
