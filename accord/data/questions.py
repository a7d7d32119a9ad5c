"""Groups that people are asked about: written to a file without a judgement, and read back with what they said.

A row has `id`, `prompt`, `completions` and an empty `ranks`. People add `ranks` (1 is best, equal ranks are ties),
`ratings`, `judgements`, or `chosen`. Rows with the same id are judgements by several people.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from accord.data.choose import orders
from accord.data.fields import Row, kind
from accord.data.formats import find_format, to_group
from accord.data.join import permuted, places_of
from accord.data.plain_formats import plain
from accord.data.sources import rows
from accord.errors import InputError
from accord.records import Completion, Group, Judgement, Origin, RecordError, Text

LISTED = 20  # problems of a file that are named
HOW = "give ranks (1 is best), or chosen (the number of the best, from 1)"
TO_DO = f"give every row {HOW.removeprefix('give ')}"


class Opinion(NamedTuple):
    """What one person said. judgement: of the completions in the order of the question. first: which of them stood
    first in the row."""

    judgement: Judgement
    first: int


class Questions(NamedTuple):
    """What people are asked. source: the file that they got. whole: all must be judged, each of them."""

    groups: Sequence[Group]
    source: Path
    whole: bool


def lines_of(groups: Sequence[Group]) -> str:
    """The file that people get."""
    text = "".join(json.dumps(_row(one), ensure_ascii=False) + "\n" for one in groups)
    return text.encode("utf-8", "backslashreplace").decode()  # half a character becomes its escape in JSON


def _row(group: Group) -> dict[str, Any]:
    completions = [plain(one.content) for one in group.completions]
    category = {} if group.category is None else {"category": group.category}
    return {"id": group.id, "prompt": plain(group.prompt), "completions": completions, **category, "ranks": None}


def read_opinions(path: Path, questions: Questions) -> dict[str, list[Opinion]]:
    """By id, what was said of each question. InputError that lists every problem with its line."""
    by_id = {one.id: one for one in questions.groups}
    found: dict[str, list[Opinion]] = {one.id: [] for one in questions.groups}
    problems: list[InputError] = []
    seen = set()
    for origin, row in rows(str(path)):
        try:
            id, opinions = _read(origin, row, by_id, questions)
        except RecordError as error:
            problems.append(error)
            if isinstance(row, Mapping):
                seen.add(row.get("id") if isinstance(row.get("id"), str) else None)
            continue
        seen.add(id)
        found[id] += opinions
    if questions.whole:
        problems += list(_missing(questions, seen, path))
    if problems:
        raise _together(problems)
    return found


def _read(origin: Origin, row: object, by_id: Mapping[str, Group], questions: Questions) -> tuple[str, list[Opinion]]:
    """The question that a row is about, and what it says. RecordError names line and field."""
    source = questions.source
    if isinstance(row, RecordError):
        raise row
    if not isinstance(row, Mapping):
        raise RecordError(f"expected an object, got {kind(row)}", origin=origin, fix=f"copy the row of {source}")
    id = row.get("id")
    if not isinstance(id, str) or id not in by_id:
        what = "missing" if id is None else f"{id!r} was not asked about"
        raise RecordError(what, origin=origin, field="id", fix=f"keep the ids of {source}")
    one, columns = by_id[id], _with_ranks(Row(row, origin))
    said = to_group(find_format(columns, origin), columns, origin)
    places = places_of(one.completions, [Completion(other.content) for other in said.completions])
    if places is None or _written(said.prompt) != _written(one.prompt):
        field = "completions" if places is None else "prompt"
        raise RecordError("not what was asked about", origin=origin, field=field, fix=f"keep the texts of {source}")
    judgements = [permuted(judgement, places) for judgement, _ in orders(said)]
    if questions.whole and not judgements:
        raise RecordError("not judged", origin=origin, fix=HOW)
    return id, [Opinion(judgement, places.index(0)) for judgement in judgements]


def _written(text: Text) -> str:
    return json.dumps(plain(text), sort_keys=True)


def _with_ranks(row: Row) -> dict[str, Any]:
    """The columns with ranks in the place of `chosen`: the best one's number from 1, or its text."""
    columns = dict(row.columns)
    chosen = columns.pop("chosen", None)
    if chosen is None:
        return columns
    if other := next((name for name in ("ranks", "ratings", "judgements") if columns.get(name) is not None), None):
        raise row.error("chosen", f"beside {other}", "keep one of the two")
    completions = row.needed("completions")
    count = len(completions) if isinstance(completions, list) else 0
    if isinstance(chosen, int) and not isinstance(chosen, bool) and 1 <= chosen <= count:
        best = chosen - 1
    elif not isinstance(chosen, int) and count and chosen in completions:
        best = completions.index(chosen)
    else:
        raise row.error("chosen", f"{_shown(chosen)} is none of the {count} completions", HOW)
    return {**columns, "ranks": [1 if place == best else 2 for place in range(count)]}


def _missing(questions: Questions, seen: set[Any], path: Path) -> Iterator[InputError]:
    for line, one in enumerate(questions.groups, 1):
        if one.id not in seen:
            fix = f"add its row to {path}; equal ranks say that none is better"
            yield RecordError(f"{one.id} is not judged", origin=Origin(str(questions.source), line), fix=fix)


def _together(problems: Sequence[InputError]) -> InputError:
    """One error that shows them all, as far as LISTED go."""
    first, *others = problems
    more = len(others) - (LISTED - 1)
    first.others = [*map(str, others[: LISTED - 1]), *([f"and {more} problems more"] if more > 0 else [])]
    return first


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return f"{text[:40]}{'...' if len(text) > 40 else ''}"
