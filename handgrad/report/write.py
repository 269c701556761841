"""Reports on disk: all four, or a clear error; never half a file."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from handgrad.report._errors import ReportError
from handgrad.report.html import to_html
from handgrad.report.junit import to_junit
from handgrad.report.markdown import to_markdown
from handgrad.report.record import Record
from handgrad.report.schema import to_json


def write_atomically(path: str | Path, text: str) -> Path:
    """Write UTF-8 text so that a reader sees the old file or the new one, never a part.

    The text goes to a temporary file in the same folder, to the disk, then over ``path`` (what
    a link points to, where it is one). Folders are made. Raises :class:`ReportError`.
    """
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # A lone surrogate cannot be UTF-8; its escape can, and in JSON means the same.
        with open(part, "x", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ReportError(
            f"reports go to a folder that can be written; received {str(path)!r}: {reason}; "
            "choose another folder or change its permissions."
        ) from None
    finally:
        _remove(part)
    return Path(path)


def write_reports(record: Record, folder: str | Path, *, derivation_url: str = "") -> list[Path]:
    """Write report.json, report.md, report.html and report.xml (JUnit); return their paths.

    All are rendered before the first is written. ``derivation_url``: see :func:`to_html`.
    Raises :class:`ReportError` where the folder cannot be written.
    """
    texts = {
        "report.json": to_json(record),
        "report.md": to_markdown(record),
        "report.html": to_html(record, derivation_url=derivation_url),
        "report.xml": to_junit(record),
    }
    return [write_atomically(Path(folder) / name, text) for name, text in texts.items()]


def _remove(part: Path) -> None:
    with contextlib.suppress(OSError):  # the folder is no folder, or not ours: nothing is there
        part.unlink(missing_ok=True)
