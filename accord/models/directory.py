"""What may be read of a model directory: looked at before transformers or peft open anything in it.

Read are plain files and links that stay within the directory, or within its repository in the cache of the hub;
weights are safetensors. Nothing is unpacked, unpickled or run. What Accord wrote is compared with its manifest.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from accord.errors import InputError, IntegrityError
from accord.models import manifest, sizes

CONFIG, ADAPTER = "config.json", "adapter_config.json"
TOKENIZER = "tokenizer_config.json"
WHOLE, INDEX, OF_ADAPTER = "model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"
TEMPLATES = "additional_chat_templates"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
READ = (".json", ".jinja", ".txt", ".model", ".tokenizer", ".codes", ".tiktoken", ".spm", ".safetensors")
LARGEST = 50_000_000  # bytes of anything but weights; the largest tokenizer.json known has 35 MB
LARGEST_TEMPLATE = 1_000_000  # bytes of a chat template
OF_THE_RUN = {"data_report.json", "summary.json"}  # lies in a run folder beside the model, and no loader reads it
ARCHIVES = {
    b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "a gzip archive", b"\x80\x02": "a pickle", b"GGUF": "GGUF",
    b"version ": "a pointer of Git LFS (git lfs pull fetches the file)",
}  # fmt: skip
NOT_SAFE = "pickled weights, which can run code, are not loaded"


class Stored(NamedTuple):
    """A tensor of a model directory: which file it is in, and its shape."""

    file: Path
    shape: tuple[int, ...]


def check(place: Path, *, weights: bool = False, trust_remote_code: bool = False) -> None:
    """InputError names what may not be read, IntegrityError what is not as Accord wrote it. No tensor is loaded.

    weights: every byte of the weights is compared with the manifest, not only their sizes.
    """
    adapter = (place / ADAPTER).is_file()
    if not adapter and not (place / CONFIG).is_file():
        raise InputError("no config.json", where=str(place), fix="name the directory of a Hugging Face model")
    for path in entries(place):
        _check_entry(path, _root(place))
    _check_manifest(place, weights)
    _check_names(place / TOKENIZER, "fast_tokenizer_files")
    if (place / CONFIG).is_file():
        _check_names(place / CONFIG, "configuration_files")
        _check_config(place, trust_remote_code)
    _check_pickles(place, adapter)
    held = tensors_of(place)
    if held and not adapter:
        sizes.check_layers(read_object(place / CONFIG), place / CONFIG, len(held))


def entries(place: Path) -> Iterator[Path]:
    """What a loader may open in a model directory; whatever else lies there is not looked at."""
    for folder in (place, place / TEMPLATES):
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if path.suffix in READ and path.name not in OF_THE_RUN)


def weights_of(place: Path) -> tuple[Path, ...]:
    """The files that weights are read from, as transformers and peft choose them; none where there are none."""
    if (place / ADAPTER).is_file():
        return (place / OF_ADAPTER,) if (place / OF_ADAPTER).is_file() else ()
    if (place / WHOLE).is_file():
        return (place / WHOLE,)
    return tuple(_shards(place / INDEX)) if (place / INDEX).is_file() else ()


def tensors_of(place: Path) -> dict[str, Stored]:
    """Every tensor of the weights by its name there, from their headers alone. InputError names a damaged file."""
    return {name: Stored(path, shape) for path in weights_of(place) for name, shape in _header(path).items()}


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object, of at most LARGEST bytes. InputError for anything else."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise InputError(f"more than {LARGEST} bytes", where=str(path), fix="that is no such file of a model")
        found = json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        line = " ".join(str(error).split())[:200]
        raise InputError(f"cannot be read ({line})", where=str(path), fix="check the file") from error
    if not isinstance(found, dict):
        raise InputError("no JSON object", where=str(path), fix="check the file")
    return found


def _root(place: Path) -> Path:
    """Where links may lead: the directory, or its repository in the cache of the hub, whose files are all links."""
    real = place.resolve()
    repository = real.parent.parent
    return repository if real.parent.name == "snapshots" and repository.name.startswith("models--") else real


def _check_entry(path: Path, root: Path) -> None:
    target = Path(os.path.realpath(path))
    if not target.is_relative_to(root):
        what = f"a link that leads out of the model directory, to {target}"
        raise InputError(what, where=str(path), fix="put the file itself there, if you trust it")
    try:
        found = path.stat()
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
        raise InputError(what, where=str(path), fix="check the file, or the link") from error
    if stat.S_ISDIR(found.st_mode):  # of no interest to a loader
        return
    if not stat.S_ISREG(found.st_mode):
        raise InputError("not a plain file", where=str(path), fix="remove it")
    most = LARGEST_TEMPLATE if path.suffix == ".jinja" else LARGEST
    if path.suffix != ".safetensors" and found.st_size > most:
        what = f"{found.st_size} bytes; at most {most} are read"
        raise InputError(what, where=str(path), fix="that is no such file of a model")


def _check_manifest(place: Path, weights: bool) -> None:
    path = place / manifest.NAME
    if not path.is_file():
        return
    fix = f"copy the model again; if that was changed on purpose, remove {path}"
    files = manifest.read(place, fix=fix)["files"]
    manifest.check_sizes(place, files, fix=fix, links=True)
    hashed = {name: entry for name, entry in files.items() if weights or not name.endswith(".safetensors")}
    manifest.check_bytes(place, hashed, fix=fix)
    for file in weights_of(place):
        if file.name not in files:
            raise IntegrityError("weights that were not written with the model", where=str(file), fix=fix)


def _check_config(place: Path, trust_remote_code: bool) -> None:
    path = place / CONFIG
    config = read_object(path)
    sizes.check_sizes(config, path)
    if not trust_remote_code:
        sizes.check_code(config, path)


def _check_names(path: Path, key: str) -> None:
    """What a JSON file names as other files to read are files beside it."""
    named = read_object(path).get(key, ()) if path.is_file() else ()
    for name in named if isinstance(named, list) else ():
        if not _is_beside(name):
            raise InputError(f"{key} names {name!r}, elsewhere", where=str(path), fix="take the entry out")


def _check_pickles(place: Path, adapter: bool) -> None:
    if weights_of(place) or (not adapter and any(place.glob("*.safetensors"))):
        return
    pickles = sorted(path.name for path in place.iterdir() if path.suffix in PICKLES)
    if pickles:
        fix = f"convert the {'adapter' if adapter else 'model'} to safetensors"
        raise InputError(NOT_SAFE, where=str(place / pickles[0]), fix=fix)


def _shards(index: Path) -> Iterable[Path]:
    named = read_object(index).get("weight_map")
    if not isinstance(named, Mapping) or not named:
        raise InputError("no weight_map", where=str(index), fix="use the index that belongs to the weights")
    for key, name in named.items():
        if not _is_beside(name) or not name.endswith(".safetensors"):
            what = f"weight_map: {key} is in {name!r}, which is no safetensors file of this directory"
            raise InputError(what, where=str(index), fix="use the index that belongs to the weights")
    files = [index.parent / name for name in dict.fromkeys(named.values())]
    for file in files:
        if not file.is_file():
            raise InputError(f"missing, and {index.name} names it", where=str(file), fix="copy the whole model")
    return files


def _is_beside(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")


def _header(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape, from the header of a safetensors file, whose sizes agree with the file's."""
    fix = "use an undamaged copy"
    with path.open("rb") as file:
        start = file.read(8)
    # Eight bytes that say how long the header is; those of an archive say more bytes than there are.
    if (length := int.from_bytes(start, "little")) > min(LARGEST, path.stat().st_size):
        what = f"not whole: its header would have {length} bytes, the file has {path.stat().st_size}"
        kind = next((kind for magic, kind in ARCHIVES.items() if start.startswith(magic)), None)
        what = f"not safetensors but {kind}, which is not opened" if kind else what
        raise InputError(what, where=str(path), fix=fix)
    try:
        with safe_open(path, "pt") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}
    except (OSError, SafetensorError) as error:
        raise InputError(f"not whole: cannot be read ({error})", where=str(path), fix=fix) from error
