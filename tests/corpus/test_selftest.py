"""A part of the corpus through the checker: every mistake found, nearly all named, no alarm."""

import pytest
from click.testing import CliRunner

from handgrad.checking import selftest

# every so many cases of each part; the whole is `python -m handgrad.checking.selftest`
EVERY = {"open": 41, "held_out": 23, "attacks": 53, "public": 17}
# what is missed is listed, with its reason, in reports/selftest.md


def sampled(part: str) -> list[selftest.Case]:
    return list(selftest.cases(selftest.operations(part)))[:: EVERY[part]]


@pytest.mark.parametrize("part", selftest.PARTS)
def test_mistakes_are_found_and_named_and_right_code_passes(part: str) -> None:
    score = selftest.Score([selftest.outcome(case) for case in sampled(part)])
    assert score.alarms == 0, [o for o in score.outcomes if o.verdict == "ALARM"]
    assert score.found == len(score.planted), [o for o in score.outcomes if o.verdict == "MISSED"]
    assert score.named >= 0.9 * len(score.planted), [o for o in score.outcomes if o.verdict]


def test_the_command_prints_figures_and_writes_them(tmp_path) -> None:
    report = tmp_path / "selftest.md"
    made = CliRunner().invoke(
        selftest.main, ["open", "float64", "--names", "softmax", "--report", str(report)]
    )
    assert made.exit_code == 0, made.output
    assert "0 false alarms" in made.output
    assert "| open   | float64 |" in report.read_text()


def test_an_unknown_part_is_one_sentence() -> None:
    made = CliRunner().invoke(selftest.main, ["closed"])
    assert made.exit_code == 2
    assert "closed" in made.output
