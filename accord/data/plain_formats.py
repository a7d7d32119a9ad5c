"""Accord's own columns and those of TRL: how each row becomes a Group, and a Group rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from accord.data.choose import standing
from accord.data.fields import Row
from accord.data.label_columns import Label, classes, flags, label_columns, label_of, says
from accord.data.parts import CannotHold
from accord.records import Group, Judgement, Message, Text, Turns

Columns = dict[str, Any]

# What a comparison may say beside its texts. Ratings: H4's names, then those of Tulu and Argilla.
SCORES = {
    "chosen": ("score_chosen", "chosen_rating", "chosen-rating"),
    "rejected": ("score_rejected", "rejected_rating", "rejected-rating"),
}
MODELS = {"chosen": ("chosen_model", "chosen-model"), "rejected": ("rejected_model", "rejected-model")}
PAIR = ("margin", "annotator", *(name for table in (SCORES, MODELS) for names in table.values() for name in names))
_OF_PAIR = frozenset(PAIR)
_FIRST = Judgement(ranks=(1, 2))


def comparison(row: Row) -> Group:
    """The prompt may be repeated as the first turn of chosen and rejected, as in H4's data sets."""
    prompt = row.content("prompt")
    if isinstance(prompt, str) and (whole := _repeats(row, prompt)):
        prompt = whole[0]
        chosen, rejected = (row.as_reply(name, turns) for name, turns in zip(SCORES, whole[1:], strict=True))
    else:
        chosen, rejected = row.reply("chosen", like=prompt), row.reply("rejected", like=prompt)
    return pair(row, prompt, chosen, rejected)


def _repeats(row: Row, prompt: str) -> tuple[Turns, Turns, Turns] | None:
    """(prompt, chosen, rejected) if both sides are conversations that begin with this prompt as a user turn."""
    if not isinstance(row.columns.get("chosen"), list | tuple):
        return None
    sides = [row.turns(name, row.needed(name)) for name in SCORES]
    begin = [next((i for i, turn in enumerate(turns) if turn.role == "user"), -1) for turns in sides]
    (chosen, rejected), (i, j) = sides, begin
    if i < 0 or chosen[i].content != prompt or chosen[: i + 1] != rejected[: j + 1] or i + 1 == len(chosen):
        return None
    return chosen[: i + 1], chosen[i + 1 :], rejected[j + 1 :]


def pair(row: Row, prompt: Text, chosen: Text, rejected: Text) -> Group:
    """A comparison of these texts, with the margin, the ratings, the models and the annotator of the row."""
    if _OF_PAIR.isdisjoint(row.columns):
        return row.group(prompt, (chosen, rejected), _FIRST)
    ratings = [row.first(names, row.finite) for names in SCORES.values()]
    if (ratings[0] is None) != (ratings[1] is None):
        has, lacks = ("chosen", "rejected") if ratings[1] is None else ("rejected", "chosen")
        raise row.error(SCORES[lacks][0], f"missing, and the other side has {row.given(SCORES[has])}")
    models = tuple(row.first(names, row.as_word) for names in MODELS.values())
    judgement = Judgement(
        ranks=(1, 2),
        ratings=None if ratings[0] is None or ratings[1] is None else (ratings[0], ratings[1]),
        margin=row.number("margin"),
        annotator=row.word("annotator"),
    )
    return row.group(prompt, (chosen, rejected), judgement, models=models)


def pair_rows(group: Group) -> Iterator[tuple[Text, Text, Columns]]:
    """(chosen, rejected, the other columns) for each judgement of a group of two."""
    for judgement in group.judgements:
        values = standing(judgement)
        assert values is not None and len(values) == 2
        best, worst = (0, 1) if values[0] > values[1] else (1, 0)
        said = {"margin": judgement.margin, "annotator": judgement.annotator}
        for side, place in zip(SCORES, (best, worst), strict=True):
            said[SCORES[side][0]] = None if judgement.ratings is None else judgement.ratings[place]
            said[MODELS[side][0]] = group.completions[place].model
        chosen, rejected = group.completions[best].content, group.completions[worst].content
        yield chosen, rejected, said


def comparison_rows(group: Group) -> Iterator[Columns]:
    for chosen, rejected, said in pair_rows(group):
        yield {"prompt": plain(group.prompt), "chosen": plain(chosen), "rejected": plain(rejected), **said}


def demonstration(row: Row) -> Group:
    """One completion; a `label` says that it is good or bad, `labels` (or a `label` that is a name) what it is."""
    prompt = row.content("prompt")
    return single(row, prompt, row.reply("completion", like=prompt), *_said(row))


