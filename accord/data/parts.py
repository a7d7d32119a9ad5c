"""What of a group a format has room for: the group itself, its pairs, its labelled completions, its best one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from accord.data import choose
from accord.data.classified import is_labelled_text
from accord.data.join import permuted
from accord.records import Group, Judgement, RecordError

AS_PAIRS = "rankings of more than two completions: written as their pairs"
AS_LABELS = "orders of completions: written as labels, good is what is better than their mean"
NOT_BEST = "completions that are not the best, and what was said of them"
PREFERS_NONE = "judgements that prefer neither completion"
NOT_TEXT = "what annotators said beside the one text that is taken"
NO_LABEL = "judgements without labels"
MARGIN = ("margin",)
BESIDE = ("notes", "seconds", "written", "settled")
BESIDE_LABELS = (*MARGIN, "ratings", "aspects", "classes", "flags", "shown", *BESIDE)
PLURALS = {
    "margin": "margins",
    "annotator": "annotators",
    "shown": "the order shown",
    "seconds": "times",
    "written": "texts that annotators wrote",
    "settled": "which judgement settles",
}


class CannotHold(Exception):
    """A format cannot hold a group, and its text says why."""


class Parts(NamedTuple):
    """The groups that stand for one in a format, and what of it none of them holds."""

    groups: list[Group]
    lost: tuple[str, ...] = ()


def whole(group: Group) -> Parts:
    return Parts([group])


def several(group: Group) -> Parts:
    """The group, if it has at least two completions."""
    if len(group.completions) < 2:
        raise CannotHold("fewer than two completions")
    return Parts([group])


def answered(group: Group) -> Parts:
    """The group, if it has a completion."""
    if not group.completions:
        raise CannotHold("no completion")
    return Parts([_asked(group)])


def as_pairs(group: Group) -> Parts:
    """A group of two as it is; of more, a group for each pair of each judgement, weighted as training weighs it."""
    if len(group.completions) < 2:
        raise CannotHold("fewer than two completions")
    if len(group.completions) > 2:
        made = _numbered(group, list(_pairs(group)), "nothing that prefers one completion")
        return Parts(made, (AS_PAIRS, *_said(group, MARGIN)))
    kept = tuple(one for one in group.judgements if len(set((choose.standing(one) or {}).values())) > 1)
    if not kept:
        raise CannotHold("nothing that prefers one completion")
    if len(kept) == len(group.judgements):
        return Parts([group])
    return Parts([replace(group, judgements=kept)], (PREFERS_NONE,))


def _pairs(group: Group) -> Iterator[Group]:
    heard = choose.orders(group)
    for judgement, _ in heard:
        alone = replace(group, judgements=(judgement,), weight=group.weight / len(heard))
        for pair in choose.pairs(alone):
            places = (pair.chosen, pair.rejected)
            said = replace(permuted(judgement, places), ranks=(1, 2), labels=None, margin=None)
            completions = tuple(group.completions[place] for place in places)
            yield replace(alone, completions=completions, judgements=(said,), weight=pair.weight)


def as_labels(group: Group) -> Parts:
    """A group whose judgements are labels as it is; of others, a group for each completion that is good or bad."""
    _asked(group)
    kept = tuple(one for one in group.judgements if one.labels)
    if kept:
        lost = () if len(kept) == len(group.judgements) else (NO_LABEL,)
        return Parts([replace(group, judgements=kept) if lost else group], lost)
    made = _numbered(group, list(_labelled(group)), "nothing that calls a completion good or bad")
    return Parts(made, (AS_LABELS, *_said(group, BESIDE_LABELS)))


def _labelled(group: Group) -> Iterator[Group]:
    heard = choose.orders(group)
    for judgement, _ in heard:
        alone = replace(group, judgements=(judgement,), weight=group.weight / len(heard))
        for place, label, weight in choose.labelled(alone):
            said = Judgement(labels=(label,), annotator=judgement.annotator)
            yield replace(alone, completions=(group.completions[place],), judgements=(said,), weight=weight)


def _said(group: Group, names: Sequence[str]) -> list[str]:
    """Those of these names that a judgement says something of."""
    pairs = [(name, PLURALS.get(name, name)) for name in names]
    return [shown for name, shown in pairs if any(name in one.said for one in group.judgements)]


def as_best(group: Group) -> Parts:
    """The only completion, or the best one."""
    _asked(group)
    if len(group.completions) == 1:
        return Parts([group])
    try:
        return Parts([choose.demonstration(group)], (NOT_BEST if group.completions else NOT_TEXT,))
    except RecordError:
        what = "nothing that says which completion is best" if group.completions else "no completion"
        raise CannotHold(what) from None


def as_good(group: Group) -> Parts:
    """The only completion, unless it was called bad, or the best one; for formats that cannot say that it is bad."""
    if len(group.completions) == 1 and any(judgement.labels == (False,) for judgement in group.judgements):
        raise CannotHold("a completion labelled bad")
    return as_best(group)


def as_text(group: Group) -> Parts:
    """As as_good, also where nothing stands before the completion."""
    return Parts([group]) if is_labelled_text(group) else as_good(group)


def as_asked(group: Group) -> Parts:
    """The prompt alone."""
    _asked(group)
    if not group.completions:
        return Parts([group])
    return Parts([replace(group, completions=(), judgements=())], ("completions and what was said of them",))


def _asked(group: Group) -> Group:
    """The group itself, if it asks something."""
    if is_labelled_text(group):
        raise CannotHold("a text without a prompt")
    return group


def _numbered(group: Group, made: list[Group], nothing: str) -> list[Group]:
    if not made:
        raise CannotHold(nothing)
    return [replace(one, id=f"{group.id}.{number}") for number, one in enumerate(made, 1)]
