"""`accord sample`: what a model writes behind the prompts of a file, with scores, or the best of it, where wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import torch
from transformers import PreTrainedTokenizerBase

from accord.data.dialogue import TokenGroup
from accord.data.sources import Source, file_rows
from accord.data.write import row_writer
from accord.errors import InputError, StorageError
from accord.models.logprobs import LanguageModel, resting
from accord.models.ways import way_of
from accord.stages.best_of_table import in_words
from accord.stages.config import SampleConfig
from accord.stages.intake import Intake, Preparation, fitting
from accord.stages.load_data import within_context
from accord.stages.resolve import OBJECT
from accord.stages.reward_model_source import Longest
from accord.stages.reward_sources import Rewards, rewards_of
from accord.stages.rl_prompts import alone, blank
from accord.stages.sample_made import Sampler
from accord.stages.sample_progress import advancing
from accord.stages.sample_written import Writing
from accord.stages.score import check_output
from accord.stages.setup import Given, Machine, apart, machine, moved, network_of, ready, say, tokenizer_of
from accord.stages.tables import show, written
from accord.stages.windows import Survey, Window, Windows
from accord.training.progress import Progress

TRIED = 8  # samples of a prompt with which networks are held against stock at the start
Row = dict[str, Any]


class SampleFile(Iterable[Row]):
    """The rows that were written, read from the file one by one. best_of: the table, where there are scores."""

    def __init__(self, path: str, count: int, best_of: Sequence[Row]) -> None:
        self.path, self.best_of, self._count = path, tuple(best_of), count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        return (cast(Row, row) for _, row in file_rows(self.path))


def run(config: SampleConfig, given: Given) -> SampleFile:
    """Writes a row for each prompt that has one, in the order of the data. The columns: docs/sampling.md."""
    place = machine(config.model, threads=config.drawing.threads, max_tokens=config.samples.max_tokens)
    tokenizer = tokenizer_of(config.model, given)
    check_output(_source(config, given), config.samples.output)
    windows = windows_of(config, given, tokenizer)
    survey = windows.survey()
    tokens = windows.tokens(survey)
    first = next(tokens)
    model = model_of(config, given, tokenizer, first.tokens, place)
    rewards = _rewards(config, given, first, place)
    name = config.model.model if config.model.model != OBJECT else str(model.network.name_or_path)
    writing = Writing(config, Sampler(config, model, tokenizer, rewards), name or type(model.network).__name__)
    _write(writing, chain([first], tokens), survey)
    say(f"data: {windows.report.summary()}")
    for line in (*windows.report.warnings(), *writing.notes()):
        say(f"note: {line}")
    say(writing.summary())
    best_of = writing.best_of.rows() if writing.best_of is not None else []
    if not written(best_of, config.table.json) and best_of:
        show(in_words(best_of), title=f"the best of n samples by {writing.judge}")
    return SampleFile(config.samples.output, writing.tally.rows, best_of)


def windows_of(config: SampleConfig, given: Given, tokenizer: PreTrainedTokenizerBase) -> Windows:
    """With room for the samples behind every prompt; those of an encoder-decoder have a sequence of their own."""
    reading, new = within_context(config.data, config.model, given), config.drawing.max_new_tokens
    source = _source(config, given)
    most, encoder = cast(int, reading.max_length), apart(config.model, given)
    room = most - new if not encoder else most if new < most else 0
    if room < 1:
        what = f"{new}, which leaves no room for a prompt in the model's {most} tokens"
        raise InputError(what, where="max_new_tokens", fix="fewer new tokens, or another model")
    reading = reading.model_copy(update={"max_length": room})
    intake = Intake("rl", alone, fitting(config.length))
    return Windows(
        source, reading.split, Preparation(tokenizer, config.model, reading, intake, apart=encoder), config.length
    )


def model_of(
    config: SampleConfig, given: Given, tokenizer: PreTrainedTokenizerBase, tokens: Sequence[TokenGroup], place: Machine
) -> LanguageModel:
    """Held against stock on the longest prompt of the first window, with samples behind it."""
    network = network_of(config.model.model, given.get("model"), tokenizer, config.model, place)
    longest = max(tokens, key=lambda group: len(group.prompt))
    most = blank(longest, min(TRIED, config.samples.n), config.drawing.max_new_tokens)
    model = ready(network, [most], config.model)
    if "model" not in given:
        moved(network, place.device, place.dtype)
    with torch.no_grad(), resting(model.network), model.acting():
        if note := way_of(model, [longest.prompt])[1].note:
            say(f"note: {note}")
    return model


def _rewards(config: SampleConfig, given: Given, window: Window, place: Machine) -> Rewards | None:
    if (options := config.scoring) is None:
        return None
    pairs = zip(window.tokens, window.groups, strict=True)
    _, longest = max(pairs, key=lambda pair: len(pair[0].prompt))
    most = Longest(longest, min(TRIED, config.samples.n), config.drawing.max_new_tokens)
    return rewards_of(options, config.model, given, place, longest=most)


def _write(writing: Writing, windows: Iterable[Window], survey: Survey) -> None:
    output, each = writing.options.output, writing.options.n
    try:
        Path(output).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"cannot be written ({error.strerror or error})"
        raise StorageError(what, where=output, fix="check --output") from error
    with Progress("sample", survey.groups * each, unit="sample") as progress, row_writer(output) as writer:
        advance = advancing(progress, each)
        for window in windows:
            writing.window(window, writer, advance)
        progress.log()


def _source(config: SampleConfig, given: Given) -> Source:
    return cast(Source, given.get("data", config.data.data))
