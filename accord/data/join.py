"""Rows that follow each other and are of one group: several judgements of it, or its completions one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from accord.data.fields import Counted
from accord.records import Completion, Group, Judgement

By = Literal["id", "prompt"]
MOST = 1000  # rows that are held as one group
Rated = dict[int, Judgement]  # the place of a completion -> what one judgement says of it


def given_id(columns: Mapping[str, Any]) -> Any:
    """The id that the row itself gives, or None."""
    value = columns.get("id")
    return None if isinstance(value, Counted) else value


def shared(by: By, given: Any, group: Group) -> object:
    """What the rows of one group have in common; None: this row is a group of its own. given: its given_id."""
    return given if by == "id" else (given, group.prompt)


def join(groups: Sequence[Group], *, named: bool) -> Group | None:
    """One group of those of single rows; None if they do not fit together. Its id and source are those of the first.

    Rows of one completion each give the completions one by one, rows of several give judgements of the same ones.
    named: they share an id, so that a completion that comes again is judged again.
    """
    first = groups[0]
    if len(groups) == 1:
        return first
    frame = (first.prompt, first.weight, first.category, first.tools)
    if any((one.prompt, one.weight, one.category, one.tools) != frame or not one.judgements for one in groups):
        return None
    singles = all(len(one.completions) == 1 and len(one.judgements) == 1 for one in groups)
    return _one_by_one(groups, named) if singles else _again(groups)


def _again(groups: Sequence[Group]) -> Group | None:
    """Further judgements of the same completions, in whatever order each row has them."""
    first, judgements = groups[0], list(groups[0].judgements)
    for other in groups[1:]:
        places = places_of(first.completions, other.completions)
        if places is None:
            return None
        judgements += [permuted(judgement, places) for judgement in other.judgements]
    return replace(first, judgements=tuple(judgements))


def places_of(wanted: Sequence[Completion], found: Sequence[Completion]) -> tuple[int, ...] | None:
    """(K,) for each of the wanted completions where it is found, each place once; None if they are not the same."""
    if len(wanted) != len(found):
        return None
    free = list(range(len(found)))
    places = []
    for one in wanted:
        place = next((place for place in free if found[place] == one), None)
        if place is None:
            return None
        free.remove(place)
        places.append(place)
    return tuple(places)


def permuted(judgement: Judgement, places: Sequence[int]) -> Judgement:
    """The same judgement of the completions at these places."""
    return replace(
        judgement,
        ranks=judgement.ranks and tuple(judgement.ranks[place] for place in places),
        ratings=judgement.ratings and tuple(judgement.ratings[place] for place in places),
        labels=judgement.labels and tuple(judgement.labels[place] for place in places),
        aspects={name: tuple(values[place] for place in places) for name, values in judgement.aspects.items()},
        classes=judgement.classes and tuple(judgement.classes[place] for place in places),
        flags={name: tuple(values[place] for place in places) for name, values in judgement.flags.items()},
        shown=judgement.shown and _places_among([judgement.shown[place] for place in places]),
        notes=judgement.notes and tuple(judgement.notes[place] for place in places),
    )


def _places_among(shown: Sequence[int]) -> tuple[int, ...]:
    """Of some of the completions the order in which they were shown, without the others."""
    return tuple(1 + sum(other < own for other in shown) for own in shown)


def _one_by_one(groups: Sequence[Group], named: bool) -> Group | None:
    completions: list[Completion] = []
    rounds: list[Rated] = []
    annotator: str | None = None
    for one in groups:
        (completion,), (judgement,) = one.completions, one.judgements
        if not rounds or judgement.annotator != annotator:
            rounds.append({})
        known = [i for i, other in enumerate(completions) if other == completion] if named or len(rounds) > 1 else []
        free = [i for i in known if i not in rounds[-1]]
        if named and known and not free:
            rounds.append({})
            free = known
        place = free[0] if free else len(completions)
        if not free:
            completions.append(completion)
        rounds[-1][place], annotator = judgement, judgement.annotator
    whole = [_together(rated, len(completions)) for rated in rounds]
    judgements = tuple(judgement for judgement in whole if judgement is not None)
    if len(judgements) < len(rounds):
        return None
    return replace(groups[0], completions=tuple(completions), judgements=judgements)


def _together(rated: Rated, k: int) -> Judgement | None:
    """One judgement of K completions out of those of each; None where they are not all of a kind."""
    said = [rated[place] for place in range(k) if place in rated]
    if len(said) < k:
        return None
    names = [set(one.aspects) for one in said]
    of_all = [name for name in said[0].aspects if all(name in others for others in names)]
    ratings = [value for one in said for value in one.ratings or ()]
    labels = [value for one in said for value in one.labels or ()]
    classes = [value for one in said for value in one.classes or ()]
    if any(len(values) not in (0, k) for values in (ratings, labels, classes)):
        return None
    if any(one.ranks == (None,) or one.written is not None for one in said):
        return None
    flagged = dict.fromkeys(name for one in said for name in one.flags)
    return Judgement(
        ratings=tuple(ratings) or None,
        labels=tuple(labels) or None,
        annotator=said[0].annotator,
        aspects={name: tuple(one.aspects[name][0] for one in said) for name in of_all},
        classes=tuple(classes) or None,
        flags={name: tuple(one.flags.get(name, (None,))[0] for one in said) for name in flagged},
        notes=tuple((one.notes or ("",))[0] for one in said) if any(one.notes for one in said) else None,
        seconds=math.fsum(seconds) if (seconds := [one.seconds for one in said if one.seconds is not None]) else None,
        settled=all(one.settled for one in said),
    )
