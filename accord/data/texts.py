"""Texts to be predicted: text files as a whole or line by line, and the documents of any other format."""

from __future__ import annotations

import codecs
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from accord.data.choose import document
from accord.data.read import read_groups
from accord.data.report import Refusals
from accord.data.sift import taken_of
from accord.data.sources import PACKED, Source, opened
from accord.errors import InputError
from accord.records import Completion, Group, Origin, RecordError

TEXT_FILES = tuple(kind + packed for kind in (".txt", ".text") for packed in PACKED)
Unit = Literal["file", "line"]


def read_texts(source: Source, unit: Unit, refusals: Refusals, *, split: str = "train") -> Iterator[Group]:
    """Groups of one completion, the document, and no prompt. unit: what of a text file is one.

    A folder gives its text files in the order of their names, if it has any. What is no text file is read by
    `read_groups`: of a row the prompt and its best completion, as accord pretrain takes them. InputError, BadRows: as
    there, and a text file that is not UTF-8 or holds no text.
    """
    for name in text_files(source):
        yield from _of_file(name, unit, refusals)
    if text_files(source):
        return
    for group in read_groups(source, split=split, refusals=refusals):
        try:
            yield taken_of(group, document, "pretrain", refusals.report)
        except RecordError as error:
            refusals.add(error, id=group.id)


def text_files(source: Source) -> list[str]:
    """The text files that a source is: one, those of a folder, or none, where it is something else."""
    if not isinstance(source, str | os.PathLike):
        return []
    name = os.fspath(source)
    if Path(name).is_dir():
        return sorted(str(path) for path in Path(name).iterdir() if path.is_file() and _is_text(path.name))
    return [name] if _is_text(name) else []


def _is_text(name: str) -> bool:
    return name.lower().endswith(TEXT_FILES) and not Path(name).name.startswith(".")


def _of_file(name: str, unit: Unit, refusals: Refusals) -> Iterator[Group]:
    text = _text(name)
    if not text.strip():
        raise InputError("holds no text", where=name, fix="give a file with something to predict")
    if unit == "file":
        refusals.report.read += 1
        yield Group(name, "", (Completion(text),), source=Origin(name, 0))
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            refusals.report.read += 1
            yield Group(f"{name}:{number}", "", (Completion(line.removesuffix("\r")),), source=Origin(name, number))


def _text(name: str) -> str:
    try:
        with opened(name) as file:
            raw = file.read().removeprefix(codecs.BOM_UTF8)
    except (OSError, EOFError, zlib.error) as error:
        what = f"cannot be read ({' '.join(str(error).split())[:300]})"
        raise InputError(what, where=name, fix="check the path") from error
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = 1 + raw.count(b"\n", 0, error.start)
        fix = "write it as UTF-8, as by iconv -f latin1 -t utf-8"
        raise InputError(f"not UTF-8 ({error.reason})", where=f"{name}:{line}", fix=fix) from error
