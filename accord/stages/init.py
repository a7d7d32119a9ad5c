"""`accord init`: a new model with random weights and a tokenizer of its own, for those who start from nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from accord.data.read import read_groups
from accord.data.report import DataReport
from accord.data.sources import Source
from accord.models.load import save
from accord.models.pocket import random_model, train_tokenizer
from accord.records import Group, Text
from accord.stages.config import InitConfig
from accord.stages.new_model import NewModel, empty_folder
from accord.stages.setup import Given, say


def run(config: InitConfig, given: Given) -> NewModel:
    """Trains a tokenizer on every text of the data and writes it with a random model."""
    options = config.new_model
    directory = empty_folder(options.output_dir)
    report = DataReport()
    source = cast(Source, given.get("data", options.data))
    groups = read_groups(
        source,
        split=options.split,
        on_bad_row=options.on_bad_row,
        report=report,
        implicit_prompt=options.implicit_prompt,
    )
    tokenizer = train_tokenizer(texts(groups), options.vocab_size, context=options.context)
    network = random_model(
        tokenizer,
        vocab_size=options.vocab_size,
        hidden_size=options.hidden_size,
        layers=options.layers,
        heads=options.heads,
        kv_heads=options.key_value_heads,
        intermediate_size=options.intermediate_size,
        context=options.context,
        seed=options.seed,
    )
    save(network, tokenizer, directory)
    say(f"data: {report.summary()}")
    count = sum(parameter.numel() for parameter in network.parameters())
    say(f"{count / 1e6:.1f} M parameters, {len(tokenizer)} of {options.vocab_size} words used: {directory}")
    return NewModel(network, tokenizer, directory)


def texts(groups: Iterator[Group]) -> Iterator[str]:
    """Every text of every group, turn by turn."""
    for group in groups:
        for content in (group.prompt, *(completion.content for completion in group.completions)):
            yield from _words(content)


def _words(content: Text) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    else:
        yield from (message.content for message in content)
