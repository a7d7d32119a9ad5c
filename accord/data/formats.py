"""One table: the known formats, told apart by their columns, and how a row of each becomes a Group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from accord.data.fields import Row
from accord.records import Completion, Group, Judgement, Origin, RecordError, Text

EVERYWHERE = ("id", "category", "tools", "weight")
SAME = "all are the same text; there is nothing to prefer"
ALIKE = 0.8  # how alike (difflib's ratio) a misnamed column must be to be taken for a known one


@dataclass(frozen=True, slots=True)
class Format:
    """Columns that a row needs, columns that it may have, and the function that makes a Group of it."""

    needs: tuple[str, ...]
    takes: tuple[str, ...]
    group: Callable[[Row], Group]


def comparison(row: Row) -> Group:
    prompt = row.content("prompt")
    chosen, rejected = row.reply("chosen", like=prompt), row.reply("rejected", like=prompt)
    if chosen == rejected:
        what = "chosen and rejected are the same text; a tie is not a preference"
        raise row.error("", what, "drop the row, or rank it as a tie")
    judgement = Judgement(ranks=(1, 2), margin=row.number("margin"), annotator=row.word("annotator"))
    return _group(row, prompt, (chosen, rejected), judgement)


def demonstration(row: Row) -> Group:
    prompt = row.content("prompt")
    label = row.flag("label")
    judgement = None if label is None else Judgement(labels=(label,), annotator=row.word("annotator"))
    return _group(row, prompt, (row.reply("completion", like=prompt),), judgement)


def ranking(row: Row) -> Group:
    prompt = row.content("prompt")
    completions = row.replies("completions", like=prompt)
    if (k := len(completions)) < 2:
        raise row.error("completions", f"{k} completions; a ranking needs at least 2")
    ranks, ratings = row.ranks("ranks", k), row.numbers("ratings", k)
    judgement = None
    if ranks or ratings:
        if all(completion == completions[0] for completion in completions):
            raise row.error("completions", SAME)
        judgement = Judgement(ranks=ranks, ratings=ratings, annotator=row.word("annotator"))
    return _group(row, prompt, completions, judgement, models=row.words("models", k))


def conversation(row: Row) -> Group:
    """The prompt is all turns before the first assistant turn; the rest is the one completion."""
    turns = row.turns("messages", row.needed("messages"))
    first = next((i for i, message in enumerate(turns) if message.role == "assistant"), len(turns))
    if first == len(turns):
        raise row.error("messages", "no assistant turn")
    if first == 0:
        raise row.error("messages", "starts with an assistant turn", "put a user or system turn before it")
    return _group(row, turns[:first], (row.as_reply("messages", turns[first:]),), None)


def document(row: Row) -> Group:
    text = row.content("text", like="")
    return _group(row, "", (text,), None)


def question(row: Row) -> Group:
    """A prompt to be sampled from: no completions yet."""
    return _group(row, row.content("prompt"), (), None)


FORMATS = {
    "comparison": Format(("prompt", "chosen", "rejected"), ("margin", "annotator"), comparison),
    "demonstration": Format(("prompt", "completion"), ("label", "annotator"), demonstration),
    "ranking": Format(("prompt", "completions"), ("ranks", "ratings", "models", "annotator"), ranking),
    "conversation": Format(("messages",), (), conversation),
    "document": Format(("text",), (), document),
    "prompt": Format(("prompt",), (), question),
}


def _group(
    row: Row,
    prompt: Text,
    completions: tuple[Text, ...],
    judgement: Judgement | None,
    models: tuple[str | None, ...] = (),
) -> Group:
    models = models or (None,) * len(completions)
    return Group(
        id=row.word("id") or str(row.origin.line),
        prompt=prompt,
        completions=tuple(map(Completion, completions, models)),
        judgements=(judgement,) if judgement else (),
        weight=row.weight("weight"),
        category=row.word("category"),
        tools=row.tools("tools"),
        source=row.origin,
    )


def find_format(columns: Iterable[str], origin: Origin) -> Format:
    """The format that needs most of these columns. RecordError if none fits, or if a fuller one nearly does.

    So `prompt` with `chosen` alone is a comparison that lacks `rejected`, not a bare prompt; and a `prompt` beside
    `messages` or `text` is left aside.
    """
    have = set(columns)
    meant = have | {column for form in FORMATS.values() for column in form.needs if _misnamed(column, have)}
    score = {name: len(have.intersection(form.needs)) for name, form in FORMATS.items()}
    hoped = {name: (len(meant.intersection(form.needs)), score[name]) for name, form in FORMATS.items()}
    complete = [name for name, form in FORMATS.items() if score[name] == len(form.needs)]
    best = max(complete, key=lambda name: (score[name], name != "prompt"), default=None)
    fullest = max(FORMATS, key=hoped.__getitem__)
    if best is None or hoped[fullest][0] > score[best]:
        raise _lacking(FORMATS[fullest] if hoped[fullest][0] else None, have, origin)
    if rivals := [name for name in complete if name not in (best, "prompt") and score[name] == score[best]]:
        names = [" + ".join(FORMATS[name].needs) for name in (best, *rivals)]
        raise RecordError(f"columns of {len(names)} formats: {', '.join(names)}", origin=origin, fix="keep one of them")
    return FORMATS[best]


def _misnamed(column: str, have: set[str]) -> str | None:
    """The unknown column that was probably meant to be this one."""
    known = {name for form in FORMATS.values() for name in (*form.needs, *form.takes)} | set(EVERYWHERE)
    unknown = {name.casefold().strip(): name for name in sorted(have - known)}
    close = get_close_matches(column, unknown, n=1, cutoff=ALIKE)
    return unknown[close[0]] if close else None


def _lacking(form: Format | None, have: set[str], origin: Origin) -> RecordError:
    """The error for a row with too few columns: names the one that lacks, and the likely cause."""
    if form is None:
        known = "; ".join(" + ".join(other.needs) for other in FORMATS.values())
        what = f"no known columns (there are: {', '.join(sorted(have)) or 'none'})"
        return RecordError(what, origin=origin, fix=f"rename them to one of: {known}")
    lacks = next(column for column in form.needs if column not in have)
    if meant := _misnamed(lacks, have):
        return RecordError(f"missing; there is {meant!r}", origin=origin, field=lacks, fix=f"rename it to {lacks!r}")
    if lacks == "prompt" and "chosen" in have:
        fix = "put what both share into a column `prompt` and leave only the replies in chosen and rejected"
        return RecordError("missing; comparisons need an explicit prompt", origin=origin, field=lacks, fix=fix)
    beside = ", ".join(column for column in form.needs if column in have)
    return RecordError(f"missing (beside {beside})", origin=origin, field=lacks, fix=f"add a column {lacks!r}")


def to_group(form: Format, columns: Mapping[str, Any], origin: Origin) -> Group:
    """One row -> one Group. RecordError names file, line and field."""
    return form.group(Row(columns, origin))


def ignored(form: Format, columns: Iterable[str]) -> list[str]:
    """The columns that this format does not read."""
    return [name for name in columns if name not in (*form.needs, *form.takes, *EVERYWHERE)]


def check_group(group: Group, origin: Origin) -> Group:
    """A Group made in Python, held to the same rules as a row of a file. RecordError as there."""
    row = Row({}, origin)
    if group.prompt != "" or not group.completions:
        row.text_or_turns("prompt", group.prompt)
    for i, completion in enumerate(group.completions):
        field = f"completions[{i}]"
        row.as_reply(field, row.text_or_turns(field, completion.content, like=group.prompt))
    k = len(group.completions)
    same = all(completion.content == group.completions[0].content for completion in group.completions)
    if k > 1 and same and group.judgements:
        raise row.error("completions", SAME)
    for i, judgement in enumerate(group.judgements):
        _check_judgement(judgement, k, origin, f"judgements[{i}]")
    row = Row({"weight": group.weight}, origin)
    row.weight("weight")
    source = group.source if group.source.line else origin
    return replace(group, id=group.id or str(origin.line), source=source)


def _check_judgement(judgement: Judgement, k: int, origin: Origin, field: str) -> None:
    names = ("ranks", "ratings", "labels", "margin")
    row = Row({f"{field}.{name}": getattr(judgement, name) for name in names}, origin)
    row.ranks(f"{field}.ranks", k)
    row.numbers(f"{field}.ratings", k)
    row.per_completion(f"{field}.labels", k)
    row.number(f"{field}.margin")
