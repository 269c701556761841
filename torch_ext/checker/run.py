"""``torch_ext.check``: is this gradient right, and if not, what is the mistake?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from handgrad._errors import require
from handgrad.checking.findings import CheckReport
from torch_ext.checker import probes as points
from torch_ext.checker.arrays import tensor, widened
from torch_ext.checker.budget import Budget
from torch_ext.checker.constants import indices, thresholds
from torch_ext.checker.guard import undisturbed
from torch_ext.checker.inputs import require_variables, varies, whole_number
from torch_ext.checker.kinks import at_kinks
from torch_ext.checker.naming import wrong_layers
from torch_ext.checker.options import Options
from torch_ext.checker.orders import Checked, forward_mode, second_order
from torch_ext.checker.passes import Passes
from torch_ext.checker.probes import Probe
from torch_ext.checker.recorder import BackwardRaises
from torch_ext.checker.remarks import notes, raised
from torch_ext.checker.subject import Subject
from torch_ext.checker.transforms import transformed
from torch_ext.checker.truth import Truth
from torch_ext.checker.unusual import along_directions, layouts, partial, repeated
from torch_ext.checker.verdict import verdict
from torch_ext.checker.whole import check_whole, is_whole

_SHAPES = 6  # other shapes that are tried
_KINKS = 8  # passes at kinks that are looked for


def check(
    target: Any,
    inputs: Sequence[Any],
    reference: Any = None,
    *,
    seed: int = 0,
    probes: bool = True,
    budget: int | None = None,
    second_order: bool = False,
    forward_mode: bool = False,
    transforms: Sequence[str] = (),
    tolerance: float = 1.0,
) -> CheckReport:
    """Compare the gradients of ``target`` with their truth, and name the mistake where they differ.

    target      a callable on tensors, ``Function.apply``, an ``nn.Module`` (its parameters are checked
                too), or a pair (forward, backward) of plain functions in the form of a derivation
    inputs      a tuple; floating or complex tensors with ``requires_grad=True`` are differentiated
    reference   a callable of the same signature whose autograd gradient is the truth, its convention
                at kinks included. Without one the truth comes from the target's own forward, and at a
                kink every value between the one-sided derivatives is right
    seed        fixes every random number: the same seed gives the same report
    probes      also try other inputs of the same shapes and kinds (default)
    budget      forward passes that a right target and its reference may take, at least 1; the inputs given
                are looked at in any case. Without one: as many as there is to try for small inputs, 32 from
                2,000 elements on, 10 from a million on. A module of a million parameters is checked by
                three steps of its own, and each kind of layer in it alone
    second_order    also check double backward: the gradient of <v, Jᵀu> with respect to the inputs and to
                the incoming gradient u, through the target's own backward
    forward_mode    also check forward mode: J v of the target's ``jvp``
    transforms  also compare with results under "vmap", "compile" (eager backend), "grad" (torch.func.vjp)
                and "batched" (is_grads_batched of torch.autograd.grad), any of them
    tolerance   a factor above 0 on what rounding explains

    Nothing of the caller's is changed: inputs, ``.grad``, modules and tensors that the target reaches,
    random state, PyTorch's modes. PyTorch's, Python's and NumPy's global generators are seeded alike for
    each call. One check runs at a time in a process. Raises InputError where nothing can be checked;
    ``docs/errors-of-use.md`` says what is an error of use, and what a finding.
    """
    seed = whole_number("seed", seed, 0, 2**62)
    budget = None if budget is None else whole_number("budget", budget, 1, 2**62)
    require(isinstance(probes, bool), "probes is True or False", repr(probes), "give one of them")
    options = Options.of(second_order, forward_mode, transforms, tolerance)
    with undisturbed(target, reference, *(inputs if isinstance(inputs, tuple | list) else ())):
        return _checked(target, inputs, reference, seed, probes, budget, options)


def _checked(
    target: Any,
    inputs: Sequence[Any],
    reference: Any,
    seed: int,
    probing: bool,
    budget: int | None,
    options: Options,
) -> CheckReport:
    def alone(layer: Any, its_inputs: Sequence[Any], its_reference: Any) -> CheckReport:
        first = Options(tolerance=options.tolerance)
        return _checked(layer, its_inputs, its_reference, seed, probing, budget, first)

    if is_whole(target):
        options.require_none()
        return check_whole(target, inputs, reference, seed, alone)
    subject = Subject(target, inputs, seed)
    require_variables(list(subject.variables), inputs)
    if reference is None:
        truth = Truth(subject, native=True)
    else:
        truth = Truth(_matched(Subject(reference, inputs, seed, "reference"), subject), native=False)
    constants = {
        i: x
        for i, (n, x) in enumerate(zip(subject.argument_names, subject.arguments, strict=True))
        if n not in subject.variables and varies(x)
    }
    passes = Passes(subject, truth, seed, options.tolerance)
    given = Probe("the inputs given", {n: widened(v) for n, v in subject.variables.items()}, constants)
    left = Budget([subject] if reference is None else [subject, truth.subject], given, budget)
    try:
        first = passes.given(given, vouching=left.allows(30))
    except BackwardRaises as error:
        return raised(subject, error, seed)
    exact = first
    if passes.low != "float64" and (left.thorough or left.allows(3)):
        exact = passes.at(given, "float64") or first
    found = [
        *repeated(subject, first, left),
        *layouts(subject, exact, left),
        *along_directions(truth, exact, seed),
    ]
    if probing and left.allows(3):
        _probe(passes, given, reference is not None, left)
    if all(p.differences[n].passed for p in (first, exact) for n in subject.variables):
        # wrong elsewhere: is it even the same twice there?
        wrong = [p for p in passes.seen if not all(d.passed for d in p.differences.values())]
        chosen = {0, len(wrong) // 2, len(wrong) - 1} if wrong else set()
        found += [f for i in sorted(chosen) for f in repeated(subject, wrong[i], left)][:1]
    found += partial(subject, exact, left)
    found += [] if passes.raised is None else [passes.raised]
    layers = wrong_layers(passes, reference, alone)
    report = replace(verdict(passes, [*found, *passes.found], layers), notes=notes(passes))
    return _beyond(report, passes, options, left)


def _beyond(report: CheckReport, passes: Passes, options: Options, left: Budget) -> CheckReport:
    """What is checked on request, after the first derivative."""
    beyond = options.second_order or options.forward_mode or options.transforms
    if beyond and any(f.kind == "nondeterministic" for f in report.findings):
        note = "the first derivative is not deterministic: nothing beyond it is checked"
        return replace(report, notes=(*report.notes, note))
    right = [d.name for d in report.diffs if d.passed]
    checked: list[Checked] = []
    if options.second_order:
        checked.append(second_order(passes, right, left))
    if options.forward_mode:
        checked.append(forward_mode(passes, left))
    checked += [transformed(passes, name) for name in options.transforms]
    findings = [f for found, _ in checked for f in found]
    more = [n for _, said in checked for n in said]
    return replace(report, findings=(*report.findings, *findings), notes=(*report.notes, *more))


def _matched(reference: Subject, target: Subject) -> Subject:
    """The reference, its arguments called as the target calls them, by position; its parameters are those of
    the same names, or, where names differ, of the same shapes in the same order."""
    due = [n for n in target.variables if n not in target.argument_names]
    own = [n for n in reference.variables if n not in reference.argument_names]
    missing = [n for n in due if n not in own]
    if missing:
        shapes = [
            [subject.variables[n].shape for n in names]
            for subject, names in ((target, due), (reference, own))
        ]
        require(
            shapes[0] == shapes[1],
            "a reference has the target's inputs and parameters",
            f"none for {', '.join(missing)}",
            "give one of the same signature",
        )
        reference.renamed = dict(zip(own, due, strict=True))
    reference.argument_names, reference.variables = target.argument_names, target.variables
    return reference


def _probe(passes: Passes, given: Probe, at_ends: bool, left: Budget) -> None:
    """Other points, and other shapes, wherever the target takes them."""
    around = points.Around(
        given.variables,
        given.constants,
        {n: v.dtype for n, v in passes.subject.variables.items()},
        passes.seed,
        passes.strict,
        at_ends,
        thresholds(passes.subject.target),
        indices(passes.subject.target),
    )
    fitting = 0
    for probe in points.reshaped(around):
        if not left.allows(left.shapes):
            break
        fitting += passes.at(probe, "float64") is not None
        if fitting == _SHAPES:
            break
    refused = False
    for i, probe in enumerate(points.probes(around)):
        if i < 3 and passes.low != "float64" and left.allows(4):  # float64 sees more
            passes.at(probe, passes.low)
        if not left.allows(3):
            break
        refused |= passes.at(probe, "float64") is None
    for probe in points.one_alone(around) if refused else ():
        if not left.allows(3):
            break
        passes.at(probe, "float64")
    if at_ends and left.allows(_KINKS):
        first = passes.seen[0]
        pairs = zip(first.evidence.cotangents, first.result.outputs, strict=True)
        cotangents = [None if dy is None else tensor(dy, y) for dy, y in pairs]
        for probe in at_kinks(passes.truth, given.variables, given.constants, cotangents, passes.seed):
            passes.at(probe, "float64")
