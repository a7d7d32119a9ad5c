"""A safetensors file with a seal: there whole or not at all, and any damage to it is noticed when it is read."""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from accord.errors import IntegrityError
from accord.models.digest import digest
from accord.models.tensor_file import write_tensors
from accord.models.writing import sync

SEAL = "sha256"
ABOUT = "__metadata__"  # as the format has it
LONGEST_HEADER = 1 << 20  # bytes; what names so few tensors is far shorter


class Sealed(NamedTuple):
    """What such a file holds: tensors by name, and words about them. seal: 64 hexadecimal digits of both."""

    tensors: dict[str, Tensor]
    about: dict[str, str]
    seal: str


class Glance(NamedTuple):
    """What a look at such a file shows: the bytes of one tensor, the shapes of all, and words about them."""

    data: bytes
    shapes: dict[str, tuple[int, ...]]
    about: dict[str, str]


def write(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Puts the file in place in one move, on the disk; where it cannot be written (OSError), nothing is left behind."""
    seal = seal_of(tensors, about)
    aside = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        write_tensors(aside, tensors, {**about, SEAL: seal})
        os.replace(aside, path)
        sync(path.parent)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise


def read(path: Path) -> Sealed:
    """IntegrityError where the bytes are not those that were written; OSError where there are none."""
    data = path.read_bytes()  # not mapped: the file may be replaced or removed by others at any time
    with _parsing(path):
        tensors = safetensors.torch.load(data)
        about = _header(io.BytesIO(data)).pop(ABOUT)
        seal = about.pop(SEAL)
    if seal_of(tensors, about) != seal:
        raise IntegrityError("not the bytes that were written (sha256)", where=str(path), fix="remove it")
    return Sealed(tensors, about, seal)


def glance(path: Path, name: str) -> Glance:
    """Only the header and one tensor are read, and nothing is verified. IntegrityError where that makes no sense."""
    with path.open("rb") as file, _parsing(path):
        header = _header(file)
        about = dict(header.pop(ABOUT))
        start, end = header[name]["data_offsets"]
        file.seek(start, os.SEEK_CUR)
        shapes = {key: tuple(entry["shape"]) for key, entry in header.items()}
        return Glance(file.read(max(end - start, 0)), shapes, about)


@contextmanager
def _parsing(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError("damaged", where=str(path), fix="remove it") from error


def _header(file: IO[bytes]) -> dict[str, Any]:
    """The header of a safetensors file; afterwards the file stands at its data."""
    length = int.from_bytes(file.read(8), "little")
    if length > LONGEST_HEADER:
        raise ValueError(length)
    return dict(json.loads(file.read(length)))


def seal_of(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    """What `write` seals them with: 64 hexadecimal digits."""
    return digest(sorted(tensors.items()), text=json.dumps(sorted(about.items())))
