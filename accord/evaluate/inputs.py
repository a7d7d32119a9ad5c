"""What an evaluation reads, and which files it must not write over."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from accord.data.labelling import digest_of_database
from accord.data.labelling_address import is_database
from accord.data.sources import Source, files_of, files_read, source_name
from accord.errors import InputError, StorageError

MODEL_FILES = ("config.json", "adapter_config.json")  # one of these is in the directory of every model


def sources_of(data: Sequence[str], given: Mapping[str, object]) -> list[Source]:
    """Files by name; or what Python gave: names, or one list of rows or groups."""
    if "data" not in given:
        return list(data)
    found = cast(Any, given["data"])
    items = found if isinstance(found, Sequence) else list(found)
    if items and all(isinstance(one, str | os.PathLike) for one in items):
        return list(items)
    return [items]


def check_outputs(
    sources: Sequence[Source], outputs: Sequence[str | None], *, with_folder: Sequence[str | None] = ()
) -> None:
    """What is asked of files to be written before anything long is done. with_folder: those whose folder is made.

    InputError: one is what is read, and must still be there afterwards; two are the same. StorageError: one cannot be.
    """
    files = [file for source in sources for file in files_read(source)]
    taken = set[str]()
    for output in (one for one in (*outputs, *with_folder) if one not in (None, "-")):
        name = str(output)
        if os.path.exists(name) and any(os.path.samefile(file, name) for file in files):
            raise InputError("is the data that is read", where=name, fix="give another file to write")
        if os.path.realpath(name) in taken:
            raise InputError("is to be written twice", where=name, fix="give every output a file of its own")
        taken.add(os.path.realpath(name))
        _check_place(name, is_made=output in with_folder)


def _check_place(name: str, *, is_made: bool) -> None:
    folder = Path(name).parent
    why = "is a directory" if os.path.isdir(name) else None
    if not folder.is_dir() and not is_made:
        why = "its folder is not there"
    elif folder.is_dir() and not os.access(folder, os.W_OK):
        why = "its folder must not be written to"
    if why is not None:
        raise StorageError(f"cannot be written ({why})", where=name, fix="give a file that can be written to")


def is_model(source: Source) -> bool:
    """Whether it names the directory of a model, and not data."""
    return isinstance(source, str | os.PathLike) and any((Path(source) / file).is_file() for file in MODEL_FILES)


def digests_of(sources: Sequence[Source]) -> dict[str, str]:
    """The SHA-256 of every file, by its name; of a labelling database that of what is read there."""
    named = [source for source in sources if isinstance(source, str) and is_database(source)]
    found = {file: _sha256(file) for source in sources for file in files_of(source)}
    return found | {source_name(source): digest_of_database(source) for source in named}


def _sha256(file: str) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
