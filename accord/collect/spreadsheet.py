"""Rows as CSV for a spreadsheet, which must not take a text for a formula."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what begins with one of these is computed, or hides what is


def csv_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """A header of all columns, then a record a row. Rows wait in a file until the columns of all are known."""
    columns: dict[str, None] = {}
    with tempfile.TemporaryFile(mode="w+", encoding="utf-8") as aside:
        for row in rows:
            columns.update(dict.fromkeys(row))
            aside.write(json.dumps(row, ensure_ascii=False) + "\n")
        if not columns:
            return
        aside.seek(0)
        yield _record([cell(name) for name in columns])
        for line in aside:
            row = json.loads(line)
            yield _record([cell(row.get(name)) for name in columns])


def cell(value: Any) -> str:
    """A text that begins as a formula does gets an apostrophe before it; numbers are no texts and stay."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(FORMULA) else text


def _record(cells: list[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow(cells)  # ends in CR LF, so that a cell with either of them is quoted
    return out.getvalue().encode()
