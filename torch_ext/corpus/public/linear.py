# ruff: noqa: N803  (matrices keep the names they have on paper)
"""Linear layers that recompute, adapt or reverse, and functions of whole matrices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from torch_ext.corpus._entry import normal
from torch_ext.corpus.public._entry import PublicFunction, Wrong

# --- linear + GELU, recomputed


class RecomputedLinear(Function):
    """gelu(x·Wᵀ + b) over any leading axes; the product is computed again in backward."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight, bias)
        return F.gelu(F.linear(x, weight, bias))

    @staticmethod
    def inner(ctx, grad_output):
        x, weight, bias = ctx.saved_tensors
        z = F.linear(x, weight, bias)
        density = torch.exp(-z * z / 2) * (2 * torch.pi) ** -0.5
        return grad_output * (0.5 * torch.erfc(-z * 0.5**0.5) + z * density)

    @staticmethod
    def backward(ctx, grad_output):
        x, weight, _ = ctx.saved_tensors
        dz = RecomputedLinear.inner(ctx, grad_output)
        dx = dw = db = None
        if ctx.needs_input_grad[0]:
            dx = dz @ weight
        if ctx.needs_input_grad[1]:
            dw = dz.flatten(0, -2).mT @ x.flatten(0, -2)
        if ctx.needs_input_grad[2]:
            db = dz.flatten(0, -2).sum(0)
        return dx, dw, db


class RecomputedBatchOnly(RecomputedLinear):
    @staticmethod
    def backward(ctx, grad_output):
        return *RecomputedLinear.backward(ctx, grad_output)[:2], RecomputedLinear.inner(ctx, grad_output).sum(
            0
        )


class RecomputedTransposed(RecomputedLinear):
    @staticmethod
    def backward(ctx, grad_output):
        dx, dw, db = RecomputedLinear.backward(ctx, grad_output)
        return dx, None if dw is None else dw.mT, db


class RecomputedNoSlope(RecomputedLinear):
    @staticmethod
    def backward(ctx, grad_output):
        dx, dw, _ = RecomputedLinear.backward(ctx, grad_output)
        return dx, dw, grad_output.flatten(0, -2).sum(0)


RECOMPUTED = PublicFunction(
    "recomputed_linear",
    "FusedDenseGeluDenseFunc in NVIDIA/apex, LinearWithGradAccumulationAndAsyncCommunication in NVIDIA/Megatron-LM",
    RecomputedLinear.apply,
    lambda x, weight, bias: F.gelu(F.linear(x, weight, bias)),
    lambda g, d: (normal(g, d, 2, 3, 4), normal(g, d, 4, 4), normal(g, d, 4)),
    (
        Wrong(
            "missing-sum",
            "bias: summed over the first axis alone",
            RecomputedBatchOnly.apply,
            ("shape",),
            "bias",
        ),
        Wrong("transpose", "weight: transposed", RecomputedTransposed.apply, argument="weight"),
        Wrong(
            "missing-factor",
            "bias: without the activation's derivative",
            RecomputedNoSlope.apply,
            argument="bias",
        ),
    ),
)

# --- low-rank adapter


class AdaptedLinear(Function):
    """x·Wᵀ + s·(x·Aᵀ)·Bᵀ; W is frozen."""

    @staticmethod
    def forward(ctx, x, W, A, B, s):
        ctx.save_for_backward(x, W, A, B)
        ctx.s = s
        return x @ W.mT + s * (x @ A.mT) @ B.mT

    @staticmethod
    def backward(ctx, grad_output):
        x, W, A, B = ctx.saved_tensors
        g = ctx.s * grad_output
        return grad_output @ W + g @ B @ A, None, (g @ B).mT @ x, g.mT @ (x @ A.mT), None


class AdaptedUnscaled(AdaptedLinear):
    @staticmethod
    def backward(ctx, grad_output):
        dx, dW, dA, dB, _ = AdaptedLinear.backward(ctx, grad_output)
        return dx, dW, dA / ctx.s, dB, None


class AdaptedFrozen(AdaptedLinear):
    @staticmethod
    def backward(ctx, grad_output):
        return grad_output @ ctx.saved_tensors[1], *AdaptedLinear.backward(ctx, grad_output)[1:]


ADAPTED = PublicFunction(
    "adapted_linear",
    "LoRA_W in unslothai/unsloth, microsoft/LoRA; Hu et al. 2021",
    AdaptedLinear.apply,
    lambda x, W, A, B, s: F.linear(x, W) + s * F.linear(F.linear(x, A), B),
    lambda g, d: (
        normal(g, d, 4, 3),
        normal(g, d, 5, 3, grad=False),
        normal(g, d, 2, 3),
        normal(g, d, 5, 2),
        0.5,
    ),
    (
        Wrong("scale", "A: the adapter's scale is forgotten", AdaptedUnscaled.apply, argument="A"),
        Wrong("missing-term", "x: only through the frozen weight", AdaptedFrozen.apply, argument="x"),
    ),
)

# --- reversible residual block


class Reversible(Function):
    """y1 = x1 + tanh(x2·F), y2 = x2 + tanh(y1·G); only the outputs are kept."""

    @staticmethod
    def forward(ctx, x1, x2, F, G):
        y1, y2 = reversible(x1, x2, F, G)
        ctx.save_for_backward(y1, y2, F, G)
        return y1, y2

    @staticmethod
    def gradients(ctx, g1, g2, through=True):
        y1, y2, F, G = ctx.saved_tensors
        t = torch.tanh(y1 @ G)
        dt = g2 * (1 - t * t)
        x2 = y2 - t
        d1 = g1 + dt @ G.mT if through else g1
        s = torch.tanh(x2 @ F)
        ds = d1 * (1 - s * s)
        return d1, g2 + ds @ F.mT, x2.mT @ ds, y1.mT @ dt

    @staticmethod
    @once_differentiable
    def backward(ctx, g1, g2):
        return Reversible.gradients(ctx, g1, g2)


