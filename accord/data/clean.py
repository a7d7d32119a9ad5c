"""A copy of a data file without some of its rows; those that stay do so byte by byte."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from accord.data.fields import Counted
from accord.data.lines import BLOCK, RowOrigin, lines
from accord.data.lists import elements, list_rows
from accord.data.sources import Source, opened, rows, source_name
from accord.data.tables import delimited
from accord.errors import InputError
from accord.records import Group, Origin

BOM = b"\xef\xbb\xbf"
BATCH = 1024  # rows of a Parquet file that are copied at a time

Keep = Callable[[Origin], bool]  # asked once for every row, in the order of the source
Piece = tuple[Origin | None, bytes]  # None: the header, which always stays


def copy_rows(source: Source, aside: Path, out: str, *, split: str, keep: Keep) -> None:
    """Writes the rows of `source` that `keep` wants to the file `aside`, which is to become `out`.

    A file stays of its kind: lines, a list, CSV, Parquet; folders, named data sets and lists of rows become lines of
    JSON. InputError: `out` is of another kind.
    """
    kind = kind_of(source)
    wanted = kind_of_name(out)
    if wanted != ("lines" if kind in ("list", "rows") else kind):
        names = {"lines": ".jsonl or .json, .gz or .zst after it", "csv": ".csv", "parquet": ".parquet"}
        fix = f"a name ending in {names['lines' if kind in ('list', 'rows') else kind]}; accord convert changes formats"
        raise InputError("another kind of file than the data", where=f"fix: {out}", fix=fix)
    if kind == "parquet":
        _copy_parquet(source_name(source), aside, keep)
        return
    with packed(aside, out) as file:
        pieces = (data for origin, data in _pieces(source, kind, split) if origin is None or keep(origin))
        if kind == "list":
            _write_list(pieces, file)
        else:
            file.writelines(pieces)


def kind_of(source: Source) -> str:
    """lines, list, csv, parquet; rows for what is no single file."""
    name = source_name(source)
    if not Path(name).is_file():
        return "rows"
    kind = kind_of_name(name)
    if kind == "lines":
        with opened(name) as file:
            return "list" if file.read(BLOCK).removeprefix(BOM).lstrip().startswith(b"[") else kind
    return kind


def kind_of_name(name: str) -> str:
    bare = name.lower().removesuffix(".gz").removesuffix(".zst")
    return {".csv": "csv", ".parquet": "parquet", ".jsonl": "lines", ".json": "lines"}.get(Path(bare).suffix, "")


@contextmanager
def packed(path: Path, name: str) -> Iterator[IO[bytes]]:
    """The file `path` to be written, compressed as the ending of `name` says; the same bytes every time."""
    if name.lower().endswith(".zst"):
        import pyarrow

        with pyarrow.CompressedOutputStream(pyarrow.OSFile(str(path), "wb"), "zstd") as stream:
            yield cast(IO[bytes], stream)
    elif name.lower().endswith(".gz"):
        with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
            yield cast(IO[bytes], file)
    else:
        with path.open("wb") as file:
            yield file


def _pieces(source: Source, kind: str, split: str) -> Iterator[Piece]:
    if kind == "rows":
        for origin, row in rows(source, split=split):
            yield origin, _as_line(row)
        return
    name = source_name(source)
    with opened(name) as file:
        blocks = iter(lambda: file.read(BLOCK), b"")
        yield from {"lines": _lines, "list": _elements, "csv": _records}[kind](blocks, name)


def _lines(blocks: Iterable[bytes], name: str) -> Iterator[Piece]:
    for number, line in enumerate(lines(blocks, name), 1):
        if line is None or line.strip():  # one that is too long is a bad row: nobody asks for its bytes
            yield Origin(name, number), (line or b"") + b"\n"


def _elements(blocks: Iterable[bytes], name: str) -> Iterator[Piece]:
    """Read twice, side by side: as rows for where each stands, and as bytes."""
    with opened(name) as again:
        found = list_rows(iter(lambda: again.read(BLOCK), b""), name)
        for (origin, _), element in zip(found, elements(blocks, name), strict=True):
            yield origin, element.data or b""


def _write_list(found: Iterable[bytes], file: IO[bytes]) -> None:
    before = b"[\n"
    for element in found:
        file.write(before + element)
        before = b",\n"
    file.write(b"[]\n" if before == b"[\n" else b"\n]\n")


def _records(blocks: Iterable[bytes], name: str) -> Iterator[Piece]:
    """The records of a CSV file; one may run over several lines."""
    taken, number = list[bytes](), 0

    delimiter, found = delimited(lines(blocks, name))

    def texts() -> Iterator[str]:
        for line in found:
            taken.append((line or b"") + b"\n")
            yield taken[-1].decode(errors="replace")

    reader = csv.reader(texts(), strict=True, delimiter=delimiter)
    for cells in reader:
        first, number = number + 1, number + len(taken)
        if cells:
            yield (None if first == 1 else Origin(name, first)), b"".join(taken)
        taken.clear()


def _copy_parquet(name: str, aside: Path, keep: Keep) -> None:
    from pyarrow.parquet import ParquetFile, ParquetWriter

    number = 0
    with ParquetFile(name) as file, ParquetWriter(aside, file.schema_arrow) as writer:
        for batch in file.iter_batches(batch_size=BATCH):
            wanted = [keep(RowOrigin(name, number + i)) for i in range(1, len(batch) + 1)]
            number += len(batch)
            writer.write_batch(batch.filter(_mask(wanted)))


def _mask(wanted: list[bool]) -> Any:
    import pyarrow

    return pyarrow.array(wanted)


def _as_line(row: object) -> bytes:
    """A row that comes from no line of a file, as JSON; without an id that only counts."""
    if isinstance(row, Group):
        raise InputError("groups made in Python have no rows", where="fix", fix="give a file, or a list of dicts")
    if not isinstance(row, Mapping):
        return b"\n"  # a bad row, for which nobody asks
    columns = {key: value for key, value in row.items() if not isinstance(value, Counted)}
    return (json.dumps(columns, ensure_ascii=False) + "\n").encode()
