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
from accord.errors import InputError
from accord.models.stop_strings import StopStrings
from accord.records import Completion, Group, Message, Origin, Text
from accord.stages.intake import Intake, Pairs
from accord.stages.options import LengthOptions, ReadOptions


class Prompts:
    """The prompts of a run as they were read, by where they stand and by their tokens, which do not hold them.

    By their tokens, too: the rows of two lists from Python, trained on and held out, stand in the same places.
    """

    def __init__(self) -> None:
        self._texts: dict[tuple[Origin, str, bytes], Group] = {}

    def keep(self, group: Group, tokens: TokenGroup) -> None:
        self._texts[tokens.group.source, tokens.group.id, tokens.prompt.tobytes()] = group

    def of(self, tokens: TokenGroup) -> Group:
        """The prompt of a group of tokens, without completions."""
        return self._texts[tokens.group.source, tokens.group.id, tokens.prompt.tobytes()]


def alone(group: Group) -> Group:
    """The group's prompt, without completions."""
    return replace(group, completions=(), judgements=())


def intake_of(prompts: Prompts, length: LengthOptions, count: int, new: int) -> Intake:
    """Prompts with room for `new` tokens behind them; each has `count` blanks in the place of its samples."""
    return Intake(
        "rl", alone, partial(_fitting, prompts, length, new), pack=partial(_with_blanks, count, new), kept=False
    )


def _fitting(
    prompts: Prompts, length: LengthOptions, new: int, dialogue: Dialogue, groups: Iterable[Group], options: ReadOptions
) -> Pairs:
    """max_length is for prompt and sample together; of an encoder-decoder for each. InputError where none has room."""
    most = options.max_length
    assert most is not None
    room = most - new if not dialogue.apart else most if new < most else 0
    if room < 1:
        what = f"{new}, which leaves no room for a prompt in the model's {most} tokens"
        raise InputError(what, where="max_new_tokens", fix="fewer new tokens, or another model")
    made = dialogue.stream(groups, on_bad_row=options.on_bad_row)
    try:
        for group, tokens in fit_groups(
            made, dialogue, max_length=room, on_long=length.on_long, max_dropped=length.max_dropped
        ):
            prompts.keep(group, tokens)
            yield group, tokens
    except InputError as error:
        if error.where:  # a row, and nothing about lengths
            raise
        what = f"{error.what}: {room} of {most} tokens are left for a prompt, as a sample may have {new}"
        raise InputError(what, where="max_new_tokens", fix=f"fewer new tokens, {error.fix}") from None


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
