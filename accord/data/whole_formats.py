"""Comparisons whose sides are whole conversations, prompt and all: TRL's implicit prompts, and hh-rlhf's texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from accord.data.fields import Row
from accord.data.parts import CannotHold
from accord.data.plain_formats import Columns, pair, pair_rows, plain, turns_of, words_of
from accord.records import Group, Message, Turns

# Bai et al. 2022: https://github.com/anthropics/hh-rlhf
SPEAKERS = {"Human": "user", "Assistant": "assistant"}
WRITTEN = {role: f"\n\n{speaker}: " for speaker, role in SPEAKERS.items()}
BORDER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")


def implicit(row: Row) -> Group:
    """The prompt is what both conversations share, up to an assistant's turn; plain text has no such border."""
    for name in ("chosen", "rejected"):
        if isinstance(row.needed(name), str):
            fix = "give both as lists of messages, or add a column `prompt`"
            raise row.error(name, "plain text has no border between prompt and completion", fix)
    return _compared(row, *(row.turns(name, row.needed(name)) for name in ("chosen", "rejected")))


def _compared(row: Row, chosen: Turns, rejected: Turns) -> Group:
    for name, turns in (("chosen", chosen), ("rejected", rejected)):
        if turns[-1].role != "assistant":
            raise row.error(name, f"ends with a {turns[-1].role} turn", "end it with an assistant turn")
    place = _border(chosen, rejected)
    if place == 0:
        what = "the two share no turns before an assistant's: there is no prompt"
        raise row.error("chosen", what, "give both the same first turns, or add a column `prompt`")
    return pair(row, chosen[:place], chosen[place:], rejected[place:])


def _border(chosen: Turns, rejected: Turns) -> int:
    """The last place up to which both are the same and at which both go on with a turn of the assistant."""
    shortest = min(len(chosen), len(rejected))
    same = next((i for i in range(shortest) if chosen[i] != rejected[i]), shortest - 1)
    both = (i for i in range(same, 0, -1) if chosen[i].role == rejected[i].role == "assistant")
    return next(both, 0)


def implicit_rows(group: Group) -> Iterator[Columns]:
    prompt = turns_of(group.prompt)
    for chosen, rejected, said in pair_rows(group):
        sides = {"chosen": turns_of(chosen), "rejected": turns_of(rejected)}
        yield {**{name: plain((*prompt, *turns)) for name, turns in sides.items()}, **said}


def is_hh(columns: Mapping[str, Any]) -> bool:
    chosen = columns.get("chosen")
    return isinstance(chosen, str) and BORDER.match(chosen) is not None


def hh(row: Row) -> Group:
    """Texts of `\\n\\nHuman: ...` and `\\n\\nAssistant: ...`; they become turns, and share their prompt."""
    return _compared(row, *(_turns(row, name) for name in ("chosen", "rejected")))


def _turns(row: Row, name: str) -> Turns:
    start, *pieces = BORDER.split(row.text(name))
    if start or not pieces:
        raise row.error(name, "does not begin with Human: or Assistant:, as the first row does")
    said = zip(pieces[::2], pieces[1::2], strict=True)
    return tuple(Message(SPEAKERS[speaker], words.removeprefix(" ")) for speaker, words in said)


def hh_rows(group: Group) -> Iterator[Columns]:
    prompt = _text(turns_of(group.prompt))
    for chosen, rejected, said in pair_rows(group):
        yield {"chosen": prompt + _text(turns_of(chosen)), "rejected": prompt + _text(turns_of(rejected)), **said}


def _text(turns: Turns) -> str:
    for turn in turns:
        if turn.role not in WRITTEN:
            raise CannotHold(f"a {turn.role} turn")
    return "".join(WRITTEN[turn.role] + words_of(turn) for turn in turns)
