"""AlpacaEval's files of what one model answered: rows of `instruction`, `output` and `generator`, a list or lines.

`prompt` may stand in the place of `instruction`, and then both it and `output` may be turns. An output that is null or
empty is an answer that says nothing; no other format has room for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, NamedTuple

from accord.data.fields import Row
from accord.data.lines import Raw
from accord.data.report import Refusals
from accord.records import Message, Origin, RecordError, Text

ASKED = ("instruction", "prompt")
Columns = dict[str, Any]


class Output(NamedTuple):
    """One answer. ended: False where it was cut; None where that is not said."""

    prompt: Text
    text: Text
    model: str | None = None
    ended: bool | None = None
    category: str | None = None
    id: str | None = None
    source: Origin = Origin("<memory>", 0)


def are_outputs(columns: object) -> bool:
    """Whether a row is one of such a file."""
    return isinstance(columns, Mapping) and "output" in columns and any(name in columns for name in ASKED)


def taken(raws: Iterator[Raw]) -> tuple[bool, Iterator[Raw]]:
    """Whether the first of these rows is one of such a file, and all of them."""
    start = list(islice(raws, 1))
    return bool(start) and are_outputs(start[0][1]), chain(start, raws)


def outputs(raws: Iterable[Raw], refusals: Refusals) -> Iterator[Output]:
    """The answers of such rows. Bad rows go to `refusals`; all are raised together at the end."""
    for origin, columns in raws:
        refusals.report.read += 1
        try:
            yield output_of(columns, origin)
        except RecordError as error:
            refusals.add(error, id=str(origin.line))
    refusals.close()


def output_of(columns: object, origin: Origin) -> Output:
    """RecordError: it is no such row."""
    if isinstance(columns, RecordError):
        raise columns
    row = Row(columns if isinstance(columns, Mapping) else {}, origin)
    prompt = _prompt(row)
    said = row.needed("output")
    text = "" if said is None else row.text_or_turns("output", said)
    if not isinstance(prompt, str) and isinstance(text, str):
        text = (Message("assistant", text),)
    category = row.given(("category", "dataset"))
    ended = columns.get("ended") if isinstance(columns, Mapping) else None
    return Output(
        prompt,
        text,
        model=row.first(("generator", "model"), row.as_word),
        ended=ended if isinstance(ended, bool) else None,
        category=None if category is None else row.word(category),
        id=None if row.columns.get("id") is None else str(row.columns["id"]),
        source=origin,
    )


def output_row(one: Output, *, simple: bool) -> Columns:
    """The row of an answer. simple: every prompt of the file is one turn of a user, and stands in `instruction`."""
    asked = {"instruction": words_of(one.prompt)} if simple else {"prompt": plain(one.prompt)}
    text = words_of(one.text)
    row: Columns = {"id": one.id, **asked, "output": plain(one.text) if text is None else text, "generator": one.model}
    row |= {"category": one.category, "ended": one.ended}
    return {key: value for key, value in row.items() if value is not None}


def words_of(text: Text) -> str | None:
    """A plain text, or the words of a single turn; None of several."""
    if isinstance(text, str):
        return text
    return text[0].content if len(text) == 1 and not text[0].extra and text[0].role in ("user", "assistant") else None


def plain(text: Text) -> Any:
    """As JSON."""
    return text if isinstance(text, str) else [turn.plain() for turn in text]


def _prompt(row: Row) -> Text:
    """An instruction, with its input, is what a user says."""
    if row.columns.get("instruction") is None:
        return row.content("prompt")
    extra = row.as_text("input", row.columns.get("input") or "")
    return (Message("user", "\n".join(part for part in (row.text("instruction"), extra) if part)),)


def is_instruction(prompt: Text) -> bool:
    """Whether it is a single turn of a user, and nothing but words."""
    return not isinstance(prompt, str) and prompt[0].role == "user" and words_of(prompt) is not None
