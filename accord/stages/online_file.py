"""A round of samples judged by people: written to a file without scores, and read back with what they said.

to_judge/round-0001.jsonl has a row for each prompt: `id`, `prompt`, `completions` in an order of their own, samples
that say the same once. People add `ranks` (1 is best, equal ranks are ties), `ratings`, `judgements`, or `chosen`, and
save it as judged/round-0001.jsonl. Rows with the same id are judgements by several people.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from accord.data.choose import standing
from accord.data.fields import Row, kind
from accord.data.formats import find_format, to_group
from accord.data.join import permuted, places_of
from accord.data.plain_formats import plain
from accord.data.sources import rows
from accord.errors import InputError
from accord.records import Completion, Group, Judgement, Origin, RecordError, Text
from accord.training.step import mixed

TO_JUDGE, JUDGED = "to_judge", "judged"  # folders of the run
LISTED = 20  # problems of a file that are named
HOW = "give ranks (1 is best), or chosen (the number of the best, from 1)"


class Asked(NamedTuple):
    """One prompt of a round as people see it. shown (K,): for each sample the completion that it is."""

    place: int  # in the round
    id: str
    group: Group
    shown: tuple[int, ...]


def asked(texts: Sequence[Group], number: int, seed: int) -> list[Asked]:
    """What people are asked of a round: prompts whose samples do not all say the same. number: the round's, from 1."""
    found = []
    for place, text in enumerate(texts):
        distinct = sorted(set(text.same))
        if len(distinct) < 2:
            continue
        order = np.random.default_rng(mixed(seed, 3, number, place)).permutation(distinct).tolist()
        completions = tuple(text.completions[first] for first in order)
        group = Group(f"{number}-{place + 1}-{text.id}", text.prompt, completions, category=text.category)
        found.append(Asked(place, group.id, group, tuple(order.index(first) for first in text.same)))
    return found


def lines_of(questions: Sequence[Asked]) -> str:
    """The file that people get."""
    return "".join(json.dumps(_row(one.group), ensure_ascii=False) + "\n" for one in questions)


def _row(group: Group) -> dict[str, Any]:
    completions = [plain(one.content) for one in group.completions]
    category = {} if group.category is None else {"category": group.category}
    return {"id": group.id, "prompt": plain(group.prompt), "completions": completions, **category, "ranks": None}


def read_judged(folder: Path, number: int, questions: Sequence[Asked]) -> dict[str, list[Judgement]] | None:
    """By id, what was said of each prompt's samples in their own order; None: the file is not there.

    InputError that lists every problem with its line.
    """
    path, source = folder / name_of(JUDGED, number), folder / name_of(TO_JUDGE, number)
    if not path.exists():
        return None
    by_id = {one.id: one for one in questions}
    found: dict[str, list[Judgement]] = {one.id: [] for one in questions}
    problems: list[InputError] = []
    seen = set()
    for origin, row in rows(str(path)):
        try:
            one, judgements = _read(origin, row, by_id, str(source))
        except RecordError as error:
            problems.append(error)
            if isinstance(row, Mapping):
                seen.add(row.get("id") if isinstance(row.get("id"), str) else None)
            continue
        seen.add(one.id)
        found[one.id] += judgements
    problems += list(_missing(questions, seen, path, source))
    if problems:
        raise _together(problems)
    return found


def name_of(kind: str, number: int) -> str:
    """The file of a round, in the run folder."""
    return f"{kind}/round-{number:04d}.jsonl"


def _read(origin: Origin, row: object, by_id: Mapping[str, Asked], source: str) -> tuple[Asked, list[Judgement]]:
    """The prompt that a row is about, and what it says. RecordError names line and field."""
    if isinstance(row, RecordError):
        raise row
    if not isinstance(row, Mapping):
        raise RecordError(f"expected an object, got {kind(row)}", origin=origin, fix=f"copy the row of {source}")
    id = row.get("id")
    if not isinstance(id, str) or id not in by_id:
        what = "missing" if id is None else f"{id!r} is no prompt of this round"
        raise RecordError(what, origin=origin, field="id", fix=f"keep the ids of {source}")
    one, columns = by_id[id], _with_ranks(Row(row, origin))
    said = to_group(find_format(columns, origin), columns, origin)
    places = places_of(one.group.completions, [Completion(other.content) for other in said.completions])
    if places is None or _written(said.prompt) != _written(one.group.prompt):
        field = "completions" if places is None else "prompt"
        raise RecordError("not what was sampled", origin=origin, field=field, fix=f"keep the texts of {source}")
    judgements = [permuted(judgement, places) for judgement in said.judgements if standing(judgement)]
    if not judgements:
        raise RecordError("not judged", origin=origin, fix=HOW)
    return one, [permuted(judgement, one.shown) for judgement in judgements]


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


def _missing(questions: Sequence[Asked], seen: set[Any], path: Path, source: Path) -> Iterator[InputError]:
    for line, one in enumerate(questions, 1):
        if one.id not in seen:
            fix = f"add its row to {path}; equal ranks say that no sample is better"
            yield RecordError(f"{one.id} is not judged", origin=Origin(str(source), line), fix=fix)


def _together(problems: Sequence[InputError]) -> InputError:
    """One error that shows them all, as far as LISTED go."""
    first, *others = problems
    more = len(others) - (LISTED - 1)
    first.others = [*map(str, others[: LISTED - 1]), *([f"and {more} problems more"] if more > 0 else [])]
    return first


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return f"{text[:40]}{'...' if len(text) > 40 else ''}"
