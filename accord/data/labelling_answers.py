"""What a labelling database keeps of a judgement, and the judgement: there and back, with nothing lost.

An answer is JSON by places 0..K-1: ratings, flags, notes, ranks, both_bad, labels, text. What was imported may say
more: margin, aspects, classes, and seconds that are no whole milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from accord.records import Judgement, Message, Text

BOTH_BAD = "both_bad"  # a flag of both, where annotators could say so instead of choosing
UNNAMED = "\x01"  # begins the key of an account that stands for annotators without a name; no name has it


class Kept(NamedTuple):
    """What is kept of a judgement beside who gave it. shown: the places in the order shown; none: not known."""

    answer: dict[str, Any]
    shown: list[int]
    active_ms: int | None


def judgement_of(
    answer: Mapping[str, Any],
    *,
    k: int,
    shown: Sequence[int] = (),
    annotator: str | None = None,
    active_ms: int | None = None,
    settled: bool = False,
) -> Judgement:
    """shown: (K,) the place of the output that was shown first, second ...; empty where that is not known."""
    flags: dict[str, tuple[bool | None, ...]] = {name: tuple(v) for name, v in answer.get("flags", {}).items()}
    if answer.get("both_bad"):
        flags[BOTH_BAD] = (True,) * k
    at = {place: number for number, place in enumerate(shown, 1)} if shown else {}
    seconds = answer.get("seconds", None if active_ms is None else active_ms / 1000)
    return Judgement(
        ranks=_tuple(answer.get("ranks")),
        ratings=None if answer.get("ratings") is None else tuple(map(float, answer["ratings"])),
        labels=_tuple(answer.get("labels")),
        margin=answer.get("margin"),
        annotator=annotator,
        aspects={name: tuple(map(float, values)) for name, values in answer["aspects"].items()}
        if "aspects" in answer
        else {},
        classes=None if answer.get("classes") is None else tuple(map(_class, answer["classes"])),
        flags=flags,
        shown=tuple(at[place] for place in range(k)) if len(at) == k > 0 else None,
        notes=_tuple(answer.get("notes")),
        seconds=seconds,
        written=answer.get("text"),
        settled=settled,
    )


def kept_of(judgement: Judgement) -> Kept:
    """The reverse of `judgement_of`."""
    said = judgement.said
    k = len(judgement.ranks or ())
    flags = dict(said.get("flags", {}))
    answer: dict[str, Any] = {
        name: _plain(said[name]) for name in ("ratings", "notes", "ranks", "labels") if name in said
    }
    if flags.get(BOTH_BAD) == (True, True) and k == 2 and judgement.ranks == (1, 1):
        answer["both_bad"] = True
        del flags[BOTH_BAD]
    if flags:
        answer["flags"] = _plain(flags)
    if judgement.written is not None:
        answer["text"] = judgement.written
    answer |= {name: _plain(said[name]) for name in ("margin", "aspects", "classes") if name in said}
    active = None if judgement.seconds is None else round(judgement.seconds * 1000)
    if active is not None and active / 1000 != judgement.seconds:
        answer["seconds"] = judgement.seconds
    order = judgement.shown or ()
    shown = sorted(range(len(order)), key=order.__getitem__)
    return Kept(answer, shown, active)


def text_of(value: Any) -> Text:
    """A prompt or an output of the database's JSON."""
    if isinstance(value, str):
        return value
    return tuple(
        Message(one["role"], one["content"], {key: v for key, v in one.items() if key not in ("role", "content")})
        for one in value
    )


def _tuple(values: Any) -> Any:
    return None if values is None else tuple(values)


def _class(value: Any) -> str | tuple[str, ...]:
    return value if isinstance(value, str) else tuple(value)


def _plain(value: Any) -> Any:
    """Tuples as lists, and whole numbers as such: what annotators give is whole."""
    kind = type(value)
    if kind is tuple:
        return [_plain(item) for item in value]
    if kind is float:
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value
