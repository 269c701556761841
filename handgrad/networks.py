"""Derivations chained into networks: layers, a loss, and the gradients of all parameters.

A network is a computational graph, x -> z1 -> a1 -> z2 -> ... -> y_hat, that ends in a loss L, and
the values of its parameters by name: W1, b1, W2, b2, ... All gradients come from the chain rule on
that graph, one derivation a node. It runs in NumPy.

Two layouts say what one example is:

    "rows"      a row of x (N, n):     z = x Wᵀ + b    with b (m,)    as PyTorch writes it
    "columns"   a column of x (n, N):  z = W x + b     with b (m, 1)  as the lecture writes it

W is (m, n) in both: m outputs, n inputs.

Source: the lecture's sections 2, 3, 7 and 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from handgrad._arrays import Array
from handgrad._errors import require
from handgrad._network_inputs import (
    as_array,
    check_activation,
    check_classes,
    check_floats,
    check_lr,
    is_int,
    is_number,
    one_of,
)
from handgrad.graph import Graph, Pass, Values

LAYOUTS = ("rows", "columns")


class Loss(NamedTuple):
    """How a loss meets the last layer: ``link`` makes y_hat of z; the loss takes y_hat, or z itself."""

    link: str
    takes: str


LOSSES = {
    "mse_loss": Loss(link="", takes="z"),
    "binary_cross_entropy": Loss(link="sigmoid", takes="y_hat"),
    "binary_cross_entropy_with_logits": Loss(link="sigmoid", takes="z"),
    "cross_entropy": Loss(link="softmax", takes="z"),
}


@dataclass
class Network:
    """A network with a loss; :func:`mlp` builds one.

    graph        inputs x, y and the parameters; its one output is the loss L
    predictor    the same network up to y_hat, which needs no y
    parameters   their values by name; replace them to start elsewhere
    widths       inputs, hidden units of each layer, outputs

    Every method takes x and y as follows and raises InputError for anything else.

    x   floats, all finite: (N, inputs) in rows, (inputs, N) in columns; N ≥ 1
    y   mse_loss: floats, all finite; binary cross-entropy: floats in [0, 1]. Of the shape of y_hat, or
        (N,) where there is one output; a plain number where there is one example, too.
        cross_entropy: class indices, integers (N,) in [0, outputs); or probabilities, floats of the
        shape of y_hat.
    """

    graph: Graph
    predictor: Graph
    parameters: Values
    loss_name: str
    widths: tuple[int, ...]
    layout: str = "rows"

    # --- what it computes --------------------------------------------------------------

    def predict(self, x: Any) -> Array:
        """y_hat: outputs of a regression, probabilities of a classifier; (N, outputs) in rows."""
        return self.predictor.forward({"x": self._check_x(x), **self.parameters}).values["y_hat"]

    def forward(self, x: Any, y: Any) -> Pass:
        """The forward pass: every value of the graph, and what the backward pass needs."""
        return self._forward(*self.check(x, y))

    def loss(self, x: Any, y: Any) -> float:
        """L, averaged over the examples."""
        return float(self.forward(x, y).values["L"])

    def gradients(self, x: Any, y: Any) -> Values:
        """dL/dW1, dL/db1, ... by the names of the parameters, each in the shape of its parameter."""
        return self._backward(self.forward(x, y))

    def step(self, x: Any, y: Any, lr: float) -> float:
        """One step of gradient descent, W <- W - lr dL/dW for every parameter; returns L before it.

        Raises InputError where lr is not positive, or so large that a number overflows; the
        parameters then stay as they were.
        """
        x, y = self.check(x, y)
        return self.descend(x, y, check_lr(lr))

    def descend(self, x: Array, y: Array, lr: float) -> float:
        """:meth:`step` for x and y that :meth:`check` has returned."""
        with np.errstate(over="ignore", invalid="ignore"):
            passed = self._forward(x, y)
            gradients = self._backward(passed)
            updated = {name: w - lr * gradients[name] for name, w in self.parameters.items()}
        loss = float(passed.values["L"])
        require(
            bool(np.isfinite(loss)) and all(np.isfinite(w).all() for w in updated.values()),
            "gradient descent needs a learning rate at which the loss and the parameters stay finite",
            f"lr = {lr:g}, at which they overflow",
            "choose a smaller lr",
        )
        self.parameters = updated
        return loss

    def _forward(self, x: Array, y: Array) -> Pass:
        if self.layout == "columns" and self.loss_name == "cross_entropy":
            y = y.T  # probabilities, as z2_rows; class indices (N,) stay as they are
        return self.graph.forward({"x": x, "y": y, **self.parameters})

    def _backward(self, passed: Pass) -> Values:
        gradients = passed.backward(wanted=self.parameters)
        return {name: gradients[name] for name in self.parameters}

    # --- classes -----------------------------------------------------------------------

    def classes(self, x: Any) -> Array:
        """The most likely class of each example: 0 or 1 in the shape of y_hat, or an index (N,)."""
        require(
            self.loss_name != "mse_loss",
            "only a classifier has classes",
            "a network with mse_loss",
            "use predict",
        )
        y_hat = self.predict(x)
        if self.loss_name == "cross_entropy":
            return y_hat.argmax(axis=self._features)
        return (y_hat > 0.5).astype(y_hat.dtype)

    def accuracy(self, x: Any, y: Any) -> float:
        """The share of the labels that :meth:`classes` finds, from 0 to 1."""
        x, y = self.check(x, y)
        if self.loss_name == "cross_entropy" and y.ndim == 2:
            y = y.argmax(axis=self._features)
        return float(np.mean(self.classes(x) == y))

    # --- data --------------------------------------------------------------------------

    @property
    def _features(self) -> int:
        """The axis along which the numbers of one example lie."""
        return 1 if self.layout == "rows" else 0

    def examples(self, x: Array, y: Array, which: Any) -> tuple[Array, Array]:
        """Some examples of checked data: ``which`` is a slice or an array of indices."""
        return (x[which], y[which]) if self.layout == "rows" else (x[..., which], y[..., which])

    def check(self, x: Any, y: Any) -> tuple[Array, Array]:
        """x and y as arrays of the shapes that the graph needs; InputError where they do not fit."""
        x = self._check_x(x)
        n, outputs = x.shape[1 - self._features], self.widths[-1]
        shape = (n, outputs) if self.layout == "rows" else (outputs, n)
        y = as_array("y", y)
        if self.loss_name == "cross_entropy" and np.issubdtype(y.dtype, np.integer):
            return x, check_classes(y, n, outputs)
        check_floats("y", y)
        if y.ndim < 2 and y.size == n and outputs == 1:
            y = y.reshape(shape)
        require(
            y.shape == shape,
            f"y must have shape {shape} for {n} example{'s' * (n != 1)} in {self.layout}"
            + (f", or ({n},)" if outputs == 1 else ""),
            y.shape,
            "reshape y",
        )
        require(
            self.loss_name == "mse_loss" or bool(((y >= 0) & (y <= 1)).all()),
            f"labels of {self.loss_name} must be from 0 to 1",
            f"numbers from {y.min():g} to {y.max():g}",
            "encode the classes as 0 and 1, or use a loss for what they are",
        )
        return x, y

    def _check_x(self, x: Any) -> Array:
        x = check_floats("x", as_array("x", x))
        axis, inputs = self._features, self.widths[0]
        named = f"(N, {inputs})" if self.layout == "rows" else f"({inputs}, N)"
        require(
            x.ndim == 2 and x.shape[axis] == inputs,
            f"x must have shape {named}, one example in each of the {self.layout}",
            x.shape,
            "reshape or transpose x",
        )
        require(x.shape[1 - axis] > 0, "a batch needs at least one example", x.shape, "give one")
        return x


# --- building networks ----------------------------------------------------------------------


def mlp(
    widths: Sequence[int],
    activation: str = "relu",
    loss: str = "binary_cross_entropy",
    *,
    layout: str = "rows",
    seed: int = 0,
    scale: float | None = None,
) -> Network:
    """A multilayer perceptron: linear layers with an activation between them, and a loss.

    widths       numbers of inputs, of hidden units in each layer, of outputs: at least two
    activation   the name of a derivation that acts element by element: relu, tanh, gelu, ...
    loss         one of LOSSES. y_hat is z of the last layer for mse_loss, its sigmoid for the binary
                 cross-entropies, its softmax for cross_entropy.
    layout       "rows" or "columns"
    seed         fixes the weights, which are normal with standard deviation ``scale`` (1/√n of the n
                 inputs of the layer by default: LeCun et al. 1998, Efficient BackProp, 4.6); biases
                 start at 0

    Raises InputError where one of these is not so.
    """
    sizes = tuple(widths)
    require(
        len(sizes) > 1 and all(is_int(n) and n > 0 for n in sizes),
        "a network needs at least two widths, inputs and outputs, each a positive integer",
        list(sizes),
        "give, say, [2, 4, 1]",
    )
    one_of("loss", loss, LOSSES)
    one_of("layout", layout, LAYOUTS)
    check_activation(activation)
    require(
        scale is None or (is_number(scale) and 0 <= scale < np.inf),
        "scale is a standard deviation: a number that is not negative",
        repr(scale),
        "give, say, 0.1",
    )
    rng = np.random.default_rng(seed)
    parameters: Values = {}
    for i, (n, m) in enumerate(pairwise(sizes), start=1):
        deviation = n**-0.5 if scale is None else scale
        parameters[f"W{i}"] = deviation * rng.standard_normal((m, n))
        parameters[f"b{i}"] = np.zeros(m if layout == "rows" else (m, 1))
    graph, predictor = _graphs(len(sizes) - 1, activation, loss, layout)
    return Network(graph, predictor, parameters, loss, sizes, layout)


def linear_regression(inputs: int, *, layout: str = "rows", seed: int = 0) -> Network:
    """y_hat = w x + b with the mean squared error."""
    return mlp([inputs, 1], loss="mse_loss", layout=layout, seed=seed)


def logistic_regression(inputs: int, *, layout: str = "rows", seed: int = 0) -> Network:
    """y_hat = σ(w x + b) with binary cross-entropy: the lecture's section 7."""
    return mlp([inputs, 1], layout=layout, seed=seed)


