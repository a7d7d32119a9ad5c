"""Files, folders, globs, Hugging Face data sets and Python lists -> rows, with where each stands."""

from __future__ import annotations

import codecs
import glob
import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from accord.data.fields import Counted
from accord.data.labelling_address import address_of, is_database, shown_name
from accord.data.lines import BLOCK, Raw, RowOrigin, line_rows
from accord.data.lists import list_rows
from accord.data.report import DataReport
from accord.data.strict_json import flaw_of, record_error
from accord.data.tables import csv_rows, from_arrow, parquet_rows
from accord.errors import InputError
from accord.records import Group, Origin

PACKED = ("", ".gz", ".zst")
ENDINGS = (*(kind + packed for kind in (".jsonl", ".json", ".csv") for packed in PACKED), ".parquet")
SPLIT = re.compile(r"(?:^|[-_.])(train|test|validation|valid|val|dev|eval)(?=[-_.])", re.IGNORECASE)
HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
UNSAID = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")  # no message and no report could hold it
NAMED = 10  # files left out that a note names

Source = str | os.PathLike[str] | Iterable[Group | Mapping[str, Any]]


def source_name(source: Source) -> str:
    """As messages and reports have it."""
    return shown_name(os.fspath(source)) if isinstance(source, str | os.PathLike) else "<memory>"


def rows(source: Source, *, split: str = "train", report: DataReport | None = None) -> Iterator[Raw]:
    """The rows of a file, of all files of a folder or glob, of a Hugging Face data set (its `split`), of a labelling
    database (by its address: accord.data.labelling_address), or of a list.

    Files of a folder or glob come in the order of their names; which ones are left out is a note in `report`.
    InputError: no such source, not readable, or a file that is broken beyond its rows.
    """
    if not isinstance(source, str | os.PathLike):
        return (_from_memory(row, Origin("<memory>", i)) for i, row in enumerate(source, 1))
    name = os.fspath(source)
    if is_database(name):
        from accord.data.labelling import database_rows  # which reads groups, as this does

        return database_rows(name)
    if files := files_of(name, report=report):
        return file_rows(name) if files == [name] else _several(files)
    if os.path.isdir(name):
        return _data_set_rows(name, split, saved=True)
    if name.lower().endswith(ENDINGS) or not HUB_NAME.fullmatch(name):
        raise InputError("no such file", where=name, fix="check the path")
    return _data_set_rows(name, split)


def _from_memory(row: object, origin: Origin) -> Raw:
    """A text made in Python may hold half a character; of a Group, accord.data.formats looks at that."""
    flaw = flaw_of(row) if isinstance(row, Mapping) else None
    return origin, row if flaw is None else record_error(flaw, b"", origin)


def files_of(source: Source, *, report: DataReport | None = None) -> list[str]:
    """The files that a source is read from, in their order; none for what is no file, folder or glob.

    InputError: a folder or glob in which there is nothing to read.
    """
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    if not name or is_database(name):
        return []
    if os.path.isfile(name):
        return [name]
    if os.path.isdir(name):
        return [] if _is_saved(Path(name)) else _in_folder(Path(name), report)
    return _readable(sorted(glob.glob(name, recursive=True)), name, report) if glob.has_magic(name) else []


def _in_folder(folder: Path, report: DataReport | None) -> list[str]:
    """The readable files of a folder. Files of several splits are refused: they are not to be mixed by accident."""
    try:
        found = sorted(map(str, folder.iterdir()))
    except OSError as error:
        raise InputError(f"cannot be read ({_one_line(error)})", where=str(folder), fix="check the folder") from error
    files = _readable(found, str(folder), report)
    splits = sorted({match[1].lower() for file in files if (match := SPLIT.search(Path(file).name))})
    if len(splits) > 1:
        fix = f"name one, as {folder / f'*{splits[0]}*'}"
        raise InputError(f"holds files of several splits: {', '.join(splits)}", where=str(folder), fix=fix)
    return files


