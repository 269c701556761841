"""The record as JUnit XML: a suite for each group, a test case for each check."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

from handgrad.report.record import Check, Record, Tally, split
from handgrad.report.words import clean, details, one_line, verdict


def to_junit(record: Record) -> str:
    """JUnit XML as Jenkins, GitLab and GitHub actions read it. Times are those of the whole run.

    A run that checked nothing at all is an error, so that no reader takes it for a success.
    """
    root = ET.Element("testsuites", _numbers(record.checks), name=clean(record.title))
    root.set("time", _time(sum(record.seconds.values())))
    for group, checks in split(record.checks, lambda check: check.group):
        suite = ET.SubElement(root, "testsuite", _numbers(checks), name=clean(group))
        suite.set("time", _time(record.seconds.get(group, 0.0)))
        if record.environment:
            properties = ET.SubElement(suite, "properties")
            for name, value in record.environment.items():
                ET.SubElement(properties, "property", name=clean(name), value=clean(value))
        for check in checks:
            _case(suite, check)
    if not record.checks and not record.examples:
        root.attrib |= {"tests": "1", "errors": "1"}
        suite = ET.SubElement(root, "testsuite", root.attrib)
        case = ET.SubElement(suite, "testcase", name=verdict(record), classname=clean(record.title))
        ET.SubElement(case, "error", message=verdict(record), type="Empty")
    ET.indent(root, " ")
    body = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _numbers(checks: tuple[Check, ...]) -> dict[str, str]:
    tally = Tally.of(checks)
    return {
        "tests": str(tally.checks),
        "failures": str(tally.failed),
        "errors": "0",
        "skipped": "0",
    }


def _time(seconds: float) -> str:
    return f"{seconds if math.isfinite(seconds) else 0.0:.3f}"


def _case(suite: ET.Element, check: Check) -> None:
    where = f"{check.group}.{check.layer}" if check.layer else check.group
    case = ET.SubElement(suite, "testcase", name=clean(check.id), classname=clean(where))
    if not check.passed:
        message = one_line(check.message or f"{check.argument} is wrong")
        failure = ET.SubElement(case, "failure", message=message, type="GradientMismatch")
        failure.text = details(check)
