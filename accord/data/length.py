"""What becomes of groups longer than max_length: an error, dropped and counted, or the middle of the prompt cut out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np

from accord.data.dialogue import Dialogue, TokenGroup
from accord.data.report import DataReport, LengthCount, Refusals
from accord.errors import InputError
from accord.records import Group, RecordError

OnLong = Literal["error", "drop", "truncate_prompt"]


def fit_groups(
    groups: Iterable[tuple[Group, TokenGroup]],
    dialogue: Dialogue,
    *,
    max_length: int,
    on_long: OnLong = "drop",
    max_dropped: float = 0.05,
) -> Iterator[tuple[Group, TokenGroup]]:
    """The groups that fit, some with a cut prompt; the others are counted and named in dialogue.report.

    InputError: more than the share `max_dropped` does not fit. BadRows: one does not, and on_long is "error".
    """
    report = dialogue.report
    before = report.lengths
    report.lengths = count = before if before and before.max_length == max_length else LengthCount(max_length)
    refusals = Refusals("error", report)
    for group, tokens in groups:
        count.groups += 1
        length = length_of(tokens, apart=dialogue.apart)
        count.shortest, count.longest = min(count.shortest or length, length), max(count.longest, length)
        try:
            kept = dialogue.kept(group, tokens) if on_long == "truncate_prompt" and length > max_length else (0, 1)
            fitted, why = fit_length(tokens, max_length=max_length, on_long=on_long, kept=kept, apart=dialogue.apart)
        except RecordError as error:
            refusals.add(error, id=tokens.group.id)
            continue
        if fitted is None:
            count.dropped += 1
            source = tokens.group.source
            report.drop("longer than max_length", where=str(source), id=tokens.group.id, why=why)
        else:
            count.cut += fitted is not tokens
            yield group, fitted
    refusals.close()
    check_fit(report, max_dropped=max_dropped)


def length_of(tokens: TokenGroup, *, apart: bool) -> int:
    """What max_length limits: prompt and longest completion together, or for an encoder-decoder the longer of the two.

    The decoder's start token stands before a completion and counts.
    """
    completion = tokens.length - len(tokens.prompt)
    return max(len(tokens.prompt), 1 + completion) if apart else tokens.length


def fit_length(
    tokens: TokenGroup, *, max_length: int, on_long: OnLong, kept: tuple[int, int] = (0, 1), apart: bool = False
) -> tuple[TokenGroup | None, str]:
    """(the group as it fits, "") or (None, why it does not). Completions are never cut.

    kept: how many ids of the prompt must stay at its start and at its end (Dialogue.kept); what a cut takes out lies
    between them, the same for all completions. RecordError: too long, and on_long is "error". apart: `length_of`.
    """
    if length_of(tokens, apart=apart) <= max_length:
        return tokens, ""
    prompt, completion = len(tokens.prompt), tokens.length - len(tokens.prompt)
    joint = "or start and" if apart else "+"
    why = f"prompt {prompt} {joint} longest completion {completion} tokens > max_length {max_length}"
    if on_long == "error":
        fix = "raise --max_length, or --on_long drop or truncate_prompt"
        raise RecordError(why, origin=tokens.group.source, fix=fix)
    first, last = kept
    room = max_length - (0 if apart else completion)
    if on_long == "drop":
        return None, why
    if apart and 1 + completion > max_length:
        return None, why
    if room < first + last:
        return None, why + f"; a cut would have to leave {first} + {last} of the prompt"
    cut = np.concatenate([tokens.prompt[:first], tokens.prompt[prompt - (room - first) :]])
    return replace(tokens, prompt=cut), ""


def check_fit(report: DataReport, *, max_dropped: float = 0.05) -> None:
    """InputError if more than the share `max_dropped` of the groups did not fit, or none did."""
    count = report.lengths
    if count is None or not count.dropped:
        return
    if count.dropped <= max_dropped * count.groups and count.dropped < count.groups:
        return
    fit = count.groups - count.dropped
    lengths = f"shortest {count.shortest}, longest {count.longest}"
    what = f"{fit} of {count.groups} rows fit max_length={count.max_length} ({lengths})"
    raise InputError(what, fix="raise --max_length, --on_long truncate_prompt, or allow more with --max_dropped")
