"""One table: the known formats, told apart by their columns, and how a row of each becomes a Group and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from accord.data import alpaca, parts, plain_formats, rated_formats, sharegpt, whole_formats
from accord.data.fields import Row, kind
from accord.data.held import lost, said_beyond
from accord.data.join import By, join
from accord.data.parts import CannotHold, Parts
from accord.data.plain_formats import PAIR, Columns
from accord.data.strict_json import flaw_of, record_error
from accord.records import Completion, Group, Judgement, Origin, RecordError, Text

EVERYWHERE = ("id", "category", "tools", "weight")
ALIKE = 0.8  # how alike (difflib's ratio) a misnamed column must be to be taken for a known one
SINGLE = ("model", "annotator")
LABELLED = ("labels", *SINGLE)


@dataclass(frozen=True, slots=True)
class Format:
    """Columns that a row needs, columns that it may have, how a Group is made of it, and how rows of a Group.

    parts: what of a group the format has room for; rows: the columns of such a part, or CannotHold. join: by what rows
    that follow each other are one group. when: tells it from a format that needs the same columns.
    """

    means: str
    needs: tuple[str, ...]
    takes: tuple[str, ...]
    group: Callable[[Row], Group]
    parts: Callable[[Group], Parts]
    rows: Callable[[Group], Iterator[Columns]]
    join: By = "id"
    when: Callable[[Mapping[str, Any]], bool] | None = None
    unread: Callable[[Mapping[str, Any]], list[str]] | None = None


# fmt: off
FORMATS = {
    "comparison": Format(
        "a comparison: `chosen` is preferred to `rejected`", ("prompt", "chosen", "rejected"), PAIR,
        plain_formats.comparison, parts.as_pairs, plain_formats.comparison_rows),
    "demonstration": Format(
        "a demonstration; `label` (true or false) makes it a thumb up or down, `labels` labelled text",
        ("prompt", "completion"), ("label", *LABELLED),
        plain_formats.demonstration, parts.as_best, plain_formats.demonstration_rows),
    "unpaired": Format(
        "a thumb up or down, as KTO takes it", ("prompt", "completion", "label"), LABELLED,
        plain_formats.demonstration, parts.as_labels, plain_formats.demonstration_rows),
    "ranking": Format(
        "a ranking: `ranks` (1 is best, equal is a tie) or `ratings` (higher is better)",
        ("prompt", "completions"), ("ranks", "ratings", "models", "annotator"),
        plain_formats.ranking, parts.several, plain_formats.ranking_rows),
    "group": Format(
        "everything that Accord knows of a prompt: completions, and judgements by several annotators",
        ("prompt", "completions", "judgements"), ("models",),
        plain_formats.whole_group, parts.whole, plain_formats.group_rows),
    "conversation": Format(
        "a conversation: the prompt is all turns before the first assistant turn; with a `label` or `labels`, before "
        "the last turn",
        ("messages",), ("label", *LABELLED),
        plain_formats.conversation, parts.as_good, plain_formats.conversation_rows),
    "document": Format(
        "a document; `label` or `labels` say what it is (accord classify)", ("text",), ("label", "labels", "annotator"),
        plain_formats.document, parts.as_text, plain_formats.document_rows),
    "prompt": Format(
        "something to sample from", ("prompt",), (),
        plain_formats.question, parts.as_asked, plain_formats.question_rows),
    "implicit": Format(
        "a comparison of whole conversations (with --implicit_prompt): the prompt is what both share",
        ("chosen", "rejected"), PAIR, whole_formats.implicit, parts.as_pairs, whole_formats.implicit_rows),
    "hh": Format(
        "a comparison of hh-rlhf's texts of Human: and Assistant:", ("chosen", "rejected"), PAIR,
        whole_formats.hh, parts.as_pairs, whole_formats.hh_rows, when=whole_formats.is_hh),
    "alpaca": Format(
        "a demonstration in Alpaca's columns", ("instruction", "output"), (*alpaca.ASKING, "kto_tag", *SINGLE),
        alpaca.alpaca, parts.as_best, alpaca.alpaca_rows),
    "alpaca_unpaired": Format(
        "a thumb up or down in Alpaca's columns", ("instruction", "output", "kto_tag"), (*alpaca.ASKING, *SINGLE),
        alpaca.alpaca, parts.as_labels, alpaca.alpaca_rows),
    "alpaca_comparison": Format(
        "a comparison in Alpaca's columns", ("instruction", "chosen", "rejected"), (*alpaca.ASKING, *PAIR),
        alpaca.alpaca_comparison, parts.as_pairs, alpaca.alpaca_comparison_rows),
    "sharegpt": Format(
        "a conversation in ShareGPT's turns", ("conversations",), ("system", "model"),
        sharegpt.sharegpt, parts.as_good, sharegpt.sharegpt_rows),
    "sharegpt_unpaired": Format(
        "a thumb up or down for the last of ShareGPT's turns", ("conversations", "kto_tag"), ("system", *SINGLE),
        sharegpt.sharegpt_unpaired, parts.as_labels, sharegpt.sharegpt_unpaired_rows),
    "sharegpt_comparison": Format(
        "a comparison of two ShareGPT turns", ("conversations", "chosen", "rejected"), ("system", *PAIR),
        sharegpt.sharegpt_comparison, parts.as_pairs, sharegpt.sharegpt_comparison_rows),
    "ultrafeedback": Format(
        "completions with UltraFeedback's ratings", ("instruction", "completions"), ("annotator",),
        rated_formats.ultrafeedback, parts.answered, rated_formats.ultrafeedback_rows,
        unread=rated_formats.unread_of_ultrafeedback),
    "helpsteer": Format(
        "a response with HelpSteer's ratings; successive rows of one prompt are one group",
        ("prompt", "response", "helpfulness"), (*rated_formats.ASPECTS, *SINGLE),
        rated_formats.helpsteer, parts.answered, rated_formats.helpsteer_rows, join="prompt"),
}
# fmt: on
COMMON = ("comparison", "demonstration", "ranking", "conversation", "document")  # named where no format is known
BARE = ("prompt",)  # needs so little that it is no rival of any other


def find_format(columns: Mapping[str, Any], origin: Origin, *, implicit_prompt: bool = False) -> Format:
    """The format that needs most of these columns. RecordError if none fits, or if a fuller one nearly does.

    So `prompt` with `chosen` alone is a comparison that lacks `rejected`, not a bare prompt; and a `prompt` beside
    `messages` or `text` is left aside. Of two that need the same columns, the content of this row decides.
    """
    have = set(columns)
    meant = have | {column for form in FORMATS.values() for column in form.needs if _misnamed(column, have)}
    score = {name: len(have.intersection(form.needs)) for name, form in FORMATS.items()}
    hoped = {name: (len(meant.intersection(form.needs)), score[name]) for name, form in FORMATS.items()}
    complete = [name for name, form in FORMATS.items() if score[name] == len(form.needs)]
    best = max(complete, key=lambda name: (score[name], name not in BARE), default=None)
    fullest = max(FORMATS, key=hoped.__getitem__)
    if best is None or hoped[fullest][0] > score[best]:
        raise _lacking(FORMATS[fullest] if hoped[fullest][0] else None, have, origin)
    needs = {FORMATS[name].needs for name in complete if name not in BARE and score[name] == score[best]}
    if len(needs) > 1:
        names = [" + ".join(FORMATS[name].needs) for name in complete if FORMATS[name].needs in needs]
        what = f"columns of {len(needs)} formats: {', '.join(dict.fromkeys(names))}"
        raise RecordError(what, origin=origin, fix="keep one of them")
    return _told_apart(FORMATS[best], columns, origin, implicit_prompt)


def _told_apart(best: Format, columns: Mapping[str, Any], origin: Origin, implicit_prompt: bool) -> Format:
    """Of the formats that need these columns the one whose content this is."""
    alike = [form for form in FORMATS.values() if form.needs == best.needs]
    found = next((form for form in alike if form.when is not None and form.when(columns)), best)
    if found is FORMATS["implicit"] and not implicit_prompt:
        fix = "put what both share into a column `prompt` and leave only the replies in chosen and rejected"
        if isinstance(columns["chosen"], list | tuple):
            fix += ", or run with --implicit_prompt"
        raise RecordError("missing; comparisons need an explicit prompt", origin=origin, field="prompt", fix=fix)
    return found


def _misnamed(column: str, have: set[str]) -> str | None:
    """The unknown column that was probably meant to be this one; None where two may be (output_1 and output_2)."""
    known = {name for form in FORMATS.values() for name in (*form.needs, *form.takes)} | set(EVERYWHERE)
    unknown = {name.casefold().strip(): name for name in sorted(have - known)}
    close = get_close_matches(column, unknown, n=2, cutoff=ALIKE)
    return unknown[close[0]] if len(close) == 1 else None


def _lacking(form: Format | None, have: set[str], origin: Origin) -> RecordError:
    """The error for a row with too few columns: names the one that lacks, and the likely cause."""
    lacks = next((column for column in form.needs if column not in have), "") if form else ""
    if meant := _misnamed(lacks, have):
        return RecordError(f"missing; there is {meant!r}", origin=origin, field=lacks, fix=f"rename it to {lacks!r}")
    beside = ", ".join(column for column in form.needs if column in have) if form else ""
    if not beside:
        known = "; ".join(" + ".join(FORMATS[name].needs) for name in COMMON)
        what = f"no known columns (there are: {', '.join(map(_shown, sorted(have))) or 'none'})"
        return RecordError(what, origin=origin, fix=f"rename them to one of: {known} (all: docs/data.md)")
    fix = f"add a column {lacks!r}"
    if lacks == "helpfulness":
        fix += ", or rename 'response' to 'completion'"
    return RecordError(f"missing (beside {beside})", origin=origin, field=lacks, fix=fix)


def _shown(column: str) -> str:
    return column if column.isprintable() else repr(column)


def to_group(form: Format, columns: Mapping[str, Any], origin: Origin) -> Group:
    """One row -> one Group. RecordError names file, line and field."""
    return form.group(Row(columns, origin))


def to_rows(form: Format, group: Group) -> tuple[list[Columns], list[str]]:
    """(the rows of one Group, the names of what they do not hold). CannotHold: there are no rows for it.

    What is held is not claimed but tried: the rows are read again, and what comes back is compared.
    """
    made, missing = form.parts(group)
    rows: list[Columns] = []
    names = list(missing)
    for part in made:
        kept = _with_rows(form, part)
        written = _rows_of(form, kept)
        names += [*said_beyond(part, kept), *lost(kept, _read_again(form, written, kept))]
        rows += written
    return rows, list(dict.fromkeys(names))


def whole_row(group: Group) -> Columns:
    """The one row of a group in the format `group`, which holds all of it: nothing is tried."""
    (columns,) = plain_formats.group_rows(group)
    return _with_common(group, columns)


def _with_rows(form: Format, part: Group) -> Group:
    """The part with only those of several judgements of which a row of their own says something."""
    if len(part.judgements) < 2:
        return part
    alone = [replace(part, judgements=(judgement,)) for judgement in part.judgements]
    kept = tuple(judgement for one in alone if _says(form, one) for judgement in one.judgements)
    return replace(part, judgements=kept)


def _says(form: Format, part: Group) -> bool:
    try:
        return bool(_read_again(form, _rows_of(form, part), part).judgements)
    except CannotHold:
        return False


def _rows_of(form: Format, part: Group) -> list[Columns]:
    return [_with_common(part, columns) for columns in form.rows(part)]


def _with_common(group: Group, columns: Columns) -> Columns:
    """The columns with those that every format has; without what is not said."""
    weight = None if group.weight == 1.0 else group.weight
    common = {"category": group.category, "weight": weight, "tools": list(group.tools) or None}
    both = {"id": group.id, **columns, **{name: value for name, value in common.items() if name not in columns}}
    return {name: value for name, value in both.items() if value is not None}


def _read_again(form: Format, rows: Iterable[Columns], group: Group) -> Group:
    try:
        back = join([to_group(form, row, group.source) for row in rows], named=True)
    except RecordError as error:
        raise CannotHold(f"{error.field}: {error.what}" if error.field else error.what) from error
    if back is None:
        raise CannotHold("judgements that cannot be told apart in rows of their own")
    return back


def ignored(form: Format, columns: Mapping[str, Any]) -> list[str]:
    """The columns that this format does not read."""
    names = [name for name in columns if name not in (*form.needs, *form.takes, *EVERYWHERE)]
    return names + (form.unread(columns) if form.unread else [])


def check_group(group: Group, origin: Origin) -> Group:
    """A Group made in Python, held to the same rules as a row of a file. RecordError as there."""
    common = {name: getattr(group, name) or None for name in ("id", "category", "tools")}
    row = Row({**common, "weight": group.weight}, origin)
    prompt = row.text_or_turns("prompt", group.prompt)
    completions = tuple(_completion(row, i, one, prompt) for i, one in enumerate(group.completions))
    judgements = tuple(_said(row, i, one, len(completions)) for i, one in enumerate(group.judgements))
    names = [(*(one.model for one in completions), *(one.annotator for one in judgements))]
    texts = {"prompt": prompt, "completions": [one.content for one in completions], **common, "names": names}
    if flaw := flaw_of(texts):
        raise record_error(flaw, b"", origin)
    made = row.group(prompt, (), *judgements)
    return replace(made, completions=completions, source=group.source if group.source.line else origin)


def _completion(row: Row, i: int, completion: object, prompt: Text) -> Completion:
    field = f"completions[{i}]"
    if not isinstance(completion, Completion):
        raise row.error(field, f"expected a Completion, got {kind(completion)}", "give Completion(text)")
    content = row.as_reply(field, row.text_or_turns(field, completion.content, like=prompt))
    return replace(completion, content=content)


def _said(row: Row, i: int, judgement: object, k: int) -> Judgement:
    field = f"judgements[{i}]"
    if not isinstance(judgement, Judgement):
        raise row.error(field, f"expected a Judgement, got {kind(judgement)}", "give Judgement(ranks=(1, 2))")
    entries = {name: getattr(judgement, name) for name in Judgement.__slots__}
    return plain_formats.judgement(row, field, entries, k)
