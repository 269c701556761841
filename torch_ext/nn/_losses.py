"""Losses."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.adaptive import _ASMoutput

from torch_ext import functional as F  # noqa: N812 - its usual name
from torch_ext._function import call

__all__ = [
    "AdaptiveLogSoftmaxWithLoss",
    "BCELoss",
    "BCEWithLogitsLoss",
    "CTCLoss",
    "CrossEntropyLoss",
    "GaussianNLLLoss",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "LinearCrossEntropyLoss",
    "MSELoss",
    "MarginRankingLoss",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "SmoothL1Loss",
    "SoftMarginLoss",
]


class MSELoss(nn.MSELoss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(nn.L1Loss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(nn.SmoothL1Loss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class BCELoss(nn.BCELoss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(nn.BCEWithLogitsLoss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, pos_weight=self.pos_weight, reduction=self.reduction
        )


class CrossEntropyLoss(nn.CrossEntropyLoss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(nn.NLLLoss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class HuberLoss(nn.HuberLoss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class KLDivLoss(nn.KLDivLoss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class GaussianNLLLoss(nn.GaussianNLLLoss):
    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        return F.gaussian_nll_loss(input, target, var, full=self.full, eps=self.eps, reduction=self.reduction)


class PoissonNLLLoss(nn.PoissonNLLLoss):
    def forward(self, log_input: Tensor, target: Tensor) -> Tensor:
        return F.poisson_nll_loss(
            log_input,
            target,
            log_input=self.log_input,
            full=self.full,
            eps=self.eps,
            reduction=self.reduction,
        )


class HingeEmbeddingLoss(nn.HingeEmbeddingLoss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.hinge_embedding_loss(input, target, margin=self.margin, reduction=self.reduction)


class MarginRankingLoss(nn.MarginRankingLoss):
    def forward(self, input1: Tensor, input2: Tensor, target: Tensor) -> Tensor:
        return F.margin_ranking_loss(input1, input2, target, margin=self.margin, reduction=self.reduction)


class SoftMarginLoss(nn.SoftMarginLoss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.soft_margin_loss(input, target, reduction=self.reduction)


class MultiMarginLoss(nn.MultiMarginLoss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multi_margin_loss(
            input, target, p=self.p, margin=self.margin, weight=self.weight, reduction=self.reduction
        )


class MultiLabelMarginLoss(nn.MultiLabelMarginLoss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multilabel_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(nn.MultiLabelSoftMarginLoss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.multilabel_soft_margin_loss(input, target, weight=self.weight, reduction=self.reduction)


class CTCLoss(nn.CTCLoss):
    def forward(
        self, log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor
    ) -> Tensor:
        return F.ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            self.blank,
            self.reduction,
            self.zero_infinity,
        )


class LinearCrossEntropyLoss(nn.LinearCrossEntropyLoss):
    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        shape = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return F.linear_cross_entropy(
            input,
            self.linear.weight.reshape(*shape, self.linear.in_features),
            target,
            linear_bias=None if bias is None else bias.reshape(shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )


class AdaptiveLogSoftmaxWithLoss(nn.AdaptiveLogSoftmaxWithLoss):
    def forward(self, input_: Tensor, target_: Tensor) -> Any:
        if target_.ndim > 1 or input_.ndim != target_.ndim + 1 or input_.shape[:-1] != target_.shape:
            raise RuntimeError(
                "AdaptiveLogSoftmaxWithLoss needs inputs (N, D) with targets (N,), or (D,) with one; "
                f"received {tuple(input_.shape)} and {tuple(target_.shape)}; reshape them."
            )
        alone = target_.ndim == 0
        x, t = (input_.unsqueeze(0), target_.unsqueeze(0)) if alone else (input_, target_)
        clusters, tail = self._clusters(t)
        y, loss = call(
            "adaptive_log_softmax_with_loss",
            *(x, t, self.head.weight, self.head.bias, *tail),
            cutoffs=tuple(self.cutoffs),
            clusters=clusters,
        )
        return _ASMoutput(y.squeeze(0) if alone else y, loss)

    def _clusters(self, t: Tensor) -> tuple[tuple[int, ...], list[Tensor | None]]:
        """The clusters that have a target, and for each its two weights and the rows of those targets.

        Where nobody can look at values: all clusters, each with all rows.
        """
        transformed = torch._C._are_functorch_transforms_active()
        hidden = transformed or torch.compiler.is_compiling() or t.is_meta
        if not hidden and bool(((t < 0) | (t >= self.n_classes)).any()):
            raise RuntimeError(
                f"targets must be from 0 to {self.n_classes - 1}; received {t.tolist()}; correct them."
            )
        clusters: list[int] = []
        tail: list[Tensor | None] = []
        for i, (low, high) in enumerate(pairwise(self.cutoffs)):
            rows = None if hidden else ((t >= low) & (t < high)).nonzero().squeeze(1)
            if rows is not None and not rows.numel():
                continue
            project, out = cast(nn.Sequential, self.tail[i])
            clusters.append(i)
            tail += [cast(Tensor, project.weight), cast(Tensor, out.weight), rows]
        return tuple(clusters), tail

    def log_prob(self, input: Tensor) -> Tensor:
        """Log-probabilities of all classes: (N, in_features) -> (N, n_classes)."""
        return self._get_full_log_prob(input, F.linear(input, self.head.weight, self.head.bias))

    def _get_full_log_prob(self, input: Tensor, head_output: Tensor) -> Tensor:
        head = F.log_softmax(head_output, dim=1)
        found = [head[:, : self.shortlist_size]]
        for i, cluster in enumerate(self.tail):
            project, out = cast(nn.Sequential, cluster)
            scores = F.linear(F.linear(input, cast(Tensor, project.weight)), cast(Tensor, out.weight))
            at = self.shortlist_size + i
            found.append(F.add(F.log_softmax(scores, dim=1), head[:, at : at + 1]))
        return F.concat(found, dim=1)