def _said(row: Row) -> tuple[bool | None, Label]:
    """Thumb and label of a row."""
    if isinstance(row.columns.get("label"), str):
        return None, label_of(row)
    return row.flag("label"), label_of(row, ("labels",))


def single(row: Row, prompt: Text, completion: Text, thumb: bool | None, label: Label | None = None) -> Group:
    """A group of one completion, with the thumb, the label, the model and the annotator of the row."""
    judgement = (label or Label()).judgement(row.word("annotator"), thumb=thumb)
    model = row.word("model")
    return row.group(prompt, (completion,), judgement, models=() if model is None else (model,))


def single_rows(group: Group, label: str) -> Iterator[tuple[Text, Columns]]:
    """(completion, the other columns) for each completion of each judgement; `label` names that column."""
    for judgement in group.judgements or (Judgement(),):
        for place, completion in enumerate(group.completions):
            said = {label: judgement.labels and judgement.labels[place]}
            yield completion.content, {**said, "model": completion.model, "annotator": judgement.annotator}


def demonstration_rows(group: Group) -> Iterator[Columns]:
    for judgement in group.judgements or (Judgement(),):
        alone = replace(group, judgements=(judgement,))
        for place, (completion, said) in enumerate(single_rows(alone, "label")):
            texts = {"prompt": plain(group.prompt), "completion": plain(completion)}
            yield {**texts, **said, **label_columns(judgement, place)}


def ranking(row: Row) -> Group:
    prompt = row.content("prompt")
    completions = row.replies("completions", like=prompt)
    if (k := len(completions)) < 2:
        raise row.error("completions", f"{k} completions; a ranking needs at least 2")
    ranks, ratings = row.ranks("ranks", k), row.numbers("ratings", k)
    judgement = Judgement(ranks=ranks, ratings=ratings, annotator=row.word("annotator")) if ranks or ratings else None
    return row.group(prompt, completions, judgement, models=row.words("models", k))


def ranking_rows(group: Group) -> Iterator[Columns]:
    for judgement in group.judgements or (Judgement(),):
        said = {"ranks": judgement.ranks, "ratings": judgement.ratings, "annotator": judgement.annotator}
        yield {**_texts(group), **said}


def whole_group(row: Row) -> Group:
    """Everything that a Group can hold: any number of completions, and a list of judgements."""
    prompt = row.content("prompt")
    completions = row.replies("completions", like=prompt)
    k = len(completions)
    judgements = tuple(judgement(row, field, value, k) for field, value in row.objects("judgements"))
    return row.group(prompt, completions, *judgements, models=row.words("models", k))


def judgement(row: Row, field: str, value: Mapping[str, Any], k: int) -> Judgement:
    """One entry of `judgements`."""
    inner = row.within(field, value)
    if unknown := [name for name in value if name not in Judgement.__slots__]:
        raise row.error(f"{field}.{unknown[0]}", "unknown", "one of " + ", ".join(Judgement.__slots__))
    aspects = inner.as_object(f"{field}.aspects", value.get("aspects") or {})
    of_aspects = row.within(f"{field}.aspects", aspects) if aspects else inner
    numbers = {name: of_aspects.numbers(f"{field}.aspects.{name}", k) for name in aspects}
    flagged = inner.as_object(f"{field}.flags", value.get("flags") or {})
    return Judgement(
        ranks=inner.ranks(f"{field}.ranks", k),
        ratings=inner.numbers(f"{field}.ratings", k),
        labels=inner.flags(f"{field}.labels", k),
        margin=inner.number(f"{field}.margin"),
        annotator=inner.word(f"{field}.annotator"),
        aspects={name: values for name, values in numbers.items() if values is not None},
        classes=classes(inner, f"{field}.classes", k),
        flags=flags(inner, f"{field}.flags", flagged, k),
        shown=inner.places(f"{field}.shown", k),
        notes=inner.texts(f"{field}.notes", k),
        seconds=inner.duration(f"{field}.seconds"),
        written=inner.optional_text(f"{field}.written"),
        settled=inner.flag(f"{field}.settled") or False,
    )


def group_rows(group: Group) -> Iterator[Columns]:
    yield {**_texts(group), "judgements": [judgement.said for judgement in group.judgements]}


def _texts(group: Group) -> Columns:
    models = [completion.model for completion in group.completions]
    completions = [plain(completion.content) for completion in group.completions]
    return {"prompt": plain(group.prompt), "completions": completions, "models": models if any(models) else None}


