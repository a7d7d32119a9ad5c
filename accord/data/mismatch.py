"""Completions of other prompts: what KTO's baseline is estimated from.

The group before a group in the data (before the first the last, and further back where prompts are equal) lends it its
labelled completions. So the pairing is a function of the data alone, and the reference's values of it can be kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accord.data.choose import labelled
from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.errors import InputError


def mismatched(
    groups: Sequence[TokenGroup], *, max_length: int, apart: bool = False, part: str = ""
) -> list[TokenGroup]:
    """For every group its prompt with the labelled completions of another, cut where the two exceed max_length.

    apart: prompt and completion are sequences of their own, as of an encoder-decoder, and limited each by itself.
    part: what the groups are, for errors. InputError where all prompts are the same.
    """
    return [_borrowed(group, _before(groups, place, part), max_length, apart) for place, group in enumerate(groups)]


def _before(groups: Sequence[TokenGroup], place: int, part: str) -> TokenGroup:
    for back in range(1, len(groups)):
        if not np.array_equal(groups[place - back].prompt, groups[place].prompt):
            return groups[place - back]
    what = f"all {part}prompts are the same, and the loss compares with completions of other {part}prompts"
    fix = "give at least two of them, or take a loss without such a baseline, such as bco or apo_zero_unpaired"
    raise InputError(what, where="loss_type", fix=fix)


def _borrowed(group: TokenGroup, other: TokenGroup, max_length: int, apart: bool) -> TokenGroup:
    before = 1 if apart else len(group.prompt)  # a decoder's start token, or the prompt
    room = max(1, max_length - before)
    places = sorted({one.completion for one in labelled(other.group)})
    return TokenGroup(group.group, group.prompt, tuple(_cut(other.completions[place], room) for place in places))


def _cut(completion: TokenCompletion, room: int) -> TokenCompletion:
    loss = tuple((start, min(end, room)) for start, end in completion.loss if start < room)
    return TokenCompletion(completion.ids[:room], loss)
