"""Files, Hugging Face data sets and Python lists -> groups. A bad row is named with its file, line and field."""

from __future__ import annotations

import codecs
import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from accord.data.fields import DROP, kind
from accord.data.formats import Format, check_group, find_format, ignored, to_group
from accord.data.report import DataReport, Particular, Refusals
from accord.errors import InputError
from accord.records import Group, Origin, RecordError

ROW_LIMIT = 32 * 2**20  # bytes of one line; a longer one is refused before it is parsed
ENDINGS = (".jsonl", ".jsonl.gz", ".json")

Source = str | os.PathLike[str] | Iterable[Group | Mapping[str, Any]]
Raw = tuple[Origin, object]  # where a row stands, and the row: a mapping, a Group, or the RecordError that it is


def read_groups(
    source: Source, *, split: str = "train", on_bad_row: str = "error", report: DataReport | None = None
) -> Iterator[Group]:
    """The groups of a .jsonl, .jsonl.gz or .json file, of a Hugging Face data set (its `split`), or of a list.

    on_bad_row "error": after the tenth bad row, or at the end, BadRows (a RecordError) lists them. "drop": bad rows are
    left out and counted in `report`. InputError: no such source, not readable, or no row that is left.
    """
    report = DataReport() if report is None else report
    refusals = Refusals(on_bad_row, report)
    yield from _groups(_rows(source, split), refusals, report)
    refusals.close()
    if not report.kept:
        raise InputError(f"no usable row: {report.summary()}" if report.read else "no rows", where=_name(source))


def _groups(rows: Iterable[Raw], refusals: Refusals, report: DataReport) -> Iterator[Group]:
    """The first row that can be told decides the format of all."""
    form: Format | None = None
    seen: dict[str, Origin] = {}
    for origin, row in rows:
        report.read += 1
        try:
            if isinstance(row, Mapping):
                form = form or find_format(row, origin)
                report.ignore(ignored(form, row))
            group = _group(row, form, origin)
            _check_new(group.id, origin, seen)
        except RecordError as error:
            name = row.get("id") if isinstance(row, Mapping) else None
            refusals.add(error, id=str(name or origin.line))
            continue
        yield group


def _group(row: object, form: Format | None, origin: Origin) -> Group:
    if isinstance(row, RecordError):
        raise row
    if isinstance(row, Group):
        return check_group(row, origin)
    if form is None or not isinstance(row, Mapping):
        raise RecordError(f"expected an object, got {kind(row)}", origin=origin, fix=DROP)
    return to_group(form, row, origin)


def _check_new(name: str, origin: Origin, seen: dict[str, Origin]) -> None:
    first = seen.setdefault(name, origin)
    if first is not origin:
        what, fix = f"{name!r} is already the id of {first}", "give each row an id of its own, or none"
        raise Particular("duplicate", what, origin=origin, field="id", fix=fix)


def _name(source: Source) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else "<memory>"


def _rows(source: Source, split: str) -> Iterator[Raw]:
    if not isinstance(source, str | os.PathLike):
        return ((Origin("<memory>", i), row) for i, row in enumerate(source, 1))
    name, path = os.fspath(source), Path(source)
    if path.is_file():
        return _file_rows(name)
    if path.is_dir():
        raise InputError("is a directory", where=name, fix="name the file in it")
    if name.endswith(ENDINGS) or path.is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise InputError("no such file", where=name, fix="check the path")
    return _hub_rows(name, split)


