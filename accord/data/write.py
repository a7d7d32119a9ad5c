"""Rows of columns -> a file: lines of JSON, one JSON list, CSV or Parquet by its ending, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from accord.data.clean import kind_of_name, packed
from accord.data.parts import CannotHold
from accord.data.tables import LISTS, NAMES, cell_value
from accord.errors import InputError, StorageError

# In the columns of LISTS, text is read as the JSON that it is; so any value can stand there.
ENDINGS = ".jsonl, .json, .csv (.gz or .zst after them) or .parquet"
BATCH = 1000  # rows of a Parquet file that are written at a time


class RowWriter(Protocol):
    """Takes rows one by one. check: CannotHold if this kind of file cannot hold the row."""

    def check(self, row: Mapping[str, Any]) -> None: ...

    def add(self, row: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


@contextmanager
def row_writer(output: str) -> Iterator[RowWriter]:
    """Writes beside `output`, and puts it in its place at the end; after an error nothing is left.

    InputError: an ending that is none of ENDINGS. StorageError: it cannot be written.
    """
    path = Path(output)
    aside, spool = (path.with_name(f".{path.name}.{os.getpid()}.{end}") for end in ("tmp", "rows"))
    try:
        with _writer(path, aside, spool) as writer:
            yield writer
            writer.close()
        os.replace(aside, path)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise StorageError(what, where=output, fix="give a file that can be written to") from error
    finally:
        for left in (aside, spool):
            left.unlink(missing_ok=True)


@contextmanager
def _writer(path: Path, aside: Path, spool: Path) -> Iterator[RowWriter]:
    kind = kind_of_name(path.name)
    if not kind:
        raise InputError("unknown kind of file", where=str(path), fix=f"a name ending in {ENDINGS}")
    if kind == "parquet":
        with spool.open("w+b") as rows:
            yield _Parquet(aside, rows)
        return
    with packed(aside, path.name) as file:
        if kind == "csv":
            with spool.open("w+b") as rows:
                yield _Csv(file, rows)
        else:
            yield _Lines(file, is_list=Path(path.name.removesuffix(".gz").removesuffix(".zst")).suffix == ".json")


class _Lines:
    """Lines of JSON, or a list of them."""

    def __init__(self, file: IO[bytes], *, is_list: bool) -> None:
        self.file, self.is_list, self.count = file, is_list, 0

    def check(self, row: Mapping[str, Any]) -> None:
        """Every row that was read can be one of these."""

    def add(self, row: Mapping[str, Any]) -> None:
        start = ("[\n", ",\n")[self.count > 0] if self.is_list else ""
        self.file.write((start + as_json(row) + ("" if self.is_list else "\n")).encode())
        self.count += 1

    def close(self) -> None:
        if self.is_list:
            self.file.write(b"\n]\n" if self.count else b"[]\n")


class _Spooled:
    """Rows that wait in a file until the columns of all are known."""

    def __init__(self, spool: IO[bytes]) -> None:
        self.spool = spool
        self.columns: dict[str, set[str]] = {}  # name -> the kinds of its values

    def keep(self, row: Mapping[str, Any], kinds: Mapping[str, str]) -> None:
        for name, kind in kinds.items():
            self.columns.setdefault(name, set()).add(kind)
        self.spool.write((as_json(row) + "\n").encode())

    def rows(self) -> Iterator[dict[str, Any]]:
        self.spool.seek(0)
        return map(json.loads, self.spool)


class _Csv:
    """A header and a record for each row; what is no text stands in its cell as JSON."""

    def __init__(self, file: IO[bytes], spool: IO[bytes]) -> None:
        self.file, self.held = file, _Spooled(spool)

    def check(self, row: Mapping[str, Any]) -> None:
        for name, value in _as_read(row).items():
            if name not in LISTS and cell_value(name, _cell(value)) != value:
                raise CannotHold(f"{name}: text that reads as something else in CSV")

    def add(self, row: Mapping[str, Any]) -> None:
        self.held.keep(row, dict.fromkeys(row, ""))

    def close(self) -> None:
        text = io.TextIOWrapper(self.file, encoding="utf-8", newline="", write_through=True)
        out = csv.writer(text, lineterminator="\n")
        out.writerow(self.held.columns)
        for row in self.held.rows():
            out.writerow([_cell(row.get(name)) for name in self.held.columns])
        text.detach()


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return as_json(value)


class _Parquet:
    """Columns of one type each: text, numbers, turns as lists of structs, and JSON as text where they nest deeper."""

    def __init__(self, aside: Path, spool: IO[bytes]) -> None:
        self.aside, self.held = aside, _Spooled(spool)

    def check(self, row: Mapping[str, Any]) -> None:
        for name, kind in _kinds(row).items():
            if name in LISTS or name in NAMES:
                continue
            if kind == "json":
                raise CannotHold(f"{name}: turns with more than a role and words, in Parquet")
            if self.held.columns.get(name, {kind}) != {kind}:
                raise CannotHold(f"{name}: of another type than in the first row, in Parquet")

    def add(self, row: Mapping[str, Any]) -> None:
        self.held.keep(row, _kinds(row))

    def close(self) -> None:
        import pyarrow
        from pyarrow.parquet import ParquetWriter

        types = {name: self._type(pyarrow, kinds) for name, kinds in self.held.columns.items()}
        schema = pyarrow.schema(list(types.items()))
        with ParquetWriter(self.aside, schema, compression="zstd") as writer:
            for batch in _batches(self.held.rows()):
                columns = [
                    pyarrow.array([self._value(row.get(name), name) for row in batch], type=kind)
                    for name, kind in types.items()
                ]
                writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))

    def _value(self, value: Any, name: str) -> Any:
        as_text = len(self.held.columns[name]) > 1 or "json" in self.held.columns[name]
        return as_json(value) if as_text and value is not None else value

    def _type(self, pyarrow: Any, kinds: set[str]) -> Any:
        text, number = pyarrow.string(), pyarrow.float64()
        messages = {
            "messages": pyarrow.struct([("role", text), ("content", text)]),
            "turns": pyarrow.struct([("from", text), ("value", text)]),
        }
        known = {"text": text, "number": number, "truth": pyarrow.bool_(), "turn": messages["turns"]}
        known |= {name: pyarrow.list_(kind) for name, kind in messages.items()}
        known |= {"texts": pyarrow.list_(text), "numbers": pyarrow.list_(number)}
        known |= {f"lists of {name}": pyarrow.list_(pyarrow.list_(kind)) for name, kind in messages.items()}
        (kind,) = kinds if len(kinds) == 1 else ("json",)
        return known.get(kind, text)


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _kinds(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: _kind(value) for name, value in _as_read(row).items()}


def _kind(value: Any) -> str:
    """What a value is to Parquet; json: what has no type of its own."""
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, dict):
        return "turn" if _is_turn(value, ("from", "value")) else "json"
    return _kind_of_list(value) if value else "json"


def _kind_of_list(values: list[Any]) -> str:
    if all(value is None or isinstance(value, str) for value in values):
        return "texts"
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return "numbers"
    for name, keys in (("messages", ("role", "content")), ("turns", ("from", "value"))):
        if all(_is_turn(value, keys) for value in values):
            return name
    inner = {_kind_of_list(value) if isinstance(value, list) and value else "json" for value in values}
    return f"lists of {inner.pop()}" if inner in ({"messages"}, {"turns"}) else "json"


def _is_turn(value: Any, keys: tuple[str, ...]) -> bool:
    return isinstance(value, dict) and set(value) == set(keys) and all(isinstance(one, str) for one in value.values())


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _as_read(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as it is read again."""
    return dict(json.loads(as_json(row)))
