"""Gradient descent against torch.optim.SGD: every parameter, after each of 1,000 steps.

How far may two right trajectories be apart? Each step rounds, and the steps after it carry that on:
by the products of I - lr H, with H the Hessian of the loss, which shrink it where the loss curves up
and grow it where it curves down. So the growth is measured, on PyTorch's side alone: SGD runs once
more, with every number that goes into a step (parameters and data) changed at random by a relative
STEP, far above rounding and far below what would change the path. How far that moves the parameters,
per unit of relative change, is the ``noise`` of handgrad.checking.tolerances, from which follows what
rounding explains: the same rule as for single layers.

Where a trajectory is chaotic the noise explodes and such a tolerance would allow everything. The
settings here are not: 1,000 changes by STEP move no parameter by more than 1,000 STEPs. They add up
at most, they do not multiply (measured: by 2 to 100), and what is allowed stays below 1e-12.
"""

import numpy as np
import pytest
import torch

from handgrad.checking import allowed, precision
from handgrad.networks import LOSSES, lecture_network, linear_regression, logistic_regression, mlp, two_layers
from handgrad.training import batches, trajectory

STEPS = 1000
STEP = 2.0**-36


def torch_loss(network, parameters, x, y):
    """The same network, written in PyTorch."""
    functional = torch.nn.functional
    layers = len(network.widths) - 1
    a = x
    for i in range(1, layers + 1):
        W, b = parameters[f"W{i}"], parameters[f"b{i}"]
        z = functional.linear(a, W, b) if network.layout == "rows" else W @ a + b
        if i < layers:
            (activation,) = {node.layer for node in network.graph.functions if node.name.startswith("a")}
            a = getattr(torch, activation)(z)
    if LOSSES[network.loss_name].takes == "y_hat":
        z = torch.sigmoid(z)
    if network.loss_name == "cross_entropy" and network.layout == "columns":
        z = z.T
    return getattr(functional, network.loss_name)(z, y)


def torch_trajectory(network, x, y, lr, batch_size, seed, rng=None):
    """The parameters after each step of torch.optim.SGD; with ``rng``, everything is nudged."""

    def nudged(a):
        if rng is None or not a.is_floating_point():
            return a
        return a * (1 + STEP * torch.from_numpy(rng.uniform(-1, 1, tuple(a.shape))))

    parameters = {n: torch.tensor(w, requires_grad=True) for n, w in network.parameters.items()}
    x, y = (torch.from_numpy(a) for a in network.check(x, y))
    rows = network.layout == "rows"
    optimizer = torch.optim.SGD(parameters.values(), lr=lr)
    chosen = batches(x.shape[0 if rows else 1], batch_size, seed)
    found = []
    for _, which in zip(range(STEPS), chosen, strict=False):
        xs, ys = (x[which], y[which]) if rows else (x[..., which], y[..., which])
        with torch.no_grad():
            for w in parameters.values():
                w.copy_(nudged(w))
        optimizer.zero_grad()
        # labels stay: classes are exact, and must stay in [0, 1]
        torch_loss(network, parameters, nudged(xs), ys).backward()
        optimizer.step()
        found.append({n: w.detach().numpy().copy() for n, w in parameters.items()})
    return found


def regression(rng, n):
    x = rng.standard_normal((40, n))
    return x, x @ rng.standard_normal((n, 1)) + 0.3 + 0.1 * rng.standard_normal((40, 1))


def two_classes(rng, n):
    """Overlapping, so that the weights stay bounded."""
    x = rng.standard_normal((40, n))
    return x, (x[:, :1] * x[:, 1:2] + rng.standard_normal((40, 1)) > 0).astype(float)


def three_classes(rng, n):
    x = rng.standard_normal((40, n))
    return x, np.argmax(x[:, :3] + rng.standard_normal((40, 3)), axis=1)


def in_columns(x, y):
    return x.T, y if y.ndim == 1 else y.T


