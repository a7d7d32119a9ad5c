"""Token groups as columns, and the cache of them: what goes in comes out, and nothing damaged is used."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.data.dialogue import TokenCompletion, TokenGroup
from accord.data.lines import RowOrigin
from accord.data.order import ASKS
from accord.data.table import Table, Writer, fingerprint, mark_of
from accord.data.token_cache import TokenCache, remove
from accord.records import Judgement, Origin, Said

KEY, OTHER = "a" * 64, "b" * 64


def ids(*values: int) -> Any:
    return np.asarray(values, dtype=np.int32)


def said(number: int = 1, *judgements: Judgement, same: tuple[int, ...] = (0, 1)) -> Said:
    return Said(f"g{number}", judgements, 1.0, None, Origin("rows.jsonl", number), same)


PAIR = TokenGroup(
    replace(said(1, Judgement(ranks=(1, 2), margin=0.5, annotator="ann")), weight=2.5, category="é"),
    ids(1, 2, 3),
    (TokenCompletion(ids(4, 5), ((0, 2),)), TokenCompletion(ids(6, 7, 8), ((0, 1), (2, 3)))),
)
LABELLED = TokenGroup(
    said(2, Judgement(labels=(True,)), Judgement(ratings=(0.25,), aspects={"tone": (3.0,)}), same=(0,)),
    ids(9),
    (TokenCompletion(ids(7), ((0, 1),)),),
)
DOCUMENT = TokenGroup(
    replace(said(3, same=(0,)), source=RowOrigin("rows.parquet", 3)), ids(), (TokenCompletion(ids(1, 2), ((1, 2),)),)
)
QUESTION = TokenGroup(said(4, same=()), ids(5, 5), ())
ALL = (PAIR, LABELLED, DOCUMENT, QUESTION)


def table_of(*groups: TokenGroup) -> Table:
    tokens, words = io.BytesIO(), io.BytesIO()
    writer = Writer(tokens, words)
    for number, group in enumerate(groups):
        writer.add(group, asks=bytes([number]) * ASKS)
    assert len(writer) == len(groups)
    found = np.frombuffer(tokens.getvalue(), dtype=np.int32), np.frombuffer(words.getvalue(), dtype=np.uint8)
    return Table(writer.columns(), *found)


def plain(group: TokenGroup) -> tuple[object, ...]:
    """Everything that a token group holds, to be compared."""
    known = group.group
    about = (known.id, known.judgements, known.weight, known.category, str(known.source), known.same)
    return about, group.prompt.tolist(), [(one.ids.tolist(), one.loss) for one in group.completions]


def test_what_goes_in_comes_out() -> None:
    assert list(map(plain, table_of(*ALL).groups())) == list(map(plain, ALL))
    assert table_of().groups() == []
    assert all(row.tobytes() == mark_of(group) for row, group in zip(table_of(*ALL).columns.mark, ALL, strict=True))


spans = st.lists(st.integers(0, 9), max_size=4).map(
    lambda found: tuple((a, b) for a, b in zip(*[iter(sorted(set(found)))] * 2, strict=False))
)
completions = st.builds(
    lambda values, loss: TokenCompletion(ids(*values), loss), st.lists(st.integers(0, 2**31 - 1), max_size=5), spans
)
token_groups = st.builds(
    lambda prompt, held, rank: TokenGroup(
        said(rank, Judgement(ranks=tuple(range(len(held)))), same=tuple(range(len(held)))), ids(*prompt), tuple(held)
    ),
    st.lists(st.integers(0, 2**31 - 1), max_size=5),
    st.lists(completions, max_size=3),
    st.integers(1, 99),
)


@given(st.lists(token_groups, max_size=4))
def test_any_groups_come_out_as_they_went_in(groups: list[TokenGroup]) -> None:
    assert list(map(plain, table_of(*groups).groups())) == list(map(plain, groups))


@pytest.mark.parametrize(
    "other",
    [
        replace(PAIR, prompt=ids(1, 2)),
        replace(PAIR, completions=PAIR.completions[::-1]),
        replace(PAIR, completions=(PAIR.completions[0], TokenCompletion(ids(6, 7, 8), ((0, 1),)))),
        replace(PAIR, group=said(1, Judgement(ranks=(2, 1), margin=0.5, annotator="ann"))),
        replace(PAIR, group=replace(said(1, *PAIR.group.judgements), weight=1.0)),
        replace(PAIR, group=replace(PAIR.group, id="other")),
    ],
    ids=["prompt", "order", "loss", "ranks", "weight", "id"],
)
def test_marks_tell_groups_apart(other: TokenGroup) -> None:
    assert mark_of(other) != mark_of(PAIR)
    assert fingerprint([mark_of(other)]) != fingerprint([mark_of(PAIR)])


def test_a_mark_does_not_depend_on_where_a_row_stood() -> None:
    assert isinstance(PAIR.group, Said)
    assert mark_of(replace(PAIR, group=replace(PAIR.group, source=Origin("moved.jsonl", 9)))) == mark_of(PAIR)


def cache(root: Path, limit: int = 10**9) -> tuple[TokenCache, list[str]]:
    told: list[str] = []
    return TokenCache(root, limit, told.append), told


def test_kept_tokens_are_mapped(tmp_path: Path) -> None:
    kept, told = cache(tmp_path)
    assert kept.find(KEY) is None
    assert kept.keep(KEY, table_of(*ALL), {"data": "rows.jsonl", "report": {"read": 4}})
    found = kept.find(KEY)
    assert found is not None and isinstance(found.table.ids, np.memmap)
    assert list(map(plain, found.table.groups())) == list(map(plain, ALL))
    assert found.about["report"] == {"read": 4} and not told
    assert [entry.about["data"] for entry in kept.entries()] == ["rows.jsonl"]
    assert kept.keep(KEY, table_of(*ALL), {})  # another process was first
    assert sorted(path.name for path in (tmp_path / "tokens").iterdir()) == [KEY]
    assert remove(kept.entries()) > 0 and kept.find(KEY) is None


@pytest.mark.parametrize("name", ["ids.bin", "said.bin", "columns.npz", "about.json"])
@pytest.mark.parametrize("damage", ["flipped", "short", "gone", "7"])
def test_damage_is_said_and_the_tokens_are_none(tmp_path: Path, name: str, damage: str) -> None:
    kept, told = cache(tmp_path)
    assert kept.keep(KEY, table_of(*ALL), {})
    path = tmp_path / "tokens" / KEY / name
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"flipped": bytes(data), "short": data[: len(data) // 2]}.get(damage, damage.encode()))
    kept.entries()
    assert kept.find(KEY) is None
    assert len(told) == 1 and "tokenised anew" in told[0]
    assert not list((tmp_path / "tokens").iterdir())
    assert kept.keep(KEY, table_of(*ALL), {}) and kept.find(KEY) is not None  # nothing is in its way


def test_what_was_longest_not_used_goes_first(tmp_path: Path) -> None:
    size = table_of(*ALL)
    needed = size.ids.nbytes + size.said.nbytes + sum(column.nbytes for column in size.columns)
    kept, _ = cache(tmp_path)
    assert kept.keep(KEY, size, {}) and kept.keep(OTHER, size, {})
    os.utime(tmp_path / "tokens" / KEY / "about.json", (9e9, 9e9))  # used last
    bounded, _ = cache(tmp_path, limit=needed + kept.entries()[0].size)
    assert bounded.keep("c" * 64, size, {})
    assert {entry.key for entry in bounded.entries()} == {KEY, "c" * 64}


def test_nothing_about_the_cache_ends_a_run(tmp_path: Path) -> None:
    small, told = cache(tmp_path, limit=1)
    assert not small.keep(KEY, table_of(*ALL), {}) and "more than the cache may hold" in told[0]
    (tmp_path / "file").write_text("")
    blocked, told = cache(tmp_path / "file")
    assert not blocked.keep(KEY, table_of(*ALL), {}) and "--token_cache DIR" in told[0]
    assert blocked.find(KEY) is None and blocked.entries() == []


def test_a_killed_writer_leaves_nothing_for_ever(tmp_path: Path) -> None:
    kept, _ = cache(tmp_path)
    for name, when in (("dead", 0.0), ("alive", None)):
        place = tmp_path / "tokens" / f".{name}.tmp"
        place.mkdir(parents=True)
        if when is not None:
            os.utime(place, (when, when))
    kept.sweep()
    assert [path.name for path in (tmp_path / "tokens").iterdir()] == [".alive.tmp"]


def test_words_about_data_may_be_any(tmp_path: Path) -> None:
    kept, _ = cache(tmp_path)
    assert kept.keep(KEY, table_of(PAIR), {"data": "\u2028é.jsonl"})
    assert json.loads((tmp_path / "tokens" / KEY / "about.json").read_text(encoding="utf-8"))["data"] == "\u2028é.jsonl"
