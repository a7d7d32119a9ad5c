"""Texts of any length as windows that a model can take: every token predicted once, with as much before it as asked.

T tokens of a text. A window may begin with a token that stands before the text (BOS), which is not predicted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from accord.data.conversation import Conversation
from accord.data.dialogue import Dialogue, TokenCompletion, TokenGroup
from accord.data.encode import Ids, Rendering
from accord.records import Group, Judged

Places = NDArray[np.int64]


class Covered(NamedTuple):
    """A document as tokens. end: the character of `text` that each token reaches, itself not counted."""

    group: Judged
    text: str
    ids: Ids  # (T,)
    end: Places  # (T,) never falling
    before: tuple[int, ...]  # ids that every window begins with

    @property
    def first(self) -> int:
        """The first token that is predicted: what has nothing before it is not."""
        return 0 if self.before else 1


class Window(NamedTuple):
    """Tokens begin..end of a text in one window, of which first..end are predicted."""

    begin: int
    first: int
    end: int


def windows(length: int, first: int, room: int, stride: int) -> Iterator[Window]:
    """A text of `length` tokens, `first` of which and those before it are not predicted, in windows of `room` tokens.

    Each window begins `stride` tokens after the last, and predicts what the last has not: with at least room - stride
    tokens before it, unless fewer of the text are there.
    """
    begin = 0
    while first < length:
        end = min(begin + room, length)
        if end > first:
            yield Window(begin, first, end)
        begin, first = begin + stride, max(first, end)


def covered(groups: list[Group], dialogue: Dialogue, before: tuple[int, ...], *, ends: bool) -> Iterator[Covered]:
    """Documents of `read_texts` as tokens. before: what stands before a plain text; of turns the template says it.

    ends: EOS after a plain text, which is predicted, too. RecordError: the template refuses the turns.
    """
    renderings = [_rendering(group, dialogue) for group in groups]
    encoded = dialogue.encoder.encode(renderings, [True] * len(renderings))
    for group, rendering, one in zip(groups, renderings, encoded, strict=True):
        assert one.end is not None
        plain = isinstance(group.completions[0].content, str)
        ids, end = (
            one.ids,
            np.maximum.accumulate(one.end.astype(np.int64)) if len(one.ids) else one.end.astype(np.int64),
        )
        if plain and ends:
            ids = np.append(ids, np.int32(dialogue.tokenizer.eos_token_id))
            end = np.append(end, len(rendering.text))
        yield Covered(group.said, rendering.text, ids, end, before if plain else ())


def _rendering(group: Group, dialogue: Dialogue) -> Rendering:
    """Without what the tokenizer puts around a text: that stands in `before`, or in the template."""
    (completion,) = group.completions
    if isinstance(completion.content, str):
        return Rendering(completion.content, dialogue.encoder.find(completion.content))
    return Conversation(group, dialogue.template, dialogue.encoder).render(completion.content)


def window_group(document: Covered, window: Window) -> TokenGroup:
    """The window as the engine takes it: an empty prompt, and one completion whose predicted tokens carry loss."""
    head = np.array(document.before, dtype=np.int32)
    ids = np.concatenate([head, document.ids[window.begin : window.end]])
    shift = len(head) - window.begin
    loss = ((window.first + shift, window.end + shift),)
    return TokenGroup(document.group, head[:0], (TokenCompletion(ids, loss),))
