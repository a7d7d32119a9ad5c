"""Options as TRL spells them -> as we do, before anything is checked: errors still name what somebody typed.

What is decided by several of TRL's options together is in `accord.stages.jointly`, all else in `accord.stages.aliases`;
for the commands of reinforcement learning in `accord.stages.rl_jointly` and `accord.stages.rl_aliases` before these.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from accord.errors import InputError
from accord.stages.aliases import ANY, LEFT_OUT, OLD, ROWS, Joined, Renamed, Row, Same, Settled
from accord.stages.flat_yaml import Given
from accord.stages.jointly import JOINTLY, Join, Options, Rest, refusal, word
from accord.stages.leaves import Leaf
from accord.stages.rl_aliases import RL_ROWS
from accord.stages.rl_jointly import RL_JOINTLY

OF_TRAINING = "learning_rate"  # an option of the stages that train, and of no other command
OF_RL = "kl_coef"  # an option of the commands that learn from rewards, and of no other


class Translated(NamedTuple):
    """Options under our names, and what is to be said of those that change nothing here."""

    given: Options
    notes: list[str]


def translate(given: Mapping[str, Given], known: Mapping[str, Leaf], where: str) -> Translated:
    """Of a stage that trains (others have no options of TRL's). known: its options; where: as for `load`.

    Raises InputError for a value that has no counterpart, and for one option that is given in two spellings.
    """
    if OF_TRAINING not in known:
        return Translated(dict(given), [])
    told = _without_overruled(given, known)
    _refuse_twice(told, known, where)
    notes: list[str] = []
    for names, join in _joins(known):
        if found := {name: told.pop(name) for name in names if name in told}:
            told |= join(found, Rest(told, known, where, notes))
    result: Options = {}
    for name, value in told.items():
        result |= _single(name, value, rows_of(known).get(name), where, notes)
    return Translated(result, notes)


def rows_of(known: Collection[str]) -> Mapping[str, Row]:
    """What becomes of TRL's options in a stage with these options of ours."""
    return {**ROWS, **RL_ROWS} if OF_RL in known else ROWS


def _joins(known: Collection[str]) -> Iterator[tuple[tuple[str, ...], Join]]:
    decided: set[str] = set()
    if OF_RL in known:
        yield from RL_JOINTLY
        decided = {name for names, _ in RL_JOINTLY for name in names}
    yield from ((names, join) for names, join in JOINTLY if not decided & set(names))


def is_trl(name: str, known: Collection[str]) -> bool:
    """Whether TRL has, or had, an option of this name."""
    return name in rows_of(known)


def takes_list(name: str, known: Mapping[str, Leaf]) -> bool:
    """Whether the option of this name, ours or TRL's, takes a list itself."""
    leaf = known.get(target_of(name, known))
    row = rows_of(known).get(name)
    return (leaf is not None and leaf.is_list) or (row is not None and isinstance(row.default, list))


def is_flag(name: str, known: Collection[str]) -> bool:
    """Whether the option may stand without a value on TRL's command line, meaning true."""
    row = rows_of(known)[name]
    values = row.values if isinstance(row, Same | Renamed) else {}
    takes = row.takes if isinstance(row, Settled) else ()
    return isinstance(row.default, bool) or "true" in values or True in takes or False in takes or name in BARE


BARE = ("bf16", "activation_checkpointing", "disable_tqdm")


def _single(name: str, given: Given, row: Row | None, where: str, notes: list[str]) -> Options:
    if row is None or isinstance(row, Joined):
        return {name: given}
    if isinstance(row, Settled):
        if row.takes is not ANY and word(given.value) not in map(word, row.takes):
            raise refusal(name, given, where, row.why, row.fix)
        if row.default is OLD or word(given.value) != word(row.default):
            notes.append(f"{given.at(name, where)}: not needed here: {row.why}")
        return {}
    target = row.to if isinstance(row, Renamed) else name
    value = given.value
    if word(value) in row.values:
        value = row.values[word(value)]
    elif isinstance(row, Renamed) and row.only:
        takes = ", ".join(row.values)
        raise refusal(name, given, where, row.why or f"it is one of {takes}", f"one of {takes}, or leave it out")
    if value is LEFT_OUT:
        return {}
    return {target: Given(value, given.place, given.spelling or name)}


def target_of(name: str, known: Collection[str]) -> str:
    """Our option that a name decides; the name itself where TRL has none like it."""
    row = rows_of(known).get(name)
    return row.to if isinstance(row, Renamed | Joined) else name


def _without_overruled(given: Mapping[str, Given], known: Collection[str]) -> Options:
    """Arguments win over the file, also where they spell an option differently."""
    typed = {target_of(name, known): name for name, value in given.items() if not value.place}

    def overruled(name: str, value: Given) -> bool:
        other = typed.get(target_of(name, known))
        return bool(value.place) and other is not None and other != name and not _together(name, other, known)

    return {name: value for name, value in given.items() if not overruled(name, value)}


def _refuse_twice(given: Mapping[str, Given], known: Collection[str], where: str) -> None:
    before: dict[str, list[str]] = {}
    for name, value in given.items():
        others = before.setdefault(target_of(name, known), [])
        for other in others:
            if _together(name, other, known):
                continue
            what = f"the same option as {given[other].at(other, where)}"
            raise InputError(what, where=value.at(name, where), fix="keep one of the two")
        others.append(name)


def _together(one: str, other: str, known: Collection[str]) -> bool:
    """Whether two names may decide one option together."""
    return {one, other} not in SYNONYMS and any({one, other} <= set(names) for names, _ in _joins(known))


SYNONYMS = ({"eval_strategy", "evaluation_strategy"}, {"dtype", "torch_dtype"})
