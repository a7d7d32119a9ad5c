"""What was computed once and is not computed again: files that say what they were made of, and digests of that."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accord.data.labelling import digest_of_database
from accord.data.labelling_address import is_database
from accord.data.sources import files_of
from accord.models import manifest
from accord.models.directory import entries
from accord.stages.reward_function import function_of
from accord.stages.reward_source_options import RewardEntry, RewardSourceOptions
from accord.stages.tables import put

Json = dict[str, Any]


def kept(path: Path, of: Mapping[str, Any], make: Callable[[], Json]) -> Json:
    """What the file holds, where it was made of the same; else it is made, and written."""
    if (found := held(path, of)) is not None:
        return found
    made = make()
    write(path, {"of": of, "held": made})
    return made


def write(path: Path, value: Mapping[str, Any]) -> None:
    """As JSON, whole or not at all."""
    put(path, json.dumps(value, ensure_ascii=False) + "\n", with_folder=True)


def held(path: Path, of: Mapping[str, Any]) -> Json | None:
    """What the file holds; None where it is not there, is damaged, or was made of something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return dict(found["held"]) if found["of"] == json.loads(json.dumps(of)) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def digest_of_model(name: str) -> str:
    """Of the files of a directory that a loader reads; a name on the hub stands for itself."""
    place = Path(name)
    if not place.is_dir():
        return name
    if (place / manifest.NAME).is_file():  # it holds the digest of every file of the model
        return manifest.sha256(place / manifest.NAME)
    return digest_of({path.name: manifest.sha256(path) for path in entries(place) if path.is_file()})


def digest_of_data(name: str) -> str:
    """Of the files that a name of data stands for; a data set of the hub stands for itself."""
    if is_database(name):
        return digest_of_database(name)
    files = files_of(name)
    return digest_of({str(number): manifest.sha256(Path(file)) for number, file in enumerate(files)}) if files else name


def digest_of_sources(options: RewardSourceOptions) -> str:
    """Of scorers: models by their files, functions by the file that they are in, services by their address alone."""
    return digest_of({one.name: json.dumps(_told(one)) for one in options.entries()})


def _told(entry: RewardEntry) -> list[object]:
    source = str(entry.source)
    return [source, DIGESTS[entry.kind](source), entry.weight, entry.label, entry.normalised, entry.base_model]


def _of_function(written: str) -> str:
    try:
        file = inspect.getsourcefile(inspect.unwrap(function_of(written)))
    except TypeError:  # a class instance, or of C
        file = None
    return manifest.sha256(Path(file)) if file is not None and Path(file).is_file() else written


DIGESTS: dict[str, Callable[[str], str]] = {"model": digest_of_model, "function": _of_function, "service": str}


def digest_of(parts: Mapping[str, Any]) -> str:
    """Of what JSON holds."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
