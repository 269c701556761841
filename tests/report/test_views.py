"""Markdown, HTML, JUnit and terminal text on every kind of record."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from markdown_it import MarkdownIt

from handgrad.report import Record, ReportError, reduce_errors, to_html, to_junit, to_markdown, to_text
from tests.report.records import (
    NAMED,
    Page,
    example,
    exception,
    failing,
    hostile,
    mixed,
    not_finite,
    passing,
    record,
    records,
)

View = Callable[[Record], str]
VIEWS: dict[str, View] = {"html": to_html, "junit": to_junit, "markdown": to_markdown, "text": to_text}
UNSAFE = re.compile("[^\t\n\x20-\x7e\xa0-\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_of_every_record_is_clean_text(view: str, name: str) -> None:
    text = VIEWS[view](NAMED[name])
    assert text.endswith("\n")
    assert not UNSAFE.search(text), "no control character, no turned reading direction"
    text.encode("utf-8")


@settings(max_examples=25, deadline=None)
@given(records())
def test_every_view_of_any_record_is_well_formed(drawn: Any) -> None:
    Page(to_html(drawn))
    ET.fromstring(to_junit(drawn))
    for view in VIEWS.values():
        assert not UNSAFE.search(view(drawn))


@pytest.mark.parametrize("view", [to_html, to_markdown])
def test_only_the_end_differs_from_run_to_run(view: View) -> None:
    one = mixed()
    other = replace(one, environment={"python": "3.13"}, seconds={"layers": 9.0})
    assert view(one) == view(mixed())
    mark = "may differ from run to run; everything above does not, on one machine. -->"
    before, after = view(one).split(mark)
    assert before == view(other).split(mark)[0]
    assert "3.12" not in before
    assert "3.12" in after
    assert "linear" not in after


# --- HTML ------------------------------------------------------------------------------


def test_html_runs_its_own_script_and_nothing_else() -> None:
    for made in (mixed(), hostile()):
        text = to_html(made)
        page = Page(text)
        assert len(page.all("script")) == 1
        body = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
        assert body
        digest = base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()
        policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv"))
        assert policy
        assert f"script-src 'sha256-{digest}'" in policy
        assert policy.startswith("default-src 'none'")
        for tag, attributes in page.tags:
            assert tag not in ("iframe", "object", "embed", "link", "base")
            assert not any(name.startswith("on") for name in attributes), attributes
            for name in ("src", "href"):
                assert (attributes.get(name) or "#").startswith(("#", "data:image/svg+xml;base64,"))


def test_html_shows_hostile_words_as_words() -> None:
    page = Page(to_html(hostile()))
    for text in ("<script>alert(1)</script>", "{{ 7 * 7 }}{% raw %}", "\\x1b[31mred", "\\ud800 alone"):
        assert text in page.text


def test_a_graph_is_only_ever_an_image() -> None:
    page = Page(to_html(record(passing(), examples=(example(),))))
    (image,) = page.all("img")
    source = (image["src"] or "").removeprefix("data:image/svg+xml;base64,")
    assert base64.b64decode(source).decode() == example().graph_svg
    assert "Section 8.1" in (image["alt"] or "")
    assert "alert" not in page.text


def test_html_says_what_fails_first() -> None:
    text = Page(to_html(mixed())).text
    assert text.index("Failed") < text.index("3 of 4 checks failed, in matmul, softmax, linear")
    assert text.index("What is wrong") < text.index("dw has the opposite sign") < text.index("By layer")
    for value in ("-1.25", "1.25", "4e+05", "worst at", "[1, 2]", "NaN: 1", "infinite: 2", "0.2244"):
        assert value in text
    assert "Passed" in Page(to_html(record(passing()))).text
    assert "Nothing was checked" in Page(to_html(record())).text


def _maps(text: str) -> list[dict[str, str | None]]:
    return [svg for svg in Page(text).all("svg") if svg.get("class") == "heat"]


def test_a_heat_map_holds_every_cell_and_names_its_size() -> None:
    errors = np.random.default_rng(1).normal(size=(100, 200)) * 1e-3
    text = to_html(record(failing(shape=(100, 200), errors=reduce_errors(errors))))
    (map_,) = _maps(text)
    rows = [row.split(" ") for row in (map_["data-values"] or "").split(";")]
    assert [len(row) for row in rows] == [32] * 32
    assert (map_["data-rows"], map_["data-columns"]) == ("100", "200")
    assert "100 × 200, shown as 32 × 32 blocks" in (map_["aria-label"] or "")
    top = abs(errors).max()
    assert f"{-top:+.2g}" in text
    assert f"{top:+.2g}" in text


@pytest.mark.parametrize(
    "errors",
    [
        ((0.0,),),
        ((math.nan,),),
        ((math.inf, -math.inf),),
        ((-0.0, 5e-324),),
        ((1e308, -1e308),),
        ((math.nan,) * 32,) * 32,
        ((),),
        ((1.0, 2.0),) * 5,
    ],
)
def test_a_heat_map_of_anything(errors: tuple[tuple[float, ...], ...]) -> None:
    text = to_html(record(failing(errors=errors, shape=(2, 2))))
    assert len(_maps(text)) == (1 if any(errors) else 0)
    for map_ in _maps(text):  # a shape that cannot have this grid gives no false indices
        assert int(map_["data-rows"] or 0) >= len(errors)
        assert int(map_["data-columns"] or 0) >= len(errors[0])
    assert not re.search(r'(?:x|y|d|width|height)="[^"]*(?:nan|inf)', text)


def test_a_card_is_one_kind_of_failure_and_the_others_are_rows() -> None:
    page = Page(to_html(record(*(failing(f"linear / {i}") for i in range(60)))))
    assert len(page.all("article")) == 1
    assert "59 more failures of linear" in page.text


def test_a_thousandfold_failure_stays_small() -> None:
    dense = reduce_errors(np.random.default_rng(2).normal(size=(64, 64)))
    checks = (failing(f"{i}", layer=f"l{i % 50}", message=f"m{i}", errors=dense) for i in range(5_000))
    text = to_html(record(*checks))
    assert len(text) < 2_000_000
    page = Page(text)
    assert len(page.all("article")) == 40
    assert "more failure" in page.text
    assert "report.json" in page.text


def test_twenty_thousand_passing_checks_are_summarised() -> None:
    dtypes = ("float64", "float32", "bfloat16", "float16")
    checks = (
        passing(f"check {i}", layer=f"layer{i % 150}", dtype=dtypes[i // 150 % 4], ulps=float(i % 7) / 2)
        for i in range(20_000)
    )
    text = to_html(record(*checks))
    assert len(text) < 1_000_000
    assert text.count("check 1") < 100
    assert all(f"layer{i}<" in text for i in range(150))


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("", None),
        ("https://example.org/{layer}.html", "https://example.org/a%2F..%20b.html"),
        ("../handgrad/derivations/", "../handgrad/derivations/a%2F..%20b.py"),
    ],
)
def test_derivations_are_linked(url: str, link: str | None) -> None:
    page = Page(to_html(record(failing(layer="a/.. b")), derivation_url=url))
    links = {a["href"] for a in page.all("a") if not (a["href"] or "").startswith("#")}
    assert links == ({link} if link else set())


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)//{layer}", "java\tscript:x", "data:text/html,{layer}", "a b"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ReportError, match="received"):
        to_html(record(), derivation_url=url)


def test_every_table_has_headers_and_every_picture_words() -> None:
    page = Page(to_html(mixed()))
    assert all(th.get("scope") in ("col", "row") for th in page.all("th"))
    for svg in page.all("svg"):
        assert svg.get("aria-hidden") == "true" or svg.get("aria-label")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for anchor in page.all("a"):
        assert (anchor["href"] or "")[1:] in ids


def test_a_dtype_less_check_without_a_number_has_no_strip() -> None:
    silent = passing("verdicts", layer="", group="lecture", dtype="", ulps=None, allowed_ulps=None)
    page = Page(to_html(record(silent, passing("trained", layer="", group="lecture"))))
    strips = [svg.get("aria-label") or "" for svg in page.all("svg") if svg.get("class") == "strip"]
    assert any(label.startswith("float32: 1 pass") for label in strips)
    assert not any("–" in label for label in strips)
    Page(to_html(record(silent)))


def _tiles(text: str) -> list[str]:
    found = re.search(r'<ul class="tiles".*?</ul>', text, re.DOTALL)
    return [" ".join(Page(li).text.split()) for li in re.findall(r"<li.*?</li>", found[0])] if found else []


def test_a_tile_has_something_to_count() -> None:
    assert _tiles(to_html(record())) == []
    assert _tiles(to_html(record(examples=(example(),)))) == ["1 worked examples", "1 misprints"]
    assert _tiles(to_html(record(exception(layer="")))) == ["1 checks", "1 failed"]
    assert len(_tiles(to_html(mixed()))) == 6


def test_the_misprints_tile_leads_to_the_first_of_them() -> None:
    right, wrong = example("Section 1", "follows"), example("Section 2")
    text = to_html(record(passing(), examples=(right, wrong, example("Section 3"))))
    assert '<a href="#misprint"><b>2</b> misprints</a>' in text
    assert text.count('id="misprint"') == 1
    assert text.index("Section 2") < text.index('id="misprint"') < text.index("Section 3")
    assert 'href="#misprint"' not in to_html(record(passing(), examples=(right,)))


# --- the other views ------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMED)
def test_markdown_has_no_html_of_the_record(name: str) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(to_markdown(NAMED[name]))
    inline = [child for token in tokens for child in token.children or ()]
    assert not any(t.type in ("html_inline", "image", "link_open") for t in inline)
    blocks = [t.content for t in tokens if t.type == "html_block"]
    assert len(blocks) == 1
    assert blocks[0].startswith("<!-- What follows")
    headings = [t.tag for t in tokens if t.type == "heading_open"]
    assert headings.count("h1") == 1


def test_markdown_shows_hostile_words_as_words() -> None:
    html = MarkdownIt("commonmark").enable("table").render(to_markdown(hostile()))
    assert ">&lt;script&gt;alert(1)&lt;/script&gt;</td>" in html
    assert "<th" in html
    for row in re.findall(r"<tr>.*?</tr>", html, re.DOTALL):
        assert row.count("<td") + row.count("<th") in (2, 5, 6, 9)


def test_junit_counts_and_quotes() -> None:
    root = ET.fromstring(to_junit(mixed()))
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("4", "3", "0")
    (suite,) = root.findall("testsuite")
    assert suite.get("time") == "1.250"
    texts = {case.get("name"): case.findtext("failure") for case in suite.findall("testcase")}
    assert texts["relu / y"] is None
    assert "hand value: -1.25 at [1, 2]" in (texts["linear / dw"] or "")


def test_junit_of_nothing_is_an_error() -> None:
    root = ET.fromstring(to_junit(record()))
    assert (root.get("tests"), root.get("errors")) == ("1", "1")
    assert root.find("testsuite/testcase/error") is not None
    assert ET.fromstring(to_junit(record(examples=(example(),)))).get("errors") == "0"


def test_junit_times_are_numbers() -> None:
    times = [e.get("time") for e in ET.fromstring(to_junit(hostile())).iter() if e.get("time")]
    assert set(times) == {"0.000"}


def test_text_is_plain_off_a_terminal_and_coloured_on_request() -> None:
    assert "\x1b" not in to_text(mixed())
    assert "\x1b[" in to_text(mixed(), colour=True)
    assert max(map(len, to_text(mixed(), width=60).splitlines())) <= 60
    assert "[bold red]rich[/]" in to_text(hostile(), width=400)


def test_text_shows_failures_alike_once_by_the_worst_of_them() -> None:
    text = to_text(record(*(failing(f"linear / {i}", ulps=10.0 + i) for i in range(49)), not_finite()))
    assert text.count("compared:") == 2
    assert "linear / 48\n" in text
    assert "and 48 alike" in text
    text = to_text(record(*(failing(f"{i}", argument=f"d_{i % 12}") for i in range(36))))
    assert text.count("and 2 alike") == 10
    assert "and 6 more failures, in the reports" in text


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"message": "raises ValueError: 4 rows"}, True),
        ({"message": "raises ValueError: 3 columns"}, False),
        ({"layer": "add"}, False),
        ({"argument": "d_x"}, False),
    ],
)
def test_what_is_alike(other: dict[str, Any], same: bool) -> None:
    one = exception("a", message="raises ValueError: 3 rows")
    text = to_text(record(one, replace(one, id="b", **other)))
    assert ("and 1 alike" in text) is same


def test_text_ends_with_the_verdict_where_something_failed() -> None:
    text = to_text(mixed())
    assert text.splitlines()[-1] == "3 of 4 checks failed, in matmul, softmax, linear"
    assert to_text(record(passing(), command="handgrad crossval")).endswith("handgrad crossval\n")


def test_text_of_checks_has_misprints_in_one_line() -> None:
    verdicts = passing("xor / verdicts", dtype="", ulps=None)
    examples = (example(), example("Section 9"))
    says = "2 misprints of the sheets, as declared; handgrad lecture lists them"
    assert says in to_text(record(verdicts, examples=examples)).splitlines()
    assert "0.2244" not in to_text(record(verdicts, examples=examples))
    for other in (replace(verdicts, passed=False), passing("xor")):
        assert "2 misprints of the sheets; handgrad" in to_text(record(other, examples=examples))
    assert "of the sheets" not in to_text(record(verdicts, examples=(example(verdict="follows"),)))
    assert "0.2244" in to_text(record(examples=examples)), "nothing but examples: all of them"


def test_text_names_the_command_for_an_architecture() -> None:
    check = exception("architecture 3000180 / call", layer="", case="architecture 3000180", message="no")
    assert "  again: handgrad crossval --architecture 3000180\n" in to_text(record(check))
    part = record(check, command="handgrad crossval --seed 3 --architectures 200 --layer gelu --layer relu")
    says = "again: handgrad crossval --architecture 3000180 --layer gelu --layer relu\n"
    assert says in to_text(part), "the layers chosen decide what is drawn"
    for case in ("", "architecture", "architecture x", "batch 3"):
        assert "again" not in to_text(record(replace(check, case=case)))


@pytest.mark.parametrize("view", [to_text, to_markdown, to_junit])
def test_nothing_compared_is_not_said_to_be(view: View) -> None:
    assert "compared" not in view(record(exception()))
    assert "compared: against autograd" in view(record(exception(oracle="autograd")))
    assert "compared: dw (3 × 4), float32, numpy, against autograd" in view(record(failing()))


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (0.0, "exact"),
        (0.5, "0.5 ×"),
        (0.994, "0.99 ×"),
        (0.996, "0.996 ×"),
        (math.nextafter(1, 0), "0.9999999999999999 ×"),
        (1.0, "1 ×"),
        (math.nextafter(1, 2), "1.0000000000000002 ×"),
        (1.004, "1.004 ×"),
        (1.26, "1.3 ×"),
        (math.inf, "not finite"),
    ],
)
def test_an_error_beside_the_limit_is_not_shown_as_the_limit(ratio: float, words: str) -> None:
    check = passing(ulps=ratio, allowed_ulps=1.0, passed=ratio <= 1)
    for view in (to_text, to_html, to_markdown):
        assert words in view(record(check))


def test_a_long_list_of_failed_layers_is_cut() -> None:
    text = to_text(record(*(failing(f"{i}", layer=f"layer{i}") for i in range(50))))
    assert "and 42 more" in text.replace("\n", " ")
