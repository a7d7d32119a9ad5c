"""What a classifier learns from in a group: of what kind each completion is said to be; and the labels of a data set.

A thumb up or down is a class too, by the name of true or false.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from accord.data.findings import DROP
from accord.data.label_columns import says
from accord.errors import InputError
from accord.records import Class, Group, Judged, Judgement, RecordError

MANY = 50  # labels; more than this, of which most texts have one of their own, are no labels
Kind = Class | Mapping[str, bool]  # the name, the names that hold (and no others), or yes and no by name


class Classified(NamedTuple):
    """A completion of a group, by place, and of what kind it is."""

    completion: int
    kind: Kind
    weight: float


def classified(group: Judged) -> tuple[Classified, ...]:
    """Every completion of which a class, flags or a thumb is said, judgement by judgement.

    The judgements that say any share group.weight equally, and so do the completions of a judgement.
    """
    sides = [side for judgement in group.judgements if (side := _kinds(judgement))]
    return tuple(
        Classified(place, kind, group.weight / len(sides) / len(side)) for side in sides for place, kind in side.items()
    )


def _kinds(judgement: Judgement) -> dict[int, Kind]:
    """completion -> what was said of it."""
    if judgement.classes is not None:
        return dict(enumerate(judgement.classes))
    if judgement.flags:
        every = {name: enumerate(values) for name, values in judgement.flags.items()}
        found: dict[int, dict[str, bool]] = {}
        for name, values in every.items():
            for place, value in values:
                if value is not None:
                    found.setdefault(place, {})[name] = value
        return dict(found)
    return {place: str(label).lower() for place, label in enumerate(judgement.labels or ())}


def has_class(group: Group) -> Group:
    """The group itself, if it says of what kind a completion is. RecordError where it does not."""
    if classified(group):
        return group
    what, fix = "no label says what this is", DROP
    if any(judgement.ranks or judgement.ratings for judgement in group.judgements):
        what = "an order of completions, and no label"
        fix = "accord reward learns from these; or make labels of them: accord convert IN OUT --to unpaired"
    raise RecordError(what, origin=group.source, fix=fix, finding="not_judged")


def is_labelled_text(group: Group) -> bool:
    """Whether it is one text without a prompt, of which nothing but its kind is said."""
    sorted_only = all(
        says(one) and not (one.ranks or one.ratings or one.labels or one.aspects) for one in group.judgements
    )
    return not group.prompt and len(group.completions) == 1 and sorted_only


class Vocabulary(NamedTuple):
    """The labels of a data set, in the order of the classifier's numbers.

    several: any number of them may hold of a text, each by itself; else exactly one does.
    """

    names: tuple[str, ...]
    several: bool

    def target(self, kind: Kind) -> tuple[list[float], list[float]]:
        """(L,) 1 where a label holds, and (L,) 1 where it was said whether it does."""
        if isinstance(kind, Mapping):
            said = [float(name in kind) for name in self.names]
            return [float(kind.get(name, False)) for name in self.names], said
        held = (kind,) if isinstance(kind, str) else kind
        return [float(name in held) for name in self.names], [1.0] * len(self.names)


def vocabulary(groups: Iterable[Judged], names: Sequence[str] = ()) -> Vocabulary:
    """The labels that occur in the data, sorted (numbers by size), or these `names`.

    InputError: a label that is none of `names`; one label alone, of which every text is; nearly as many as texts.
    """
    several, texts, found = False, 0, dict[str, Judged]()
    for group in groups:
        for one in classified(group):
            texts += 1
            several = several or not isinstance(one.kind, str)
            for name in (one.kind,) if isinstance(one.kind, str) else one.kind:
                found.setdefault(name, group)
    if names and (strange := sorted(set(found) - set(names))):
        where, listed = str(found[strange[0]].source), ", ".join(names)
        fix = "name it in --labels, or drop the rows that have it"
        raise InputError(f"the label {strange[0]!r} is none of --labels {listed}", where=where, fix=fix)
    made = tuple(names) or tuple(_in_order(found))
    if len(made) > MANY and len(made) > texts / 2:
        what = f"{len(made):,} different labels in {texts:,} texts: most have one of their own"
        raise InputError(what, where="data", fix="labels are a few names that many texts share")
    if len(made) < (1 if several else 2):
        what = f"every text has the same label, {made[0]!r}" if made else "no label holds of any text"
        raise InputError(what, where="data", fix="give texts of at least two labels, or name them: --labels a,b")
    return Vocabulary(made, several)


def _in_order(names: Iterable[str]) -> list[str]:
    """Whole numbers by size, after them the others by spelling."""
    return sorted(names, key=lambda name: (0, int(name), "") if _is_number(name) else (1, 0, name))


def _is_number(name: str) -> bool:
    digits = name.removeprefix("-")
    return digits.isascii() and digits.isdigit()
