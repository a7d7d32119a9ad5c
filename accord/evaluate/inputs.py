"""What an evaluation reads, and which files it must not write over."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from accord.data.sources import Source, files_of
from accord.errors import InputError

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


def check_outputs(sources: Sequence[Source], outputs: Sequence[str | None]) -> None:
    """InputError where one is what is read: the data must still be there afterwards."""
    for output in outputs:
        for file in (file for source in sources for file in files_of(source)):
            if output is not None and os.path.exists(output) and os.path.samefile(file, output):
                raise InputError("is the data that is read", where=output, fix="give another file to write")


def is_model(source: Source) -> bool:
    """Whether it names the directory of a model, and not data."""
    return isinstance(source, str | os.PathLike) and any((Path(source) / file).is_file() for file in MODEL_FILES)


def digests_of(sources: Sequence[Source]) -> dict[str, str]:
    """The SHA-256 of every file, by its name."""
    return {file: _sha256(file) for source in sources for file in files_of(source)}


def _sha256(file: str) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
