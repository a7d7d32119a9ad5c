"""CSV and Parquet files -> rows. Cells that stand for a list, an object or a number become that, column by column."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from accord.data.findings import DROP
from accord.data.lines import ROW_LIMIT, Raw, RowOrigin, lines, too_large
from accord.data.report import Particular
from accord.data.strict_json import Flawed, record_error, text_of, value_of
from accord.errors import InputError
from accord.records import Origin, RecordError

# What a cell of text stands for, by its column: a list of JSON, a number or truth, text or turns, text.
LISTS = frozenset("messages completions conversations judgements ranks ratings models history tools".split())
NUMBERS = frozenset(
    "margin weight label kto_tag helpfulness correctness coherence complexity verbosity "
    "score_chosen score_rejected chosen_rating rejected_rating chosen-rating rejected-rating".split()
)
NAMES = frozenset(["labels"])  # a name, or a list or object of names as JSON
TURNS = frozenset("prompt chosen rejected completion".split())
TEXTS = frozenset("text instruction input output system response".split())
TRUTH = {"true": True, "false": False}
DELIMITERS = (",", ";", "\t")  # spreadsheets write semicolons where a comma stands in numbers
BATCH = 2**22  # bytes of a Parquet file that become rows at a time, by the file's own count


def csv_rows(blocks: Iterable[bytes], name: str) -> Iterator[Raw]:
    """The rows of a CSV file with a header. InputError where it is none: beyond that place no row could be trusted."""
    # The limit is the csv module's own, for the whole process; a text of more than 131,072 characters is common.
    csv.field_size_limit(max(csv.field_size_limit(), ROW_LIMIT))
    source = _Texts(blocks, name)
    reader = csv.reader(source, strict=True, delimiter=source.delimiter)
    header: list[str] = []
    while True:
        source.begin()
        origin = Origin(name, source.number + 1)
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise InputError(f"not CSV: {error}", where=str(origin), fix="mend the file") from error
        if cells is None:
            return
        if not header and source.flaw:
            raise InputError(source.flaw.what, where=str(origin), fix="save the file as UTF-8")
        if not header:
            header = _header(cells, str(origin))
        elif cells:
            yield origin, source.flaw or _csv_row(header, cells, origin)


def delimited(found: Iterator[bytes | None]) -> tuple[str, Iterator[bytes | None]]:
    """(what the cells of these lines stand apart by, the lines). The header says it: a comma, or without any comma a
    semicolon or a tab."""
    header = list(islice(found, 1))
    here = (mark for mark in DELIMITERS for line in header if mark.encode() in (line or b""))
    return next(here, DELIMITERS[0]), chain(header, found)


class _Texts:
    """The lines of a CSV file as text, and what is wrong with those of the present row."""

    def __init__(self, blocks: Iterable[bytes], name: str) -> None:
        self.delimiter, self.lines = delimited(lines(blocks, name))
        self.name, self.number = name, 0
        self.begin()

    def begin(self) -> None:
        self.size = 0
        self.flaw: RecordError | None = None

    def __iter__(self) -> Iterator[str]:
        for line in self.lines:
            self.number += 1
            self.size += ROW_LIMIT + 1 if line is None else len(line) + 1
            origin = Origin(self.name, self.number)
            if line is None or self.size > ROW_LIMIT:
                what = f"a row of more than {ROW_LIMIT >> 20} MB, or a quote without its end"
                raise InputError(what, where=str(origin), fix="mend the file")
            yield self._text(line, origin) + "\n"

    def _text(self, line: bytes, origin: Origin) -> str:
        try:
            return text_of(line)
        except Flawed as flaw:
            self.flaw = self.flaw or record_error(flaw, line, origin)
            return line.decode(errors="replace")


def _header(names: list[str], where: str) -> list[str]:
    """The names of the columns, each once."""
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"column {twice!r} twice", where=where, fix="keep one of them")
    return names


def _csv_row(header: list[str], cells: list[str], origin: Origin) -> object:
    if len(cells) != len(header):
        what = f"{len(cells)} cells for {len(header)} columns"
        return Particular("cells for other columns", what, origin=origin, fix=DROP)
    return _typed(dict(zip(header, cells, strict=True)), header, origin)


def _typed(row: dict[str, Any], columns: Iterable[str], origin: Origin) -> object:
    """The row, with what these cells of text stand for; or the RecordError for one that stands for nothing."""
    for column in columns:
        if isinstance(text := row[column], str):
            try:
                row[column] = cell_value(column, text)
            except Flawed as flaw:
                what = flaw.what if flaw.place is None else f"{flaw.reason} (column {flaw.place + 1}): {flaw.what}"
                field = column + ("" if flaw.field[:1] in ("", "[") else ".") + flaw.field
                return Particular(flaw.reason, what, origin=origin, field=field, fix=DROP, finding=flaw.finding)
    return row


def cell_value(column: str, text: str) -> Any:
    """What a cell of text stands for in its column. Flawed where that must be a list and is none."""
    if column in TEXTS:
        return text
    if column in TURNS:
        return _turns(text) if text.lstrip()[:1] in ("[", "{") else text
    if not text:
        return None
    if column in NAMES:
        return _names(text)
    if column in NUMBERS:
        return TRUTH.get(text.lower(), _number(text))
    return value_of(text.encode()) if column in LISTS else text


def _turns(text: str) -> Any:
    """The turns that a text is, or the text itself."""
    try:
        value = value_of(text.encode())
    except Flawed:
        return text
    turns = value if isinstance(value, list) else [value]
    is_turns = all(isinstance(turn, dict) and not turn.keys().isdisjoint(("role", "from")) for turn in turns)
    return value if turns and is_turns else text


def _names(text: str) -> Any:
    """The list or object of names that a text is, or the text itself."""
    try:
        return value_of(text.encode()) if text[0] in '[{"' else text
    except Flawed:
        return text


def _number(text: str) -> Any:
    """A number; else the text itself, for the reader of the field to name."""
    try:
        value = value_of(text.encode())
    except Flawed:
        return text
    return value if isinstance(value, int | float) else text


def from_arrow(row: dict[str, Any]) -> dict[str, Any]:
    """The row without what is null within a column: in Arrow every object of a column has the keys of all of them."""
    return {name: _present(value) for name, value in row.items()}


def _present(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _present(item) for key, item in value.items() if item is not None}
    return list(map(_present, value)) if isinstance(value, list) else value


def parquet_rows(name: str) -> Iterator[Raw]:
    """The rows of a Parquet file, some megabytes at a time."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(name, buffer_size=2**20, pre_buffer=False) as file:
            columns = (LISTS | NAMES).intersection(_header(file.schema_arrow.names, name))
            size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
            count = max(1, min(4096, BATCH * file.metadata.num_rows // max(1, size)))
            batches = (_batch_rows(batch) for batch in file.iter_batches(batch_size=count))
            for number, row in enumerate(chain.from_iterable(batches), 1):
                origin = RowOrigin(name, number)
                flaw = isinstance(row, Flawed)
                yield origin, record_error(row, b"", origin) if flaw else _typed(from_arrow(row), columns, origin)
    except pyarrow.ArrowException as error:
        what = " ".join(str(error).split())[:300]
        raise InputError(f"no Parquet file ({what})", where=name, fix="check the file") from error


def _batch_rows(batch: Any) -> Iterator[Any]:
    """Its rows; Flawed for one that is too large, or that holds what is no text or no date."""
    try:
        found = batch.to_pylist() if batch.nbytes <= ROW_LIMIT else None
    except (ValueError, OverflowError):
        found = None
    for i in range(len(batch)):
        yield _batch_row(batch.slice(i, 1)) if found is None else found[i]


def _batch_row(row: Any) -> Any:
    try:
        return too_large() if row.nbytes > ROW_LIMIT else row.to_pylist()[0]
    except UnicodeDecodeError as error:
        what = f"not UTF-8 (byte 0x{error.object[error.start]:02x})"
        return Flawed("not_utf8", what, reason="not UTF-8")
    except (ValueError, OverflowError) as error:
        return Flawed("malformed", f"a value that cannot be read ({error})", reason="a value that cannot be read")
