"""`accord logprobs`: the engine made visible, one line a completion."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from accord.data.dialogue import TokenGroup
from accord.data.report import DataReport
from accord.errors import StorageError
from accord.models.reference import ReferenceLogprobs
from accord.records import Group, RecordError
from accord.stages.config import LogprobsConfig
from accord.stages.load_data import dialogue_of, fitting, read, take_all, within_context
from accord.stages.score_all import score_all
from accord.stages.setup import Given, apart, machine, moved, network_of, ready, say, tokenizer_of


def run(config: LogprobsConfig, given: Given) -> list[dict[str, object]]:
    """The sum (nats) and the number of tokens of every completion, in the order of the file; written and given back."""
    place = machine(config.model, threads=config.score.threads, max_tokens=config.score.max_tokens)
    tokenizer = tokenizer_of(config.model, given)
    report = DataReport()
    rows = read(given.get("data", config.data.data), config.data, report)
    groups = take_all(rows, completed, config.data.on_bad_row, report)
    options = within_context(config.data, config.model, given)
    dialogue = dialogue_of(tokenizer, config.model, report, apart=apart(config.model, given))
    tokens = fitting(config.length)(dialogue, groups, options)
    say(f"data: {report.summary()}")
    network = network_of(config.model.model, given.get("model"), tokenizer, config.model, place)
    model = ready(network, tokens, config.model)
    if "model" not in given:
        moved(network, place.device, place.dtype)
    found = score_all("logprobs", model, tokens, place.max_tokens)
    scored = list(_rows(tokens, found))
    _write(Path(config.score.output), scored)
    return scored


def completed(group: Group) -> Group:
    """The group itself, if it has a completion. RecordError where it has none."""
    if group.completions:
        return group
    raise RecordError("no completion", origin=group.source, fix="drop the row, or run with --on_bad_row drop")


def _rows(groups: list[TokenGroup], found: ReferenceLogprobs) -> Iterator[dict[str, object]]:
    lengths = torch.diff(found.end, prepend=torch.zeros(1, dtype=torch.long))
    for group, first in zip(groups, found.first.tolist(), strict=True):
        for number in range(len(group.completions)):
            logprob, count = found.sum[first + number].item(), int(lengths[first + number])
            yield {"id": group.group.id, "completion": number, "logprob": logprob, "tokens": count}


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    aside = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        os.replace(aside, path)
    except OSError as error:
        raise StorageError(f"cannot be written ({error.strerror})", where=str(path), fix="check --output") from error
