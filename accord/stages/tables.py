"""Tables on the terminal, and the same as JSON."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from accord.errors import StorageError

WIDE = 10_000  # characters; more than any row has
SHORT = 16  # characters; what is no longer, as "+0.526 to +0.961", is not folded


def show(rows: Sequence[Mapping[str, Any]], *, title: str, where: str | None = None) -> None:
    """One line a row, columns by the keys of the first. where: as `written`."""
    if written(rows, where):
        return
    table = Table(title=Text(visible(title)), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in rows[0] if rows else ():
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(_cell(value))) for value in row.values()))
    console = Console()
    wide = console.options.update(width=WIDE)
    if (needed := Measurement.get(console, wide, table).maximum) > console.width:
        if not console.is_terminal and "COLUMNS" not in os.environ:  # what reads a pipe goes by lines: none is folded
            console.width = needed
        else:
            _draw_together(table, console)
    console.print(table)


def _draw_together(table: Table, console: Console) -> None:
    """Less room between the columns, and of them only the long ones are folded.

    Nothing is cut off: where the short ones alone are too wide, so is the table.
    """
    cells = [(*str(column.header).split(), *column.cells) for column in table.columns]
    needs = [max(Text(str(cell)).cell_len for cell in column) for column in cells]
    long = [need for need in needs if need > SHORT]
    between = len(needs) + 1  # characters: one each, and one at both ends
    free = console.width - sum(need for need in needs if need <= SHORT) - between
    room = int(free - len(needs) >= sum(long))
    fits = [width for width in range(SHORT, console.width) if sum(min(need, width) for need in long) <= free]
    widest = max(fits, default=SHORT)
    table.padding = (0, room, 0, 0)
    for column, need in zip(table.columns, needs, strict=True):
        column.width = min(need, widest)
    console.width = max(console.width, sum(min(need, widest) for need in needs) + between + room * len(needs))


def tell(lines: Iterable[str]) -> None:
    """What is said below a table, on standard output."""
    for line in lines:
        print(visible(line))


def markdown_table(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """The lines of a table in Markdown: columns by the keys of the first row, of which there is one."""
    yield _markdown_row(name.replace("_", " ").strip() for name in rows[0])
    yield "|" + "---|" * len(rows[0])
    yield from (_markdown_row(row.values()) for row in rows)


def _markdown_row(cells: Iterable[str]) -> str:
    """A name with a line break would end the row, and one with a bar the cell."""
    return "| " + " | ".join(visible(cell).replace("|", r"\|") for cell in cells) + " |"


def written(rows: Sequence[Mapping[str, Any]] | Mapping[str, Any], where: str | None) -> bool:
    """Writes rows, or one object, as JSON to a file, or for - to standard output: then True, as nothing else is to be
    there."""
    text = json.dumps(rows if isinstance(rows, Mapping) else list(rows), indent=2, ensure_ascii=False)
    text = text.encode("utf-8", "backslashreplace").decode()  # names of files may be no UTF-8
    if where == "-":
        print(text)
        return True
    if where is not None:
        put(where, text + "\n")
    return False


def put(where: str | Path, text: str, *, with_folder: bool = False) -> None:
    """Writes a text aside and renames it, so that no file is there in part. StorageError where it cannot be written.

    What is no file (a pipe, /dev/stdout) is written to as it is, and a link leads to the file that is replaced.
    with_folder: makes its folder, where that is not there.
    """
    path = Path(where)
    try:
        if with_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
        else:
            _replace(path.resolve(), text)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise StorageError(what, where=str(where), fix="give a file that can be written to") from error


def _replace(path: Path, text: str) -> None:
    """Nothing is left of what could not be written whole."""
    aside = path.with_name(f".{path.name}.tmp")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def visible(text: str) -> str:
    """The text with escapes in the place of what a terminal would obey or cannot show, as names of files may have."""
    return "".join(repr(one)[1:-1] if unicodedata.category(one) in ("Cc", "Cf", "Cs") else one for one in text)


def sized(count: float) -> str:
    """Bytes as 812 B, 1.4 MB."""
    unit = min(4, (len(str(int(count))) - 1) // 3)
    return f"{count / 1000**unit:.{int(unit > 0)}f} {('B', 'kB', 'MB', 'GB', 'TB')[unit]}"


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item:g}" for key, item in value.items())
    return str(value)