def conversation(row: Row) -> Group:
    """The prompt is all turns before the first assistant turn; the rest is the one completion. A label is of the last
    turn: then the prompt is all before it."""
    turns = row.turns("messages", row.needed("messages"))
    thumb, label = _said(row)
    unlabelled = thumb is None and label == Label()
    prompt, (completion,) = divided(row, "messages", turns) if unlabelled else last_of(row, "messages", turns)
    return single(row, prompt, completion, thumb, label)


def last_of(row: Row, field: str, turns: Turns) -> tuple[Turns, tuple[Turns]]:
    """A conversation as a prompt and its last turn, of which a label speaks."""
    if len(turns) < 2:
        raise row.error(field, "one turn; a prompt and a reply are needed")
    return turns[:-1], (reply_of(row, field, turns[-1:]),)


def divided(row: Row, field: str, turns: Turns) -> tuple[Turns, tuple[Turns]]:
    """A conversation as a prompt and one completion, which begins with the first assistant turn.

    Turns of weight 0, as OpenAI's files have them, are not learnt: the first ones belong to the prompt.
    """
    said = [i for i, message in enumerate(turns) if message.role == "assistant"]
    if not said:
        raise row.error(field, "no assistant turn")
    unlearnt = [i for i in said if turns[i].extra.get("weight") == 0]
    first = next((i for i in said if i not in unlearnt), len(turns))
    if unlearnt and unlearnt[-1] > first:
        fix = "split the conversation before that turn"
        raise row.error(f"{field}[{unlearnt[-1]}].weight", "0 after a turn that is learnt", fix)
    if first == len(turns):
        raise row.error(field, "no assistant turn of a weight above 0")
    if first == 0:
        raise row.error(field, "starts with an assistant turn", "put a user or system turn before it")
    return turns[:first], (reply_of(row, field, turns[first:]),)


def reply_of(row: Row, field: str, turns: Turns) -> Turns:
    row.as_reply(field, turns)
    return turns


def conversation_rows(group: Group) -> Iterator[Columns]:
    row = {"messages": plain(joined(group)), "model": group.completions[0].model}
    for judgement in _labelling(group):
        yield {**row, **label_columns(judgement, 0), "annotator": judgement.annotator}


def _labelling(group: Group) -> list[Judgement]:
    """The judgements that say what its completion is; an empty one, where none does."""
    return [judgement for judgement in group.judgements if says(judgement)] or [Judgement()]


def joined(group: Group) -> Turns:
    """The turns of the prompt and of its one completion. CannotHold: plain text."""
    (completion,) = group.completions
    return (*turns_of(group.prompt), *turns_of(completion.content))


def turns_of(content: Text) -> Turns:
    """CannotHold: plain text, which no format of turns can hold without saying whose words they are."""
    if isinstance(content, str):
        raise CannotHold("plain text: who says it is not known")
    return content


def document(row: Row) -> Group:
    """A text; a label says what it is."""
    return row.group("", (row.text("text"),), label_of(row).judgement(row.word("annotator")))


def document_rows(group: Group) -> Iterator[Columns]:
    contents = [group.prompt, *(completion.content for completion in group.completions)]
    if any(not isinstance(content, str) for content in contents):
        raise CannotHold("turns: plain text does not say whose words they are")
    for judgement in _labelling(group):
        said = label_columns(judgement, 0) if group.completions else {}
        yield {"text": "".join(map(str, contents)), **said, "annotator": judgement.annotator}


def question(row: Row) -> Group:
    """A prompt to be sampled from: no completions yet."""
    return row.group(row.content("prompt"), ())


def question_rows(group: Group) -> Iterator[Columns]:
    yield {"prompt": plain(group.prompt)}


def plain(content: Text) -> str | list[dict[str, Any]]:
    """The value of a column: text, or a list of messages."""
    return content if isinstance(content, str) else [message.plain() for message in content]


def single_turn(content: Text, role: str = "assistant") -> str:
    """The words of the one turn that a format has room for. CannotHold: other turns, or more than words."""
    turns = turns_of(content)
    if len(turns) != 1 or turns[0].role != role:
        raise CannotHold(f"more than one {role} turn in a place for one")
    return words_of(turns[0])


def words_of(message: Message) -> str:
    """CannotHold: a call of tools, which is more than words."""
    if message.extra.get("tool_calls"):
        raise CannotHold("calls of tools")
    return message.content
