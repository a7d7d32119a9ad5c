"""`accord logprobs`: the engine made visible, one line a completion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import cast

import torch

from accord.data.dialogue import TokenGroup
from accord.data.findings import FINDINGS
from accord.data.sources import Source
from accord.models.reference import ReferenceLogprobs
from accord.records import Group, RecordError
from accord.stages.config import LogprobsConfig
from accord.stages.intake import Intake, Preparation, fitting
from accord.stages.load_data import within_context
from accord.stages.score_all import score_all
from accord.stages.setup import Given, apart, machine, moved, network_of, ready, say, tokenizer_of
from accord.stages.tables import put


def run(config: LogprobsConfig, given: Given) -> list[dict[str, object]]:
    """The sum (nats) and the number of tokens of every completion, in the order of the file; written and given back."""
    place = machine(config.model, threads=config.score.threads, max_tokens=config.score.max_tokens)
    tokenizer = tokenizer_of(config.model, given)
    intake = Intake("evaluate", completed, fitting(config.length))
    options, encoder = within_context(config.data, config.model, given), apart(config.model, given)
    preparation = Preparation(tokenizer, config.model, options, intake, config.length, apart=encoder)
    prepared = preparation.of(cast(Source, given.get("data", config.data.data)), config.data.split)
    tokens = prepared.groups
    say(f"data: {prepared.report.summary()}")
    network = network_of(config.model.model, given.get("model"), tokenizer, config.model, place)
    model = ready(network, tokens, config.model)
    if "model" not in given:
        moved(network, place.device, place.dtype)
    found = score_all("logprobs", model, tokens, place.max_tokens)
    scored = list(_rows(tokens, found))
    put(config.score.output, "".join(json.dumps(row) + "\n" for row in scored), with_folder=True)
    return scored


def completed(group: Group) -> Group:
    """The group itself, if it has a completion. RecordError where it has none."""
    if group.completions:
        return group
    fix = FINDINGS["not_judged"].fix
    raise RecordError("no completion", origin=group.source, fix=fix, finding="not_judged")


def _rows(groups: list[TokenGroup], found: ReferenceLogprobs) -> Iterator[dict[str, object]]:
    lengths = torch.diff(found.end, prepend=torch.zeros(1, dtype=torch.long))
    for group, first in zip(groups, found.first.tolist(), strict=True):
        for number in range(len(group.completions)):
            logprob, count = found.sum[first + number].item(), int(lengths[first + number])
            yield {"id": group.group.id, "completion": number, "logprob": logprob, "tokens": count}
