"""The runs that a page is about: found, and read from their folders."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from accord.errors import InputError, IntegrityError
from accord.evaluate.report.values import Json, mapping
from accord.stages.commands import COMMANDS
from accord.stages.config import TrainingConfig
from accord.stages.runs import folders, row_of
from accord.training.run import RunFolder

MOST = 32  # runs of a page: beyond that nobody can tell the lines apart


class Ran(NamedTuple):
    """A run, with all that its folder holds of it; what is not there (yet) is empty.

    place: its colour in charts, see `families.placed`. row: as `accord runs --json` has it. about: run.json, options:
    run.yaml, lines: metrics.jsonl. reports: what its stage says of the model it made, by file. versions: what it was
    computed by.
    """

    name: str
    place: int
    folder: Path
    row: Json
    about: Json
    options: Json
    summary: Json
    data: Json
    lines: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    reports: Mapping[str, Json]
    digests: Mapping[str, str]
    versions: Json

    @property
    def command(self) -> str:
        return str(self.row["command"] or "")

    @property
    def is_finished(self) -> bool:
        return bool(self.row["state"] == "finished")


def read_runs(words: Sequence[str]) -> list[Ran]:
    """The runs at, or below, these directories, in the order of the words and then of their begin.

    InputError: none is there, or too many. IntegrityError: a file of one is not what was written.
    """
    found = [folder for word in words for folder in _at(Path(word))]
    unique = list({folder.resolve(): folder for folder in found}.values())
    if len(unique) > MOST:
        what = f"{len(unique)} runs, of which a page can show {MOST} so that they are told apart"
        raise InputError(what, where=", ".join(words), fix="name fewer")
    return [_read(folder, name) for folder, name in zip(unique, names(unique), strict=True)]


def _at(place: Path) -> list[Path]:
    if not place.is_dir():
        what = "is a file, and no run folder" if place.exists() else "no such directory"
        raise InputError(what, where=str(place), fix="name the directory of --output_dir, or one above it")
    if (place / "run.json").is_file() and (trains(place) or not (below := list(_below(place)))):
        return [place]
    below = list(_below(place))
    if not below:
        what = "no run folder, and none is below it"
        raise InputError(what, where=str(place), fix="name the directory of --output_dir, or one above it")
    return below


def _below(place: Path) -> Iterator[Path]:
    """Of training, the first begun first."""
    found = [folder for folder in folders(place) if folder != place and trains(folder)]
    yield from sorted(found, key=lambda folder: row_of(folder)["started"] or 0.0)


def trains(folder: Path) -> bool:
    """Whether a run is one of a stage that trains; a damaged one is taken for one."""
    command = row_of(folder)["command"]
    return command not in COMMANDS or issubclass(COMMANDS[command].config, TrainingConfig)


def names(places: Sequence[Path]) -> list[str]:
    """The end of each path that tells it from the others."""
    parts = [place.resolve().parts for place in places]
    depths = [1] * len(parts)
    while True:
        found = ["/".join(part[-depth:]) for part, depth in zip(parts, depths, strict=True)]
        count = Counter(found)
        longer = [
            depth + (count[name] > 1 and depth < len(part))
            for name, depth, part in zip(found, depths, parts, strict=True)
        ]
        if longer == depths:
            return found
        depths = longer


def _read(folder: Path, name: str) -> Ran:
    run, row = RunFolder(folder), row_of(folder)
    reports = {file: read_object(folder / file) for file in ("reward_report.json", "classify_report.json")}
    digests, versions = _made(folder)
    return Ran(
        name=name,
        place=0,
        folder=folder,
        row=row,
        about=read_object(folder / "run.json") if row["state"] != "damaged" else {},
        options=_options(folder / "run.yaml"),
        summary=read_object(folder / "summary.json"),
        data=read_object(folder / "data_report.json"),
        lines=run.metrics(),
        samples=run.samples(),
        reports=reports,
        digests=digests,
        versions=versions,
    )


def read_object(file: Path) -> Json:
    """An object of JSON; empty where there is no file. IntegrityError: it holds something else."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("no object")
        return found
    except (OSError, ValueError, RecursionError) as error:
        fix = "bring back a copy of the file, or move it away: then the page is made without it"
        raise IntegrityError(f"not what was written ({error})", where=str(file), fix=fix) from error


def _options(file: Path) -> Json:
    if not file.is_file():
        return {}
    try:
        return mapping(
            yaml.load(file.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        )
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        what, *_ = str(error).splitlines()
        fix = "bring back a copy of the file, or move it away: then the page is made without it"
        raise IntegrityError(f"not what was written ({what})", where=str(file), fix=fix) from error


def _made(folder: Path) -> tuple[dict[str, str], Json]:
    """SHA-256 of the files of the model, as its manifest has them; and what the last checkpoint was computed by."""
    files = mapping(read_object(folder / "MANIFEST.json").get("files"))
    digests = {name: str(mapping(about).get("sha256", "")) for name, about in files.items()}
    last = max(folder.glob("checkpoints/step-*/MANIFEST.json"), default=None)
    return digests, mapping(read_object(last).get("about")) if last is not None else {}