class ReversibleApart(Reversible):
    @staticmethod
    def backward(ctx, g1, g2):
        return Reversible.gradients(ctx, g1, g2, through=False)


class ReversibleLinear(Reversible):
    @staticmethod
    def backward(ctx, g1, g2):
        y1, *_ = ctx.saved_tensors
        return *Reversible.gradients(ctx, g1, g2)[:3], y1.mT @ g2


def reversible(x1, x2, F, G):
    y1 = x1 + torch.tanh(x2 @ F)
    return y1, x2 + torch.tanh(y1 @ G)


REVERSIBLE = PublicFunction(
    "reversible",
    "_ReversibleModuleFunction in RobinBruegger/RevTorch, lucidrains/reformer-pytorch; Gomez et al. 2017",
    Reversible.apply,
    reversible,
    lambda g, d: (normal(g, d, 3, 2), normal(g, d, 3, 2), normal(g, d, 2, 2), normal(g, d, 2, 2)),
    (
        Wrong("missing-term", "x1: what y1 does to y2 is forgotten", ReversibleApart.apply),
        Wrong("missing-factor", "G: without the derivative of tanh", ReversibleLinear.apply, argument="G"),
    ),
)

# --- log-determinant


class LogAbsDet(Function):
    """log|det A| of a batch of square matrices."""

    @staticmethod
    def forward(ctx, A):
        ctx.save_for_backward(A)
        return torch.linalg.slogdet(A).logabsdet

    @staticmethod
    def backward(ctx, grad_output):
        (A,) = ctx.saved_tensors
        return grad_output[..., None, None] * torch.linalg.inv_ex(A).inverse.mT


class LogAbsDetTransposed(LogAbsDet):
    @staticmethod
    def backward(ctx, grad_output):
        return LogAbsDet.backward(ctx, grad_output).mT


class LogAbsDetAlone(LogAbsDet):
    @staticmethod
    def backward(ctx, grad_output):
        return LogAbsDet.backward(ctx, torch.ones_like(grad_output))


LOG_DET = PublicFunction(
    "log_abs_det",
    "the invertible 1x1 convolution of openai/glow (Kingma & Dhariwal 2018); Giles 2008, An extended collection of "
    "matrix derivative results",
    LogAbsDet.apply,
    lambda A: torch.linalg.slogdet(A).logabsdet,
    lambda g, d: (normal(g, d, 2, 3, 3),),
    (
        Wrong("transpose", "the inverse is not transposed", LogAbsDetTransposed.apply, argument="A"),
        Wrong(
            "missing-factor", "not multiplied by the incoming gradient", LogAbsDetAlone.apply, argument="A"
        ),
    ),
)

# --- matrix square root


def symmetric(A):
    return (A + A.mT) / 2


class MatrixSqrt(Function):
    """The square root of the symmetric part of A, positive definite; backward solves Lyapunov's equation."""

    @staticmethod
    def forward(ctx, A):
        values, V = torch.linalg.eigh(symmetric(A))
        root = values.sqrt()
        ctx.save_for_backward(root, V)
        return (V * root) @ V.mT

    @staticmethod
    def solve(ctx, g):
        root, V = ctx.saved_tensors
        return V.mT @ symmetric(g) @ V / (root[:, None] + root[None])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        _, V = ctx.saved_tensors
        return V @ MatrixSqrt.solve(ctx, grad_output) @ V.mT


class MatrixSqrtDiagonal(MatrixSqrt):
    @staticmethod
    def backward(ctx, grad_output):
        _, V = ctx.saved_tensors
        return (V * MatrixSqrt.solve(ctx, grad_output).diagonal()) @ V.mT


class MatrixSqrtDoubled(MatrixSqrt):
    @staticmethod
    def backward(ctx, grad_output):
        return 2 * MatrixSqrt.backward(ctx, grad_output)


def matrix_sqrt(A):
    """Denman and Beavers' iteration; NaN where A is not positive definite."""
    S = symmetric(A)
    Y, Z = S, torch.eye(len(S), dtype=S.dtype)
    for _ in range(12):
        Y, Z = (Y + torch.linalg.inv_ex(Z).inverse) / 2, (Z + torch.linalg.inv_ex(Y).inverse) / 2
    return Y + 0 * torch.linalg.eigvalsh(S.detach())[0].sqrt()


def definite(g, d):
    M = normal(g, torch.float64, 3, 3, grad=False)
    return ((M @ M.mT + torch.eye(3)).to(d).requires_grad_(),)


MATRIX_SQRT = PublicFunction(
    "matrix_sqrt",
    "MatrixSquareRoot in steveli/pytorch-sqrtm, msubhransu/matrix-sqrt; Lin & Maji 2017",
    MatrixSqrt.apply,
    matrix_sqrt,
    definite,
    (
        Wrong(
            "missing-term", "between different eigenvectors nothing", MatrixSqrtDiagonal.apply, argument="A"
        ),
        Wrong("scale", "twice too large", MatrixSqrtDoubled.apply, argument="A"),
    ),
)

FUNCTIONS = (RECOMPUTED, ADAPTED, REVERSIBLE, LOG_DET, MATRIX_SQRT)
