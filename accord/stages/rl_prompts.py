"""The prompts that a run samples from: their tokens, and their texts, which rewards are given for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from transformers import PreTrainedTokenizerBase

from accord.data.dialogue import Dialogue, TokenCompletion, TokenGroup
from accord.data.encode import Ids
from accord.data.length import fit_groups
from accord.models.stop_strings import StopStrings
from accord.records import Completion, Group, Judged, Message, Origin, Text
from accord.stages.intake import Intake, Pairs
from accord.stages.options import LengthOptions, ReadOptions


class Prompts:
    """The prompts of a run as they were read, by where they stand: tokens do not hold them."""

    def __init__(self) -> None:
        self._texts: dict[tuple[Origin, str], Group] = {}

    def take(self, group: Group) -> Group:
        """The group's prompt alone, which is kept."""
        alone = replace(group, completions=(), judgements=())
        self._texts[group.source, group.id] = alone
        return alone

    def of(self, group: Judged) -> Group:
        """The prompt of a group of tokens, without completions."""
        return self._texts[group.source, group.id]


def intake_of(prompts: Prompts, length: LengthOptions, count: int, new: int) -> Intake:
    """Prompts with room for `new` tokens behind them; each has `count` blanks in the place of its samples."""
    return Intake(
        "rl", prompts.take, partial(_fitting, length, new), pack=partial(_with_blanks, count, new), kept=False
    )


def _fitting(
    length: LengthOptions, new: int, dialogue: Dialogue, groups: Iterable[Group], options: ReadOptions
) -> Pairs:
    """max_length is for prompt and sample together."""
    assert options.max_length is not None
    made = dialogue.stream(groups, on_bad_row=options.on_bad_row)
    room = options.max_length - new
    return fit_groups(made, dialogue, max_length=room, on_long=length.on_long, max_dropped=length.max_dropped)


def _with_blanks(count: int, new: int, groups: list[TokenGroup], read: ReadOptions) -> list[TokenGroup]:
    """As large as the groups of a round can be: what is held against stock, counted, and tried for its memory."""
    return [blank(group, count, new) for group in groups]


def blank(group: TokenGroup, count: int, length: int) -> TokenGroup:
    """A prompt with `count` completions of `length` tokens, which repeat the prompt's."""
    ids = np.resize(group.prompt, length).astype(np.int32)
    return TokenGroup(group.group, group.prompt, (TokenCompletion(ids, ((0, length),)),) * count)


def sampled_text(
    tokenizer: PreTrainedTokenizerBase, prompt: Ids, ids: Ids, ends: frozenset[int], stop: StopStrings | None
) -> str:
    """What a sample says: without its end token and from a stop string on; other control tokens stay visible.

    Decoded behind its prompt: some tokenizers leave out a blank at the start of a text.
    """
    body = ids[:-1] if len(ids) and int(ids[-1]) in ends else ids
    before, whole = (str(tokenizer.decode(part)) for part in (prompt, np.concatenate([prompt, body])))
    text = whole[len(before) :] if whole.startswith(before) else str(tokenizer.decode(body))
    return stop.cut(text) if stop is not None else text


def answered(prompt: Group, texts: Sequence[str]) -> Group:
    """The prompt with its samples as completions: plain text behind plain text, else a turn of the assistant."""

    def content(text: str) -> Text:
        return text if isinstance(prompt.prompt, str) else (Message("assistant", text),)

    return replace(prompt, completions=tuple(Completion(content(text)) for text in texts))
