"""Robotics: points turned by quaternions, the joints of a planar arm."""

import torch

from torch_ext.corpus._entry import Mistake, Operation, normal, uniform

from ._util import leaf

cross = torch.linalg.cross

# ---- quaternion (w, x, y, z), not normalized: v + 2 w u x v + 2 u x (u x v) -------------------


def turn_forward(q, v):
    w, u = q[:, None, :1], q[:, None, 1:].expand_as(v)
    t = 2 * cross(u, v)
    return v + w * t + cross(u, t), (q, v, t)


def _turn_backward(g, res):
    q, v, t = res
    w, u = q[:, None, :1], q[:, None, 1:].expand_as(v)
    g_t = w * g + cross(g, u)
    g_w = (g * t).sum((1, 2))
    g_u = (cross(t, g) + 2 * cross(v, g_t)).sum(1)
    g_v = g + 2 * cross(g_t, u)
    return g_w, g_u, g_v


def turn_backward(g, res):
    g_w, g_u, g_v = _turn_backward(g, res)
    return torch.cat((g_w[:, None], g_u), 1), g_v


def turn_xyzw(g, res):
    g_w, g_u, g_v = _turn_backward(g, res)
    return torch.cat((g_u, g_w[:, None]), 1), g_v


def turn_reference(q, v):
    w, x, y, z = q.unbind(1)
    # row by row: v + 2 w [u]x v + 2 (u u^T - |u|^2 I) v
    zero = torch.zeros_like(w)
    k = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), 1).reshape(-1, 3, 3)
    m = torch.eye(3, dtype=q.dtype) + 2 * w[:, None, None] * k + 2 * k @ k
    return v @ m.transpose(1, 2)


TURN = Operation(
    name="quaternion_turn",
    forward=turn_forward,
    backward=turn_backward,
    reference=turn_reference,
    dtypes=("float64", "float32"),
    inputs=lambda g, d: (normal(g, d, 2, 4), normal(g, d, 2, 5, 3)),
    further={
        "identity and half turn": lambda g, d: (
            leaf(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]), d),
            normal(g, d, 3, 2, 3),
        ),
        "no points": lambda g, d: (normal(g, d, 2, 4), normal(g, d, 2, 0, 3)),
        "views": lambda g, d: (
            leaf(normal(g, d, 4, 3, grad=False).t()),
            leaf(normal(g, d, 3, 2, 3, grad=False).permute(0, 2, 1)[:, :, :1].expand(3, 3, 3)),
        ),
    },
    mistakes=(
        Mistake(
            kind="permuted",
            what="the quaternion's gradient comes as (x, y, z, w)",
            backward=turn_xyzw,
            argument="q",
        ),
    ),
)

# ---- forward kinematics of a planar arm: every joint's position -------------------------------


def arm_forward(angles, lengths):
    heading = angles.cumsum(1)
    unit = torch.stack((heading.cos(), heading.sin()), 2)
    joints = (lengths[:, None] * unit).cumsum(1)
    return joints, (unit, lengths)


def _arm_backward(g, res):
    unit, lengths = res
    grad_angles = torch.zeros_like(unit[..., 0])
    grad_lengths = torch.zeros_like(unit[..., 0])
    pull = torch.zeros_like(unit[:, 0])
    turn = torch.zeros_like(unit[:, 0, 0])
    for j in reversed(range(lengths.numel())):
        pull = pull + g[:, j]
        c, s = unit[:, j, 0], unit[:, j, 1]
        grad_lengths[:, j] = (pull * unit[:, j]).sum(1)
        turn = turn + lengths[j] * (c * pull[:, 1] - s * pull[:, 0])
        grad_angles[:, j] = turn
    return grad_angles, grad_lengths


def arm_backward(g, res):
    grad_angles, grad_lengths = _arm_backward(g, res)
    return grad_angles, grad_lengths.sum(0)


def arm_mean(g, res):
    grad_angles, grad_lengths = _arm_backward(g, res)
    return grad_angles, grad_lengths.mean(0)


def arm_reference(angles, lengths):
    phase = torch.tril(torch.ones(lengths.numel(), lengths.numel(), dtype=angles.dtype))
    heading = angles @ phase.t()
    x, y = lengths * torch.cos(heading), lengths * torch.sin(heading)
    return torch.stack((x @ phase.t(), y @ phase.t()), -1)


ARM = Operation(
    name="planar_arm",
    forward=arm_forward,
    backward=arm_backward,
    reference=arm_reference,
    dtypes=("float64", "float32"),
    inputs=lambda g, d: (uniform(g, d, 4, 3, low=-3, high=3), uniform(g, d, 3, low=0.5, high=1.5)),
    further={
        "stretched": lambda g, d: (leaf(torch.zeros(2, 4), d), leaf(torch.tensor([1.0, 0.0, -1.0, 2.0]), d)),
        "one joint": lambda g, d: (normal(g, d, 1, 1), normal(g, d, 1)),
        "transposed": lambda g, d: (
            leaf(normal(g, d, 5, 2, grad=False).t()),
            leaf(normal(g, d, 1, grad=False).expand(5)),
        ),
    },
    mistakes=(
        Mistake(
            kind="scale",
            what="the lengths' gradient is averaged over the batch, not summed; a batch of one hides it",
            backward=arm_mean,
            also=("missing-sum",),
            argument="lengths",
            hidden=lambda g, d: (uniform(g, d, 1, 3, low=-3, high=3), uniform(g, d, 3, low=0.5, high=1.5)),
        ),
    ),
)

OPERATIONS = (TURN, ARM)