def _readable(found: list[str], where: str, report: DataReport | None) -> list[str]:
    """Those that are files of a known kind and not hidden, each once, whatever links lead to it."""
    first = {os.path.realpath(name): name for name in reversed(found)}
    files = [name for name in found if _is_data(Path(name)) and first[os.path.realpath(name)] == name]
    if not files:
        what = "holds no file that can be read" if found or Path(where).is_dir() else "no such file"
        raise InputError(what, where=where, fix="files ending in " + ", ".join(ENDINGS))
    others = [Path(name).name for name in found if name not in set(files)]
    if others and report is not None:
        names = ", ".join(others[:NAMED]) + (", ..." if len(others) > NAMED else "")
        report.note(f"left out, hidden, of another kind or there already: {names} ({len(others)} in all)", where=where)
    return files


def _is_data(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and path.name.lower().endswith(ENDINGS)


def _several(files: list[str]) -> Iterator[Raw]:
    """The rows of all. The number of a row tells it from others of its file only, so the ids name the file, too."""
    root = Path(os.path.commonpath(files))
    for file in files:
        prefix = os.path.relpath(file, root) + ":" if len(files) > 1 else ""
        for origin, row in file_rows(file):
            if prefix and isinstance(row, dict) and ((id := row.get("id")) is None or isinstance(id, Counted)):
                row["id"] = Counted(f"{prefix}{id or origin.line}")
            yield origin, row


def file_rows(name: str) -> Iterator[Raw]:
    """The rows of one file, by its ending; where that says JSON, the first character tells lines from one list."""
    kind = name.lower()
    if UNSAID.search(name):
        what = "a control character, a line break or bytes that are not UTF-8 stand in the name"
        raise InputError(what, where=repr(name), fix="rename the file")
    if not kind.endswith(ENDINGS):
        raise InputError("unknown kind of file", where=name, fix="a name ending in " + ", ".join(ENDINGS))
    try:
        if kind.endswith(".parquet"):
            yield from parquet_rows(name)
            return
        with opened(name) as file:
            blocks = iter(lambda: file.read(BLOCK), b"")
            start = next(blocks, b"").removeprefix(codecs.BOM_UTF8)
            blocks = chain((start,), blocks)
            if kind.removesuffix(".gz").removesuffix(".zst").endswith(".csv"):
                yield from csv_rows(blocks, name)
            elif start.lstrip().startswith(b"["):
                yield from list_rows(blocks, name)
            else:
                yield from line_rows(blocks, name)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot be read ({_one_line(error)})", where=name, fix="check the file") from error


def opened(name: str) -> IO[bytes]:
    """The file, unpacked as it is read: a few megabytes of it are in memory, whatever it unpacks to."""
    if name.lower().endswith(".gz"):
        return cast(IO[bytes], gzip.open(name))
    if name.lower().endswith(".zst"):
        import pyarrow

        return cast(IO[bytes], pyarrow.CompressedInputStream(pyarrow.OSFile(name), "zstd"))
    return open(name, "rb")


def _is_saved(folder: Path) -> bool:
    """Whether datasets' save_to_disk wrote it."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def _data_set_rows(name: str, split: str, *, saved: bool = False) -> Iterator[Raw]:
    """A data set saved to a folder, or by its Hugging Face name: from the cache, or from the network unless
    HF_HUB_OFFLINE is set."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import datasets

    try:
        table = datasets.load_from_disk(name) if saved else datasets.load_dataset(name, split=split)
        table = table[split] if isinstance(table, datasets.DatasetDict) else table
    except (OSError, ValueError, KeyError, ImportError, datasets.exceptions.DatasetsError) as error:
        what = f"neither a file nor a data set that can be loaded ({type(error).__name__}: {_one_line(error)})"
        raise InputError(what, where=name, fix="check the path, the name, the split and HF_HUB_OFFLINE") from error
    return ((RowOrigin(name, i), from_arrow(row)) for i, row in enumerate(table, 1))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def files_read(source: Source) -> list[str]:
    """The files of a source, and the one of an SQLite database: what must still be there afterwards."""
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    if not is_database(name):
        return files_of(source)
    file = address_of(name).file
    return [file] if file is not None and os.path.isfile(file) else []


def check_not_read(source: Source, output: str) -> None:
    """InputError where a file that is to be written is one that is read: it must still be there afterwards."""
    for name in files_read(source):
        if Path(output).exists() and os.path.samefile(name, output):
            raise InputError("is the data that is read", where=output, fix="give another file to write")
