"""The exact side of a sheet: its graph, every value and every gradient, and formulas over them."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from handgrad._arrays import Array, is_floating
from handgrad._errors import InputError, require
from handgrad.expressions import Apply, Element, Expr, Gradient, Matrix, Name
from handgrad.formulas import WritingError, build, did_you_mean, element, evaluate, shape
from handgrad.graph import Graph, Pass, Step, Values
from handgrad.worked._sheet import Sheet, _at

# float64's rounding unit, times a thousand operations' worth: far below any printed digit
SLACK = 2**10 * float(np.finfo(np.float64).eps)


class Calculation:
    """A sheet, computed: ``values`` by name, ``gradients`` of the target by edge.

    Raises InputError, naming the sheet's file, for unknown names, shapes that do not fit, and values
    that are not finite.
    """

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        with _at(f"{sheet.file}: model"):
            self.graph, self.constants = build(sheet.model, sheet.inputs)
            self.values: Values = dict(sheet.inputs)
            for name, formula in sheet.model:
                self.values[name] = self.value(formula)
        for name, formula in sheet.updates:
            with _at(f"{sheet.file}: updates, {name}"):
                require(name not in self.values, "each name is defined once", repr(name), "choose another")
                self.values[name] = self.value(formula)

    @cached_property
    def forward(self) -> Pass:
        with np.errstate(all="ignore"):
            return self.graph.forward({**self.sheet.inputs, **self.constants})

    @cached_property
    def gradients(self) -> Values:
        """dL/d(edge) of the target, for every edge that leads to it."""
        return self._backward[0]

    @property
    def steps(self) -> list[Step]:
        """The backward pass from the target, one application of the chain rule at a time."""
        return self._backward[1]

    @property
    def drawing(self) -> tuple[Graph, Values, Values, list[Step]]:
        """What a drawing shows: without gradients where the target is not one number."""
        scalar = self.values[self.sheet.target].size == 1
        back = self._backward if scalar else ({}, [])
        return (self.graph, self.forward.values, *back)

    @cached_property
    def _backward(self) -> tuple[Values, list[Step]]:
        end = self.values[self.sheet.target]
        require(
            end.size == 1,
            "gradients are those of one number",
            f"the target {self.sheet.target}, which is {shape(end)}",
            "end the model with a loss or a sum",
        )
        gradients: Values = {}
        start = {self.sheet.target: np.ones_like(self.values[self.sheet.target])}
        with np.errstate(all="ignore"):
            return gradients, list(self.forward.steps(gradients, start, self.wanted))

    @property
    def wanted(self) -> list[str]:
        """The inputs that can have a gradient; a formula's constants have none."""
        return [name for name, value in self.sheet.inputs.items() if is_floating(value)]

    def value(self, expr: Expr) -> Array:
        """A formula's exact value (in float64)."""
        return np.asarray(evaluate(expr, self._leaf))

    def _leaf(self, leaf: Expr) -> Array:
        if isinstance(leaf, Gradient):
            return self._gradient(leaf)
        assert isinstance(leaf, Name)
        require(
            leaf.name in self.values,
            "a formula uses names that the sheet defines",
            repr(leaf.name),
            did_you_mean(leaf.name, self.values),
            WritingError,
        )
        return self.values[leaf.name]

    def _gradient(self, g: Gradient) -> Array:
        for name in (g.of, g.to):
            require(
                name in self.graph.nodes,
                f"{g} is a gradient (a division has blanks: d{g.of} / d{g.to})",
                f"{name!r}, which the model does not know",
                did_you_mean(name, self.values),
                WritingError,
            )
        if g.of == self.sheet.target:
            gradients = self.gradients
        else:
            gradients = self._gradients_of(g.of)
        if g.of != g.to and g.to not in gradients:
            raise InputError(
                f"a gradient needs a value that leads to it; received {g}, but {g.of} does not depend "
                f"on {g.to}; correct the names."
            )
        result = gradients[g.to]
        finite = bool(np.all(np.isfinite(result)))
        require(finite, "each gradient must be finite", f"{g} with NaN or infinity", "change the inputs")
        if self.values[g.of].size > 1 and g.of != g.to:
            self._require_elementwise(g, result)
        return np.asarray(result)

    def _gradients_of(self, edge: str, seed: Array | None = None) -> Values:
        ones = np.ones_like(self.values[edge]) if seed is None else seed
        with np.errstate(all="ignore"):
            return self.forward.backward({edge: ones}, self.wanted)

    def _require_elementwise(self, g: Gradient, slope: Array) -> None:
        """Of a matrix, only an element-by-element function's derivative is again a matrix."""
        of = self.values[g.of]
        seed = np.arange(1.0, of.size + 1).reshape(of.shape)
        same = slope.shape == of.shape
        require(
            same and np.allclose(self._gradients_of(g.of, seed)[g.to], seed * slope, rtol=SLACK, atol=0),
            f"{g} of a matrix is written as a matrix only where {g.of} is an element-by-element function of "
            f"{g.to}",
            "another function",
            "write the product of the chain rule instead",
        )

    def equal(self, a: Array, b: Array) -> bool:
        """The same values to rounding, where a number may stand for a 1 x 1 matrix."""
        if a.size != b.size or (a.size > 1 and np.atleast_2d(a).shape != np.atleast_2d(b).shape):
            return False
        scale = 1 + np.max(np.abs(a), initial=0) + np.max(np.abs(b), initial=0)
        return bool(np.all(np.abs(a.ravel() - b.ravel()) <= SLACK * scale))

    # --- elements of formulas ----------------------------------------------------------------

    def element(self, e: Expr, i: int, j: int) -> Expr:
        """The formula of one element of a formula, as far down as its functions allow.

        A matrix product becomes a sum of products, an element-by-element function that of elements.
        """
        value = self.value(e)
        if isinstance(e, Matrix):
            return e.rows[i][j]
        if isinstance(e, Apply):
            if e.layer == "matmul" and {self.value(a).ndim for a in e.args} <= {1, 2}:
                a, b = e.args
                lists = [self.value(arg).ndim == 1 for arg in e.args]  # a list is seen as a row
                row = 0 if lists[0] else j if lists[1] else i
                terms = [
                    Apply(
                        "multiply",
                        (self.element(a, row, k), self.element(b, *((0, k) if lists[1] else (k, j)))),
                    )
                    for k in range(self.value(a).shape[-1])
                ]
                total: Expr = terms[0]
                for term in terms[1:]:
                    total = Apply("add", (total, term))
                return total
            if e.layer == "transpose" and not e.options and value.ndim == 2:
                return self.element(e.args[0], j, i)
            down = self._elementwise(e, i, j)
            if down is not None and self.equal(self.value(down), element(value, i, j)):
                return down
        return e if value.size == 1 else Element(e, i, j)

    def _elementwise(self, e: Apply, i: int, j: int) -> Expr | None:
        if e.layer == "matmul":
            return None
        args = []
        for arg in e.args:
            rows, columns = np.atleast_2d(self.value(arg)).shape
            if (rows > 1 and i >= rows) or (columns > 1 and j >= columns):
                return None
            args.append(self.element(arg, i if rows > 1 else 0, j if columns > 1 else 0))
        return Apply(e.layer, tuple(args), e.options)
