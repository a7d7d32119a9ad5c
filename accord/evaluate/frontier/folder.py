"""The folder of a frontier: one process at a time has it, and it holds nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accord.errors import InputError, StorageError
from accord.evaluate.frontier.result import PICTURE, Frontier
from accord.stages.evaluation_configs import FrontierConfig
from accord.stages.resolve import dump
from accord.stages.tables import put
from accord.training import lock

OPTIONS = "frontier.yaml"


@contextmanager
def taken(config: FrontierConfig) -> Iterator[Path]:
    """The folder, for this process alone, with the config that it is used with now in frontier.yaml.

    InputError: it holds something else. StorageError: it cannot be written, or another process has it.
    """
    folder = Path(config.plan.output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        inside = {path.name for path in folder.iterdir()} - {lock.NAME}
        if inside and OPTIONS not in inside:
            raise InputError("not empty, and no frontier", where=str(folder), fix="take another --output_dir")
        held = lock.take(folder)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise StorageError(what, where=str(folder), fix="take another --output_dir") from error
    try:
        put(folder / OPTIONS, dump(config))
        yield folder
    finally:
        held.close()


def draw(found: Frontier, folder: Path) -> None:
    """frontier.png. StorageError: it cannot be written."""
    aside = folder / f".{PICTURE}.tmp"
    try:
        aside.write_bytes(found.picture())
        aside.replace(folder / PICTURE)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise StorageError(what, where=str(folder / PICTURE), fix="free some space") from error
