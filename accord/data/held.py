"""What a format has held of a group: the group against what its own rows are read as."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from accord.data.choose import standing
from accord.data.join import permuted
from accord.data.parts import PLURALS, CannotHold
from accord.records import Completion, Group, Judgement, Message, Text

BORDER = "where the prompt ends"
KEYS = "keys of turns beside role and content"


def lost(group: Group, back: Group) -> list[str]:
    """The names of what `back` lacks of `group`. CannotHold: the words themselves are others."""
    if not _same(group.prompt, back.prompt):
        return [*_border(group, back), *_said(group, back), *_judged(group, back, (0,))]
    places = _places(group.completions, back.completions)
    if places is None:
        raise CannotHold("completions that read differently")
    completions = tuple(back.completions[place] for place in places)
    contents = [(group.prompt, back.prompt)]
    contents += [(one.content, other.content) for one, other in zip(group.completions, completions, strict=True)]
    found = [KEYS] if any(one != other for one, other in contents) else []
    if any(one.model not in (None, other.model) for one, other in zip(group.completions, completions, strict=True)):
        found.append("models")
    return [*found, *_said(group, back), *_judged(group, back, places)]


def _border(group: Group, back: Group) -> list[str]:
    """That the border moved, if the words are the same without it."""
    if len(group.completions) == len(back.completions) == 1:
        one, other = (_all(group), _all(back))
        if one is not None and other is not None and _same(one, other):
            model, other_model = (one.completions[0].model for one in (group, back))
            return [BORDER] if model in (None, other_model) else [BORDER, "models"]
    raise CannotHold("a prompt that reads differently")


def _all(group: Group) -> Text | None:
    """Prompt and completion in one, if they are of one kind."""
    prompt, content = group.prompt, group.completions[0].content
    if isinstance(prompt, str) and isinstance(content, str):
        return prompt + content
    return None if isinstance(prompt, str) or isinstance(content, str) else (*prompt, *content)


def _said(group: Group, back: Group) -> list[str]:
    pairs = {"weights": "weight", "categories": "category", "tools": "tools"}
    return [name for name, field in pairs.items() if getattr(group, field) != getattr(back, field)]


def _places(wanted: Sequence[Completion], found: Sequence[Completion]) -> tuple[int, ...] | None:
    """As join.places_of, of completions whose words are the same; those of the same model come first."""
    if len(wanted) != len(found):
        return None
    free, places = list(range(len(found))), []
    for one in wanted:
        same = [place for place in free if _same(one.content, found[place].content)]
        if not same:
            return None
        place = min(same, key=lambda place: found[place].model != one.model)
        free.remove(place)
        places.append(place)
    return tuple(places)


def _same(one: Text, other: Text) -> bool:
    """Whether these are the same words of the same roles, with the same calls of tools."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return len(one) == len(other) and all(map(_same_turn, one, other))


def _same_turn(one: Message, other: Message) -> bool:
    return one == other or (
        (one.role, one.content) == (other.role, other.content) and _calls(one.extra) == _calls(other.extra)
    )


def _calls(extra: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """(name, arguments) of each call of a turn; OpenAI writes arguments as JSON text."""
    found = []
    for call in extra.get("tool_calls") or ():
        inner = call.get("function", call) if isinstance(call, Mapping) else {}
        arguments = inner.get("arguments")
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments)
            except (ValueError, RecursionError):
                pass  # then it is compared as text
        found.append((inner.get("name"), arguments))
    return found


def _judged(group: Group, back: Group, places: Sequence[int]) -> list[str]:
    read = [permuted(judgement, places) for judgement in back.judgements]
    read += [Judgement()] * (len(group.judgements) - len(read))
    names = [name for one, other in zip(group.judgements, read, strict=True) for name in _differing(one, other)]
    return list(dict.fromkeys(names))


def said_beyond(group: Group, kept: Group) -> list[str]:
    """The names of what the judgements say that are not kept."""
    return [name for one in group.judgements if one not in kept.judgements for name in _differing(one, Judgement())]


def _differing(one: Judgement, other: Judgement) -> list[str]:
    """The names of what the second lacks. Ranks say an order: it may come from what else is said."""
    found = ["ranks"] if _order(one) != _order(other) else []
    if not one.ranks and standing(other) is None:
        found = []  # what gave the order is lost as a whole, and named below
    for field, value in one.said.items():
        if field != "ranks" and value != getattr(other, field):
            found.append(PLURALS.get(field, field))
    return found


def _order(judgement: Judgement) -> dict[int, int] | None:
    """place -> 1 + how many are better; None where nothing is said."""
    values = standing(judgement)
    if values is None:
        return None
    return {place: 1 + sum(other > own for other in values.values()) for place, own in values.items()}
