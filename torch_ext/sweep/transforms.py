"""What may be done to a layer: each transform as a function of (f, leaves), whose results are compared.

``f(*leaves)`` gives a tuple of outputs that have gradients. A transform returns tensors, the same for hand
and native code; what it raises is part of the answer.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import hessian as func_hessian
from torch.func import jacfwd as func_jacfwd
from torch.func import jacrev as func_jacrev
from torch.func import jvp as func_jvp
from torch.func import vmap as func_vmap
from torch.utils.checkpoint import checkpoint as checkpointed

from torch_ext.sweep.samples import SEED

Function = Callable[..., tuple[Tensor, ...]]
Leaves = Sequence[Tensor]
SMALL = 48  # elements: more are too many for a full Jacobian here


class NotApplicable(Exception):
    """This transform says nothing about this call; its text is the reason."""


def random_like(xs: Sequence[Tensor], seed: int = SEED) -> list[Tensor]:
    """Gaussian numbers of the same shapes."""
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(x.shape, generator=g, dtype=torch.float64).to(x.dtype) for x in xs]


def _fresh(leaves: Leaves) -> list[Tensor]:
    return [x.detach().clone().requires_grad_() for x in leaves]


def _gradients(y: Sequence[Tensor], x: Leaves, dy: Sequence[Tensor], **options: Any) -> list[Tensor]:
    found = torch.autograd.grad(y, x, dy, allow_unused=True, materialize_grads=True, **options)
    return list(found)


def loss(f: Function, leaves: Leaves) -> Callable[..., Tensor]:
    """A number from the outputs, curved, so that second derivatives are not zero."""
    with torch.no_grad():  # drawn once, outside of every transform
        weights = random_like(f(*leaves))

    def value(*x: Tensor) -> Tensor:
        return sum((w * torch.sin(y)).sum() for w, y in zip(weights, f(*x), strict=True))  # type: ignore[return-value]

    return value


# --- derivatives ------------------------------------------------------------------------------------


def double_backward(f: Function, leaves: Leaves) -> list[Tensor]:
    x = _fresh(leaves)
    first = _gradients([loss(f, leaves)(*x)], x, [torch.ones((), dtype=x[0].dtype)], create_graph=True)
    bent = [d for d in first if d.requires_grad]
    return [*first, *(_gradients(bent, x, random_like(bent)) if bent else [])]


def forward_mode(f: Function, leaves: Leaves) -> list[Tensor]:
    return list(func_jvp(f, tuple(leaves), tuple(random_like(leaves)))[1])


def vmap(f: Function, leaves: Leaves) -> list[Tensor]:
    return list(func_vmap(f, randomness="same")(*_batch(leaves)))


def per_sample_gradients(f: Function, leaves: Leaves) -> list[Tensor]:
    each = torch.func.grad(loss(f, leaves), argnums=tuple(range(len(leaves))))
    return list(func_vmap(each, randomness="same")(*_batch(leaves)))


def batched_gradients(f: Function, leaves: Leaves) -> list[Tensor]:
    x = _fresh(leaves)
    y = f(*x)
    dys = [torch.stack([w, -2 * w]) for w in random_like(y)]
    return _gradients(y, x, dys, is_grads_batched=True)


def _batch(leaves: Leaves) -> list[Tensor]:
    return [torch.stack([x, x * (1 - 2.0**-7)]) for x in leaves]


def _small(leaves: Leaves) -> None:
    if sum(x.numel() for x in leaves) > 4 * SMALL:
        raise NotApplicable("too large for a full Jacobian")


def jacrev(f: Function, leaves: Leaves) -> list[Tensor]:
    _small(leaves)
    return _leaves(func_jacrev(f, argnums=tuple(range(len(leaves))))(*leaves))


def jacfwd(f: Function, leaves: Leaves) -> list[Tensor]:
    _small(leaves)
    return _leaves(func_jacfwd(f, argnums=tuple(range(len(leaves))), randomness="same")(*leaves))


def hessian(f: Function, leaves: Leaves) -> list[Tensor]:
    _small(leaves)
    return _leaves(func_hessian(loss(f, leaves), argnums=tuple(range(len(leaves))))(*leaves))


def _leaves(tree: Any) -> list[Tensor]:
    return [t for t in torch.utils._pytree.tree_leaves(tree) if isinstance(t, Tensor)]


def hessian_by_differences(f: Function, leaves: Leaves) -> list[Tensor]:
    """The same by central differences of first derivatives: who is right, where hand and native differ."""
    gradient = torch.func.grad(loss(f, leaves), argnums=tuple(range(len(leaves))))
    step, columns = 1e-5, []
    for j, x in enumerate(leaves):
        for k in range(x.numel()):
            move = torch.zeros_like(x).view(-1)
            move[k] = step
            up, down = (gradient(*leaves[:j], x + s * move.view(x.shape), *leaves[j + 1 :]) for s in (1, -1))
            columns.append([(a - b) / (2 * step) for a, b in zip(up, down, strict=True)])
    found: list[list[Tensor]] = [[] for _ in leaves]
    at = 0
    for x in leaves:
        block, at = columns[at : at + x.numel()], at + x.numel()
        for i, y in enumerate(leaves):
            found[i].append(torch.stack([column[i] for column in block], -1).reshape(*y.shape, *x.shape))
    return [h for row in found for h in row]


# --- programs ---------------------------------------------------------------------------------------


def compile(f: Function, leaves: Leaves) -> list[Tensor]:
    torch._dynamo.reset()
    return _step(torch.compile(f, fullgraph=True, backend="aot_eager"), leaves)


def export(f: Function, leaves: Leaves) -> list[Tensor]:
    class Exported(nn.Module):
        def forward(self, *x: Tensor) -> tuple[Tensor, ...]:
            return f(*x)

    made = torch.export.export(Exported(), tuple(x.detach() for x in leaves))
    return list(made.module()(*leaves))


def _step(f: Function, leaves: Leaves) -> list[Tensor]:
    x = _fresh(leaves)
    y = f(*x)
    return [*(o.detach() for o in y), *_gradients(y, x, random_like(y))]


def checkpoint(f: Function, leaves: Leaves) -> list[Tensor]:
    return _step(lambda *x: checkpointed(f, *x, use_reentrant=False), leaves)


def autocast(f: Function, leaves: Leaves) -> list[Tensor]:
    def cast(*x: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return f(*x)

    return _step(cast, [x.float() for x in leaves])


# --- layouts ----------------------------------------------------------------------------------------


def meta(f: Function, leaves: Leaves) -> list[Tensor]:
    return [o.new_zeros(o.shape, device="cpu") for o in f(*(x.detach().to("meta") for x in leaves))]


def non_contiguous(f: Function, leaves: Leaves) -> list[Tensor]:
    """Inputs whose elements stand apart, and an incoming gradient that is expanded or transposed."""
    x = [torch.stack([v, v + 1], -1)[..., 0].detach().requires_grad_() for v in leaves]
    y = f(*x)
    dy = [
        w.mT.contiguous().mT if w.ndim > 1 else w[..., None].expand(*w.shape, 2)[..., 0]
        for w in random_like(y)
    ]
    return [*(o.detach() for o in y), *_gradients(y, x, dy)]


def channels_last(f: Function, leaves: Leaves) -> list[Tensor]:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    if not any(x.ndim in formats for x in leaves):
        raise NotApplicable("no input with four or five axes")
    x = [v.contiguous(memory_format=formats[v.ndim]) if v.ndim in formats else v for v in leaves]
    return _step(f, x)


def no_elements(f: Function, leaves: Leaves) -> list[Tensor]:
    """The first axis of the first input, and all of the same length, emptied."""
    first = next((x for x in leaves if x.ndim), None)
    if first is None:
        raise NotApplicable("no input with axes")
    return _step(f, [leaves[0][:0] if leaves[0].ndim else leaves[0], *leaves[1:]])


def some_inputs(f: Function, leaves: Leaves) -> list[Tensor]:
    """``requires_grad`` on one input after the other."""
    if len(leaves) < 2:
        raise NotApplicable("one differentiable input only")
    found = []
    for i in range(len(leaves)):
        x = [v.detach().clone().requires_grad_(i == j) for j, v in enumerate(leaves)]
        y = [o for o in f(*x) if o.requires_grad]
        found += _gradients(y, [x[i]], random_like(y)) if y else []
    return found


TRANSFORMS: dict[str, Callable[[Function, Leaves], list[Tensor]]] = {
    "double backward": double_backward,
    "forward mode": forward_mode,
    "vmap": vmap,
    "per-sample gradients": per_sample_gradients,
    "batched gradients": batched_gradients,
    "jacrev": jacrev,
    "jacfwd": jacfwd,
    "hessian": hessian,
    "compile": compile,
    "export": export,
    "checkpoint": checkpoint,
    "autocast": autocast,
    "meta": meta,
    "not contiguous": non_contiguous,
    "channels last": channels_last,
    "no elements": no_elements,
    "some inputs": some_inputs,
}


def copies(module: nn.Module) -> list[nn.Module]:
    """A deep copy and a pickled one: both must give what the module gives."""
    kept = io.BytesIO()
    torch.save(module, kept)
    kept.seek(0)
    return [copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(kept, weights_only=False)]


SECOND_OPINIONS = {"hessian": hessian_by_differences}
