"""What runs say of their size and their loss: run folders of Accord, and tables of runs from anywhere."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from accord.data.sources import ENDINGS, rows, source_name
from accord.errors import InputError
from accord.maths.power_law import FLOPS
from accord.models.directory import ADAPTER, CONFIG, read_object, tensors_of
from accord.records import Origin, RecordError
from accord.stages.runs import folders
from accord.training.seen import tokens_seen

COLUMNS = {
    "parameters": ("parameters", "params", "n", "model_size"),
    "tokens": ("tokens", "d", "data_size"),
    "loss": ("loss", "eval_loss", "l"),
    "compute": ("compute", "flops", "c"),
    "name": ("name", "run", "model"),
}
EPOCHS = 4  # over the same data, up to which they teach nearly as much as new data (Muennighoff et al. 2023)


class ScaledRun(NamedTuple):
    """One run. NaN where a size is not known."""

    name: str
    parameters: float
    tokens: float
    compute: float  # FLOPs
    loss: float  # nats per token


class Gathered(NamedTuple):
    """Runs, and what is to be said of them."""

    runs: list[ScaledRun]
    notes: list[str]


def gather(sources: Sequence[object], *, embeddings: bool) -> Gathered:
    """The runs of folders and tables, in their order. embeddings: whether they count among a run's parameters.

    InputError: nothing there, a run without a held-out loss, or runs whose losses cannot be compared.
    """
    found, notes, tokenizers = list[ScaledRun](), list[str](), dict[str, str]()
    for source in sources:
        if not isinstance(source, str):
            found += _of_table(source)
        elif Path(source).is_dir():
            for folder in _finished(Path(source), notes):
                found.append(_of_folder(folder, embeddings, notes))
                tokenizers.setdefault(_tokenizer(folder), str(folder))
        elif source.lower().endswith(ENDINGS):
            found += _of_table(source)
        else:
            what = "neither a directory nor a table"
            raise InputError(what, where=source, fix="a run folder, or a file ending in " + ", ".join(ENDINGS))
    if len(tokenizers) > 1:
        one, other = list(tokenizers.values())[:2]
        what = f"another tokenizer than that of {one}: their losses per token are not of the same tokens"
        raise InputError(
            what, where=other, fix="runs of one tokenizer, or a table with the losses of accord perplexity"
        )
    return Gathered(found, notes)


def _finished(directory: Path, notes: list[str]) -> Iterator[Path]:
    some = list(folders(directory))
    if not some:
        raise InputError(
            "no run here or below", where=str(directory), fix="name run folders, or a directory above them"
        )
    for folder in some:
        if (folder / "summary.json").is_file():
            yield folder
        else:
            notes.append(f"{folder}: left out, as it has not come to its end")


def _of_folder(folder: Path, embeddings: bool, notes: list[str]) -> ScaledRun:
    summary = read_object(folder / "summary.json")
    loss = _at(summary, "held_out", "loss", "after", "mean")
    if loss is None:
        fix = "train it with --validation or --eval_data, the same for all runs"
        raise InputError("no held-out loss", where=str(folder), fix=fix)
    lines = _metrics(folder / "metrics.jsonl")
    epochs = max((line["epoch"] for line in lines if isinstance(line.get("epoch"), int | float)), default=0.0)
    if epochs > EPOCHS:
        notes.append(f"{folder}: {epochs:.0f} passes over its data: tokens seen again teach less than new ones")
    parameters = _at(summary, "parameters") or _stored(folder)
    if not embeddings:
        parameters -= _at(summary, "embedding_parameters") or _embeddings(folder)
    tokens = _at(summary, "tokens") or tokens_seen(lines)
    if not parameters > 0 or not tokens > 0:
        what = "neither its summary nor its model says its parameters" if not parameters > 0 else "no tokens are logged"
        raise InputError(what, where=str(folder), fix="give a table with parameters, tokens and loss instead")
    return ScaledRun(str(folder), parameters, tokens, FLOPS * parameters * tokens, loss)


def _at(value: Any, *keys: str) -> float | None:
    """The number at a path of keys; None where there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _metrics(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    except (ValueError, RecursionError) as error:
        what = f"cannot be read ({' '.join(str(error).split())[:200]})"
        raise InputError(what, where=str(path), fix="accord verify says what is damaged") from error


def _stored(folder: Path) -> float:
    """Parameters of a run that does not say: numbers in its weights. 0 of an adapter, whose base is elsewhere."""
    if (folder / ADAPTER).is_file():
        return 0.0
    return float(sum(math.prod(one.shape) for one in tensors_of(folder).values()))


def _embeddings(folder: Path) -> float:
    config = read_object(folder / CONFIG)
    table = (_at(config, "vocab_size") or 0.0) * (_at(config, "hidden_size") or 0.0)
    return table if config.get("tie_word_embeddings", True) else 2 * table


def _tokenizer(folder: Path) -> str:
    file = folder / "tokenizer.json"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


def _of_table(source: Any) -> list[ScaledRun]:
    found = list[ScaledRun]()
    for origin, row in rows(source):
        if isinstance(row, RecordError):
            raise row
        if not isinstance(row, Mapping):
            raise RecordError("no object", origin=origin, fix="a row with parameters, tokens and loss")
        found.append(_of_row({str(key).strip().lower(): value for key, value in row.items()}, origin, len(found) + 1))
    if not found:
        raise InputError("no rows", where=source_name(source), fix="a row for each run: parameters, tokens, loss")
    return found


def _of_row(row: Mapping[str, Any], origin: Origin, number: int) -> ScaledRun:
    values = {field: _number(row, field, origin) for field in ("parameters", "tokens", "compute", "loss")}
    if math.isnan(values["loss"]):
        fix = "add a column of nats per token, called loss"
        raise RecordError("missing", origin=origin, field="loss", fix=fix)
    if math.isnan(values["compute"]):
        values["compute"] = FLOPS * values["parameters"] * values["tokens"]
    name = next((str(row[key]) for key in COLUMNS["name"] if row.get(key)), f"row {number}")
    return ScaledRun(name, values["parameters"], values["tokens"], values["compute"], values["loss"])


def _number(row: Mapping[str, Any], field: str, origin: Origin) -> float:
    """NaN where the row has no such column, or an empty one."""
    key = next((key for key in COLUMNS[field] if row.get(key) not in (None, "")), None)
    if key is None:
        return math.nan
    try:
        found = float(str(row[key]).replace("_", ""))
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        fix = "give a number above 0, as 1.2e9"
        raise RecordError(f"{row[key]!r} is no size", origin=origin, field=key, fix=fix)
    return found
