"""Which mistake makes a gradient look like that: hypotheses, each tested on everything that was seen.

An :class:`Evidence` is one backward pass: the analytic gradients A, the truths T, what rounding
allows, and the values that went in and out. A hypothesis is stated only where it explains every
evidence, among them directions that did not suggest it; where none does, the answer is "unknown".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from handgrad.checking import formulas
from handgrad.checking.contributions import (
    by_output,
    dropped,
    elsewhere,
    masked,
    others_summed,
    reordered,
    summed_wrongly,
)
from handgrad.checking.evidence import Case, Evidence, forgive_rounding
from handgrad.checking.findings import Finding
from handgrad.checking.jacobians import (
    between,
    direct_path,
    ignored,
    inner_factor,
    low_rank,
    rounded,
    share_factor,
)
from handgrad.checking.paths import one_step
from handgrad.checking.places import (
    part_of_the_sum,
    permuted,
    shifted,
    summed_over_another,
    swapped_inputs,
    transpose,
    transposed_cotangent,
)
from handgrad.checking.regions import local, region, region_by_size, region_of_outputs
from handgrad.checking.signs import not_symmetrised, signs_of_terms, transposed_jacobian
from handgrad.checking.simple import not_finite, scale, sign, some_signs, zero
from handgrad.checking.terms import constant_ratio, missing_factor, missing_term, offset, smooth_along

_PASSES = 6  # that are done again for one output alone
_GROUPS = 3  # of shapes that are looked at, where the first ones show no known mistake


def diagnose(name: str, evidence: Sequence[Evidence]) -> Finding | None:
    """The best explanation of a gradient that is wrong in some of ``evidence``.

    None where only its shape is wrong: that is said elsewhere.
    """
    forgive_rounding(evidence, name)
    groups: dict[tuple[object, ...], list[Evidence]] = {}
    # a wrong shape says more than wrong numbers
    for e in sorted(evidence, key=lambda e: e.well_shaped(name)):
        groups.setdefault(tuple((n, x.shape) for n, x in e.inputs.items()), []).append(e)
    found = []
    for group in groups.values():
        if any(np.any(e.wrong(name)) for e in group):
            found.append(_diagnosed(Case(name, group, evidence[0])))
            if not group[0].well_shaped(name) and (found[-1] is None or found[-1].kind == "unknown"):
                found.pop()  # the other shapes may tell
                continue
            if len(found) == _GROUPS or (found[-1] is not None and found[-1].kind != "unknown"):
                break
    return next((f for f in reversed(found) if f is not None), None)  # None: its shape alone is wrong


def _diagnosed(case: Case) -> Finding | None:
    """The best explanation of what was seen at inputs of the same shapes."""
    name = case.name
    shaped = all(a is None or a.shape == e.truth[name].shape for e in case.wrong for a in [e.analytic[name]])
    finite = [e for e in case.wrong if _wrong_though_finite(e, name)]
    if shaped and not any(e.usual(name) for e in finite):
        finding = not_finite(case)
        if finding is not None:
            return finding
    hypotheses = _HYPOTHESES if shaped else _ILL_SHAPED
    for _, hypothesis in hypotheses:
        finding = hypothesis(case)
        if finding is not None:
            return finding
    if not shaped:
        return None
    finding = not_finite(case)
    if finding is not None:
        return finding
    tried = [words for words, _ in hypotheses]
    return Finding(
        "unknown",
        name,
        f"the gradient of {name} is wrong in no way known here: none of {len(tried)} explanations fits; "
        "compare it with the truth term by term, or derive each intermediate value alone",
        {"excluded": tried},
    )


def _wrong_though_finite(e: Evidence, name: str) -> bool:
    a, t = e.analytic[name], e.truth[name]
    if a is None or a.shape != t.shape:
        return True
    with np.errstate(all="ignore"):  # cancellation next to a division by zero is the same mistake
        far = np.abs(a - t) > 2.0**20 * e.unit * np.max(np.abs(t), initial=0.0)
    return bool(np.any(e.wrong(name) & np.isfinite(a) & far))


# --- several outputs --------------------------------------------------------------------------


def _through_one_output(case: Case) -> Finding | None:
    """What comes through one of several outputs is wrong in a known way."""
    count = sum(dy is not None for dy in case.wrong[0].cotangents)
    if count < 2:
        return None
    for k in range(len(case.wrong[0].cotangents)):
        chosen = [*case.usual_wrong[:_PASSES], *case.all[:_PASSES]]
        seen = [e.through(k, case.name) for i, e in enumerate(chosen) if not any(e is o for o in chosen[:i])]
        alone = [e for e in seen if e is not None]
        if not any(np.any(e.wrong(case.name)) for e in alone):
            continue
        if not any(np.any(e.truth[case.name]) for e in alone):
            return Finding(
                "missing-term",
                case.name,
                f"the gradient of {case.name} has a term from grad_output {k}, though output {k} does not "
                f"depend on {case.name}: what belongs to another gradient is added too early, or to too many",
                {"term": f"grad_output {k}"},
            )
        finding = _diagnosed(Case(case.name, alone, case.given))
        if finding is not None and finding.kind == "zero":
            return Finding(
                "missing-term",
                case.name,
                f"the gradient of {case.name} is a sum over the outputs, and nothing comes from output {k}: "
                f"add what grad_output {k} contributes",
                {"term": f"grad_output {k}", "coefficient": 0.0},
            )
        if finding is not None and finding.kind != "unknown":
            return replace(
                finding,
                message=f"in what comes from output {k}: {finding.message}",
                details={**finding.details, "output": k},
            )
    return None


Hypothesis = Callable[[Case], Finding | None]

# from the most specific to the least: each has to explain what was seen at all usual inputs
_HYPOTHESES: tuple[tuple[str, Hypothesis], ...] = (
    ("zero", zero),
    ("sign", sign),
    ("scale", scale),
    ("a lower precision", rounded),
    ("ignored grad_output", ignored),
    ("transpose", transpose),
    ("exchanged inputs", swapped_inputs),
    ("permuted", permuted),
    ("offset", offset),
    ("another sum", summed_wrongly),
    ("outputs", by_output),
    ("one of several outputs", _through_one_output),
    ("transpose of grad_output", transposed_cotangent),
    ("outputs in another order", reordered),
    ("a symmetric matrix", not_symmetrised),
    ("a region of outputs", partial(region_of_outputs, early=True)),
    ("missing contributions", dropped),
    ("shifted", shifted),
    ("local", local),
    ("region", region),
    ("a region by size", region_by_size),
    ("a region of outputs by labels", region_of_outputs),
    ("scale on some inputs", partial(scale, somewhere=True)),
    ("a mask", masked),
    ("a part of the sum", part_of_the_sum),
    ("some signs", some_signs),
    ("the derivative of all", formulas.underived),
    ("signs of terms", signs_of_terms),
    ("a factor by its formula", formulas.factor),
    ("a term by its formula", formulas.short_term),
    ("one step", one_step),
    ("a sum over others", others_summed),
    ("a Jacobian not transposed", transposed_jacobian),
    ("a factor at inputs or outputs", between),
    ("a factor by two formulas", formulas.two_factors),
    ("a term by two formulas", formulas.term),
    ("one term of several", formulas.one_term),
    ("a region of outputs by size", partial(region_of_outputs, by_size=True)),
    ("contributions elsewhere", elsewhere),
    ("a direct path", direct_path),
    ("a factor in between", inner_factor),
    ("a factor", missing_factor),
    ("a term", missing_term),
    ("a term along an axis", smooth_along),
    ("a term of low rank", low_rank),
    ("a factor of the inputs", constant_ratio),
    ("a factor of each share", share_factor),
)
_ILL_SHAPED: tuple[tuple[str, Hypothesis], ...] = (
    ("transpose", transpose),
    ("exchanged inputs", swapped_inputs),
    ("another sum", summed_wrongly),
    ("a sum over another axis", summed_over_another),
)