def _hub_rows(name: str, split: str) -> Iterator[Raw]:
    """A data set by its Hugging Face name: from the cache, or from the network unless HF_HUB_OFFLINE is set."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import datasets

    try:
        table = datasets.load_dataset(name, split=split)
    except (OSError, ValueError, ImportError, datasets.exceptions.DatasetsError) as error:
        what = f"neither a file nor a data set that can be loaded ({type(error).__name__}: {_one_line(error)})"
        raise InputError(what, where=name, fix="check the path, the name, the split and HF_HUB_OFFLINE") from error
    return ((Origin(name, i), row) for i, row in enumerate(table, 1))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _file_rows(name: str) -> Iterator[Raw]:
    """Lines of JSON, or one JSON list (also where the name says .jsonl); the first character tells."""
    if not name.endswith(ENDINGS):
        raise InputError("unknown kind of file", where=name, fix="a name ending in " + ", ".join(ENDINGS))
    try:
        with _open(name) as file:
            start = file.read(4096).removeprefix(codecs.BOM_UTF8).lstrip()
            file.seek(0)
            if start.startswith(b"["):
                yield from _list_rows(file.read(), name)
            else:
                yield from _line_rows(file, name)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot be read ({_one_line(error)})", where=name, fix="check the file") from error


def _open(name: str) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(name)) if name.endswith(".gz") else open(name, "rb")


def _line_rows(file: IO[bytes], name: str) -> Iterator[Raw]:
    """One row a line, blank ones left out; never more than ROW_LIMIT bytes in memory."""
    number = 0
    while line := file.readline(ROW_LIMIT + 1):
        number += 1
        origin = Origin(name, number)
        if len(line) > ROW_LIMIT:
            while not line.endswith(b"\n") and (line := file.readline(2**20)):
                pass
            yield origin, RecordError(f"a row of more than {ROW_LIMIT >> 20} MB", origin=origin, fix=DROP)
            continue
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        if line := line.strip():
            yield origin, _row(line, origin)


def _row(line: bytes, origin: Origin) -> object:
    """The value of one line of JSON, or the RecordError that says why it is none."""
    try:
        return _sound(json.loads(line.decode("utf-8"), object_pairs_hook=_object), origin)
    except UnicodeDecodeError as error:
        what = f"not UTF-8 (byte {error.start + 1} is 0x{line[error.start]:02x})"
        return Particular("not UTF-8", what, origin=origin, fix="save the file as UTF-8")
    except json.JSONDecodeError as error:
        what = f"not JSON (column {error.colno}): {error.msg}"
        return Particular("not JSON", what, origin=origin, fix=DROP)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets thousands deep
        return Particular("not JSON", f"not JSON that can be read: {_one_line(error)}", origin=origin, fix=DROP)


def _list_rows(content: bytes, name: str) -> Iterator[Raw]:
    """A file that is one JSON list; here the number in an Origin counts rows, not lines."""
    try:
        rows = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 (byte {error.start + 1})", where=name, fix="save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        where = f"{name}:{error.lineno}"
        raise InputError(f"not JSON (column {error.colno}): {error.msg}", where=where, fix="mend the file") from error
    for i, row in enumerate(rows, 1):
        yield Origin(name, i), _sound(row, Origin(name, i))


class _Twice(dict[str, Any]):
    """A JSON object in which a key stands twice (the values differ, or nobody would have written both)."""

    key = ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    twice = _Twice(made)
    names = [name for name, _ in pairs]
    twice.key = next(name for name in names if names.count(name) > 1)
    return twice


def _sound(row: object, origin: Origin) -> object:
    """The row itself, or the RecordError for JSON that parses without saying one thing."""
    flaw = _flaw(row, "")
    return row if flaw is None else RecordError(flaw[1], origin=origin, field=flaw[0], fix=DROP)


def _flaw(value: object, field: str) -> tuple[str, str] | None:
    """(field, what): a duplicate key, or half a character (a lone surrogate)."""
    if isinstance(value, str):
        half = None if value.isascii() else next((c for c in value if "\ud800" <= c <= "\udfff"), None)
        return None if half is None else (field, f"lone surrogate \\u{ord(half):04x} (half a character)")
    if isinstance(value, _Twice):
        return ".".join(part for part in (field, value.key) if part), "duplicate key"
    if isinstance(value, list):
        flaws = (_flaw(item, f"{field}[{i}]") for i, item in enumerate(value))
    elif isinstance(value, dict):
        prefix = field and field + "."
        flaws = (_flaw(key, field) or _flaw(item, prefix + key) for key, item in value.items())
    else:
        return None
    return next((flaw for flaw in flaws if flaw), None)
