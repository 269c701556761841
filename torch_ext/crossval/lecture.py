"""The lecture's examples and networks, hand against autograd; and its gradient descent, for 1,000 steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch

from handgrad import networks
from handgrad.checking import allowed, compare, nudge, precision, yardsticks
from handgrad.networks import Network as HandNetwork
from handgrad.report import Check, Example
from handgrad.training import trajectory
from handgrad.worked import Calculation, judge, load, shipped, verdict_check
from torch_ext import oracles
from torch_ext.crossval.layers import describe, generator
from torch_ext.crossval.networks import Network

STEPS = 1000
_RATE = 0.1


def check_lecture(seed: int) -> list[Check]:
    """Every shipped example, then the lecture's models on random batches, then their training."""
    checks = [check for name in shipped() for check in check_example(name, seed)]
    checks += [check for network in _models(seed) for check in network.check()]
    culprits = [check.layer for check in checks if not check.passed and check.layer]
    return [*checks, *_training(seed, culprits[0] if culprits else "")]


def judge_examples(checks: Sequence[Check]) -> tuple[list[Example], list[Check]]:
    """The shipped sheets judged, and for each a check that its verdicts are those it declares.

    ``checks``: those of :func:`check_lecture`. A layer that they find wrong explains a sheet that
    is judged otherwise, or not at all.
    """
    culprit = next((c.layer for c in checks if c.group == "lecture" and not c.passed and c.layer), "")
    examples, verdicts = [], []
    for name in shipped():
        try:
            judgement = judge(load(name), svg=True)
            examples.append(judgement.example)
            surprises = judgement.surprises
        except Exception as error:
            surprises = (f"raises {describe(error)}",)
        verdicts.append(verdict_check(name, surprises, culprit))
    return examples, verdicts


def check_example(name: str, seed: int) -> list[Check]:
    """A shipped sheet's graph, hand against autograd; where it cannot be computed, a failed check says so."""
    sheet = load(name)
    if not sheet.model:
        return []
    try:
        calculation = Calculation(sheet)
        values = {**sheet.inputs, **calculation.constants}
        one = np.ones_like(calculation.values[sheet.target])
        return Network(name, "lecture", calculation.graph, values, {sheet.target: one}, seed).check()
    except Exception as error:
        message = f"raises {describe(error)}"
        return [Check(id=f"{name} / call", group="lecture", passed=False, case=name, message=message)]


def _hand_networks(seed: int) -> dict[str, HandNetwork]:
    return {
        "linear regression": networks.linear_regression(3, seed=seed),
        "logistic regression": networks.logistic_regression(3, seed=seed),
        "two layers": networks.two_layers(3, 5, seed=seed),
        "two layers, in columns": networks.two_layers(3, 5, layout="columns", seed=seed),
        "three layers, categorical": networks.mlp(
            [3, 6, 5, 4], activation="tanh", loss="cross_entropy", seed=seed
        ),
    }


def _batch(name: str, network: HandNetwork, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Eight random examples, as ``network`` takes them."""
    rng = generator(seed, name)
    x = rng.standard_normal((8, 3))
    y: np.ndarray
    if network.loss_name == "cross_entropy":
        y = rng.integers(0, network.widths[-1], 8)
    elif network.loss_name == "mse_loss":
        y = rng.standard_normal((8, 1))
    else:
        y = rng.integers(0, 2, (8, 1)).astype(float)
    return (x.T, y.T) if network.layout == "columns" else (x, y)


def _models(seed: int) -> Iterator[Network]:
    for name, network in _hand_networks(seed).items():
        x, y = network.check(*_batch(name, network, seed))
        values = {**network.parameters, "x": x, "y": y}
        values = {edge: values[edge] for edge in network.graph.inputs}
        (end,) = network.graph.outputs
        yield Network(name, "lecture", network.graph, values, {end: np.ones(())}, seed)


# --- gradient descent against torch.optim.SGD ----------------------------------------------------


def _training(seed: int, culprit: str) -> Iterator[Check]:
    for name, network in _hand_networks(seed).items():
        x, y = network.check(*_batch(name, network, seed))
        start = [p.copy() for p in network.parameters.values()]
        names = list(network.parameters)
        try:
            truth = _by_sgd(network, names, start, x=x, y=y)
            *_, last = trajectory(network, x, y, _RATE, STEPS)
        except Exception as error:
            for parameter in names:
                yield _trained(name, parameter, culprit, passed=False, message=f"raises {describe(error)}")
            continue

        # a step's rounding is like a little change of its parameters, at every step anew
        rng = generator(seed, name, "noise")
        p = precision("float64")
        rounding = partial(_by_sgd, network, names, x=x, y=y, rng=rng)
        found = yardsticks(rounding, None, start, truth, rng, draws=1)
        for parameter, t, yardstick in zip(names, truth, found, strict=True):
            bound = allowed(t, yardstick.noise, p, x.size, 0.0)
            difference = compare(last.parameters[parameter], t, bound, p)
            yield _trained(
                name,
                parameter,
                culprit if not difference.passed else "",
                shape=t.shape,
                **difference.fields(),
            )


def _trained(name: str, parameter: str, layer: str, **fields: object) -> Check:
    return Check(
        id=f"{name} / {STEPS} steps of gradient descent / {parameter}",
        group="lecture",
        layer=layer,
        case=name,
        library="numpy",
        dtype="float64",
        oracle="torch.optim.SGD",
        argument=parameter,
        **fields,  # type: ignore[arg-type]
    )


def _by_sgd(
    network: HandNetwork,
    names: list[str],
    start: oracles.Arrays,
    *,
    x: np.ndarray,
    y: np.ndarray,
    rng: np.random.Generator | None = None,
) -> list[np.ndarray]:
    """The parameters after so many steps of PyTorch's own optimizer on PyTorch's own functions.

    With ``rng``, every parameter is nudged after every step.
    """
    parameters = {
        name: torch.tensor(value, requires_grad=True) for name, value in zip(names, start, strict=True)
    }
    data = {"x": torch.tensor(x), "y": torch.tensor(y)}
    given = {edge: {**parameters, **data}[edge] for edge in network.graph.inputs}
    optimizer = torch.optim.SGD(parameters.values(), lr=_RATE)
    (end,) = network.graph.outputs
    for _ in range(STEPS):
        optimizer.zero_grad()
        values = network.graph.evaluate(given, oracles.reference)
        values[end].backward()
        optimizer.step()
        if rng is not None:
            with torch.no_grad():
                for p in parameters.values():
                    p.copy_(torch.from_numpy(nudge(p.numpy(), rng)))
    return [parameter.detach().numpy() for parameter in parameters.values()]
