"""Tables on the terminal, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from accord.errors import StorageError


def show(rows: Sequence[Mapping[str, Any]], *, title: str, where: str | None = None) -> None:
    """One line a row, columns by the keys of the first. where: as `written`."""
    if written(rows, where):
        return
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in rows[0] if rows else ():
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    Console().print(table)


def written(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any], where: str | None) -> bool:
    """Writes rows, or one object, as JSON to a file, or for - to standard output: then True, as nothing else is to be
    there."""
    text = json.dumps(rows if isinstance(rows, Mapping) else list(rows), indent=2, ensure_ascii=False)
    if where == "-":
        print(text)
        return True
    if where is not None:
        try:
            Path(where).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            what = f"cannot be written ({error.strerror or error})"
            raise StorageError(what, where=where, fix="give a file that can be written to") from error
    return False


def sized(count: float) -> str:
    """Bytes as 812 B, 1.4 MB."""
    unit = min(4, (len(str(int(count))) - 1) // 3)
    return f"{count / 1000**unit:.{int(unit > 0)}f} {('B', 'kB', 'MB', 'GB', 'TB')[unit]}"


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item:g}" for key, item in value.items())
    return str(value)
