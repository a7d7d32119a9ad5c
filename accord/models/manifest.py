"""A manifest: which files were written together, each with its size and sha256, and a digest of the manifest itself.

    {"format": 1, ..., "files": {"config.json": {"bytes": 612, "sha256": "..."}}, "self": "..."}

Checkpoints have one and model directories have one; what else it says is theirs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from accord.errors import IntegrityError
from accord.models.writing import Written, sync, write_bytes

NAME = "MANIFEST.json"
FORMAT = 1
LARGEST = 50_000_000  # bytes of a manifest; of 100,000 files it has a third of that

Entries = Mapping[str, Mapping[str, Any]]


def sha256(path: Path) -> str:
    """64 hexadecimal digits of a file's bytes, as of `sha256sum`; 1 to 2 GB/s a core, and other threads go on."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(directory: Path, names: Iterable[str], about: Mapping[str, Any]) -> None:
    """Hashes these files of the directory and writes its manifest, which says `about` as well. All is on the disk."""
    names = sorted(names)
    digests = _in_threads([directory / name for name in names])
    found = [Written((directory / name).stat().st_size, own) for name, own in zip(names, digests, strict=True)]
    for name in names:
        sync(directory / name)
    seal(directory, dict(zip(names, found, strict=True)), about)


def seal(directory: Path, files: Mapping[str, Written], about: Mapping[str, Any]) -> None:
    """Writes the manifest of files that were hashed as they were written."""
    entries = {name: {"bytes": files[name].bytes, "sha256": files[name].sha256} for name in sorted(files)}
    manifest = {"format": FORMAT, **about, "files": entries}
    write_bytes(directory / NAME, json.dumps({**manifest, "self": _self(manifest)}, indent=1).encode())


def read(directory: Path, *, fix: str) -> dict[str, Any]:
    """What the manifest says. IntegrityError where it is not what was written; OSError where there is none.

    fix: what the user is told to do.
    """
    path = directory / NAME
    try:
        manifest = json.loads(_text(path, fix))
        claimed, format_, _ = manifest.pop("self"), manifest["format"], manifest["files"].items()
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise IntegrityError("the manifest cannot be read", where=str(path), fix=fix) from None
    if _self(manifest) != claimed:
        raise IntegrityError("the manifest is not what was written (sha256)", where=str(path), fix=fix)
    if format_ != FORMAT:
        wanted = f"format {format_}, this version reads {FORMAT}"
        raise IntegrityError(wanted, where=str(path), fix="use the version of Accord that wrote it")
    assert isinstance(manifest, dict)
    return manifest


def check_sizes(directory: Path, files: Entries, *, fix: str, links: bool = False) -> None:
    """That every file is there, plain and of its size. links: a link to such a file will do."""
    for name, entry in files.items():
        path = directory / name
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise IntegrityError(f"the manifest names {name!r}, elsewhere", where=str(directory / NAME), fix=fix)
        if not os.path.lexists(path):
            raise IntegrityError("missing", where=str(path), fix=fix)
        if not path.is_file() or (path.is_symlink() and not links):
            raise IntegrityError("not a plain file", where=str(path), fix=fix)
        if path.stat().st_size != entry["bytes"]:
            sizes = f"{path.stat().st_size} bytes, {entry['bytes']} were written"
            raise IntegrityError(sizes, where=str(path), fix=fix)


def check_bytes(directory: Path, files: Entries, *, fix: str) -> None:
    """That every file has the bytes that were written; read once, several beside each other."""
    for name, digest in zip(files, _in_threads([directory / name for name in files]), strict=True):
        if digest != files[name]["sha256"]:
            raise IntegrityError("not the bytes that were written (sha256)", where=str(directory / name), fix=fix)


def _text(path: Path, fix: str) -> str:
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise IntegrityError(f"the manifest has more than {LARGEST} bytes", where=str(path), fix=fix)
    return data.decode()


def _in_threads(paths: list[Path]) -> list[str]:
    with ThreadPoolExecutor(max_workers=max(1, min(len(paths), os.cpu_count() or 1))) as pool:
        return list(pool.map(sha256, paths))


def _self(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
