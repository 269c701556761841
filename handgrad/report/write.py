"""Reports on disk: all four, or a clear error; never half a file."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

from handgrad.report._errors import ReportError
from handgrad.report.html import to_html
from handgrad.report.junit import to_junit
from handgrad.report.markdown import to_markdown
from handgrad.report.record import Record
from handgrad.report.schema import to_json


def write_atomically(path: str | Path, text: str | bytes) -> Path:
    """Write UTF-8 text, or bytes, so that a reader sees the old file or the new one, never a part.

    The text goes to a temporary file in the same folder, to the disk, then over ``path`` (what
    a link points to, where it is one). Folders are made. Raises :class:`ReportError`.
    """
    return write_together({Path(path): text})[0]


def write_together(texts: Mapping[Path, str | bytes]) -> list[Path]:
    """Several files, each as `write_atomically` does it: all are on the disk before the first
    takes its place, so that a full disk leaves every old file as it was."""
    parts: list[tuple[Path, Path]] = []
    try:
        for path, text in texts.items():
            with _refusing(path):
                parts.append(_reserve(path))
                _write(parts[-1][0], text)
        for path, (part, target) in zip(texts, parts, strict=True):
            with _refusing(path):
                os.replace(part, target)
    finally:
        for part, _ in parts:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
    return list(texts)


def _reserve(path: Path) -> tuple[Path, Path]:
    """A name beside the file that ``path`` means, and that file."""
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():  # replacing a device or a pipe would destroy it
        raise OSError(errno.EINVAL, "it is no regular file")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part"), target


def _write(part: Path, text: str | bytes) -> None:
    # A lone surrogate cannot be UTF-8; its escape can, and in JSON means the same.
    data = text.encode("utf-8", "backslashreplace") if isinstance(text, str) else text
    with open(part, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ReportError(
            f"reports go to a folder that can be written; received {str(path)!r}: {reason}; "
            "choose another folder or change its permissions."
        ) from None


def write_reports(record: Record, folder: str | Path, *, derivation_url: str = "") -> list[Path]:
    """Write report.json, report.md, report.html and report.xml (JUnit); return their paths.

    All are rendered and on the disk before the first takes its place. ``derivation_url``: see
    :func:`to_html`. Raises :class:`ReportError` where the folder cannot be written.
    """
    texts = {
        "report.json": to_json(record),
        "report.md": to_markdown(record),
        "report.html": to_html(record, derivation_url=derivation_url),
        "report.xml": to_junit(record),
    }
    return write_together({Path(folder) / name: text for name, text in texts.items()})
