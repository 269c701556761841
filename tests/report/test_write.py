"""Reports on disk: all of them or none, old files kept where a write fails."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from handgrad.report import ReportError, load, write_atomically, write_reports
from tests.report.records import NAMED, mixed, record

FILES = ["report.html", "report.json", "report.md", "report.xml"]


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", NAMED)
def test_four_reports_the_same_each_time(name: str, tmp_path: Path) -> None:
    paths = write_reports(NAMED[name], tmp_path / "a" / "b")
    assert sorted(path.name for path in paths) == FILES
    write_reports(NAMED[name], tmp_path / "c")
    assert _contents(tmp_path / "a" / "b") == _contents(tmp_path / "c")
    assert repr(load(tmp_path / "c" / "report.json")) == repr(NAMED[name])
    ET.parse(tmp_path / "c" / "report.xml")
    assert b"\r" not in b"".join(_contents(tmp_path / "c").values())


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_files(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_reports(record(), tmp_path)
    before = _contents(tmp_path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(ReportError, match="No space left on device"):
        write_reports(mixed(), tmp_path)
    assert _contents(tmp_path) == before


def test_an_interrupt_leaves_the_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_reports(record(), tmp_path)
    before = _contents(tmp_path)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_reports(mixed(), tmp_path)
    assert _contents(tmp_path) == before


def test_where_nothing_can_be_written_one_sentence_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for path in ("file/report.md", "folder", "pipe", "a\0b", "x" * 300):
        with pytest.raises(ReportError) as caught:
            write_atomically(tmp_path / path, "new")
        assert "received" in str(caught.value)
        assert "choose another" in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "pipe"]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ReportError, match="Permission denied"):
        write_atomically(tmp_path / "report.md", "new")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "target.md").write_text("old", encoding="utf-8")
    (tmp_path / "link.md").symlink_to("target.md")
    assert write_atomically(tmp_path / "link.md", "new") == tmp_path / "link.md"
    assert (tmp_path / "link.md").is_symlink()
    assert (tmp_path / "target.md").read_text(encoding="utf-8") == "new"
