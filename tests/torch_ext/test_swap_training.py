"""Training, native and swapped, from the same seed in float64: the two stay together to rounding.

Training amplifies rounding, each step what the last one left. How much, other runs say: the native model
with every layer's output a rounding off at each step. The swapped one may be FACTOR times as far away as
the furthest of these; measured: 0.9 times. They themselves end below LOST, else the test would say
nothing.
"""

import copy

import pytest
import torch
from torch import nn

import torch_ext
from tests.torch_ext.rounding import a_rounding_off

STEPS = 300
FACTOR = 4
LOST = 1e-12  # measured: 2e-14


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(3, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(3, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        return self.out(self.block(self.embed(x)).mean(1))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.1),
        nn.Flatten(),
        nn.Linear(36, 2),
    )


# Each: the model, the shape of an example, the optimizer. Not Adam for attention: it divides a gradient by
# its own size, and that of the keys' bias is zero but for rounding.
RUNS = {
    "CNN": (convolutional, (1, 6, 6), lambda p: torch.optim.SGD(p, 0.05, momentum=0.9)),
    "LSTM": (Recurrent, (5, 3), lambda p: torch.optim.Adam(p, 1e-2)),
    "transformer": (Transformer, (5, 3), lambda p: torch.optim.SGD(p, 0.02, momentum=0.9)),
}


def train(model, shape, optimizer):
    """The losses, and all that the model holds at the end."""
    torch.manual_seed(1)
    x, y = torch.randn(16, *shape).double(), torch.randint(2, (16,))
    steps, losses = optimizer(model.parameters()), []
    for _ in range(STEPS):
        loss = nn.functional.cross_entropy(model(x), y)
        steps.zero_grad()
        loss.backward()
        steps.step()
        losses.append(loss.detach())
    return torch.stack(losses), torch.cat([v.double().flatten() for v in model.state_dict().values()])


def furthest(run, native):
    """Of the losses, and of the state."""
    return torch.stack([(a - b).abs().max() for a, b in zip(run, native, strict=True)])


@pytest.mark.parametrize("name", RUNS)
def test_native_and_swapped_stay_together(name):
    build, shape, optimizer = RUNS[name]
    torch.manual_seed(0)
    start = build().double()
    models = [copy.deepcopy(start) for _ in range(4)]
    native = train(models[0], shape, optimizer)
    swapped = train(torch_ext.swap(models[1]).model, shape, optimizer)
    off = []
    for seed, model in enumerate(models[2:]):
        with a_rounding_off(model, seed):
            off.append(furthest(train(model, shape, optimizer), native))
    noise = torch.stack(off).amax(0)
    losses = native[0]
    assert losses[-1] < 0.5 * losses[0]
    assert (noise < LOST).all()
    assert (furthest(swapped, native) <= FACTOR * noise).all()
