"""Completions with ratings of several aspects: UltraFeedback's and HelpSteer's columns."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from accord.data.fields import Row, kind
from accord.data.parts import CannotHold
from accord.data.plain_formats import Columns, single_turn, turns_of, words_of
from accord.records import Group, Judgement, Message, Turns

# Cui et al. 2023, openbmb/UltraFeedback. The overall score is GPT-4's own; the fine-grained one is the mean of aspects.
OVERALL = ("overall_score", "fine-grained_score")
OF_COMPLETION = ("response", "model", "annotations", *OVERALL)

# Wang et al. 2024, nvidia/HelpSteer2. Helpfulness is the overall rating, the others describe.
ASPECTS = ("correctness", "coherence", "complexity", "verbosity")
SPEAKERS = {"User": "user", "Assistant": "assistant"}
WRITTEN = {role: f"\n<extra_id_1>{speaker}\n" for speaker, role in SPEAKERS.items()}
BORDER = re.compile(r"\n<extra_id_1>(User|Assistant)\n")


def ultrafeedback(row: Row) -> Group:
    """The overall score orders, or else the fine-grained one, or else the mean of the aspects that all have."""
    found = row.objects("completions")
    if not found:
        raise row.error("completions", "empty list")
    contents, models = [], []
    for field, one in found:
        contents.append((Message("assistant", row.as_text(f"{field}.response", one.get("response"))),))
        models.append(row.as_word(f"{field}.model", one.get("model")))
    aspects = [_aspects(row, field, one) for field, one in found]
    shared = [name for name in aspects[0] if all(name in one for one in aspects)]
    ratings = _overall(row, found, aspects, shared)
    judgement = Judgement(
        ratings=ratings,
        annotator=row.word("annotator"),
        aspects={name: tuple(one[name] for one in aspects) for name in shared},
    )
    prompt = (Message("user", row.text("instruction")),)
    return row.group(prompt, tuple(contents), judgement if ratings or shared else None, models=tuple(models))


def _overall(
    row: Row, found: list[tuple[str, Mapping[str, Any]]], aspects: list[dict[str, float]], shared: list[str]
) -> tuple[float, ...] | None:
    """(K,) the first kind of rating that every completion has."""
    for name in OVERALL:
        values = [_number(row, f"{field}.{name}", one.get(name)) for field, one in found]
        if all(value is not None for value in values):
            return tuple(value for value in values if value is not None)
    if shared:
        return tuple(math.fsum(one[name] for name in shared) / len(shared) for one in aspects)
    return None


def _aspects(row: Row, field: str, one: Mapping[str, Any]) -> dict[str, float]:
    """The ratings of one completion by aspect, but those that are N/A."""
    annotations = row.as_object(f"{field}.annotations", one.get("annotations") or {})
    ratings = {}
    for name, value in annotations.items():
        inner = row.as_object(f"{field}.annotations.{name}", value)
        rating = _number(row, f"{field}.annotations.{name}.Rating", inner.get("Rating"))
        if rating is not None:
            ratings[name] = rating
    return ratings


def _number(row: Row, field: str, value: object) -> float | None:
    """A number, also as text; N/A is none."""
    if value is None or value == "N/A":
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise row.error(field, f"expected a number, got {kind(value)}") from None
    return row.finite(field, value)


def unread_of_ultrafeedback(columns: Mapping[str, Any]) -> list[str]:
    """The names within completions that are not read, and the aspects in which not all of them are rated."""
    values = columns.get("completions")
    found = [one for one in values if isinstance(one, Mapping)] if isinstance(values, list | tuple) else []
    names = list(dict.fromkeys(f"completions.{name}" for one in found for name in one if name not in OF_COMPLETION))
    rated = [_rated(one.get("annotations")) for one in found]
    some = dict.fromkeys(name for one in rated for name in one if not all(name in other for other in rated))
    return names + [f"completions.annotations.{name} (not of every completion)" for name in some]


def _rated(annotations: object) -> list[str]:
    """The aspects that have a rating."""
    found = annotations if isinstance(annotations, Mapping) else {}
    return [
        name for name, value in found.items() if isinstance(value, Mapping) and value.get("Rating") not in (None, "N/A")
    ]


def ultrafeedback_rows(group: Group) -> Iterator[Columns]:
    instruction = single_turn(group.prompt, "user")
    words = [single_turn(completion.content) for completion in group.completions]
    for judgement in group.judgements or (Judgement(),):
        completions = []
        for place, (completion, response) in enumerate(zip(group.completions, words, strict=True)):
            aspects = {name: {"Rating": f"{values[place]:.17g}"} for name, values in judgement.aspects.items()}
            one = {
                "model": completion.model,
                "response": response,
                "annotations": aspects or None,
                "overall_score": judgement.ratings and judgement.ratings[place],
            }
            completions.append({name: value for name, value in one.items() if value is not None})
        yield {"instruction": instruction, "completions": completions, "annotator": judgement.annotator}


def helpsteer(row: Row) -> Group:
    """One response with its ratings; the rows of one prompt that follow each other are one group."""
    helpfulness = row.finite("helpfulness", row.needed("helpfulness"))
    given = {name: value for name in ASPECTS if (value := row.number(name)) is not None}
    judgement = Judgement(
        ratings=(helpfulness,),
        annotator=row.word("annotator"),
        aspects={name: (value,) for name, value in given.items()},
    )
    response = (Message("assistant", row.text("response")),)
    model = row.word("model")
    return row.group(_turns(row.text("prompt")), (response,), judgement, models=() if model is None else (model,))


def _turns(text: str) -> Turns:
    """The turns of a prompt; before those after the first stands <extra_id_1> with the speaker."""
    first, *rest = BORDER.split(text)
    said = zip(rest[::2], rest[1::2], strict=True)
    return (Message("user", first), *(Message(SPEAKERS[speaker], words) for speaker, words in said))


def helpsteer_rows(group: Group) -> Iterator[Columns]:
    prompt = _text(turns_of(group.prompt))
    judgements = [judgement for judgement in group.judgements if judgement.ratings]
    if not judgements:
        raise CannotHold("no ratings")
    for judgement in judgements:
        for place, completion in enumerate(group.completions):
            aspects = {name: judgement.aspects[name][place] for name in ASPECTS if name in judgement.aspects}
            said = {"helpfulness": judgement.ratings and judgement.ratings[place], **aspects}
            told = {"model": completion.model, "annotator": judgement.annotator}
            yield {"prompt": prompt, "response": single_turn(completion.content), **said, **told}


def _text(turns: Turns) -> str:
    if turns[0].role != "user":
        raise CannotHold(f"a {turns[0].role} turn at the start")
    for turn in turns:
        if turn.role not in WRITTEN:
            raise CannotHold(f"a {turn.role} turn")
    return words_of(turns[0]) + "".join(WRITTEN[turn.role] + words_of(turn) for turn in turns[1:])
