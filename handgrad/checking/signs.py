"""Mistakes of sign and symmetry, seen in the Jacobian: some terms negated, the Jacobian not transposed."""

from __future__ import annotations

import numpy as np

from handgrad.checking.evidence import Case, near
from handgrad.checking.findings import Finding
from handgrad.checking.jacobians import Rows, of


def signs_of_terms(case: Case) -> Finding | None:
    """Each output's contribution has the right size, and some have the opposite sign."""
    found = of(case)
    if not found or not any(np.any(~r.right) for r in found):
        return None
    if not all(np.all(np.abs(np.abs(r.analytic) - np.abs(r.truth)) <= r.bound) for r in found):
        return None
    return Finding(
        "sign",
        case.name,
        f"the gradient of {case.name} is a sum whose terms have the right size, some of them the opposite "
        "sign: a rotation turned onwards and not back, a conjugate left out, or a minus lost in one of two "
        "terms",
    )


def transposed_jacobian(case: Case) -> Finding | None:
    """The Jacobian is applied where its transpose is due."""
    found = of(case)
    if not found or not all(r.complete and _square(r) for r in found):
        return None
    if not all(np.all(np.abs(r.analytic - r.truth.T) <= r.bound) for r in found):
        return None
    return Finding(
        "transpose",
        case.name,
        f"the gradient of {case.name} is the Jacobian times grad_output where the transposed Jacobian is "
        "due: transpose the matrix that grad_output is multiplied by",
    )


def _square(r: Rows) -> bool:
    n, m = r.truth.shape
    return n == m > 1 and bool(np.any(np.abs(r.truth - r.truth.T) > r.bound))


def not_symmetrised(case: Case) -> Finding | None:
    """The right gradient is symmetric, as that of a symmetric matrix, and is half of A plus its transpose, or
    that with the diagonal counted once."""
    if not case.usual_wrong:
        return None
    for e in case.usual_wrong:
        a, t = e.analytic[case.name], e.truth[case.name]
        if a is None or a.shape != t.shape or a.ndim < 2 or a.shape[-1] != a.shape[-2] or a.shape[-1] < 2:
            return None
        if not near(np.swapaxes(t, -1, -2), t, e) or near(np.swapaxes(a, -1, -2), a, e):
            return None
        both = a + np.swapaxes(a, -1, -2)
        once = both - a * np.eye(a.shape[-1])
        if not any(near(s, t, e) for s in (both / 2, both, once)):
            return None
    return Finding(
        "missing-term",
        case.name,
        f"the gradient of {case.name} lacks its transpose: the matrix is symmetric, and so is its gradient; "
        "add the transposed gradient",
        {"term": "the transpose"},
    )
