"""A model to swap, and what the tests ask of it."""

import torch
from torch import nn

CONTAINERS = nn.Sequential, nn.ModuleList, nn.ModuleDict


class Scaled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Square(nn.Linear):
    """Overrides nothing that its forward pass runs."""

    def __init__(self, n, label="square"):
        super().__init__(n, n)
        self.label = label

    def extra_repr(self):
        return self.label

    def reset_parameters(self):
        nn.init.eye_(self.weight)
        nn.init.zeros_(self.bias)


class Net(nn.Module):
    """A shared layer, a tied weight, an alias, a user's layers, buffers of both kinds."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.GELU()) for _ in range(2))
        self.heads = nn.ModuleDict({"a": Square(4), "b": Scaled(4, 4)})
        self.norm = nn.LayerNorm(4)
        self.blocks.append(self.blocks[0])
        self.out = nn.Linear(4, 7, bias=False)
        self.out.weight = self.embed.weight
        self.register_buffer("steps", torch.zeros(()), persistent=False)
        self.register_buffer("scale", torch.ones(4))
        self.__dict__["alias"] = self.norm
        self.listed = [self.norm, "label"]
        self.bound = self.norm.forward

    def forward(self, i):
        self.steps += 1
        x = self.embed(i) * self.scale
        for block in self.blocks:
            x = block(x)
        x = self.alias(x) + self.listed[0](x) + self.bound(x)
        return self.out(self.heads["a"](x) + self.heads["b"](x))


def net():
    torch.manual_seed(0)
    return Net().double()


def layers(result):
    """The names of the layers swapped, containers aside."""
    return [n for n, c in result.swapped.items() if not issubclass(getattr(nn, c, nn.Linear), CONTAINERS)]


def indices():
    return torch.arange(6).reshape(2, 3)


def gradients(model, *inputs, seed=0):
    torch.manual_seed(seed)
    y = model(*inputs)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    found = torch.autograd.grad((y * weights).sum(), [p for p in model.parameters() if p.requires_grad])
    return (y.detach(), *found)


def state(model):
    """All that a module holds, in its order: by identity."""
    return [
        (name, type(m), {k: list(v) if isinstance(v, dict | set) else id(v) for k, v in vars(m).items()})
        for name, m in model.named_modules()
    ]