def two_layers(inputs: int, hidden: int, *, layout: str = "rows", seed: int = 0) -> Network:
    """The lecture's network (section 3): linear, relu, linear, sigmoid, binary cross-entropy.

    Its weights start random near 0, with standard deviation 0.1.
    """
    return mlp([inputs, hidden, 1], layout=layout, seed=seed, scale=0.1)


def lecture_network(layout: str = "columns") -> tuple[Network, Array, Array]:
    """The network of section 8.1 with its numbers: (network, x, y), in columns as printed, or in rows."""
    network = two_layers(2, 2, layout=layout)
    x, y = np.array([[1.0], [2.0]]), np.array([[1.0]])
    parameters = {
        "W1": np.array([[0.1, 0.2], [0.3, 0.4]]),
        "b1": np.array([[0.1], [0.2]]),
        "W2": np.array([[0.5, 0.6]]),
        "b2": np.array([[0.3]]),
    }
    if layout == "rows":
        x, y = x.T, y.T
        parameters.update(b1=parameters["b1"].ravel(), b2=parameters["b2"].ravel())
    network.parameters = parameters
    return network, x, y


def _graphs(layers: int, activation: str, loss: str, layout: str) -> tuple[Graph, Graph]:
    """The network with its loss, and up to y_hat."""
    body = Graph()
    a, z = body.input("x"), ""
    for i in range(1, layers + 1):
        W, b = body.input(f"W{i}"), body.input(f"b{i}")
        last = i == layers
        name = "y_hat" if last and not LOSSES[loss].link else f"z{i}"
        if layout == "rows":
            z = body.apply("linear", a, W, b, name=name)
        else:
            z = body.apply("add", body.apply("matmul", W, a, name=f"{W}{a}"), b, name=name)
        a = z if last else body.apply(activation, z, name=f"a{i}")

    predictor, graph = Graph(body.nodes.values()), Graph(body.nodes.values())
    link, takes = LOSSES[loss]
    if link == "softmax":
        predictor.apply(link, z, name="y_hat", dim=1 if layout == "rows" else 0)
    elif link:
        predictor.apply(link, z, name="y_hat")
    if takes == "y_hat":
        z = graph.apply(link, z, name="y_hat")
    y = graph.input("y")
    if loss == "cross_entropy" and layout == "columns":  # which wants its classes along axis 1
        z = graph.apply("transpose", z, name=f"{z}_rows", dim0=0, dim1=1)
    graph.apply(loss, z, y, name="L")
    return graph, predictor