def settings():
    """(id, network, (x, y), lr, batch_size)"""
    rng = np.random.default_rng(0)
    regress, binary, classes = regression(rng, 3), two_classes(rng, 3), three_classes(rng, 4)
    yield "linear regression", linear_regression(3, seed=1), regress, 0.1, None
    yield "linear regression, mini-batches", linear_regression(3, seed=2), regress, 0.1, 16
    yield "linear regression, columns", linear_regression(3, layout="columns"), in_columns(*regress), 0.1, 16
    yield "logistic regression", logistic_regression(3, seed=1), binary, 0.3, None
    yield "logistic regression, mini-batches", logistic_regression(3, seed=2), binary, 0.3, 16
    logits = mlp([3, 1], loss="binary_cross_entropy_with_logits", seed=3)
    yield "logistic regression on logits", logits, binary, 0.3, None
    yield "two layers", two_layers(3, 6, seed=1), binary, 0.1, None
    yield "two layers, mini-batches", two_layers(3, 6, seed=2), binary, 0.1, 16
    yield "two layers, columns", two_layers(3, 6, layout="columns", seed=3), in_columns(*binary), 0.1, None
    lecture, *example = lecture_network()
    yield "the lecture's column vector", lecture, example, 0.1, None
    yield "MLP", mlp([4, 8, 6, 3], "tanh", "cross_entropy", seed=1), classes, 0.1, None
    yield "MLP, mini-batches", mlp([4, 8, 6, 3], "relu", "cross_entropy", seed=2), classes, 0.05, 16
    columns = mlp([4, 8, 3], "tanh", "cross_entropy", layout="columns", seed=3)
    yield "MLP, columns", columns, in_columns(*classes), 0.1, 16


@pytest.mark.parametrize(
    ("network", "data", "lr", "batch_size"), [pytest.param(*s[1:], id=s[0]) for s in settings()]
)
def test_equals_sgd(network, data, lr, batch_size):
    x, y = data
    torch_steps = torch_trajectory(network, x, y, lr, batch_size, seed=4)
    moved = [torch_trajectory(network, x, y, lr, batch_size, 4, np.random.default_rng(i)) for i in range(2)]
    elements = max(np.size(x), *(w.size for w in network.parameters.values()))
    noise = dict.fromkeys(network.parameters, 0.0)
    steps = trajectory(network, x, y, lr, STEPS, batch_size=batch_size, seed=4)
    for i, (step, truth, *tries) in enumerate(zip(steps, torch_steps, *moved, strict=True)):
        for name, w in truth.items():
            # what was, even if the network moved back since: noise never shrinks
            noise[name] = max(noise[name], *(np.max(np.abs(t[name] - w)) / STEP for t in tries))
            limit = allowed(w, np.full(w.shape, noise[name]), precision("float64"), elements, own=0.0)
            error = np.abs(step.parameters[name] - w)
            assert (error <= limit).all(), f"{name} after step {i + 1}: {error.max():.3g} > {limit.max():.3g}"
    assert max(noise.values()) < STEPS, "a chaotic trajectory: nothing would be too far"


@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_a_change_of_one_part_in_1e9_is_seen(layout):
    """The tolerance is tight: a learning rate off by 1e-9 exceeds it."""
    network, x, y = lecture_network(layout)
    (*_, truth) = torch_trajectory(network, x, y, 0.1, None, 0)
    (*_, moved) = torch_trajectory(network, x, y, 0.1, None, 0, np.random.default_rng(0))
    (*_, last) = trajectory(network, x, y, 0.1 * (1 + 1e-9), STEPS)
    w = truth["W1"]
    noise = np.full(w.shape, np.max(np.abs(moved["W1"] - w)) / STEP)
    assert (np.abs(last.parameters["W1"] - w) > allowed(w, noise, precision("float64"), 4, own=0.0)).all()
