"""Layers in place, ``x <- f(x)``: two Functions of our own around the layer, each with derivative 1."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import Function


class InPlace(Function):
    """x <- y. The derivative is that of y; what x was before has none."""

    @staticmethod
    def forward(x: Tensor, y: Tensor) -> Tensor:
        return x.copy_(y)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: Any) -> None:
        ctx.mark_dirty(inputs[0])

    @staticmethod
    def backward(_ctx: Any, *cotangents: Any) -> Any:
        (dy,) = cotangents
        # zeros, not None: where x is a view, None would lose the gradient of the rest of its base
        return dy.new_zeros(()).expand_as(dy), dy

    @staticmethod
    def jvp(_ctx: Any, *tangents: Any) -> Any:
        return tangents[0].copy_(tangents[1])

    @staticmethod
    def vmap(_info: Any, in_dims: Any, x: Tensor, y: Tensor) -> Any:
        at, of = in_dims
        if at is None:
            raise RuntimeError(
                "An in-place layer needs an input that vmap maps over; received one that it does not; "
                "use inplace=False."
            )
        y = y if of is None else y.movedim(of, at)
        return InPlace.apply(x, y if of is not None else y.unsqueeze(at)), at  # type: ignore[no-untyped-call]


class Copy(Function):
    """y = x, in memory of its own: what a layer in place computes from, since x will be overwritten."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(_ctx: Any, _inputs: tuple[Any, ...], _output: Any) -> None:
        pass

    @staticmethod
    def backward(_ctx: Any, *cotangents: Any) -> Any:
        return cotangents[0]

    @staticmethod
    def jvp(_ctx: Any, *tangents: Any) -> Any:
        return tangents[0].clone()
